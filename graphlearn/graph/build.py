"""Rows become nodes, foreign keys become edges: a database as one temporal heterogeneous graph."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor
from torch_geometric.data import HeteroData

from graphlearn.database.sql import literal, quote, time_us
from graphlearn.database.stream import stream, temporary_table
from graphlearn.errors import SchemaError, first_three, unknown_name
from graphlearn.graph.rows import RowWriter, feature_sql
from graphlearn.graph.statistics import Statistics, fit_statistics
from graphlearn.graph.text import TextEncoder
from graphlearn.ops.index import index_to_csr
from graphlearn.schema.connect import Database
from graphlearn.schema.schema import ForeignKey, Table
from graphlearn.tasks.times import TimeLike
from graphlearn.tasks.times import time_us as as_us
from graphlearn.typing import EdgeType

Progress = Callable[[str, int, int], None]


def build_graph(
    db: Database,
    *,
    fit_until: TimeLike | None = None,
    statistics: Statistics | None = None,
    hidden: Iterable[tuple[str, str]] = (),
    text_encoder: TextEncoder | None = None,
    edge_index: bool = True,
    progress: Progress | None = None,
) -> HeteroData:
    """The database as a graph in which every statistic was fitted on rows up to ``fit_until``.

    Each row is a node, numbered in the order of (time, primary key), so what is visible at a time is a prefix of each
    table. Each foreign key ``col`` of table C to table P gives two edge types:

    - ``(C, col, P)``: child to parent, as CSR by parent: ``rowptr`` int64 ``[N_P + 1]``, ``col`` ``[E]``, each list
      sorted by time;
    - ``(P, "rev_" + col, C)``: parent to child; each child has at most one parent, so one column ``index`` ``[N_C]``
      holds the parent, or -1.

    Node stores hold ``num_nodes``; ``time`` int64 ``[N]`` microseconds UTC (absent without a time column; the first
    ``num_undated`` entries belong to rows without a time that the schema keeps, and mean nothing); ``tf`` (a
    ``torch_frame.TensorFrame``), ``col_stats``, and ``pkey`` (Arrow, or None).

    Tables are streamed from DuckDB, which sorts and joins out of core; beside the tensors themselves only one batch of
    rows is held.

    Args:
        db: The database.
        fit_until: Last time that means, spreads and vocabularies may know: microseconds UTC or a date as text. None: all
            rows, which is right only when nothing later will be predicted.
        statistics: Use these instead of fitting any.
        hidden: ``(table, column)`` pairs left out.
        text_encoder: Turns a list of texts into vectors ``[n, dim]``; default: hashed character n-grams.
        edge_index: Also store ``edge_index`` int64 ``[2, E]`` for PyG users, sorted by (destination, time).
        progress: Called with (table, rows done, rows in all).

    Raises:
        UnknownNameError: If ``hidden`` names a table or column that does not exist.
        SchemaError: If a key that others refer to is not unique, or a foreign key with ``on_missing = "error"`` has
            values without a row.
    """
    schema = db.schema
    hidden = list(hidden)
    for table, column in hidden:
        schema[table].column(column)
    if statistics is None:
        until = None if fit_until is None else as_us(fit_until, "fit_until")
        statistics = fit_statistics(db, fit_until=until, hidden=hidden)
    graph = HeteroData()
    with ExitStack() as stack:
        maps = {
            name: stack.enter_context(_node_map(db, schema.tables[name], f"__node_{i}"))
            for i, name in enumerate(schema.tables)
            if any(k.table == name for t in schema.tables.values() for k in t.fkeys)
        }
        for name, table in schema.tables.items():
            _add_table(graph, db, table, statistics, maps, hidden, text_encoder, progress)
    for table in schema.tables.values():
        for key in table.fkeys:
            _add_edges(graph, table, key, edge_index)
    graph.fit_until = statistics.fit_until
    return graph


def node_index(graph: HeteroData, table: str, keys: pa.Array | Iterable[object]) -> Tensor:
    """Node numbers of primary keys, int64 ``[len(keys)]``; -1 where the table has no such row."""
    if table not in graph.node_types:
        raise unknown_name("table", table, graph.node_types)
    known = graph[table].pkey
    if known is None:
        raise SchemaError(f"table '{table}' has no primary key, so its rows cannot be named.")
    keys = keys if isinstance(keys, (pa.Array, pa.ChunkedArray)) else pa.array(list(keys))
    if keys.type != known.type:
        keys = keys.cast(known.type)
    found = pc.fill_null(pc.index_in(keys, value_set=known), -1)
    return torch.from_numpy(found.to_numpy(zero_copy_only=False).astype(np.int64))


def _time_sql(table: Table) -> str | None:
    return None if table.time_col is None else time_us(quote(table.time_col), table.column(table.time_col).dtype)


def _order_sql(table: Table) -> str:
    # Without a key all columns decide, so that the order of the source's rows never does.
    columns = table.pkey or tuple(c.name for c in table.columns)
    time = _time_sql(table)
    return ", ".join([*([f"{time} NULLS FIRST"] if time else []), *(quote(c) for c in columns)])


def _kept_sql(table: Table) -> str:
    time = _time_sql(table)
    return f" WHERE {time} IS NOT NULL" if time and table.null_time == "drop" else ""


def _key_sql(table: Table) -> str:
    """One value for the primary key: the column itself, or a JSON list of a composite key's columns."""
    if len(table.pkey) == 1:
        return quote(table.pkey[0])
    return f"CAST(to_json([{', '.join(f'CAST({quote(c)} AS VARCHAR)' for c in table.pkey)}]) AS VARCHAR)"


def _node_map(db: Database, table: Table, name: str) -> object:
    if not table.pkey:
        raise SchemaError(f"table '{table.name}' is referred to by a foreign key but has no primary key.")
    keys = ", ".join(f"{quote(c)} AS __k{i}" for i, c in enumerate(table.pkey))
    repeated = db.rows(
        f"SELECT {keys}, count(*) AS __n FROM {quote(table.name)}{_kept_sql(table)} GROUP BY ALL "
        f"HAVING __n > 1 AND __k0 IS NOT NULL ORDER BY ALL LIMIT 3"
    )
    if repeated:
        shown = first_three([r[0] if len(r) == 2 else r[:-1] for r in repeated])
        raise SchemaError(
            f"{table.name}.{', '.join(table.pkey)} is given as the primary key but has repeated values (first: {shown}). "
            "Remove the repetitions, or name another key in manifest.yaml."
        )
    return temporary_table(
        db,
        name,
        f"SELECT {keys}, row_number() OVER (ORDER BY {_order_sql(table)}) - 1 AS __node "
        f"FROM {quote(table.name)}{_kept_sql(table)}",
    )


def _add_table(
    graph: HeteroData,
    db: Database,
    table: Table,
    statistics: Statistics,
    maps: dict[str, str],
    hidden: list[tuple[str, str]],
    text_encoder: TextEncoder | None,
    progress: Progress | None,
) -> None:
    columns = [c for c in statistics.tables.get(table.name, ()) if (table.name, c.name) not in hidden]
    time = _time_sql(table)
    count, dated = db.rows(f"SELECT count(*), count({time or '*'}) FROM {quote(table.name)}{_kept_sql(table)}")[0]
    store = graph[table.name]
    store.num_nodes = count
    store.num_undated = count - dated
    select = ["1 AS __one"]
    times = torch.empty(count, dtype=torch.int64) if time else None
    if time:
        select.append(f"coalesce({time}, 0) AS __t")
    if table.pkey:
        select.append(f"{_key_sql(table)} AS __pkey")
    select += [f"n{i}.__node AS __k{i}" for i in range(len(table.fkeys))]
    select += feature_sql(table, columns)
    rows = quote(table.name)
    joins = "".join(_join_sql(db, table, key, maps[key.table], i) for i, key in enumerate(table.fkeys))
    sql = f"SELECT {', '.join(select)} FROM {rows}{joins}{_kept_sql(table)} ORDER BY {_order_sql(table)}"

    writer = RowWriter(columns, count, encoder=text_encoder)
    keys: list[pa.Array] = []
    parents = [torch.empty(count, dtype=_index_dtype(graph, db, key)) for key in table.fkeys]
    start = 0
    for batch in stream(db, sql):
        rows_here = slice(start, start + batch.num_rows)
        if times is not None:
            times[rows_here] = torch.from_numpy(batch.column("__t").to_numpy(zero_copy_only=False).copy())
        if table.pkey:
            keys.append(batch.column("__pkey"))
        for i, parent in enumerate(parents):
            node = pc.fill_null(batch.column(f"__k{i}"), -1)
            parent[rows_here] = torch.from_numpy(node.to_numpy(zero_copy_only=False).copy()).to(parent.dtype)
        writer.write(batch, start)
        start += batch.num_rows
        if progress is not None:
            progress(table.name, start, count)
    if times is not None:
        store.time = times
    store.pkey = pa.chunked_array(keys).combine_chunks() if keys else (pa.array([]) if table.pkey else None)
    store.tf, store.col_stats = writer.finish()
    for key, parent in zip(table.fkeys, parents, strict=True):
        graph[key.table, f"rev_{key.name}", table.name].index = parent
        if key.on_missing == "error":
            _refuse_missing(db, table, key, maps[key.table])


def _index_dtype(graph: HeteroData, db: Database, key: ForeignKey) -> torch.dtype:
    size = graph[key.table].num_nodes if key.table in graph.node_types else db.num_rows(key.table)
    return torch.int32 if size < 2**31 else torch.int64


def _join_sql(db: Database, table: Table, key: ForeignKey, node_map: str, i: int) -> str:
    types = db.columns(table.name)
    target = db.columns(key.table)
    conditions = []
    for j, (column, target_column) in enumerate(zip(key.columns, db.schema[key.table].pkey, strict=True)):
        child, parent = f"{quote(table.name)}.{quote(column)}", f"n{i}.__k{j}"
        if (types[column] == "VARCHAR") != (target[target_column] == "VARCHAR"):
            child, parent = f"CAST({child} AS VARCHAR)", f"CAST({parent} AS VARCHAR)"
        conditions.append(f"{child} = {parent}")
    return f" LEFT JOIN {node_map} AS n{i} ON {' AND '.join(conditions)}"


def _refuse_missing(db: Database, table: Table, key: ForeignKey, node_map: str) -> None:
    present = " AND ".join(f"{quote(table.name)}.{quote(c)} IS NOT NULL" for c in key.columns)
    missing = (
        f"SELECT DISTINCT {', '.join(quote(table.name) + '.' + quote(c) for c in key.columns)} "
        f"FROM {quote(table.name)}{_join_sql(db, table, key, node_map, 0)} WHERE n0.__node IS NULL AND {present}"
    )
    found = db.rows(f"SELECT * FROM ({missing}) ORDER BY ALL LIMIT 3")
    if found:
        (total,) = db.rows(f"SELECT count(*) FROM ({missing})")[0]
        shown = first_three([r[0] if len(r) == 1 else r for r in found])
        raise SchemaError(
            f"{table.name}.{key.name} -> {key.table}: {total:,} values have no matching row (first: {shown}). "
            f"Load the missing rows of '{key.table}', or set on_missing = {literal('drop')} for this key in "
            "manifest.yaml to leave those edges out."
        )


def _add_edges(graph: HeteroData, table: Table, key: ForeignKey, edge_index: bool) -> None:
    reverse: EdgeType = (key.table, f"rev_{key.name}", table.name)
    forward: EdgeType = (table.name, key.name, key.table)
    index = graph[reverse].index
    graph[forward].rowptr, graph[forward].col = index_to_csr(index, graph[key.table].num_nodes)
    if edge_index:
        rowptr, col = graph[forward].rowptr, graph[forward].col.long()
        parent = torch.repeat_interleave(torch.arange(len(rowptr) - 1), rowptr.diff(), output_size=len(col))
        graph[forward].edge_index = torch.stack([col, parent])
        child = (index >= 0).nonzero().view(-1)
        graph[reverse].edge_index = torch.stack([index[child].long(), child])
