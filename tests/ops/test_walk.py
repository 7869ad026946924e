"""Walks around a pair and what its link changes in them, against powers of whole matrices."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from graphlearn.ops import csr_native, dense_walk_profile, pair_walks, walk_profile


def entries(p: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The block-diagonal matrix of P ``[B, n, n]`` as probabilities, rowptr and col."""
    whole = torch.block_diag(*p)
    row, col = whole.nonzero().unbind(1)
    return whole[row, col], torch.searchsorted(row, torch.arange(len(whole) + 1)), col


def matrices(seed: int, num_graphs: int, n: int) -> Tensor:
    """Random substochastic matrices, some rows of zeros, nothing between nodes 0 and 1."""
    g = torch.Generator().manual_seed(seed)
    p = torch.rand(num_graphs, n, n, generator=g, dtype=torch.float64)
    p = p * (torch.rand(num_graphs, n, n, generator=g) < 0.5)
    p[:, 0, 1] = p[:, 1, 0] = 0.0
    return p / p.sum(-1, keepdim=True).clamp_min(1e-9)


def ends(num_graphs: int, n: int) -> Tensor:
    return torch.stack([n * torch.arange(num_graphs), n * torch.arange(num_graphs) + 1])


@given(st.integers(0, 10_000), st.integers(1, 4), st.integers(2, 7), st.integers(0, 8))
@settings(max_examples=40, deadline=None)
def test_walks_are_powers(seed, num_graphs, n, length):
    p = matrices(seed, num_graphs, n)
    walks = pair_walks(*entries(p), ends(num_graphs, n), length)
    for t in range(length + 1):
        torch.testing.assert_close(walks[:, t], torch.linalg.matrix_power(p, t)[:, :2, :2])


@given(st.integers(0, 10_000), st.integers(2, 9), st.integers(2, 9))
@settings(max_examples=40, deadline=None)
def test_profile_equals_that_of_whole_matrices(seed, n, length):
    p = matrices(seed, 3, n)
    cross = torch.rand(3, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    cross[0] = 1.0  # as where an end has no other neighbour
    fast = walk_profile(pair_walks(*entries(p), ends(3, n), length), cross)
    slow = dense_walk_profile(p, cross, torch.tensor([[0, 0, 0], [1, 1, 1]]), length)
    for name, value in dataclasses.asdict(fast).items():
        torch.testing.assert_close(value, getattr(slow, name), rtol=1e-12, atol=1e-12)


def test_a_link_that_is_never_walked_changes_nothing():
    p = matrices(0, 2, 6)
    found = walk_profile(pair_walks(*entries(p), ends(2, 6), 6), torch.zeros(2, 2, dtype=torch.float64))
    torch.testing.assert_close(found.node_plus, found.node_minus)
    torch.testing.assert_close(found.link_plus, found.link_minus)
    torch.testing.assert_close(found.graph, torch.zeros_like(found.graph))


def test_gradcheck_of_walks():
    prob, rowptr, col = entries(matrices(1, 2, 4))
    pair = ends(2, 4)
    assert torch.autograd.gradcheck(lambda p: pair_walks(p, rowptr, col, pair, 4), (prob.requires_grad_(),))


def test_no_steps_have_no_gradient():
    prob, rowptr, col = entries(matrices(1, 2, 4))
    walks = pair_walks(prob.requires_grad_(), rowptr, col, ends(2, 4), 0)
    assert torch.equal(walks, torch.eye(2, dtype=torch.float64).expand(2, 1, 2, 2))
    walks.sum().backward()
    assert torch.equal(prob.grad, torch.zeros_like(prob))


@pytest.mark.parametrize("native", [True, False])
def test_wrong_indices(native, monkeypatch):
    if not native:
        monkeypatch.setattr(csr_native, "usable", lambda *_: False)
    prob, rowptr, col = entries(matrices(2, 5, 9).float())
    with pytest.raises(IndexError, match=r"'col' must name rows 0 to 44: 1 of \d+ entries are not \(first: 45\)"):
        pair_walks(prob, rowptr, torch.where(torch.arange(len(col)) == 7, 45, col), ends(5, 9), 3)
    with pytest.raises(ValueError, match=r"'rowptr' must run from 0 to the \d+ entries"):
        pair_walks(prob, rowptr + 1, col, ends(5, 9), 3)


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
@pytest.mark.skipif(not csr_native.usable(torch.device("cpu")), reason="the native kernels were not built")
def test_both_kernels_agree(dtype, monkeypatch):
    prob, rowptr, col = entries(matrices(2, 5, 9).float())
    col = col.to(dtype)
    weight = torch.randn(5, 9, 2, 2, generator=torch.Generator().manual_seed(0))
    found = []
    for usable in (csr_native.usable, lambda *_: False):
        monkeypatch.setattr(csr_native, "usable", usable)
        leaf = prob.clone().requires_grad_()
        walks = pair_walks(leaf, rowptr, col, ends(5, 9), 8)
        found.append((walks, *torch.autograd.grad((walks * weight).sum(), leaf)))
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b)
