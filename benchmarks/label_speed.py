"""How long do labels from a query take, against SQL written by hand?    python benchmarks/label_speed.py

*rel-f1*, *shop*: the compiled SQL of a query and the SQL that one would write for the same labels, in turn on the same
connection; both give the same rows, which is checked. The three driver tasks of rel-f1 and the churn of the shop, all
train anchors.

*large*: labels of 1M entities at 12 anchors over 10M events in Parquet, whether an entity with an event in the last 90
days has none in the next 30; the whole of `connect`, check, compile and run, in a fresh process, with its peak of
memory.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from common import emit, interleaved_ms, summary, versions

from graphlearn.schema import Column, Database, ForeignKey, Schema, Table, connect
from graphlearn.tasks import Task
from graphlearn.tasks.query_check import check_query
from graphlearn.tasks.query_sql import Anchors, label_sql

ROOT = Path(__file__).parents[1]
DAY = 86_400_000_000
DRIVERS = "FOR EACH drivers.driverId"
F1 = {
    "driver-top3": (
        f"PREDICT MIN(qualifying.position, 0, 30, days) <= 3 {DRIVERS}",
        "SELECT e.driverId AS pkey, epoch_us(t.timestamp) AS seed_time, min(e.position) <= 3 AS label "
        "FROM timestamps AS t JOIN qualifying AS e ON e.date > t.timestamp "
        "AND e.date <= t.timestamp + INTERVAL '30 days' GROUP BY ALL",
    ),
    "driver-position": (
        f"PREDICT AVG(results.positionOrder, 0, 60, days) {DRIVERS}",
        "SELECT e.driverId AS pkey, epoch_us(t.timestamp) AS seed_time, avg(e.positionOrder) AS label "
        "FROM timestamps AS t JOIN results AS e ON e.date > t.timestamp "
        "AND e.date <= t.timestamp + INTERVAL '60 days' GROUP BY ALL",
    ),
    "driver-dnf": (
        f"PREDICT COUNT(results.* WHERE results.statusId != 1, 0, 30, days) > 0 {DRIVERS} "
        "ASSUMING COUNT(results.*, 0, 30, days) > 0",
        "SELECT e.driverId AS pkey, epoch_us(t.timestamp) AS seed_time, max(e.statusId <> 1) AS label "
        "FROM timestamps AS t JOIN results AS e ON e.date > t.timestamp "
        "AND e.date <= t.timestamp + INTERVAL '30 days' GROUP BY ALL",
    ),
}
CHURN = (
    "PREDICT COUNT(orders.*, 0, 30, days) = 0 FOR EACH customers.customer_id WHERE COUNT(orders.*, -90, 0, days) > 0",
    "SELECT o.customer_id AS pkey, epoch_us(t.timestamp) AS seed_time, max(o.ordered_at) <= t.timestamp AS label "
    "FROM timestamps AS t JOIN orders AS o ON o.ordered_at > t.timestamp - INTERVAL '90 days' "
    "AND o.ordered_at <= t.timestamp + INTERVAL '30 days' GROUP BY t.timestamp, o.customer_id "
    "HAVING min(o.ordered_at) <= t.timestamp",
)
LARGE = Schema(
    "large",
    {
        "users": Table("users", ("id",), (), "since", columns=(Column("id"), Column("since"))),
        "events": Table(
            "events",
            ("id",),
            (ForeignKey(("user",), "users"),),
            "time",
            columns=tuple(map(Column, ("id", "user", "time"))),
        ),
    },
)
ASK = "PREDICT COUNT(events.*, 0, 30, days) = 0 FOR EACH users.id WHERE COUNT(events.*, -90, 0, days) > 0"


def compare(case: str, db: Database, query: str, by_hand: str, repeats: int, name: str | None) -> None:
    """One row: both ways over all train anchors of the query."""
    task = Task(db, query)
    ours = task.label_sql("train")
    times = np.unique(task.label_table("train")["seed_time"].to_numpy())
    step = int(np.diff(times).min())
    number = int((times[-1] - times[0]) // step) + 1
    anchors = f"SELECT make_timestamp({times[0]} + i * {step}) AS timestamp FROM range({number}) AS n(i)"
    theirs = f"WITH timestamps AS MATERIALIZED ({anchors}) SELECT * FROM ({by_hand}) ORDER BY seed_time, pkey"
    if db.arrow(ours)["label"].cast(pa.float64()) != db.arrow(theirs)["label"].cast(pa.float64()):
        raise AssertionError(f"{case}: the two ways give other labels")
    ways = {"query": lambda: db.arrow(ours), "by hand": lambda: db.arrow(theirs)}
    taken = interleaved_ms(ways, warmup=2, repeats=repeats)
    row: dict[str, object] = {"case": case, "anchors": number, "labels": db.arrow(ours).num_rows}
    row |= {way: summary(found) for way, found in taken.items()}
    row["query/by hand"] = round(statistics.median(taken["query"]) / statistics.median(taken["by hand"]), 2)
    emit({**row, **versions()}, name)


def shop(folder: Path, customers: int) -> Database:
    spec = importlib.util.spec_from_file_location("shop", ROOT / "datasets" / "shop" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    module.write(folder, seed=0, customers=customers)
    return connect(folder)


def write_large(folder: Path, entities: int) -> None:
    rng = np.random.default_rng(0)
    start, events = 1_600_000_000_000_000, 10 * entities
    since = start + rng.integers(0, 100 * DAY, entities)
    time_ = start + rng.integers(0, 500 * DAY, events)
    users = {"id": np.arange(entities), "since": since.astype("datetime64[us]")}
    pq.write_table(pa.table(users), folder / "users.parquet")
    made = {"id": np.arange(events), "user": rng.integers(0, entities, events), "time": time_.astype("datetime64[us]")}
    pq.write_table(pa.table(made), folder / "events.parquet")


def print_large(folder: Path) -> None:
    begun = time.perf_counter()
    db = connect(folder, schema=LARGE)
    last = 1_600_000_000_000_000 + 470 * DAY
    anchors = Anchors(last - 30 * DAY * np.arange(12)[::-1])
    rows = db.arrow(label_sql(db, check_query(db, ASK), anchors)).num_rows
    seconds = time.perf_counter() - begun
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="utf-8"))
    print(
        json.dumps({"labels": rows, "seconds": round(seconds, 2), "peak_mib": int(found[1]) // 1024 if found else None})
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = Path(os.environ.get("GRAPHLEARN_TEST_DATA") or Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--data", type=Path, default=data, help="the folder that holds relbench/rel-f1")
    parser.add_argument("--entities", type=int, default=1_000_000)
    parser.add_argument("--customers", type=int, default=4_000)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--tiny", action="store_true", help="few rows, once; stores nothing")
    parser.add_argument("--no-store", action="store_true", help="prints the rows, stores nothing")
    parser.add_argument("--large", type=Path, metavar="FOLDER", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.large:
        print_large(args.large)
        return
    if args.tiny:
        args.entities, args.customers, args.repeats = 1_000, 100, 1
    name = None if args.tiny or args.no_store else "label_speed"

    folder = args.data / "relbench" / "rel-f1"
    if folder.is_dir():
        for case, (query, by_hand) in F1.items():
            compare(case, connect(folder), query, by_hand, args.repeats, name)
    with tempfile.TemporaryDirectory() as temporary:
        compare("shop churn", shop(Path(temporary) / "shop", args.customers), *CHURN, args.repeats, name)
        large = Path(temporary) / "large"
        large.mkdir()
        write_large(large, args.entities)
        command = [sys.executable, __file__, "--large", str(large)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        row = {"case": "large", "entities": args.entities, "events": 10 * args.entities, "anchors": 12}
        emit({**row, **json.loads(done.stdout), **versions()}, name)


if __name__ == "__main__":
    main()
