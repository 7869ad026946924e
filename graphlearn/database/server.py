"""SQL servers and SQLite files: their tables are copied, as they are at one moment."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from graphlearn.database.column_types import Reading
from graphlearn.database.ingest import append_new, cast, copy_table
from graphlearn.database.local import LocalCopy, LocalFile, table_name
from graphlearn.database.progress import IngestBar
from graphlearn.database.read_mysql import ChangedError, MysqlReader
from graphlearn.database.read_postgresql import PostgresReader
from graphlearn.database.read_sqlite import SqliteReader, as_texts, is_mixed, is_untyped
from graphlearn.database.reader import LostConnectionError, Reader, RowReader
from graphlearn.database.reflect import Options, ServerTable
from graphlearn.database.source import Source
from graphlearn.database.sql import quote
from graphlearn.database.url import DRIVERS, parse_url, shown
from graphlearn.database.views import add_view
from graphlearn.errors import GraphLearnError, SourceError

if TYPE_CHECKING:
    import duckdb
    from sqlalchemy import URL

READERS: dict[str, type[Reader]] = {
    "postgresql": PostgresReader,
    "mysql": MysqlReader,
    "mariadb": MysqlReader,
    "sqlite": SqliteReader,
}
"""The fast readers, by SQLAlchemy's name of the kind of database; a URL that names its own driver is read with that."""
STAGE = "__texts"


def open_server(con: duckdb.DuckDBPyConnection, text: str, options: Options) -> Source:
    """Copies the tables of a server and gives the copies as a source; nothing is written to the server.

    A connection that breaks is tried once more, from the beginning: half of one moment and half of another are no
    consistent state.

    Raises:
        SourceError: If the server cannot be opened or read; a cache is then as before, or absent.
        UnknownNameError: If there is no such table, or no such kind of server.
    """
    url = parse_url(text)
    try:
        return _copy(con, url, text, options)
    except LostConnectionError as first:
        warnings.warn(f"{first} Trying once more, from the beginning.", stacklevel=2)
    try:
        return _copy(con, url, text, options)
    except LostConnectionError as error:
        raise SourceError(f"{error} It did so twice; nothing of it was kept. Run the same again later.") from error


def _copy(con: duckdb.DuckDBPyConnection, url: URL, text: str, options: Options) -> Source:
    with _reader(url, text, options) as reader:
        origin = {"source": shown(url), "tables": options.tables, "exclude": sorted(options.exclude)}
        cache = options.cache
        local = LocalCopy(con) if cache is None else LocalFile(con, Path(cache).expanduser(), origin)
        try:
            described = {table.name: _described(table) for table in reader.tables}
            local.drop_others(described)
            notes = []
            with IngestBar(sum(table.rows for table in reader.tables)) as bar:
                for table in reader.tables:
                    known = local.known_tables.get(table.name) == described[table.name]
                    try:
                        note = _read(con, reader, table, bar, local.times.get(table.name) if known else None)
                    except GraphLearnError:
                        raise
                    except Exception as error:
                        raise reader.explain(error, table.name) from error
                    notes += [note] if local.is_update else []
            local.finish(described)
        except BaseException:
            local.give_up()
            raise
    for table in reader.tables:
        add_view(con, table.name, table_name(table.name))
    return Source(
        con,
        name=Path(url.database).stem
        if url.get_backend_name() == "sqlite" and url.database
        else url.database or "server",
        source=shown(url),
        tables=[table.name for table in reader.tables],
        declared_pkeys={table.name: table.pkey for table in reader.tables if table.pkey},
        declared_fkeys={table.name: table.fkeys for table in reader.tables if table.fkeys},
        comments=_comments(reader.tables),
        notes=notes,
        local=local,
    )


def _reader(url: URL, text: str, options: Options) -> Reader:
    kind = url.get_backend_name()
    if text.split("://", 1)[0].lower() not in DRIVERS or kind not in READERS:
        return RowReader(url, options)
    return READERS[kind](url, options)


def _read(
    con: duckdb.DuckDBPyConnection, reader: Reader, table: ServerTable, bar: IngestBar, time_col: str | None
) -> str:
    """Brings the local copy of a table to the state of the server; says what was read."""
    why = ""
    try:
        if time_col is not None:
            why = f", {time_col} alone does not say what changed"
            added = append_new(con, reader, table, time_col, bar)
            if added is not None:
                return f"{table.name}: {added:,} new rows by {time_col}"
        if isinstance(reader, SqliteReader) and is_untyped(table):
            _by_content(con, reader, table, bar)
        else:
            copy_table(con, reader, table, bar)
    except ChangedError:
        copy_table(con, reader, table, bar)
    except Exception as error:
        if not (isinstance(reader, SqliteReader) and _is_of_other_type(error)):
            raise
        _by_content(con, reader, table, bar)
    return f"{table.name}: read whole{why}"


def _is_of_other_type(error: Exception) -> bool:
    import duckdb

    return is_mixed(error) or isinstance(error, duckdb.ConversionException)


def _by_content(con: duckdb.DuckDBPyConnection, reader: Reader, table: ServerTable, bar: IngestBar) -> None:
    """Reads every column as text, and gives it the first type that all of its values have."""
    copy_table(con, reader, as_texts(table), bar, name=STAGE)
    columns = []
    for column in table.columns:
        name = quote(column.name)
        kinds = [*([column.reading] if column.reading.dtype else []), Reading(dtype="BIGINT"), Reading(dtype="DOUBLE")]
        tests = ", ".join(_all_are(name, kind) for kind in kinds)
        (fits,) = con.execute(f"SELECT {tests} FROM {table_name(STAGE)}").fetchall()
        kind = next((kind for kind, fit in zip(kinds, fits, strict=True) if fit), Reading(dtype="VARCHAR"))
        if column.reading.dtype not in ("", kind.dtype):
            warnings.warn(
                f"{reader.place}: not all values of '{table.name}.{column.name}' are of its type "
                f"{column.reading.dtype}; it is read as {kind.dtype}.",
                stacklevel=2,
            )
        columns.append(f"{cast(name, kind, True)} AS {name}")
    con.execute(
        f"CREATE OR REPLACE TABLE {table_name(table.name)} AS SELECT {', '.join(columns)} FROM {table_name(STAGE)}"
    ).fetchall()
    con.execute(f"DROP TABLE {table_name(STAGE)}").fetchall()


def _all_are(name: str, kind: Reading) -> str:
    """SQL for whether all texts of a column are values of a type."""
    # A cast of '1.5' to a whole number would round it.
    exact = f" FILTER (regexp_full_match({name}, '[-+]?[0-9]+'))" if kind.dtype == "BIGINT" else ""
    return f"count({name}) = count({cast(name, kind, False)}){exact}"


def _described(table: ServerTable) -> list[list[str]]:
    """What of a table must be as before, for rows that were copied before to count."""
    return [[column.name, column.reading.sql, column.reading.dtype] for column in table.columns]


def _comments(tables: tuple[ServerTable, ...]) -> dict[tuple[str, str], str]:
    found = {(table.name, ""): table.comment for table in tables if table.comment}
    for table in tables:
        found |= {(table.name, column.name): column.comment for column in table.columns if column.comment}
    return found
