"""``graphlearn train`` as a user runs it: what it prints, what it refuses, and what Ctrl-C and a full disk leave."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import pytest
from little_shop import write_relbench

from graphlearn.cli.exit import main
from graphlearn.predict import load


@pytest.fixture(scope="module")
def shop(tmp_path_factory) -> Path:
    return write_relbench(tmp_path_factory.mktemp("cli") / "a shop")


def train(*words: object) -> int:
    """One epoch of a network."""
    return main(["train", *map(str, words), "--model", "gnn", "--max-minutes", "0"])


def graphlearn(*words: object, **kwargs) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "graphlearn", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        **kwargs,
    )


def test_what_it_prints(shop, tmp_path, capfd):
    assert train(shop, "--task", "again", "--out", tmp_path / "run", "--seed", 3) == 0
    out, err = capfd.readouterr()
    best, wrote = out.splitlines()
    assert best.startswith("best   epoch 1, val auroc 0.")
    assert best.endswith(", frozen; test was not read")
    assert wrote == f"wrote  {tmp_path}/run        next: graphlearn evaluate {tmp_path}/run '{shop}'"
    lines = err.splitlines()
    assert lines[0] == "labels   again: train 76 | val 56 from 2021-08-01"
    assert lines[1].startswith(
        "graph    952 nodes of 4 types, 1,500 edges of 3 foreign keys, statistics fitted on rows "
    )
    assert lines[2].startswith("model    4 x temporal sage, 2 layers, ")
    assert lines[2].endswith(" parameters; cpu, seed 3, frozen")
    assert any(line.startswith("epoch   1/") and " val auroc 0." in line for line in lines)
    assert load(tmp_path / "run").meta["seed"] == 3


def test_a_learned_norm(shop, tmp_path, capfd):
    """The run remembers it; a run from before there was a choice has none, and loads as it did."""
    words = ["--task", "again", "--members", 1, "--no-refit"]
    assert train(shop, *words, "--aggr", "gnp", "--out", tmp_path / "run") == 0
    assert "model    temporal sage with gnp, 2 layers" in capfd.readouterr().err
    run = load(tmp_path / "run")
    assert run.model_config.aggr == "gnp"
    assert any(name.endswith("growth") for name in run.model.state_dict())
    assert main(["predict", str(tmp_path / "run"), str(shop), "--at", "2021-11-15"]) == 0

    assert train(shop, *words, "--out", tmp_path / "old") == 0
    capfd.readouterr()
    assert main(["predict", str(tmp_path / "old"), str(shop), "--at", "2021-11-15"]) == 0
    before = capfd.readouterr().out
    file = tmp_path / "old" / "run.json"
    kept = json.loads(file.read_text())
    assert kept["model_config"].pop("aggr") == "mean"
    file.write_text(json.dumps(kept))
    assert load(tmp_path / "old").model_config.aggr == "mean"
    assert main(["predict", str(tmp_path / "old"), str(shop), "--at", "2021-11-15"]) == 0
    assert capfd.readouterr().out == before


def test_json(shop, tmp_path, capfd):
    words = ["--task", "spend", "--out", tmp_path / "run", "--regime", "rolling", "--json"]
    assert train(shop, *words) == 0
    (line,) = capfd.readouterr().out.splitlines()
    found = json.loads(line)
    assert found.keys() == {"run", "task", "regime", "seed", "best_epoch", "val", "seconds"}
    assert (found["task"], found["regime"], found["seed"], found["best_epoch"]) == ("spend", "rolling", 0, 1)


def test_a_task_folder_and_a_duckdb_file(shop, tmp_path, capfd):
    file = tmp_path / "shop.duckdb"
    with duckdb.connect(str(file)) as con:
        for table in (shop / "db").glob("*.parquet"):
            con.execute(f"CREATE TABLE {table.stem} AS FROM '{table}'")
    assert train(file, "--task", shop / "tasks" / "again", "--out", tmp_path / "run") == 0
    assert main(["evaluate", str(tmp_path / "run"), str(file)]) == 0
    assert main(["predict", str(tmp_path / "run"), str(file), "--at", "2021-11-15"]) == 0
    assert capfd.readouterr().out.count("\n") > 40


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["--task", "agian"], 2, "UnknownNameError: no task 'agian'. Did you mean 'again'? Known: again, spend."),
        (["--model", "gmn"], 2, "UnknownNameError: no model 'gmn'. Did you mean 'gnn'? Known: auto, constant, "),
        (
            ["--regime", "froze"],
            2,
            "UnknownNameError: no regime 'froze'. Did you mean 'frozen'? Known: frozen, rolling.",
        ),
        (["--aggr", "gpn"], 2, "UnknownNameError: no aggregation 'gpn'. Did you mean 'gnp'? Known: gnp, mean."),
        (["--device", "cuad"], 2, "UnknownNameError: no device 'cuad'. Did you mean 'cuda'? Known: cpu, cuda."),
        (["--resume"], 2, "RunError: there is no interrupted training to go on with: "),
        (["--sede", "1"], 2, "UnknownNameError: no option '--sede'. Did you mean '--seed'?"),
        (["--seed", "-1"], 2, "UsageError: Invalid value for '--seed': Input should be greater than or equal to 0"),
    ],
)
def test_what_is_refused(shop, tmp_path, capfd, words, code, says):
    given = words if words[0] == "--task" else ["--task", "again", *words]
    assert main(["train", str(shop), "--out", str(tmp_path / "run"), *given]) == code
    err = capfd.readouterr().err
    assert says in err
    assert "Traceback" not in err
    assert not list(tmp_path.iterdir())


def test_names_are_checked_before_the_source_is_opened(tmp_path, capfd):
    """A slip of the pen must not cost the minutes that a large source takes."""
    assert main(["train", "nowhere", "--task", "x", "--out", str(tmp_path / "run"), "--regime", "froze"]) == 2
    assert "no regime 'froze'" in capfd.readouterr().err
    assert main(["train", str(tmp_path / "nowhere"), "--task", "x", "--out", str(tmp_path / "run")]) == 2
    assert f"SourceError: no file or folder '{tmp_path}/nowhere'" in capfd.readouterr().err


def test_out_is_not_overwritten(shop, tmp_path, capfd):
    run = tmp_path / "run"
    assert train(shop, "--task", "again", "--out", run) == 0
    before = (run / "run.json").read_text()
    assert train(shop, "--task", "again", "--out", run, "--seed", 1) == 2
    says = f"UsageError: {run} exists. Name another run folder, or add --force to replace it.\n"
    assert capfd.readouterr().err.endswith(says)
    assert (run / "run.json").read_text() == before
    assert train(shop, "--task", "again", "--out", run, "--seed", 1, "--force") == 0
    assert load(run).meta["seed"] == 1


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_force_replaces_runs_only(shop, tmp_path, capfd, kind):
    mine = tmp_path / "mine"
    if kind == "folder":
        mine.mkdir()
        (mine / "thesis.txt").write_text("years of work")
    else:
        mine.write_text("years of work")
    assert train(shop, "--task", "again", "--out", mine, "--force") == 2
    assert f"{mine} is not a run folder, so --force does not replace it. Name another place." in capfd.readouterr().err
    assert "years of work" in (mine / "thesis.txt" if kind == "folder" else mine).read_text()


def test_a_file_that_another_process_writes(shop, tmp_path):
    file = tmp_path / "shop.duckdb"
    hold = "import duckdb, sys; con = duckdb.connect(sys.argv[1]); con.execute('CREATE TABLE t (a INT)'); "
    hold += "print(1, flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", hold, str(file)], stdin=subprocess.PIPE, stdout=-1) as holder:
        assert holder.stdout.readline() == b"1\n"
        done = graphlearn("train", file, "--task", shop / "tasks" / "again", "--out", tmp_path / "run")
        _, err = done.communicate()
        holder.stdin.close()
    assert done.returncode == 2
    assert f"SourceError: {file} is locked by process {holder.pid}, which has it open for writing." in err


def test_a_full_disk(shop, tmp_path):
    """No file may grow beyond 20 kB, so what is kept after the first epoch does not fit."""

    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    done = graphlearn("train", shop, "--task", "again", "--out", tmp_path / "run", preexec_fn=small_files)
    _, err = done.communicate()
    assert done.returncode == 1
    assert f"StorageError: the training could not be kept in {tmp_path}/run.partial.safetensors: " in err
    assert "File too large" in err
    assert "Traceback" not in err
    assert not list(tmp_path.iterdir())


def test_ctrl_c_and_resume(shop, tmp_path, capfd):
    words = ["train", shop, "--task", "again", "--model", "gnn", "--out", tmp_path / "run"]
    running = graphlearn(*words)
    partial = tmp_path / "run.partial.safetensors"
    until = time.monotonic() + 120
    while not partial.exists() and time.monotonic() < until and running.poll() is None:
        time.sleep(0.01)
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=60)
    assert running.returncode == 1, err
    assert err.endswith(f"Interrupted. {partial} keeps the training up to its last whole epoch; go on with --resume.\n")
    assert out == ""
    assert [path.name for path in tmp_path.iterdir()] == [partial.name]

    assert main([str(word) for word in words]) == 2
    says = (
        f"{partial} keeps an interrupted training of {tmp_path}/run. Go on with --resume, or start again with --force."
    )
    assert says in capfd.readouterr().err

    resumed = graphlearn(*words, "--resume", "--max-minutes", "0")  # a budget is no other training
    _, err = resumed.communicate(timeout=120)
    assert resumed.returncode == 0, err
    assert "\nresume   after epoch " in err
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert load(tmp_path / "run").evaluate("val")["rows"] == 56


def test_the_default_says_what_it_chose_and_why(shop, tmp_path, capfd):
    words = ["train", str(shop), "--task", "again", "--max-features", "12", "--max-minutes", "0"]
    assert main([*words, "--out", str(tmp_path / "run")]) == 0
    out, err = capfd.readouterr()
    assert out.splitlines()[0].startswith("best   gbdt, val auroc 0.")
    assert "\nfeatures 12 from the schema, " in f"\n{err}"
    assert "\nchoice   gbdt: there was no time left to try a network (" in err
    assert main([*words, "--model", "gbdt", "--max-age", "0", "--out", str(tmp_path / "trees"), "--json"]) == 0
    found = json.loads(capfd.readouterr().out)
    assert found["kind"] == "gbdt"
    assert found["seconds_of"].keys() == {"features", "folds", "trees"}
    assert main([*words, "--max-age", "old", "--out", str(tmp_path / "other")]) == 2
    assert "'max_age' must be a duration such as '30 days'" in capfd.readouterr().err
