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
from contextlib import closing
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from common import emit, versions
from torch_geometric.data import HeteroData

import graphlearn as gl
from graphlearn.cli.demo import load_generator
from graphlearn.database.sql import quote, quote_all
from graphlearn.features import Aggregates
from graphlearn.models.gbdt import mean_prediction
from graphlearn.models.occlusion import Candidates, candidates, keep_all, without_groups
from graphlearn.predict.entities import Asked
from graphlearn.predict.explain import Explainer
from graphlearn.predict.explain_features import rows_behind, rows_of_features
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
    if run.model is None:
        return measured_trees(run, db, entities)
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


def measured_trees(run: Run, db: Database | None, entities: int) -> dict[str, object]:
    """The same of trees, which read features: the rows of all entities are taken out of the database at once.

    Each entity is asked about once, so what is taken away for the others changes only what its features say of
    everyone, and does so for the named and the random rows alike.
    """
    generator = torch.Generator().manual_seed(0)
    with run.reading(db) as read:
        explainer = Explainer(run, read)
        graph, plan = explainer.graph, explainer.plan
        assert plan is not None
        labels = split_seeds(graph, run.labelled_task(read), "val", run.regime)
        order = torch.randperm(len(labels), generator=generator).numpy()
        _, first = np.unique(labels.index.numpy()[order], return_index=True)
        sources = dict.fromkeys(feature.source for feature in plan.features if feature.source is not None)
        gone: dict[str, list[tuple[str, int]]] = {"top": [], "random": []}
        asked, few, fewer = [], 0, 0
        for place in order[np.sort(first)].tolist():
            if len(asked) == entities:
                break
            one = labels.take(np.array([place]))
            node, time = int(one.index[0]), int(one.input_time[0])
            behind = {source: rows_behind(graph, source, node, time) for source in sources}
            seen = {(source.table, n) for source, b in behind.items() if b is not None for n in b.node.tolist()}
            if len(seen) < LEAST:
                few += 1
                continue
            ask = Asked.of(graph[one.node_type].pkey.take(pa.array(one.index.numpy())), one)
            effects, _ = explainer.effects(explainer.say(ask))
            picks = rows_of_features(graph, plan.features, effects, node, time, TOP)
            side = [pick for pick in picks if pick.attribution * picks[0].attribution > 0]
            fewer += len(side) < TOP
            rows = sorted(seen)
            chosen = torch.randperm(len(rows), generator=generator)[: len(side)].tolist()
            gone["top"] += [(pick.table, pick.node) for pick in side]
            gone["random"] += [rows[i] for i in chosen]
            asked.append(ask)
        everyone = Asked(
            pa.chunked_array([ask.pkey for ask in asked]).combine_chunks(),
            np.concatenate([ask.seed_time for ask in asked]),
            np.concatenate([ask.input_time for ask in asked]),
        )
        said = {"all": trees_say(run, read, everyone)}
        for name, rows in gone.items():
            with closing(gl.connect(frames_without(read, graph, rows), schema=run.schema)) as fewer_rows:
                said[name] = trees_say(run, fewer_rows, everyone)
    top, random = (np.abs(said[name] - said["all"]) for name in ("top", "random"))
    return {
        "entities": len(asked),
        "share_moved_more": round(float((top > random).mean()), 4),
        "median_change_top": round(float(np.median(top)), 5),
        "median_change_random": round(float(np.median(random)), 5),
        "with_fewer_than_10_rows": fewer,
        "left_out_fewer_than_20_rows": few,
    }


def trees_say(run: Run, db: Database, asked: Asked) -> np.ndarray:
    plan = Aggregates.from_dict(db, run.labelled_task(db), run.meta["aggregates"])
    return mean_prediction(run.trees, plan.compute(db, asked.pkey, asked.seed_time, asked.input_time).values)


def frames_without(db: Database, graph: HeteroData, rows: list[tuple[str, int]]) -> dict[str, pd.DataFrame]:
    """The tables as the source has them, less these rows."""
    frames = {}
    for name, table in db.schema.tables.items():
        frame = db.arrow(f"SELECT {quote_all(db.own_columns(name))} FROM {quote(name)}").to_pandas()
        (key,) = table.pkey
        keys = graph[name].pkey.take(pa.array([node for own, node in rows if own == name], pa.int64())).to_pylist()
        frames[name] = frame[~frame[key].isin(keys)]
    return frames


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
