"""Same seed, same numbers: interrupted and resumed, moved, in another process, with the rows in another order."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from little_shop import (
    FAST,
    MODEL,
    assert_same_run,
    contents,
    make_task,
    open_tables,
    tables,
    train_fast,
    write_relbench,
)

import graphlearn.training.loop
from graphlearn.errors import RunError, StorageError, UsageError
from graphlearn.predict import Run, load
from graphlearn.schema import connect
from graphlearn.tasks import Task
from graphlearn.training.checkpoint import partial_path

EPOCHS, STEPS, REFIT_STEPS = 4, 4, 6
# Dropout, ages drawn at random and a last batch that is not full: all that could differ takes part.
SIZES = replace(MODEL, dropout=0.2)
PLAN = replace(FAST, epochs=EPOCHS, batch_size=24)


def trained(out: Path, *, regime: str = "frozen", seed: int = 0, **kwargs) -> Run:
    frames = tables()
    db = open_tables(frames)
    task = make_task(db, frames, kwargs.pop("task_type", "binary_classification"))
    return train_fast(
        db, task, out, regime=regime, seed=seed, **{"model_config": SIZES, "train_config": PLAN, **kwargs}
    )


def interrupt_at(monkeypatch: pytest.MonkeyPatch, call: int) -> None:
    """Presses Ctrl-C at the n-th step of the training, counted from 0."""
    forward, calls = graphlearn.training.loop.forward, iter(range(10_000))

    def counted(*args):
        return interrupted() if next(calls) == call else forward(*args)

    monkeypatch.setattr(graphlearn.training.loop, "forward", counted)


def interrupted(*args, **kwargs):
    raise KeyboardInterrupt


@pytest.fixture(scope="module", params=["frozen", "rolling"])
def whole(request, tmp_path_factory) -> Run:
    """A training that nobody interrupted."""
    return trained(tmp_path_factory.mktemp("whole") / "run", regime=request.param)


def test_interrupted_in_the_first_epoch(whole, tmp_path, monkeypatch):
    out = tmp_path / "run"
    interrupt_at(monkeypatch, 1)
    with pytest.raises(KeyboardInterrupt, match=r"^No epoch was finished, so nothing is kept\.$"):
        trained(out, regime=whole.regime)
    monkeypatch.undo()
    assert not list(tmp_path.iterdir())
    with pytest.raises(RunError, match=r"there is no interrupted training to go on with: .*run.partial.safetensors"):
        trained(out, regime=whole.regime, resume=True)


def test_interrupted_in_any_epoch_and_resumed(whole, tmp_path, monkeypatch):
    """In the middle of every epoch of the choice and of the refit; at last between the last epoch and the writing."""
    refits = whole.meta["metrics"]["best_epoch"]
    assert len(contents(whole.folder)[1]) == EPOCHS + refits
    steps = [epoch * STEPS for epoch in range(EPOCHS)] + [EPOCHS * STEPS + n * REFIT_STEPS for n in range(refits)]
    for done in range(1, EPOCHS + refits + 1):
        out = tmp_path / str(done) / "run"
        if done < len(steps):
            interrupt_at(monkeypatch, steps[done] + 1)
        else:
            monkeypatch.setattr(sys.modules["graphlearn.predict.train"], "save_run", interrupted)
        with pytest.raises(KeyboardInterrupt) as caught:
            trained(out, regime=whole.regime)
        monkeypatch.undo()
        kept = f"{partial_path(out)} keeps the training up to its last whole epoch; go on with --resume."
        assert str(caught.value) == kept
        assert [p.name for p in out.parent.iterdir()] == ["run.partial.safetensors"]
        seen: list[dict] = []
        trained(out, regime=whole.regime, resume=True, on_epoch=seen.append)
        assert len(seen) == EPOCHS + refits - done
        assert [p.name for p in out.parent.iterdir()] == ["run"]
        assert_same_run(out, whole.folder)


def test_the_steps_are_what_these_tests_count_on():
    task = make_task(open_tables(tables()), tables())
    train, val = len(task.labels("train")), len(task.labels("val"))
    assert (STEPS - 1) * PLAN.batch_size < train < STEPS * PLAN.batch_size
    assert (REFIT_STEPS - 1) * PLAN.batch_size < train + val <= REFIT_STEPS * PLAN.batch_size


def test_interrupted_at_every_epoch(whole, tmp_path, monkeypatch):
    """One epoch at a time, four times."""
    out = tmp_path / "run"
    for epoch in range(EPOCHS - 1):

        def stop(record: dict, epoch: int = epoch) -> None:
            if record["epoch"] == epoch + 1:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt, match="keeps the training"):
            trained(out, regime=whole.regime, resume=epoch > 0, on_epoch=stop)
    trained(out, regime=whole.regime, resume=True)
    assert_same_run(out, whole.folder)


def test_same_seed_same_run_and_another_seed_another(whole, tmp_path):
    assert_same_run(trained(tmp_path / "again", regime=whole.regime).folder, whole.folder)
    other = trained(tmp_path / "other", regime=whole.regime, seed=1)
    assert contents(other.folder)[1] != contents(whole.folder)[1]
    assert not torch.equal(other.model.stale.weight, whole.model.stale.weight)
    assert not other.predict_split("test")["prediction"].equals(whole.predict_split("test")["prediction"])


@pytest.mark.parametrize("task_type", ["regression", "multiclass_classification", "multilabel_classification"])
def test_other_task_types_resume_too(task_type, tmp_path, monkeypatch):
    trained(tmp_path / "whole", task_type=task_type)
    interrupt_at(monkeypatch, 9)
    with pytest.raises(KeyboardInterrupt, match="keeps the training"):
        trained(tmp_path / "run", task_type=task_type)
    monkeypatch.undo()
    trained(tmp_path / "run", task_type=task_type, resume=True)
    assert_same_run(tmp_path / "run", tmp_path / "whole")


def test_a_run_out_of_patience_resumes_to_the_same_end(tmp_path, monkeypatch):
    plan = replace(PLAN, epochs=8, patience=1)
    for name in ("whole", "run"):
        scores = iter([0.5, 0.9, 0.1])  # the third epoch is the last one
        monkeypatch.setattr(graphlearn.training.loop, "_judge", lambda *args, scores=scores: (next(scores), 0.0))
        if name == "run":
            with monkeypatch.context() as patch:
                interrupt_at(patch, 2 * STEPS + 1)
                with pytest.raises(KeyboardInterrupt, match="keeps the training"):
                    trained(tmp_path / name, train_config=plan)
        trained(tmp_path / name, train_config=plan, resume=name == "run")
    assert len(contents(tmp_path / "whole")[1]) == 3 + 2  # and a refit of two epochs
    assert_same_run(tmp_path / "run", tmp_path / "whole")


def test_a_run_that_cannot_be_written_is_not_lost(whole, tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise StorageError("the run could not be written: no space.")

    monkeypatch.setattr(sys.modules["graphlearn.predict.train"], "save_run", full)
    says = r"no space. .*run.partial.safetensors keeps the training: make room and go on with --resume"
    with pytest.raises(StorageError, match=says):
        trained(tmp_path / "run", regime=whole.regime)
    monkeypatch.undo()
    seen: list[dict] = []
    trained(tmp_path / "run", regime=whole.regime, resume=True, on_epoch=seen.append)
    assert not seen
    assert_same_run(tmp_path / "run", whole.folder)


def test_only_the_same_training_resumes(tmp_path, monkeypatch):
    interrupt_at(monkeypatch, 9)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "run")
    monkeypatch.undo()
    says = r"belongs to a training with other data, labels, settings, versions or another seed"
    for change in (
        {"seed": 1},
        {"regime": "rolling"},
        {"train_config": replace(PLAN, lr=0.02)},
        {"model_config": replace(SIZES, channels=4)},
        {"task_type": "multilabel_classification"},
    ):
        with pytest.raises(RunError, match=says):
            trained(tmp_path / "run", resume=True, **change)
    frames = tables()
    frames["orders"].loc[3, "amount"] += 1
    db = open_tables(frames)
    same = {"model_config": SIZES, "train_config": PLAN, "resume": True}
    with pytest.raises(RunError, match=says):
        train_fast(db, make_task(db, tables()), tmp_path / "run", **same)
    db = open_tables(tables())
    task = make_task(db, tables())
    flipped = make_task(db, tables(), labels=task_rows(task).assign(y=lambda rows: 1 - rows["y"]))
    with pytest.raises(RunError, match=says):
        train_fast(db, flipped, tmp_path / "run", **same)
    # A time budget changes no number.
    assert trained(tmp_path / "run", resume=True, max_minutes=60).folder.exists()


def task_rows(task: Task) -> pd.DataFrame:
    rows = pd.concat([task.labels(split) for split in ("train", "val", "test")])
    return rows.set_axis(["customer_id", "as_of", "y"], axis=1)


def test_an_interrupted_training_is_not_overwritten(tmp_path, monkeypatch):
    out = tmp_path / "run"
    interrupt_at(monkeypatch, 9)
    with pytest.raises(KeyboardInterrupt):
        trained(out)
    monkeypatch.undo()
    with pytest.raises(
        UsageError, match=r"run.partial.safetensors keeps an interrupted training of .*--resume, or start"
    ):
        trained(out)
    trained(out, force=True)
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


def test_a_broken_partial_file_is_said(tmp_path):
    partial_path(tmp_path / "run").write_bytes(b"not tensors")
    with pytest.raises(RunError, match=r"run.partial.safetensors cannot be read: .* Start again with --force"):
        trained(tmp_path / "run", resume=True)


IN_A_NEW_PROCESS = """
import sys
import torch
import graphlearn as gl
torch.set_num_threads(1)
run, source, *times = sys.argv[1:]
loaded, db = gl.load(run), gl.connect(source)
for at in times:
    loaded.predict(db, at=at).to_parquet(at + ".parquet")
"""


def test_moved_and_loaded_in_a_new_process_it_predicts_the_same_to_the_last_bit(tmp_path):
    source = write_relbench(tmp_path / "shop")
    db = connect(source)
    run = train_fast(db, Task(db, "again"), tmp_path / "here", model_config=SIZES, train_config=PLAN)
    before = {at: run.predict(db, at=at) for at in ("2021-07-04", "2021-12-24")}
    (tmp_path / "there").mkdir()
    moved = (tmp_path / "here").rename(tmp_path / "there" / "moved")
    done = subprocess.run(
        [sys.executable, "-c", IN_A_NEW_PROCESS, str(moved), str(source), *before],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    for at, expected in before.items():
        pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / f"{at}.parquet"), expected, check_exact=True)
    assert load(tmp_path / "there" / "moved").evaluate("test") == run.evaluate("test")


@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_the_rows_in_the_source_does_not_matter(whole, seed):
    rng = np.random.default_rng(seed)
    frames = tables()
    moved = {name: frame.iloc[rng.permutation(len(frame))] for name, frame in frames.items()}
    for found, expected in (
        (whole.predict(open_tables(moved), at="2021-11-15"), whole.predict(at="2021-11-15")),
        (whole.predict_split("test", open_tables(moved)), whole.predict_split("test")),
    ):
        pd.testing.assert_frame_equal(found, expected, rtol=0, atol=1e-5)


def test_training_on_rows_in_another_order_gives_the_same_predictions(whole, tmp_path):
    frames = tables()
    moved = {name: frame.iloc[::-1] for name, frame in frames.items()}
    db = open_tables(moved)
    other = train_fast(
        db, make_task(db, frames), tmp_path / "run", regime=whole.regime, model_config=SIZES, train_config=PLAN
    )
    pd.testing.assert_frame_equal(other.predict_split("test"), whole.predict_split("test"), rtol=0, atol=1e-5)
