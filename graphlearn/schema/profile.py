"""What the values of each column look like over all rows: one query for all columns, and one for frequencies."""

from __future__ import annotations

from dataclasses import dataclass, replace

from graphlearn.database.source import Source
from graphlearn.database.sql import is_time, quote, time_us

_SIGNED = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT")
INTEGERS = frozenset(_SIGNED) | {f"U{name}" for name in _SIGNED}
FLOATS = frozenset({"FLOAT", "DOUBLE"})
SEPARATORS = (",", "|", ";")
TOGETHER = 32
"""How many columns one query looks at."""
COUNTED = 20_000
"""Up to about so many distinct values, their frequencies are counted."""


@dataclass(frozen=True)
class Profile:
    """One column over all rows.

    Attributes:
        name: Its name.
        dtype: Its DuckDB type.
        rows: Rows of the table.
        count: Values that are not NULL.
        distinct: Distinct values; above :data:`COUNTED` an estimate that is the same on every run.
        rarest: How often the rarest value occurs; 0 where that was not counted.
        mean_length: Mean length of the text, or of the list.
        equal_length: Whether all lists have the same length and no NULL inside.
        whole: Whether all numbers are whole.
        parses_time: Whether all texts are points in time.
        parses_number: Whether all texts are numbers.
        separator: The separator most often found in the texts.
        separated: In how many values it is found.
        parts: How many parts there are: of the texts at that separator, or items of the lists.
        distinct_parts: How many of them are distinct.
        low: Least value of whole numbers or of times (microseconds), if any.
        high: Greatest such value.
    """

    name: str
    dtype: str
    rows: int
    count: int = 0
    distinct: int = 0
    rarest: int = 0
    mean_length: float = 0.0
    equal_length: bool = False
    whole: bool = False
    parses_time: bool = False
    parses_number: bool = False
    separator: str = ""
    separated: int = 0
    parts: int = 0
    distinct_parts: int = 0
    low: int | None = None
    high: int | None = None

    @property
    def unique(self) -> bool:
        """Whether no value is missing and none repeats (only known for sure up to :data:`COUNTED` values)."""
        return self.rows > 0 and self.count == self.rows and self.distinct >= self.rows


def is_number(dtype: str) -> bool:
    """Whether values of this type are numbers."""
    return dtype in INTEGERS or dtype in FLOATS or dtype.startswith("DECIMAL")


def is_list(dtype: str) -> bool:
    """Whether values of this type are lists or arrays."""
    return dtype.endswith("]")


def item_type(dtype: str) -> str:
    """The type of the items of a list or array type."""
    return dtype[: dtype.rindex("[")]


def profile_table(source: Source, table: str) -> dict[str, Profile]:
    """The profile of every column of ``table`` that is its own.

    Cost: one scan for every :data:`TOGETHER` columns, and one aggregation per column that has few distinct values.
    """
    columns = list(source.own_columns(table).items())
    profiles: dict[str, Profile] = {}
    # The time to plan a query grows with the square of its columns.
    for start in range(0, len(columns), TOGETHER):
        profiles |= _profile_columns(source, table, dict(columns[start : start + TOGETHER]))
    return profiles


def _profile_columns(source: Source, table: str, columns: dict[str, str]) -> dict[str, Profile]:
    items = ["count(*)"]
    layout: list[tuple[str, str]] = []
    for name, dtype in columns.items():
        for field, sql in _measures(quote(name), dtype).items():
            layout.append((name, field))
            items.append(sql)
    rows, *values = source.rows(f"SELECT {', '.join(items)} FROM {quote(table)}")[0]
    found: dict[str, dict[str, object]] = {name: {} for name in columns}
    for (name, field), value in zip(layout, values, strict=True):
        if value is not None:
            found[name][field] = value
    profiles = {name: _with_separator(Profile(name, dtype, int(rows)), found[name]) for name, dtype in columns.items()}
    return _with_frequencies(source, table, profiles)


def _measures(column: str, dtype: str) -> dict[str, str]:
    """SQL aggregates by the field of :class:`Profile` that they fill."""
    measures = {"count": f"count({column})"}
    if dtype.startswith(("STRUCT", "MAP", "UNION", "VARIANT", "GEOMETRY")):
        return measures
    measures["distinct"] = f"approx_count_distinct({column})"
    if dtype in INTEGERS:
        measures |= {"whole": "true", "low": f"min({column})", "high": f"max({column})"}
    elif is_number(dtype):
        # NaN and infinities are no whole numbers, but they do not make a column of whole numbers one of fractions.
        finite = f"isfinite(CAST({column} AS DOUBLE))"
        value = f"CAST({column} AS DOUBLE)"
        measures["whole"] = f"coalesce(bool_and({value} = trunc({value})) FILTER ({finite}), false)"
        bounds = f"FILTER ({finite} AND abs({value}) < 9e15)"
        measures["low"] = f"CAST(trunc(min({value}) {bounds}) AS BIGINT)"
        measures["high"] = f"CAST(trunc(max({value}) {bounds}) AS BIGINT)"
    elif is_time(dtype):
        measures |= _bounds(column, dtype)
    elif dtype == "VARCHAR":
        measures["mean_length"] = f"avg(length({column}))"
        for i, separator in enumerate(SEPARATORS):
            measures[f"separated{i}"] = f"count(*) FILTER (contains({column}, '{separator}'))"
        measures |= _bounds(column, dtype)
        given = f"FILTER ({column} IS NOT NULL)"
        is_time_text = f"length({column}) >= 8 AND TRY_CAST({column} AS TIMESTAMPTZ) IS NOT NULL"
        measures["parses_time"] = f"coalesce(bool_and({is_time_text}) {given}, false)"
        measures["parses_number"] = f"coalesce(bool_and(TRY_CAST({column} AS DOUBLE) IS NOT NULL) {given}, false)"
    elif is_list(dtype):
        measures["mean_length"] = f"avg(len({column}))"
        nulls = f"list_count({column}) = len({column})" if not dtype.endswith("[]]") else "true"
        measures["equal_length"] = f"coalesce(min(len({column})) = max(len({column})) AND bool_and({nulls}), false)"
    return measures


def _bounds(column: str, dtype: str) -> dict[str, str]:
    time = time_us(column, dtype)
    return {"low": f"min({time})", "high": f"max({time})"}


def _with_separator(profile: Profile, found: dict[str, object]) -> Profile:
    counts = [int(str(found.pop(f"separated{i}", 0))) for i in range(len(SEPARATORS))]
    if max(counts) > 0:
        found |= {"separator": SEPARATORS[counts.index(max(counts))], "separated": max(counts)}
    return replace(profile, **found)  # type: ignore[arg-type]


def _with_frequencies(source: Source, table: str, profiles: dict[str, Profile]) -> dict[str, Profile]:
    queries = []
    for i, (name, profile) in enumerate(profiles.items()):
        column = quote(name)
        nested = profile.dtype.startswith(("STRUCT", "MAP", "UNION", "VARIANT", "GEOMETRY", "BLOB"))
        # An estimate of 20,000 may be a true 25,000: a margin keeps what is near the limit countable.
        if 0 < profile.distinct <= COUNTED * 1.5 and not nested and not is_list(profile.dtype):
            queries.append(
                f"SELECT {i} AS i, 'value' AS kind, count(*) AS n, min(k) AS low, sum(k) AS total FROM "
                f"(SELECT count(*) AS k FROM {quote(table)} WHERE {column} IS NOT NULL GROUP BY {column})"
            )
        parts = _parts(profile, column)
        if parts:
            queries.append(
                f"SELECT {i}, 'part', count(*), min(k), sum(k) FROM (SELECT count(*) AS k FROM "
                f"(SELECT unnest({parts}) AS part FROM {quote(table)}) WHERE part IS NOT NULL GROUP BY part)"
            )
    names = list(profiles)
    done = dict(profiles)
    for i, kind, n, low, total in source.rows(" UNION ALL ".join(queries)) if queries else []:
        name = names[i]
        if kind == "value":
            done[name] = replace(done[name], distinct=int(n), rarest=int(low or 0))
        else:
            done[name] = replace(done[name], parts=int(total or 0), distinct_parts=int(n))
    return done


def _parts(profile: Profile, column: str) -> str | None:
    if is_list(profile.dtype) and item_type(profile.dtype) in (INTEGERS | {"VARCHAR"}):
        return f"CAST({column} AS VARCHAR[])"
    # Long texts are prose: their commas separate clauses.
    if profile.separated >= max(2, profile.count // 5) and profile.mean_length <= 200:
        return f"list_transform(string_split({column}, '{profile.separator}'), lambda part: trim(part))"
    return None
