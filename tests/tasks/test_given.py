"""Label tables of the user's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import relbench

from graphlearn.errors import TaskError, UnknownNameError, UsageError
from graphlearn.schema import Database
from graphlearn.tasks import Task

SPLIT_AT = {"val_timestamp": "2021-10-01", "test_timestamp": "2021-12-01"}
COLUMNS = {"entity_table": "customers", "time_col": "at", "target_col": "y"}


@pytest.fixture
def frame() -> pd.DataFrame:
    """A label for every customer on the first of every month, in no order."""
    months = pd.date_range("2021-04-01", "2022-02-01", freq="MS")
    rows = pd.MultiIndex.from_product([range(1, 61), months], names=["id", "at"]).to_frame(index=False)
    rows["y"] = (rows["id"] + rows["at"].dt.month) % 3 == 0
    return rows.sample(frac=1, random_state=0, ignore_index=True)


def test_splits_are_by_time_and_sorted(shop: Database, frame: pd.DataFrame):
    task = Task.from_labels(shop, frame, **COLUMNS, **SPLIT_AT)
    parts = {split: task.labels(split) for split in ("train", "val", "test")}
    assert {split: len(part) for split, part in parts.items()} == {"train": 360, "val": 120, "test": 180}
    assert parts["val"]["seed_time"].min() == pd.Timestamp("2021-10-01")
    assert parts["test"]["seed_time"].min() == pd.Timestamp("2021-12-01")
    expected = frame.rename(columns={"id": "pkey", "at": "seed_time", "y": "label"}).astype({"label": "int64"})
    expected = expected.sort_values(["seed_time", "pkey"], ignore_index=True)
    pd.testing.assert_frame_equal(pd.concat(parts.values(), ignore_index=True), expected, check_dtype=False)
    assert (task.name, task.kind, task.task_type, task.entity_col) == ("y", "external", "binary_classification", "id")
    assert task.notes == ()


def test_rows_whose_window_reaches_into_the_next_split_are_left_out(shop: Database, frame: pd.DataFrame):
    task = Task.from_labels(shop, frame, **COLUMNS, **SPLIT_AT, timedelta="45 days")
    assert task.timedelta == 45 * 86_400_000_000
    assert [task.labels(split)["seed_time"].max() for split in ("train", "val", "test")] == [
        pd.Timestamp("2021-08-01"), pd.Timestamp("2021-10-01"), pd.Timestamp("2022-02-01"),
    ]  # fmt: skip
    assert task.notes == (
        "60 labels left out of train: their window of 45 days reaches into the next split.",
        "60 labels left out of val: their window of 45 days reaches into the next split.",
    )
    exact = Task.from_labels(shop, frame, **COLUMNS, **SPLIT_AT, timedelta="30 days")
    assert exact.labels("train")["seed_time"].max() == pd.Timestamp("2021-09-01")  # ends on 1 October: inside


def test_a_split_column_decides_and_gives_the_times(shop: Database, frame: pd.DataFrame):
    frame["split"] = np.where(frame["at"] < "2021-09-01", "train", np.where(frame["at"] < "2021-11-01", "val", "test"))
    task = Task.from_labels(shop, frame, **COLUMNS)
    assert task.val_time == pd.Timestamp("2021-09-01").value // 1000
    assert task.test_time == pd.Timestamp("2021-11-01").value // 1000
    assert [len(task.labels(split)) for split in ("train", "val", "test")] == [300, 120, 240]
    frame.loc[0, "split"] = "valid"
    with pytest.raises(UnknownNameError, match=r"no split 'valid'. Did you mean 'val'"):
        Task.from_labels(shop, frame, **COLUMNS)


@pytest.mark.parametrize(
    "form", ["pandas", "polars", "arrow", "parquet", "csv", "text times", "dates", "zoned", "nano"]
)
def test_forms_of_the_same_table(shop: Database, frame: pd.DataFrame, form: str, tmp_path: Path):
    expected = Task.from_labels(shop, frame, **COLUMNS, **SPLIT_AT).labels("test")
    given: Any = frame
    if form == "polars":
        given = pl.from_pandas(frame)
    elif form == "arrow":
        given = pa.Table.from_pandas(frame, preserve_index=False)
    elif form == "parquet":
        frame.to_parquet(given := tmp_path / "labels.parquet")
    elif form == "csv":
        frame.to_csv(given := str(tmp_path / "labels.csv"), index=False)
    elif form == "text times":
        given = frame.assign(at=frame["at"].dt.strftime("%Y-%m-%dT02:00:00+02:00"))
    elif form == "dates":
        given = frame.assign(at=frame["at"].dt.date)
    elif form == "zoned":
        given = frame.assign(at=frame["at"].dt.tz_localize("UTC").dt.tz_convert("Asia/Tokyo"))
    elif form == "nano":
        given = frame.assign(at=frame["at"].astype("datetime64[ns]"))
    pd.testing.assert_frame_equal(Task.from_labels(shop, given, **COLUMNS, **SPLIT_AT).labels("test"), expected)


@pytest.mark.parametrize(
    ("values", "task_type", "classes"),
    [
        ([True, False], "binary_classification", ()),
        ([0.0, 1.0], "binary_classification", ()),
        ([3, 4], "regression", ()),
        ([0.5, 1.0], "regression", ()),
        (["b", "a"], "multiclass_classification", ("a", "b")),
        ([["b"], ["a", "b"], []], "multilabel_classification", ("a", "b")),
        ([[0, 1, 1], [1, 0, 0]], "multilabel_classification", (0, 1, 2)),
        ([[5, 3], [3], [9]], "multilabel_classification", (3, 5, 9)),
    ],
)
def test_the_task_type_follows_from_the_labels(
    shop: Database, frame: pd.DataFrame, values: list, task_type: str, classes: tuple
):
    frame["y"] = [values[i % len(values)] for i in frame["id"]]
    task = Task.from_labels(shop, frame, **COLUMNS, **SPLIT_AT)
    assert (task.task_type, task.classes) == (task_type, classes)


def test_a_categorical_column_is_text(shop: Database, frame: pd.DataFrame):
    frame["y"] = frame["y"].map({True: "yes", False: "no"}).astype("category")
    assert Task.from_labels(shop, frame, **COLUMNS, **SPLIT_AT).classes == ("no", "yes")


def test_a_type_that_says_nothing_must_be_given(shop: Database, frame: pd.DataFrame):
    frame["y"] = frame["at"]
    with pytest.raises(
        UsageError, match=r"cannot tell what kind of task has labels of type timestamp.* Give 'task_type'"
    ):
        Task.from_labels(shop, frame, **COLUMNS, **SPLIT_AT)
    with pytest.raises(UnknownNameError, match=r"no task type 'regresion'. Did you mean 'regression'"):
        Task.from_labels(shop, frame, **COLUMNS, **SPLIT_AT, task_type="regresion")
    task = Task.from_labels(shop, frame, **COLUMNS, **SPLIT_AT, task_type="multiclass_classification")
    assert task.classes[0] == "2021-04-01 00:00:00.000000"  # text, so that a run can hold it as JSON


def test_classes_that_train_does_not_have_are_unknown(shop: Database, frame: pd.DataFrame):
    late = frame["at"] >= "2021-12-01"
    frame["y"] = np.where(late & (frame["id"] == 7), "new", np.where(frame["id"] % 2, "odd", "even"))
    code, unknown = Task.from_labels(shop, frame, **COLUMNS, **SPLIT_AT).targets("test")
    assert (unknown, (code == -1).sum()) == (["new"], 3)
    frame["y"] = [["new", "odd"] if label == "new" else [label] for label in frame["y"]]
    task = Task.from_labels(shop, frame, **COLUMNS, **SPLIT_AT)
    hot, unknown = task.targets("test")
    labels = task.labels("test")["label"]
    assert unknown == ["new"]
    np.testing.assert_array_equal(hot, [[float(c in label) for c in task.classes] for label in labels])


def test_multi_hot_labels_are_the_matrix(shop: Database, frame: pd.DataFrame):
    frame["y"] = [[i % 2, int(i % 3 == 0), 1] for i in frame["id"]]
    task = Task.from_labels(shop, frame, **COLUMNS, **SPLIT_AT)
    hot, unknown = task.targets("val")
    np.testing.assert_array_equal(hot, np.stack(task.labels("val")["label"]))
    assert (hot.dtype, unknown) == (np.float32, [])


def test_what_is_wrong_with_a_table(shop: Database, frame: pd.DataFrame, tmp_path: Path):
    def made(changed: pd.DataFrame = frame, **changes: Any) -> Task:
        return Task.from_labels(shop, changed, **COLUMNS | SPLIT_AT | changes)

    with pytest.raises(UnknownNameError, match=r"no column of the labels 'label'"):
        made(target_col="label")
    with pytest.raises(UnknownNameError, match=r"no column of the labels 'customer'"):
        made(entity_col="customer")
    with pytest.raises(UnknownNameError, match=r"no table 'customer'. Did you mean 'customers'"):
        made(entity_table="customer")
    with pytest.raises(TaskError, match=r"'y', train: 6 of 360 labels are about an entity that does not exist in 'cus"):
        made(frame.assign(id=frame["id"].replace(3, 99))).labels("train")
    with pytest.raises(TaskError, match=r"entities are string, but 'customers.id' is int64, and they cannot be conv"):
        made(frame.assign(id="c" + frame["id"].astype(str))).labels("train")
    with pytest.raises(TaskError, match=r"11 of 660 labels have no entity"):
        made(frame.assign(id=frame["id"].where(frame["id"] != 3)))
    with pytest.raises(TaskError, match=r"60 of 660 labels have no time, or text that is no ISO 8601 time"):
        made(frame.assign(at=frame["at"].astype(str).replace("2021-05-01", "May")))
    with pytest.raises(TaskError, match=r"the time column 'at' is INTEGER; it must hold timestamps"):
        made(frame.assign(at=frame["at"].dt.year.astype("int32")))
    with pytest.raises(TaskError, match=r"1 labels have the entity and time of another one"):
        made(pd.concat([frame, frame[frame["at"] == "2021-05-01"].head(1)])).labels("train")
    with pytest.raises(TaskError, match=r"'y', test: the test split is empty"):
        made(frame[frame["at"] < "2021-12-01"]).labels("test")
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_csv(tmp_path / "b.csv", index=False)
    with pytest.raises(UsageError, match=r"labels must be one table, but .* holds 2: a, b"):
        made(tmp_path)


def test_a_run_keeps_no_labels_but_a_saved_task_does(shop: Database, frame: pd.DataFrame, tmp_path: Path):
    task = Task.from_labels(shop, frame, **COLUMNS, **SPLIT_AT, timedelta="30 days", name="thirds")
    with pytest.raises(TaskError, match=r"no stored labels for the val split: they were given as a table"):
        Task.from_dict(shop, task.to_dict()).labels("val")
    saved = Task(shop, task.save(tmp_path / "thirds"))
    for split in ("train", "val", "test"):
        pd.testing.assert_frame_equal(saved.labels(split), task.labels(split))
    assert (saved.val_time, saved.test_time, saved.timedelta) == (task.val_time, task.test_time, task.timedelta)
    (tmp_path / "thirds" / "val.parquet").unlink()
    with pytest.raises(TaskError, match=r"no stored labels for the val split: .*thirds has no val.parquet"):
        saved.labels("val")
    with pytest.raises(UsageError, match=r"task 'thirds' is external: no SQL makes its labels"):
        saved.label_sql("val")


def test_a_saved_label_table_loads_in_relbench(f1: Database, rel_f1: Path, tmp_path: Path):
    frame = pd.DataFrame({"who": [1, 2, 3, 4], "when": pd.to_datetime(["2001-01-01", "2002-01-01"] * 2)})
    frame = pd.concat(
        [frame, frame.assign(when=pd.Timestamp("2006-01-01")), frame.assign(when=pd.Timestamp("2011-01-01"))]
    )
    frame["kind"] = np.where(frame["who"] % 2, "odd", "even")
    columns = {"entity_table": "drivers", "entity_col": "who", "time_col": "when", "target_col": "kind"}
    folder = Task.from_labels(f1, frame, **columns).save(tmp_path / "kind")
    theirs = relbench.load_dataset(rel_f1).load_task(folder)
    assert theirs.task_type.value == "multiclass_classification"
    assert theirs.get_table("test", mask_input_cols=False).df["kind"].tolist() == ["odd", "even", "odd", "even"]
