"""Does a student that never sees the graph rank links as well as its teacher?    python benchmarks/llp_accuracy.py

Hits@20 in two settings. `transductive`: 5 % of the links validate, 10 % are the test, as many non-links each; the graph
of the training holds the rest. `production`: nodes and links that come later (`ProductionLinkSplit`), scored by kind of
link; the teacher sees the graph of inference, the others see features only. The split is the same for all seeds. Every
model stops when Hits@20 of validation has not grown for `--patience` epochs, and is scored on the test once, with the
weights of its best epoch. Of the teachers of all seeds the best on validation teaches all students (`--teacher own`:
each seed has its own). Settings are those of the authors' scripts, but for what `--set` changes.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from common import emit, versions
from torch import Tensor
from torch.nn import Linear, Module

from graphlearn.compress import (
    DistillConfig,
    DistillData,
    LinkDistiller,
    LLPLoss,
    LogitMatching,
    MLPStudent,
    ProductionLinkSplit,
    RepresentationMatching,
)
from graphlearn.compress.production_split import both_directions, undirected_links
from graphlearn.compress.student import sparse_linear
from graphlearn.nn import MLPHead
from graphlearn.ops import gather_reduce
from graphlearn.ops.csr import csr_from_edge_index
from graphlearn.sampling.free_pairs import FreePairs
from graphlearn.tasks.link_metrics import hits_at
from graphlearn.training.seed import epoch_generator, seed_dropout

K = 20
SPLIT_SEED = 234
NPZ = {"CS": "ms_academic_cs", "Physics": "ms_academic_phy", "Photo": "amazon_electronics_photo"} | {
    "Computers": "amazon_electronics_computers"
}
NAMES = ("label", "rank", "dist", "margin", "hops", "repeats", "ns_rate", "lr", "dropout", "width")
SETTINGS = {
    "transductive": {
        "Cora": (0.1, 1, 1e-3, 0.1, 2, 3, 1, 0.01, 0.5, 256),
        "CiteSeer": (1e-3, 1e3, 1e-3, 0.1, 1, 3, 4, 0.01, 0.5, 256),
        "CS": (10, 0.1, 100, 0.1, 3, 3, 4, 1e-3, 0.0, 256),
        "Physics": (1, 1, 1, 0.05, 15, 1, 3, 1e-3, 0.0, 512),
        "Photo": (1, 1, 1, 0.05, 15, 3, 10, 1e-3, 0.0, 256),
        "Computers": (1, 1, 1, 0.05, 5, 2, 5, 5e-4, 0.0, 512),
    },
    "production": {
        "Cora": (1e3, 0.01, 1e-3, 0.05, 3, 3, 3, 0.01, 0.5, 256),
        "CiteSeer": (100, 1e-4, 0, 0.1, 1, 3, 5, 0.01, 0.5, 256),
        "CS": (1, 100, 10, 0.1, 1, 3, 4, 1e-3, 0.0, 256),
        "Physics": (0.1, 0.01, 10, 0.2, 2, 2, 4, 5e-4, 0.0, 256),
        "Computers": (0.01, 0.1, 0, 0.2, 2, 2, 4, 1e-3, 0.0, 256),
        "Photo": (100, 1e3, 1e-4, 0.05, 2, 3, 2, 1e-3, 0.0, 256),
    },
}
MODELS = ("teacher", "mlp", "llp", "lm", "rm")


class SAGE(Module):
    """Two layers of mean aggregation; the teacher of the paper."""

    def __init__(self, in_channels: int, channels: int, dropout: float) -> None:
        super().__init__()
        self.own1, self.near1 = Linear(in_channels, channels), Linear(in_channels, channels, bias=False)
        self.own2, self.near2 = Linear(channels, channels), Linear(channels, channels, bias=False)
        self.dropout = dropout

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        rowptr, col = csr_from_edge_index(edge_index, x.size(0))
        return self.on_csr(x, rowptr, col)

    def on_csr(self, x: Tensor, rowptr: Tensor, col: Tensor) -> Tensor:
        own, near = (sparse_linear(x, lin) if x.is_sparse_csr else lin(x) for lin in (self.own1, self.near1))
        # The mean of products is the product of the mean, and has fewer channels to gather.
        hidden = (own + gather_reduce(near, rowptr, col, "mean")).relu()
        hidden = F.dropout(hidden, self.dropout, self.training)
        return self.own2(hidden) + gather_reduce(self.near2(hidden), rowptr, col, "mean")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, default=default_source())
    parser.add_argument("--datasets", nargs="+", default=["Cora", "CiteSeer"], choices=list(SETTINGS["production"]))
    parser.add_argument("--setting", default="transductive", choices=list(SETTINGS))
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=2000)
    parser.add_argument("--patience", type=int, default=100)
    parser.add_argument("--teacher", default="best", choices=["best", "own"])
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help=f"of the students: {NAMES}")
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--use-logits", action="store_true", help="compare logits in the distribution loss")
    parser.add_argument("--pairs", type=int, help="pairs of contexts drawn per anchor; all without it")
    parser.add_argument("--anchors", type=int, help="anchors of an epoch; all nodes without it")
    parser.add_argument("--match", type=float, default=1.0, help="weight of the matching baselines")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--float32", action="store_true", help="score contexts in float32, not bfloat16")
    parser.add_argument("--val-only", action="store_true", help="leave the test alone: to choose settings")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--tiny", action="store_true", help="one data set, one seed, two epochs")
    parser.add_argument("--no-store", action="store_true", help="only print")
    args = parser.parse_args()
    if args.tiny:
        args.datasets, args.seeds, args.epochs = ["Cora"], [0], 2
    torch.set_num_threads(args.threads)
    store = None if args.tiny or args.no_store or args.val_only else "llp_accuracy"
    for name in args.datasets:
        one_dataset(args, name, store)


def one_dataset(args: argparse.Namespace, name: str, store: str | None) -> None:
    x, edge_index = load(args.source, name)
    data, test = split(args.setting, name, x, edge_index, args.device)
    settings = dict(zip(NAMES, SETTINGS[args.setting][name], strict=True))
    settings |= {key: float(value) for key, value in (pair.split("=") for pair in args.set)}
    common = {
        "dataset": name, "setting": args.setting, "split_seed": SPLIT_SEED, "k": K, "patience": args.patience,
        "train_links": data.train.size(1), "val_links": data.val.size(1), "teacher_choice": args.teacher,
    }  # fmt: skip
    teachers: dict[int, tuple[float, Module, MLPHead]] = {}
    if set(args.models) - {"mlp"}:
        for seed in args.seeds:
            start = time.perf_counter()
            sage, head, record = train_teacher(args, settings, data, seed)
            teachers[seed] = record["val_hits"], sage, head
            scored = {} if args.val_only else test_teacher(sage, head, x.to(args.device), data, test)
            report(args, store, {**common, "model": "teacher", "seed": seed, **record, **scored}, start)
    best = max(teachers, key=lambda seed: teachers[seed][0]) if teachers else 0
    scores: dict[str, list[float]] = {}
    for model in args.models:
        for seed in args.seeds if model != "teacher" else []:
            start = time.perf_counter()
            _, sage, head = teachers.get(best if args.teacher == "best" else seed, (0.0, None, None))
            distiller = make_student(args, settings, model, data, seed, sage, head)
            result = distiller.fit(data, seed=seed)
            record = {
                "best_epoch": result.best_epoch, "epochs": len(result.history), "val_hits": round(result.best_hits, 4)
            }  # fmt: skip
            if not args.val_only:
                record |= test_student(distiller, x.to(args.device), test)
            if model == "llp":
                record |= {"settings": settings, "temperature": args.temperature, "use_logits": args.use_logits}
                record |= {"pairs": args.pairs, "anchors": args.anchors, "bfloat16": not args.float32}
                record["active"] = round(result.history[-1]["active"], 4)
            report(args, store, {**common, "model": model, "seed": seed, **record}, start)
            scores.setdefault(model, []).append(record["val_hits"])
    for model, values in scores.items():
        print(f"{name} {model}: mean val hits {statistics.mean(values):.4f} of {len(values)}", file=sys.stderr)


def report(args: argparse.Namespace, store: str | None, row: dict[str, Any], start: float) -> None:
    seconds = time.perf_counter() - start
    case = f"{row['dataset']}, {row['setting']}, {row['model']}, seed {row['seed']}"
    row |= {"seconds": round(seconds, 1), "s_per_epoch": round(seconds / row["epochs"], 3)}
    emit({"case": case, **row, **versions(args.device)}, store)


def default_source() -> Path:
    return Path(os.environ.get("GRAPHLEARN_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))


def load(source: Path, name: str) -> tuple[Tensor, Tensor]:
    """Features as a sparse CSR matrix, and edges."""
    if name in NPZ:
        found = np.load(source / "npz" / name / "raw" / f"{NPZ[name]}.npz")
        size = torch.from_numpy(found["adj_indptr"].astype(np.int64)).diff()
        dst = torch.arange(size.numel()).repeat_interleave(size)
        edge_index = torch.stack([torch.from_numpy(found["adj_indices"].astype(np.int64)), dst])
        rowptr, col = (torch.from_numpy(found[f"attr_{part}"].astype(np.int64)) for part in ("indptr", "indices"))
        values = torch.ones(col.numel())  # counts of words become zeros and ones, as in PyG
        return torch.sparse_csr_tensor(rowptr, col, values, tuple(found["attr_shape"].tolist())), edge_index
    from torch_geometric.datasets import Planetoid

    with tempfile.TemporaryDirectory() as folder:  # it writes beside its files
        shutil.copytree(source / "planetoid" / name, Path(folder) / name)
        graph = Planetoid(folder, name)[0]
    return graph.x.to_sparse_csr(), graph.edge_index


def split(setting: str, name: str, x: Tensor, edge_index: Tensor, device: str) -> tuple[DistillData, dict[str, Any]]:
    """What may be trained on, and the test: its graph, its links by kind, and its non-links."""
    num_nodes = x.size(0)
    if setting == "production":
        share = 0.3 if name in ("Cora", "CiteSeer") else 0.1
        cut = ProductionLinkSplit(share, share, val_ratio=share, extra_ratio=0.1, seed=SPLIT_SEED)(
            edge_index, num_nodes
        )
        test = {
            "edge_index": cut.inference_edge_index, "negatives": cut.test_negatives,
            "links": {
                "hits": cut.test, "hits_old_old": cut.test_old_old, "hits_old_new": cut.test_old_new,
                "hits_new_new": cut.test_new_new,
            },
        }  # fmt: skip
        data = cut.distill_data(x)
    else:
        generator = torch.Generator().manual_seed(SPLIT_SEED)
        links = undirected_links(edge_index)
        links = links[:, torch.randperm(links.size(1), generator=generator)]
        num_val, num_test = int(0.05 * links.size(1)), int(0.1 * links.size(1))
        val, test_links, train = links.split([num_val, num_test, links.size(1) - num_val - num_test], dim=1)
        negatives = FreePairs(links, num_nodes).draw(num_val + num_test, generator)
        graph = both_directions(train)
        data = DistillData(x, graph, train, val, negatives[:, :num_val])
        test = {"edge_index": graph, "negatives": negatives[:, num_val:], "links": {"hits": test_links}}
    moved = DistillData(**{key: value.to(device) for key, value in vars(data).items()})
    links = {key: value.to(device) for key, value in test["links"].items()}
    return moved, {key: links if key == "links" else value.to(device) for key, value in test.items()}


def hits(pos: Tensor, neg: Tensor) -> float:
    """Hits@20 as OGB counts ties."""
    return hits_at(pos, neg, K, ties="ogb")


def train_teacher(
    args: argparse.Namespace, settings: dict[str, float], data: DistillData, seed: int
) -> tuple[Module, MLPHead, dict[str, Any]]:
    """The GNN with the learning rate and dropout of the students, 256 channels."""
    seed_dropout(seed, -1)
    sage = SAGE(data.x.size(1), 256, settings["dropout"]).to(args.device)
    head = MLPHead(256, 256, dropout=settings["dropout"]).to(args.device)
    model = torch.nn.ModuleList([sage, head])
    optimizer = torch.optim.Adam(model.parameters(), lr=settings["lr"])
    rowptr, col = csr_from_edge_index(data.edge_index, data.x.size(0))
    free = FreePairs(data.train, data.x.size(0))
    best: dict[str, Any] = {"val_hits": -1.0}
    for epoch in range(1, args.epochs + 1):
        generator = epoch_generator(seed, epoch)
        seed_dropout(seed, epoch)
        model.train()
        negatives = free.draw(data.train.size(1), generator)
        order = torch.randperm(data.train.size(1), generator=generator).to(args.device)
        for some in order.split(65536):
            z = sage.on_csr(data.x, rowptr, col)
            pairs = torch.cat([data.train[:, some], negatives[:, some]], dim=1)
            label = (torch.arange(pairs.size(1), device=pairs.device) < some.numel()).float()
            score = head(F.embedding(pairs[0], z), F.embedding(pairs[1], z))
            optimizer.zero_grad()
            F.binary_cross_entropy_with_logits(score, label).backward()
            torch.nn.utils.clip_grad_norm_(sage.parameters(), 1.0)
            torch.nn.utils.clip_grad_norm_(head.parameters(), 1.0)
            optimizer.step()
        model.eval()
        with torch.no_grad():
            z = sage.on_csr(data.x, rowptr, col)
            val = hits(score_pairs(head, z, data.val), score_pairs(head, z, data.val_negatives))
        if val > best["val_hits"]:
            weights = {key: value.clone() for key, value in model.state_dict().items()}
            best = {"val_hits": val, "best_epoch": epoch}
        if epoch - best["best_epoch"] >= args.patience:
            break
    model.load_state_dict(weights)
    return sage, head, {**best, "val_hits": round(best["val_hits"], 4), "epochs": epoch}


def make_student(
    args: argparse.Namespace, settings: dict[str, float], model: str, data: DistillData, seed: int,
    sage: Module | None, head: MLPHead | None,
) -> LinkDistiller:  # fmt: skip
    losses = {
        "mlp": LLPLoss(w_rank=0, w_dist=0),
        "lm": LogitMatching(args.match),
        "rm": RepresentationMatching(args.match),
        "llp": LLPLoss(
            settings["margin"], args.temperature, w_label=settings["label"], w_rank=settings["rank"],
            w_dist=settings["dist"], use_logits=args.use_logits, pairs=args.pairs,
        ),
    }  # fmt: skip
    # Vectors are compared one by one only if they have one size.
    width = 256 if model == "rm" else int(settings["width"])
    seed_dropout(seed, -1)
    student = MLPStudent(data.x.size(1), width, dropout=settings["dropout"]).to(args.device)
    own = MLPHead(width, width, dropout=settings["dropout"]).to(args.device)
    config = DistillConfig(
        args.epochs, args.patience, K, settings["lr"], anchors=args.anchors, rounds=args.rounds,
        low_precision=not args.float32,
    )  # fmt: skip
    return LinkDistiller(
        sage, student, own, teacher_head=head, loss=losses[model], hops=int(settings["hops"]),
        repeats=int(settings["repeats"]), ns_rate=int(settings["ns_rate"]), config=config,
    )  # fmt: skip


def score_pairs(head: MLPHead, z: Tensor, pairs: Tensor) -> Tensor:
    return torch.cat([head(z[some[0]], z[some[1]]) for some in pairs.split(1 << 16, dim=1)])


@torch.no_grad()
def test_teacher(sage: Module, head: MLPHead, x: Tensor, data: DistillData, test: dict[str, Any]) -> dict[str, float]:
    return test_hits(head.eval(), sage.eval()(x, test["edge_index"]), test)


@torch.no_grad()
def test_student(distiller: LinkDistiller, x: Tensor, test: dict[str, Any]) -> dict[str, float]:
    return test_hits(distiller.head.eval(), distiller.student.eval()(x), test)


def test_hits(head: MLPHead, z: Tensor, test: dict[str, Any]) -> dict[str, float]:
    negative = score_pairs(head, z, test["negatives"])
    kinds = test["links"].items()
    return {f"test_{kind}": round(hits(score_pairs(head, z, links), negative), 4) for kind, links in kinds}


if __name__ == "__main__":
    main()
