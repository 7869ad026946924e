"""Runs and states on disk: whole or absent, whatever fails while they are written."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from torch.optim import AdamW

import graphlearn.training.checkpoint as checkpoint
from graphlearn.errors import RunError, StorageError
from graphlearn.training import TrainState, load_run, load_state, save_run, save_state
from graphlearn.training.checkpoint import partial_path, to_json

WEIGHTS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(1.5)}
META = {"task": {"name": "x"}, "metrics": {"val": float("nan")}}
HISTORY = [{"epoch": 1, "loss": 0.5, "val_auroc": float("nan")}, {"epoch": 2, "loss": 0.25, "val_auroc": 0.5}]


def full(*args, **kwargs):
    raise OSError(errno.ENOSPC, "No space left on device")


def full_in_rust(*args, **kwargs):
    raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")


def interrupted(*args, **kwargs):
    raise KeyboardInterrupt


def test_a_run_round_trip(tmp_path):
    save_run(tmp_path / "deep" / "run", WEIGHTS, META, HISTORY, add=lambda folder: (folder / "more").write_text("x"))
    meta, weights = load_run(tmp_path / "deep" / "run")
    assert meta == {"format": 2, "task": {"name": "x"}, "metrics": {"val": None}}
    assert all(torch.equal(value, WEIGHTS[name]) for name, value in weights.items())
    lines = (tmp_path / "deep" / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [{**HISTORY[0], "val_auroc": None}, HISTORY[1]]
    assert (tmp_path / "deep" / "run" / "more").read_text() == "x"
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["run"]


def test_others_may_read_a_run(tmp_path):
    save_run(tmp_path / "run", WEIGHTS, META, HISTORY)
    (tmp_path / "mine").mkdir()
    assert (tmp_path / "run").stat().st_mode == (tmp_path / "mine").stat().st_mode


@pytest.mark.parametrize("failure", [full, full_in_rust, interrupted])
@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize("where", ["weights", "more", "rename"])
def test_a_run_that_cannot_be_written_leaves_what_was_there(tmp_path, monkeypatch, failure, there, where):
    out = tmp_path / "run"
    if there:
        save_run(out, {"old": torch.zeros(1)}, {"old": True}, [])
    if where == "weights":
        monkeypatch.setattr(checkpoint, "save_file", failure)
    elif where == "rename":
        monkeypatch.setattr(Path, "rename", failure)
    kind = KeyboardInterrupt if failure is interrupted else StorageError
    with pytest.raises(kind) as caught:
        save_run(out, WEIGHTS, META, HISTORY, force=True, add=failure if where == "more" else None)
    if kind is StorageError:
        assert "the run " + str(out) + " could not be written: " in str(caught.value)
        assert "No space left on device" in str(caught.value)
    monkeypatch.undo()
    assert [p.name for p in tmp_path.iterdir()] == (["run"] if there else [])
    if there:
        meta, weights = load_run(out)
        assert meta["old"]
        assert list(weights) == ["old"]


def test_force_replaces_all_of_it(tmp_path):
    save_run(tmp_path / "run", WEIGHTS, META, HISTORY, add=lambda folder: (folder / "more").write_text("x"))
    save_run(tmp_path / "run", {"new": torch.zeros(1)}, META, [], force=True)
    assert {p.name for p in (tmp_path / "run").iterdir()} == {"run.json", "model.safetensors", "metrics.jsonl"}
    assert list(load_run(tmp_path / "run")[1]) == ["new"]


def test_layers_may_share_weights(tmp_path):
    shared = torch.zeros(3)
    save_run(tmp_path / "run", {"a": shared, "b": shared, "t": torch.zeros(2, 3).t()}, META, [])
    assert load_run(tmp_path / "run")[1]["t"].shape == (3, 2)


def small() -> tuple[torch.nn.Module, AdamW]:
    torch.manual_seed(0)
    layer = torch.nn.Linear(3, 2)
    return layer, AdamW(layer.parameters(), lr=0.1)


def step(layer: torch.nn.Module, optimizer: AdamW) -> None:
    optimizer.zero_grad()
    layer(torch.ones(4, 3)).pow(2).sum().backward()
    optimizer.step()


def test_a_state_round_trip(tmp_path):
    layer, optimizer = small()
    step(layer, optimizer)
    state = TrainState(epoch=3, best_epoch=2, best_score=float("nan"), seconds=1.5, history=HISTORY)
    state.best = {name: value.clone() for name, value in layer.state_dict().items()}
    path = partial_path(tmp_path / "run")
    save_state(path, layer.state_dict(), optimizer, state, "plan")
    assert [p.name for p in tmp_path.iterdir()] == ["run.partial.safetensors"]

    other, other_optimizer = small()
    found = load_state(path, other, other_optimizer, "plan")
    assert (found.epoch, found.best_epoch, found.seconds) == (3, 2, 1.5)
    assert found.best_score != found.best_score
    assert repr(found.history) == repr(HISTORY)
    for _ in range(3):
        step(layer, optimizer)
        step(other, other_optimizer)
    assert all(torch.equal(a, b) for a, b in zip(layer.parameters(), other.parameters(), strict=True))


def test_a_loaded_state_does_not_read_the_file_again(tmp_path):
    layer, optimizer = small()
    state = TrainState(epoch=1, best={"weight": torch.ones(2, 3)})
    path = partial_path(tmp_path / "run")
    save_state(path, layer.state_dict(), optimizer, state, "plan")
    found = load_state(path, layer, optimizer, "plan")
    path.write_bytes(b"")  # a view of the file would crash the process here
    assert found.best["weight"].sum() == 6


@pytest.mark.parametrize("failure", [full, full_in_rust, interrupted])
def test_a_state_that_cannot_be_written_leaves_the_one_before(tmp_path, monkeypatch, failure):
    layer, optimizer = small()
    path = partial_path(tmp_path / "run")
    kind = KeyboardInterrupt if failure is interrupted else StorageError
    monkeypatch.setattr(checkpoint, "save_file", failure)
    with pytest.raises(kind) as caught:
        save_state(path, layer.state_dict(), optimizer, TrainState(epoch=1), "plan")
    assert not list(tmp_path.iterdir())
    assert "make room" not in str(caught.value)
    monkeypatch.undo()
    save_state(path, layer.state_dict(), optimizer, TrainState(epoch=1), "plan")
    before = path.read_bytes()
    monkeypatch.setattr(checkpoint, "save_file", failure)
    with pytest.raises(kind) as caught:
        save_state(path, layer.state_dict(), optimizer, TrainState(epoch=2), "plan")
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["run.partial.safetensors"]
    if kind is StorageError:
        says = (
            f"the training could not be kept in {path}: .*No space left on device.*: make room and go on with --resume"
        )
        assert caught.match(says)


def test_a_state_of_another_plan_or_none(tmp_path):
    layer, optimizer = small()
    path = partial_path(tmp_path / "run")
    with pytest.raises(
        RunError, match=r"there is no interrupted training to go on with: .* does not exist. Leave --resume"
    ):
        load_state(path, layer, optimizer, "plan")
    save_state(path, layer.state_dict(), optimizer, TrainState(epoch=1), "plan")
    with pytest.raises(RunError, match=r"belongs to a training with other data, labels, settings, versions or another"):
        load_state(path, layer, optimizer, "another plan")
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(RunError, match=r"run.partial.safetensors cannot be read: .* Start again with --force"):
        load_state(path, layer, optimizer, "plan")


def test_json_has_no_nan():
    value = {"a": float("nan"), "b": [1.0, float("inf")], "c": ("x", 2, None, True)}
    assert json.loads(to_json(value)) == {"a": None, "b": [1.0, None], "c": ["x", 2, None, True]}
