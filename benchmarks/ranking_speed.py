"""What does naming the best 100 of a million items cost?    python benchmarks/ranking_speed.py

`ops.ranking.top_k` beside one dense float32 matrix product and `torch.topk` for as many sources at a time, in the same
process and taken in turns. Both give the same scores; `ours_peak_mib` is what ours adds to the memory of the process.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from collections.abc import Callable

import torch
from common import emit, synchronize, versions
from torch import Tensor

from graphlearn.ops.ranking import top_k


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sources", type=int, default=10_000)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--channels", type=int, default=128)
    parser.add_argument("--top", type=int, default=100)
    parser.add_argument("--block", type=int, default=128, help="sources of one dense product")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--tiny", action="store_true", help="few sources and items, once")
    parser.add_argument("--no-store", action="store_true", help="only print")
    args = parser.parse_args()
    if args.tiny:
        args.sources, args.items, args.top, args.repeats = 64, 5_000, 10, 1
    torch.set_num_threads(args.threads)
    generator = torch.Generator().manual_seed(0)
    source = torch.randn(args.sources, args.channels, generator=generator).to(args.device)
    item = torch.randn(args.items, args.channels, generator=generator).to(args.device)
    ways: dict[str, Callable[[], Tensor]] = {
        "ours": lambda: top_k(source, item, args.top)[0],
        "dense": lambda: dense(source, item, args.top, args.block),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    before = peak_mib()
    for repeat in range(args.repeats):
        found = {}
        for name, way in ways.items():
            synchronize(args.device)
            started = time.perf_counter()
            found[name] = way()
            synchronize(args.device)
            seconds[name].append(time.perf_counter() - started)
            if repeat == 0 and name == "ours":
                peak = peak_mib() - before
        torch.testing.assert_close(found["ours"], found["dense"], rtol=1e-4, atol=1e-4)
    ratio = [ours / theirs for ours, theirs in zip(seconds["ours"], seconds["dense"], strict=True)]
    row = {
        "case": "top k of all items",
        "sources": args.sources,
        "items": args.items,
        "channels": args.channels,
        "top": args.top,
        "ours_s": round(statistics.median(seconds["ours"]), 2),
        "dense_s": round(statistics.median(seconds["dense"]), 2),
        "ratio": round(statistics.median(ratio), 3),
        "ratios": [round(r, 3) for r in ratio],
        "ours_peak_mib": round(peak),
        "threads": args.threads,
    }
    emit({**row, **versions(args.device)}, None if args.tiny or args.no_store else "ranking_speed")


def dense(source: Tensor, item: Tensor, top: int, block: int) -> Tensor:
    """The plain way: all scores of a block of sources, then their best."""
    return torch.cat([(part @ item.t()).topk(top, dim=1).values for part in source.split(block)])


def peak_mib() -> float:
    """The most memory that the process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
