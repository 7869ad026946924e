"""``graphlearn features``: the list, the SQL, the values, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from test_aggregates import CHURN, shop

from graphlearn.cli.exit import main


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shop")
    for name, frame in shop().items():
        frame.to_parquet(folder / f"{name}.parquet", index=False)
    return folder


def features(capfd: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    code = main(["features", *map(str, words)])
    return code, *capfd.readouterr()


def test_the_list_goes_to_stdout(source, capfd):
    code, out, err = features(capfd, source, CHURN, "--max-features", 6)
    lines = out.splitlines()
    assert code == 0
    assert err.startswith("features count-orders-0-30-days-0: 6, and ")
    assert len(lines) == 7
    assert lines[0].split() == ["feature", "table", "function", "window", "path"]
    assert any(
        line.split() == ["orders", "count", "30d", "orders", "count", "30d", "orders.customer_id"] for line in lines
    )


def test_json_is_one_line_for_each_feature(source, capfd):
    code, out, _ = features(capfd, source, CHURN, "--max-features", 6, "--json")
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert len(rows) == 6
    assert {
        "feature": "orders count 30d", "table": "orders", "function": "count", "window": "30d",
        "path": "orders.customer_id",
    } in rows  # fmt: skip
    code, out, _ = features(capfd, source, CHURN, "--max-features", 6, "--json", "--dropped")
    left_out = {row["feature"]: row["left out"] for row in map(json.loads, out.splitlines())}
    assert left_out["customers.city"] == "over the budget of 6"


def test_the_sql_of_one_feature(source, capfd):
    code, out, _ = features(capfd, source, CHURN, "--sql", "--only", "orders count 30d")
    assert code == 0
    assert 'count(r.time) FILTER (r.time > r.input_time - 2592000000000) AS "orders count 30d"' in out
    code, out, err = features(capfd, source, CHURN, "--sql", "--only", "orders")
    assert (code, out) == (2, "")
    assert "no feature 'orders'" in err


def test_the_values_are_written_beside_the_labels(source, capfd, tmp_path):
    file = tmp_path / "features.parquet"
    code, out, err = features(capfd, source, CHURN, "--max-features", 20, "--split", "val", "--out", file)
    assert (code, out) == (0, "")
    assert err.endswith(f"wrote  {file}\n")
    table = pd.read_parquet(file)
    assert list(table.columns[:3]) == ["pkey", "seed_time", "label"]
    assert table.shape[1] == 23
    assert table["orders count 30d"].notna().all()
    code, _, err = features(capfd, source, CHURN, "--out", file)
    assert code == 2
    assert "exists" in err


def test_a_budget_of_zero_says_so(source, capfd):
    code, out, err = features(capfd, source, CHURN, "--max-features", 0)
    assert (code, out) == (0, "\n")
    assert err.splitlines() == [
        "features count-orders-0-30-days-0: 0, and 0 left out",
        "nothing  is left; the budget is zero: raise --max-features",
    ]
