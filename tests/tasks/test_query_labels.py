"""Labels of the example queries, and of random ones, against a slow answer in plain Python; the SQL itself."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from query_examples import REFUSED, VALID
from query_shop import DAY, START, make_tables, open_shop
from random_queries import queries
from slow_query import Slow

from graphlearn.errors import QueryError
from graphlearn.schema import Database
from graphlearn.tasks.query import parse
from graphlearn.tasks.query_check import check_query
from graphlearn.tasks.query_checked import Checked
from graphlearn.tasks.query_sql import Anchors, label_sql
from graphlearn.tasks.query_tree import Query

GOLDEN = Path(__file__).parents[1] / "golden"
REGULAR = START + 400 * DAY + 30 * DAY * np.arange(4)
UNEVEN = START + DAY * np.array([380, 411, 500, 613])
STEP = START + 400 * DAY + 5 * DAY * np.arange(7)
ONE = START + DAY * np.array([500])


@pytest.fixture(scope="module")
def shop() -> Iterator[Database]:
    db = open_shop(make_tables())
    yield db
    db.close()


@pytest.fixture(scope="module")
def slow() -> Slow:
    return Slow(make_tables())


def check(db: Database, slow: Slow, query: Query, anchors: np.ndarray) -> int:
    checked = check_query(db, query)
    where = Anchors() if checked.own_time else Anchors(anchors)
    table = db.arrow(label_sql(db, checked, where)).to_pydict()
    found = list(zip(table["pkey"], table["seed_time"], map(_plain, table["label"]), strict=True))
    expected = slow.labels(query, None if checked.own_time else [int(t) for t in anchors])
    assert [row[:2] for row in found] == [row[:2] for row in expected], str(query)
    for mine, theirs in zip(found, expected, strict=True):
        assert mine[2] == pytest.approx(theirs[2], abs=1e-9) if _number(theirs[2]) else mine[2] == theirs[2], (
            str(query),
            mine,
            theirs,
        )
    return len(found)


def _plain(label: object) -> object:
    return float(label) if _number(label) else label


def _number(label: object) -> bool:
    return isinstance(label, int | float) and not isinstance(label, bool)


@pytest.mark.parametrize("number", VALID)
@pytest.mark.parametrize("anchors", [REGULAR, UNEVEN, STEP], ids=["regular", "uneven", "overlapping"])
def test_labels_of_an_example(shop: Database, slow: Slow, number: int, anchors: np.ndarray):
    rows = check(shop, slow, parse(VALID[number]), anchors)
    assert rows or number in (25, 28)  # a first order, an order within a day of a visit: rare


@pytest.mark.parametrize("number", VALID)
def test_sql_of_an_example(shop: Database, number: int):
    checked = check_query(shop, VALID[number])
    sql = label_sql(shop, checked, Anchors() if checked.own_time else Anchors(REGULAR)) + "\n"
    file = GOLDEN / f"query_{number:02d}.sql"
    if os.environ.get("GRAPHLEARN_UPDATE_GOLDEN"):
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"-- {VALID[number]}\n{sql}", encoding="utf-8")
    assert file.read_text(encoding="utf-8") == f"-- {VALID[number]}\n{sql}"


@pytest.mark.parametrize("number", REFUSED)
def test_an_example_that_is_refused(shop: Database, number: int):
    text, message = REFUSED[number]
    with pytest.raises(QueryError, match=message):
        check_query(shop, text)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(queries(), st.sampled_from([REGULAR, UNEVEN, STEP, ONE]))
def test_labels_of_a_random_query(shop: Database, slow: Slow, query: Query, anchors: np.ndarray):
    assert parse(str(query)) == query
    check(shop, slow, query, anchors)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([VALID[n] for n in (1, 3, 8, 12, 21, 22, 24, 28)]))
def test_rows_outside_the_windows_change_nothing(seed: int, text: str):
    """Labels know no row at or before the anchor (but for WHERE), and none after the window."""
    tables = make_tables(seed, customers=6, orders=60)
    anchors = REGULAR[:2]
    checked = check_query(open_shop(tables), text)
    until = int(checked.window.shifted(checked.steps - 1).end.after(anchors[-1:])[0])

    def labels(changed: dict[str, pd.DataFrame]) -> list[tuple[int, int, object]]:
        return Labels(open_shop(changed), checked, anchors)

    later = {}
    for name, frame in tables.items():
        time = next(c for c in frame.columns if c.endswith("_at"))
        fresh = frame.copy()
        fresh.iloc[:, 0] += 10_000
        fresh[time] = (until + 1 + DAY * np.arange(len(frame))).astype("datetime64[us]")
        later[name] = pd.concat([frame, fresh], ignore_index=True)
    before = labels(tables)
    assert [row for row in labels(later) if row[0] < 10_000] == before
    if checked.query.where is None:
        kept = {}
        for name, frame in tables.items():
            time = next(c for c in frame.columns if c.endswith("_at"))
            old = frame[time] <= pd.Timestamp(int(anchors[0]), unit="us")
            events = name not in ("customers", "products", "orders") or (name == "orders" and "order_items" not in text)
            kept[name] = frame[~old].reset_index(drop=True) if events else frame
        assert labels(kept) == before


def Labels(db: Database, checked: Checked, anchors: np.ndarray) -> list[tuple[int, int, object]]:
    table = db.arrow(label_sql(db, checked, Anchors(anchors))).to_pydict()
    db.close()
    return list(zip(table["pkey"], table["seed_time"], table["label"], strict=True))
