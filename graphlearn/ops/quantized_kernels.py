"""The Triton kernel of :mod:`graphlearn.ops.quantized_triton`; importing it needs Triton."""

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def reduce_quantized_lists(
    x: Any,
    x_stride: Any,
    scale: Any,
    zero: Any,
    rowptr: Any,
    col: Any,
    weight: Any,
    list_scale: Any,
    out: Any,
    out_scale: Any,
    out_zero: Any,
    num_channels: Any,
    width: Any,
    half: Any,
    out_low: Any,
    out_high: Any,
    KIND: tl.constexpr,
    HEADS: tl.constexpr,
    PACKED: tl.constexpr,
    PER_ROW: tl.constexpr,
    HAS_ZERO: tl.constexpr,
    HAS_COL: tl.constexpr,
    HAS_WEIGHT: tl.constexpr,
    REQUANTIZE: tl.constexpr,
    GUARD: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """One list and one block of channels per program, the entries one after another: the same bits every time.

    KIND is 0 for the sum, 1 for the mean, 2 for the maximum.
    """
    row = tl.program_id(0).to(tl.int64)
    channel = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = channel < num_channels
    head = channel // width
    begin = tl.load(rowptr + row)
    end = tl.load(rowptr + row + 1)
    byte = channel
    if PACKED:
        byte = tl.where(channel < half, channel, channel - half)
    total = tl.zeros([BLOCK], dtype=tl.int64)
    weights = tl.zeros([BLOCK], dtype=tl.int64)
    value = tl.zeros([BLOCK], dtype=tl.float32)
    for start in range(begin, end, GUARD):
        part = tl.zeros([BLOCK], dtype=tl.int32)
        for entry in range(start, tl.minimum(end, start + GUARD)):
            source = entry
            if HAS_COL:
                source = tl.load(col + entry).to(tl.int64)
            level = tl.load(x + source * x_stride + byte, mask=inside, other=0).to(tl.int32)
            if PACKED:
                level = tl.where(channel < half, ((level & 15) ^ 8) - 8, level >> 4)
            if PER_ROW:
                number = level.to(tl.float32) * tl.load(scale + source)
                if HAS_WEIGHT:
                    number *= tl.load(weight + entry * HEADS + head, mask=inside, other=0).to(tl.float32)
                if KIND == 2:
                    value = tl.where((entry == begin) | (number > value), number, value)
                else:
                    value += number
            elif KIND == 2:
                part = tl.where((entry == start) | (level > part), level, part)
            elif HAS_WEIGHT:
                factor = tl.load(weight + entry * HEADS + head, mask=inside, other=0).to(tl.int32)
                part += level * factor
                weights += factor
            else:
                part += level
        if KIND == 2:
            total = tl.where((start == begin) | (part > total), part.to(tl.int64), total)
        else:
            total += part
    if not PER_ROW:
        if HAS_ZERO:
            times = tl.zeros([BLOCK], dtype=tl.int64) + (end - begin)
            if HAS_WEIGHT:
                times = weights
            if KIND == 2:
                times = tl.zeros([BLOCK], dtype=tl.int64) + tl.minimum(end - begin, 1)
            total -= tl.load(zero).to(tl.int64) * times
        value = total.to(tl.float32) * tl.load(scale)
    if HAS_WEIGHT:
        value = value * tl.load(list_scale + row * HEADS + head, mask=inside, other=0.0)
    if KIND == 1:
        value = value / tl.maximum(end - begin, 1).to(tl.float32)
    to = out + row * num_channels + channel
    if REQUANTIZE:
        middle = tl.load(out_zero)
        level = value / tl.load(out_scale)
        level = tl.minimum(tl.maximum(level, (out_low - middle).to(tl.float32)), (out_high - middle).to(tl.float32))
        # Adding 1.5 * 2^23 rounds to the nearest whole number, to the even one of two.
        level = (level + 12582912.0) - 12582912.0
        tl.store(to, (level.to(tl.int32) + middle).to(tl.int8), mask=inside)
    else:
        tl.store(to, value, mask=inside)
