"""Baselines: values worked by hand, a slow twin of past labels, and what they may not know."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_frame import TensorFrame, stype

from graphlearn.models.baselines import Labels, constant, entity_columns, entity_past, feature_matrix

TYPES = ["binary_classification", "regression", "multiclass_classification", "multilabel_classification"]


def values(task_type: str, size: int, rng: np.random.Generator) -> np.ndarray:
    if task_type == "binary_classification":
        return rng.integers(0, 2, size)
    if task_type == "regression":
        return rng.normal(size=size)
    if task_type == "multiclass_classification":
        return rng.integers(-1, 3, size)  # -1: a class that train did not have
    return rng.integers(0, 2, (size, 3)).astype(np.float32)


def classes_of(task_type: str) -> int:
    return 3 if "multi" in task_type else 1


def test_constants_by_hand():
    assert constant("regression", np.array([1.0, 5.0, 100.0]), 2).tolist() == [5.0, 5.0]
    assert constant("binary_classification", np.array([1, 0, 0, 0]), 2).tolist() == [0.25, 0.25]
    shares = constant("multiclass_classification", np.array([0, 2, 2, 2]), 2, num_classes=3)
    assert shares.tolist() == [[0.25, 0.0, 0.75]] * 2
    hot = np.array([[1, 0], [1, 1]])
    assert constant("multilabel_classification", hot, 1, num_classes=2).tolist() == [[1.0, 0.5]]


def test_past_labels_by_hand():
    past = Labels(np.array([7, 7, 7, 8]), np.array([10, 20, 30, 10]), np.array([1.0, 3.0, 99.0, 4.0]))
    entity, time = np.array([7, 7, 7, 8, 9]), np.array([9, 10, 29, 10, 99])
    found = entity_past("regression", past, entity, time, fallback=np.full(5, -1.0))
    assert found.tolist() == [-1.0, 1.0, 2.0, 4.0, -1.0]  # not before its window is over; a stranger is the constant


@pytest.mark.parametrize("task_type", TYPES)
@given(seed=st.integers(0, 10_000), size=st.integers(0, 30), rows=st.integers(1, 10))
@settings(max_examples=40, deadline=None)
def test_past_labels_against_a_slow_twin(task_type, seed, size, rows):
    rng = np.random.default_rng(seed)
    classes = classes_of(task_type)
    past = Labels(rng.integers(0, 4, size), rng.integers(-5, 5, size), values(task_type, size, rng))
    entity, time = rng.integers(0, 5, rows), rng.integers(-6, 6, rows)
    fallback = rng.random((rows, classes) if classes > 1 else rows)
    found = entity_past(task_type, past, entity, time, fallback=fallback, num_classes=classes)
    for i in range(rows):
        known = [
            past.value[j]
            for j in range(size)
            if past.entity[j] == entity[i]
            and past.known_from[j] <= time[i]
            and (task_type != "multiclass_classification" or past.value[j] >= 0)
        ]
        if task_type == "multiclass_classification":
            known = [np.eye(3)[value] for value in known]
        expected = np.mean(known, axis=0, dtype=np.float64) if known else fallback[i]
        np.testing.assert_allclose(found[i], expected, rtol=1e-9, atol=1e-12)


@given(seed=st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_later_labels_change_nothing(seed):
    rng = np.random.default_rng(seed)
    past = Labels(rng.integers(0, 4, 20), rng.integers(0, 10, 20), rng.random(20))
    entity, time, fallback = rng.integers(0, 4, 8), rng.integers(0, 10, 8), rng.random(8)
    later = Labels(
        np.concatenate([past.entity, rng.integers(0, 4, 9)]),
        np.concatenate([past.known_from, time.max() + 1 + rng.integers(0, 9, 9)]),
        np.concatenate([past.value, rng.random(9) * 1e6]),
    )
    before, after = (entity_past("regression", p, entity, time, fallback=fallback) for p in (past, later))
    np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("task_type", TYPES)
def test_trees_learn_a_column_that_says_it_all(task_type):
    rng = np.random.default_rng(0)
    rows = rng.random((400, 3)).astype(np.float32)
    rows[::7, 1] = np.nan
    which = (rows[:, 0] * 3).astype(int)
    label = {
        "binary_classification": which > 0,
        "regression": 10.0 * which,
        "multiclass_classification": which,
        "multilabel_classification": np.eye(3)[which],
    }[task_type].astype(np.float64 if task_type == "regression" else np.int64)
    found = entity_columns(
        task_type,
        (rows[:200], label[:200]),
        (rows[200:300], label[200:300]),
        rows[300:],
        num_classes=classes_of(task_type),
    )
    if "multi" in task_type:
        assert (found.argmax(axis=1) == which[300:]).mean() > 0.95
    elif task_type == "regression":
        assert np.abs(found - label[300:]).mean() < 2.0
    else:
        assert ((found > 0.5) == label[300:]).mean() > 0.95
    again = entity_columns(
        task_type,
        (rows[:200], label[:200]),
        (rows[200:300], label[200:300]),
        rows[300:],
        num_classes=classes_of(task_type),
    )
    np.testing.assert_array_equal(found, again)


def test_trees_where_there_is_nothing_to_learn():
    rows = np.random.default_rng(0).random((50, 2)).astype(np.float32)
    one = np.ones(40)
    found = entity_columns("binary_classification", (rows[:40], one), (rows[40:], one[:10]), rows[40:])
    assert found.tolist() == [1.0] * 10
    none = (rows[:0], np.zeros(0))
    label = (rows[:40, 0] > 0.5).astype(int)
    assert entity_columns("binary_classification", (rows[:40], label), none, rows[40:]).shape == (10,)
    unseen = np.full(10, -1)
    three = np.arange(40) % 3
    found = entity_columns(
        "multiclass_classification", (rows[:40], three), (rows[40:], unseen), rows[40:], num_classes=3
    )
    assert found.shape == (10, 3)


def test_the_matrix_of_a_table():
    names = {stype.numerical: ["x"], stype.categorical: ["kind"], stype.timestamp: ["made"]}
    feats = {
        stype.numerical: torch.tensor([[0.5], [torch.nan]]),
        stype.categorical: torch.tensor([[2], [-1]], dtype=torch.int32),
        stype.timestamp: torch.tensor([[[2001, 1, 2, 3, 4, 5, 6]], [[-1] * 7]], dtype=torch.int16),
    }
    found = feature_matrix(TensorFrame(feats, names))
    np.testing.assert_array_equal(
        found, [[0, 0.5, 2, 2001, 1, 2, 3, 4, 5, 6], [0, np.nan, -1, -1, -1, -1, -1, -1, -1, -1]]
    )
    assert feature_matrix(TensorFrame(feats, names)[torch.tensor([], dtype=torch.int64)]).shape == (0, 10)
