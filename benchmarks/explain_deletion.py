"""Do the rows that `explain` names move a prediction more than others?    python benchmarks/explain_deletion.py

Trains a run as a user would, takes random predictions of the validation split and explains each. Then the 10 rows that
it names first (or as many as point into the direction that moves the prediction more) are taken away together, and
beside them as many rows at random: any rows that the prediction saw, but the entity's own. Predictions that saw fewer
than 20 rows beside the entity's own are left out, and counted: there the random rows are mostly the same ones. Compared
is how far the prediction moves, in either direction. No label is looked at.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from common import emit, versions

import graphlearn as gl
from graphlearn.cli.demo import load_generator
from graphlearn.models.occlusion import Candidates, candidates, keep_all, without_groups
from graphlearn.predict.entities import Asked
from graphlearn.predict.explain import Explainer
from graphlearn.predict.explain_rows import Scorer, strongest
from graphlearn.predict.run import Run
from graphlearn.schema import Database
from graphlearn.training.seeds import split_seeds

TOP, LEAST, DRAWS = 10, 20, 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    data = Path(os.environ.get("GRAPHLEARN_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
    parser.add_argument("--source", type=Path, default=data / "relbench" / "rel-f1")
    parser.add_argument("--tasks", nargs="+", default=["driver-top3", "driver-dnf", "churn"])
    parser.add_argument("--runs", nargs="+", type=Path, default=[], help="explain these instead of training")
    parser.add_argument("--entities", type=int, default=200)
    parser.add_argument("--max-minutes", type=float, default=None)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--tiny", action="store_true", help="one task, a training of seconds, ten entities")
    parser.add_argument("--no-store", action="store_true", help="do not keep the rows")
    args = parser.parse_args()
    if args.tiny:
        args.tasks, args.entities, args.max_minutes, args.no_store = ["driver-top3"], 10, 0.05, True
    torch.set_num_threads(args.threads)
    name = None if args.no_store else "explain_deletion"
    for folder in args.runs:
        run = gl.load(folder)
        emit({"case": f"{run.task.name}, {run.kind}", **measured(run, None, args.entities), **versions()}, name)
    for task in args.tasks if not args.runs else []:
        with tempfile.TemporaryDirectory() as folder:
            emit({"case": f"{task}, gnn", **one_task(args, task, Path(folder)), **versions()}, name)


def one_task(args: argparse.Namespace, task_name: str, folder: Path) -> dict[str, object]:
    """Trains a run and measures it."""
    source = args.source
    if task_name == "churn":
        source = folder / "shop"
        load_generator().write(source, seed=0, customers=4000)
    db = gl.connect(source)
    task = gl.Task(db, task_name)
    run = gl.train(db, task, out=folder / "run", model="gnn", max_minutes=args.max_minutes, progress=False)
    return measured(run, db, args.entities)


def measured(run: Run, db: Database | None, entities: int) -> dict[str, object]:
    """How far predictions move without the rows that are named first, and without random ones."""
    generator = torch.Generator().manual_seed(0)
    rows, few, spent = [], 0, []
    with run.reading(db) as read:
        explainer = Explainer(run, read)
        seeds = split_seeds(explainer.graph, run.labelled_task(read), "val", run.regime)
        for place in torch.randperm(len(seeds), generator=generator).tolist():
            if len(rows) == entities:
                break
            started = time.perf_counter()
            one = seeds.take(np.array([place]))
            key = explainer.graph[one.node_type].pkey.take(pa.array(one.index.numpy()))
            score = explainer.say(Asked.of(key, one)).score
            assert score is not None
            if len(candidates(score.batch)) < LEAST:
                few += 1
                continue
            rows.append(deletions(score, generator))
            spent.append(time.perf_counter() - started)
    wins = [top > draws[0] for _, top, draws in rows]
    return {
        "entities": len(rows),
        "share_moved_more": round(sum(wins) / len(wins), 4),
        "share_moved_more_than_all_of_20_draws": round(sum(top > max(d) for _, top, d in rows) / len(rows), 4),
        "median_change_top": round(statistics.median(top for _, top, _ in rows), 5),
        "median_change_random": round(statistics.median(statistics.mean(d) for _, _, d in rows), 5),
        "with_fewer_than_10_rows": sum(count < TOP for count, _, _ in rows),
        "left_out_fewer_than_20_rows": few,
        "median_s": round(statistics.median(spent), 3),
    }


def deletions(score: Scorer, generator: torch.Generator) -> tuple[int, float, list[float]]:
    """How many rows were taken away, how far that moved the prediction, and how far as many random rows did."""
    keep = keep_all(score.batch)
    base = float(score(keep)[0])
    side = max(strongest(score, TOP), key=lambda found: abs(base - found.left))
    rows = candidates(score.batch)
    draws = []
    count = len(side.rows)
    for _ in range(DRAWS):
        some = rows[torch.randperm(len(rows), generator=generator)[:count]]
        draws.append(without(score, some))
    return count, abs(base - without(score, side.rows)), [abs(base - draw) for draw in draws]


def without(score: Scorer, rows: Candidates) -> float:
    together = torch.zeros(len(rows), dtype=torch.int64)
    return float(score(without_groups(score.batch, rows, together, 1, keep_all(score.batch)))[0])


if __name__ == "__main__":
    main()
