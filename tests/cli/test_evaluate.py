"""``graphlearn evaluate``: the table, JSON, splits and regimes, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from little_shop import make_task, open_tables, tables, train_fast, write_relbench

from graphlearn.cli.evaluate import as_text
from graphlearn.cli.exit import main
from graphlearn.schema import connect
from graphlearn.tasks import Task

NAMES = ["this run", "constant", "entity's past labels", "lightgbm, entity's columns"]


@pytest.fixture(scope="module")
def shop(tmp_path_factory) -> Path:
    return write_relbench(tmp_path_factory.mktemp("evaluate") / "shop")


@pytest.fixture(scope="module")
def run(shop) -> Path:
    db = connect(shop)
    return train_fast(db, Task(db, "again"), shop.parent / "run").folder


def test_the_table(run, capfd):
    assert main(["evaluate", str(run)]) == 0
    out, err = capfd.readouterr()
    lines = out.splitlines()
    assert lines[0] == "again, test, regime frozen: 111 rows; [95 % interval]"
    assert lines[1].split() == ["model", "auroc", "average_precision", "accuracy", "f1"]
    assert all(line.strip().startswith(name) for name, line in zip(NAMES, lines[2:], strict=True))
    assert all(line.count("[0.") == 1 for line in lines[2:])
    assert err == ""


def test_json_of_another_split_and_regime(run, shop, capfd):
    assert main(["evaluate", str(run), str(shop), "--split", "val", "--regime", "rolling", "--json"]) == 0
    rows = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [row["model"] for row in rows] == NAMES
    for row in rows:
        assert row["regime"] == "rolling"
        assert row["low"] <= row["auroc"] <= row["high"]


def test_a_metric_without_a_value_is_null(shop, tmp_path, capfd):
    frames = tables()
    db = open_tables(frames)
    rows = pd.concat([make_task(db, frames).labels(split) for split in ("train", "val", "test")])
    rows = rows.set_axis(["customer_id", "as_of", "y"], axis=1)
    rows.loc[rows["as_of"] >= "2021-10-01", "y"] = 0
    run = train_fast(connect(shop), make_task(connect(shop), frames, labels=rows), tmp_path / "run")
    assert main(["evaluate", str(run.folder), "--json"]) == 0
    assert [json.loads(line)["auroc"] for line in capfd.readouterr().out.splitlines()] == [None] * 4
    assert main(["evaluate", str(run.folder)]) == 0
    assert "nan [nan, nan]" in capfd.readouterr().out


def test_a_test_split_that_is_empty(shop, tmp_path, capfd):
    frames = tables()
    rows = make_task(open_tables(frames), frames).labels("train")
    more = make_task(open_tables(frames), frames).labels("val")
    rows = pd.concat([rows, more]).set_axis(["customer_id", "as_of", "y"], axis=1)
    run = train_fast(connect(shop), make_task(connect(shop), frames, labels=rows), tmp_path / "run")
    assert main(["evaluate", str(run.folder)]) == 3
    says = "TaskError: task 'again': the test split is empty: the labels of the training had none.\n"
    assert capfd.readouterr().err == says
    assert main(["evaluate", str(run.folder), "--split", "val"]) == 0


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--split", "tests"], "UnknownNameError: no split 'tests'. Did you mean 'test'? Known: test, train, val."),
        (
            ["--regime", "roling"],
            "UnknownNameError: no regime 'roling'. Did you mean 'rolling'? Known: frozen, rolling.",
        ),
        (["--device", "gpu"], "UnknownNameError: no device 'gpu'. Did you mean 'cpu'? Known: cpu, cuda."),
    ],
)
def test_what_is_refused(run, capfd, words, says):
    assert main(["evaluate", str(run), *words]) == 2
    assert capfd.readouterr().err == says + "\n"


def test_folders_that_are_no_runs(run, tmp_path, capfd):
    assert main(["evaluate", str(tmp_path / "nowhere")]) == 2
    assert "RunError: " in capfd.readouterr().err
    copy = shutil.copytree(run, tmp_path / "copy")
    meta = json.loads((copy / "run.json").read_text())
    (copy / "run.json").write_text(json.dumps(meta | {"format": 0}))
    assert main(["evaluate", str(copy)]) == 2
    assert "was written in run format 0 by graphlearn " in capfd.readouterr().err
    (copy / "run.json").write_text("{")
    assert main(["evaluate", str(copy)]) == 2
    assert "run.json is not readable as a run: " in capfd.readouterr().err


def test_a_source_that_lacks_a_table(run, tmp_path, capfd):
    frames = tables()
    frames["orders"].to_parquet(tmp_path / "orders.parquet")
    frames["customers"].to_parquet(tmp_path / "customers.parquet")
    assert main(["evaluate", str(run), str(tmp_path)]) == 2
    assert "UnknownNameError: no table 'items'" in capfd.readouterr().err


def test_the_interval_stands_beside_the_first_metric():
    table = pd.DataFrame(
        {"model": ["a", "bcd"], "mae": [1.0, 2.5], "rmse": [2.0, 3.0], "low": [0.5, 2.0], "high": [1.5, 3.0]}
    ).assign(regime="frozen")
    assert as_text(table, "mae").splitlines() == [
        "model                     mae   rmse",
        "  a   1.0000 [0.5000, 1.5000] 2.0000",
        "  bcd 2.5000 [2.0000, 3.0000] 3.0000",
    ]
