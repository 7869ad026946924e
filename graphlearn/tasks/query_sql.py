"""From a checked query to one SELECT: (pkey, seed_time, label) at given anchors, or the cohort at one time.

Each aggregation is computed once for all anchors, before any entity is looked at: its rows are grouped by the key of
the entity and by the number of the anchor whose window they lie in, so that all that is left is joins on equality.
Rows that lie in the windows of several anchors are repeated for each of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import sqlglot
from sqlglot import exp

from graphlearn.database import time_us
from graphlearn.tasks.manifest import TaskType
from graphlearn.tasks.query_checked import NEVER_NULL, Checked, Rows, kind_of, shifted, values
from graphlearn.tasks.query_exp import (
    OPERATORS,
    alias_of,
    aliases,
    between_times,
    col,
    cte,
    divided,
    joined_by,
    joins,
    literal_exp,
    match_text,
    moved_time,
    number_exp,
    rows_exp,
    source_table,
    sql_text,
)
from graphlearn.tasks.query_paths import Hop, Path
from graphlearn.tasks.query_tree import (
    Aggregation,
    Among,
    And,
    Between,
    Column,
    Compare,
    Condition,
    IsNull,
    Not,
    Or,
    Value,
)
from graphlearn.tasks.query_windows import Bounds

if TYPE_CHECKING:
    from graphlearn.schema import Database


@dataclass(frozen=True)
class Anchors:
    """The times at which each entity is asked about.

    Args:
        times: int64 microseconds, ascending; None: each row at its own time.
        after: Of rows at their own time, those later than this.
        upto: Of rows at their own time, those not later than this.
        share: Of rows without a time, those whose key hashes into these tenths.
    """

    times: np.ndarray | None = field(default=None, hash=False)
    after: int | None = None
    upto: int | None = None
    share: tuple[int, int] | None = None


def label_sql(db: Database, checked: Checked, anchors: Anchors) -> str:
    """The SELECT that gives (pkey, seed_time in microseconds UTC, label), sorted by (seed_time, pkey)."""
    return _Compiler(db, checked, anchors).labels()


def cohort_sql(db: Database, checked: Checked, anchors: Anchors) -> str:
    """The SELECT that gives the keys of the entities that WHERE includes, sorted; of the future nothing is asked."""
    return _Compiler(db, checked, anchors).cohort()


def filter_sql(db: Database, checked: Checked, condition: Condition, alias: str) -> str:
    """The row filter of an aggregation as SQL over the row ``alias`` of its table."""
    names = {value.table: alias for value in values(condition) if isinstance(value, Column)}
    return _Compiler(db, checked, Anchors())._condition(condition, names).sql(dialect="duckdb")


@dataclass
class _Group:
    """Aggregations over the same rows: one common table expression."""

    name: str
    rows: Rows
    where: Condition | None
    functions: list[Aggregation] = field(default_factory=list)


class _Compiler:
    def __init__(self, db: Database, checked: Checked, anchors: Anchors) -> None:
        self.db, self.checked, self.anchors = db, checked, anchors
        self.groups: dict[tuple[Path, Bounds, Condition | None], _Group] = {}
        self.place: dict[Aggregation, tuple[_Group, str]] = {}
        self.inner: set[str] = set()
        self.parents: dict[str, str] = {}

    def labels(self) -> str:
        query = self.checked.query
        steps = [query.target]
        if self.checked.task_type is TaskType.MULTISTEP:
            assert isinstance(query.target, Aggregation)
            moved = [shifted(self.checked, query.target, step) for step in range(self.checked.steps)]
            self.checked.rows.update(moved)
            steps = [target for target, _ in moved]
        conditions = [condition for condition in (query.where, query.assuming) if condition is not None]
        for condition in (*conditions, *steps):
            self._collect(condition)
        for condition in conditions:
            self.inner |= {self.place[value][0].name for value in _required(condition)}
        if len(steps) == 1:
            self.inner |= {self.place[value][0].name for value in _defined(steps[0])}
        label = self._label(steps)
        select = self._select(conditions).select(exp.alias_(label, "label", quoted=True))
        for step in steps:
            if any(v.function not in NEVER_NULL if isinstance(v, Aggregation) else True for v in values(step)):
                select = select.where(
                    exp.Not(this=exp.Is(this=exp.paren(self._condition(step)), expression=exp.null()))
                )
        return sql_text(select.order_by(col("seed_time"), col("pkey")))

    def cohort(self) -> str:
        where = self.checked.query.where
        conditions = [] if where is None else [where]
        for condition in conditions:
            self._collect(condition)
            self.inner |= {self.place[value][0].name for value in _required(condition)}
        select = self._select(conditions)
        missing = [self._value(v, "e") for v in values(self.checked.query.target) if isinstance(v, Column)]
        if missing:
            unknown = [exp.Is(this=value, expression=exp.null()) for value in missing]
            select = select.select(exp.alias_(exp.paren(joined_by(exp.Or, unknown)), "missing", quoted=True))
        return sql_text(select.order_by(col("seed_time"), col("pkey")))

    def _select(self, conditions: list[Condition]) -> exp.Select:
        """FROM and WHERE, with the key and the time."""
        checked, table = self.checked, self.db.schema[self.checked.entity]
        made = {name: self._grouped(group) for name, group in ((g.name, g) for g in self.groups.values())}
        time, limits = self._seed_time()
        select = exp.select(
            exp.alias_(col(checked.pkey, "e"), "pkey", quoted=True), exp.alias_(time, "seed_time", quoted=True)
        )
        select = select.from_(source_table(checked.entity, "e"))
        if self.anchors.times is not None:
            select = select.join(cte("anchors", "a"), join_type="cross")
        for name in sorted(made, key=lambda name: name not in self.inner):
            on = [exp.EQ(this=col("id", name), expression=col(checked.pkey, "e"))]
            if self.anchors.times is not None:
                on.append(exp.EQ(this=col("k", name), expression=col("k", "a")))
            else:
                on.append(exp.EQ(this=col("t", name), expression=time.copy()))
            select = select.join(
                cte(name, name), on=joined_by(exp.And, on), join_type="inner" if name in self.inner else "left"
            )
        for parent, hops in checked.parents.items():
            select = self._join_parent(select, parent, hops, time)
        if table.time_col is not None and self.anchors.times is not None:
            known: exp.Expr = exp.LTE(this=self._us(table.name, table.time_col, "e"), expression=time.copy())
            if table.null_time == "keep":
                undated = exp.Is(this=self._us(table.name, table.time_col, "e"), expression=exp.null())
                known = exp.paren(exp.or_(undated, known))
            limits.append(known)
        limits += [self._condition(condition) for condition in conditions]
        select = select.where(*limits) if limits else select
        if self.anchors.times is not None:
            select = select.with_("anchors", as_=self._anchor_rows(), copy=False)
            for window, name in self._tables_of_windows.items():
                select = select.with_(name, as_=self._window_rows(window), copy=False)
        else:
            select = select.with_("seeds", as_=self._seed_rows(), copy=False) if made else select
        for name, grouped in made.items():
            select = select.with_(name, as_=grouped, copy=False)
        return select

    # Anchors

    @property
    def _step(self) -> int | None:
        """The step between anchors if it is always the same; 1 if there is one anchor."""
        times = self.anchors.times
        assert times is not None
        steps = np.unique(np.diff(times))
        return 1 if not len(steps) else int(steps[0]) if len(steps) == 1 else None

    def _seed_time(self) -> tuple[exp.Expr, list[exp.Expr]]:
        """The anchor of a row, and the conditions that it lies in the split."""
        anchors, table = self.anchors, self.db.schema[self.checked.entity]
        if anchors.times is not None:
            share: list[exp.Expr] = []
            if anchors.share is not None:
                key = exp.cast(col(self.checked.pkey, "e"), "VARCHAR")
                tenth = exp.Mod(this=exp.func("md5_number_lower", key), expression=number_exp(10))
                low, high = anchors.share
                share = [exp.Between(this=tenth, low=number_exp(low), high=number_exp(high))]
            return col("t", "a"), share
        time = self._us(table.name, str(table.time_col), "e")
        limits: list[exp.Expr] = [exp.Not(this=exp.Is(this=time, expression=exp.null()))]
        if anchors.after is not None:
            limits.append(exp.GT(this=time.copy(), expression=number_exp(anchors.after)))
        if anchors.upto is not None:
            limits.append(exp.LTE(this=time.copy(), expression=number_exp(anchors.upto)))
        return time, limits

    def _anchor_rows(self) -> exp.Expr:
        times = self.anchors.times
        assert times is not None
        step = self._step
        if step is None:
            return rows_exp([(k, int(t)) for k, t in enumerate(times)], ["k", "t"])
        shift = exp.Mul(this=col("k", "n"), expression=number_exp(step))
        alias = exp.TableAlias(this=exp.to_identifier("n"), columns=[exp.to_identifier("k", quoted=True)])
        count = exp.Table(this=exp.Anonymous(this="range", expressions=[number_exp(len(times))]), alias=alias)
        return exp.select(
            col("k", "n"), exp.alias_(exp.Add(this=number_exp(int(times[0])), expression=shift), "t", quoted=True)
        ).from_(count)

    @property
    def _tables_of_windows(self) -> dict[Bounds, str]:
        """The windows that no arithmetic finds, each with the name of its table."""
        windows = dict.fromkeys(group.rows.window for group in self.groups.values())
        return {window: f"w{i}" for i, window in enumerate(windows) if not self._is_regular(window)}

    def _is_regular(self, window: Bounds) -> bool:
        months = window.end.months or (window.start is not None and window.start.months)
        assert self.anchors.times is not None
        return len(self.anchors.times) == 1 or (self._step is not None and not months)

    def _window_rows(self, window: Bounds) -> exp.Expr:
        times = self.anchors.times
        assert times is not None
        columns = [np.arange(len(times)), window.end.after(times)]
        if window.start is not None:
            columns.append(window.start.after(times))
        rows = [tuple(int(v) for v in row) for row in zip(*columns, strict=True)]
        return rows_exp(rows, ["k", "upto", "after"][: len(columns)])

    def _seed_rows(self) -> exp.Expr:
        """The keys and times of rows that are asked about at their own time."""
        time, limits = self._seed_time()
        key = exp.alias_(col(self.checked.pkey, "e"), "id", quoted=True)
        select = exp.select(key, exp.alias_(time, "t", quoted=True)).from_(source_table(self.checked.entity, "e"))
        return select.where(*limits)

    # Aggregations

    def _collect(self, condition: Condition) -> None:
        for value in values(condition):
            if not isinstance(value, Aggregation) or value in self.place:
                continue
            rows = self.checked.rows[value]
            key = (rows.path, rows.window, value.where)
            group = self.groups.setdefault(key, _Group(f"g{len(self.groups)}", rows, value.where))
            self.place[value] = (group, f"v{len(group.functions)}")
            group.functions.append(value)

    def _grouped(self, group: _Group) -> exp.Select:
        """The values of each (id, k), or of each (id, t) of rows at their own time."""
        path, names = group.rows.path, aliases(group.rows.path)
        select = exp.select().from_(source_table(path.rows, "r0"))
        for hop, (alias, before) in joins(path).items():
            select = select.join(
                source_table(hop.key.table, alias), on=self._match(hop, before, alias), join_type="inner"
            )
        last = path.up[-1]
        key = col(last.key.columns[0], names[last.table] if last.table in names else f"u{len(path.up) - 1}")
        time = self._us(*group.rows.time, alias_of(path, group.rows.time[0]))
        by = [exp.alias_(key, "id", quoted=True)]
        window = group.rows.window
        if self.anchors.times is None:
            select = select.join(
                cte("seeds", "s"), on=exp.EQ(this=col("id", "s"), expression=key.copy()), join_type="inner"
            )
            after, upto = (None if b is None else moved_time(col("t", "s"), b) for b in (window.start, window.end))
            by.append(exp.alias_(col("t", "s"), "t", quoted=True))
            select = select.where(*between_times(time, after, upto))
        elif self._is_regular(window):
            number, limits = self._numbered(window, time)
            by.append(exp.alias_(number, "k", quoted=True))
            select = select.where(*limits)
        else:
            after = None if window.start is None else col("after", "w")
            on = joined_by(exp.And, between_times(time, after, col("upto", "w")))
            select = select.join(cte(self._tables_of_windows[window], "w"), on=on, join_type="inner")
            by.append(exp.alias_(col("k", "w"), "k", quoted=True))
        if group.where is not None:
            select = select.where(self._condition(group.where, names))
        found = [
            exp.alias_(self._function(function, time, names), f"v{i}", quoted=True)
            for i, function in enumerate(group.functions)
        ]
        if isinstance(by[1].this, exp.Anonymous):  # a list of anchors, one row for each
            return self._repeated(select, by, group, time, names)
        return select.select(*by, *found).group_by(number_exp(1), number_exp(2))

    def _repeated(
        self, select: exp.Select, by: list[exp.Expr], group: _Group, time: exp.Expr, names: dict[str, str]
    ) -> exp.Select:
        """Rows of several windows, repeated before they are grouped."""
        inner = select.select(*by)
        found = []
        for i, function in enumerate(group.functions):
            if not function.column.star:
                value = self._value(function.column, names[function.column.table])
                inner = inner.select(exp.alias_(value, f"x{i}", quoted=True))
            found.append(exp.alias_(self._function(function, col("us", "x"), names, f"x{i}"), f"v{i}", quoted=True))
        if any(function.function in ("FIRST", "LAST") for function in group.functions):
            inner = inner.select(exp.alias_(time.copy(), "us", quoted=True))
            for i, column in enumerate(self._order(group.rows.path)):
                inner = inner.select(exp.alias_(column, f"o{i}", quoted=True))
        outer = exp.select(col("id", "x"), col("k", "x"), *found)
        return outer.from_(inner.subquery("x")).group_by(number_exp(1), number_exp(2))

    def _numbered(self, window: Bounds, time: exp.Expr) -> tuple[exp.Expr, list[exp.Expr]]:
        """The number of the anchor in whose window a time lies, and the conditions that there is one.

        Anchor k has the window (t0 + k * step + start, t0 + k * step + end].
        """
        times, step = self.anchors.times, self._step
        assert times is not None
        assert step is not None
        ends = window.end.after(times)
        starts = None if window.start is None else window.start.after(times)
        limits = between_times(time, None if starts is None else number_exp(int(starts[0])), number_exp(int(ends[-1])))
        if len(times) == 1:
            return number_exp(0), limits
        highest = None if starts is None else divided(time, int(starts[0]) + 1, step)
        if starts is not None and int(ends[0] - starts[0]) <= step:
            assert highest is not None
            if int(ends[0] - starts[0]) < step:
                # Gaps between the windows: the place within the step must lie in the window.
                rest = exp.Mod(
                    this=exp.paren(exp.Sub(this=time.copy(), expression=number_exp(int(starts[0]) + 1))),
                    expression=number_exp(step),
                )
                limits.append(exp.LT(this=rest, expression=number_exp(int(ends[0] - starts[0]))))
            return highest, limits
        # The first window that ends at or after the time; before the end of window 0 the quotient is 0 or less.
        lowest = exp.func("greatest", number_exp(0), divided(time, int(ends[0]) - step + 1, step))
        upto = number_exp(len(times)) if highest is None else exp.func(
            "least", number_exp(len(times)), exp.Add(this=highest, expression=number_exp(1))
        )  # fmt: skip
        return exp.Anonymous(
            this="unnest", expressions=[exp.Anonymous(this="range", expressions=[lowest, upto])]
        ), limits

    def _function(
        self, call: Aggregation, time: exp.Expr, names: dict[str, str], repeated: str | None = None
    ) -> exp.Expr:
        name = call.function
        if call.column.star:
            return exp.Count(this=exp.Star())
        value = self._value(call.column, names[call.column.table]) if repeated is None else col(repeated, "x")
        if name == "COUNT_DISTINCT":
            return exp.Count(this=exp.Distinct(expressions=[value]))
        if name == "LIST_DISTINCT":
            listed = exp.ArrayAgg(this=exp.Distinct(expressions=[value]))
            known = exp.Where(this=exp.Not(this=exp.Is(this=value.copy(), expression=exp.null())))
            return exp.func("list_sort", exp.Filter(this=listed, expression=known))
        if name in ("FIRST", "LAST"):
            order = self._order(self.checked.rows[call].path)
            if repeated is not None:
                order = [col(f"o{i}", "x") for i in range(len(order))]
            return exp.func(
                "arg_min" if name == "FIRST" else "arg_max",
                value,
                exp.Tuple(expressions=[time.copy(), *order]),
                dialect="duckdb",
            )
        return exp.func(name.lower(), value, dialect="duckdb")

    def _order(self, path: Path) -> list[exp.Expr]:
        """What decides between rows of one time: the primary key, and without one all columns that are no lists."""
        table = self.db.schema[path.rows]
        columns = table.pkey or [
            c for c, d in self.db.columns(path.rows).items() if kind_of(d) not in ("list", "other")
        ]
        return [col(column, "r0") for column in columns]

    def _match(self, hop: Hop, before: str, alias: str) -> exp.Expr:
        """The row of ``hop.key.table`` that the key names."""
        pairs = zip(hop.key.columns, self.db.schema[hop.key.table].pkey, strict=True)
        return joined_by(exp.And, [exp.EQ(this=col(own, before), expression=col(other, alias)) for own, other in pairs])

    def _join_parent(self, select: exp.Select, parent: str, hops: tuple[Hop, ...], time: exp.Expr) -> exp.Select:
        before = "e"
        for i, hop in enumerate(hops):
            alias = f"p{len(self.parents)}_{i}"
            on = [self._match(hop, before, alias)]
            time_col = self.db.schema[hop.key.table].time_col
            if time_col is not None:  # a row that is not there yet has no values yet
                known = exp.LTE(this=self._us(hop.key.table, time_col, alias), expression=time.copy())
                undated = exp.Is(this=self._us(hop.key.table, time_col, alias), expression=exp.null())
                on.append(exp.paren(exp.or_(undated, known)))
            select = select.join(source_table(hop.key.table, alias), on=joined_by(exp.And, on), join_type="left")
            before = alias
        self.parents[parent] = before
        return select

    # Values and conditions

    def _us(self, table: str, column: str, alias: str) -> exp.Expr:
        text = time_us(col(column, alias).sql("duckdb"), self.db.columns(table)[column])
        return sqlglot.parse_one(text, read="duckdb")

    def _value(self, column: Column, alias: str) -> exp.Expr:
        """A column; a number that is none is missing, a time is microseconds."""
        dtype, value = self.db.columns(column.table)[column.name], col(column.name, alias)
        if kind_of(dtype) == "time":
            return self._us(column.table, column.name, alias)
        if dtype in ("FLOAT", "DOUBLE"):
            return exp.func("nullif", value, exp.cast(exp.Literal.string("NaN"), dtype))
        return exp.cast(value, "VARCHAR") if dtype.startswith("ENUM") else value

    def _read(self, value: Value, names: dict[str, str] | None) -> exp.Expr:
        """A value where a condition reads it: in the rows of an aggregation, or beside the entity."""
        if isinstance(value, Column):
            if names is not None:
                return self._value(value, names[value.table])
            return self._value(value, "e" if value.table == self.checked.entity else self.parents[value.table])
        group, name = self.place[value]
        found: exp.Expr = col(name, group.name)
        if value.function == "EXISTS":
            if group.name in self.inner:
                return exp.GT(this=found, expression=number_exp(0))
            return exp.Not(this=exp.Is(this=found, expression=exp.null()))
        if value.function in NEVER_NULL and (group.name not in self.inner or value.function == "SUM"):
            return exp.func("coalesce", found, number_exp(0))
        return found

    def _condition(self, condition: Condition, names: dict[str, str] | None = None) -> exp.Expr:
        if isinstance(condition, And | Or):
            parts = [self._condition(part, names) for part in condition.parts]
            return exp.paren(joined_by(exp.And if isinstance(condition, And) else exp.Or, parts))
        if isinstance(condition, Not):
            return exp.Not(this=exp.paren(self._condition(condition.part, names)))
        if isinstance(condition, Aggregation | Column):
            return self._read(condition, names)
        value = self._read(condition.value, names)
        kind = self._kind(condition.value)
        if isinstance(condition, IsNull):
            null = exp.Is(this=value, expression=exp.null())
            return exp.Not(this=null) if condition.negated else null
        if isinstance(condition, Compare):
            return OPERATORS[condition.operator](this=value, expression=literal_exp(condition.literal, kind))
        if isinstance(condition, Between):
            low, high = literal_exp(condition.low, kind), literal_exp(condition.high, kind)
            return exp.Between(this=value, low=low, high=high)
        if isinstance(condition, Among):
            found: exp.Expr = exp.In(
                this=value, expressions=[literal_exp(literal, kind) for literal in condition.literals]
            )
        else:
            found = match_text(condition, value, kind)
        return exp.Not(this=found) if condition.negated else found

    def _kind(self, value: Value) -> str:
        if isinstance(value, Aggregation):
            return self.checked.rows[value].kind
        return kind_of(self.db.columns(value.table)[value.name])

    def _label(self, steps: list[Condition]) -> exp.Expr:
        if self.checked.task_type is TaskType.MULTISTEP:
            numbers = [exp.cast(self._condition(step), "DOUBLE") for step in steps]
            return exp.Array(expressions=numbers)
        label = self._condition(steps[0])
        return exp.cast(label, "DOUBLE") if self.checked.task_type is TaskType.REGRESSION else label


def _required(condition: Condition) -> set[Aggregation]:
    """Aggregations that must have rows for the condition to be true."""
    if isinstance(condition, And):
        return set().union(*(_required(part) for part in condition.parts))
    if isinstance(condition, Or):
        return set.intersection(*(_required(part) for part in condition.parts))
    if isinstance(condition, Aggregation):
        return {condition}  # EXISTS, or a truth value of some row
    if isinstance(condition, Not | Column) or not isinstance(condition.value, Aggregation):
        return set()
    value = condition.value
    if isinstance(condition, IsNull):
        return {value} if condition.negated and value.function not in NEVER_NULL else set()
    if value.function not in NEVER_NULL:
        return {value}
    # What is zero without rows must have some unless zero will do.
    if isinstance(condition, Compare):
        bar = condition.literal.value
        assert isinstance(bar, int | float)
        zero = {"=": bar == 0, "!=": bar != 0, "<": bar > 0, "<=": bar >= 0, ">": bar < 0, ">=": bar <= 0}
        return set() if zero[condition.operator] else {value}
    return set()


def _defined(target: Condition) -> set[Aggregation]:
    """Aggregations that must have rows for a target that is one value, or one test of it, to be defined."""
    if isinstance(target, And | Or | Not | IsNull):
        return set()
    value = target if isinstance(target, Aggregation | Column) else target.value
    return {value} if isinstance(value, Aggregation) and value.function not in NEVER_NULL else set()
