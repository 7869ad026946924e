"""The package's segment operators as an aggregation of PyG."""

from __future__ import annotations

import torch
from torch import Tensor
from torch_geometric.nn.aggr import Aggregation

from graphlearn.errors import unknown_name
from graphlearn.ops.csr import REDUCES, Reduce
from graphlearn.ops.segment import Segments, segment_logsumexp, segment_reduce, segment_softmax


class SegmentAggregation(Aggregation):  # type: ignore[misc]
    r"""Sum, mean, maximum, minimum, log-sum-exp or softmax-weighted sum of each group, with this package's kernels.

    .. math:: \mathbf{y}_i = \bigoplus_{j : s_j = i} \mathbf{x}_j
        \qquad\text{or, with "softmax",}\qquad
        \mathbf{y}_i = \sum_{j : s_j = i} \mathrm{softmax}_i(\mathbf{x})_j \, \mathbf{x}_j

    per channel. Give it to any layer of PyG, ``SAGEConv(16, 32, aggr=SegmentAggregation("max"))``, or use it as a
    read-out: the numbers are those of PyG's own, gradients of any order are right and, like the result, have the same
    bits every time.

    Source: Li et al., "DeeperGCN: All You Need to Train Deeper GCNs", arXiv:2006.07739, for the softmax, whose
    temperature is fixed at 1 here; the others are older than graph networks. Differs from PyG's aggregations: the
    gradient of a maximum or minimum goes to the first of several equal entries and is not shared among them; float16
    and bfloat16 are added up in float32.

    Args:
        reduce: ``"sum"``, ``"mean"``, ``"max"``, ``"min"``, ``"logsumexp"`` or ``"softmax"``.

    Shapes:
        - ``x``: ``[..., N, F]`` float, N at ``dim``;  ``index``: ``[N]`` int64, group of each row, in any order
        - ``ptr``: ``[B + 1]`` int64, instead of ``index`` where rows lie group by group
        - returns ``[..., B, F]``; a group without rows gives zeros (``-inf`` for ``"logsumexp"``)

    Raises:
        UnknownNameError: If ``reduce`` is none of these.
    """

    def __init__(self, reduce: str = "sum") -> None:
        super().__init__()
        if reduce not in _NAMES:
            raise unknown_name("reduction", reduce, _NAMES)
        self.reduce_name = reduce

    def forward(
        self,
        x: Tensor,
        index: Tensor | None = None,
        ptr: Tensor | None = None,
        dim_size: int | None = None,
        dim: int = -2,
    ) -> Tensor:
        rows = x.movedim(dim, 0)
        segments = groups(rows, index, ptr, dim_size)
        return _reduced(rows, segments, self.reduce_name).movedim(0, dim)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.reduce_name!r})"


_NAMES = (*REDUCES, "logsumexp", "softmax")


def groups(rows: Tensor, index: Tensor | None, ptr: Tensor | None, dim_size: int | None) -> Segments:
    """What PyG says of the groups of ``rows``; without ``index`` and ``ptr`` they are one group."""
    if index is None and ptr is None:
        index = torch.zeros(rows.size(0), dtype=torch.int64, device=rows.device)
        dim_size = 1 if dim_size is None else dim_size
    return Segments.of(index, ptr, dim_size, num_rows=rows.size(0))


def _reduced(rows: Tensor, segments: Segments, name: str) -> Tensor:
    if name == "logsumexp":
        return segment_logsumexp(rows, segments)
    if name == "softmax":
        return segment_reduce(segment_softmax(rows, segments) * rows, segments, "sum")
    reduce: Reduce = name  # type: ignore[assignment]
    return segment_reduce(rows, segments, reduce)
