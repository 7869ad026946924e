"""How well are hidden links told from easy and from hard non-links?    python benchmarks/link_accuracy.py

Random splits (5 % validation, 10 % test), the graph of training only, one row per dataset, seed and model. Validation
AUC against uniform non-links chooses the epoch; test is scored once. Heuristics are scored on the same splits.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import torch
from common import emit, versions

from graphlearn.graph.link_data import LinkData, read_dataset
from graphlearn.models.link_presets import LinkModelConfig
from graphlearn.ops.heuristics import HEURISTICS
from graphlearn.predict.link_run import run_links
from graphlearn.sampling.link_split import random_link_split
from graphlearn.sampling.split_negatives import with_negatives
from graphlearn.training.link import LinkTrainConfig

FOLDERS = {
    "Cora": "planetoid",
    "CiteSeer": "planetoid",
    "Photo": "npz",
    "Computers": "npz",
    "CS": "npz",
    "Physics": "npz",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = Path(os.environ.get("GRAPHLEARN_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
    parser.add_argument("--source", type=Path, default=data)
    parser.add_argument("--datasets", nargs="+", default=["Cora"], choices=list(FOLDERS))
    parser.add_argument("--models", nargs="+", default=["gcn", "sage", "mlp"])
    parser.add_argument("--head", default="mlp")
    parser.add_argument("--channels", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--patience", type=int, default=20)
    parser.add_argument("--lr", type=float, default=0.01)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--tiny", action="store_true", help="one seed, one epoch, few channels")
    parser.add_argument("--no-store", action="store_true", help="only print")
    args = parser.parse_args()
    if args.tiny:
        args.seeds, args.epochs, args.channels = [0], 1, 4
    torch.set_num_threads(args.threads)
    store = None if args.tiny or args.no_store else "link_accuracy"
    for dataset in args.datasets:
        graph = read_dataset(dataset, args.source / FOLDERS[dataset])
        for seed in args.seeds:
            run_seed(args, graph, seed, store)


def run_seed(args: argparse.Namespace, graph: LinkData, seed: int, store: str | None) -> None:
    generator = torch.Generator().manual_seed(seed)
    split = random_link_split(graph.edge_index, graph.num_nodes, 0.05, 0.1, generator)
    split = with_negatives(split, "hard", generator)
    training = LinkTrainConfig(epochs=args.epochs, patience=args.patience, lr=args.lr)
    for model in [*args.models, "cn"]:  # the other heuristics stand beside it
        start = time.perf_counter()
        config = None if model in HEURISTICS else LinkModelConfig(model, args.head, args.channels)
        found = run_links(graph, split, model, config=config, training=training, seed=seed, device=args.device)
        for name in [model] if config is not None else list(found.test):
            emit(
                {
                    "case": f"{graph.name}, seed {seed}, {name}", "dataset": graph.name, "seed": seed, "model": name,
                    "head": args.head if config is not None else None, "channels": args.channels, "lr": args.lr,
                    "epochs": len(found.history), "best_epoch": found.best_epoch, "val": found.val[name],
                    "test": found.test[name], "seconds": round(time.perf_counter() - start, 1),
                    **versions(args.device),
                },
                store,
            )  # fmt: skip


if __name__ == "__main__":
    main()
