"""How long do all features of all seeds take, and how long those of one?    python benchmarks/features_speed.py f1

``f1 SOURCE``: the train rows of driver-dnf, at least 100 columns, and one seed with its rows in memory.
``scale``: a million customers at 12 times over ten million events, 100 columns; time and peak memory.
``featuretools``: the same aggregates of the shop by featuretools (``pip install featuretools``), both in this process.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
from common import emit, interleaved_ms, summary, times_ms, versions

import graphlearn as gl
from graphlearn.features import Aggregates

DAY = 86_400_000_000
QUERY = "PREDICT COUNT(events.*, 0, 30, days) FOR EACH customers.id"


def f1(source: str, repeats: int) -> dict[str, Any]:
    """Plan, compute and one seed of driver-dnf."""
    db = gl.connect(source)
    task = gl.Task(db, "driver-dnf")
    labels = task.label_table("train")
    pkey, at = labels["pkey"].combine_chunks(), labels["seed_time"].to_numpy()
    plan = Aggregates.plan(db, task)
    reader = plan.open(db)
    times = interleaved_ms(
        {
            "plan": lambda: Aggregates.plan(db, task),
            "compute": lambda: plan.compute(db, pkey, at, at),
            "open": lambda: plan.open(db),
        },
        warmup=1,
        repeats=repeats,
    )
    times["one_seed"] = times_ms(lambda: plan.compute(db, pkey[-1:], at[-1:], at[-1:], reader=reader), repeats=50)
    times["one_seed_unread"] = times_ms(lambda: plan.compute(db, pkey[-1:], at[-1:], at[-1:]), repeats=repeats)
    return {"rows": len(pkey), "columns": len(plan.names), **{name: summary(ms) for name, ms in times.items()}}


def make_events(file: Path, entities: int, events: int) -> None:
    """Customers and events over three years; how often a customer comes is skewed."""
    with duckdb.connect(str(file)) as con:
        con.execute("SET memory_limit = '2GB'; SET enable_progress_bar = false")
        con.execute(
            f"CREATE TABLE customers AS SELECT i AS id, 'kind ' || (hash(i) % 7) AS kind, (hash(i + 1) % 1000) / 10.0 "
            f"AS score FROM range({entities}) AS r(i)"
        )
        con.execute(
            f"CREATE TABLE events AS SELECT i AS id, CAST({entities} * pow((hash(i) % 1000003) / 1000003.0, 1.5) AS "
            f"BIGINT) % {entities} AS customer_id, TIMESTAMP '2020-01-01' + to_seconds(CAST(hash(i + 7) % 94608000 AS "
            f"BIGINT)) AS at, (hash(i + 2) % 10000) / 100.0 AS amount, hash(i + 3) % 9 AS quantity, hash(i + 4) % 997 "
            f"/ 10.0 AS weight, (hash(i + 5) % 5000) / 7.0 AS distance, 'channel ' || (hash(i + 6) % 5) AS channel "
            f"FROM range({events}) AS r(i)"
        )


def scale(entities: int, anchors: int, events: int, columns: int) -> dict[str, Any]:
    """All features of all customers at each of the last ``anchors`` months."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "events.duckdb"
        # In a process of its own, so that its memory does not count.
        maker = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import pathlib, features_speed as f; "
        maker += f"f.make_events(pathlib.Path({str(file)!r}), {entities}, {events})"
        subprocess.run([sys.executable, "-c", maker], check=True)
        db = gl.connect(file, memory_limit="1500MB")
        task = gl.Task(db, QUERY, val_timestamp="2022-10-01", test_timestamp="2022-11-15")
        start = time.perf_counter()
        plan = Aggregates.plan(db, task, max_features=columns)
        planned = time.perf_counter() - start
        at = np.datetime64("2022-10-01").astype("datetime64[us]").astype(np.int64) - 30 * DAY * np.arange(anchors)
        pkey = pa.array(np.tile(np.arange(entities), anchors))
        seed_time = np.repeat(at, entities)
        before = peak_gib()
        start = time.perf_counter()
        found = plan.compute(db, pkey, seed_time, seed_time)
        seconds = time.perf_counter() - start
        return {
            "entities": entities,
            "anchors": anchors,
            "events": events,
            "columns": found.values.shape[1],
            "plan_s": round(planned, 1),
            "compute_s": round(seconds, 1),
            "rows_per_s": round(len(pkey) / seconds),
            "peak_gib_before": before,
            "peak_gib": peak_gib(),
            "result_gib": round(found.values.nbytes / 2**30, 2),
        }


def peak_gib() -> float:
    """Most memory that this process had."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2)


def against_featuretools(repeats: int) -> dict[str, Any]:
    """The same aggregates of the demo shop's orders, for the same customers at the same times."""
    import featuretools

    from graphlearn.features.aggregates import _candidates

    with tempfile.TemporaryDirectory() as folder:
        from graphlearn.cli.demo import write_shop

        db = gl.connect(write_shop(Path(folder)))
        task = gl.Task(db, "churn")
        labels = task.label_table("train")
        pkey, at = labels["pkey"].combine_chunks(), labels["seed_time"].to_numpy()
        kinds = {"count", "sum", "mean", "std", "min", "max"}
        features = [
            feature
            for feature in _candidates(db, task, task.val_time)[0]
            if feature.source is not None
            and feature.source.hub.kind == "entity"
            and len(feature.source.path) == 1
            and not feature.source.labels
            and feature.function in kinds
            and feature.window is None
            and feature.rows is None
            and (feature.value is None or (feature.value.kind == "number" and not feature.value.via))
        ]
        plan = Aggregates(task, features, until=task.val_time, db=db)
        names = {feature.source.table for feature in features if feature.source is not None}
        frames = {name: db.arrow(f'SELECT * FROM "{name}"').to_pandas() for name in (*names, task.entity_table)}
        tables = featuretools.EntitySet("shop")
        for name, frame in frames.items():
            key = db.schema[name].pkey[0]
            tables.add_dataframe(frame, dataframe_name=name, index=key, time_index=db.schema[name].time_col)
        for name in names:
            (key,) = (key for key in db.schema[name].fkeys if key.table == task.entity_table)
            tables.add_relationship(task.entity_table, task.pkey_col, name, key.columns[0])
        cutoff = pd.DataFrame({task.pkey_col: pkey.to_pandas(), "time": pd.to_datetime(at, unit="us")})
        primitives = ["count", "sum", "mean", "std", "min", "max"]

        def theirs() -> None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                matrix, _ = featuretools.dfs(
                    entityset=tables,
                    target_dataframe_name=task.entity_table,
                    cutoff_time=cutoff,
                    agg_primitives=primitives,
                    trans_primitives=[],
                    max_depth=1,
                )
            widths.append(matrix.shape[1])

        widths: list[int] = []
        times = interleaved_ms(
            {"ours": lambda: plan.compute(db, pkey, at, at), "featuretools": theirs}, warmup=0, repeats=repeats
        )
        made = {name: summary(ms) for name, ms in times.items()}
        return {
            "rows": len(pkey),
            "columns": len(features),
            "their_columns": widths[0],
            **made,
            "times_faster": round(made["featuretools"]["median_ms"] / made["ours"]["median_ms"], 1),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", choices=["f1", "scale", "featuretools"])
    parser.add_argument("source", nargs="?", default="rel-f1")
    parser.add_argument("--entities", type=int, default=1_000_000)
    parser.add_argument("--anchors", type=int, default=12)
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--columns", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--save", action="store_true", help="append to benchmarks/results/features_speed.jsonl")
    args = parser.parse_args()
    if args.case == "f1":
        row = f1(args.source, args.repeats)
    elif args.case == "scale":
        row = scale(args.entities, args.anchors, args.events, args.columns)
    else:
        row = against_featuretools(args.repeats)
    emit({"case": args.case, **row, **versions()}, "features_speed" if args.save else None)


if __name__ == "__main__":
    main()
