"""What will each customer buy next?    python examples/recommend.py --customers 200

A recommender from one query: the products of a generated shop, ranked for each customer, beside what is popular and
what the customer bought before. A product that came in after the training is ranked by its columns.
"""

import argparse
import runpy
import tempfile
from pathlib import Path

import pandas as pd

import graphlearn as gl
from graphlearn.models import ModelConfig
from graphlearn.training import TrainConfig

SHOP = Path(__file__).parents[1] / "datasets" / "shop" / "generate.py"
QUERY = "PREDICT LIST_DISTINCT(order_items.product_id, 0, 14, days) RANK TOP 12 FOR EACH customers.customer_id"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--customers", type=int, default=200)
    parser.add_argument("--model", default="fused", help="auto tries all three kinds, in three times the time")
    parser.add_argument("--steps", type=int, default=20, help="of each of the three epochs")
    args = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        runpy.run_path(str(SHOP))["write"](Path(folder) / "shop", customers=args.customers)
        db = gl.connect(Path(folder) / "shop")

        task = gl.Task(db, QUERY, eval_anchors=1)
        short = TrainConfig(epochs=3, max_steps=args.steps, min_steps=1)  # leave it out for a whole training
        small = ModelConfig(channels=32, num_neighbors=(8, 4, 2))
        run = gl.train(
            db, task, model=args.model, out=Path(folder) / "run", train_config=short, model_config=small, refit=False
        )
        print(run.compare("test")[["model", "map", "recall", "mrr"]].to_string(index=False))

        best = run.predict(db, at="2026-06-01", exclude_seen=True, top=3)
        print(best.head())

        tables = {file.stem: pd.read_parquet(file) for file in (Path(folder) / "shop" / "db").glob("*.parquet")}
        products = tables["products"]
        key = products["product_id"].max() + 1
        twin = products[products["product_id"] == best["prediction"].mode()[0]].assign(product_id=key)
        tables["products"] = pd.concat([products, twin], ignore_index=True)
        grown = run.predict(gl.connect(tables, schema=run.schema), at="2026-06-01", top=20)
        named = grown.filter(like="prediction").isin([key]).any(axis=1)
        print(f"a new product like the favourite is among the first 20 of {named.sum()} of {len(grown)} customers")


if __name__ == "__main__":
    main()
