"""A task that a query asks: its splits, its labels on the real data, and what is kept of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import relbench
import yaml
from query_examples import EACH
from query_shop import make_tables, open_shop

from graphlearn.errors import TaskError, UnknownNameError, UsageError
from graphlearn.schema import Database
from graphlearn.tasks import Task, TaskType
from graphlearn.tasks.labels import SPLITS, EmptySplitError
from graphlearn.tasks.query_labels import make_labels
from graphlearn.tasks.times import time_us

DRIVERS = "FOR EACH drivers.driverId"
F1 = {
    "driver-top3": f"PREDICT MIN(qualifying.position, 0, 30, days) <= 3 {DRIVERS}",
    "driver-position": f"PREDICT AVG(results.positionOrder, 0, 60, days) {DRIVERS}",
    "driver-dnf": "PREDICT COUNT(results.* WHERE results.statusId != 1, 0, 30, days) > 0 "
    f"{DRIVERS} ASSUMING COUNT(results.*, 0, 30, days) > 0",
}
CHURN = f"PREDICT COUNT(orders.*, 0, 60, days) = 0 {EACH} WHERE COUNT(orders.*, -90, 0, days) > 0"


@pytest.fixture(scope="module")
def shop() -> Database:
    return open_shop(make_tables(1))


@pytest.mark.parametrize("name", F1)
def test_a_query_gives_the_stored_labels(f1: Database, name: str):
    asked, stored = Task(f1, F1[name], eval_anchors=40), Task(f1, name)
    assert asked.task_type == stored.task_type
    assert asked.timedelta == time_us(stored.timedelta, "timedelta")
    for split in SPLITS:
        expected = stored.labels(split).sort_values(["seed_time", "pkey"], ignore_index=True)
        pd.testing.assert_frame_equal(asked.labels(split), expected)


def test_values_of_another_table_are_reached_by_via(f1: Database):
    ask = f"PREDICT LIST_DISTINCT(races.circuitId, 0, 365, days) RANK TOP 10 {DRIVERS}"
    with pytest.raises(UsageError, match=r"'races' leads to 'drivers' in 3 ways of the same length: results.driverId"):
        Task(f1, ask)
    task = Task(f1, f"{ask} VIA results.raceId -> races")
    assert task.task_type is TaskType.RECOMMENDATION
    results = f1.arrow(
        "SELECT driverId, date, circuitId FROM results JOIN races USING (raceId)".replace(" date,", " results.date,")
    ).to_pandas()
    row = task.labels("val").iloc[5]
    inside = (results["date"] > row["seed_time"]) & (results["date"] <= row["seed_time"] + pd.Timedelta(days=365))
    mine = results[inside & (results["driverId"] == row["pkey"])]
    assert list(row["label"]) == sorted(set(mine["circuitId"]))


def test_windows_of_a_split_do_not_reach_into_the_next(shop: Database):
    for text in (CHURN, f"PREDICT SUM(orders.total, 0, 2, months) {EACH} EVERY 1 month"):
        task = Task(shop, text, val_timestamp="2024-03-31", test_timestamp="2024-07-01")
        made = make_labels(shop, text, val_time=task.val_time, test_time=task.test_time)
        for split, upto in (("train", task.val_time), ("val", task.test_time), ("test", time_us("2024-09-27", ""))):
            times = made.anchors[split].times
            assert times is not None
            assert len(times)
            assert (made.checked.window.end.after(times) <= upto).all()
            assert (np.diff(times) > 0).all()


def test_without_times_a_tenth_of_the_anchors_each_is_val_and_test(shop: Database):
    made = make_labels(shop, f"PREDICT COUNT(orders.*, 0, 10) {EACH}")
    sizes = {split: len(anchors.times) for split, anchors in made.anchors.items() if anchors.times is not None}
    assert sizes["val"] == sizes["test"] == 9
    assert sizes["train"] > 70
    assert {made.val_time % 86_400_000_000, made.test_time % 86_400_000_000} == {0}


def test_look_backs_that_begin_before_the_data_are_left_out_with_a_note(shop: Database):
    task = Task(shop, CHURN)
    assert any("anchors before" in note and "WHERE looks back" in note for note in task.notes)
    assert task.labels("train")["seed_time"].min() >= pd.Timestamp("2022-01-01") + pd.Timedelta(days=90)


def test_nothing_is_learned_from_what_came_after_as_of(shop: Database):
    task = Task(shop, "PREDICT SUM(orders.total, 15, 45) FOR customers.customer_id IN (7, 2) AS OF '2024-03-01'")
    last = max(task.labels(split)["seed_time"].max() for split in SPLITS)
    assert last + pd.Timedelta(days=45) <= pd.Timestamp("2024-03-01")
    assert task.as_of == time_us("2024-03-01", "")
    cohort = task.cohort(task.as_of)
    assert cohort is not None
    assert cohort["pkey"].to_pylist() == [7, 2]
    now = Task(shop, f"PREDICT COUNT(orders.*, 0, 30) {EACH} AS OF NOW").as_of
    assert now is not None
    assert now > time_us("2026-01-01", "")


def test_the_cohort_is_what_where_says(shop: Database):
    task = Task(shop, CHURN)
    at = time_us("2024-03-01", "")
    cohort = task.cohort(at)
    assert cohort is not None
    recent = shop.rows(
        "SELECT DISTINCT customer_id FROM orders JOIN customers USING (customer_id) WHERE placed_at > '2023-12-02' AND "
        "placed_at <= '2024-03-01' AND (signup_at IS NULL OR signup_at <= '2024-03-01') ORDER BY ALL"
    )
    assert cohort["pkey"].to_pylist() == [key for (key,) in recent]
    assert task.cohort_size("test") == len(task.labels("test"))
    supposed = Task(shop, f"PREDICT COUNT(orders.*, 0, 60) > 0 {EACH} ASSUMING EXISTS(coupons.*, 0, 60)")
    size = supposed.cohort_size("train")
    assert size is not None
    assert size > len(supposed.labels("train"))


def test_a_static_task_is_split_by_the_time_of_its_rows(shop: Database):
    task = Task(shop, "PREDICT reviews.rating >= 4 FOR EACH reviews.review_id")
    rows = {split: task.labels(split) for split in SPLITS}
    assert rows["train"]["seed_time"].max() <= rows["val"]["seed_time"].min() <= rows["test"]["seed_time"].min()
    assert len(rows["val"]) + len(rows["test"]) == pytest.approx(0.25 * len(rows["train"]), abs=15)
    assert task.completes
    assert task.remove_columns == (("reviews", "rating"),)
    cohort = task.cohort()
    assert cohort is not None
    missing = shop.rows("SELECT review_id FROM reviews WHERE rating IS NULL AND created_at IS NOT NULL")
    assert sorted(cohort["pkey"].to_pylist()) == sorted(key for (key,) in missing)


def test_a_static_task_without_times_is_split_by_a_hash():
    frames = make_tables(2, customers=300, orders=60)
    db = open_shop(frames)
    tables = dict(db.schema.tables)
    tables["customers"] = replace(tables["customers"], time_col=None)
    task = Task(db.with_schema(replace(db.schema, tables=tables)), f"PREDICT customers.age {EACH}")
    keys = [set(task.labels(split)["pkey"]) for split in SPLITS]
    assert sum(map(len, keys)) == len(keys[0] | keys[1] | keys[2])
    assert len(keys[0] | keys[1] | keys[2]) == frames["customers"]["age"].notna().sum()
    assert [round(len(k) / 270, 1) for k in keys] == pytest.approx([0.8, 0.1, 0.1], abs=0.11)
    assert any("eight tenths" in note for note in task.notes)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"PREDICT COUNT(orders.*, 0, 2, years) {EACH}", r"\d train anchors fit between the first event .* at least 3"),
        (f"PREDICT COUNT(orders.*, 0, 30) {EACH} AS OF '2022-02-01'", r"0 train anchors fit"),
    ],
)
def test_too_few_anchors(shop: Database, text: str, message: str):
    with pytest.raises(TaskError, match=message):
        Task(shop, text)


def test_arguments_that_do_not_go_together(shop: Database, f1: Database):
    with pytest.raises(UsageError, match=r"one of val_timestamp and test_timestamp is given: give both, or neither"):
        Task(shop, CHURN, val_timestamp="2024-01-01")
    with pytest.raises(UsageError, match=r"'eval_anchors' must be at least 1, got 0"):
        Task(shop, CHURN, eval_anchors=0)
    with pytest.raises(UsageError, match=r"'eval_anchors' is for queries; a manifest has 'num_eval_timestamps'"):
        Task(f1, "driver-top3", eval_anchors=3)


def test_a_table_without_a_believable_time():
    frames = make_tables(orders=20)
    frames["orders"]["placed_at"] = pd.to_datetime(["9999-12-31", "1970-01-01"] * 10).astype("datetime64[us]")
    with pytest.raises(TaskError, match=r"'orders.placed_at' holds no time between 1900 and 2100"):
        Task(open_shop(frames), CHURN)
    frames["reviews"]["created_at"] = pd.NaT
    frames["reviews"]["created_at"] = frames["reviews"]["created_at"].astype("datetime64[us]")
    with pytest.raises(TaskError, match=r"no row of 'reviews' has a time, so none can be asked about at its own time"):
        Task(open_shop(frames), "PREDICT reviews.rating FOR EACH reviews.review_id")


@pytest.mark.parametrize(
    "text",
    [CHURN, f"PREDICT SUM(orders.total, 0, 30) FORECAST 2 TIMEFRAMES {EACH}", f"PREDICT customers.plan {EACH}"],
)
def test_a_task_of_a_query_is_saved_and_comes_back(shop: Database, text: str, tmp_path: Path):
    task = Task(shop, text)
    folder = task.save(tmp_path / "task")
    again, made = Task(shop, folder), Task(shop, folder, regenerate=True)
    values = yaml.safe_load((folder / "manifest.yaml").read_text())
    assert values["query"] == str(task.query)
    assert Task.from_dict(None, task.to_dict()).num_outputs == task.num_outputs
    for split in SPLITS:
        for other in (again, made, Task.from_dict(shop, task.to_dict())):
            pd.testing.assert_frame_equal(other.labels(split), task.labels(split))
            assert other.classes == task.classes
    assert (made.name, made.step, made.completes) == (task.name, task.step, task.completes)


def test_relbench_loads_it(f1: Database, rel_f1: Path, tmp_path: Path):
    task = Task(f1, F1["driver-top3"], eval_anchors=9)
    theirs = relbench.load_dataset(rel_f1).load_task(task.save(tmp_path / "top"))
    for split in SPLITS:
        frame = theirs.get_table(split, mask_input_cols=False).df
        assert frame["label"].tolist() == task.labels(split)["label"].tolist()
        assert frame["driverId"].tolist() == task.labels(split)["pkey"].tolist()


def test_steps_are_encoded_as_columns(shop: Database):
    task = Task(shop, f"PREDICT SUM(orders.total, 0, 30) FORECAST 3 TIMEFRAMES {EACH}")
    values, unknown = task.targets("train")
    assert (values.shape[1], values.dtype, unknown) == (3, np.float64, [])
    single = Task(
        shop,
        f"PREDICT SUM(orders.total, 30, 60) {EACH} EVERY 90 days",
        val_timestamp=task.val_time,
        test_timestamp=task.test_time,
    )
    merged = task.labels("val").merge(single.labels("val"), on=["pkey", "seed_time"])
    assert len(merged)
    assert [row[1] for row in merged["label_x"]] == merged["label_y"].tolist()


def test_columns_named_like_those_of_a_label_table():
    from graphlearn.schema import Column, Schema, Table, connect

    frame = pd.DataFrame({"label": range(50), "timestamp": pd.date_range("2024-01-01", periods=50), "x": range(50)})
    made = Table("t", ("label",), (), "timestamp", columns=tuple(map(Column, frame)))
    task = Task(connect({"t": frame}, schema=Schema("s", {"t": made})), "PREDICT t.x FOR EACH t.label")
    assert (task.entity_col, task.target_col, task.time_col) == ("label", "label_", "timestamp")
    with pytest.raises(EmptySplitError):
        Task(task.db, "PREDICT t.x FOR EACH t.label", val_timestamp="2025-01-01", test_timestamp="2025-01-02").labels(
            "val"
        )


def test_a_cohort_needs_no_history(shop: Database):
    """A run predicts for a database that holds too little to train on."""
    task = Task.from_dict(None, Task(shop, CHURN).to_dict())
    frames = make_tables(1)
    frames["orders"] = frames["orders"][frames["orders"]["placed_at"] > "2024-08-01"].reset_index(drop=True)
    recent = open_shop(frames)
    at = time_us("2024-09-01", "")
    with pytest.raises(TaskError, match=r"train anchors fit"):
        Task(recent, CHURN)
    cohort, expected = task.cohort(at, recent), Task(shop, CHURN).cohort(at)
    assert cohort is not None
    assert expected is not None
    assert 0 < cohort.num_rows <= expected.num_rows


def test_stored_steps_must_be_of_one_length(shop: Database, tmp_path: Path):
    folder = Task(shop, f"PREDICT SUM(orders.total, 0, 30) FORECAST 2 TIMEFRAMES {EACH}").save(tmp_path / "task")
    stored = pd.read_parquet(folder / "val.parquet")
    stored["label"] = [[1.0] * (1 + i % 2) for i in range(len(stored))]
    stored.to_parquet(folder / "val.parquet")
    with pytest.raises(TaskError, match=r"labels of several steps must be lists of numbers, all of one length"):
        Task(shop, folder).labels("val")


def test_labels_that_need_a_query(shop: Database):
    labels = pd.DataFrame({"customer_id": [1], "at": pd.to_datetime(["2023-01-01"]), "y": [[1.0, 2.0]]})
    named = {"entity_table": "customers", "time_col": "at", "target_col": "y"}
    with pytest.raises(UnknownNameError, match=r"no task type 'multistep_regression'. Did you mean"):
        Task.from_labels(shop, labels, task_type="multistep_regression", **named)
    manifest = Task(shop, f"PREDICT SUM(orders.total, 0, 30) FORECAST 2 TIMEFRAMES {EACH}").manifest.to_dict()
    with pytest.raises(UsageError, match=r"'task_type' must be one of binary_classification, .*, got 'multistep_regr"):
        Task(shop, {key: value for key, value in manifest.items() if key != "query"})
