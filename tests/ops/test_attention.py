"""Dot products along entries and the softmax of lists, against plain torch, on both sets of kernels."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from graphlearn.ops import csr_native, entry_dot, list_softmax

BACKENDS = ["torch"] + ["native"] * csr_native.usable(torch.device("cpu"))


@pytest.fixture(params=BACKENDS)
def backend(request, monkeypatch):
    if request.param == "torch":
        monkeypatch.setattr(csr_native, "usable", lambda *_: False)
    return request.param


def lists(seed: int, num_src: int = 6, counts: tuple[int, ...] = (3, 0, 4, 1)):
    """rowptr, the row of each entry, and col; the second list is empty."""
    rowptr = torch.tensor([0, *counts]).cumsum(0)
    row = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    generator = torch.Generator().manual_seed(seed)
    return rowptr, row, torch.randint(num_src, (len(row),), generator=generator), generator


def test_entry_dot_and_its_gradient(backend):
    rowptr, row, col, g = lists(0)
    src = torch.randn(6, 5, generator=g, requires_grad=True)
    dst = torch.randn(4, 5, generator=g, requires_grad=True)
    out, expected = entry_dot(src, dst, rowptr, col), (src[col] * dst[row]).sum(1)
    torch.testing.assert_close(out, expected)
    weight = torch.randn(8, generator=g)
    found = torch.autograd.grad((out * weight).sum(), (src, dst))
    for a, b in zip(found, torch.autograd.grad((expected * weight).sum(), (src, dst)), strict=True):
        torch.testing.assert_close(a, b)


def test_entry_dot_gradcheck_and_int32():
    rowptr, _, col, g = lists(1)
    src, dst = (torch.randn(n, 2, generator=g, dtype=torch.float64, requires_grad=True) for n in (6, 4))
    assert torch.autograd.gradcheck(lambda a, b: entry_dot(a, b, rowptr, col.int()), (src, dst))
    assert torch.autograd.gradgradcheck(lambda a, b: entry_dot(a, b, rowptr, col.int()), (src, dst))


def test_entry_dot_of_no_entries(backend):
    src, dst = torch.ones(3, 2, requires_grad=True), torch.ones(2, 2)
    out = entry_dot(src, dst, torch.zeros(3, dtype=torch.int64), torch.empty(0, dtype=torch.int64))
    assert out.shape == (0,)
    out.sum().backward()
    assert torch.equal(src.grad, torch.zeros(3, 2))


@pytest.mark.parametrize(
    ("src", "dst", "message"),
    [
        (
            torch.ones(6),
            torch.ones(4, 2),
            r"'src' and 'dst' must be .* got torch.float32 \[6\] and torch.float32 \[4, 2\]",
        ),
        (torch.ones(6, 3), torch.ones(4, 2), r"got torch.float32 \[6, 3\] and torch.float32 \[4, 2\]"),
        (torch.ones(6, 2), torch.ones(4, 2).double(), r"of one dtype, got torch.float32 \[6, 2\] and torch.float64"),
        (torch.ones(6, 2), torch.ones(5, 2), r"'dst' must have one row per list, 4, got 5"),
    ],
)
def test_entry_dot_of_wrong_shapes(src, dst, message):
    rowptr, _, col, _ = lists(0)
    with pytest.raises(ValueError, match=message):
        entry_dot(src, dst, rowptr, col)


def slow_softmax(logit, rowptr, keep):
    share, total = torch.zeros_like(logit), []
    for begin, end in zip(rowptr[:-1].tolist(), rowptr[1:].tolist(), strict=True):
        entry = torch.arange(begin, end)[keep[begin:end]]
        share = share.index_put((entry,), logit[entry].softmax(0))
        total.append(logit[entry].logsumexp(0) if len(entry) else logit.new_tensor(-torch.inf))
    return share, torch.stack(total)


@given(st.integers(0, 10_000), st.lists(st.integers(0, 5), min_size=1, max_size=5))
@settings(max_examples=40, deadline=None)
def test_softmax_is_that_of_each_list(seed, counts):
    rowptr, row, _, g = lists(seed, counts=tuple(counts))
    logit = torch.randn(len(row), generator=g, dtype=torch.float64, requires_grad=True)
    keep = torch.rand(len(row), generator=g) < 0.7
    share, total = list_softmax(logit, rowptr, row, keep)
    expected, slow_total = slow_softmax(logit, rowptr, keep)
    torch.testing.assert_close(share, expected)
    torch.testing.assert_close(total, slow_total)
    some = total.isfinite()
    weight, scale = (torch.randn(n, generator=g, dtype=torch.float64) for n in (len(row), len(counts)))
    loss = (share * weight).sum() + (total * scale)[some].sum()
    slow = (expected * weight).sum() + (slow_total * scale)[some].sum()
    torch.testing.assert_close(torch.autograd.grad(loss, logit), torch.autograd.grad(slow, logit))


def test_softmax_of_large_numbers(backend):
    rowptr, row, _, _ = lists(0)
    share, total = list_softmax(torch.tensor([1e4, 1e4, -1e4, 5.0, 5.0, 5.0, 5.0, -3e4]), rowptr, row)
    torch.testing.assert_close(share, torch.tensor([0.5, 0.5, 0.0, 0.25, 0.25, 0.25, 0.25, 1.0]))
    assert total[1] == -torch.inf
    torch.testing.assert_close(total[3], torch.tensor(-3e4))
