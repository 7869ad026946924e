"""DuckDB files, attached read-only."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from graphlearn.database.connection import first_line
from graphlearn.database.names import check_names
from graphlearn.database.source import DeclaredKey, Source
from graphlearn.database.sql import literal, quote
from graphlearn.database.views import add_view
from graphlearn.errors import SourceError

if TYPE_CHECKING:
    import duckdb


def open_duckdb(con: duckdb.DuckDBPyConnection, path: Path) -> Source:
    """Every table and view of every schema; a name that several schemas use becomes ``schema.name``."""
    import duckdb

    try:
        con.execute(f"ATTACH {literal(str(path))} AS source (READ_ONLY)").fetchall()
    except duckdb.Error as error:
        raise SourceError(why_not(path, error)) from error
    names = _view_names(con, path)
    tables = [name for (schema, table), name in names.items() if _add_view(con, path, schema, table, name)]
    if not tables:
        raise SourceError(f"{path} holds no tables.")
    pkeys, fkeys = _declared_keys(con, names)
    return Source(con, name=path.stem, source=str(path), tables=tables, declared_pkeys=pkeys, declared_fkeys=fkeys)


def why_not(path: Path, error: Exception) -> str:
    text = first_line(error)
    if "set lock" in text.lower():
        holder = re.search(r"PID (\d+)", text)
        who = f"process {holder.group(1)}" if holder else "another process"
        return (
            f"{path} is locked by {who}, which has it open for writing. Close it there, or copy the file and use that."
        )
    if "version" in text.lower():
        return f"{path} was written by another version of DuckDB: {text}. Install that version, or export the tables."
    return f"{path} cannot be opened as a DuckDB file: {text}."


def _view_names(con: duckdb.DuckDBPyConnection, path: Path) -> dict[tuple[str, str], str]:
    found: list[tuple[str, str]] = con.execute(
        "SELECT schema_name, table_name FROM duckdb_tables() WHERE database_name = 'source' AND NOT internal "
        "UNION ALL SELECT schema_name, view_name FROM duckdb_views() WHERE database_name = 'source' AND NOT internal "
        "ORDER BY ALL"
    ).fetchall()
    lowered = [table.lower() for _, table in found]
    names = {
        (schema, table): table if lowered.count(table.lower()) == 1 else f"{schema}.{table}" for schema, table in found
    }
    check_names("table", names.values(), str(path))
    return names


def _add_view(con: duckdb.DuckDBPyConnection, path: Path, schema: str, table: str, name: str) -> bool:
    import duckdb

    try:
        add_view(con, name, f"source.{quote(schema)}.{quote(table)}")
    except duckdb.Error as error:
        warnings.warn(f"{path}: '{name}' cannot be read and is left out: {first_line(error)}.", stacklevel=2)
        return False
    return True


def _declared_keys(
    con: duckdb.DuckDBPyConnection, names: dict[tuple[str, str], str]
) -> tuple[dict[str, tuple[str, ...]], dict[str, tuple[DeclaredKey, ...]]]:
    constraints = con.execute(
        "SELECT schema_name, table_name, constraint_type, constraint_column_names, referenced_table, "
        "referenced_column_names FROM duckdb_constraints() WHERE database_name = 'source' "
        "AND constraint_type IN ('PRIMARY KEY', 'FOREIGN KEY') ORDER BY constraint_index"
    ).fetchall()
    pkeys: dict[str, tuple[str, ...]] = {}
    fkeys: dict[str, tuple[DeclaredKey, ...]] = {}
    for schema, table, kind, columns, target, referenced in constraints:
        name = names[schema, table]
        if kind == "PRIMARY KEY":
            pkeys[name] = tuple(columns)
        else:
            # DuckDB has no foreign keys from one schema into another.
            key = DeclaredKey(tuple(columns), names[schema, target], tuple(referenced))
            fkeys[name] = (*fkeys.get(name, ()), key)
    return pkeys, fkeys
