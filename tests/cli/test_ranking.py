"""A ranking on the command line: labels, plan, training, metrics, predictions, and what is not for it."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pandas as pd
import pytest
from little_shop import write_relbench

from graphlearn.cli.exit import main
from graphlearn.predict import load

QUERY = "PREDICT LIST_DISTINCT(items.product_id, 0, 30, days) RANK TOP 2 FOR EACH customers.customer_id"
NAME = "list_distinct-items-product_id-0-30-days"
AT = "2021-11-15"


@pytest.fixture(scope="module")
def shop(tmp_path_factory) -> Path:
    return write_relbench(tmp_path_factory.mktemp("ranking") / "shop")


@pytest.fixture(scope="module")
def run(shop) -> Path:
    out = shop.parent / "run"
    words = ["train", str(shop), QUERY, "--model", "two-tower", "--max-minutes", "0", "--out", str(out)]
    assert main(words) == 0
    return out


def test_labels_and_their_sql(shop, capfd):
    assert main(["label", str(shop), QUERY, "--sql"]) == 0
    assert "list_sort" in capfd.readouterr().out.lower()
    assert main(["label", str(shop), QUERY]) == 0
    out, err = capfd.readouterr()
    assert re.search(r"mean \d\.\d+ values", err)
    assert out.splitlines()[0] == "pkey,seed_time,label"


def test_a_dry_run(shop, capfd, tmp_path):
    assert main(["train", str(shop), QUERY, "--dry-run"]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines[0].startswith(f"source   {shop}: 4 tables, ")
    assert "task     recommendation: customers.customer_id, known after 30 days" in lines
    assert any(re.fullmatch(r"val      \d+ labels \(mean \d\.\d+ values\) at 1 times from .*", line) for line in lines)


def test_what_training_prints(shop, capfd, tmp_path):
    words = ["train", str(shop), QUERY, "--max-minutes", "0", "--out", str(tmp_path / "run"), "--seed", "3"]
    assert main(words) == 0
    out, err = capfd.readouterr()
    best, wrote = out.splitlines()
    assert re.fullmatch(r"best   (two-tower|id-gnn|fused), epoch 1, val map 0\.\d{4}, frozen; test was not read", best)
    assert wrote == f"wrote  {tmp_path}/run        next: graphlearn evaluate {tmp_path}/run {shop}"
    lines = err.splitlines()
    assert re.fullmatch(rf"labels   {NAME}: train \d+ \| val \d+ from 2021-10-31", lines[0])
    assert any(
        re.fullmatch(
            r"model    temporal sage, fused ranking of products, 3 layers, .* parameters; cpu, seed 3, frozen", x
        )
        for x in lines
    )
    for kind in ("fused", "id-gnn", "two-tower"):
        assert any(re.match(rf"{kind}  epoch   1/\d+   loss \d\.\d+   val map 0\.\d{{4}}   ", line) for line in lines)
    assert any(re.match(r"[a-z-]+  refit   1/1   loss \d\.\d+   with the val labels", line) for line in lines)
    assert re.match(r"choice   [a-z-]+: map on validation: fused 0\.\d+, id-gnn 0\.\d+, two-tower 0\.\d+ ", lines[-1])


def test_json_of_a_training(shop, capfd, tmp_path):
    words = ["train", str(shop), QUERY, "--model", "id-gnn", "--max-minutes", "0", "--out", str(tmp_path / "run")]
    assert main([*words, "--json"]) == 0
    found = json.loads(capfd.readouterr().out)
    assert (found["kind"], found["task"], found["regime"], found["best_epoch"]) == ("id-gnn", NAME, "frozen", 1)


def test_metrics_beside_the_baselines(run, shop, capfd):
    assert main(["evaluate", str(run)]) == 0
    out, err = capfd.readouterr()
    lines = out.splitlines()
    rows = load(run).evaluate("test")["rows"]
    assert lines[0] == f"{NAME}, test, regime frozen: {rows} rows; [95 % interval]"
    assert lines[1].split() == ["model", "map", "recall", "precision", "ndcg", "mrr"]
    names = ["this run", "popularity", "repeats", "repeats, then popularity"]
    numbers = r"0\.\d{4} \[0\.\d{4}, 0\.\d{4}\]( 0\.\d{4}){4}"
    for name, line in zip(names, lines[2:6], strict=True):
        assert re.fullmatch(f"{name} {numbers}", " ".join(line.split())), line
    assert err == ""
    assert main(["evaluate", str(run), str(shop), "--split", "val", "--json"]) == 0
    found = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [row["model"] for row in found] == names
    assert main(["evaluate", str(run), "--split", "val"]) == 0
    assert "Note: the run was trained on these labels" in capfd.readouterr().out


def test_predictions(run, shop, capfd, tmp_path):
    assert main(["predict", str(run), "--at", AT]) == 0
    out, err = capfd.readouterr()
    assert out.splitlines()[0] == "pkey,seed_time,prediction,prediction(2),score,score(2)"
    assert err.startswith("unknown  1 of 39 customers have no history by then (first: c018)")
    found = pd.read_csv(io.StringIO(out), parse_dates=["seed_time"])
    pd.testing.assert_frame_equal(found, load(run).predict(at=AT), check_dtype=False, rtol=1e-5)

    assert main(["predict", str(run), str(shop), "--at", AT, "--entity", "c003", "--json"]) == 0
    row = json.loads(capfd.readouterr().out)
    assert row["prediction"] == found.set_index("pkey").loc["c003", "prediction"]
    assert row["seed_time"].startswith(AT)

    file = tmp_path / "out.csv"
    words = ["predict", str(run), "--at", AT, "--candidates", "products.product_id IN (3)", "--to", str(file)]
    assert main(words) == 0
    assert f"wrote  {file}  39 predictions" in capfd.readouterr().err
    written = pd.read_csv(file)
    assert set(written["prediction"]) == {3}
    assert written["prediction(2)"].isna().all()
    assert main(["predict", str(run), "--at", AT, "--exclude-seen"]) == 0
    new = pd.read_csv(io.StringIO(capfd.readouterr().out))
    assert not new["prediction"].equals(found["prediction"])


def test_a_query_trains_and_predicts(shop, capfd, tmp_path):
    words = ["predict", str(shop), QUERY, "--max-minutes", "0", "--entity", "c003", "--exclude-seen"]
    assert main(words) == 0
    out, err = capfd.readouterr()
    assert out.splitlines()[1].startswith("c003,")
    assert "choice   " in err


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["explain", "RUN", "--entity", "c001"], 2, "UsageError: task 'NAME' ranks rows of 'products', and explain is"),
        (["explain", "RUN"], 2, "UsageError: task 'NAME' ranks rows of 'products', and explain is for predictions of"),
        (["audit", "RUN"], 2, "UsageError: task 'NAME' ranks rows of 'products', and audit is for predictions of one"),
        (
            ["report", "RUN"],
            2,
            "UsageError: task 'NAME' ranks rows of 'products', and report is for predictions of one",
        ),
        (["backtest", "SHOP", QUERY], 2, "UsageError: task 'NAME' ranks rows of 'products', and backtest is for pred"),
        (["train", "SHOP", QUERY, "--model", "gbdt", "--out", "OUT"], 2, "UsageError: task 'NAME' ranks rows of 'pro"),
        (["train", "SHOP", QUERY, "--aggr", "gnp", "--out", "OUT"], 2, "UsageError: 'aggr' and 'members' are for mod"),
        (["train", "SHOP", QUERY, "--members", "2", "--out", "OUT"], 2, "UsageError: 'aggr' and 'members' are for mo"),
        (["train", "SHOP", "--task", "again", "--model", "id-gnn", "--out", "OUT"], 2, "UsageError: task 'again' pred"),
        (["predict", "RUN", "--candidates", "products.prize < 3"], 2, "QueryError: line 1, column "),
        (
            ["train", "SHOP", QUERY.replace("TOP 2", "TOP 13"), "--out", "OUT"],
            2,
            "QueryError: line 1, column 54: RANK TOP 13 of 'products', which has 12 rows. Ask for at most that many.",
        ),
        (
            ["train", "SHOP", QUERY.replace("items.product_id", "orders.kind"), "--out", "OUT"],
            2,
            "QueryError: line 1, column 49: RANK orders the rows that a foreign key names, but orders.kind is none.",
        ),
    ],
)
def test_what_is_refused(run, shop, tmp_path, capfd, words, code, says):
    places = {"RUN": str(run), "SHOP": str(shop), "OUT": str(tmp_path / "out")}
    capfd.readouterr()
    assert main([places.get(word, word) for word in words]) == code
    err = capfd.readouterr().err
    assert says.replace("NAME", NAME) in err
    assert "Traceback" not in err
    assert not list(tmp_path.iterdir())


def test_filters_of_rankings_for_a_run_of_values(shop, tmp_path, capfd):
    assert main(["train", str(shop), "--task", "again", "--model", "constant", "--out", str(tmp_path / "run")]) == 0
    for words in (["--candidates", "products.price < 3"], ["--exclude-seen"]):
        assert main(["predict", str(tmp_path / "run"), *words]) == 2
        says = "UsageError: --candidates and --exclude-seen are for rankings; task 'again' predicts values.\n"
        assert capfd.readouterr().err.endswith(says)
