"""Rows in memory, sorted once by (hub, time): every window of a seed is a range of them, found by binary search."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from graphlearn.features.columns import Value

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass
class Rows:
    """The rows of a source, sorted by (hub, time, tie).

    Args:
        start: Where the rows of each hub begin, int64 ``[K + 1]``.
        time: When each is known, int64 ``[n]`` microseconds UTC.
        columns: One number per row and value, ``[n]``, NaN where it is missing; of kind ``hash`` int64, with
            :data:`MISSING`.
        known: Of hubs' own rows: since when each value is known, int64 ``[n]``.
        keys: Of kind ``key``: position in ``dictionary``, int64 ``[n]``, or -1.
        dictionary: The distinct keys.
        sums: Running sums that were asked for.
        number_of_rows: Where one row stands for all of its time, of which only sums are known: their running number.
    """

    start: Ints
    time: Ints
    columns: dict[Value, npt.NDArray[np.generic]]
    known: dict[Value, Ints] = field(default_factory=dict)
    keys: dict[Value, Ints] = field(default_factory=dict)
    dictionary: dict[Value, pa.Array] = field(default_factory=dict)
    sums: dict[tuple[str, Value], npt.NDArray[np.generic]] = field(default_factory=dict, repr=False)
    number_of_rows: Floats | None = None
    _complete: dict[Value, bool] = field(default_factory=dict, repr=False)

    @property
    def size(self) -> int:
        """Number of rows."""
        return len(self.time)

    def of(self, hubs: Ints) -> Rows:
        """The rows of some hubs, which are numbered anew; -1 is a hub without rows."""
        if len(hubs) == 1 and hubs[0] >= 0:
            low, high = self.start[hubs[0]], self.start[hubs[0] + 1]
            picked: slice | Ints = slice(low, high)
            start = np.array([0, high - low])
        else:
            first = np.where(hubs < 0, 0, self.start[hubs])
            count = np.where(hubs < 0, 0, self.start[hubs + 1] - first)
            start = np.concatenate([[0], np.cumsum(count)])
            picked = np.repeat(first - start[:-1], count) + np.arange(start[-1])
        return Rows(
            start,
            self.time[picked],
            {value: column[picked] for value, column in self.columns.items()},
            {value: time[picked] for value, time in self.known.items()},
            {value: code[picked] for value, code in self.keys.items()},
            self.dictionary,
        )

    def upto(self, hub: Ints, time: Ints, *, strict: bool = False) -> Ints:
        """The end of each hub's rows with ``time <=`` a time (``<`` if strict), int64 ``[N]``; hub -1 has none.

        Cost: one step over all seeds for each doubling of the longest list.
        """
        if len(self.start) == 2:
            found = np.searchsorted(self.time, time, side="left" if strict else "right")
            return np.where(hub < 0, 0, found)
        low, high = np.where(hub < 0, 0, self.start[hub]), np.where(hub < 0, 0, self.start[hub + 1])
        if not self.size:
            return low
        longest = int((high - low).max(initial=0))
        for _ in range(longest.bit_length()):
            middle = (low + high) // 2
            at = self.time[np.minimum(middle, self.size - 1)]
            right = ((at < time) if strict else (at <= time)) & (low < high)
            low = np.where(right, middle + 1, low)
            high = np.where(right, high, np.where(low < high, middle, high))
        return low

    def number(self, value: Value) -> Floats:
        """A column of numbers."""
        return self.columns[value]  # type: ignore[return-value]

    def is_complete(self, value: Value) -> bool:
        """Whether every row has a value."""
        if value not in self._complete:
            self._complete[value] = value in self.columns and not np.isnan(self.number(value)).any()
        return self._complete[value]

    def running(self, what: str, value: Value) -> Floats:
        """Running sums within each hub, with the sum of what came before each row, ``[n + 1]``: differences of two
        entries of one hub are sums of ranges. ``what``: ``sum``, ``square`` or ``count`` (of rows with a value).
        """
        if (what, value) not in self.sums:
            x = self.number(value)
            if what == "count":
                part = (~np.isnan(x)).astype(np.float64)
            else:
                part = x if self.is_complete(value) else np.nan_to_num(x, nan=0.0)
            self.sums[what, value] = self._running(part**2 if what == "square" else part)
        return self.sums[what, value]  # type: ignore[return-value]

    def distinct(self, value: Value) -> Floats:
        """Running number of different values within each hub, like :meth:`running`."""
        if ("distinct", value) not in self.sums:
            x = self.columns[value]
            new = ~pd.DataFrame({"hub": self.hub, "x": x}).duplicated().to_numpy() & (x != MISSING)
            self.sums["distinct", value] = self._running(new.astype(np.float64))
        return self.sums["distinct", value]  # type: ignore[return-value]

    @property
    def hub(self) -> Ints:
        """The hub of each row, int64 ``[n]``."""
        return np.repeat(np.arange(len(self.start) - 1), np.diff(self.start))

    def _running(self, x: Floats) -> Floats:
        # Summed within each hub: a difference of sums over all would carry the rounding of other hubs' values.
        one = len(self.start) == 2
        grouped = None if one else pd.Series(x).groupby(self.hub, sort=False)
        total = np.cumsum(x) if grouped is None else grouped.cumsum().to_numpy(np.float64)
        return np.concatenate([[0.0], total])


MISSING = np.iinfo(np.int64).min


def running(x: Floats) -> Floats:
    """Running sums with a zero in front, ``[n + 1]``."""
    return np.concatenate([[0.0], np.cumsum(x)])


def sum_between(running: Floats, start: Ints, low: Ints, high: Ints) -> Floats:
    """Sums of the rows ``[low, high)`` of hubs whose rows begin at ``start``, from running sums of each hub."""
    upto = np.where(high > start, running[high], 0.0)
    return upto - np.where(low > start, running[low], 0.0)


def extreme(x: Floats, low: Ints, high: Ints, *, largest: bool) -> Floats:
    """The least or largest value of each range ``[low, high)``, NaN without any.

    Each range is the union of two overlapping blocks whose length is a power of two. Cost: one pass over the rows for
    each doubling of the longest range.
    """
    pick = np.fmax if largest else np.fmin
    result = np.full(len(low), np.nan)
    level = np.frexp(np.maximum(high - low, 0).astype(np.float64))[1] - 1  # -1: empty
    block = x
    for i in range(int(level.max(initial=-1)) + 1):
        if i:
            half = 1 << (i - 1)
            block = pick(block[:-half], block[half:])
        at = np.flatnonzero(level == i)
        result[at] = pick(block[low[at]], block[high[at] - (1 << i)])
    return result
