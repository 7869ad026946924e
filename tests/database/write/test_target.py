"""How a place to write to is written, and what is said of one that is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from graphlearn.database.sql_types import family, shape_difference
from graphlearn.database.target import parse_target
from graphlearn.errors import UsageError


@pytest.mark.parametrize(
    ("text", "kind", "schema", "table", "looks"),
    [
        ("postgresql://ann:pw@h:1/shop#scores", "postgresql", None, "scores", "postgresql://ann:***@h:1/shop#scores"),
        ("postgres://h/shop#my.scores", "postgresql", "my", "scores", "postgresql://h/shop#my.scores"),
        ("postgresql://ann:p#w@h/shop#x@y", "postgresql", None, "x@y", "postgresql://ann:***@h/shop#x@y"),
        ('mysql://h/shop#"a.b"', "mysql", None, "a.b", "mysql://h/shop#a.b"),
        ("mariadb://h/shop#other.%22a%22%22.b%22", "mariadb", "other", 'a".b', 'mariadb://h/shop#other.a".b'),
        ("mysql://h#shop.scores", "mysql", "shop", "scores", "mysql://h#shop.scores"),
        ("sqlite:///a/b.db#t%20u", "sqlite", None, "t u", "sqlite:///a/b.db#t u"),
        ("shop.duckdb#scores", "duckdb", None, "scores", "shop.duckdb#scores"),
        ("a/shop.db#main.scores", "duckdb", "main", "scores", "a/shop.db#main.scores"),
        ("a/scores#1.csv", "file", None, ".csv", "a/scores#1.csv"),
        (Path("scores.parquet"), "file", None, ".parquet", "scores.parquet"),
    ],
)
def test_places(text, kind, schema, table, looks):
    target = parse_target(text)
    assert (target.kind, target.schema, target.table) == (kind, schema, table)
    assert str(target) == looks
    assert "pw" not in repr(target)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("postgresql://ann:s3cret@h/shop", r"'.*' names no table: add it at the end, postgresql://ann:\*\*\*@h/shop#t"),
        ("postgresql://ann:s3cret@h/shop#", "names no table after '#'"),
        ("postgresql://ann:s3cret@h/shop#a.b.c", "names no table after '#': write #table or #schema.table"),
        ('mysql://h/shop#"a', "names no table after '#'"),
        ("sqlite:///x.db#a.b", "SQLite has no schemas. A name with a dot goes into quotes"),
        ("sqlite://#t", "names no file: write sqlite:///file.db#table"),
        ("mysql://h#t", "names no database: write mysql://host/database#table"),
        ("oracle://ann:s3cret@h/shop#t", r"tables cannot be written to oracle://. Known: postgresql://user@host"),
        ("postgre://ann:s3cret@h/shop#t", "no scheme 'postgre'. Did you mean 'postgres'"),
        ("shop.duckdb", "'shop.duckdb' names no table of the database: write shop.duckdb#table"),
        ("out.xlsx", "'out.xlsx' must end in .csv or .parquet, or name a table of a database. Known: postgresql"),
    ],
)
def test_what_is_no_place(text, says):
    with pytest.raises(UsageError, match=says) as caught:
        parse_target(text)
    assert "s3cret" not in str(caught.value)


def test_shapes():
    wanted = {"a": "text", "b": "numbers"}
    assert shape_difference(wanted, ["a"], {"b": "numbers", "a": "text"}, ["a"]) is None
    assert shape_difference(wanted, ["a"], {"a": "text", "b": "text"}, ["a"]) == (
        "its column 'b' holds text, and the new rows hold numbers"
    )
    assert family("geometry") == "geometry"
