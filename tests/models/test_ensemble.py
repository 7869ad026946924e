"""Ensemble: the mean of its members, none of which learns from another; few labels get several members."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest
import torch
from little_shop import FAST, MODEL, make_task, open_tables, tables, train_fast

import graphlearn as gl
from graphlearn.errors import UsageError
from graphlearn.graph import build_graph, fit_statistics
from graphlearn.models import Ensemble, RelationalModel
from graphlearn.predict.ground import num_members
from graphlearn.sampling import TemporalNeighborSampler
from graphlearn.training import TrainConfig, predict_seeds, split_seeds
from graphlearn.training.scoring import forward, seed_loader


@pytest.fixture(scope="module")
def parts():
    frames = tables()
    db = open_tables(frames)
    task = make_task(db, frames)
    statistics = fit_statistics(db, fit_until=task.val_time)
    graph = build_graph(db, statistics=statistics)
    return db, statistics, graph, split_seeds(graph, task, "val", "rolling")


def members(parts, task_type: str = "binary_classification", *, count: int = 3, num_classes: int = 1):
    db, statistics, _, _ = parts
    torch.manual_seed(0)
    config = replace(MODEL, dropout=0.0, row_dropout=0.0)
    return [
        RelationalModel(db.schema, statistics, "customers", task_type, config, num_classes=num_classes)
        for _ in range(count)
    ]


@pytest.mark.parametrize(
    ("task_type", "num_classes"),
    [("binary_classification", 1), ("regression", 1), ("multiclass_classification", 3)],
)
def test_predictions_are_the_mean_of_the_members(parts, task_type, num_classes):
    graph, seeds = parts[2:]
    alone = members(parts, task_type, num_classes=num_classes)
    together = Ensemble(alone)
    if task_type == "regression":
        together.head.fit_range(torch.tensor([1.0, 5.0, 100.0]))
        assert [float(member.head.center) for member in alone] == [5.0, 5.0, 5.0]
    each = torch.stack([predict_seeds(member, graph, seeds) for member in alone])
    assert not torch.equal(each[0], each[1])
    torch.testing.assert_close(predict_seeds(together, graph, seeds), each.mean(dim=0), rtol=0, atol=1e-12)


def test_no_member_learns_from_another(parts):
    graph, seeds = parts[2:]
    alone = members(parts)
    batch = next(iter(seed_loader(graph, TemporalNeighborSampler(graph, alone[0].fan_out), seeds, batch_size=64)))
    together = Ensemble(alone).train()
    together.head.loss(forward(together, graph, batch), batch.label).backward()
    for member, copy in zip(alone, members(parts), strict=True):
        copy.head.loss(forward(copy.train(), graph, batch), batch.label).backward()
        for (name, ours), theirs in zip(member.named_parameters(), copy.parameters(), strict=True):
            torch.testing.assert_close(ours.grad, theirs.grad, rtol=0, atol=0, msg=name)


def test_a_run_of_several_members_is_read_back_and_resumed(tmp_path):
    frames = tables()
    db = open_tables(frames)
    task = make_task(db, frames)
    run = train_fast(db, task, tmp_path / "run", model_config=replace(MODEL, members=2))
    assert isinstance(run.model, Ensemble)
    assert not torch.equal(*(next(member.parameters()) for member in run.model.members))
    again = gl.load(tmp_path / "run", db=db)
    assert again.model_config.members == 2
    assert run.predict().equals(again.predict())
    more = train_fast(db, task, tmp_path / "more", model_config=replace(MODEL, members=2), members=3)
    assert len(more.model.members) == 3
    with pytest.raises(UsageError, match="'members' must be > 0, got 0"):
        train_fast(db, task, tmp_path / "none", members=0)


def test_few_labels_get_several_members():
    assert num_members(100, FAST) == 4
    assert num_members(11_411, TrainConfig()) == 4
    assert num_members(45_124, TrainConfig()) == 1
    assert num_members(10**8, TrainConfig()) == 1


def test_no_members_are_refused():
    with pytest.raises(ValueError, match="'members' must be > 0, got 0"):
        replace(MODEL, members=0)


def test_many_labels_get_larger_batches(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules["graphlearn.predict.train"], "_MANY_LABELS", 10)  # the name is the function
    frames = tables()
    db = open_tables(frames)
    run = gl.train(db, make_task(db, frames), out=tmp_path / "run", model="gnn", max_minutes=1e-6, progress=False)
    assert run.meta["train_config"]["batch_size"] == 2 * TrainConfig().batch_size
