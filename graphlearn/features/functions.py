"""What is made of the rows that a seed may see: counts, means, spreads, extremes, last values, gaps and trends."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from graphlearn.features.columns import Value
from graphlearn.features.paths import Source
from graphlearn.features.rows import MISSING, Floats, Ints, Rows, extreme, sum_between

DAY = 86_400_000_000
_NOISE = 1e-10
"""Variances below this share of the mean square are rounding."""


@dataclass(frozen=True)
class Feature:
    """One column of the table of features.

    Args:
        name: Readable name.
        function: What is made of the rows.
        source: The rows, or None for what only depends on the times of the seed.
        value: What is read of each row, or None: the rows themselves.
        window: Only rows after ``input_time - window``, microseconds; None: all up to ``input_time``.
        rows: Only the last so many of these; None: all.
    """

    name: str
    function: str
    source: Source | None = None
    value: Value | None = None
    window: int | None = None
    rows: int | None = None

    @property
    def categorical(self) -> bool:
        """Whether its numbers are codes."""
        return self.function in ("value", "last", "mode") and self.value is not None and self.value.kind == "code"


class View:
    """What seeds see of a source's rows.

    Args:
        rows: The rows.
        hub: Position of each seed's hub, int64 ``[N]``; -1: it has none.
        seed_time: int64 ``[N]`` microseconds UTC.
        input_time: The newest time each may see, int64 ``[N]``.
        strict: Only rows before that time.
        own: Whether seeds see the hub's own row whatever its time.
    """

    def __init__(
        self, rows: Rows, hub: Ints, seed_time: Ints, input_time: Ints, *, strict: bool = False, own: bool = False
    ) -> None:
        self.rows, self.hub, self.own = rows, hub, own
        self.seed_time, self.input_time = seed_time, input_time
        self.start = np.where(hub < 0, 0, rows.start[hub])
        self.high = rows.upto(hub, input_time, strict=strict)
        self._lows: dict[tuple[int | None, int | None], Ints] = {}

    def low(self, window: int | None, last: int | None) -> Ints:
        """Where the rows of each seed's window begin; they end at :attr:`high`."""
        if (window, last) not in self._lows:
            low = self.start
            if window is not None:
                low = np.minimum(self.rows.upto(self.hub, self.input_time - window), self.high)
            if last is not None:
                low = np.maximum(low, self.high - last)
            self._lows[window, last] = low
        return self._lows[window, last]

    def compute(self, feature: Feature) -> Floats:
        """The feature of every seed, float64 ``[N]``, NaN where it is missing."""
        if feature.source is not None and feature.source.is_own:
            return self._own(feature)
        low = self.low(feature.window, feature.rows)
        made: Floats = getattr(self, f"_{feature.function.replace(' ', '_')}")(feature, low)
        return made

    def key(self, value: Value) -> Ints:
        """Position in the dictionary of the newest key that is not NULL, or of the own row's, or -1, int64 ``[N]``."""
        codes = self.rows.keys[value]
        if value in self.rows.known:
            first = self._first_row(value)
            return np.where(first < 0, -1, _take(codes, first))
        newest = np.maximum.accumulate(np.where(codes >= 0, np.arange(len(codes)), -1), dtype=np.int64)
        found = np.where(self.high > self.start, _take(newest, self.high - 1), -1)
        return np.where(found >= self.start, _take(codes, found), -1)

    # Of the hub's own row

    def _first_row(self, value: Value) -> Ints:
        there = (self.hub >= 0) & (self.rows.start[self.hub] < self.rows.start[self.hub + 1])
        row = np.where(there, self.start, -1)
        seen = _take(self.rows.known[value], row) <= self.input_time
        if (self.own and not value.via) or (self.own and value.kind == "key" and len(value.via) == 1):
            seen = np.ones_like(seen)
        return np.where(seen, row, -1)

    def _own(self, feature: Feature) -> Floats:
        assert feature.value is not None
        row = self._first_row(feature.value)
        found = np.where(row < 0, np.nan, _take(self.rows.number(feature.value), row))
        return self._ago(found) if feature.function == "age" else found

    # Of rows

    def _count(self, feature: Feature, low: Ints) -> Floats:
        if self.rows.number_of_rows is not None:
            return sum_between(self.rows.number_of_rows, self.start, low, self.high)
        return (self.high - low).astype(np.float64)

    def _since_last(self, feature: Feature, low: Ints) -> Floats:
        return self._ago(self._time(self.high - 1, low))

    def _since_first(self, feature: Feature, low: Ints) -> Floats:
        return self._ago(self._time(low, low))

    def _gap(self, feature: Feature, low: Ints) -> Floats:
        count = self.high - low
        span = self._time(self.high - 1, low) - self._time(low, low)
        return np.where(count > 1, span / DAY / np.maximum(count - 1, 1), np.nan)

    def _last(self, feature: Feature, low: Ints) -> Floats:
        return self._at(feature, self.high - 1, low)

    def _first(self, feature: Feature, low: Ints) -> Floats:
        return self._at(feature, low, low)

    def _age(self, feature: Feature, low: Ints) -> Floats:
        return self._ago(self._at(feature, self.high - 1, low))

    def _sum(self, feature: Feature, low: Ints) -> Floats:
        count = self._between("count", feature, low)
        return np.where(count > 0, self._between("sum", feature, low), np.nan)

    def _mean(self, feature: Feature, low: Ints) -> Floats:
        count = self._between("count", feature, low)
        return np.where(count > 0, self._between("sum", feature, low) / np.maximum(count, 1), np.nan)

    def _std(self, feature: Feature, low: Ints) -> Floats:
        count = self._between("count", feature, low)
        mean = self._between("sum", feature, low) / np.maximum(count, 1)
        square = self._between("square", feature, low) / np.maximum(count, 1)
        variance = square - mean**2
        spread = np.sqrt(np.where(variance > _NOISE * square, variance, 0.0))
        return np.where(count > 1, spread, np.nan)

    def _min(self, feature: Feature, low: Ints) -> Floats:
        return extreme(self._column(feature), low, self.high, largest=False)

    def _max(self, feature: Feature, low: Ints) -> Floats:
        return extreme(self._column(feature), low, self.high, largest=True)

    def _trend(self, feature: Feature, low: Ints) -> Floats:
        return self._mean(feature, low) - self._mean(feature, self.start)

    def _distinct(self, feature: Feature, low: Ints) -> Floats:
        assert feature.value is not None
        if feature.rows is None:
            assert feature.window is None
            return sum_between(self.rows.distinct(feature.value), self.start, low, self.high)
        index = self.high[:, None] - 1 - np.arange(feature.rows)  # [N, rows]
        seen = np.where(index >= low[:, None], _take(self.rows.columns[feature.value], index), MISSING)
        x = np.sort(seen, axis=1)
        found: Floats = ((x[:, 1:] != x[:, :-1]).sum(axis=1) + (x[:, 0] != MISSING)).astype(np.float64)
        return found

    def _mode(self, feature: Feature, low: Ints) -> Floats:
        assert feature.value is not None
        codes = self._column(feature)
        best, most = np.full(len(low), np.nan), np.zeros(len(low))
        for code in range(len(feature.value.vocabulary)):
            one = Value("is", feature.value.column, feature.value.via, str(code))
            if one not in self.rows.columns:
                self.rows.columns[one] = (codes == code).astype(np.float64)
            count = sum_between(self.rows.running("sum", one), self.start, low, self.high)
            best, most = np.where(count > most, code, best), np.maximum(count, most)
        return best

    def _between(self, what: str, feature: Feature, low: Ints) -> Floats:
        assert feature.value is not None
        if what == "count" and self.rows.is_complete(feature.value):
            return (self.high - low).astype(np.float64)
        return sum_between(self.rows.running(what, feature.value), self.start, low, self.high)

    def _column(self, feature: Feature) -> Floats:
        assert feature.value is not None
        return self.rows.number(feature.value)

    def _at(self, feature: Feature, index: Ints, low: Ints) -> Floats:
        return np.where(self.high > low, _take(self._column(feature), index), np.nan)

    def _time(self, index: Ints, low: Ints) -> Floats:
        return np.where(self.high > low, _take(self.rows.time, index).astype(np.float64), np.nan)

    def _ago(self, time: Floats) -> Floats:
        return (self.seed_time - time) / DAY


def of_the_seed(function: str, seed_time: Ints, input_time: Ints) -> Floats:
    """What depends on the times of the seed alone: staleness in days, month, day of the week, hour."""
    if function == "staleness":
        return np.asarray((seed_time - input_time) / DAY)
    if function == "month":
        found = seed_time.astype("datetime64[us]").astype("datetime64[M]").astype(np.int64) % 12 + 1
    elif function == "weekday":
        found = (seed_time // DAY + 3) % 7  # 1970-01-01 was a Thursday; 0 is Monday
    else:
        assert function == "hour", function
        found = seed_time % DAY // (DAY // 24)
    return found.astype(np.float64)


def _take(x: np.ndarray, index: Ints) -> np.ndarray:
    """``x[index]``; what lies outside gives any value, also where there are none."""
    if not len(x):
        return np.zeros(index.shape, dtype=x.dtype)
    return x[np.clip(index, 0, len(x) - 1)]
