"""How much accuracy do low precision and its cures cost?    python benchmarks/quantized_accuracy.py --data Cora

Nodes (Cora, CiteSeer: public split; Computers, Photo: 60/20/20 % at random, another split for each seed): two layers of
GCN, GAT or SAGE in float32, and from scratch with W8A8, W4A8 and W4A4, Degree-Quant (4 bits) and A2Q. *naive* is W4A4
after training: the float32 model of the same seed, one range per tensor for weights too, from the smallest and the
largest number seen, and no training after it. Graphs (TU sets, 80/10/10 % at random for each seed): GIN with 8 and 4
bits, by plain quantisation-aware training (*int8*, *int4*) and by Degree-Quant (*dq8*, *dq4*).

One recipe for all ways of a data set. The epoch of the best validation accuracy is judged, and the test set read once
for it. `bytes` is the weights with their scales, `smaller` the ratio to float32.
"""

from __future__ import annotations

import argparse
import itertools
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from common import emit, versions
from torch import Tensor
from torch.nn import BatchNorm1d, Linear, Module, ModuleList, ReLU, Sequential
from torch_geometric.data import Batch, Data
from torch_geometric.datasets import Amazon, Planetoid, TUDataset
from torch_geometric.nn import GATConv, GCNConv, GINConv, SAGEConv, global_add_pool
from torch_geometric.transforms import OneHotDegree

from graphlearn.compress.quantize import (
    A2Q,
    W4A4,
    W4A8,
    W8A8,
    DegreeQuant,
    Precision,
    QuantConfig,
    calibrate,
    memory_penalty,
    protected,
    protection,
    quantize,
    size_report,
)

NODES = {"Cora": "planetoid", "CiteSeer": "planetoid", "Computers": "npz", "Photo": "npz"}
NODE_WAYS = ("float32", "W8A8", "W4A8", "W4A4", "naive", "DegreeQuant", "A2Q")
GRAPH_WAYS = ("float32", "int8", "dq8", "int4", "dq4")
PROTECT = {8: (0.0, 0.1), 4: (0.1, 0.2)}
"""The probabilities of Degree-Quant's code, by bits."""


class NodeNet(Module):
    """Two layers with dropout before each."""

    def __init__(self, kind: str, channels: int, classes: int) -> None:
        super().__init__()
        if kind == "GAT":
            self.convs = ModuleList([GATConv(channels, 8, heads=8), GATConv(64, classes, heads=1)])
        else:
            conv = {"GCN": GCNConv, "SAGE": SAGEConv}[kind]
            self.convs = ModuleList([conv(channels, 64), conv(64, classes)])

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        x = F.dropout(x, 0.5, self.training)
        x = F.dropout(self.convs[0](x, edge_index).relu(), 0.5, self.training)
        return self.convs[1](x, edge_index)


class GraphNet(Module):
    """Layers of GIN, their sum over the nodes, two linear layers."""

    def __init__(self, channels: int, classes: int, layers: int = 4, width: int = 32) -> None:
        super().__init__()
        sizes = [channels, *[width] * layers]
        self.convs = ModuleList(
            GINConv(
                Sequential(
                    Linear(a, b), BatchNorm1d(b), ReLU(), Linear(b, b), BatchNorm1d(b), ReLU()
                )
            )
            for a, b in itertools.pairwise(sizes)
        )  # fmt: skip
        self.head = Sequential(Linear(width, width), ReLU(), Linear(width, classes))

    def forward(self, x: Tensor, edge_index: Tensor, batch: Tensor, size: int) -> Tensor:
        for conv in self.convs:
            x = conv(x, edge_index)
        return self.head(global_add_pool(x, batch, size))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="Cora", help=f"{', '.join(NODES)}, or a TU set")
    parser.add_argument("--models", nargs="+", default=["GCN", "GAT", "SAGE"])
    parser.add_argument("--ways", nargs="+")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--tiny", action="store_true", help="a few epochs, nothing stored")
    parser.add_argument("--no-store", action="store_true", help="only print")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.tiny:
        args.data, args.models, args.seeds, args.epochs = "MUTAG", ["GIN"], 1, 2
    folder = Path(os.environ.get("GRAPHLEARN_TEST_DATA") or Path(__file__).parents[2] / "shared" / "data")
    store = None if args.tiny or args.no_store else "quantized_accuracy"
    nodes = args.data in NODES
    kinds = args.models if nodes else ["GIN"]
    with tempfile.TemporaryDirectory() as copy:  # PyG writes beside what it reads
        place = Path(NODES.get(args.data, "tu")) / args.data
        shutil.copytree(folder / place / "raw", Path(copy) / place / "raw")
        for kind in kinds:
            report(Path(copy), kind, nodes, args, store)


def report(folder: Path, kind: str, nodes: bool, args: argparse.Namespace, store: str | None) -> None:
    """All ways for one kind of model; what each seed gave is told on stderr as it comes."""
    found: dict[str, list[tuple[float, float, float]]] = {}
    for seed in range(args.seeds):
        run = node_runs if nodes else graph_runs
        for way, result in run(folder, kind, seed, args).items():
            found.setdefault(way, []).append(result)
            print(f"{args.data} {kind} {way} seed {seed}: {result[0]:.4f}, {result[2]:.0f} s", file=sys.stderr)
    for way, results in found.items():
        accuracies, size, seconds = (list(part) for part in zip(*results, strict=True))
        floats = [result[0] for result in found.get("float32", [])]
        row = {
            "case": f"{args.data} {kind} {way}", "data": args.data, "model": kind, "way": way,
            "epochs": args.epochs,
            "seeds": args.seeds, "device": args.device, "accuracy": round(100 * statistics.mean(accuracies), 2),
            "std": round(100 * statistics.pstdev(accuracies), 2),
            "points_to_float32": round(100 * (statistics.mean(accuracies) - statistics.mean(floats)), 2)
            if floats else None,
            "bytes": size[0], "smaller": round(found["float32"][0][1] / size[0], 2) if floats else None,
            "seconds": round(statistics.mean(seconds), 1),
        }  # fmt: skip
        emit({**row, **versions(args.device)}, store)


def node_runs(folder: Path, kind: str, seed: int, args: argparse.Namespace) -> dict[str, tuple[float, float, float]]:
    """Test accuracy, bytes of the weights and seconds of each way."""
    source = Planetoid if NODES[args.data] == "planetoid" else Amazon
    dataset = source(folder / NODES[args.data], args.data)
    data = dataset[0]
    generator = torch.Generator().manual_seed(seed)
    if source is Amazon:
        order = torch.randperm(data.num_nodes, generator=generator)
        cuts = [int(0.6 * len(order)), int(0.8 * len(order))]
        parts = torch.tensor_split(order, cuts)
    else:
        parts = tuple(mask.nonzero().squeeze(1) for mask in (data.train_mask, data.val_mask, data.test_mask))
        data.x = data.x / data.x.sum(dim=1, keepdim=True).clamp_min(1.0)
    data = data.to(args.device)
    likely = protection(data.edge_index, data.num_nodes, low=PROTECT[4][0], high=PROTECT[4][1])
    configs = {
        "float32": None, "W8A8": W8A8(), "W4A8": W4A8(), "W4A4": W4A4(), "DegreeQuant": DegreeQuant(4),
        "A2Q": A2Q(4, data.num_nodes), "naive": None,
    }  # fmt: skip
    results = {}
    trained: Module | None = None
    for way in args.ways or NODE_WAYS:
        start = time.perf_counter()
        torch.manual_seed(seed)
        model: Module = NodeNet(kind, dataset.num_features, dataset.num_classes).to(args.device)
        config = configs[way]
        if way == "naive":
            if trained is None:
                raise SystemExit("'naive' needs 'float32' before it in --ways.")
            model = quantize(trained, naive())
            calibrate(model, [data])
            accuracy = correct(model, data, parts[2])
        else:
            model = model if config is None else quantize(model, config)
            accuracy = train_nodes(model, data, parts, way, likely, args.epochs, generator)
        trained = model if way == "float32" else trained
        results[way] = (accuracy, size_report(model).weight_bytes, time.perf_counter() - start)
    return results


def naive() -> QuantConfig:
    """4 bits with one range per tensor, from the smallest and largest number."""
    every = Precision(4, range="minmax")
    weight = Precision(4, "symmetric", "tensor", "current")
    return QuantConfig(weight, every, every, every, every, W4A4().attention)


def train_nodes(
    model: Module,
    data: Data,
    parts: tuple[Tensor, ...],
    way: str,
    likely: Tensor,
    epochs: int,
    generator: torch.Generator,
) -> float:
    groups = [{"params": [p for name, p in model.named_parameters() if not is_width(name)], "weight_decay": 5e-4}]
    if way == "A2Q":  # the rates of its code: steps 0.01, widths 0.05
        steps = [p for name, p in model.named_parameters() if is_width(name)]
        groups.append({"params": steps, "lr": 0.01, "weight_decay": 0.0})
    optimizer = torch.optim.Adam(groups, lr=0.01)
    best, state = -1.0, {}
    for _ in range(epochs):
        model.train()
        optimizer.zero_grad()
        if way == "DegreeQuant":
            with protected(model, likely, generator):
                out = model(data.x, data.edge_index)
        else:
            out = model(data.x, data.edge_index)
        loss = F.cross_entropy(out[parts[0]], data.y[parts[0]])
        if way == "A2Q":  # widths of 4 bits on average
            channels = sum(int(m.channels) for m in model.modules() if hasattr(m, "memory"))
            loss = loss + 0.1 * memory_penalty(model, 4 * channels * data.num_nodes / 8192)
        loss.backward()
        optimizer.step()
        accuracy = correct(model, data, parts[1])
        if accuracy >= best:
            best, state = accuracy, {k: v.clone() for k, v in model.state_dict().items()}
    model.load_state_dict(state)
    return correct(model, data, parts[2])


def is_width(name: str) -> bool:
    """Whether a parameter is a step or a width of A2Q."""
    return name.endswith((".step", ".width"))


@torch.no_grad()
def correct(model: Module, data: Data, part: Tensor) -> float:
    model.eval()
    return float((model(data.x, data.edge_index)[part].argmax(dim=1) == data.y[part]).float().mean())


def graph_runs(folder: Path, kind: str, seed: int, args: argparse.Namespace) -> dict[str, tuple[float, float, float]]:
    """The same for graphs."""
    source = folder / "tu"
    dataset = TUDataset(source, args.data)
    if dataset[0].x is None:
        dataset = TUDataset(source, args.data, transform=OneHotDegree(135))
    graphs = [dataset[int(i)] for i in torch.randperm(len(dataset), generator=torch.Generator().manual_seed(seed))]
    cuts = [int(0.8 * len(graphs)), int(0.9 * len(graphs))]
    parts = [graphs[: cuts[0]], graphs[cuts[0] : cuts[1]], graphs[cuts[1] :]]
    channels = dataset[0].x.size(1)
    results = {}
    for way in args.ways or GRAPH_WAYS:
        start = time.perf_counter()
        bits = 8 if way.endswith("8") else 4
        torch.manual_seed(seed)
        model: Module = GraphNet(channels, dataset.num_classes).to(args.device)
        if way != "float32":
            config = DegreeQuant(bits) if way.startswith("dq") else W8A8() if bits == 8 else W4A4()
            model = quantize(model, config)
        accuracy = train_graphs(model, parts, way, PROTECT[bits], args, torch.Generator().manual_seed(seed))
        results[way] = (accuracy, size_report(model).weight_bytes, time.perf_counter() - start)
    return results


def train_graphs(
    model: Module,
    parts: list[list[Data]],
    way: str,
    between: tuple[float, float],
    args: argparse.Namespace,
    generator: torch.Generator,
) -> float:
    optimizer = torch.optim.Adam(model.parameters(), lr=0.005, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, max(args.epochs // 4, 1), 0.5)
    held = [Batch.from_data_list(part).to(args.device) for part in parts[1:]]
    best, state = float("inf"), {}
    for _ in range(args.epochs):
        model.train()
        for chosen in torch.randperm(len(parts[0]), generator=generator).split(128):
            batch = Batch.from_data_list([parts[0][i] for i in chosen.tolist()]).to(args.device)
            optimizer.zero_grad()
            if way.startswith("dq"):
                likely = protection(
                    batch.edge_index, batch.num_nodes, batch.batch, batch.num_graphs, low=between[0], high=between[1]
                )
                with protected(model, likely, generator):
                    out = scores(model, batch)
            else:
                out = scores(model, batch)
            F.cross_entropy(out, batch.y).backward()
            optimizer.step()
        schedule.step()
        model.eval()
        with torch.no_grad():
            loss = float(F.cross_entropy(scores(model, held[0]), held[0].y))
        if loss <= best:
            best, state = loss, {k: v.clone() for k, v in model.state_dict().items()}
    if state:
        model.load_state_dict(state)
    model.eval()
    with torch.no_grad():
        return float((scores(model, held[1]).argmax(dim=1) == held[1].y).float().mean())


def scores(model: Module, batch: Batch) -> Tensor:
    return model(batch.x, batch.edge_index, batch.batch, batch.num_graphs)


if __name__ == "__main__":
    main()
