"""KLConv by hand, against its formula in PyG's parts, and LabelEmbedding."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch_geometric.utils import scatter

from graphlearn.errors import UnknownNameError
from graphlearn.nn import KLConv, LabelEmbedding
from graphlearn.ops import csr_from_edge_index

F = 3


def conv(**kwargs) -> KLConv:
    torch.manual_seed(0)
    layer = KLConv(F, **kwargs).double()
    torch.nn.init.constant_(layer.eps, 0.25)
    return layer


def slow(layer: KLConv, x_src: Tensor, x_dst: Tensor, edge_index: Tensor, edge_attr: Tensor | None) -> Tensor:
    message = x_src[edge_index[0]]
    if edge_attr is not None:
        message = message * layer.lin_edge(edge_attr)
    hidden = layer.lin_in((1 + layer.eps) * x_dst + scatter(message, edge_index[1], dim_size=len(x_dst)))
    return x_dst + layer.lin_out((hidden if layer.norm is None else layer.norm(hidden)).relu())


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 6), st.integers(1, 5), st.integers(0, 12), st.booleans(), st.booleans())
def test_against_the_formula(num_src, num_dst, num_edges, norm, featured):
    generator = torch.Generator().manual_seed(num_src + 7 * num_edges)
    num_edges = num_edges if num_src else 0
    edge_index = torch.stack([
        torch.randint(max(n, 1), (num_edges,), generator=generator) for n in (num_src, num_dst)
    ])  # fmt: skip
    x_src, x_dst = (torch.randn(n, F, generator=generator).double() for n in (num_src, num_dst))
    edge_attr = torch.randn(num_edges, 2, generator=generator).double() if featured else None
    layer = conv(norm=norm, edge_dim=2 if featured else None)
    expected = slow(layer, x_src, x_dst, edge_index, edge_attr)
    torch.testing.assert_close(layer((x_src, x_dst), edge_index, edge_attr), expected)
    order = edge_index[1].argsort(stable=True)
    rowptr = csr_from_edge_index(edge_index, num_dst)[0]
    sorted_attr = None if edge_attr is None else edge_attr[order]
    torch.testing.assert_close(layer((x_src, x_dst), edge_index[:, order], sorted_attr, rowptr=rowptr), expected)


def test_by_hand():
    layer = KLConv(1, norm=False)
    for lin in (layer.lin_in, layer.lin_out):
        torch.nn.init.ones_(lin.weight)
        torch.nn.init.zeros_(lin.bias)
    x = torch.tensor([[1.0], [2.0], [-4.0]])
    found = layer(x, torch.tensor([[0, 1, 2], [1, 0, 1]]))
    # 1 + relu(1 + 2); 2 + relu(2 + 1 - 4); the last hears nobody: -4 + relu(-4)
    torch.testing.assert_close(found, torch.tensor([[4.0], [2.0], [-4.0]]))


def test_a_single_node_and_no_node():
    layer, none = conv(), torch.zeros(2, 0, dtype=torch.int64)
    x = torch.ones(1, F).double()
    torch.testing.assert_close(layer(x, none), slow(layer, x, x, none, None))
    assert layer(x[:0], none).shape == (0, F)


@pytest.mark.parametrize("edge_dim", [None, 2])
def test_gradcheck(edge_dim):
    layer = conv(edge_dim=edge_dim)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4, F, generator=generator).double().requires_grad_()
    edge_index = torch.tensor([[0, 1, 2, 0], [1, 0, 1, 2]])
    if edge_dim is None:
        assert torch.autograd.gradcheck(lambda x: layer(x, edge_index), (x,))
    else:
        edge_attr = torch.randn(4, 2, generator=generator).double().requires_grad_()
        assert torch.autograd.gradcheck(lambda x, e: layer(x, edge_index, e), (x, edge_attr))


@pytest.mark.parametrize(
    ("edge_dim", "edge_attr", "text"),
    [
        (None, torch.ones(1, 2), r"'edge_attr' must be left out: the layer was built with edge_dim = None\."),
        (2, None, r"'edge_attr' must be given: the layer was built with edge_dim = 2\."),
        (2, torch.ones(1, 3), r"'edge_attr' must have shape \[1, 2\], got \[1, 3\]\."),
    ],
)
def test_wrong_edge_features(edge_dim, edge_attr, text):
    with pytest.raises(ValueError, match=text):
        KLConv(F, edge_dim=edge_dim)(torch.ones(2, F), torch.tensor([[0], [1]]), edge_attr)


@pytest.mark.parametrize("combine", ["add", "product", "concat"])
def test_labels(combine):
    torch.manual_seed(0)
    layer = LabelEmbedding(2, 1, combine=combine)
    x, label = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([1, 0])
    mark = layer.embedding.weight[label]
    expected = {"add": x + mark, "product": x * mark, "concat": torch.cat([x, mark], dim=1)}[combine]
    torch.testing.assert_close(layer(x, label), expected)
    assert layer(x[:0], label[:0]).shape == (0, expected.size(1))
    assert torch.autograd.gradcheck(lambda x: layer.double()(x, label), (x.double().requires_grad_(),))


def test_wrong_labels():
    with pytest.raises(UnknownNameError, match="no way to combine 'sum'"):
        LabelEmbedding(2, 1, combine="sum")
    with pytest.raises(ValueError, match=r"'x' must have 2 columns to add labels, got \[1, 3\]\."):
        LabelEmbedding(2, 1)(torch.ones(1, 3), torch.tensor([0]))
