"""Every feature of random databases against plain Python, and against the SQL that is printed."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st
from random_database import DAY, FAR, databases, make_task, open_rows, questions, schema, seeds
from slow_features import SlowFeatures

from graphlearn.features import Aggregates
from graphlearn.features.aggregates import _candidates
from graphlearn.schema import Database


def run_sql(plan: Aggregates, db: Database, asked: list[tuple[str, int, int]]) -> np.ndarray:
    """What the printed SQL gives."""
    keys, seed_time, input_time = zip(*asked, strict=True)
    table = pa.table({
        "seed": np.arange(len(asked)), "pkey": list(keys), "seed_time": list(seed_time), "input_time": list(input_time),
    })  # fmt: skip
    db.con.register("seeds", table)
    db.con.register("labels", plan.past_labels(db))
    found = db.con.sql(plan.sql()).to_arrow_table()
    return np.stack([found[name].cast(pa.float64()).to_numpy() for name in plan.names], axis=1)


def check(plan: Aggregates, found: np.ndarray, wanted: np.ndarray, who: str) -> None:
    """Equal but for the rounding of 32 bits; a spread of equal values may be rounding too."""
    for i, name in enumerate(plan.names):
        np.testing.assert_allclose(found[:, i], wanted[:, i], rtol=2e-5, atol=2e-5, err_msg=f"{name}, against {who}")


@settings(max_examples=12, deadline=None)
@given(databases(), questions(), seeds(), st.randoms(use_true_random=False), st.sampled_from(["drop", "keep"]))
def test_every_feature_is_what_plain_python_and_the_printed_sql_say(tables, labels, asked, random, null_time):
    labels = [row for row in labels if row["key"] in {person["id"] for person in tables["people"]}]
    if not labels:
        return
    db = open_rows(tables, null_time)
    task = make_task(db, labels)
    candidates, _ = _candidates(db, task, FAR)
    chosen = random.sample(candidates, min(120, len(candidates)))
    plan = Aggregates(task, chosen, until=FAR, db=db)
    keys, seed_time, input_time = zip(*asked, strict=True)
    found = plan.compute(db, pa.array(keys), np.array(seed_time), np.array(input_time)).values
    known = [{**row, "known": row["seed_time"] + 10 * DAY} for row in labels]
    slow = SlowFeatures(schema(null_time), tables, "people", known)
    wanted = np.array([[slow.value(feature, *seed) for feature in chosen] for seed in asked], dtype=np.float64)
    month = [i for i, feature in enumerate(chosen) if feature.function == "month"]
    wanted[:, month] = pd.to_datetime(list(seed_time), unit="us").month.to_numpy()[:, None]
    check(plan, found, wanted, "plain Python")
    check(plan, found, run_sql(plan, db, asked), "SQL")
    with_reader = plan.compute(db, pa.array(keys), np.array(seed_time), np.array(input_time), reader=plan.open(db))
    check(plan, with_reader.values, found, "the rows in memory")
    db.close()
