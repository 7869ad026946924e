"""Kinds of runs and the choice among them, on the little shop: what is recorded, repeated, and never looked at."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from little_shop import labels, make_task, open_tables, tables, train_fast

from graphlearn.errors import RunError, UsageError
from graphlearn.features import Aggregates
from graphlearn.predict import load
from graphlearn.training.search import CONFIGS

KINDS = ("constant", "gbdt", "fused", "auto")
TYPES = ("binary_classification", "regression", "multiclass_classification", "multilabel_classification")


@pytest.fixture(scope="module")
def frames() -> dict[str, pd.DataFrame]:
    return tables()


@pytest.fixture(scope="module")
def runs(frames, tmp_path_factory):
    db = open_tables(frames)
    folder = tmp_path_factory.mktemp("runs")
    return {kind: train_fast(db, make_task(db, frames), folder / kind, model=kind, max_features=30) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_comes_back_from_disk(runs, kind, frames, tmp_path):
    run = runs[kind]
    db = open_tables(frames)
    moved = load(run.folder)
    assert moved.id == run.id
    assert moved.kind == run.kind
    pd.testing.assert_frame_equal(moved.predict(db, at="2021-11-15"), run.predict(at="2021-11-15"))
    found = moved.evaluate("test", db)
    assert found["regime"] == "frozen"
    predicted = moved.predict_split("test", db)
    assert len(predicted) == found["rows"]
    assert predicted["prediction"].between(0, 1).all()
    table = moved.compare("test", db).set_index("model")
    assert table.loc["this run", "auroc"] == pytest.approx(found["auroc"])


def test_what_a_run_is_made_of(runs):
    assert runs["constant"].meta["constant"] == pytest.approx(
        runs["constant"].predict(at="2021-11-15")["prediction"][0]
    )
    assert runs["constant"].model is runs["constant"].aggregates is runs["constant"].trees is None
    assert runs["gbdt"].model is None
    assert isinstance(runs["gbdt"].aggregates, Aggregates)
    assert len(runs["gbdt"].trees) == len(CONFIGS)
    assert not (runs["gbdt"].folder / "model.safetensors").exists()
    fused = runs["fused"]
    assert fused.kind == "fused"
    assert fused.model.config.num_features > 0
    assert sum(fused.weights.values()) == 1
    assert min(fused.weights.values()) >= 0.25


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_recorded(runs, kind):
    meta = json.loads((runs[kind].folder / "run.json").read_text())
    choice = meta["choice"]
    assert choice["chosen"] == meta["kind"]
    assert choice["why"]
    assert choice["folds"][0]["cut"] == "2021-08-01"
    assert len(choice["scores"]["constant"]) == len(choice["folds"])
    if kind != "constant":
        assert len(choice["scores"]["gbdt"]) == len(choice["folds"])
        assert meta["timings"].keys() >= {"features", "folds"}
        assert {f"gbdt, {age}" for age in ("fresh", "up to 31 days old")} <= choice["scores"].keys()
    if kind in ("fused", "auto"):
        assert {"network" if kind == "fused" else "gnn", "blend"} <= choice["scores"].keys()


def test_auto_is_reproducible_under_a_seed_and_never_looks_at_test(runs, frames, tmp_path):
    """With other rows and other labels from the start of test on, the same run comes out."""
    later = {**frames, "orders": frames["orders"].copy()}
    rows = later["orders"]["placed"] > "2021-10-01"
    later["orders"].loc[rows, "amount"] = 1e6
    later["orders"].loc[rows, "kind"] = "web"
    db = open_tables(later)
    given = labels(frames)
    given.loc[given["as_of"] >= "2021-10-01", "y"] ^= 1
    other = train_fast(db, make_task(db, later, labels=given), tmp_path / "run", model="auto", max_features=30)
    assert other.meta["choice"] == runs["auto"].meta["choice"]
    assert other.id == runs["auto"].id


def test_a_grown_database_changes_nothing_that_was_known(runs, frames):
    run = runs["gbdt"]
    grown = {**frames, "orders": pd.concat([frames["orders"], _orders_of("c001", "2021-12-30", frames)])}
    before = run.predict(open_tables(frames), at="2021-11-15")
    pd.testing.assert_frame_equal(run.predict(open_tables(grown), at="2021-11-15"), before)


def _orders_of(customer: str, placed: str, frames: dict[str, pd.DataFrame]) -> pd.DataFrame:
    first = frames["orders"]["order_id"].max() + 1
    return (
        frames["orders"]
        .head(5)
        .assign(customer_id=customer, placed=pd.Timestamp(placed), order_id=np.arange(first, first + 5))
    )


def test_an_entity_without_history_and_one_that_does_not_exist(runs, frames):
    alone = {**frames, "customers": pd.concat([frames["customers"], pd.DataFrame({"customer_id": ["new"]})])}
    db = open_tables(alone)
    found = runs["gbdt"].predict(db, at="2021-11-15", entities=["new", "c003"])
    assert found["pkey"].tolist() == ["c003", "new"]
    assert found["prediction"].between(0, 1).all()
    with pytest.raises(Exception, match="1 of 1 keys to predict for name no row of 'customers' that is used"):
        runs["gbdt"].predict(db, at="2021-11-15", entities=["nobody"])


def test_warm_runs_say_the_same(runs, frames):
    run, db = load(runs["gbdt"].folder), open_tables(frames)
    before = run.predict(db, at="2021-11-15", entities=["c003", "c005"])
    run.warm(db)
    pd.testing.assert_frame_equal(run.predict(at="2021-11-15", entities=["c003", "c005"]), before)
    pd.testing.assert_frame_equal(run.predict(at="2021-11-15"), runs["gbdt"].predict(db, at="2021-11-15"))


@pytest.mark.parametrize("task_type", TYPES[1:])
def test_trees_of_each_task_type(frames, tmp_path, task_type):
    db = open_tables(frames)
    run = train_fast(db, make_task(db, frames, task_type), tmp_path / "run", model="gbdt", max_features=20)
    table = run.compare("test").set_index("model")
    assert np.isfinite(table.iloc[0, 0])
    assert len(run.predict_split("test")) == len(run.task.labels("test"))


def test_labels_that_are_all_alike_give_a_constant(frames, tmp_path):
    given = labels(frames).assign(y=1.0)
    db = open_tables(frames)
    run = train_fast(db, make_task(db, frames, "regression", labels=given), tmp_path / "run", model="auto")
    assert (run.kind, run.meta["choice"]["why"]) == ("constant", "all labels of train are alike")
    assert (run.predict(at="2021-11-15")["prediction"] == 1).all()


def test_no_features(frames, tmp_path):
    db = open_tables(frames)
    task = make_task(db, frames)
    with pytest.raises(UsageError, match=r"trees need features, and --max-features 0 leaves none"):
        train_fast(db, task, tmp_path / "run", model="gbdt", max_features=0)
    run = train_fast(db, task, tmp_path / "run", model="auto", max_features=0)
    assert run.kind in ("gnn", "constant")
    assert "gbdt" not in run.meta["choice"]["scores"]
    with pytest.raises(UsageError, match=r"'max_features' must be >= 0, got -1"):
        train_fast(db, task, tmp_path / "other", max_features=-1)


def test_the_age_that_is_asked_for(frames, tmp_path):
    db = open_tables(frames)
    settings = {"model": "gbdt", "max_features": 10}
    run = train_fast(db, make_task(db, frames), tmp_path / "a", max_age="60 days", **settings)
    assert run.meta["choice"]["max_age"] == run.meta["max_age"] == 60 * 86_400_000_000
    none = train_fast(db, make_task(db, frames), tmp_path / "b", max_age=0, **settings)
    assert none.meta["choice"]["max_age"] == 0
    with pytest.raises(UsageError, match="'max_age' must be a duration such as '30 days'"):
        train_fast(db, make_task(db, frames), tmp_path / "c", max_age="old", **settings)


def test_no_time_for_a_network(frames, tmp_path):
    db = open_tables(frames)
    run = train_fast(db, make_task(db, frames), tmp_path / "run", model="auto", max_features=10, max_minutes=0)
    assert (run.kind, run.meta["choice"]["why"]) == ("gbdt", "there was no time left to try a network")


def test_an_interrupted_choice_goes_on(runs, frames, tmp_path):
    db, out = open_tables(frames), tmp_path / "run"
    settings = {"model": "fused", "max_features": 30}

    def stop(record):
        if record.get("refit"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match=r"keeps the training up to its last whole epoch; go on with --resume"):
        train_fast(db, make_task(db, frames), out, on_epoch=stop, **settings)
    assert not out.exists()
    resumed = train_fast(db, make_task(db, frames), out, resume=True, **settings)
    assert resumed.id == runs["fused"].id
    assert resumed.meta["choice"] == runs["fused"].meta["choice"]


def test_nothing_to_resume(frames, tmp_path):
    db = open_tables(frames)
    with pytest.raises(RunError, match="there is no interrupted training to go on with"):
        train_fast(db, make_task(db, frames), tmp_path / "run", model="auto", resume=True)


def test_trees_that_are_missing(runs, tmp_path):
    import shutil

    copy = Path(shutil.copytree(runs["gbdt"].folder, tmp_path / "copy"))
    (copy / "trees-1-0.txt").unlink()
    with pytest.raises(RunError, match=r"trees-1-0.txt is missing"):
        load(copy)
