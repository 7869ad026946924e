"""Windows and anchors of a predictive query as calendar months and microseconds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from graphlearn.tasks.query_tree import Window

_SECOND = 1_000_000
_US = {
    "SECONDS": _SECOND, "MINUTES": 60 * _SECOND, "HOURS": 3_600 * _SECOND, "DAYS": 86_400 * _SECOND,
    "WEEKS": 7 * 86_400 * _SECOND,
}  # fmt: skip
_MONTHS = {"MONTHS": 1, "YEARS": 12}
_FARTHEST = 1_000 * 366 * 86_400 * _SECOND


@dataclass(frozen=True)
class Offset:
    """Calendar months, clipped at the end of the month, or microseconds; never both."""

    months: int = 0
    us: int = 0

    def after(self, times: np.ndarray) -> np.ndarray:
        """``times`` moved by this: int64 microseconds ``[N]``."""
        if not self.months:
            return np.asarray(times + self.us)
        stamps = pd.Series(times.astype("datetime64[us]")) + pd.DateOffset(months=self.months)
        moved: np.ndarray = stamps.astype("datetime64[us]").to_numpy().astype(np.int64)
        return moved

    def longest(self) -> int:
        """Microseconds that this is at most."""
        return self.us + abs(self.months) * 31 * _US["DAYS"]

    def times(self, number: int) -> Offset:
        """So many of them."""
        return Offset(self.months * number, self.us * number)

    def plus(self, other: Offset) -> Offset:
        """One after the other; both are of the same unit."""
        return Offset(self.months + other.months, self.us + other.us)

    def __str__(self) -> str:
        if self.months:
            return f"{self.months} months"
        return str(pd.Timedelta(self.us, unit="us")).removesuffix(" 00:00:00")


def offset(number: float, unit: str) -> Offset:
    """A number of units.

    Raises:
        ValueError: If it is no whole number of months, or microseconds, or longer than a thousand years.
    """
    if unit in _MONTHS:
        if number != int(number):
            raise ValueError(f"{number:g} {unit.lower()} are no whole number of months. Give whole ones, or use days")
        made = Offset(months=int(number) * _MONTHS[unit])
    else:
        made = Offset(us=round(number * _US[unit]))
    if abs(made.months) > 12_000 or abs(made.us) > _FARTHEST:
        raise ValueError(f"{number:g} {unit.lower()} are longer than a thousand years. Write -INF for all of the past")
    return made


@dataclass(frozen=True)
class Bounds:
    """``(anchor + start, anchor + end]``; a start of None lies infinitely far back."""

    start: Offset | None
    end: Offset

    def shifted(self, number: int) -> Bounds:
        """So many of its own lengths later."""
        assert self.start is not None
        length = self.end.plus(self.start.times(-1)).times(number)
        return Bounds(self.start.plus(length), self.end.plus(length))


def bounds(window: Window) -> Bounds:
    """The window in months or microseconds.

    Raises:
        ValueError: As :func:`offset`.
    """
    start = None if window.start is None else offset(window.start, window.unit)
    return Bounds(start, offset(window.end, window.unit))
