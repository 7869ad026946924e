"""The query's own target as a feature: what it asks about the time to come, asked of the past."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphlearn.features.columns import Value
from graphlearn.features.functions import Feature
from graphlearn.features.paths import MAX_KEYS, Hop, Hub, Source
from graphlearn.features.profile import span_text
from graphlearn.schema.keys import cell, numeric_sql
from graphlearn.tasks.query_check import check_query, values
from graphlearn.tasks.query_sql import filter_sql
from graphlearn.tasks.query_tree import Aggregation

if TYPE_CHECKING:
    from graphlearn.schema import Database

_FUNCTIONS = {
    "COUNT": "sum",
    "EXISTS": "sum",
    "SUM": "sum",
    "AVG": "mean",
    "MIN": "min",
    "MAX": "max",
    "LAST": "last",
    "FIRST": "last",
}


def asked_features(db: Database, query: str | None, timedelta: int, windows: tuple[int, ...]) -> list[Feature]:
    """The aggregations of a query's target over past windows, the label window first.

    Args:
        db: The database.
        query: The query, or None: then there are none.
        timedelta: Length of the label window, microseconds.
        windows: Lengths of other windows.
    """
    found = []
    for call in _aggregations(db, query):
        source, value, name = _reads(db, str(query), call)
        function = _FUNCTIONS[call.function]
        if value is None:
            function = "count"
        elif value.kind == "number":
            name = f"{call.column.table}.{call.column.name}"
        for window in dict.fromkeys((timedelta, *windows, None)):
            if function == "last" and window is not None:
                continue
            # As such a feature is called where nothing was asked, so that none is there twice.
            words = [name, function, "" if window is None else span_text(window)]
            found.append(Feature(" ".join(filter(None, words)), function, source, value, window))
    return found


def asked_sql(db: Database, query: str | None) -> dict[str, str]:
    """For each aggregation with a row filter: what a row ``t`` adds to it, by the text of the aggregation."""
    return {_text(call): _row_sql(db, str(query), call) for call in _aggregations(db, query) if call.where is not None}


def _aggregations(db: Database, query: str | None) -> list[Aggregation]:
    """Those whose rows lead straight to the entity and hold the values themselves."""
    if query is None:
        return []
    checked = check_query(db, query)
    calls = [value for value in values(checked.query.target) if isinstance(value, Aggregation)]
    return [
        call
        for call in calls
        if call.function in _FUNCTIONS
        and not checked.rows[call].path.out
        and len(checked.rows[call].path.up) <= MAX_KEYS
        and db.schema[call.column.table].time_col is not None
        and (call.column.star or db.schema[call.column.table].column(call.column.name).stype == "numerical")
    ]


def _reads(db: Database, query: str, call: Aggregation) -> tuple[Source, Value | None, str]:
    checked = check_query(db, query)
    path = tuple(Hop(hop.table, hop.key.name, True) for hop in reversed(checked.rows[call].path.up))
    source = Source(Hub("entity", checked.entity), call.column.table, path)
    if call.where is not None:
        return source, Value("asked", _text(call)), _text(call)
    if call.column.star:
        return source, None, call.column.table
    return source, Value("number", call.column.name), ""


def _text(call: Aggregation) -> str:
    where = "" if call.where is None else f" WHERE {call.where}"
    return f"{call.function}({call.column}{where})"


def _row_sql(db: Database, query: str, call: Aggregation) -> str:
    assert call.where is not None
    kept = filter_sql(db, check_query(db, query), call.where, "t")
    if call.function in ("COUNT", "EXISTS"):
        there = "" if call.column.star else f" AND {cell(call.column.name)} IS NOT NULL"
        return f"CASE WHEN ({kept}){there} THEN 1.0 ELSE 0.0 END"
    column = db.schema[call.column.table].column(call.column.name)
    return f"CASE WHEN {kept} THEN {numeric_sql(column)} END"
