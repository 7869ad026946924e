"""Heads of links: by hand, in both directions, and contexts against pairs written out."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from graphlearn.nn import BilinearHead, DotHead, MLPHead
from graphlearn.nn.head import LinkHead

HEADS = {
    "dot": DotHead,
    "bilinear": lambda: BilinearHead(4),
    "mlp": lambda: MLPHead(4, 6),
    "deep": lambda: MLPHead(4, 6, num_layers=4),
    "flat": lambda: MLPHead(4, 6, num_layers=1),
}
each_head = pytest.mark.parametrize("name", HEADS)


def built(name: str) -> LinkHead:
    torch.manual_seed(0)
    return HEADS[name]().double()


def rows(size: int, seed: int) -> torch.Tensor:
    return torch.randn(size, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_dot_by_hand():
    src, dst = torch.tensor([[1.0, 2.0], [0.0, 3.0]]), torch.tensor([[3.0, -1.0], [5.0, 2.0]])
    assert DotHead()(src, dst).tolist() == [1.0, 6.0]


def test_bilinear_is_a_form_in_one_direction():
    head, src, dst = built("bilinear"), rows(3, 1), rows(3, 2)
    with torch.no_grad():
        head.bias.fill_(0.5)
    weight = head.lin.weight.detach()
    expected = [float(d @ weight @ s) + 0.5 for s, d in zip(src, dst, strict=True)]
    assert head(src, dst).tolist() == pytest.approx(expected)
    assert not torch.allclose(head(src, dst), head(dst, src))
    with torch.no_grad():
        head.lin.weight.copy_(torch.eye(4))
    torch.testing.assert_close(head(src, dst) - 0.5, DotHead()(src, dst))


def test_mlp_is_a_perceptron_of_the_product():
    head, src, dst = built("mlp"), rows(3, 1), rows(3, 2)
    first, _, last = head.layers
    hidden = F.linear(src * dst, first.weight, first.bias).relu()
    torch.testing.assert_close(head(src, dst), F.linear(hidden, last.weight, last.bias)[:, 0])
    assert torch.equal(head(src, dst), head(dst, src))


@each_head
@given(anchors=st.integers(0, 5), width=st.integers(0, 6), nodes=st.integers(1, 7))
def test_contexts_are_scored_like_pairs_written_out(name, anchors, width, nodes):
    head, anchor, context = built(name), rows(anchors, 3).requires_grad_(), rows(nodes, 4).requires_grad_()
    index = torch.randint(nodes, (anchors, width), generator=torch.Generator().manual_seed(5))
    found = head.context(anchor, context, index)
    expected = head(anchor.repeat_interleave(width, dim=0), context[index.flatten()]).view(anchors, width)
    torch.testing.assert_close(found, expected)
    inputs = (anchor, context, *head.parameters())
    slopes = [torch.autograd.grad(out.square().sum(), inputs, allow_unused=True) for out in (found, expected)]
    torch.testing.assert_close(*slopes)


@each_head
def test_no_links(name):
    assert built(name)(rows(0, 0), rows(0, 0)).shape == (0,)


def test_dropout_is_for_training_only():
    head = MLPHead(4, 64, dropout=0.5).double()
    assert not torch.equal(head(rows(3, 1), rows(3, 2)), head(rows(3, 1), rows(3, 2)))
    head.eval()
    assert torch.equal(head(rows(3, 1), rows(3, 2)), head(rows(3, 1), rows(3, 2)))


def test_a_head_without_forward_cannot_be_built():
    with pytest.raises(TypeError, match=r"abstract method '?forward"):
        LinkHead()


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: BilinearHead(0), "'channels' must be > 0, got 0"),
        (lambda: MLPHead(4, 0), "'hidden' must be > 0, got 0"),
        (lambda: MLPHead(4, 4, num_layers=0), "'num_layers' must be > 0, got 0"),
        (lambda: MLPHead(4, 4, dropout=1.0), r"'dropout' must lie in \[0, 1\), got 1.0"),
    ],
)
def test_what_is_refused(build, says):
    with pytest.raises(ValueError, match=says):
        build()
