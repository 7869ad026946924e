"""The names and the conditions of a query: whether a schema has them, and what can be compared with what."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from graphlearn.errors import QueryError, UnknownNameError, UsageError, unknown_name
from graphlearn.tasks.query import span_of
from graphlearn.tasks.query_checked import Rows, kind_of
from graphlearn.tasks.query_paths import Hop
from graphlearn.tasks.query_tree import (
    Aggregation,
    Among,
    And,
    Between,
    Column,
    Compare,
    Condition,
    IsNull,
    Literal,
    Matches,
    Not,
    Or,
    Query,
    Span,
    Test,
    Value,
)
from graphlearn.tasks.times import time_us

if TYPE_CHECKING:
    from graphlearn.schema import Database


class QueryConditions:
    """A query and what has been found of it so far; each check raises :class:`QueryError` where it fails."""

    def __init__(self, db: Database, query: Query) -> None:
        self.db, self.schema, self.query = db, db.schema, query
        self.rows: dict[Aggregation, Rows] = {}
        self.parents: dict[str, tuple[Hop, ...]] = {}
        self.notes: list[str] = []

    def error(self, message: str, at: Span) -> QueryError:
        return QueryError(message, self.query.text or str(self.query), *at)

    def table(self, column: Column) -> str:
        try:
            return self.schema[column.table].name
        except UnknownNameError as error:
            raise self.error(str(error), (column.at[0], column.at[0] + len(column.table))) from error

    def dtype(self, column: Column) -> str:
        self.table(column)
        known = self.db.columns(column.table)
        if column.name not in known:
            what = unknown_name(f"column of table '{column.table}'", column.name, known)
            raise self.error(str(what), (max(column.at[0], column.at[1] - len(column.name)), column.at[1]))
        return known[column.name]

    def kind(self, value: Value) -> str:
        return self.rows[value].kind if isinstance(value, Aggregation) else kind_of(self.dtype(value))

    def is_value(self, target: Condition) -> bool:
        return isinstance(target, Column) or (isinstance(target, Aggregation) and target.function != "EXISTS")

    def check_condition(self, condition: Condition) -> None:
        if isinstance(condition, And | Or):
            for part in condition.parts:
                self.check_condition(part)
        elif isinstance(condition, Not):
            self.check_condition(condition.part)
        elif isinstance(condition, Aggregation | Column):
            if self.kind(condition) != "truth value":
                raise self.error(
                    f"{condition} is a {self.kind(condition)}, not true or false. Compare it, as in … > 0.",
                    span_of(condition),
                )
        else:
            self._test(condition)

    def _test(self, test: Test) -> None:
        value, kind = str(test.value), self.kind(test.value)
        if isinstance(test, IsNull):
            return
        if isinstance(test, Matches):
            if kind == "list" and test.operator == "CONTAINS":
                dtype = "" if isinstance(test.value, Column) else self.dtype(test.value.column)
                kind = kind_of(dtype) if dtype else kind
            if kind != "text":
                raise self.error(f"{test.operator} needs a text, but {value} is a {kind}.", test.text.at)
            return
        if kind in ("list", "other"):
            raise self.error(f"{value} is a {kind}, which cannot be compared. Use IS NULL.", span_of(test.value))
        literals = test.literals if isinstance(test, Among) else (
            (test.low, test.high) if isinstance(test, Between) else (test.literal,)
        )  # fmt: skip
        for literal in literals:
            self.check_comparable(value, kind, literal)
            ordered = isinstance(test, Between) or (isinstance(test, Compare) and test.operator not in ("=", "!="))
            if kind == "truth value" and ordered:
                raise self.error(f"{value} is true or false, which have no order. Use = or !=.", literal.at)

    def check_comparable(self, value: str, kind: str, literal: Literal) -> None:
        given = literal.value
        fits = {
            "number": isinstance(given, int | float) and not isinstance(given, bool),
            "text": isinstance(given, str),
            "truth value": isinstance(given, bool),
            "time": isinstance(given, str | dt.date),
            "other": isinstance(given, str),
        }.get(kind, False)
        if kind == "time" and isinstance(given, str):
            try:
                time_us(given, "the time")
            except UsageError as error:
                raise self.error(
                    f"{value} is a time, but {literal} is none. Write it as '2024-01-31'.", literal.at
                ) from error
        if not fits:
            wanted = {"number": "a number", "text": "a text in single quotes", "truth value": "TRUE or FALSE"}
            hint = wanted.get(kind, "a time such as '2024-01-31'")
            raise self.error(f"{value} is a {kind}, and {literal} is none. Compare it with {hint}.", literal.at)
