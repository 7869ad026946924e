"""Same seed, same ranking: interrupted and resumed, in every kind and in the choice among them."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from little_shop import FAST, MODEL, assert_same_run, contents, open_tables, ranking_task, tables, train_fast

from graphlearn.errors import RunError, StorageError, UsageError
from graphlearn.predict import Run
from graphlearn.training.checkpoint import partial_path
from graphlearn.training.ranking import PairLessons

SIZES = replace(MODEL, num_neighbors=(3, 3, 2), dropout=0.2)
PLAN = replace(FAST, epochs=2, batch_size=48)


def trained(out: Path, model: str, **kwargs: Any) -> Run:
    db = open_tables(tables())
    task = ranking_task(db)
    return train_fast(db, task, out, model=model, **{"model_config": SIZES, "train_config": PLAN, **kwargs})


@pytest.fixture(scope="module", params=["fused", "auto"])
def whole(request, tmp_path_factory) -> Run:
    """A training that nobody interrupted."""
    return trained(tmp_path_factory.mktemp("whole") / "run", request.param)


def model_of(run: Run) -> str:
    return str(run.meta["model"])


def interrupt_at(monkeypatch: pytest.MonkeyPatch, call: int) -> None:
    """Presses Ctrl-C at the n-th step of the training, counted from 0."""
    step, calls = PairLessons.loss_of, iter(range(10_000))

    def counted(self, *args):
        if next(calls) == call:
            raise KeyboardInterrupt
        return step(self, *args)

    monkeypatch.setattr(PairLessons, "loss_of", counted)


def test_same_seed_same_run_and_another_seed_another(whole, tmp_path):
    assert_same_run(trained(tmp_path / "again", model_of(whole)).folder, whole.folder)
    other = trained(tmp_path / "other", model_of(whole), seed=1)
    assert contents(other.folder)[1] != contents(whole.folder)[1]


def test_interrupted_after_every_epoch_and_resumed(whole, tmp_path):
    """One epoch at a time, of every kind that is tried and of the refit."""
    records: list[dict[str, Any]] = []
    out, choice = tmp_path / "run", whole.meta["choice"]
    tried = {"fused"} if choice is None else set(choice["scores"])

    def stop(record: dict[str, Any]) -> None:
        records.append(record)
        raise KeyboardInterrupt

    kept = rf"^{partial_path(out)} keeps the training up to its last whole epoch; go on with --resume\.$"
    for done in range(len(tried) * PLAN.epochs + whole.meta["metrics"]["best_epoch"]):
        with pytest.raises(KeyboardInterrupt, match=kept):
            trained(out, model_of(whole), resume=done > 0, on_epoch=stop)
    assert {record["kind"] for record in records} == tried
    trained(out, model_of(whole), resume=True, on_epoch=stop)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert_same_run(out, whole.folder)


@pytest.mark.parametrize("call", [0, 9, 19])
def test_interrupted_within_an_epoch(whole, tmp_path, monkeypatch, call):
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        interrupt_at(patch, call)
        with pytest.raises(KeyboardInterrupt):
            trained(out, model_of(whole))
    assert partial_path(out).exists() == (call > 0)
    trained(out, model_of(whole), resume=call > 0)
    assert_same_run(out, whole.folder)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_run_that_cannot_be_written_is_not_lost(whole, tmp_path, monkeypatch):
    """What was chosen is kept until the run is there."""

    def full(*args, **kwargs):
        raise StorageError("the run could not be written: no space.")

    with monkeypatch.context() as patch:
        patch.setattr(sys.modules["graphlearn.predict.train"], "save_run", full)
        with pytest.raises(StorageError, match=r"run.partial.safetensors keeps the training: make room and go on"):
            trained(tmp_path / "run", model_of(whole))
    seen: list[dict[str, Any]] = []
    trained(tmp_path / "run", model_of(whole), resume=True, on_epoch=seen.append)
    assert not seen
    assert_same_run(tmp_path / "run", whole.folder)


def test_nothing_of_an_interrupted_choice_is_left(tmp_path):
    def stop(record: dict[str, Any]) -> None:
        if record["kind"] == "id-gnn":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "run", "auto", on_epoch=stop)
    assert len(list(tmp_path.iterdir())) == 2
    with pytest.raises(UsageError, match=r"run.partial.safetensors keeps an interrupted training of .*--resume, or st"):
        trained(tmp_path / "run", "auto")
    with pytest.raises(RunError, match=r"belongs to a training with other data, labels, settings, versions or another"):
        trained(tmp_path / "run", "auto", resume=True, seed=1)
    trained(tmp_path / "run", "two-tower", force=True)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_budget_is_shared_by_what_is_tried(tmp_path):
    """No time: one epoch of each kind, and one of the refit."""
    seen: list[dict[str, Any]] = []
    trained(tmp_path / "run", "auto", max_minutes=0, on_epoch=seen.append)
    assert [record["kind"] for record in seen[:3]] == ["fused", "id-gnn", "two-tower"]
    assert [record.get("refit") for record in seen] == [None, None, None, True]
