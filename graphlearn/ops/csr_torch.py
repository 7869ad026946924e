"""The kernels of ``csr.py`` in torch operations: any float dtype, any device, no compiler needed.

Each takes lists as ``rowptr`` int64 ``[M + 1]`` and ``col`` ``[E]`` or ``None`` (entry e reads row e). Nothing here
waits for a GPU, so nothing depends on ``rowptr[-1]`` being the number of entries: entries past it belong to row M,
which is cut off.
"""

from __future__ import annotations

import warnings

import torch
import torch.nn.functional as F
from torch import Tensor


def entries_to_rows(rowptr: Tensor, num_entries: int) -> Tensor:
    """The row of each entry, ``[num_entries]``; M past the last list."""
    if rowptr.device.type == "cpu" and not torch.compiler.is_compiling() and int(rowptr[-1]) == num_entries:
        rows = torch.arange(rowptr.numel() - 1)  # a third of the time of a search
        return rows.repeat_interleave(rowptr.diff(), output_size=num_entries)
    positions = torch.arange(num_entries, device=rowptr.device, dtype=rowptr.dtype)
    return torch.searchsorted(rowptr, positions, right=True) - 1


def reduce_rows(
    x: Tensor, rowptr: Tensor, col: Tensor | None, reduce: str, weight: Tensor | None, need_arg: bool
) -> tuple[Tensor, Tensor | None]:
    """The reduction of each list, and if needed the place in the list that was the best; both ``[M, F]``."""
    if reduce in ("max", "min"):
        if _has_sparse_kernels(x, col) and not need_arg:
            return _sparse_best_rows(x, rowptr, col, weight, reduce), None
        return best_rows(x, rowptr, col, weight, reduce, need_arg)
    out = sum_rows(x, rowptr, col, weight)
    return out.div_(lengths(rowptr, out.dtype)) if reduce == "mean" else out, None  # a new tensor costs page faults


def sum_rows(x: Tensor, rowptr: Tensor, col: Tensor | None, weight: Tensor | None) -> Tensor:
    """``out[i] = sum of weight[e] * x[col[e]]`` over the entries of row i, ``[M, F]``."""
    if rowptr.numel() == 1 or x.size(0) == 0 or x.size(1) == 0:
        return x.new_zeros(rowptr.numel() - 1, x.size(1))
    if col is None:
        num_entries = x.size(0) if weight is None else weight.numel()
        col = torch.arange(num_entries, device=rowptr.device, dtype=rowptr.dtype)
    bags = F.embedding_bag(col, x, rowptr.to(col.dtype), mode="sum", per_sample_weights=weight)
    return bags[:-1]


def _has_sparse_kernels(x: Tensor, col: Tensor | None) -> bool:
    # torch's own reduction of a sparse matrix, four times as fast as a scatter, is for a CPU, and tells no places.
    compiling = torch.compiler.is_compiling()
    return x.device.type == "cpu" and not compiling and min(x.shape) > 0 and (col is None or col.numel() > 0)


def _sparse_best_rows(x: Tensor, rowptr: Tensor, col: Tensor | None, weight: Tensor | None, reduce: str) -> Tensor:
    num_entries = (x.size(0) if weight is None else weight.numel()) if col is None else col.numel()
    col = torch.arange(num_entries) if col is None else col.long()
    weight = x.new_ones(num_entries) if weight is None else weight
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta state")
        matrix = torch.sparse_csr_tensor(
            rowptr, col, weight, size=(rowptr.numel() - 1, x.size(0)), check_invariants=False
        )
    out: Tensor = torch.sparse.mm(matrix, x.contiguous(), "amax" if reduce == "max" else "amin")
    return out


def best_rows(
    x: Tensor, rowptr: Tensor, col: Tensor | None, weight: Tensor | None, reduce: str, need_arg: bool
) -> tuple[Tensor, Tensor | None]:
    """The largest or smallest ``weight[e] * x[col[e]]``, and its place in the list (the first of equal ones; -1 in an
    empty list).

    Costs ``[E, F]`` memory.
    """
    num_rows, num_channels = rowptr.numel() - 1, x.size(1)
    message = x if col is None else x[col]  # [E, F]
    if weight is not None:
        message = message[: weight.numel()] * weight[:, None]
    row = entries_to_rows(rowptr, message.size(0))  # [E]
    index = row[:, None].expand_as(message)
    out = x.new_zeros(num_rows + 1, num_channels)
    out = out.scatter_reduce(0, index, message, "amax" if reduce == "max" else "amin", include_self=False)
    if not need_arg:
        return out[:-1], None
    best = (message == out[row]) | message.isnan()
    place = torch.arange(message.size(0), device=x.device) - rowptr[row]
    place = place[:, None].expand_as(message).masked_fill(~best, torch.iinfo(torch.int64).max)
    arg = torch.full_like(out, -1, dtype=torch.int64).scatter_reduce(0, index, place, "amin", include_self=False)
    return out[:-1], arg[:-1]


def backward(
    grad: Tensor,
    arg: Tensor | None,
    rowptr: Tensor,
    col: Tensor | None,
    weight: Tensor | None,
    num_src: int,
    mean: bool,
) -> Tensor:
    """Gradient for x, ``[num_src, F]``; ``arg`` for a maximum or minimum only."""
    if arg is not None:
        return best_backward(grad, arg, rowptr, col, weight, num_src)
    if mean:
        grad = grad / lengths(rowptr, grad.dtype)
    if col is not None:
        src_rowptr, row, entry = transpose(rowptr, col, num_src)
        return sum_rows(grad, src_rowptr, row, None if weight is None else weight[entry])
    row = entries_to_rows(rowptr, num_src)
    out = torch.cat([grad, grad.new_zeros(1, grad.size(1))])[row]
    if weight is not None:
        out[: weight.numel()] *= weight[:, None]
    return out


def best_backward(
    grad: Tensor, arg: Tensor, rowptr: Tensor, col: Tensor | None, weight: Tensor | None, num_src: int
) -> Tensor:
    """Each channel's gradient is added to the row that it was read from, ``[num_src, F]``."""
    num_channels = grad.size(1)
    if grad.numel() == 0 or num_src == 0:
        return grad.new_zeros(num_src, num_channels)
    entry = (rowptr[:-1, None] + arg).clamp_min(0)  # [M, F]; an empty list's, at -1, gets no gradient
    grad = grad.masked_fill(arg < 0, 0.0)
    if weight is not None and weight.numel():
        grad = grad * weight[entry]
    if col is not None and col.numel():
        entry = col[entry].long()
    slot = (entry.clamp_max(num_src - 1) * num_channels + torch.arange(num_channels, device=grad.device)).flatten()
    return add_in_order(num_src * num_channels, slot, grad.flatten()).view(num_src, num_channels)


def pick_rows(x: Tensor, rowptr: Tensor, col: Tensor | None, weight: Tensor | None, arg: Tensor) -> Tensor:
    """Each channel of ``weight[e] * x[col[e]]`` of the entry at place ``arg`` of the list; 0 where that is -1."""
    num_entries = x.size(0) if col is None else col.numel()
    if arg.numel() == 0 or num_entries == 0:
        return x.new_zeros(arg.shape)
    entry = (rowptr[:-1, None] + arg).clamp(0, num_entries - 1)  # [M, F]
    out = x.gather(0, entry if col is None else col[entry].long())
    if weight is not None:
        out = out * weight[entry]
    return out.masked_fill(arg < 0, 0.0)


def add_in_order(size: int, slot: Tensor, value: Tensor) -> Tensor:
    """``out[slot[k]] += value[k]`` in the order of k, on devices with atomic additions too; ``[size]``."""
    out = value.new_zeros(size)
    if value.device.type == "cpu":
        return out.scatter_add_(0, slot, value)  # one thread, as there is no other dimension to share out
    return out.index_put_((slot,), value, accumulate=True)  # sorts by slot first


def best_backward_weight(
    grad: Tensor, arg: Tensor, x: Tensor, rowptr: Tensor, col: Tensor | None, num_entries: int
) -> Tensor:
    """Gradient of a maximum or minimum for the weights, ``[E]``."""
    if grad.numel() == 0 or num_entries == 0:
        return x.new_zeros(num_entries)
    entry = (rowptr[:-1, None] + arg).clamp(0, num_entries - 1)
    source = entry if col is None else col[entry].long()
    value = (grad * x.gather(0, source)).masked_fill(arg < 0, 0.0)
    return add_in_order(num_entries, entry.flatten(), value.flatten())


def entry_dot(grad: Tensor, x: Tensor, rowptr: Tensor, col: Tensor | None, num_entries: int) -> Tensor:
    """Gradient of a sum for the weights: ``<x[col[e]], grad[row of e]>``, ``[E]``."""
    row = entries_to_rows(rowptr, num_entries)
    source = x[:num_entries] if col is None else x[col]
    return (source * torch.cat([grad, grad.new_zeros(1, grad.size(1))])[row]).sum(dim=1)


def transpose(rowptr: Tensor, col: Tensor, num_src: int) -> tuple[Tensor, Tensor, Tensor]:
    """See ``csr.transpose_csr``."""
    keys = col.int() if num_src < 2**31 else col  # sorts in half the time
    by_source, entry = keys.sort(stable=True)
    bounds = torch.arange(num_src + 1, device=col.device, dtype=keys.dtype)
    src_rowptr = torch.searchsorted(by_source, bounds)
    row = entries_to_rows(rowptr, col.numel()).index_select(0, entry)
    return src_rowptr, row.to(col.dtype), entry.to(col.dtype)


def lengths(rowptr: Tensor, dtype: torch.dtype) -> Tensor:
    """Length of each list, ``[M, 1]``; 1 for an empty one, whose sum is 0 anyway."""
    return rowptr.diff().clamp_min(1).to(dtype)[:, None]
