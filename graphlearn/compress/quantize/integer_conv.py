"""GCN, GraphSAGE, GIN and GAT that gather, weigh and add up small integers."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.nn import GATConv, GCNConv, GINConv, SAGEConv
from torch_geometric.nn.conv.gcn_conv import gcn_norm
from torch_geometric.utils import add_self_loops, remove_self_loops, softmax

from graphlearn.compress.quantize.a2q import NodeQuantizer
from graphlearn.compress.quantize.integer_linear import IntegerLinear, rows_of
from graphlearn.compress.quantize.linear import FeatureQuantizer, RoundedLinear
from graphlearn.compress.quantize.lists import ListQuantizer
from graphlearn.compress.quantize.points import LayerPoints
from graphlearn.compress.quantize.quantizer import Quantizer
from graphlearn.ops import QuantizedRows, csr_from_edge_index, gather_reduce_quantized, gather_reduce_requantized


class IntegerConv(torch.nn.Module):
    """What the integer layers share: their quantisers, and the reduction of lists.

    Each takes ``x`` as a float tensor, or as :class:`QuantizedRows` (then it is not rounded again), and ``edge_index``
    as the float layer does, and returns floats ``[N, F]``. Layers that take a pair of tensors, as on sampled batches,
    do so here too.

    Args:
        conv: The layer that was trained or calibrated.
    """

    input: FeatureQuantizer
    message: FeatureQuantizer | None
    aggregate: FeatureQuantizer | None
    attention: ListQuantizer | None

    def __init__(self, conv: Any) -> None:
        super().__init__()
        points: LayerPoints = conv.quantizers
        assert points.input is not None
        self.input, self.message = points.input, points.message
        self.aggregate, self.attention = points.aggregate, points.attention

    def pair(self, x: Any, size: tuple[int, int] | None) -> tuple[QuantizedRows, QuantizedRows | None, int]:
        """Rows that edges come from, rows that they lead into (if there are any), and the number of these."""
        src, dst = x if isinstance(x, tuple) else (x, x)
        rows = rows_of(self.input, src)
        own = rows if dst is src else None if dst is None else rows_of(self.input, dst)
        num_dst = own.levels.size(0) if own is not None else size[1] if size is not None else rows.levels.size(0)
        return rows, own, num_dst

    def reduce(
        self, rows: QuantizedRows, edge_index: Tensor, size: int, kind: Any, weight: Tensor | None = None
    ) -> QuantizedRows | Tensor:
        """The aggregate, in levels if it is rounded; ``weight``: of edges, rounded here."""
        every = torch.arange(edge_index.size(1), device=edge_index.device)
        rowptr, order = csr_from_edge_index(torch.stack([every, edge_index[1]]), size)
        col = edge_index[0][order]
        beside: dict[str, Any] = {}
        if weight is not None:
            assert self.attention is not None
            levels, step = self.attention.integers(weight, edge_index[1], size)
            beside = {"weight": levels[order], "list_scale": step}
        to = self.aggregate
        if isinstance(to, Quantizer) and to.precision.scheme == "affine" and to.precision.range != "current":
            scale, zero = to.stored_grid()
            return gather_reduce_requantized(
                rows, rowptr, col, kind, out_scale=scale, out_zero=zero, out_bits=to.precision.bits, **beside
            )
        out = gather_reduce_quantized(rows, rowptr, col, kind, **beside)
        return out if to is None else rows_of(to, out)


def floats(x: QuantizedRows | Tensor) -> Tensor:
    """The numbers of ``x``, ``[N, F]``."""
    return x.dequantize() if isinstance(x, QuantizedRows) else x


class IntegerGCN(IntegerConv):
    """:class:`torch_geometric.nn.GCNConv` in integers; the norm of edges has a step per node."""

    def __init__(self, conv: GCNConv) -> None:
        super().__init__(conv)
        self.lin = IntegerLinear(conv.lin, rounds=False)
        self.improved, self.loops, self.normalize = conv.improved, conv.add_self_loops, conv.normalize
        self.bias = conv.bias

    def forward(self, x: Tensor | QuantizedRows, edge_index: Tensor, edge_weight: Tensor | None = None) -> Tensor:
        h = self.lin(rows_of(self.input, x))
        if self.normalize:
            edge_index, edge_weight = gcn_norm(
                edge_index, edge_weight, h.size(0), self.improved, self.loops, dtype=h.dtype
            )
        assert self.message is not None
        out = floats(self.reduce(rows_of(self.message, h), edge_index, h.size(0), "sum", edge_weight))
        return out if self.bias is None else out + self.bias


class IntegerSAGE(IntegerConv):
    """:class:`torch_geometric.nn.SAGEConv` in integers: sum, mean or maximum."""

    def __init__(self, conv: SAGEConv) -> None:
        super().__init__(conv)
        self.lin_l = IntegerLinear(conv.lin_l, rounds=False)
        self.lin_r = IntegerLinear(conv.lin_r, rounds=False) if conv.root_weight else None
        self.kind = {"add": "sum"}.get(conv.aggr, conv.aggr)
        self.normalize = conv.normalize

    def forward(self, x: Any, edge_index: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        rows, own, num_dst = self.pair(x, size)
        out = self.lin_l(self.reduce(rows, edge_index, num_dst, self.kind))
        if self.lin_r is not None and own is not None:
            out = out.add_(self.lin_r(own))
        return F.normalize(out, p=2.0, dim=-1) if self.normalize else out


class IntegerGIN(IntegerConv):
    """:class:`torch_geometric.nn.GINConv` in integers: sum, mean or maximum; its network has its own quantisers."""

    eps: Tensor

    def __init__(self, conv: GINConv) -> None:
        super().__init__(conv)
        self.nn = conv.nn
        self.kind = {"add": "sum"}.get(conv.aggr, conv.aggr)
        self.register_buffer("eps", conv.eps.detach().clone())

    def forward(self, x: Any, edge_index: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        rows, own, num_dst = self.pair(x, size)
        out = floats(self.reduce(rows, edge_index, num_dst, self.kind))
        if own is not None:
            out = out + (1 + self.eps) * own.dequantize()
        result: Tensor = self.nn(out)
        return result


class IntegerGAT(IntegerConv):
    """:class:`torch_geometric.nn.GATConv` in integers; coefficients are computed in float and have a step per node."""

    def __init__(self, conv: GATConv) -> None:
        super().__init__(conv)
        self.lin = IntegerLinear(conv.lin, rounds=False)
        self.heads, self.channels, self.concat = conv.heads, conv.out_channels, conv.concat
        self.slope, self.loops = conv.negative_slope, conv.add_self_loops
        self.register_buffer("att_src", conv.att_src.detach().clone())
        self.register_buffer("att_dst", conv.att_dst.detach().clone())
        self.bias = conv.bias

    def forward(self, x: Tensor | QuantizedRows, edge_index: Tensor, edge_attr: Tensor | None = None) -> Tensor:
        h = self.lin(rows_of(self.input, x))
        size = h.size(0)
        heads = h.view(-1, self.heads, self.channels)
        if self.loops:
            edge_index, _ = remove_self_loops(edge_index)
            edge_index, _ = add_self_loops(edge_index, num_nodes=size)
        by_src, by_dst = (heads * self.att_src).sum(dim=-1), (heads * self.att_dst).sum(dim=-1)
        alpha = F.leaky_relu(by_src[edge_index[0]] + by_dst[edge_index[1]], self.slope)
        alpha = softmax(alpha, edge_index[1], num_nodes=size)
        assert self.message is not None
        rows = rows_of(self.message, heads)
        out = floats(self.reduce(rows, edge_index, size, "sum", alpha))
        out = out if self.concat else out.view(size, self.heads, self.channels).mean(dim=1)
        return out if self.bias is None else out + self.bias


def integer_conv(conv: Any) -> IntegerConv | None:
    """``conv`` in integers, or ``None`` if it has a part that is not known here or not rounded to 8 bits."""
    points: LayerPoints = conv.quantizers
    reduces = conv.aggr in ("add", "sum", "mean", "max") and conv.flow == "source_to_target"
    if not reduces or not is_narrow(points.input):
        return None
    if points.aggregate is not None and not is_narrow(points.aggregate):
        return None
    weighted = is_narrow(points.message) and points.attention is not None and points.attention.precision.bits <= 8
    if isinstance(conv, GCNConv) and weighted and _stored(conv.lin):
        return IntegerGCN(conv)
    if isinstance(conv, GATConv) and weighted and conv.lin is not None and _stored(conv.lin):
        return None if conv.edge_dim is not None or conv.residual else IntegerGAT(conv)
    if isinstance(conv, SAGEConv) and not conv.project and points.aggregate is not None:
        return IntegerSAGE(conv) if all(_stored(m) for m in conv.children() if isinstance(m, RoundedLinear)) else None
    return IntegerGIN(conv) if isinstance(conv, GINConv) else None


def is_narrow(quantizer: FeatureQuantizer | None) -> bool:
    """Whether rows that it rounds fit int8."""
    return isinstance(quantizer, NodeQuantizer) or (quantizer is not None and quantizer.precision.bits <= 8)


def _stored(linear: Any) -> bool:
    return isinstance(linear, RoundedLinear) and linear.weight_quantizer is not None
