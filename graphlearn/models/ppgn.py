"""The dense network of pairs of nodes: the base of k,l-WL for k = 2."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import Linear, Module, ModuleList
from torch_geometric.utils import to_dense_adj, to_dense_batch

from graphlearn.nn.conv.dense_pair import DensePairConv


class PPGN(Module):
    r"""One vector per graph from the states of all its pairs of nodes, which tells apart what 3-WL does.

    .. math:: \mathbf{X}^{(0)}_{ij} = \mathbf{W}_0 [\mathbf{A}_{ij}, \mathbf{1}_{i=j}, \mathbf{1}_{i=j} \mathbf{x}_i]
        \qquad \mathbf{y} = \mathbf{W} \Bigl[\sum_i \mathbf{X}^{(L)}_{ii},\; \sum_{i \ne j} \mathbf{X}^{(L)}_{ij}\Bigr]

    after L rounds of :class:`~graphlearn.nn.DensePairConv`. Give it to :class:`~graphlearn.models.KLGNN` with
    ``base_output="graph"``: that is (2, l)-WL, with one dense graph per labelled copy. Costs ``O(L B n^3 F)``, n the
    nodes of the largest graph. Waits for the device, which knows that number.

    Source: Maron et al., "Provably Powerful Graph Networks", arXiv:1905.11136, with the differences of the layer;
    sums over pairs once, after the last round.

    Args:
        in_channels: Columns of x.
        channels: Size of a pair's state, and of the result.
        num_layers: Rounds.
        edge_dim: Columns of the edge features; the number of edges of a pair beside them.

    Shapes:
        - ``x``: ``[N, in_channels]`` float;  ``edge_index``: ``[2, E]`` int64;  ``edge_attr``: ``[E, edge_dim]``
        - ``batch``: ``[N]`` int64, in increasing order;  ``num_graphs``: B
        - returns ``[B, channels]``; a graph without nodes gives the bias alone
    """

    def __init__(self, in_channels: int, channels: int, num_layers: int = 3, *, edge_dim: int = 0) -> None:
        super().__init__()
        self.in_channels, self.channels, self.edge_dim = in_channels, channels, edge_dim
        self.lin_in = Linear(in_channels + edge_dim + 2, channels)
        self.convs = ModuleList(DensePairConv(channels) for _ in range(num_layers))
        self.lin_out = Linear(2 * channels, channels)

    def reset_parameters(self) -> None:
        parts: list[Any] = [self.lin_in, *self.convs, self.lin_out]
        for module in parts:
            module.reset_parameters()

    def forward(
        self,
        x: Tensor,
        edge_index: Tensor,
        edge_attr: Tensor | None = None,
        batch: Tensor | None = None,
        num_graphs: int | None = None,
    ) -> Tensor:
        batch = edge_index.new_zeros(x.size(0)) if batch is None else batch
        num_graphs = 1 if num_graphs is None else num_graphs
        if x.size(0) == 0:
            bias: Tensor = self.lin_out(x.new_zeros(num_graphs, 2 * self.channels))
            return bias
        nodes, mask = to_dense_batch(x, batch, batch_size=num_graphs)
        size = nodes.size(1)
        links = x.new_ones(edge_index.size(1), 1)
        links = links if edge_attr is None else torch.cat([links, edge_attr], dim=-1)
        links = to_dense_adj(edge_index, batch, links, max_num_nodes=size, batch_size=num_graphs)
        same = torch.eye(size, dtype=x.dtype, device=x.device)[None, :, :, None]
        own = same * torch.cat([torch.ones_like(nodes[..., :1]), nodes], dim=-1)[:, :, None]
        pair = (mask[:, :, None] & mask[:, None, :])[..., None]
        state = self.lin_in(torch.cat([links, own], dim=-1)) * pair
        for conv in self.convs:
            state = conv(state, mask)
        diagonal = state.diagonal(dim1=1, dim2=2).sum(dim=-1)
        out: Tensor = self.lin_out(torch.cat([diagonal, state.sum(dim=(1, 2)) - diagonal], dim=-1))
        return out
