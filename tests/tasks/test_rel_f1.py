"""Labels of the real data: ours from SQL, those that are stored, and those that relbench makes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import relbench
from relbench.base import AutoCompleteTask, TaskType
from relbench.load import build_task
from relbench.manifest import TaskManifest as RelBenchManifest

from graphlearn.errors import UsageError
from graphlearn.schema import Database
from graphlearn.tasks import Task
from graphlearn.tasks.labels import SPLITS

PUBLISHED = {
    "driver-dnf": (11_411, 566, 702),
    "driver-top3": (1_353, 588, 726),
    "driver-position": (7_453, 499, 760),
}


def as_ours(frame: pd.DataFrame, manifest: dict[str, Any]) -> pd.DataFrame:
    """A label table of relbench with our names and types."""
    seed = pd.to_datetime(frame[manifest["time_col"]]).astype("datetime64[us]")
    columns = {"pkey": frame[manifest["entity_col"]], "seed_time": seed, "label": frame[manifest["target_col"]]}
    return pd.DataFrame(columns).reset_index(drop=True)


def test_labels_made_from_the_database_are_the_stored_ones(f1: Database, f1_manifest: dict[str, Any]):
    for split, published in zip(SPLITS, PUBLISHED[f1_manifest["name"]], strict=True):
        made = Task(f1, f1_manifest).labels(split)
        stored = Task(f1, f1_manifest["name"]).labels(split)
        assert len(stored) == published
        pd.testing.assert_frame_equal(made, stored)


def test_labels_are_those_that_relbench_makes(f1: Database, rel_f1: Path, f1_manifest: dict[str, Any]):
    theirs = build_task(relbench.load_dataset(rel_f1), RelBenchManifest.from_dict(f1_manifest), regenerate=True)
    full = theirs.get_db(upto_test_timestamp=False)
    for split in SPLITS:
        expected = as_ours(theirs.get_table(split, mask_input_cols=False, db=full).df, f1_manifest)
        pd.testing.assert_frame_equal(Task(f1, f1_manifest).labels(split), expected, check_dtype=False)


def test_stored_labels_are_served_as_they_lie(f1: Database, rel_f1: Path):
    manifest = {"entity_col": "driverId", "time_col": "date", "target_col": "did_not_finish"}
    task = Task(f1, "driver-dnf")
    for split in SPLITS:
        stored = pd.read_parquet(rel_f1 / "tasks" / "driver-dnf" / f"{split}.parquet")
        labels = task.labels(split)
        pd.testing.assert_frame_equal(labels, as_ours(stored, manifest), check_dtype=False)
        assert [str(kind) for kind in labels.dtypes] == ["int64", "datetime64[us]", "int64"]


@pytest.mark.parametrize("table", ["results", "qualifying"])
def test_autocomplete_is_that_of_relbench(f1: Database, rel_f1: Path, table: str):
    hidden = [("results", "rank"), ("results", "milliseconds")]
    data = relbench.load_dataset(rel_f1)
    theirs = AutoCompleteTask(data, TaskType.REGRESSION, table, "position", remove_columns=hidden)
    manifest = {"name": "complete", "kind": "autocomplete", "task_type": "regression", "entity_table": table}
    ours = Task(f1, manifest | {"target_col": "position", "remove_columns": hidden})
    names = {"time_col": theirs.time_col, "entity_col": theirs.entity_col, "target_col": "position"}
    full = theirs.get_db(upto_test_timestamp=False)
    for split in SPLITS:
        expected = as_ours(theirs.get_table(split, mask_input_cols=False, db=full).df, names)
        pd.testing.assert_frame_equal(ours.labels(split), expected, check_dtype=False)
    assert list(ours.remove_columns) == theirs.hidden_columns()
    assert ours.timedelta == theirs.timedelta / pd.Timedelta("1us")
    assert (ours.pkey_col, ours.entity_col, ours.time_col) == (theirs.entity_col, theirs.entity_col, "date")


@pytest.mark.parametrize("kind", ["external", "forecast", "autocomplete"])
def test_a_saved_task_loads_in_relbench(f1, rel_f1, f1_manifests, kind: str, tmp_path: Path):
    complete = {
        "name": "grid",
        "kind": kind,
        "task_type": "regression",
        "entity_table": "results",
        "target_col": "grid",
    }
    hidden = {"remove_columns": [["results", "rank"]]}
    asked = {"external": "driver-top3", "forecast": f1_manifests["driver-position"] | hidden, "autocomplete": complete}
    task = Task(f1, asked[kind])
    folder = task.save(tmp_path / "saved")
    theirs = relbench.load_dataset(rel_f1).load_task(folder)
    assert (theirs.name, theirs.kind, theirs.task_type.value) == (task.name, kind, task.task_type)
    assert theirs.timedelta / pd.Timedelta("1us") == task.timedelta
    assert theirs.num_eval_timestamps == task.num_eval_timestamps
    assert theirs.hidden_columns() == list(task.remove_columns)
    again = Task(f1, folder)
    assert replace(again.manifest, sql=None) == replace(task.manifest, sql=None)
    names = {"time_col": task.time_col, "entity_col": task.entity_col, "target_col": task.target_col}
    for split in SPLITS:
        served = theirs.get_table(split, mask_input_cols=False).df
        pd.testing.assert_frame_equal(as_ours(served, names), task.labels(split), check_dtype=False)
        pd.testing.assert_frame_equal(again.labels(split), task.labels(split))
    if kind == "forecast":
        assert "sql: |-\n  SELECT" in (folder / "manifest.yaml").read_text()  # a block that can be read
        made = relbench.load_dataset(rel_f1).load_task(folder, regenerate=True).get_table("val").df
        pd.testing.assert_frame_equal(as_ours(made, names), task.labels("val"), check_dtype=False)


def test_a_forecast_with_stored_labels_is_made_again_on_request(f1, f1_manifests, tmp_path: Path):
    manifest = f1_manifests["driver-top3"]
    folder = Task(f1, manifest).save(tmp_path / "saved")
    stored = pd.read_parquet(folder / "val.parquet")
    stored["qualifying"] = np.arange(len(stored)) % 2
    stored.to_parquet(folder / "val.parquet")
    assert Task(f1, folder).labels("val")["label"].tolist() == (np.arange(len(stored)) % 2).tolist()
    fresh = Task(f1, folder, regenerate=True).labels("val")
    pd.testing.assert_frame_equal(fresh, Task(f1, manifest).labels("val"))
    with pytest.raises(UsageError, match=r"'driver-top3' is external: its labels are stored and cannot be made again"):
        Task(f1, "driver-top3", regenerate=True)
