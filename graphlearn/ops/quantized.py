"""Message passing on rows of small integers: a quarter, or an eighth, of the bytes to gather."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from graphlearn.errors import unknown_name
from graphlearn.ops import quantized_native, quantized_torch, quantized_triton
from graphlearn.ops.csr_check import check_values, explain
from graphlearn.ops.quantized_check import check_lists, check_rows
from graphlearn.ops.quantized_job import Job

Reduce = Literal["sum", "mean", "max"]
REDUCES = ("sum", "mean", "max")


@dataclass(frozen=True)
class QuantizedRows:
    r"""Rows of numbers as small integers: :math:`x = s\,(q - z)`.

    Args:
        levels: q, int8 ``[N, F]``; with 4 bits packed, int8 ``[N, ceil(F / 2)]``, see :func:`pack_int4`.
        scale: s, float32 ``[1]``, or ``[N]`` if each row has its own.
        num_channels: F.
        bits: 8 or 4.
        zero: z, int32 ``[1]``, the level of 0; with one scale for all rows only. ``None`` for 0.

    Raises:
        ValueError: If a shape or dtype is not as above.
    """

    levels: Tensor
    scale: Tensor
    num_channels: int
    bits: int = 8
    zero: Tensor | None = None

    def __post_init__(self) -> None:
        check_rows(self.levels, self.scale, self.num_channels, self.bits, self.zero)

    @property
    def num_bytes(self) -> int:
        """Bytes of the levels, scales and zero."""
        parts = (self.levels, self.scale, self.zero)
        return sum(part.numel() * part.element_size() for part in parts if part is not None)

    def unpacked(self) -> Tensor:
        """The levels as int8 ``[N, F]``."""
        return self.levels if self.bits == 8 else unpack_int4(self.levels, self.num_channels)

    def dequantize(self) -> Tensor:
        """The numbers, float32 ``[N, F]``."""
        levels = self.unpacked().float()
        if self.zero is not None:
            levels = levels - self.zero
        return levels * self.scale[:, None]

    def select(self, index: Tensor) -> QuantizedRows:
        """The rows ``index``, ``[M]``."""
        scale = self.scale if self.scale.numel() == 1 else self.scale[index]
        return QuantizedRows(self.levels[index], scale, self.num_channels, self.bits, self.zero)


def quantize_rows(x: Tensor, bits: int = 8, *, per_row: bool = True, limit: Tensor | None = None) -> QuantizedRows:
    """``x`` in 8 or 4 bits, with equal steps up to the largest number of each row (or of all rows).

    A row that is all 0 has the step 1. Costs ``O(N F)``. One step for all rows is faster to reduce, as levels are added
    up as they are; where few numbers are far from the rest, a ``limit`` keeps the steps of the others small.

    Args:
        x: The numbers.
        bits: 8 or 4.
        per_row: Whether each row has a step of its own.
        limit: With one step for all rows, the number that the highest level stands for; larger ones are clamped to it.

    Shapes:
        - ``x``: ``[N, F]`` float;  ``limit``: one number

    Raises:
        ValueError: If ``bits`` is neither 8 nor 4, ``x`` has another shape, or there is a limit for steps per row.
    """
    if bits not in (4, 8):
        raise ValueError(f"'bits' must be 8 or 4, got {bits}.")
    if x.dim() != 2 or not x.is_floating_point():
        raise ValueError(f"'x' must be a float tensor of shape [N, F], got {x.dtype} {list(x.shape)}.")
    top = 2 ** (bits - 1) - 1
    largest = x.new_zeros(x.size(0) if per_row else 1)
    if limit is not None:
        if per_row or limit.numel() != 1:
            found = "a step per row" if per_row else f"a limit of shape {list(limit.shape)}"
            raise ValueError(f"'limit' is one number for one step for all rows, but there is {found}.")
        largest = limit.detach().abs().view(1)
    elif x.numel():
        low, high = x.aminmax(dim=1) if per_row else x.aminmax()
        largest = torch.maximum(high, -low).view(-1)
    scale = largest.float() / top
    scale = torch.where(scale < torch.finfo(torch.float32).tiny, torch.ones_like(scale), scale)
    levels = (x / scale[:, None]).round_().clamp_(-top, top).to(torch.int8)
    return QuantizedRows(levels if bits == 8 else pack_int4(levels), scale, x.size(1), bits)


def pack_int4(levels: Tensor) -> Tensor:
    """Two levels from -8 to 7 in each byte: channel k below channel ``ceil(F / 2) + k``.

    Halves, not neighbours, so that a vector of bytes becomes two vectors of channels that lie side by side.

    Shapes:
        - ``levels``: ``[N, F]`` int8
        - returns ``[N, ceil(F / 2)]`` int8
    """
    half = -(-levels.size(1) // 2)
    high = torch.nn.functional.pad(levels[:, half:], (0, 2 * half - levels.size(1)))
    return (levels[:, :half] & 15) | (high << 4)


def unpack_int4(packed: Tensor, num_channels: int) -> Tensor:
    """What :func:`pack_int4` packed, int8 ``[N, num_channels]``."""
    low = ((packed & 15) ^ 8) - 8
    return torch.cat([low, packed >> 4], dim=1)[:, :num_channels]


def gather_reduce_quantized(
    rows: QuantizedRows,
    rowptr: Tensor,
    col: Tensor | None,
    reduce: Reduce = "sum",
    *,
    weight: Tensor | None = None,
    list_scale: Tensor | None = None,
) -> Tensor:
    r"""Gathers rows along lists of positions and reduces each list to one row, in integers.

    .. math:: \mathbf{y}_i = s \, t_i \bigoplus_{p_i \le e < p_{i+1}} v_e \, (\mathbf{q}_{c_e} - z)

    where s is the scale and z the level of 0 of the rows, v are whole numbers beside the entries and t the step of
    each list. With one scale for all rows levels are added up in int32; lists too long for that (131,071 entries with
    weights, 128 times as many without) are cut, and their parts added up in int64, so nothing overflows. With a scale
    per row they are added up in float32. Costs ``O(E F)`` time and ``O(M F)`` memory.

    On a CPU in C++ (AVX2 or AVX-512 with VNNI where the processor has them), on a GPU in Triton, else in torch. No
    gradient: train with :mod:`graphlearn.compress.quantize`.

    Args:
        rows: The rows to read.
        rowptr: Start of each list in ``col``, and the end of the last one.
        col: Row of each entry, or ``None`` when entry e reads row e.
        reduce: ``"sum"``, ``"mean"`` (over the length of the list) or ``"max"``.
        weight: v, of each entry, or of each entry and head: then a head has F / H channels.
        list_scale: t, beside ``weight``.

    Shapes:
        - ``rowptr``: ``[M + 1]`` int32 or int64;  ``col``: ``[E]`` int32 or int64
        - ``weight``: ``[E]`` or ``[E, H]`` int8;  ``list_scale``: ``[M]`` or ``[M, H]`` float32
        - returns ``[M, F]`` float32; an empty list gives zeros

    Raises:
        UnknownNameError: If ``reduce`` is none of the three.
        ValueError: If a shape or dtype is not as above, or (on a CPU) ``rowptr`` does not run from 0 to E.
        IndexError: If an entry of ``col`` is not a row (on a CPU).
    """
    return _run(_job(rows, rowptr, col, reduce, weight, list_scale, None, None, 8))


def gather_reduce_requantized(
    rows: QuantizedRows,
    rowptr: Tensor,
    col: Tensor | None,
    reduce: Reduce = "sum",
    *,
    out_scale: Tensor,
    out_zero: Tensor,
    out_bits: int = 8,
    weight: Tensor | None = None,
    list_scale: Tensor | None = None,
) -> QuantizedRows:
    """:func:`gather_reduce_quantized`, its result rounded to levels before it is written: a quarter of the bytes.

    Args:
        out_scale: The step of the result, float32 ``[1]``.
        out_zero: The level of 0 of the result, int32 ``[1]``.
        out_bits: How many levels the result has, 2 to 8 bits; stored as int8.

    Raises:
        ValueError: If ``out_scale`` or ``out_zero`` has another shape or dtype, too.
    """
    job = _job(rows, rowptr, col, reduce, weight, list_scale, out_scale, out_zero, out_bits)
    return QuantizedRows(_run(job), out_scale, rows.num_channels, zero=out_zero)


def _job(
    rows: QuantizedRows,
    rowptr: Tensor,
    col: Tensor | None,
    reduce: str,
    weight: Tensor | None,
    list_scale: Tensor | None,
    out_scale: Tensor | None,
    out_zero: Tensor | None,
    out_bits: int,
) -> Job:
    if reduce not in REDUCES:
        raise unknown_name("reduction", reduce, REDUCES)
    check_lists(rows.levels, rows.num_channels, rowptr, col, reduce, weight, list_scale, out_scale, out_zero, out_bits)
    heads = 1 if weight is None or weight.dim() == 1 else weight.size(1)
    packed = rows.bits == 4 and heads == 1  # a byte may hold channels of two heads
    levels = rows.levels if packed else rows.unpacked()
    half = 2 ** (out_bits - 1)
    return Job(
        levels=levels if levels.stride(1) == 1 else levels.contiguous(),
        num_channels=rows.num_channels, packed=packed, scale=rows.scale.contiguous(),
        scale_per_row=rows.scale.numel() != 1,
        zero=rows.zero, rowptr=rowptr.long().contiguous(), col=None if col is None else col.contiguous(),
        reduce=reduce, weight=None if weight is None else weight.contiguous(),
        list_scale=None if list_scale is None else list_scale.contiguous(), num_heads=heads,
        out_scale=out_scale, out_zero=out_zero, out_low=-half, out_high=half - 1,
    )  # fmt: skip


def _run(job: Job) -> Tensor:
    device = job.levels.device
    first = job.weight if job.weight is None or job.weight.dim() == 1 else job.weight[:, 0]  # one per entry
    if quantized_native.usable(device):
        result = quantized_native.reduce_rows(job)
        return result if result is not None else explain(job.levels.size(0), job.rowptr, job.col, first)
    if quantized_triton.usable(device):
        return quantized_triton.reduce_rows(job)
    if device.type == "cpu" and not torch.compiler.is_compiling():
        check_values(job.levels.size(0), job.rowptr, job.col, first)
    return quantized_torch.reduce_rows(job)
