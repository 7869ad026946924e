"""Label tables that already exist: read, brought to (pkey, seed_time, label), split."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from graphlearn.database import open_source, quote
from graphlearn.errors import UsageError, first_three, unknown_name
from graphlearn.tasks.labels import SPLITS, plain_label, seed_time
from graphlearn.tasks.manifest import GIVEN_TYPES, TaskManifest, TaskType


def read_labels(labels: Any, manifest: TaskManifest) -> pa.Table:
    """The columns that the manifest names, as (pkey, seed_time, label) in the order of the rows.

    seed_time is int64 microseconds UTC. A column ``split`` comes along as text if there is one.

    Args:
        labels: A pandas, Polars or Arrow table, or a path to a Parquet or CSV file.
        manifest: The task.

    Raises:
        SourceError: If the labels cannot be read.
        UsageError: If the path holds several tables.
        UnknownNameError: If there is no such column.
        TaskError: If the times are no points in time.
    """
    source = open_source(labels if isinstance(labels, str | Path) else {"labels": labels})
    try:
        if len(source.tables) != 1:
            raise UsageError(
                f"labels must be one table, but {source.source} holds {len(source.tables)}: "
                f"{first_three(source.tables)}."
            )
        table = source.tables[0]
        types = source.columns(table)
        for name in (manifest.entity_col, manifest.time_col, manifest.target_col):
            if name not in types:
                raise unknown_name("column of the labels", str(name), types)
        split = ', CAST("split" AS VARCHAR) AS split' if "split" in types else ""
        return source.arrow(
            f"SELECT {quote(str(manifest.entity_col))} AS pkey, {seed_time(manifest, types)} AS seed_time, "
            f"{plain_label(manifest, types)} AS label{split} FROM main.{quote(table)}"
        )
    finally:
        source.close()


def stored_labels(folder: Path, manifest: TaskManifest, split: str) -> pa.Table | None:
    """The labels of one split as a RelBench folder stores them, in their order; None if it does not store them."""
    file = folder / f"{split}.parquet"
    return read_labels(file, manifest) if file.is_file() else None


def split_by_column(rows: pa.Table) -> dict[str, pa.Table]:
    """The rows of each split as the column ``split`` says.

    Raises:
        UnknownNameError: If it says anything but train, val or test.
    """
    for value in pc.unique(rows["split"]).to_pylist():
        if value not in SPLITS:
            raise unknown_name("split", str(value), SPLITS)
    return {split: rows.filter(pc.equal(rows["split"], split)).drop_columns("split") for split in SPLITS}


def split_by_time(
    rows: pa.Table, val_time: int, test_time: int, delta: int | None
) -> tuple[dict[str, pa.Table], dict[str, int]]:
    """The rows of each split by seed time: before ``val_time``, before ``test_time``, the rest.

    With ``delta``, rows of train whose window ends after ``val_time``, and of validation whose window ends after
    ``test_time``, are left out: their labels know what the next split is asked.

    Returns:
        The splits, and how many rows were left out of each.
    """
    seed = rows["seed_time"]
    end = pc.add(seed, delta or 0)
    bounds = {
        "train": (pc.less(seed, val_time), pc.less_equal(end, val_time)),
        "val": (
            pc.and_(pc.greater_equal(seed, val_time), pc.less(seed, test_time)),
            pc.less_equal(end, test_time),
        ),
        "test": (pc.greater_equal(seed, test_time), pc.is_valid(seed)),
    }
    splits = {split: rows.filter(pc.and_(*bound)) for split, bound in bounds.items()}
    left_out = {split: int(pc.sum(pc.and_not(*bound)).as_py() or 0) for split, bound in bounds.items()}
    return splits, left_out


def infer_task_type(label: pa.ChunkedArray) -> TaskType:
    """The task type of labels: true/false and 0/1 binary, other numbers regression, text multiclass, lists multilabel.

    Raises:
        UsageError: If it is none of these.
    """
    kind = label.type.value_type if pa.types.is_dictionary(label.type) else label.type
    if pa.types.is_boolean(kind):
        return TaskType.BINARY
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        values = pc.unique(label.cast(pa.float64(), safe=False)).drop_null()
        return TaskType.BINARY if set(values[:3].to_pylist()) <= {0.0, 1.0} else TaskType.REGRESSION
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return TaskType.MULTICLASS
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return TaskType.MULTILABEL
    raise UsageError(
        f"cannot tell what kind of task has labels of type {kind} (first: {first_three(label[:3].to_pylist())}). "
        f"Give 'task_type': one of {', '.join(GIVEN_TYPES)}."
    )
