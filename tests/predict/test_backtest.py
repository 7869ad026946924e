"""Earlier times: what was known then, what came after, and what is never read."""

from __future__ import annotations

import pandas as pd
import pytest
from little_shop import labels, make_task, open_tables, tables

from graphlearn.cli.exit import main
from graphlearn.errors import TaskError, UnknownNameError, UsageError
from graphlearn.predict import backtest

OPTIONS = {"max_features": 10}


@pytest.fixture(scope="module")
def frames() -> dict[str, pd.DataFrame]:
    return tables()


@pytest.fixture(scope="module")
def found(frames) -> pd.DataFrame:
    db = open_tables(frames)
    return backtest(db, make_task(db, frames), folds=2, **OPTIONS)


def test_the_table(found):
    assert list(found.columns[:5]) == ["regime", "cut", "until", "rows", "model"]
    assert {"auroc", "low", "high"} <= set(found.columns)
    assert set(found["regime"]) == {"frozen", "rolling"}
    assert found["cut"].iloc[0] == "2021-08-01"
    assert (found["cut"] <= found["until"]).all()
    assert set(found["model"]) == {"gbdt", "constant", "entity's past labels", "lightgbm, entity's columns"}


def test_nothing_from_the_start_of_test_on_is_read(found, frames):
    given = labels(frames)
    later = {**frames, "orders": frames["orders"][frames["orders"]["placed"] <= "2021-10-01"]}
    given.loc[given["as_of"] >= "2021-10-01", "y"] ^= 1
    db = open_tables(later)
    other = backtest(db, make_task(db, later, labels=given), folds=2, **OPTIONS)
    pd.testing.assert_frame_equal(other, found)


def test_too_few_anchors(frames):
    db = open_tables(frames)
    given = labels(frames)
    few = given[given["as_of"] >= "2021-07-01"]
    with pytest.raises(TaskError, match=r"anchors before the start of test are too few to train at an earlier time"):
        backtest(db, make_task(db, frames, labels=few), **OPTIONS)


def test_what_is_refused(frames):
    db = open_tables(frames)
    task = make_task(db, frames)
    with pytest.raises(UnknownNameError, match="no model 'gbd'"):
        backtest(db, task, model="gbd")
    with pytest.raises(UnknownNameError, match="no regime 'froze'"):
        backtest(db, task, regimes=("froze",))
    with pytest.raises(UsageError, match="'folds' must be >= 1, got 0"):
        backtest(db, task, folds=0)


def test_the_command(frames, tmp_path, capfd):
    db = open_tables(frames)
    make_task(db, frames).save(tmp_path / "again")
    db.schema.save(tmp_path / "schema.yaml")
    for name, frame in frames.items():
        (tmp_path / "db").mkdir(exist_ok=True)
        frame.to_parquet(tmp_path / "db" / f"{name}.parquet", index=False)
    words = ["backtest", str(tmp_path / "db"), "--task", str(tmp_path / "again"), "--folds", "1", "--model", "constant"]
    assert main(words) == 0
    out = capfd.readouterr().out.splitlines()
    assert out[0] == "again: auroc (higher is better) of models trained at the cut; [95 % interval]"
    assert out[-1] == "Labels from the start of test on were not read."
    assert len(out) == 7
    assert main([*words, "--regime", "froze"]) == 2
    assert "no regime 'froze'" in capfd.readouterr().err
