"""A database as it was at a time."""

from __future__ import annotations

import pandas as pd
import pytest

from graphlearn.schema import connect
from graphlearn.schema.until import rows_until
from graphlearn.tasks.times import time_us


@pytest.mark.parametrize("until", ["2020-12-31", "2021-07-04T12:00", "2021-11-05", "2100-01-01"])
def test_later_rows_are_gone_and_nothing_else(shop, shop_frames, until):
    at = pd.Timestamp(until)
    created = shop_frames["orders"]["created_at"]
    kept = set(shop_frames["orders"]["order_id"][created <= at])
    items = shop_frames["order_items"]
    with rows_until(shop, time_us(until, "until")) as earlier:
        assert earlier.schema is shop.schema
        assert {row[0] for row in earlier.rows("SELECT order_id FROM orders")} == kept
        assert earlier.num_rows("customers") == (shop_frames["customers"]["signup_date"] <= at).sum()
        assert earlier.num_rows("products") == 20  # they have no time: always there
        assert shop.schema["order_items"].time_from == ("order_id",)
        assert earlier.num_rows("order_items") == items["order_id"].isin(kept).sum()
        assert earlier.columns("order_items") == shop.columns("order_items")
    assert shop.num_rows("orders") == 400


def test_a_row_at_that_very_time_is_there(shop, shop_frames):
    at = shop_frames["orders"]["created_at"].iloc[0]
    with rows_until(shop, time_us(at, "at")) as earlier:
        assert earlier.rows(f"SELECT count(*) FROM orders WHERE created_at = TIMESTAMP '{at}'")[0][0] >= 1
    with rows_until(shop, time_us(at, "at") - 1) as earlier:
        assert earlier.rows(f"SELECT count(*) FROM orders WHERE created_at >= TIMESTAMP '{at}'")[0][0] == 0


def test_tables_that_stay_whole(shop):
    with rows_until(shop, 0, whole=["orders"]) as earlier:
        assert (earlier.num_rows("orders"), earlier.num_rows("customers")) == (400, 0)


def test_nothing_is_left_on_the_connection(shop):
    before = shop.rows("SELECT database_name FROM duckdb_databases() ORDER BY ALL")

    def stop():
        with rows_until(shop, 0) as earlier:
            assert earlier.num_rows("orders") == 0
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        stop()
    assert shop.rows("SELECT database_name FROM duckdb_databases() ORDER BY ALL") == before
    assert shop.rows("SELECT current_database()") == [("memory",)]


def test_text_times_with_an_offset_and_names_with_quotes():
    frame = pd.DataFrame({"id": [1, 2, 3], 'the "time"': ["2021-01-01T01:00:00+02:00", "2021-01-01T00:00:00", None]})
    db = connect({'a "table"': frame})
    schema = db.schema
    assert schema['a "table"'].time_col == 'the "time"'
    with rows_until(db, time_us("2020-12-31T23:30", "until")) as earlier:
        # 01:00 at +02:00 is 23:00 UTC the day before; the row without a time stays.
        assert earlier.rows('SELECT id FROM "a ""table""" ORDER BY id') == [(1,), (3,)]
