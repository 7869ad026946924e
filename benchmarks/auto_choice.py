"""Is the automatic choice as good as the best single model?    python benchmarks/auto_choice.py

For tasks of rel-f1, the generated shop, Sakila, Northwind and Chinook, it trains `auto` and each of constant, gbdt and
gnn, one process each, and scores all of them on test. Nothing is chosen on test.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from common import emit, versions
from demo import generator

SINGLE = ("constant", "gbdt", "gnn")
#: What counts as worse than the best single model: AUROC points, and a share of the MAE.
_POINTS, _SHARE = 0.005, 0.01


#: Rentals come in bursts of a week with nothing in between: one of them validates, the last one tests.
_SAKILA = ("--val-time", "2005-07-27", "--test-time", "2005-08-17", "--eval-anchors", "3")


@dataclass(frozen=True)
class Asked:
    """A task: the source, a query or the name of a task of it, and options of ``train``."""

    source: str
    what: str
    metric: str
    regime: str = "frozen"
    query: bool = True
    options: tuple[str, ...] = ()


TASKS = {
    "f1 dnf": Asked("rel-f1", "driver-dnf", "auroc", query=False),
    "f1 top3, rolling": Asked("rel-f1", "driver-top3", "auroc", "rolling", query=False),
    "f1 position": Asked("rel-f1", "driver-position", "mae", query=False),
    "f1 points next 90 days": Asked(
        "rel-f1",
        "PREDICT SUM(results.points, 0, 90, days) FOR EACH drivers.driverId WHERE COUNT(results.*, -365, 0, days) > 0",
        "mae",
    ),
    "shop churn": Asked("shop", "churn", "auroc", query=False),
    "shop orders next 30 days": Asked(
        "shop",
        "PREDICT COUNT(orders.*, 0, 30, days) FOR EACH customers.customer_id WHERE COUNT(orders.*, -90, 0, days) > 0",
        "mae",
    ),
    "sakila rents within 2 days": Asked(
        "sakila", "PREDICT COUNT(rental.*, 0, 2, days) > 0 FOR EACH customer.customer_id", "auroc", options=_SAKILA
    ),
    "sakila pays within 2 days": Asked(
        "sakila", "PREDICT SUM(payment.amount, 0, 2, days) FOR EACH customer.customer_id", "mae", options=_SAKILA
    ),
    "northwind orders next 30 days": Asked(
        "northwind",
        "PREDICT COUNT(Orders.*, 0, 30, days) > 0 FOR EACH Customers.CustomerID",
        "auroc",
    ),
    "chinook buys next 90 days": Asked(
        "chinook",
        "PREDICT COUNT(Invoice.*, 0, 90, days) > 0 FOR EACH Customer.CustomerId",
        "auroc",
    ),
    "chinook spends next 90 days": Asked(
        "chinook",
        "PREDICT SUM(Invoice.Total, 0, 90, days) FOR EACH Customer.CustomerId",
        "mae",
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    data = Path(os.environ.get("GRAPHLEARN_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
    parser.add_argument("--data", type=Path, default=data)
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS), metavar="TASK")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--split", default="test")
    parser.add_argument("--max-minutes", type=float)
    parser.add_argument("--tiny", action="store_true", help="one task, trees and no network, seconds")
    parser.add_argument("--no-store", action="store_true", help="do not keep the rows")
    args = parser.parse_args()
    if args.tiny:
        args.tasks, args.seeds, args.max_minutes, args.no_store = ["northwind orders next 30 days"], 1, 0.0, True
    name = None if args.no_store else "auto_choice"
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for task in args.tasks:
            rows.append(one_task(args, task, Path(folder)))
            emit({**rows[-1], **versions()}, name)
    whole = {
        "case": "all tasks",
        "tasks": len(rows),
        "worse_than_best_single": [row["case"] for row in rows if row["verdict"] == "worse"],
        "better_than_best_single": [row["case"] for row in rows if row["gain"] > 0],
        "slowest_auto_s": max(row["seconds"]["auto"] for row in rows),
    }
    emit({**whole, **versions()}, name)


def one_task(args: argparse.Namespace, task: str, folder: Path) -> dict[str, object]:
    """Scores of every kind of model, means over the seeds."""
    asked = TASKS[task]
    source = place(asked.source, args.data, folder)
    scores: dict[str, float] = {}
    seconds: dict[str, float] = {}
    kinds, whys = [], []
    for model in ("auto", *SINGLE):
        found = []
        for seed in range(args.seeds):
            out = folder / "runs" / f"{list(TASKS).index(task)}-{model}-{seed}"
            words = ["train", source, *([asked.what] if asked.query else ["--task", asked.what]), *asked.options]
            words += ["--model", model, "--regime", asked.regime, "--seed", seed, "--out", out, "--json"]
            words += [] if args.max_minutes is None else ["--max-minutes", args.max_minutes]
            started = time.perf_counter()
            command(words)
            seconds[model] = round(time.perf_counter() - started, 1)
            lines = command(["evaluate", out, source, "--split", args.split, "--json"]).splitlines()
            found.append(json.loads(lines[0])[asked.metric])
            if model == "auto":
                meta = json.loads((out / "run.json").read_text(encoding="utf-8"))
                kinds.append(meta["kind"])
                whys.append(meta["choice"]["why"])
        scores[model] = round(statistics.mean(found), 4)
    higher = asked.metric == "auroc"
    best = (max if higher else min)(scores[model] for model in SINGLE)
    gain = scores["auto"] - best if higher else best - scores["auto"]
    limit = _POINTS if higher else _SHARE * best
    return {
        "case": task,
        "regime": asked.regime,
        "metric": asked.metric,
        "split": args.split,
        "scores": scores,
        "gain": round(gain, 4),
        "verdict": "worse" if gain < -limit else "as good" if gain <= 0 else "better",
        "chosen": kinds,
        "why": whys[0],
        "seconds": seconds,
    }


def place(source: str, data: Path, folder: Path) -> str:
    """Where a source lies; the shop is made."""
    if source == "shop":
        if not (folder / "shop").exists():
            generator().write(folder / "shop", seed=0, customers=4000)
        return str(folder / "shop")
    if source == "rel-f1":
        return str(data / "relbench" / "rel-f1")
    return f"sqlite:///{(data / 'sql' / source).resolve()}.sqlite"


def command(words: list[object]) -> str:
    """The standard output of one graphlearn command."""
    line = [sys.executable, "-m", "graphlearn", *map(str, words)]
    return subprocess.run(line, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout


if __name__ == "__main__":
    main()
