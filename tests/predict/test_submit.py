"""Leaderboard files of rel-f1, made from predictions that were made up."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import relbench.submit

from graphlearn.cli.exit import main
from graphlearn.errors import StorageError, TaskError, UnknownNameError, UsageError
from graphlearn.models import ModelConfig
from graphlearn.predict import load, train
from graphlearn.predict.submit import write_submission
from graphlearn.schema import Database, connect
from graphlearn.tasks import Task
from graphlearn.training import TrainConfig

SHORT = TrainConfig(epochs=1, min_steps=1, batch_size=256, max_steps=5)


@pytest.fixture(scope="module")
def f1(rel_f1: Path) -> Database:
    return connect(rel_f1)


@pytest.fixture
def predictions(f1: Database) -> pd.DataFrame:
    """A probability for each test row of driver-dnf, in no order."""
    rows = Task(f1, "driver-dnf").labels("test")
    rng = np.random.default_rng(0)
    noisy = np.clip(0.3 + 0.4 * rows["label"] + rng.normal(0, 0.2, len(rows)), 0, 1)
    return rows.assign(prediction=noisy).drop(columns="label").sample(frac=1, random_state=0)


@pytest.mark.parametrize("name", ["driver-dnf", "driver-top3", "driver-position"])
def test_the_label_itself_gets_the_best_score(f1: Database, rel_f1: Path, name: str, tmp_path: Path):
    task = Task(f1, name)
    perfect = task.labels("test").rename(columns={"label": "prediction"}).sample(frac=1, random_state=1)
    file = write_submission(perfect, task, "rel-f1", tmp_path / "out")
    assert file == tmp_path / "out" / f"rel-f1__{name}.csv"
    assert [p.name for p in file.parent.iterdir()] == [file.name]
    score = relbench.submit.evaluate_task(f"rel-f1/{name}", file, dataset=str(rel_f1))
    assert score == ({"nmae": 0.0} if name == "driver-position" else {"roc_auc": 1.0})


def test_the_order_is_that_of_the_stored_table(f1: Database, rel_f1: Path, predictions: pd.DataFrame, tmp_path: Path):
    file = write_submission(predictions, Task(f1, "driver-dnf"), "rel-f1", tmp_path)
    written = pd.read_csv(file, parse_dates=["date"])
    stored = pd.read_parquet(rel_f1 / "tasks" / "driver-dnf" / "test.parquet")
    assert written.columns.tolist() == ["driverId", "date", "did_not_finish"]
    keys = ["driverId", "date"]
    pd.testing.assert_frame_equal(written[keys], stored[keys], check_dtype=False)
    given = predictions.set_index(["pkey", "seed_time"])["prediction"]
    expected = given.loc[list(zip(stored["driverId"], stored["date"], strict=True))]
    np.testing.assert_array_equal(written["did_not_finish"], expected)


def test_times_with_an_offset_are_the_same_times(f1: Database, predictions: pd.DataFrame, tmp_path: Path):
    plain = write_submission(predictions, Task(f1, "driver-dnf"), "rel-f1", tmp_path / "a").read_text()
    zoned = predictions.assign(seed_time=predictions["seed_time"].dt.tz_localize("UTC").dt.tz_convert("Asia/Tokyo"))
    assert write_submission(zoned, Task(f1, "driver-dnf"), "rel-f1", tmp_path / "b").read_text() == plain


def test_what_relbench_or_the_keys_refuse(f1: Database, predictions: pd.DataFrame, tmp_path: Path):
    task = Task(f1, "driver-dnf")
    later = predictions.assign(seed_time=predictions["seed_time"] + pd.Timedelta("1 day"))
    wrong = [
        (predictions.iloc[3:], r"'driver-dnf': 3 test rows have no prediction \(first: \d+ at 201.* has 702 rows"),
        (pd.concat([predictions, later.head(2)]), r"2 predictions are for no test row \(first: \d+ at 201"),
        (pd.concat([predictions, predictions.head(1)]), r"1 test rows have two predictions \(first: \d+ at 201"),
        (predictions.assign(prediction=np.nan), r"relbench refuses the predictions of 'driver-dnf': .*non-finite"),
        (
            predictions.assign(prediction=1.5),
            r"relbench refuses the predictions of 'driver-dnf': .*must lie in \[0, 1\]",
        ),
    ]
    for table, says in wrong:
        with pytest.raises(TaskError, match=says):
            write_submission(table, task, "rel-f1", tmp_path / "out")
    with pytest.raises(UnknownNameError, match=r"no column in the predictions 'prediction'. Did you mean 'predicted'"):
        write_submission(predictions.rename(columns={"prediction": "predicted"}), task, "rel-f1", tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_nothing_is_overwritten_unless_told(f1: Database, predictions: pd.DataFrame, tmp_path: Path):
    task = Task(f1, "driver-dnf")
    file = write_submission(predictions, task, "rel-f1", tmp_path)
    before = file.read_text()
    flipped = predictions.assign(prediction=1 - predictions["prediction"])
    with pytest.raises(UsageError, match=r"rel-f1__driver-dnf.csv exists already"):
        write_submission(flipped, task, "rel-f1", tmp_path)
    assert file.read_text() == before
    write_submission(flipped, task, "rel-f1", tmp_path, force=True)
    assert file.read_text() != before
    with pytest.raises(StorageError, match=r"could not write .*rel-f1__driver-dnf.csv"):
        write_submission(predictions, task, "rel-f1", file / "below")


def test_tasks_that_are_on_no_leaderboard(f1: Database, shop: Database, predictions: pd.DataFrame, tmp_path: Path):
    values = Task(f1, "driver-dnf").to_dict()
    renamed = Task.from_dict(f1, values | {"manifest": values["manifest"] | {"name": "driver-dnff"}})
    with pytest.raises(UnknownNameError, match=r"no task 'driver-dnff'. Did you mean 'driver-dnf'"):
        write_submission(predictions, renamed, "rel-f1", tmp_path)
    with pytest.raises(UsageError, match=r"is not asked of a RelBench folder, so there is no test table"):
        write_submission(predictions, Task.from_dict(None, values), "rel-f1", tmp_path)
    manifest = {"name": "status", "kind": "autocomplete", "task_type": "multiclass_classification",
                "entity_table": "orders", "target_col": "status"}  # fmt: skip
    task = Task(shop, manifest, val_timestamp="2021-10-01", test_timestamp="2021-12-01")
    with pytest.raises(UsageError, match=r"task 'status' is multiclass_classification; the leaderboard takes"):
        write_submission(predictions, task, "shop", tmp_path)


def test_the_command_from_runs_to_files_that_relbench_scores(f1: Database, rel_f1: Path, tmp_path: Path, capfd):
    runs = []
    for name in ("driver-top3", "driver-position"):
        out = tmp_path / name
        settings = {"model_config": ModelConfig(channels=8, num_neighbors=(4, 2)), "train_config": SHORT}
        train(f1, Task(f1, name), out=out, model="gnn", regime="rolling", progress=False, **settings)
        runs.append(str(out))
    folder = tmp_path / "submission"
    assert main(["submit", *runs, "--out", str(folder)]) == 0
    files = [folder / f"rel-f1__{Path(run).name}.csv" for run in runs]
    assert capfd.readouterr().out.splitlines() == [
        f"wrote  {file}        accepted by relbench.submit" for file in files
    ]
    assert sorted(folder.iterdir()) == sorted(files)
    top3 = relbench.submit.evaluate_task("rel-f1/driver-top3", files[0], dataset=str(rel_f1))
    assert top3["roc_auc"] == pytest.approx(load(runs[0]).evaluate("test")["auroc"])

    # Nothing is overwritten; a moved run and a named source and data set give the same file under another name.
    before = files[0].read_text()
    assert main(["submit", runs[0], "--out", str(folder)]) == 2
    assert "rel-f1__driver-top3.csv exists already" in capfd.readouterr().err
    moved = Path(runs[0]).rename(tmp_path / "moved")
    words = [str(moved), "--out", str(folder), "--source", str(rel_f1), "--dataset", "rel-f1-copy", "--json"]
    assert main(["submit", *words]) == 0
    line = json.loads(capfd.readouterr().out)
    assert line == {"run": str(moved), "task": "driver-top3", "file": str(folder / "rel-f1-copy__driver-top3.csv")}
    assert Path(line["file"]).read_text() == before
    assert main(["submit", str(tmp_path / "nowhere"), "--out", str(folder)]) == 2
    assert "is not a run folder" in capfd.readouterr().err
