"""How often does WalkPool rank a link above a non-link?    python benchmarks/walk_pool_accuracy.py --networks NS

Test AUC on the published splits of networks without attributes, at the epoch with the best validation AUC. The graph
that is seen holds the training and validation links of the split; each subgraph is cut without its own link. 5 % of the
links, and as many non-links, validate. Nothing is chosen on test.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from common import SEAL_HOPS, emit, seal_links, versions
from sklearn.metrics import average_precision_score, roc_auc_score
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.utils import to_undirected

from graphlearn.models.seal import SEALLinkPredictor
from graphlearn.models.walk_pool import WalkPoolLinkPredictor, slim_classifier
from graphlearn.sampling.subgraph import EnclosingSubgraph, LinkSubgraphLoader

CAPPED = {"PB": 100}
MAX_LABEL = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = Path(os.environ.get("GRAPHLEARN_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
    parser.add_argument("--source", type=Path, default=data / "seal")
    parser.add_argument("--networks", nargs="+", default=list(SEAL_HOPS), choices=list(SEAL_HOPS))
    parser.add_argument("--models", nargs="+", default=["walkpool", "seal"], choices=["walkpool", "seal"])
    parser.add_argument("--splits", nargs="+", type=int, default=[1])
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--lr", type=float, default=5e-5, help="of WalkPool")
    parser.add_argument("--seal-lr", type=float, default=1e-4)
    parser.add_argument("--classifier", default="paper", choices=["paper", "slim"])
    parser.add_argument("--labels", action="store_true", help="double-radius labels for WalkPool too")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--tiny", action="store_true", help="one network, few links, one epoch")
    parser.add_argument("--no-store", action="store_true", help="only print")
    args = parser.parse_args()
    if args.tiny:
        args.networks, args.splits, args.epochs = ["NS"], [1], 1
    torch.set_num_threads(args.threads)
    store = None if args.tiny or args.no_store else "walk_pool_accuracy"
    for network in args.networks:
        for split in args.splits:
            for model in args.models:
                emit({**one_run(args, network, split, model), **versions(args.device)}, store)


def one_run(args: argparse.Namespace, network: str, split: int, kind: str) -> dict[str, Any]:
    loaders, subgraph = make_loaders(args, network, split, drnl=kind == "seal" or args.labels)
    torch.manual_seed(split)
    if kind == "seal":
        size = torch.cat([batch.ptr.diff() for batch in loaders["val"]])
        k = max(10, int(size.float().quantile(0.4)))
        model: torch.nn.Module = SEALLinkPredictor(MAX_LABEL, k=k)
        lr = args.seal_lr
    else:
        channels = subgraph.x.size(1)
        model = WalkPoolLinkPredictor(channels, max_label=MAX_LABEL if args.labels else None)
        if args.classifier == "slim":
            model.classifier = slim_classifier(model.pool.out_channels)
        lr = args.lr
    model.to(args.device)
    optimizer = torch.optim.Adam(model.parameters(), lr=lr, fused=True)
    best: dict[str, Any] = {"val_auc": -1.0}
    seconds, curve = [], []
    for epoch in range(1, args.epochs + 1):
        start = time.perf_counter()
        model.train()
        for batch in loaders["train"]:
            batch = batch.to(args.device)
            optimizer.zero_grad()
            F.binary_cross_entropy_with_logits(scores(model, kind, batch), batch.y).backward()
            optimizer.step()
        seconds.append(time.perf_counter() - start)
        val = evaluate(model, kind, loaders["val"], args.device)
        curve.append(round(val["auc"], 4))
        if val["auc"] > best["val_auc"]:
            test = evaluate(model, kind, loaders["test"], args.device)
            best = {"epoch": epoch, "val_auc": val["auc"], "test_auc": test["auc"], "test_ap": test["ap"]}
        print(
            f"{network} {split} {kind}: epoch {epoch}, {seconds[-1]:.1f} s, val {curve[-1]}, best {best}",
            file=sys.stderr,
        )
    return {
        "case": f"{network}, split {split}, {kind}", "network": network, "split": split, "model": kind,
        "hops": SEAL_HOPS[network], "epochs": args.epochs, "lr": lr, "batch_size": args.batch_size,
        "classifier": args.classifier if kind == "walkpool" else None, "labels": kind == "seal" or args.labels,
        "train_links": loaders["train"].edge_label_index.size(1),
        **{key: round(value, 4) if isinstance(value, float) else value for key, value in best.items()},
        "val_curve": curve, "median_epoch_s": round(statistics.median(seconds), 2),
    }  # fmt: skip


def make_loaders(
    args: argparse.Namespace, network: str, split: int, drnl: bool
) -> tuple[dict[str, LinkSubgraphLoader], EnclosingSubgraph]:
    num_nodes, links = seal_links(args.source, network, split)
    generator = torch.Generator().manual_seed(split)
    seen = to_undirected(links["train_pos"])
    # The authors' networks without attributes: every node has the same features.
    graph = Data(x=torch.ones(num_nodes, 16), edge_index=seen, num_nodes=num_nodes)
    subgraph = EnclosingSubgraph(
        graph, SEAL_HOPS[network], max_nodes_per_hop=CAPPED.get(network), drnl=drnl, max_label=MAX_LABEL,
        generator=generator,
    )  # fmt: skip
    parts: dict[str, list[Tensor]] = {"train": [], "val": [], "test": [links["test_pos"], links["test_neg"]]}
    for sign in ("pos", "neg"):
        every = links[f"train_{sign}"]
        order = torch.randperm(every.size(1), generator=generator)
        num_val = max(1, round(0.05 * len(order)))
        parts["val"].append(every[:, order[:num_val]])
        parts["train"].append(every[:, order[num_val:]])
    if args.tiny:
        parts = {name: [part[:, :64] for part in pair] for name, pair in parts.items()}
    loaders = {
        name: LinkSubgraphLoader(
            subgraph, torch.cat(pair, dim=1), torch.cat([torch.ones(pair[0].size(1)), torch.zeros(pair[1].size(1))]),
            batch_size=args.batch_size, shuffle=name == "train", generator=generator, drop_last=name == "train",
        )
        for name, pair in parts.items()
    }  # fmt: skip
    return loaders, subgraph


def scores(model: torch.nn.Module, kind: str, batch: Data) -> Tensor:
    common = (batch.edge_index, batch.batch, batch.candidate, batch.edge_mask)
    if kind == "seal":
        return model(batch.z, *common, rowptr=batch.rowptr)
    return model(batch.x, *common, z=batch.get("z"), rowptr=batch.rowptr)


@torch.no_grad()
def evaluate(model: torch.nn.Module, kind: str, loader: LinkSubgraphLoader, device: str) -> dict[str, float]:
    model.eval()
    score = torch.cat([scores(model, kind, batch.to(device)).cpu() for batch in loader])
    y = loader.edge_label
    return {"auc": float(roc_auc_score(y, score)), "ap": float(average_precision_score(y, score))}


if __name__ == "__main__":
    main()
