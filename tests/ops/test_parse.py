"""graph_parse against the sequential algorithm told slowly, and at its edges."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from graphlearn.ops import graph_parse as graph_parse_as_built
from graphlearn.ops import parse
from graphlearn.ops.parse import parse_clusters, parse_roots, undirected_edges

needs_native = pytest.mark.skipif(parse.kernels is None, reason="the native kernels were not built")
INT, FLOAT = torch.int64, torch.float32


def graph_parse(edge_index: Tensor, score: Tensor, num_nodes: int) -> Tensor:
    """What is built, which must be what the torch twin gives: the same numbers of clusters, not only the same sets."""
    cluster = graph_parse_as_built(edge_index, score, num_nodes)
    root = parse_roots(edge_index, score, num_nodes)
    assert torch.equal(parse_clusters(edge_index, score, num_nodes)[0], root)
    assert torch.equal(cluster, root.unique(return_inverse=True)[1])
    return cluster


def slow_parse(edge_index: Tensor, score: Tensor, num_nodes: int) -> set[frozenset[int]]:
    """DOM, EXP and GEN of the paper with lists and sets: one cluster after the other."""
    order = sorted(range(len(score)), key=lambda e: (-float(score[e]), e))
    dominant: dict[int, int] = {}
    queue = []  # nodes, best dominant edge first
    for e in order:
        u, v = edge_index[:, e].tolist()
        for node, other in ((u, v), (v, u)):
            if node not in dominant:
                dominant[node] = other
                queue.append(node)
    clusters = []
    while queue:
        members = {queue[0], dominant[queue[0]]}
        while True:
            grown = members | {node for node in queue if dominant[node] in members}
            if grown == members:
                break
            members = grown
        queue = [node for node in queue if dominant[node] not in members]
        clusters.append(frozenset(members))
    inside = {node for cluster in clusters for node in cluster}
    return {*clusters, *(frozenset([node]) for node in range(num_nodes) if node not in inside)}


def sets(cluster: Tensor) -> set[frozenset[int]]:
    groups: dict[int, list[int]] = {}
    for node, number in enumerate(cluster.tolist()):
        groups.setdefault(number, []).append(node)
    assert sorted(groups) == list(range(len(groups)))  # from 0 without gaps
    return {frozenset(group) for group in groups.values()}


@st.composite
def graphs(draw, values=None, loops=True):
    """Edges with multi-edges, in one direction or both, isolated nodes; ``values``: how many different scores."""
    num_nodes = draw(st.integers(1, 25))
    node = st.integers(0, num_nodes - 1)
    pairs = draw(st.lists(st.tuples(node, node), max_size=60))
    pairs = pairs if loops else [pair for pair in pairs if pair[0] != pair[1]]
    if values is None:
        score = draw(st.permutations(range(len(pairs))))
    else:
        score = draw(st.lists(st.integers(1, values), min_size=len(pairs), max_size=len(pairs)))
    return torch.tensor(pairs, dtype=INT).view(-1, 2).t(), torch.tensor(score, dtype=FLOAT), num_nodes


@given(graphs())
@settings(deadline=None, max_examples=200)
def test_distinct_scores_give_the_clusters_of_the_sequential_algorithm(graph):
    assert sets(graph_parse(*graph)) == slow_parse(*graph)


@given(st.integers(1, 3).flatmap(lambda values: graphs(values)))
@settings(deadline=None, max_examples=200)
def test_equal_scores_give_the_clusters_of_the_sequential_algorithm(graph):
    assert sets(graph_parse(*graph)) == slow_parse(*graph)


@given(graphs(values=3, loops=False))
@settings(deadline=None, max_examples=100)
def test_every_node_with_an_edge_gets_company(graph):
    edge_index, _, num_nodes = graph
    touched = set(edge_index.flatten().tolist())
    for cluster in sets(graph_parse(*graph)):
        assert len(cluster) >= 2 or not cluster & touched
    assert len(graph_parse(*graph).unique()) <= num_nodes - len(touched) + len(touched) // 2


@given(graphs(values=2, loops=False))
@settings(deadline=None, max_examples=100)
def test_rounds_are_at_most_the_logarithm_of_the_nodes(graph):
    edge_index, score, num_nodes = graph
    pairs, rounds = undirected_edges(edge_index, num_nodes), 0
    size = num_nodes
    while pairs.size(1):
        cluster = graph_parse(pairs, score.new_ones(pairs.size(1)), size)
        size, rounds = int(cluster.max()) + 1, rounds + 1
        pairs = undirected_edges(cluster[pairs], size)
    assert rounds <= math.ceil(math.log2(max(num_nodes, 2)))


@given(graphs(), st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=100)
def test_the_order_of_nodes_and_edges_does_not_matter_if_scores_differ(graph, random):
    edge_index, score, num_nodes = graph
    nodes, edges = list(range(num_nodes)), list(range(len(score)))
    random.shuffle(nodes)
    random.shuffle(edges)
    new = torch.tensor(nodes, dtype=INT)  # node u is called nodes[u] now
    moved = sets(graph_parse(new[edge_index][:, edges], score[edges], num_nodes))
    assert moved == {frozenset(nodes[u] for u in cluster) for cluster in sets(graph_parse(*graph))}


@given(graphs(values=2), graphs(values=2))
@settings(deadline=None, max_examples=100)
def test_a_batch_gives_what_its_graphs_give(one, two):
    edge_index = torch.cat([one[0], two[0] + one[2]], dim=1)
    both = graph_parse(edge_index, torch.cat([one[1], two[1]]), one[2] + two[2])
    first, second = graph_parse(*one), graph_parse(*two)
    assert torch.equal(both, torch.cat([first, second + first.max() + 1]))


@given(graphs(values=3))
@settings(deadline=None, max_examples=100)
def test_both_directions_say_no_more_than_one(graph):
    edge_index, score, num_nodes = graph
    both = torch.cat([edge_index, edge_index.flip(0)], dim=1)
    assert torch.equal(graph_parse(both, score.repeat(2), num_nodes), graph_parse(*graph))


def test_a_value_worked_by_hand():
    # 0 - 1 - 2 - 3 - 4 with scores 1 5 2 7, and 5 alone. 0 -> 1 <-> 2, 3 <-> 4: their edge of score 2 is nobody's best.
    edge_index = torch.tensor([[0, 1, 2, 3], [1, 2, 3, 4]])
    score = torch.tensor([1.0, 5.0, 2.0, 7.0])
    assert graph_parse(edge_index, score, 6).tolist() == [0, 0, 0, 1, 1, 2]
    assert parse_clusters(edge_index, score, 6)[0].tolist() == [1, 1, 1, 3, 3, 5]


def test_of_equal_scores_the_first_edge_wins():
    edge_index = torch.tensor([[0, 1, 2, 3], [1, 2, 3, 0]])  # a square
    equal = torch.zeros(4)
    assert graph_parse(edge_index, equal, 4).tolist() == [0, 0, 0, 0]  # 0-1 is the best of 0 and 1; 2 -> 1, 3 -> 0
    order = [0, 2, 1, 3]
    assert graph_parse(edge_index[:, order], equal, 4).tolist() == [0, 0, 1, 1]


def test_a_long_chain_arrives_at_its_end():
    size = 1025
    edge_index = torch.stack([torch.arange(size - 1), torch.arange(1, size)])
    assert graph_parse(edge_index, torch.arange(size - 1.0), size).unique().numel() == 1


def test_a_winning_self_loop_keeps_its_node_alone():
    edge_index = torch.tensor([[0, 1, 0], [0, 2, 1]])
    assert graph_parse(edge_index, torch.tensor([3.0, 2.0, 1.0]), 3).tolist() == [0, 1, 1]
    assert graph_parse(edge_index, torch.tensor([3.0, 1.0, 2.0]), 3).tolist() == [0, 0, 0]  # others may still join it


def test_no_edges_and_no_nodes():
    nothing = torch.empty(2, 0, dtype=INT)
    assert graph_parse(nothing, torch.empty(0), 3).tolist() == [0, 1, 2]
    assert graph_parse(nothing, torch.empty(0), 1).tolist() == [0]
    assert graph_parse(nothing, torch.empty(0), 0).shape == (0,)


def test_infinite_scores_are_scores():
    edge_index = torch.tensor([[0, 1, 2], [1, 2, 3]])
    score = torch.tensor([-torch.inf, torch.inf, -torch.inf])
    assert graph_parse(edge_index, score, 4).tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_other_floats(dtype):
    edge_index, score = torch.tensor([[0, 1, 2], [1, 2, 3]]), torch.tensor([3.0, 1.0, 2.0])
    assert graph_parse(edge_index, score.to(dtype), 4).tolist() == [0, 0, 1, 1]


def test_inputs_stay_and_no_gradient_is_asked_for():
    edge_index, score = torch.tensor([[0, 1], [1, 2]]), torch.tensor([1.0, 2.0], requires_grad=True)
    cluster = graph_parse(edge_index, score, 3)
    assert not cluster.requires_grad
    assert edge_index.tolist() == [[0, 1], [1, 2]]


def test_compiled_it_is_the_same():
    generator = torch.Generator().manual_seed(0)
    edge_index, score = torch.randint(50, (2, 80), generator=generator), torch.randn(80, generator=generator)
    compiled = torch.compile(parse_roots, backend="eager", fullgraph=True)  # one graph: nothing waits for a value
    assert torch.equal(compiled(edge_index, score, 50), parse_roots(edge_index, score, 50))


def test_undirected_edges():
    edge_index = torch.tensor([[2, 0, 1, 2, 0, 3], [0, 2, 1, 1, 2, 2]])
    assert undirected_edges(edge_index, 4).tolist() == [[0, 1, 2], [2, 2, 3]]
    assert undirected_edges(edge_index[:, 2:3], 4).shape == (2, 0)
    assert undirected_edges(torch.empty(2, 0, dtype=INT), 0).shape == (2, 0)


@pytest.mark.parametrize(
    ("edge_index", "score", "text"),
    [
        (
            torch.zeros(3, 2, dtype=INT),
            torch.zeros(3),
            r"shape \[2, E\], got torch\.int64 \[3, 2\]\. Transpose it: edge_index\.t\(\)",
        ),
        (torch.zeros(2, dtype=INT), torch.zeros(2), r"an int64 tensor of shape \[2, E\], got torch\.int64 \[2\]\.$"),
        (torch.zeros(2, 3), torch.zeros(3), r"an int64 tensor of shape \[2, E\], got torch\.float32 \[2, 3\]\.$"),
        (torch.tensor([[0, -1], [1, 3]]), torch.zeros(2), r"nodes 0 to 2: 2 of 4 entries do not \(first: -1, 3\)"),
        (
            torch.zeros(2, 3, dtype=INT),
            torch.zeros(2),
            r"one score for each of the 3 columns .* got torch.float32 \[2\]",
        ),
        (torch.zeros(2, 1, dtype=INT), torch.zeros(1, dtype=INT), r"'edge_score' must be a float tensor"),
        (
            torch.zeros(2, 3, dtype=INT),
            torch.tensor([0, torch.nan, 1]),
            r"1 of 3 edge scores are NaN \(first: edges 1\)",
        ),
    ],
)
@pytest.mark.parametrize("native", [pytest.param(True, marks=needs_native), False])
def test_errors(edge_index, score, text, native, monkeypatch):
    if not native:
        monkeypatch.setattr(parse, "kernels", None)
    with pytest.raises(ValueError, match=text):
        graph_parse_as_built(edge_index, score, 3)


def test_the_twin_answers_without_the_kernels(monkeypatch):
    edge_index, score = torch.tensor([[0, 1, 2, 3], [1, 2, 3, 4]]), torch.tensor([1.0, 5.0, 2.0, 7.0])
    monkeypatch.setattr(parse, "kernels", None)
    assert graph_parse_as_built(edge_index, score, 6).tolist() == [0, 0, 0, 1, 1, 2]
