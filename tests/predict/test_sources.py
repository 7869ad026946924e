"""The same shop from frames, files and DuckDB, its schema inferred, with labels of one's own: one run for all."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pandas as pd
import polars
import pyarrow as pa
import pytest
from little_shop import TEST, VAL, labels, tables, train_fast, write_relbench

from graphlearn.predict import Run, load
from graphlearn.schema import Database, connect
from graphlearn.tasks import Task

AT = "2021-11-15"


def as_duckdb(folder: Path) -> Path:
    frames = tables()
    with duckdb.connect(str(folder / "shop.duckdb")) as con:
        for name, frame in frames.items():
            con.register("given", pa.Table.from_pandas(frame, preserve_index=False))
            con.execute(f"CREATE TABLE {name} AS FROM given")
    return folder / "shop.duckdb"


def as_csv(folder: Path) -> Path:
    for name, frame in tables().items():
        frame.to_csv(folder / f"{name}.csv", index=False)
    return folder


def as_parquet(folder: Path) -> Path:
    for name, frame in tables().items():
        frame.to_parquet(folder / f"{name}.parquet", index=False)
    return folder


def as_polars(folder: Path) -> dict[str, polars.DataFrame]:
    return {name: polars.from_pandas(frame) for name, frame in tables().items()}


def as_frames(folder: Path) -> dict[str, pd.DataFrame]:
    return tables()


SOURCES = [as_duckdb, as_csv, as_parquet, as_polars, as_frames]


def own_task(db: Database) -> Task:
    return Task.from_labels(
        db,
        labels(tables()),
        entity_table="customers",
        time_col="as_of",
        target_col="y",
        timedelta="30 days",
        val_timestamp=VAL,
        test_timestamp=TEST,
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    db = connect(tables())
    return train_fast(db, own_task(db), tmp_path_factory.mktemp("frames") / "run")


@pytest.mark.parametrize("source", SOURCES)
def test_train_and_predict_with_an_inferred_schema(source, tmp_path):
    (tmp_path / "source").mkdir()
    db = connect(source(tmp_path / "source"))
    assert db.schema["customers"].pkey == ("customer_id",)
    run = train_fast(db, own_task(db), tmp_path / "run")
    assert run.evaluate("test")["rows"] == 111
    expected = run.predict(at=AT)
    pd.testing.assert_frame_equal(load(tmp_path / "run").predict(db, at=AT), expected, check_exact=True)


@pytest.mark.parametrize("source", SOURCES)
def test_a_run_predicts_for_any_copy_of_its_source(run, source, tmp_path):
    db = connect(source(tmp_path))
    found = run.predict(db, at=AT)
    pd.testing.assert_frame_equal(found, run.predict(at=AT), check_dtype=False, rtol=0, atol=1e-6)
    assert run.evaluate("test", db)["auroc"] == pytest.approx(run.evaluate("test")["auroc"], abs=1e-6)


@pytest.mark.parametrize("kind", ["csv", "parquet", "polars", "arrow"])
def test_labels_from_a_file_or_another_kind_of_table(run, kind, tmp_path):
    rows = labels(tables())
    given = {
        "csv": lambda: (rows.to_csv(tmp_path / "y.csv", index=False), str(tmp_path / "y.csv"))[1],
        "parquet": lambda: (rows.to_parquet(tmp_path / "y.parquet"), tmp_path / "y.parquet")[1],
        "polars": lambda: polars.from_pandas(rows),
        "arrow": lambda: pa.Table.from_pandas(rows, preserve_index=False),
    }[kind]()
    db = connect(tables())
    task = Task.from_labels(
        db,
        given,
        entity_table="customers",
        time_col="as_of",
        target_col="y",
        timedelta="30 days",
        val_timestamp=VAL,
        test_timestamp=TEST,
    )
    other = train_fast(db, task, tmp_path / "run")
    pd.testing.assert_frame_equal(other.predict(at=AT), run.predict(at=AT), check_exact=True)


def test_a_relbench_folder_keeps_its_tasks(tmp_path):
    source = write_relbench(tmp_path / "shop")
    db = connect(source)
    run = train_fast(db, Task(db, "spend"), tmp_path / "run")
    assert not (tmp_path / "run" / "task").exists()  # the labels stay where they are
    assert load(tmp_path / "run").evaluate("test") == run.evaluate("test")
