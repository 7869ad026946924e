"""A quantiser: rounds what flows through one place of a model, and learns the range of it on the way."""

from __future__ import annotations

import torch
from torch import Tensor

from graphlearn.compress.quantize.precision import Precision
from graphlearn.compress.quantize.ranges import check_seen, grid, measure
from graphlearn.compress.quantize.rounding import round_to_grid, round_to_levels
from graphlearn.errors import DataError, UsageError


class Quantizer(torch.nn.Module):
    r"""Rounds float tensors to the grid of a :class:`Precision` (simulated quantisation: floats in, floats out).

    .. math:: Q(x) = s \, \bigl(\mathrm{clamp}(\lfloor x / s \rceil + z,\, l,\, h) - z\bigr)

    0 is always a level, so an empty neighbourhood stays exactly 0. In training the range follows what comes through;
    in evaluation it stays. A tensor that is all 0 gets the step 1, an empty one passes and changes nothing. The state
    is two buffers and a count of fixed shape, changed in place, so that it survives ``state_dict``, DDP (which sends
    buffers from the first process to the others) and ``torch.compile``.

    Source: Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
    Inference", arXiv:1712.05877; learned steps: Esser et al., "Learned Step Size Quantization", arXiv:1902.08153.
    Differs from them: the range always holds 0; the percentiles of many numbers are those of 8,192 of them.

    Args:
        precision: Bits, grid and range.
        size: Number of channels or nodes with a range of their own.
        dim: The dimension of the channels (0 for weights, -1 for features).
        name: What errors call it.

    Shapes:
        - ``x``: any float;  ``keep``: ``[N]`` bool, rows that are not rounded (see :mod:`.protect`)
        - returns the shape of ``x``

    Raises:
        UsageError: If ``size`` is missing, or a tensor has another size along ``dim``.
        DataError: If the range holds NaN or infinity (on a CPU; elsewhere :meth:`check_range` tells).
    """

    def __init__(
        self, precision: Precision, size: int | None = None, *, dim: int = -1, name: str = "quantiser"
    ) -> None:
        super().__init__()
        if precision.per in ("channel", "node") and size is None:
            raise UsageError(f"{name}: ranges per {precision.per} need 'size', the number of them.")
        if precision.per == "list":
            raise UsageError(f"{name}: ranges per list are for edges; see ListQuantizer.")
        self.precision, self.size, self.name = precision, size, name
        self.dim = {"tensor": None, "channel": dim, "row": 0, "node": 0}[precision.per]
        self.groups = groups = size if precision.per in ("channel", "node") and size is not None else 1
        self.low: Tensor
        self.high: Tensor
        self.seen: Tensor
        if precision.per != "row":
            self.register_buffer("low", torch.zeros(groups))
            self.register_buffer("high", torch.zeros(groups))
            self.register_buffer("seen", torch.zeros((), dtype=torch.int64))
        if precision.range == "learned":
            self.step = torch.nn.Parameter(torch.ones(groups))

    def forward(self, x: Tensor, keep: Tensor | None = None) -> Tensor:
        if x.numel() == 0:
            return x
        clip = self.precision.gradient == "gc"
        if self.precision.scheme in ("ternary", "binary"):
            threshold, magnitude = (self._spread(end, x) for end in self._range(x))
            return round_to_levels(x, threshold, magnitude, clip=clip, keep=keep)
        scale, zero = (self._spread(part, x) for part in self._grid(x))
        return round_to_grid(x, scale, zero, *self.precision.levels, clip=clip, keep=keep)

    @torch.no_grad()
    def integers(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The levels of ``x`` as whole numbers, the step, and the level of 0, the last two ``[G]`` (per row ``[N]``).

        The range stays as it is. ``(levels - zero) * step`` is what :meth:`forward` gives.

        Shapes:
            - ``x``: any float
            - returns the shape of ``x`` as int8 (int16 above 8 bits), ``[G]`` float, ``[G]`` int32
        """
        dtype = torch.int8 if self.precision.bits <= 8 else torch.int16
        low, high = self._measured(x) if self.precision.range == "current" and x.numel() else self._stored(x)
        if self.precision.scheme in ("ternary", "binary"):
            levels = x.sign() * (x.abs() > self._spread(low, x))
            return levels.to(dtype), high, torch.zeros_like(high, dtype=torch.int32)
        scale, zero = grid(low, high, self.precision)
        if self.precision.range == "learned":
            scale = self._learned()
        levels = (x / self._spread(scale, x)).round().add_(self._spread(zero, x)).clamp_(*self.precision.levels)
        return levels.to(dtype), scale, zero.to(torch.int32)

    def stored_grid(self) -> tuple[Tensor, Tensor]:
        """Step ``[G]`` and level of 0 ``[G]`` int32 of the range as it is stored."""
        scale, zero = grid(self.low, self.high, self.precision)
        return scale, zero.to(torch.int32)

    def check_range(self) -> None:
        """Raises ``DataError`` if the range holds NaN or infinity, ``UsageError`` if nothing was seen yet."""
        if self.precision.per == "row":
            return
        if self.precision.range != "current":
            check_seen(self.seen, self.name)
        self._check_finite(self.low, self.high)

    def extra_repr(self) -> str:
        p = self.precision
        return f"{p.bits} bits, {p.scheme}, per {p.per}, {p.range}"

    def _grid(self, x: Tensor) -> tuple[Tensor, Tensor]:
        low, high = self._range(x)
        if self.precision.range == "learned":
            return self._learned(), torch.zeros_like(low)
        return grid(low, high, self.precision)

    def _learned(self) -> Tensor:
        return self.step.abs().clamp_min(torch.finfo(self.step.dtype).tiny)

    def _range(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The range to use for ``x``, after learning from it where that is asked for."""
        with torch.no_grad():
            if self.precision.per == "row":
                return self._measured(x)
            if self.precision.range == "current":
                low, high = self._measured(x)
                self._keep(low, high)
            elif self.training:
                self._learn(x)
            return self.low.clone(), self.high.clone()  # a later call may change the buffers before the backward pass

    def _learn(self, x: Tensor) -> None:
        low, high = self._measured(x)
        first = self.seen == 0
        if self.precision.range == "learned":
            # Where the paper starts (section 2.1): 2 mean|x| / sqrt(h).
            start = 2 * self._mean(x.detach()) / self.precision.levels[1] ** 0.5
            start = torch.where(start > 0, start, torch.ones_like(start))
            self.step.copy_(torch.where(first, start.to(self.step.dtype), self.step))
            self._keep(low, high)
        elif self.precision.range == "minmax":
            self._keep(torch.minimum(self.low, low), torch.maximum(self.high, high))
        else:
            share = (1.0 / (self.seen + 1)).clamp_min(self.precision.momentum)  # the mean of the first ones
            self._keep(self.low + share * (low - self.low), self.high + share * (high - self.high))

    def _keep(self, low: Tensor, high: Tensor) -> None:
        if low.device.type == "cpu" and not torch.compiler.is_compiling():
            self._check_finite(low, high)
        self.low.copy_(low)
        self.high.copy_(high)
        self.seen.add_(1)

    def _mean(self, x: Tensor) -> Tensor:
        if self.dim is None:
            return x.abs().mean().view(1)
        return x.abs().movedim(self.dim, 0).reshape(x.size(self.dim), -1).mean(dim=1)

    def _measured(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if self.dim is not None and self.size is not None and x.size(self.dim) != self.size:
            raise UsageError(
                f"{self.name} has {self.size} ranges, one per {self.precision.per}, but got {list(x.shape)}."
            )
        return measure(x.detach(), self.precision, self.dim)

    def _stored(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return (x.new_zeros(1), x.new_zeros(1)) if self.precision.per == "row" else (self.low, self.high)

    def _spread(self, groups: Tensor, x: Tensor) -> Tensor:
        """One number per group, in a shape that broadcasts to ``x``."""
        if self.dim is None:
            return groups
        shape = [1] * x.dim()
        shape[self.dim] = -1
        return groups.view(shape)

    def _check_finite(self, low: Tensor, high: Tensor) -> None:
        if not bool((low.isfinite() & high.isfinite()).all()):
            raise DataError(
                f"the range of {self.name} holds NaN or infinity: {float(low.min()):g} to {float(high.max()):g}."
                " Look for it in the features or, if the loss had it before, lower the learning rate."
            )
