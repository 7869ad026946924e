"""What is known of a query once a schema has been asked: what it reads, and what it predicts."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from graphlearn.database import is_time
from graphlearn.schema.profile import is_list, is_number
from graphlearn.schema.schema import Schema
from graphlearn.tasks.manifest import TaskType
from graphlearn.tasks.query_paths import Hop, Path
from graphlearn.tasks.query_tree import Aggregation, And, Column, Condition, Literal, Not, Or, Query, Value
from graphlearn.tasks.query_windows import Bounds, Offset
from graphlearn.tasks.times import time_us

NEVER_NULL = ("COUNT", "SUM", "COUNT_DISTINCT", "EXISTS")
"""What has a value where there are no rows: zero, or false."""


@dataclass(frozen=True)
class Rows:
    """What an aggregation reads.

    Args:
        path: From its rows to the entity and to the values.
        window: When its rows lie, relative to the anchor.
        time: Table and column of the time of its rows.
        kind: Kind of the value: number, text, truth value, time, list or other.
    """

    path: Path
    window: Bounds
    time: tuple[str, str]
    kind: str


@dataclass(frozen=True)
class Checked:
    """A query that the database can answer.

    Args:
        query: The query.
        entity: Its table.
        pkey: The table's primary key.
        task_type: What is predicted.
        static: Whether the target is a column of the entity rather than of what happens after the anchor.
        own_time: Whether each row is asked about at its own time.
        rows: What each aggregation reads.
        parents: Where columns of other tables than the entity's are found: the foreign keys from the entity.
        window: The target's window; of a static query, an empty one.
        steps: Number of windows, one after the other; 1 without FORECAST.
        every: Step between anchors.
        conditional: Whether rows are left out for what happens after the anchor, which nobody knows when predicting.
        hidden: (table, column) pairs that no model may see.
        notes: What the user should know, in sentences.
    """

    query: Query
    entity: str
    pkey: str
    task_type: TaskType
    static: bool
    own_time: bool
    rows: dict[Aggregation, Rows] = field(hash=False)
    parents: dict[str, tuple[Hop, ...]] = field(hash=False)
    window: Bounds
    steps: int
    every: Offset
    conditional: bool
    hidden: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]

    @property
    def as_of(self) -> int | None:
        """The time to predict for, if the query says one, in microseconds UTC."""
        return as_of_time(self.query)


def values(condition: Condition) -> Iterator[Value]:
    """The columns and aggregations that a condition compares, from left to right; not those inside aggregations."""
    if isinstance(condition, And | Or):
        for part in condition.parts:
            yield from values(part)
    elif isinstance(condition, Not):
        yield from values(condition.part)
    else:
        yield condition if isinstance(condition, Aggregation | Column) else condition.value


def is_static(query: Query) -> bool:
    """Whether the target is about the entity's own columns."""
    return not any(isinstance(value, Aggregation) for value in values(query.target))


def as_of_time(query: Query) -> int | None:
    """The time of AS OF, microseconds UTC; None if it is that of the data or of each row."""
    if isinstance(query.as_of, Literal):
        return time_us(str(query.as_of.value), "AS OF")
    return time_us(dt.datetime.now(dt.UTC), "AS OF") if query.as_of == "NOW" else None


def kind_of(dtype: str) -> str:
    """number, text, truth value, time, list or other."""
    if is_number(dtype) or dtype in ("HUGEINT", "UHUGEINT"):
        return "number"
    if dtype == "BOOLEAN":
        return "truth value"
    if dtype == "VARCHAR" or dtype.startswith("ENUM"):
        return "text"
    return "list" if is_list(dtype) else "time" if is_time(dtype) else "other"


def named_table(schema: Schema, column: Column) -> str | None:
    """The table whose rows a column names as a foreign key, or None."""
    return next((key.table for key in schema[column.table].fkeys if key.columns == (column.name,)), None)


def shifted(checked: Checked, target: Aggregation, step: int) -> tuple[Aggregation, Rows]:
    """The aggregation of one step of a forecast."""
    rows = checked.rows[target]
    window = target.window
    assert window is not None
    assert window.start is not None
    length = window.end - window.start
    moved = replace(window, start=window.start + step * length, end=window.end + step * length)
    return replace(target, window=moved), replace(rows, window=rows.window.shifted(step))
