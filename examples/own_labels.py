"""Can I bring my own labels?    python examples/own_labels.py --customers 1000

Any table of (key, time, label) is a task. Here pandas makes one: how much each customer will spend in the next 30 days.
"""

import argparse
import runpy
import tempfile
from pathlib import Path

import pandas as pd

import graphlearn as gl

SHOP = Path(__file__).parents[1] / "datasets" / "shop" / "generate.py"


def spending(tables: dict, days: int = 30) -> pd.DataFrame:
    """One row per customer and month: what the customer spends in the ``days`` after ``as_of``."""
    orders = tables["orders"].to_pandas()[["order_id", "customer_id"]]
    items = tables["order_items"].to_pandas()
    items["spent"] = items["quantity"] * items["unit_price"]
    bought = items.merge(orders, on="order_id")
    made = []
    for as_of in pd.date_range("2025-01-01", "2026-05-01", freq="MS"):
        before = bought["ordered_at"].between(as_of - pd.Timedelta(days=90), as_of)
        after = (bought["ordered_at"] > as_of) & (bought["ordered_at"] <= as_of + pd.Timedelta(days=days))
        label = bought[after].groupby("customer_id")["spent"].sum()
        active = pd.Index(bought[before]["customer_id"].unique(), name="customer_id").sort_values()
        made.append(label.reindex(active, fill_value=0.0).reset_index().assign(as_of=as_of))
    return pd.concat(made, ignore_index=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--customers", type=int, default=1000)
    args = parser.parse_args()
    tables = runpy.run_path(str(SHOP))["generate"](customers=args.customers)

    db = gl.connect(tables)  # no file is needed: a dictionary of tables is a source, and its keys are inferred
    print(db.schema)
    task = gl.Task.from_labels(
        db,
        spending(tables),
        entity_table="customers",
        time_col="as_of",
        target_col="spent",
        timedelta="30 days",
        val_timestamp="2026-01-01",
        test_timestamp="2026-03-01",
    )
    print(task.labels("test").head(3))

    with tempfile.TemporaryDirectory() as folder:
        run = gl.train(db, task, model="gnn", out=Path(folder) / "run", seed=0, members=1)
        scored = run.evaluate("test")
        print(f"test MAE {scored['mae']:.2f} ({scored['regime']})")


if __name__ == "__main__":
    main()
