"""Where label tables go wrong, one test each; and names and texts that would change the SQL."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest
from query_shop import DAY, make_tables, open_shop

from graphlearn.errors import QueryError, TaskError
from graphlearn.schema import Column, Database, ForeignKey, Schema, Table, connect
from graphlearn.tasks import Task
from graphlearn.tasks.labels import EmptySplitError
from graphlearn.tasks.query_check import check_query
from graphlearn.tasks.query_labels import make_labels
from graphlearn.tasks.query_sql import Anchors, label_sql
from graphlearn.tasks.times import time_us

AT = "2024-03-01"
EACH = "FOR EACH users.id"


def small(
    events: list[tuple[Any, ...]], *, since: list[str | None] | None = None, null_time: str = "keep", **kinds: str
) -> Database:
    """Users 1 and 2, and events (user, time, amount); the event's id is its position."""
    frame = pd.DataFrame(events, columns=["user", "at", "amount"])
    frame.insert(0, "id", range(len(frame)))
    frame["at"] = pd.to_datetime(frame["at"], format="ISO8601")
    frame = frame.astype({"user": "Int64", "amount": "float64"} | kinds)
    known = pd.Series(pd.to_datetime(since or ["2020-01-01", "2020-01-01"], format="ISO8601"))
    return users_and(frame, known, null_time)


def users_and(events: pd.DataFrame, since: pd.Series[Any], null_time: str = "keep") -> Database:
    tables = {
        "users": Table("users", ("id",), (), "since", null_time, (Column("id"), Column("since"))),
        "events": Table(
            "events", ("id",), (ForeignKey(("user",), "users"),), "at", columns=tuple(map(Column, events.columns))
        ),
    }
    return connect(
        {"users": pd.DataFrame({"id": [1, 2], "since": since}), "events": events}, schema=Schema("s", tables)
    )


def labels(db: Database, query: str, *at: str) -> list[tuple[int, str, Any]]:
    times = np.array([time_us(t, "at") for t in at or (AT,)])
    found = db.arrow(label_sql(db, check_query(db, query), Anchors(times))).to_pydict()
    days = [str(pd.Timestamp(t, unit="us").date()) for t in found["seed_time"]]
    return list(zip(found["pkey"], days, found["label"], strict=True))


def only(db: Database, query: str, *at: str) -> list[Any]:
    return [label for _, _, label in labels(db, query, *at)]


def test_1_a_row_at_the_anchor_is_past_and_one_at_the_end_is_label():
    db = small([(1, AT, 1), (1, "2024-03-01 00:00:00.000001", 2), (1, "2024-03-31", 4), (1, "2024-03-31 00:00:01", 8)])
    assert only(db, f"PREDICT SUM(events.amount, 0, 30) {EACH}") == [6.0, 0.0]
    assert only(db, f"PREDICT SUM(events.amount, 0, 30) {EACH} WHERE SUM(events.amount, -1, 0) = 1") == [6.0]
    assert only(db, f"PREDICT SUM(events.amount, 0, 30) {EACH} WHERE EXISTS(events.*, -1, 0)", AT, "2024-03-02") == [
        6.0,
        12.0,
    ]


def test_2_an_anchor_is_kept_if_its_window_ends_with_the_data():
    def times(last: str) -> int:
        db = small([(1, "2024-01-01", 1), (2, last, 1)])
        made = make_labels(
            db, f"PREDICT COUNT(events.*, 0, 10) {EACH}", val_time=time_us("2024-03-01", ""),
            test_time=time_us("2024-03-21", ""),
        )  # fmt: skip
        found = made.anchors["test"].times
        assert found is not None
        return len(found)

    assert times("2024-03-31") == 1
    assert times("2024-03-30 23:59:59.999999") == 0


def test_3_a_filter_keeps_entities_without_matching_rows():
    db = small([(1, "2024-03-02", 5)])
    assert labels(db, f"PREDICT COUNT(events.* WHERE events.amount > 9, 0, 30) {EACH}") == [(1, AT, 0), (2, AT, 0)]


def test_4_an_entity_is_there_from_its_creation_on_or_always():
    events = [(1, "2024-03-02", 5), (2, "2024-03-02", 5)]
    query = f"PREDICT COUNT(events.*, 0, 30) {EACH}"
    assert labels(small(events, since=["2024-03-01", "2024-03-01 00:00:01"]), query) == [(1, AT, 1)]
    assert labels(small(events, since=[None, "2024-04-01"]), query) == [(1, AT, 1)]
    # As the schema has it: what has no time is no part of the graph either.
    assert labels(small(events, since=[None, "2024-01-01"], null_time="drop"), query) == [(2, AT, 1)]


def test_5_two_tables_do_not_multiply_rows():
    db = open_shop(make_tables())
    at = np.array([time_us("2023-06-01", "at")])

    def sums(query: str) -> list[bool]:
        found = db.arrow(label_sql(db, check_query(db, query), Anchors(at)))
        return list(found["label"].to_pylist())

    each = "FOR EACH customers.customer_id"
    alone = sums(f"PREDICT SUM(orders.total, 0, 300) > 300 {each}")
    both = sums(f"PREDICT SUM(orders.total, 0, 300) > 300 AND COUNT(visits.*, 0, 300) >= 0 {each}")
    assert alone == both
    assert len(set(alone)) == 2


def test_6_months_are_calendar_months_clipped_at_their_end():
    db = small([(1, "2023-02-28", 1), (1, "2023-03-01", 2), (1, "2024-02-29", 4)])
    query = f"PREDICT SUM(events.amount, 0, 1, month) {EACH}"
    assert only(db, query, "2023-01-31") == [1.0, 0.0]
    assert only(db, query, "2023-01-28", "2023-01-31", "2023-02-01", "2024-01-31") == [1, 0, 1, 0, 3, 0, 4, 0]


def test_7_first_and_last_do_not_depend_on_the_order_of_rows():
    events = [(1, "2024-03-02", float(i)) for i in range(2_000)]
    for order in (events, events[::-1]):
        db = small(order)
        first = order[0][2], order[-1][2]  # ids ascend with the position
        assert only(db, f"PREDICT FIRST(events.amount, 0, 30) {EACH}") == [first[0]]
        assert only(db, f"PREDICT LAST(events.amount, 0, 30) {EACH}") == [first[1]]


def test_7_without_a_primary_key_the_values_decide():
    events = pd.DataFrame({"user": [1, 1], "at": pd.to_datetime(["2024-03-02"] * 2), "amount": [3.0, 2.0]})
    for frame in (events, events[::-1].reset_index(drop=True)):
        tables = {
            "users": Table("users", ("id",), columns=(Column("id"),)),
            "events": Table("events", (), (ForeignKey(("user",), "users"),), "at", columns=tuple(map(Column, frame))),
        }
        db = connect({"users": pd.DataFrame({"id": [1]}), "events": frame}, schema=Schema("s", tables))
        assert only(db, f"PREDICT FIRST(events.amount, 0, 30) {EACH}") == [2.0]


def test_8_the_sum_of_nothing_and_of_nothing_known_is_zero_and_their_mean_is_undefined():
    db = small([(1, "2024-03-02", None)])
    assert only(db, f"PREDICT SUM(events.amount, 0, 30) {EACH}") == [0.0, 0.0]
    assert only(db, f"PREDICT AVG(events.amount, 0, 30) IS NULL {EACH}") == [True, True]
    assert only(db, f"PREDICT COUNT(events.amount, 0, 30) = COUNT {EACH}".replace("= COUNT", "= 0")) == [True, True]
    assert only(db, f"PREDICT COUNT(events.*, 0, 30) {EACH}") == [1.0, 0.0]


def test_9_times_with_and_without_a_zone_are_compared_in_utc():
    zoned = pd.Series(pd.to_datetime(["2024-03-01 00:30"])).dt.tz_localize("Europe/Berlin")  # 23:30 UTC the day before
    events = pd.DataFrame({"id": [0], "user": [1], "at": zoned, "amount": [1.0]})
    since = pd.Series(pd.to_datetime(["2020-01-01"] * 2))
    db = users_and(events, since)
    assert only(db, f"PREDICT COUNT(events.*, 0, 30) {EACH}") == [0.0, 0.0]
    assert only(db, f"PREDICT COUNT(events.*, 0, 30) {EACH}", "2024-02-29") == [1.0, 0.0]
    late = f"PREDICT MAX(events.at, 0, 30) > '2024-02-29 23:00' {EACH}"
    assert only(db, late, "2024-02-29") == [True]


def test_10_an_empty_test_split_one_class_and_a_rank_beyond_the_table():
    days = pd.date_range("2023-01-01", "2024-03-01", freq="7D").strftime("%Y-%m-%d")
    db = small([(user, day, 1) for day in days for user in (1, 2)])
    task = Task(
        db, f"PREDICT SUM(events.amount, 0, 30) {EACH}", val_timestamp="2024-01-01", test_timestamp="2024-02-15"
    )
    assert len(task.labels("val")) == 2
    with pytest.raises(EmptySplitError, match=r"the test split is empty: no window of 30 days from 2024-02-15 on ends"):
        task.labels("test")
    with pytest.raises(TaskError, match=r"all \d+ labels are 1; a classifier needs at least two classes"):
        Task(db, f"PREDICT EXISTS(events.*, 0, 30) {EACH}").labels("train")
    with pytest.raises(QueryError, match=r"RANK TOP 9 of 'products', which has 8 rows"):
        check_query(
            open_shop(make_tables(orders=10)),
            "PREDICT LIST_DISTINCT(reviews.product_id, 0, 9) RANK TOP 9 FOR EACH customers.customer_id",
        )


HOSTILE = [
    'a"b',
    "a.b",
    "select",
    "Mixed Case",
    "x; DROP TABLE canary",
    "naïve ☃",
    "'",
    "--",
    "a\\b",
    "/*",
    "{timedelta}",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_11_any_name_and_text_can_stand_in_a_database(name: str, tmp_path: Path):
    def q(text: str) -> str:
        return '"' + text.replace('"', '""') + '"'

    file = tmp_path / "hostile.duckdb"
    with duckdb.connect(str(file)) as con:
        con.execute("CREATE TABLE canary AS SELECT 1 AS alive")
        con.execute(f"CREATE TABLE {q(name)} ({q(name)} INTEGER PRIMARY KEY)")
        con.execute(f"INSERT INTO {q(name)} VALUES (1), (2)")
        con.execute(
            f'CREATE TABLE events (id INTEGER PRIMARY KEY, {q(name)} INTEGER REFERENCES {q(name)}, "at" TIMESTAMP, '
            f"{q(name + ' text')} VARCHAR)"
        )
        con.execute("INSERT INTO events VALUES (1, 1, '2024-03-02', ?)", [name])
    db = connect(file)
    text = "'" + name.replace("'", "''") + "'"
    query = f"PREDICT COUNT(events.* WHERE events.{q(name + ' text')} = {text}, 0, 30) FOR EACH {q(name)}.{q(name)}"
    assert only(db, query) == [1.0, 0.0]
    listed = query.replace("COUNT(events.*", f"LIST_DISTINCT(events.{q(name + ' text')}").replace("FOR", "CLASSIFY FOR")
    assert only(db, listed) == [[name]]
    for test in ("LIKE", "CONTAINS", "STARTS WITH", "IN"):
        value = f"({text})" if test == "IN" else text
        other = query.replace(f"= {text}", f"{test} {value}")
        assert only(db, other) == [1.0, 0.0]
    db.close()
    with duckdb.connect(str(file), read_only=True) as con:
        assert con.execute("SELECT alive FROM canary").fetchall() == [(1,)]


def test_11_sql_in_a_query_is_no_sql():
    db = small([(1, "2024-03-02", 1)])
    for text in (
        f"PREDICT COUNT(events.*, 0, 30) {EACH}; DROP TABLE events",
        f"PREDICT COUNT((SELECT 1).*, 0, 30) {EACH}",
        f"PREDICT COUNT(events.* WHERE 1 = 1, 0, 30) {EACH}",
        f"PREDICT COUNT(events.*, 0, 30) {EACH} WHERE read_csv('/etc/passwd') = 1",
    ):
        with pytest.raises(QueryError):
            check_query(db, text)


def test_12_the_infinite_past_ends_at_the_anchor():
    db = small([(1, "2024-03-02", 1), (2, "2024-02-01", 1), (2, "1970-01-01", 1)])
    query = f"PREDICT COUNT(events.*, 0, 30) {EACH} WHERE EXISTS(events.*, -INF, 0)"
    assert labels(db, query) == [(2, AT, 0)]
    assert labels(db, query, AT, "2024-03-02") == [(2, AT, 0), (1, "2024-03-02", 0), (2, "2024-03-02", 0)]
    assert labels(db, query.replace("-INF, 0", "-INF, -40")) == [(2, AT, 0)]


def test_13_small_steps_leave_a_gap_between_the_splits():
    days = pd.date_range("2023-01-01", "2024-06-30", freq="1D").strftime("%Y-%m-%d")
    db = small([(1 + i % 2, day, 1) for i, day in enumerate(days)])
    made = make_labels(db, f"PREDICT COUNT(events.*, 0, 30) {EACH} EVERY 7 days")
    train, val, test = (made.anchors[split].times for split in ("train", "val", "test"))
    assert train is not None
    assert val is not None
    assert test is not None
    assert set(np.diff(train)) == {7 * DAY}
    assert train[-1] + 30 * DAY == made.val_time == val[0]
    assert val[-1] + 30 * DAY <= made.test_time == test[0]
    assert test[-1] + 30 * DAY <= time_us("2024-06-30", "")
    assert len(test) > 1


def test_14_a_row_counts_at_its_time_in_the_schema():
    """With a time of loading as the time column, what came late is known late, for labels as for features."""
    events = pd.DataFrame(
        {
            "id": [0],
            "user": [1],
            "happened": pd.to_datetime(["2024-02-20"]),
            "at": pd.to_datetime(["2024-03-05"]),
            "amount": [1.0],
        }
    )
    db = users_and(events, pd.Series(pd.to_datetime(["2020-01-01"] * 2)))
    assert only(db, f"PREDICT COUNT(events.*, 0, 30) {EACH}") == [1.0, 0.0]
    assert only(db, f"PREDICT COUNT(events.*, 0, 30) {EACH} WHERE EXISTS(events.*, -30, 0)") == []
