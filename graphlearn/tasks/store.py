"""Tasks on disk: the folder that RelBench 3 reads."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from graphlearn.errors import StorageError, UsageError
from graphlearn.tasks.labels import SPLITS, EmptySplitError

if TYPE_CHECKING:
    from graphlearn.tasks.task import Task


def save_task(
    task: Task, folder: str | Path, *, force: bool = False, keys: Mapping[str, pa.ChunkedArray] | None = None
) -> Path:
    """Writes ``manifest.yaml`` and the labels of each split as a RelBench 3 task folder; it is whole or absent.

    A split that is empty is left out.

    Args:
        task: The task.
        folder: The folder to make; ``<RelBench folder>/tasks/<name>`` makes it a task of that source.
        force: Replace a task folder that is there.
        keys: By table all primary keys, if each is to be written as its position among them.

    Raises:
        UsageError: If the folder exists.
        StorageError: If it cannot be written.
    """
    target = Path(folder)
    if target.exists() and not force:
        raise UsageError(f"{target} exists already; choose another folder, or pass force=True to replace it.")
    tables = {split: _columns_of_relbench(task, split, keys or {}) for split in SPLITS}
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as aside:
            made = Path(aside) / "new"
            made.mkdir()
            (made / "manifest.yaml").write_text(task.manifest.to_yaml(), encoding="utf-8")
            for split, table in tables.items():
                if table is not None:
                    pq.write_table(table, made / f"{split}.parquet")
            put_in_place(made, target, Path(aside) / "old")
    except OSError as error:
        raise StorageError(f"could not write the task to {target}: {error}.") from error
    return target


def put_in_place(made: Path, target: Path, old: Path) -> None:
    """Renames the folder ``made`` to ``target``; one that is there goes to ``old``, and comes back if that fails."""
    try:
        if target.exists():
            os.replace(target, old)
        os.replace(made, target)
    finally:
        if old.exists() and not target.exists():
            os.replace(old, target)


def _columns_of_relbench(task: Task, split: str, keys: Mapping[str, pa.ChunkedArray]) -> pa.Table | None:
    """The labels of a split under the names of the manifest; None if there are none."""
    try:
        table = task.label_table(split)
    except EmptySplitError:
        return None
    seed = table["seed_time"].cast(pa.timestamp("us"))
    pkey, label = table["pkey"], table["label"]
    if task.entity_table in keys:
        pkey = _positions(pkey, keys[task.entity_table])
    if task.item_table is not None and task.item_table in keys:
        label = _lists_of_positions(label.combine_chunks(), keys[task.item_table])
    return pa.table({task.time_col: seed, task.entity_col: pkey, task.target_col: label})


def _positions(values: pa.Array, keys: pa.ChunkedArray) -> pa.Array:
    return pc.index_in(values.cast(keys.type), value_set=keys).cast(pa.int64())


def _lists_of_positions(lists: pa.Array, keys: pa.ChunkedArray) -> pa.Array:
    """Keys that are not there are left out of the lists."""
    place = _positions(pc.list_flatten(lists), keys)
    owner = pc.list_parent_indices(lists).filter(pc.is_valid(place)).to_numpy()
    ends = np.bincount(owner, minlength=len(lists)).cumsum()
    return pa.ListArray.from_arrays(pa.array([0, *ends], pa.int32()), place.drop_null())
