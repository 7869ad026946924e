"""What the commands that take a query share: options, its task, and what it would mean to train on it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import pandas as pd
import typer

from graphlearn.errors import UsageError
from graphlearn.schema import Database
from graphlearn.tasks import Task, TaskType
from graphlearn.tasks.labels import SPLITS, EmptySplitError
from graphlearn.tasks.query import is_query, parse
from graphlearn.tasks.times import duration_text, time_text

ValTimeOption = Annotated[
    str | None,
    typer.Option("--val-time", metavar="TIME", help="Start of validation; by default that of the source."),
]
TestTimeOption = Annotated[
    str | None, typer.Option("--test-time", metavar="TIME", help="Start of test; by default that of the source.")
]
EvalAnchorsOption = Annotated[
    int | None,
    typer.Option("--eval-anchors", metavar="N", min=1, help="Most anchors of validation and of test of a QUERY."),
]


def make_task(
    db: Database,
    query: str | None,
    task: str | None,
    *,
    val_time: str | None = None,
    test_time: str | None = None,
    eval_anchors: int | None = None,
) -> Task:
    """The task of a query or of ``--task``, exactly one of which is given."""
    check_asked(query, task)
    asked = str(task if query is None else query)
    return Task(db, asked, val_timestamp=val_time, test_timestamp=test_time, eval_anchors=eval_anchors)


def check_asked(query: str | None, task: str | None) -> None:
    """Refuses what can be said to be wrong before the source is opened."""
    if (query is None) == (task is None):
        raise UsageError('say what to predict: a query, such as "PREDICT COUNT(orders.*, 0, 30, days) …", or --task.')
    if query is not None and not is_query(query):
        raise UsageError(f"'{query}' is no query: a query begins with PREDICT. The name of a task goes after --task.")


def plan_text(db: Database, task: Task) -> str:
    """What a training would start from, without training."""
    return "\n".join(_plan(db, task))


def _plan(db: Database, task: Task) -> Iterator[str]:
    rows = {table: db.num_rows(table) for table in db.tables}
    megabytes = sum(db.num_bytes(table) for table in db.tables) / 1e6
    yield f"source   {db.source}: {len(rows)} tables, {sum(rows.values()):,} rows, about {megabytes:,.1f} MB of values"
    yield "tables   " + ", ".join(f"{table} {count:,}" for table, count in rows.items())
    yield f"task     {task.task_type}: {task.entity_table}.{task.pkey_col}, known after {duration_text(task.timedelta)}"
    for split in SPLITS:
        try:
            labels = task.labels(split)
        except EmptySplitError:
            yield f"{split:<9}empty"
            continue
        times = labels["seed_time"]
        size = task.cohort_size(split)
        left_out = (
            "" if not size or size == len(labels) else f"; {1 - len(labels) / size:.1%} of {size:,} have no label"
        )
        yield (
            f"{split:<9}{len(labels):,} labels ({shape(task, labels)}) at {times.nunique():,} times from "
            f"{time_text(times.min())} to {time_text(times.max())}{left_out}"
        )
    hidden = ", ".join(f"{table}.{column}" for table, column in task.remove_columns)
    yield f"hidden   {hidden}: it is what is asked" if hidden else "hidden   no column; rows newer than their time"
    for note in task.notes:
        yield f"note     {note}"


def shape(task: Task, labels: pd.DataFrame) -> str:
    """The base rate of labels, or what stands for it."""
    value = labels["label"]
    if task.task_type is TaskType.BINARY:
        return f"{value.mean():.1%} true"
    if task.task_type is TaskType.REGRESSION:
        return f"mean {value.mean():.4g}, median {value.median():.4g}"
    if task.task_type is TaskType.MULTISTEP:
        return f"{task.num_outputs} steps, mean {value.explode().mean():.4g}"
    if task.task_type is TaskType.RECOMMENDATION:
        return f"mean {value.str.len().mean():.4g} values"
    return f"{len(task.classes)} classes"


def assumption(task: Task) -> str | None:
    """What predictions under ASSUMING mean, or None."""
    assuming = None if task.query is None else parse(task.query).assuming
    if assuming is None:
        return None
    return f"Supposed: {assuming}. The answer is an association among cases where it came true, not an effect of it."
