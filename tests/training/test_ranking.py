"""What rankings are trained on and judged by: draws that are right in the mean, and scores of all items."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from little_shop import MODEL, open_tables, ranking_task, tables
from torch import Tensor

import graphlearn.training.ranking as module
from graphlearn.graph import build_graph, fit_statistics
from graphlearn.models.ranker import RANKERS, Ranker
from graphlearn.tasks import Task
from graphlearn.tasks.ranking import RANKING_METRICS
from graphlearn.training import TrainConfig
from graphlearn.training.pairs import Pairs, by_time, split_pairs
from graphlearn.training.ranking import ItemFeatures, PairLessons, Scoring, draw_weights, judge, rank

DEEP = replace(MODEL, num_neighbors=(4, 3, 3))


@pytest.fixture(scope="module")
def task() -> Task:
    return ranking_task(open_tables(tables()))


@pytest.fixture(scope="module", params=RANKERS)
def scoring(request, task: Task) -> Scoring:
    """A model with weights that nobody trained."""
    db = task.db
    assert db is not None
    graph = build_graph(db, hidden=())
    torch.manual_seed(0)
    made = Ranker(
        db.schema,
        fit_statistics(db),
        "customers",
        "products",
        request.param,
        DEEP,
        num_item_features=ItemFeatures.width(db.schema, "products"),
    )
    return Scoring(made.eval(), graph, ItemFeatures(graph, "products", task.timedelta))


@pytest.fixture
def pairs(scoring: Scoring, task: Task) -> Pairs:
    return split_pairs(scoring.graph, task, "test", "frozen")


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 500), st.integers(1, 6), st.data())
def test_a_sum_over_drawn_items_is_right_in_the_mean(seed, count, data):
    """Over all draws: what lies near a source is drawn apart, and other columns count for nothing."""
    number = data.draw(st.integers(1, count))
    generator = torch.Generator().manual_seed(seed)
    value = torch.rand(count + 2, generator=generator, dtype=torch.float64)
    there = torch.arange(count)  # the last two came true for somebody, and do not exist yet
    columns = torch.arange(count + 2)
    totals = []
    for chosen in itertools.combinations(range(count), number):
        weight = draw_weights(columns, torch.tensor(chosen), count)
        totals.append(float((value * weight.exp()).sum()))
    assert sum(totals) / len(totals) == pytest.approx(float(value[there].sum()))


def test_draws_of_all_and_of_none():
    assert torch.equal(draw_weights(torch.arange(4), torch.arange(4), 4), torch.zeros(4))
    none = torch.zeros(0, dtype=torch.int64)
    assert torch.equal(draw_weights(torch.arange(2), none, 0), torch.full((2,), -torch.inf))


@torch.no_grad()
def by_hand(scoring: Scoring, pairs: Pairs) -> Tensor:
    """Each source and each item for itself."""
    seeds = pairs.seeds
    out = torch.full((len(pairs), 12), -torch.inf)
    for i in range(len(pairs)):
        mine = pairs.take(torch.tensor([i])).seeds
        found = scoring.sources(mine)
        for item in range(12):
            vector = scoring.item_vectors(torch.tensor([item]), int(seeds.input_time[i]), int(seeds.seed_time[i]))
            score = found.vector[0] @ vector[0]
            if found.reached is not None:
                pull = found.reached.pull[found.reached.item == item].exp().sum(dim=0)
                score = score + found.gate[0, 0] * ((1 + pull[0]).log() - (1 + pull[1]).log())
            out[i, item] = score
    return out


def test_all_scores_and_the_best_of_them(scoring, pairs):
    some = pairs.take(torch.arange(0, len(pairs), 9))
    expected = by_hand(scoring, some)
    with torch.no_grad():
        for time, seed_time, at in by_time(some.seeds):
            items = scoring.all_items(time, seed_time)
            found = scoring.scores(some.take(at).seeds, items)
            torch.testing.assert_close(found, expected[at], atol=1e-4, rtol=1e-4)
    values, named = rank(scoring, some.seeds, 12)
    torch.testing.assert_close(values, expected.sort(dim=1, descending=True).values, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(expected.gather(1, named), values, atol=1e-4, rtol=1e-4)


def test_filters_of_the_best(scoring, pairs):
    some = pairs.take(torch.arange(0, len(pairs), 9))
    allowed = torch.arange(12) % 3 > 0

    def had(seeds):
        """Each source had the item of its own number, and item 1 twice."""
        items = torch.stack([seeds.index % 12, torch.ones_like(seeds.index), torch.ones_like(seeds.index)], dim=1)
        return torch.arange(len(seeds) + 1) * 3, items.flatten()

    values, named = rank(scoring, some.seeds, 9, candidates=lambda time: allowed, exclude=had)
    every, order = rank(scoring, some.seeds, 12)
    for row in range(len(some)):
        own = int(some.seeds.index[row]) % 12
        kept = [i for i in order[row].tolist() if allowed[i] and i not in (own, 1)]
        score = dict(zip(order[row].tolist(), every[row].tolist(), strict=True))
        assert sorted(named[row].tolist()) == sorted(kept + [-1] * (9 - len(kept)))
        assert values[row, : len(kept)].tolist() == pytest.approx([score[i] for i in kept], abs=1e-5)
        assert bool((values[row, len(kept) :] == -torch.inf).all())


def test_judged_by_the_scores_of_all_items(scoring, pairs, monkeypatch):
    """In parts of any size the same; of sources without items NaN."""
    found = judge(scoring, pairs, 3)
    assert set(found) == set(RANKING_METRICS)
    monkeypatch.setattr(module, "_SCORED", 5)
    again = judge(scoring, pairs, 3)
    for name in RANKING_METRICS:
        torch.testing.assert_close(found[name], again[name], equal_nan=True, atol=1e-6, rtol=1e-6)
    assert torch.equal(found["map"].isnan(), pairs.relevant.rowptr.diff() == 0)


def lessons(scoring: Scoring, task: Task, **kwargs) -> PairLessons:
    train = split_pairs(scoring.graph, task, "train", "frozen")
    return PairLessons(scoring, train, None, TrainConfig(batch_size=16, min_steps=1, epochs=1), top=3, **kwargs)


def losses(made: PairLessons, seed: int = 0) -> list[Tensor]:
    steps, _ = made.plan()
    return list(made.losses(steps, torch.Generator().manual_seed(seed)))


def test_a_step_has_one_time_and_every_source_comes_once(scoring, task, monkeypatch):
    made = lessons(scoring, task)
    seen: list[tuple[int, int]] = []

    def look(pairs: Pairs, at: Tensor, generator: torch.Generator) -> Tensor:
        assert len(torch.unique(pairs.seeds.seed_time)) == 1
        assert len(pairs) <= 16
        seen.extend(zip(pairs.seeds.index.tolist(), pairs.seeds.seed_time.tolist(), strict=True))
        return torch.zeros(())

    monkeypatch.setattr(made, "loss_of", look)
    steps, epochs = made.plan()
    assert epochs == 1
    assert len(losses(made)) == steps
    train = made.train.seeds
    assert sorted(seen) == sorted(zip(train.index.tolist(), train.seed_time.tolist(), strict=True))
    assert bool((made.train.relevant.rowptr.diff() > 0).all())


def test_drawing_a_part_of_the_items_gives_about_the_loss_of_all(scoring, task, monkeypatch):
    """The sum inside the logarithm is right in the mean; the logarithm of it is below by little."""
    made = lessons(scoring, task)
    with torch.no_grad():
        whole = torch.stack(losses(made)).mean()
        monkeypatch.setattr(module, "DRAWN_ITEMS", 8)
        drawn = torch.stack([torch.stack(losses(made, seed)).mean() for seed in range(12)])
    assert drawn.std() > 0
    assert float(drawn.mean()) == pytest.approx(float(whole), abs=0.05)


def test_ages_are_whole_windows(scoring, task, monkeypatch):
    made = lessons(scoring, task, longest_age=65 * 86_400_000_000, age_step=task.timedelta)
    seen: set[float] = set()
    sources = scoring.sources

    def look(seeds):
        age = torch.unique(seeds.seed_time - seeds.input_time)
        assert len(age) == 1
        seen.add(int(age) / task.timedelta)
        return sources(seeds)

    monkeypatch.setattr(scoring, "sources", look)
    with torch.no_grad():
        assert all(math.isfinite(loss) for loss in losses(made))
    assert seen == {0.0, 1.0, 2.0}


def test_gradients_are_numbers_where_every_item_came_true(scoring, task):
    """And where no item exists yet, so that there is nothing to stand above."""
    made = lessons(scoring, task)
    some = made.train.take(made.groups[0][:2])
    lists = torch.cat([torch.arange(12), torch.arange(2)])
    every = replace(some, relevant=replace(some.relevant, rowptr=torch.tensor([0, 12, 14]), col=lists))
    scoring.model.train()
    for absent in (False, True):
        scoring.model.zero_grad()
        with pytest.MonkeyPatch.context() as patch:
            if absent:
                patch.setattr(scoring, "existing", lambda time: torch.zeros(12, dtype=torch.bool))
            loss = made.loss_of(every, torch.arange(2), torch.Generator().manual_seed(0))
        loss.backward()
        assert bool(loss.isfinite())
        grads = [p.grad for p in scoring.model.parameters() if p.grad is not None]
        assert all(bool(grad.isfinite().all()) for grad in grads)
    scoring.model.eval()


def test_item_features_are_kept_a_while(scoring, monkeypatch):
    features = ItemFeatures(scoring.graph, "products", 86_400_000_000)
    monkeypatch.setattr(module, "_KEPT", 2)
    times = [1_620_000_000_000_000 + day * 86_400_000_000 for day in range(4)]
    made = [features.at(time) for time in times]
    assert features.at(times[3]) is made[3]
    assert features.at(times[0]) is not made[0]
    assert torch.equal(features.at(times[0]), made[0])
    assert made[0].size(1) == ItemFeatures.width(open_tables(tables()).schema, "products")
