"""Features in plain Python, row by row, as the documentation words them: the twin of the fast ones."""

from __future__ import annotations

import math
from typing import Any

from graphlearn.features.functions import Feature
from graphlearn.features.paths import Hub, Source
from graphlearn.schema.schema import Schema

DAY = 86_400_000_000
Row = dict[str, Any]


class SlowFeatures:
    """Over tables as lists of rows whose times are whole microseconds (or None).

    Args:
        schema: Keys of one column each.
        tables: The rows.
        entity: The entity's table.
        labels: Rows ``key, seed_time, known, label``.
    """

    def __init__(self, schema: Schema, tables: dict[str, list[Row]], entity: str, labels: list[Row]) -> None:
        self.schema, self.tables, self.entity, self.labels = schema, tables, entity, labels

    def value(self, feature: Feature, key: Any, seed_time: int, input_time: int) -> float:
        """One feature of one seed; NaN where it is missing."""
        source = feature.source
        if source is None:
            return (seed_time - input_time) / DAY if feature.function == "staleness" else math.nan
        hub = self._hub(source.hub, key, input_time)
        if source.is_own:
            return self._own(feature, hub, seed_time, input_time)
        rows = sorted(self._rows(feature, hub, input_time), key=lambda row: row[:2])
        rows = [row for row in rows if row[0] <= input_time]
        if feature.window is not None:
            everything = [row[2] for row in rows]
            rows = [row for row in rows if row[0] > input_time - feature.window]
        else:
            everything = []
        if feature.rows is not None:
            rows = rows[-feature.rows :]
        times, values = [row[0] for row in rows], [row[2] for row in rows]
        known = [value for value in values if value is not None]
        function = feature.function
        if function == "count":
            return len(rows)
        if function == "distinct":
            return len(set(known))
        if function == "mode":
            words = feature.value.vocabulary
            counts = [values.count(code) for code in range(len(words))]
            return counts.index(max(counts)) if max(counts) else math.nan
        if function in ("since last", "since first"):
            return (seed_time - (times[-1] if function == "since last" else times[0])) / DAY if times else math.nan
        if function == "gap":
            return (times[-1] - times[0]) / DAY / (len(times) - 1) if len(times) > 1 else math.nan
        if function in ("last", "first", "age"):
            value = values[0 if function == "first" else -1] if values else None
            if value is None:
                return math.nan
            return (seed_time - value) / DAY if function == "age" else value
        if function == "trend":
            all_known = [value for value in everything if value is not None]
            return mean(known) - mean(all_known) if known else math.nan
        if not known or (function == "std" and len(known) < 2):
            return math.nan
        spread = math.sqrt(sum((x - mean(known)) ** 2 for x in known) / len(known))
        return {"sum": sum, "mean": mean, "min": min, "max": max, "std": lambda _: spread}[function](known)

    def _table(self, name: str) -> tuple[list[Row], str, str | None]:
        table = self.schema[name]
        return self.tables[name], table.pkey[0], table.time_col

    def _find(self, table: str, key: Any) -> Row | None:
        rows, pkey, _ = self._table(table)
        return next((row for row in rows if key is not None and row[pkey] == key), None)

    def _time(self, table: str, row: Row) -> int | None:
        """When a row is known: None never, -1 always."""
        column = self.schema[table].time_col
        if column is None:
            return -1
        if row[column] is None:
            return -1 if self.schema[table].null_time == "keep" else None
        return row[column]

    def _hub(self, hub: Hub, key: Any, input_time: int) -> Any:
        if hub.kind == "entity":
            return key
        if hub.kind == "all":
            return 0
        if hub.kind == "parent":
            row, table = self._find(self.entity, key), self.entity
            for hop in hub.path[:-1]:
                if row is None or self._time(table, row) is None or self._time(table, row) > input_time:
                    return None
                row, table = self._find(hop.table, row[hop.key]), hop.table
            if row is None or self._time(table, row) is None or self._time(table, row) > input_time:
                return None
            return row[hub.path[-1].key]
        down, up = hub.path
        rows, pkey, time_col = self._table(down.table)
        named = [
            (row[time_col], row[pkey], row[up.key])
            for row in rows
            if row[down.key] == key and row[up.key] is not None and row[time_col] is not None
            if row[time_col] <= input_time
        ]
        return max(named)[2] if named else None

    def _rows(self, feature: Feature, hub: Any, input_time: int) -> list[tuple[int, Any, Any]]:
        """(time, tie, value) of all rows of a hub."""
        source: Source = feature.source
        if source.labels:
            return self._label_rows(source, hub)
        found = []
        rows, pkey, time_col = self._table(source.table)
        for row in rows:
            if time_col is not None and row[time_col] is None:
                continue
            times, at, table, there = [self._time(source.table, row)], row, source.table, True
            for i, hop in enumerate(reversed(source.path)):
                if i == len(source.path) - 1:
                    there = at[hop.key] is not None and at[hop.key] == hub
                    break
                parent = self._parent_table(table, hop.key)
                at, table = self._find(parent, at[hop.key]), parent
                if at is None or self._time(table, at) is None:
                    there = False
                    break
                times.append(self._time(table, at))
            if there and None not in times:
                found.append((max(times), row[pkey], self._cell(feature, source.table, row, max(times))))
        return found

    def _label_rows(self, source: Source, hub: Any) -> list[tuple[int, Any, Any]]:
        return [
            (label["known"], label["seed_time"], label["label"])
            for label in self.labels
            if self._hub(source.hub, label["key"], label["seed_time"]) == hub and hub is not None
        ]

    def _parent_table(self, table: str, key: str) -> str:
        return next(fkey.table for fkey in self.schema[table].fkeys if fkey.name == key)

    def _own(self, feature: Feature, hub: Any, seed_time: int, input_time: int) -> float:
        row = self._find(feature.source.table, hub)
        time = None if row is None else self._time(feature.source.table, row)
        if time is None or time > input_time:
            return math.nan
        value = self._cell(feature, feature.source.table, row, input_time)
        if value is None:
            return math.nan
        return (seed_time - value) / DAY if feature.function == "age" else value

    def _cell(self, feature: Feature, table: str, row: Row | None, time: int) -> Any:
        value = feature.value
        if value is None:
            return None
        for hop in value.via:
            row = self._find(hop.table, row[hop.key]) if row is not None else None
            if row is not None:
                known = self._time(hop.table, row)
                row = row if known is not None and known <= time else None
        cell = None if row is None else row[value.column]
        if value.kind == "null":
            return float(cell is None)
        if cell is None:
            return None
        if value.kind == "is":
            return float(cell == value.category)
        if value.kind == "code":
            return value.vocabulary.index(cell) if cell in value.vocabulary else None
        return cell


def mean(values: list[float]) -> float:
    """The mean."""
    return sum(values) / len(values)
