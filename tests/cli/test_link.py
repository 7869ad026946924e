"""graphlearn link, from the command line to its whole output."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
import torch

from graphlearn.cli.exit import main

GOLDEN = Path(__file__).parents[1] / "golden" / "link.txt"


@pytest.fixture
def calls(tmp_path):
    """300 calls among 60 people, who call those near them on a ring, with their times."""
    generator = torch.Generator().manual_seed(0)
    caller = torch.randint(60, (300,), generator=generator)
    called = (caller + torch.randint(1, 6, (300,), generator=generator)) % 60
    path = tmp_path / "calls.csv"
    pd.DataFrame({"caller": caller, "called": called, "time": torch.arange(300)}).to_csv(path, index=False)
    return path


def test_the_whole_output(calls, capfd):
    assert main(["link", str(calls), "--model", "ra"]) == 0
    first = capfd.readouterr()
    assert main(["link", str(calls), "--split", "temporal", "--model", "katz", "--negatives", "degree"]) == 0
    second = capfd.readouterr()
    found = "".join(f"$ {name}\n{said.err}{said.out}" for name, said in (("random", first), ("temporal", second)))
    assert found == GOLDEN.read_text()


def test_a_model_is_trained_kept_and_scores_pairs(calls, tmp_path, capfd):
    out = tmp_path / "run"
    words = ["link", str(calls), "--channels", "8", "--epochs", "2", "--out", str(out)]
    assert main([*words, "--json"]) == 0
    said = capfd.readouterr()
    found = json.loads(said.out)
    assert list(found["test"]) == ["gcn", "cn", "aa", "ra"]
    assert found["links"] == {phase: found["links"][phase] for phase in ("train", "val", "test")}
    assert [line.split()[0] for line in said.err.splitlines()] == ["data", "split", "model", "epoch", "epoch"]
    assert json.loads((out / "run.json").read_text())["metrics"]["test"] == found["test"]

    pairs = tmp_path / "pairs.csv"
    pd.DataFrame({"a": [0, 5], "b": [30, 6]}).to_csv(pairs, index=False)
    assert main(["link", str(out), "--pairs", str(pairs)]) == 0
    rows = capfd.readouterr().out.splitlines()
    assert rows[0] == "a,b,linked,score"
    assert rows[1].startswith("0,30,False,")
    assert main(["link", str(out), "--pairs", str(pairs), "--json"]) == 0
    assert json.loads(capfd.readouterr().out.splitlines()[1])["b"] == "6"

    assert main(words) == 2
    assert "run exists. Name another run folder, or add --force" in capfd.readouterr().err
    assert main([*words, "--force", "--head", "dot"]) == 0
    assert f"wrote  {out}        next: graphlearn link {out} --pairs pairs.csv" in capfd.readouterr().out


@pytest.mark.parametrize("words", [["--split", "new-node"], ["--split", "temporal", "--negatives", "historical"]])
def test_other_splits(calls, capfd, words):
    assert main(["link", str(calls), "--model", "cn", "--val", "0.1", "--test", "0.2", *words, "--json"]) == 0
    found = json.loads(capfd.readouterr().out)
    assert list(found["test"]["cn"]) == ["uniform", *(["historical"] if "historical" in words else []), "hard"]


def test_a_published_split(data_dir, capfd):
    seal = data_dir / "seal"
    words = ["link", str(seal / "USAir.mat"), "--split-file", str(seal / "splits" / "USAir_split_1.mat")]
    assert main([*words, "--model", "aa", "--json"]) == 0
    found = json.loads(capfd.readouterr().out)
    assert found["split"] == "official"
    assert list(found["test"]["aa"]) == ["official", "uniform", "hard"]
    assert found["test"]["aa"]["official"]["auc"] > 0.9


def test_a_database(calls, tmp_path, capfd):
    folder = tmp_path / "shop"
    folder.mkdir()
    frame = pd.read_csv(calls)
    pd.DataFrame({"user_id": range(60), "age": 20}).to_csv(folder / "users.csv", index=False)
    pd.DataFrame({"movie_id": range(60), "year": 2000}).to_csv(folder / "movies.csv", index=False)
    ratings = pd.DataFrame({"rating_id": range(300), "user_id": frame["caller"], "movie_id": frame["called"]})
    ratings.to_csv(folder / "ratings.csv", index=False)
    (folder / "manifest.yaml").write_text(
        "tables:\n  users: {pkey: user_id}\n  movies: {pkey: movie_id}\n"
        "  ratings: {pkey: rating_id, fkeys: {user_id: users, movie_id: movies}}\n"
    )
    assert main(["link", str(folder), "--edges", "ratings(user_id, movie_id)", "--model", "katz"]) == 0
    said = capfd.readouterr()
    assert "120 nodes (users and movies), no features" in said.err
    assert main(["link", str(folder)]) == 2
    assert (
        "is read as a database: say which table holds the links with --edges 'table(key, key)'"
        in capfd.readouterr().err
    )


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--model", "gnc"], 2, "no link predictor 'gnc'. Did you mean 'gcn'?"),
        (["--split", "radnom"], 2, "no split 'radnom'. Did you mean 'random'?"),
        (["--negatives", "hrad"], 2, "no kind of negatives 'hrad'. Did you mean 'hard'?"),
        (["--negatives", "historical"], 2, "historical negatives need times, and links that are asked for again"),
        (["--split", "official"], 2, "calls has no published split: take --split random, temporal or new-node"),
        (["--split-file", "x.mat"], 2, "--split-file is about a .mat file, not about"),
        (["--edges", "calls(a, b)", "--columns", "a,b"], 2, "--columns is about a file of edges (.csv, .tsv, .txt, "),
        (["--pairs", "x.csv"], 2, "is not a run folder: "),
        (["--choose-by", "acu"], 2, "no link metric 'acu'. Did you mean 'auc'?"),
        (["--split", "temporal", "--val-time", "soon"], 2, "'--val-time' must be a time such as 2024-01-31"),
        (
            ["--columns", "caller,called", "--split", "temporal"],
            2,
            "calls has no times: take --split random",
        ),
    ],
)
def test_wrong_usage(calls, capfd, words, code, message):
    assert main(["link", str(calls), *words]) == code
    assert message in capfd.readouterr().err


def test_pairs_that_cannot_be_read(calls, tmp_path, capfd):
    assert main(["link", str(calls), "--model", "cn", "--out", str(tmp_path / "run")]) == 0
    capfd.readouterr()
    assert main(["link", str(tmp_path / "run"), "--pairs", str(tmp_path / "no.csv")]) == 2
    assert "--pairs: '" in capfd.readouterr().err
    frame = pd.DataFrame({"a": ["1"], "b": ["2"]})
    frame.to_parquet(tmp_path / "pairs.parquet")
    assert main(["link", str(tmp_path / "run"), "--pairs", str(tmp_path / "pairs.parquet")]) == 0
    assert capfd.readouterr().out.startswith("a,b,linked,score\n1,2,")


def test_datasets_that_are_not_there(tmp_path, capfd):
    assert main(["link", "Cora", "--root", str(tmp_path)]) == 2
    assert "SourceError: Cora is not in " in capfd.readouterr().err
