"""Message passing on labelled copies of a graph: the labels, and a convolution made for states shared by copies."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import Embedding, LayerNorm, Linear, Module

from graphlearn.errors import unknown_name
from graphlearn.ops.csr import csr_from_edge_index, gather_reduce

Combine = Literal["add", "product", "concat"]
_COMBINES = ("add", "product", "concat")


class LabelEmbedding(Module):
    r"""Tells nodes which label they carry, by a learned vector per label and one for nodes without a label.

    .. math:: \mathbf{z}_v = \mathbf{x}_v \oplus \mathbf{E}_{\mathrm{label}(v)}

    with :math:`\oplus` the sum, the product per channel or concatenation.

    Source: Zhou et al., "From Relational Pooling to Subgraph GNNs", arXiv:2305.04963. Differs from the paper's code: no
    vector for padding, as tuples that are too short repeat a node; for ``"product"`` the vectors start around 1.

    Args:
        channels: Size of a vector; for ``"add"`` and ``"product"`` the size of x.
        num_labels: Number of labels l; label 0 means none.
        combine: ``"add"``, ``"product"`` or ``"concat"``.

    Shapes:
        - ``x``: ``[R, F]`` float;  ``label``: ``[R]`` int64, 0 to ``num_labels``
        - returns ``[R, F]``, for ``"concat"`` ``[R, F + channels]``; no rows give no rows

    Raises:
        UnknownNameError: If ``combine`` is none of the three.
        ValueError: If x does not have ``channels`` columns, for ``"add"`` and ``"product"``.
    """

    def __init__(self, channels: int, num_labels: int, *, combine: Combine = "add") -> None:
        super().__init__()
        if combine not in _COMBINES:
            raise unknown_name("way to combine", combine, _COMBINES)
        self.channels, self.num_labels, self.combine = channels, num_labels, combine
        self.embedding = Embedding(num_labels + 1, channels)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        self.embedding.reset_parameters()
        if self.combine == "product":
            with torch.no_grad():
                self.embedding.weight.mul_(0.5).add_(1.0)

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        mark = self.embedding(label)
        if self.combine == "concat":
            return torch.cat([x, mark], dim=-1)
        if x.size(-1) != self.channels:
            raise ValueError(f"'x' must have {self.channels} columns to {self.combine} labels, got {list(x.shape)}.")
        out: Tensor = x * mark if self.combine == "product" else x + mark
        return out

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.channels}, num_labels={self.num_labels}, combine={self.combine!r})"


class KLConv(Module):
    r"""Adds to each state a small network of its own value and the sum over its neighbours.

    .. math::
        \mathbf{x}'_v = \mathbf{x}_v + \mathbf{W}_2\, \mathrm{ReLU}\Bigl(\mathrm{LN}\bigl(\mathbf{W}_1
            \bigl[(1 + \epsilon)\, \mathbf{x}_v + \sum_{u \to v} \mathbf{x}_u \odot \mathbf{W}_e \mathbf{e}_{uv}
            \bigr]\bigr)\Bigr)

    (without edge features: :math:`\sum_u \mathbf{x}_u`, gathered and summed in one step, so that no message is written
    to memory). Sums, so that multisets of neighbours stay apart. Takes a pair (sources, destinations) too, which is how
    :class:`~graphlearn.models.KLGNN` computes each distinct state of all labelled copies once.

    Source: Zhou et al., "From Relational Pooling to Subgraph GNNs", arXiv:2305.04963, whose layer is
    :math:`\mathbf{h} + \mathrm{MLP}(\mathbf{A h})`. Differs: the node's own value with a learned :math:`\epsilon`, as
    in Xu et al., arXiv:1810.00826; sparse instead of a dense adjacency; edge features through a linear map.

    Args:
        channels: Size of a state, in and out.
        edge_dim: Size of edge features; None: without.
        norm: Whether to normalise (LN); without it, numbers of neighbours are not squeezed.

    Shapes:
        - ``x``: ``[N, channels]`` float, or a pair ``[N, channels]``, ``[M, channels]``
        - ``edge_index``: ``[2, E]`` int64, in any order;  ``edge_attr``: ``[E, edge_dim]``
        - ``rowptr``: ``[M + 1]`` int64, given if ``edge_index`` is sorted by destination: saves the sort
        - returns ``[M, channels]``; a node without neighbours changes by its own term only

    Raises:
        ValueError: If ``edge_attr`` is missing, not expected, or of another shape.
    """

    def __init__(self, channels: int, *, edge_dim: int | None = None, norm: bool = True) -> None:
        super().__init__()
        self.channels, self.edge_dim = channels, edge_dim
        self.eps = torch.nn.Parameter(torch.zeros(()))
        self.lin_in = Linear(channels, channels)
        self.norm = LayerNorm(channels) if norm else None
        self.lin_out = Linear(channels, channels)
        self.lin_edge = None if edge_dim is None else Linear(edge_dim, channels)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        torch.nn.init.zeros_(self.eps)
        for module in (self.lin_in, self.norm, self.lin_out, self.lin_edge):
            if module is not None:
                module.reset_parameters()

    def forward(
        self,
        x: Tensor | tuple[Tensor, Tensor],
        edge_index: Tensor,
        edge_attr: Tensor | None = None,
        *,
        rowptr: Tensor | None = None,
    ) -> Tensor:
        x_src, x_dst = x if isinstance(x, tuple) else (x, x)
        if (self.lin_edge is None) != (edge_attr is None):
            raise ValueError(
                f"'edge_attr' must be {'left out' if self.lin_edge is None else 'given'}: "
                f"the layer was built with edge_dim = {self.edge_dim}."
            )
        if edge_attr is not None and edge_attr.shape != (edge_index.size(1), self.edge_dim):
            expected = [edge_index.size(1), self.edge_dim]
            raise ValueError(f"'edge_attr' must have shape {expected}, got {list(edge_attr.shape)}.")
        if self.lin_edge is not None:
            assert edge_attr is not None
            if rowptr is None:
                order = edge_index[1].argsort(stable=True)
                edge_attr = edge_attr[order]
                rowptr, col = csr_from_edge_index(edge_index, x_dst.size(0))
            else:
                col = edge_index[0]
            heard = gather_reduce(x_src[col] * self.lin_edge(edge_attr), rowptr, None)
        else:
            rowptr, col = csr_from_edge_index(edge_index, x_dst.size(0)) if rowptr is None else (rowptr, edge_index[0])
            heard = gather_reduce(x_src, rowptr, col)
        hidden = self.lin_in(torch.addcmul(heard + x_dst, self.eps.expand_as(x_dst), x_dst))
        if self.norm is not None:
            hidden = self.norm(hidden)
        out: Tensor = x_dst + self.lin_out(F.relu(hidden))
        return out

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.channels}, edge_dim={self.edge_dim}, norm={self.norm is not None})"
