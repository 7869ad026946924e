"""SQLite files through ADBC, in one transaction of a connection that cannot write."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote as percent

from graphlearn.database.column_types import BLOB, Reading
from graphlearn.database.reader import Reader
from graphlearn.database.reflect import ServerTable, say_useless
from graphlearn.database.url import engine
from graphlearn.errors import SourceError

if TYPE_CHECKING:
    import pyarrow as pa
    from sqlalchemy import Connection

BATCH_ROWS = 16_384
MIXED = re.compile(r"Type mismatch in column|codec can't decode")
"""How the driver says that a value is not of the type of the column's first one."""


class SqliteReader(Reader):
    """One connection of ADBC; SQLAlchemy's own looks at the tables while the transaction lasts."""

    strict = True

    def _connect(self) -> Connection:
        import adbc_driver_sqlite.dbapi as adbc

        if not self.url.database or self.url.database == ":memory:":
            raise SourceError(f"{self.place} names no file: write sqlite:///file.db, or sqlite:////path/to/file.db.")
        path = Path(self.url.database).expanduser()
        if not path.is_file():
            raise SourceError(
                f"there is no SQLite file '{path}'. A relative path has three slashes, sqlite:///file.db."
            )
        name = f"file:{percent(str(path.resolve()))}?mode=ro"
        self.adbc = self._open.enter_context(adbc.connect(name, autocommit=False))
        with self.adbc.cursor() as cursor:
            # The first read begins the transaction: from here on nothing changes for this connection.
            cursor.execute("SELECT count(*) FROM sqlite_master")
            cursor.fetchall()
        return engine(self.url.set(database=name).update_query_dict({"uri": "true"})).connect()

    def _begin(self, con: Connection) -> Connection:
        con.exec_driver_sql("PRAGMA query_only = ON")
        return con

    def _prepare(self) -> None:
        self.tables = tuple(self._without_bytes(table) for table in self.tables)

    def _without_bytes(self, table: ServerTable) -> ServerTable:
        """The table without the columns that hold nothing but bytes."""
        blobs = [column for column in table.columns if column.reading == BLOB]
        useless = {column.name for column in blobs if not self._holds_text(table, column.name)}
        for name in sorted(useless):
            say_useless(self.place, table.name, name, "BLOB")
        return replace(
            table,
            columns=tuple(column for column in table.columns if column.name not in useless),
            pkey=() if useless & set(table.pkey) else table.pkey,
            fkeys=tuple(key for key in table.fkeys if not useless & set(key.columns)),
        )

    def _holds_text(self, table: ServerTable, column: str) -> bool:
        found = self.run(f"SELECT 1 FROM {self.qualified(table)} WHERE typeof({self.quote(column)}) = 'text' LIMIT 1")
        return found.fetchone() is not None

    def count(self, table: ServerTable) -> int:
        with self.adbc.cursor() as cursor:
            cursor.execute(f"SELECT count(*) FROM {self.qualified(table)}")
            return int(cursor.fetchall()[0][0])

    def batches(self, table: ServerTable, where: str = "") -> Iterator[pa.RecordBatch]:
        import adbc_driver_sqlite

        # SQLite's columns hold values of any type, and the driver takes the type of the first one. So the first row is
        # one of ours.
        first = ", ".join(f"{column.reading.first} AS c{i}" for i, column in enumerate(table.columns))
        with self.adbc.cursor() as cursor:
            option = adbc_driver_sqlite.StatementOptions.BATCH_ROWS.value
            cursor.adbc_statement.set_options(**{option: str(BATCH_ROWS)})
            cursor.execute(f"SELECT {first} UNION ALL {self.select(table, where)}")
            with cursor.fetch_record_batch() as stream:
                for number, batch in enumerate(stream):
                    yield batch.slice(1) if number == 0 else batch


def is_mixed(error: Exception) -> bool:
    """Whether a column holds values that are not of its type."""
    return MIXED.search(str(error)) is not None


def as_texts(table: ServerTable) -> ServerTable:
    """The table with every column read as text, whatever it holds; bytes are written in hexadecimal."""
    text = Reading("CASE typeof({0}) WHEN 'blob' THEN hex({0}) ELSE CAST({0} AS TEXT) END", "VARCHAR", first="''")
    return replace(table, columns=tuple(replace(column, reading=text) for column in table.columns))


def is_untyped(table: ServerTable) -> bool:
    """Whether a column has no declared type, as what a view computes."""
    return any(not column.reading.first for column in table.columns)
