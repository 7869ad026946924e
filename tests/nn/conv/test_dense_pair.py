"""DensePairConv and PPGN: by hand, with graphs of several sizes, and what must not matter."""

from __future__ import annotations

import pytest
import torch

from graphlearn.models import PPGN
from graphlearn.nn import DensePairConv


def test_by_hand():
    layer = DensePairConv(1)
    layer.left = layer.right = torch.nn.Identity()
    with torch.no_grad():
        layer.lin.weight.copy_(torch.tensor([[0.0, 1.0]]))
        layer.lin.bias.zero_()
    x = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    found = layer(x.view(1, 2, 2, 1)).view(2, 2)
    torch.testing.assert_close(found, x + x @ x / 2**0.5)


def test_padding_changes_nothing_and_stays_zero():
    torch.manual_seed(0)
    layer = DensePairConv(3).double()
    x = torch.randn(1, 3, 3, 3, generator=torch.Generator().manual_seed(0)).double()
    wide = torch.full((1, 5, 5, 3), 7.0).double()
    wide[:, :3, :3] = x
    found = layer(wide, torch.arange(5)[None] < 3)
    torch.testing.assert_close(found[:, :3, :3], layer(x))
    assert bool((found[:, 3:] == 0).all() & (found[:, :, 3:] == 0).all())
    assert layer(x[:0]).shape == (0, 3, 3, 3)
    assert bool((layer(x, torch.zeros(1, 3, dtype=torch.bool)) == 0).all())


def test_gradcheck():
    torch.manual_seed(0)
    layer = DensePairConv(2).double()
    x = torch.randn(1, 3, 3, 2, generator=torch.Generator().manual_seed(1)).double().requires_grad_()
    assert torch.autograd.gradcheck(layer, (x,))


@pytest.mark.parametrize("edge_dim", [0, 2])
def test_ppgn_does_not_see_numbers_of_nodes_nor_the_batch(edge_dim):
    torch.manual_seed(0)
    net = PPGN(2, 4, edge_dim=edge_dim).double()
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(5, 2, generator=generator).double()
    edge_index = torch.tensor([[0, 1, 2, 3], [1, 2, 0, 4]])
    edge_attr = torch.randn(4, 2, generator=generator).double() if edge_dim else None
    batch = torch.tensor([0, 0, 0, 2, 2])
    found = net(x, edge_index, edge_attr, batch, 3)
    torch.testing.assert_close(found[1], net.lin_out.bias)
    for graph, nodes, edges in ((0, slice(0, 3), slice(0, 3)), (2, slice(3, 5), slice(3, 4))):
        size = nodes.stop - nodes.start
        order = torch.randperm(size, generator=generator)
        own = order.argsort()[edge_index[:, edges] - nodes.start]
        alone = net(x[nodes][order], own, None if edge_attr is None else edge_attr[edges])
        torch.testing.assert_close(alone[0], found[graph])
    torch.testing.assert_close(net(x[:0], edge_index[:, :0])[0], net.lin_out.bias)


def test_ppgn_gives_new_weights():
    net = PPGN(2, 4)
    before = [p.clone() for p in net.parameters()]
    net.reset_parameters()
    assert all(not torch.equal(p, q) for p, q in zip(before, net.parameters(), strict=True))
