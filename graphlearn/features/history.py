"""Past labels, each with the time from which its outcome is known."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from graphlearn.database import quote, time_us
from graphlearn.database.stream import DATA, temporary_table
from graphlearn.errors import TaskError
from graphlearn.features.rows import Ints
from graphlearn.schema.keys import rows_of, time_sql
from graphlearn.tasks.labels import SPLITS, EmptySplitError, forecast_sql, run_sql
from graphlearn.tasks.manifest import TaskType
from graphlearn.tasks.query_check import check_query
from graphlearn.tasks.query_checked import values
from graphlearn.tasks.query_labels import make_labels
from graphlearn.tasks.query_tree import Aggregation
from graphlearn.tasks.task import Task

if TYPE_CHECKING:
    from graphlearn.schema import Database

MAX_CLASSES = 8
"""Classes of which the share among past labels is a feature."""
_NEVER = 2**62
_MANY_ANCHORS = 10_000


def label_columns(task: Task) -> list[str]:
    """The columns that :func:`past_labels` gives: ``label``, or ``label is …`` for each of the first classes."""
    if task.task_type == TaskType.RECOMMENDATION:
        return []
    if task.task_type in (TaskType.MULTICLASS, TaskType.MULTILABEL):
        return [f"label is {name}" for name in task.classes[:MAX_CLASSES]]
    return ["label"]


def past_labels(db: Database, task: Task, upto: int | None) -> pa.Table:
    """Past labels: ``key``, ``seed_time``, ``known`` and the columns of :func:`label_columns`.

    A label that the database makes is known from the first row on that is no older than the end of its window: until
    then nobody can say that the window is over, and the database as it was did not have that label. One that was given
    as a table is known at the end of its window.

    Args:
        db: The database, which may have grown since the task was made: then there are more labels.
        task: The task.
        upto: Labels of splits that begin after this time are not read, microseconds UTC. None: all are.
    """
    starts = {"train": None, "val": task.val_time, "test": task.test_time}
    parts = []
    for split in SPLITS:
        start = starts[split]
        if upto is None or start is None or start < upto:
            with suppress(EmptySplitError):
                parts.append(_with_values(task, _labels(db, task, split)))
    if not parts:
        raise TaskError(f"task '{task.name}' has no labels.")
    found = pa.concat_tables(parts)
    ends = found["seed_time"].to_numpy() + task.timedelta
    known = ends if task.completes or not _is_made(task) else _confirmed(db, task, ends)
    return found.append_column("known", pa.array(known))


def _is_made(task: Task) -> bool:
    return task.query is not None or task.kind == "forecast"


def _labels(db: Database, task: Task, split: str) -> pa.Table:
    """The labels of a split as of today: those of test go on for as long as the database does."""
    if task.query is not None and not task.labels_given:
        asked = make_labels(db, task.query, val_time=task.val_time, test_time=task.test_time)
        return run_sql(db, asked.manifest, asked.sql(db, split))
    if task.kind == "forecast" and split == "test":
        manifest = replace(task.manifest, num_eval_timestamps=_MANY_ANCHORS)
        return run_sql(db, manifest, forecast_sql(db, manifest, split, task.val_time, task.test_time))
    if task.labels_given or task.db is db:
        return task.label_table(split)
    return Task.from_dict(db, task.to_dict()).label_table(split)


def _with_values(task: Task, table: pa.Table) -> pa.Table:
    key = table["pkey"].combine_chunks()
    columns = {"key": key, "seed_time": table["seed_time"].cast(pa.int64())}
    names = label_columns(task)
    if names:
        numbers = task.encode(table)[0]
        if task.task_type == TaskType.MULTICLASS:
            numbers = np.where(numbers[:, None] < 0, np.nan, numbers[:, None] == np.arange(len(names)))
        numbers = numbers.reshape(len(numbers), -1).astype(np.float64)
        columns |= {name: pa.array(numbers[:, i], from_pandas=True) for i, name in enumerate(names)}
    return pa.table(columns)


def _confirmed(db: Database, task: Task, ends: Ints) -> Ints:
    """The time of the first event at or after each end."""
    tables = db.schema.tables.values()
    times = [f"SELECT {time_sql(table)} AS us FROM {rows_of(table.name)} AS t" for table in tables if table.time_col]
    if task.query is not None:
        checked = check_query(db, task.query)
        targets = [checked.rows[v].time for v in values(checked.query.target) if isinstance(v, Aggregation)]
        times = [
            f"SELECT {time_us(f't.{quote(column)}', db.columns(name)[column])} AS us FROM {rows_of(name)} AS t"
            for name, column in targets
        ]
    distinct, inverse = np.unique(ends, return_inverse=True)
    events = f"SELECT us FROM ({' UNION ALL '.join(times)}) WHERE us IS NOT NULL"
    sql = f"SELECT e.us AS at, r.us FROM {{}} AS e ASOF LEFT JOIN ({events}) AS r ON r.us >= e.us ORDER BY e.us"
    with temporary_table(db, "__ends", f"SELECT * FROM {DATA}", data=pa.table({"us": distinct})) as name:
        first = db.arrow(sql.format(name))["us"].fill_null(_NEVER).to_numpy()
    known: Ints = first[inverse]
    return known
