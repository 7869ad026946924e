"""Places to write a table to: both servers, both files of databases, both kinds of files; each with a way to look."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote as percent

import duckdb
import pyarrow as pa
import pytest
import sqlalchemy as sa

from graphlearn.database.target import Target, parse_target
from graphlearn.database.url import engine, parse_url

DATABASES = ("postgresql", "mariadb", "sqlite", "duckdb")
PLACES = (*DATABASES, "csv", "parquet")
KEY = ["pkey", "seed_time", "run"]
Rows = list[tuple[Any, ...]]


@dataclass
class Place:
    """A database, or a folder for files of one kind."""

    kind: str
    where: str
    names: Any = field(default_factory=lambda: map("scores_{}".format, itertools.count()))

    def target(self, name: str) -> Target:
        """The table of that name, as a user would write it."""
        if self.kind in ("csv", "parquet"):
            return parse_target(f"{self.where}/{name}.{self.kind}")
        quoted = '"' + name.replace('"', '""') + '"'
        return parse_target(f"{self.where}#{percent(quoted)}")

    def new(self) -> Target:
        """A table of a name that was not used before."""
        return self.target(next(self.names))

    def execute(self, sql: str) -> Rows:
        """Runs SQL on a connection of the test's own."""
        if self.kind == "duckdb":
            with duckdb.connect(self.where) as con:
                con.execute("SET TimeZone = 'UTC'")
                return con.execute(sql).fetchall()
        with engine(parse_url(self.where)).begin() as con:
            done = con.exec_driver_sql(sql.replace("%", "%%") if self.kind != "sqlite" else sql)
            return [tuple(row) for row in done] if done.returns_rows else []

    def quote(self, name: str) -> str:
        """A name as this database quotes it."""
        mark = "`" if self.kind == "mariadb" else '"'
        return mark + name.replace(mark, mark * 2) + mark

    def read(self, target: Target) -> Rows | None:
        """The rows, sorted; None if the table or file is not there."""
        if self.kind in ("csv", "parquet"):
            path = target.path
            if not path.exists():
                return None
            options = ", allow_quoted_nulls = false" if self.kind == "csv" else ""
            return sorted(duckdb.sql(f"SELECT * FROM read_{self.kind}('{path}'{options})").fetchall(), key=repr)
        if target.table not in self.tables():
            return None
        name = self.quote(target.table)
        columns = ", ".join(self.quote(c) for c in self.columns(target))
        return sorted(self.execute(f"SELECT {columns} FROM {name}"), key=repr)

    def tables(self) -> list[str]:
        """What is in the database or folder."""
        if self.kind in ("csv", "parquet"):
            return sorted(path.name for path in Path(self.where).iterdir())
        if self.kind == "duckdb":
            if not Path(self.where).exists():
                return []
            return [
                name for (name,) in self.execute("SELECT table_name FROM duckdb_tables() WHERE schema_name = 'main'")
            ]
        with engine(parse_url(self.where)).connect() as con:
            return sorted(sa.inspect(con).get_table_names())

    def columns(self, target: Target) -> dict[str, str]:
        """Names and types, as the database tells them."""
        if self.kind == "duckdb":
            return {n: t for n, t, *_ in self.execute(f"DESCRIBE {self.quote(target.table)}")}
        if self.kind == "mariadb":  # whose SHOW CREATE TABLE SQLAlchemy cannot read if a name holds a backtick
            sql = "SELECT column_name, column_type FROM information_schema.columns WHERE table_schema = database() AND "
            with engine(parse_url(self.where)).connect() as con:
                found = con.exec_driver_sql(sql + "table_name = %s ORDER BY ordinal_position", (target.table,))
                return dict(map(tuple, found))
        with engine(parse_url(self.where)).connect() as con:
            return {c["name"]: str(c["type"]) for c in sa.inspect(con).get_columns(target.table)}


@pytest.fixture(scope="module")
def make_place(new_database, tmp_path_factory) -> Callable[[str], Place]:
    made: dict[str, Place] = {}

    def make(kind: str) -> Place:
        if kind not in made:
            folder = tmp_path_factory.mktemp(kind)
            where = {"sqlite": f"sqlite:///{folder}/it.db", "duckdb": f"{folder}/it.duckdb"}.get(kind, str(folder))
            made[kind] = Place(kind, new_database(kind) if kind in ("postgresql", "mariadb") else where)
        return made[kind]

    return make


@pytest.fixture(params=PLACES)
def place(request, make_place) -> Place:
    """Each kind of place in turn."""
    return make_place(request.param)


@pytest.fixture(params=DATABASES)
def database(request, make_place) -> Place:
    """Each kind of database in turn."""
    return make_place(request.param)


@pytest.fixture
def scores() -> Callable[..., pa.Table]:
    """Makes a table of predictions."""

    def make(
        *, keys: Any = ("a", "A", "a ", "b"), run: str = "run1", value: float = 0.25, scored: str = "2022-01-01"
    ) -> pa.Table:
        keys = keys if isinstance(keys, pa.Array) else pa.array(keys)
        size = len(keys)
        times = pa.array(["2021-03-01 12:30:00.000001"] * size).cast(pa.timestamp("us"))
        return pa.table(
            {
                "pkey": keys,
                "seed_time": times,
                "prediction": pa.array([value] * (size - 1) + [None], pa.float64()),
                'p(it\'s 100%: "x")': pa.array(["", None, "ja;--", "\\'\n"][:size]),
                "run": [run] * size,
                "scored_at": pa.array([scored] * size).cast(pa.timestamp("us")),
            }
        )

    return make
