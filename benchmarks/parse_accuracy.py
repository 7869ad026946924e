"""How good are Graph Parsing Networks beside other poolings?    python benchmarks/parse_accuracy.py --data PROTEINS

The schedule of the authors' code: Adam, cosine with warm-up over `patience` epochs, gradients clipped at 1, at most
`epochs` epochs, stopped `patience` epochs after the smallest validation loss, test accuracy of that epoch. Graphs: ten
folds of a seed, the fold before the test fold is validation, node attributes and one-hot degrees as features. Cora:
60/20/20 of the nodes at random per fold, features divided by their sum. Every model has the same encoder (perceptron,
graph convolutions with a residual and layer normalisation), the same folds and the same schedule; the peers pool three
times and add the means of all levels, `gcn` pools never and adds up its nodes. One row per fold is kept; what is kept
is not run again. The last row of each model is the mean with its 95 % interval over folds.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import shutil
import statistics
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from common import RESULTS, emit, versions
from sklearn.model_selection import KFold
from torch import Tensor
from torch_geometric.data import Batch, Data
from torch_geometric.datasets import Planetoid, TUDataset
from torch_geometric.nn import (
    MLP,
    ASAPooling,
    EdgePooling,
    GCNConv,
    SAGPooling,
    TopKPooling,
    global_add_pool,
    global_mean_pool,
)  # fmt: skip
from torch_geometric.transforms import NormalizeFeatures, OneHotDegree
from torch_geometric.utils import degree

from graphlearn.models import GraphParsingNetwork

T_95 = (0, 12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26)  # Student's t by degrees of freedom
POOLS = {"topk": TopKPooling, "sag": SAGPooling, "asap": ASAPooling, "edgepool": EdgePooling}


@dataclass(frozen=True)
class Settings:
    """What the authors' configuration says of one dataset."""

    hidden: int
    num_layers: int
    deepsets_layers: int
    edge_mlp_layers: int
    dropout: float
    lr: float
    weight_decay: float
    epochs: int
    patience: int
    batch_size: int = 1
    act_final: bool = False
    edge_dropout: float = 0.0
    pool_layers: int | None = None


SETTINGS = {
    "PROTEINS": Settings(128, 3, 1, 2, 0.1, 5e-4, 1e-4, 500, 50, 128, act_final=True),
    "NCI1": Settings(256, 2, 3, 2, 0.4, 5e-4, 1e-4, 500, 50, 256),
    "Cora": Settings(256, 1, 2, 1, 0.5, 5e-3, 5e-4, 2000, 200, edge_dropout=0.5, pool_layers=2),
}


class Peer(torch.nn.Module):
    """The same encoder around another pooling, or around none."""

    def __init__(self, pool: str, in_channels: int, out_channels: int, settings: Settings) -> None:
        super().__init__()
        size, dropout = settings.hidden, settings.dropout
        norm: dict[str, Any] = {"norm": "layer_norm", "norm_kwargs": {"mode": "node"}}
        self.lin_in = MLP([in_channels, size, size], dropout=[dropout, 0.0], plain_last=not settings.act_final, **norm)
        self.convs = torch.nn.ModuleList(GCNConv(size, size) for _ in range(settings.num_layers))
        self.norm = torch.nn.LayerNorm(size)
        self.pools = torch.nn.ModuleList()
        if pool != "gcn":
            ratio = {} if pool == "edgepool" else {"ratio": 0.5}  # edges: about half anyway
            self.pools.extend(POOLS[pool](size, **ratio) for _ in range(3))
        self.lin_out = MLP([size, size, out_channels], dropout=[dropout, 0.0], **norm)
        self.dropout, self.act_final = dropout, settings.act_final

    def forward(self, x: Tensor, edge_index: Tensor, batch: Tensor | None = None, batch_size: int = 0) -> Tensor:
        h = self.encode(self.lin_in(x), edge_index)
        if batch is None:
            return self.lin_out(h)
        if not self.pools:
            return self.lin_out(global_add_pool(h, batch, batch_size))
        total = h.new_zeros(batch_size, h.size(1))
        for pool in self.pools:
            if isinstance(pool, EdgePooling):
                h, edge_index, batch, _ = pool(h, edge_index, batch)
            else:
                h, edge_index, _, batch = pool(h, edge_index, batch=batch)[:4]
            h = self.encode(h, edge_index)
            total = total + global_mean_pool(h, batch, batch_size)
        return self.lin_out(total)

    def encode(self, x: Tensor, edge_index: Tensor) -> Tensor:
        h = x
        for i, conv in enumerate(self.convs):
            h = conv(h, edge_index)
            if i < len(self.convs) - 1 or self.act_final:
                h = F.dropout(h.relu(), self.dropout, self.training)
        return self.norm(x + h)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = Path(os.environ.get("GRAPHLEARN_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
    parser.add_argument("--root", type=Path, default=data, help="folder that holds tu/ and planetoid/")
    parser.add_argument("--data", choices=SETTINGS, default="PROTEINS")
    parser.add_argument("--models", nargs="+", default=["ours", "gcn", *POOLS])
    parser.add_argument("--folds", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, help="fewer epochs than the schedule has, for a trial")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--tiny", action="store_true", help="one fold of few graphs, two epochs, nothing stored")
    parser.add_argument("--no-store", action="store_true", help="only print")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    settings = SETTINGS[args.data]
    if args.tiny:
        args.folds, args.epochs, args.no_store = 1, 2, True
    if args.epochs is not None:
        settings = Settings(**{**asdict(settings), "epochs": args.epochs, "patience": args.epochs})
    name = None if args.no_store else "parse_accuracy"
    with tempfile.TemporaryDirectory() as folder:  # PyG writes beside what it reads
        graphs = load(args.data, args.root, Path(folder))
    graphs = graphs[:: len(graphs) // 60] if args.tiny and len(graphs) > 1 else graphs
    kept = stored()
    for model in args.models:
        rows = []
        for fold in range(args.folds):
            facts = {"case": f"{args.data}, {model}", "fold": fold, "seed": args.seed, "settings": asdict(settings)}
            row = kept.get(key(facts)) if name else None
            if row is None:
                row = {**facts, **one_fold(graphs, model, fold, args.seed, settings, args.device)}
                emit({**row, **versions(args.device)}, name)
            rows.append(row)
        accuracy = [row["test"] for row in rows]
        spread = statistics.stdev(accuracy) if len(rows) > 1 else 0.0
        whole = {
            "case": f"{args.data}, {model}, mean of {len(rows)} folds",
            "mean": round(statistics.mean(accuracy), 2),
            "interval_95": round(T_95[len(rows) - 1] * spread / math.sqrt(len(rows)), 2),
            "minutes": round(sum(row["seconds"] for row in rows) / 60, 1),
        }
        print(json.dumps({**whole, **versions(args.device)}), flush=True)


def load(name: str, root: Path, folder: Path) -> list[Data]:
    """The graphs of a dataset with the features of the protocol; one graph for Cora."""
    if name == "Cora":
        shutil.copytree(root / "planetoid" / name / "raw", folder / name / "raw")
        return [NormalizeFeatures()(Planetoid(str(folder), name)[0])]
    shutil.copytree(root / "tu" / name / "raw", folder / name / "raw")
    graphs = list(TUDataset(str(folder), name, use_node_attr=True))
    largest = max(int(degree(graph.edge_index[0], graph.num_nodes).max()) for graph in graphs)
    one_hot = OneHotDegree(largest)
    for graph in graphs:
        graph.edge_attr = None
    return [one_hot(graph) for graph in graphs]


def splits(size: int, fold: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Train, validation and test numbers of a fold out of ten; validation is the fold before."""
    parts = [torch.from_numpy(test) for _, test in KFold(10, shuffle=True, random_state=seed).split(range(size))]
    train = torch.cat([part for i, part in enumerate(parts) if i not in (fold, (fold - 1) % 10)])
    return train, parts[fold - 1], parts[fold]


def one_fold(
    graphs: list[Data], model_name: str, fold: int, seed: int, settings: Settings, device: str
) -> dict[str, Any]:
    """Trains one model and tests it at the epoch with the smallest validation loss."""
    torch.manual_seed(1000 * seed + fold)
    start = time.perf_counter()
    whole = Batch.from_data_list(graphs)
    num_classes = int(whole.y.max()) + 1
    model = build(model_name, graphs[0].num_features, num_classes, len(graphs) == 1, settings).to(device)
    if len(graphs) == 1:
        batches = node_batches(graphs[0], fold, seed, device)
    else:
        parts = splits(len(graphs), fold, seed)
        batches = GraphBatches(graphs, parts, settings.batch_size, device)
    optimizer = torch.optim.Adam(model.parameters(), lr=settings.lr, weight_decay=settings.weight_decay)
    steps = len(batches["train"])
    warm, last = settings.patience * steps, settings.epochs * steps

    def rate(step: int) -> float:
        return (
            step / max(1, warm) if step < warm else 0.5 * (1 + math.cos(math.pi * (step - warm) / (last - warm or 1)))
        )

    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    best, best_epoch, found = math.inf, 0, {}
    epoch = 0
    for epoch in range(1, settings.epochs + 1):
        model.train()
        for step in batches["train"]:
            loss, _ = evaluate(model, step)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            scheduler.step()
        model.eval()
        with torch.no_grad():
            loss, accuracy = whole_split(model, batches["val"])
            if loss < best:
                best, best_epoch = loss, epoch
                found = {"val": round(accuracy, 3), "test": round(whole_split(model, batches["test"])[1], 3)}
        if epoch - best_epoch >= settings.patience:
            break
    seconds = time.perf_counter() - start
    return {
        **found, "val_loss": round(best, 5), "best_epoch": best_epoch, "epochs": epoch,
        "seconds": round(seconds, 1), "parameters": sum(p.numel() for p in model.parameters()),
    }  # fmt: skip


def build(name: str, in_channels: int, out_channels: int, nodes: bool, s: Settings) -> torch.nn.Module:
    if name != "ours":
        return Peer(name, in_channels, out_channels, s)
    return GraphParsingNetwork(
        in_channels, s.hidden, out_channels=out_channels, task="node" if nodes else "graph", num_layers=s.num_layers,
        pool_layers=s.pool_layers, deepsets_layers=s.deepsets_layers, edge_mlp_layers=s.edge_mlp_layers,
        dropout=s.dropout, edge_dropout=s.edge_dropout, act_final=s.act_final,
    )  # fmt: skip


@dataclass(frozen=True)
class Step:
    """What one call of a model reads, and the rows of its result that count."""

    inputs: tuple[Any, ...]
    y: Tensor
    rows: Tensor | slice


class GraphBatches:
    """Mini-batches of graphs by split; those of training in a new order each time."""

    def __init__(self, graphs: list[Data], parts: tuple[Tensor, ...], size: int, device: str) -> None:
        self.graphs, self.size, self.device = graphs, size, device
        self.parts = dict(zip(("train", "val", "test"), parts, strict=True))
        self.fixed = {split: self.make(self.parts[split]) for split in ("val", "test")}

    def __getitem__(self, split: str) -> list[Step]:
        if split != "train":
            return self.fixed[split]
        part = self.parts[split]
        return self.make(part[torch.randperm(len(part))])

    def make(self, part: Tensor) -> list[Step]:
        batches = [Batch.from_data_list([self.graphs[i] for i in chunk.tolist()]) for chunk in part.split(self.size)]
        moved = [batch.to(self.device) for batch in batches]
        return [Step((b.x, b.edge_index, b.batch, b.num_graphs), b.y, slice(None)) for b in moved]


def node_batches(graph: Data, fold: int, seed: int, device: str) -> dict[str, list[Step]]:
    """The one graph, of whose nodes 60 % train, 20 % choose the epoch and 20 % test."""
    order = torch.randperm(graph.num_nodes, generator=torch.Generator().manual_seed(1000 * seed + fold))
    bounds = [0, int(0.6 * len(order)), int(0.8 * len(order)), len(order)]
    graph = graph.to(device)
    steps = {}
    for split, (low, high) in zip(("train", "val", "test"), itertools.pairwise(bounds), strict=True):
        rows = order[low:high].to(device)
        steps[split] = [Step((graph.x, graph.edge_index), graph.y[rows], rows)]
    return steps


def evaluate(model: torch.nn.Module, step: Step) -> tuple[Tensor, Tensor]:
    out = model(*step.inputs)[step.rows]
    return F.cross_entropy(out, step.y), (out.argmax(dim=1) == step.y).sum()


def whole_split(model: torch.nn.Module, steps: list[Step]) -> tuple[float, float]:
    """Mean loss and percent right of a split."""
    total = sum(len(step.y) for step in steps)
    results = [(*evaluate(model, step), len(step.y)) for step in steps]
    return sum(float(r[0]) * r[2] for r in results) / total, 100 * sum(int(r[1]) for r in results) / total


def key(row: dict[str, Any]) -> str:
    return json.dumps([row["case"], row["fold"], row["seed"], row["settings"]], sort_keys=True)


def stored() -> dict[str, dict[str, Any]]:
    """Rows of earlier runs, by what they measured."""
    path = RESULTS / "parse_accuracy.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return {key(row): row for row in map(json.loads, lines)}


if __name__ == "__main__":
    main()
