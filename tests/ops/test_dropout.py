"""The cheap dropout against what dropout is."""

from __future__ import annotations

import pytest
import torch

from graphlearn.ops.dropout import dropout, relu_dropout


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("function", [dropout, relu_dropout])
def test_shares_and_values(function, p):
    torch.manual_seed(0)
    x = torch.ones(400, 251)  # not a multiple of the four numbers of one draw
    out = function(x, p)
    kept = out != 0
    assert kept.float().mean().item() == pytest.approx(1 - p, abs=0.01)
    for part in (kept[:, ::2], kept[:, 1::2], kept[::2], kept[1::2]):
        assert part.float().mean().item() == pytest.approx(1 - p, abs=0.01)
    torch.testing.assert_close(out[kept], torch.full_like(out[kept], 1 / (1 - p)))


def test_neighbouring_numbers_are_kept_independently():
    torch.manual_seed(0)
    kept = (dropout(torch.ones(200_000), 0.5) != 0).double()
    for step in (1, 2, 3, 4):
        together = (kept[step:] * kept[:-step]).mean().item()
        assert together == pytest.approx(0.25, abs=0.005)


def test_with_a_relu_it_is_the_dropout_of_the_relu():
    x = torch.randn(30, 7, requires_grad=True, generator=torch.Generator().manual_seed(0))
    results = []
    for function in (lambda: dropout(x.relu(), 0.3), lambda: relu_dropout(x, 0.3)):
        torch.manual_seed(1)
        out = function()
        results.append((out, torch.autograd.grad(out.square().sum(), x)[0]))
    for found, wanted in zip(*results, strict=True):
        torch.testing.assert_close(found, wanted)


def test_same_seed_same_numbers_and_dtype():
    for dtype in (torch.float32, torch.float64):
        torch.manual_seed(3)
        first = dropout(torch.ones(9, dtype=dtype), 0.5)
        torch.manual_seed(3)
        assert torch.equal(dropout(torch.ones(9, dtype=dtype), 0.5), first)
        assert first.dtype == dtype
    assert dropout(torch.empty(0, 4), 0.5).shape == (0, 4)


def test_elsewhere_than_on_a_cpu_it_is_torchs():
    for function in (dropout, relu_dropout):
        assert function(torch.empty(3, 4, device="meta"), 0.5).shape == (3, 4)
