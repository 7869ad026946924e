"""Many lists of a CSR at once, and sorted numbers looked up."""

from __future__ import annotations

import torch
from torch import Tensor


def expand(rowptr: Tensor, row: Tensor) -> tuple[Tensor, Tensor]:
    """The entries of the lists ``row``, one after the other: which of ``row`` each belongs to, and its position."""
    first, count = rowptr[row], rowptr[row + 1] - rowptr[row]
    owner = torch.arange(row.numel(), device=row.device).repeat_interleave(count)
    place = torch.arange(owner.numel(), device=row.device) + (first - (count.cumsum(0) - count))[owner]
    return owner, place


def contains(keys: Tensor, wanted: Tensor) -> Tensor:
    """Whether each of ``wanted`` is among the sorted ``keys``."""
    if keys.numel() == 0:
        return torch.zeros_like(wanted, dtype=torch.bool)
    return keys[torch.searchsorted(keys, wanted.contiguous()).clamp_max(keys.numel() - 1)] == wanted


def distinct(values: Tensor) -> Tensor:
    """The different values, sorted."""
    values = values.sort().values
    return values[torch.cat([values[:1] == values[:1], values[1:] != values[:-1]])]
