"""Label windows against a slow answer in plain Python, on small databases whose rows fall on the borders."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphlearn.errors import TaskError
from graphlearn.schema import Column, Database, ForeignKey, Schema, Table, connect
from graphlearn.tasks import Task
from graphlearn.tasks.times import time_text

HOUR = 3_600_000_000
START = 1_600_000_000_000_000 // HOUR * HOUR
VAL, TEST, END = 20, 26, 34
DELTA = 4
SQL = """
    SELECT u.key AS who, t.timestamp AS at,
           CAST(coalesce(sum(e.amount), 0) AS DOUBLE) + 1000 * count(e.item) AS total
    FROM timestamps AS t CROSS JOIN users AS u
    LEFT JOIN events AS e ON e.user = u.key AND e.at > t.timestamp AND e.at <= t.timestamp + INTERVAL '{timedelta}'
    GROUP BY ALL
"""
MANIFEST = {
    "name": "total", "kind": "forecast", "task_type": "regression", "entity_table": "users", "entity_col": "who",
    "target_col": "total", "time_col": "at", "timedelta": f"{DELTA} hours", "num_eval_timestamps": 9, "sql": SQL,
}  # fmt: skip


@dataclass
class Small:
    """Users and items that appear at an hour or always, and events (user, item, hour, amount); None is NULL."""

    users: dict[str, int | None]
    items: dict[int, int | None]
    events: list[tuple[str | None, int | None, int | None, int]]

    def database(self) -> Database:
        def at(hour: int | None) -> pd.Timestamp:
            return pd.NaT if hour is None else pd.Timestamp(START + hour * HOUR, unit="us")

        def timed(key: str, rows: dict[Any, int | None]) -> pd.DataFrame:
            since = pd.Series([at(hour) for hour in rows.values()], dtype="datetime64[us]")
            return pd.DataFrame({key: list(rows), "since": since})

        user, item, hour, amount = zip(*self.events, strict=True)
        events = pd.DataFrame(
            {
                "user": pd.Series(user, dtype="str"),
                "item": pd.Series(item, dtype="Int64"),
                "at": pd.Series([at(h) for h in hour], dtype="datetime64[us]"),
                "amount": amount,
            }
        )
        frames = {"users": timed("key", self.users), "items": timed("id", self.items), "events": events}
        keys = (ForeignKey(("user",), "users"), ForeignKey(("item",), "items"))
        tables = {
            "users": Table("users", ("key",), (), "since", columns=(Column("key"), Column("since"))),
            "items": Table("items", ("id",), (), "since", columns=(Column("id"), Column("since"))),
            "events": Table("events", (), keys, "at", columns=tuple(Column(c) for c in events.columns)),
        }
        schema = Schema("small", tables, time_text(START + VAL * HOUR), time_text(START + TEST * HOUR))
        return connect(frames, schema=schema)

    def labels(self, split: str) -> list[tuple[str, int, float]]:
        """(key, hour of the anchor, label), sorted by hour and key."""
        until = END if split == "test" else TEST
        anchors = {
            "train": range(VAL - DELTA, -1, -DELTA),
            "val": range(VAL, TEST - DELTA + 1, DELTA),
            "test": range(TEST, END - DELTA + 1, DELTA),
        }[split]
        out = []
        for t in anchors:
            for key, since in self.users.items():
                if since is None or since > TEST:
                    continue
                window = [
                    (item, amount)
                    for user, item, hour, amount in self.events
                    if user == key and hour is not None and t < hour <= t + DELTA and hour <= until
                ]
                known = [i for i, _ in window if i in self.items and self._is_there(self.items[i], until, split)]
                out.append((key, t, float(sum(a for _, a in window) + 1000 * len(known))))
        return sorted(out, key=lambda row: (row[1], row[0]))

    @staticmethod
    def _is_there(since: int | None, until: int, split: str) -> bool:
        return split == "test" or (since is not None and since <= until)


hours = st.none() | st.integers(0, END)
smalls = st.builds(
    lambda users, items, events: Small(
        # A user who is always there, and events at the first and the last hour, fix which anchors there are.
        users | {"always": 0}, items | {1: 0}, [*events, ("always", 1, 0, 1), ("always", 1, END, 2)]
    ),
    st.dictionaries(st.sampled_from(["zoe", "bob", "10", "9", "O'Hara"]), hours, max_size=4),
    st.dictionaries(st.integers(1, 5), hours, max_size=3),
    st.lists(
        st.tuples(
            st.none() | st.sampled_from(["zoe", "bob", "10", "9", "O'Hara", "always", "nobody"]),
            st.none() | st.integers(1, 6),
            hours,
            st.integers(-5, 50),
        ),
        max_size=30,
    ),
)  # fmt: skip


def found(db: Database, split: str) -> list[tuple[str, int, float]]:
    table = Task(db, MANIFEST).label_table(split)
    hour = [(us - START) // HOUR for us in table["seed_time"].to_pylist()]
    return list(zip(table["pkey"].to_pylist(), hour, table["label"].to_pylist(), strict=True))


@settings(max_examples=30, deadline=None)
@given(smalls)
def test_labels_are_the_slow_answer(small: Small):
    db = small.database()
    for split in ("train", "val", "test"):
        assert found(db, split) == small.labels(split)


@settings(max_examples=10, deadline=None)
@given(smalls, st.integers(0, END), st.integers(1, 99))
def test_a_row_changes_only_the_labels_of_anchors_before_it(small: Small, hour: int, amount: int):
    before = {split: found(small.database(), split) for split in ("train", "val", "test")}
    small.events.append(("always", 1, hour, amount))
    for split, old in before.items():
        new = found(small.database(), split)
        changed = {a[1] for a, b in zip(old, new, strict=True) if a != b}
        assert changed <= {t for t in range(-DELTA, END) if t < hour <= t + DELTA}
        assert all(hour > t for t in changed)


@pytest.mark.parametrize(("hour", "is_label"), [(16, False), (17, True), (20, True), (21, False)])
def test_the_window_is_open_at_the_anchor_and_closed_at_its_end(hour: int, is_label: bool):
    small = Small({"always": 0}, {1: 0}, [("always", 1, 0, 1), ("always", None, hour, 7), ("always", 1, END, 2)])
    assert (("always", 16, 7.0) in found(small.database(), "train")) is is_label


def test_fewer_than_three_train_anchors_is_an_error():
    small = Small({"always": 0}, {1: 0}, [("always", 1, 9, 1), ("always", 1, END, 2)])
    small.users["always"] = small.items[1] = 9
    with pytest.raises(TaskError, match=r"'total': 2 train anchors fit between the first row .* at least 3 are needed"):
        Task(small.database(), MANIFEST).labels("train")


def test_a_test_window_past_the_last_row_is_an_error_of_that_split_only():
    small = Small({"always": 0}, {1: 0}, [("always", 1, 0, 1), ("always", 1, TEST + DELTA - 1, 2)])
    task = Task(small.database(), MANIFEST)
    assert len(task.labels("train")) == 5
    assert len(task.labels("val")) == 1
    with pytest.raises(TaskError, match=r"the test split is empty: a window of 4 hours from 2020-.* ends after 2020-"):
        task.labels("test")


def test_validation_whose_window_ends_at_the_test_time_needs_no_row_there():
    small = Small({"always": 0}, {1: 0}, [("always", 1, 0, 1), ("always", 1, VAL + 1, 5), ("always", 1, END, 2)])
    assert found(small.database(), "val") == [("always", VAL, 1005.0)]


def test_entities_count_that_are_known_by_the_test_time():
    small = Small({"always": 0, "edge": TEST, "late": TEST + 1, "undated": None}, {1: 0}, [])
    small.events = [("always", 1, 0, 1), ("late", 1, END - 1, 1), ("always", 1, END, 2)]
    for split in ("train", "val", "test"):
        assert {key for key, _, _ in found(small.database(), split)} == {"always", "edge"}


def test_a_sum_of_integers_is_a_plain_number():
    # DuckDB's type of it is 128 bits wide, for which Arrow has decimals only.
    sql = """SELECT u.key AS who, t.timestamp AS at, sum(e.amount) AS total FROM timestamps t, users u, events e
             WHERE e.user = u.key AND e.at <= t.timestamp GROUP BY ALL"""
    small = Small({"always": 0}, {1: 0}, [("always", 1, 0, 3), ("always", 1, END, 2)])
    label = Task(small.database(), MANIFEST | {"sql": sql}).label_table("train")["label"]
    assert (str(label.type), label.to_pylist()) == ("double", [3.0] * 5)
