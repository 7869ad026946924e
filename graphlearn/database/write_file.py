"""One table as a Parquet or CSV file: written aside, then renamed."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from graphlearn.database.connection import first_line, new_connection
from graphlearn.database.files import file_list
from graphlearn.database.sql import literal, quote, quote_all
from graphlearn.database.target import Target
from graphlearn.database.write_duckdb import check_shape, refuse, typed_columns
from graphlearn.errors import StorageError, UsageError

if TYPE_CHECKING:
    import pyarrow as pa

FORMATS = {".csv": "FORMAT csv, HEADER", ".parquet": "FORMAT parquet"}


def exists(target: Target) -> bool:
    """Whether the file is there.

    Raises:
        UsageError: If a folder is there.
    """
    assert target.path is not None
    if target.path.is_dir():
        raise UsageError(f"{target} is a folder. Name a file.")
    return target.path.exists()


def write(target: Target, data: pa.Table, *, key: list[str], if_exists: str, types: Mapping[str, str]) -> None:
    """See :func:`graphlearn.database.write.write_table`; rows that are appended stand at the end."""
    path = target.path
    assert path is not None
    con = new_connection()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        con.register("data", data)
        columns = typed_columns(con, data, types)
        # Without a type of its own in Arrow, a column is cast to it here.
        rows = f"SELECT {', '.join(f'CAST({quote(n)} AS {t}) AS {quote(n)}' for n, t in columns.items())} FROM data"
        if if_exists == "append" and path.exists():
            before = _rows_of(con, target, path, columns)
            rows = f"SELECT * FROM ({before}) ANTI JOIN ({rows}) USING ({quote_all(key)}) UNION ALL BY NAME {rows}"
        with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as aside:
            made = Path(aside) / path.name
            con.execute(f"COPY ({rows}) TO {literal(str(made))} ({FORMATS[path.suffix]})").fetchall()
            os.replace(made, path)
    except OSError as error:
        raise StorageError(f"{target} could not be written: {error.strerror or error}. It is as it was.") from error
    except duckdb.Error as error:
        raise StorageError(f"{target} could not be written: {first_line(error)}. It is as it was.") from error
    finally:
        con.close()


def _rows_of(con: duckdb.DuckDBPyConnection, target: Target, path: Path, columns: Mapping[str, str]) -> str:
    """A SELECT of what the file holds, after a look at its columns. A CSV file has names, and the types we give."""
    if path.suffix == ".parquet":
        scan = f"read_parquet({file_list([path])})"
        check_shape(target, columns, _describe(con, scan))
        return f"SELECT * FROM {scan}"
    options = "header = true, nullstr = '', allow_quoted_nulls = false, auto_detect = false"
    names = dict.fromkeys(
        _describe(con, f"read_csv({file_list([path])}, header = true, all_varchar = true)"), "VARCHAR"
    )
    check_shape(target, dict.fromkeys(columns, "VARCHAR"), names)
    if list(names) != list(columns):
        refuse(target, f"its columns are in the order {', '.join(names)}")
    listed = ", ".join(f"{literal(name)}: {literal(kind)}" for name, kind in columns.items())
    return f"SELECT * FROM read_csv({file_list([path])}, {options}, columns = {{{listed}}})"


def _describe(con: duckdb.DuckDBPyConnection, scan: str) -> dict[str, str]:
    return {name: kind for name, kind, *_ in con.execute(f"DESCRIBE SELECT * FROM {scan}").fetchall()}
