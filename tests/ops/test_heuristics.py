"""Heuristics against networkx, powers of a dense matrix and loops over sets, natively and in torch."""

from __future__ import annotations

import math

import networkx as nx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from graphlearn.native import kernels
from graphlearn.ops import heuristics
from graphlearn.ops.heuristics import (
    HEURISTICS,
    adamic_adar,
    common_neighbors,
    katz,
    personalized_pagerank,
    preferential_attachment,
    resource_allocation,
)
from graphlearn.ops.neighbors import NeighborLists


@pytest.fixture(
    params=[pytest.param("native", marks=pytest.mark.skipif(kernels is None, reason="no native kernels")), "torch"]
)
def backend(request, monkeypatch):
    if request.param == "torch":
        monkeypatch.setattr(heuristics, "kernels", None)
    return request.param


@st.composite
def graphs(draw) -> tuple[Tensor, int]:
    """Edges in any direction, some repeated, some self-links, some nodes isolated."""
    num_nodes = draw(st.integers(1, 12))
    node = st.integers(0, num_nodes - 1)
    edges = draw(st.lists(st.tuples(node, node), max_size=40))
    return torch.tensor(edges, dtype=torch.int64).reshape(-1, 2).t(), num_nodes


def every_pair(num_nodes: int) -> Tensor:
    return torch.cartesian_prod(torch.arange(num_nodes), torch.arange(num_nodes)).reshape(-1, 2).t()


def adjacency(edge_index: Tensor, num_nodes: int) -> Tensor:
    dense = torch.zeros(num_nodes, num_nodes, dtype=torch.float64)
    for u, v in edge_index.t().tolist():
        if u != v:
            dense[u, v] = dense[v, u] = 1
    return dense


def slow_shared(edge_index: Tensor, num_nodes: int, weight) -> Tensor:
    near = [set() for _ in range(num_nodes)]
    for u, v in edge_index.t().tolist():
        if u != v:
            near[u].add(v)
            near[v].add(u)
    pairs = every_pair(num_nodes).t().tolist()
    return torch.tensor([sum(weight(len(near[w])) for w in sorted(near[u] & near[v])) for u, v in pairs]).double()


@pytest.mark.parametrize(
    ("score", "weight"),
    [
        (common_neighbors, lambda d: 1.0),
        (adamic_adar, lambda d: 1 / math.log(d) if d > 1 else 0.0),
        (resource_allocation, lambda d: 1 / d),
    ],
)
def test_shared_neighbours_are_those_of_a_loop(backend, score, weight):
    @settings(deadline=None)
    @given(graphs())
    def check(graph):
        edge_index, num_nodes = graph
        lists = NeighborLists.from_edge_index(edge_index, num_nodes)
        torch.testing.assert_close(
            score(lists, every_pair(num_nodes)), slow_shared(edge_index, num_nodes, weight), rtol=1e-6, atol=1e-6
        )

    check()


def random_graph(num_nodes: int = 60, share: float = 0.1) -> tuple[NeighborLists, nx.Graph]:
    graph = nx.gnp_random_graph(num_nodes, share, seed=3)
    edges = torch.tensor(list(graph.edges)).t()
    return NeighborLists.from_edge_index(edges, num_nodes), graph


@pytest.mark.parametrize(
    ("score", "of_networkx"),
    [
        (adamic_adar, nx.adamic_adar_index),
        (resource_allocation, nx.resource_allocation_index),
        (preferential_attachment, nx.preferential_attachment),
        (common_neighbors, nx.common_neighbor_centrality),
    ],
)
def test_networkx_agrees(backend, score, of_networkx):
    lists, graph = random_graph()
    pairs = every_pair(60)
    pairs = pairs[:, pairs[0] < pairs[1]]
    options = {"alpha": 1.0} if score is common_neighbors else {}
    theirs = [value for _, _, value in of_networkx(graph, pairs.t().tolist(), **options)]
    torch.testing.assert_close(score(lists, pairs), torch.tensor(theirs).double(), rtol=1e-6, atol=1e-6)


def test_a_hub_is_searched_as_it_is_read(backend):
    """One list is a thousand times as long as the other: another way through the kernel."""
    hub = torch.stack([torch.zeros(5000, dtype=torch.int64), torch.arange(1, 10_001, 2)])
    few = torch.stack([torch.full((6,), 2), torch.tensor([1, 3, 4, 5001, 9999, 10_001])])
    lists = NeighborLists.from_edge_index(torch.cat([hub, few], dim=1), 10_002)
    pairs = torch.tensor([[0, 2, 0], [2, 0, 10_001]])
    assert common_neighbors(lists, pairs).tolist() == [4, 4, 0]


def test_many_pairs_are_worked_off_in_blocks(backend, monkeypatch):
    lists, _ = random_graph()
    pairs = every_pair(60).repeat(1, 3)
    whole = common_neighbors(lists, pairs)
    monkeypatch.setattr(heuristics, "_BLOCK_ENTRIES", 17)
    assert torch.equal(common_neighbors(lists, pairs), whole)


@settings(deadline=None)
@given(graphs(), st.integers(1, 4), st.floats(0.01, 0.9))
def test_katz_is_the_sum_of_powers(graph, hops, beta):
    edge_index, num_nodes = graph
    dense = adjacency(edge_index, num_nodes)
    power, total = torch.eye(num_nodes).double(), torch.zeros(num_nodes, num_nodes).double()
    for _ in range(hops):
        power = power @ dense * beta
        total += power
    lists = NeighborLists.from_edge_index(edge_index, num_nodes)
    found = katz(lists, every_pair(num_nodes), beta=beta, hops=hops)
    torch.testing.assert_close(found.reshape(num_nodes, num_nodes), total)


@settings(deadline=None)
@given(graphs(), st.floats(0.1, 0.9))
def test_pagerank_solves_its_equation(graph, alpha):
    """pi = (1 - alpha) (I - alpha W)^-1, where W keeps the walk of an isolated node at home."""
    edge_index, num_nodes = graph
    dense = adjacency(edge_index, num_nodes)
    degree = dense.sum(0)
    walk = dense / degree.clamp_min(1) + torch.diag((degree == 0).double())
    visits = (1 - alpha) * torch.linalg.inv(torch.eye(num_nodes).double() - alpha * walk)
    lists = NeighborLists.from_edge_index(edge_index, num_nodes)
    found = personalized_pagerank(lists, every_pair(num_nodes), alpha=alpha, tol=1e-12)
    torch.testing.assert_close(found.reshape(num_nodes, num_nodes), visits + visits.t())


def test_pagerank_is_networkxs():
    lists, graph = random_graph()
    theirs = [nx.pagerank(graph, 0.85, personalization={node: 1}, tol=1e-12, max_iter=500) for node in (4, 7)]
    found = personalized_pagerank(lists, torch.tensor([[4], [7]]), tol=1e-10)
    assert found.item() == pytest.approx(theirs[0][7] + theirs[1][4], rel=1e-6)


@pytest.mark.parametrize("name", ["katz", "ppr"])
def test_sources_are_worked_off_in_blocks(name, monkeypatch):
    lists, _ = random_graph()
    pairs = every_pair(60)[:, ::7]
    whole = HEURISTICS[name](lists, pairs)
    monkeypatch.setattr(heuristics, "_BLOCK_STATES", 60 * 5)
    torch.testing.assert_close(HEURISTICS[name](lists, pairs), whole)
    torch.testing.assert_close(HEURISTICS[name](lists, pairs.flip(0)), whole)


@pytest.mark.parametrize("name", sorted(HEURISTICS))
def test_no_pairs_and_no_links(backend, name):
    empty = NeighborLists.from_edge_index(torch.empty(2, 0, dtype=torch.int64), 3)
    assert HEURISTICS[name](empty, torch.empty(2, 0, dtype=torch.int64)).shape == (0,)
    assert HEURISTICS[name](empty, torch.tensor([[0], [1]])).tolist() == [0.0]


def test_lists_of_a_graph_with_everything_in_it():
    edges = torch.tensor([[0, 1, 1, 3, 2], [1, 0, 0, 3, 0]])
    lists = NeighborLists.from_edge_index(edges, 5)
    assert lists.rowptr.tolist() == [0, 2, 3, 4, 4, 4]
    assert lists.col.tolist() == [1, 2, 0, 0]
    assert lists.linked(torch.tensor([[0, 2, 1, 3], [2, 0, 2, 3]])).tolist() == [True, True, False, False]


def test_wrong_arguments(backend):
    lists, _ = random_graph()
    with pytest.raises(
        ValueError, match=r"'edge_label_index' must be an int64 tensor of shape \[2, L\], got .*\[3, 2\]"
    ):
        common_neighbors(lists, torch.zeros(3, 2, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"must name nodes 0 to 59, but 1 of 2 numbers do not \(first: 60\)"):
        adamic_adar(lists, torch.tensor([[60], [0]]))
    with pytest.raises(ValueError, match=r"'beta' must be > 0 and 'hops' >= 1, got 0.1 and 0"):
        katz(lists, every_pair(3), beta=0.1, hops=0)
    with pytest.raises(ValueError, match=r"'alpha' and 'tol' must be between 0 and 1, got 1.0 and 1e-06"):
        personalized_pagerank(lists, every_pair(3), alpha=1.0)
    with pytest.raises(ValueError, match=r"The graph has 3,000,000,000 nodes; lists of neighbours hold 2,147,483,647"):
        NeighborLists.from_edge_index(torch.empty(2, 0, dtype=torch.int64), 3_000_000_000)
