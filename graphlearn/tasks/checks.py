"""What every label table must satisfy, whoever made it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from graphlearn.database import quote
from graphlearn.errors import TaskError, first_three
from graphlearn.tasks.labels import EmptySplitError
from graphlearn.tasks.manifest import TaskManifest, TaskType
from graphlearn.tasks.times import time_text

if TYPE_CHECKING:
    from graphlearn.schema import Database


def check_labels(table: pa.Table, manifest: TaskManifest, split: str) -> pa.Table:
    """The same (pkey, seed_time, label) with labels of the type that the task calls for, or an error that says why not.

    Binary labels become int64 0 or 1, regression labels float64; classes stay as they are.

    Raises:
        EmptySplitError: If the split is empty.
        TaskError: If a key, time or label is missing, a key appears twice at one time, a label
            has no meaning for the task type, or train holds only one class.
    """
    where = f"task '{manifest.name}', {split}"
    if not table.num_rows:
        raise EmptySplitError(
            f"{where}: the {split} split is empty: it has no labels. Check 'val_timestamp' and 'test_timestamp'."
        )
    check_keys(table, where)
    label = table["label"]
    label = label.cast(label.type.value_type) if pa.types.is_dictionary(label.type) else label
    missing = pc.is_null(label, nan_is_null=True) if pa.types.is_floating(label.type) else pc.is_null(label)
    if pc.any(missing).as_py():
        keys = table["pkey"].filter(missing)
        raise TaskError(
            f"{where}: {len(keys):,} of {table.num_rows:,} labels are NULL (first entities: "
            f"{first_three(keys[:3].to_pylist())}). Leave rows without a label out."
        )
    counts = table.group_by(["pkey", "seed_time"]).aggregate([([], "count_all")])
    twice = counts.filter(pc.greater(counts["count_all"], 1)).slice(0, 3).to_pylist()
    if twice:
        shown = first_three([f"{row['pkey']} at {time_text(row['seed_time'])}" for row in twice])
        raise TaskError(
            f"{where}: {table.num_rows - counts.num_rows:,} labels have the entity and time of another one "
            f"(first: {shown}). There must be one label for each entity and time."
        )
    label = _LABELS[manifest.task_type](label, where)
    if split == "train" and manifest.task_type in (TaskType.BINARY, TaskType.MULTICLASS):
        distinct = pc.unique(label)
        if len(distinct) < 2:
            raise TaskError(
                f"{where}: all {table.num_rows:,} labels are {distinct[0].as_py()!r}; "
                "a classifier needs at least two classes in train. Choose another target or window."
            )
    return pa.table({"pkey": table["pkey"], "seed_time": table["seed_time"], "label": label})


def check_keys(table: pa.Table, where: str) -> None:
    """Raises :class:`TaskError` if a row has no entity or no time; ``where`` names the table in the message."""
    for column, what in (("pkey", "no entity"), ("seed_time", "no time, or text that is no ISO 8601 time")):
        if table[column].null_count:
            raise TaskError(
                f"{where}: {table[column].null_count:,} of {table.num_rows:,} labels have {what}. Leave these rows out."
            )


def check_entities(table: pa.Table, db: Database, manifest: TaskManifest, pkey: str, split: str) -> pa.Table:
    """The same table with ``pkey`` of the type of the entity table's key.

    Raises:
        TaskError: If a label is about an entity that does not exist.
    """
    keys = db.arrow(f"SELECT {quote(pkey)} AS pkey FROM main.{quote(manifest.entity_table)}")["pkey"]
    where = f"task '{manifest.name}', {split}"
    entity = f"'{manifest.entity_table}.{pkey}'"
    try:
        given = table["pkey"].cast(keys.type)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise TaskError(
            f"{where}: entities are {table['pkey'].type}, but {entity} is {keys.type}, and they cannot be converted: "
            f"{error}."
        ) from error
    # NULL keys are left to the check that counts them.
    unknown = pc.and_(pc.is_valid(given), pc.invert(pc.is_in(given, value_set=keys.combine_chunks())))
    if pc.any(unknown).as_py():
        bad = given.filter(unknown)
        raise TaskError(
            f"{where}: {len(bad):,} of {len(given):,} labels are about an entity that does not exist in {entity} "
            f"(first: {first_three(pc.unique(bad)[:3].to_pylist())}). Load the missing rows or leave these labels out."
        )
    return table.set_column(table.column_names.index("pkey"), "pkey", given)


def check_items(db: Database, manifest: TaskManifest) -> None:
    """Refuses a recommendation task whose rows cannot be named, or are fewer than it is to name.

    Raises:
        UnknownNameError: If there is no such table.
        TaskError: If its primary key is not one column, or it has too few rows.
    """
    table = db.schema[str(manifest.dst_entity_table)]
    if len(table.pkey) != 1:
        raise TaskError(
            f"task '{manifest.name}' ranks rows of '{table.name}', which has "
            f"{f'a key of {len(table.pkey)} columns' if table.pkey else 'no primary key'}; a key of one column is "
            f"needed. Set 'pkey' of '{table.name}' in the schema."
        )
    rows = db.num_rows(table.name)
    if rows < int(manifest.eval_k or 1):
        raise TaskError(
            f"task '{manifest.name}' names the {manifest.eval_k} best rows of '{table.name}', which has {rows:,}. "
            "Ask for fewer."
        )


def _items(label: pa.ChunkedArray, where: str) -> pa.ChunkedArray:
    if not _is_list(label.type):
        raise TaskError(f"{where}: labels of a recommendation must be lists of keys, found {label.type}.")
    flat = pa.table({"row": pc.list_parent_indices(label.combine_chunks()), "item": pc.list_flatten(label)})
    counts = flat.group_by(["row", "item"]).aggregate([([], "count_all")])
    twice = counts.filter(pc.greater(counts["count_all"], 1))
    if twice.num_rows:
        raise TaskError(
            f"{where}: {len(pc.unique(twice['row'])):,} labels name a row twice (first: "
            f"{first_three(twice['item'][:3].to_pylist())}). List each row once."
        )
    return label


def _binary(label: pa.ChunkedArray, where: str) -> pa.ChunkedArray:
    if not (pa.types.is_boolean(label.type) or _is_number(label.type)):
        raise TaskError(
            f"{where}: binary labels must be 0 or 1, or true or false, found {label.type} "
            f"(first: {first_three(pc.unique(label)[:3].to_pylist())})."
        )
    number = label.cast(pa.float64(), safe=False)
    bad = label.filter(pc.invert(pc.is_in(number, value_set=pa.array([0.0, 1.0]))))
    if len(bad):
        raise TaskError(
            f"{where}: binary labels must be 0 or 1, found {len(bad):,} others (first: "
            f"{first_three(pc.unique(bad)[:3].to_pylist())}). Compare them with a bar, or use task_type: regression."
        )
    return number.cast(pa.int64())


def _number(label: pa.ChunkedArray, where: str) -> pa.ChunkedArray:
    if not (pa.types.is_boolean(label.type) or _is_number(label.type)):
        raise TaskError(
            f"{where}: regression labels must be numbers, found {label.type} "
            f"(first: {first_three(pc.unique(label)[:3].to_pylist())})."
        )
    number = label.cast(pa.float64(), safe=False)
    infinite = pc.is_inf(number)
    if pc.any(infinite).as_py():
        raise TaskError(
            f"{where}: {pc.sum(infinite).as_py():,} of {len(number):,} labels are infinite. "
            "Leave these rows out or replace the values."
        )
    return number


def _single(label: pa.ChunkedArray, where: str) -> pa.ChunkedArray:
    if _is_list(label.type):
        raise TaskError(f"{where}: labels are lists; that needs task_type: {TaskType.MULTILABEL}.")
    return label


def _several(label: pa.ChunkedArray, where: str) -> pa.ChunkedArray:
    if not _is_list(label.type):
        raise TaskError(f"{where}: multilabel labels must be lists of classes, found {label.type}.")
    return label


def _steps(label: pa.ChunkedArray, where: str) -> pa.ChunkedArray:
    lengths = pc.unique(pc.list_value_length(label)) if _is_list(label.type) else pa.array([0, 1])
    if len(lengths) != 1 or not _is_number(label.type.value_type):
        raise TaskError(f"{where}: labels of several steps must be lists of numbers, all of one length.")
    return label


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


_LABELS = {
    TaskType.BINARY: _binary,
    TaskType.REGRESSION: _number,
    TaskType.MULTICLASS: _single,
    TaskType.MULTILABEL: _several,
    TaskType.MULTISTEP: _steps,
    TaskType.RECOMMENDATION: _items,
}
