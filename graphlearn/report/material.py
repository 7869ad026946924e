"""All that the page tells of, gathered once; what could not be had is a sentence instead."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from graphlearn.errors import GraphLearnError, TaskError
from graphlearn.predict import Run
from graphlearn.predict.audit import Examined, audit_examined, examine, what_matters
from graphlearn.predict.evaluate import Scored, compare
from graphlearn.predict.finding import Audit
from graphlearn.report.examples import Example, examples
from graphlearn.schema import Database
from graphlearn.tasks import Task
from graphlearn.training.progress import ProgressBar


@dataclass(frozen=True)
class Material:
    """What the sections are made from.

    Attributes:
        run: The run.
        task: Its task, with labels if there is a database.
        history: The records of its training, by epoch.
        missing: Why there is nothing of what follows, a sentence; empty if there is.
        rows: Number of rows of each table.
        labels: The labels of each split: pkey, seed_time, label.
        scored: The run's predictions for a split.
        compared: The run beside the baselines.
        shares: What :func:`~graphlearn.predict.importance.importance` gives.
        audit: The audit.
        examples: Single predictions.
    """

    run: Run
    task: Task
    history: list[dict[str, Any]]
    missing: str = ""
    rows: dict[str, int] = field(default_factory=dict)
    labels: dict[str, pd.DataFrame] = field(default_factory=dict)
    scored: Scored | None = None
    compared: pd.DataFrame | None = None
    shares: pd.DataFrame | None = None
    audit: Audit | None = None
    examples: tuple[Example, ...] = ()


def gather(run: Run, db: Database | None = None, *, progress: bool = False) -> Material:
    """Reads the run and, if there is one, the database.

    Raises:
        GraphLearnError: If ``db`` was given and is not one that the run can read. Labels that are missing are told of.
    """
    history = _history(run)
    try:
        with examine(run, db) as examined:
            return _gather(examined, history, progress)
    except GraphLearnError as error:
        if db is not None and not isinstance(error, TaskError):
            raise
        return Material(run, run.task, history, missing=" ".join(str(error).split()))


def _gather(examined: Examined, history: list[dict[str, Any]], progress: bool) -> Material:
    run, db, scored = examined.run, examined.db, examined.scored
    steps = ("baselines", "what matters", "audit", "examples")
    with ProgressBar(len(steps), shown=progress) as bar:
        bar.show(0, steps[0])
        compared = compare(scored)
        bar.show(1, steps[1])
        shares = what_matters(examined)
        bar.show(2, steps[2])
        found = audit_examined(examined, shares)
        bar.show(3, steps[3])
        shown = examples(examined)
    labels = {split: scored.task.labels(split) for split in examined.labels}
    rows = {table: db.num_rows(table) for table in db.schema.tables}
    return Material(
        run, scored.task, history, rows=rows, labels=labels, scored=scored, compared=compared, shares=shares,
        audit=found, examples=shown,
    )  # fmt: skip


def _history(run: Run) -> list[dict[str, Any]]:
    """The lines of ``metrics.jsonl`` that tell of an epoch; none if the file is not there or not readable."""
    try:
        lines = (run.folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        records = [json.loads(line) for line in lines if line.strip()]
    except (OSError, ValueError):
        return []
    return [record for record in records if isinstance(record, dict) and "epoch" in record]
