"""What an explanation says, as values, as JSON and in words."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

_SHOWN = 3
"""Columns that the text of a row names."""
_LONGEST = 40
"""Characters of a value that a text shows."""


@dataclass(frozen=True)
class Cell:
    """One column of a row.

    Attributes:
        column: Its name.
        value: As it stands in the source.
        attribution: By how much the prediction would be lower, on average, with the cell of another row in its place.
    """

    column: str
    value: Any
    attribution: float


@dataclass(frozen=True)
class RowEffect:
    """One row that the prediction was made from.

    Attributes:
        table: Its table.
        pkey: Its primary key as text or number; of a composite key a JSON list; None without one.
        time: Since when it is known (ISO text), or None: always.
        attribution: By how much taking it away lowers the prediction, after the rows that stand before it in the same
            direction were taken away; these numbers add up to the effect of all of them.
        alone: The same if it alone is taken away. None where trees alone predict: they read no rows, and
            ``attribution`` is the row's part of the features made from it.
        keys: Its primary and foreign keys by column.
        cells: Its columns, those that matter most first.
    """

    table: str
    pkey: Any
    time: str | None
    attribution: float
    alone: float | None
    keys: dict[str, Any]
    cells: tuple[Cell, ...]

    @property
    def title(self) -> str:
        """The row without its columns: ``results of 2009-11-01 (raceId 331)``."""
        since = "" if self.time is None else f" of {self.time}"
        named = ", ".join(f"{column} {short(value)}" for column, value in self.keys.items() if value is not None)
        return f"{self.table}{since}{f' ({named})' if named else ''}"

    @property
    def text(self) -> str:
        """The row in words: ``results of 2009-11-01 (raceId 331): positionOrder 17, statusId 4``."""
        cells = [c for c in self.cells if c.value != self.time][:_SHOWN]
        shown = ", ".join(f"{c.column} {short(c.value)}" for c in cells)
        return f"{self.title}{f': {shown}' if shown else ''}"


@dataclass(frozen=True)
class FeatureEffect:
    """One column of the table of features.

    Attributes:
        name: Such as ``results.positionOrder mean 365d``.
        value: Its value, None where it is missing.
        attribution: Its part of the prediction.
        table: The table that it is made from, None if from none.
        column: The column, None for numbers of rows and times.
        window: Length of its window in microseconds, None for all time.
    """

    name: str
    value: Any
    attribution: float
    table: str | None = None
    column: str | None = None
    window: int | None = None


@dataclass(frozen=True)
class Explanation:
    """Why one prediction is what it is.

    Attributes:
        entity_table: Table of the entity.
        entity: Its primary key.
        seed_time: When the prediction is for, ISO text.
        task: Name of the task.
        what: What the number is: ``probability``, ``probability of 'web'``, ``value``.
        prediction: The number as :meth:`Run.predict` gives it.
        base: What the trees say where nothing is known of the features (their ``attribution`` are counted from
            there); None without trees.
        rows: Rows of the model that reads rows, first those of the direction that moves it more; each direction in the
            order in which rows are taken away.
        without: The prediction without the rows that push it up, and without those that push it down.
        own: The entity's own row: its columns, exchanged one by one; ``attribution`` is that of all together. None
            where the prediction may not know it, or is made by trees alone.
        features: What the trees, or a network with features, read of the entity; most important first.
        seen: How many distinct rows the model that reads rows saw, by table; without the entity's own.
        notes: Sentences about what the numbers mean here.
    """

    entity_table: str
    entity: Any
    seed_time: str
    task: str
    what: str
    prediction: float
    base: float | None = None
    rows: tuple[RowEffect, ...] = ()
    without: tuple[float, float] | None = None
    own: RowEffect | None = None
    features: tuple[FeatureEffect, ...] = ()
    seen: dict[str, int] | None = None
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; each row also has its ``text``."""
        values = asdict(self)
        for made, row in zip(values["rows"], self.rows, strict=True):
            made["text"] = row.text
        if self.own is not None:
            values["own"]["text"] = self.own.text
        plain: dict[str, Any] = json.loads(json.dumps(values))  # with lists for tuples
        return plain

    def __str__(self) -> str:
        lines = [
            f"{self.task} of {self.entity_table} {short(self.entity)} at {self.seed_time}: "
            f"{self.what} {number(self.prediction)}"
        ]
        if self.seen is not None:
            told = ", ".join(f"{count:,} {name}" for name, count in self.seen.items() if count)
            lines.append(f"rows seen beside its own: {told or 'none'}")
        for up in [True, False] if self._is_up else [False, True]:
            lines += self._side(up)
        if self.own is not None:
            cells = [cell for cell in self.own.cells if cell.attribution]
            lines += ["", f"Its own row, {self.own.title}, by column:"]
            lines += [f"  {signed(c.attribution)}  {c.column} {short(c.value)}" for c in cells] or ["  nothing"]
        if self.features:
            from_base = "" if self.base is None else f", counted from {number(self.base)}"
            lines += ["", f"Features that were read{from_base}:"]
            lines += [f"  {signed(f.attribution)}  {f.name} = {short(f.value)}" for f in self.features]
        return "\n".join([*lines, *(["", *self.notes] if self.notes else [])])

    @property
    def _is_up(self) -> bool:
        return not self.rows or self.rows[0].attribution > 0

    def _side(self, up: bool) -> list[str]:
        rows = [row for row in self.rows if (row.attribution > 0) == up]
        if not rows:
            return []
        who, them = ("This row pushes", "it") if len(rows) == 1 else (f"These {len(rows)} rows push", "them")
        head = f"{who} the {self.what} {'up' if up else 'down'}"
        if self.without is not None:
            head += f"; without {them}: {number(self.without[0 if up else 1])}"
        return ["", head, *(f"  {signed(row.attribution)}  {row.text}" for row in rows)]


def short(value: object) -> str:
    """A value on one line, cut where it is long; a missing one is a dash."""
    if value is None:
        return "-"
    text = f"{value:.6g}" if isinstance(value, float) else " ".join(str(value).split())
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def number(value: float) -> str:
    """A prediction with four digits after the point, or four significant ones where it is large."""
    return f"{value:.4f}" if abs(value) < 1000 else f"{value:,.1f}"


def signed(value: float) -> str:
    """A change of a prediction: four digits after the point, or two that say something where it is tiny."""
    return f"{value:+.4f}" if value == 0 or abs(value) >= 0.001 else f"{value:+.1e}"
