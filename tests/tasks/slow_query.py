"""What a predictive query means, one entity and one anchor at a time, in plain Python over the tables of the shop."""

from __future__ import annotations

import datetime as dt
import functools
import math
import operator
import re
from collections import defaultdict
from typing import Any

import pandas as pd

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
    Value,
)

Row = dict[str, Any]

_TIME = {
    "customers": "signup_at", "products": "created_at", "orders": "placed_at", "order_items": "placed_at",
    "visits": "started_at", "reviews": "created_at", "returns": "created_at", "coupons": "sent_at",
}  # fmt: skip
_KEY = {
    "customers": "customer_id", "products": "product_id", "orders": "order_id", "order_items": "item_id",
    "visits": "visit_id", "reviews": "review_id", "returns": "return_id", "coupons": "coupon_id",
}  # fmt: skip
_UNITS = {"SECONDS": 1, "MINUTES": 60, "HOURS": 3_600, "DAYS": 86_400, "WEEKS": 604_800}
_COMPARE = {
    "=": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip


class Slow:
    """Answers queries about the tables of :mod:`query_shop`; NULL is None, unknown is None."""

    def __init__(self, tables: dict[str, pd.DataFrame]) -> None:
        self.tables: dict[str, list[Row]] = {}
        for name, frame in tables.items():
            rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
            for row in rows:
                row[_TIME[name]] = _us(row[_TIME[name]])
            self.tables[name] = rows
        self.orders = {row["order_id"]: row for row in self.tables["orders"]}
        self.owned: dict[tuple[str, str, Any], list[Row]] = defaultdict(list)
        for name, rows in self.tables.items():
            for entity in ("customers", "products"):
                for row in rows if name not in ("customers", "products") else []:
                    self.owned[name, entity, self.owner(row, name, entity)].append(row)

    def labels(self, query: Query, anchors: list[int] | None) -> list[tuple[int, int, Any]]:
        """(key, time, label), sorted by (time, key); without anchors each entity at its own time."""
        table = query.entity.table
        found = []
        for entity in self.tables[table]:
            own = entity[_TIME[table]]
            for at in ([own] if own is not None else []) if anchors is None else anchors:
                there = own is None or own <= at
                where = query.where is None or self.truth(query.where, entity, table, at) is True
                supposed = query.assuming is None or self.truth(query.assuming, entity, table, at) is True
                if there and where and supposed:
                    label = self.label(query, entity, table, at)
                    if label is not None:
                        found.append((at, entity[_KEY[table]], label))
        return [(key, at, label) for at, key, label in sorted(found, key=lambda row: row[:2])]

    def label(self, query: Query, entity: Row, table: str, at: int) -> Any:
        target = query.target
        if query.output is not None and query.output.kind == "FORECAST":
            assert isinstance(target, Aggregation)
            steps = [self.value(target, entity, table, at, shift=i) for i in range(query.output.number)]
            return None if None in steps else [float(step) for step in steps]
        if isinstance(target, Column) or (isinstance(target, Aggregation) and target.function != "EXISTS"):
            return self.value(target, entity, table, at)
        return self.truth(target, entity, table, at)

    def truth(self, condition: Condition, entity: Row, table: str, at: int, rows: Row | None = None) -> bool | None:
        """True, False, or None for unknown; ``rows`` is the row of a filter inside an aggregation."""

        def again(part: Condition) -> bool | None:
            return self.truth(part, entity, table, at, rows)

        if isinstance(condition, And):
            parts = [again(part) for part in condition.parts]
            return False if False in parts else None if None in parts else True
        if isinstance(condition, Or):
            parts = [again(part) for part in condition.parts]
            return True if True in parts else None if None in parts else False
        if isinstance(condition, Not):
            part = again(condition.part)
            return None if part is None else not part
        if isinstance(condition, Aggregation | Column):
            return self.value(condition, entity, table, at, rows)
        value = self.value(condition.value, entity, table, at, rows)
        if isinstance(condition, IsNull):
            return (value is None) != condition.negated
        if value is None:
            return None
        if isinstance(condition, Compare):
            return bool(_COMPARE[condition.operator](value, _plain(condition.literal, value)))
        if isinstance(condition, Between):
            return bool(_plain(condition.low, value) <= value <= _plain(condition.high, value))
        if isinstance(condition, Among):
            return any(value == _plain(literal, value) for literal in condition.literals) != condition.negated
        return _matches(condition, value) != condition.negated

    def value(self, value: Value, entity: Row, table: str, at: int, rows: Row | None = None, shift: int = 0) -> Any:
        if isinstance(value, Column):
            return (entity if rows is None else rows)[value.name]
        window = value.window
        assert window is not None
        length = 0.0 if window.start is None else window.end - window.start
        after = None if window.start is None else _moved(at, window.start + shift * length, window.unit)
        upto = _moved(at, window.end + shift * length, window.unit)
        kept = []
        for row in self.owned[value.column.table, table, entity[_KEY[table]]]:
            time = row[_TIME[value.column.table]]
            inside = time is not None and (after is None or time > after) and time <= upto
            if inside and (value.where is None or self.truth(value.where, entity, table, at, row) is True):
                kept.append((time, row[_KEY[value.column.table]], row))
        return _aggregate(value, kept)

    def owner(self, row: Row, table: str, entity: str) -> Any:
        """The key of the entity that a row belongs to."""
        key = _KEY[entity]
        if table == "order_items" and entity == "customers":
            order = self.orders.get(row["order_id"])
            return None if order is None else order["customer_id"]
        return row.get(key)


def _aggregate(value: Aggregation, kept: list[tuple[int, int, Row]]) -> Any:
    name = value.function
    if value.column.star:
        return len(kept) if name == "COUNT" else bool(kept)
    kept = [found for found in kept if found[2][value.column.name] is not None]
    values = [row[value.column.name] for _, _, row in sorted(kept, key=lambda found: found[:2])]
    if name in ("COUNT", "COUNT_DISTINCT"):
        return len(values if name == "COUNT" else set(values))
    if name == "SUM":
        return math.fsum(values)
    if not values:
        return None
    if name == "LIST_DISTINCT":
        return sorted(set(values))
    return {
        "AVG": lambda: math.fsum(values) / len(values),
        "MIN": lambda: min(values),
        "MAX": lambda: max(values),
        "FIRST": lambda: values[0],
        "LAST": lambda: values[-1],
    }[name]()


@functools.cache
def _moved(at: int, number: float, unit: str) -> int:
    if unit in ("MONTHS", "YEARS"):
        when = pd.Timestamp(at, unit="us") + pd.DateOffset(months=int(number) * (12 if unit == "YEARS" else 1))
        return _us(when) or 0
    return at + round(number * _UNITS[unit] * 1_000_000)


def _us(time: Any) -> int | None:
    return (
        None
        if time is None or time is pd.NaT
        else int(pd.Timestamp(time).as_unit("us").to_datetime64().astype("int64"))
    )


def _plain(literal: Literal, beside: Any) -> Any:
    value = literal.value
    if isinstance(value, str) and not isinstance(beside, str):
        return _us(pd.Timestamp(value))
    return _us(value) if isinstance(value, dt.date) else value


def _matches(condition: Matches, value: Any) -> bool:
    text = str(condition.text.value)
    if condition.operator == "LIKE":
        pattern = re.escape(text).replace("%", ".*").replace("_", ".")
        return re.fullmatch(pattern, value, re.DOTALL) is not None
    if condition.operator == "CONTAINS":
        return text in value
    return bool(value.startswith(text) if condition.operator == "STARTS WITH" else value.endswith(text))
