"""The types of each server: what becomes of their values, and what is left out aloud."""

from __future__ import annotations

import datetime as dt
import re
import uuid
from decimal import Decimal

import pytest
import sqlalchemy as sa

import graphlearn as gl
from graphlearn.database.url import engine, parse_url

NOON = dt.datetime(2020, 1, 1, 12, 0)
KEY = "6f1a2b3c-0000-4000-8000-000000000001"

POSTGRESQL = {
    "small smallint": ("1", "SMALLINT", 1),
    "big bigint": ("9223372036854775807", "BIGINT", 2**63 - 1),
    "real_ real": ("1.5", "FLOAT", 1.5),
    "double_ double precision": ("2.5", "DOUBLE", 2.5),
    "price numeric(10,2)": ("4.50", "DECIMAL(10,2)", Decimal("4.50")),
    "wide numeric(45,2)": ("4.50", "DOUBLE", 4.5),
    "free numeric": ("1.25", "DOUBLE", 1.25),
    "nan numeric(10,2)": ("'NaN'", "DECIMAL(10,2)", None),
    "paid money": ("'$5.10'", "DECIMAL(19,2)", Decimal("5.10")),
    "ref uuid": (f"'{KEY}'", "UUID", uuid.UUID(KEY)),
    "mood mood": ("'good'", "VARCHAR", "good"),
    "ok boolean": ("true", "BOOLEAN", True),
    "j json": ("""'{"a": 1}'""", "VARCHAR", '{"a": 1}'),
    "jb jsonb": ("""'{"a": 1}'""", "VARCHAR", '{"a": 1}'),
    "numbers int[]": ("'{1,2}'", "INTEGER[]", [1, 2]),
    "words varchar(9)[]": ("'{x,y}'", "VARCHAR[]", ["x", "y"]),
    "amounts numeric(5,1)[]": ("'{1.5}'", "DOUBLE[]", [1.5]),
    "lasted interval": ("'1 day 2 hours'", "DOUBLE", 93_600.0),
    "day date": ("'2020-01-01'", "DATE", NOON.date()),
    "endless date": ("'infinity'", "DATE", None),
    "at timestamp": ("'2020-01-01 12:00'", "TIMESTAMP", NOON),
    "never timestamptz": ("'-infinity'", "TIMESTAMP WITH TIME ZONE", None),
    "zoned timestamptz": ("'2020-01-01 14:00+02'", "TIMESTAMP WITH TIME ZONE", NOON),
    "clock time": ("'10:00'", "TIME", dt.time(10)),
    "flag bit": ("B'1'", "BOOLEAN", True),
    "mask bit(5)": ("B'10101'", "BIGINT", 21),
    "bits bit varying(8)": ("B'11'", "VARCHAR", "11"),
    "code char(4)": ("'ab'", "VARCHAR", "ab"),
    "host inet": ("'1.2.3.4'", "VARCHAR", "1.2.3.4/32"),
    "positive positive": ("5", "INTEGER", 5),
    "email citext": ("'Ann@x.org'", "VARCHAR", "Ann@x.org"),
}
MARIADB = {
    "tiny tinyint unsigned": ("200", "UTINYINT", 200),
    "big bigint unsigned": ("18446744073709551615", "UBIGINT", 2**64 - 1),
    "real_ float": ("1.5", "FLOAT", 1.5),
    "price decimal(10,2)": ("4.50", "DECIMAL(10,2)", Decimal("4.50")),
    "fine decimal(30,12)": ("1.000000000001", "DECIMAL(30,12)", Decimal("1.000000000001")),
    "wide decimal(45,2)": ("4.50", "DOUBLE", 4.5),
    "ref uuid": (f"'{KEY}'", "UUID", uuid.UUID(KEY)),
    "mood enum('good','bad')": ("'good'", "VARCHAR", "good"),
    "colours set('red','blue')": ("'red,blue'", "VARCHAR", "red,blue"),
    "ok boolean": ("true", "TINYINT", 1),
    "j json": ("""'{"a": 1}'""", "VARCHAR", '{"a": 1}'),
    "day date": ("'2020-01-01'", "DATE", NOON.date()),
    "zero date": ("'0000-00-00'", "DATE", None),
    "at datetime(6)": ("'2020-01-01 12:00:00.25'", "TIMESTAMP", NOON.replace(microsecond=250_000)),
    "partly datetime": ("'2020-00-00'", "TIMESTAMP", None),
    "stamp timestamp": ("'2020-01-01 14:00'", "TIMESTAMP", NOON),
    "lasted time": ("'-30:00:00'", "DOUBLE", -108_000.0),
    "since year": ("2020", "SMALLINT", 2020),
    "flag bit": ("b'1'", "BOOLEAN", True),
    "mask bit(5)": ("b'10101'", "UBIGINT", 21),
    "code char(4)": ("'ab'", "VARCHAR", "ab"),
    "note longtext": ("'h\u00e9 \U0001f6d2'", "VARCHAR", "h\u00e9 \U0001f6d2"),
}
SQLITE = {
    "big bigint": ("9223372036854775807", "BIGINT", 2**63 - 1),
    "real_ real": ("1.5", "DOUBLE", 1.5),
    "price numeric(10,2)": ("4.5", "DOUBLE", 4.5),
    "free numeric": ("1.25", "DOUBLE", 1.25),
    "ok boolean": ("1", "BOOLEAN", True),
    "j json": ("""'{"a": 1}'""", "VARCHAR", '{"a": 1}'),
    "day date": ("'2020-01-01'", "TIMESTAMP", dt.datetime(2020, 1, 1)),
    "at datetime": ("'2020-01-01 12:00:00'", "TIMESTAMP", NOON),
    "zoned timestamp": ("'2020-01-01T14:00:00+02:00'", "TIMESTAMP", NOON),
    "code char(4)": ("'ab'", "VARCHAR", "ab"),
}
USELESS = {
    "postgresql": {"picture bytea": "BYTEA", "spot point": r"\(unknown\)"},
    "mariadb": {
        "picture blob": "BLOB",
        "hash binary(4)": "BINARY",
        "host inet6": r"\(unknown\)",
        "spot point": r"\(unknown\)",
    },
    "sqlite": {"picture blob": "BLOB"},
}
CASES = [
    pytest.param(server, column, *spec, id=f"{server}-{column}")
    for server, columns in (("postgresql", POSTGRESQL), ("mariadb", MARIADB), ("sqlite", SQLITE))
    for column, spec in columns.items()
]


@pytest.fixture(scope="module")
def typed(new_url):
    """By server: a database with one column of each type, in a row of values and a row of NULLs."""
    databases = {}

    def make(server):
        if server not in databases:
            url = new_url(server)
            columns = {"postgresql": POSTGRESQL, "mariadb": MARIADB, "sqlite": SQLITE}[server]
            with engine(parse_url(url)).begin() as con:
                if server == "postgresql":
                    for statement in (
                        "EXTENSION citext",
                        "TYPE mood AS ENUM ('good', 'bad')",
                        "DOMAIN positive AS int CHECK (VALUE > 0)",
                    ):
                        con.execute(sa.text(f"CREATE {statement}"))
                if server == "mariadb":
                    con.exec_driver_sql("SET SESSION sql_mode = '', time_zone = '+02:00'")
                null = " NULL" if server == "mariadb" else ""
                defined = ", ".join(column + null for column in [*columns, *USELESS[server]])
                con.exec_driver_sql(f"CREATE TABLE t ({defined})")
                values = ", ".join(value for value, _, _ in columns.values())
                nulls = ", ".join(["NULL"] * len(columns))
                names = ", ".join(column.split(" ")[0] for column in columns)
                con.exec_driver_sql(f"INSERT INTO t ({names}) VALUES ({values}), ({nulls})")
            with pytest.warns(UserWarning, match="is left out: its type") as warned:
                databases[server] = gl.connect(url), [str(w.message) for w in warned]
        return databases[server]

    return make


@pytest.mark.parametrize(("server", "column", "value", "dtype", "expected"), CASES)
def test_a_value_of_each_type(typed, server, column, value, dtype, expected):
    db, _ = typed(server)
    name = column.split(" ")[0]
    assert db.columns("t")[name] == dtype
    zoned = " AT TIME ZONE 'UTC'" if "ZONE" in dtype else ""
    found = db.rows(f'SELECT "{name}"{zoned} FROM t')
    assert sorted(found, key=lambda row: row[0] is None) == [(expected,), (None,)]


@pytest.mark.parametrize("server", USELESS)
def test_a_type_that_is_of_no_use_is_left_out_by_name(typed, server):

    db, said = typed(server)
    for column, kind in USELESS[server].items():
        name = column.split(" ")[0]
        assert name not in db.columns("t")
        assert any(
            re.search(rf"column 't.{name}' is left out: its type {kind} is of no use here", text) for text in said
        )
    assert len(said) == len(USELESS[server])
