"""Can I train here and predict there?    python examples/moved_run.py --customers 1000

A run folder is all that predicting needs. This moves one, predicts from both places into Parquet, and compares.
"""

import argparse
import runpy
import shutil
import tempfile
from pathlib import Path

import pyarrow.parquet as pq

import graphlearn as gl

SHOP = Path(__file__).parents[1] / "datasets" / "shop" / "generate.py"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--customers", type=int, default=1000)
    args = parser.parse_args()

    with tempfile.TemporaryDirectory() as name:
        here = Path(name) / "here"
        there = Path(name) / "there"
        runpy.run_path(str(SHOP))["write"](here / "shop", customers=args.customers)

        db = gl.connect(here / "shop")
        run = gl.train(db, gl.Task(db, "churn"), model="gnn", out=here / "run", seed=0, members=1)
        run.predict(db, at="2026-06-01").to_parquet(here / "predictions.parquet")

        there.mkdir()
        shutil.move(here / "run", there / "run")
        moved = gl.load(there / "run")
        moved.predict(gl.connect(here / "shop"), at="2026-06-01").to_parquet(there / "predictions.parquet")

        before, after = (pq.read_table(place / "predictions.parquet") for place in (here, there))
        print(after.slice(0, 3).to_pandas())
        print(f"{after.num_rows} predictions, equal to the last bit: {before.equals(after)}")


if __name__ == "__main__":
    main()
