"""Contexts: true neighbours whatever the order of the edges, masks, shares, and the same draw from the same seed."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from graphlearn.compress import ContextSampler
from graphlearn.errors import UnknownNameError


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_graph(num_nodes: int, num_edges: int, seed: int) -> torch.Tensor:
    """Directed edges in no order, repeated ones and self-links among them."""
    return torch.randint(num_nodes, (2, num_edges), generator=generator(seed))


@given(
    num_nodes=st.integers(1, 8),
    num_edges=st.integers(0, 20),
    hops=st.integers(1, 3),
    repeats=st.integers(1, 3),
    mode=st.sampled_from(["nb", "rw"]),
    seed=st.integers(0, 99),
)
def test_every_step_follows_an_edge(num_nodes, num_edges, hops, repeats, mode, seed):
    edge_index = random_graph(num_nodes, num_edges, seed)
    edges = set(map(tuple, edge_index.t().tolist()))
    sources = {src for src, _ in edges}
    sampler = ContextSampler(edge_index, num_nodes, hops=hops, repeats=repeats, ns_rate=1, mode=mode)
    anchors = torch.randint(num_nodes, (5,), generator=generator(seed))
    contexts, mask = sampler(anchors, generator(seed))
    assert contexts.shape == mask.shape == (5, sampler.width) == (5, 2 * hops * repeats)
    walks = contexts[:, : hops * repeats].reshape(5, -1, hops if mode == "nb" else hops * repeats)
    for anchor, some in zip(anchors.tolist(), walks.tolist(), strict=True):
        for walk in some:
            for here, there in zip([anchor, *walk], walk, strict=False):
                assert (here, there) in edges or (here not in sources and here == there)
    assert torch.equal(mask, contexts != anchors[:, None])
    assert ((contexts >= 0) & (contexts < num_nodes)).all()


def test_a_walk_goes_to_each_neighbour_alike():
    edge_index = torch.tensor([[2, 0, 1, 0, 0], [0, 3, 0, 1, 2]])
    contexts, _ = ContextSampler(edge_index, 4, hops=1, repeats=30_000, ns_rate=0)(torch.tensor([0]), generator())
    share = contexts.flatten().bincount(minlength=4) / 30_000
    torch.testing.assert_close(share, torch.tensor([0.0, 1 / 3, 1 / 3, 1 / 3]), atol=0.015, rtol=0)


def test_random_contexts_come_from_anywhere():
    contexts, mask = ContextSampler(torch.empty(2, 0, dtype=torch.int64), 5, hops=1, repeats=100, ns_rate=300)(
        torch.tensor([4]), generator()
    )
    share = contexts[:, 100:].flatten().bincount(minlength=5) / 30_000
    torch.testing.assert_close(share, torch.full((5,), 0.2), atol=0.015, rtol=0)
    assert not mask[:, :100].any()  # an isolated anchor has no near contexts
    assert mask[:, 100:].any()


def test_the_seed_decides():
    sampler = ContextSampler(random_graph(50, 200, 0), 50)
    anchors = torch.arange(50)
    first, again, other = (sampler(anchors, generator(seed))[0] for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_no_anchors():
    contexts, mask = ContextSampler(random_graph(5, 9, 0), 5)(torch.empty(0, dtype=torch.int64), generator())
    assert contexts.shape == mask.shape == (0, 12)


@pytest.mark.parametrize(
    ("kwargs", "error", "says"),
    [
        ({"mode": "rwr"}, UnknownNameError, "no way to walk 'rwr'. Did you mean 'rw'"),
        ({"hops": 0}, ValueError, "'hops' must be > 0, got 0"),
        ({"repeats": 0}, ValueError, "'repeats' must be > 0, got 0"),
        ({"ns_rate": -1}, ValueError, "'ns_rate' must be >= 0, got -1"),
        ({"num_nodes": 4}, ValueError, r"'edge_index' must name nodes 0 to 3, but 1 of 4 numbers do not \(first: 7\)"),
        ({"edge_index": torch.zeros(3, 2)}, ValueError, r"'edge_index' must be an int64 tensor of shape \[2, E\]"),
    ],
)
def test_what_is_refused(kwargs, error, says):
    arguments = {"edge_index": torch.tensor([[0, 1], [2, 7]]), "num_nodes": 9} | kwargs
    with pytest.raises(error, match=says):
        ContextSampler(**arguments)
