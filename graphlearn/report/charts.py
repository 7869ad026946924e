"""The charts of the page; each is drawn for a width, in one accent colour."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from graphlearn.report import words
from graphlearn.report.canvas import Axis, Canvas, numbers_axis, text_width, times_axis
from graphlearn.report.markup import Markup


@dataclass(frozen=True)
class Interval:
    """A value with its interval; ``strong`` is what the eye should find."""

    name: str
    value: float
    low: float
    high: float
    strong: bool = False


def interval_rows(rows: Sequence[Interval], metric: str, better: str, width: int) -> Markup:
    """One line for each model: its value as a dot, its interval as a bar."""
    known = [r for r in rows if np.isfinite(r.value)]
    ends = [v for r in known for v in (r.value, r.low, r.high) if np.isfinite(v)] or [0.0, 1.0]
    above = width < 500  # on a phone the name stands above its line
    step, top = (48, 24) if above else (34, 22)
    left = 4 if above else 16 + max(text_width(words.clipped(r.name, 30)) for r in rows)
    right = width - 64
    height = top + step * len(rows) + 42
    canvas = Canvas(width, height, f"{metric} of each model with its 95 % interval")
    axis = numbers_axis(min(ends), max(ends), left + 6, right - 6, most=4 if above else 6)
    bottom = top + step * len(rows)
    canvas.below(axis, bottom, grid_to=top - 8)
    canvas.text(left, bottom + 34, f"{metric}, {better} is better", class_="label")
    for i, row in enumerate(rows):
        y = top + step * i + (30 if above else 14)
        name = words.clipped(row.name, 46 if above else 30)
        canvas.text(left if above else left - 12, y - 14 if above else y + 4, name,
                    anchor="start" if above else "end", class_="strong" if row.strong else "")  # fmt: skip
        if not np.isfinite(row.value):
            canvas.text(left + 6, y + 4, "no value", class_="label")
            continue
        kind = "accent" if row.strong else "plain"
        if np.isfinite(row.low):
            canvas.rect(axis(row.low), y - 3, axis(row.high) - axis(row.low), 6, f"{kind} soft", r=3)
        title = f"{row.name}: {words.score(row.value)}, {words.between(row.low, row.high)}"
        canvas.dot(axis(row.value), y, 5, kind, title=title)
        canvas.text(width - 4, y + 4, words.score(row.value), anchor="end", class_="strong" if row.strong else "")
    return canvas.markup()


@dataclass(frozen=True)
class LabelPoint:
    """The labels of one span of anchors: first and last anchor (microseconds), labels per anchor, and their mean."""

    first: int
    last: int
    rows: float
    mean: float


def labels_over_time(
    points: Sequence[LabelPoint], starts: Sequence[tuple[str, int]], rate: str | None, width: int
) -> Markup:
    """Bars of how many labels there are, and below a line of what they say; a line where each split starts.

    Args:
        points: In the order of time.
        starts: Name and first anchor of each split.
        rate: What the mean of a label is called, or None to leave the lower panel out.
        width: In pixels.
    """
    is_share = rate is not None and rate.startswith("share")
    left, right, top, tall = 46, width - 10, 34, 96
    lower = top + tall + 44
    height = (lower + tall if rate else top + tall) + 24
    canvas = Canvas(width, height, f"Number of labels{' and ' + rate if rate else ''} over time")
    low, high = points[0].first, points[-1].last
    pad = max((high - low) // 40, 1)
    x = times_axis(low - pad, high + pad, left, right)
    y = numbers_axis(0, max(p.rows for p in points), top + tall, top, most=3)
    canvas.beside(y, left, grid_to=right)
    canvas.text(left, top - 20, "labels per anchor", class_="label")
    for p, start, end in zip(points, *_edges([x((p.first + p.last) / 2) for p in points]), strict=True):
        title = (
            f"{words.day(p.first)} to {words.day(p.last)}: {words.short(p.rows)} labels, mean {words.number(p.mean)}"
        )
        canvas.rect(start, y(p.rows), end - start, y(0) - y(p.rows), "plain bar", title=title)
    panels = [(top - 8, top + tall)]
    if rate:
        means = [p.mean for p in points if np.isfinite(p.mean)] or [0.0]
        value = numbers_axis(
            0 if is_share or min(means) >= 0 else min(means), max(means), lower + tall, lower, most=3,
            text=(lambda v: f"{100 * v:.3g}%") if is_share else words.short,
        )  # fmt: skip
        canvas.beside(value, left, grid_to=right)
        canvas.text(left, lower - 12, rate, class_="label")
        line = [(x((p.first + p.last) / 2), value(p.mean)) for p in points if np.isfinite(p.mean)]
        if len(line) > 1:
            canvas.path(line, "accent line")
        for px, py in line if len(line) <= 60 else []:
            canvas.dot(px, py, 2.5, "accent")
        panels.append((lower, lower + tall))
    canvas.below(x, panels[-1][1])
    _mark_splits(canvas, x, starts, panels)
    return canvas.markup()


def _edges(middles: Sequence[float]) -> tuple[list[float], list[float]]:
    """Where bars start and end that stand around their middles: up to the half way to the next, at most 26 wide."""
    at = np.asarray(middles)
    gaps = np.diff(at) if len(at) > 1 else np.array([26.0])
    half = np.minimum(np.r_[gaps[:1], gaps], np.r_[gaps, gaps[-1:]])[: len(at)] * 0.4
    half = np.clip(half, 0.75, 13)
    return (at - half).tolist(), (at + half).tolist()


def _mark_splits(
    canvas: Canvas, x: Axis, starts: Sequence[tuple[str, int]], panels: Sequence[tuple[float, float]]
) -> None:
    taken = canvas.width + 12.0
    for name, time in reversed(starts):
        at = max(x(time) - 4, x.start)
        for upper, lower in panels if name != starts[0][0] else []:
            canvas.line(at, upper, at, lower, "split")
        wide = text_width(name, 11)
        # From the right, each name at the line of its split, or before the next name where that leaves no room.
        place = max(min(at + 4, taken - wide - 10), 0)
        canvas.text(place, panels[0][0] + 4, name, class_="tick strong")
        taken = place


@dataclass(frozen=True)
class CalibrationBin:
    """Rows of like predictions: their mean, what came true (mean or median) and its interval or quartiles."""

    predicted: float
    actual: float
    low: float
    high: float
    rows: int


def calibration(bins: Sequence[CalibrationBin], across: str, up: str, *, shares: bool, width: int) -> Markup:
    """What was predicted against what came; on the diagonal both agree. Below, how many rows each dot stands for."""
    size = min(width - 60, 400)
    left, top = 52, 28
    ends = [v for b in bins for v in (b.predicted, b.actual, b.low, b.high)]
    low, high = (0.0, 1.0) if shares else (min(ends), max(ends))
    text = (lambda v: f"{100 * v:.3g}%") if shares else words.short
    x = numbers_axis(low, high, left, left + size, most=5 if width > 500 else 4, text=text)
    y = Axis(x.low, x.high, top + size * 0.8, top, x.ticks)
    floor = top + size * 0.8
    counts = floor + 82
    canvas = Canvas(width, counts + 22, f"{up} against {across}")
    canvas.text(0, 14, f"↑ {up}", class_="label")
    canvas.beside(y, left, grid_to=left + size)
    canvas.below(x, floor, grid_to=None)
    canvas.text(left + size, floor + 32, f"{across} →", anchor="end", class_="label")
    canvas.line(x(x.low), y(x.low), x(x.high), y(x.high), "diagonal")
    canvas.path([(x(b.predicted), y(b.actual)) for b in bins], "accent line thin")
    most = max(b.rows for b in bins)
    bar = min(22, 0.6 * size / len(bins))
    for b in bins:
        canvas.line(x(b.predicted), y(b.low), x(b.predicted), y(b.high), "accent whisker")
        form = words.percent if shares else words.number
        title = f"predicted {form(b.predicted)}, came {form(b.actual)}, {words.count(b.rows, 'row')}"
        canvas.dot(x(b.predicted), y(b.actual), 4.5, "accent", title=title)
        tall = 34 * b.rows / most
        canvas.rect(x(b.predicted) - bar / 2, counts - tall, bar, tall, "plain bar", title=words.count(b.rows, "row"))
    canvas.line(left, counts, left + size, counts, "grid")
    canvas.text(left, counts + 16, f"rows behind each dot, at most {most:,}", class_="label")
    return canvas.markup()


def curve(
    points: Sequence[tuple[int, float]],
    name: str,
    *,
    chosen: int | None,
    width: int,
    also: Sequence[tuple[int, float]] = (),
) -> Markup:
    """A value by epoch; the epoch that was chosen is marked, a second training is a thin line."""
    left, right, top, tall = 52, width - 58, 30, 120
    canvas = Canvas(width, top + tall + 40, f"{name} after each epoch")
    values = [v for _, v in [*points, *also]]
    last = max(e for e, _ in [*points, *also])
    x = numbers_axis(1, max(last, 2), left + 8, right, most=min(last, 8) if last > 1 else 2, exact=True)
    x = Axis(x.low, x.high, x.start, x.end, tuple(t for t in x.ticks if float(t[0]).is_integer()))
    y = numbers_axis(min(values), max(values), top + tall, top, most=4)
    canvas.beside(y, left, grid_to=right)
    canvas.below(x, top + tall)
    canvas.text(0, 14, name, class_="label strong")
    canvas.text(right, top + tall + 33, "epoch", anchor="end", class_="label")
    if also:
        canvas.path([(x(e), y(v)) for e, v in also], "plain line dashed")
        end, ours = y(also[-1][1]), y(points[-1][1]) if points else float("inf")
        apart = max(13 - abs(end - ours), 0)  # two labels must not stand on each other
        canvas.text(right + 6, end + 4 + (apart if end > ours else -apart), "refit", class_="tick")
    if points:
        canvas.path([(x(e), y(v)) for e, v in points], "accent line")
        canvas.text(right + 6, y(points[-1][1]) + 4, words.score(points[-1][1]), class_="tick strong")
    for epoch, value in points:
        if epoch == chosen:
            canvas.dot(x(epoch), y(value), 5, "accent", title=f"epoch {epoch}, chosen: {words.score(value)}")
    return canvas.markup()


def bars(rows: Sequence[tuple[str, float]], title: str, width: int) -> Markup:
    """Horizontal bars of shares with their names."""
    above = width < 500
    step, top = (38, 4) if above else (25, 4)
    most = max((value for _, value in rows), default=0) or 1.0
    names = [words.clipped(name, 44 if above else 38) for name, _ in rows]
    left = 2 if above else 12 + max(map(text_width, names), default=0)
    room = width - left - 62
    canvas = Canvas(width, top + step * len(rows) + 6, title)
    for i, ((name, value), shown) in enumerate(zip(rows, names, strict=True)):
        y = top + step * i
        at = y + 16 if above else y
        canvas.text(
            left if above else left - 10, y + 12 if above else y + 15, shown, anchor="start" if above else "end"
        )
        long = max(value / most * room, 1)
        text = words.percent(value)
        canvas.rect(left, at + 3, long, 15, "accent bar", title=f"{name}: {text}", r=2)
        canvas.text(left + long + 7, at + 15, text, class_="tick")
    return canvas.markup()


def effect(share: float) -> Markup:
    """A small bar to the right of a middle line, or to its left: ``share`` of the greatest, in [-1, 1]."""
    half = 34
    canvas = Canvas(2 * half + 2, 14, "raises it" if share > 0 else "lowers it")
    long = max(abs(share) * half, 1)
    canvas.rect(half + 1 if share > 0 else half + 1 - long, 3, long, 9, "accent bar" if share > 0 else "plain")
    canvas.line(half + 1, 0, half + 1, 14, "middle")
    return canvas.markup("full")


@dataclass(frozen=True)
class Span:
    """A metric over a span of time (microseconds) with its interval."""

    first: int
    last: int
    value: float
    low: float
    high: float
    rows: int


def over_time(spans: Sequence[Span], metric: str, better: str, width: int) -> Markup:
    """The metric of each span: a dot in its middle, its interval up and down."""
    left, right, top, tall = 52, width - 14, 30, 150
    canvas = Canvas(width, top + tall + 26, f"{metric} over the time of the split")
    ends = [v for s in spans for v in (s.value, s.low, s.high) if np.isfinite(v)]
    x = times_axis(spans[0].first, spans[-1].last, left + 14, right - 14)
    y = numbers_axis(min(ends), max(ends), top + tall, top, most=5)
    canvas.text(0, 14, f"{metric}, {better} is better", class_="label")
    canvas.beside(y, left, grid_to=right)
    canvas.below(x, top + tall)
    known = [s for s in spans if np.isfinite(s.value)]
    canvas.path([(x((s.first + s.last) / 2), y(s.value)) for s in known], "accent line thin")
    for s in known:
        at = x((s.first + s.last) / 2)
        canvas.line(x(s.first), y(s.value), x(s.last), y(s.value), "accent span")
        if np.isfinite(s.low):
            canvas.line(at, y(s.low), at, y(s.high), "accent whisker")
        title = f"{words.day(s.first)} to {words.day(s.last)}: {words.score(s.value)}, {words.between(s.low, s.high)}"
        canvas.dot(at, y(s.value), 4.5, "accent", title=f"{title}, {words.count(s.rows, 'row')}")
    return canvas.markup()
