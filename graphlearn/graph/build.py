"""Rows become nodes, foreign keys become edges: a database as one temporal heterogeneous graph."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import ExitStack

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor
from torch_geometric.data import HeteroData
from torch_geometric.data.storage import NodeStorage

from graphlearn.errors import SchemaError, UsageError, unknown_name
from graphlearn.graph.nodes import NodeMap, match_later, node_map
from graphlearn.graph.statistics import Statistics, fit_statistics
from graphlearn.graph.table import Progress, TableRows, read_table
from graphlearn.graph.text import TextEncoder
from graphlearn.ops.index import index_to_csr
from graphlearn.schema.connect import Database
from graphlearn.schema.keys import refuse_missing
from graphlearn.schema.schema import ForeignKey, Schema, Table
from graphlearn.tasks.times import TimeLike, time_us
from graphlearn.typing import EdgeType


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
    table; keys that are not one whole number count by their hash, and rows without a key by that of all their columns.
    Each foreign key ``col`` of table C to table P gives two edge types:

    - ``(C, col, P)``: child to parent, as CSR by parent: ``rowptr`` int64 ``[N_P + 1]``, ``col`` ``[E]``, each list
      sorted by time;
    - ``(P, "rev_" + col, C)``: parent to child; each child has at most one parent, so one column ``index`` ``[N_C]``
      holds the parent, or -1.

    Node stores hold ``num_nodes``; ``time`` int64 ``[N]`` microseconds UTC (absent without a time column; the first
    ``num_undated`` entries belong to rows without a time that the schema keeps, and mean nothing); ``tf`` (a
    ``torch_frame.TensorFrame``), ``col_stats``, and ``pkey`` (Arrow; absent without a primary key). The graph holds
    ``fit_until``, if there was one.

    Tables are streamed from DuckDB, which joins out of core, straight into the tensors.

    Args:
        db: The database.
        fit_until: Last time that means, spreads and vocabularies may know: microseconds UTC or a date as text. None:
            all rows, which is right only when nothing later will be predicted.
        statistics: Use these instead of fitting any.
        hidden: ``(table, column)`` pairs left out; a foreign key among them gives no edges.
        text_encoder: Turns a list of texts into vectors ``[n, dim]``; default: hashed character n-grams.
        edge_index: Also store ``edge_index`` int64 ``[2, E]`` for PyG users, sorted by (destination, time).
        progress: Called with (table, rows done, rows in all).

    Raises:
        UnknownNameError: If ``hidden`` names a table or column that does not exist.
        UsageError: If both ``fit_until`` and ``statistics`` are given, or the encoder does not fit the statistics.
        SchemaError: If a primary key is not unique, a foreign key with ``on_missing = "error"`` has values without a
            row, the type of a column cannot hold its stype, or two relations would have one name.
    """
    schema = db.schema
    left_out = frozenset(hidden)
    for name, column in left_out:
        schema[name].column(column)
    if statistics is not None and fit_until is not None:
        raise UsageError("'fit_until' is where statistics are fitted: give it or 'statistics', not both.")
    _check_relations(schema)
    for table in schema.tables.values():
        for key in table.fkeys:
            if key.on_missing == "error":
                refuse_missing(db, table, key)
    if statistics is None:
        until = None if fit_until is None else time_us(fit_until, "fit_until")
        statistics = fit_statistics(db, fit_until=until, hidden=left_out, text_encoder=text_encoder)

    graph = HeteroData()
    for name in schema.tables:
        graph[name].num_nodes = 0  # puts the tables into the order of the schema, not of reading
    referred = {key.table for table in schema.tables.values() for key in table.fkeys}
    parents: dict[tuple[str, str], Tensor] = {}
    later: list[tuple[Table, ForeignKey, pa.Table]] = []
    with ExitStack() as stack:
        maps: dict[str, NodeMap] = {}
        for i, table in enumerate(_parents_first(schema)):
            unseen = frozenset(column for name, column in left_out if name == table.name)
            rows = read_table(
                db,
                table,
                [c for c in statistics.tables.get(table.name, ()) if c.name not in unseen],
                maps,
                hidden=unseen,
                with_keys=table.name in referred,
                text_encoder=text_encoder,
                progress=progress,
            )
            _store_rows(graph[table.name], rows)
            if rows.keys is not None:
                maps[table.name] = stack.enter_context(node_map(db, table, f"__nodes_{i}", rows.keys))
            parents |= {(table.name, name): parent for name, parent in rows.parents.items()}
            later += [(table, key, rows.unmatched[key.name]) for key in table.fkeys if key.name in rows.unmatched]
        for table, key, keys in later:
            parents[table.name, key.name] = match_later(db, schema[key.table], keys, maps[key.table])
    for table in schema.tables.values():
        for key in table.fkeys:
            index = parents.get((table.name, key.name))
            if index is None:  # hidden
                index = torch.full((graph[table.name].num_nodes,), -1, dtype=torch.int32)
            _add_edges(graph, table, key, index, edge_index)
    graph.fit_until = statistics.fit_until
    return graph


def node_index(graph: HeteroData, table: str, keys: pa.Array | Iterable[object]) -> Tensor:
    """Node numbers of primary keys, int64 ``[len(keys)]``; -1 where the table has no such row.

    Args:
        graph: From :func:`build_graph`.
        table: The table.
        keys: Primary keys; of a composite key the values of its columns as a tuple or list.

    Raises:
        UnknownNameError: If there is no such table.
        SchemaError: If it has no primary key.
        UsageError: If the keys are not of the type that the table's keys have.
    """
    if table not in graph.node_types:
        raise unknown_name("table", table, graph.node_types)
    known = graph[table].get("pkey")
    if known is None:
        raise SchemaError(f"table '{table}' has no primary key, so its rows cannot be named.")
    given = keys if isinstance(keys, pa.Array | pa.ChunkedArray) else _key_array(list(keys))
    try:
        if pa.types.is_string(given.type) or pa.types.is_null(given.type):
            given = given.cast(known.type)
        found = pc.fill_null(pc.index_in(given, value_set=known, skip_nulls=True), -1)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        raise UsageError(f"keys of '{table}' are of type {known.type}, got {given.type}: {error}.") from error
    return torch.from_numpy(found.to_numpy().astype(np.int64))


def _key_array(keys: list[object]) -> pa.Array:
    if any(isinstance(key, tuple | list) for key in keys):
        # As DuckDB writes the columns of a composite key into one text.
        texts = [[_text(part) for part in key] for key in keys if isinstance(key, tuple | list)]
        return pa.array([json.dumps(parts, ensure_ascii=False, separators=(",", ":")) for parts in texts], pa.string())
    return pa.array(keys)


def _text(value: object) -> str | None:
    if value is None or isinstance(value, bool):
        return None if value is None else str(value).lower()
    return str(value)


def _check_relations(schema: Schema) -> None:
    """A key called ``rev_x`` against a key ``x`` that leads the other way would be one edge type with its reverse."""
    edge_types: set[EdgeType] = {(t.name, key.name, key.table) for t in schema.tables.values() for key in t.fkeys}
    for source, relation, target in sorted(edge_types):
        if (target, f"rev_{relation}", source) in edge_types:
            raise SchemaError(
                f"{target}.rev_{relation} -> {source} has the name that the graph gives to the way back along "
                f"{source}.{relation}. Rename that column, in a view if need be."
            )


def _parents_first(schema: Schema) -> list[Table]:
    """The tables, each after those that it refers to, as far as they do not refer to each other."""
    waiting = dict(schema.tables)
    ordered = []
    while waiting:

        def is_ready(table: Table) -> bool:
            return not any(key.table in waiting and key.table != table.name for key in table.fkeys)

        table = next(filter(is_ready, waiting.values()), next(iter(waiting.values())))
        ordered.append(waiting.pop(table.name))
    return ordered


def _store_rows(store: NodeStorage, rows: TableRows) -> None:
    store.num_nodes, store.num_undated = rows.num_nodes, rows.num_undated
    store.tf, store.col_stats = rows.tf, rows.col_stats
    if rows.time is not None:
        store.time = rows.time
    if rows.pkey is not None:
        store.pkey = rows.pkey


def _add_edges(graph: HeteroData, table: Table, key: ForeignKey, index: Tensor, edge_index: bool) -> None:
    forward: EdgeType = (table.name, key.name, key.table)
    reverse: EdgeType = (key.table, f"rev_{key.name}", table.name)
    rowptr, col = index_to_csr(index, graph[key.table].num_nodes)
    graph[reverse].index = index
    graph[forward].rowptr, graph[forward].col = rowptr, col
    if edge_index:
        parent = torch.repeat_interleave(torch.arange(len(rowptr) - 1), rowptr.diff(), output_size=len(col))
        graph[forward].edge_index = torch.stack([col.long(), parent])
        child = (index >= 0).nonzero().view(-1)
        graph[reverse].edge_index = torch.stack([index[child].long(), child])
