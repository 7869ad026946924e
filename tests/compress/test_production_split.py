"""The production split: no link in two places, and nothing of new nodes before they come."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from graphlearn.compress import ProductionLinkSplit


def graph(num_nodes: int, num_edges: int, seed: int) -> torch.Tensor:
    """Edges in both directions or one, repeated, with self-links."""
    return torch.randint(num_nodes, (2, num_edges), generator=torch.Generator().manual_seed(seed))


def pairs(links: torch.Tensor) -> list[tuple[int, int]]:
    return [(min(pair), max(pair)) for pair in links.t().tolist()]


@given(num_nodes=st.integers(40, 80), seed=st.integers(0, 99), share=st.sampled_from([0.1, 0.3]))
def test_no_link_is_in_two_places(num_nodes, seed, share):
    edge_index = graph(num_nodes, 6 * num_nodes, seed)
    split = ProductionLinkSplit(share, share, val_ratio=share, extra_ratio=0.1, seed=seed)(edge_index, num_nodes)
    every = {pair for pair in pairs(edge_index) if pair[0] != pair[1]}
    train, val = (pairs(split.old_nodes[links]) for links in (split.train, split.val))
    test = pairs(split.test)
    known = pairs(split.inference_edge_index)
    for part in (train, val, test):
        assert len(set(part)) == len(part)
    assert not set(train) & set(val)
    assert not set(test) & set(known)
    assert set(train) | set(val) < set(known)
    assert set(known) | set(test) == every
    assert sorted(known) == sorted(2 * sorted(set(known)))  # both directions, once
    assert sorted(pairs(split.old_nodes[split.train_edge_index])) == sorted(2 * train)


@given(num_nodes=st.integers(40, 80), seed=st.integers(0, 99))
def test_new_nodes_are_invisible_before_they_come(num_nodes, seed):
    edge_index = graph(num_nodes, 6 * num_nodes, seed)
    split = ProductionLinkSplit(0.3, 0.1, seed=seed)(edge_index, num_nodes)
    new, old = set(split.new_nodes.tolist()), set(split.old_nodes.tolist())
    assert new | old == set(range(num_nodes))
    assert not new & old
    assert len(new) == round(0.3 * num_nodes)
    for links in (split.train_edge_index, split.train, split.val, split.val_negatives):
        assert links.max() < len(old)  # a number among the old nodes: nothing names a new one
    x = torch.randn(num_nodes, 3)
    data = split.distill_data(x)
    assert torch.equal(data.x, x[split.old_nodes])
    assert torch.equal(data.train, split.train)
    for links, ends in ((split.test_old_old, 0), (split.test_old_new, 1), (split.test_new_new, 2)):
        assert all(len({u, v} & new) == ends for u, v in links.t().tolist())


@given(num_nodes=st.integers(40, 80), seed=st.integers(0, 99))
def test_negatives_are_no_links(num_nodes, seed):
    edge_index = graph(num_nodes, 6 * num_nodes, seed)
    split = ProductionLinkSplit(0.2, 0.2, seed=seed)(edge_index, num_nodes)
    every = {pair for pair in pairs(edge_index) if pair[0] != pair[1]}
    for negatives in (split.test_negatives, split.old_nodes[split.val_negatives]):
        assert not set(pairs(negatives)) & every
        assert (negatives[0] != negatives[1]).all()
    assert split.test_negatives.size(1) == round(0.2 * len(every))
    assert split.val_negatives.size(1) == split.val.size(1)


def test_shares_are_those_of_each_kind():
    edge_index = graph(3000, 60_000, 0)
    split = ProductionLinkSplit(0.3, 0.2, val_ratio=0.25, extra_ratio=0.1, seed=1)(edge_index, 3000)
    is_new = torch.zeros(3000, dtype=torch.bool)
    is_new[split.new_nodes] = True
    every = torch.tensor(sorted({pair for pair in pairs(edge_index) if pair[0] != pair[1]})).t()
    count = is_new[every].sum(0).bincount()
    for links, size in zip((split.test_old_old, split.test_old_new, split.test_new_new), count, strict=True):
        assert links.size(1) == round(0.2 * int(size))
    early = int(count[0]) * 0.7
    assert split.val.size(1) == pytest.approx(0.25 * early, abs=1)
    assert split.train.size(1) == pytest.approx(0.75 * early, abs=2)


def test_the_seed_decides():
    edge_index = graph(60, 300, 0)
    first, again, other = (ProductionLinkSplit(seed=seed)(edge_index, 60) for seed in (0, 0, 1))
    assert all(torch.equal(a, b) for a, b in zip(vars(first).values(), vars(again).values(), strict=True))
    assert not torch.equal(first.old_nodes, other.old_nodes)


@pytest.mark.parametrize(
    ("kwargs", "says"),
    [
        ({"new_node_ratio": 0.0}, "'new_node_ratio' must be > 0, got 0.0"),
        ({"new_node_ratio": 1.0}, "'new_node_ratio' must be < 1, got 1.0"),
        ({"val_ratio": 1.5}, "'val_ratio' must be < 1, got 1.5"),
        ({"test_ratio": 0.95}, "leave links to train with, got 0.1 beside test_ratio=0.95. Their sum must be < 1"),
        ({"extra_ratio": -0.1}, "'extra_ratio' must be >= 0 and leave links to train with, got -0.1"),
    ],
)
def test_shares_out_of_range(kwargs, says):
    with pytest.raises(ValueError, match=says):
        ProductionLinkSplit(**kwargs)


@pytest.mark.parametrize(
    ("edge_index", "says"),
    [
        (torch.tensor([[0, 1], [1, 2]]), r"2 links leave \d to train and 0 to validate with, of \d between old nodes"),
        (torch.tensor([[0], [10]]), r"'edge_index' must name nodes 0 to 9, but 1 of 2 numbers do not \(first: 10\)"),
        (torch.zeros(2, 2), r"'edge_index' must be an int64 tensor of shape \[2, E\]"),
    ],
)
def test_graphs_that_cannot_be_split(edge_index, says):
    with pytest.raises(ValueError, match=says):
        ProductionLinkSplit()(edge_index, 10)
