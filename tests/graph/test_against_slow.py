"""Graphs of random databases against plain Python: nodes in order, keys, times, edges both ways."""

from __future__ import annotations

import datetime as dt
import itertools
import json
import uuid
from typing import Any

import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from slow_graph import EPOCH, Slow, random_database
from torch_geometric.data import HeteroData

from graphlearn.graph import build_graph, node_index
from graphlearn.ops import index
from graphlearn.schema import connect

EPOCH_US = (EPOCH - dt.datetime(1970, 1, 1)) // dt.timedelta(microseconds=1)


def tags(graph: HeteroData, table: str) -> list[int]:
    """The `tag` of each node: which row it is."""
    return [round(tag) for tag in graph[table].tf.feat_dict[next(iter(graph[table].tf.feat_dict))].view(-1).tolist()]


def check_nodes(graph: HeteroData, slow: Slow) -> list[dict[str, Any]]:
    """The rows in the order of their nodes, once that is found to be as it should."""
    name = slow.table.name
    store = graph[name]
    by_tag = {row["tag"]: row for row in slow.kept()}
    rows = [by_tag[tag] for tag in tags(graph, name)]
    assert len(rows) == len(by_tag) == store.num_nodes
    times = [slow.time(row) for row in rows]
    dated = [time for time in times if time is not None]
    undated = len(times) - len(dated) if slow.table.time_col else 0
    assert store.num_undated == undated
    if slow.table.time_col is None:
        assert "time" not in store
    else:
        assert times == [None] * undated + sorted(dated)
        assert [time - EPOCH_US for time in store.time[undated:].tolist()] == dated
    if slow.table.pkey:
        assert [plain(slow, row) for row in rows] == store.pkey.to_pylist()
    else:
        assert "pkey" not in store
    if len(slow.table.pkey) == 1 and str(slow.types[slow.table.pkey[0]]) in (
        "int16",
        "int32",
        "int64",
        "uint8",
        "uint32",
    ):
        whole = [(times[i] or 0, times[i] is not None, slow.key(row)) for i, row in enumerate(rows) if slow.key(row)]
        assert whole == sorted(whole, key=lambda w: (w[1], w[0], w[2]))
    return rows


def plain(slow: Slow, row: dict[str, Any]) -> object:
    """The key as the graph has it: one value, UUIDs and several columns as text."""
    values = [row[column] for column in slow.table.pkey]
    if len(values) > 1:
        return json.dumps([None if v is None else str(v) for v in values], ensure_ascii=False, separators=(",", ":"))
    if str(slow.types[slow.table.pkey[0]]) == "extension<arrow.uuid>":
        return None if values[0] is None else str(uuid.UUID(bytes=values[0]))
    return values[0]


def check_edges(graph: HeteroData, child: Slow, parent: Slow, name: str, columns: tuple[str, ...], rows: dict) -> None:
    number = {parent.key(row): i for i, row in enumerate(rows[parent.table.name]) if parent.key(row) is not None}
    expected = [number.get(tuple(row[c] for c in columns), -1) for row in rows[child.table.name]]
    forward = graph[child.table.name, name, parent.table.name]
    reverse = graph[parent.table.name, f"rev_{name}", child.table.name]
    assert reverse["index"].tolist() == expected
    lists: list[list[int]] = [[] for _ in rows[parent.table.name]]
    for i, p in enumerate(expected):
        if p >= 0:
            lists[p].append(i)
    pointers = forward["rowptr"].tolist()
    assert [forward["col"][a:b].tolist() for a, b in itertools.pairwise(pointers)] == lists
    edges = sorted((p, i) for i, p in enumerate(expected) if p >= 0)
    assert forward["edge_index"].T.tolist() == [[i, p] for p, i in edges]
    assert reverse["edge_index"].T.tolist() == [[p, i] for i, p in sorted((i, p) for p, i in edges)]


@pytest.mark.parametrize("native", [True, False], ids=["native", "without"])
@given(seed=st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_the_graph_is_that_of_plain_python(native, seed):
    slow, schema, statistics = random_database(seed)
    if not native and index.kernels is None:
        pytest.skip("the native kernels are not built: the other case is this one")
    kernels = index.kernels
    try:
        index.kernels = kernels if native else None
        db = connect({name: table.arrow() for name, table in slow.items()}, schema=schema)
        graph = build_graph(db, statistics=statistics)
    finally:
        index.kernels = kernels
    assert list(graph.node_types) == list(slow)
    rows = {name: check_nodes(graph, table) for name, table in slow.items()}
    for child in slow.values():
        for key in child.table.fkeys:
            check_edges(graph, child, slow[key.table], key.name, key.columns, rows)
        if child.table.pkey:
            known = [i for i, row in enumerate(rows[child.table.name]) if child.key(row) is not None]
            if len(child.table.pkey) == 1:
                keys = graph[child.table.name].pkey.take(pa.array(known, pa.int64()))
                assert node_index(graph, child.table.name, keys).tolist() == known
            else:
                keys = [tuple(rows[child.table.name][i][c] for c in child.table.pkey) for i in known]
                assert node_index(graph, child.table.name, keys).tolist() == known


@given(seed=st.integers(0, 2**32), shuffle=st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_the_order_of_the_rows_of_the_source_changes_nothing(seed, shuffle):
    slow, schema, statistics = random_database(seed)
    graphs = []
    for _ in range(2):
        db = connect({name: table.arrow() for name, table in slow.items()}, schema=schema, threads=1)
        graphs.append(build_graph(db, statistics=statistics))
        for table in slow.values():
            shuffle.shuffle(table.rows)
    first, second = graphs
    for name in first.node_types:
        assert tags(first, name) == tags(second, name)
    for edge_type in first.edge_types:
        for value in ("rowptr", "col", "index"):
            if value in first[edge_type]:
                torch.testing.assert_close(first[edge_type][value], second[edge_type][value], rtol=0, atol=0)
