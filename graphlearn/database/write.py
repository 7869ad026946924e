"""One table into a database or a file, whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from graphlearn.database import write_duckdb, write_file, write_server
from graphlearn.database.target import Target, check_table_names
from graphlearn.errors import UsageError, unknown_name

if TYPE_CHECKING:
    import pyarrow as pa

IF_EXISTS = ("fail", "replace", "append")


def check_target(target: Target, if_exists: str = "fail") -> None:
    """Refuses what can be refused before there is anything to write; nothing is changed.

    Raises:
        UnknownNameError: If there is no such ``if_exists``.
        UsageError: If the table is there and ``if_exists`` is ``fail``, it is no table, or its name is too long.
        SourceError: If the driver is not installed.
        StorageError: If the database cannot be opened.
    """
    if if_exists not in IF_EXISTS:
        raise unknown_name("choice for 'if_exists'", if_exists, IF_EXISTS)
    check_table_names(target, [])
    look = {"file": write_file.exists, "duckdb": write_duckdb.exists}.get(target.kind, write_server.exists)
    if look(target) and if_exists == "fail":
        raise UsageError(
            f"{target} exists. Name another place, or add --append (if_exists='append') to add to it or --replace "
            "(if_exists='replace') to replace it."
        )


def write_table(
    target: Target,
    data: pa.Table,
    *,
    key: Sequence[str],
    if_exists: str = "fail",
    types: Mapping[str, str] | None = None,
) -> None:
    """Writes ``data`` as a table with a primary key, in one transaction: whatever happens, the target is whole.

    ``append`` adds the rows to a table of the same columns, types and key; a row whose key is there replaces the one
    that is there. It makes the table if there is none.

    Args:
        target: The place.
        data: The rows.
        key: Columns of the primary key.
        if_exists: ``fail``, ``replace`` or ``append``.
        types: DuckDB types of columns that Arrow does not tell from text, such as ``UUID``.

    Raises:
        UsageError: As :func:`check_target` does, or if a name does not fit the database.
        SchemaError: If ``append`` meets a table of another shape, or a column has a type that cannot be written.
        StorageError: If it cannot be written; then the target is as it was.
    """
    check_target(target, if_exists)
    check_table_names(target, data.column_names)
    write = {"file": write_file.write, "duckdb": write_duckdb.write}.get(target.kind, write_server.write)
    write(target, data, key=list(key), if_exists=if_exists, types=dict(types or {}))
