"""How good is a model on rel-f1, in both regimes, and what does a run cost?  python benchmarks/rel_f1.py --model auto

Runs `graphlearn train` and `graphlearn evaluate` as a user would, one process each, for five seeds. Nothing is chosen
on test: each row holds the metrics of a run that was chosen on earlier folds. `--split val --no-refit` scores what the
folds saw instead.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import emit, versions

TASKS = {"driver-dnf": "auroc", "driver-top3": "auroc", "driver-position": "mae"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    data = Path(os.environ.get("GRAPHLEARN_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
    parser.add_argument("--source", type=Path, default=data / "relbench" / "rel-f1")
    parser.add_argument("--tasks", nargs="+", default=list(TASKS))
    parser.add_argument("--regimes", nargs="+", default=["frozen", "rolling"])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--model", default="auto")
    parser.add_argument("--refit", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--split", default="test")
    parser.add_argument("--tiny", action="store_true", help="one task, one seed, seconds")
    parser.add_argument("--no-store", action="store_true", help="do not keep the rows")
    args = parser.parse_args()
    if args.tiny:
        args.tasks, args.regimes, args.seeds, args.no_store = ["driver-top3"], ["frozen"], 1, True
        args.model = "gnn"
    name = None if args.no_store else "rel_f1"
    facts = {"model": args.model, "device": args.device, "split": args.split, **versions(args.device)}
    for task in args.tasks:
        for regime in args.regimes:
            rows = [one_run(args, task, regime, seed) for seed in range(args.seeds)]
            for row in rows:
                emit({"case": f"{task}, {regime}", **row, **facts}, name)
            scores = [row["score"] for row in rows]
            spread = statistics.stdev(scores) if len(scores) > 1 else 0.0
            whole = {
                "case": f"{task}, {regime}, mean of {args.seeds} seeds",
                "metric": TASKS[task],
                "mean": round(statistics.mean(scores), 4),
                "std": round(spread, 4),
                "slowest_run_s": max(row["train_s"] for row in rows),
                "peak_mib": max(row["peak_mib"] for row in rows),
                "baselines": rows[0]["baselines"],
            }
            emit({**whole, **facts}, name)


def one_run(args: argparse.Namespace, task: str, regime: str, seed: int) -> dict[str, object]:
    """Trains and evaluates in processes of their own; the time and the peak memory are those of the training."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        words = ["train", args.source, "--task", task, "--regime", regime, "--seed", seed, "--device", args.device]
        words += ["--model", args.model, *([] if args.refit else ["--no-refit"])]
        started = time.perf_counter()
        trained = json.loads(command([*words, "--out", out, "--json", *(["--max-minutes", 0.05] if args.tiny else [])]))
        seconds = time.perf_counter() - started
        # The largest child so far; evaluations come after their training and need less.
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
        meta = json.loads((out / "run.json").read_text(encoding="utf-8"))
        lines = command(["evaluate", out, "--split", args.split, "--json", "--device", args.device]).splitlines()
    table = [json.loads(line) for line in lines]
    metric = TASKS[task]
    return {
        "seed": seed,
        "metric": metric,
        "score": round(table[0][metric], 4),
        "low": round(table[0]["low"], 4),
        "high": round(table[0]["high"], 4),
        "val": round(trained["val"], 4),
        "kind": meta["kind"],
        "weights": meta["weights"],
        "best_epoch": trained["best_epoch"],
        "train_s": round(seconds, 1),
        "peak_mib": peak,
        "baselines": {row["model"]: round(row[metric], 4) for row in table[1:]},
    }


def command(words: list[object]) -> str:
    """The standard output of one graphlearn command."""
    line = [sys.executable, "-m", "graphlearn", *map(str, words)]
    return subprocess.run(line, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout


if __name__ == "__main__":
    main()
