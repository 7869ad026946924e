"""Rolling-origin folds: no label of a fold's future, whatever the anchors."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from graphlearn.training.folds import rolling_origin

anchors = st.lists(st.integers(0, 60), min_size=1, max_size=80)


def folds_of(times: np.ndarray, window: int, span: int, newest: int, most: int = 4):
    return rolling_origin(times, window=window, span=span, newest=newest, most=most)


@given(anchors, st.integers(1, 12), st.integers(0, 20), st.integers(1, 60), st.integers(1, 6))
def test_no_fold_sees_its_own_future(seeds, window, span, newest, most):
    times = np.array(seeds, dtype=np.int64)
    folds = folds_of(times, window, span, newest, most)
    assert len(folds) <= most
    seen: set[int] = set()
    for fold in folds:
        assert (times[fold.train] + window <= fold.cut).all()  # a label is known from the end of its window on
        assert (times[fold.evaluate] >= fold.cut).all()
        assert (times[fold.evaluate] <= fold.cut + span).all()
        assert not set(fold.train) & set(fold.evaluate)
        assert not seen & set(fold.evaluate)  # nothing is judged twice
        seen |= set(fold.evaluate)
        assert (fold.input_time(times, "frozen") <= fold.cut).all()
        assert (fold.input_time(times, "rolling") == times[fold.evaluate]).all()
    cuts = [fold.cut for fold in folds]
    assert cuts == sorted(set(cuts), reverse=True)


@given(anchors, st.lists(st.integers(61, 99), max_size=20), st.integers(1, 12), st.integers(0, 20))
def test_future_rows_change_no_fold(seeds, later, window, span):
    newest = 60 - span  # what the first fold evaluates ends before the later rows
    before = folds_of(np.array(seeds, dtype=np.int64), window, span, newest)
    after = folds_of(np.array(seeds + later, dtype=np.int64), window, span, newest)
    assert [fold.cut for fold in before] == [fold.cut for fold in after]
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one.train, other.train)
        np.testing.assert_array_equal(one.evaluate, other.evaluate)


def test_by_hand():
    times = np.repeat(np.arange(0, 100, 10), 2)  # two rows at 0, 10, …, 90
    first, second, *rest = folds_of(times, window=10, span=10, newest=80)
    assert (first.cut, second.cut) == (80, 60)
    assert times[first.evaluate].tolist() == [80, 80, 90, 90]
    assert times[second.evaluate].tolist() == [60, 60, 70, 70]
    assert times[second.train].max() == 50
    assert [fold.cut for fold in rest] == [40]  # at 20 there would be two anchors to train on


def test_few_anchors_give_one_fold():
    (fold,) = folds_of(np.array([0, 1, 2, 3]), window=1, span=0, newest=3)
    assert (fold.cut, fold.train.tolist(), fold.evaluate.tolist()) == (3, [0, 1, 2], [3])


def test_nothing_to_evaluate_gives_no_fold():
    assert folds_of(np.array([5]), window=1, span=0, newest=3) == []
