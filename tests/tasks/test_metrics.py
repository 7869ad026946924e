"""Metrics against scikit-learn and by hand, and bootstrap intervals against resampling row by row."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics as skm
from hypothesis import given, settings
from hypothesis import strategies as st

from graphlearn.errors import UnknownNameError, UsageError
from graphlearn.schema import Database
from graphlearn.tasks import Task, TaskType
from graphlearn.tasks.metrics import METRICS, bootstrap, metrics_for, primary_metric, score
from graphlearn.tasks.resample import weighted

CASES = [(kind, metric) for kind in METRICS for metric in METRICS[kind]]


def make(kind: TaskType, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels and predictions with many ties; multiclass has labels that train did not have."""
    rng = np.random.default_rng(seed)
    if kind is TaskType.BINARY:
        return rng.integers(0, 2, n), rng.integers(0, 9, n) / 8
    if kind is TaskType.REGRESSION:
        return rng.normal(1e6, 3.0, n), rng.normal(1e6, 3.0, n)
    if kind is TaskType.MULTICLASS:
        scores = rng.integers(1, 5, (n, 4)).astype(float)
        return rng.integers(-1, 4, n), scores / scores.sum(axis=1, keepdims=True)
    if kind is TaskType.MULTISTEP:
        return rng.normal(1e3, 3.0, (n, 3)), rng.normal(1e3, 3.0, (n, 3))
    return rng.integers(0, 2, (n, 3)).astype(np.float32), rng.integers(0, 9, (n, 3)) / 8


def test_the_primary_metric_is_the_first():
    assert [primary_metric(kind) for kind in METRICS] == [
        ("auroc", True), ("mae", False), ("accuracy", True), ("macro_auprc", True), ("mae", False),
    ]  # fmt: skip
    assert metrics_for("binary_classification") == ("auroc", "average_precision", "accuracy", "f1")
    with pytest.raises(UnknownNameError, match=r"no task type 'classification'. Did you mean"):
        metrics_for("classification")


def test_binary_by_hand():
    got = score("binary_classification", [0, 0, 1, 1], np.array([0.1, 0.6, 0.6, 0.9]))
    # pairs in order: 2 of (0.1, *), the tie counts half, (0.6, 0.9); hard labels 0 1 1 1
    assert got == pytest.approx({"auroc": 3.5 / 4, "average_precision": 0.5 + 0.5 * 2 / 3, "accuracy": 0.75, "f1": 0.8})
    assert score("binary_classification", [0, 1], np.array([[0.1], [0.9]]))["auroc"] == 1.0


def test_regression_by_hand():
    got = score("regression", [1.0, 2.0, 6.0], np.array([1.0, 4.0, 5.0]))
    assert got == pytest.approx({"mae": 1.0, "rmse": (5 / 3) ** 0.5, "r2": 1 - 5 / 14})


def test_multiclass_by_hand():
    pred = np.array([[0.7, 0.2, 0.1], [0.4, 0.4, 0.2], [0.1, 0.3, 0.6]])
    got = score("multiclass_classification", ["a", "b", "new"], pred, classes=["a", "b", "c"])
    # row 2: 'a' and 'b' share ranks 1 and 2; row 3 has a class without a column
    assert got["mrr"] == pytest.approx((1 + 1 / 1.5 + 0) / 3)
    assert got["accuracy"] == pytest.approx(1 / 3)
    assert got["log_loss"] == pytest.approx(-(np.log(0.7) + np.log(0.4)) / 2)
    assert got["macro_f1"] == pytest.approx((2 / 3) / 4)  # of a, b, c and the unknown class only 'a' is ever right


def test_multilabel_by_hand():
    true = np.array([[1, 0, 1], [0, 0, 1], [1, 0, 1]])
    pred = np.array([[0.9, 0.8, 0.4], [0.1, 0.2, 0.9], [0.8, 0.3, 0.9]])
    got = score("multilabel_classification", true, pred)
    # the second class has no positive, the third no negative row
    assert got == pytest.approx({"macro_auprc": 1.0, "macro_auroc": 1.0, "macro_f1": (1 + 0 + 0.8) / 3})


def test_several_steps_by_hand():
    got = score("multistep_regression", [[1.0, 0.0], [3.0, 4.0]], np.array([[1.0, 1.0], [2.0, 1.0]]))
    assert got == pytest.approx(
        {"mae": 1.25, "rmse": (0.5**0.5 + 5**0.5) / 2, "r2": (0.5 - 0.25) / 2, "mae_1": 0.5, "mae_2": 2.0}
    )
    with pytest.raises(UsageError, match=r"predictions of multistep_regression must have shape \[2, steps\]"):
        score("multistep_regression", [[1.0, 0.0], [3.0, 4.0]], np.ones((2, 3)))


def test_the_reference_points_of_driver_position(f1: Database):
    task = Task(f1, "driver-position")
    (train, _), (test, _) = task.targets("train"), task.targets("test")
    assert score("regression", test, np.full(len(test), train.mean()))["mae"] == pytest.approx(4.5506, abs=5e-5)
    assert score("regression", test, np.full(len(test), np.median(train)))["mae"] == pytest.approx(4.4447, abs=5e-5)


def test_a_metric_without_a_value_is_nan():
    assert np.isnan(score("binary_classification", [1, 1], np.array([0.2, 0.7]))["auroc"])
    assert np.isnan(score("binary_classification", [0, 0], np.array([0.2, 0.7]))["average_precision"])
    assert np.isnan(score("regression", [3.0, 3.0], np.array([1.0, 2.0]))["r2"])
    assert np.isnan(score("multiclass_classification", [-1, -1], np.full((2, 3), 1 / 3))["log_loss"])
    nothing = score("multilabel_classification", np.zeros((2, 2)), np.full((2, 2), 0.1))
    assert np.isnan(nothing["macro_auprc"])
    assert np.isnan(nothing["macro_auroc"])


@pytest.mark.parametrize(("kind", "metric"), CASES)
@settings(max_examples=12, deadline=None)
@given(st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_weights_are_repeated_rows(kind: TaskType, metric: str, n: int, seed: int):
    true, pred = make(kind, n, seed)
    times = np.random.default_rng(seed + 1).integers(0, 3, (3, n))
    times[:, 0] = 1  # at least one row
    fast = weighted(kind, metric, true, pred)(times.astype(float))
    slow = [score(kind, np.repeat(true, t, axis=0), np.repeat(pred, t, axis=0))[metric] for t in times]
    np.testing.assert_allclose(fast, slow, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(("kind", "metric"), [(TaskType.BINARY, "auroc"), (TaskType.REGRESSION, "mae")])
def test_the_interval_is_that_of_resampling_row_by_row(kind: TaskType, metric: str):
    true, pred = make(kind, 60, 5)
    low, high = bootstrap(kind, true, pred, metric=metric, seed=3, repeats=300)
    rng = np.random.default_rng(11)
    rows = rng.integers(60, size=(300, 60))
    slow = np.array([score(kind, true[r], pred[r])[metric] for r in rows])
    spread = np.nanquantile(slow, 0.975) - np.nanquantile(slow, 0.025)
    assert low == pytest.approx(np.nanquantile(slow, 0.025), abs=0.25 * spread)
    assert high == pytest.approx(np.nanquantile(slow, 0.975), abs=0.25 * spread)
    assert low <= score(kind, true, pred)[metric] <= high


def test_the_interval_holds_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    inside = 0
    for seed in range(150):
        error = rng.laplace(0.0, 1.0, 80)
        low, high = bootstrap("regression", error, np.zeros(80), metric="mae", seed=seed, repeats=200)
        inside += low <= 1.0 <= high  # the mean absolute value of this distribution
    assert 0.88 <= inside / 150 <= 0.99


def test_rows_of_one_entity_stay_together():
    rng = np.random.default_rng(0)
    entity = np.repeat(rng.permutation(50), 8)
    error = np.abs(rng.normal(size=50))[entity]  # all rows of an entity are alike
    rows = bootstrap("regression", error, np.zeros(400), metric="mae", seed=1)
    groups = bootstrap("regression", error, np.zeros(400), metric="mae", seed=1, groups=entity)
    assert groups.high - groups.low > 2 * (rows.high - rows.low)
    names = np.array([f"driver {e}" for e in entity])
    alone = bootstrap("regression", error, np.zeros(400), metric="mae", seed=1, groups=names)
    assert alone.high - alone.low == pytest.approx(groups.high - groups.low, rel=0.2)
    each = bootstrap("regression", error, np.zeros(400), metric="mae", seed=1, groups=np.arange(400))
    assert each == rows


def test_same_seed_same_interval_whatever_the_chunks(monkeypatch: pytest.MonkeyPatch):
    true, pred = make(TaskType.BINARY, 100, 0)
    first = bootstrap("binary_classification", true, pred, metric="auroc", seed=7)
    assert bootstrap("binary_classification", true, pred, metric="auroc", seed=7) == first
    assert bootstrap("binary_classification", true, pred, metric="auroc", seed=8) != first
    monkeypatch.setattr("graphlearn.tasks.metrics.CHUNK", 700)
    assert bootstrap("binary_classification", true, pred, metric="auroc", seed=7) == first


def test_resamples_without_a_value_are_dropped_and_counted():
    true, pred = np.array([1, 0, 0, 0, 0]), np.array([0.9, 0.1, 0.2, 0.3, 0.4])
    interval = bootstrap("binary_classification", true, pred, metric="auroc", seed=0)
    assert (interval.low, interval.high) == (1.0, 1.0)
    assert interval.dropped == pytest.approx(1000 * 0.8**5, abs=60)  # the one positive row was not drawn
    with pytest.raises(UsageError, match=r"auroc has no value in any of 1000 resamples: the labels hold one class"):
        bootstrap("binary_classification", np.ones(5), pred, metric="auroc", seed=0)


def test_the_auroc_interval_is_near_the_normal_one():
    rng = np.random.default_rng(1)
    true = rng.integers(0, 2, 800)
    pred = true + rng.normal(0.0, 1.5, 800)
    area = skm.roc_auc_score(true, pred)
    low, high = bootstrap("binary_classification", true, pred, metric="auroc", seed=0)
    # Hanley and McNeil 1982: variance of the area under the curve from its value and the class counts.
    pos, neg = true.sum(), 800 - true.sum()
    q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
    var = (area * (1 - area) + (pos - 1) * (q1 - area**2) + (neg - 1) * (q2 - area**2)) / (pos * neg)
    assert high - low == pytest.approx(2 * 1.96 * var**0.5, rel=0.15)


@pytest.mark.parametrize(
    ("kind", "true", "pred", "says"),
    [
        ("regression", [1.0, 2.0], [0.5, np.nan], r"1 of 2 predictions are NaN or infinite \(first rows: 1\)"),
        ("regression", [1.0, 2.0], [np.inf, np.nan], r"2 of 2 predictions are NaN or infinite \(first rows: 0, 1\)"),
        ("regression", [1.0, 2.0], [1.0], r"predictions of regression must have shape \[2\], got \[1\]"),
        ("regression", [], [], r"there are no predictions to score"),
        ("binary_classification", [0, 1], [[0.1, 0.9]] * 2, r"must have shape \[2\], got \[2, 2\]"),
        ("multiclass_classification", [0, 1], [0.1, 0.9], r"must have shape \[2, classes\], got \[2\]"),
        ("multiclass_classification", [0, 3], np.full((2, 3), 1 / 3), r"class index 3 has no column in predictions"),
        (
            "multilabel_classification",
            np.ones((2, 3)),
            np.ones((2, 4)),
            r"must have shape \[2, classes\], got \[2, 4\]",
        ),
    ],
)
def test_predictions_that_cannot_be_scored(kind: str, true: list, pred: list, says: str):
    with pytest.raises(UsageError, match=says):
        score(kind, true, np.asarray(pred))
    with pytest.raises(UsageError, match=says):
        bootstrap(kind, true, np.asarray(pred), metric=metrics_for(kind)[0], seed=0)


def test_wrong_arguments_of_bootstrap():
    true, pred = make(TaskType.BINARY, 9, 0)
    with pytest.raises(UnknownNameError, match=r"no metric of binary_classification 'auc'. Did you mean 'auroc'"):
        bootstrap("binary_classification", true, pred, metric="auc", seed=0)
    with pytest.raises(UsageError, match=r"'groups' must have one value for each of the 9 rows, got 3"):
        bootstrap("binary_classification", true, pred, metric="auroc", seed=0, groups=np.arange(3))
    with pytest.raises(UsageError, match=r"'repeats' must be >= 1 and 'level' between 0 and 1, got 0 and 0.95"):
        bootstrap("binary_classification", true, pred, metric="auroc", seed=0, repeats=0)


def test_inputs_are_not_changed():
    true, pred = make(TaskType.MULTICLASS, 20, 0)
    copies = true.copy(), pred.copy()
    score("multiclass_classification", true, pred)
    bootstrap("multiclass_classification", true, pred, metric="mrr", seed=0, groups=pd.Series(range(20)).to_numpy())
    np.testing.assert_array_equal(true, copies[0])
    np.testing.assert_array_equal(pred, copies[1])
