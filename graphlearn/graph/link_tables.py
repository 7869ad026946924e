"""Links in files of edges, and in the rows of a table that name rows of two others."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from graphlearn.database.connection import first_line, new_connection
from graphlearn.database.sql import is_time, literal, quote, time_us
from graphlearn.errors import SourceError, UsageError, first_three, unknown_name
from graphlearn.graph.link_data import LinkData
from graphlearn.schema.connect import Database
from graphlearn.schema.schema import ForeignKey, Table

if TYPE_CHECKING:
    import duckdb

_TIMES = ("time", "timestamp", "date", "t")


def read_edge_list(path: Path, columns: str | None = None) -> LinkData:
    """A file with a row per link: CSV, TSV, text with any separator, or Parquet.

    The first two columns name the nodes, in whatever way; a third one called time, timestamp, date or t says when.

    Args:
        path: The file.
        columns: ``"src,dst"`` or ``"src,dst,time"``: other columns.

    Raises:
        SourceError: If the file is missing or unreadable, has too few columns, or a time that is none.
        UnknownNameError: If it has no such column.
    """
    import duckdb

    if not path.is_file():
        raise SourceError(f"there is no file {path}. Name a dataset, a file of edges or a .mat file.")
    reader = "read_parquet" if path.suffix in (".parquet", ".pq") else "read_csv"
    with new_connection() as con:
        try:
            types = _open(con, f"{reader}({literal(str(path))})")
            if len(types) == 1 and " " in next(iter(types)):  # DuckDB does not guess that spaces separate
                types = _open(con, f"{reader}({literal(str(path))}, delim = ' ')")
            src, dst, time = _columns(path, types, columns)
            total, whole = _select(con, types, src, dst, time)
        except duckdb.Error as error:
            raise SourceError(f"{path} cannot be read as a file of edges: {first_line(error)}.") from error
    notes = _dropped_note(total - len(whole), total, "an empty end or time")
    if whole.empty:
        raise SourceError(f"{path} holds no edge with two ends. Write one a line: two nodes, and a time if there is.")
    ends = pd.concat([whole["src"], whole["dst"]], ignore_index=True)
    if ends.dtype.kind not in "iu":
        ends = ends.astype(str)
    number, names = pd.factorize(ends, sort=True)
    edge_index = torch.from_numpy(number.astype(np.int64)).reshape(2, -1)
    return LinkData(path.stem, edge_index, len(names), time=_times(whole), names=tuple(names.tolist()), notes=notes)


def read_tables(db: Database, edges: str) -> LinkData:
    """Links between the rows of two tables, or of one, that the rows of a third name by foreign keys.

    Nodes are the rows of the tables named, whether linked or not; they have no features. The time of a link is that of
    its row, if its table has one.

    Args:
        db: The database.
        edges: ``"ratings(user_id, movie_id)"``: the table that holds the links, and its two foreign keys.

    Raises:
        UsageError: If ``edges`` is not of that form.
        UnknownNameError: If there is no such table, or no such foreign key.
        SourceError: If no row has both keys.
    """
    found = re.fullmatch(r"\s*([^()]+?)\s*\(\s*([^(),]+?)\s*,\s*([^(),]+?)\s*\)\s*", edges)
    if found is None:
        raise UsageError(f"--edges must read table(key, key), as in 'ratings(user_id, movie_id)', got '{edges}'.")
    table = db.schema[found[1]]
    keys = [_fkey(table, name) for name in found.groups()[1:]]
    for key in keys:
        if len(key.columns) > 1:
            raise UsageError(f"'{key.name}' of '{table.name}' is a key of several columns; links need keys of one.")
    frame = _rows(db, table, keys)
    sides = [db.schema[key.table] for key in keys]
    two_kinds = sides[0].name != sides[1].name
    nodes = [_keys(db, side) for side in (sides if two_kinds else sides[:1])]
    src, dst = nodes[0].get_indexer(pd.Index(frame["src"])), nodes[-1].get_indexer(pd.Index(frame["dst"]))
    fine = (src >= 0) & (dst >= 0) & frame.notna().all(axis=1).to_numpy()
    notes = _dropped_note(int((~fine).sum()), len(frame), "a key without a row, or no time")
    if not fine.any():
        raise SourceError(f"no row of '{table.name}' names a row by both {keys[0].name} and {keys[1].name}.")
    first = len(nodes[0]) if two_kinds else 0
    edge_index = torch.from_numpy(np.stack([src[fine], dst[fine] + first]).astype(np.int64))
    return LinkData(
        f"{db.name}, {table.name}",
        edge_index,
        sum(map(len, nodes)),
        time=_times(frame[fine]),
        num_src=first or None,
        names=tuple(name for index in nodes for name in index.tolist()),
        kinds=tuple(dict.fromkeys(side.name for side in sides)),
        notes=notes,
    )


def _open(con: duckdb.DuckDBPyConnection, rows: str) -> dict[str, str]:
    """Makes the view ``links`` of some rows, and gives its columns and their types."""
    con.execute(f"CREATE OR REPLACE VIEW links AS SELECT * FROM {rows}")
    return {name: str(kind) for name, kind, *_ in con.execute("DESCRIBE links").fetchall()}


def _columns(path: Path, types: dict[str, str], wanted: str | None) -> tuple[str, str, str | None]:
    if wanted is not None:
        names = [name.strip() for name in wanted.split(",")]
        if len(names) not in (2, 3):
            raise UsageError(f"--columns must name two or three columns, as in 'src,dst,time', got '{wanted}'.")
        for name in names:
            if name not in types:
                raise unknown_name(f"column in {path.name}", name, types)
        return names[0], names[1], names[2] if len(names) == 3 else None
    if len(types) < 2:
        raise SourceError(f"{path} has one column, '{first_three(list(types))}'; edges need two. What separates them?")
    src, dst, *others = types
    return src, dst, next((name for name in others if name.lower() in _TIMES), None)


def _select(
    con: duckdb.DuckDBPyConnection, types: dict[str, str], src: str, dst: str, time: str | None
) -> tuple[int, pd.DataFrame]:
    """The number of rows, and those in which nothing is missing."""
    if types[src] != types[dst]:  # numbers and text are compared as text
        ends = [f"CAST({quote(name)} AS VARCHAR) AS {alias}" for name, alias in ((src, "src"), (dst, "dst"))]
    else:
        ends = [f"{quote(src)} AS src", f"{quote(dst)} AS dst"]
    if time is not None:
        ends.append(f"{_time_sql(time, types[time])} AS time")
    con.execute(f"CREATE VIEW ends AS SELECT {', '.join(ends)} FROM links")
    total = int(con.execute("SELECT count(*) FROM links").fetchall()[0][0])
    whole = " AND ".join(f"{name} IS NOT NULL" for name in ("src", "dst", "time")[: len(ends)])
    return total, con.execute(f"SELECT * FROM ends WHERE {whole}").df()


def _rows(db: Database, table: Table, keys: list[ForeignKey]) -> pd.DataFrame:
    chosen = [f"{quote(key.columns[0])} AS {alias}" for key, alias in zip(keys, ("src", "dst"), strict=True)]
    if table.time_col is not None:
        chosen.append(f"{_time_sql(table.time_col, db.columns(table.name)[table.time_col])} AS time")
    frame: pd.DataFrame = db.arrow(f"SELECT {', '.join(chosen)} FROM {quote(table.name)}").to_pandas()
    return frame


def _keys(db: Database, table: Table) -> pd.Index[Any]:
    if len(table.pkey) != 1:
        raise UsageError(f"'{table.name}' has no primary key of one column, which the ends of links need.")
    key = quote(table.pkey[0])
    frame = db.arrow(f"SELECT {key} AS key FROM {quote(table.name)} WHERE {key} IS NOT NULL ORDER BY key").to_pandas()
    keys: pd.Index[Any] = pd.Index(frame["key"])
    return keys


def _fkey(table: Table, name: str) -> ForeignKey:
    keys = {key.name: key for key in table.fkeys}
    if name not in keys:
        raise unknown_name(f"foreign key of '{table.name}'", name, keys)
    return keys[name]


def _time_sql(column: str, dtype: str) -> str:
    """Points in time as microseconds, whole numbers as they are."""
    if is_time(dtype) or dtype == "VARCHAR":
        return time_us(quote(column), dtype)
    return f"CAST({quote(column)} AS BIGINT)"


def _times(frame: pd.DataFrame) -> Tensor | None:
    return torch.from_numpy(frame["time"].to_numpy(np.int64).copy()) if "time" in frame else None


def _dropped_note(count: int, total: int, why: str) -> tuple[str, ...]:
    return (f"{count:,} of {total:,} rows have {why}: left out",) if count else ()
