"""``graphlearn label``: the whole output."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pandas as pd
import pytest

from graphlearn.cli.exit import main
from graphlearn.schema import connect
from graphlearn.tasks import Task

SUMMARY = "labels   driver-top3, test: 726 (17.6% true), 30 times from 2010-03-02 to 2013-03-16\n"


def label(capfd: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    code = main(["label", *map(str, words)])
    return code, *capfd.readouterr()


def test_the_table_goes_to_stdout_and_the_summary_to_stderr(f1, rel_f1: Path, capfd):
    code, out, err = label(capfd, rel_f1, "--task", "driver-top3", "--split", "test")
    assert (code, err) == (0, SUMMARY)
    assert out.splitlines()[:3] == ["pkey,seed_time,label", "0,2010-03-02,0", "2,2010-03-02,0"]
    pd.testing.assert_frame_equal(
        pd.read_csv(io.StringIO(out), parse_dates=["seed_time"]), Task(f1, "driver-top3").labels("test")
    )


def test_json_is_one_line_for_each_label(rel_f1: Path, capfd):
    code, out, err = label(capfd, rel_f1, "--task", "driver-top3", "--split", "test", "--json")
    lines = [json.loads(line) for line in out.splitlines()]
    assert (code, err, len(lines)) == (0, SUMMARY, 726)
    assert lines[0] == {"pkey": 0, "seed_time": "2010-03-02T00:00:00.000000", "label": 0}


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_file_is_whole_and_not_overwritten(f1, rel_f1: Path, capfd, tmp_path: Path, ending: str):
    file = tmp_path / "new" / f"labels.{ending}"
    words = (rel_f1, "--task", "driver-position", "--split", "val", "--out", file)
    code, out, err = label(capfd, *words)
    assert (code, out) == (0, "")
    assert err == (
        "labels   driver-position, val: 499 (mean 11.08, median 11.4), 23 times from 2005-03-02 to 2009-10-07\n"
        f"wrote  {file}\n"
    )
    read = pd.read_csv(file, parse_dates=["seed_time"]) if ending == "csv" else pd.read_parquet(file)
    pd.testing.assert_frame_equal(read, Task(f1, "driver-position").labels("val"), check_dtype=False)
    code, out, err = label(capfd, *words)
    assert (code, err) == (
        2, f"UsageError: --out: '{file}' exists. Name another file, or add --force to replace it.\n"
    )  # fmt: skip
    assert label(capfd, *words, "--force")[0] == 0
    assert [p.name for p in file.parent.iterdir()] == [file.name]


def test_the_sql_can_be_run(f1, f1_manifests, rel_f1: Path, capfd, tmp_path: Path):
    folder = Task(f1, f1_manifests["driver-top3"]).save(tmp_path / "saved")
    code, out, err = label(capfd, rel_f1, "--task", folder, "--split", "val", "--sql")
    assert (code, err) == (0, "")
    assert connect(rel_f1).arrow(out).num_rows == 588
    code, line, _ = label(capfd, rel_f1, "--task", folder, "--split", "val", "--sql", "--json")
    assert json.loads(line) == {"task": "driver-top3", "split": "val", "sql": out.removesuffix("\n")}


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("--task", "driver-dnff"), 2, "UnknownNameError: no task 'driver-dnff'. Did you mean 'driver-dnf'? Known: "),
        (("--task", "driver-dnf", "--split", "tets"), 2, "UnknownNameError: no split 'tets'. Did you mean 'test'?"),
        (("--task", "driver-dnf", "--sql"), 2, "UsageError: task 'driver-dnf' is external: no SQL makes its labels."),
        (("--task", "driver-dnf", "--out", "l.txt"), 2, "UsageError: --out: 'l.txt' must end in .csv or .parquet."),
        (("--task", "driver-dnf", "--out", "/dev/null/l.csv"), 1, "StorageError: could not write /dev/null/l.csv: "),
    ],
)
def test_what_it_refuses(rel_f1: Path, capfd, words: tuple[str, ...], code: int, says: str):
    found, out, err = label(capfd, rel_f1, *words)
    assert (found, out) == (code, "")
    assert err.splitlines()[-1].startswith(says)
