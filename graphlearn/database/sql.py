"""Names and values as SQL text, and times as int64 microseconds UTC."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable

TIME_TYPES = frozenset(
    {
        "DATE",
        "TIMESTAMP",
        "TIMESTAMP_S",
        "TIMESTAMP_MS",
        "TIMESTAMP_NS",
        "TIMESTAMP WITH TIME ZONE",
        "TIMESTAMPTZ_NS",
    }
)
"""DuckDB types that hold a point in time (not TIME, which holds none)."""


def quote(identifier: str) -> str:
    """``identifier`` as one quoted SQL name, whatever characters it holds."""
    return '"' + identifier.replace('"', '""') + '"'


def quote_all(identifiers: Iterable[str]) -> str:
    """Several names as a SQL list."""
    return ", ".join(quote(name) for name in identifiers)


def literal(value: object) -> str:
    """A Python value as a SQL literal, for the few places where a parameter cannot be bound (views, settings).

    Raises:
        TypeError: If there is no literal for the type.
    """
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        # A bare 0.3 is a DECIMAL.
        return f"CAST('{value!r}' AS DOUBLE)"
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    if isinstance(value, bytes):
        return "unhex('" + value.hex() + "')"
    if isinstance(value, dt.datetime):
        kind = "TIMESTAMP" if value.tzinfo is None else "TIMESTAMPTZ"
        return f"{kind} '{value.isoformat(sep=' ')}'"
    if isinstance(value, dt.date):
        return f"DATE '{value.isoformat()}'"
    raise TypeError(f"no SQL literal for a {type(value).__name__}: bind it as a parameter instead.")


def is_time(duckdb_type: str) -> bool:
    """Whether a column of this type holds points in time as they are."""
    return duckdb_type in TIME_TYPES


def time_us(expr: str, duckdb_type: str) -> str:
    """SQL text for ``expr`` as BIGINT microseconds UTC, NULL where it is NULL, infinite or not a time.

    Text is read as ISO 8601, with or without an offset; what has no offset is UTC. Connections of this package have
    ``TimeZone = 'UTC'``, on which the reading of text relies.

    Raises:
        TypeError: If values of this type are no points in time (numbers have no known unit).
    """
    if duckdb_type in ("TIMESTAMP", "TIMESTAMP WITH TIME ZONE", "TIMESTAMP_NS"):
        return f"epoch_us({expr})"
    if duckdb_type == "TIMESTAMPTZ_NS":
        return f"epoch_us(CAST({expr} AS TIMESTAMPTZ))"
    if is_time(duckdb_type):
        # A DATE or a coarse TIMESTAMP reaches years whose microseconds do not fit into 64 bits.
        return f"epoch_us(TRY_CAST({expr} AS TIMESTAMP))"
    if duckdb_type == "VARCHAR":
        return f"epoch_us(TRY_CAST({expr} AS TIMESTAMPTZ))"
    raise TypeError(f"a {duckdb_type} is not a point in time.")
