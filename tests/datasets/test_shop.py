"""The generated shop: its keys and times, that nothing in it depends on the future, and the folder it is written to."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import relbench
import yaml
from relbench.manifest import DatasetManifest, TaskManifest, validate_dataset_manifest

HERE = Path(__file__).resolve().parents[2] / "datasets" / "shop"
MANIFEST = yaml.safe_load((HERE / "manifest.yaml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def folder(generator: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("shop") / "shop"
    generator.write(path, seed=3, customers=300)
    return path


def times(table: pa.Table, column: str) -> Any:
    return table[column].cast(pa.int64()).to_numpy()


def test_tables_and_columns_are_those_of_the_manifest(small: Any) -> None:
    assert set(small.tables) == set(MANIFEST["tables"])
    for name, spec in MANIFEST["tables"].items():
        named = {spec["pkey"], spec["time_col"], *spec["fkeys"]} - {None}
        assert named <= set(small.tables[name].column_names)


@pytest.mark.parametrize("name", MANIFEST["tables"])
def test_keys_count_rows_and_point_to_rows_that_exist_by_then(small: Any, name: str) -> None:
    spec, table = MANIFEST["tables"][name], small.tables[name]
    np.testing.assert_array_equal(table[spec["pkey"]].to_numpy(), np.arange(table.num_rows))
    for column, target in spec["fkeys"].items():
        parent, known = small.tables[target], table[column].is_valid().to_numpy()
        assert known.all() or column == "parent_id"
        key = table[column].drop_null().to_numpy()
        assert key.min() >= 0
        assert key.max() < parent.num_rows
        if (parent_time := MANIFEST["tables"][target]["time_col"]) is not None:
            assert (times(parent, parent_time)[key] <= times(table, spec["time_col"])).all()


@pytest.mark.parametrize("name", [name for name, spec in MANIFEST["tables"].items() if spec["time_col"]])
def test_rows_are_in_order_of_time_within_the_period(small: Any, generator: ModuleType, name: str) -> None:
    time = times(small.tables[name], MANIFEST["tables"][name]["time_col"])
    assert (np.diff(time) >= 0).all()
    assert time[0] >= generator.START
    assert time[-1] < generator.START + generator.DAYS * generator.DAY


def test_rows_agree_with_each_other(small: Any) -> None:
    frames = {name: table.to_pandas() for name, table in small.tables.items()}
    items = frames["order_items"].merge(frames["orders"], on="order_id", suffixes=("", "_of_order"))
    assert (items["ordered_at"] == items["ordered_at_of_order"]).all()
    assert frames["order_items"]["order_id"].nunique() == len(frames["orders"])  # no order is empty
    bought = frames["order_items"].groupby(["order_id", "product_id"])["ordered_at"].first()
    back = frames["returns"].join(bought, on=["order_id", "product_id"])
    waited = (back["returned_at"] - back["ordered_at"]).dt.total_seconds() / 86400
    assert waited.between(3, 25).all()
    assert (frames["order_items"][["quantity", "unit_price"]] > 0).all(axis=None)
    parents = frames["categories"]["parent_id"]
    assert parents.isna().sum() == 8
    assert (frames["products"]["category_id"] >= 8).all()  # nothing hangs on a department itself
    text = frames["products"]["title"] + frames["customers"]["handle"].iloc[0]
    assert text.notna().all()
    assert frames["customers"]["handle"].iloc[42] == "customer-00042"


def test_some_cells_are_empty_and_most_are_not(small: Any) -> None:
    empty = {
        f"{name}.{column}": table[column].null_count / table.num_rows
        for name, table in small.tables.items()
        for column in table.column_names
        if table[column].null_count
    }
    assert set(empty) == {
        "categories.parent_id",
        "products.description",
        "products.weight_kg",
        "products.warranty_months",
        "customers.birth_year",
        "orders.coupon",
        "returns.reason",
        "visits.referrer",
        "visits.seconds",
    }
    assert all(0.01 < share < 0.85 for share in empty.values())


def test_the_same_seed_gives_the_same_bytes(generator: ModuleType, folder: Path, tmp_path: Path) -> None:
    generator.write(tmp_path / "again", seed=3, customers=300)
    generator.write(tmp_path / "other", seed=4, customers=300)
    files = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    assert len(files) == 7 + 1 + 4
    for file in files:
        assert (folder / file).read_bytes() == (tmp_path / "again" / file).read_bytes(), file
    orders = Path("db", "orders.parquet")
    assert (folder / orders).read_bytes() != (tmp_path / "other" / orders).read_bytes()


@pytest.mark.parametrize("days", [1, 30, 100, 365])
def test_a_longer_period_begins_with_the_shorter_one(generator: ModuleType, days: int) -> None:
    short = generator.generate(seed=1, customers=300, days=days)
    longer = generator.generate(seed=1, customers=300, days=days + 75)
    for name, table in short.items():
        assert table.equals(longer[name].slice(0, table.num_rows)), name
    stop = generator.START + days * generator.DAY
    for name, spec in MANIFEST["tables"].items():
        if spec["time_col"] is not None:  # and none of the short period's rows is missing
            assert (times(longer[name], spec["time_col"]) < stop).sum() == short[name].num_rows, name


def test_relbench_loads_the_folder_and_regenerates_its_labels(generator: ModuleType, folder: Path) -> None:
    validate_dataset_manifest(DatasetManifest.load(folder / "manifest.yaml"), folder / "db")
    TaskManifest.load(folder / "tasks" / "churn" / "manifest.yaml").validate()
    dataset = relbench.load_dataset(str(folder))
    assert dataset.get_task_names() == ["churn"]
    anchor = {name: generator.START + block * 30 * generator.DAY for name, block in (("val", 34), ("test", 36))}
    assert dataset.val_timestamp == pd.Timestamp(anchor["val"], unit="us")
    assert dataset.test_timestamp == pd.Timestamp(anchor["test"], unit="us")

    stored, made = dataset.load_task("churn"), dataset.load_task("churn", regenerate=True)
    anchors = {}
    for split in ("train", "val", "test"):
        ours = stored.get_table(split, mask_input_cols=False).df
        theirs = made.get_table(split, mask_input_cols=False).df
        pd.testing.assert_frame_equal(ours, theirs, check_dtype=False)
        anchors[split] = ours["timestamp"].nunique()
    assert anchors == {"train": 33, "val": 2, "test": 1}  # nobody has ordered yet when the shop opens


def test_a_folder_in_use_is_left_alone(generator: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(FileExistsError, match=r"is not empty\. Name a new folder"):
        generator.write(tmp_path, customers=5)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(("customers", "days"), [(0, 10), (10, 0)])
def test_sizes_below_one_are_refused(generator: ModuleType, customers: int, days: int) -> None:
    with pytest.raises(ValueError, match=f"must be at least 1, got {customers} and {days}"):
        generator.generate(customers=customers, days=days)


def test_one_customer_and_one_day_still_make_a_shop(generator: ModuleType) -> None:
    tables = generator.generate(customers=1, days=1)
    assert tables["products"].num_rows == 360
    assert np.isnan(generator.best_auroc(customers=1)["test"])  # one row has one class


def test_the_command_prints_sizes_and_the_ceiling(
    generator: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    generator.main(["--out", str(tmp_path / "shop"), "--seed", "3", "--customers", "300"])
    lines = capsys.readouterr().out.splitlines()
    best = generator.best_auroc(seed=3, customers=300)
    assert [line.split()[0] for line in lines[:7]] == list(MANIFEST["tables"])
    assert lines[2].split() == ["customers", "300", "rows"]
    assert lines[-1] == f"best AUROC that anyone can expect on churn, test: {best['test']:.4f}"


def test_the_recipe_says_what_the_default_seed_gives(generator: ModuleType) -> None:
    recipe = yaml.safe_load((HERE / "recipe.yaml").read_text(encoding="utf-8"))
    shop = generator.simulate(recipe["seed"], recipe["customers"])
    assert {name: table.num_rows for name, table in shop.tables.items()} == recipe["rows"]
    assert {name: table.num_rows for name, table in generator.labels(shop.tables).items()} == recipe["labels"]
    best = generator.best_auroc(shop=shop)
    assert {name: round(value, 4) for name, value in best.items()} == recipe["best_auroc"]
    assert set(recipe["files"]) | {"recipe.yaml"} == {path.name for path in HERE.iterdir() if path.is_file()}
