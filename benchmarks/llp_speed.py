"""How long is an epoch of a student?    python benchmarks/llp_speed.py --datasets Cora CiteSeer

One epoch with the settings of the authors' scripts, validation included, from the end of one validation to the end of
the next, after the epochs in which the teacher is asked; the processor's time beside the clock's, because on a busy
machine it says more. Contexts in bfloat16 and in float32, and learning from labels alone, in turn within one run.
`--pairs` and `--anchors` draw pairs of contexts and anchors of an epoch, as the larger sets need.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch
from common import emit, versions
from llp_accuracy import NAMES, SAGE, SETTINGS, default_source, load, split

from graphlearn.compress import DistillConfig, DistillData, LinkDistiller, LLPLoss, MLPStudent
from graphlearn.nn import MLPHead


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, default=default_source())
    parser.add_argument("--datasets", nargs="+", default=["Cora", "CiteSeer"], choices=list(SETTINGS["transductive"]))
    parser.add_argument("--epochs", type=int, default=10, help="epochs that are measured")
    parser.add_argument("--pairs", type=int, help="pairs of contexts drawn per anchor; all without it")
    parser.add_argument("--anchors", type=int, help="anchors of an epoch; all nodes without it")
    parser.add_argument("--ways", nargs="+", default=["bfloat16", "float32", "labels"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--tiny", action="store_true", help="one data set, few anchors, two epochs")
    parser.add_argument("--no-store", action="store_true", help="only print")
    args = parser.parse_args()
    if args.tiny:
        args.datasets, args.epochs, args.anchors = ["Cora"], 2, 50
    torch.set_num_threads(args.threads)
    store = None if args.tiny or args.no_store else "llp_speed"
    for name in args.datasets:
        x, edge_index = load(args.source, name)
        data, _ = split("transductive", name, x, edge_index, args.device)
        settings = dict(zip(NAMES, SETTINGS["transductive"][name], strict=True))
        row: dict[str, Any] = {}
        for way in args.ways:
            times = epochs_of(args, data, settings, way)
            row[way] = times
            print(f"{name} {way}: {times}", file=sys.stderr)
        width = int(settings["hops"] * settings["repeats"] * (1 + settings["ns_rate"]))
        common = {"dataset": name, "contexts": width, "channels": settings["width"], "nodes": x.size(0)}
        common |= {"train_links": data.train.size(1), "pairs": args.pairs, "anchors": args.anchors}
        emit({"case": f"{name}, one epoch", **common, **row, **versions(args.device)}, store)


def epochs_of(args: argparse.Namespace, data: DistillData, settings: dict[str, float], way: str) -> dict[str, float]:
    """Seconds of an epoch."""
    torch.manual_seed(0)
    sage, head = SAGE(data.x.size(1), 256, 0.0).to(args.device), MLPHead(256, 256).to(args.device)
    width = int(settings["width"])
    student = MLPStudent(data.x.size(1), width, dropout=settings["dropout"]).to(args.device)
    rank, dist = (0.0, 0.0) if way == "labels" else (settings["rank"], settings["dist"])
    # An untrained teacher's scores differ little, so a small margin is what makes pairs active.
    loss = LLPLoss(1e-4, w_label=settings["label"], w_rank=rank, w_dist=dist, pairs=args.pairs)
    epochs = args.epochs + 2
    config = DistillConfig(
        epochs, epochs, lr=settings["lr"], anchors=args.anchors, rounds=1, low_precision=way == "bfloat16"
    )
    stamps: list[tuple[float, float]] = []

    def stamp(module: torch.nn.Module, inputs: object) -> None:
        if not module.training:
            stamps.append((time.perf_counter(), time.process_time()))

    student.register_forward_pre_hook(stamp)
    distiller = LinkDistiller(
        sage, student, MLPHead(width, width, dropout=settings["dropout"]).to(args.device), teacher_head=head, loss=loss,
        hops=int(settings["hops"]), repeats=int(settings["repeats"]), ns_rate=int(settings["ns_rate"]), config=config,
    )  # fmt: skip
    distiller.fit(data, progress=False)
    pairs = list(itertools.pairwise(stamps[1:]))
    wall, cpu = ([b[i] - a[i] for a, b in pairs] for i in range(2))
    low, high = statistics.quantiles(wall, n=4)[::2] if len(wall) > 1 else (wall[0], wall[0])
    found = {"median_s": statistics.median(wall), "iqr_s": high - low, "cpu_median_s": statistics.median(cpu)}
    return {key: round(value, 4) for key, value in found.items()} | {"cpu_min_s": round(min(cpu), 4)}


if __name__ == "__main__":
    main()
