"""Time columns, and the times of tables that have none of their own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from graphlearn.database import open_source
from graphlearn.errors import SchemaError
from graphlearn.schema import connect
from graphlearn.schema.infer import infer_schema
from graphlearn.schema.schema import KNOWN_SINCE

N = 30
days = pd.date_range("2020-01-01", periods=N).to_series().reset_index(drop=True)
week = pd.Timedelta(days=7)
ids = np.arange(N)


def time_col(table="orders", **columns):
    return connect({table: pd.DataFrame({"id": ids, **columns})}).schema[table].time_col


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"created_at": days}, "created_at"),
        ({"date": days, "created_at": days}, "date"),  # equally good names, equal times: the first
        ({"shipped_at": days + week, "created_at": days}, "created_at"),
        ({"ship_date": days + week, "order_date": days}, "order_date"),
        ({"updated_at": days + week, "ts": days}, "ts"),
        ({"updated_at": days}, "updated_at"),  # better than no time: nothing is visible too early
        ({"birth_date": days, "signup": days}, "signup"),
        ({"dob": days}, None),
        ({"date_of_birth": days}, None),
        ({"valid_until": days}, None),
        ({"due_date": days}, None),
        ({"returned_at": days}, "returned_at"),  # late, but not too early
        ({"returned_at": days, "ordered_on": days + week}, "ordered_on"),
        ({"end_date": days, "start_date": days - week}, "start_date"),
        ({"date": pd.Series([pd.Timestamp("9999-12-31"), *days[1:]])}, None),
        ({"date": days.where(ids > 20), "when": days}, "when"),  # mostly missing
        ({"date": days.where(ids > 3), "time": days}, "time"),  # fewer are missing
        ({"day": days.dt.strftime("%Y-%m-%d")}, "day"),
        ({"day": ["soon", *days.dt.strftime("%Y-%m-%d")[1:]]}, None),
        ({"at": days.dt.tz_localize("Europe/Paris")}, "at"),
        ({"day": days.dt.date}, "day"),
        ({"time": ids}, None),  # a number has no unit
        ({"x": ids}, None),
    ],
)
def test_time_column(columns, expected):
    assert time_col(**columns) == expected


def test_a_time_named_like_its_table_is_that_of_the_row():
    days_of = {"returned_at": days, "expected_at": days}
    orders = pd.DataFrame({"id": ids, "ordered_at": days - week})
    returns = pd.DataFrame({"return_id": ids, "order_id": ids, **days_of})
    schema = connect({"orders": orders, "returns": returns}).schema
    assert (schema["orders"].time_col, schema["returns"].time_col) == ("ordered_at", "returned_at")
    assert time_col(table="births", birth_date=days) == "birth_date"


def test_one_moment_for_all_rows_is_that_of_a_load():
    same = pd.Series([days[0]] * N)
    orders = pd.DataFrame({"id": ids, "customer_id": ids, "created_at": days})
    schema = connect({"customers": pd.DataFrame({"id": ids, "create_date": same}), "orders": orders}).schema
    assert schema["customers"].time_col is None
    assert time_col(last_update=same) is None
    assert time_col(table="snapshot", taken_at=same) == "taken_at"  # nothing refers to it


def test_rows_without_a_time_stay_where_others_refer_to_them(shop):
    assert {name: table.null_time for name, table in shop.schema.tables.items()} == {
        "customers": "keep",
        "products": "keep",
        "orders": "keep",
        "order_items": "drop",
    }


def test_items_are_known_since_their_order(shop, shop_frames):
    table = shop.schema["order_items"]
    assert (table.time_col, table.time_from) == (KNOWN_SINCE, ("order_id",))
    assert shop.columns("order_items")[KNOWN_SINCE] == "TIMESTAMP"
    assert table.column(KNOWN_SINCE).stype is None
    found = shop.arrow(f"SELECT order_id, line, {KNOWN_SINCE} FROM order_items ORDER BY order_id, line").to_pandas()
    orders = shop_frames["orders"].set_index("order_id")["created_at"]
    expected = shop_frames["order_items"].sort_values(["order_id", "line"])["order_id"].map(orders)
    assert found[KNOWN_SINCE].tolist() == expected.tolist()


def frames():
    """a (dated) <- b <- c, d -> a and e; all but a and e without a time."""
    return {
        "a": pd.DataFrame({"id": ids, "at": days}),
        "b": pd.DataFrame({"id": ids, "a_id": ids}),
        "c": pd.DataFrame({"id": ids, "b_id": ids}),
        "d": pd.DataFrame({"id": ids, "a_id": ids, "e_id": ids[::-1]}),
        "e": pd.DataFrame({"id": ids, "day": days.dt.tz_localize("UTC")}),
    }


def test_a_row_is_known_since_the_latest_of_the_rows_it_names():
    db = connect(frames())
    assert {name: table.time_from for name, table in db.schema.tables.items()} == {
        "a": (), "b": ("a_id",), "c": ("b_id",), "d": ("a_id", "e_id"), "e": ()
    }  # fmt: skip
    for table, expected in (
        ("b", days),
        ("c", days),
        ("d", days.where(days > days[::-1].to_numpy(), days[::-1].to_numpy())),
    ):
        found = db.arrow(f"SELECT {KNOWN_SINCE} AS t FROM {table} ORDER BY id").to_pandas()["t"]
        assert found.tolist() == expected.tolist()


def test_names_that_name_no_row_have_no_time_and_double_keys_double_nothing():
    tables = frames()
    tables["b"].loc[0, "a_id"] = 999
    tables["a"] = pd.concat([tables["a"], tables["a"][:1].assign(at=days[5])])
    schema = connect(frames()).schema
    db = connect(tables, schema=schema)
    rows = db.rows(f"SELECT id, {KNOWN_SINCE} IS NULL FROM b ORDER BY id")
    assert rows == [(i, i == 0) for i in range(N)]


def test_a_time_that_would_come_after_what_refers_to_the_row_is_not_taken():
    # A customer's last order is no reason to hide the customer until then.
    tables = {
        "customers": pd.DataFrame({"id": ids, "last_order_id": ids[::-1]}),
        "orders": pd.DataFrame({"id": ids, "customer_id": ids, "created_at": days}),
    }
    assert connect(tables).schema["customers"].time_col is None


def test_a_column_of_that_name_is_left_alone():
    tables = frames()
    tables["b"][KNOWN_SINCE.upper()] = 1
    db = connect(tables)
    assert db.schema["b"].time_from == ()
    assert db.schema["c"].time_from == ()


def test_inferred_and_declared_derived_times_are_the_same():
    first = connect(frames())
    again = connect(frames(), schema=first.schema)
    assert again.schema == first.schema
    assert again.fingerprint() == first.fingerprint()
    without = {name: replace(table, columns=()) for name, table in first.schema.tables.items()}
    assert (
        connect(frames(), schema=replace(first.schema, tables=without)).schema.tables.keys()
        == first.schema.tables.keys()
    )


def test_a_source_may_be_looked_at_again_and_with_another_schema():
    source = open_source(frames())
    assert infer_schema(source) == infer_schema(source)
    db = connect(frames())
    assert db.with_schema(db.schema).schema == db.schema
    undated = {
        name: replace(
            table,
            time_from=(),
            time_col=None if table.time_from else table.time_col,
            columns=tuple(column for column in table.columns if column.name != KNOWN_SINCE),
        )
        for name, table in db.schema.tables.items()
    }
    other = db.with_schema(replace(db.schema, tables=undated))
    assert other.schema.tables == undated  # the column that is there for the first schema is not seen
    assert other.with_schema(db.schema).schema == db.schema
    only_a = replace(db.schema["d"], time_from=("a_id",))
    with pytest.raises(SchemaError, match=r"d.known_since: on this connection it comes from other keys"):
        db.with_schema(replace(db.schema, tables=db.schema.tables | {"d": only_a}))
