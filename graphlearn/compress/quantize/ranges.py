"""The range of a tensor, for the grid that it is rounded to."""

from __future__ import annotations

import torch
from torch import Tensor

from graphlearn.compress.quantize.precision import Precision
from graphlearn.errors import UsageError

SAMPLES = 8192
"""How many numbers (of each group) a percentile is estimated from."""

_GOLDEN = 0.6180339887498949


def measure(x: Tensor, precision: Precision, dim: int | None) -> tuple[Tensor, Tensor]:
    """What the quantiser has to know of ``x``, per group along ``dim`` (``None``: of all of it).

    The lower and the upper end of the range, 0 within; of ternary and binary the threshold and the magnitude.

    Shapes:
        - ``x``: any float with at least one number;  ``dim``: the dimension of the groups, G of them
        - returns ``[G]`` and ``[G]``, G = 1 for ``None``
    """
    groups = x.reshape(1, -1) if dim is None else x.movedim(dim, 0).reshape(x.size(dim), -1)  # [G, K]
    if precision.scheme in ("ternary", "binary"):
        return _levels(groups.abs(), precision)
    if precision.range == "percentile":
        low, high = _percentiles(groups, precision.tail)
    else:
        low, high = groups.aminmax(dim=1)
    return low.clamp_max(0.0), high.clamp_min(0.0)


def check_seen(seen: Tensor, name: str) -> None:
    """Raises ``UsageError`` for a quantiser that has learned from no tensor yet."""
    if int(seen) == 0:
        raise UsageError(
            f"{name} has seen no data: train the model, or give calibrate() some batches, before converting it."
        )


def grid(low: Tensor, high: Tensor, precision: Precision) -> tuple[Tensor, Tensor]:
    """Step and level of 0 of the grid over a range; step 1 where the range is empty. Both have the shape of ``low``."""
    bottom, top = precision.levels
    if precision.scheme == "fixed":
        return torch.full_like(low, 2.0**-precision.fraction), torch.zeros_like(low)
    if precision.scheme == "symmetric":
        scale = torch.maximum(-low, high) / top
    else:
        count = float(top - bottom)
        scale = high / count - low / count  # the range itself may be too large for a float
    scale = torch.where(scale < torch.finfo(scale.dtype).tiny, torch.ones_like(scale), scale)
    if precision.scheme == "symmetric":
        return scale, torch.zeros_like(scale)
    return scale, (bottom - low / scale).round().clamp(bottom, top)


def _levels(size: Tensor, precision: Precision) -> tuple[Tensor, Tensor]:
    """Threshold and magnitude of numbers of these sizes ``[G, K]``.

    Binary: the mean. Ternary: of the numbers above 0.7 of the mean, as in Li, Liu, "Ternary Weight Networks".
    """
    mean = size.mean(dim=1)
    if precision.scheme == "binary":
        return torch.zeros_like(mean), mean
    threshold = 0.7 * mean
    above = size > threshold[:, None]
    return threshold, (size * above).sum(dim=1) / above.sum(dim=1).clamp_min(1)


def _percentiles(groups: Tensor, tail: float) -> tuple[Tensor, Tensor]:
    """The numbers that a share ``tail`` lies beyond at either side, from evenly spread samples of each group."""
    count = groups.size(1)
    if count > SAMPLES:
        # Multiples of the golden ratio, so that no period of the data (channels, heads) meets one of the sample.
        places = torch.arange(SAMPLES, device=groups.device, dtype=torch.float64).mul_(_GOLDEN).frac_().mul_(count)
        groups = groups.index_select(1, places.long())
        count = SAMPLES
    k = max(int(tail * count), 0) + 1
    return groups.kthvalue(k, dim=1).values, groups.kthvalue(count + 1 - k, dim=1).values
