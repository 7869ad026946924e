"""Edges as PyG writes them."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from slow_sampler import random_graph
from torch_geometric.data import HeteroData
from torch_geometric.nn import SAGEConv
from torch_geometric.utils import trim_to_layer

from graphlearn.errors import UnknownNameError, UsageError
from graphlearn.sampling import TemporalNeighborSampler, edge_index, to_pyg


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10**6))
def test_both_directions_of_a_key_list_the_same_edges(seed):
    graph = random_graph(seed)
    for src, name, dst in graph.edge_types:
        found = edge_index(graph, (src, name, dst))
        assert found.dtype == torch.int64
        assert found.shape[0] == 2
        assert bool((found[1][1:] >= found[1][:-1]).all())
        if name.startswith("rev_"):
            back = edge_index(graph, (dst, name.removeprefix("rev_"), src))
            assert sorted(found.flip(0).T.tolist()) == sorted(back.T.tolist())


@pytest.mark.filterwarnings("ignore:The node types")  # a table without a key is isolated
@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10**6))
def test_edges_of_a_batch_are_edges_of_the_graph(seed):
    graph = random_graph(seed)
    tables = [t for t in graph.node_types if graph[t].num_nodes]
    if not tables:
        return
    batch = TemporalNeighborSampler(graph, [-1, 2]).sample(tables[0], torch.tensor([0, 0]), torch.tensor([4, 9]))
    data = to_pyg(batch)
    assert data.validate()
    for edge_type in graph.edge_types:
        src, dst = data[edge_type].edge_index
        rows = torch.stack([data[edge_type[0]].n_id[src], data[edge_type[2]].n_id[dst]])
        assert {tuple(e) for e in rows.T.tolist()} <= {tuple(e) for e in edge_index(graph, edge_type).T.tolist()}
        assert torch.equal(data[edge_type[0]].batch[src], data[edge_type[2]].batch[dst])
        assert data[edge_type].num_sampled_edges == batch[edge_type].num_sampled_edges


def test_a_pyg_layer_runs_on_it_whole_and_trimmed():
    graph = HeteroData()
    graph["node"].num_nodes, graph["node"].time = 6, torch.arange(6)
    graph["node", "link", "node"].rowptr = torch.tensor([0, 0, 1, 3, 4, 6, 9])
    graph["node", "link", "node"].col = torch.tensor([0, 0, 1, 2, 1, 3, 0, 2, 4])
    batch = TemporalNeighborSampler(graph, [2, 2]).sample("node", torch.tensor([5, 4]), torch.tensor([9, 2]))
    data = to_pyg(batch)
    x = torch.rand(6, 3, generator=torch.Generator().manual_seed(0))[data["node"].n_id]
    edges, edge_type = data["node", "link", "node"].edge_index, ("node", "link", "node")
    conv = SAGEConv(3, 3)
    whole = conv(conv(x, edges), edges)[: data["node"].batch_size]
    xs, es = {"node": x}, {edge_type: edges}
    nodes, counts = {"node": data["node"].num_sampled_nodes}, {edge_type: data[edge_type].num_sampled_edges}
    for layer in range(2):
        xs, es, _ = trim_to_layer(layer, nodes, counts, xs, es)
        xs = {"node": conv(xs["node"], es[edge_type])}
    torch.testing.assert_close(xs["node"][: data["node"].batch_size], whole)
    assert data["node"].seed_time.tolist() == [9, 2]


def test_errors():
    graph = HeteroData()
    graph["a"].num_nodes = 1
    graph["a", "to", "a"].other = 1
    with pytest.raises(UnknownNameError, match=r"no edge type 'a, too, a'. Did you mean 'a, to, a'\?"):
        edge_index(graph, ("a", "too", "a"))
    with pytest.raises(UsageError, match=r"has neither 'rowptr' and 'col' nor 'index'"):
        edge_index(graph, ("a", "to", "a"))
