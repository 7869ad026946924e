"""Small pieces of SVG: a canvas, and axes of numbers and of times."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd

from graphlearn.report.markup import Markup, join, tag
from graphlearn.report.words import short

WIDE, NARROW = 760, 344
"""Widths that every chart is drawn for, in CSS pixels: text is never scaled to less than it was drawn at."""
_LETTER = 6.6  # of a 12 px letter, on average


def both(draw: Callable[[int], Markup]) -> Markup:
    """A chart for screens and one for phones; the page shows one of them."""
    return join([tag("div", draw(WIDE), class_="wide"), tag("div", draw(NARROW), class_="narrow")])


def text_width(text: str, size: float = 12) -> float:
    """About how wide a text is."""
    return len(text) * _LETTER * size / 12


@dataclass(frozen=True)
class Axis:
    """Values from ``low`` to ``high`` at pixels from ``start`` to ``end``, with ticks ``(value, text)``."""

    low: float
    high: float
    start: float
    end: float
    ticks: tuple[tuple[float, str], ...] = ()

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return round(self.start + min(max(share, 0.0), 1.0) * (self.end - self.start), 2)


def numbers_axis(
    low: float, high: float, start: float, end: float, *, most: int = 5, text: Callable[[float], str] = short,
    exact: bool = False,
) -> Axis:  # fmt: skip
    """An axis of numbers whose ends are ticks, or with ``exact`` the values given."""
    if not high > low:
        low, high = low - (abs(low) / 2 or 0.5), high + (abs(high) / 2 or 0.5)
    step = _step((high - low) / max(most - 1, 1))
    if not exact:
        low, high = math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    values = [i * step for i in range(first, last + 1)]
    return Axis(low, high, start, end, tuple((v, text(round(v, 12))) for v in values))


def times_axis(low: int, high: int, start: float, end: float) -> Axis:
    """An axis of microseconds UTC with ticks at the starts of years, months or days."""
    if high <= low:
        only = _time_ticks(pd.DatetimeIndex([pd.Timestamp(low, unit="us")]), "%Y-%m-%d")
        return Axis(low - 1, low + 1, start, end, only)
    begin, stop = pd.Timestamp(low, unit="us"), pd.Timestamp(high, unit="us")
    most = max(2, int(abs(end - start) // 76))
    for frequency, form in _CALENDAR:
        ticks = pd.date_range(begin.normalize(), stop, freq=frequency)
        ticks = ticks[(ticks >= begin) & (ticks <= stop)]
        if 2 <= len(ticks) <= most:
            return Axis(low, high, start, end, _time_ticks(ticks, form))
    for step in (1, 2, 5, 10, 20, 50, 100):
        years = [year for year in range(begin.year + 1, stop.year + 1) if year % step == 0]
        if 2 <= len(years) <= most:
            ticks = pd.DatetimeIndex([pd.Timestamp(year, 1, 1) for year in years])
            return Axis(low, high, start, end, _time_ticks(ticks, "%Y"))
    return Axis(low, high, start, end, _time_ticks(pd.DatetimeIndex([begin, stop]), "%Y-%m-%d"))


def _time_ticks(ticks: pd.DatetimeIndex, form: str) -> tuple[tuple[float, str], ...]:
    return tuple((float(t.as_unit("us").asm8.astype("int64")), t.strftime(form)) for t in ticks)


class Canvas:
    """An SVG that is being drawn.

    Args:
        width: In CSS pixels.
        height: Likewise.
        title: What it shows, for those who cannot see it.
    """

    def __init__(self, width: int, height: float, title: str) -> None:
        self.width, self.height, self.title = width, math.ceil(height), title
        self._parts: list[Markup] = []

    def add(self, *parts: Markup) -> None:
        """Puts elements on top."""
        self._parts += parts

    def text(self, x: float, y: float, text: object, *, anchor: str = "start", class_: str = "") -> None:
        """A line of text whose baseline begins, ends or is centred at (x, y)."""
        where = None if anchor == "start" else anchor
        self.add(tag("text", text, x=_px(x), y=_px(y), text_anchor=where, class_=class_ or None))

    def line(self, x1: float, y1: float, x2: float, y2: float, class_: str) -> None:
        self.add(tag("line", x1=_px(x1), y1=_px(y1), x2=_px(x2), y2=_px(y2), class_=class_))

    def rect(
        self, x: float, y: float, width: float, height: float, class_: str, *, title: str = "", r: float = 0
    ) -> None:
        self.add(
            tag("rect", _title(title), x=_px(x), y=_px(y), width=_px(max(width, 0)), height=_px(max(height, 0)),
                rx=_px(r) if r else None, class_=class_)
        )  # fmt: skip

    def dot(self, x: float, y: float, radius: float, class_: str, *, title: str = "") -> None:
        self.add(tag("circle", _title(title), cx=_px(x), cy=_px(y), r=_px(radius), class_=class_))

    def path(self, points: Sequence[tuple[float, float]], class_: str) -> None:
        """A line through points."""
        self.add(tag("polyline", points=" ".join(f"{_px(x)},{_px(y)}" for x, y in points), class_=class_))

    def below(self, axis: Axis, y: float, *, grid_to: float | None = None) -> None:
        """The ticks of a horizontal axis at ``y``; its lines go up to ``grid_to``."""
        for value, text in axis.ticks:
            x = axis(value)
            if grid_to is not None:
                self.line(x, y, x, grid_to, "grid")
            half = text_width(text, 11) / 2
            anchor = "end" if x + half > self.width else "start" if x - half < 0 else "middle"
            self.text(x, y + 15, text, anchor=anchor, class_="tick")

    def beside(self, axis: Axis, x: float, *, grid_to: float) -> None:
        """The ticks of a vertical axis to the left of ``x``, with lines to ``grid_to``."""
        for value, text in axis.ticks:
            self.line(x, axis(value), grid_to, axis(value), "grid")
            self.text(x - 6, axis(value) + 4, text, anchor="end", class_="tick")

    def markup(self, class_: str = "") -> Markup:
        """The element."""
        box = f"0 0 {self.width} {self.height}"
        return tag(
            "svg", tag("title", self.title), *self._parts, viewBox=box, width=self.width, height=self.height,
            role="img", aria_label=self.title, class_=class_ or None,
        )  # fmt: skip


def _title(text: str) -> Markup | None:
    return tag("title", text) if text else None


def _px(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _step(rough: float) -> float:
    """The next of 1, 2, 2.5, 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(power * step for step in (1, 2, 2.5, 5, 10) if power * step >= rough * 0.999)


_CALENDAR = (("D", "%b %d"), ("W-MON", "%b %d"), ("MS", "%b %Y"), ("QS", "%b %Y"))
