"""How well would it have worked? The same question asked at earlier times, each with what was known then."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from graphlearn.errors import TaskError, UsageError, unknown_name
from graphlearn.predict.run import check_values
from graphlearn.predict.train import MODELS, train
from graphlearn.schema import Database
from graphlearn.tasks import Task, TaskType
from graphlearn.tasks.task import REGIMES
from graphlearn.tasks.times import duration_text, time_text
from graphlearn.training.folds import Fold, rolling_origin

#: Share of the anchors before a cut that validate, where as many as are evaluated would be more.
_VAL_SHARE = 5
_LEAST_ANCHORS = 3


def backtest(
    db: Database,
    task: Task,
    *,
    model: str = "gbdt",
    folds: int = 4,
    regimes: Sequence[str] = REGIMES,
    seed: int = 0,
    progress: Callable[[int, int, str], None] | None = None,
    **options: Any,
) -> pd.DataFrame:
    """Trains at several earlier cuts and scores what came after each, beside the baselines.

    At each cut everything is made anew from what was known then: statistics, features, settings, the model, its
    validation. Then it predicts what was asked from the cut on, as far as test reaches past its own start. Labels from
    the start of test on are not read.

    Costs one training for each cut and regime.

    Args:
        db: The database.
        task: What to predict.
        model: As for :func:`graphlearn.predict.train.train`.
        folds: Most cuts; a task with few anchors allows fewer.
        regimes: Of ``frozen`` and ``rolling``.
        seed: Of the trainings.
        progress: Called with (trainings done, trainings in all, what is next).
        options: Other arguments of :func:`~graphlearn.predict.train.train`.

    Returns:
        One row for each regime, cut and model, newest cut first: ``regime``, ``cut``, ``until`` (the last time that was
        asked for), ``rows``, ``model``, the metrics, and ``low`` and ``high`` of the first one's 95 % interval.

    Raises:
        UnknownNameError: If there is no such model or regime.
        UsageError: If ``folds`` is not above zero, or the task ranks.
        TaskError: If there are too few anchors for a single cut.
    """
    check_values(task, "backtest")
    if model not in MODELS:
        raise unknown_name("model", model, MODELS)
    for regime in regimes:
        if regime not in REGIMES:
            raise unknown_name("regime", regime, REGIMES)
    if folds < 1:
        raise UsageError(f"'folds' must be >= 1, got {folds}.")
    labels = pa.concat_tables([task.label_table(split).select(["pkey", "seed_time", "label"]) for split in _KNOWN])
    seed_time = labels["seed_time"].to_numpy()
    span = max((task.num_eval_timestamps - 1) * task.step, int(seed_time.max()) - task.val_time, 0)
    cuts = rolling_origin(seed_time, window=task.timedelta, span=span, newest=task.val_time, most=folds)
    earlier = [made for fold in cuts if (made := _as_of(task, labels, fold)) is not None]
    if not earlier:
        raise TaskError(
            f"task '{task.name}': {len(np.unique(seed_time)):,} anchors before the start of test are too few to train "
            f"at an earlier time; a label window is {duration_text(task.timedelta)}. Take a later test_timestamp, a "
            "shorter window, or evaluate on val."
        )
    tables: list[pd.DataFrame] = []
    total = len(earlier) * len(regimes)
    for regime in regimes:
        for past, fold in earlier:
            if progress is not None:
                progress(len(tables), total, f"{regime}, {time_text(fold.cut)}")
            tables.append(_score(db, past, fold, seed_time, model, regime, seed, options))
    if progress is not None:
        progress(total, total, "done")
    return pd.concat(tables, ignore_index=True)


_KNOWN = ("train", "val")


def _as_of(task: Task, labels: pa.Table, fold: Fold) -> tuple[Task, Fold] | None:
    """The task as it was at the cut: what was known validates and trains; None if that is too little."""
    seed_time = labels["seed_time"].to_numpy()
    known = np.unique(seed_time[fold.train])
    asked = len(np.unique(seed_time[fold.evaluate]))
    number = max(1, min(asked, len(known) // _VAL_SHARE))
    if len(known) <= number:
        return None
    start = int(known[-number])
    train = fold.train[seed_time[fold.train] + task.timedelta <= start]
    val = fold.train[seed_time[fold.train] >= start]
    if len(np.unique(seed_time[train])) < _LEAST_ANCHORS:
        return None
    classes = pc.unique(labels["label"].take(pa.array(train)))
    if task.task_type in (TaskType.BINARY, TaskType.MULTICLASS) and len(classes) < 2:
        return None
    splits = {"train": train, "val": val, "test": fold.evaluate}
    tables = {split: labels.take(pa.array(rows)) for split, rows in splits.items()}
    return task.with_labels(tables, val_time=start, test_time=fold.cut), fold


def _score(
    db: Database,
    past: Task,
    fold: Fold,
    seed_time: np.ndarray,
    model: str,
    regime: str,
    seed: int,
    options: dict[str, Any],
) -> pd.DataFrame:
    with tempfile.TemporaryDirectory() as folder:
        settings = {"progress": False, **options}
        run = train(db, past, out=Path(folder) / "run", model=model, regime=regime, seed=seed, **settings)
        table = run.compare("test", db, regime=regime)
    table["model"] = table["model"].replace("this run", run.kind if model == "auto" else model)
    until = time_text(int(seed_time[fold.evaluate].max()))
    facts = {"regime": regime, "cut": time_text(fold.cut), "until": until, "rows": len(fold.evaluate)}
    return pd.DataFrame(
        {**{name: [value] * len(table) for name, value in facts.items()}, **table.drop(columns="regime")}
    )
