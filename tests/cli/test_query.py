"""Queries on the command line: `label`, `train` and `predict` as a user runs them."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pandas as pd
import pytest
from little_shop import write_relbench

from graphlearn.cli.exit import main
from graphlearn.predict import load
from graphlearn.schema import connect
from graphlearn.tasks import Task

EACH = "FOR EACH customers.customer_id"
QUERY = f"PREDICT COUNT(orders.*, 0, 30, days) > 0 {EACH} WHERE COUNT(orders.*, -60, 0, days) > 0"


@pytest.fixture(scope="module")
def shop(tmp_path_factory) -> Path:
    return write_relbench(tmp_path_factory.mktemp("cli") / "shop")


def run(capfd: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    code = main([*map(str, words)])
    return code, *capfd.readouterr()


def test_label_prints_the_labels_or_their_sql(shop: Path, capfd):
    code, out, err = run(capfd, "label", shop, QUERY, "--split", "val")
    db = connect(shop)
    expected = Task(db, QUERY).labels("val")
    assert code == 0
    assert err.startswith(f"labels   count-orders-0-30-days-0, val: {len(expected):,} (")
    pd.testing.assert_frame_equal(pd.read_csv(io.StringIO(out), parse_dates=["seed_time"]), expected, check_dtype=False)
    code, sql, _ = run(capfd, "label", shop, QUERY, "--split", "val", "--sql")
    assert code == 0
    assert db.arrow(sql).num_rows == len(expected)
    code, out, _ = run(
        capfd, "label", shop, QUERY, "--split", "val", "--val-time", "2021-07-15", "--test-time", "2021-10-01",
        "--eval-anchors", 2, "--json",
    )  # fmt: skip
    times = sorted({json.loads(line)["seed_time"] for line in out.splitlines()})
    assert times == ["2021-07-15T00:00:00.000000", "2021-08-14T00:00:00.000000"]


def test_a_dry_run_says_what_would_happen(shop: Path, capfd, tmp_path: Path):
    query = f"PREDICT AVG(orders.amount, 0, 30) {EACH}"
    code, out, err = run(capfd, "train", shop, query, "--dry-run")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].startswith(f"source   {shop}: 4 tables, 952 rows, about 0.")
    assert lines[0].endswith(" MB of values")
    assert lines[1].startswith("tables   customers ")
    assert lines[2] == "task     regression: customers.customer_id, known after 30 days"
    for line, split in zip(lines[3:6], ("train", "val", "test"), strict=True):
        assert line.startswith(f"{split:<9}")
        assert " labels (mean " in line
        assert line.endswith(" have no label")
    assert lines[6] == "hidden   no column; rows newer than their time"
    assert any("AVG has no value where there are no rows" in line for line in lines[7:])
    assert any("Without a time, rows are always visible" in line for line in lines[7:])
    code, out, _ = run(
        capfd, "predict", shop, f"PREDICT orders.kind {EACH.replace('customers.customer', 'orders.order')}", "--dry-run"
    )
    assert code == 0
    assert "hidden   orders.kind: it is what is asked" in out
    steps = f"PREDICT COUNT(orders.*, 0, 7) FORECAST 2 TIMEFRAMES {EACH}"
    code, out, _ = run(capfd, "train", shop, steps, "--dry-run")
    assert code == 0
    assert "labels (2 steps, mean " in out
    late = ("--val-time", "2021-10-01", "--test-time", "2031-10-20")
    assert "test     empty" in run(capfd, "train", shop, steps, "--dry-run", *late)[1]


def test_train_then_predict(shop: Path, capfd, tmp_path: Path):
    out = tmp_path / "run"
    code, printed, err = run(capfd, "train", shop, QUERY, "--model", "gnn", "--out", out, "--max-minutes", 0)
    assert code == 0, err
    assert printed.startswith("best   epoch 1, val auroc 0.")
    assert err.startswith("labels   count-orders-0-30-days-0: train ")
    kept = load(out)
    assert kept.task.query == str(Task(connect(shop), QUERY).query)
    code, printed, err = run(capfd, "predict", out, shop, "--at", "2021-10-01")
    assert code == 0, err
    found = pd.read_csv(io.StringIO(printed))
    cohort = Task(connect(shop), QUERY).cohort(kept.task.test_time)
    assert cohort is not None
    assert list(found.columns) == ["pkey", "seed_time", "prediction"]
    assert len(found) < len(connect(shop).rows("SELECT 1 FROM customers"))


def test_predict_trains_first(shop: Path, capfd, tmp_path: Path):
    query = (
        "PREDICT SUM(orders.amount, 0, 14) FORECAST 2 TIMEFRAMES FOR customers.customer_id IN ('c003', 'c001') "
        "ASSUMING EXISTS(orders.*, 0, 14) AS OF '2021-11-01'"
    )
    out = tmp_path / "run"
    code, printed, err = run(capfd, "predict", shop, query, "--max-minutes", 0, "--out", out)
    assert code == 0, err
    found = pd.read_csv(io.StringIO(printed))
    assert list(found.columns) == ["pkey", "seed_time", "prediction", "prediction(2)"]
    assert found["pkey"].tolist() == ["c001", "c003"]
    assert set(found["seed_time"]) == {"2021-11-01"}
    assert "Supposed: EXISTS(orders.*, 0, 14, days). The answer is an association among cases where it" in err
    assert load(out).task.num_outputs == 2
    again = run(capfd, "predict", out, shop)
    assert again[:2] == (0, printed)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("label",), "UsageError: say what to predict: a query, such as"),
        (("label", QUERY, "--task", "again"), "UsageError: say what to predict: a query, such as"),
        (("train", "again", "--out", "x"), "UsageError: 'again' is no query: a query begins with PREDICT. The name of"),
        (("train", QUERY), "UsageError: --out is missing: name the run folder to write, or add --dry-run"),
        (("label", "PREDICT COUNT(order.*, 0, 9) " + EACH), "QueryError: line 1, column 15: no table 'order'. Did you"),
        (("train", f"PREDICT LIST_DISTINCT(orders.kind, 0, 9) {EACH}", "--out", "x"), "QueryError: line 1, column 9: "),
    ],
)
def test_what_is_refused(shop: Path, capfd, words: tuple[str, ...], says: str):
    code, out, err = run(capfd, words[0], shop, *words[1:])
    assert (code, out) == (2, "")
    assert err.startswith(says)


def test_options_of_a_query_need_one(shop: Path, capfd, tmp_path: Path):
    code, _, err = run(capfd, "predict", tmp_path / "run", shop, "--dry-run")
    assert code == 2
    assert err.startswith("UsageError: --out, --eval-anchors, --max-minutes and --dry-run need a QUERY")
