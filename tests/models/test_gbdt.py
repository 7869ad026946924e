"""Trees of each task type: they learn, repeat themselves, and come back from disk as they were."""

from __future__ import annotations

import numpy as np
import pytest

from graphlearn.errors import RunError
from graphlearn.models.gbdt import TreeConfig, Trees, mean_prediction

CONFIG = TreeConfig(num_leaves=4, min_rows=5, feature_fraction=1.0, num_threads=1)
TYPES = {
    "binary_classification": 1,
    "multiclass_classification": 3,
    "multilabel_classification": 2,
    "regression": 1,
    "multistep_regression": 2,
}


def data(task_type: str, size: int = 200, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Features of which the first decides; the second holds codes, the third is often missing."""
    rng = np.random.default_rng(seed)
    x = np.stack([rng.normal(size=size), rng.integers(0, 3, size), rng.normal(size=size)], axis=1).astype(np.float32)
    x[rng.random(size) < 0.5, 2] = np.nan
    first = x[:, 0].astype(np.float64)
    return x, {
        "binary_classification": (first > 0).astype(np.int64),
        "multiclass_classification": np.digitize(first, [-0.5, 0.5]),
        "multilabel_classification": np.stack([first > 0, first < 1], axis=1).astype(np.float32),
        "regression": first,
        "multistep_regression": np.stack([first, -first], axis=1),
    }[task_type]


def fitted(task_type: str, **kwargs) -> Trees:
    settings = {"rounds": 30, "seed": 0, "num_classes": TYPES[task_type], "categorical": (False, True, False)}
    return Trees.fit(task_type, data(task_type), CONFIG, **{**settings, **kwargs})


@pytest.mark.parametrize("task_type", TYPES)
def test_each_task_type(task_type, tmp_path):
    trees, (x, y) = fitted(task_type), data(task_type, seed=1)
    said = trees.predict(x)
    assert said.shape == ((len(x), TYPES[task_type]) if "multi" in task_type else (len(x),))
    if task_type == "multiclass_classification":
        np.testing.assert_allclose(said.sum(axis=1), 1.0)
        assert (said.argmax(axis=1) == y).mean() > 0.9
    else:
        assert np.abs(said - y).mean() < 0.35
    np.testing.assert_array_equal(fitted(task_type).predict(x), said)  # the same seed
    assert not np.array_equal(fitted(task_type, seed=1).predict(x), said)
    trees.save(tmp_path, 7)
    np.testing.assert_array_equal(Trees.load(tmp_path, 7, task_type).predict(x), said)
    assert trees.predict(x[:0]).shape == said[:0].shape


def test_the_curve_is_what_each_round_scores():
    x, y = data("regression", seed=1)
    trees = fitted("regression", evaluate=(x, y))
    assert len(trees.curve) == 30
    assert trees.curve[9] == pytest.approx(-np.abs(trees.predict(x, rounds=10) - y).mean())
    assert trees.curve[-1] > trees.curve[0]  # higher is better, whatever the metric


def test_a_class_that_train_did_not_have_is_left_out():
    x, y = data("multiclass_classification")
    with_unknown = np.concatenate([x, x[:5]]), np.concatenate([y, np.full(5, -1)])
    trees = Trees.fit("multiclass_classification", with_unknown, CONFIG, rounds=5, seed=0, num_classes=3)
    alone = Trees.fit("multiclass_classification", (x, y), CONFIG, rounds=5, seed=0, num_classes=3)
    np.testing.assert_array_equal(trees.predict(x), alone.predict(x))


def test_one_class_to_evaluate_on_has_a_curve_all_the_same():
    x, y = data("binary_classification")
    trees = fitted("binary_classification", evaluate=(x[y == 1], y[y == 1]))
    assert np.isfinite(trees.curve).all()
    assert trees.curve[-1] > trees.curve[0]


def test_the_mean_of_several():
    parts, x = [fitted("regression", seed=seed) for seed in range(3)], data("regression")[0]
    np.testing.assert_allclose(mean_prediction(parts, x), np.mean([part.predict(x) for part in parts], axis=0))


def test_files_that_are_missing_or_broken(tmp_path):
    with pytest.raises(RunError, match=r"trees-0-0.txt is missing. Train again, or restore it"):
        Trees.load(tmp_path, 0, "regression")
    (tmp_path / "trees-0-0.txt").write_text("no trees")
    with pytest.raises(RunError, match=r"trees-0-0.txt cannot be read: "):
        Trees.load(tmp_path, 0, "regression")


def test_settings_are_checked():
    with pytest.raises(ValueError, match="'num_leaves' must be > 0"):
        TreeConfig(num_leaves=1)
