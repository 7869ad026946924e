"""Foreign keys from names and from inclusion: which of a column's values are keys of another table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from graphlearn.database.source import Source
from graphlearn.database.sql import quote, quote_all
from graphlearn.schema.names import (
    SELF_NAMES,
    ends_with,
    is_code_name,
    is_id_name,
    is_plain_key,
    key_roots,
    key_words,
    role_score,
    table_roots,
)
from graphlearn.schema.pkeys import is_key_type
from graphlearn.schema.profile import FLOATS, Profile
from graphlearn.schema.schema import ForeignKey

SURE_NAME = 0.8
"""From this name score on, a key with many values without a row is still one; :func:`check` reports them."""
MIN_INCLUSION = 0.5
FULL_INCLUSION = 0.98
"""Share of distinct values found, for names that say less."""
VALUE_SCORE = 0.6
"""What inclusion alone counts, where names say nothing."""
SAMPLED_FROM = 1_000_000
"""Rows from which candidates are tried on a sample of their values first."""
SAMPLE_VALUES = 10_000
SAMPLE_SLACK = 0.1
"""How far below the inclusion that it needs a candidate may be on the sample."""
ENOUGH_VALUES = 10
"""Distinct values from which inclusion alone is evidence, where it is not by chance (text, sparse numbers)."""


@dataclass(frozen=True)
class _Candidate:
    column: str
    table: str
    pkey: str
    score: float
    values: int = 0
    found: int = 0

    @property
    def inclusion(self) -> float:
        return self.found / self.values if self.values else 0.0

    @property
    def confidence(self) -> float:
        if not self.values:
            return round(self.score * 0.5, 3)
        return round(self.score * (0.5 + 0.5 * self.inclusion), 3)

    @property
    def evidence(self) -> str:
        name = "name" if self.score >= SURE_NAME else "similar name" if self.score > VALUE_SCORE else "no name"
        values = f"{self.found:,} of {self.values:,} values found" if self.values else "no values yet"
        return f"{name}; {values}"

    @property
    def needed(self) -> float:
        """The inclusion from which it is a key."""
        return MIN_INCLUSION if self.score >= SURE_NAME else FULL_INCLUSION

    @property
    def accepted(self) -> bool:
        return self.inclusion >= self.needed if self.values else self.score >= SURE_NAME


def infer_fkeys(
    source: Source,
    table: str,
    profiles: Mapping[str, Mapping[str, Profile]],
    pkeys: Mapping[str, tuple[str, ...]],
) -> tuple[ForeignKey, ...]:
    """The foreign keys of ``table``, single columns first, each column to one table.

    Args:
        source: The source.
        table: The table that holds the keys.
        profiles: The profiles of all tables.
        pkeys: The primary keys of all tables; empty for a table without one.
    """
    candidates = []
    for profile in profiles[table].values():
        for target, pkey in pkeys.items():
            if len(pkey) != 1 or (target == table and pkey[0] == profile.name):
                continue
            key = profiles[target][pkey[0]]
            score = _score(table, profile, target, key, own_pkey=pkeys[table])
            if score > 0:
                candidates.append(_Candidate(profile.name, target, pkey[0], score))
    rows = next((profile.rows for profile in profiles[table].values()), 0)
    measured = [c for c in _measure(source, table, candidates, rows) if c.accepted]
    best: dict[str, _Candidate] = {}
    # Sorted by name last, so that the order of the tables decides nothing.
    for candidate in sorted(measured, key=lambda c: (-c.score, -c.inclusion, c.table)):
        best.setdefault(candidate.column, candidate)
    singles = [
        ForeignKey((column,), best[column].table, confidence=best[column].confidence, evidence=best[column].evidence)
        for column in profiles[table]
        if column in best
    ]
    return (*singles, *_composite(source, table, profiles, pkeys))


def _score(table: str, profile: Profile, target: str, key: Profile, *, own_pkey: tuple[str, ...]) -> float:
    """How much the names, or the kind of values, speak for ``table.profile`` -> ``target.key``; 0: not a candidate."""
    if not _comparable(profile, key):
        return 0.0
    score = _name_score(table, profile.name, target, key.name)
    if own_pkey == (profile.name,):
        # A key that is also a foreign key extends a row of the other table, and is named after that one.
        about_itself = is_plain_key(profile.name) or key_roots(profile.name) == table_roots(table)
        return score if score >= 0.9 and target != table and not about_itself else 0.0
    return score or _value_score(profile, key)


def _name_score(table: str, column: str, target: str, pkey: str) -> float:
    stem, goal = key_roots(column), table_roots(target)
    id_like = is_id_name(column) or is_code_name(column)
    if stem == goal and id_like:
        return 0.98
    if column.lower() == pkey.lower() and not is_plain_key(pkey):
        return 0.95
    if id_like and ends_with(stem, goal):
        return 0.9
    if is_id_name(column) and ends_with(goal, stem):
        return 0.85
    role = role_score(column, target)
    if table == target and (role or " ".join(key_words(column)) in SELF_NAMES):
        return 0.8
    if role and is_id_name(column):
        return role
    if stem in (goal, key_roots(pkey)) and not is_plain_key(pkey):
        return 0.7
    return 0.65 if stem == goal else 0.0


def _value_score(profile: Profile, key: Profile) -> float:
    """Inclusion cannot be by chance: many values, of text or of numbers that use little of their range."""
    if not ENOUGH_VALUES <= profile.distinct <= 1.2 * key.rows:
        return 0.0
    if profile.dtype in ("VARCHAR", "UUID"):
        return VALUE_SCORE
    if None in (key.low, key.high, profile.low, profile.high):
        return 0.0
    low, high = int(key.low or 0), int(key.high or 0)
    inside = low <= int(profile.low or 0) and int(profile.high or 0) <= high
    return VALUE_SCORE if inside and high - low > 20 * key.rows else 0.0


def _comparable(profile: Profile, key: Profile) -> bool:
    def kind(p: Profile) -> str:
        if p.dtype in ("VARCHAR", "UUID"):
            return p.dtype
        # Whole numbers with gaps come out of data frames as floats.
        floats = p.dtype in FLOATS and (p.whole or p.count == 0)
        return "number" if is_key_type(p) or floats else "none"

    return kind(profile) == kind(key) != "none"


def _measure(source: Source, table: str, candidates: list[_Candidate], rows: int) -> list[_Candidate]:
    if rows >= SAMPLED_FROM:
        sampled = _count(source, table, candidates, rows // SAMPLE_VALUES)
        candidates = [c for c in sampled if c.values < ENOUGH_VALUES or c.inclusion >= c.needed - SAMPLE_SLACK]
    return _count(source, table, candidates)


def _count(source: Source, table: str, candidates: list[_Candidate], every: int = 1) -> list[_Candidate]:
    """The candidates with how many of their values are keys; of ``every`` so many values, one that its hash chooses."""
    if not candidates:
        return []
    queries = [
        f"SELECT {i}, count(*), count(*) FILTER (v IN (SELECT {quote(c.pkey)} FROM {quote(c.table)})) FROM "
        f"(SELECT DISTINCT {quote(c.column)} AS v FROM {quote(table)} WHERE {quote(c.column)} IS NOT NULL"
        f"{f' AND hash({quote(c.column)}) % {every} = 0' if every > 1 else ''})"
        for i, c in enumerate(candidates)
    ]
    counts = {int(i): (int(n), int(k)) for i, n, k in source.rows(" UNION ALL ".join(queries))}
    return [replace(c, values=counts[i][0], found=counts[i][1]) for i, c in enumerate(candidates)]


def _composite(
    source: Source,
    table: str,
    profiles: Mapping[str, Mapping[str, Profile]],
    pkeys: Mapping[str, tuple[str, ...]],
) -> list[ForeignKey]:
    own = {name.lower(): profile for name, profile in profiles[table].items()}
    found = []
    for target in sorted(pkeys):
        pkey = pkeys[target]
        if len(pkey) < 2 or target == table or any(column.lower() not in own for column in pkey):
            continue
        columns = tuple(own[column.lower()].name for column in pkey)
        if not all(_comparable(own[c.lower()], profiles[target][c]) for c in pkey):
            continue
        # Two tables with the same key extend each other: the smaller one refers to the larger one.
        sizes = [(profiles[name][pkeys[name][0]].rows, name) for name in (table, target) if pkeys[name]]
        if set(pkeys[table]) == set(columns) and max(sizes)[1] == table:
            continue
        values, hits = _inclusion_together(source, table, columns, target, pkey)
        inclusion = hits / values if values else 0.0
        if inclusion >= MIN_INCLUSION:
            evidence = f"names; {hits:,} of {values:,} values found"
            found.append(
                ForeignKey(columns, target, confidence=round(0.9 * (0.5 + 0.5 * inclusion), 3), evidence=evidence)
            )
    return found


def _inclusion_together(
    source: Source, table: str, columns: tuple[str, ...], target: str, pkey: tuple[str, ...]
) -> tuple[int, int]:
    """How many values of the columns there are, and how many of them are keys of the target."""
    given = " AND ".join(f"{quote(c)} IS NOT NULL" for c in columns)
    match = " AND ".join(f"a.{quote(c)} = b.{quote(k)}" for c, k in zip(columns, pkey, strict=True))
    values, hits = source.rows(
        f"SELECT count(*), count(*) FILTER (EXISTS (SELECT 1 FROM {quote(target)} AS b WHERE {match})) "
        f"FROM (SELECT DISTINCT {quote_all(columns)} FROM {quote(table)} WHERE {given}) AS a"
    )[0]
    return int(values), int(hits)
