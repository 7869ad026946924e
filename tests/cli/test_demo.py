"""The demo: what it refuses, what it runs, and where its generator comes from."""

from __future__ import annotations

import shlex
import subprocess
import sys
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest

import graphlearn
from graphlearn.cli import demo as demo_module
from graphlearn.cli import exit
from graphlearn.cli.demo import load_generator


@pytest.fixture
def calls(monkeypatch):
    """Records the commands of the demo in place of running them."""
    made: list[list[str]] = []
    monkeypatch.setattr(demo_module, "run", lambda words: made.append(words) or 0)
    monkeypatch.setattr(
        graphlearn, "load", lambda folder: SimpleNamespace(evaluate=lambda split: {"auroc": 0.75}), raising=False
    )
    return made


def test_each_command_is_shown_before_it_runs(calls, tmp_path, capfd):
    out = tmp_path / "a folder"
    assert exit.main(["demo", "--out", str(out), "--seed", "3", "--customers", "50"]) == 0
    shown = [line.removeprefix("$ ") for line in capfd.readouterr().out.splitlines() if line.startswith("$ ")]
    assert [shlex.split(line) for line in shown] == [["graphlearn", *words] for words in calls]
    assert calls == [
        ["inspect", f"{out}/shop"],
        [
            *("train", f"{out}/shop", "--task", "churn", "--model", "gnn", "--no-refit", "--seed", "3"),
            *("--members", "1", "--out", f"{out}/churn"),
        ],
        ["evaluate", f"{out}/churn", f"{out}/shop"],
        ["predict", f"{out}/churn", f"{out}/shop", "--to", f"{out}/predictions.parquet"],
        ["report", f"{out}/churn", f"{out}/shop"],
    ]


def test_it_ends_with_the_score_next_to_the_best_there_is(calls, tmp_path, capfd):
    generator = load_generator()
    best = generator.best_auroc(seed=0, customers=50)["test"]
    assert exit.main(["demo", "--out", str(tmp_path / "demo"), "--customers", "50"]) == 0
    summary = capfd.readouterr().out.splitlines()[-5:]
    assert summary[1].split()[-1] == "0.750"
    assert f" {best:.3f}  (the generator knows the probabilities)" in summary[2]


def test_a_command_that_fails_ends_the_demo_with_its_code(calls, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(demo_module, "run", lambda words: calls.append(words) or 3)
    assert exit.main(["demo", "--out", str(tmp_path / "demo"), "--customers", "50"]) == 3
    assert [words[0] for words in calls] == ["inspect"]


def test_a_folder_with_something_in_it_is_left_alone(calls, tmp_path, capfd):
    (tmp_path / "mine.txt").write_text("keep me")
    assert exit.main(["demo", "--out", str(tmp_path)]) == 2
    assert capfd.readouterr().err == (
        f"UsageError: --out: '{tmp_path}' is not empty (first: mine.txt). "
        "Name another folder, or add --force to replace what an earlier demo wrote there.\n"
    )
    assert calls == []


def test_force_replaces_what_a_demo_wrote_and_nothing_else(calls, tmp_path):
    (tmp_path / "mine.txt").write_text("keep me")
    (tmp_path / "predictions.parquet").write_text("old")
    (tmp_path / "shop" / "db").mkdir(parents=True)
    (tmp_path / "shop" / "db" / "old.parquet").write_text("old")
    assert exit.main(["demo", "--out", str(tmp_path), "--force", "--customers", "50"]) == 0
    assert (tmp_path / "mine.txt").read_text() == "keep me"
    assert not (tmp_path / "predictions.parquet").exists()
    assert not (tmp_path / "shop" / "db" / "old.parquet").exists()
    assert (tmp_path / "shop" / "manifest.yaml").exists()


def test_out_may_not_be_a_file(calls, tmp_path, capfd):
    (tmp_path / "file").touch()
    assert exit.main(["demo", "--out", str(tmp_path / "file")]) == 2
    assert capfd.readouterr().err == (
        f"UsageError: --out: '{tmp_path}/file' is a file. Name a folder that is new or empty.\n"
    )


def test_a_missing_generator_is_said(monkeypatch, tmp_path, capfd):
    monkeypatch.setattr(graphlearn, "__file__", str(tmp_path / "graphlearn" / "__init__.py"))
    assert exit.main(["demo", "--out", str(tmp_path / "demo")]) == 1
    assert capfd.readouterr().err.startswith("StorageError: the demo's generator is missing (looked for ")
    assert not (tmp_path / "demo").exists()


def test_the_whole_path_runs_on_a_small_shop(tmp_path):
    """Nothing replaced: the commands, a model that trains, and predictions in a file."""
    words = [sys.executable, "-m", "graphlearn", "demo", "--out", "demo", "--customers", "150"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "the best that anyone can reach" in done.stdout
    table = pq.read_table(tmp_path / "demo" / "predictions.parquet")
    assert table.num_rows > 0
    assert {"seed_time", "prediction"} <= set(table.column_names)
    assert done.stdout.endswith("Report: demo/churn/report.html\n")
    assert "</html>" in (tmp_path / "demo/churn/report.html").read_text()
