"""Distances to a pair and double-radius labels, against a slow search; the GCN's sum against PyG's layer."""

from __future__ import annotations

from collections import deque

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.nn import GCNConv

from graphlearn.ops import csr_from_edge_index, drnl_labels, gcn_sum, pair_distances


def slow_distances(neighbours: list[list[int]], source: int, blocked: int) -> list[int]:
    found, queue = {source: 0}, deque([source])
    while queue:
        node = queue.popleft()
        for other in neighbours[node]:
            if other not in found and other != blocked:
                found[other] = found[node] + 1
                queue.append(other)
    return [found.get(v, -1) for v in range(len(neighbours))]


def slow_label(a: int, b: int) -> int:
    """The label as its paper counts it: one more than all labels of pairs of distances that come before."""
    if a < 0 or b < 0:
        return 0
    total = a + b
    return 1 + min(a, b) + (total // 2) * ((total // 2) + (total % 2) - 1)


@given(st.integers(0, 10_000), st.integers(2, 12), st.floats(0.0, 0.6))
@settings(max_examples=50, deadline=None)
def test_labels_are_those_of_a_slow_search(seed, n, density):
    linked = torch.rand(n, n, generator=torch.Generator().manual_seed(seed)) < density
    linked = (linked | linked.t()).fill_diagonal_(False)
    neighbours = [row.nonzero().flatten().tolist() for row in linked]
    rowptr, col = csr_from_edge_index(linked.nonzero().t(), n)
    pair = torch.tensor([[0], [n - 1]])
    distance = pair_distances(rowptr, col, pair)
    expected = [slow_distances(neighbours, 0, n - 1), slow_distances(neighbours, n - 1, 0)]
    assert distance.t().tolist() == expected
    labels = [slow_label(a, b) for a, b in zip(*expected, strict=True)]
    labels[0] = labels[n - 1] = 1
    assert drnl_labels(distance, pair).tolist() == labels
    assert drnl_labels(distance, pair, max_label=3).tolist() == [min(z, 3) for z in labels]


def test_labels_by_hand():
    """A common neighbour is 2, its other neighbour 5, a neighbour of one end at distance 2 of the other 3."""
    edges = torch.tensor([[0, 2], [2, 1], [2, 3], [0, 4], [4, 2]])
    rowptr, col = csr_from_edge_index(torch.cat([edges, edges.flip(1)]).t(), 6)
    pair = torch.tensor([[0], [1]])
    assert drnl_labels(pair_distances(rowptr, col, pair), pair).tolist() == [1, 1, 2, 5, 3, 0]


def test_distances_of_a_batch_and_of_nothing():
    rowptr = torch.tensor([0, 1, 3, 4, 5, 6])
    col = torch.tensor([1, 0, 2, 1, 4, 3])
    distance = pair_distances(rowptr, col, torch.tensor([[0, 3], [2, 4]]))
    assert distance.tolist() == [[0, -1], [1, 1], [-1, 0], [0, -1], [-1, 0]]
    none = torch.empty(2, 0, dtype=torch.int64)
    assert pair_distances(torch.tensor([0]), none[0], none).shape == (0, 2)


@pytest.mark.parametrize("weighted", [False, True])
def test_gcn_sum_is_that_of_pyg(weighted):
    g = torch.Generator().manual_seed(0)
    linked = (torch.rand(7, 7, generator=g) < 0.4).triu(1)
    linked[:, 6] = False  # the last node is isolated
    edge_index = (linked | linked.t()).nonzero().t()
    weight = None
    if weighted:
        values = torch.rand(7, 7, generator=g, dtype=torch.float64)
        weight = (values + values.t())[edge_index[0], edge_index[1]]
    conv = GCNConv(3, 4).double()
    x = torch.randn(7, 3, generator=g, dtype=torch.float64)
    order = edge_index[1].argsort(stable=True)
    rowptr, col = csr_from_edge_index(edge_index, 7)
    out = gcn_sum(conv.lin(x), rowptr, col, None if weight is None else weight[order]) + conv.bias
    torch.testing.assert_close(out, conv(x, edge_index, weight))
