"""Numbers and times as a reader wants them."""

from __future__ import annotations

import math

import pandas as pd

UNKNOWN = "–"
_MINUS = "\u2212"


def number(value: float | int | None, digits: int = 3) -> str:
    """A number with thousands separators: whole ones as they are, others with ``digits`` significant digits."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return UNKNOWN
    if isinstance(value, int):
        text = f"{value:,}"
    elif value == 0:
        text = "0"
    else:
        places = max(0, digits - 1 - math.floor(math.log10(abs(value))))
        text = f"{value:,.{places}f}" if places <= 6 else f"{value:.{digits - 1}e}"
    return text.replace("-", _MINUS)


def score(value: float | None) -> str:
    """A metric: three decimals below ten, else three significant digits."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    return f"{value:.3f}".replace("-", _MINUS) if abs(value) < 10 else number(float(value))


def between(low: float | None, high: float | None) -> str:
    """An interval."""
    return UNKNOWN if score(low) == UNKNOWN else f"{score(low)} to {score(high)}"


def percent(share: float | None) -> str:
    """A share as a percentage of at most one decimal."""
    if share is None or not math.isfinite(share):
        return UNKNOWN
    return f"{100 * share:.1f}%" if 0 < share < 0.0995 else f"{100 * share:.0f}%"


def short(value: float) -> str:
    """A number for the tick of an axis: 1200 is 1.2k."""
    for limit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= limit:
            return f"{value / limit:.3g}{letter}".replace("-", _MINUS)
    return f"{value:.6g}".replace("-", _MINUS)


def seconds(value: float | None) -> str:
    """A duration: 0.4 s, 35 s, 4 min 10 s."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    if value < 9.95:
        return f"{value:.1f} s"
    whole = round(value)
    return f"{whole} s" if whole < 120 else f"{whole // 60} min {whole % 60} s"


def day(us: int) -> str:
    """The day of a time in microseconds UTC."""
    return str(pd.Timestamp(us, unit="us").strftime("%Y-%m-%d"))


def count(number_of: int, what: str) -> str:
    """``1 row``, ``2,000 rows``."""
    return f"{number_of:,} {what}{'' if number_of == 1 else 's'}"


def clipped(text: object, most: int) -> str:
    """A text of at most ``most`` characters."""
    line = " ".join(str(text).split())
    return line if len(line) <= most else line[: most - 1].rstrip() + "…"
