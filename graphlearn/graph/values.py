"""The rows behind nodes, as they stand in the source: for people, who cannot read what a model reads."""

from __future__ import annotations

import datetime as dt
import decimal
import math
from collections.abc import Iterable
from typing import Any

import pyarrow as pa
from torch import Tensor
from torch_geometric.data import HeteroData

from graphlearn.database.stream import DATA, temporary_table
from graphlearn.schema.connect import Database
from graphlearn.schema.keys import cell, kept_sql, key_sql, rows_of, tie_sql, time_sql


def row_values(
    db: Database, graph: HeteroData, table: str, nodes: Tensor, *, hidden: Iterable[tuple[str, str]] = ()
) -> list[dict[str, Any]]:
    """The columns of each node's row by name, keys included, as plain values that JSON can hold.

    Rows are found by their primary key; those of a table without one by their place in the order of the graph, which
    sorts the table once.

    Args:
        db: The database that ``graph`` was built from.
        graph: From :func:`~graphlearn.graph.build.build_graph`.
        table: The table.
        nodes: Their numbers, int64 ``[K]``.
        hidden: ``(table, column)`` pairs that were hidden when the graph was built, and are not shown.

    Returns:
        One dictionary per node; empty where the row has no primary key in a table that has one.
    """
    schema = db.schema[table]
    unseen = frozenset(column for name, column in hidden if name == table)
    names = [column.name for column in schema.columns if column.name not in unseen]
    shown = ", ".join(f"{cell(name)} AS c{i}" for i, name in enumerate(names))
    place = pa.array(range(nodes.numel()))
    if schema.pkey:
        data = pa.table({"place": place, "key": graph[table].pkey.take(pa.array(nodes.cpu().numpy()))})
        rows, same = f"(SELECT {shown}, {key_sql(schema)} AS k FROM {rows_of(table)} AS t)", "r.k = s.key"
    else:
        data = pa.table({"place": place, "node": pa.array(nodes.cpu().numpy())})
        time = time_sql(schema)
        order = ", ".join([*([] if time is None else [f"{time} NULLS FIRST"]), tie_sql(schema, unseen)])
        numbered = f"{shown}, row_number() OVER (ORDER BY {order}) - 1 AS n"
        rows, same = f"(SELECT {numbered} FROM {rows_of(table)} AS t{kept_sql(schema)})", "r.n = s.node"
    with temporary_table(db, "__shown", f"SELECT * FROM {DATA}", data=data) as wanted:
        columns = "".join(f", r.c{i}" for i in range(len(names)))
        found = db.rows(f"SELECT s.place{columns} FROM {wanted} AS s JOIN {rows} AS r ON {same}")
    values: list[dict[str, Any]] = [{} for _ in range(nodes.numel())]
    for number, *cells in found:
        values[number] = {name: plain(value) for name, value in zip(names, cells, strict=True)}
    return values


def plain(value: object) -> Any:
    """A value of DuckDB as JSON holds it: times as ISO text, decimals as numbers, bytes as hexadecimal digits."""
    if isinstance(value, decimal.Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dt.datetime) and value.tzinfo is None and value.time() == dt.time():
        return value.date().isoformat()
    if isinstance(value, dt.datetime | dt.date | dt.time):
        return value.isoformat(*([" "] if isinstance(value, dt.datetime) else []))
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).hex()
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    return value if value is None or isinstance(value, bool | int | str) else str(value)
