"""The graph of rel-f1: its counts, and its edges against pandas and against RelBench's own graph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from relbench.load import load_dataset
from relbench.modeling.graph import make_pkey_fkey_graph
from torch_geometric.data import HeteroData

from graphlearn.graph import build_graph
from graphlearn.schema import Database, connect

ROWS = {
    "races": 1_101,
    "circuits": 77,
    "drivers": 857,
    "results": 26_080,
    "standings": 34_124,
    "constructors": 211,
    "constructor_results": 12_290,
    "constructor_standings": 13_051,
    "qualifying": 9_815,
}


@pytest.fixture(scope="module")
def db(rel_f1: Path) -> Database:
    return connect(rel_f1)


@pytest.fixture(scope="module")
def graph(db: Database) -> HeteroData:
    return build_graph(db, fit_until="2005-01-01")


def test_counts(graph):
    found = {name: graph[name].num_nodes for name in graph.node_types}
    assert sum(found.values()) == 97_606
    assert found == ROWS
    assert len(graph.edge_types) == 26
    assert graph.fit_until == 1_104_537_600_000_000


def test_times_and_keys_are_those_of_the_files(rel_f1, graph, db):
    for name, table in db.schema.tables.items():
        frame = pd.read_parquet(rel_f1 / "db" / f"{name}.parquet").set_index(table.pkey[0])
        store = graph[name]
        keys = store.pkey.to_pandas()
        assert sorted(keys) == sorted(frame.index)
        if table.time_col is None:
            assert "time" not in store
            assert keys.is_monotonic_increasing
            continue
        times = frame.loc[keys, table.time_col].astype("datetime64[us]").astype("int64")
        np.testing.assert_array_equal(store.time.numpy(), times)
        order = pd.DataFrame({"time": store.time.numpy(), "key": keys})
        pd.testing.assert_frame_equal(order.sort_values(["time", "key"], ignore_index=True), order)


def test_edges_are_those_of_a_join(rel_f1, graph, db):
    for name, table in db.schema.tables.items():
        child = pd.read_parquet(rel_f1 / "db" / f"{name}.parquet").set_index(table.pkey[0])
        child = child.loc[graph[name].pkey.to_pandas()].reset_index()
        for key in table.fkeys:
            parent = pd.DataFrame({"key": graph[key.table].pkey.to_pandas()}).reset_index(names="node")
            joined = child.merge(parent, how="left", left_on=key.columns[0], right_on="key")["node"].fillna(-1)
            index = graph[key.table, f"rev_{key.name}", name]["index"]
            np.testing.assert_array_equal(index.numpy(), joined.astype("int64"))
            rowptr, col = (graph[name, key.name, key.table][part] for part in ("rowptr", "col"))
            lists = joined[joined >= 0].astype("int64").reset_index().groupby("node")["index"].apply(list)
            for node, expected in lists.items():
                assert col[rowptr[node] : rowptr[node + 1]].tolist() == expected
            assert rowptr[-1] == len(col) == sum(map(len, lists))


@pytest.mark.filterwarnings("ignore:The given NumPy array is not writable")  # in RelBench
def test_edges_are_those_of_relbench(rel_f1, graph, db):
    whole = load_dataset(str(rel_f1)).get_db(upto_test_timestamp=False)
    other, _ = make_pkey_fkey_graph(whole, {name: {} for name in whole.table_dict})
    # RelBench numbers rows by their primary key.
    number = {name: torch.from_numpy(graph[name].pkey.to_numpy().astype(np.int64)) for name in graph.node_types}
    for name, table in db.schema.tables.items():
        if table.time_col is not None:
            torch.testing.assert_close(other[name].time[number[name]] * 1_000_000, graph[name].time, rtol=0, atol=0)
        for key in table.fkeys:
            for source, relation, target in (
                (name, key.name, key.table),
                (key.table, f"rev_{key.name}", name),
            ):
                edges = graph[source, relation, target].edge_index
                ours = number[source][edges[0]] * 2**32 + number[target][edges[1]]
                relation = relation.replace(key.name, f"f2p_{key.name}")
                expected = other[source, relation, target].edge_index
                theirs = expected[0] * 2**32 + expected[1]
                torch.testing.assert_close(ours.sort().values, theirs.sort().values, rtol=0, atol=0)
