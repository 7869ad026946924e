"""Points in time and durations as int64 microseconds, and back to the text that manifests hold."""

from __future__ import annotations

import datetime as dt

import pandas as pd

from graphlearn.errors import UsageError

TimeLike = str | dt.date | dt.datetime | pd.Timestamp | int


def time_us(value: TimeLike, what: str) -> int:
    """A point in time as microseconds UTC; one without an offset is UTC.

    Args:
        value: ISO text, a date or timestamp, or an integer that already counts microseconds.
        what: Name of the argument, for the message.

    Raises:
        UsageError: If it is no point in time.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    try:
        stamp = pd.Timestamp(value)
    except (ValueError, TypeError) as error:
        raise UsageError(
            f"'{what}' must be a time such as 2024-01-31 or 2024-01-31T12:00:00, got {value!r}."
        ) from error
    if pd.isna(stamp):
        raise UsageError(f"'{what}' must be a time such as 2024-01-31, got {value!r}.")
    naive = stamp.tz_convert("UTC").tz_localize(None) if stamp.tzinfo is not None else stamp
    return int(naive.as_unit("us").to_datetime64().astype("int64"))


def time_text(us: int | pd.Timestamp) -> str:
    """Microseconds UTC (or a time without an offset) as ISO text without an offset: a date if it is midnight."""
    stamp = pd.Timestamp(us, unit="us") if isinstance(us, int) else us
    return stamp.strftime("%Y-%m-%d") if stamp == stamp.normalize() else stamp.isoformat(sep=" ")


def duration_us(value: str | dt.timedelta | pd.Timedelta | int, what: str) -> int:
    """A duration such as ``"30 days"`` as microseconds, > 0; an integer already counts microseconds.

    Raises:
        UsageError: If it is no duration, or not above zero.
    """
    try:
        us = value if isinstance(value, int) else int(pd.Timedelta(value) // pd.Timedelta(1, "us"))
    except (ValueError, TypeError) as error:
        raise UsageError(f"'{what}' must be a duration such as '30 days' or '12 hours', got {value!r}.") from error
    if us <= 0:
        raise UsageError(f"'{what}' must be longer than zero, got {value!r}.")
    return us


def interval_text(us: int) -> str:
    """Microseconds in the form that RelBench puts in place of ``{timedelta}``, such as ``30 days 00:00:00``."""
    return str(pd.Timedelta(us, unit="us"))


def duration_text(us: int) -> str:
    """Microseconds as the shortest text that a manifest reads back, such as ``30 days``."""
    return interval_text(us).removesuffix(" 00:00:00")
