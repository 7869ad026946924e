"""The Triton kernel of :mod:`graphlearn.ops.segment_triton`; importing it needs Triton."""

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def reduce_lists(
    x: Any,
    x_stride: Any,
    rowptr: Any,
    col: Any,
    weight: Any,
    out: Any,
    arg: Any,
    num_channels: Any,
    KIND: tl.constexpr,
    HAS_COL: tl.constexpr,
    HAS_WEIGHT: tl.constexpr,
    HAS_ARG: tl.constexpr,
    SUM: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """One list and one block of channels per program, the entries one after another: the same bits every time.

    KIND is 0 for the sum, 1 for the mean, 2 for the maximum, 3 for the minimum; SUM is the dtype of what is added up.
    """
    row = tl.program_id(0).to(tl.int64)
    channel = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = channel < num_channels
    begin = tl.load(rowptr + row)
    end = tl.load(rowptr + row + 1)
    best = tl.zeros([BLOCK], dtype=SUM)
    place = tl.full([BLOCK], -1, dtype=tl.int64)
    for entry in range(begin, end):
        source = entry
        if HAS_COL:
            source = tl.load(col + entry).to(tl.int64)
        value = tl.load(x + source * x_stride + channel, mask=inside, other=0.0).to(SUM)
        if HAS_WEIGHT:
            value = value * tl.load(weight + entry).to(SUM)
        if KIND < 2:
            best += value
        else:
            better = value > best
            if KIND == 3:
                better = value < best
            # A NaN is kept: what is not finite must show in the loss.
            take = (entry == begin) | ((best == best) & (better | (value != value)))
            best = tl.where(take, value, best)
            place = tl.where(take, entry - begin, place)
    if KIND == 1:
        best = best / tl.maximum(end - begin, 1).to(SUM)
    to = row * num_channels + channel
    tl.store(out + to, best.to(out.dtype.element_ty), mask=inside)
    if HAS_ARG:
        tl.store(arg + to, place, mask=inside)
