"""What the rows up to a time look like: their columns, how often they come, and what time scale they live on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from graphlearn.database import is_time
from graphlearn.features.columns import rows_sql
from graphlearn.features.paths import Hop, Source, usable_keys
from graphlearn.schema.keys import category_sql, cell, match_sql, numeric_sql, one_key_sql, time_sql, visible_rows
from graphlearn.schema.schema import Column, Table

if TYPE_CHECKING:
    from graphlearn.schema import Database

DAY = 86_400_000_000
LADDER = tuple(int(days * DAY) for days in (1 / 24, 0.25, 1, 3, 7, 14, 30, 60, 90, 180, 365, 730, 1095, 1825, 3650))
"""Windows that people think in."""
VOCABULARY = 50
"""Categories that have a code; a million others count as missing."""
_CLOCK = 0.99
"""Columns that go with the time of their rows as closely as this are clocks: years, seasons, counters."""
_ENOUGH = 30
"""Of fewer rows nobody can say that a column is a clock."""


@dataclass(frozen=True)
class Profile:
    """One column.

    Args:
        column: The column.
        kind: ``number``, ``category``, ``when``, ``key`` or ``other``.
        nulls: Share of rows in which it is NULL.
        vocabulary: Of a category, the most frequent ones, most frequent first.
        shares: How often each of these comes among the rows that have one.
        clock: Whether it goes with the time of its rows, so that its value says when rather than what.
    """

    column: Column
    kind: str
    nulls: float
    vocabulary: tuple[str, ...] = ()
    shares: tuple[float, ...] = ()
    clock: bool = False


def profile_table(db: Database, table: Table, until: int, hidden: frozenset[tuple[str, str]]) -> list[Profile]:
    """The columns of a table that features may be made of, as its rows up to ``until`` have them."""
    columns = [
        (column, kind)
        for column in table.columns
        if (table.name, column.name) not in hidden
        and column.name not in table.pkey
        and (kind := _kind(table, column)) is not None
    ]
    if not columns:
        return []
    rows = f"{visible_rows(db, table, until)} AS t"
    time = time_sql(table)
    asked = ["count(*)"]
    for column, kind in columns:
        asked.append(f"count({cell(column.name)})")
        clock = kind == "number" and time is not None
        asked.append(f"corr({numeric_sql(column)}, CAST({time} AS DOUBLE))" if clock else "NULL")
    found = db.rows(f"SELECT {', '.join(asked)} FROM {rows}")[0]
    total = found[0]
    profiles = []
    for i, (column, kind) in enumerate(columns):
        count, clock = found[1 + 2 * i], found[2 + 2 * i]
        if not count:
            continue
        words: list[tuple[str, int]] = []
        if kind == "category":
            words = db.rows(
                f"SELECT word, count(*) FROM (SELECT {category_sql(column)} AS word FROM {rows}) "
                f"WHERE word IS NOT NULL GROUP BY word ORDER BY count(*) DESC, word LIMIT {VOCABULARY}"
            )
        profiles.append(
            Profile(
                column,
                kind,
                1 - count / total,
                tuple(word for word, _ in words),
                tuple(number / count for _, number in words),
                clock is not None and count >= _ENOUGH and math.isfinite(clock) and abs(clock) >= _CLOCK,
            )
        )
    return profiles


def _kind(table: Table, column: Column) -> str | None:
    if any(column.name in key.columns for key in table.fkeys):
        return "key"
    if column.name == table.time_col:
        return "time"
    if column.stype == "numerical":
        return "number"
    if column.stype == "categorical":
        return "category"
    if column.stype == "timestamp" and (is_time(column.dtype) or column.dtype == "VARCHAR"):
        return "when"
    return None if column.stype is None else "other"


def lasting_keys(db: Database, entity: str, until: int, hidden: frozenset[tuple[str, str]]) -> set[Hop]:
    """Foreign keys of the entity's child rows whose parents have rows at several times.

    A team has a past; a race, whose results all come at once, has none.
    """
    found = set()
    for child in db.schema.tables.values():
        time = time_sql(child)
        keys = usable_keys(db.schema, child, hidden)
        if time is None or not any(key.table == entity for key in keys):
            continue
        for key in keys:
            parent = one_key_sql(db.schema[key.table], match_sql(db, child, key))
            (lasts,) = db.rows(
                f"SELECT coalesce(median(CAST(spread AS INTEGER)), 0) FROM (SELECT max({time}) > min({time}) AS spread "
                f"FROM {visible_rows(db, child, until)} AS t WHERE {parent} IS NOT NULL GROUP BY {parent})"
            )[0]
            if lasts >= 1:
                found.add(Hop(key.table, key.name, False))
    return found


def windows(db: Database, sources: list[Source], timedelta: int, until: int) -> tuple[int, ...]:
    """Lengths of the windows, microseconds, ascending: about the label window or four events, 16 events, 64 events.

    A window as long as all there is would be no window, and is left out.

    Args:
        db: The database.
        sources: The entity's dated child rows.
        timedelta: Length of the label window.
        until: Rows up to then are looked at.
    """
    spans = []
    gaps = []
    for source in sources:
        rows = rows_sql(db, source, [], frozenset(), keys=None)
        found = db.rows(
            f"SELECT median(gap) FILTER (gap > 0), max(time) - min(time) FROM (SELECT time, time - lag(time) OVER "
            f"(PARTITION BY key ORDER BY time) AS gap FROM ({rows}) "
            f"WHERE time <= {until} AND hash(key) % {_parts(db, source.table)} = 0)"
        )[0]
        if found[0]:
            gaps.append(float(found[0]))
            spans.append(int(found[1]))
    gap = min(gaps, default=float(timedelta))
    short = _snap(max(float(timedelta), 4 * gap))
    middle = _snap(max(16.0 * gap, 3.0 * short))
    long = _snap(4.0 * middle)
    return tuple(sorted({w for w in (short, middle, long) if w < max(spans, default=0)} or {short}))


def _parts(db: Database, table: str) -> int:
    """How many parts of its hubs make about a million rows each; one is enough to know the gaps of."""
    return 1 + db.num_rows(table) // 1_000_000


def _snap(length: float) -> int:
    return min(LADDER, key=lambda step: abs(math.log(step / max(length, 1.0))))


def span_text(us: int) -> str:
    """A length of time in the largest unit that divides it: ``365d``, ``6h``, ``90s``."""
    for unit, size in (("d", DAY), ("h", DAY // 24), ("m", 60_000_000), ("s", 1_000_000)):
        if us % size == 0:
            return f"{us // size}{unit}"
    return f"{us}us"
