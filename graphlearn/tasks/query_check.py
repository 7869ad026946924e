"""A query against a schema: names, types, paths and windows, all before any label is made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphlearn.database import is_time
from graphlearn.tasks.query import parse, span_of
from graphlearn.tasks.query_checked import NEVER_NULL, Checked, Rows, is_static, kind_of, values
from graphlearn.tasks.query_outcome import QueryOutcome, sign_of
from graphlearn.tasks.query_paths import Path, PathError, chains, find_path, used
from graphlearn.tasks.query_tree import Aggregation, And, Column, Condition, IsNull, Not, Or, Query, Span, Value
from graphlearn.tasks.query_windows import Bounds, Offset, bounds

if TYPE_CHECKING:
    from graphlearn.schema import Database


def check_query(db: Database, text: str | Query) -> Checked:
    """Checks a query against a database's schema.

    Raises:
        QueryError: If it means nothing, or nothing that this database can answer; the message shows where.
    """
    query = parse(text) if isinstance(text, str) else text
    return _Checker(db, query).check()


class _Checker(QueryOutcome):
    def check(self) -> Checked:
        query = self.query
        self.entity = self.table(query.entity)
        self.pkey = self._entity_key()
        self.static = is_static(query)
        for key in query.via:
            self._via(key.column, key.table, key.at)
        for value in values(query.target):
            self._target(value)
        if not self.is_value(query.target):
            self.check_condition(query.target)
        if query.where is not None:
            for value in values(query.where):
                self._where(value)
            self.check_condition(query.where)
        if query.assuming is not None:
            self._assuming(query.assuming)
        for key in query.via:
            if not any(used(key, rows.path) for rows in self.rows.values()):
                raise self.error(f"VIA {key} is on no path of this query. Leave it out.", key.at)
        task_type = self.task_type()
        windows = [self.rows[v].window for v in values(query.target) if isinstance(v, Aggregation)]
        window = max(windows, key=lambda w: w.end.longest(), default=Bounds(Offset(), Offset()))
        steps = query.output.number if query.output is not None and query.output.kind == "FORECAST" else 1
        own_time = self.own_time()
        every = self.every(window)
        needed = [v for v in values(query.target) if isinstance(v, Aggregation) and v.function not in NEVER_NULL]
        conditional = query.assuming is not None or (bool(needed) and not _only_null_tests(query.target))
        self.note(needed, conditional)
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

    def _entity_key(self) -> str:
        column = self.query.entity
        dtype = self.dtype(column)
        pkey = self.schema[self.entity].pkey
        if pkey != (column.name,):
            if len(pkey) == 1:
                hint = f"Ask FOR EACH {self.entity}.{pkey[0]}."
            else:
                found = f"a primary key of {len(pkey)} columns" if pkey else "no primary key"
                hint = f"'{self.entity}' has {found}; predictions need one of one column. Set its 'pkey' in the schema."
            raise self.error(f"{column} is not the primary key of '{self.entity}'. {hint}", column.at)
        for literal in self.query.keys:
            self.check_comparable(str(column), kind_of(dtype), literal)
        return column.name

    def _via(self, column: Column, table: str, at: Span) -> None:
        self.dtype(column)
        keys = self.schema[column.table].fkeys
        if not any(column.name in key.columns and key.table == table for key in keys):
            known = "; ".join(f"{key.name} -> {key.table}" for key in keys) or "none"
            raise self.error(f"{column} is no foreign key to '{table}'. Foreign keys of '{column.table}': {known}.", at)

    def _target(self, value: Value) -> None:
        if isinstance(value, Column):
            if value.table != self.entity or not self.static:
                self.table(value)
                raise self.error(
                    f"{value} has one value, whatever happens after the anchor. In a target that aggregates, ask about "
                    f"it after WHERE; alone, it must be a column of '{self.entity}'.",
                    value.at,
                )
            dtype = self.dtype(value)
            table = self.schema[self.entity]
            keys = {name for key in table.fkeys for name in key.columns}
            if value.name in {self.pkey, table.time_col, *keys} or (
                is_time(dtype) and isinstance(self.query.target, Column)
            ):
                raise self.error(
                    f"{value} is a key or a time, which cannot be predicted. Choose another column.", value.at
                )
            return
        window = self._aggregation(value)
        at = span_of(value) if value.window is None else value.window.at
        if window.start is None or (sign_of(window.start) < 0 < sign_of(window.end)):
            raise self.error(
                "the window of a target begins before the anchor, so a part of the label would be known already. "
                "Begin it at 0, or later.",
                at,
            )
        if sign_of(window.start) < 0:
            raise self.error(
                "the window of a target ends at or before the anchor, so there is nothing to predict. Look ahead, as "
                "in (0, 30, days), or ask about the past after WHERE.",
                at,
            )

    def _where(self, value: Value) -> None:
        if isinstance(value, Column):
            self.dtype(value)
            if value.table != self.entity and value.table not in self.parents:
                found = chains(self.schema, self.entity, value.table)
                short = [chain for chain in found if len(chain) == len(found[0])]
                if len(short) != 1:
                    own = f"of '{self.entity}'"
                    why = f"no foreign key {own} leads" if not found else f"{len(short)} foreign keys {own} lead"
                    raise self.error(
                        f"{why} to '{value.table}', so {value} is not one value of an entity. "
                        f"Aggregate it over a window of the past, or use a column of '{self.entity}'.",
                        value.at,
                    )
                self.parents[value.table] = short[0]
            return
        window = self._aggregation(value)
        if sign_of(window.end) > 0:
            raise self.error(
                "WHERE looks past the anchor, where nothing is known when predicting. End the window at 0, or put the "
                "condition after ASSUMING.",
                span_of(value) if value.window is None else value.window.at,
            )

    def _assuming(self, condition: Condition) -> None:
        for value in values(condition):
            if self.static or isinstance(value, Column):
                raise self.error(
                    "ASSUMING supposes what happens after the anchor: it needs an aggregation, and a target that is "
                    "one, too. Put conditions on columns after WHERE.",
                    span_of(value),
                )
            window = self._aggregation(value)
            if window.start is None or sign_of(window.start) < 0:
                raise self.error(
                    "ASSUMING looks back, where things are known and need not be supposed. Begin the window at 0, or "
                    "put the condition after WHERE.",
                    span_of(value) if value.window is None else value.window.at,
                )
        self.check_condition(condition)

    def _aggregation(self, value: Aggregation) -> Bounds:
        if value in self.rows:
            return self.rows[value].window
        column, name = value.column, value.function
        self.table(column)
        dtype = "" if column.star else self.dtype(column)
        kind = self._aggregated(value, dtype)
        if value.window is None:
            raise self.error(
                f"{name} needs a window, as in {name}({column}, 0, 30, days) for the 30 days after the anchor.",
                value.at,
            )
        try:
            window = bounds(value.window)
        except ValueError as error:
            raise self.error(f"{error}.", value.window.at) from error
        start = value.window.start
        if start is not None and start >= value.window.end:
            raise self.error(
                f"the window begins at {start:g} and ends at {value.window.end:g}: it is empty. Give the earlier "
                "bound first.",
                value.window.at,
            )
        try:
            path = find_path(self.schema, column.table, self.entity, self.query.via)
        except PathError as error:
            raise self.error(str(error), column.at) from error
        time = self._time(value, path)
        if value.where is not None:
            for inner in values(value.where):
                self._row_filter(inner, column.table, path)
            self.check_condition(value.where)
        self.rows[value] = Rows(path, window, time, kind)
        return window

    def _aggregated(self, value: Aggregation, dtype: str) -> str:
        """The kind of the aggregation's value."""
        name, column = value.function, value.column
        if column.star and name not in ("COUNT", "EXISTS"):
            raise self.error(
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
            raise self.error(
                f"{column} is {key}, of which {name} says nothing. Use COUNT or COUNT_DISTINCT, or LIST_DISTINCT of a "
                "foreign key.",
                column.at,
            )
        if name == "LIST_DISTINCT" and any(column.name in k.columns and k.table == self.entity for k in table.fkeys):
            raise self.error(
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
            raise self.error(
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
        raise self.error(
            f"no table between '{path.rows}' and '{self.entity}' has a time, so no window can be put on its rows. Name "
            "its time column in the schema ('time_col').",
            value.column.at,
        )

    def _row_filter(self, value: Value, table: str, path: Path) -> None:
        if isinstance(value, Aggregation):
            raise self.error("an aggregation cannot stand inside another one. Filter by columns.", value.at)
        self.dtype(value)
        if value.table not in path.tables:
            known = " or ".join(f"'{name}'" for name in path.tables)
            raise self.error(
                f"{value} is no column of the rows that are aggregated. Use columns of {known} here, and columns of "
                f"'{self.entity}' after the last WHERE.",
                value.at,
            )


def _only_null_tests(condition: Condition) -> bool:
    if isinstance(condition, And | Or):
        return all(_only_null_tests(part) for part in condition.parts)
    if isinstance(condition, Not):
        return _only_null_tests(condition.part)
    if isinstance(condition, IsNull):
        return True
    value = condition if isinstance(condition, Aggregation | Column) else condition.value
    return isinstance(value, Aggregation) and value.function in NEVER_NULL
