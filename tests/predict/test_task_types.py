"""Every kind of task, from labels to predictions on the little shop."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from little_shop import TEST, VAL, labels, make_task, open_tables, schema, tables, train_fast

from graphlearn.errors import TaskError
from graphlearn.predict import load
from graphlearn.tasks import Task
from graphlearn.tasks.metrics import metrics_for

TYPES = ["binary_classification", "regression", "multiclass_classification", "multilabel_classification"]


@pytest.mark.parametrize("regime", ["frozen", "rolling"])
@pytest.mark.parametrize("task_type", TYPES)
def test_own_labels_end_to_end(task_type, regime, tmp_path):
    frames = tables()
    db = open_tables(frames)
    task = make_task(db, frames, task_type)
    run = train_fast(db, task, tmp_path / "run", regime=regime)

    scored = run.evaluate("test")
    assert scored["regime"] == regime
    assert scored["rows"] == len(task.labels("test"))
    assert all(np.isfinite(scored[name]) for name in metrics_for(task_type))
    assert scored["low"] <= scored[metrics_for(task_type)[0]] <= scored["high"]

    table = run.compare("test")
    assert list(table["model"]) == ["this run", "constant", "entity's past labels", "lightgbm, entity's columns"]
    assert set(table["regime"]) == {regime}
    assert np.isfinite(table[metrics_for(task_type)[0]]).all()

    predicted = run.predict(at="2021-11-15")
    assert len(predicted) == (~(frames["customers"]["joined"] > "2021-11-15")).sum()
    assert (predicted["seed_time"] == pd.Timestamp("2021-11-15")).all()
    assert predicted["pkey"].is_monotonic_increasing
    if task_type == "multiclass_classification":
        classes = [name for name in predicted if name.startswith("p(")]
        np.testing.assert_allclose(predicted[classes].sum(axis=1), 1.0, rtol=1e-5)
        likeliest = predicted[classes].to_numpy().argmax(axis=1)
        assert predicted["prediction"].tolist() == [classes[i][2:-1] for i in likeliest]
    elif task_type == "multilabel_classification":
        assert list(predicted) == ["pkey", "seed_time", "p(desk)", "p(phone)", "p(web)"]
    else:
        assert predicted["prediction"].between(0, 1 if task_type == "binary_classification" else 1e4).all()


def test_a_class_that_train_did_not_have(tmp_path):
    frames = tables()
    db = open_tables(frames)
    rows = labels(frames, "multiclass_classification")
    rows.loc[(rows["as_of"] >= VAL) & (rows.index % 7 == 0), "y"] = "fax"
    task = make_task(db, frames, "multiclass_classification", labels=rows)
    run = train_fast(db, task, tmp_path / "run")
    assert "fax" not in run.task.classes
    for split in ("val", "test"):
        table = run.compare(split)
        share = (task.labels(split)["label"] == "fax").mean()
        assert (table["accuracy"] <= 1 - share + 1e-9).all()
        assert np.isfinite(table["log_loss"]).all()
    assert "p(fax)" not in run.predict()


def test_autocomplete_hides_the_column_and_predicts_each_row_at_its_own_time(tmp_path):
    frames = tables()
    frames["orders"].loc[::5, "kind"] = None
    db = open_tables(frames)
    manifest = {
        "name": "kind",
        "kind": "autocomplete",
        "task_type": "multiclass_classification",
        "entity_table": "orders",
        "target_col": "kind",
    }
    task = Task(db, manifest, val_timestamp=VAL, test_timestamp=TEST)
    run = train_fast(db, task, tmp_path / "run")
    assert "kind" not in run.graph(db)["orders"].col_stats
    assert (
        run.evaluate("test")["rows"] == (frames["orders"]["kind"].notna() & (frames["orders"]["placed"] > TEST)).sum()
    )
    predicted = run.predict(entities=["5", "1", "6"])
    own = frames["orders"].set_index("order_id")["placed"]
    assert predicted["seed_time"].tolist() == own.loc[predicted["pkey"]].tolist()
    assert predicted["seed_time"].is_monotonic_increasing
    assert len(run.predict()) == len(frames["orders"])
    with pytest.raises(ValueError, match=r"task 'kind' completes a column at each row's own time: leave 'at' out"):
        run.predict(at="2021-11-15")


def test_rows_to_complete_need_a_time(tmp_path):
    frames = tables()
    db = open_tables(frames)
    manifest = {
        "name": "city",
        "kind": "autocomplete",
        "task_type": "multiclass_classification",
        "entity_table": "customers",
        "target_col": "city",
    }
    run = train_fast(db, Task(db, manifest, val_timestamp=VAL, test_timestamp=TEST), tmp_path / "run")
    people = frames["customers"]
    assert len(run.predict()) == people["joined"].notna().sum()
    undated = people["customer_id"][people["joined"].isna()].tolist()
    with pytest.raises(ValueError, match=rf"1 rows to complete have no time \(first: {undated[0]}\). Leave them out"):
        run.predict(entities=[people["customer_id"][people["joined"].notna()].iloc[0], undated[0]])


def test_forecast_regenerates_its_labels_from_a_moved_run(tmp_path):
    frames = tables()
    db = open_tables(frames)
    manifest = {
        "name": "spend",
        "kind": "forecast",
        "task_type": "regression",
        "entity_table": "customers",
        "entity_col": "customer_id",
        "target_col": "spend",
        "time_col": "as_of",
        "timedelta": "30 days",
        "num_eval_timestamps": 2,
        "sql": "SELECT t.timestamp AS as_of, o.customer_id, sum(o.amount) AS spend FROM timestamps t JOIN orders o "
        "ON o.placed > t.timestamp AND o.placed <= t.timestamp + INTERVAL '{timedelta}' GROUP BY ALL",
    }
    task = Task(db, manifest, val_timestamp=VAL, test_timestamp=TEST)
    run = train_fast(db, task, tmp_path / "run")
    before = run.evaluate("test")
    assert not (tmp_path / "run" / "task").exists()
    (tmp_path / "run").rename(tmp_path / "moved")
    assert load(tmp_path / "moved").evaluate("test", db) == before


def test_own_labels_travel_with_the_run(tmp_path):
    frames = tables()
    db = open_tables(frames)
    run = train_fast(db, make_task(db, frames), tmp_path / "run")
    before = run.evaluate("test")
    assert sorted(p.name for p in (tmp_path / "run" / "task").iterdir()) == [
        "manifest.yaml",
        "test.parquet",
        "train.parquet",
        "val.parquet",
    ]
    (tmp_path / "run").rename(tmp_path / "moved")
    moved = load(tmp_path / "moved")
    assert moved.evaluate("test", open_tables(frames)) == before
    with pytest.raises(
        ValueError, match=r"the source of this run, 4 tables in memory, is not there: name the database"
    ):
        moved.evaluate("test")


@pytest.mark.parametrize("task_type", TYPES)
def test_fewer_seeds_than_a_batch(task_type, tmp_path):
    frames = tables()
    db = open_tables(frames)
    rows = labels(frames, task_type)
    rows = pd.concat([part.head(9) for _, part in rows.groupby("as_of")])
    run = train_fast(db, make_task(db, frames, task_type, labels=rows), tmp_path / "run")
    assert run.evaluate("test")["rows"] <= 9 * 3


def test_validation_of_one_class_keeps_the_last_epoch(tmp_path):
    frames = tables()
    db = open_tables(frames)
    rows = labels(frames)
    rows.loc[(rows["as_of"] >= VAL) & (rows["as_of"] < TEST), "y"] = 1
    run = train_fast(db, make_task(db, frames, labels=rows), tmp_path / "run")
    assert run.meta["metrics"]["best_epoch"] == 2
    assert run.meta["metrics"]["val"] is None
    scored = run.evaluate("val")
    assert np.isnan(scored["auroc"])
    assert np.isnan(scored["low"])
    assert run.compare("val")["auroc"].isna().all()


def test_empty_splits_are_named(tmp_path):
    frames = tables()
    db = open_tables(frames)
    rows = labels(frames)
    before_test = rows[rows["as_of"] < TEST]
    run = train_fast(db, make_task(db, frames, labels=before_test), tmp_path / "run")
    with pytest.raises(TaskError, match=r"task 'again': the test split is empty: the labels of the training had none"):
        run.evaluate("test")
    without_val = rows[(rows["as_of"] < VAL) | (rows["as_of"] >= TEST)]
    with pytest.raises(TaskError, match=r"task 'again', val: the val split is empty: it has no labels. Check 'val_t"):
        train_fast(db, make_task(db, frames, labels=without_val), tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_labels_without_any_class(tmp_path):
    frames = tables()
    db = open_tables(frames)
    rows = labels(frames, "multilabel_classification")
    rows["y"] = [[] for _ in range(len(rows))]
    with pytest.raises(TaskError, match=r"task 'again'"):
        train_fast(db, make_task(db, frames, "multilabel_classification", labels=rows), tmp_path / "run")


def test_test_labels_that_cannot_be_kept_are_refused_before_the_training(tmp_path):
    frames = tables()
    db = open_tables(frames)
    rows = labels(frames)
    rows["y"] = rows["y"].astype(float)
    rows.loc[rows.index[-1], "y"] = np.nan
    seen = []
    with pytest.raises(TaskError, match=r"task 'again', test: 1 of \d+ labels are NULL"):
        train_fast(db, make_task(db, frames, labels=rows), tmp_path / "run", on_epoch=seen.append)
    assert not seen


def test_one_class_in_train(tmp_path):
    frames = tables()
    db = open_tables(frames)
    rows = labels(frames)
    rows.loc[rows["as_of"] < VAL, "y"] = 0
    with pytest.raises(TaskError, match=r"task 'again', train: all \d+ labels are 0; a classifier needs at least two"):
        train_fast(db, make_task(db, frames, labels=rows), tmp_path / "run")
    assert not list(tmp_path.iterdir())


def test_the_schema_has_what_the_issue_names():
    """Text keys, NULL times, a column of nothing and infinities are in the shop of all these tests."""
    people = tables()["customers"]
    assert people["joined"].isna().any()
    assert people["nothing"].isna().all()
    assert np.isinf(people["score"]).any()
    assert people["customer_id"].map(type).eq(str).all()
    assert schema()["customers"].null_time == "keep"
    assert (people["joined"] > TEST).any()  # entities that appear only after the cut
