"""Which kind of feature a column is, from its profile over all rows (no sample, so always the same answer)."""

from __future__ import annotations

from graphlearn.database.sql import is_time
from graphlearn.schema.names import is_id_name
from graphlearn.schema.profile import COUNTED, FLOATS, Profile, is_list, is_number, item_type

FEW_NUMBERS = 12
"""Whole numbers with at most so many distinct values are categories: months, ratings, flags."""
FEW_CODES = 1_000
"""The same limit for columns whose name says that they are codes (``status_id``, ``zip_code``)."""
MIN_REPEATS = 2.0
"""Mean occurrences from which a text is a category."""
LONG_TEXT = 64
"""Mean number of characters from which a text with more than a handful of values is prose."""
MIN_PART_REPEATS = 5.0
"""Mean occurrences of a part from which separated texts are sets of categories."""


def infer_stype(profile: Profile, *, is_key: bool = False) -> tuple[str | None, float]:
    """The stype and how sure it is; None for keys, for identifiers, and for what cannot be a feature."""
    dtype = profile.dtype
    if is_key or profile.count == 0:
        return None, 1.0
    if dtype == "BOOLEAN":
        return "categorical", 1.0
    if is_time(dtype):
        return "timestamp", 1.0
    if is_number(dtype):
        return _number(profile)
    if dtype == "VARCHAR":
        return _text(profile)
    if is_list(dtype):
        return _list(profile)
    return None, 1.0


def _number(profile: Profile) -> tuple[str | None, float]:
    if not profile.whole:
        return "numerical", 1.0
    if is_id_name(profile.name):
        return _identifier(profile, "numerical")
    if profile.distinct <= 2:
        return "categorical", 0.9
    if profile.distinct <= FEW_NUMBERS and profile.rarest > 4:
        return "categorical", 0.6
    # Many repeats of few values could still be codes; nearly unique whole numbers are surely quantities.
    return "numerical", 0.7 if profile.distinct <= 50 else 0.9


def _text(profile: Profile) -> tuple[str | None, float]:
    if profile.parses_time:
        return "timestamp", 0.9
    if is_id_name(profile.name):
        return _identifier(profile, "text")
    if profile.parses_number:
        few = profile.distinct <= FEW_NUMBERS and profile.rarest > 4
        return ("categorical", 0.6) if few else ("numerical", 0.7)
    repeats = profile.count / max(profile.distinct, 1)
    if _has_frequent_parts(profile) and profile.separated >= 0.2 * profile.count:
        return "multicategorical", 0.7
    prose = profile.mean_length > LONG_TEXT and profile.distinct > 50
    if repeats >= MIN_REPEATS and profile.distinct <= COUNTED and not prose:
        return "categorical", 0.9 if repeats >= 5 else 0.6
    return "text", 0.9 if prose or repeats < 1.2 else 0.6


def _identifier(profile: Profile, otherwise: str) -> tuple[str | None, float]:
    """A column named like a key that is none: a code if its values repeat enough, else no feature."""
    repeats = profile.count / max(profile.distinct, 1)
    if profile.distinct <= FEW_CODES and repeats >= 5:
        return "categorical", 0.7
    if otherwise == "text" and profile.mean_length > LONG_TEXT:
        return "text", 0.5
    return None, 0.6


def _has_frequent_parts(profile: Profile) -> bool:
    if profile.distinct_parts == 0 or profile.parts < MIN_PART_REPEATS * profile.distinct_parts:
        return False
    # 'London, UK' has parts that repeat, but the pairs repeat as much: splitting it gains nothing.
    return profile.distinct_parts <= FEW_CODES and 2 * profile.distinct_parts <= profile.distinct


def _list(profile: Profile) -> tuple[str | None, float]:
    item = item_type(profile.dtype)
    if item in FLOATS or item.startswith("DECIMAL"):
        return ("embedding", 1.0) if profile.equal_length and profile.mean_length >= 1 else (None, 1.0)
    if profile.distinct_parts and profile.parts >= MIN_REPEATS * profile.distinct_parts:
        return ("multicategorical", 0.9) if profile.distinct_parts <= COUNTED else (None, 0.6)
    return None, 0.6
