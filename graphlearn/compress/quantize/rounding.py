"""Rounding to a grid, with a gradient: one autograd function for grids of equal steps, one for two or three levels."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function


def round_to_grid(
    x: Tensor, scale: Tensor, zero: Tensor, low: int, high: int, *, clip: bool = False, keep: Tensor | None = None
) -> Tensor:
    r"""The nearest number of a grid with equal steps.

    .. math:: Q(x) = s \, \bigl(\mathrm{clamp}(\lfloor x / s \rceil + z,\, l,\, h) - z\bigr)

    The gradient of x is that of the identity, with ``clip`` 0 where the number was clamped. That of s is the one of
    learned step sizes: :math:`Q(x)/s - x/s` inside of the grid and :math:`l - z` or :math:`h - z` outside, divided by
    :math:`\sqrt{n h}` for n numbers of one step.

    Source: Esser et al., "Learned Step Size Quantization", arXiv:1902.08153.

    Args:
        x: The numbers.
        scale: The step s, > 0.
        zero: The level z of 0, a whole number.
        low: The lowest level l.
        high: The highest level h.
        clip: Whether clamped numbers get no gradient.
        keep: Rows that stay as they are, and whose gradient is that of the identity.

    Shapes:
        - ``x``: any float;  ``scale``, ``zero``: what broadcasts to ``x``;  ``keep``: ``[N]`` bool
        - returns the shape of ``x``
    """
    out: Tensor = _Grid.apply(x, scale, zero, low, high, clip, _rows_like(keep, x))  # type: ignore[no-untyped-call]
    return out


def round_to_levels(
    x: Tensor, threshold: Tensor, magnitude: Tensor, *, clip: bool = False, keep: Tensor | None = None
) -> Tensor:
    r"""The magnitude with the sign of x where x is larger than a threshold, else 0.

    .. math:: Q(x) = m \, \mathrm{sign}(x) \, [\,|x| > t\,]

    Two levels at :math:`t = 0` (and an exact 0 stays one), three above. The gradient of x is that of the identity,
    with ``clip`` 0 where :math:`|x| > m`; the threshold and the magnitude get none.

    Shapes:
        - ``x``: any float;  ``threshold``, ``magnitude``: what broadcasts to ``x``;  ``keep``: ``[N]`` bool
        - returns the shape of ``x``
    """
    out: Tensor = _Levels.apply(x, threshold, magnitude, clip, _rows_like(keep, x))  # type: ignore[no-untyped-call]
    return out


def _rows_like(keep: Tensor | None, x: Tensor) -> Tensor | None:
    return None if keep is None else keep.view(-1, *[1] * (x.dim() - 1))


class _Grid(Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, scale: Tensor, zero: Tensor, low: int, high: int, clip: bool, keep: Tensor | None
    ) -> Tensor:
        steps = x / scale
        level = steps.round().add_(zero)
        inside = None
        if clip or ctx.needs_input_grad[1]:
            inside = (level >= low) & (level <= high)
        level = level.clamp_(low, high).sub_(zero)
        slope = None
        if inside is not None and ctx.needs_input_grad[1]:
            slope = torch.where(inside, level - steps, level)
            slope = slope if keep is None else slope.masked_fill(keep, 0.0)
        out = level.mul_(scale)
        if keep is not None:
            out = torch.where(keep, x, out)
            inside = inside | keep if inside is not None else None
        ctx.save_for_backward(inside if clip else None, slope)
        ctx.shape, ctx.high = scale.shape, high
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        inside, slope = ctx.saved_tensors
        by_scale = None
        if slope is not None:
            share = max(grad.numel() // max(ctx.shape.numel(), 1), 1)
            by_scale = (grad * slope).sum_to_size(ctx.shape) / (share * ctx.high) ** 0.5
        return grad if inside is None else grad * inside, by_scale, None, None, None, None, None


class _Levels(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, threshold: Tensor, magnitude: Tensor, clip: bool, keep: Tensor | None) -> Tensor:
        size = x.abs()
        out = x.sign().mul_(size > threshold).mul_(magnitude)
        inside = size <= magnitude if clip else None
        if keep is not None:
            out = torch.where(keep, x, out)
            inside = None if inside is None else inside | keep
        ctx.save_for_backward(inside)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (inside,) = ctx.saved_tensors
        return grad if inside is None else grad * inside, None, None, None, None
