"""From a server's Arrow batches to a table of the local copy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from typing import TYPE_CHECKING

from graphlearn.database.ahead import read_ahead
from graphlearn.database.column_types import Reading
from graphlearn.database.connection import first_line
from graphlearn.database.local import table_name
from graphlearn.database.progress import IngestBar
from graphlearn.database.reader import Reader
from graphlearn.database.reflect import ServerTable
from graphlearn.database.sql import literal, quote
from graphlearn.errors import GraphLearnError

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

INCOMING = "__incoming"
AHEAD = 4
"""Batches that may wait for DuckDB while the driver goes on."""


def copy_table(
    con: duckdb.DuckDBPyConnection, reader: Reader, table: ServerTable, bar: IngestBar, *, name: str | None = None
) -> None:
    """Makes ``table`` a table of the local copy, or replaces it.

    Args:
        con: The connection that the copy is attached to.
        reader: Where it is read from.
        table: The table.
        bar: What is told how far it is.
        name: What it is called there; by default its own name.
    """
    _write(con, reader, table, bar, f"CREATE OR REPLACE TABLE {table_name(name or table.name)} AS", "")


def append_new(
    con: duckdb.DuckDBPyConnection, reader: Reader, table: ServerTable, time_col: str, bar: IngestBar
) -> int | None:
    """Adds the rows that ``time_col`` says are new, and gives their number; None: the whole table has to be read.

    Rows of the newest day, and rows without a time, are read again: some may be new. (A day is written alike by all
    servers, and compares with whatever SQLite's texts have after it.) If the table then has not as many rows as the
    server's, some were removed, or came late.
    """
    name = table_name(table.name)
    time = f"CAST({quote(time_col)} AS TIMESTAMP)"
    before, newest = con.execute(f"SELECT count(*), strftime(max({time}), '%Y-%m-%d') FROM {name}").fetchall()[0]
    if newest is None:
        return None
    column, day = reader.quote(time_col), literal(newest)
    con.execute(f"DELETE FROM {name} WHERE {time} >= {day} OR {time} IS NULL").fetchall()
    _write(con, reader, table, bar, f"INSERT INTO {name}", f"{column} >= {day} OR {column} IS NULL")
    ((after,),) = con.execute(f"SELECT count(*) FROM {name}").fetchall()
    return int(after) - int(before) if after == reader.count(table) else None


def _write(
    con: duckdb.DuckDBPyConnection, reader: Reader, table: ServerTable, bar: IngestBar, into: str, where: str
) -> None:
    import duckdb
    import pyarrow as pa

    failures: list[BaseException] = []

    def watched(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        try:
            for batch in batches:
                bar.show(table.name, batch.num_rows, batch.nbytes)
                yield batch
        except (Exception, KeyboardInterrupt) as error:
            failures.append(error)
            raise

    columns = ", ".join(
        f"{cast(f'c{i}', column.reading, reader.strict)} AS {quote(column.name)}"
        for i, column in enumerate(table.columns)
    )
    try:
        batches = reader.batches(table, where)
        first = next(batches)
        # In one thread DuckDB and the driver would wait for each other. DuckDB needs no more than one of its own: that
        # writes rows in their order faster than a driver brings them, and a second would take time from the driver.
        with read_ahead(batches, AHEAD) as others, _one_thread(con):
            stream = pa.RecordBatchReader.from_batches(first.schema, watched(chain([first], others)))
            con.register(INCOMING, stream)
            try:
                con.execute(f"{into} SELECT {columns} FROM {INCOMING}").fetchall()
            finally:
                con.unregister(INCOMING)
    except duckdb.OutOfMemoryException as error:
        raise GraphLearnError(
            f"DuckDB has not enough memory to copy '{table.name}' of {reader.place}: {first_line(error)}. Give "
            "connect() a larger memory_limit, or fewer threads."
        ) from error
    except Exception as error:
        # DuckDB tells of a failure of the stream in words of its own; the cause is the one that was seen here.
        raise failures[0] if failures else error from error


@contextmanager
def _one_thread(con: duckdb.DuckDBPyConnection) -> Iterator[None]:
    ((threads,),) = con.execute("SELECT current_setting('threads')").fetchall()
    con.execute("SET threads = 1")
    try:
        yield
    finally:
        con.execute(f"SET threads = {int(threads)}")


def cast(column: str, how: Reading, strict: bool) -> str:
    """SQL for ``column`` as the type that it is read as; what cannot be one is an error if ``strict``, else NULL."""
    to = "CAST" if strict else "TRY_CAST"
    through = column
    for dtype in (how.via, how.dtype):
        through = f"{to}({through} AS {dtype})" if dtype else through
    if how.via != "TIMESTAMPTZ":
        return through
    # 2020-01-01 and 2020-01-01 10:00:00 have no offset, and are read three times faster as what they are.
    plain = f"length({column}) = 10 OR (length({column}) = 19 AND {column}[17] = ':')"
    return f"CASE WHEN {plain} THEN {to}({column} AS {how.dtype}) ELSE {through} END"
