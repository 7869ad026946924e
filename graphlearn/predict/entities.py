"""Which rows a run predicts for, and as of when."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch_geometric.data import HeteroData
from torch_geometric.data.storage import NodeStorage

from graphlearn.database.stream import DATA, temporary_table
from graphlearn.errors import TaskError, UsageError, first_three
from graphlearn.features.columns import rows_sql
from graphlearn.features.paths import Hub, Source, downs
from graphlearn.schema import Database
from graphlearn.schema.keys import kept_sql, key_sql, rows_of, time_sql
from graphlearn.tasks import Task
from graphlearn.tasks.labels import time_range
from graphlearn.tasks.times import TimeLike, time_us
from graphlearn.training.seeds import Seeds, make_seeds

_NO_TIME = "no row of this database has a time, so there is no newest one: say for when with 'at'."


@dataclass(frozen=True)
class Asked:
    """Entities to predict for.

    Attributes:
        pkey: Their primary keys, ``[N]``.
        seed_time: When each prediction is for, int64 ``[N]`` microseconds UTC.
        input_time: The newest time that each may see.
        seeds: The same as nodes of a graph, for networks; None without a graph.
    """

    pkey: pa.Array
    seed_time: np.ndarray
    input_time: np.ndarray
    seeds: Seeds | None = None

    def __len__(self) -> int:
        return len(self.pkey)

    @classmethod
    def of(cls, pkey: pa.Array, seeds: Seeds) -> Asked:
        """What seeds of a graph ask."""
        return cls(pkey, seeds.seed_time.cpu().numpy(), seeds.input_time.cpu().numpy(), seeds)


def time_asked(task: Task, at: TimeLike | None) -> int | None:
    """``at`` in microseconds UTC.

    Raises:
        UsageError: If it is no time, or the task completes each row at its own.
    """
    if task.completes and at is not None:
        raise UsageError(f"task '{task.name}' completes a column at each row's own time: leave 'at' out.")
    return None if at is None else time_us(at, "at")


def asked_of_graph(
    task: Task, db: Database, graph: HeteroData, time: int | None, entities: Iterable[object] | None
) -> Asked:
    """Entities as nodes of a graph: those named, those that the query asks about, or all that exist at ``time``.

    Without a time it is the query's AS OF or the newest in the graph, or to complete a column each row's own.
    """
    store = graph[task.entity_table]
    if time is None and not (task.completes and "time" in store):
        dated = any("time" in other for other in graph.node_stores)
        time = task.as_of or (newest_time(graph) if dated or not task.completes else task.val_time)
    keys = _named(task, db, time, entities, store.pkey.type)
    keys = store.pkey.filter(_existing(store, time)) if keys is None else keys
    if time is not None:
        return Asked.of(keys, make_seeds(graph, task, keys, torch.full((len(keys),), time), None))
    seeds = make_seeds(graph, task, keys, torch.zeros(len(keys), dtype=torch.int64), None)
    return Asked.of(keys, _at_own_time(seeds, store))


def entity_rows(db: Database, task: Task, keys: pa.Array | None = None) -> pa.Table:
    """Primary key ``pkey`` and time ``t`` (microseconds UTC, NULL without one) of the rows of the entity table.

    With a few ``keys`` only these are looked for.
    """
    table = db.schema[task.entity_table]
    sql = f"SELECT {key_sql(table)} AS pkey, {time_sql(table) or 'NULL::BIGINT'} AS t FROM {rows_of(table.name)} AS t"
    sql = f"SELECT * FROM ({sql}{kept_sql(table)}) WHERE pkey IS NOT NULL"
    if keys is not None and len(keys) <= _FEW:
        return (
            db.arrow(f"{sql} AND pkey IN (SELECT unnest(?))", [keys.to_pylist()])
            if len(keys)
            else db.arrow(f"{sql} LIMIT 0")
        )
    return db.arrow(sql)


def asked_of_database(
    task: Task, db: Database, time: int | None, entities: Iterable[object] | None, *, rows: pa.Table | None = None
) -> Asked:
    """The same as :func:`asked_of_graph` without building a graph: rows are looked up by their keys.

    ``rows`` are those of :func:`entity_rows`, if they are at hand.

    Raises:
        TaskError: If a key names no row.
    """
    dated_rows = db.schema[task.entity_table].time_col is not None
    if time is None and not (task.completes and dated_rows):
        dated = any(other.time_col for other in db.schema.tables.values())
        time = task.as_of or (_newest(db) if dated or not task.completes else task.val_time)
    kind = (entity_rows(db, task, pa.array([])) if rows is None else rows).schema.field("pkey").type
    keys = _named(task, db, time, entities, kind)
    found = entity_rows(db, task, keys) if rows is None else rows
    there = found["pkey"].combine_chunks()
    if keys is None:
        if dated_rows:
            when = found["t"]
            found = found.filter(pc.is_valid(when) if time is None else pc.fill_null(pc.less_equal(when, time), True))
        keys = found["pkey"].combine_chunks()
    else:
        _check_there(task, keys, there)
    if time is not None:
        times = np.full(len(keys), time, dtype=np.int64)
    else:
        own = found["t"].combine_chunks().take(pc.index_in(keys, value_set=found["pkey"].combine_chunks()))
        if own.null_count:
            raise _undated(own.null_count, keys.filter(pc.is_null(own))[:3].to_pylist())
        times = own.to_numpy()
    return Asked(keys, times, times)


#: Keys that are put into the SQL one by one.
_FEW = 1000


def without_history(task: Task, db: Database, pkey: pa.Array, seed_time: np.ndarray) -> pa.Array:
    """Those of some entities that no row names which was known at their seed time.

    All that a model can say of them rests on the columns of their own row and on what is known of everyone. None of
    them if no table has a foreign key to the entity's.

    Args:
        task: The task.
        db: The database.
        pkey: Primary keys of entities, ``[N]``.
        seed_time: int64 ``[N]`` microseconds UTC.
    """
    hidden = frozenset(task.remove_columns)
    me = Hub("entity", task.entity_table)
    below = [Source(me, path[-1].table, path) for path in downs(db.schema, task.entity_table, 1, hidden)]
    if not below or not len(pkey):
        return pkey.slice(0, 0)
    rows = [f"SELECT key, time FROM ({rows_sql(db, source, [], hidden, keys=None)})" for source in below]
    earlier = "<" if task.completes else "<="
    asked = pa.table({"key": pkey, "us": seed_time})
    with temporary_table(db, "__asked", f"SELECT * FROM {DATA}", data=asked) as name:
        first = f"SELECT key, min(time) AS time FROM ({' UNION ALL '.join(rows)}) GROUP BY key"
        found = db.arrow(
            f"SELECT a.key FROM {name} AS a LEFT JOIN ({first}) AS r ON r.key = a.key "
            f"WHERE NOT coalesce(r.time {earlier} a.us, false) ORDER BY a.key"
        )
    return found["key"].combine_chunks()


def newest_time(graph: HeteroData) -> int:
    """The newest time of any row, microseconds UTC.

    Raises:
        UsageError: If no row has a time.
    """
    found = [
        int(store.time[-1]) for store in graph.node_stores if "time" in store and store.num_nodes > store.num_undated
    ]
    if not found:
        raise UsageError(_NO_TIME)
    return max(found)


def _newest(db: Database) -> int:
    try:
        return time_range(db)[1]
    except TaskError as error:
        raise UsageError(_NO_TIME) from error


def _named(
    task: Task, db: Database, time: int | None, entities: Iterable[object] | None, kind: pa.DataType
) -> pa.Array | None:
    """The keys that are named, or that a query asks about; None if it is all that exist."""
    if entities is not None:
        return _as_keys(list(entities), kind, task)
    cohort = task.cohort(time, db)
    return None if cohort is None else _as_keys(cohort["pkey"].to_pylist(), kind, task)


def _check_there(task: Task, keys: pa.Array, there: pa.Array) -> None:
    missing = keys.filter(pc.invert(pc.is_in(keys, value_set=there)))
    if len(missing):
        raise TaskError(
            f"{len(missing):,} of {len(keys):,} keys to predict for name no row of '{task.entity_table}' that is used "
            f"(first: {first_three(missing[:3].to_pylist())}). Load these rows, give them a time if the schema drops "
            "rows without one, or leave the keys out."
        )


def _existing(store: NodeStorage, time: int | None) -> pa.Array:
    """Which rows exist at ``time``, bool; without one, which have a time of their own."""
    row = torch.arange(store.num_nodes)
    if time is None:
        mask = row >= store.num_undated
    elif "time" in store:
        mask = row < store.num_undated + torch.searchsorted(store.time[store.num_undated :], time, right=True)
    else:
        mask = torch.ones_like(row, dtype=torch.bool)
    return pa.array(mask.numpy())


def _at_own_time(seeds: Seeds, store: NodeStorage) -> Seeds:
    """Rows to complete, each as of its own time, each with its other columns known."""
    undated = seeds.index < store.num_undated
    if bool(undated.any()):
        raise _undated(int(undated.sum()), [store.pkey[int(i)] for i in seeds.index[undated][:3]])
    time = store.time[seeds.index]
    return replace(seeds, seed_time=time, input_time=time)


def _undated(count: int, keys: list[object]) -> UsageError:
    return UsageError(f"{count:,} rows to complete have no time (first: {first_three(keys)}). Leave them out.")


def _as_keys(entities: list[object], dtype: pa.DataType, task: Task) -> pa.Array:
    """Distinct primary keys in the type that the database has, also when they were given as text."""
    try:
        if entities and all(isinstance(key, str) for key in entities):
            keys = pa.array(entities, type=pa.string()).cast(dtype)
        else:
            keys = pa.array(entities, type=dtype)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError) as error:
        raise UsageError(f"keys of '{task.entity_table}' are of type {dtype}, got {entities[0]!r}: {error}.") from error
    return keys.unique()
