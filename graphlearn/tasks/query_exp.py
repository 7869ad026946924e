"""The pieces of a query's SQL: names, literals, times and joins as sqlglot's expressions."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from sqlglot import exp

from graphlearn.tasks.query_paths import Hop, Path
from graphlearn.tasks.query_tree import Literal, Matches
from graphlearn.tasks.query_windows import Offset
from graphlearn.tasks.times import time_us as to_us

OPERATORS: dict[str, type[exp.Binary]] = {
    "=": exp.EQ, "!=": exp.NEQ, "<": exp.LT, "<=": exp.LTE, ">": exp.GT, ">=": exp.GTE,
}  # fmt: skip


def match_text(condition: Matches, value: exp.Expr, kind: str) -> exp.Expr:
    text = exp.Literal.string(str(condition.text.value))
    if kind == "list":
        return exp.func("list_contains", value, text)
    if condition.operator == "LIKE":
        return exp.Like(this=value, expression=text)
    name = {"CONTAINS": "contains", "STARTS WITH": "starts_with", "ENDS WITH": "suffix"}[condition.operator]
    return exp.Anonymous(this=name, expressions=[value, text])


def literal_exp(literal: Literal, kind: str) -> exp.Expr:
    value = literal.value
    if kind == "time":
        return number_exp(to_us(value.isoformat() if isinstance(value, dt.date) else str(value), "the time"))
    if isinstance(value, bool):
        return exp.Boolean(this=value)
    if isinstance(value, int | float):
        return number_exp(value)
    return exp.Literal.string(str(value))


def number_exp(value: int | float) -> exp.Expr:
    number = exp.Literal.number(repr(abs(value)))
    return exp.Neg(this=number) if value < 0 else number


def col(name: str, table: str | None = None) -> exp.Column:
    return exp.column(exp.to_identifier(name, quoted=True), table=None if table is None else exp.to_identifier(table))


def source_table(name: str, alias: str) -> exp.Expr:
    place = exp.Table(this=exp.to_identifier(name, quoted=True), db=exp.to_identifier("main"))
    return exp.alias_(place, alias, table=True)


def cte(name: str, alias: str) -> exp.Expr:
    place = exp.Table(this=exp.to_identifier(name))
    return place if name == alias else exp.alias_(place, alias, table=True)


def rows_exp(rows: list[tuple[int, ...]], columns: list[str]) -> exp.Expr:
    return exp.select("*").from_(exp.values(rows, alias="n", columns=columns))


def joined_by(kind: type[exp.Connector], parts: Sequence[exp.Expr]) -> exp.Expr:
    """AND or OR of many parts as a tree of small depth, which no parser minds."""
    if len(parts) == 1:
        return parts[0]
    middle = len(parts) // 2
    return kind(this=joined_by(kind, parts[:middle]), expression=joined_by(kind, parts[middle:]))


def between_times(time: exp.Expr, after: exp.Expr | None, upto: exp.Expr | None) -> list[exp.Expr]:
    found: list[exp.Expr] = []
    if after is not None:
        found.append(exp.GT(this=time.copy(), expression=after))
    if upto is not None:
        found.append(exp.LTE(this=time.copy(), expression=upto))
    return found


def divided(time: exp.Expr, origin: int, step: int) -> exp.Expr:
    """``(time - origin) // step``; DuckDB rounds towards zero."""
    since = exp.paren(exp.Sub(this=time.copy(), expression=number_exp(origin)))
    return exp.IntDiv(this=since, expression=number_exp(step))


def moved_time(time: exp.Expr, length: Offset) -> exp.Expr:
    if not length.months:
        return time if not length.us else exp.Add(this=time, expression=number_exp(length.us))
    months = exp.func("to_months", number_exp(length.months))
    return exp.func("epoch_us", exp.Add(this=exp.func("make_timestamp", time), expression=months))


def aliases(path: Path) -> dict[str, str]:
    """The alias of each table whose columns a row of the path has."""
    return {path.rows: "r0"} | {hop.key.table: f"o{i}" for i, hop in enumerate(path.out)}


def alias_of(path: Path, table: str) -> str:
    up = {hop.key.table: f"u{i + 1}" for i, hop in enumerate(path.up[:-1])}
    return (up | aliases(path))[table]


def joins(path: Path) -> dict[Hop, tuple[str, str]]:
    """The alias of each table that is joined, and of the table that holds the key. The entity's own is not needed."""
    up = {hop: (f"u{i + 1}", f"u{i}" if i else "r0") for i, hop in enumerate(path.up[:-1])}
    return up | {hop: (f"o{i}", f"o{i - 1}" if i else "r0") for i, hop in enumerate(path.out)}


def sql_text(select: exp.Expr) -> str:
    return select.sql(dialect="duckdb", pretty=True)
