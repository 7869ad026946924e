"""Names, values and times as SQL text, against DuckDB itself."""

from __future__ import annotations

import datetime as dt
import math

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphlearn.database import literal, quote, quote_all, time_us
from graphlearn.database.connection import new_connection

DAY = 86_400_000_000


@pytest.fixture(scope="module")
def con():
    con = new_connection()
    yield con
    con.close()


names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20)


@settings(deadline=None)
@given(name=names)
def test_any_name_survives_quoting(con, name):
    con.execute(f"SELECT 1 AS {quote(name)}")
    assert [column[0] for column in con.description] == [name]
    con.fetchall()


def test_quoting_holds_what_would_end_the_name():
    assert quote('a"b') == '"a""b"'
    assert quote_all(["select", "x; DROP TABLE y"]) == '"select", "x; DROP TABLE y"'


values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**62), 2**62),
    st.floats(allow_nan=False),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
    st.binary(),
    st.dates(),
    st.datetimes(dt.datetime(1600, 1, 1), dt.datetime(2200, 1, 1)),
)


@settings(deadline=None)
@given(value=values)
def test_any_value_survives_as_a_literal(con, value):
    assert con.execute(f"SELECT {literal(value)}").fetchall() == [(value,)]


def test_literals_of_nan_zones_and_other_things(con):
    assert math.isnan(con.execute(f"SELECT {literal(math.nan)}").fetchall()[0][0])
    zoned = dt.datetime(2020, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=2)))
    assert con.execute(f"SELECT epoch_us({literal(zoned)})").fetchall() == [(1577829600000000,)]
    with pytest.raises(TypeError, match="no SQL literal for a list: bind it as a parameter"):
        literal([1])


@pytest.mark.parametrize(
    ("dtype", "text", "expected"),
    [
        ("TIMESTAMP", "2020-01-01 00:00:00.000001", 18262 * DAY + 1),
        ("TIMESTAMP_S", "2020-01-01", 18262 * DAY),
        ("TIMESTAMP_MS", "2020-01-01", 18262 * DAY),
        ("TIMESTAMP_NS", "1960-01-01", -3653 * DAY),
        ("TIMESTAMP WITH TIME ZONE", "2020-01-01 02:00:00+02", 18262 * DAY),
        ("TIMESTAMPTZ_NS", "2020-01-01 02:00:00+02", 18262 * DAY),
        ("DATE", "2020-01-01", 18262 * DAY),
        ("DATE", "infinity", None),
        ("TIMESTAMP", "-infinity", None),
        ("DATE", "5000000-01-01", None),
        ("VARCHAR", "2020-01-01", 18262 * DAY),
        ("VARCHAR", "2020-01-01T02:00:00+02:00", 18262 * DAY),
        ("VARCHAR", "2020-01-01T00:00:00Z", 18262 * DAY),
        ("VARCHAR", "1-2", None),
        ("VARCHAR", "12:30:00", None),
        ("VARCHAR", "yesterday", None),
    ],
)
def test_times_are_microseconds_utc(con, dtype, text, expected):
    declared = dtype.replace("TIMESTAMP WITH TIME ZONE", "TIMESTAMPTZ")
    con.execute(f"CREATE OR REPLACE TEMP TABLE t AS SELECT CAST({literal(text)} AS {declared}) AS x").fetchall()
    assert con.execute(f"SELECT {time_us('x', dtype)} FROM t").fetchall() == [(expected,)]


def test_a_number_is_no_time():
    with pytest.raises(TypeError, match="a BIGINT is not a point in time"):
        time_us("x", "BIGINT")


def test_no_code_from_a_network_and_no_python_variable_as_a_table(con):
    orders = [1, 2, 3]  # a name that the query below must not find
    with pytest.raises(duckdb.CatalogException, match="orders"):
        con.execute("SELECT * FROM orders")
    assert len(orders) == 3
    settings = "current_setting('autoinstall_known_extensions'), current_setting('TimeZone')"
    assert con.execute(f"SELECT {settings}").fetchall() == [(False, "UTC")]
