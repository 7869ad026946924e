"""A query against a schema: names, types, paths and windows, all before any label is made."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from graphlearn.database import is_time, quote
from graphlearn.errors import QueryError, UnknownNameError, UsageError, unknown_name
from graphlearn.schema.profile import is_list, is_number
from graphlearn.tasks.manifest import TaskType
from graphlearn.tasks.query import parse, span_of
from graphlearn.tasks.query_paths import Hop, Path, PathError, chains, find_path, used
from graphlearn.tasks.query_tree import (
    Aggregation,
    Among,
    And,
    Between,
    Column,
    Compare,
    Condition,
    IsNull,
    Literal,
    Matches,
    Not,
    Or,
    Query,
    Span,
    Test,
    Value,
)
from graphlearn.tasks.query_windows import Bounds, Offset, bounds, offset
from graphlearn.tasks.times import time_us

if TYPE_CHECKING:
    from graphlearn.schema import Database

MAX_CLASSES = 1_000
MAX_STEPS = 100
NUMBERS = ("COUNT", "SUM", "AVG", "MIN", "MAX", "COUNT_DISTINCT")
NEVER_NULL = ("COUNT", "SUM", "COUNT_DISTINCT", "EXISTS")
"""What has a value where there are no rows: zero, or false."""


@dataclass(frozen=True)
class Rows:
    """What an aggregation reads.

    Args:
        path: From its rows to the entity and to the values.
        window: When its rows lie, relative to the anchor.
        time: Table and column of the time of its rows.
        kind: Kind of the value: number, text, truth value, time, list or other.
    """

    path: Path
    window: Bounds
    time: tuple[str, str]
    kind: str


@dataclass(frozen=True)
class Checked:
    """A query that the database can answer.

    Args:
        query: The query.
        entity: Its table.
        pkey: The table's primary key.
        task_type: What is predicted.
        static: Whether the target is a column of the entity rather than of what happens after the anchor.
        own_time: Whether each row is asked about at its own time.
        rows: What each aggregation reads.
        parents: Where columns of other tables than the entity's are found: the foreign keys from the entity.
        window: The target's window; of a static query, an empty one.
        steps: Number of windows, one after the other; 1 without FORECAST.
        every: Step between anchors.
        conditional: Whether rows are left out for what happens after the anchor, which nobody knows when predicting.
        hidden: (table, column) pairs that no model may see.
        notes: What the user should know, in sentences.
    """

    query: Query
    entity: str
    pkey: str
    task_type: TaskType
    static: bool
    own_time: bool
    rows: dict[Aggregation, Rows] = field(hash=False)
    parents: dict[str, tuple[Hop, ...]] = field(hash=False)
    window: Bounds
    steps: int
    every: Offset
    conditional: bool
    hidden: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]

    @property
    def as_of(self) -> int | None:
        """The time to predict for, if the query says one, in microseconds UTC."""
        return as_of_time(self.query)


def check_query(db: Database, text: str | Query) -> Checked:
    """Checks a query against a database's schema.

    Raises:
        QueryError: If it means nothing, or nothing that this database can answer; the message shows where.
    """
    query = parse(text) if isinstance(text, str) else text
    return _Checker(db, query).check()


def values(condition: Condition) -> Iterator[Value]:
    """The columns and aggregations that a condition compares, from left to right; not those inside aggregations."""
    if isinstance(condition, And | Or):
        for part in condition.parts:
            yield from values(part)
    elif isinstance(condition, Not):
        yield from values(condition.part)
    else:
        yield condition if isinstance(condition, Aggregation | Column) else condition.value


def is_static(query: Query) -> bool:
    """Whether the target is about the entity's own columns."""
    return not any(isinstance(value, Aggregation) for value in values(query.target))


def as_of_time(query: Query) -> int | None:
    """The time of AS OF, microseconds UTC; None if it is that of the data or of each row."""
    if isinstance(query.as_of, Literal):
        return time_us(str(query.as_of.value), "AS OF")
    return time_us(dt.datetime.now(dt.UTC), "AS OF") if query.as_of == "NOW" else None


def kind_of(dtype: str) -> str:
    """number, text, truth value, time, list or other."""
    if is_number(dtype) or dtype in ("HUGEINT", "UHUGEINT"):
        return "number"
    if dtype == "BOOLEAN":
        return "truth value"
    if dtype == "VARCHAR" or dtype.startswith("ENUM"):
        return "text"
    return "list" if is_list(dtype) else "time" if is_time(dtype) else "other"


class _Checker:
    def __init__(self, db: Database, query: Query) -> None:
        self.db, self.schema, self.query = db, db.schema, query
        self.rows: dict[Aggregation, Rows] = {}
        self.parents: dict[str, tuple[Hop, ...]] = {}
        self.notes: list[str] = []

    def check(self) -> Checked:
        query = self.query
        self.entity = self._table(query.entity)
        self.pkey = self._entity_key()
        self.static = is_static(query)
        for key in query.via:
            self._via(key.column, key.table, key.at)
        for value in values(query.target):
            self._target(value)
        if not self._is_value(query.target):
            self._condition(query.target)
        if query.where is not None:
            for value in values(query.where):
                self._where(value)
            self._condition(query.where)
        if query.assuming is not None:
            self._assuming(query.assuming)
        for key in query.via:
            if not any(used(key, rows.path) for rows in self.rows.values()):
                raise self._error(f"VIA {key} is on no path of this query. Leave it out.", key.at)
        task_type = self._task_type()
        windows = [self.rows[v].window for v in values(query.target) if isinstance(v, Aggregation)]
        window = max(windows, key=lambda w: w.end.longest(), default=Bounds(Offset(), Offset()))
        steps = query.output.number if query.output is not None and query.output.kind == "FORECAST" else 1
        own_time = self._own_time()
        every = self._every(window)
        needed = [v for v in values(query.target) if isinstance(v, Aggregation) and v.function not in NEVER_NULL]
        conditional = query.assuming is not None or (bool(needed) and not _only_null_tests(query.target))
        self._note(needed, conditional)
        hidden = [(v.table, v.name) for v in values(query.target) if isinstance(v, Column)]
        return Checked(
            query,
            self.entity,
            self.pkey,
            task_type,
            self.static,
            own_time,
            self.rows,
            self.parents,
            window,
            steps,
            every,
            conditional,
            tuple(dict.fromkeys(hidden)),
            tuple(self.notes),
        )

    # Names

    def _error(self, message: str, at: Span) -> QueryError:
        return QueryError(message, self.query.text or str(self.query), *at)

    def _table(self, column: Column) -> str:
        try:
            return self.schema[column.table].name
        except UnknownNameError as error:
            raise self._error(str(error), (column.at[0], column.at[0] + len(column.table))) from error

    def _dtype(self, column: Column) -> str:
        self._table(column)
        known = self.db.columns(column.table)
        if column.name not in known:
            what = unknown_name(f"column of table '{column.table}'", column.name, known)
            raise self._error(str(what), (max(column.at[0], column.at[1] - len(column.name)), column.at[1]))
        return known[column.name]

    def _entity_key(self) -> str:
        column = self.query.entity
        dtype = self._dtype(column)
        pkey = self.schema[self.entity].pkey
        if pkey != (column.name,):
            if len(pkey) == 1:
                hint = f"Ask FOR EACH {self.entity}.{pkey[0]}."
            else:
                found = f"a primary key of {len(pkey)} columns" if pkey else "no primary key"
                hint = f"'{self.entity}' has {found}; predictions need one of one column. Set its 'pkey' in the schema."
            raise self._error(f"{column} is not the primary key of '{self.entity}'. {hint}", column.at)
        for literal in self.query.keys:
            self._comparable(str(column), kind_of(dtype), literal)
        return column.name

    def _via(self, column: Column, table: str, at: Span) -> None:
        self._dtype(column)
        keys = self.schema[column.table].fkeys
        if not any(column.name in key.columns and key.table == table for key in keys):
            known = "; ".join(f"{key.name} -> {key.table}" for key in keys) or "none"
            raise self._error(
                f"{column} is no foreign key to '{table}'. Foreign keys of '{column.table}': {known}.", at
            )

    # Values

    def _target(self, value: Value) -> None:
        if isinstance(value, Column):
            if value.table != self.entity or not self.static:
                self._table(value)
                raise self._error(
                    f"{value} has one value, whatever happens after the anchor. In a target that aggregates, ask about "
                    f"it after WHERE; alone, it must be a column of '{self.entity}'.",
                    value.at,
                )
            dtype = self._dtype(value)
            table = self.schema[self.entity]
            keys = {name for key in table.fkeys for name in key.columns}
            if value.name in {self.pkey, table.time_col, *keys} or (
                is_time(dtype) and isinstance(self.query.target, Column)
            ):
                raise self._error(
                    f"{value} is a key or a time, which cannot be predicted. Choose another column.", value.at
                )
            return
        window = self._aggregation(value)
        at = span_of(value) if value.window is None else value.window.at
        if window.start is None or (_sign(window.start) < 0 < _sign(window.end)):
            raise self._error(
                "the window of a target begins before the anchor, so a part of the label would be known already. "
                "Begin it at 0, or later.",
                at,
            )
        if _sign(window.start) < 0:
            raise self._error(
                "the window of a target ends at or before the anchor, so there is nothing to predict. Look ahead, as "
                "in (0, 30, days), or ask about the past after WHERE.",
                at,
            )

    def _where(self, value: Value) -> None:
        if isinstance(value, Column):
            self._dtype(value)
            if value.table != self.entity and value.table not in self.parents:
                found = chains(self.schema, self.entity, value.table)
                short = [chain for chain in found if len(chain) == len(found[0])]
                if len(short) != 1:
                    own = f"of '{self.entity}'"
                    why = f"no foreign key {own} leads" if not found else f"{len(short)} foreign keys {own} lead"
                    raise self._error(
                        f"{why} to '{value.table}', so {value} is not one value of an entity. "
                        f"Aggregate it over a window of the past, or use a column of '{self.entity}'.",
                        value.at,
                    )
                self.parents[value.table] = short[0]
            return
        window = self._aggregation(value)
        if _sign(window.end) > 0:
            raise self._error(
                "WHERE looks past the anchor, where nothing is known when predicting. End the window at 0, or put the "
                "condition after ASSUMING.",
                span_of(value) if value.window is None else value.window.at,
            )

    def _assuming(self, condition: Condition) -> None:
        for value in values(condition):
            if self.static or isinstance(value, Column):
                raise self._error(
                    "ASSUMING supposes what happens after the anchor: it needs an aggregation, and a target that is "
                    "one, too. Put conditions on columns after WHERE.",
                    span_of(value),
                )
            window = self._aggregation(value)
            if window.start is None or _sign(window.start) < 0:
                raise self._error(
                    "ASSUMING looks back, where things are known and need not be supposed. Begin the window at 0, or "
                    "put the condition after WHERE.",
                    span_of(value) if value.window is None else value.window.at,
                )
        self._condition(condition)

    def _aggregation(self, value: Aggregation) -> Bounds:
        if value in self.rows:
            return self.rows[value].window
        column, name = value.column, value.function
        self._table(column)
        dtype = "" if column.star else self._dtype(column)
        kind = self._aggregated(value, dtype)
        if value.window is None:
            raise self._error(
                f"{name} needs a window, as in {name}({column}, 0, 30, days) for the 30 days after the anchor.",
                value.at,
            )
        try:
            window = bounds(value.window)
        except ValueError as error:
            raise self._error(f"{error}.", value.window.at) from error
        start = value.window.start
        if start is not None and start >= value.window.end:
            raise self._error(
                f"the window begins at {start:g} and ends at {value.window.end:g}: it is empty. Give the earlier "
                "bound first.",
                value.window.at,
            )
        try:
            path = find_path(self.schema, column.table, self.entity, self.query.via)
        except PathError as error:
            raise self._error(str(error), column.at) from error
        time = self._time(value, path)
        if value.where is not None:
            for inner in values(value.where):
                self._row_filter(inner, column.table, path)
            self._condition(value.where)
        self.rows[value] = Rows(path, window, time, kind)
        return window

    def _aggregated(self, value: Aggregation, dtype: str) -> str:
        """The kind of the aggregation's value."""
        name, column = value.function, value.column
        if column.star and name not in ("COUNT", "EXISTS"):
            raise self._error(
                f"{name} needs a column: {column} stands for whole rows, which only COUNT and EXISTS take.", column.at
            )
        table = self.schema[column.table]
        foreign = any(column.name in key.columns for key in table.fkeys)
        kind = "" if column.star else kind_of(dtype)
        if name in ("COUNT", "COUNT_DISTINCT"):
            return "number"
        if name == "EXISTS":
            return "truth value"
        key = "a foreign key" if foreign else "a primary key" if column.name in table.pkey else ""
        if key and not (name == "LIST_DISTINCT" and foreign):
            raise self._error(
                f"{column} is {key}, of which {name} says nothing. Use COUNT or COUNT_DISTINCT, or LIST_DISTINCT of a "
                "foreign key.",
                column.at,
            )
        if name == "LIST_DISTINCT" and any(column.name in k.columns and k.table == self.entity for k in table.fkeys):
            raise self._error(
                f"{column} names '{self.entity}' itself: it says of whom the rows are, not what they hold. Choose "
                "another column.",
                column.at,
            )
        wanted = {"SUM": ("number",), "AVG": ("number",), "MIN": ("number", "time"), "MAX": ("number", "time")}.get(
            name
        )
        if wanted is None:
            wanted = ("number", "text", "truth value", "time")
        if kind not in wanted:
            hint = "Count its values, or filter by them, as in COUNT(t.* WHERE t.c = 'x', …)."
            raise self._error(
                f"{name} needs a {' or a '.join(wanted)}, but {column} is a {kind} ({dtype}). {hint}", column.at
            )
        return "list" if name == "LIST_DISTINCT" else kind

    def _time(self, value: Aggregation, path: Path) -> tuple[str, str]:
        for table in [path.rows, *(hop.key.table for hop in path.up[:-1]), *(hop.key.table for hop in path.out)]:
            column = self.schema[table].time_col
            if column is not None:
                if table != path.rows:
                    self.notes.append(
                        f"'{path.rows}' has no time of its own: its rows count at the time of '{table}.{column}'."
                    )
                return table, column
        raise self._error(
            f"no table between '{path.rows}' and '{self.entity}' has a time, so no window can be put on its rows. Name "
            "its time column in the schema ('time_col').",
            value.column.at,
        )

    def _row_filter(self, value: Value, table: str, path: Path) -> None:
        if isinstance(value, Aggregation):
            raise self._error("an aggregation cannot stand inside another one. Filter by columns.", value.at)
        self._dtype(value)
        if value.table not in path.tables:
            known = " or ".join(f"'{name}'" for name in path.tables)
            raise self._error(
                f"{value} is no column of the rows that are aggregated. Use columns of {known} here, and columns of "
                f"'{self.entity}' after the last WHERE.",
                value.at,
            )

    # Conditions

    def _is_value(self, target: Condition) -> bool:
        return isinstance(target, Column) or (isinstance(target, Aggregation) and target.function != "EXISTS")

    def _condition(self, condition: Condition) -> None:
        if isinstance(condition, And | Or):
            for part in condition.parts:
                self._condition(part)
        elif isinstance(condition, Not):
            self._condition(condition.part)
        elif isinstance(condition, Aggregation | Column):
            if self._kind(condition) != "truth value":
                raise self._error(
                    f"{condition} is a {self._kind(condition)}, not true or false. Compare it, as in … > 0.",
                    span_of(condition),
                )
        else:
            self._test(condition)

    def _test(self, test: Test) -> None:
        value, kind = str(test.value), self._kind(test.value)
        if isinstance(test, IsNull):
            return
        if isinstance(test, Matches):
            if kind == "list" and test.operator == "CONTAINS":
                dtype = "" if isinstance(test.value, Column) else self._dtype(test.value.column)
                kind = kind_of(dtype) if dtype else kind
            if kind != "text":
                raise self._error(f"{test.operator} needs a text, but {value} is a {kind}.", test.text.at)
            return
        if kind in ("list", "other"):
            raise self._error(f"{value} is a {kind}, which cannot be compared. Use IS NULL.", span_of(test.value))
        literals = test.literals if isinstance(test, Among) else (
            (test.low, test.high) if isinstance(test, Between) else (test.literal,)
        )  # fmt: skip
        for literal in literals:
            self._comparable(value, kind, literal)
            ordered = isinstance(test, Between) or (isinstance(test, Compare) and test.operator not in ("=", "!="))
            if kind == "truth value" and ordered:
                raise self._error(f"{value} is true or false, which have no order. Use = or !=.", literal.at)

    def _comparable(self, value: str, kind: str, literal: Literal) -> None:
        given = literal.value
        fits = {
            "number": isinstance(given, int | float) and not isinstance(given, bool),
            "text": isinstance(given, str),
            "truth value": isinstance(given, bool),
            "time": isinstance(given, str | dt.date),
            "other": isinstance(given, str),
        }.get(kind, False)
        if kind == "time" and isinstance(given, str):
            try:
                time_us(given, "the time")
            except UsageError as error:
                raise self._error(
                    f"{value} is a time, but {literal} is none. Write it as '2024-01-31'.", literal.at
                ) from error
        if not fits:
            wanted = {"number": "a number", "text": "a text in single quotes", "truth value": "TRUE or FALSE"}
            hint = wanted.get(kind, "a time such as '2024-01-31'")
            raise self._error(f"{value} is a {kind}, and {literal} is none. Compare it with {hint}.", literal.at)

    def _kind(self, value: Value) -> str:
        return self.rows[value].kind if isinstance(value, Aggregation) else kind_of(self._dtype(value))

    # The task

    def _task_type(self) -> TaskType:
        target, output = self.query.target, self.query.output
        if not self._is_value(target):
            if output is not None:
                raise self._error(f"a condition is true or false: leave {output.kind} out.", self._output_at())
            return TaskType.BINARY
        assert isinstance(target, Aggregation | Column)
        asked = "" if output is None else output.kind
        kind, name = self._kind(target), target.function if isinstance(target, Aggregation) else ""
        if asked == "FORECAST":
            return self._forecast(target, kind)
        if name == "LIST_DISTINCT":
            return self._list(target, asked)
        if asked == "RANK":
            raise self._error(f"RANK is for LIST_DISTINCT of a foreign key, not for {target}.", self._output_at())
        if asked == "CLASSIFY" and (name in NUMBERS or kind not in ("text", "number", "truth value")):
            raise self._error(
                f"CLASSIFY is for LIST_DISTINCT, FIRST, LAST and columns, but {target} is a number. Compare it, or "
                "leave CLASSIFY out.",
                self._output_at(),
            )
        if kind == "truth value":
            return TaskType.BINARY
        if kind == "text" or asked == "CLASSIFY":
            self._check_classes(target)
            return TaskType.MULTICLASS
        if kind == "number":
            return TaskType.REGRESSION
        raise self._error(
            f"{target} is a {kind}, which cannot be predicted. Compare it, or choose another column.", span_of(target)
        )

    def _forecast(self, target: Value, kind: str) -> TaskType:
        if self.static or kind != "number":
            raise self._error(f"FORECAST is for aggregations that are numbers; {target} is none.", self._output_at())
        if self.query.output is not None and self.query.output.number > MAX_STEPS:
            raise self._error(
                f"FORECAST gives at most {MAX_STEPS} steps. Ask for fewer, longer ones.", self._output_at()
            )
        return TaskType.MULTISTEP

    def _list(self, target: Value, asked: str) -> TaskType:
        assert isinstance(target, Aggregation)
        column = target.column
        named = next((k.table for k in self.schema[column.table].fkeys if k.columns == (column.name,)), None)
        if asked == "":
            ways = "RANK TOP k or CLASSIFY" if named is not None else "CLASSIFY"
            raise self._error(f"LIST_DISTINCT is a set of values: say {ways} before FOR.", target.at)
        if asked == "CLASSIFY":
            self._check_classes(target)
            return TaskType.MULTILABEL
        assert self.query.output is not None
        top = self.query.output.number
        if named is None:
            raise self._error(
                f"RANK orders the rows that a foreign key names, but {column} is none. Use CLASSIFY.", self._output_at()
            )
        if top > MAX_CLASSES:
            raise self._error(f"RANK gives at most the {MAX_CLASSES:,} best. Ask for fewer.", self._output_at())
        rows = self.db.num_rows(named)
        if top > rows:
            raise self._error(
                f"RANK TOP {top} of '{named}', which has {rows:,} rows. Ask for at most that many.", self._output_at()
            )
        return TaskType.RECOMMENDATION

    def _check_classes(self, target: Value) -> None:
        column = target.column if isinstance(target, Aggregation) else target
        distinct = f"SELECT DISTINCT {quote(column.name)} FROM main.{quote(column.table)}"
        (found,) = self.db.rows(f"SELECT count(*) FROM ({distinct} LIMIT {MAX_CLASSES + 2})")[0]
        if found > MAX_CLASSES + 1:  # NULL is none
            raise self._error(
                f"{column} has more than {MAX_CLASSES:,} values, which are too many classes. Compare it with one of "
                "them, or rank them if it is a foreign key.",
                column.at,
            )

    def _output_at(self) -> Span:
        """Where CLASSIFY, RANK or FORECAST stands."""
        text = self.query.text.upper()
        kind = "" if self.query.output is None else self.query.output.kind
        start = max(text.rfind(kind, 0, self.query.entity.at[0]), 0)
        return start, start + len(kind)

    def _own_time(self) -> bool:
        query, time_col = self.query, self.schema[self.entity].time_col
        if query.as_of != "ENTITY":
            if self.static and query.as_of is not None:
                raise self._error(
                    "a column of the entity is asked about at each row's own time: leave AS OF out.",
                    query.span("as_of"),
                )
            return self.static and time_col is not None
        if not self.static:
            raise self._error(
                "AS OF ENTITY is for columns of the entity. An aggregation is asked about at anchors: give a time.",
                query.span("as_of"),
            )
        if time_col is None:
            raise self._error(
                f"AS OF ENTITY needs a time of each row, but '{self.entity}' has none. Name it in the schema "
                "('time_col'), or leave AS OF out.",
                query.span("as_of"),
            )
        return True

    def _every(self, window: Bounds) -> Offset:
        every = self.query.every
        if isinstance(self.query.as_of, Literal):
            try:
                time_us(str(self.query.as_of.value), "AS OF")
            except UsageError as error:
                raise self._error(str(error), self.query.as_of.at) from error
        if every is None:
            if self.query.output is not None and self.query.output.kind == "FORECAST":
                return window.shifted(self.query.output.number - 1).end
            return window.end
        if self.static:
            raise self._error("EVERY is for anchors, which a static target has none of.", self.query.span("every"))
        try:
            step = offset(*every)
        except ValueError as error:
            raise self._error(f"{error}.", self.query.span("every")) from error
        if _sign(step) <= 0:
            raise self._error("the step between anchors must be longer than zero.", self.query.span("every"))
        return step

    def _note(self, needed: list[Aggregation], conditional: bool) -> None:
        query = self.query
        past = query.where is not None and any(isinstance(v, Aggregation) for v in values(query.where))
        counted = any(isinstance(v, Aggregation) and v.function in NEVER_NULL for v in values(query.target))
        if counted and not past:
            self.notes.append(
                "There is no condition on the past after WHERE, so entities that left long ago count, too, most of "
                "them with zero."
            )
        if query.assuming is not None:
            self.notes.append(
                "ASSUMING keeps the rows for which it came true. What follows is association, not the effect of making "
                "it true."
            )
        elif conditional:
            self.notes.append(
                f"{needed[0].function} has no value where there are no rows, so entities without any after the anchor "
                "are left out: predictions answer 'if there are any'."
            )
        undated = [t.name for t in self.schema.tables.values() if t.time_col is None]
        if undated:
            self.notes.append(
                f"Without a time, rows are always visible, whenever they were added: {', '.join(undated)}."
            )


def _sign(length: Offset) -> int:
    value = length.months or length.us
    return (value > 0) - (value < 0)


def _only_null_tests(condition: Condition) -> bool:
    if isinstance(condition, And | Or):
        return all(_only_null_tests(part) for part in condition.parts)
    if isinstance(condition, Not):
        return _only_null_tests(condition.part)
    if isinstance(condition, IsNull):
        return True
    value = condition if isinstance(condition, Aggregation | Column) else condition.value
    return isinstance(value, Aggregation) and value.function in NEVER_NULL


def shifted(checked: Checked, target: Aggregation, step: int) -> tuple[Aggregation, Rows]:
    """The aggregation of one step of a forecast."""
    rows = checked.rows[target]
    window = target.window
    assert window is not None
    assert window.start is not None
    length = window.end - window.start
    moved = replace(window, start=window.start + step * length, end=window.end + step * length)
    return replace(target, window=moved), replace(rows, window=rows.window.shifted(step))
