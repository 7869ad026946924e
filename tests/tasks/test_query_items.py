"""Which items may be named at a time, and which a source has had, against plain loops over the shop."""

from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from query_shop import DAY, START, make_tables, open_shop

from graphlearn.errors import QueryError, UsageError
from graphlearn.schema import Database, Schema, Table, connect
from graphlearn.tasks import Task
from graphlearn.tasks.query_items import items_where, past_items

QUERY = "PREDICT LIST_DISTINCT(order_items.product_id, 0, 60, days) RANK TOP 4 FOR EACH customers.customer_id"
Frames = dict[str, pd.DataFrame]


@pytest.fixture(scope="module")
def frames() -> Frames:
    return make_tables(1)


@pytest.fixture(scope="module")
def shop(frames) -> Database:
    return open_shop(frames)


@pytest.fixture(scope="module")
def task(shop) -> Task:
    return Task(shop, QUERY)


def at(day: float) -> int:
    return START + round(day * DAY)


def us(time: pd.Timestamp) -> int:
    return int(time.value // 1000)


def there(frames: Frames, time: int) -> pd.DataFrame:
    """Products that exist then; those without a time always do."""
    products = frames["products"]
    return products[[pd.isna(t) or us(t) <= time for t in products["created_at"]]]


@pytest.mark.parametrize("day", [100, 400.5, 999])
def test_a_condition_on_a_column(frames, shop, task, day):
    found = items_where(shop, task, "products.price < 30 OR products.category = 'toys'", at(day))
    products = there(frames, at(day))
    cheap = products[(products["price"] < 30).fillna(False) | (products["category"] == "toys").fillna(False)]
    assert sorted(found.to_pylist()) == sorted(cheap["product_id"])


@pytest.mark.parametrize("day", [300, 700.5])
def test_a_condition_on_the_past(frames, shop, task, day):
    """Window borders are those of queries: later than the begin, up to the end."""
    found = items_where(shop, task, "COUNT(order_items.*, -90, 0, days) > 1", at(day))
    count: dict[int, int] = {}
    for row in frames["order_items"].itertuples():
        if pd.notna(row.placed_at) and pd.notna(row.product_id) and at(day - 90) < us(row.placed_at) <= at(day):
            count[row.product_id] = count.get(row.product_id, 0) + 1
    expected = {key for key, number in count.items() if number > 1} & set(there(frames, at(day))["product_id"])
    assert set(found.to_pylist()) == expected


def test_conditions_that_mean_nothing(shop, task):
    with pytest.raises(QueryError, match=r"no column of table 'products' 'prise'. Did you mean 'price'"):
        items_where(shop, task, "products.prise < 3", at(500))
    with pytest.raises(QueryError, match=r"line 1, column \d+"):
        items_where(shop, task, "products.price <", at(500))
    with pytest.raises(QueryError, match=r"WHERE"):
        items_where(shop, task, "COUNT(order_items.*, 0, 30, days) > 1", at(500))


def test_no_table_with_a_time_names_the_items():
    frames = {
        "people": pd.DataFrame({"id": [1, 2], "kind": [1, 2], "joined": pd.to_datetime(["2021-01-01", "2021-02-01"])}),
        "kinds": pd.DataFrame({"kind": [1, 2]}),
    }
    schema = Schema("few", {"people": Table("people", ("id",), time_col="joined"), "kinds": Table("kinds", ("kind",))})
    db = connect(frames, schema=schema)
    manifest = {"name": "next", "kind": "external", "task_type": "recommendation", "src_entity_table": "people",
                "src_entity_col": "id", "dst_entity_table": "kinds", "dst_entity_col": "kind", "time_col": "t",
                "eval_k": 1, "timedelta": "7 days"}  # fmt: skip
    task = Task(db, manifest, val_timestamp="2021-03-01", test_timestamp="2021-04-01")
    with pytest.raises(
        UsageError, match=r"a condition on 'kinds' needs a table with a time that refers to it; there is"
    ):
        items_where(db, task, "kinds.kind = 1", 0)
    with pytest.raises(UsageError, match=r"task 'next' is no query, so it is not known which rows of 'kinds' a source"):
        past_items(db, task, 0)


def had(frames: Frames, time: int) -> dict[int, set[int]]:
    """Per customer the products of the orders up to a time."""
    owner = {row.order_id: row.customer_id for row in frames["orders"].itertuples()}
    found: dict[int, set[int]] = {}
    for row in frames["order_items"].itertuples():
        who = owner.get(row.order_id) if pd.notna(row.order_id) else None
        if pd.notna(row.placed_at) and us(row.placed_at) <= time and pd.notna(row.product_id) and pd.notna(who):
            found.setdefault(int(who), set()).add(int(row.product_id))
    return found


@settings(deadline=None, max_examples=12)
@given(st.integers(0, 2_000))
def test_the_past_ends_with_the_time_itself(frames, shop, task, half_days):
    time = START + half_days * (DAY // 2)
    found = {row["pkey"]: row["label"] for row in past_items(shop, task, time).to_pylist() if row["label"]}
    expected = had(frames, time)
    people = frames["customers"]
    exists = set(people["customer_id"][[pd.isna(t) or us(t) <= time for t in people["signup_at"]]])
    assert {key: set(items) for key, items in found.items()} == {k: v for k, v in expected.items() if k in exists}
    assert all(len(items) == len(set(items)) for items in found.values())


def test_nothing_later_is_had(frames, shop, task):
    """With rows added later the same; with one at the time itself one more."""
    time = START + 500 * DAY
    before = {row["pkey"]: row["label"] for row in past_items(shop, task, time).to_pylist()}
    who = next(key for key, items in sorted(before.items()) if not {7, 8} & set(items))
    order = frames["orders"].iloc[:1].assign(order_id=9_999, customer_id=who)
    for shift, changes in ((1, False), (0, True)):
        when = pd.Timestamp((time + shift), unit="us")
        more = (
            frames["order_items"]
            .iloc[:2]
            .assign(item_id=[9_998, 9_999], order_id=9_999, product_id=[7, 8], placed_at=when.as_unit("us"))
        )
        grown = {
            **frames,
            "orders": pd.concat([frames["orders"], order.assign(placed_at=when.as_unit("us"))]),
            "order_items": pd.concat([frames["order_items"], more]),
        }
        after = {row["pkey"]: row["label"] for row in past_items(open_shop(grown), task, time).to_pylist()}
        assert (after != before) == changes
        assert not changes or {7, 8} <= set(after[who])
