"""On random schemas, labels use no row at or before the anchor and none after the window."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st
from query_shop import DAY, START

from graphlearn.schema import Column, Database, ForeignKey, Schema, Table, connect
from graphlearn.tasks.query_check import check_query
from graphlearn.tasks.query_sql import Anchors, label_sql

ANCHORS = START + DAY * np.array([20, 30, 40])


@dataclass
class Chain:
    """Tables t0 (the entity), t1, …, each of which names a row of an earlier one; rows are (key, day or None)."""

    parents: list[int]
    dated: list[bool]
    rows: list[list[tuple[int, float]]]

    def database(self) -> Database:
        frames, tables = {}, {}
        for i, rows in enumerate(self.rows):
            columns: dict[str, Any] = {"id": range(len(rows)), "at": [_time(day) for _, day in rows]}
            keys: tuple[ForeignKey, ...] = ()
            if i:
                columns["up"] = [key % len(self.rows[self.parents[i]]) for key, _ in rows]
                keys = (ForeignKey(("up",), f"t{self.parents[i]}"),)
            frames[f"t{i}"] = pd.DataFrame(columns)
            time_col = "at" if self.dated[i] else None
            tables[f"t{i}"] = Table(f"t{i}", ("id",), keys, time_col, columns=tuple(map(Column, columns)))
        return connect(frames, schema=Schema("chain", tables), threads=1)

    def expected(self, after: int, upto: int) -> list[tuple[int, int, int]]:
        """Rows of the last table in each window, by entity; a row's time is the nearest on its way to the entity."""
        counts = {(key, int(at)): 0 for at in ANCHORS for key in range(len(self.rows[0]))}
        for row in range(len(self.rows[-1])):
            table, number, day = len(self.rows) - 1, row, None
            while table:
                key, own = self.rows[table][number]
                day = own if day is None and self.dated[table] else day
                table, number = self.parents[table], key % len(self.rows[self.parents[table]])
            for at in ANCHORS:
                assert day is not None
                counts[number, int(at)] += at + after * DAY < START + day * DAY <= at + upto * DAY
        return sorted(((key, at, count) for (key, at), count in counts.items()), key=lambda found: (found[1], found[0]))


def _time(day: float) -> pd.Timestamp:
    return pd.Timestamp(int(START + day * DAY), unit="us").as_unit("us")


@st.composite
def chains(draw: Any) -> Chain:
    depth = draw(st.integers(1, 3))
    parents = [0] + [i - 1 for i in range(1, depth + 1)]
    side = draw(st.booleans())  # a table beside the chain, of which the query says nothing
    dated = [False] + [draw(st.booleans()) for _ in range(depth)]
    dated[1] = dated[1] or not any(dated)
    days = st.integers(-2, 128).map(lambda half: half / 2) | st.sampled_from([20.0, 30.0, 40.0, 20.5])
    rows = [draw(st.lists(st.tuples(st.integers(0, 9), days), min_size=1, max_size=12)) for _ in range(depth + 1)]
    if side:
        parents.insert(1, 0)
        parents[2:] = [p + 1 if p >= 1 else p for p in parents[2:]]
        dated.insert(1, True)
        rows.insert(1, draw(st.lists(st.tuples(st.integers(0, 9), days), min_size=1, max_size=12)))
    return Chain(parents, dated, rows)


@settings(max_examples=40, deadline=None)
@given(chains(), st.sampled_from([(0, 10), (0, 7), (3, 10), (0, 25), (5, 12)]))
def test_labels_use_the_rows_of_the_window_and_no_others(chain: Chain, window: tuple[int, int]):
    db = chain.database()
    last = f"t{len(chain.rows) - 1}"
    checked = check_query(db, f"PREDICT COUNT({last}.*, {window[0]}, {window[1]}) FOR EACH t0.id")
    found = db.arrow(label_sql(db, checked, Anchors(ANCHORS))).to_pydict()
    db.close()
    assert list(zip(found["pkey"], found["seed_time"], found["label"], strict=True)) == chain.expected(*window)
