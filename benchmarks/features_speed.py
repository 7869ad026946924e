"""How long do all features of all seeds take, and how long those of one?    python benchmarks/features_speed.py

``f1``: the train rows of driver-dnf, at least 100 columns, and one seed with its rows in memory.
``scale``: a million customers at 12 times over ten million events, 100 columns; time and peak memory.
``featuretools``: the same aggregates of the demo shop by featuretools, which needs pandas 2 and so a Python of its own:
``DIR/bin/pip install featuretools "pandas<3" "setuptools<81" pyarrow`` in one, then ``--python DIR/bin/python``.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from common import emit, interleaved_ms, summary, times_ms, versions

import graphlearn as gl
from graphlearn.cli.demo import load_generator
from graphlearn.features import Aggregates
from graphlearn.features.aggregates import _candidates
from graphlearn.features.functions import Feature

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
        db = gl.connect(file, memory_limit="750MB")
        task = gl.Task(db, QUERY, val_timestamp="2022-10-01", test_timestamp="2022-11-15")
        start = time.perf_counter()
        plan = Aggregates.plan(db, task, max_features=columns)
        planned = time.perf_counter() - start
        at = np.datetime64("2022-10-01").astype("datetime64[us]").astype(np.int64) - 30 * DAY * np.arange(anchors)
        pkey = pa.array(np.tile(np.arange(entities), anchors))
        seed_time = np.repeat(at, entities)
        before = peak_gib()
        start, cpu = time.perf_counter(), time.process_time()
        found = plan.compute(db, pkey, seed_time, seed_time)
        seconds = time.perf_counter() - start
        return {
            "entities": entities,
            "anchors": anchors,
            "events": events,
            "columns": found.values.shape[1],
            "plan_s": round(planned, 1),
            "compute_s": round(seconds, 1),
            "compute_cpu_s": round(time.process_time() - cpu, 1),
            "rows_per_s": round(len(pkey) / seconds),
            "peak_gib_before": before,
            "peak_gib": peak_gib(),
            "result_gib": round(found.values.nbytes / 2**30, 2),
        }


def peak_gib() -> float:
    """Most memory that this process had."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2)


THEIRS = """
import json, sys, time, warnings
warnings.simplefilter("ignore")
import featuretools, pandas
folder, repeats = sys.argv[1], int(sys.argv[2])
plan = json.load(open(f"{folder}/plan.json"))
tables = featuretools.EntitySet("shop")
for name, (key, time_col) in plan["tables"].items():
    frame = pandas.read_parquet(f"{folder}/{name}.parquet")
    tables.add_dataframe(frame, dataframe_name=name, index=key, time_index=time_col)
for relationship in plan["relationships"]:
    tables.add_relationship(*relationship)
cutoff = pandas.read_parquet(f"{folder}/cutoff.parquet")
for _ in range(repeats):
    start, cpu, width = time.perf_counter(), time.process_time(), 0
    for days in plan["windows"]:
        matrix, _ = featuretools.dfs(
            entityset=tables, target_dataframe_name=plan["entity"], cutoff_time=cutoff, trans_primitives=[],
            max_depth=1, agg_primitives=["count", "sum", "mean", "std", "min", "max"],
            training_window=None if days is None else f"{days} days",
        )
        width += matrix.shape[1]
    wall, cpu = time.perf_counter() - start, time.process_time() - cpu
    print(json.dumps([1e3 * wall, 1e3 * cpu, width, featuretools.__version__]))
"""
"""What featuretools is asked to do; its tables are read before the clock starts."""
KINDS = ("count", "sum", "mean", "std", "min", "max")
WINDOWS = (None, 30, 90, 365)
"""Days that each of them is taken over; None: all rows before."""


def against_featuretools(python: str, repeats: int) -> dict[str, Any]:
    """The same aggregates of the demo shop, for the same customers at the same times, by both in turn."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        load_generator().write(folder / "shop", seed=0, customers=4000)
        db = gl.connect(folder / "shop")
        task = gl.Task(db, "churn")
        labels = task.label_table("train")
        pkey, at = labels["pkey"].combine_chunks(), labels["seed_time"].to_numpy()
        features = [
            replace(feature, name=f"{feature.name} {days}", window=None if days is None else days * DAY)
            for feature in _candidates(db, task, task.val_time)[0]
            if _is_plain(feature)
            for days in WINDOWS
        ]
        plan = Aggregates(task, features, until=task.val_time, db=db)
        children = {feature.source for feature in features if feature.source is not None}
        for table in (*(source.table for source in children), task.entity_table):
            pq.write_table(db.arrow(f'SELECT * FROM "{table}"'), folder / f"{table}.parquet")
        pd.DataFrame({task.pkey_col: pkey.to_pandas(), "time": pd.to_datetime(at, unit="us")}).to_parquet(
            folder / "cutoff.parquet"
        )
        schema = db.schema
        asked = {
            "entity": task.entity_table,
            "windows": WINDOWS,
            "tables": {
                table: (schema[table].pkey[0], schema[table].time_col)
                for table in (task.entity_table, *(source.table for source in children))
            },
            "relationships": [
                (task.entity_table, task.pkey_col, source.table, source.path[0].key) for source in children
            ],
        }
        (folder / "plan.json").write_text(json.dumps(asked))
        ours = times_ms(lambda: plan.compute(db, pkey, at, at), warmup=1, repeats=repeats)
        cpu = time.process_time()
        plan.compute(db, pkey, at, at)
        cpu = time.process_time() - cpu
        done = subprocess.run(
            [python, "-c", THEIRS, name, str(repeats)], check=True, capture_output=True, text=True, cwd=name
        )
        theirs = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
        ours += times_ms(lambda: plan.compute(db, pkey, at, at), warmup=0, repeats=repeats)
        made = {"ours": summary(ours), "featuretools": summary([row[0] for row in theirs])}
        return {
            "rows": len(pkey),
            "columns": len(features),
            "their_columns": theirs[0][2],
            "featuretools_version": theirs[0][3],
            "cpu_ms": {"ours": round(1e3 * cpu), "featuretools": round(min(row[1] for row in theirs))},
            **made,
            "times_faster": round(made["featuretools"]["median_ms"] / made["ours"]["median_ms"], 1),
        }


def _is_plain(feature: Feature) -> bool:
    """Whether featuretools makes it at depth 1: an aggregate of all rows of a dated child table up to the time."""
    source, value = feature.source, feature.value
    return (
        source is not None
        and source.hub.kind == "entity"
        and len(source.path) == 1
        and not source.labels
        and feature.function in KINDS
        and feature.window is None
        and feature.rows is None
        and (value is None or (value.kind == "number" and not value.via))
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = Path(os.environ.get("GRAPHLEARN_TEST_DATA") or Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--data", type=Path, default=data, help="the folder that holds relbench/rel-f1")
    parser.add_argument("--only", choices=["f1", "scale", "featuretools"], help="one case instead of all")
    parser.add_argument("--entities", type=int, default=1_000_000)
    parser.add_argument("--anchors", type=int, default=12)
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--columns", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--python", help="the Python that has featuretools; without it that case is left out")
    parser.add_argument("--tiny", action="store_true", help="few rows, once; stores nothing")
    parser.add_argument("--no-store", action="store_true", help="prints the rows, stores nothing")
    args = parser.parse_args()
    if args.tiny:
        args.entities, args.anchors, args.events, args.repeats = 1_000, 3, 10_000, 1
    name = None if args.tiny or args.no_store else "features_speed"

    folder = args.data / "relbench" / "rel-f1"
    if args.only in (None, "f1") and folder.is_dir():
        emit({"case": "f1", **f1(str(folder), args.repeats), **versions()}, name)
    if args.only in (None, "scale"):
        row = scale(args.entities, args.anchors, args.events, args.columns)
        emit({"case": "scale", **row, **versions()}, name)
    if args.only in (None, "featuretools") and args.python:
        emit({"case": "featuretools", **against_featuretools(args.python, args.repeats), **versions()}, name)


if __name__ == "__main__":
    main()
