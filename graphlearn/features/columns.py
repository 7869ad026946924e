"""What is read from each row: numbers made from its cells and those of the rows that it names, as SQL."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from graphlearn.database import literal, quote, time_us
from graphlearn.features.paths import Hop, Source, foreign_key
from graphlearn.schema.keys import (
    category_sql,
    cell,
    key_sql,
    match_sql,
    numeric_sql,
    one_key_sql,
    rows_of,
    tie_sql,
    time_sql,
)

if TYPE_CHECKING:
    from graphlearn.schema import Database

ALWAYS = -(2**62)
"""The time of rows that are always visible: before every window."""
LABELS = "__labels"
"""The temporary table of past labels."""


@dataclass(frozen=True)
class Value:
    """A number that is taken from each row.

    Args:
        kind: ``number``: the cell; ``is``: 1 where it is ``category``, 0 where it is another; ``null``: 1 where it is
            NULL, else 0; ``code``: the position of its category in ``vocabulary``; ``when``: its time in microseconds;
            ``hash``: a whole number for each different value; ``key``: the key of the row that ``via`` leads to;
            ``asked``: what the row adds to the query's aggregation ``column``.
        column: The column; empty for ``key``.
        via: Foreign keys from the row up to the row that holds the cell.
        category: For ``is``.
        vocabulary: For ``code``, most frequent first.
    """

    kind: str
    column: str = ""
    via: tuple[Hop, ...] = ()
    category: str = ""
    vocabulary: tuple[str, ...] = ()


def rows_sql(
    db: Database,
    source: Source,
    values: list[Value],
    hidden: frozenset[tuple[str, str]],
    *,
    keys: str | None,
    labels: str | None = None,
    asked: Mapping[str, str] | None = None,
) -> str:
    """The rows of a source: ``key`` (of everyone 0), ``time``, ``tie``, and one column ``v0``, ``v1``, … per value.

    ``time`` is when a row is known, microseconds UTC: the latest time among it and the rows between it and the hub.
    Where any of these tables has a time, rows without one are left out, except the hub's own row if the schema keeps
    it: like rows of tables without a time it has :data:`ALWAYS`. What a row names is read only if that was known by
    then; of the hub's own row, which has no "then", a column ``known_i`` per value says since when it is known.

    Args:
        db: The database.
        source: The source.
        values: What to read.
        hidden: (table, column) pairs that may not be read, not even for the order of rows.
        keys: A table ``(code, key)`` of the hubs that are wanted; then ``key`` is the code. None: all.
        labels: The table of past labels.
        asked: What :func:`~graphlearn.features.asked.asked_sql` gives, if there are values of this kind.
    """
    if source.labels:
        return _labels_sql(source, values, keys, labels or f"temp.{quote(LABELS)}")
    schema = db.schema
    table = schema[source.table]
    joins, times, needed = [], [], []
    rows = ["t", *(f"d{i}" for i in range(1, len(source.path)))]
    below = list(reversed(source.path))
    for i, alias in enumerate(rows):
        at = schema[below[i].table] if below else table
        if i:
            child, key = schema[below[i - 1].table], foreign_key(schema, below[i - 1].table, below[i - 1].key)
            named = one_key_sql(at, match_sql(db, child, key, rows[i - 1]))
            joins.append(f"\nJOIN {rows_of(at.name)} AS {alias} ON {key_sql(at, alias)} = {named}")
        time = time_sql(at, alias)
        if time is not None:
            times.append(time)
            if at.null_time == "drop" or (i == 0 and not source.is_own):
                needed.append(f"{time} IS NOT NULL")
    if source.hub.kind == "all":
        hub_key = "0"
    elif source.is_own:
        hub_key = key_sql(table)
    else:
        top = schema[below[-1].table]
        hub_key = one_key_sql(
            schema[source.hub.table], match_sql(db, top, foreign_key(schema, top.name, below[-1].key), rows[-1])
        )
    when = str(ALWAYS)
    if times and source.is_own:
        when = f"coalesce({_greatest(times)}, {ALWAYS})"
    elif times:
        when = _greatest(times)
        needed.append(f"{when} IS NOT NULL")
    aliases: dict[tuple[Hop, ...], str] = {(): "t"}
    known: dict[tuple[Hop, ...], str] = {(): when}
    for value in values:
        last = len(value.via) - (value.kind == "key")
        for length in range(1, last + 1):
            _join_up(db, source, value.via[:length], aliases, known, joins, when)
    picked = [
        (asked or {})[value.column] if value.kind == "asked" else _value_sql(db, source, value, aliases)
        for value in values
    ]
    columns = [f"{sql} AS v{i}" for i, sql in enumerate(picked)]
    if source.is_own:
        columns += [
            f"{known[value.via[:-1] if value.kind == 'key' else value.via]} AS known_{i}"
            for i, value in enumerate(values)
        ]
    unseen = frozenset(column for name, column in hidden if name == table.name)
    if keys is not None:
        joins.append(f"\nJOIN {keys} AS k ON k.key = {hub_key}")
    needed += [] if keys is not None or source.hub.kind == "all" else [f"{hub_key} IS NOT NULL"]
    select = [
        "k.code AS key" if keys is not None else f"{hub_key} AS key",
        f"{when} AS time",
        f"{tie_sql(table, unseen)} AS tie",
        *columns,
    ]
    where = f"\nWHERE {' AND '.join(needed)}" if needed else ""
    return f"SELECT {', '.join(select)}\nFROM {rows_of(table.name)} AS t{''.join(joins)}{where}"


def _labels_sql(source: Source, values: list[Value], keys: str | None, labels: str) -> str:
    """The same from the table of past labels, whose columns are named like values."""
    key = "0" if source.hub.kind == "all" else f"t.{quote(label_key(source))}"
    join = "" if keys is None else f" JOIN {keys} AS k ON k.key = {key}"
    shown = ["k.code AS key" if keys is not None else f"{key} AS key", "t.known AS time", "t.seed_time AS tie"]
    shown += [f"t.{quote(value.column)} AS v{i}" for i, value in enumerate(values)]
    where = "" if keys is not None or key == "0" else f"\nWHERE {key} IS NOT NULL"
    return f"SELECT {', '.join(shown)}\nFROM {labels} AS t{join}{where}"


def label_key(source: Source) -> str:
    """The column of the table of labels that holds the key of the hub."""
    if source.hub.kind == "entity":
        return "key"
    return "key " + " ".join(f"{hop.key} {hop.table}" for hop in source.hub.path)


def _join_up(
    db: Database,
    source: Source,
    via: tuple[Hop, ...],
    aliases: dict[tuple[Hop, ...], str],
    known: dict[tuple[Hop, ...], str],
    joins: list[str],
    when: str,
) -> None:
    if via in aliases:
        return
    schema = db.schema
    child = schema[via[-2].table if len(via) > 1 else source.table]
    parent = schema[via[-1].table]
    alias = aliases[via] = f"u{len(aliases)}"
    values = match_sql(db, child, foreign_key(schema, child.name, via[-1].key), aliases[via[:-1]])
    on = [f"{key_sql(parent, alias)} = {one_key_sql(parent, values)}"]
    time = time_sql(parent, alias)
    known[via] = known[via[:-1]]
    if time is not None:
        seen = f"coalesce({time}, {ALWAYS})" if parent.null_time == "keep" else time
        if source.is_own:
            known[via] = f"greatest({known[via[:-1]]}, {seen})"
            if parent.null_time == "drop":
                on.append(f"{time} IS NOT NULL")
        else:
            on.append(f"{seen} <= {when}")
    joins.append(f"\nLEFT JOIN {rows_of(parent.name)} AS {alias} ON {' AND '.join(on)}")


def _value_sql(db: Database, source: Source, value: Value, aliases: dict[tuple[Hop, ...], str]) -> str:
    if value.kind == "key":
        row = aliases[value.via[:-1]]
        child = db.schema[value.via[-2].table if len(value.via) > 1 else source.table]
        key = foreign_key(db.schema, child.name, value.via[-1].key)
        return one_key_sql(db.schema[key.table], match_sql(db, child, key, row))
    row = aliases[value.via]
    column = db.schema[value.via[-1].table if value.via else source.table].column(value.column)
    raw = cell(column.name, row)
    if value.kind == "number":
        return numeric_sql(column, row)
    if value.kind == "is":
        text = category_sql(column, row)
        return f"CAST({text} = {literal(value.category)} AS DOUBLE)"
    if value.kind == "null":
        # What is no number counts as missing too.
        missing = numeric_sql(column, row) if column.stype == "numerical" else raw
        return f"CAST({missing} IS NULL AS DOUBLE)"
    if value.kind == "code":
        words = ", ".join(map(literal, value.vocabulary))
        return f"nullif(list_position([{words}], {category_sql(column, row)}), 0) - 1"
    if value.kind == "hash":
        return f"CASE WHEN {raw} IS NOT NULL THEN CAST(hash({raw}) >> 1 AS BIGINT) END"
    assert value.kind == "when", value.kind
    return time_us(raw, column.dtype)


def _greatest(times: list[str]) -> str:
    return times[0] if len(times) == 1 else f"greatest({', '.join(times)})"
