"""What the kernels of :mod:`graphlearn.ops.quantized` get, checked."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Job:
    """One reduction of lists of integer rows; see :func:`.quantized.gather_reduce_quantized`.

    Attributes:
        levels: int8 ``[N, F]``, or packed ``[N, ceil(F / 2)]``; channels of a row lie side by side.
        packed: Whether a byte holds two channels.
        scale_per_row: Whether ``scale`` is ``[N]``, not ``[1]``.
        out_scale: ``None`` for a float32 result; else the result is int8, from ``out_low`` to ``out_high``.
    """

    levels: Tensor
    num_channels: int
    packed: bool
    scale: Tensor
    scale_per_row: bool
    zero: Tensor | None
    rowptr: Tensor
    col: Tensor | None
    reduce: str
    weight: Tensor | None
    list_scale: Tensor | None
    num_heads: int
    out_scale: Tensor | None
    out_zero: Tensor | None
    out_low: int
    out_high: int

    @property
    def num_entries(self) -> int:
        """Number of entries of all lists."""
        if self.col is not None:
            return self.col.numel()
        return self.levels.size(0) if self.weight is None else self.weight.size(0)
