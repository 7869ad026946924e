"""The loop: it learns, stops, chooses the best epoch, and plans its steps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from little_shop import FAST, MODEL, make_task, open_tables, tables

import graphlearn.training.loop
from graphlearn.errors import GraphLearnError
from graphlearn.graph import build_graph, fit_statistics
from graphlearn.models import RelationalModel
from graphlearn.tasks.metrics import score
from graphlearn.training import TrainConfig, TrainState, fit, predict_seeds, split_seeds
from graphlearn.training.loop import _judge, _schedule, make_optimizer, plan


@pytest.fixture(scope="module")
def parts():
    frames = tables()
    db = open_tables(frames)
    task = make_task(db, frames)
    statistics = fit_statistics(db, fit_until=task.val_time)
    graph = build_graph(db, statistics=statistics)
    seeds = {split: split_seeds(graph, task, split, "rolling") for split in ("train", "val")}
    return graph, seeds, lambda: RelationalModel(db.schema, statistics, "customers", "binary_classification", MODEL)


def run(parts, config: TrainConfig = FAST, **kwargs) -> tuple[RelationalModel, TrainState]:
    graph, seeds, make = parts
    torch.manual_seed(0)
    model = make()
    return model, fit(model, graph, seeds["train"], seeds["val"], config, seed=0, **kwargs)


def judged(monkeypatch: pytest.MonkeyPatch, values: list[float], error: float = 0.0) -> None:
    """Validation says one value after the other."""
    given = iter(values)
    monkeypatch.setattr(graphlearn.training.loop, "_judge", lambda *args: (next(given), error))


def test_it_learns(parts):
    graph, seeds, _ = parts
    model, state = run(parts, replace(FAST, epochs=40, batch_size=32, patience=40, lr=0.03))
    losses = [record["loss"] for record in state.history]
    assert losses[-1] < 0.85 * losses[0]
    predicted = predict_seeds(model, graph, seeds["train"]).numpy()
    assert score("binary_classification", seeds["train"].label.numpy(), predicted)["auroc"] > 0.8


def test_the_weights_are_those_of_the_chosen_epoch(parts, monkeypatch):
    judged(monkeypatch, [0.5, 0.9, 0.7, 0.6, 0.1])
    kept = []
    model, state = run(
        parts,
        replace(FAST, epochs=5),
        after_epoch=lambda now, _: kept.append({k: v.clone() for k, v in now.best.items()}),
    )
    assert (state.best_epoch, state.best_score) == (2, 0.9)
    assert [record["val_auroc"] for record in state.history] == [0.5, 0.9, 0.7, 0.6, 0.1]
    assert all(torch.equal(value, kept[1][name]) for name, value in model.state_dict().items())
    assert not torch.equal(kept[0]["head.lin.weight"], kept[1]["head.lin.weight"])


@pytest.mark.parametrize(
    ("scores", "error", "patience", "epochs", "best"),
    [
        ([0.9, 0.8, 0.7, 0.6, 0.5], 0.0, 2, 3, 1),
        ([0.5, 0.6, 0.5, 0.7, 0.1], 0.0, 2, 5, 4),
        ([0.9, 0.8, 0.89, 0.85, 0.7], 0.06, 9, 5, 4),  # within a standard error of the best, the latest
        ([0.9, 0.8, 0.89, 0.85, 0.7], 0.02, 9, 5, 3),
        ([float("nan")] * 5, 0.0, 1, 5, 5),  # validation of one class: nothing to choose by, the last one is kept
    ],
)
def test_which_epoch_is_chosen(parts, monkeypatch, scores, error, patience, epochs, best):
    judged(monkeypatch, scores, error)
    _, state = run(parts, replace(FAST, epochs=5, patience=patience))
    assert (state.epoch, state.best_epoch) == (epochs, best)


def test_lower_is_better_for_an_error(parts, monkeypatch):
    judged(monkeypatch, [3.0, 1.0, 2.0])
    monkeypatch.setattr(graphlearn.training.loop, "primary_metric", lambda kind: ("mae", False))
    _, state = run(parts, replace(FAST, epochs=3))
    assert (state.best_epoch, state.best_score) == (2, 1.0)


def test_a_refit_takes_the_epochs_it_is_told_and_needs_no_validation(parts):
    graph, seeds, make = parts
    both = seeds["train"].joined(seeds["val"])
    assert len(both) == len(seeds["train"]) + len(seeds["val"])
    torch.manual_seed(0)
    model = make()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = TrainState(refit=3, best_epoch=3, best_score=0.7, history=[{"epoch": 1}])
    rates: list[float] = []
    optimizer = make_optimizer(model, FAST)
    state = fit(
        model,
        graph,
        both,
        None,
        FAST,
        seed=0,
        state=state,
        optimizer=optimizer,
        after_step=lambda *args: rates.append(optimizer.param_groups[0]["lr"]),
    )
    assert (state.epoch, state.best_epoch, state.best_score) == (3, 3, 0.7)
    assert [record.get("refit") for record in state.history] == [None, True, True, True]
    assert not torch.equal(model.state_dict()["head.lin.weight"], before["head.lin.weight"])
    assert rates[2:] == sorted(rates[2:], reverse=True)  # it falls to the end, though two epochs were planned


def test_the_standard_error_is_that_of_the_metric():
    rng = np.random.default_rng(0)
    label = rng.normal(size=400)
    value, error = _judge("regression", label, np.zeros(400))
    assert value == pytest.approx(np.abs(label).mean())
    assert error == pytest.approx(np.abs(label).std() / 20, rel=0.2)
    value, error = _judge("binary_classification", np.ones(10), rng.random(10))
    assert np.isnan(value)
    assert error == 0.0


def test_a_time_budget_ends_after_an_epoch(parts):
    _, state = run(parts, replace(FAST, epochs=5, max_minutes=0.0))
    assert state.epoch == 1
    assert state.best_epoch == 1


def test_steps_are_counted(parts):
    calls = []
    run(parts, replace(FAST, batch_size=32), after_step=lambda *args: calls.append(args))
    assert calls == [(0, 1, 3), (0, 2, 3), (0, 3, 3), (1, 1, 3), (1, 2, 3), (1, 3, 3)]


def test_a_cap_on_the_steps(parts):
    calls = []
    run(parts, replace(FAST, batch_size=16, max_steps=2), after_step=lambda *args: calls.append(args))
    assert calls == [(0, 1, 2), (0, 2, 2), (1, 1, 2), (1, 2, 2)]


def test_threads_change_nothing(parts):
    one, two = (run(parts, replace(FAST, batch_size=16, num_threads=n))[0] for n in (1, 3))
    assert all(torch.equal(value, two.state_dict()[name]) for name, value in one.state_dict().items())


def test_a_loss_that_is_not_finite_ends_it(parts, monkeypatch):
    monkeypatch.setattr(
        graphlearn.training.loop, "forward", lambda model, graph, batch: model.head.lin.bias * torch.nan
    )
    with pytest.raises(
        GraphLearnError, match=r"the loss of epoch 1 is nan: the training diverged. Take a lower learning"
    ):
        run(parts, replace(FAST, batch_size=1))


@pytest.mark.parametrize(
    ("seeds", "config", "expected"),
    [
        (1000, TrainConfig(batch_size=100, epochs=4, min_steps=1), (10, 4)),
        (1001, TrainConfig(batch_size=100, epochs=4, min_steps=1), (11, 4)),
        (3, TrainConfig(batch_size=100, epochs=4, min_steps=1), (1, 4)),
        (3, TrainConfig(batch_size=100, epochs=4, min_steps=50), (1, 50)),
        (1000, TrainConfig(batch_size=100, epochs=4, min_steps=50), (10, 5)),
        (10**6, TrainConfig(batch_size=100, epochs=4, min_steps=1, max_steps=500), (500, 4)),
    ],
)
def test_plans(seeds, config, expected):
    assert plan(seeds, config) == expected


def test_the_learning_rate_rises_then_falls_to_nothing():
    assert _schedule(0.0) == 0.0
    assert _schedule(0.025) == pytest.approx(0.5, abs=0.01)
    assert max(_schedule(i / 100) for i in range(101)) == pytest.approx(_schedule(0.05))
    assert _schedule(0.5) == pytest.approx(0.5)
    assert _schedule(1.0) == pytest.approx(0.0)


@pytest.mark.parametrize("name", ["epochs", "batch_size", "lr", "grad_clip", "max_steps", "patience", "num_threads"])
def test_what_a_config_refuses(name):
    with pytest.raises(ValueError, match=rf"'{name}' must be > 0, got 0"):
        replace(FAST, **{name: 0})
