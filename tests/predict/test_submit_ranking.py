"""Leaderboard files of a recommendation task, on a small shop in RelBench's layout."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import relbench
import relbench.submit
from little_shop import FAST, MODEL, TEST, VAL, open_tables, tables, train_fast

from graphlearn.cli.exit import main
from graphlearn.errors import TaskError, UnknownNameError
from graphlearn.predict.submit import write_submission
from graphlearn.schema import connect
from graphlearn.tasks import Task, export_relbench

QUERY = "PREDICT LIST_DISTINCT(items.product_id, 0, 30, days) RANK TOP 4 FOR EACH customers.customer_id"
PLACES = ["prediction", "prediction(2)", "prediction(3)", "prediction(4)"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    db = open_tables(tables())
    task = Task(db, QUERY, val_timestamp=VAL, test_timestamp=TEST, eval_anchors=1)
    task.manifest = replace(task.manifest, name="next")
    task.name = "next"
    return export_relbench(db, tmp_path_factory.mktemp("submit") / "rel-little", [task])


@pytest.fixture(scope="module")
def task(folder: Path) -> Task:
    return Task(connect(folder), "next")


def perfect(task: Task) -> pd.DataFrame:
    """What came true, in no order, and nothing where no more did."""
    rows = task.labels("test")
    lists = rows["label"].map(list)
    places = {name: lists.str.get(place).astype("Int64") for place, name in enumerate(PLACES)}
    return rows[["pkey", "seed_time"]].assign(**places).sample(frac=1, random_state=0)


def test_what_came_true_gets_the_best_score(task: Task, folder: Path, tmp_path: Path):
    file = write_submission(perfect(task), task, "rel-little", tmp_path)
    assert file == tmp_path / "rel-little__next.csv"
    assert relbench.submit.evaluate_task("rel-little/next", file, dataset=str(folder)) == {"map": pytest.approx(1.0)}
    written = pd.read_csv(file)
    stored = pd.read_parquet(folder / "tasks" / "next" / "test.parquet")
    assert written.columns.tolist() == ["customer_id", "timestamp", "label"]
    assert written["customer_id"].tolist() == stored["customer_id"].tolist()
    for cell, label in zip(written["label"], stored["label"], strict=True):
        assert json.loads(cell) == [*label[:4], *[-1] * (4 - len(label))]


def test_what_is_refused(task: Task, tmp_path: Path):
    table = perfect(task)
    with pytest.raises(UnknownNameError, match=r"no column in the predictions 'prediction\(4\)'"):
        write_submission(table.drop(columns="prediction(4)"), task, "rel-little", tmp_path)
    with pytest.raises(TaskError, match=r"task 'next': 1 test rows have no prediction"):
        write_submission(table.iloc[1:], task, "rel-little", tmp_path)
    with pytest.raises(TaskError, match=r"relbench refuses the predictions of 'next': Unable to parse string"):
        write_submission(table.assign(prediction="a book"), task, "rel-little", tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_command_gives_the_score_that_evaluate_says(task: Task, folder: Path, tmp_path: Path, capfd):
    sizes = replace(MODEL, num_neighbors=(3, 3, 2))
    assert task.db is not None
    run = train_fast(task.db, task, tmp_path / "run", model="fused", model_config=sizes, train_config=FAST)
    assert main(["submit", str(run.folder), "--out", str(tmp_path / "out"), "--dataset", "rel-little"]) == 0
    file = tmp_path / "out" / "rel-little__next.csv"
    assert capfd.readouterr().out == f"wrote  {file}        accepted by relbench.submit\n"
    theirs = relbench.submit.evaluate_task("rel-little/next", file, dataset=str(folder))
    assert theirs["map"] == pytest.approx(run.evaluate("test")["map"])
    lists = pd.read_csv(file)["label"].map(json.loads)
    assert (lists.str.len() == 4).all()
    assert np.isin(np.concatenate(lists.tolist()), np.arange(12)).all()
