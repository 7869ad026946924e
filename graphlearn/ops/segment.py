"""Sums, means, extremes and softmax over segments: groups of rows of any size, in any order."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from graphlearn.errors import first_three
from graphlearn.ops.csr import Reduce, gather_reduce, gather_rows, transpose_csr
from graphlearn.ops.csr_dispatch import wide
from graphlearn.ops.csr_torch import entries_to_rows


@dataclass(frozen=True)
class Segments:
    """Rows in groups, made once for several operations on the same groups by :meth:`of`.

    Attributes:
        rowptr: Start of each segment in ``col``, and the end of the last one, ``[B + 1]`` int64.
        col: The rows of each segment, ``[N]``; ``None`` where rows lie segment by segment already.
        index: The segment of each row, ``[N]`` int64.
    """

    rowptr: Tensor
    col: Tensor | None
    index: Tensor

    @classmethod
    def of(
        cls,
        index: Tensor | None = None,
        ptr: Tensor | None = None,
        dim_size: int | None = None,
        *,
        num_rows: int | None = None,
    ) -> Segments:
        """The groups that an ``index`` or a ``ptr`` of PyG describes; ``ptr`` counts if both are given.

        An unsorted ``index`` is sorted: ``O(N + B)`` with the native kernels, one sort otherwise.

        Args:
            index: Segment of each row, in any order.
            ptr: Start of each segment, and the end of the last one, of rows that lie segment by segment.
            dim_size: Number of segments; with an ``index`` it must be given, as its largest number may not be the last.
            num_rows: Number of rows, with a ``ptr``; without it a GPU must be waited for.

        Raises:
            ValueError: If neither is given, ``dim_size`` is missing or differs, or a shape or dtype is wrong.
            IndexError: If ``index`` names no segment (on a CPU).
        """
        if ptr is not None:
            _check_index("ptr", ptr)
            if dim_size is not None and dim_size != ptr.numel() - 1:
                raise ValueError(f"'ptr' describes {ptr.numel() - 1} segments, but 'dim_size' is {dim_size}.")
            ptr = ptr.long()
            num_rows = int(ptr[-1]) if num_rows is None else num_rows
            _check_ptr(ptr, num_rows)
            return cls(ptr, None, entries_to_rows(ptr, num_rows))
        if index is None:
            raise ValueError("the segments are missing: give 'index', the segment of each row, or 'ptr'.")
        _check_index("index", index)
        if dim_size is None:
            raise ValueError("'dim_size' is missing: give the number of segments beside 'index'.")
        index = index.long()
        if _known_in_order(index, dim_size):
            return cls(torch.searchsorted(index, torch.arange(dim_size + 1, device=index.device)), None, index)
        each = torch.arange(index.numel() + 1, device=index.device)
        rowptr, col, _ = transpose_csr(each, index, dim_size)
        return cls(rowptr, col, index)

    def __len__(self) -> int:
        return self.rowptr.numel() - 1

    def reduce(self, x: Tensor, reduce: Reduce) -> Tensor:
        """``[B, F]`` of ``x`` ``[N, F]``."""
        return gather_reduce(x, self.rowptr, self.col, reduce)

    def expand(self, values: Tensor) -> Tensor:
        """The row of ``values`` ``[B, F]`` of each row's segment, ``[N, F]``."""
        if values.requires_grad and torch.is_grad_enabled():
            return gather_rows(values, self.index)
        return values.index_select(0, self.index)


def segment_reduce(
    x: Tensor,
    index: Tensor | Segments | None = None,
    reduce: Reduce = "sum",
    *,
    ptr: Tensor | None = None,
    dim_size: int | None = None,
) -> Tensor:
    r"""Reduces the rows of each segment to one.

    .. math:: \mathbf{y}_i = \bigoplus_{j : s_j = i} \mathbf{x}_j

    where s is ``index`` and :math:`\bigoplus` is the sum, mean, maximum or minimum per channel. Costs ``O(N F)`` time
    and ``O(B F)`` memory. float16 and bfloat16 are added up in float32. Gradients of any order flow to ``x``; that of a
    maximum or minimum goes to the first of several equal rows of a segment.

    Args:
        x: The rows.
        index: Segment of each row, in any order; or :class:`Segments`, if several operations share them.
        reduce: ``"sum"``, ``"mean"``, ``"max"`` or ``"min"``.
        ptr: Instead of ``index``: where each segment of consecutive rows starts, and the last one ends.
        dim_size: Number of segments, with ``index``.

    Shapes:
        - ``x``: ``[N]`` or ``[N, ...]`` float;  ``index``: ``[N]`` int32 or int64;  ``ptr``: ``[B + 1]`` int32 or int64
        - returns ``[B]`` or ``[B, ...]``; a segment without rows gives zeros, for every reduction

    Raises:
        UnknownNameError: If ``reduce`` is none of the four.
        ValueError: If the segments are missing or do not fit ``x``, or ``dim_size`` is missing.
        IndexError: If ``index`` names no segment (on a CPU).
    """
    segments = _segments(x, index, ptr, dim_size)
    return segments.reduce(_flat(x), reduce).view(len(segments), *x.shape[1:])


def segment_logsumexp(
    x: Tensor, index: Tensor | Segments | None = None, *, ptr: Tensor | None = None, dim_size: int | None = None
) -> Tensor:
    r"""The logarithm of the sum of exponentials of each segment, without overflow.

    .. math:: y_i = m_i + \log \sum_{j : s_j = i} \exp(x_j - m_i), \qquad m_i = \max_{j : s_j = i} x_j

    Arguments and errors are those of :func:`segment_reduce`; ties at the maximum share the gradient.

    Shapes:
        - returns ``[B]`` or ``[B, ...]``; a segment without rows, or of ``-inf`` only, gives ``-inf``, the logarithm of
          nothing, and no gradient
    """
    segments = _segments(x, index, ptr, dim_size)
    rows = _flat(x)
    top, power = _powers(rows, segments)
    total = segments.reduce(power, "sum")
    nothing = total == 0
    # The logarithm of 0 has no finite slope; it must not be reached, or the gradient is NaN.
    out = (total.masked_fill(nothing, 1.0).log() + top).masked_fill(nothing, -torch.inf)
    return out.to(x.dtype).view(len(segments), *x.shape[1:])


def segment_softmax(
    x: Tensor, index: Tensor | Segments | None = None, *, ptr: Tensor | None = None, dim_size: int | None = None
) -> Tensor:
    r"""The softmax over the rows of each segment, per channel.

    .. math:: y_j = \frac{\exp(x_j - m_{s_j})}{\sum_{k : s_k = s_j} \exp(x_k - m_{s_j})}

    Arguments and errors are those of :func:`segment_reduce`.

    Shapes:
        - returns the shape of ``x``; rows of a segment of ``-inf`` only get zeros
    """
    segments = _segments(x, index, ptr, dim_size)
    _, power = _powers(_flat(x), segments)
    total = segments.reduce(power, "sum")
    return (power / segments.expand(total.masked_fill(total == 0, 1.0))).to(x.dtype).view(x.shape)


def _powers(rows: Tensor, segments: Segments) -> tuple[Tensor, Tensor]:
    """The maximum of each segment, 0 where that is infinite, and ``exp(x - maximum)``; both float32 or wider."""
    with torch.no_grad():  # whatever is subtracted, the result is the same
        top = wide(segments.reduce(rows, "max"))
        top = top.masked_fill(top.isinf(), 0.0)
    return top, (wide(rows) - segments.expand(top)).exp()


def _segments(x: Tensor, index: Tensor | Segments | None, ptr: Tensor | None, dim_size: int | None) -> Segments:
    if x.dim() == 0:
        raise ValueError("'x' must have a dimension of rows, got a single number.")
    segments = index if isinstance(index, Segments) else Segments.of(index, ptr, dim_size, num_rows=x.size(0))
    if segments.index.numel() != x.size(0):
        raise ValueError(f"the segments have {segments.index.numel()} rows, but 'x' has {x.size(0)}.")
    return segments


def _flat(x: Tensor) -> Tensor:
    return x.unsqueeze(1) if x.dim() == 1 else x.flatten(1)


def _check_index(name: str, index: Tensor) -> None:
    if index.dim() != 1 or index.dtype not in (torch.int32, torch.int64):
        found = f"{index.dtype} {list(index.shape)}"
        raise ValueError(f"'{name}' must be an int32 or int64 tensor of one dimension, got {found}.")
    if name == "ptr" and index.numel() == 0:
        raise ValueError("'ptr' must hold at least one number, the 0 at which the first segment starts; got none.")


def _check_ptr(ptr: Tensor, num_rows: int) -> None:
    """Raises if a ``ptr`` is wrong. Looks at its numbers on a CPU only."""
    if ptr.device.type != "cpu" or torch.compiler.is_compiling():
        return
    start, end = int(ptr[0]), int(ptr[-1])
    if start != 0 or end != num_rows:
        raise ValueError(f"'ptr' must run from 0 to the {num_rows} rows, got {start} to {end}.")
    falling = (ptr.diff() < 0).nonzero().flatten().tolist()
    if falling:
        where = f"at {len(falling)} places (first: {first_three(falling)})"
        raise ValueError(f"'ptr' must not decrease, but the next number is smaller {where}.")


def _known_in_order(index: Tensor, dim_size: int) -> bool:
    """Whether rows are known to lie segment by segment. Looks at them, and checks them, on a CPU only."""
    if index.device.type != "cpu" or torch.compiler.is_compiling():
        return False
    if index.numel() == 0:
        return True
    low, high = (int(bound) for bound in index.aminmax())
    if low < 0 or high >= dim_size:
        wrong = index[(index < 0) | (index >= dim_size)]
        found = f"{wrong.numel()} of {index.numel()} rows do not (first: {first_three(wrong[:3].tolist())})"
        raise IndexError(f"'index' must name segments 0 to {dim_size - 1}: {found}.")
    return not bool((index[1:] < index[:-1]).any())
