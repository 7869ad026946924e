"""Random queries that the shop can answer."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

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
    Output,
    Query,
    Window,
)

NUMBERS = {
    "orders": ["total"], "order_items": ["qty", "unit_price"], "visits": ["duration_s"], "reviews": ["rating"],
    "coupons": ["discount"], "customers": ["age"], "returns": [],
}  # fmt: skip
TEXTS = {
    "orders": {"status": ["completed", "cancelled"], "channel": ["web", "app"]}, "order_items": {},
    "visits": {"device": ["mobile", "desktop"]}, "reviews": {}, "coupons": {}, "returns": {"reason": ["late"]},
    "customers": {"country": ["DE", "FR"], "plan": ["free"]},
}  # fmt: skip
TIMES = {
    "orders": "placed_at", "order_items": "placed_at", "visits": "started_at", "reviews": "created_at",
    "coupons": "sent_at", "returns": "created_at", "customers": "signup_at",
}  # fmt: skip
ENTITIES = {
    "customers": ("customer_id", ["orders", "order_items", "visits", "reviews", "coupons", "returns"]),
    "products": ("product_id", ["order_items", "reviews"]),
}
numbers = st.integers(0, 60) | st.sampled_from([0.5, 20.25, 77.75])
units = st.sampled_from([("DAYS", 1), ("HOURS", 12), ("WEEKS", 1), ("MONTHS", 1), ("DAYS", 30), ("HOURS", 24)])


@st.composite
def windows(draw: Any, past: bool) -> Window:
    unit, size = draw(units)
    near, far = sorted(draw(st.lists(st.integers(0, 4), min_size=2, max_size=2, unique=True)))
    if not past:
        return Window(float(near * size), float(far * size), unit)
    start = None if draw(st.integers(0, 4)) == 0 else float(-far * size)
    return Window(start, float(-near * size) + 0.0, unit)


@st.composite
def tests_of(draw: Any, value: Any, kind: str, texts: list[str]) -> Condition:
    if kind == "truth value":
        return value
    if draw(st.integers(0, 5)) == 0:
        return IsNull(value, draw(st.booleans()))
    if kind == "number":
        choice = draw(st.integers(0, 4))
        if choice == 0:
            low = draw(st.integers(0, 30))
            return Between(value, Literal(low), Literal(low + draw(numbers)))
        if choice == 1:
            several = tuple(map(Literal, draw(st.lists(numbers, min_size=1, max_size=3))))
            return Among(value, several, draw(st.booleans()))
        return Compare(value, draw(st.sampled_from(["=", "!=", "<", "<=", ">", ">="])), Literal(draw(numbers)))
    if kind == "list":
        return Matches(value, "CONTAINS", Literal(draw(st.sampled_from(texts))), draw(st.booleans()))
    if kind == "time":
        day = draw(st.sampled_from(["2023-02-05", "2023-05-16", "2022-12-31 12:00:00"]))
        return Compare(value, draw(st.sampled_from(["<", ">=", "="])), Literal(day))
    text = Literal(draw(st.sampled_from(texts)))
    if draw(st.booleans()):
        return Compare(value, draw(st.sampled_from(["=", "!=", "<", ">="])), text)
    part = Literal(draw(st.sampled_from(["e", "c%", "%e%", "_e%", "we", "mobile"])))
    return Matches(
        value, draw(st.sampled_from(["LIKE", "CONTAINS", "STARTS WITH", "ENDS WITH"])), part, draw(st.booleans())
    )


@st.composite
def columns_of(draw: Any, table: str) -> tuple[Column, str, list[str]]:
    choices = [(name, "number", []) for name in NUMBERS[table]]
    choices += [(name, "text", values) for name, values in TEXTS[table].items()]
    choices += [(TIMES[table], "time", [])]
    name, kind, values = draw(st.sampled_from(choices))
    return Column(table, name), kind, values


@st.composite
def filters(draw: Any, table: str) -> Condition:
    column, kind, texts = draw(columns_of(table))
    return draw(combined(st.just((column, kind, texts))))


@st.composite
def combined(draw: Any, value: Any) -> Condition:
    """One test, or several of them, or the opposite of one."""
    parts = [draw(tests_of(*draw(value))) for _ in range(draw(st.sampled_from([1, 1, 1, 2, 3])))]
    parts = [Not(part) if draw(st.integers(0, 4)) == 0 else part for part in parts]
    if len(parts) == 1:
        return parts[0]
    kind, other = (And, Or) if draw(st.booleans()) else (Or, And)
    if len(parts) == 3:
        return kind((parts[0], other(tuple(parts[1:]))))
    return kind(tuple(parts))


@st.composite
def aggregations(draw: Any, tables: list[str], past: bool) -> tuple[Aggregation, str, list[str]]:
    table = draw(st.sampled_from(tables))
    star = Column(table, "*", True)
    where = draw(st.none() | st.none() | filters(table))
    window = draw(windows(past))
    choices: list[tuple[str, Column, str, list[str]]] = [
        ("COUNT", star, "number", []),
        ("EXISTS", star, "truth value", []),
        ("COUNT_DISTINCT", Column(table, TIMES[table]), "number", []),
    ]
    for name in NUMBERS[table]:
        functions = ("SUM", "AVG", "MIN", "MAX", "FIRST", "LAST", "COUNT")
        choices += [(function, Column(table, name), "number", []) for function in functions]
    for name, texts in TEXTS[table].items():
        choices += [(f, Column(table, name), "text", texts) for f in ("FIRST", "LAST")]
        choices.append(("LIST_DISTINCT", Column(table, name), "list", texts))
    choices.append(("MAX", Column(table, TIMES[table]), "time", []))
    function, column, kind, texts = draw(st.sampled_from(choices))
    return Aggregation(function, column, where, window), kind, texts


@st.composite
def queries(draw: Any) -> Query:
    entity = draw(st.sampled_from(["customers", "customers", "products"]))
    pkey, tables = ENTITIES[entity]
    past, future = aggregations(tables, True), aggregations(tables, False)
    output = None
    if draw(st.booleans()):
        target: Condition = draw(combined(future))
    else:
        value, kind, _ = draw(future.filter(lambda found: found[1] not in ("truth value", "time")))
        target = value
        if kind == "list":
            output = Output("CLASSIFY")
        elif kind == "number" and draw(st.integers(0, 3)) == 0:
            output = Output("FORECAST", draw(st.integers(1, 3)))
    where_value = past | columns_of(entity) if entity == "customers" else past
    where = draw(st.none() | combined(where_value))
    assuming = draw(st.none() | st.none() | combined(future))
    return Query(target, Column(entity, pkey), (), output, where, assuming)
