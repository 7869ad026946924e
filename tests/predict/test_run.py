"""Runs: predictions by key, on databases that grew, shrank or changed; folders that are not whole."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from little_shop import FAST, TEST, labels, make_task, open_tables, schema, tables, train_fast, write_relbench
from safetensors.torch import load_file, save_file

from graphlearn.errors import RunError, SchemaError, TaskError, UnknownNameError, UsageError
from graphlearn.models import frame_encoder
from graphlearn.predict import Run, load
from graphlearn.schema import connect
from graphlearn.tasks import Task
from graphlearn.training import TrainConfig


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    frames = tables()
    db = open_tables(frames)
    return train_fast(db, make_task(db, frames), tmp_path_factory.mktemp("run") / "run")


@pytest.fixture
def copy(run, tmp_path):
    """A copy of the run folder that may be broken."""
    return shutil.copytree(run.folder, tmp_path / "copy")


def test_all_entities_that_exist_at_the_time(run):
    people = tables()["customers"].set_index("customer_id")["joined"]
    for at in ("2021-02-01", "2021-12-24T12:30:00+01:00"):
        table = run.predict(at=at)
        time = pd.Timestamp(at).tz_convert(None) if "+" in at else pd.Timestamp(at)
        assert table.columns.tolist() == ["pkey", "seed_time", "prediction"]
        assert set(table["pkey"]) == set(people.index[~(people > time)])
        assert table["seed_time"].unique().tolist() == [time]
        assert table["pkey"].is_monotonic_increasing


def test_the_default_time_is_the_newest_row(run):
    frames = tables()
    newest = max(frames["orders"]["placed"].max(), frames["customers"]["joined"].max())
    assert run.predict()["seed_time"].unique().tolist() == [newest]


def test_listed_entities_are_the_same_rows(run):
    whole = run.predict(at="2021-11-15").set_index("pkey")["prediction"]
    keys = ["c007", "c003", "c007"]
    some = run.predict(at="2021-11-15", entities=keys)
    assert some["pkey"].tolist() == ["c003", "c007"]
    np.testing.assert_allclose(some["prediction"], whole.loc[some["pkey"]], rtol=0, atol=1e-6)
    assert run.predict(at="2021-11-15", entities=pd.Series(keys))["pkey"].tolist() == ["c003", "c007"]
    assert run.predict(at="2021-11-15", entities=[]).empty


def test_an_entity_that_appears_only_later_gets_a_prediction(run):
    people = tables()["customers"].set_index("customer_id")["joined"].dropna()
    late = people.idxmax()
    at = people.max() - pd.Timedelta(days=1)
    found = run.predict(at=at, entities=[late, people.idxmin()])
    assert found["prediction"].between(0, 1).all()
    assert late not in run.predict(at=at)["pkey"].tolist()
    # Nothing is known of it, so it is like any other of which nothing is known, whatever its row will say.
    frames = tables()
    frames["customers"].loc[frames["customers"]["customer_id"] == late, ["city", "score"]] = ["Atlantis", 99.0]
    other = run.predict(open_tables(frames), at=at, entities=[late, people.idxmin()])
    pd.testing.assert_frame_equal(other, found, check_exact=True)


def test_entities_without_history_are_named(run):
    frames = tables()
    orders = frames["orders"]
    at = pd.Timestamp("2021-06-01")
    table = run.predict(at=at)
    seen = set(orders.loc[orders["placed"] <= at, "customer_id"])
    expected = [key for key in table["pkey"] if key not in seen]
    assert 0 < len(expected) < len(table)
    assert run.without_history(table) == expected
    first = orders.loc[orders["customer_id"] == expected[0], "placed"].min()
    for time, unknown in ((first - pd.Timedelta(1, "us"), [expected[0]]), (first, [])):  # a row counts at its own time
        assert run.without_history(run.predict(at=time, entities=[expected[0]])) == unknown
    assert run.without_history(table.iloc[:0]) == []


def test_entities_without_a_time_are_there_always(run):
    people = tables()["customers"]
    undated = people["customer_id"][people["joined"].isna()]
    assert len(undated)
    assert set(undated) <= set(run.predict(at="2021-01-01")["pkey"])


def test_progress_counts_all_rows(run):
    calls: list[tuple[int, int]] = []
    table = run.predict(at="2021-12-24", progress=lambda done, total: calls.append((done, total)))
    assert calls[-1] == (len(table), len(table))


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        (
            {"entities": ["c001", "c999"]},
            TaskError,
            r"1 of 2 keys to predict for name no row of 'customers' .*first: c999",
        ),
        ({"entities": [7]}, UsageError, r"keys of 'customers' are of type .*string, got 7"),
        ({"at": "yesterday-ish"}, UsageError, r"'at' must be a time such as 2024-01-31"),
    ],
)
def test_what_predict_refuses(run, arguments, error, says):
    with pytest.raises(error, match=says):
        run.predict(**{"at": "2021-11-15", **arguments})


def test_a_grown_database(run):
    """New customers, orders, products and categories since the training."""
    frames = tables()
    more = tables(5, customers=10, orders=50)
    shift = pd.Timedelta(days=365)
    grown = {
        "customers": pd.concat(
            [
                frames["customers"],
                more["customers"].assign(
                    customer_id=lambda part: "n" + part["customer_id"],
                    joined=lambda part: part["joined"].fillna(pd.Timestamp(TEST)) + shift,
                    city="Ulm",
                ),
            ]
        ),
        "orders": pd.concat(
            [
                frames["orders"],
                more["orders"].assign(
                    order_id=lambda part: part["order_id"] + 1000,
                    customer_id=lambda part: "n" + part["customer_id"],
                    placed=lambda part: part["placed"] + shift,
                    kind="drone",
                ),
            ]
        ),
        "items": frames["items"],
        "products": pd.concat([frames["products"], pd.DataFrame({"product_id": [99], "price": [1e9]})]),
    }
    db = open_tables(grown)
    later = run.predict(db, at="2022-12-31")
    assert len(later) == 50
    assert later["prediction"].between(0, 1).all()
    before = run.predict(db, at="2021-11-15")
    pd.testing.assert_frame_equal(before, run.predict(at="2021-11-15"), check_exact=True)


def test_a_database_with_more_tables_and_columns(run):
    frames = tables()
    frames["orders"]["channel"] = "new column"
    frames["visits"] = pd.DataFrame({"visit_id": [1], "customer_id": ["c001"]})
    db = connect(frames)  # with its own schema: the run reads it with the one it was trained on
    pd.testing.assert_frame_equal(run.predict(db, at="2021-11-15"), run.predict(at="2021-11-15"), check_exact=True)


def without(table: str, column: str | None = None) -> dict[str, pd.DataFrame]:
    frames = tables()
    if column is None:
        return {name: frame for name, frame in frames.items() if name != table}
    return {**frames, table: frames[table].drop(columns=column)}


@pytest.mark.parametrize(
    ("frames", "error", "says"),
    [
        (without("products"), UnknownNameError, r"no table 'products'"),
        (without("orders", "amount"), UnknownNameError, r"no column of table 'orders' 'amount'"),
        (without("orders", "placed"), UnknownNameError, r"no column of table 'orders' 'placed'"),
        (without("customers", "customer_id"), UnknownNameError, r"no column of table 'customers' 'customer_id'"),
        (
            {**tables(), "orders": tables()["orders"].assign(placed=range(300))},
            SchemaError,
            r"orders.placed is the time column, but its type BIGINT is not a point in time",
        ),
    ],
)
def test_a_database_that_lacks_what_the_run_reads(run, frames, error, says):
    with pytest.raises(error, match=says):
        run.predict(connect(frames), at="2021-11-15")


def test_no_time_at_all(run):
    frames = {name: frame.head(0) for name, frame in tables().items()}
    with pytest.raises(
        UsageError, match=r"no row of this database has a time, so there is no newest one: say for when"
    ):
        run.predict(open_tables(frames))
    assert run.predict(open_tables(frames), at="2021-11-15").empty


def test_the_source_is_used_again_if_it_is_still_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_relbench(tmp_path / "shop")
    db = connect("shop")
    run = train_fast(db, Task(db, "again"), tmp_path / "run")
    expected, scored = run.predict(at="2021-11-15"), run.evaluate()
    monkeypatch.chdir("/")  # a relative path was given, but the run is found from anywhere
    loaded = load(tmp_path / "run")
    pd.testing.assert_frame_equal(loaded.predict(at="2021-11-15"), expected, check_exact=True)
    assert loaded.evaluate() == scored
    (tmp_path / "shop").rename(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match=rf"the source of this run, {tmp_path}/shop, is not there: name the database"):
        load(tmp_path / "run").predict()
    moved = connect(tmp_path / "elsewhere")
    assert load(tmp_path / "run").evaluate("test", moved) == scored


def test_predictions_of_a_split_keep_its_order(run):
    rows = make_task(open_tables(tables()), tables()).labels("test")
    found = run.predict_split("test")
    assert found[["pkey", "seed_time"]].equals(rows[["pkey", "seed_time"]])
    scored = run.evaluate("test")
    assert scored["auroc"] == pytest.approx(auroc(rows["label"], found["prediction"]))


def auroc(label: pd.Series, score: pd.Series) -> float:
    """How often a positive row is above a negative one."""
    above = score[label == 1].to_numpy()[:, None] - score[label == 0].to_numpy()[None]
    return float(((above > 0) + 0.5 * (above == 0)).mean())


def test_a_split_at_one_time_is_the_prediction_at_that_time(run):
    """Rolling: a row of the split sees what `predict` at its seed time sees."""
    rows = run.predict_split("test", regime="rolling")
    time = rows["seed_time"].iloc[-1]
    rows = rows[rows["seed_time"] == time]
    found = run.predict(at=time, entities=rows["pkey"])
    merged = rows.merge(found, on=["pkey", "seed_time"])
    assert len(merged) == len(rows)
    np.testing.assert_allclose(merged["prediction_x"], merged["prediction_y"], rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"split": "tset"}, r"no split 'tset'. Did you mean 'test'\? Known: test, train, val"),
        ({"regime": "froze"}, r"no regime 'froze'. Did you mean 'frozen'"),
    ],
)
def test_unknown_splits_and_regimes(run, arguments, says):
    for method in (run.evaluate, run.compare, run.predict_split):
        with pytest.raises(UnknownNameError, match=says):
            method(**arguments)


def test_a_folder_that_is_no_run(tmp_path, run):
    with pytest.raises(RunError, match=r"nothing is not a run folder: there is no such folder. Name the folder given"):
        load(tmp_path / "nothing")
    with pytest.raises(RunError, match=r"is not a run folder: it has no run.json"):
        load(tmp_path)


def edit(folder, change) -> None:
    meta = json.loads((folder / "run.json").read_text())
    change(meta)
    (folder / "run.json").write_text(json.dumps(meta))


def test_a_folder_of_another_version(copy):
    edit(copy, lambda meta: meta.update(format=99, versions={"graphlearn": "9.9"}))
    with pytest.raises(RunError, match=r"was written in run format 99 by graphlearn 9.9; this version reads format 2"):
        load(copy)


@pytest.mark.parametrize("text", ["", "{", "[1]", '"text"', "null", "{}", '{"format": 1, "versions": 3}', "\xff"])
def test_a_run_json_that_is_none(copy, text):
    (copy / "run.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(RunError, match=r"run.json is not readable as a run: .* Train again, or restore it"):
        load(copy)


@pytest.mark.parametrize("key", ["schema", "statistics", "task", "regime", "model_config", "encoder"])
@pytest.mark.parametrize("value", ["missing", None, 3, {"x": 1}])
def test_a_run_json_with_a_part_broken(copy, key, value):
    if value is None and key == "encoder":
        pytest.skip("there is none in this run")
    edit(copy, (lambda meta: meta.pop(key)) if value == "missing" else lambda meta: meta.update({key: value}))
    with pytest.raises(RunError):
        load(copy)


def test_weights_that_are_missing_broken_or_others(copy):
    file = copy / "model.safetensors"
    weights = {name: value.clone() for name, value in load_file(file).items()}  # not views of the file
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(RunError, match=r"model.safetensors cannot be read: .* Train again, or restore it"):
        load(copy)
    save_file({name: value for name, value in weights.items() if "head" not in name}, file)
    with pytest.raises(RunError, match=r"copy is not a whole run: .*head.lin.weight.* Train again"):
        load(copy)
    file.unlink()
    with pytest.raises(RunError, match=r"model.safetensors cannot be read: No such file"):
        load(copy)


def test_a_run_with_an_encoder_of_ones_own(tmp_path):
    from torch_frame.nn.models import ResNet

    frames = tables()
    db = open_tables(frames)
    encoder = frame_encoder(ResNet, num_layers=1)
    run = train_fast(db, make_task(db, frames), tmp_path / "run", encoder=encoder)
    says = r"was trained with encoder frame_encoder\(ResNet, num_layers=1\): pass it again, load\(…, encoder=…\)"
    with pytest.raises(RunError, match=says):
        load(tmp_path / "run")
    loaded = load(tmp_path / "run", encoder=encoder)
    pd.testing.assert_frame_equal(loaded.predict(db, at=TEST), run.predict(at=TEST), check_exact=True)


def test_an_encoder_that_the_run_does_not_know(run):
    from torch_frame.nn.models import ResNet

    with pytest.raises(RunError, match=r"was trained without encoder: leave it out"):
        load(run.folder, encoder=frame_encoder(ResNet, num_layers=1))


def test_texts_and_a_text_encoder(tmp_path):
    frames = tables()
    frames["orders"]["note"] = "some words about order " + frames["orders"]["order_id"].astype(str)
    texts = replace(
        schema(),
        tables={
            name: replace(table, columns=(*table.columns, type(table.columns[0])("note", stype="text")))
            if name == "orders"
            else table
            for name, table in schema().tables.items()
        },
    )
    db = connect(frames, schema=texts)

    def lengths(given: list[str]) -> np.ndarray:
        return np.array([[len(text), text.count("o")] for text in given], dtype=np.float32)

    run = train_fast(db, make_task(db, frames), tmp_path / "run", text_encoder=lengths)
    with pytest.raises(
        RunError, match=r"was trained with text_encoder lengths: pass it again, load\(…, text_encoder=…"
    ):
        load(tmp_path / "run")
    loaded = load(tmp_path / "run", text_encoder=lengths)
    pd.testing.assert_frame_equal(loaded.predict(db, at=TEST), run.predict(at=TEST), check_exact=True)
    plain = train_fast(db, make_task(db, frames), tmp_path / "plain")  # hashed n-grams need nothing
    assert load(tmp_path / "plain").predict(db, at=TEST).equals(plain.predict(at=TEST))


@pytest.mark.parametrize("device", ["gpu", "cpu:0", "cuda:x", "tpu"])
def test_devices_that_are_none(run, device):
    with pytest.raises(UnknownNameError, match=rf"no device '{device}'.* Known: cpu, cuda"):
        load(run.folder, device=device)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_is_not_there(run):
    with pytest.raises(
        UsageError, match=r"device 'cuda' was asked for, but torch sees 0 CUDA devices here. Use --device"
    ):
        load(run.folder, device="cuda")


def test_the_run_says_what_it_is(run):
    assert repr(run) == f"Run({str(run.folder)!r}, task='again', kind='gnn', regime='frozen')"
    assert run.meta["regime"] == "frozen"
    assert run.meta["seed"] == 0
    assert run.meta["train_config"] == TrainConfig(**FAST.to_dict()).to_dict()
    assert {"graphlearn", "torch", "duckdb"} <= set(run.meta["versions"])
    assert {p.name for p in run.folder.iterdir()} == {"run.json", "model.safetensors", "metrics.jsonl", "task"}


def test_labels_about_an_entity_that_is_dropped_for_its_missing_time(tmp_path):
    frames = tables()
    strict = replace(
        schema(),
        tables={
            name: replace(table, null_time="drop") if name == "customers" else table
            for name, table in schema().tables.items()
        },
    )
    db = connect(frames, schema=strict)
    with pytest.raises(
        TaskError, match=r"keys to predict for name no row of 'customers' that is used .*give them a time"
    ):
        train_fast(db, make_task(db, frames), tmp_path / "run")
    rows = labels(frames)
    rows = rows[rows["customer_id"].isin(frames["customers"].dropna(subset="joined")["customer_id"])]
    run = train_fast(db, make_task(db, frames, labels=rows), tmp_path / "run")
    assert len(run.predict(at="2021-12-31")) == frames["customers"]["joined"].notna().sum()


def test_an_entity_with_a_key_of_two_columns():
    frames = tables()
    frames["items"]["line"] = frames["items"].groupby("order_id").cumcount()
    keyed = replace(schema()["items"], pkey=("order_id", "line"), columns=())
    db = connect(frames, schema=replace(schema(), tables={**schema().tables, "items": keyed}))
    rows = pd.DataFrame({"order_id": [1], "as_of": [pd.Timestamp(TEST)], "y": [1]})
    with pytest.raises(
        TaskError, match=r"entity table 'items' has a key of 2 columns \(order_id, line\); predictions need"
    ):
        make_task(db, frames, labels=rows, entity_table="items", entity_col="order_id")
