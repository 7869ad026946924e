"""Every feature of random databases against plain Python, and against the SQL that is printed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st
from random_database import DAY, START, databases, open_rows, schema
from slow_features import SlowFeatures

from graphlearn.features import Aggregates
from graphlearn.features.aggregates import _candidates
from graphlearn.schema import Database
from graphlearn.tasks import Task

FAR = START + 1000 * DAY


@st.composite
def questions(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Labels of people: (key, seed_time, label) once per key and time."""
    keys = st.tuples(st.sampled_from(["p0", "p0", "p1"]), st.integers(0, 8))
    made = draw(st.lists(keys, min_size=1, max_size=8, unique=True))
    return [{"key": key, "seed_time": START + k * 5 * DAY, "label": float(draw(st.integers(0, 3)))} for key, k in made]


@st.composite
def seeds(draw: st.DrawFn) -> list[tuple[str, int, int]]:
    """(key, seed_time, input_time); keys repeat, one is unknown, times fall on rows and on the ends of windows."""
    one = st.tuples(st.sampled_from(["p0", "p0", "p1", "p2", "nobody"]), st.integers(0, 14), st.integers(0, 4))
    found = draw(st.lists(one, min_size=1, max_size=5))
    return [(key, START + k * 5 * DAY, START + (k - age) * 5 * DAY) for key, k, age in found]


def make_task(db: Database, labels: list[dict[str, Any]], **kwargs: Any) -> Task:
    """A regression task whose labels are known ten days after their seed time."""
    frame = pd.DataFrame({
        "id": pd.Series([row["key"] for row in labels], dtype="string"),
        "t": pd.to_datetime([row["seed_time"] for row in labels], unit="us"),
        "y": [row["label"] for row in labels],
    })  # fmt: skip
    dates = {"val_timestamp": FAR, "test_timestamp": FAR + DAY}
    return Task.from_labels(
        db, frame, entity_table="people", time_col="t", target_col="y", task_type="regression",
        **{"timedelta": "10 days", **dates, **kwargs},
    )  # fmt: skip


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
