"""The syntax tree of a predictive query; ``str`` of a tree is a query that parses to the same tree."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import TypeAlias

from graphlearn.tasks.query_tokens import quoted

Span: TypeAlias = tuple[int, int]
"""Where something stands in the text: its first character, and the one after its last."""


@dataclass(frozen=True)
class Literal:
    """A number, text, truth value, NULL, date or time."""

    value: int | float | str | bool | dt.date | dt.datetime | None
    at: Span = field(default=(0, 0), compare=False, repr=False)

    def __str__(self) -> str:
        value = self.value
        if value is None or isinstance(value, bool):
            return "NULL" if value is None else str(value).upper()
        if isinstance(value, str):
            return "'" + value.replace("'", "''") + "'"
        if isinstance(value, dt.datetime):
            return value.isoformat()
        return value.isoformat() if isinstance(value, dt.date) else repr(value)


@dataclass(frozen=True)
class Column:
    """``table.column``; the name is ``*`` for all rows of the table."""

    table: str
    name: str
    star: bool = False
    at: Span = field(default=(0, 0), compare=False, repr=False)

    def __str__(self) -> str:
        return f"{quoted(self.table)}.{'*' if self.star else quoted(self.name)}"


@dataclass(frozen=True)
class Window:
    """``(anchor + start, anchor + end]``; a start of None lies infinitely far back."""

    start: float | None
    end: float
    unit: str = "DAYS"
    at: Span = field(default=(0, 0), compare=False, repr=False)

    def __str__(self) -> str:
        start = "-INF" if self.start is None else f"{self.start:.15g}"
        return f"{start}, {self.end:.15g}, {self.unit.lower()}"


@dataclass(frozen=True)
class Aggregation:
    """One value of the rows in a window; EXISTS is one whose value is true or false."""

    function: str
    column: Column
    where: Condition | None = None
    window: Window | None = None
    at: Span = field(default=(0, 0), compare=False, repr=False)

    def __str__(self) -> str:
        where = "" if self.where is None else f" WHERE {self.where}"
        window = "" if self.window is None else f", {self.window}"
        return f"{self.function}({self.column}{where}{window})"


Value: TypeAlias = Aggregation | Column


@dataclass(frozen=True)
class Compare:
    """A value against a literal; the operator is one of ``= != < <= > >=``."""

    value: Value
    operator: str
    literal: Literal

    def __str__(self) -> str:
        return f"{self.value} {self.operator} {self.literal}"


@dataclass(frozen=True)
class Among:
    """Whether a value is one of several."""

    value: Value
    literals: tuple[Literal, ...]
    negated: bool = False

    def __str__(self) -> str:
        return f"{self.value} {'NOT ' * self.negated}IN ({', '.join(map(str, self.literals))})"


@dataclass(frozen=True)
class IsNull:
    """Whether a value is undefined."""

    value: Value
    negated: bool = False

    def __str__(self) -> str:
        return f"{self.value} IS {'NOT ' * self.negated}NULL"


@dataclass(frozen=True)
class Matches:
    """A text against a pattern; the operator is ``LIKE``, ``CONTAINS``, ``STARTS WITH`` or ``ENDS WITH``."""

    value: Value
    operator: str
    text: Literal
    negated: bool = False

    def __str__(self) -> str:
        return f"{self.value} {'NOT ' * self.negated}{self.operator} {self.text}"


@dataclass(frozen=True)
class Between:
    """Whether a value lies between two others, both included."""

    value: Value
    low: Literal
    high: Literal

    def __str__(self) -> str:
        return f"{self.value} BETWEEN {self.low} AND {self.high}"


@dataclass(frozen=True)
class Not:
    """The opposite."""

    part: Condition

    def __str__(self) -> str:
        return f"NOT {_inside(self.part, Not, Or, And)}"


@dataclass(frozen=True)
class And:
    """All of them."""

    parts: tuple[Condition, ...]

    def __str__(self) -> str:
        return " AND ".join(_inside(part, And, Or) for part in self.parts)


@dataclass(frozen=True)
class Or:
    """At least one of them."""

    parts: tuple[Condition, ...]

    def __str__(self) -> str:
        return " OR ".join(_inside(part, Or) for part in self.parts)


Test: TypeAlias = Compare | Among | IsNull | Matches | Between
Condition: TypeAlias = Test | Not | And | Or | Value


@dataclass(frozen=True)
class Output:
    """``CLASSIFY``, ``RANK TOP number`` or ``FORECAST number TIMEFRAMES``."""

    kind: str
    number: int = 1
    at: Span = field(default=(0, 0), compare=False, repr=False)

    def __str__(self) -> str:
        return {"RANK": f"RANK TOP {self.number}", "FORECAST": f"FORECAST {self.number} TIMEFRAMES"}.get(
            self.kind, self.kind
        )


@dataclass(frozen=True)
class Key:
    """``VIA column -> table``: the foreign key by which rows are joined."""

    column: Column
    table: str
    at: Span = field(default=(0, 0), compare=False, repr=False)

    def __str__(self) -> str:
        return f"{self.column} -> {quoted(self.table)}"


@dataclass(frozen=True)
class Query:
    """A whole query.

    Args:
        target: What to predict.
        entity: The primary key of the rows to predict for.
        keys: Those to predict for; empty: each.
        output: CLASSIFY, RANK or FORECAST.
        where: Which entities are asked about at an anchor.
        assuming: What is supposed of the time after the anchor.
        as_of: When to predict: a time, ``NOW``, ``LATEST`` or ``ENTITY``.
        every: Number and unit of the step between anchors.
        via: Foreign keys to join by.
        text: The text it was parsed from.
    """

    target: Condition
    entity: Column
    keys: tuple[Literal, ...] = ()
    output: Output | None = None
    where: Condition | None = None
    assuming: Condition | None = None
    as_of: Literal | str | None = None
    every: tuple[float, str] | None = None
    via: tuple[Key, ...] = ()
    text: str = field(default="", compare=False, repr=False)
    spans: tuple[tuple[str, Span], ...] = field(default=(), compare=False, repr=False)

    def span(self, clause: str) -> Span:
        """Where a clause stands in the text."""
        return dict(self.spans).get(clause, (0, 0))

    def __str__(self) -> str:
        keys = ", ".join(map(str, self.keys))
        entity = f"{self.entity} IN ({keys})" if len(self.keys) > 1 else f"{self.entity} = {keys}"
        parts = [
            f"PREDICT {self.target}",
            None if self.output is None else str(self.output),
            f"FOR {entity}" if self.keys else f"FOR EACH {self.entity}",
            None if self.where is None else f"WHERE {self.where}",
            None if self.assuming is None else f"ASSUMING {self.assuming}",
            None if self.as_of is None else f"AS OF {self.as_of}",
            None if self.every is None else f"EVERY {self.every[0]:.15g} {self.every[1].lower()}",
            f"VIA {', '.join(map(str, self.via))}" if self.via else None,
        ]
        return " ".join(part for part in parts if part is not None)


def _inside(part: Condition, *bracketed: type) -> str:
    return f"({part})" if isinstance(part, bracketed) else str(part)
