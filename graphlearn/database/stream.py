"""Large results in pieces: Arrow batches as DuckDB makes them, and key maps that spill to disk with it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from graphlearn.database.sql import quote
from graphlearn.database.source import Source

if TYPE_CHECKING:
    import pyarrow as pa


def stream(source: Source, sql: str, *, batch_rows: int = 122_880) -> Iterator[pa.RecordBatch]:
    """The rows of a SELECT as Arrow batches of about ``batch_rows`` rows (one DuckDB row group by default)."""
    yield from source.con.sql(sql).to_arrow_reader(batch_rows)


@contextmanager
def temporary_table(source: Source, name: str, sql: str) -> Iterator[str]:
    """A temporary table of the connection (not of the source) with the rows of ``sql``; gives its quoted name."""
    source.con.execute(f"CREATE OR REPLACE TEMP TABLE {quote(name)} AS {sql}")
    try:
        yield f"temp.{quote(name)}"
    finally:
        source.con.execute(f"DROP TABLE IF EXISTS temp.{quote(name)}")
