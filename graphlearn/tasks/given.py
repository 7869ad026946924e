"""Label tables that already exist: read, brought to (pkey, seed_time, label), split."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from graphlearn.errors import TaskError, UsageError, first_three, unknown_name
from graphlearn.tasks.labels import SPLITS
from graphlearn.tasks.manifest import TaskManifest, TaskType


def read_labels(labels: Any) -> pa.Table:
    """A pandas, Polars or Arrow table, or a Parquet or CSV file, as an Arrow table.

    Raises:
        UsageError: If it is none of these, or a file that cannot be read.
    """
    if isinstance(labels, pa.Table):
        return labels
    if isinstance(labels, pd.DataFrame):
        return pa.Table.from_pandas(labels, preserve_index=False)
    if isinstance(labels, str | Path):
        return _read_file(Path(labels))
    if hasattr(labels, "to_arrow"):  # a Polars frame, without importing Polars
        return pa.table(labels.to_arrow())
    raise UsageError(
        f"labels must be a pandas, Polars or Arrow table, or a path to a Parquet or CSV file, got "
        f"{type(labels).__name__}."
    )


def stored_labels(folder: Path, manifest: TaskManifest, split: str) -> pa.Table | None:
    """The labels of one split as a RelBench folder stores them, in their order; None if it does not store them."""
    file = folder / f"{split}.parquet"
    return label_columns(_read_file(file), manifest, str(file)) if file.is_file() else None


def label_columns(table: pa.Table, manifest: TaskManifest, where: str) -> pa.Table:
    """The columns that the manifest names, as (pkey, seed_time, label); seed_time is int64 microseconds UTC.

    Raises:
        UnknownNameError: If there is no such column.
        TaskError: If the times are no points in time.
    """
    names = (manifest.entity_col, manifest.time_col, manifest.target_col)
    for name in names:
        if name not in table.column_names:
            raise unknown_name(f"column in the labels {where}", str(name), table.column_names)
    pkey, time, label = (table[str(name)] for name in names)
    return pa.table({"pkey": pkey, "seed_time": times_us(time, str(manifest.time_col)), "label": label})


def times_us(column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    """A column of points in time as int64 microseconds UTC; what has no offset is UTC.

    Raises:
        TaskError: If the values are no points in time.
    """
    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        try:
            parsed = pd.to_datetime(column.to_pandas(), utc=True, format="ISO8601")
        except ValueError as error:
            raise TaskError(
                f"the time column '{name}' holds text that is no ISO 8601 time: {error}. "
                "Write times such as 2024-01-31 or 2024-01-31T12:00:00Z."
            ) from error
        column = pa.chunked_array([pa.Array.from_pandas(parsed)])
    elif not (pa.types.is_timestamp(kind) or pa.types.is_date(kind)):
        raise TaskError(
            f"the time column '{name}' is {kind}; it must hold timestamps, dates or ISO 8601 text "
            "(numbers have no known unit)."
        )
    elif pa.types.is_timestamp(kind) and kind.unit == "ns":
        # A cast would round towards zero, which before 1970 is towards the future.
        column = pc.floor_temporal(column, unit="microsecond")
    zone = column.type.tz if pa.types.is_timestamp(column.type) else None
    return column.cast(pa.timestamp("us", tz=zone), safe=False).cast(pa.int64())


def split_by_column(table: pa.Table, splits: pa.ChunkedArray) -> dict[str, pa.Table]:
    """The rows of each split as a column ``split`` says.

    Raises:
        UnknownNameError: If it says anything but train, val or test.
    """
    for value in pc.unique(splits).to_pylist():
        if value not in SPLITS:
            raise unknown_name("split", str(value), SPLITS)
    return {split: table.filter(pc.equal(splits, split)) for split in SPLITS}


def split_by_time(
    table: pa.Table, val_time: int, test_time: int, delta: int | None
) -> tuple[dict[str, pa.Table], dict[str, int]]:
    """The rows of each split by seed time: before ``val_time``, before ``test_time``, the rest.

    With ``delta``, rows of train whose window ends after ``val_time``, and of validation whose window ends after
    ``test_time``, are left out: their labels know what the next split is asked.

    Returns:
        The splits, and how many rows were left out of each.
    """
    seed = table["seed_time"]
    end = pc.add(seed, delta or 0)
    bounds = {
        "train": (pc.less(seed, val_time), pc.less_equal(end, val_time)),
        "val": (
            pc.and_(pc.greater_equal(seed, val_time), pc.less(seed, test_time)),
            pc.less_equal(end, test_time),
        ),
        "test": (pc.greater_equal(seed, test_time), pc.is_valid(seed)),
    }
    splits = {split: table.filter(pc.and_(*bound)) for split, bound in bounds.items()}
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
        f"Give 'task_type': one of {', '.join(TaskType)}."
    )


def _read_file(file: Path) -> pa.Table:
    import pyarrow.csv
    import pyarrow.parquet

    readers = {".parquet": pyarrow.parquet.read_table, ".csv": pyarrow.csv.read_csv}
    if file.suffix not in readers:
        raise UsageError(f"labels must be in a .parquet or .csv file, got {file}.")
    try:
        return readers[file.suffix](file)
    except (OSError, pa.ArrowException) as error:
        raise UsageError(f"cannot read the labels {file}: {error}.") from error
