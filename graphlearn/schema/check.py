"""What is wrong, or odd, in the data behind a schema: a report, not a crash."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass

from graphlearn.database.sql import is_time, quote, quote_all, time_us
from graphlearn.errors import first_three
from graphlearn.schema.connect import Database
from graphlearn.schema.profile import FLOATS
from graphlearn.schema.schema import ForeignKey, Table

LEVELS = ("error", "warning", "info")
FAR_PAST = int(dt.datetime(1900, 1, 2, tzinfo=dt.UTC).timestamp()) * 1_000_000
"""Times before this one (microseconds) are taken for placeholders."""


@dataclass(frozen=True)
class Finding:
    """One thing found.

    Args:
        level: ``error``: results would be wrong; ``warning``: probably not meant; ``info``: good to know.
        table: The table; empty where it concerns the whole database.
        column: The column or columns, joined by ", "; empty where it concerns the table.
        what: What was found.
        count: How many rows.
        first: The first three offending values, in order.
        advice: What to do.
    """

    level: str
    table: str
    column: str
    what: str
    count: int = 0
    first: tuple[str, ...] = ()
    advice: str = ""

    def __str__(self) -> str:
        where = ".".join(part for part in (self.table, self.column) if part)
        first = f" (first: {first_three(self.first)})" if self.first else ""
        return f"{self.level:<7}  {where + ': ' if where else ''}{self.what}{first}. {self.advice}".rstrip()


@dataclass(frozen=True)
class Report:
    """All findings, the worst first."""

    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing is an error."""
        return not any(finding.level == "error" for finding in self.findings)

    def __str__(self) -> str:
        counts = [sum(f.level == level for f in self.findings) for level in LEVELS]
        total = ", ".join(
            f"{n} {level}{'s' * (n != 1)}" for n, level in zip(counts, ("error", "warning", "note"), strict=True)
        )
        return "\n".join([*map(str, self.findings), total])


def check(db: Database, *, now: dt.datetime | None = None) -> Report:
    """Looks at all rows for what would make labels, graphs or predictions wrong.

    Cost: one scan per table, one anti-join per foreign key, one join per foreign key between tables with times.

    Args:
        db: The database.
        now: What counts as the future begins here; a naive time is UTC. By default the present.
    """
    moment = now or dt.datetime.now(dt.UTC)
    moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=dt.UTC)
    now_us = int((moment - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) / dt.timedelta(microseconds=1))
    findings: list[Finding] = []
    for table in db.schema.tables.values():
        findings += _rows_of(db, table, now_us)
        findings += _duplicates(db, table)
        findings += _structure(db, table)
        for key in table.fkeys:
            findings += _dangling(db, table, key)
            findings += _older_than_parent(db, table, key)
    findings += _mixed_zones(db)
    return Report(tuple(sorted(findings, key=lambda f: LEVELS.index(f.level))))


@dataclass(frozen=True)
class _Test:
    """A finding whose number of rows, and of offenders, comes from the table's one query."""

    finding: Finding
    count: str
    first: str = "NULL"


def _rows_of(db: Database, table: Table, now_us: int) -> Iterator[Finding]:
    tests = [*_key_tests(table), *_time_tests(table, now_us), *_column_tests(table)]
    items = ["count(*)", *(sql for test in tests for sql in (test.count, test.first))]
    rows, *found = db.rows(f"SELECT {', '.join(items)} FROM {quote(table.name)}")[0]
    if rows == 0:
        yield Finding("warning", table.name, "", "the table is empty", advice="Leave it out, or load its rows.")
        return
    for i, test in enumerate(tests):
        count, first = int(found[2 * i] or 0), tuple(found[2 * i + 1] or ())
        if count:
            what = test.finding.what.format(count=f"{count:,}", rows=f"{rows:,}", were="was" if count == 1 else "were")
            yield Finding(test.finding.level, table.name, test.finding.column, what, count, first, test.finding.advice)


def _key_tests(table: Table) -> Iterator[_Test]:
    for column in table.pkey:
        advice = "Give these rows a key, or name another primary key in the manifest."
        finding = Finding("error", table.name, column, "{count} of {rows} rows have no key", advice=advice)
        yield _Test(finding, f"count(*) - count({quote(column)})")
    for key in table.fkeys:
        missing = " OR ".join(f"{quote(column)} IS NULL" for column in key.columns)
        what = f"{{count}} of {{rows}} rows name no row of '{key.table}' (NULL)"
        finding = Finding("info", table.name, ", ".join(key.columns), what, advice="They get no edge.")
        yield _Test(finding, f"count(*) FILTER ({missing})")


def _time_tests(table: Table, now_us: int) -> Iterator[_Test]:
    if table.time_col is None:
        return
    column = table.time_col
    value, dtype = quote(column), table.column(column).dtype
    time = time_us(value, dtype)

    def test(level: str, what: str, advice: str, condition: str) -> _Test:
        finding = Finding(level, table.name, column, what, advice=advice)
        return _Test(finding, f"count(*) FILTER ({condition})", _first(value, condition))

    rule = {"drop": "They are left out", "keep": "They are visible always"}[table.null_time]
    yield test(
        "warning",
        "{count} of {rows} rows have no time",
        f"{rule} (null_time: {table.null_time} in the manifest).",
        f"{value} IS NULL",
    )
    yield test(
        "error",
        "{count} of {rows} values are not a finite point in time",
        "Write them as ISO 8601, such as 2024-05-31 or 2024-05-31T12:00:00Z, or as NULL.",
        f"{value} IS NOT NULL AND {time} IS NULL",
    )
    yield test(
        "warning",
        "{count} of {rows} rows lie in the future",
        "They stay invisible until then; if they are plans or mistakes, choose another time column or mend them.",
        f"{time} > {now_us}",
    )
    yield test(
        "warning",
        "{count} of {rows} rows lie before 1900-01-02",
        "A placeholder for an unknown time? Write NULL instead.",
        f"{time} < {FAR_PAST}",
    )
    if dtype == "VARCHAR":
        zoned = f"regexp_matches({value}, '[0-9](Z|[+-][0-9]{{2}}(:?[0-9]{{2}})?)$') AND contains({value}, ':')"
        counts = [
            f"count(*) FILTER ({time} IS NOT NULL AND {'' if flag else 'NOT '}({zoned}))" for flag in (True, False)
        ]
        finding = Finding(
            "warning",
            table.name,
            column,
            "{count} of {rows} times have an offset from UTC, and others have none",
            advice="Those without one are read as UTC; write all of them in the same way.",
        )
        yield _Test(finding, f"CASE WHEN {counts[1]} > 0 THEN {counts[0]} ELSE 0 END")


def _column_tests(table: Table) -> Iterator[_Test]:
    keys = {*table.pkey, *(column for key in table.fkeys for column in key.columns)}
    for column in table.columns:
        value = quote(column.name)
        finding = Finding("warning", table.name, column.name, "all values are NULL", advice="The column is not used.")
        yield _Test(finding, f"CASE WHEN count({value}) = 0 THEN count(*) ELSE 0 END")
        if column.dtype in FLOATS:
            for what, condition in (("infinite", f"isinf({value})"), ("NaN", f"isnan({value})")):
                finding = Finding(
                    "warning", table.name, column.name, f"{{count}} of {{rows}} values are {what}",
                    advice="They are treated as missing; write NULL if that is what they mean.",
                )  # fmt: skip
                yield _Test(finding, f"count(*) FILTER ({condition})")
        if column.name not in keys and not column.dtype.startswith(("STRUCT", "MAP", "UNION", "VARIANT", "GEOMETRY")):
            finding = Finding(
                "info", table.name, column.name, "all values are the same",
                advice="The column says nothing; set its stype to null to leave it out.",
            )  # fmt: skip
            same = f"count({value}) = count(*) AND count(*) > 1 AND min({value}) = max({value})"
            yield _Test(finding, f"CASE WHEN {same} THEN count(*) ELSE 0 END", f"[CAST(any_value({value}) AS VARCHAR)]")


def _duplicates(db: Database, table: Table) -> Iterator[Finding]:
    if not table.pkey:
        return
    given = " AND ".join(f"{quote(column)} IS NOT NULL" for column in table.pkey)
    count, values, first = db.rows(
        f"SELECT coalesce(sum(n), 0), count(*), {_first('key')} FROM (SELECT {_shown(table.pkey)} AS key, "
        f"count(*) AS n FROM {quote(table.name)} WHERE {given} GROUP BY {quote_all(table.pkey)} HAVING n > 1)"
    )[0]
    if count:
        what = f"{int(count):,} rows share {int(values):,} values of the primary key"
        advice = "Keep one row for each, or name another primary key in the manifest."
        yield Finding("error", table.name, ", ".join(table.pkey), what, int(count), tuple(first), advice)


def _structure(db: Database, table: Table) -> Iterator[Finding]:
    if not table.pkey:
        advice = "Nothing can refer to its rows, and no predictions can be made for them."
        yield Finding("info", table.name, "", "the table has no primary key", advice=advice)
    if table.time_col is not None:
        return
    timed = sorted({key.table for key in table.fkeys if db.schema.tables[key.table].time_col is not None})
    if timed:
        what = f"the table has no time, but it refers to '{timed[0]}', which has one"
        keys = ", ".join(key.name for key in table.fkeys if key.table == timed[0])
        advice = (
            f"Its rows are visible before those that they belong to: a leak. Give it a time column, or write "
            f"'time_from: [{keys}]' in the manifest."
        )
        yield Finding("warning", table.name, "", what, advice=advice)
    else:
        yield Finding("info", table.name, "", "the table has no time", advice="All its rows are visible always.")


def _dangling(db: Database, table: Table, key: ForeignKey) -> Iterator[Finding]:
    target = db.schema.tables[key.table].pkey
    given = " AND ".join(f"a.{quote(column)} IS NOT NULL" for column in key.columns)
    match = " AND ".join(f"b.{quote(k)} = a.{quote(c)}" for c, k in zip(key.columns, target, strict=True))
    missing = f"NOT EXISTS (SELECT 1 FROM {quote(key.table)} AS b WHERE {match})"
    values, count, first = db.rows(
        f"SELECT count(*), count(*) FILTER (missing), {_first('key', 'missing')} FROM "
        f"(SELECT {_shown(key.columns)} AS key, {missing} AS missing FROM {quote(table.name)} AS a WHERE {given})"
    )[0]
    if count:
        what = f"{count:,} of {values:,} values have no matching row in {key.table}.{', '.join(target)}"
        advice = f"Load the missing rows of '{key.table}'"
        advice += "; until then they get no edge." if key.on_missing == "drop" else ", or set on_missing to 'drop'."
        level = "warning" if key.on_missing == "drop" else "error"
        yield Finding(level, table.name, ", ".join(key.columns), what, int(count), tuple(first), advice)


def _older_than_parent(db: Database, table: Table, key: ForeignKey) -> Iterator[Finding]:
    parent = db.schema.tables[key.table]
    if table.time_col is None or parent.time_col is None:
        return
    match = " AND ".join(f"b.{quote(k)} = a.{quote(c)}" for c, k in zip(key.columns, parent.pkey, strict=True))
    own = time_us(f"a.{quote(table.time_col)}", table.column(table.time_col).dtype)
    other = time_us(f"b.{quote(parent.time_col)}", parent.column(parent.time_col).dtype)
    older = f"{own} < {other}"
    shown = _shown([f"a.{quote(column)}" for column in table.pkey or key.columns], quoted=True)
    rows, count, first = db.rows(
        f"SELECT count(*), count(*) FILTER ({older}), {_first(shown, older)} "
        f"FROM {quote(table.name)} AS a JOIN {quote(key.table)} AS b ON {match}"
    )[0]
    if count:
        what = f"{count:,} of {rows:,} rows are older than the row of '{key.table}' that they name"
        advice = "Until that row's own time they have no edge to it."
        yield Finding("info", table.name, ", ".join(key.columns), what, int(count), tuple(first or ()), advice)


def _mixed_zones(db: Database) -> Iterator[Finding]:
    zoned: list[str] = []
    naive: list[str] = []
    for table in db.schema.tables.values():
        if table.time_col is not None and is_time(dtype := table.column(table.time_col).dtype):
            aware = dtype in ("TIMESTAMP WITH TIME ZONE", "TIMESTAMPTZ_NS")
            (zoned if aware else naive).append(f"{table.name}.{table.time_col}")
    if zoned and naive:
        what = f"some time columns have a time zone ({first_three(zoned)}), others have none ({first_three(naive)})"
        yield Finding(
            "warning", "", "", what, advice="Those without one are read as UTC; if they are not, convert them."
        )


def _first(value: str, condition: str = "true") -> str:
    """SQL for the three least values as texts."""
    return f"CAST(min({value}, 3) FILTER ({condition}) AS VARCHAR[])"


def _shown(columns: tuple[str, ...] | list[str], *, quoted: bool = False) -> str:
    """The columns as one text, to name an offender."""
    names = columns if quoted else [quote(column) for column in columns]
    return names[0] if len(names) == 1 else "concat_ws(', ', " + ", ".join(names) + ")"
