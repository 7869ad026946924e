"""What a task takes, what it says about itself, and every sentence it refuses with."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from graphlearn.errors import StorageError, TaskError, UnknownNameError, UsageError
from graphlearn.schema import Database, connect
from graphlearn.tasks import Task, TaskManifest, TaskType
from graphlearn.tasks.times import duration_text, duration_us, time_text, time_us

SPLIT_AT = {"val_timestamp": "2021-10-01", "test_timestamp": "2021-12-01"}
CHURN = {
    "name": "churn", "kind": "forecast", "task_type": "binary_classification", "entity_table": "customers",
    "entity_col": "customer", "target_col": "stays", "time_col": "at", "timedelta": "30 days",
    "sql": """
        SELECT c.id AS customer, t.timestamp AS at, count(o.order_id) > 0 AS stays
        FROM timestamps t JOIN customers c ON c.signup_date <= t.timestamp
        LEFT JOIN orders o ON o.customer_id = c.id
             AND o.created_at > t.timestamp AND o.created_at <= t.timestamp + INTERVAL '{timedelta}'
        GROUP BY ALL
    """,
}  # fmt: skip
STATUS = {
    "name": "status", "kind": "autocomplete", "task_type": "multiclass_classification", "entity_table": "orders",
    "target_col": "status",
}  # fmt: skip


def fail_once(error: Exception) -> Callable[[Path, Path], None]:
    """``os.replace`` that fails when it is called for the second time."""
    calls = []

    def replace(src: Path, dst: Path, real: Callable[[Path, Path], None] = os.replace) -> None:
        calls.append(src)
        if len(calls) == 2:
            raise error
        real(src, dst)

    return replace


def ask(db: Database, manifest: dict[str, Any], **changes: Any) -> Task:
    return Task(db, manifest | changes, **SPLIT_AT)


def test_attributes(shop: Database):
    task = ask(shop, CHURN, description="Who comes back?", remove_columns=[["orders", "discount"]])
    assert (task.name, task.kind, task.task_type) == ("churn", "forecast", "binary_classification")
    assert (task.entity_table, task.pkey_col, task.entity_col) == ("customers", "id", "customer")
    assert (task.time_col, task.target_col, task.description) == ("at", "stays", "Who comes back?")
    assert task.timedelta == 30 * 86_400_000_000
    assert (task.val_time, task.test_time) == (1_633_046_400_000_000, 1_638_316_800_000_000)
    assert task.num_eval_timestamps == 1
    assert task.remove_columns == (("orders", "discount"),)
    assert task.classes == ()
    assert "timestamps" in (task.sql or "")
    assert repr(task) == "Task('churn', binary_classification, customers.id -> stays)"


def test_labels_are_sorted_numbers_and_times(shop: Database):
    labels = ask(shop, CHURN).labels("train")
    assert labels.columns.tolist() == ["pkey", "seed_time", "label"]
    assert [str(kind) for kind in labels.dtypes] == ["int64", "datetime64[us]", "int64"]
    assert labels.sort_values(["seed_time", "pkey"], kind="stable").index.is_monotonic_increasing
    assert labels["seed_time"].max() == pd.Timestamp("2021-10-01") - pd.Timedelta("30 days")
    assert ask(shop, CHURN).label_table("train").schema.field("seed_time").type == "int64"
    target, unknown = ask(shop, CHURN).targets("train")
    np.testing.assert_array_equal(target, labels["label"])
    assert unknown == []


def test_the_label_sql_runs_as_it_is(shop: Database):
    task = ask(shop, CHURN)
    assert shop.arrow(task.label_sql("val")).num_rows == len(task.labels("val"))


def test_names_that_need_quotes(shop_frames: dict[str, pd.DataFrame]):
    renamed = {"customers": 'the "best" customers', "orders": "Order by", "products": "timestamp"}
    db = connect({renamed.get(name, name): frame for name, frame in shop_frames.items()})
    sql = CHURN["sql"].replace("JOIN orders", 'JOIN "order BY"')
    sql = sql.replace("JOIN customers", 'JOIN "the ""best"" customers"')
    task = ask(db, CHURN, sql=sql, entity_table=renamed["customers"])
    plain = ask(connect(shop_frames), CHURN)
    for split in ("train", "val"):
        pd.testing.assert_frame_equal(task.labels(split), plain.labels(split))
        text = task.label_sql(split)
        assert ('"Order by" AS NOT MATERIALIZED' in text, '"timestamp" AS' in text) == (True, False)
        assert '"the ""best"" customers" AS NOT MATERIALIZED' in text  # cut at the test time like any other


def test_cut_names_the_newest_row_that_may_be_seen(shop: Database):
    task = ask(shop, CHURN)
    assert [task.cut(split, "rolling") for split in ("train", "val", "test")] == [None] * 3
    assert [task.cut(s, "frozen") for s in ("train", "val", "test")] == [task.val_time, task.val_time, task.test_time]
    with pytest.raises(UnknownNameError, match=r"no regime 'frozn'. Did you mean 'frozen'"):
        task.cut("test", "frozn")
    with pytest.raises(UnknownNameError, match=r"no split 'tets'. Did you mean 'test'"):
        task.cut("tets", "frozen")
    with pytest.raises(UnknownNameError, match=r"no split 'valid'. Did you mean 'val'"):
        task.labels("valid")


def test_classes_come_from_train_and_others_are_unknown(shop_frames: dict[str, pd.DataFrame]):
    orders = shop_frames["orders"]
    late = orders["created_at"] >= "2021-12-01"
    orders.loc[late & (orders.index % 7 == 0), "status"] = "lost"
    task = ask(connect(shop_frames), STATUS)
    assert task.classes == ("open", "paid", "returned")
    assert task.remove_columns == (("orders", "status"),)
    code, unknown = task.targets("test")
    assert unknown == ["lost"]
    labels = task.labels("test")["label"].to_numpy()
    np.testing.assert_array_equal(code == -1, labels == "lost")
    assert set(code) == {-1, 0, 1, 2}


@pytest.mark.parametrize("manifest", [CHURN, STATUS], ids=["forecast", "autocomplete"])
def test_a_task_is_the_same_after_json(shop: Database, manifest: dict[str, Any]):
    task = ask(shop, manifest)
    again = Task.from_dict(shop, json.loads(json.dumps(task.to_dict())))
    for name in (
        "val_time",
        "test_time",
        "classes",
        "pkey_col",
        "timedelta",
        "remove_columns",
        "manifest",
        "task_type",
    ):
        assert getattr(again, name) == getattr(task, name)
    pd.testing.assert_frame_equal(again.labels("test"), task.labels("test"))
    alone = Task.from_dict(None, task.to_dict())
    assert alone.cut("test", "frozen") == task.test_time
    assert (alone.pkey_col, alone.classes, alone.time_col) == (task.pkey_col, task.classes, task.time_col)
    with pytest.raises(UsageError, match=f"task '{task.name}' has no database to take labels from"):
        alone.labels("test")


def test_stored_labels_are_found_again_through_the_source(f1: Database):
    values = Task(f1, "driver-dnf").to_dict() | {"folder": "/no/longer/there"}
    assert len(Task.from_dict(f1, values).labels("test")) == 702


def test_times_given_for_a_task_travel_with_it(shop: Database, tmp_path: Path):
    task = ask(shop, CHURN)
    again = Task(shop, task.save(tmp_path / "tasks" / "churn"))
    assert (again.val_time, again.test_time) == (task.val_time, task.test_time)
    assert again.manifest.val_timestamp == "2021-10-01"


def test_a_task_is_a_name_a_folder_a_file_or_a_manifest(f1: Database, rel_f1: Path):
    folder = rel_f1 / "tasks" / "driver-top3"
    for task in ("driver-top3", folder, str(folder / "manifest.yaml"), TaskManifest.load(folder)):
        assert Task(f1, task).name == "driver-top3"
    from relbench.manifest import TaskManifest as Theirs

    assert Task(f1, Theirs.load(folder / "manifest.yaml")).manifest == TaskManifest.load(folder)


def test_an_unknown_task(f1: Database, shop: Database, tmp_path: Path):
    with pytest.raises(
        UnknownNameError, match=r"no task 'driver-top4'. Did you mean 'driver-top3'\? Known: driver-dnf"
    ):
        Task(f1, "driver-top4")
    with pytest.raises(UnknownNameError, match=r"no task 'churn'. Known: none"):
        Task(shop, "churn")
    with pytest.raises(UsageError, match=r"the folder .* holds no task: there is no manifest.yaml in it"):
        Task(shop, tmp_path)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"kind": "guess"}, "'kind' must be one of forecast, autocomplete, external, got 'guess'"),
        (
            {"task_type": "recommendation"},
            "forecast task 'churn' lacks 'dst_entity_table', 'eval_k'",
        ),
        ({"task_type": "binary"}, "'task_type' must be one of binary_classification, .* got 'binary'"),
        ({"sql": None, "time_col": ""}, "forecast task 'churn' lacks 'time_col', 'sql'"),
        ({"num_eval_timestamps": 0}, "'num_eval_timestamps' must be a whole number >= 1, got 0"),
        (
            {"remove_columns": ["orders"]},
            r"'remove_columns' must be a list of \[table, column\] pairs, got \['orders'\]",
        ),
        ({"timedelta": "a while"}, "'timedelta' must be a duration such as '30 days' or '12 hours', got 'a while'"),
        ({"timedelta": "-1 days"}, "'timedelta' must be longer than zero, got '-1 days'"),
        ({"sql": "SELECT 1; SELECT 2"}, "task 'churn': its SQL must be exactly one SELECT; found SELECT and SELECT"),
        ({"sql": "DROP TABLE orders"}, "its SQL must be exactly one SELECT; found DROP"),
        ({"sql": "-- nothing"}, "its SQL must be exactly one SELECT; found nothing"),
        ({"sql": "SELEC 1"}, "task 'churn': DuckDB refuses its SQL: syntax error"),
        ({"sql": "SELECT * FROM ordres"}, "DuckDB refuses its SQL: Table with name ordres does not exist"),
        ({"sql": "SELECT 1) ; DROP VIEW orders; SELECT (1"}, "DuckDB refuses its SQL: syntax error"),
    ],
)
def test_a_manifest_that_cannot_be_used(shop: Database, changes: dict[str, Any], says: str):
    with pytest.raises(UsageError, match=says):
        ask(shop, CHURN, **changes).labels("train")


def test_sql_that_fails_while_it_runs(shop: Database):
    sql = "SELECT id AS customer, t.timestamp AS at, CAST(name AS INTEGER) AS stays FROM timestamps t, customers"
    with pytest.raises(UsageError, match=r"task 'churn': DuckDB refuses its SQL: Could not convert string"):
        ask(shop, CHURN, sql=sql).labels("train")


def test_a_column_that_the_sql_does_not_give(shop: Database):
    sql = "SELECT id AS customr, t.timestamp AS at, 1 AS stays FROM timestamps t, customers"
    known = "Did you mean 'customr'"
    with pytest.raises(UnknownNameError, match=rf"no result of the SQL of task 'churn' called 'customer'. {known}"):
        ask(shop, CHURN, sql=sql).labels("train")
    sql = "SELECT id AS customer, 2021 AS at, 1 AS stays FROM customers"
    with pytest.raises(TaskError, match=r"the time column 'at' is INTEGER; it must hold timestamps, dates or ISO 8601"):
        ask(shop, CHURN, sql=sql).labels("train")


@pytest.mark.parametrize(
    ("error", "changes", "says"),
    [
        (UnknownNameError, {"target_col": "statu"}, "no column of table 'orders' 'statu'. Did you mean 'status'"),
        (UnknownNameError, {"entity_table": "order"}, "no table 'order'. Did you mean 'orders'"),
        (TaskError, {"target_col": "customer_id"}, "'orders.customer_id' is a key or the time of its table"),
        (TaskError, {"target_col": "created_at"}, "'orders.created_at' is a key or the time of its table"),
        (TaskError, {"entity_table": "products", "target_col": "category"}, "table 'products' has no time column"),
        (TaskError, {"entity_table": "order_items", "target_col": "quantity"}, "entity table 'order_items' has "),
    ],
)
def test_a_column_that_cannot_be_completed(shop: Database, error: type[Exception], changes: dict, says: str):
    with pytest.raises(error, match=says):
        ask(shop, STATUS, **changes)


def test_a_hidden_column_that_is_not_there(shop: Database):
    with pytest.raises(
        UnknownNameError, match=r"no column to hide in table 'orders' 'discnt'. Did you mean 'discount'"
    ):
        ask(shop, CHURN, remove_columns=[["orders", "discnt"]])
    with pytest.raises(UnknownNameError, match=r"no table 'order'. Did you mean 'orders'"):
        ask(shop, CHURN, remove_columns=[["order", "discount"]])


def test_splits_need_two_times_in_order_and_far_enough_apart(shop: Database):
    with pytest.raises(UsageError, match=r"nothing says where the splits begin: give 'val_timestamp', or set it"):
        Task(shop, CHURN)
    with pytest.raises(UsageError, match=r"nothing says where the splits begin: give 'test_timestamp'"):
        Task(shop, CHURN, val_timestamp="2021-10-01")
    with pytest.raises(UsageError, match=r"validation must start before test, got val_timestamp 2021-12-01 and test_"):
        Task(shop, CHURN, val_timestamp="2021-12-01", test_timestamp="2021-10-01 12:00")
    with pytest.raises(TaskError, match=r"a label window of 90 days does not fit between validation"):
        ask(shop, CHURN, timedelta="90 days")
    with pytest.raises(UsageError, match=r"'val_timestamp' must be a time such as .* got 'autumn'"):
        Task(shop, CHURN, val_timestamp="autumn", test_timestamp="2021-12-01")
    with pytest.raises(UsageError, match=r"'val_timestamp' must be a time such as .* got 'NaT'"):
        Task(shop, CHURN, val_timestamp="NaT", test_timestamp="2021-12-01")


def test_a_database_without_times_has_no_past():
    people = pd.DataFrame({"id": [1, 2, 3], "size": [1.5, 2.5, 3.5]})
    db = connect({"people": people})
    sql = "SELECT id AS customer, t.timestamp AS at, 1 AS stays FROM timestamps t, people"
    with pytest.raises(TaskError, match=r"has no row with a time, so nothing can be split into past and future"):
        ask(db, CHURN, sql=sql, entity_table="people").labels("train")


def test_an_empty_split_is_an_error_of_that_split_only(shop: Database):
    task = Task(shop, STATUS, val_timestamp="2022-01-01", test_timestamp="2031-01-01")
    assert len(task.labels("train")) > 100
    with pytest.raises(TaskError, match=r"task 'status', test: the test split is empty"):
        task.labels("test")


@pytest.mark.parametrize(
    ("label", "changes", "says"),
    [
        ("TRUE", {}, "churn', train: all .* labels are 1; a classifier needs at least two classes in train"),
        ("id % 3", {}, r"binary labels must be 0 or 1, found .* others \(first: 2\)"),
        ("name", {}, "binary labels must be 0 or 1, or true or false, found string"),
        ("name", {"task_type": "regression"}, "regression labels must be numbers, found string"),
        ("CAST('inf' AS DOUBLE)", {"task_type": "regression"}, "labels are infinite"),
        ("CAST('nan' AS DOUBLE)", {"task_type": "regression"}, "labels are NULL"),
        ("CASE WHEN id <> 7 THEN 1 END", {}, r"of .* labels are NULL \(first entities: 7, 7, 7\)"),
        ("[name]", {"task_type": "multiclass_classification"}, "labels are lists; that needs task_type: multilabel"),
        ("name", {"task_type": "multilabel_classification"}, "multilabel labels must be lists of classes, found"),
    ],
)
def test_labels_that_nothing_can_be_trained_on(shop: Database, label: str, changes: dict[str, Any], says: str):
    sql = f"SELECT id AS customer, t.timestamp AS at, {label} AS stays FROM timestamps t, customers"
    with pytest.raises(TaskError, match=says):
        ask(shop, CHURN, sql=sql, **changes).labels("train")


def test_two_labels_for_one_entity_at_one_time(shop: Database):
    sql = "SELECT id AS customer, t.timestamp AS at, id % 2 AS stays FROM timestamps t, customers, products"
    with pytest.raises(TaskError, match=r"labels have the entity and time of another one \(first: \d+ at 2021-"):
        ask(shop, CHURN, sql=sql).labels("train")


def test_files_that_are_no_manifest(tmp_path: Path):
    file = tmp_path / "manifest.yaml"
    with pytest.raises(UsageError, match=r"cannot read the task manifest"):
        TaskManifest.load(tmp_path)
    file.write_text("name: [")
    with pytest.raises(UsageError, match=r"is not valid YAML"):
        TaskManifest.load(tmp_path)
    file.write_text("- a\n- b\n")
    with pytest.raises(UsageError, match=r"must hold keys such as 'name' and 'kind', got list"):
        TaskManifest.load(file)


def test_the_file_of_a_manifest(shop: Database, tmp_path: Path):
    manifest = TaskManifest.from_dict(CHURN | {"query": "PREDICT …", "evaluator": "other"})
    (tmp_path / "manifest.yaml").write_text(manifest.to_yaml())
    written = yaml.safe_load((tmp_path / "manifest.yaml").read_text())
    assert written["manifest_version"] == 1
    assert "evaluator" not in written
    assert TaskManifest.load(tmp_path).query == "PREDICT …"
    assert TaskManifest.from_dict({**written, "val_timestamp": pd.Timestamp("2021-10-01").date()}).val_timestamp == (
        "2021-10-01"
    )


def test_save_is_whole_or_absent_and_replaces_only_when_told(shop: Database, tmp_path: Path, monkeypatch):
    target = tmp_path / "new" / "churn"
    task = Task(shop, CHURN, val_timestamp="2021-12-20", test_timestamp="2022-12-01")
    task.save(target)
    assert sorted(p.name for p in target.iterdir()) == [
        "manifest.yaml",
        "train.parquet",
        "val.parquet",
    ]  # test is empty
    with pytest.raises(UsageError, match=r"churn exists already; choose another folder"):
        task.save(target)
    ask(shop, CHURN).save(target, force=True)
    assert (target / "test.parquet").is_file()
    assert [p.name for p in target.parent.iterdir()] == ["churn"]
    broken = ask(shop, CHURN, sql="SELECT id AS customer, t.timestamp AS at, 2 AS stays FROM timestamps t, customers")
    with pytest.raises(TaskError):
        broken.save(target, force=True)
    assert TaskManifest.load(target).sql != broken.sql
    monkeypatch.setattr("graphlearn.tasks.store.os.replace", fail_once(OSError("disk full")))
    with pytest.raises(StorageError, match=r"could not write the task to .*: disk full"):
        ask(shop, CHURN).save(target, force=True)
    assert TaskManifest.load(target).sql is not None  # the one that was there before
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"could not write the task to"):
        task.save(tmp_path / "file" / "churn")


def test_times_and_durations():
    assert time_us("1970-01-02", "t") == 86_400_000_000
    assert time_us("1970-01-01T01:00:00+01:00", "t") == 0
    assert time_us(pd.Timestamp("1969-12-31 23:59:59.999999"), "t") == -1
    assert time_us("3000-01-01", "t") == 32_503_680_000_000_000
    for us in (0, -1, 86_400_000_000, 1_600_000_000_123_456):
        assert time_us(time_text(us), "t") == us
    assert time_text(86_400_000_000) == "1970-01-02"
    assert duration_us("1 day 00:30:00", "d") == 88_200_000_000
    for us in (1, 86_400_000_000, 88_200_000_000, 30 * 86_400_000_000):
        assert duration_us(duration_text(us), "d") == us
    assert duration_text(30 * 86_400_000_000) == "30 days"


def test_task_types_are_strings():
    assert TaskType("regression") == "regression"
    assert json.dumps(TaskType.BINARY) == '"binary_classification"'
