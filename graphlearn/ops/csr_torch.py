"""The kernels of ``csr.py`` in torch operations: any float dtype, any device, no compiler needed.

Every function takes one CSR: ``rowptr`` ``[M + 1]``, ``col`` ``[E]`` or ``None`` (entry e reads row e).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def entries_to_rows(rowptr: Tensor, num_entries: int) -> Tensor:
    """The row of each entry, ``[num_entries]``; entries past the last row get ``M``. Never synchronises a device."""
    positions = torch.arange(num_entries, device=rowptr.device, dtype=rowptr.dtype)
    return torch.searchsorted(rowptr, positions, right=True) - 1


def sum_rows(x: Tensor, rowptr: Tensor, col: Tensor | None, weight: Tensor | None) -> Tensor:
    """``out[i] = sum of weight[e] * x[col[e]]`` over the entries of row i, ``[M, F]``."""
    if rowptr.numel() == 1 or x.size(0) == 0 or x.size(1) == 0:
        return x.new_zeros(rowptr.numel() - 1, x.size(1))
    if col is None:
        num_entries = x.size(0) if weight is None else weight.numel()
        col = torch.arange(num_entries, device=rowptr.device, dtype=rowptr.dtype)
    # The offset after the last row opens one more bag, for entries past it; that bag is cut off. So nothing depends
    # on rowptr[-1] being the number of entries, which only the device knows.
    bags = F.embedding_bag(col, x, rowptr.to(col.dtype), mode="sum", per_sample_weights=weight)
    return bags[:-1]


def max_rows(x: Tensor, rowptr: Tensor, col: Tensor | None, weight: Tensor | None) -> tuple[Tensor, Tensor]:
    """The largest ``weight[e] * x[col[e]]`` of each row and channel, and its place in the row's list (first of ties).

    An empty row gives 0 at place -1. Costs ``[E, F]`` memory.
    """
    num_rows, num_channels = rowptr.numel() - 1, x.size(1)
    message = x if col is None else x[col]  # [E, F]
    if weight is not None:
        message = message[: weight.numel()] * weight[:, None]
    row = entries_to_rows(rowptr, message.size(0)).long()  # [E]
    index = row[:, None].expand_as(message)
    # One more row than there are, for entries past the last one.
    out = x.new_zeros(num_rows + 1, num_channels).scatter_reduce_(0, index, message, "amax", include_self=False)
    place = torch.arange(message.size(0), device=x.device) - rowptr[row.clamp_max(num_rows)]
    largest = (message == out[row]) | message.isnan()
    place = place[:, None].expand_as(message).masked_fill(~largest, torch.iinfo(torch.int64).max)
    arg = torch.full_like(out, -1, dtype=torch.int64).scatter_reduce_(0, index, place, "amin", include_self=False)
    return out[:-1], arg[:-1]


def scatter_max(
    grad: Tensor, arg: Tensor, rowptr: Tensor, col: Tensor | None, weight: Tensor | None, num_src: int
) -> Tensor:
    """Gradient of ``max_rows`` for x: each channel's gradient goes to the entry it was read from, ``[num_src, F]``."""
    entry = (rowptr[:-1, None] + arg).clamp_min(0)  # [M, F]; an empty row's gradient is set to 0 instead
    grad = grad.masked_fill(arg < 0, 0.0)
    if weight is not None and weight.numel():
        grad = grad * weight[entry.clamp_max(weight.numel() - 1)]
    if col is not None and col.numel():
        entry = col[entry.clamp_max(col.numel() - 1)].long()
    if num_src == 0:
        return grad.new_zeros(0, grad.size(1))
    # Sorted by source first, so that no two runs add in another order, on a device with atomic additions either.
    channel = torch.arange(grad.size(1), device=grad.device)
    slot = (entry.clamp_max(num_src - 1) * grad.size(1) + channel).flatten()
    if grad.device.type == "cpu":
        return grad.new_zeros(num_src * grad.size(1)).scatter_add_(0, slot, grad.flatten()).view(num_src, -1)
    slot, order = slot.sort(stable=True)
    total = grad.new_zeros(num_src * grad.size(1))
    return total.index_put_((slot,), grad.flatten()[order], accumulate=True).view(num_src, -1)


def weight_grad_max(
    grad: Tensor, arg: Tensor, x: Tensor, rowptr: Tensor, col: Tensor | None, num_entries: int
) -> Tensor:
    """Gradient of ``max_rows`` for the weights, ``[E]``."""
    if num_entries == 0:
        return x.new_zeros(0)
    entry = (rowptr[:-1, None] + arg).clamp(0, num_entries - 1)
    source = entry if col is None else col[entry].long()
    value = (grad * x.gather(0, source)).masked_fill(arg < 0, 0.0)
    return x.new_zeros(num_entries).index_put_((entry.flatten(),), value.flatten(), accumulate=True)


def entry_dot(grad: Tensor, x: Tensor, rowptr: Tensor, col: Tensor | None, num_entries: int) -> Tensor:
    """``<x[col[e]], grad[row of e]>`` for each entry: the gradient of the weights of a sum, ``[E]``."""
    if grad.size(0) == 0:
        return x.new_zeros(num_entries)
    row = entries_to_rows(rowptr, num_entries)
    source = x[:num_entries] if col is None else x[col]
    dots = (source * grad[row.clamp_max(grad.size(0) - 1)]).sum(dim=1)
    return dots.masked_fill(row >= grad.size(0), 0.0)


def expand_rows(grad: Tensor, rowptr: Tensor, weight: Tensor | None, num_src: int) -> Tensor:
    """Gradient of ``sum_rows`` without ``col``: row i's gradient to each entry of its list, ``[num_src, F]``."""
    row = entries_to_rows(rowptr, num_src)
    padded = torch.cat([grad, grad.new_zeros(1, grad.size(1))])
    out = padded[row]
    if weight is not None:
        out[: weight.numel()] *= weight[:, None]
        out[weight.numel() :] = 0.0
    return out


def transpose(rowptr: Tensor, col: Tensor, num_src: int) -> tuple[Tensor, Tensor, Tensor]:
    """See ``csr.transpose_csr``."""
    by_source, entry = col.sort(stable=True)
    bounds = torch.arange(num_src + 1, device=col.device, dtype=col.dtype)
    src_rowptr = torch.searchsorted(by_source, bounds)
    row = entries_to_rows(rowptr, col.numel())[entry]
    return src_rowptr.to(rowptr.dtype), row.to(col.dtype), entry.to(col.dtype)
