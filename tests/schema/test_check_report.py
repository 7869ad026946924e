"""The report on the data: each thing that can be wrong is put in, and found with its count and first offenders."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphlearn.cli.exit import main
from graphlearn.schema import ForeignKey, Schema, Table, connect
from graphlearn.schema.check import Finding, Report, check

NOW = dt.datetime(2024, 1, 1)


def found(db, level=None, *, now=NOW):
    report = check(db, now=now)
    return [(f.table, f.column, f.what, f.count, f.first) for f in report.findings if level in (None, f.level)]


@pytest.fixture
def schema(shop):
    return shop.schema


def broken(shop_frames, schema, **frames):
    return connect(shop_frames | frames, schema=schema)


def test_a_sound_shop(shop):
    report = check(shop, now=NOW)
    assert report.ok
    assert (
        str(report)
        == "info     products: the table has no time. All its rows are visible always.\n0 errors, 0 warnings, 1 note"
    )


def test_rel_f1(rel_f1):
    report = check(connect(rel_f1), now=NOW)
    assert report.ok
    assert [f.table for f in report.findings] == ["circuits", "drivers", "constructors", "qualifying"]
    older = report.findings[-1]
    assert (older.column, older.count, older.first) == ("raceId", 9815, ("0", "1", "2"))
    assert older.what == "9,815 of 9,815 rows are older than the row of 'races' that they name"


def test_rows_without_a_parent(shop_frames, schema):
    orders = shop_frames["orders"].copy()
    orders.loc[:4, "customer_id"] = [90, 91, 92, 90, 93]
    db = broken(shop_frames, schema, orders=orders)
    assert found(db, "warning") == [
        ("orders", "customer_id", "5 of 400 values have no matching row in customers.id", 5, ("90", "90", "91"))
    ]
    keys = (ForeignKey(("customer_id",), "customers", on_missing="error"),)
    strict = replace(schema, tables=schema.tables | {"orders": replace(schema["orders"], fkeys=keys)})
    report = check(broken(shop_frames, strict, orders=orders), now=NOW)
    assert not report.ok
    assert str(report).startswith(
        "error    orders.customer_id: 5 of 400 values have no matching row in customers.id (first: 90, 90, 91). "
        "Load the missing rows of 'customers', or set on_missing to 'drop'."
    )


def test_composite_keys_without_a_parent_or_twice(shop_frames, schema):
    returns = pd.DataFrame({"order_id": [1000, 1000, 7, None], "line": [1, 99, 1, 1]})
    table = Table("returns", fkeys=(ForeignKey(("order_id", "line"), "order_items"),))
    extended = replace(schema, tables=schema.tables | {"returns": table})
    items = pd.concat([shop_frames["order_items"], shop_frames["order_items"][:2]])
    db = broken(shop_frames, extended, returns=returns, order_items=items)
    first = [f"{o}, {n}" for o, n in shop_frames["order_items"][["order_id", "line"]][:2].itertuples(index=False)]
    assert found(db, "error") == [
        ("order_items", "order_id, line", "4 rows share 2 values of the primary key", 4, tuple(first))
    ]
    what = "2 of 3 values have no matching row in order_items.order_id, line"
    assert ("returns", "order_id, line", what, 2, ("1000.0, 99", "7.0, 1")) in found(db, "warning")
    assert ("returns", "order_id, line", "1 of 4 rows name no row of 'order_items' (NULL)", 1, ()) in found(db, "info")


def test_keys_that_are_missing_or_double(shop_frames, schema):
    customers = shop_frames["customers"].astype({"id": "Int64"})
    customers.loc[3, "id"] = None
    customers.loc[5, "id"] = 1
    db = broken(shop_frames, schema, customers=customers)
    assert found(db, "error") == [
        ("customers", "id", "1 of 60 rows have no key", 1, ()),
        ("customers", "id", "2 rows share 1 values of the primary key", 2, ("1",)),
    ]
    assert not check(db, now=NOW).ok


def test_times_that_are_missing_future_or_far_past(shop_frames, schema):
    orders = shop_frames["orders"].copy()
    orders.loc[0, "created_at"] = pd.NaT
    orders.loc[1, "created_at"] = pd.Timestamp("2031-05-01")
    orders.loc[2, "created_at"] = pd.Timestamp("1900-01-01")
    db = broken(shop_frames, schema, orders=orders)
    own = [row for row in found(db, "warning") if row[0] == "orders"]
    assert own == [
        ("orders", "created_at", "1 of 400 rows have no time", 1, ()),
        ("orders", "created_at", "1 of 400 rows lie in the future", 1, ("2031-05-01 00:00:00",)),
        ("orders", "created_at", "1 of 400 rows lie before 1900-01-02", 1, ("1900-01-01 00:00:00",)),
    ]
    text = str(check(db, now=NOW))
    assert "1 of 400 rows have no time. They are visible always (null_time: keep in the manifest)." in text
    # What the future is depends on when one asks.
    later = found(db, "warning", now=dt.datetime(2032, 1, 1, tzinfo=dt.UTC))
    assert not any("future" in what for _, _, what, _, _ in later)
    assert any("400 rows lie in the future" in what for _, _, what, _, _ in found(db, now=dt.datetime(1800, 1, 1)))


def test_the_present_is_the_default():
    tomorrow = dt.datetime.now(dt.UTC).replace(tzinfo=None) + dt.timedelta(days=1)
    db = connect({"t": pd.DataFrame({"id": [1, 2], "at": [tomorrow, tomorrow - dt.timedelta(days=2)]})})
    assert [f.count for f in check(db).findings if "future" in f.what] == [1]


def text_times(values):
    schema = Schema("s", {"t": Table("t", pkey=("id",), time_col="at")})
    return connect({"t": pd.DataFrame({"id": range(len(values)), "at": values})}, schema=schema)


def test_text_that_is_no_time():
    rows = found(text_times(["2020-01-01", "soon", "13/13/2020", None]))
    assert ("t", "at", "2 of 4 values are not a finite point in time", 2, ("13/13/2020", "soon")) in rows
    assert ("t", "at", "1 of 4 rows have no time", 1, ()) in rows


def test_text_times_with_and_without_an_offset():
    what = "2 of 4 times have an offset from UTC, and others have none"
    times = ["2020-01-01 00:00:00", "2020-01-02T00:00:00Z", "2020-01-03T00:00:00+02:00", "2020-01-04"]
    assert ("t", "at", what, 2, ()) in found(text_times(times), "warning")
    for same in (["2020-01-01", "2020-01-02 10:00:00"], ["2020-01-01T00:00:00Z", "2020-01-02T00:00:00+0100"]):
        assert found(text_times(same), "warning") == []


def test_time_columns_with_and_without_a_zone():
    days = pd.date_range("2020-01-01", periods=5)
    db = connect(
        {
            "a": pd.DataFrame({"id": range(5), "at": days}),
            "b": pd.DataFrame({"id": range(5), "at": days.tz_localize("Europe/Paris")}),
        }
    )
    what = "some time columns have a time zone (b.at), others have none (a.at)"
    assert found(db, "warning") == [("", "", what, 0, ())]


def test_columns_that_say_nothing_or_are_no_numbers():
    frame = pd.DataFrame(
        {
            "id": range(5),
            "none": np.full(5, np.nan),
            "same": ["x"] * 5,
            "wild": [1.0, 2.0, np.inf, -np.inf, 3.0],
        }
    )
    # Arrow, because pandas' NaN is NULL.
    table = pa.table(
        {**frame.to_dict("list"), "none": pa.nulls(5, pa.float64()), "odd": [float("nan"), 1.0, 2.0, 3.0, 4.0]}
    )
    db = connect({"t": table})
    assert found(db, "warning") == [
        ("t", "none", "all values are NULL", 5, ()),
        ("t", "wild", "2 of 5 values are infinite", 2, ()),
        ("t", "odd", "1 of 5 values are NaN", 1, ()),
    ]
    assert ("t", "same", "all values are the same", 5, ("x",)) in found(db, "info")


def test_tables_without_rows_key_or_time():
    days = pd.date_range("2020-01-01", periods=5)
    orders = pd.DataFrame({"id": range(5), "at": days})
    schema = Schema(
        "s",
        {
            "orders": Table("orders", pkey=("id",), time_col="at"),
            "items": Table("items", fkeys=(ForeignKey(("order_id",), "orders"),)),
            "empty": Table("empty", pkey=("id",), time_col="at"),
        },
    )
    items = pd.DataFrame({"order_id": range(5), "x": range(5)})
    report = check(connect({"orders": orders, "items": items, "empty": orders[:0]}, schema=schema), now=NOW)
    assert [str(f) for f in report.findings] == [
        "warning  items: the table has no time, but it refers to 'orders', which has one. Its rows are visible before "
        "those that they belong to: a leak. Give it a time column, or write 'time_from: [order_id]' in the manifest.",
        "warning  empty: the table is empty. Leave it out, or load its rows.",
        "info     items: the table has no primary key. Nothing can refer to its rows, and no predictions can be made "
        "for them.",
    ]


def test_hostile_names_are_checked_too():
    odd = 'a "b".c'
    frame = pd.DataFrame({odd: [1, 1, 2], f"{odd} at": pd.date_range("2020-01-01", periods=3)})
    schema = Schema("s", {odd: Table(odd, pkey=(odd,), fkeys=(ForeignKey((odd,), odd),), time_col=f"{odd} at")})
    assert found(connect({odd: frame}, schema=schema), "error") == [
        (odd, odd, "2 rows share 1 values of the primary key", 2, ("1",))
    ]


names = st.lists(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=10),
    min_size=3,
    max_size=3,
    unique_by=str.lower,
)


@settings(max_examples=25, deadline=None)
@given(tables=names, columns=names)
def test_any_names_are_understood_checked_saved_and_read_back(tables, columns, tmp_path_factory):
    frame = pa.table({columns[0]: range(6), columns[1]: pd.date_range("2020-01-01", periods=6), columns[2]: [0] * 6})
    db = connect(dict.fromkeys(tables, frame))
    check(db, now=NOW)
    path = db.schema.save(tmp_path_factory.mktemp("names") / "manifest.yaml")
    assert Schema.load(path) == db.schema
    assert connect(dict.fromkeys(tables, frame), schema=path).schema == db.schema
    db.close()


def test_errors_come_first():
    report = Report((Finding("error", "a", "b", "x"), Finding("info", "", "", "y")))
    assert not report.ok
    assert str(report) == "error    a.b: x.\ninfo     y.\n1 error, 0 warnings, 1 note"


def test_the_command(tmp_path, capsys, shop_frames):
    folder = tmp_path / "shop"
    folder.mkdir()
    for name, frame in shop_frames.items():
        frame.to_parquet(folder / f"{name}.parquet")
    assert main(["check", str(folder)]) == 0
    assert capsys.readouterr().out.endswith("0 errors, 0 warnings, 1 note\n")
    manifest = tmp_path / "m.yaml"
    assert main(["inspect", str(folder), "--save", str(manifest)]) == 0
    manifest.write_text(manifest.read_text().replace("pkey: product_id", "pkey: category"))
    assert main(["check", str(folder), "--schema", str(manifest), "--json"]) == 3
    assert '"what": "20 rows share 3 values of the primary key", "count": 20' in capsys.readouterr().out


def test_the_inspect_command(tmp_path, capsys, rel_f1):
    assert main(["inspect", str(rel_f1)]) == 0
    out = capsys.readouterr().out
    assert out.startswith(
        "rel-f1: 9 tables, 13 foreign keys, val from 2005-01-01, test from 2010-01-01\n\nraces | 1,101 rows |"
    )
    assert "\n  statusId       BIGINT        categorical (70 % sure)\n" in out
    saved = tmp_path / "m.yaml"
    assert main(["inspect", str(rel_f1), "--json", "--save", str(saved)]) == 0
    assert capsys.readouterr().out.startswith(f'{{"source": "{rel_f1}", "rows": {{"races": 1101,')
    assert Schema.load(saved) == connect(rel_f1).schema
    assert main(["inspect", str(rel_f1), "--save", str(saved)]) == 2
    assert "exists. Name another file, or add --force" in capsys.readouterr().err
    assert main(["inspect", str(rel_f1), "--save", str(saved), "--force"]) == 0
    assert main(["inspect", str(tmp_path / "nothing.duckdb")]) == 2
    assert "SourceError: no file or folder" in capsys.readouterr().err
