"""What a query predicts: the type of its task, its anchors, and what its user should know."""

from __future__ import annotations

from graphlearn.database import quote
from graphlearn.errors import UsageError
from graphlearn.tasks.manifest import TaskType
from graphlearn.tasks.query import span_of
from graphlearn.tasks.query_checked import NEVER_NULL, named_table, values
from graphlearn.tasks.query_conditions import QueryConditions
from graphlearn.tasks.query_tree import Aggregation, Column, Literal, Span, Value
from graphlearn.tasks.query_windows import Bounds, Offset, offset
from graphlearn.tasks.times import time_us

MAX_CLASSES = 1_000
MAX_STEPS = 100
NUMBERS = ("COUNT", "SUM", "AVG", "MIN", "MAX", "COUNT_DISTINCT")


class QueryOutcome(QueryConditions):
    """The checks of the target as a whole. ``entity`` and ``static`` are known by then."""

    entity: str
    static: bool

    def task_type(self) -> TaskType:
        target, output = self.query.target, self.query.output
        if not self.is_value(target):
            if output is not None:
                raise self.error(f"a condition is true or false: leave {output.kind} out.", self._output_at())
            return TaskType.BINARY
        assert isinstance(target, Aggregation | Column)
        asked = "" if output is None else output.kind
        kind, name = self.kind(target), target.function if isinstance(target, Aggregation) else ""
        if asked == "FORECAST":
            return self._forecast(target, kind)
        if name == "LIST_DISTINCT":
            return self._list(target, asked)
        if asked == "RANK":
            raise self.error(f"RANK is for LIST_DISTINCT of a foreign key, not for {target}.", self._output_at())
        if asked == "CLASSIFY" and (name in NUMBERS or kind not in ("text", "number", "truth value")):
            raise self.error(
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
        raise self.error(
            f"{target} is a {kind}, which cannot be predicted. Compare it, or choose another column.", span_of(target)
        )

    def _forecast(self, target: Value, kind: str) -> TaskType:
        if self.static or kind != "number":
            raise self.error(f"FORECAST is for aggregations that are numbers; {target} is none.", self._output_at())
        if self.query.output is not None and self.query.output.number > MAX_STEPS:
            raise self.error(
                f"FORECAST gives at most {MAX_STEPS} steps. Ask for fewer, longer ones.", self._output_at()
            )
        return TaskType.MULTISTEP

    def _list(self, target: Value, asked: str) -> TaskType:
        assert isinstance(target, Aggregation)
        column = target.column
        named = named_table(self.schema, column)
        if asked == "":
            ways = "RANK TOP k or CLASSIFY" if named is not None else "CLASSIFY"
            raise self.error(f"LIST_DISTINCT is a set of values: say {ways} before FOR.", target.at)
        if asked == "CLASSIFY":
            self._check_classes(target)
            return TaskType.MULTILABEL
        assert self.query.output is not None
        top = self.query.output.number
        if named is None:
            raise self.error(
                f"RANK orders the rows that a foreign key names, but {column} is none. Use CLASSIFY.", self._output_at()
            )
        if top > MAX_CLASSES:
            raise self.error(f"RANK gives at most the {MAX_CLASSES:,} best. Ask for fewer.", self._output_at())
        rows = self.db.num_rows(named)
        if top > rows:
            raise self.error(
                f"RANK TOP {top} of '{named}', which has {rows:,} rows. Ask for at most that many.", self._output_at()
            )
        return TaskType.RECOMMENDATION

    def _check_classes(self, target: Value) -> None:
        column = target.column if isinstance(target, Aggregation) else target
        distinct = f"SELECT DISTINCT {quote(column.name)} FROM main.{quote(column.table)}"
        (found,) = self.db.rows(f"SELECT count(*) FROM ({distinct} LIMIT {MAX_CLASSES + 2})")[0]
        if found > MAX_CLASSES + 1:  # NULL is none
            raise self.error(
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

    def own_time(self) -> bool:
        query, time_col = self.query, self.schema[self.entity].time_col
        if query.as_of != "ENTITY":
            if self.static and query.as_of is not None:
                raise self.error(
                    "a column of the entity is asked about at each row's own time: leave AS OF out.",
                    query.span("as_of"),
                )
            return self.static and time_col is not None
        if not self.static:
            raise self.error(
                "AS OF ENTITY is for columns of the entity. An aggregation is asked about at anchors: give a time.",
                query.span("as_of"),
            )
        if time_col is None:
            raise self.error(
                f"AS OF ENTITY needs a time of each row, but '{self.entity}' has none. Name it in the schema "
                "('time_col'), or leave AS OF out.",
                query.span("as_of"),
            )
        return True

    def every(self, window: Bounds) -> Offset:
        every = self.query.every
        if isinstance(self.query.as_of, Literal):
            try:
                time_us(str(self.query.as_of.value), "AS OF")
            except UsageError as error:
                raise self.error(str(error), self.query.as_of.at) from error
        if every is None:
            if self.query.output is not None and self.query.output.kind == "FORECAST":
                return window.shifted(self.query.output.number - 1).end
            return window.end
        if self.static:
            raise self.error("EVERY is for anchors, which a static target has none of.", self.query.span("every"))
        try:
            step = offset(*every)
        except ValueError as error:
            raise self.error(f"{error}.", self.query.span("every")) from error
        if sign_of(step) <= 0:
            raise self.error("the step between anchors must be longer than zero.", self.query.span("every"))
        return step

    def note(self, needed: list[Aggregation], conditional: bool) -> None:
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


def sign_of(length: Offset) -> int:
    value = length.months or length.us
    return (value > 0) - (value < 0)
