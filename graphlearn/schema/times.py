"""The time column: since when a row is known."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping

from graphlearn.database.sql import is_time
from graphlearn.schema.names import root, table_roots, words
from graphlearn.schema.profile import Profile

# Facts about a person or thing that have nothing to do with when its row was written.
NEVER = frozenset({"birth", "born", "birthday", "birthdate", "dob", "death", "died", "dod", "deceased"})
# Plans and promises: they lie after the row became known, often in the future.
PLANNED = frozenset(
    {"until", "to", "valid", "expire", "expires", "expiry", "expiration", "expired", "due", "deadline", "required",
     "planned", "expected", "estimated", "scheduled", "target", "next"}
)  # fmt: skip
# What happens to a row later. Better than no time at all: too late hides, too early leaks.
OUTCOMES = frozenset(
    {"end", "ended", "finish", "finished", "complete", "completed", "close", "closed", "resolved", "return", "returned",
     "shipped", "delivered", "cancelled", "canceled", "deleted", "paid"}
)  # fmt: skip
CHANGED = frozenset({"update", "updated", "modified", "changed", "change", "edited", "synced", "refreshed", "last"})
CREATED = frozenset(
    {"created", "create", "creation", "inserted", "insert", "added", "registered", "registration", "signup", "joined",
     "posted", "published", "ordered", "placed", "opened", "occurred", "event", "hire", "hired", "start", "started",
     "begin", "issued", "purchased", "logged", "recorded", "received", "submitted"}
)  # fmt: skip
PLAIN = frozenset({"date", "time", "timestamp", "datetime", "ts", "day", "at", "on", "when", "dt", "from"})
_CHANGED = 4
FAR_FUTURE = int(dt.datetime(2100, 1, 1, tzinfo=dt.UTC).timestamp()) * 1_000_000


def infer_time_col(table: str, profiles: Mapping[str, Profile], *, referred: bool) -> tuple[str | None, float]:
    """The time column and how sure it is; None if no column says since when a row is known.

    Args:
        table: The table.
        profiles: The profiles of its columns.
        referred: Whether other tables refer to it.
    """
    ranked = []
    for position, profile in enumerate(profiles.values()):
        rank = _rank(table, profile)
        # One moment for all rows is that of a load: it says nothing about when any of them became known.
        loaded = profile.low == profile.high and profile.rows > 1
        if rank is not None and not (loaded and (referred or rank == _CHANGED)):
            nulls = (profile.rows - profile.count) / max(profile.rows, 1)
            # More than half missing is worse than any name; of two equal ones, the earlier event is the first news.
            ranked.append((nulls > 0.5, rank, nulls, profile.low or 0, position, profile.name))
    if not ranked:
        return None, 1.0
    mostly_null, rank, *_, name = min(ranked)
    confidence = (0.95, 0.9, 0.7, 0.4, 0.3)[rank]
    return name, round(confidence * (0.5 if mostly_null else 1.0), 3)


def _rank(table: str, profile: Profile) -> int | None:
    """0 to 4 from a creation time to a last change; None: not a time column."""
    if not (is_time(profile.dtype) or (profile.dtype == "VARCHAR" and profile.parses_time)):
        return None
    if profile.low is None or profile.high is None or profile.high >= FAR_FUTURE:
        return None
    found = set(words(profile.name))
    if found & PLANNED and not found & CREATED:
        return None
    if _named_like(table, found):
        return 0
    if found & NEVER or any(word.startswith("birth") for word in found):
        return None
    if found & CHANGED:
        return _CHANGED
    if found & OUTCOMES:
        return 3
    if found & CREATED or found <= PLAIN:
        return 0
    return 1 if found & PLAIN else 2


def _named_like(table: str, found: set[str]) -> bool:
    """``OrderDate`` of ``Orders``, ``returned_at`` of ``returns``: the time of the row itself."""
    own = table_roots(table)[-1:]
    named = any(root(word).startswith(own[0]) for word in found - PLAIN if own and len(own[0]) >= 3)
    return named and bool(found & PLAIN)
