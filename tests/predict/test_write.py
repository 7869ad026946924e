"""From a source through a run into a table of every kind of database, and back."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa
from little_shop import make_task, schema, tables, train_fast, write_relbench

from graphlearn.cli.exit import main
from graphlearn.database.url import engine, parse_url
from graphlearn.errors import SourceError, UnknownNameError, UsageError
from graphlearn.predict import Run, load, write_predictions
from graphlearn.schema import connect
from graphlearn.tasks import Task

AT = "2021-11-15"
KINDS = ("postgresql", "mariadb", "sqlite", "duckdb")


@pytest.fixture(scope="module")
def shop(tmp_path_factory) -> Path:
    return write_relbench(tmp_path_factory.mktemp("write") / "shop")


@pytest.fixture(scope="module")
def run(shop) -> Run:
    db = connect(shop)
    return train_fast(db, Task(db, "again"), shop.parent / "run")


@pytest.fixture(scope="module")
def shop_duckdb(tmp_path_factory) -> Path:
    """The shop as a DuckDB file, with the manifest beside it in the run only."""
    path = tmp_path_factory.mktemp("write") / "shop.duckdb"
    with duckdb.connect(str(path)) as con:
        for name, frame in tables().items():
            con.register("frame", frame)
            con.execute(f"CREATE TABLE {name} AS SELECT * FROM frame")
    return path


def read(where: str, kind: str) -> pd.DataFrame:
    if kind == "duckdb":
        with duckdb.connect(where) as con:
            found = con.execute("SELECT * FROM scores ORDER BY seed_time, pkey, run").df()
    else:
        with engine(parse_url(where)).connect() as con:
            found = pd.read_sql(sa.text("SELECT * FROM scores ORDER BY seed_time, pkey, run"), con)
    return found.assign(seed_time=pd.to_datetime(found["seed_time"]), scored_at=pd.to_datetime(found["scored_at"]))


@pytest.mark.parametrize("kind", KINDS)
def test_predict_to_a_database_and_back(kind, run, shop, new_database, tmp_path, capfd):
    where = {"sqlite": f"sqlite:///{tmp_path}/it.db", "duckdb": f"{tmp_path}/it.duckdb"}.get(kind) or new_database(kind)
    words = ["predict", str(run.folder), str(shop), "--at", AT, "--to", f"{where}#scores"]
    assert main(words) == 0
    assert capfd.readouterr().err.splitlines() == [
        "unknown  1 of 39 customers have no history by then (first: c018): their predictions rest on their own columns "
        "alone",
        f"wrote  {where}#scores  39 predictions",
    ]
    found, expected = read(where, kind), run.predict(at=AT)
    pd.testing.assert_frame_equal(found[expected.columns], expected, check_dtype=False, check_exact=False, rtol=1e-5)
    assert set(found["run"]) == {run.id}
    assert main(words) == 2
    assert "#scores exists. Name another place, or add --append" in capfd.readouterr().err
    assert main([*words, "--append"]) == 0
    again = read(where, kind)
    assert len(again) == len(found)
    assert (again["scored_at"] > found["scored_at"]).all()
    assert main([*words[:4], "2021-10-15", *words[5:], "--append"]) == 0
    assert len(read(where, kind)) > len(found)
    assert main([*words, "--replace"]) == 0
    assert len(read(where, kind)) == len(found)


@pytest.mark.parametrize("through", ["command", "method"])
def test_into_the_source_itself(through, run, shop_duckdb, tmp_path, capfd):
    source = shutil.copy(shop_duckdb, tmp_path / "it.duckdb")
    if through == "command":
        assert main(["predict", str(run.folder), str(source), "--at", AT, "--to", f"{source}#scores"]) == 0
    else:
        db = connect(source, schema=schema())
        made = run.predict(db, at=AT, to=f"{source}#scores")
        with pytest.raises(UsageError, match="#scores exists"):
            run.predict(db, at=AT, to=f"{source}#scores")
        run.predict(db, at=AT, to=f"{source}#scores", if_exists="append")
        # The source is read-only as before, and goes on.
        assert db.num_rows("orders") == 300
        with pytest.raises(duckdb.Error, match="read-only"):
            db.con.execute("CREATE TABLE source.mine (i INTEGER)")
        assert len(run.predict(db, at=AT)) == len(made)
        db.close()
    found = read(str(source), "duckdb")
    assert len(found) == 39
    assert set(connect(source).tables) == {"customers", "orders", "items", "products", "scores"}


def test_no_password_is_kept_or_shown(run, new_database, capfd):
    url = sa.make_url(new_database("postgresql")).set(password="s3cret").render_as_string(hide_password=False)
    assert main(["predict", str(run.folder), "--at", AT, "--to", f"{url}#scores"]) == 0
    err = capfd.readouterr().err
    assert ":***@" in err
    assert "s3cret" not in err
    assert not [p for p in run.folder.rglob("*") if p.is_file() and b"s3cret" in p.read_bytes()]


def test_the_id_is_that_of_what_was_learned(run, shop, tmp_path):
    assert len(run.id) == 12
    assert int(run.id, 16)
    moved = shutil.copytree(run.folder, tmp_path / "moved")
    assert load(moved).id == run.id
    db = connect(shop)
    task = Task(db, "again")
    assert train_fast(db, task, tmp_path / "same").id == run.id
    assert train_fast(db, task, tmp_path / "seed", seed=1).id != run.id
    # Nothing about it is stored, so runs of earlier versions have one.
    assert run.id not in (run.folder / "run.json").read_text()
    meta = json.loads((moved / "run.json").read_text())
    (moved / "run.json").write_text(json.dumps(meta | {"created": "", "source": "elsewhere", "metrics": {}}))
    assert load(moved).id == run.id


def test_classes_become_columns(tmp_path, new_database):
    frames = tables()
    db = connect(frames, schema=schema())
    run = train_fast(db, make_task(db, frames, "multiclass_classification"), tmp_path / "run")
    url = new_database("postgresql")
    table = run.predict(db, at=AT, to=f"{url}#scores")
    found = read(url, "postgresql")
    assert list(found.columns) == [*table.columns, "run", "scored_at"]
    assert found["prediction"].tolist() == table["prediction"].tolist()
    assert np.allclose(found[[c for c in table if c.startswith("p(")]].sum(axis=1), 1)
    twice = table.rename(columns={"p(web)": "p(PHONE)"})
    with pytest.raises(SourceError, match=r"the table of predictions has two columns 'p\(.*\)' and 'p\(.*\)', and SQL"):
        write_predictions(twice, run, tmp_path / "x.csv")
    write_predictions(twice, run, f"{url}#scores", if_exists="replace")


@pytest.mark.parametrize(
    ("dtype", "column"),
    [("UUID", "uuid"), ("DECIMAL(20,0)", "numeric"), ("INTEGER", "integer")],
)
def test_the_key_has_the_type_of_the_source(run, tmp_path, new_database, dtype, column):
    with duckdb.connect(str(tmp_path / "shop.duckdb")) as con:
        for name, frame in tables().items():
            con.register("frame", frame)
            key = f"CAST(CAST(substr(customer_id, 2) AS INTEGER) AS {dtype})"
            if dtype == "UUID":
                key = "CAST(md5(customer_id) AS UUID)"
            swap = f" REPLACE ({key} AS customer_id)" if "customer_id" in frame else ""
            con.execute(f"CREATE TABLE {name} AS SELECT *{swap} FROM frame")
        frames = {name: con.execute(f"SELECT * FROM {name}").df() for name in ("customers", "orders")}
    db = connect(tmp_path / "shop.duckdb", schema=schema())
    labels = pd.DataFrame({"customer_id": frames["customers"]["customer_id"], "as_of": pd.Timestamp("2021-06-01")})
    labels = pd.concat(labels.assign(as_of=t) for t in pd.to_datetime(["2021-06-01", "2021-08-15", "2021-10-15"]))
    labels["y"] = np.arange(len(labels)) % 2
    labels["customer_id"] = labels["customer_id"].map(str if dtype == "UUID" else int)
    own = train_fast(db, make_task(db, frames, labels=labels), tmp_path / "run")
    url = new_database("postgresql")
    made = own.predict(db, at=AT, to=f"{url}#scores")
    own.predict(db, at=AT, to=f"{url}#scores", if_exists="append")
    with engine(parse_url(url)).connect() as con:
        named = "SELECT data_type FROM information_schema.columns WHERE table_name = 'scores' AND column_name = 'pkey'"
        assert con.exec_driver_sql(named).scalar_one() == column
        assert con.exec_driver_sql("SELECT count(*) FROM scores").scalar_one() == len(made) == 39


def test_a_table_that_is_none_of_predictions(run, tmp_path):
    with pytest.raises(UnknownNameError, match="no column in the predictions 'seed_time'"):
        write_predictions(pd.DataFrame({"pkey": ["c001"], "time": [1]}), run, tmp_path / "x.csv")
