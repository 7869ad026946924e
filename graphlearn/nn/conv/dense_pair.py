"""Message passing on pairs of nodes, dense: one round of the folklore 2-WL test."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import Linear, Module, ReLU, Sequential


class DensePairConv(Module):
    r"""Adds to each pair of nodes what all paths of two pairs between them say, by a matrix product per channel.

    .. math:: \mathbf{X}'_{ij} = \mathbf{X}_{ij} + \mathbf{W} \Bigl[\mathbf{X}_{ij},\; \frac{1}{\sqrt{n}}
        \sum_{k} m_1(\mathbf{X})_{ik} \odot m_2(\mathbf{X})_{kj}\Bigr]

    over the n nodes k of the graph; m are networks of two layers applied to each pair. As strong as 3-WL (folklore
    2-WL) when stacked, so it is the base for k = 2 of k,l-WL. Costs ``O(B n^3 F)`` time and ``O(B n^2 F)`` memory:
    for small dense graphs only.

    Source: Maron et al., "Provably Powerful Graph Networks", arXiv:1905.11136. Differs from the paper: a residual; the
    product is divided by :math:`\sqrt{n}`, which the size of a graph does not blow up; the last layer is linear.

    Args:
        channels: Size of a pair's state, in and out.

    Shapes:
        - ``x``: ``[B, n, n, channels]`` float;  ``mask``: ``[B, n]`` bool, the nodes that exist; None: all
        - returns ``[B, n, n, channels]``, zeros where a node of the pair does not exist; an empty batch gives itself
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.left = Sequential(Linear(channels, channels), ReLU(), Linear(channels, channels))
        self.right = Sequential(Linear(channels, channels), ReLU(), Linear(channels, channels))
        self.lin = Linear(2 * channels, channels)

    def reset_parameters(self) -> None:
        for module in (*self.left, *self.right, self.lin):
            if isinstance(module, Linear):
                module.reset_parameters()

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        if mask is None:
            mask = x.new_ones(x.shape[:2], dtype=torch.bool)
        pair = (mask[:, :, None] & mask[:, None, :])[..., None].to(x.dtype)
        left = (self.left(x) * pair).permute(0, 3, 1, 2)
        right = (self.right(x) * pair).permute(0, 3, 1, 2)
        scale = mask.sum(dim=1).clamp_min(1).to(x.dtype).rsqrt()[:, None, None, None]
        paths = torch.matmul(left, right).permute(0, 2, 3, 1) * scale
        out: Tensor = (x + self.lin(torch.cat([x, paths], dim=-1))) * pair
        return out

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.channels})"
