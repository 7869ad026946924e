"""``graphlearn predict``: to stdout, CSV and Parquet, for all or some, and what is refused."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from little_shop import tables, train_fast, write_relbench

from graphlearn.cli.exit import main
from graphlearn.errors import StorageError
from graphlearn.predict import load
from graphlearn.schema import connect
from graphlearn.tasks import Task

AT = "2021-11-15"
UNKNOWN = (
    "unknown  1 of 39 customers have no history by then (first: c018): their predictions rest on their own columns "
    "alone\n"
)


@pytest.fixture(scope="module")
def shop(tmp_path_factory) -> Path:
    return write_relbench(tmp_path_factory.mktemp("predict") / "shop")


@pytest.fixture(scope="module")
def run(shop) -> Path:
    db = connect(shop)
    return train_fast(db, Task(db, "again"), shop.parent / "run").folder


@pytest.fixture
def expected(run) -> pd.DataFrame:
    return load(run).predict(at=AT)


def same(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(found, expected, check_dtype=False, check_exact=False, rtol=1e-9)


def test_to_stdout(run, expected, capfd):
    assert main(["predict", str(run), "--at", AT]) == 0
    out, err = capfd.readouterr()
    assert err == UNKNOWN
    assert out.splitlines()[0] == "pkey,seed_time,prediction"
    same(pd.read_csv(io.StringIO(out), parse_dates=["seed_time"]), expected)


def test_entities_without_history_are_told(run, capfd):
    table = load(run).predict(at="2021-02-01")
    unknown = load(run).without_history(table)
    assert main(["predict", str(run), "--at", "2021-02-01"]) == 0
    out, err = capfd.readouterr()
    assert len(out.splitlines()) == 1 + len(table)
    assert err == (
        f"unknown  {len(unknown)} of {len(table)} customers have no history by then (first: {', '.join(unknown[:3])}): "
        "their predictions rest on their own columns alone\n"
    )


def test_json(run, expected, capfd):
    assert main(["predict", str(run), "--at", AT, "--json"]) == 0
    rows = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [row["pkey"] for row in rows] == expected["pkey"].tolist()
    assert [row["prediction"] for row in rows] == pytest.approx(expected["prediction"].tolist(), rel=1e-12)
    assert rows[0]["seed_time"].startswith(AT)


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_to_a_file(run, shop, expected, tmp_path, capfd, ending):
    file = tmp_path / "deep" / f"out.{ending}"
    assert main(["predict", str(run), str(shop), "--at", AT, "--to", str(file)]) == 0
    out, err = capfd.readouterr()
    assert out == ""
    assert err == UNKNOWN + f"wrote  {file}  {len(expected)} predictions\n"
    found = pd.read_parquet(file) if ending == "parquet" else pd.read_csv(file, parse_dates=["seed_time", "scored_at"])
    assert set(found.pop("run")) == {load(run).id}
    assert abs(found.pop("scored_at") - pd.Timestamp.now("UTC").tz_localize(None)).max() < pd.Timedelta("5 min")
    same(found, expected)
    assert [path.name for path in file.parent.iterdir()] == [file.name]
    before = file.read_bytes()
    assert main(["predict", str(run), "--at", "2021-02-01", "--to", str(file)]) == 2
    assert "exists. Name another place, or add --append" in capfd.readouterr().err
    assert file.read_bytes() == before
    assert main(["predict", str(run), "--at", "2021-02-01", "--to", str(file), "--force"]) == 0
    assert file.read_bytes() != before


def test_some_entities(run, expected, tmp_path, capfd):
    keys = tmp_path / "keys.txt"
    keys.write_text("c005\r\n\nc001\n", encoding="utf-8")
    assert main(["predict", str(run), "--at", AT, "--entity", "c003", "--entities", str(keys)]) == 0
    found = pd.read_csv(io.StringIO(capfd.readouterr().out))
    assert found["pkey"].tolist() == ["c001", "c003", "c005"]
    some = expected.set_index("pkey").loc[found["pkey"], "prediction"]
    assert found["prediction"].tolist() == pytest.approx(some.tolist(), abs=1e-6)


def test_a_grown_copy_of_the_source(run, expected, tmp_path, capfd):
    frames = tables()
    frames["orders"].loc[300] = [9999, "c001", pd.Timestamp("2022-01-01"), 5.0, "fax"]
    for name, frame in frames.items():
        frame.to_csv(tmp_path / f"{name}.csv", index=False)
    assert main(["predict", str(run), str(tmp_path), "--at", AT]) == 0
    found = pd.read_csv(io.StringIO(capfd.readouterr().out), parse_dates=["seed_time"])
    pd.testing.assert_frame_equal(found, expected, check_dtype=False, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (
            ["--at", "soon"],
            2,
            "UsageError: '--at' must be a time such as 2024-01-31 or 2024-01-31T12:00:00, got 'soon'.",
        ),
        (
            ["--to", "out.xlsx"],
            2,
            "UsageError: 'out.xlsx' must end in .csv or .parquet, or name a table of a database.",
        ),
        (["--to", "out.csv", "--replace", "--append"], 2, "UsageError: --replace and --append exclude each other"),
        (["--append"], 2, "UsageError: --append is about a TARGET: name one with --to."),
        (["--entity", "c999"], 3, "TaskError: 1 of 1 keys to predict for name no row of 'customers'"),
        (["--entities", "nowhere.txt"], 2, "UsageError: --entities: 'nowhere.txt' cannot be read: No such file"),
        (["--device", "tpu"], 2, "UnknownNameError: no device 'tpu'."),
    ],
)
def test_what_is_refused(run, tmp_path, monkeypatch, capfd, words, code, says):
    monkeypatch.chdir(tmp_path)
    assert main(["predict", str(run), *words]) == code
    out, err = capfd.readouterr()
    assert err.startswith(says)
    assert out == ""
    assert not list(tmp_path.iterdir())


def test_a_file_without_keys_is_not_all_keys(run, tmp_path, capfd):
    (tmp_path / "keys.txt").write_text("\n \n")
    assert main(["predict", str(run), "--entities", str(tmp_path / "keys.txt")]) == 2
    assert "keys.txt' holds no key. Write one primary key a line, or leave the option out" in capfd.readouterr().err
    (tmp_path / "keys.txt").write_bytes(b"\xff\xfe")
    assert main(["predict", str(run), "--entities", str(tmp_path / "keys.txt")]) == 2
    assert "cannot be read: 'utf-8' codec" in capfd.readouterr().err


def test_a_file_that_cannot_be_written_is_absent(run, tmp_path, capfd, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("graphlearn.database.write_file.os.replace", full)
    assert main(["predict", str(run), "--at", AT, "--to", str(tmp_path / "out.csv")]) == StorageError.exit_code
    says = f"StorageError: {tmp_path / 'out.csv'} could not be written: No space left on device. It is as it was.\n"
    assert capfd.readouterr().err == says
    assert not list(tmp_path.iterdir())


def test_the_source_of_the_training_is_gone(run, tmp_path, capfd):
    copy = shutil.copytree(run, tmp_path / "copy")
    meta = json.loads((copy / "run.json").read_text())
    (copy / "run.json").write_text(json.dumps(meta | {"source": "/nowhere/shop"}))
    assert main(["predict", str(copy)]) == 2
    says = "UsageError: the source of this run, /nowhere/shop, is not there: name the database to use.\n"
    assert capfd.readouterr().err == says
