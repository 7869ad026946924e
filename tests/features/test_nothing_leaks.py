"""Rows and labels that are newer than what a seed may see change nothing, whatever they hold."""

from __future__ import annotations

import copy

import numpy as np
import pandas as pd
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st
from random_database import DAY, FAR, FROM, START, WHERE, databases, make_task, open_rows, questions

from graphlearn.features import Aggregates
from graphlearn.features.history import past_labels
from graphlearn.schema import connect
from graphlearn.tasks import Task

CUT = START + 30 * DAY


@settings(max_examples=6, deadline=None)
@given(databases(), questions(), st.integers(1, 40))
def test_later_rows_change_no_plan_and_no_feature(tables, labels, days):
    labels = [row for row in labels if row["key"] in {person["id"] for person in tables["people"]}]
    labels = [row for row in labels if row["seed_time"] <= CUT]
    if not labels:
        return
    later = CUT + days * DAY
    grown = copy.deepcopy(tables)
    for i in range(3):
        visit = {"id": 100 + i, FROM: "p0", "to": "p1", WHERE: i, "at": later + i, "x": 1e9, "word": "later"}
        grown["visits"].append(visit)
        grown["notes"].append({"id": 100 + i, "visit": i, "at": later, "y": -1e9})
    grown["people"].append({"id": "newcomer", "boss": "p0", "home": 0, "born": later, "score": 1e9, "kind": "later"})
    keys = pa.array([row["key"] for row in labels] * 2)
    seed_time = np.array([row["seed_time"] for row in labels] * 2)
    seed_time[len(labels) :] = later + 10 * DAY
    input_time = np.minimum(seed_time, CUT)
    found = []
    for rows in (tables, grown):
        db = open_rows(rows)
        plan = Aggregates.plan(db, make_task(db, labels), until=CUT)
        found.append((plan.names, plan.dropped, plan.compute(db, keys, seed_time, input_time).values))
        db.close()
    assert found[0][:2] == found[1][:2]
    np.testing.assert_array_equal(found[0][2], found[1][2])


@settings(max_examples=6, deadline=None)
@given(databases(), questions())
def test_labels_that_are_not_known_yet_change_no_feature(tables, labels):
    labels = [row for row in labels if row["key"] in {person["id"] for person in tables["people"]}]
    known = [row for row in labels if row["seed_time"] + 10 * DAY <= CUT]
    if not known:
        return
    db = open_rows(tables)
    keys, time = pa.array([row["key"] for row in known]), np.full(len(known), CUT)
    plan = Aggregates.plan(db, make_task(db, known), until=FAR)
    before = plan.compute(db, keys, time, time).values
    unknown = [{**row, "seed_time": CUT - 10 * DAY + 1 + k, "label": 1e6} for k, row in enumerate(known)]
    more = Aggregates(make_task(db, known + unknown), plan.features, until=FAR)
    np.testing.assert_array_equal(before, more.compute(db, keys, time, time).values)
    db.close()


QUERY = "PREDICT COUNT(orders.*, 0, 10, days) FOR EACH customers.id"


def shop(last_day: int) -> dict[str, pd.DataFrame]:
    """Orders every third day of each of three customers, up to a day."""
    days = np.arange(0, last_day, 3)
    orders = pd.DataFrame(
        {
            "id": np.arange(3 * len(days)),
            "customer": np.repeat([1, 2, 3], len(days)),
            "at": pd.Timestamp("2021-01-01") + pd.to_timedelta(np.tile(days, 3), unit="D"),
        }
    )
    return {"customers": pd.DataFrame({"id": [1, 2, 3]}), "orders": orders}


def test_labels_of_a_query_are_known_once_a_later_row_says_that_the_window_is_over():
    """A label is there exactly when the database as it was then had it, and more of them as the database grows."""
    dates = {"val_timestamp": "2021-03-01", "test_timestamp": "2021-04-01"}
    db = connect(shop(200))
    task = Task(db, QUERY, **dates, eval_anchors=1)
    every = past_labels(db, task, None).to_pandas()
    assert every["seed_time"].max() > task.test_time + 60 * DAY, "labels go on after the anchors of the test split"
    assert (every["known"] >= every["seed_time"] + 10 * DAY).all()
    for last_day in (100, 127, 151):
        small = connect(shop(last_day))
        then = past_labels(small, Task(small, QUERY, **dates, eval_anchors=1), None).to_pandas()
        newest = pd.Timestamp("2021-01-01") + pd.Timedelta(days=int(np.arange(0, last_day, 3)[-1]))
        wanted = every[every["known"] <= newest.value // 1000]
        columns = ["key", "seed_time", "known", "label"]
        pd.testing.assert_frame_equal(then[columns].reset_index(drop=True), wanted[columns].reset_index(drop=True))
        small.close()
    db.close()


def test_a_parent_that_is_known_later_is_not_read():
    """A result may name a race that is yet to be held."""
    frames = {
        "people": pd.DataFrame({"id": [1]}),
        "races": pd.DataFrame({"id": [1, 2], "at": pd.to_datetime(["2021-01-05", "2021-03-01"]), "laps": [50.0, 70.0]}),
        "entries": pd.DataFrame(
            {"id": [1, 2], "person": [1, 1], "race": [1, 2], "at": pd.to_datetime(["2021-01-05", "2021-01-06"])}
        ),
    }
    from graphlearn.schema import Column, ForeignKey, Schema, Table

    schema = Schema(
        "races",
        {
            "people": Table("people", pkey=("id",)),
            "races": Table("races", pkey=("id",), time_col="at", columns=(Column("laps", stype="numerical"),)),
            "entries": Table(
                "entries",
                pkey=("id",),
                fkeys=(ForeignKey(("person",), "people"), ForeignKey(("race",), "races")),
                time_col="at",
            ),
        },
    )
    db = connect(frames, schema=schema)
    labels = pd.DataFrame({"id": [1], "t": pd.to_datetime(["2021-02-01"]), "y": [1.0]})
    task = Task.from_labels(
        db, labels, entity_table="people", time_col="t", target_col="y", task_type="regression",
        val_timestamp="2021-04-01", test_timestamp="2021-05-01",
    )  # fmt: skip
    time = np.array([task.label_table("train")["seed_time"][0].as_py()])
    from graphlearn.features.aggregates import _candidates

    features = [
        f for f in _candidates(db, task, task.val_time)[0] if f.name in ("entries > races.laps max", "entries count")
    ]
    found = Aggregates(task, features, until=task.val_time).compute(db, pa.array([1]), time, time)
    assert dict(zip(found.names, found.values[0].tolist(), strict=True)) == {
        "entries count": 2.0,
        "entries > races.laps max": 50.0,
    }
    db.close()
