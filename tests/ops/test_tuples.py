"""Tuples of nodes against a slow enumeration, the power of a graph against PyTorch's matrices, and wrong input."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from graphlearn.errors import UnknownNameError
from graphlearn.ops import node_tuples, power_graph, sample_tuples
from graphlearn.ops.cluster import modularity_clusters

RING = torch.tensor([[0, 1, 2, 3, 4, 5], [1, 2, 3, 4, 5, 0]])


@st.composite
def graphs(draw):
    """Edges of up to three graphs side by side, some without nodes or edges, and where each starts."""
    edges, ptr = [], [0]
    for size in draw(st.lists(st.integers(0, 6), min_size=1, max_size=3)):
        pairs = list(itertools.combinations(range(ptr[-1], ptr[-1] + size), 2))
        edges += draw(st.lists(st.sampled_from(pairs), unique=True)) if pairs else []
        ptr.append(ptr[-1] + size)
    return torch.tensor(edges, dtype=torch.int64).view(-1, 2).t(), torch.tensor(ptr)


def distances(edge_index, num_nodes: int) -> list[list[float]]:
    far = [[0 if u == v else float("inf") for v in range(num_nodes)] for u in range(num_nodes)]
    for u, v in edge_index.t().tolist():
        far[u][v] = far[v][u] = min(far[u][v], 1)
    for w, u, v in itertools.product(range(num_nodes), repeat=3):
        far[u][v] = min(far[u][v], far[u][w] + far[w][v])
    return far


def connected(nodes, far) -> bool:
    seen = {nodes[0]}
    for _ in nodes:
        seen |= {v for v in nodes for u in seen if far[u][v] == 1}
    return seen == set(nodes)


def slow_sets(edge_index, ptr, size: int, among: str, max_distance: int, cluster) -> set[tuple[int, ...]]:
    far = distances(edge_index, int(ptr[-1]))

    def allowed(nodes) -> bool:
        pairs = list(itertools.combinations(nodes, 2))
        if among == "connected":
            return connected(nodes, far)
        near = all(far[u][v] <= max_distance for u, v in pairs)
        return among == "all" or (near and (among == "distance" or all(cluster[u] == cluster[v] for u, v in pairs)))

    found: set[tuple[int, ...]] = set()
    covered: set[int] = set()
    for count in range(size, 0, -1):
        sets = [
            nodes
            for a, b in itertools.pairwise(ptr.tolist())
            for nodes in itertools.combinations(range(a, b), count)
            if allowed(nodes)
        ]
        new = [nodes for nodes in sets if count == size or not set(nodes) <= covered]
        found |= {nodes + nodes[-1:] * (size - count) for nodes in new}
        covered |= {v for nodes in new for v in nodes}
    return found


@pytest.mark.parametrize("among", ["all", "connected", "distance", "cluster"])
@settings(max_examples=40, deadline=None)
@given(graphs(), st.integers(1, 4), st.integers(1, 3))
def test_against_a_slow_enumeration(among, graph, size, max_distance):
    edge_index, ptr = graph
    cluster = torch.arange(int(ptr[-1])) % 2
    tuples, owner = node_tuples(
        edge_index, ptr, size, among=among, max_distance=max_distance, cluster=cluster, order="none"
    )
    found = [tuple(column) for column in tuples.t().tolist()]
    assert len(set(found)) == len(found)
    assert set(found) == slow_sets(edge_index, ptr, size, among, max_distance, cluster.tolist())
    assert owner.tolist() == sorted(owner.tolist())
    assert bool(((tuples >= ptr[owner]) & (tuples < ptr[owner + 1])).all())


def test_every_order_of_a_set_and_a_graph_that_is_too_small():
    tuples, graph = node_tuples(torch.zeros(2, 0, dtype=torch.int64), torch.tensor([0, 2, 2, 3]), 2)
    assert tuples.t().tolist() == [[0, 1], [1, 0], [2, 2]]
    assert graph.tolist() == [0, 0, 2]
    three = node_tuples(torch.zeros(2, 0, dtype=torch.int64), torch.tensor([0, 2]), 3)[0]
    assert three.t().tolist() == [[0, 1, 1], [1, 0, 0]]


def test_no_labels_are_one_empty_tuple_per_graph():
    tuples, graph = node_tuples(RING, torch.tensor([0, 6, 6]), 0)
    assert tuples.shape == (0, 2)
    assert graph.tolist() == [0, 1]


def test_a_drawn_order_is_one_of_the_orders_and_follows_the_generator():
    ptr = torch.tensor([0, 6])
    every = set(map(tuple, node_tuples(RING, ptr, 3)[0].t().tolist()))
    sets, _ = node_tuples(RING, ptr, 3, order="none")
    drawn = [
        node_tuples(RING, ptr, 3, order="sample", generator=torch.Generator().manual_seed(seed))[0]
        for seed in (0, 0, 1)
    ]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert set(map(tuple, drawn[0].t().tolist())) <= every
    assert torch.equal(drawn[0].sort(dim=0).values, sets)


@settings(max_examples=40, deadline=None)
@given(graphs(), st.integers(1, 4))
def test_the_power_of_a_graph(graph, hops):
    edge_index, ptr = graph
    size = int(ptr[-1])
    far = distances(edge_index, size)
    expected = [[u, v] for u in range(size) for v in range(size) if u != v and far[u][v] <= hops]
    assert power_graph(edge_index, size, hops).t().tolist() == expected


def test_samples_weigh_as_much_as_all_and_leave_no_graph_out():
    graph = torch.tensor([0] * 10 + [2] * 3)
    kept, weight = sample_tuples(graph, 3, 0.25, torch.Generator().manual_seed(0))
    assert torch.bincount(graph[kept], minlength=3).tolist() == [3, 0, 1]
    torch.testing.assert_close(weight, torch.tensor([10 / 3] * 3 + [3.0]))
    draws = torch.stack(
        [
            torch.zeros(13).index_add_(0, *sample_tuples(graph, 3, 0.25, torch.Generator().manual_seed(seed)))
            for seed in range(2000)
        ]
    )
    torch.testing.assert_close(draws.mean(dim=0), torch.ones(13), atol=0.12, rtol=0)  # 4 standard errors of the rarest
    everything, weight = sample_tuples(graph, 3, 1.0, torch.Generator())
    assert everything.tolist() == list(range(13))
    assert bool((weight == 1).all())


def test_two_cliques_with_a_bridge_are_two_clusters():
    clique = torch.combinations(torch.arange(5)).t()
    edge_index = torch.cat([clique, clique + 5, torch.tensor([[4], [5]])], dim=1)
    cluster = modularity_clusters(edge_index, 11, resolution=1.0)
    assert len(set(cluster[:5].tolist())) == 1
    assert len(set(cluster[5:10].tolist())) == 1
    assert len(set(cluster.tolist())) == 3  # the last node has no edge
    assert modularity_clusters(torch.zeros(2, 0, dtype=torch.int64), 3).tolist() == [0, 1, 2]


PTR = torch.tensor([0, 6])


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"size": 5}, r"'size' must be 0 to 4 nodes, got 5\."),
        ({"size": -1}, r"'size' must be 0 to 4 nodes, got -1\."),
        ({"max_distance": 0}, r"'max_distance' must be > 0, got 0\."),
        ({"order": "sample"}, r"order = 'sample' draws at random: give it a 'generator'\."),
        ({"among": "cluster"}, r"among = 'cluster' needs 'cluster', the cluster of each node"),
        (
            {"among": "cluster", "cluster": torch.zeros(2)},
            r"'cluster' must have shape \[6\], one per node, got \[2\]\.",
        ),
        (
            {"edge_index": RING.t()},
            r"must be an int64 tensor of shape \[2, E\], got torch\.int64 \[6, 2\]\. Transpose it",
        ),
        ({"edge_index": RING.float()}, r"must be an int64 tensor of shape \[2, E\], got torch\.float32 \[2, 6\]\.$"),
        ({"edge_index": RING + 3}, r"must name nodes 0 to 5: 6 of 12 numbers do not \(first: 6, 7, 8\)\."),
        ({"ptr": torch.tensor([0, 3, 6])}, r"2 edges join two graphs of the batch \(first: \[2, 3\], \[5, 0\]\)\."),
        ({"ptr": torch.tensor([6, 0])}, r"'ptr' must rise from 0 to the number of nodes, got 6, 0, …\."),
    ],
)
def test_wrong_input(change, text):
    args = {"edge_index": RING, "ptr": PTR, "size": 2} | change
    with pytest.raises(ValueError, match=text):
        node_tuples(**args)


def test_unknown_names_and_a_wrong_rate():
    with pytest.raises(UnknownNameError, match="no kind of tuples 'near'"):
        node_tuples(RING, PTR, 2, among="near")
    with pytest.raises(UnknownNameError, match="no order of tuples 'random'"):
        node_tuples(RING, PTR, 2, order="random")
    with pytest.raises(ValueError, match=r"'rate' must be above 0 and at most 1, got 0\."):
        sample_tuples(torch.zeros(2, dtype=torch.int64), 1, 0, torch.Generator())
