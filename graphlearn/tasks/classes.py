"""Class values of multiclass and multilabel labels, and labels as numbers."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from graphlearn.tasks.manifest import TaskType

ClassValue = str | int | float | bool


def find_classes(label: pa.ChunkedArray, task_type: TaskType) -> tuple[ClassValue, ...]:
    """The class values among the labels of train, in ascending order; none for binary and regression.

    Multilabel labels are lists of classes, or lists of 0 and 1 of one length, as in RelBench; then the classes are the
    positions.
    """
    if task_type not in (TaskType.MULTICLASS, TaskType.MULTILABEL):
        return ()
    if task_type is TaskType.MULTILABEL:
        width = _multi_hot_width(label)
        if width is not None:
            return tuple(range(width))
        label = pc.list_flatten(label)
    values = pc.unique(label).drop_null()
    plain = pa.types.is_integer(values.type) or pa.types.is_floating(values.type) or pa.types.is_boolean(values.type)
    # Dates, decimals and the like become text, so that a run can hold them as JSON.
    return tuple(sorted(values.to_pylist() if plain else values.cast(pa.string()).to_pylist()))


def encode(
    label: pa.ChunkedArray, task_type: TaskType, classes: tuple[ClassValue, ...]
) -> tuple[np.ndarray, list[ClassValue]]:
    """Labels as numbers, and the distinct labels that are none of ``classes``.

    Returns:
        binary: ``[N]`` int64, 0 or 1; regression: ``[N]`` float64; multiclass: ``[N]`` int64, position in ``classes``
        or -1 for a value that train did not have; multilabel: ``[N, len(classes)]`` float32 of 0 and 1; several steps:
        ``[N, steps]`` float64.
    """
    if task_type is TaskType.BINARY:
        return label.to_numpy().astype(np.int64), []
    if task_type is TaskType.REGRESSION:
        return label.to_numpy().astype(np.float64), []
    if task_type is TaskType.MULTISTEP:
        width = int(pc.list_value_length(label)[0].as_py()) if len(label) else 1
        return pc.list_flatten(label).to_numpy().astype(np.float64).reshape(len(label), width), []
    if task_type is TaskType.MULTICLASS:
        code, unknown = _codes(label, classes)
        return code, unknown
    hot = np.zeros((len(label), len(classes)), dtype=np.float32)
    if classes == tuple(range(len(classes))) and _multi_hot_width(label) == len(classes):
        flat = pc.list_flatten(label).cast(pa.float32())
        return flat.to_numpy().reshape(hot.shape), []
    label = label.combine_chunks()  # positions within chunks are no positions within the column
    row = pc.list_parent_indices(label).to_numpy()
    code, unknown = _codes(pc.list_flatten(label), classes)
    hot[row[code >= 0], code[code >= 0]] = 1.0
    return hot, unknown


def _codes(values: pa.ChunkedArray, classes: tuple[ClassValue, ...]) -> tuple[np.ndarray, list[ClassValue]]:
    text = bool(classes) and isinstance(classes[0], str) and not pa.types.is_string(values.type)
    values = values.cast(pa.string()) if text else values
    position = pc.index_in(values, value_set=pa.array(classes).cast(values.type))
    unknown = pc.unique(values.filter(pc.and_(pc.is_null(position), pc.is_valid(values)))).to_pylist()
    return position.fill_null(-1).to_numpy().astype(np.int64), sorted(unknown)


def _multi_hot_width(label: pa.ChunkedArray) -> int | None:
    """The common length of the lists if they all hold 0 and 1 only; None otherwise."""
    lengths = pc.unique(pc.list_value_length(label)).drop_null()
    values = pc.unique(pc.list_flatten(label))
    kind = values.type
    if len(lengths) != 1 or not (pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        return None
    return int(lengths[0].as_py()) if set(values.to_pylist()) <= {0, 1} else None
