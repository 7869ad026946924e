"""One table into a DuckDB file, in one transaction of DuckDB's own."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from graphlearn.database.connection import first_line, new_connection
from graphlearn.database.source import Source
from graphlearn.database.sql import literal, quote, quote_all
from graphlearn.database.target import Target
from graphlearn.errors import SchemaError, StorageError, UsageError

if TYPE_CHECKING:
    import pyarrow as pa


def exists(target: Target) -> bool:
    """Whether the table is there.

    Raises:
        UsageError: If a view of that name is there.
        StorageError: If the file cannot be opened.
    """
    if not _path(target).exists():
        return False
    with _attached(_path(target), target, read_only=True) as con:
        return _exists(con, target)


def write(target: Target, data: pa.Table, *, key: list[str], if_exists: str, types: Mapping[str, str]) -> None:
    """See :func:`graphlearn.database.write.write_table`."""
    path = _path(target)
    if path.exists():
        _write(path, target, data, key, if_exists, types)
        return
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        _write(aside, target, data, key, if_exists, types)
        os.replace(aside, path)
    except OSError as error:
        raise StorageError(f"{target} could not be written: {error.strerror}.") from error
    finally:
        for left in (aside, Path(f"{aside}.wal")):
            left.unlink(missing_ok=True)


@contextmanager
def released(source: Source | None, target: Target) -> Iterator[None]:
    """Lets go of the file of ``source`` for a moment, if ``target`` is a table of it: DuckDB opens no file twice.

    The views of the source stay, and work again afterwards.
    """
    path = Path("" if source is None else source.source)
    if (
        source is None
        or target.kind != "duckdb"
        or not (path.is_file() and _path(target).is_file() and path.samefile(_path(target)))
    ):
        yield
        return
    source.con.execute("DETACH source").fetchall()
    try:
        yield
    finally:
        source.con.execute(f"ATTACH {literal(str(path))} AS source (READ_ONLY)").fetchall()


def typed_columns(con: duckdb.DuckDBPyConnection, data: pa.Table, types: Mapping[str, str]) -> dict[str, str]:
    """The columns of the registered table ``data`` with the DuckDB type that each is to have."""
    described = con.execute("DESCRIBE SELECT * FROM data").fetchall()
    return {name: types.get(name, kind) for name, kind, *_ in described}


def check_shape(target: Target, wanted: Mapping[str, str], found: Mapping[str, str]) -> None:
    """Raises :class:`SchemaError` with the first difference between two tables' columns and types."""
    difference = None
    for name in [*wanted, *found]:
        if name not in found:
            difference = f"it has no column '{name}'"
        elif name not in wanted:
            difference = f"it has a column '{name}', which the new rows have not"
        elif wanted[name] != found[name]:
            difference = f"its column '{name}' is {found[name]}, and that of the new rows {wanted[name]}"
        if difference is not None:
            break
    if difference is not None:
        refuse(target, difference)


def refuse(target: Target, difference: str) -> None:
    """Raises the error for ``--append`` to a table of another shape."""
    raise SchemaError(
        f"{target} has another shape: {difference}. Name another place, or add --replace to replace this one."
    )


def _write(
    path: Path, target: Target, data: pa.Table, key: list[str], if_exists: str, types: Mapping[str, str]
) -> None:
    with _attached(path, target, read_only=False) as con:
        con.register("data", data)
        columns = typed_columns(con, data, types)
        name = _qualified(target)
        con.execute("BEGIN")
        there = _exists(con, target)
        if there and if_exists == "append":
            check_shape(target, columns, _columns(con, target))
            _check_key(con, target, key)
        else:
            listed = ", ".join(f"{quote(column)} {kind}" for column, kind in columns.items())
            replace = "OR REPLACE " if there and if_exists == "replace" else ""
            con.execute(f"CREATE {replace}TABLE {name} ({listed}, PRIMARY KEY ({quote_all(key)}))")
        con.execute(
            f"INSERT OR REPLACE INTO {name} ({quote_all(columns)}) SELECT {quote_all(columns)} FROM data"
        ).fetchall()
        con.execute("COMMIT")


@contextmanager
def _attached(path: Path, target: Target, *, read_only: bool) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection of its own to the file; what DuckDB says becomes one sentence."""
    con = new_connection()
    try:
        mode = " (READ_ONLY)" if read_only else ""
        try:
            con.execute(f"ATTACH {literal(str(path))} AS target{mode}").fetchall()
        except duckdb.Error as error:
            text = first_line(error)
            if "already attached" in text:
                text = "this process has it open: close it (db.close()) first"
            elif "set lock" in text.lower():
                text = "another process has it open: close it there first"
            raise StorageError(f"{target.path} cannot be opened as a DuckDB file: {text}.") from error
        yield con
    except duckdb.Error as error:
        raise StorageError(f"{target} could not be written: {first_line(error)}. It is as it was.") from error
    finally:
        con.close()  # what was not committed is gone


def _path(target: Target) -> Path:
    assert target.path is not None
    return target.path


def _qualified(target: Target) -> str:
    return f"target.{quote(target.schema or 'main')}.{quote(target.table)}"


def _exists(con: duckdb.DuckDBPyConnection, target: Target) -> bool:
    where = "database_name = 'target' AND lower(schema_name) = lower(?)"
    named = [target.schema or "main", target.table]
    if con.execute(f"SELECT 1 FROM duckdb_views() WHERE {where} AND lower(view_name) = lower(?)", named).fetchall():
        raise UsageError(f"{target} is a view. Name another table.")
    return bool(
        con.execute(f"SELECT 1 FROM duckdb_tables() WHERE {where} AND lower(table_name) = lower(?)", named).fetchall()
    )


def _columns(con: duckdb.DuckDBPyConnection, target: Target) -> dict[str, str]:
    return {name: kind for name, kind, *_ in con.execute(f"DESCRIBE {_qualified(target)}").fetchall()}


def _check_key(con: duckdb.DuckDBPyConnection, target: Target, key: list[str]) -> None:
    found = con.execute(
        "SELECT constraint_column_names FROM duckdb_constraints() WHERE database_name = 'target' "
        "AND lower(schema_name) = lower(?) AND lower(table_name) = lower(?) AND constraint_type = 'PRIMARY KEY'",
        [target.schema or "main", target.table],
    ).fetchall()
    names = list(found[0][0]) if found else []
    if set(names) != set(key):
        refuse(target, f"its primary key is ({', '.join(names)}), and that of the new rows ({', '.join(key)})")
