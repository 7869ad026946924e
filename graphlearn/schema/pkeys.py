"""Primary keys from names and from values that are unique and never NULL, over all rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

from graphlearn.database.source import Source
from graphlearn.database.sql import quote, quote_all
from graphlearn.schema.names import (
    ends_with,
    is_code_name,
    is_id_name,
    is_line_name,
    is_plain_key,
    key_roots,
    table_roots,
    words,
)
from graphlearn.schema.profile import INTEGERS, Profile

# How sure a unique column is the key, by what its name says (see _rank).
_CONFIDENCE = (0.99, 0.95, 0.9, 0.8, 0.7, 0.6, 0.5)
_NAMES = (
    "named as the table's key", "named nearly as the table's key", "named as a key, first column", "named as a key",
    "named as a code", "named as another table's key, first column", "first column, named as the table",
)  # fmt: skip
_NOT_FIRST, _OF_ANOTHER = 3, 5


@dataclass(frozen=True)
class PrimaryKey:
    """A proposed primary key; no columns: the table has none."""

    columns: tuple[str, ...] = ()
    confidence: float = 1.0
    evidence: str = ""


def infer_pkey(
    source: Source, table: str, profiles: Mapping[str, Profile], others: Mapping[str, Mapping[str, Profile]]
) -> PrimaryKey:
    """The primary key of ``table``.

    Args:
        source: The source.
        table: The table.
        profiles: The profiles of its columns.
        others: The profiles of the other tables, by table.
    """
    if not profiles:
        return PrimaryKey()
    ranked = []
    for position, profile in enumerate(profiles.values()):
        rank = _rank(table, profile, position, others) if _may_be_key(profile) else None
        if rank is not None:
            ranked.append((rank, position, profile.name))
    composite: PrimaryKey | None = None
    rows = next(iter(profiles.values())).rows
    for rank, _, name in sorted(ranked):
        if rank >= (_OF_ANOTHER if rows else _NOT_FIRST) and composite is None:
            # film_category(film_id, category_id): that every film has one category today makes film_id no key.
            composite = _composite(source, table, profiles, others)
            if composite.columns:
                return composite
        if not rows:
            return PrimaryKey((name,), round(_CONFIDENCE[rank] * 0.5, 3), f"{_NAMES[rank]}; there are no rows yet")
        if _is_unique(source, table, [name], rows):
            return PrimaryKey((name,), _CONFIDENCE[rank], f"{_NAMES[rank]}; {rows:,} rows, all different")
    return composite if composite is not None else _composite(source, table, profiles, others)


def is_key_type(profile: Profile) -> bool:
    """Whether values of this column can be keys: whole numbers, text, UUIDs."""
    return (
        profile.dtype in INTEGERS
        or profile.dtype in ("VARCHAR", "UUID")
        or (profile.whole and profile.dtype.startswith("DECIMAL"))
    )


def _may_be_key(profile: Profile) -> bool:
    # The number of distinct values may be an estimate, some 10 % off.
    return is_key_type(profile) and profile.count == profile.rows and profile.distinct >= 0.7 * profile.rows


def _rank(table: str, profile: Profile, position: int, others: Mapping[str, Mapping[str, Profile]]) -> int | None:
    """From 0, surely the key, to 6; None: the name says that it is none."""
    name = profile.name
    own, stem = table_roots(table), key_roots(name)
    is_id = is_id_name(name)
    if is_id and (is_plain_key(name) or stem == own):
        return 0
    of_another = any(stem == table_roots(other) for other in others)
    if is_id and not of_another:
        if ends_with(stem, own) or ends_with(own, stem) or _same_beginning(stem, own):
            return 1
        return 2 if position == 0 else 3
    if is_code_name(name) and not of_another and (is_plain_key(name) or stem == own or position == 0):
        return 4
    if is_id or (is_code_name(name) and position == 0):
        return _OF_ANOTHER
    # seasons(year, …): another table speaks of its rows by the same name.
    shared = any(name.lower() == column.lower() for columns in others.values() for column in columns)
    return 6 if position == 0 and (stem == own or (shared and words(name) != ("name",))) else None


def _same_beginning(stem: tuple[str, ...], own: tuple[str, ...]) -> bool:
    """``qualifyId`` of ``qualifying``: the same word in another form."""
    if len(stem) != len(own):
        return False
    short, long = sorted((" ".join(stem), " ".join(own)), key=len)
    return len(short) >= 4 and long[: len(short) - 1] == short[:-1]


def _composite(
    source: Source, table: str, profiles: Mapping[str, Profile], others: Mapping[str, Mapping[str, Profile]]
) -> PrimaryKey:
    """The fewest of the leading key-like columns that are unique together."""
    roots = {table_roots(other) for other in others}
    leading = []
    for name, profile in profiles.items():
        named = is_id_name(name) or is_line_name(name) or key_roots(name) in roots
        if not (named and is_key_type(profile) and profile.count == profile.rows):
            break
        leading.append(name)
    rows = next(iter(profiles.values())).rows
    for size in range(2, min(len(leading), 4) + 1):
        for columns in combinations(leading[:5], size):
            if columns[0] != leading[0] or (_is_event(profiles) and not any(is_line_name(c) for c in columns)):
                continue
            if rows and _is_unique(source, table, columns, rows):
                return PrimaryKey(columns, 0.7, f"leading keys; {rows:,} rows, all different together")
    if not rows and len(leading) == 2:
        return PrimaryKey(tuple(leading), 0.3, "leading keys; there are no rows yet")
    return PrimaryKey()


def _is_event(profiles: Mapping[str, Profile]) -> bool:
    """Whether rows have times that differ: then the same pair of keys may come again, even if it has not yet."""
    return any(
        profile.low is not None and profile.low != profile.high
        for profile in profiles.values()
        if profile.dtype.startswith(("TIMESTAMP", "DATE")) or profile.parses_time
    )


def _is_unique(source: Source, table: str, columns: tuple[str, ...] | list[str], rows: int) -> bool:
    distinct = source.rows(f"SELECT count(*) FROM (SELECT DISTINCT {quote_all(columns)} FROM {quote(table)})")
    return bool(distinct[0][0] == rows)
