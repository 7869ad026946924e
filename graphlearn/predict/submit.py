"""RelBench leaderboard files: one CSV for each task, checked by relbench before it is there."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from graphlearn.errors import StorageError, TaskError, UsageError, first_three, unknown_name
from graphlearn.tasks.manifest import TaskType, find_task

if TYPE_CHECKING:
    from graphlearn.tasks import Task

KEYS = ["pkey", "seed_time"]
_TAKEN = (TaskType.BINARY, TaskType.REGRESSION, TaskType.RECOMMENDATION)
_NO_ROW = -1
"""What RelBench has in the place of a recommendation where there is none."""


def write_submission(
    predictions: pd.DataFrame, task: Task, dataset_name: str, out_dir: str | Path, *, force: bool = False
) -> Path:
    """Writes ``<dataset>__<task>.csv``, in the order of the stored test table, after relbench has accepted it.

    Predictions are joined by key, so their own order does not matter. Nothing is sent anywhere.

    Args:
        predictions: Columns pkey, seed_time, prediction: one row for each row of the test split, the probability of 1
            for a binary task. For a recommendation prediction is the best row, prediction(2) the next, and so on.
        task: A task of a RelBench folder.
        dataset_name: Name of the data set on the leaderboard, such as ``rel-f1``.
        out_dir: Folder of the submission; it is made if it is not there.
        force: Replace a file that is there.

    Returns:
        The file.

    Raises:
        UsageError: If the task is none that relbench scores, or the file exists.
        UnknownNameError: If a column of ``predictions`` is missing, or the folder has no such task.
        TaskError: If the predictions are not those of the test split, or relbench refuses them.
        StorageError: If the file cannot be written.
    """
    if task.task_type not in _TAKEN:
        raise UsageError(f"task '{task.name}' is {task.task_type}; the leaderboard takes tasks of {', '.join(_TAKEN)}.")
    folder = None if task.db is None else task.db.folder
    if folder is None:
        raise UsageError(
            f"task '{task.name}' is not asked of a RelBench folder, so there is no test table to submit for. "
            "Open the folder that holds manifest.yaml, db/ and tasks/."
        )
    find_task(folder, task.name)
    target = Path(out_dir) / f"{dataset_name}__{task.name}.csv"
    if target.exists() and not force:
        raise UsageError(f"{target} exists already; choose another folder, or replace it with force (--force).")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".submission.", dir=target.parent) as aside:
            made = Path(aside) / target.name
            _write_checked(predictions, task, dataset_name, folder, made)
            os.replace(made, target)
    except OSError as error:
        raise StorageError(f"could not write {target}: {error}.") from error
    return target


def _write_checked(predictions: pd.DataFrame, task: Task, dataset_name: str, folder: Path, file: Path) -> None:
    """The file as relbench writes it, scored by relbench: what it refuses here it would refuse there."""
    import relbench
    from relbench.submit import evaluate_task, write_prediction_table

    dataset = relbench.load_dataset(folder)
    theirs = dataset.load_task(task.name)
    keys = theirs.get_table("test", mask_input_cols=True).df[[task.entity_col, task.time_col]]
    ordered = _in_order(predictions, keys, task)
    try:
        if task.top is None:
            write_prediction_table(theirs, ordered["prediction"], file)
        else:
            write_prediction_table(theirs, ordered.apply(pd.to_numeric).fillna(_NO_ROW).to_numpy(), file)
        evaluate_task(f"{dataset_name}/{task.name}", file, dataset=dataset)
    except ValueError as error:
        raise TaskError(f"relbench refuses the predictions of '{task.name}': {error}.") from error


def _in_order(predictions: pd.DataFrame, keys: pd.DataFrame, task: Task) -> pd.DataFrame:
    """The predictions in the order of ``keys`` (entity, time), which they must match one to one."""
    said = ["prediction", *(f"prediction({place})" for place in range(2, (task.top or 1) + 1))]
    for column in [*KEYS, *said]:
        if column not in predictions:
            raise unknown_name("column in the predictions", column, map(str, predictions.columns))
    given = predictions[[*KEYS, *said]].assign(seed_time=_naive_us(predictions["seed_time"]))
    wanted = keys.set_axis(KEYS, axis=1).assign(seed_time=lambda frame: _naive_us(frame["seed_time"]))
    twice = given[given.duplicated(KEYS)]
    if len(twice):
        raise TaskError(f"task '{task.name}': {len(twice):,} test rows have two predictions (first: {_shown(twice)}).")
    both = wanted.merge(given, on=KEYS, how="outer", indicator=True)
    for side, what in (
        ("left_only", "test rows have no prediction"),
        ("right_only", "predictions are for no test row"),
    ):
        odd = both[both["_merge"] == side]
        if len(odd):
            raise TaskError(
                f"task '{task.name}': {len(odd):,} {what} (first: {_shown(odd)}); the test split has {len(wanted):,} "
                "rows. Predict exactly the test split."
            )
    return wanted.merge(given, on=KEYS, how="left")[said]


def _naive_us(times: pd.Series) -> pd.Series:
    stamps = pd.to_datetime(times, utc=True)
    return stamps.dt.tz_localize(None).astype("datetime64[us]")


def _shown(rows: pd.DataFrame) -> str:
    return first_three([f"{row.pkey} at {row.seed_time}" for row in rows.head(3).itertuples()])
