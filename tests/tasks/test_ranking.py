"""Metrics of rankings: relbench's own, the mean over every order of ties, and intervals."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import relbench.metrics
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from graphlearn.errors import UsageError
from graphlearn.tasks.ranking import RANKING_METRICS, Relevant, mean_interval, ranking_scores


def lists(rows: list[list[int]]) -> Relevant:
    ends = torch.tensor([0, *itertools.accumulate(len(row) for row in rows)])
    return Relevant(ends, torch.tensor([i for row in rows for i in row], dtype=torch.int64))


def of_order(order: list[int], true: set[int], k: int) -> dict[str, float]:
    """The metrics of one order, by their definitions."""
    hits = [int(item in true) for item in order[:k]]
    best = min(len(true), k)
    gains = [hit / math.log2(place + 2) for place, hit in enumerate(hits)]
    return {
        "map": sum(hit * sum(hits[: place + 1]) / (place + 1) for place, hit in enumerate(hits)) / best,
        "recall": sum(hits) / len(true),
        "precision": sum(hits) / k,
        "ndcg": sum(gains) / sum(1 / math.log2(place + 2) for place in range(best)),
        "mrr": next((1 / (place + 1) for place, hit in enumerate(hits) if hit), 0.0),
    }


def over_all_orders(score: list[float], true: set[int], k: int) -> dict[str, float]:
    """The mean over all orders of items with equal scores; what is -inf is in no order."""
    there = [i for i, s in enumerate(score) if s > -math.inf]
    groups = [[i for i in there if score[i] == s] for s in sorted({score[i] for i in there}, reverse=True)]
    found = [
        of_order([i for part in parts for i in part], true, k)
        for parts in itertools.product(*(list(itertools.permutations(group)) for group in groups))
    ]
    return {name: float(np.mean([one[name] for one in found])) for name in RANKING_METRICS}


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 8), st.integers(1, 30))
def test_map_is_relbenchs(seed, sources, items):
    rng = np.random.default_rng(seed)
    k = int(rng.integers(1, items + 1))
    score = rng.permuted(np.tile(np.arange(items), (sources, 1)), axis=1)  # no ties
    true = [sorted(rng.choice(items, rng.integers(0, items + 1), replace=False).tolist()) for _ in range(sources)]
    assume(any(true))
    found = ranking_scores(torch.tensor(score, dtype=torch.float32), lists(true), k)["map"]
    best = np.argsort(-score, axis=1)[:, :k]
    hit = np.stack([np.isin(row, mine) for row, mine in zip(best, true, strict=True)])
    expected = relbench.metrics.map(hit, np.array([len(mine) for mine in true]))
    assert float(found.nanmean()) == pytest.approx(expected)
    assert found.isnan().tolist() == [not mine for mine in true]


@settings(deadline=None)
@given(
    st.lists(st.sampled_from([-math.inf, 0.0, 0.0, 1.0, 2.0]), min_size=1, max_size=6),
    st.sets(st.integers(0, 5), min_size=1),
    st.integers(1, 6),
)
def test_ties_count_as_the_mean_over_all_their_orders(score, true, k):
    true = {i for i in true if i < len(score)}
    assume(true)
    k = min(k, len(score))
    found = ranking_scores(torch.tensor([score]), lists([sorted(true)]), k)
    expected = over_all_orders(score, true, k)
    assert {name: float(value[0]) for name, value in found.items()} == pytest.approx(expected)


def test_a_tie_across_the_last_place_by_hand():
    """Two places and three items that are alike, one of them true: it is in with 2/3, first with 1/3."""
    found = ranking_scores(torch.zeros(1, 3), lists([[1]]), 2)
    assert float(found["recall"]) == pytest.approx(2 / 3)
    assert float(found["precision"]) == pytest.approx(1 / 3)
    assert float(found["map"]) == float(found["mrr"]) == pytest.approx(1 / 3 + 1 / 6)
    assert float(found["ndcg"]) == pytest.approx(1 / 3 + 1 / 3 / math.log2(3))


def test_sources_do_not_change_each_other():
    score = torch.tensor([[3.0, 2.0, 1.0], [1.0, 1.0, 1.0], [0.0, 5.0, 5.0]])
    true = [[0, 2], [], [1]]
    together = ranking_scores(score, lists(true), 2)
    for row, mine in enumerate(true):
        alone = ranking_scores(score[row : row + 1], lists([mine]), 2)
        for name in RANKING_METRICS:
            torch.testing.assert_close(together[name][row : row + 1], alone[name], equal_nan=True)
    assert lists(true).rows(1, 3).col.tolist() == [1]
    assert len(lists(true).rows(1, 3)) == 2


def test_more_places_than_items():
    with pytest.raises(UsageError, match=r"metrics at 4 need at least so many items, there are 3"):
        ranking_scores(torch.zeros(1, 3), lists([[1]]), 4)


def test_the_interval_of_a_mean():
    """Resamples draw entities, not rows; the slow answer draws them one by one."""
    values = torch.tensor([0.0, 1.0, math.nan, 1.0, 0.5, 0.25], dtype=torch.float64)
    groups = torch.tensor([7, 7, 7, 3, 3, 9])
    mean, low, high = mean_interval(values, groups, seed=3, repeats=200)
    assert mean == pytest.approx(2.75 / 5)
    assert low < mean < high
    rows = {7: [0.0, 1.0], 3: [1.0, 0.5], 9: [0.25]}
    generator = torch.Generator().manual_seed(3)
    means = []
    for _ in range(200):
        drawn = [sorted(rows)[i] for i in torch.randint(3, (3,), generator=generator)]
        means.append(np.mean([value for key in drawn for value in rows[key]]))
    assert (low, high) == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])))
    assert (mean, low, high) == mean_interval(values, groups, seed=3, repeats=200)


def test_the_interval_of_nothing_and_of_one_entity():
    assert all(math.isnan(v) for v in mean_interval(torch.tensor([math.nan]), torch.tensor([1])))
    assert mean_interval(torch.tensor([0.2, 0.4]).double(), torch.tensor([1, 1])) == pytest.approx((0.3, 0.3, 0.3))
