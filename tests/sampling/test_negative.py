"""Negatives are never links, are as many as asked for to the last free pair, and are drawn as they say."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from graphlearn.ops.heuristics import common_neighbors, resource_allocation
from graphlearn.ops.neighbors import NeighborLists
from graphlearn.sampling.free_pairs import FreePairs
from graphlearn.sampling.negative import degree_negatives, hard_negatives, historical_negatives, uniform_negatives

KINDS = {"uniform": uniform_negatives, "degree": degree_negatives, "hard": hard_negatives}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@st.composite
def graphs(draw) -> tuple[Tensor, int, int | None]:
    """Links in any direction, some repeated, some self-links; of one kind of nodes or of two."""
    num_nodes = draw(st.integers(2, 9))
    num_src = draw(st.none() | st.integers(1, num_nodes - 1))
    first = st.integers(0, num_nodes - 1 if num_src is None else num_src - 1)
    second = st.integers(0 if num_src is None else num_src, num_nodes - 1)
    pair = st.tuples(first, second).flatmap(lambda p: st.sampled_from([p, p[::-1]]))
    edges = draw(st.lists(pair, max_size=30))
    return torch.tensor(edges, dtype=torch.int64).reshape(-1, 2).t(), num_nodes, num_src


def free_pairs(edge_index: Tensor, num_nodes: int, num_src: int | None) -> set[frozenset[int]]:
    linked = {frozenset(e) for e in edge_index.t().tolist()}
    every = {frozenset(p) for p in itertools.combinations(range(num_nodes), 2)}
    if num_src is not None:
        every = {p for p in every if min(p) < num_src <= max(p)}
    return every - linked


@settings(deadline=None)
@given(graphs())
def test_free_pairs_are_numbered(graph):
    edge_index, num_nodes, num_src = graph
    free = FreePairs(edge_index, num_nodes, num_src)
    pairs = free.all()
    assert {frozenset(p) for p in pairs.t().tolist()} == free_pairs(*graph)
    assert free.num_left == pairs.size(1) == len(free_pairs(*graph))
    assert torch.equal(free.pair(free.rank(pairs)), pairs)
    assert torch.equal(free.rank(pairs.flip(0)), free.rank(pairs))
    assert bool(free.is_free(pairs).all())


@pytest.mark.parametrize("high", [1, 2**16, 2**26 + 3, 2**30, 2**31 - 2])
def test_numbers_of_pairs_of_large_graphs(high):
    """Where float64 cannot hold the number of a pair any more."""
    free = FreePairs(torch.empty(2, 0, dtype=torch.int64), 2)
    pairs = torch.tensor([[0, high - 1, high // 2, 0], [high, high, high, max(high - 1, 1)]])
    pairs = pairs[:, pairs[0] < pairs[1]]
    assert torch.equal(free.pair(free.rank(pairs)), pairs)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_never_a_link_and_exact_to_the_last_pair(kind):
    @settings(deadline=None)
    @given(graphs(), st.integers(0, 5), st.data())
    def check(graph, seed, data):
        edge_index, num_nodes, num_src = graph
        left = free_pairs(*graph)
        if kind == "degree":
            touched = set(edge_index[:, edge_index[0] != edge_index[1]].flatten().tolist())
            left = {p for p in left if p <= touched}
        num = data.draw(st.sampled_from([len(left), len(left) // 2]))
        found = KINDS[kind](edge_index, num_nodes, num, generator=seeded(seed), num_src=num_src) if num else None
        if found is not None:
            pairs = [frozenset(p) for p in found.t().tolist()]
            assert len(pairs) == len(set(pairs)) == num
            assert set(pairs) <= left
            assert torch.equal(found, KINDS[kind](edge_index, num_nodes, num, generator=seeded(seed), num_src=num_src))
        with pytest.raises(ValueError, match=r"pairs .*(only \d+ are left|has a link|'num_src' must)"):
            KINDS[kind](edge_index, num_nodes, len(left) + 1, generator=seeded(seed), num_src=num_src)

    check()


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_nodes_for_each_link_are_free_and_exact(kind):
    @settings(deadline=None)
    @given(graphs(), st.integers(0, 5), st.data())
    def check(graph, seed, data):
        edge_index, num_nodes, num_src = graph
        source = torch.tensor(data.draw(st.lists(st.integers(0, num_nodes - 1), min_size=1, max_size=6)))
        touched = set(edge_index[:, edge_index[0] != edge_index[1]].flatten().tolist())
        left = [
            {
                v
                for v in range(num_nodes)
                if frozenset((u, v)) in free_pairs(*graph) and (kind != "degree" or v in touched)
            }
            for u in source.tolist()
        ]
        most = min(map(len, left))
        positives = torch.stack([source, source])
        options = {"positives": positives, "num_src": num_src}
        num = data.draw(st.integers(min(1, most), most))
        if num:
            found = KINDS[kind](edge_index, num_nodes, num, generator=seeded(seed), **options)
            assert found.shape == (len(source), num)
            for row, allowed in zip(found.tolist(), left, strict=True):
                assert len(set(row)) == num
                assert set(row) <= allowed
        with pytest.raises(ValueError, match=r"have fewer left \(first: node \d+ has {0,}\d+"):
            KINDS[kind](edge_index, num_nodes, most + 1, generator=seeded(seed), **options)

    check()


# A path 0-1-2-3 with a triangle 3-4-5 at its end, and node 6 alone.
PATH = torch.tensor([[0, 1, 2, 3, 4, 3], [1, 2, 3, 4, 5, 5]])


@pytest.mark.parametrize("num", [1, 3, 7, 14])
def test_uniform_draws_are_uniform(num):
    free = FreePairs(PATH, 7)
    count = Counter()
    for seed in range(1500):
        count.update(map(tuple, free.draw(num, seeded(seed)).t().tolist()))
    expected = 1500 * num / free.num_left
    assert len(count) == free.num_left == 15
    assert max(abs(n - expected) for n in count.values()) < 5 * expected**0.5


@pytest.mark.parametrize("num", [1, 2, 3])
def test_uniform_draws_for_a_source_are_uniform(num):
    source = torch.tensor([3]).repeat(3000)
    found = FreePairs(PATH, 7).draw_for(source, num, seeded())
    count = Counter(found.flatten().tolist())
    expected = 3000 * num / 3
    assert sorted(count) == [0, 1, 6]
    assert max(abs(n - expected) for n in count.values()) <= 5 * expected**0.5


def slow_weighted(weight: dict, num: int) -> dict:
    """The probability that each key is among ``num`` drawn one after the other without replacement."""
    found = dict.fromkeys(weight, 0.0)
    for order in itertools.permutations(weight, num):
        left, p = sum(weight.values()), 1.0
        for key in order:
            p *= weight[key] / left
            left -= weight[key]
        for key in order:
            found[key] += p
    return found


@pytest.mark.parametrize("way", ["drawn", "weighed"])
@pytest.mark.parametrize("num", [1, 2])
def test_draws_by_degree_follow_it(way, num, monkeypatch):
    from graphlearn.sampling import weighted

    monkeypatch.setattr(weighted, "_FEW", -(10**9) if way == "drawn" else 10**9)
    degree = [1, 2, 2, 3, 2, 2, 0]
    weight = {p: degree[min(p)] * degree[max(p)] for p in free_pairs(PATH, 7, None) if 6 not in p}
    expected = slow_weighted(weight, num)
    count = Counter()
    for seed in range(2000):
        found = degree_negatives(PATH, 7, num, generator=seeded(seed))
        count.update(map(frozenset, found.t().tolist()))
    for pair, p in expected.items():
        assert abs(count[pair] - 2000 * p) < 5 * (2000 * p) ** 0.5, pair


@pytest.mark.parametrize("rounds", [0, 1, 8])
@pytest.mark.parametrize("num", [1, 2])
def test_draws_by_degree_for_a_source_follow_it(rounds, num, monkeypatch):
    """Weighed from the start, weighed where drawing did not suffice, and drawn."""
    from graphlearn.sampling import weighted

    monkeypatch.setattr(weighted, "_ROUNDS", rounds)
    expected = slow_weighted({2: 2, 3: 3, 4: 2, 5: 2}, num)
    positives = torch.zeros(2, 4000, dtype=torch.int64)
    count = Counter(degree_negatives(PATH, 7, num, positives=positives, generator=seeded()).flatten().tolist())
    for node, p in expected.items():
        assert abs(count[node] - 4000 * p) < 5 * (4000 * p) ** 0.5, node


def ring(num_nodes: int = 200) -> Tensor:
    """Each node knows the next two: friends of friends are near."""
    node = torch.arange(num_nodes)
    return torch.cat([torch.stack([node, (node + step) % num_nodes]) for step in (1, 2)], dim=1)


def test_hard_negatives_share_neighbours():
    edge_index, lists = ring(), NeighborLists.from_edge_index(ring(), 200)
    hard = hard_negatives(edge_index, 200, 100, generator=seeded())
    easy = uniform_negatives(edge_index, 200, 100, generator=seeded())
    assert common_neighbors(lists, hard).min() >= 1
    assert common_neighbors(lists, easy).mean() < 0.2
    value = resource_allocation(lists, hard)
    assert bool((value.diff() <= 0).all())  # best first
    positives = edge_index[:, :30]
    rows = hard_negatives(edge_index, 200, 4, positives=positives, generator=seeded())
    pairs = torch.stack([positives[0].repeat_interleave(4), rows.flatten()])
    assert common_neighbors(lists, pairs).min() >= 1  # all four nodes at distance two, and no other


def test_hard_negatives_are_the_best_of_all_candidates():
    """With walks enough to find every candidate, they are those that ranking all pairs would give."""
    lists, free = NeighborLists.from_edge_index(PATH, 7), FreePairs(PATH, 7)
    value, _ = resource_allocation(lists, free.all()).sort(descending=True)
    hard = hard_negatives(PATH, 7, 3, generator=seeded(), pool=300)
    torch.testing.assert_close(resource_allocation(lists, hard), value[:3])
    own = hard_negatives(PATH, 7, 3, generator=seeded(), pool=300, score=lambda _, pairs: -pairs.sum(0).double())
    near = [p for p in free.all().t().tolist() if common_neighbors(lists, torch.tensor(p)[:, None]) > 0]
    assert sorted(map(sum, own.t().tolist())) == sorted(map(sum, near))[:3]


def test_hard_negatives_of_two_kinds_and_of_another_graph():
    edges = torch.tensor([[0, 0, 1, 1, 2], [4, 5, 5, 6, 6]])
    hard = hard_negatives(edges, 8, 2, generator=seeded(), num_src=4, pool=50)
    assert sorted(map(tuple, hard.t().tolist())) in ([(0, 6), (1, 4)], [(0, 6), (2, 5)], [(1, 4), (2, 5)])
    seen = NeighborLists.from_edge_index(torch.tensor([[0, 1], [2, 2]]), 7)  # only there 0 and 1 share a neighbour
    hidden = torch.tensor([[3, 4], [4, 5]])
    assert hard_negatives(hidden, 7, 1, generator=seeded(), graph=seen, pool=50).tolist() == [[0], [1]]


@settings(deadline=None)
@given(graphs(), st.data())
def test_historical_negatives_were_links(graph, data):
    edge_index, num_nodes, num_src = graph
    time = torch.tensor(
        data.draw(st.lists(st.integers(0, 9), min_size=edge_index.size(1), max_size=edge_index.size(1)))
    )
    time = time.to(torch.int64)
    edges = list(zip(map(frozenset, edge_index.t().tolist()), time.tolist(), strict=True))
    gone = {p for p, t in edges if t <= 5 and len(p) == 2} - {p for p, t in edges if t > 5}
    options = {"num_src": num_src, "generator": seeded()}
    found = historical_negatives(edge_index, time, 5, num_nodes, len(gone), **options)
    assert sorted(map(sorted, found.t().tolist())) == sorted(map(sorted, gone))
    with pytest.raises(
        ValueError, match=rf"{len(gone) + 1} historical negatives were asked for, .* only {len(gone)} are"
    ):
        historical_negatives(edge_index, time, 5, num_nodes, len(gone) + 1, **options)

    source = torch.arange(num_nodes)
    left = [sum(u in p for p in free_pairs(*graph)) for u in range(num_nodes)]
    positives = torch.stack([source, source])[:, torch.tensor(left) >= 1]
    rows = historical_negatives(edge_index, time, 5, num_nodes, 1, positives=positives, **options)
    for u, (v,) in zip(positives[0].tolist(), rows.tolist(), strict=True):
        had = any(u in p for p in gone)
        assert (frozenset((u, v)) in gone) if had else (frozenset((u, v)) in free_pairs(*graph))


def test_wrong_arguments():
    with pytest.raises(ValueError, match=r"'num_src' must be between 1 and 6, the nodes but one, got 7"):
        uniform_negatives(PATH, 7, 1, generator=seeded(), num_src=7)
    with pytest.raises(ValueError, match=r"first 2 nodes with one of the others, but 5 of 6 .* \(first: 0 - 1, 2 - 3"):
        uniform_negatives(PATH, 7, 1, generator=seeded(), num_src=2)
    with pytest.raises(ValueError, match=r"'positives' must name nodes 0 to 6, but 1 of 2"):
        uniform_negatives(PATH, 7, 1, generator=seeded(), positives=torch.tensor([[9], [0]]))
    with pytest.raises(ValueError, match=r"'pool' must be >= 1, got 0"):
        hard_negatives(PATH, 7, 1, generator=seeded(), pool=0)
    with pytest.raises(ValueError, match=r"'time' must be an int64 tensor with one time per edge, \[6\], got .*\[5\]"):
        historical_negatives(PATH, torch.arange(5), 2, 7, 1, generator=seeded())
    with pytest.raises(ValueError, match=r"1 pairs were to be drawn by degree, but no node of 3 has a link"):
        degree_negatives(PATH[:, :0], 3, 1, generator=seeded())
