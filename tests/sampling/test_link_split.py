"""Splits: nothing that is asked for is shown before, in either direction, whatever the graph."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from graphlearn.errors import UnknownNameError
from graphlearn.ops.heuristics import common_neighbors
from graphlearn.sampling.link_split import (
    PHASES,
    LinkSplit,
    new_node_split,
    random_link_split,
    temporal_link_split,
)
from graphlearn.sampling.split_negatives import with_negatives


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def as_set(pairs: Tensor) -> set[frozenset[int]]:
    return {frozenset(p) for p in pairs.flatten(1).t().tolist()}


@st.composite
def graphs(draw) -> tuple[Tensor, int, int | None]:
    """8 to 14 nodes, of one kind or two, with links in any direction, some repeated; without two kinds, self-links."""
    num_nodes = draw(st.integers(8, 14))
    num_src = draw(st.none() | st.integers(4, num_nodes - 4))
    first = st.integers(0, num_nodes - 1 if num_src is None else num_src - 1)
    second = st.integers(0 if num_src is None else num_src, num_nodes - 1)
    pair = st.tuples(first, second).flatmap(lambda p: st.sampled_from([p, p[::-1]]))
    edges = draw(st.lists(pair, min_size=8, max_size=30))
    return torch.tensor(edges, dtype=torch.int64).t(), num_nodes, num_src


def check_nothing_is_given_away(split: LinkSplit, edge_index: Tensor) -> None:
    """The promises of every split without repeats, said once more with sets."""
    links = {p for p in as_set(edge_index) if len(p) == 2}
    asked = {phase: as_set(split.positives[phase]) for phase in PHASES}
    graph = {phase: as_set(split.graph[phase]) for phase in PHASES}
    for phase in PHASES:
        assert len(asked[phase]) == split.positives[phase].size(1) > 0
        assert asked[phase] <= links
        assert graph[phase] <= links
        forward, back = split.graph[phase], split.graph[phase].flip(0)
        assert sorted(forward.t().tolist()) == sorted(back.t().tolist())  # each edge in both directions
    assert not asked["train"] & (asked["val"] | asked["test"])
    assert not asked["val"] & asked["test"]
    assert not graph["train"] & (asked["val"] | asked["test"])
    assert not graph["val"] & (asked["val"] | asked["test"])
    assert not graph["test"] & asked["test"]
    for kinds in split.negatives.values():
        for pairs in kinds.values():
            assert not as_set(pairs) & (links | {frozenset((v,)) for v in range(split.num_nodes)})
            if split.num_src is not None:
                assert bool(((pairs[0] < split.num_src) != (pairs[1] < split.num_src)).all())


def or_reject(make):
    """Graphs that a split refuses, in words, are not the point of a property."""
    try:
        return make()
    except ValueError as error:
        if not any(word in str(error) for word in ("no link is left", "are left", "fewer left", "each needs one")):
            raise
        assume(False)


@settings(deadline=None)
@given(graphs(), st.integers(0, 9), st.sampled_from(["train", "train+val"]))
def test_random(graph, seed, test_graph):
    edge_index, num_nodes, num_src = graph

    def make() -> LinkSplit:
        options = {"num_src": num_src, "test_graph": test_graph}
        return random_link_split(edge_index, num_nodes, 0.2, 0.2, seeded(seed), **options)

    split = or_reject(make)
    check_nothing_is_given_away(split, edge_index)
    links = {p for p in as_set(edge_index) if len(p) == 2}
    assert set.union(*(as_set(split.positives[phase]) for phase in PHASES)) == links
    assert as_set(split.graph["train"]) == as_set(split.graph["val"]) == as_set(split.positives["train"])
    added = as_set(split.graph["test"]) - as_set(split.graph["train"])
    assert added == (as_set(split.positives["val"]) if test_graph == "train+val" else set())
    for phase in ("val", "test"):
        assert split.positives[phase].size(1) == split.negatives[phase]["uniform"].size(1) == round(0.2 * len(links))
    again = make()
    assert all(torch.equal(again.positives[p], split.positives[p]) for p in PHASES)


@settings(deadline=None)
@given(graphs(), st.data())
def test_temporal(graph, data):
    edge_index, num_nodes, num_src = graph
    size = edge_index.size(1)
    time = torch.tensor(data.draw(st.lists(st.integers(0, 9), min_size=size, max_size=size)))
    options = {"num_nodes": num_nodes, "generator": seeded(), "num_src": num_src}
    split = or_reject(lambda: temporal_link_split(edge_index, time, 4, 7, **options))
    check_nothing_is_given_away(split, edge_index)
    first: dict[frozenset[int], int] = {}
    for pair, t in zip(map(frozenset, edge_index.t().tolist()), time.tolist(), strict=True):
        if len(pair) == 2:
            first[pair] = min(t, first.get(pair, t))
    phase_of = {"train": lambda t: t <= 4, "val": lambda t: 4 < t <= 7, "test": lambda t: t > 7}
    for phase, inside in phase_of.items():
        assert as_set(split.positives[phase]) == {p for p, t in first.items() if inside(t)}


@settings(deadline=None)
@given(graphs(), st.data())
def test_temporal_with_links_that_come_again(graph, data):
    edge_index, num_nodes, num_src = graph
    size = edge_index.size(1)
    time = torch.tensor(data.draw(st.lists(st.integers(0, 9), min_size=size, max_size=size)))
    options = {"num_nodes": num_nodes, "generator": seeded(), "num_src": num_src, "repeats": "keep"}
    split = or_reject(lambda: temporal_link_split(edge_index, time, 4, 7, **options))
    edges = [(frozenset(e), t) for e, t in zip(edge_index.t().tolist(), time.tolist(), strict=True) if e[0] != e[1]]
    old, val, test = ({p for p, t in edges if low <= t <= high} for low, high in ((0, 4), (5, 7), (8, 9)))
    assert [as_set(split.positives[phase]) for phase in PHASES] == [old, val, test]
    assert split.repeated("test") == len(test & old)
    for phase, gone in (("val", old - val), ("test", (old | val) - test)):
        drawn = as_set(split.negatives[phase]["historical"]) if gone else set()
        assert drawn <= gone
        assert len(drawn) == min(len(gone), split.positives[phase].size(1))


@settings(deadline=None)
@given(graphs(), st.integers(0, 9), st.sampled_from([0.3, 1.0]))
def test_training_sees_no_edge_of_a_new_node(graph, seed, held):
    edge_index, num_nodes, num_src = graph
    options = {"held": held, "num_src": num_src}
    split = or_reject(lambda: new_node_split(edge_index, num_nodes, 0.2, 0.2, seeded(seed), **options))
    check_nothing_is_given_away(split, edge_index)
    old = set(split.graph["train"].flatten().tolist()) | set(split.positives["train"].flatten().tolist())
    new = {phase: set(split.positives[phase][0].tolist()) for phase in ("val", "test")}
    assert not old & (new["val"] | new["test"])
    assert not new["test"] & (
        set(split.graph["val"].flatten().tolist()) | set(split.positives["val"].flatten().tolist())
    )
    assert not new["val"] & new["test"]
    assert as_set(split.graph["train"]) <= as_set(split.graph["val"]) <= as_set(split.graph["test"])
    for phase in ("val", "test"):
        assert torch.equal(split.negatives[phase]["uniform"][0], split.positives[phase][0])
    if held == 1.0:
        assert as_set(split.graph["test"]) == as_set(split.graph["train"])


def ring(num_nodes: int = 100) -> Tensor:
    node = torch.arange(num_nodes)
    return torch.cat([torch.stack([node, (node + step) % num_nodes]) for step in (1, 2, 3)], dim=1)


@pytest.mark.parametrize("make", [random_link_split, new_node_split])
def test_more_negatives(make):
    split = make(ring(), 100, 0.1, 0.2, seeded())
    for kind in ("hard", "degree"):
        split = with_negatives(split, kind, seeded())
        again = with_negatives(with_negatives(make(ring(), 100, 0.1, 0.2, seeded()), "hard", seeded()), kind, seeded())
        assert torch.equal(split.negatives["test"][kind], again.negatives["test"][kind])
    check_nothing_is_given_away(split, ring())
    for phase in ("val", "test"):
        kinds, lists = split.negatives[phase], split.lists(phase)
        assert list(kinds) == ["uniform", "hard", "degree"]
        assert 0.6 * split.positives[phase].size(1) < kinds["hard"].size(1) <= split.positives[phase].size(1)
        shared = {kind: common_neighbors(lists, pairs).mean() for kind, pairs in kinds.items()}
        assert shared["hard"] > 5 * shared["uniform"]
    assert with_negatives(split, "uniform", seeded()) is split


def test_hard_negatives_of_a_hub_are_different_ones():
    hub = torch.stack([torch.zeros(60, dtype=torch.int64), torch.arange(1, 61)])
    split = with_negatives(
        random_link_split(torch.cat([hub, ring() + 1], dim=1), 101, 0.2, 0.2, seeded()), "hard", seeded()
    )
    assert len(as_set(split.negatives["test"]["hard"])) == split.negatives["test"]["hard"].size(1)


def made(**changes) -> LinkSplit:
    """Six nodes on a path 0-1-…-5; training knows 0-1 and 1-2."""
    pairs = {"train": [[0, 1], [1, 2]], "val": [[2], [3]], "test": [[3, 4], [4, 5]]}
    links = {phase: torch.tensor(p) for phase, p in pairs.items()}
    graph = {phase: torch.cat([links["train"], links["train"].flip(0)], dim=1) for phase in PHASES}
    parts = {"graph": graph, "positives": links, "negatives": {}}
    for name, change in changes.items():
        parts[name] = {**parts[name], **change} if isinstance(change, dict) else change
    return LinkSplit(6, **parts)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"positives": {"val": torch.tensor([[3, 2], [2, 3]])}},
            r"1 of 2 links of val are there already .*: 2 - 3",
        ),
        (
            {"positives": {"val": torch.tensor([[3, 2], [3, 4]])}},
            r"1 of 2 links of val join a node with itself .*3",
        ),
        (
            {"graph": {"train": torch.tensor([[5, 4], [4, 5]])}},
            r"1 of 2 links of test are in the graph of train .*4 -",
        ),
        ({"graph": {"test": torch.tensor([[4, 0], [3, 1]])}}, r"1 of 2 links of test are in the graph of test .*3 - 4"),
        (
            {"positives": {"train": torch.tensor([[4, 0], [3, 1]])}},
            r"1 of 2 links of test are links of train too.*3 -",
        ),
        ({"negatives": {"val": {"own": torch.tensor([[0, 1], [4, 0]])}}}, r"1 of 2 own negatives of val are .*1 - 0\)"),
        ({"new": torch.arange(6) > 1}, r"3 of 6 edges of training touch a new node \(first: 1 - 2, 1 - 2, 2 - 1\)"),
        ({"positives": {"val": torch.tensor([[6], [0]])}}, r"'positives of val' must name nodes 0 to 5, but 1 of 2"),
        (
            {"positives": {"vall": torch.tensor([[2], [0]])}},
            r"'positives' must have the phases train, val and test",
        ),
    ],
)
def test_a_split_that_gives_something_away_is_refused(changes, message):
    assert made().repeated("test") == 0
    with pytest.raises(ValueError, match=message):
        made(**changes)


def test_wrong_arguments():
    full = torch.combinations(torch.arange(5)).t()
    with pytest.raises(ValueError, match=r"4 pairs without a link were asked for, but of 5 nodes .* only 0 are"):
        random_link_split(full, 5, 0.2, 0.2, seeded())
    with pytest.raises(ValueError, match=r"'val' 0.0 and 'test' 0.2 of 300 links give 0 and 60 links and leave 240 to"):
        random_link_split(ring(), 100, 0.0, 0.2, seeded())
    with pytest.raises(UnknownNameError, match=r"no graph for test 'val'"):
        random_link_split(ring(), 100, 0.1, 0.2, seeded(), test_graph="val")
    time, options = torch.arange(300), {"num_nodes": 100, "generator": seeded()}
    with pytest.raises(ValueError, match=r"'val_time' 9 must lie before 'test_time' 9"):
        temporal_link_split(ring(), time, 9, 9, **options)
    with pytest.raises(ValueError, match=r"no link is left for test: times run from 0 to 299, the cuts are 9 and 400"):
        temporal_link_split(ring(), time, 9, 400, **options)
    with pytest.raises(ValueError, match=r"'time' must be an int64 tensor with one time per edge, \[300\], got"):
        temporal_link_split(ring(), time.float(), 9, 40, **options)
    with pytest.raises(UnknownNameError, match=r"no treatment of repeats 'kep'. Did you mean 'keep'"):
        temporal_link_split(ring(), time, 9, 40, repeats="kep", **options)
    with pytest.raises(ValueError, match=r"leave nodes to train on, and 'held' in \(0, 1\], got 0.5, 0.5 and 0.5"):
        new_node_split(ring(), 100, 0.5, 0.5, seeded())
    with pytest.raises(ValueError, match=r"no link is left for \w+: of 4 nodes with 1 links 1 are new at val"):
        new_node_split(torch.tensor([[0], [1]]), 4, 0.25, 0.25, seeded(5))
    split = random_link_split(ring(), 100, 0.1, 0.2, seeded())
    with pytest.raises(UnknownNameError, match=r"no kind of negatives 'hrad'. Did you mean 'hard'"):
        with_negatives(split, "hrad", seeded())
    with pytest.raises(ValueError, match=r"historical negatives need times, and links that are asked for again: use a"):
        with_negatives(split, "historical", seeded())


def test_what_was_left_out_is_said():
    edge_index = torch.tensor([[0, 1, 2, 0, 3, 4], [1, 2, 3, 1, 4, 5]])
    options = {"num_nodes": 6, "generator": seeded()}
    split = temporal_link_split(edge_index, torch.tensor([1, 1, 1, 2, 2, 3]), 1, 2, **options)
    assert split.notes == ("1 of 2 links of val were links before: left out",)
    assert replace(split, notes=()).notes == ()
