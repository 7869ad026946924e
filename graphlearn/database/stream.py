"""Large results in pieces: Arrow batches as DuckDB makes them, and key maps that spill to disk with it."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from graphlearn.database.connection import first_line
from graphlearn.database.source import Source
from graphlearn.database.sql import quote
from graphlearn.errors import GraphLearnError, SourceError

if TYPE_CHECKING:
    import pyarrow as pa

DATA = 'temp."__data"'
"""How the SQL of a :func:`temporary_table` names the data that it is given."""


def stream(
    source: Source, sql: str, *, batch_rows: int = 32_768, ordered: bool = True
) -> Generator[pa.RecordBatch, None, None]:
    """The rows of a SELECT as Arrow batches of about ``batch_rows`` rows.

    While it runs, nothing else can be read from the source; close it where it may not be read to its end.

    Args:
        source: The source.
        sql: The SELECT.
        batch_rows: Rows of a batch.
        ordered: Whether the order of the source's rows is kept where the SELECT asks for none. Without it several
            threads fill the stream, in an order that no two runs share.

    Raises:
        GraphLearnError: If DuckDB has not enough memory.
        SourceError: If the source cannot be read to its end.
    """
    import duckdb
    import pyarrow as pa

    setting = "preserve_insertion_order"
    (before,) = source.rows(f"SELECT current_setting('{setting}')")[0]
    source.con.execute(f"SET {setting} = {bool(before and ordered)}")
    try:
        yield from source.con.sql(sql).to_arrow_reader(batch_rows)
    except (duckdb.Error, OSError, pa.ArrowException) as error:
        # What goes wrong after the first batches comes as an error of Arrow's, with DuckDB's words for its kind.
        if isinstance(error, duckdb.OutOfMemoryException) or str(error).startswith("Out of Memory Error"):
            raise GraphLearnError(
                f"DuckDB has not enough memory to read {source.source}: {first_line(error)}. Give connect() a larger "
                "memory_limit, or fewer threads."
            ) from error
        raise SourceError(
            f"{source.source} cannot be read: {first_line(error)}. Check that its files are whole."
        ) from error
    finally:
        source.con.execute(f"SET {setting} = {bool(before)}")


@contextmanager
def temporary_table(source: Source, name: str, sql: str, *, data: pa.Table | None = None) -> Iterator[str]:
    """A temporary table of the connection (not of the source) with the rows of ``sql``; gives its quoted name.

    Args:
        source: The source.
        name: Name of the table.
        sql: A SELECT.
        data: Rows from outside of the source, which the SELECT reads as the table :data:`DATA`.
    """
    try:
        if data is not None:
            source.con.register("__data", data)
        try:
            source.con.execute(f"CREATE OR REPLACE TEMP TABLE {quote(name)} AS {sql}")
        finally:
            if data is not None:
                source.con.unregister("__data")
        yield f"temp.{quote(name)}"
    finally:
        source.con.execute(f"DROP TABLE IF EXISTS temp.{quote(name)}")
