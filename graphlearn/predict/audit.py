"""Whether a run can be trusted: what it may see, what its labels give away, and how its results age."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from graphlearn.errors import TaskError
from graphlearn.predict.audit_cohort import cohort, members, overlap, twins
from graphlearn.predict.audit_columns import target_like
from graphlearn.predict.audit_inputs import future_rows, inputs, source, statistics
from graphlearn.predict.evaluate import Scored
from graphlearn.predict.finding import Audit, AuditFinding
from graphlearn.predict.importance import importance
from graphlearn.predict.run import Run, check_values
from graphlearn.schema import Database
from graphlearn.tasks import Task
from graphlearn.tasks.labels import SPLITS
from graphlearn.tasks.metrics import bootstrap, primary_metric, score
from graphlearn.tasks.times import time_text
from graphlearn.training.progress import ProgressBar
from graphlearn.training.seeds import Seeds, split_seeds

_DAY = 86_400_000_000
_GROUPS, _FEWEST = 6, 30
"""Most groups of anchors of the test span, and the fewest rows of one."""
_ONE_COLUMN = 0.8


@dataclass(frozen=True)
class Examined:
    """A run with what is needed to judge it.

    Attributes:
        run: The run.
        db: The database, read with the run's schema.
        scored: Its predictions for test, or for val if test has no labels, in its own regime.
        labels: The label table of each split that has labels.
        seeds: The seeds of each of them.
    """

    run: Run
    db: Database
    scored: Scored
    labels: dict[str, pa.Table]
    seeds: dict[str, Seeds]

    @property
    def task(self) -> Task:
        """The task, with labels."""
        return self.scored.task


@contextmanager
def examine(run: Run, db: Database | None = None) -> Iterator[Examined]:
    """Reads what :func:`audit` and the report look at; the database of the training is closed at the end.

    Raises:
        UsageError: If there is no database at hand, or the run ranks.
        TaskError: If neither test nor val has labels.
    """
    check_values(run.task, "audit")
    with run.reading(db) as read:
        yield _examined(run, read)


def _examined(run: Run, db: Database) -> Examined:
    try:
        scored = run._score("test", db, None)
    except TaskError:
        scored = run._score("val", db, None)
    labels: dict[str, pa.Table] = {}
    for split in SPLITS:
        with suppress(TaskError):  # the split is empty, or was not kept
            labels[split] = scored.task.label_table(split)
    seeds = {
        split: scored.seeds
        if split == scored.split
        else split_seeds(scored.graph, scored.task, split, run.regime, labels=table)
        for split, table in labels.items()
    }
    return Examined(run, db, scored, labels, seeds)


def audit(run: Run, db: Database | None = None, *, progress: bool = False) -> Audit:
    """Asks of a run what its metrics do not say, on the database and in the run's own regime.

    ``source``: is the database that of the training; ``inputs``, ``future rows``, ``statistics``: is anything newer
    than it may be; ``overlap``, ``duplicates``: have train and test labels or rows in common; ``columns``: does one
    column alone say the label; ``members``, ``cohort``: what being asked about gives away; ``distance``: how
    results fall with the time since train; ``carriers``: which tables and columns carry the score.

    The test split is read, and nothing is chosen by it.

    Args:
        run: The run.
        db: The database; by default the one that the run was trained on.
        progress: Show a bar on stderr, if that is a terminal.

    Raises:
        UsageError: If there is no database at hand.
        TaskError: If neither test nor val has labels.
    """
    with examine(run, db) as examined:
        return audit_examined(examined, progress=progress)


def audit_examined(examined: Examined, shares: pd.DataFrame | None = None, *, progress: bool = False) -> Audit:
    """:func:`audit` of what has been read already; ``shares`` is what :func:`importance` gives, if it is at hand."""
    run, db, scored = examined.run, examined.db, examined.scored
    task, graph, seeds, labels = examined.task, scored.graph, examined.seeds, examined.labels
    metric, _ = primary_metric(str(task.task_type.value))
    refit = bool(run.meta.get("refit"))
    questions: dict[str, Callable[[], AuditFinding]] = {
        "source": lambda: source(run, db),
        "inputs": lambda: inputs(run, graph, task, seeds),
        "future rows": lambda: future_rows(run, db, task, labels),
        "statistics": lambda: statistics(run, db, task),
        "overlap": lambda: overlap(task, labels, refit=refit),
        "duplicates": lambda: twins(graph, task, seeds),
        "columns": lambda: target_like(graph, task, seeds),
        "members": lambda: members(graph, task, seeds),
        "cohort": lambda: cohort(task, seeds, scored.split, float(scored.summary()[metric])),
        "distance": lambda: distance(scored),
        "carriers": lambda: carriers(what_matters(examined) if shares is None else shares),
    }
    findings = []
    with ProgressBar(len(questions), shown=progress) as bar:
        for number, (name, ask) in enumerate(questions.items()):
            bar.show(number, name)
            findings.append(ask())
    return Audit(task.name, run.regime, scored.split, tuple(findings))


def what_matters(examined: Examined) -> pd.DataFrame:
    """:func:`importance` on validation, or on the only split that there is."""
    return importance(examined.run, examined.db, split="val" if "val" in examined.labels else examined.scored.split)


def distance(scored: Scored) -> AuditFinding:
    """The first metric over groups of anchors, from those nearest to train on."""
    kind = str(scored.task.task_type.value)
    metric, higher = primary_metric(kind)
    time, entity = scored.seeds.seed_time.numpy(), scored.seeds.index.numpy()
    groups: list[dict[str, Any]] = []
    for rows in _groups(time):
        found: dict[str, Any] = {
            "from": time_text(int(time[rows].min())),
            "to": time_text(int(time[rows].max())),
            "rows": len(rows),
        }
        days = (time[rows].mean() - scored.task.val_time) / _DAY
        value, low, high = _value(kind, metric, scored.label[rows], scored.prediction[rows], entity[rows])
        groups.append({**found, "days_after_train": round(float(days), 1), metric: value, "low": low, "high": high})
    numbers = {"metric": metric, "groups": groups}
    name = metric.upper()
    known = [group for group in groups if not np.isnan(group["low"])]
    if len(known) < 2:
        what = f"{scored.split} is too short, or its labels too alike, to tell whether results fall with time."
        return AuditFinding("distance", "ok", what, numbers)
    first, last = known[0], known[-1]
    what = (
        f"{name} is {first[metric]:.3f} [{first['low']:.3f}, {first['high']:.3f}] on the first "
        f"{first['rows']:,} rows of {scored.split} (until {first['to']}) and {last[metric]:.3f} "
        f"[{last['low']:.3f}, {last['high']:.3f}] on the last {last['rows']:,} (from {last['from']})."
    )
    fell = last["high"] < first["low"] if higher else last["low"] > first["high"]
    if fell:
        advice = "Results fall with the distance from train: train again more often, or judge by the last rows."
        return AuditFinding("distance", "warn", what, numbers, advice)
    return AuditFinding("distance", "ok", what, numbers)


def carriers(shares: pd.DataFrame) -> AuditFinding:
    """Which tables and columns move the predictions, from what :func:`importance` gives."""
    tables = shares.groupby("table")["share"].sum().sort_values(ascending=False)
    columns = shares.groupby(column_names(shares))["share"].sum().sort_values(ascending=False, kind="stable")
    named = {str(key): float(share) for key, share in columns.items() if share > 0}
    numbers: dict[str, Any] = {"tables": dict(tables.items()), "columns": dict(list(named.items())[:20])}
    shown = ", ".join(f"{name} {share:.0%}" for name, share in list(tables.items())[:3])
    best = next(iter(named), None)
    if best is None:
        return AuditFinding("carriers", "ok", "Nothing moves the predictions: they are the same for all.", numbers)
    what = f"What moves the predictions: {shown}; of single columns most {best} ({named[best]:.0%})."
    if named[best] > _ONE_COLUMN:
        advice = "Nearly everything hangs on one column: make sure that it is known at the time of predicting."
        return AuditFinding("carriers", "warn", what, numbers, advice)
    return AuditFinding("carriers", "ok", what, numbers)


def column_names(shares: pd.DataFrame) -> pd.Series[str]:
    """``table.column`` of each line that :func:`importance` gives; what is no column, such as (rows), after a space."""
    names: pd.Series[str] = shares["table"] + "." + shares["column"]
    return names.where(~shares["column"].str.startswith("("), shares["table"] + " " + shares["column"])


def _groups(time: np.ndarray) -> list[np.ndarray]:
    """Rows in groups of whole anchors, of nearly equal size, in the order of time."""
    anchors, anchor, count = np.unique(time, return_inverse=True, return_counts=True)
    number = max(1, min(_GROUPS, len(anchors), len(time) // _FEWEST))
    middle = np.cumsum(count) - count / 2
    group = (middle * number / len(time)).astype(int)[anchor]
    return [rows for g in range(number) if len(rows := np.flatnonzero(group == g))]


def _value(
    kind: str, metric: str, label: np.ndarray, prediction: np.ndarray, entity: np.ndarray
) -> tuple[float, float, float]:
    """A metric and its interval; NaN where it has no value."""
    value = score(kind, label, prediction)[metric]
    if np.isnan(value):
        return value, value, value
    low, high = bootstrap(kind, label, prediction, metric=metric, seed=0, groups=entity)
    return value, low, high
