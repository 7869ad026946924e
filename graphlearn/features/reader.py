"""From a database to the features of seeds: each source is read once, sorted, and every window is cut from it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from graphlearn.database.stream import DATA, temporary_table
from graphlearn.features.asked import asked_sql
from graphlearn.features.columns import LABELS, Value, label_key, rows_sql
from graphlearn.features.functions import Feature, View, of_the_seed
from graphlearn.features.history import past_labels
from graphlearn.features.paths import Hub, Source
from graphlearn.features.rows import MISSING, Floats, Ints, Rows, running
from graphlearn.schema.keys import one_key_sql
from graphlearn.tasks.task import Task

if TYPE_CHECKING:
    from graphlearn.schema import Database

Progress = Callable[[int, int], None]
_FEW = 10_000
_BATCH = 500_000
"""Seeds of a block, so that what is computed of them on the way stays small."""
CELLS = 12_000_000
"""Numbers of a block's rows."""


class Reader:
    """The rows that features are made of.

    Args:
        db: The database.
        task: The task.
        features: What will be computed.
        hidden: (table, column) pairs that are not read.
        upto: The newest input time that will be asked for, microseconds UTC, or None: any.
        whole: Read all rows now and keep them in memory, so that one entity takes milliseconds; the reader then does
            not see rows that come later. Otherwise each call reads the rows of its own seeds.
    """

    def __init__(
        self,
        db: Database,
        task: Task,
        features: Sequence[Feature],
        hidden: frozenset[tuple[str, str]],
        *,
        upto: int | None = None,
        whole: bool = False,
    ) -> None:
        self.db, self.task, self.features, self.hidden = db, task, tuple(features), hidden
        self.entity = Hub("entity", task.entity_table)
        self.wanted: dict[Source, list[Value]] = {}
        for feature in self.features:
            if feature.source is not None:
                self._want(feature.source, feature.value)
                self._want_hub(feature.source.hub)
        self._asked = asked_sql(db, task.query) if _asks(self.features) else None
        self._whole: dict[Source, tuple[Rows, pd.Index]] = {}
        self._upto = upto
        self._everyone: dict[Source, Rows] = {}
        self._ends: pa.Table | None = None
        self._stack = ExitStack()
        if any(source.labels for source in self.wanted):
            data = self.labels()
            self._stack.enter_context(temporary_table(db, LABELS, f"SELECT * FROM {DATA}", data=data))
        if whole:
            try:
                for source in self.wanted:
                    self._whole[source] = self._all(source)
            finally:
                self.close()

    def close(self) -> None:
        """Removes the temporary tables."""
        self._stack.close()

    def compute(
        self, pkey: pa.Array, seed_time: Ints, input_time: Ints, *, progress: Progress | None = None
    ) -> npt.NDArray[np.float32]:
        """The features of seeds, float32 ``[N, F]``; NaN where they are missing.

        Many entities are done in blocks, so that the rows of one block fit into memory.
        """
        values = np.empty((len(pkey), len(self.features)), dtype=np.float32, order="F")
        self._everyone.clear()
        self._ends = self._window_ends(input_time)
        blocks = self._blocks(pkey)
        done = 0
        for block in blocks:
            part = slice(None) if len(blocks) == 1 else block
            with Sight(self, pkey.take(pa.array(block)), seed_time[part], input_time[part]) as sight:
                by_source: dict[Source | None, list[int]] = {}
                for i, feature in enumerate(self.features):
                    by_source.setdefault(feature.source, []).append(i)
                for source, members in by_source.items():
                    for i in members:
                        values[part, i] = sight.compute(self.features[i])
                    if source is not None:
                        sight.forget(source)
            done += len(block)
            if progress is not None:
                progress(done, len(pkey))
        return values

    def labels(self) -> pa.Table:
        """Past labels, with the keys of the hubs that each label's entity had at its seed time."""
        table = past_labels(self.db, self.task, self._upto)
        time = table["seed_time"].to_numpy()
        with Sight(self, table["key"].combine_chunks(), time, time) as sight:
            for source in self.wanted:
                if source.labels and source.hub.kind in ("parent", "last"):
                    table = table.append_column(label_key(source), sight.keys(source.hub))
        return table

    def rows(self, source: Source, keys: pa.Array, table: Callable[[], str]) -> Rows:
        """The rows of hubs; hub ``i`` is ``keys[i]``. Of everyone there is one hub.

        Args:
            source: The source.
            keys: The distinct keys of the hubs.
            table: Makes a temporary table of them, ``(code, key)``, if it is needed.
        """
        if source in self._whole:
            rows, index = self._whole[source]
            if source.hub.kind == "all":
                return rows
            return rows.of(index.get_indexer(keys.to_pandas()).astype(np.int64))
        if source.hub.kind == "all":
            if source not in self._everyone:
                self._everyone[source] = self._load(source, None, 1)
            return self._everyone[source]
        return self._load(source, table(), len(keys))

    def hub_table(self, hub: Hub, keys: pa.Array, name: str) -> AbstractContextManager[str]:
        """A temporary table ``(code, key)`` of the keys of hubs, in the type that their table has."""
        schema = self.db.schema[hub.table]
        plain = len(schema.pkey) == 1 and one_key_sql(schema, ["x"]) == "x"
        dtype = self.db.columns(hub.table)[schema.pkey[0]] if plain else "VARCHAR"
        data = pa.table({"code": np.arange(len(keys)), "key": keys})
        return temporary_table(self.db, name, f"SELECT code, TRY_CAST(key AS {dtype}) AS key FROM {DATA}", data=data)

    def _window_ends(self, input_time: Ints) -> pa.Table | None:
        """Where windows of everyone's rows begin and end; None if that may be anywhere, or between rows of one time."""
        lengths = {f.window or 0 for f in self.features if f.source is not None and f.source.hub.kind == "all"}
        if self.task.completes or not lengths:
            return None
        times = np.unique(input_time)
        return pa.table({"us": np.unique(np.concatenate([times - length for length in sorted(lengths | {0})]))})

    def _blocks(self, pkey: pa.Array) -> list[Ints]:
        """Positions of seeds, in blocks whose entities' rows are at most about :data:`CELLS` numbers."""
        if self._whole or len(pkey) < _FEW:
            return [np.arange(len(pkey))]
        cells = sum(
            self.db.num_rows(source.table) * (len(values) + 2)
            for source, values in self.wanted.items()
            if source.hub.kind == "entity" and not source.labels
        )
        codes, keys = _encode(pkey)
        share = min(1.0, len(keys) / max(1, self.db.num_rows(self.task.entity_table)))
        number = max(int(share * cells / CELLS), len(pkey) // _BATCH) + 1
        if number == 1:
            return [np.arange(len(pkey))]
        order = np.argsort(codes, kind="stable")
        bounds = np.searchsorted(codes[order], np.linspace(0, len(keys), number + 1)[1:-1])
        return [block for block in np.split(order, bounds) if len(block)]

    def _want(self, source: Source, value: Value | None) -> None:
        found = self.wanted.setdefault(source, [])
        if value is not None and value not in found:
            found.append(value)

    def _want_hub(self, hub: Hub) -> None:
        if hub.kind in ("parent", "last"):
            self._want(*hub_key(self.entity, hub))

    def _all(self, source: Source) -> tuple[Rows, pd.Index]:
        if source.hub.kind == "all":
            return self._load(source, None, 1), pd.Index([])
        every = rows_sql(self.db, source, [], self.hidden, keys=None)
        keys = self.db.arrow(f"SELECT DISTINCT key FROM ({every}) ORDER BY key")["key"].combine_chunks()
        with self.hub_table(source.hub, keys, "__hubs_whole") as table:
            return self._load(source, table, len(keys)), pd.Index(keys.to_pandas())

    def _load(self, source: Source, keys: str | None, hubs: int) -> Rows:
        values = self.wanted[source]
        sql = rows_sql(self.db, source, values, self.hidden, keys=keys, asked=self._asked)
        if source.hub.kind == "all":
            return self._load_all(sql, values)
        table = self.db.arrow(f"SELECT * EXCLUDE (tie) FROM ({sql}) ORDER BY key, time, tie")
        start = np.searchsorted(table["key"].to_numpy(), np.arange(hubs + 1))
        rows = Rows(start.astype(np.int64), table["time"].to_numpy(), {})
        for i, value in enumerate(values):
            column = table[f"v{i}"]
            if value.kind == "key":
                encoded = column.combine_chunks().dictionary_encode()
                rows.keys[value] = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
                rows.dictionary[value] = encoded.dictionary
            elif value.kind == "hash":
                rows.columns[value] = column.fill_null(MISSING).to_numpy()
            else:
                rows.columns[value] = column.cast(pa.float64()).to_numpy()
            if source.is_own:
                rows.known[value] = table[f"known_{i}"].fill_null(2**62).to_numpy()
        return rows

    def _load_all(self, sql: str, values: list[Value]) -> Rows:
        """Everyone's rows, of which only sums and counts are asked: one for each time at which a window may end."""
        sums = ", ".join(f"fsum(v{i}) AS s{i}, count(v{i}) AS c{i}" for i in range(len(values)))
        grouped = f"SELECT time, count(*) AS n{', ' if sums else ''}{sums} FROM ({{}}) GROUP BY time ORDER BY time"
        if self._ends is None:
            table = self.db.arrow(grouped.format(sql))
        else:
            with temporary_table(self.db, "__window_ends", f"SELECT * FROM {DATA}", data=self._ends) as ends:
                moved = (
                    f"SELECT e.us AS time, r.* EXCLUDE (time) FROM ({sql}) AS r ASOF JOIN {ends} AS e ON r.time <= e.us"
                )
                table = self.db.arrow(grouped.format(moved))
        rows = Rows(np.array([0, table.num_rows]), table["time"].to_numpy(), {})
        rows.number_of_rows = running(table["n"].to_numpy().astype(np.float64))
        for i, value in enumerate(values):
            total = table[f"s{i}"].cast(pa.float64()).fill_null(0.0).to_numpy()
            rows.sums["sum", value] = running(total)
            rows.sums["count", value] = running(table[f"c{i}"].to_numpy().astype(np.float64))
        return rows


class Sight:
    """What seeds see: their hubs, and the rows of these. A context, which removes its temporary tables.

    Args:
        reader: Where the rows come from.
        pkey: Primary keys of entities, ``[N]``.
        seed_time: When each prediction is for, int64 ``[N]`` microseconds UTC.
        input_time: The newest time that each may see, int64 ``[N]``.
    """

    def __init__(self, reader: Reader, pkey: pa.Array, seed_time: Ints, input_time: Ints) -> None:
        self.reader, self.seed_time, self.input_time = reader, seed_time, input_time
        self._coded: dict[Hub, tuple[Ints, pa.Array]] = {reader.entity: _encode(pkey)}
        self._views: dict[Source, View] = {}
        self._tables: dict[Hub, str] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Sight:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def compute(self, feature: Feature) -> Floats:
        """A feature of every seed, float64 ``[N]``."""
        if feature.source is None:
            return of_the_seed(feature.function, self.seed_time, self.input_time)
        return self.view(feature.source).compute(feature)

    def keys(self, hub: Hub) -> pa.Array:
        """The key of each seed's hub; NULL: it has none."""
        codes, keys = self.coded(hub)
        return keys.take(pa.array(codes, mask=codes < 0))

    def coded(self, hub: Hub) -> tuple[Ints, pa.Array]:
        """Position of each seed's hub among distinct keys, or -1, and these keys."""
        if hub not in self._coded:
            if hub.kind == "all":
                self._coded[hub] = np.zeros(len(self.seed_time), dtype=np.int64), pa.nulls(1)
            else:
                source, value = hub_key(self.reader.entity, hub)
                view = self.view(source)
                codes = view.key(value)
                used = np.unique(codes[codes >= 0])
                narrow = np.where(codes < 0, -1, np.searchsorted(used, codes))
                self._coded[hub] = narrow, view.rows.dictionary[value].take(pa.array(used))
        return self._coded[hub]

    def view(self, source: Source) -> View:
        """What the seeds see of a source."""
        if source not in self._views:
            task = self.reader.task
            codes, keys = self.coded(source.hub)
            self._views[source] = View(
                self.reader.rows(source, keys, lambda: self._table(source.hub)),
                codes,
                self.seed_time,
                self.input_time,
                strict=task.completes and not source.labels,
                own=task.completes,
            )
        return self._views[source]

    def forget(self, source: Source) -> None:
        """Lets go of rows that no other hub is found by."""
        if all(value.kind != "key" for value in self.reader.wanted[source]):
            self._views.pop(source, None)

    def _table(self, hub: Hub) -> str:
        if hub not in self._tables:
            name = f"__hubs_{id(self)}_{len(self._tables)}"
            self._tables[hub] = self._stack.enter_context(self.reader.hub_table(hub, self.coded(hub)[1], name))
        return self._tables[hub]


def _asks(features: Sequence[Feature]) -> bool:
    return any(feature.value is not None and feature.value.kind == "asked" for feature in features)


def hub_key(entity: Hub, hub: Hub) -> tuple[Source, Value]:
    """Where the key of a hub is read."""
    if hub.kind == "parent":
        return Source(entity, entity.table), Value("key", via=hub.path)
    down, up = hub.path
    return Source(entity, down.table, (down,)), Value("key", via=(up,))


def _encode(keys: pa.Array) -> tuple[Ints, pa.Array]:
    if isinstance(keys, pa.ChunkedArray):
        keys = keys.combine_chunks()
    encoded = keys.dictionary_encode()
    return encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64), encoded.dictionary
