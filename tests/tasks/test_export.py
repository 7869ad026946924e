"""What is exported loads in relbench, with the tables and labels that we have."""

from __future__ import annotations

import datetime as dt
import shutil
from pathlib import Path

import duckdb
import pandas as pd
import pytest
import relbench

from graphlearn.cli.exit import main
from graphlearn.errors import SchemaError, StorageError, UsageError
from graphlearn.schema import Database, Schema, Table, connect
from graphlearn.tasks import Task, export_relbench
from graphlearn.tasks.labels import SPLITS


@pytest.fixture
def shop_task(shop: Database, shop_frames: dict[str, pd.DataFrame]) -> Task:
    """Does a customer order again within 30 days? For everybody, every month."""
    orders, made = shop_frames["orders"], []
    for as_of in pd.date_range("2021-06-01", "2022-06-01", freq="MS"):
        late = orders[(orders["created_at"] > as_of) & (orders["created_at"] <= as_of + pd.Timedelta(days=30))]
        keys = shop_frames["customers"]["id"]
        made.append(pd.DataFrame({"id": keys, "as_of": as_of, "again": keys.isin(late["customer_id"])}))
    return Task.from_labels(
        shop,
        pd.concat(made),
        entity_table="customers",
        time_col="as_of",
        target_col="again",
        timedelta="30 days",
        val_timestamp="2022-01-01",
        test_timestamp="2022-03-01",
    )


def same(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(found.reset_index(drop=True), expected.reset_index(drop=True), check_dtype=False)


def test_the_shop_in_relbench(shop: Database, shop_task: Task, shop_frames: dict[str, pd.DataFrame], tmp_path: Path):
    folder = export_relbench(shop, tmp_path / "deep" / "shop", [shop_task])
    dataset = relbench.load_dataset(folder)
    theirs = dataset.get_db(upto_test_timestamp=False).table_dict
    assert (str(dataset.val_timestamp)[:10], str(dataset.test_timestamp)[:10]) == ("2022-01-01", "2022-03-01")
    assert set(theirs) == set(shop_frames)

    # Their keys are numbers; what they were stands beside them, and brings every table back.
    customers, orders, products = (theirs[name].df for name in ("customers", "orders", "products"))
    assert customers["id"].tolist() == list(range(60))
    ours = {name: frame.sort_values(frame.columns[0]) for name, frame in shop_frames.items()}
    same(customers.assign(id=customers["id_source"])[ours["customers"].columns], ours["customers"])
    same(products.assign(product_id=products["product_id_source"])[ours["products"].columns], ours["products"])
    back = customers.set_index("id")["id_source"]
    orders = orders.assign(order_id=orders["order_id_source"], customer_id=orders["customer_id"].map(back))
    same(orders[ours["orders"].columns], ours["orders"])
    items, numbers = theirs["order_items"], theirs["orders"].df
    assert items.time_col == "known_since"  # derived, and now a column, so that relbench hides later rows as we do
    assert items.fkey_col_to_pkey_table == {"order_id": "orders", "product_id": "products"}
    created = numbers.set_index("order_id")["created_at"].loc[items.df["order_id"]]
    assert items.df["known_since"].tolist() == created.tolist()
    product = items.df["product_id"].map(products.set_index("product_id")["product_id_source"])
    assert product.tolist() == shop_frames["order_items"]["product_id"].tolist()

    for split in SPLITS:
        table = dataset.load_task("again").get_table(split, mask_input_cols=False).df
        labels = shop_task.labels(split)
        expected = pd.DataFrame({"as_of": labels["seed_time"], "id": labels["pkey"], "again": labels["label"]})
        same(table.assign(id=table["id"].map(back)), expected)

    # And we read it as relbench does.
    again = connect(folder)
    labels = Task(again, "again").labels("train")
    same(labels.assign(pkey=labels["pkey"].map(back)), shop_task.labels("train"))
    assert again.schema["order_items"].time_col == "known_since"
    assert again.schema["customers"].column("id_source").stype is None


def test_rel_f1_comes_out_as_it_went_in(rel_f1: Path, tmp_path: Path, capfd):
    assert main(["export", str(rel_f1), "--to", str(tmp_path / "f1")]) == 0
    assert capfd.readouterr().out == f"wrote  {tmp_path / 'f1'}  9 tables, 3 tasks\n"
    before, after = relbench.load_dataset(rel_f1), relbench.load_dataset(tmp_path / "f1")
    assert after.get_task_names() == before.get_task_names()
    assert after.manifest.to_dict() == before.manifest.to_dict() | {"description": after.manifest.description}
    ours, theirs = (d.get_db(upto_test_timestamp=False).table_dict for d in (after, before))
    for name, table in theirs.items():
        same(ours[name].df, table.df)
    for name in before.get_task_names():
        for split in SPLITS:
            tables = [d.load_task(name).get_table(split, mask_input_cols=False) for d in (after, before)]
            same(tables[0].df, tables[1].df)


def test_keys_and_types_that_relbench_does_not_know(tmp_path: Path):
    path = tmp_path / "odd.duckdb"
    with duckdb.connect(str(path)) as con:
        con.execute(
            """
            CREATE TABLE "a;b" ("k""1" UUID PRIMARY KEY, "at" DATE, span INTERVAL);
            INSERT INTO "a;b" VALUES ('00000000-0000-0000-0000-000000000002', '2021-01-02', INTERVAL 1 DAY),
                                     ('00000000-0000-0000-0000-000000000001', NULL, NULL);
            CREATE TABLE detail ("k""1" UUID PRIMARY KEY REFERENCES "a;b" ("k""1"), "k""1_fkey" INTEGER);
            INSERT INTO detail VALUES ('00000000-0000-0000-0000-000000000002', 7);
            CREATE TABLE visits (who UUID REFERENCES "a;b" ("k""1"), "at" TIMESTAMPTZ);
            INSERT INTO visits VALUES ('00000000-0000-0000-0000-000000000002', '2021-03-01 00:00:00+02'), (NULL, NULL);
            """
        )
    db = connect(path)
    schema = Schema("odd", db.schema.tables, "2021-01-01", "2021-02-01")
    folder = export_relbench(db.with_schema(schema), tmp_path / "out")
    tables = {name: t.df for name, t in relbench.load_dataset(folder).get_db(False).table_dict.items()}
    assert tables["a;b"]['k"1_source'].str[-1].tolist() == ["1", "2"]
    assert tables["a;b"]["at"].iloc[1] == dt.date(2021, 1, 2)  # no time column, so it stays a date
    # A key that is a reference as well cannot be two numbers at once.
    assert tables["detail"][['k"1', 'k"1_fkey_', 'k"1_fkey']].to_numpy().tolist() == [[0, 1, 7]]
    assert tables["visits"]["who"].fillna(-1).tolist() == [1, -1]
    assert str(tables["visits"]["at"].iloc[0]) == "2021-02-28 22:00:00"
    assert connect(folder).schema["detail"].fkeys[0].columns == ('k"1_fkey_',)


def test_what_is_refused(shop: Database, shop_task: Task, rel_f1: Path, tmp_path: Path):
    with pytest.raises(UsageError, match="nothing says where validation and test begin, which relbench has to know"):
        export_relbench(shop, tmp_path / "out")
    out = export_relbench(shop, tmp_path / "out", [shop_task])
    with pytest.raises(UsageError, match=r"out exists. Name another folder, or replace it with force \(--force\)"):
        export_relbench(shop, out, [shop_task])
    with pytest.raises(UsageError, match="out is the source itself"):
        export_relbench(connect(out), out, force=True)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    with pytest.raises(UsageError, match="mine is not a RelBench folder, so --force does not replace it"):
        export_relbench(shop, tmp_path / "mine", [shop_task], force=True)
    shutil.rmtree(out / "tasks")
    assert export_relbench(shop, out, [shop_task], force=True) == out
    assert (out / "tasks" / "again" / "train.parquet").is_file()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine", "out"]


@pytest.mark.parametrize("name", ["../../up", "a/b", "/etc/x", ".."])
def test_a_name_that_is_a_path_writes_nowhere(tmp_path: Path, name: str):
    schema = Schema("s", {name: Table(name)}, "2021-01-01", "2021-02-01")
    db = connect({name: pd.DataFrame({"x": [1.5]})}, schema=schema)
    with pytest.raises(UsageError, match=f"the table '{name}' cannot be exported: its name is to be that of a file"):
        export_relbench(db, tmp_path / "a" / "b" / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("keys", "says"), [([1, 1, 2], "1 repeated"), ([1, None, None], "2 NULL")])
def test_keys_that_are_none(tmp_path: Path, keys, says):
    schema = Schema("s", {"t": Table("t", pkey=("id",))}, "2021-01-01", "2021-02-01")
    db = connect({"t": pd.DataFrame({"id": pd.array(keys, "Int64")})}, schema=schema)
    with pytest.raises(SchemaError, match=f"t.id is the primary key but has {says} values, and relbench needs one for"):
        export_relbench(db, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_absent(shop: Database, shop_task: Task, tmp_path: Path, monkeypatch):
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("graphlearn.tasks.store.pq.write_table", full)
    with pytest.raises(StorageError, match=r"could not write .*No space left on device"):
        export_relbench(shop, tmp_path / "out", [shop_task])
    monkeypatch.undo()
    monkeypatch.setattr("graphlearn.tasks.export.put_in_place", full)
    with pytest.raises(StorageError, match=r"could not write .*out: No space left on device"):
        export_relbench(shop, tmp_path / "out", [shop_task])
    monkeypatch.setattr("graphlearn.tasks.export.literal", lambda text: "'/nowhere/x'")
    with pytest.raises(StorageError, match=r"could not write .*out: .*nowhere"):
        export_relbench(shop, tmp_path / "out", [shop_task])
    assert list(tmp_path.iterdir()) == []
