"""How long does a loaded run take for one entity?    python benchmarks/one_entity.py

Trees on features of rel-f1 (driver-top3), loaded from their folder and warmed once, which reads what features are made
of into memory. Then `Run.predict` for one driver at a time, each with a history, at the start of test.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

from common import emit, summary, versions

import graphlearn as gl


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = Path(os.environ.get("GRAPHLEARN_TEST_DATA") or Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--source", type=Path, default=data / "relbench" / "rel-f1")
    parser.add_argument("--entities", type=int, default=100)
    parser.add_argument("--tiny", action="store_true", help="few entities; stores nothing")
    parser.add_argument("--no-store", action="store_true", help="prints the row, stores nothing")
    args = parser.parse_args()
    if args.tiny:
        args.entities = 3

    db = gl.connect(args.source)
    task = gl.Task(db, "driver-top3")
    with tempfile.TemporaryDirectory() as folder:
        gl.train(
            db, task, model="gbdt", regime="rolling", out=Path(folder) / "run", max_features=64 if args.tiny else 256
        )
        run = gl.load(Path(folder) / "run")
        start = time.perf_counter()
        run.warm(db)
        warm = 1e3 * (time.perf_counter() - start)
        drivers = task.label_table("val")["pkey"].unique().to_pylist()
        taken = []
        for i in range(args.entities + 3):
            start = time.perf_counter()
            run.predict(db, at="2010-01-01", entities=[drivers[i % len(drivers)]])
            taken.append(1e3 * (time.perf_counter() - start))
        assert run.aggregates is not None
        row = {"features": len(run.aggregates.names), "warm_ms": round(warm), **summary(taken[3:])}
        emit({"case": "one entity", **row, **versions()}, None if args.tiny or args.no_store else "one_entity")


if __name__ == "__main__":
    main()
