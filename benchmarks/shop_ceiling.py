"""How close do plain aggregates come to the best AUROC on the shop's churn?    python benchmarks/shop_ceiling.py

The generator knows the probability behind each label, so the best AUROC that anyone can expect is known. LightGBM is
given the customer's own columns, then also what lies one, two and three tables away, as decayed sums and counts over
rows up to each anchor. It stops on the validation split; the test split is scored once, at the cut, where ``frozen``
and ``rolling`` are the same. ``gap`` is what is missing to the ceiling.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import duckdb
import lightgbm
import numpy as np
import pandas as pd
from common import emit, versions
from sklearn.metrics import roc_auc_score

SHOP = Path(__file__).parents[1] / "datasets" / "shop" / "generate.py"
HALF_LIVES = (5, 15, 40, 90)  # days; on purpose not the generator's own
KEYS = ["timestamp", "customer_id"]
CATEGORICAL = ["city", "region", "channel"]

OWN = """
SELECT l.*, c.city, c.region, c.channel, c.birth_year, c.newsletter,
       epoch(c.signed_up_at) / 86400 AS signed_up, epoch(l.timestamp - c.signed_up_at) / 86400 AS tenure
FROM labels AS l JOIN customers AS c USING (customer_id)
"""
# The share of its buyers who called a product bad until an anchor, pulled to the mean while they are few.
QUALITY = """
CREATE TABLE quality AS
WITH anchors AS (SELECT DISTINCT timestamp FROM labels),
     sold AS (SELECT timestamp, product_id, count(*) AS n
              FROM anchors JOIN order_items ON ordered_at <= timestamp GROUP BY ALL),
     bad AS (SELECT timestamp, product_id, count(*) AS n
             FROM anchors JOIN returns ON returned_at <= timestamp
             WHERE reason IN ('defective', 'not as described') GROUP BY ALL)
SELECT timestamp, product_id, (coalesce(bad.n, 0) + 1) / (sold.n + 20) AS share
FROM sold LEFT JOIN bad USING (timestamp, product_id)
"""
ITEMS = """
CREATE TABLE items AS
SELECT o.customer_id, i.product_id, i.ordered_at, i.discount, i.unit_price, c.parent_id AS department
FROM order_items AS i JOIN orders AS o USING (order_id) JOIN products AS p USING (product_id)
JOIN categories AS c USING (category_id)
"""
RETURNS = "(SELECT o.customer_id, r.* FROM returns AS r JOIN orders AS o USING (order_id))"
BAD = "reason IN ('defective', 'not as described', 'arrived late')"
# (tables away, relation, its time column, {measure: SQL})
RELATIONS: list[tuple[str, str, str, dict[str, str]]] = [
    ("one", "orders", "ordered_at", {"orders": "1"}),
    ("one", "visits", "visited_at", {"visits": "1", "pages": "ln(1 + e.pages)"}),
    ("two", "items", "ordered_at", {"items": "1", "discount": "e.discount", "price": "ln(1 + e.unit_price)"}),
    ("two", RETURNS, "returned_at", {"bad": f"({BAD})::INT", "unsaid": "(reason IS NULL)::INT", "returns": "1"}),
    (
        "three",
        "items",
        "ordered_at",
        {"quality": "q.share"} | {f"in_{d}": f"(department = {d})::INT" for d in range(8)},
    ),
]


def load_shop() -> ModuleType:
    """The generator, loaded by its path."""
    spec = importlib.util.spec_from_file_location("shop_generator", SHOP)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def aggregates(shop: Any, labels: dict[str, Any]) -> tuple[pd.DataFrame, dict[str, list[str]]]:
    """One row per label with all columns, and the columns that each distance from the customer adds."""
    columns = {"own": [*CATEGORICAL, "birth_year", "newsletter", "signed_up", "tenure"]}
    with duckdb.connect() as con:
        for name, table in shop.tables.items():
            con.register(name, table)
        for split, table in labels.items():
            con.register(f"labels_{split}", table)
        con.execute(
            "CREATE TABLE labels AS "
            + " UNION ALL ".join(f"SELECT *, '{split}' AS split FROM labels_{split}" for split in labels)
        )
        con.execute(QUALITY)
        con.execute(ITEMS)
        rows = con.sql(OWN).df()
        for away, relation, moment, measures in RELATIONS:
            made = con.sql(_decayed(relation, moment, measures)).df()
            columns.setdefault(away, []).extend(name for name in made.columns if name not in KEYS)
            rows = rows.merge(made, how="left", on=KEYS)
    for name in CATEGORICAL:
        rows[name] = rows[name].astype("category")
    return rows, columns


def fit(rows: pd.DataFrame, columns: list[str]) -> dict[str, float]:
    """AUROC of LightGBM on validation, where it stops, and on test."""
    split = {name: rows[rows["split"] == name] for name in ("train", "val", "test")}
    model = lightgbm.LGBMClassifier(
        n_estimators=1000,
        learning_rate=0.03,
        num_leaves=15,
        min_child_samples=60,
        subsample=0.8,
        subsample_freq=1,
        colsample_bytree=0.6,
        reg_lambda=5.0,
        random_state=0,
        n_jobs=1,
        verbose=-1,
    )
    model.fit(
        split["train"][columns],
        split["train"]["churn"],
        eval_X=split["val"][columns],
        eval_y=split["val"]["churn"],
        eval_metric="auc",
        callbacks=[lightgbm.early_stopping(50, first_metric_only=True, verbose=False)],
    )
    return {
        name: float(roc_auc_score(split[name]["churn"], np.asarray(model.predict_proba(split[name][columns]))[:, 1]))
        for name in ("val", "test")
    }


def measure(seed: int, customers: int) -> list[dict[str, Any]]:
    """A row for the ceiling, and one for each distance: columns of all distances up to it."""
    generator = load_shop()
    start = time.perf_counter()
    shop = generator.simulate(seed, customers)
    seconds = time.perf_counter() - start
    labels = generator.labels(shop.tables)
    best = generator.best_auroc(shop=shop)
    sizes = {name: table.num_rows for name, table in shop.tables.items()}
    splits = {
        name: {"rows": len(table), "churned": round(float(table["churn"].to_numpy().mean()), 3)}
        for name, table in labels.items()
    }
    head = {
        "case": "ceiling",
        "seconds": seconds,
        "tables": sizes,
        "labels": splits,
        "val": best["val"],
        "test": best["test"],
    }
    found: list[dict[str, Any]] = [head]
    rows, columns = aggregates(shop, labels)
    used: list[str] = []
    for away, added in columns.items():
        used = used + added
        score = fit(rows, used)
        case = "lightgbm, own columns" if away == "own" else f"lightgbm, up to {away} away"
        found.append({"case": case, "columns": len(used), **score, "gap": best["test"] - score["test"]})
    return [{"seed": seed, "customers": customers, "regime": "frozen = rolling", **_rounded(row)} for row in found]


def _decayed(relation: str, moment: str, measures: dict[str, str]) -> str:
    """SQL of the sums of each measure with each half-life, and the number and the age of the rows."""
    age = f"(epoch(l.timestamp - e.{moment}) / 86400.0)"
    name = next(iter(measures))
    sums = [
        f"sum(({sql}) * pow(0.5, {age} / {half_life})) AS {measure}_{half_life}"
        for measure, sql in measures.items()
        for half_life in HALF_LIVES
    ]
    return f"""
    SELECT l.timestamp, l.customer_id, count(*) AS {name}_n, min({age}) AS {name}_last, {", ".join(sums)}
    FROM labels AS l JOIN {relation} AS e ON e.customer_id = l.customer_id AND e.{moment} <= l.timestamp
    {"JOIN quality AS q USING (timestamp, product_id)" if "quality" in measures else ""}
    GROUP BY ALL"""


def _rounded(row: dict[str, Any]) -> dict[str, Any]:
    return {name: round(value, 4) if isinstance(value, float) else value for name, value in row.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--customers", type=int, default=4000)
    parser.add_argument("--tiny", action="store_true", help="one small shop, nothing stored")
    parser.add_argument("--no-store", action="store_true", help="only print")
    args = parser.parse_args()
    if args.tiny:
        args.seeds, args.customers = [0], 200
    name = None if args.tiny or args.no_store else "shop_ceiling"
    for seed in args.seeds:
        for row in measure(seed, args.customers):
            emit(row | versions(), name)


if __name__ == "__main__":
    main()
