"""Baselines of rankings, against loops over what was known."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from graphlearn.models.pair_baselines import PAIR_BASELINES, PairHistory
from graphlearn.tasks.ranking import Relevant

PERIOD = 1_000


def history(seed: int, parts: int = 3, items: int = 6) -> PairHistory:
    generator = torch.Generator().manual_seed(seed)
    made = []
    for part in range(parts):
        count = torch.randint(0, 4, (5,), generator=generator)
        rowptr = torch.cat([count.new_zeros(1), count.cumsum(0)])
        col = torch.randint(items, (int(rowptr[-1]),), generator=generator)
        time = torch.randint(20, (5,), generator=generator) * PERIOD + part
        made.append((torch.randint(4, (5,), generator=generator), time, Relevant(rowptr, col)))
    return PairHistory.of(made, PERIOD, items)


@settings(deadline=None)
@given(st.integers(0, 1000), st.integers(0, 25))
def test_equals_a_loop(seed, windows):
    known, time = history(seed), windows * PERIOD
    sources = torch.tensor([3, 0, 0, 9])
    found = known.scores(sources, time)
    assert tuple(found) == PAIR_BASELINES
    popularity = torch.zeros(known.num_items)
    repeats = torch.zeros(len(sources), known.num_items)
    for who, what, since in zip(known.source.tolist(), known.item.tolist(), known.known_from.tolist(), strict=True):
        if since <= time:
            weight = 2.0 ** -((time - since) / PERIOD / 8)
            popularity[what] += weight
            for row, source in enumerate(sources.tolist()):
                repeats[row, what] += weight * (source == who)
    torch.testing.assert_close(found["popularity"], popularity.expand(4, -1))
    torch.testing.assert_close(found["repeats"], repeats)
    # Both: what was taken before comes first, in its order; then what everybody takes.
    for row in range(len(sources)):
        both = found["repeats, then popularity"][row]
        had = repeats[row] > 0
        if bool(had.any()) and not bool(had.all()):
            assert both[had].min() > both[~had].max()
        new = (~had).nonzero()[:, 0]
        order = both[new].argsort(descending=True, stable=True)
        assert popularity[new][order].tolist() == pytest.approx(popularity[new].sort(descending=True).values.tolist())


@pytest.mark.parametrize("windows", [0, 400, 5_000, 1_000_000])
def test_what_was_taken_long_ago_still_stands_above_what_never_was(windows):
    """Half after eight windows is less than any number after some thousand of them."""
    rows = Relevant(torch.tensor([0, 1, 3]), torch.tensor([2, 0, 1]))
    made = [(torch.tensor([0, 1]), torch.tensor([0, 0]), rows), (torch.tensor([1]), torch.tensor([0]), rows.rows(0, 1))]
    found = PairHistory.of(made, PERIOD, 4).scores(torch.tensor([0]), PERIOD * (windows + 1))
    both = found["repeats, then popularity"][0]
    assert both[2] > both[0] == both[1] > both[3] == 0
    assert found["popularity"][0, 2] > found["popularity"][0, 0] > 0


@given(st.integers(0, 1000))
def test_nothing_later_is_known(seed):
    """With what comes true after the input time and without it, the same."""
    known, time = history(seed), 10 * PERIOD
    before = known.known_from <= time
    cut = PairHistory(known.source[before], known.item[before], known.known_from[before], PERIOD, known.num_items)
    sources = torch.arange(4)
    for name, score in known.scores(sources, time).items():
        assert torch.equal(score, cut.scores(sources, time)[name])
    for score in known.scores(sources, -1).values():
        assert not bool(score.any())


def test_nobody():
    found = history(0).scores(torch.zeros(0, dtype=torch.int64), 10 * PERIOD)
    assert all(score.shape == (0, 6) for score in found.values())
