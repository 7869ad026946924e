"""Every feature that the schema allows, the most promising first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from graphlearn.features.columns import Value
from graphlearn.features.functions import DAY, Feature
from graphlearn.features.paths import MAX_KEYS, Hop, Source, ups
from graphlearn.features.profile import Profile, span_text
from graphlearn.schema.schema import Schema

LASTS = (3, 5, 10)
"""Rows that a mean of the last few is taken over."""
_CATEGORIES, _MODES = 3, 8
_RARE = 0.01


class Candidates:
    """Names and ranks features.

    Args:
        schema: The schema.
        profiles: The usable columns of each table.
        windows: Lengths of the windows, microseconds, ascending.
        timedelta: Length of the label window.
        hidden: (table, column) pairs that are not read.
    """

    def __init__(
        self,
        schema: Schema,
        profiles: dict[str, list[Profile]],
        windows: Sequence[int],
        timedelta: int,
        hidden: frozenset[tuple[str, str]],
    ) -> None:
        self.schema, self.profiles, self.hidden = schema, profiles, hidden
        self.short, self.long = windows[0], windows[-1]
        self.middle = windows[len(windows) // 2]
        self.timedelta = timedelta

    def all(
        self,
        sources: Sequence[Source],
        labels: Sequence[Source],
        label_names: Sequence[str],
        asked: Sequence[Feature] = (),
    ) -> list[Feature]:
        """All candidates, best first; where two are equally good the nearer one, in the order of the schema.

        Args:
            sources: The rows that are read.
            labels: The past labels.
            label_names: Their columns.
            asked: The query's own target over past windows.
        """
        ranked: list[tuple[float, Feature]] = [*self._times(), *((0.0, feature) for feature in asked)]
        for source in labels:
            ranked += self._labels(source, label_names)
        for source in sources:
            ranked += self._of(source)
        ranked.sort(key=lambda pair: pair[0])
        names: set[str] = set()
        unique = []
        for _, feature in ranked:
            if feature.name not in names:
                names.add(feature.name)
                unique.append(feature)
        return unique

    def _times(self) -> Iterator[tuple[float, Feature]]:
        yield 0.0, Feature("staleness", "staleness")
        if self.timedelta < 183 * DAY:
            yield 0.0, Feature("seed month", "month")
        if self.timedelta <= 3 * DAY:
            yield 0.0, Feature("seed weekday", "weekday")
        if self.timedelta < DAY:
            yield 0.0, Feature("seed hour", "hour")

    def _labels(self, source: Source, names: Sequence[str]) -> Iterator[tuple[float, Feature]]:
        kind = source.hub.kind
        who = {"entity": "own", "all": "all"}.get(kind) or f"same {_hub_name(source)}"
        rank = 0.0 if kind == "entity" else 0.6
        for name in names:
            value = Value("number", name)
            if kind == "entity":
                yield rank, Feature(f"{name} last ({who})", "last", source, value)
                for k in LASTS:
                    yield rank + 0.1, Feature(f"{name} mean ({who}, last {k})", "mean", source, value, rows=k)
            yield rank, Feature(f"{name} mean ({who})", "mean", source, value)
            for window in dict.fromkeys((self.middle, self.long)):
                yield rank + 0.2, Feature(f"{name} mean ({who}, {span_text(window)})", "mean", source, value, window)
        if kind == "entity":
            yield rank, Feature(f"label count ({who})", "count", source)
            yield rank + 0.1, Feature(f"label since last ({who})", "since last", source)

    def _of(self, source: Source) -> Iterator[tuple[float, Feature]]:
        base = {"entity": 0.0, "parent": 0.3, "last": 0.5, "all": 1.0}[source.hub.kind]
        base += 0.6 * max(0, len(source.path) - 1)
        if not source.is_own and source.hub.kind != "all":
            for rank, feature in self._rows(source):
                yield base + rank, feature
        elif source.hub.kind == "all":
            for window in dict.fromkeys((self.short, self.middle)):
                name = f"{_rows_name(self.schema, source)} count {span_text(window)}"
                yield base, Feature(name, "count", source, None, window)
        most = 0 if source.hub.kind == "all" else MAX_KEYS - source.length
        back = source.path[-1] if source.path else None
        chains: list[tuple[Hop, ...]] = [(), *ups(self.schema, source.table, most, self.hidden)]
        for via in chains:
            if via and back is not None and via[0].key == back.key and len(source.path) >= 1:
                continue  # back to where we came from
            table = via[-1].table if via else source.table
            for profile in self.profiles[table]:
                where = _rows_name(self.schema, source, via)
                for rank, feature in self._column(source, via, profile, where):
                    yield base + 0.5 * len(via) + rank, feature

    def _dated(self, source: Source) -> bool:
        tables = [source.table, *(hop.table for hop in source.path)]
        return any(self.schema[table].time_col is not None for table in tables)

    def _rows(self, source: Source) -> Iterator[tuple[float, Feature]]:
        name = _rows_name(self.schema, source)
        yield 0.1, Feature(f"{name} count", "count", source)
        if not self._dated(source):
            return
        for window in dict.fromkeys((self.middle, self.short, self.long)):
            yield 0.1, Feature(f"{name} count {span_text(window)}", "count", source, None, window)
        yield 0.0, Feature(f"{name} since last", "since last", source)
        yield 0.2, Feature(f"{name} since first", "since first", source)
        yield 0.8, Feature(f"{name} mean gap", "gap", source)
        yield 1.0, Feature(f"{name} mean gap {span_text(self.middle)}", "gap", source, None, self.middle)

    def _column(
        self, source: Source, via: tuple[Hop, ...], profile: Profile, where: str
    ) -> Iterator[tuple[float, Feature]]:
        column, kind = profile.column.name, profile.kind
        name = f"{where}.{column}"
        if source.is_own:
            yield from self._own(source, via, profile, name)
            return
        everyone, dated = source.hub.kind == "all", self._dated(source)
        if kind == "number" and not profile.clock:
            value = Value("number", column, via)
            yield from self._numbers(source, value, name, dated, everyone)
        if kind == "category":
            two = len(profile.vocabulary) == 2 and profile.nulls == 0
            for i, word in enumerate(profile.vocabulary[: 1 if two else _CATEGORIES]):
                if profile.shares[i] < _RARE:
                    break
                value = Value("is", column, via, word)
                said = f"{where}.{column} = {word!r}"
                yield from self._shares(source, value, said, dated, everyone, 0.15 * i)
            if everyone:
                return
            code = Value("code", column, via, vocabulary=profile.vocabulary)
            if dated:
                yield 0.9, Feature(f"{name} last", "last", source, code)
            modes = Value("code", column, via, vocabulary=profile.vocabulary[:_MODES])
            yield 1.6, Feature(f"{name} mode", "mode", source, modes)
        if everyone:
            return
        if kind in ("category", "key"):
            value = Value("hash", column, via)
            yield 0.9, Feature(f"{name} distinct", "distinct", source, value)
            if dated:
                yield 1.3, Feature(f"{name} distinct last 10", "distinct", source, value, rows=10)
        if kind == "when" and dated:
            yield 1.0, Feature(f"{name} age", "age", source, Value("when", column, via))
        if _RARE <= profile.nulls <= 1 - _RARE and kind != "time":
            yield from self._shares(source, Value("null", column, via), f"{name} is NULL", dated, everyone, 0.0)

    def _numbers(
        self, source: Source, value: Value, name: str, dated: bool, everyone: bool
    ) -> Iterator[tuple[float, Feature]]:
        short, middle, long = self.short, self.middle, self.long
        if everyone:
            yield 0.6, Feature(f"{name} mean {span_text(middle)}", "mean", source, value, middle)
            return
        yield 0.3, Feature(f"{name} mean", "mean", source, value)
        yield 1.0, Feature(f"{name} std", "std", source, value)
        yield 1.0, Feature(f"{name} min", "min", source, value)
        yield 1.0, Feature(f"{name} max", "max", source, value)
        yield 1.5, Feature(f"{name} sum", "sum", source, value)
        if not dated:
            return
        yield 0.0, Feature(f"{name} mean {span_text(middle)}", "mean", source, value, middle)
        yield 0.2, Feature(f"{name} last", "last", source, value)
        for k in LASTS:
            yield 0.4 + 0.4 * (k != 5), Feature(f"{name} mean last {k}", "mean", source, value, rows=k)
        for window, rank in ((long, 0.4), (short, 0.5)):
            yield rank, Feature(f"{name} mean {span_text(window)}", "mean", source, value, window)
        yield 0.8, Feature(f"{name} trend {span_text(middle)}", "trend", source, value, middle)
        yield 0.9, Feature(f"{name} std {span_text(middle)}", "std", source, value, middle)
        yield 0.9, Feature(f"{name} min {span_text(middle)}", "min", source, value, middle)
        yield 0.9, Feature(f"{name} max {span_text(middle)}", "max", source, value, middle)
        yield 1.2, Feature(f"{name} sum {span_text(middle)}", "sum", source, value, middle)
        yield 1.8, Feature(f"{name} first", "first", source, value)

    def _shares(
        self, source: Source, value: Value, said: str, dated: bool, everyone: bool, rank: float
    ) -> Iterator[tuple[float, Feature]]:
        if everyone:
            yield rank + 0.6, Feature(f"{said} share {span_text(self.middle)}", "mean", source, value, self.middle)
            return
        yield rank + 0.3, Feature(f"{said} share", "mean", source, value)
        if dated:
            yield rank + 0.1, Feature(f"{said} share {span_text(self.middle)}", "mean", source, value, self.middle)
            yield rank + 0.5, Feature(f"{said} share {span_text(self.long)}", "mean", source, value, self.long)
            yield rank + 0.5, Feature(f"{said} share last 5", "mean", source, value, rows=5)
            yield rank + 0.9, Feature(f"{said} last", "last", source, value)

    def _own(
        self, source: Source, via: tuple[Hop, ...], profile: Profile, name: str
    ) -> Iterator[tuple[float, Feature]]:
        column, kind = profile.column.name, profile.kind
        if kind == "number" and not profile.clock:
            yield 0.2, Feature(name, "value", source, Value("number", column, via))
        if kind == "category":
            yield 0.3, Feature(name, "value", source, Value("code", column, via, vocabulary=profile.vocabulary))
        if kind in ("when", "time"):
            yield 0.2, Feature(f"{name} age", "age", source, Value("when", column, via))
        if _RARE <= profile.nulls <= 1 - _RARE and kind not in ("number", "category", "when", "time"):
            yield 0.8, Feature(f"{name} is NULL", "value", source, Value("null", column, via))


def _hub_name(source: Source) -> str:
    hub = source.hub
    return hub.table if hub.kind == "entity" else f"{'last ' if hub.kind == 'last' else ''}{hub.table}"


def _rows_name(schema: Schema, source: Source, via: tuple[Hop, ...] = ()) -> str:
    """The rows in the words of the schema; a foreign key is named where two lead to the same table."""
    hub = source.hub
    if hub.kind == "all":
        return f"all {source.table}"
    parts = []
    at = hub.table
    if hub.kind == "parent" and source.path:
        parts = [hop.table for hop in hub.path]
    elif hub.kind == "last":
        parts = [f"last {hub.path[1].table}"]
    for hop in source.path:
        many = sum(key.table == at for key in schema[hop.table].fkeys) > 1
        parts.append(f"{hop.table}({hop.key})" if many else hop.table)
        at = hop.table
    if not parts and not via:
        return source.table
    below = source.table
    for hop in via:
        many = sum(key.table == hop.table for key in schema[below].fkeys) > 1
        parts.append(f"{hop.table}({hop.key})" if many else hop.table)
        below = hop.table
    return " > ".join(parts)
