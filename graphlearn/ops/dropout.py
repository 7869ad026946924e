"""Dropout whose mask is cheap to draw on a CPU, alone and after a ReLU."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def dropout(x: Tensor, p: float) -> Tensor:
    """Sets each number to zero with probability ``p`` and divides the others by ``1 - p``.

    On a CPU each number gets 16 random bits, four numbers one draw from torch's generator, which takes a third of the
    time of torch's own mask; ``p`` then counts in steps of 1/65536. Elsewhere it is torch's.

    Shapes:
        - ``x``: any shape, float
        - returns the same
    """
    if x.device.type != "cpu":
        return F.dropout(x, p)
    return x * _kept(x, p).to(x.dtype).mul_(1.0 / (1.0 - p))


def relu_dropout(x: Tensor, p: float) -> Tensor:
    """``dropout(x.relu(), p)`` with one mask for both on a CPU, so that one pass over ``x`` and one back are enough."""
    if x.device.type != "cpu":
        return F.dropout(x.relu(), p)
    kept = _kept(x, p).logical_and_(x > 0)
    return x * kept.to(x.dtype).mul_(1.0 / (1.0 - p))


def _kept(x: Tensor, p: float) -> Tensor:
    drawn = torch.empty((x.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    bits = drawn.view(torch.int16)[: x.numel()].view(x.shape)
    return bits >= round(p * 2**16) - 2**15
