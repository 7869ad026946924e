"""A source as a RelBench 3 folder: tables, schema and tasks, under the rules that ``relbench`` has for keys."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa

from graphlearn.database.connection import first_line
from graphlearn.database.sql import literal, quote, time_us
from graphlearn.errors import SchemaError, StorageError, UsageError
from graphlearn.schema.schema import Column, ForeignKey, Schema, Table
from graphlearn.tasks.store import put_in_place, save_task
from graphlearn.tasks.times import time_text

if TYPE_CHECKING:
    from graphlearn.schema import Database
    from graphlearn.tasks.task import Task

_WHOLE = frozenset({"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT"})
_AS_TEXT = frozenset({"UUID", "INTERVAL", "BIT", "TIME WITH TIME ZONE"})
"""Types that pandas does not read from Parquet as values."""


@dataclass(frozen=True)
class _Numbers:
    """The temporary table (key, number) of a table whose keys are not 0, 1, 2, … yet, and its keys in that order."""

    name: str
    keys: pa.ChunkedArray


def export_relbench(db: Database, folder: str | Path, tasks: Iterable[Task] = (), *, force: bool = False) -> Path:
    """Writes ``manifest.yaml``, ``db/<table>.parquet`` and ``tasks/<task>/``; the folder is whole or absent.

    ``relbench`` wants the primary keys of a table to be 0, 1, 2, … in the order of its rows. Keys of one column that
    are not are numbered in their order, foreign keys and labels alike; the column ``<key>_source`` keeps what they
    were. A time that was derived from other tables becomes a column, and every time column a timestamp without an
    offset.

    Args:
        db: The database.
        folder: The folder to make.
        tasks: Tasks of ``db``, each with the labels of its splits.
        force: Replace a RelBench folder that is there.

    Raises:
        UsageError: If the folder exists or is the source, nothing says when validation and test begin, or a name cannot
            be that of a file.
        SchemaError: If the primary key of a table has NULL or repeated values.
        StorageError: If it cannot be written.
    """
    target, tasks = Path(folder).expanduser(), list(tasks)
    _check_folder(db, target, force)
    schema = _dated(db.schema, tasks)
    for kind, names in (("table", schema.tables), ("task", [task.name for task in tasks])):
        for name in names:
            if Path(name).name != name or name == ".." or "\0" in name:
                raise UsageError(
                    f"the {kind} {name!r} cannot be exported: its name is to be that of a file. Rename it."
                )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as aside:
            made = Path(aside) / "new"
            (made / "db").mkdir(parents=True)
            with _numbered(db) as numbers:
                tables = {name: _write(db, table, numbers, made / "db") for name, table in schema.tables.items()}
            replace(schema, tables=tables).save(made / "manifest.yaml")
            keys = {name: known.keys for name, known in numbers.items()}
            for task in tasks:
                save_task(task, made / "tasks" / task.name, keys=keys)
            put_in_place(made, target, Path(aside) / "old")
    except OSError as error:
        raise StorageError(f"could not write {target}: {error.strerror or error}.") from error
    except duckdb.Error as error:
        raise StorageError(f"could not write {target}: {first_line(error)}.") from error
    return target


def _check_folder(db: Database, target: Path, force: bool) -> None:
    if not target.exists():
        return
    if Path(db.source).exists() and target.samefile(db.source):
        raise UsageError(f"{target} is the source itself. Name another folder.")
    if not force:
        raise UsageError(f"{target} exists. Name another folder, or replace it with force (--force).")
    if not target.is_dir() or (any(target.iterdir()) and not (target / "manifest.yaml").is_file()):
        raise UsageError(f"{target} is not a RelBench folder, so --force does not replace it. Name another place.")


def _dated(schema: Schema, tasks: list[Task]) -> Schema:
    """``schema`` with the two times that relbench needs: its own, or those of the first task."""
    if schema.val_timestamp and schema.test_timestamp:
        return schema
    if not tasks:
        raise UsageError(
            "nothing says where validation and test begin, which relbench has to know: export a task with the database "
            "(--task), or write val_timestamp and test_timestamp into the schema's manifest."
        )
    val, test = time_text(tasks[0].val_time), time_text(tasks[0].test_time)
    return replace(schema, val_timestamp=val, test_timestamp=test)


@contextmanager
def _numbered(db: Database) -> Iterator[dict[str, _Numbers]]:
    """By table, the numbers that its primary keys get; tables whose keys are numbered so already are left out."""
    made: dict[str, _Numbers] = {}
    try:
        for table in db.schema.tables.values():
            if len(table.pkey) == 1 and not _in_order(db, table):
                name = f"temp.{quote(f'numbers of {table.name}')}"
                key = quote(table.pkey[0])
                rows = f"SELECT {key} AS key, row_number() OVER (ORDER BY {key}) - 1 AS number"
                db.con.execute(
                    f"CREATE OR REPLACE TEMP TABLE {name} AS {rows} FROM main.{quote(table.name)}"
                ).fetchall()
                made[table.name] = _Numbers(name, db.arrow(f"SELECT key FROM {name} ORDER BY number")["key"])
        yield made
    finally:
        for numbers in made.values():
            db.con.execute(f"DROP TABLE {numbers.name}").fetchall()


def _in_order(db: Database, table: Table) -> bool:
    """Whether the keys are 0, 1, 2, …; raises if they are no keys."""
    key = quote(table.pkey[0])
    rows, given, distinct = db.rows(
        f"SELECT count(*), count({key}), count(DISTINCT {key}) FROM main.{quote(table.name)}"
    )[0]
    if given < rows or distinct < rows:
        problem = f"{rows - given:,} NULL" if given < rows else f"{rows - distinct:,} repeated"
        raise SchemaError(
            f"{table.name}.{table.pkey[0]} is the primary key but has {problem} values, and relbench needs one for "
            "each row. Correct them, or take the key out of the schema."
        )
    if db.columns(table.name)[table.pkey[0]] not in _WHOLE:
        return False
    low, high = db.rows(f"SELECT min({key}), max({key}) FROM main.{quote(table.name)}")[0]
    return bool(rows == 0 or (low == 0 and high == rows - 1))


def _write(db: Database, table: Table, numbers: dict[str, _Numbers], folder: Path) -> Table:
    """Writes one table and returns what the manifest is to say of it."""
    types, columns = db.columns(table.name), {c.name: c for c in table.columns}
    expressions: dict[str, str] = {}
    joins: list[str] = []
    fkeys: list[ForeignKey] = []
    for name, dtype in types.items():
        expressions[name], kind = f"t.{quote(name)}", dtype
        if name == table.time_col:
            expressions[name], kind = f"make_timestamp({time_us(expressions[name], dtype)})", "TIMESTAMP"
        elif dtype in _AS_TEXT:
            expressions[name], kind = f"CAST({expressions[name]} AS VARCHAR)", "VARCHAR"
        if name in columns:
            columns[name] = replace(columns[name], dtype=kind)
    # The manifest holds one foreign key for a column: the last.
    for i, fkey in enumerate({key.columns: key for key in table.fkeys}.values()):
        known = numbers.get(fkey.table) if len(fkey.columns) == 1 else None
        if known is None:
            fkeys.append(fkey)
            continue
        (column,) = fkey.columns
        # A column that is the table's own key as well cannot hold both numbers.
        name = _free(f"{column}_fkey", types) if (column,) == table.pkey else column
        dtype = db.columns(fkey.table)[db.schema[fkey.table].pkey[0]]
        joins.append(f"LEFT JOIN {known.name} AS k{i} ON TRY_CAST(t.{quote(column)} AS {dtype}) = k{i}.key")
        expressions[name] = f"k{i}.number"
        columns[name] = Column(name, "BIGINT")
        fkeys.append(replace(fkey, columns=(name,)))
    order = ""
    if table.name in numbers:
        (key,) = table.pkey
        kept = _free(f"{key}_source", {**types, **expressions})
        joins.append(f"JOIN {numbers[table.name].name} AS k ON t.{quote(key)} = k.key")
        expressions |= {key: "k.number", kept: expressions[key]}
        columns |= {kept: replace(columns.get(key, Column(key)), name=kept), key: Column(key, "BIGINT")}
    if len(table.pkey) == 1:
        order = f" ORDER BY {expressions[table.pkey[0]]}"
    listed = ", ".join(f"{expression} AS {quote(name)}" for name, expression in expressions.items())
    select = f"SELECT {listed} FROM main.{quote(table.name)} AS t {' '.join(joins)}{order}"
    file = folder / f"{table.name}.parquet"
    db.con.execute(f"COPY ({select}) TO {literal(str(file))} (FORMAT parquet, COMPRESSION zstd)").fetchall()
    return replace(table, fkeys=tuple(fkeys), time_from=(), columns=tuple(columns.values()))


def _free(name: str, taken: Iterable[str]) -> str:
    """``name``, or the same with as many ``_`` as it takes to be new."""
    lowered = {other.lower() for other in taken}
    while name.lower() in lowered:
        name += "_"
    return name
