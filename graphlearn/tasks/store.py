"""Tasks on disk: the folder that RelBench 3 reads."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from graphlearn.errors import StorageError, UsageError
from graphlearn.tasks.labels import SPLITS, EmptySplitError

if TYPE_CHECKING:
    from graphlearn.tasks.task import Task


def save_task(task: Task, folder: str | Path, *, force: bool = False) -> Path:
    """Writes ``manifest.yaml`` and the labels of each split as a RelBench 3 task folder; it is whole or absent.

    A split that is empty is left out.

    Args:
        task: The task.
        folder: The folder to make; ``<RelBench folder>/tasks/<name>`` makes it a task of that source.
        force: Replace a task folder that is there.

    Raises:
        UsageError: If the folder exists.
        StorageError: If it cannot be written.
    """
    target = Path(folder)
    if target.exists() and not force:
        raise UsageError(f"{target} exists already; choose another folder, or pass force=True to replace it.")
    tables = {split: _columns_of_relbench(task, split) for split in SPLITS}
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as aside:
            made = Path(aside) / "new"
            made.mkdir()
            (made / "manifest.yaml").write_text(task.manifest.to_yaml(), encoding="utf-8")
            for split, table in tables.items():
                if table is not None:
                    pq.write_table(table, made / f"{split}.parquet")
            old = Path(aside) / "old"
            try:
                if target.exists():
                    os.replace(target, old)
                os.replace(made, target)
            finally:
                if old.exists() and not target.exists():
                    os.replace(old, target)
    except OSError as error:
        raise StorageError(f"could not write the task to {target}: {error}.") from error
    return target


def _columns_of_relbench(task: Task, split: str) -> pa.Table | None:
    """The labels of a split under the names of the manifest; None if there are none."""
    try:
        table = task.label_table(split)
    except EmptySplitError:
        return None
    seed = table["seed_time"].cast(pa.timestamp("us"))
    return pa.table({task.time_col: seed, task.entity_col: table["pkey"], task.target_col: table["label"]})
