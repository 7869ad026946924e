"""Does a search find smaller GNNs that are as good?    python benchmarks/lpgnas.py --data Cora --seeds 0 1 2

One search per seed and weight of size, beside {GCN, GAT, SAGE} x {float32, W8A8, W4A8, W4A4} of `quantized_accuracy`,
all on the same split: 60/20/20 % of the nodes at random, another one for each seed (not the public split of Cora and
CiteSeer). The epoch, and of a search the network too, is chosen on validation; the test set is read once for each.
`bytes` is all that is stored: weights, scales, biases. `search_cpu_s` and `search_s` are CPU and wall-clock seconds
of the search, from its first step to the network that is trained from scratch.

The last rows say, of the means over the seeds: the most accurate network of the frontier (`best`), whether another
is both smaller and more accurate (`dominated_by`), how much smaller the search's is, and how many points it has more.
"""

from __future__ import annotations

import argparse
import itertools
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from common import emit, versions
from quantized_accuracy import NODES, NodeNet, train_nodes
from torch_geometric.data import Data
from torch_geometric.datasets import Amazon, Planetoid

from graphlearn.compress.lpgnas import LPGNAS, QuantSpace, SearchSpace
from graphlearn.compress.quantize import W4A4, W4A8, W8A8, quantize, size_report

WAYS = {"float32": None, "W8A8": W8A8(), "W4A8": W4A8(), "W4A4": W4A4()}
SPACE = SearchSpace(
    attention=("none", "gcn", "gat", "gatv2", "cosine", "linear"),
    aggregator=("sum", "mean"),
    activation=("none", "relu", "elu", "leaky"),
    heads=(1, 4, 8),
    hidden=(16, 32, 64),
)
FEATURES = ("int4", "int8", "float")
QUANT = QuantSpace(("ternary", "int4", "int8"), FEATURES, ("int4", "int8"), FEATURES, FEATURES, FEATURES)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="Cora", choices=list(NODES))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--size-weights", type=float, nargs="*", default=[0.02, 0.1])
    parser.add_argument("--ops-weight", type=float, default=0.005)
    parser.add_argument("--epochs", type=int, default=200, help="of every network that is trained")
    parser.add_argument("--search-epochs", type=int, default=200)
    parser.add_argument("--finalists", type=int, default=3, help="networks that a search trains from scratch")
    parser.add_argument("--models", nargs="*", default=["GCN", "GAT", "SAGE"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--tiny", action="store_true", help="a few epochs, nothing stored")
    parser.add_argument("--no-store", action="store_true", help="only print")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.tiny:
        args.seeds, args.models, args.epochs, args.search_epochs = [0], ["GCN"], 1, 4
        args.size_weights, args.finalists = [0.02], 1
    folder = Path(os.environ.get("GRAPHLEARN_TEST_DATA") or Path(__file__).parents[2] / "shared" / "data")
    store = None if args.tiny or args.no_store else "lpgnas"
    found: dict[str, list[dict[str, Any]]] = {}
    for seed in args.seeds:
        data = load(folder, args.data, seed).to(args.device)
        for row in itertools.chain(frontier(data, seed, args), searched(data, seed, args)):
            found.setdefault(row["network"], []).append(row)
            case = f"{args.data} {row['network']} seed {seed}"
            shared = {"data": args.data, "seed": seed, "epochs": args.epochs, "device": args.device}
            emit({"case": case, **shared, **row, **versions(args.device)}, store)
    for row in verdicts(found):
        case = f"{args.data} {row['network']} against the frontier"
        emit({"case": case, "data": args.data, "seeds": args.seeds, **row, **versions(args.device)}, store)


def load(folder: Path, name: str, seed: int) -> Data:
    """The graph, with masks of a random split."""
    source = Planetoid if NODES[name] == "planetoid" else Amazon
    with tempfile.TemporaryDirectory() as copy:  # PyG writes beside what it reads
        shutil.copytree(folder / NODES[name] / name / "raw", Path(copy) / name / "raw")
        data = source(copy, name)[0]
    if source is Planetoid:
        data.x = data.x / data.x.sum(dim=1, keepdim=True).clamp_min(1.0)
    count = data.num_nodes
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    rows = torch.tensor_split(order, [int(0.6 * count), int(0.8 * count)])
    for split, part in zip(("train", "val", "test"), rows, strict=True):
        data[f"{split}_mask"] = torch.zeros(count, dtype=torch.bool).index_fill_(0, part, True)
    return data


def frontier(data: Data, seed: int, args: argparse.Namespace):
    """Each fixed network, at each precision."""
    parts = tuple(data[f"{split}_mask"].nonzero().squeeze(1) for split in ("train", "val", "test"))
    generator = torch.Generator().manual_seed(seed)
    for kind in args.models:
        for way, config in WAYS.items():
            torch.manual_seed(seed)
            model = NodeNet(kind, data.num_features, int(data.y.max()) + 1).to(args.device)
            model = model if config is None else quantize(model, config)
            start = time.process_time()
            accuracy = train_nodes(model, data, parts, way, torch.empty(0), args.epochs, generator)
            yield {
                "network": f"{kind} {way}",
                "accuracy": round(100 * accuracy, 2),
                "bytes": size_report(model).total,
                "train_cpu_s": round(time.process_time() - start, 1),
            }


def searched(data: Data, seed: int, args: argparse.Namespace):
    """The network of one search, for each weight of its size."""
    for weight in args.size_weights:
        begun, cpu = time.perf_counter(), time.process_time()
        search = LPGNAS(
            SPACE,
            QUANT,
            size_weight=weight,
            ops_weight=args.ops_weight,
            epochs=args.search_epochs,
            warmup=args.search_epochs // 2,
            seed=seed,
        ).fit(data)
        derived = search.retrain(epochs=args.epochs, finalists=args.finalists)
        seconds, cpu = time.perf_counter() - begun, time.process_time() - cpu
        yield {
            "network": f"LPGNAS {weight:g}",
            "accuracy": round(100 * search.score(derived), 2),
            "val_accuracy": round(100 * derived.val_score, 2),
            "bytes": size_report(derived.model).total,
            "bit_operations": derived.bit_operations,
            "search_epochs": args.search_epochs,
            "finalists": args.finalists,
            "search_cpu_s": round(cpu, 1),
            "search_s": round(seconds, 1),
            "architecture": derived.architecture.to_dict(),
        }


def verdicts(found: dict[str, list[dict[str, Any]]]):
    """Each search beside the frontier, by means over the seeds."""
    mean = {
        name: (statistics.mean(row["accuracy"] for row in rows), statistics.mean(row["bytes"] for row in rows))
        for name, rows in found.items()
    }
    fixed = {name: point for name, point in mean.items() if not name.startswith("LPGNAS")}
    for name in [name for name in mean if name not in fixed] if fixed else []:
        accuracy, size = mean[name]
        best = max(fixed, key=lambda other: fixed[other])
        yield {
            "network": name,
            "accuracy": round(accuracy, 2),
            "std": round(statistics.pstdev(row["accuracy"] for row in found[name]), 2),
            "bytes": round(size),
            "best": best,
            "points_to_best": round(accuracy - fixed[best][0], 2),
            "smaller_than_best": round(fixed[best][1] / size, 2),
            "dominated_by": [other for other, (a, s) in fixed.items() if a >= accuracy and s <= size],
        }


if __name__ == "__main__":
    main()
