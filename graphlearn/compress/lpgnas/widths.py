"""The names of bit widths that a search chooses from."""

from __future__ import annotations

import re
from typing import Literal

from graphlearn.compress.quantize import Precision
from graphlearn.compress.quantize.config import attention_weights, weights
from graphlearn.errors import UsageError

Part = Literal["weight", "input", "attention", "message", "aggregate", "output"]
PARTS: tuple[Part, ...] = ("weight", "input", "attention", "message", "aggregate", "output")

FLOAT_BITS = 32
_NAME = re.compile(r"int(\d+)|Q(\d+)\.(\d+)")


def precision(name: str, part: Part) -> Precision | None:
    """How a part is rounded at a width; ``None`` for ``"float"``.

    ``"int8"`` has steps that follow the numbers (of weights per output channel, of edge weights per list of edges), at
    2 to 16 bits; ``"Q2.5"`` is fixed point with a sign bit, two bits before the point and five after it;
    ``"binary"`` and ``"ternary"`` are a magnitude with a sign.

    Raises:
        UsageError: If the name is none of these, or the part cannot have it.
    """
    if name == "float":
        return None
    found = _NAME.fullmatch(name)
    if found is None and name not in ("binary", "ternary"):
        raise UsageError(
            f"'{part}' has no width '{name}'. Widths are float, binary, ternary, int2 to int16, and fixed point such as"
            " Q2.5 (sign, two bits before the point, five after it)."
        )
    if part == "attention":
        if found is None or found[1] is None:
            raise UsageError(f"'attention' has a step per list of edges: int2 to int16 or float, got '{name}'.")
        return attention_weights(int(found[1]))
    per: Literal["channel", "tensor"] = "channel" if part == "weight" else "tensor"
    if found is None:
        source: Literal["current", "ema"] = "current" if part == "weight" else "ema"
        return Precision(1, "binary", per, source) if name == "binary" else Precision(2, "ternary", per, source)
    if found[1] is None:
        return Precision.fixed_point(int(found[2]), int(found[3]))
    return weights(int(found[1])) if part == "weight" else Precision(int(found[1]))


def width_bits(name: str, part: Part) -> int:
    """Bits of a number at this width."""
    rounded = precision(name, part)
    return FLOAT_BITS if rounded is None else rounded.bits
