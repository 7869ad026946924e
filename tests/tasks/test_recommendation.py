"""Recommendation tasks: RelBench's manifests in and out, and labels that are no lists of rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import relbench
import yaml

from graphlearn.errors import TaskError, UnknownNameError, UsageError
from graphlearn.schema import Database, connect
from graphlearn.tasks import Task, export_relbench
from graphlearn.tasks.labels import SPLITS
from graphlearn.tasks.manifest import TaskManifest

QUERY = "PREDICT LIST_DISTINCT(order_items.product_id, 0, 30, days) RANK TOP 5 FOR EACH customers.id"
# As RelBench writes it, with a key that we do not know.
MANIFEST: dict[str, Any] = {
    "name": "next",
    "kind": "forecast",
    "task_type": "recommendation",
    "src_entity_table": "customers",
    "src_entity_col": "id",
    "dst_entity_table": "products",
    "dst_entity_col": "product_id",
    "time_col": "timestamp",
    "timedelta": "30 days",
    "eval_k": 5,
    "leaderboard": True,
    "sql": "SELECT t.timestamp, o.customer_id AS id, list(DISTINCT i.product_id ORDER BY i.product_id) AS product_id "
    "FROM timestamps t JOIN orders o ON o.created_at > t.timestamp AND "
    "o.created_at <= t.timestamp + INTERVAL '{timedelta}' JOIN order_items i USING (order_id) GROUP BY ALL",
    "manifest_version": 1,
}
TIMES = {"val_timestamp": "2022-01-01", "test_timestamp": "2022-03-01"}


def test_a_manifest_is_read_and_written_under_relbenchs_names(tmp_path: Path):
    (tmp_path / "manifest.yaml").write_text(yaml.safe_dump(MANIFEST))
    read = TaskManifest.load(tmp_path)
    assert (read.entity_table, read.entity_col, read.target_col) == ("customers", "id", "product_id")
    assert (read.dst_entity_table, read.eval_k) == ("products", 5)
    written = yaml.safe_load(read.to_yaml())
    assert {**written, "sql": ""} == {**{k: v for k, v in MANIFEST.items() if k != "leaderboard"}, "sql": ""}
    assert TaskManifest.from_dict(written) == TaskManifest.from_dict({**MANIFEST, "sql": written["sql"]})


def test_the_sql_of_a_manifest_gives_the_labels_of_the_query(shop: Database):
    stored, asked = Task(shop, MANIFEST, **TIMES), Task(shop, QUERY, **TIMES, eval_anchors=1)
    assert stored.item_table == asked.item_table == "products"
    assert stored.top == asked.top == 5
    for split in ("val", "test"):
        theirs, ours = (task.labels(split).set_index("pkey")["label"].map(list) for task in (stored, asked))
        pd.testing.assert_series_equal(theirs, ours.map(sorted))


def test_several_times_of_evaluation_come_back(shop: Database, tmp_path: Path):
    """RelBench has no word for them, so ours stands there, which it skips."""
    task = Task(shop, QUERY, **TIMES, eval_anchors=2)
    assert task.num_eval_timestamps == 2
    written = yaml.safe_load((task.save(tmp_path / "next") / "manifest.yaml").read_text())
    assert "num_eval_timestamps" not in written
    again = Task(shop, tmp_path / "next")
    assert again.manifest == task.manifest
    for split in SPLITS:
        pd.testing.assert_frame_equal(again.labels(split), task.labels(split))


@pytest.mark.parametrize("anchors", [1, 2])
def test_relbench_loads_what_is_exported_and_saved(shop: Database, tmp_path: Path, anchors: int):
    """Keys become numbers, those in the lists as well."""
    task = Task(shop, QUERY, **TIMES, eval_anchors=anchors)
    folder = export_relbench(shop, tmp_path / "shop", [task])
    db = connect(folder)
    Task(db, task.name).save(folder / "tasks" / "again")
    dataset = relbench.load_dataset(folder)
    tables = dataset.get_db(upto_test_timestamp=False).table_dict
    products = tables["products"].df["product_id_source"]
    customers = tables["customers"].df["id_source"]
    for name in (task.name, "again"):
        theirs = dataset.load_task(name)
        assert (theirs.eval_k, theirs.src_entity_table, theirs.dst_entity_table) == (5, "customers", "products")
        for split in SPLITS:
            table = theirs.get_table(split, mask_input_cols=False).df
            expected = task.labels(split)
            assert [customers[i] for i in table["id"]] == expected["pkey"].tolist()
            lists = [[products[i] for i in row] for row in table[theirs.dst_entity_col]]
            assert lists == expected["label"].map(list).tolist()


def test_keys_that_name_no_row_are_not_exported(shop_frames: dict[str, pd.DataFrame], tmp_path: Path):
    frames = {**shop_frames, "order_items": shop_frames["order_items"].copy()}
    frames["order_items"].loc[::3, "product_id"] = "P-404"
    schema = connect(shop_frames).schema
    db = connect(frames, schema=schema)
    task = Task(db, QUERY, **TIMES, eval_anchors=1)
    folder = export_relbench(db, tmp_path / "shop", [task])
    found = pd.read_parquet(folder / "tasks" / task.name / "test.parquet")["label"]
    expected = task.labels("test")["label"]
    assert [len(row) for row in found] == [sum(key != "P-404" for key in row) for row in expected]
    assert found.explode().dropna().between(0, 19).all()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"eval_k": 0}, r"'eval_k' must be a whole number >= 1, got 0"),
        ({"eval_k": "many"}, r"'eval_k' must be a whole number >= 1, got 'many'"),
        ({"eval_k": None}, r"forecast task 'next' lacks 'eval_k'"),
        ({"src_entity_table": None, "dst_entity_col": ""}, r"task 'next' lacks 'src_entity_table', 'dst_entity_col'"),
        ({"kind": "autocomplete"}, r"a recommendation has labels of its own: 'kind' must be forecast or external"),
    ],
)
def test_manifests_that_are_refused(change: dict[str, Any], says: str):
    with pytest.raises(UsageError, match=says):
        TaskManifest.from_dict({**MANIFEST, **change})


def test_item_tables_that_are_refused(shop: Database):
    with pytest.raises(UnknownNameError, match=r"no table 'produkts'. Did you mean 'products'"):
        Task(shop, {**MANIFEST, "dst_entity_table": "produkts"}, **TIMES)
    with pytest.raises(
        TaskError, match=r"task 'next' ranks rows of 'order_items', which has a key of 2 columns; a key"
    ):
        Task(shop, {**MANIFEST, "dst_entity_table": "order_items"}, **TIMES)
    with pytest.raises(
        TaskError, match=r"task 'next' names the 21 best rows of 'products', which has 20. Ask for fewer"
    ):
        Task(shop, {**MANIFEST, "eval_k": 21}, **TIMES)
    with pytest.raises(UsageError, match=r"RANK TOP 21 of 'products', which has 20 rows. Ask for at most that many"):
        Task(shop, QUERY.replace("TOP 5", "TOP 21"), **TIMES)
    with pytest.raises(UsageError, match=r"RANK orders the rows that a foreign key names, but orders.status is none"):
        Task(shop, QUERY.replace("order_items.product_id", "orders.status"), **TIMES)


def test_an_item_table_without_a_key(shop_frames: dict[str, pd.DataFrame]):
    frames = {**shop_frames, "notes": pd.DataFrame({"text": ["a", "b"]})}
    with pytest.raises(
        TaskError, match=r"ranks rows of 'notes', which has no primary key; a key of one column is need"
    ):
        Task(connect(frames), {**MANIFEST, "dst_entity_table": "notes"}, **TIMES)


@pytest.mark.parametrize(
    ("label", "says"),
    [
        ([["P-001", "P-002", "P-001"], ["P-003"]], r"1 labels name a row twice \(first: P-001\). List each row once"),
        ([["P-001", None], ["P-003"]], r"1 keys in the lists are NULL. Leave them out"),
        (["P-001", "P-002"], r"labels of a recommendation must be lists of keys, found (large_)?string"),
        ([["P-001"], None], r"1 of 2 labels are NULL"),
    ],
)
def test_labels_that_are_no_lists_of_rows(shop: Database, tmp_path: Path, label: list[Any], says: str):
    (tmp_path / "manifest.yaml").write_text(yaml.safe_dump({**MANIFEST, **TIMES, "kind": "external"}))
    time = pa.array([pd.Timestamp("2021-06-01")] * 2, pa.timestamp("us"))
    pq.write_table(pa.table({"timestamp": time, "id": [1, 2], "product_id": label}), tmp_path / "train.parquet")
    with pytest.raises(TaskError, match=rf"task 'next', train: {says}"):
        Task(shop, tmp_path).labels("train")
