"""``graphlearn explain``: one prediction and a whole run, as text and JSON, and what is refused."""

from __future__ import annotations

import json

import pytest
from little_shop import train_fast, write_relbench

from graphlearn.cli.exit import main
from graphlearn.predict.explain import explain
from graphlearn.predict.importance import importance
from graphlearn.schema import connect
from graphlearn.tasks import Task

AT = "2021-11-15"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("explain")
    source = write_relbench(folder / "shop")
    db = connect(source)
    return train_fast(db, Task(db, "again"), folder / "run", model="gnn", members=1), source


def run(capsys, *words):
    code = main(["explain", *map(str, words)])
    out, err = capsys.readouterr()
    return code, out, err


def test_one_prediction(trained, capsys):
    loaded, source = trained
    found = explain(loaded, entity="c001", at=AT, top=3)
    code, out, err = run(capsys, loaded.folder, source, "--entity", "c001", "--at", AT, "--top", 3)
    assert (code, out, err) == (0, f"{found}\n", "")
    assert out.startswith(f"again of customers c001 at {AT}: probability 0.")
    code, out, _ = run(capsys, loaded.folder, "--entity", "c001", "--at", AT, "--top", 3, "--json")
    assert code == 0
    assert json.loads(out) == found.to_dict()


def test_a_whole_run(trained, capsys):
    loaded, source = trained
    table = importance(loaded, rows=30)
    code, out, err = run(capsys, loaded.folder, source, "--rows", 30, "--top", 2)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "again, val: what moves the predictions, in shares of all effects"
    assert [line for line in lines if line and not line.startswith(" ")][1:] == ["tables", "columns", "windows"]
    first = table.groupby("table")["share"].sum()
    assert lines[lines.index("tables") + 1] == f"  {first.max():6.1%}  {first.idxmax()}"
    assert len(lines) == 1 + 3 * 2 + 3 * 2
    code, out, _ = run(capsys, loaded.folder, "--rows", 30, "--json")
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["table"] for row in rows] == table["table"].tolist()
    assert sum(row["share"] for row in rows) == pytest.approx(1)


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["--at", AT], 2, "UsageError: --at and --class are about one prediction: name whose with --entity KEY."),
        (["--class", "a"], 2, "UsageError: --at and --class are about one prediction"),
        (["--entity", "nobody", "--at", AT], 3, "TaskError: 1 of 1 keys to predict for name no row of 'customers'"),
        (["--entity", "c001", "--at", "soon"], 2, "UsageError: '--at' must be a time such as"),
        (["--entity", "c001", "--class", "a"], 2, "UsageError: task 'again' (binary_classification) has no classes"),
        (["--split", "late"], 2, "UnknownNameError: no split 'late'"),
    ],
)
def test_what_is_refused(trained, capsys, words, code, says):
    loaded, source = trained
    found, out, err = run(capsys, loaded.folder, source, *words)
    assert (found, out) == (code, "")
    assert err.startswith(says)
