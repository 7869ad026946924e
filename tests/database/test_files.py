"""Parquet and CSV files, and folders of them."""

from __future__ import annotations

import gzip
import os
import shutil

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from graphlearn.database import open_source, quote
from graphlearn.errors import SourceError


def write(path, frame=None, **columns):
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table(columns) if frame is None else pa.Table.from_pandas(frame, preserve_index=False)
    pq.write_table(table, path)


def test_a_folder_of_files_and_of_folders_of_parts(tmp_path):
    write(tmp_path / "customers.parquet", id=[1, 2])
    (tmp_path / "orders.csv").write_text('id,at,note\n1,2020-01-01,\\N\n2,\\N,\n3,2020-01-03,"a, b"\n')
    write(tmp_path / "items" / "part-0.parquet", id=[1], x=[1.5])
    write(tmp_path / "items" / "deep" / "part-1.parquet", id=[2, 3], y=["a", "b"])
    write(tmp_path / "visits" / "year=2020" / "a.parquet", id=[1])
    write(tmp_path / "visits" / "year=2021" / "a.parquet", id=[2])
    (tmp_path / "README.md").write_text("not a table")
    (tmp_path / "items" / "_SUCCESS").write_text("")
    write(tmp_path / "items" / "_delta_log" / "x.parquet", other=[1])
    write(tmp_path / ".hidden.parquet", id=[1])
    (tmp_path / "empty").mkdir()
    source = open_source(tmp_path)
    assert source.tables == ("customers", "items", "orders", "visits")
    assert source.name == tmp_path.name
    assert source.folder is None
    assert source.rows("SELECT id, x, y FROM items ORDER BY id") == [(1, 1.5, None), (2, None, "a"), (3, None, "b")]
    assert source.columns("orders") == {"id": "BIGINT", "at": "DATE", "note": "VARCHAR"}
    assert source.rows('SELECT count("at"), count(note), max(note) FROM orders') == [(2, 1, "a, b")]
    assert source.rows("SELECT id, year FROM visits ORDER BY id") == [(1, 2020), (2, 2021)]


def test_a_table_of_one_partition(tmp_path):
    write(tmp_path / "visits" / "year=2020" / "a.parquet", id=[1])
    assert open_source(tmp_path).rows("SELECT id, year FROM visits") == [(1, 2020)]


def test_a_csv_in_parts(tmp_path):
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "1.csv").write_text("id,x\n1,2\n")
    (tmp_path / "t" / "2.csv").write_text("x,id\n2.5,2\n")
    assert open_source(tmp_path).rows("SELECT id, x FROM t ORDER BY id") == [(1, 2.0), (2, 2.5)]


def test_a_partition_name_above_the_table_adds_no_column(tmp_path):
    write(tmp_path / "run=3" / "orders.parquet", id=[1])
    assert open_source(tmp_path / "run=3").columns("orders") == {"id": "BIGINT"}


@pytest.mark.parametrize("name", ["a b", "a.b", "semi;colon", "quo'te", "[1]*?", "ü🛒", "select"])
def test_names_of_files_are_not_patterns(tmp_path, name):
    write(tmp_path / f"{name}.parquet", **{name: [1]})
    (tmp_path / f"{name}2.csv").write_text("a,b\n1,x\n")
    source = open_source(tmp_path)
    assert set(source.tables) == {name, f"{name}2"}
    assert source.rows(f"SELECT {quote(name)} FROM {quote(name)}") == [(1,)]


def test_one_file_is_one_table(tmp_path):
    with gzip.open(tmp_path / "orders.csv.gz", "wt") as file:
        file.write("id;x\n1;2,5\n")
    source = open_source(str(tmp_path / "orders.csv.gz"))
    assert source.tables == ("orders",)
    assert source.num_rows("orders") == 1
    write(tmp_path / "o.parquet", id=[1, 2])
    assert open_source(tmp_path / "o.parquet").num_rows("o") == 2


def test_types_of_a_csv_are_from_all_rows_not_from_a_sample(tmp_path):
    rows = "\n".join(str(i) for i in range(60_000))
    (tmp_path / "t.csv").write_text(f"x,y\n{rows.replace(chr(10), ',1' + chr(10))},1\nlast,1.5\n")
    assert open_source(tmp_path).columns("t") == {"x": "VARCHAR", "y": "DOUBLE"}


def test_a_csv_of_text_keeps_its_header_and_may_have_no_rows(tmp_path):
    (tmp_path / "words.csv").write_text("word,kind\nhouse,noun\ngo,verb\n")
    (tmp_path / "none.csv").write_text("a,b\n")
    source = open_source(tmp_path)
    assert list(source.columns("words")) == ["word", "kind"]
    assert source.num_rows("words") == 2
    assert list(source.columns("none")) == ["a", "b"]
    assert source.num_rows("none") == 0


def test_a_parquet_column_without_a_type_is_text(tmp_path):
    write(tmp_path / "t.parquet", x=pa.nulls(2), e=pa.array(["a", "b"]).dictionary_encode())
    assert open_source(tmp_path).columns("t") == {"x": "VARCHAR", "e": "VARCHAR"}


def bad_parquet(folder):
    (folder / "t.parquet").write_bytes(b"this is not a Parquet file")


def cut_parquet(folder):
    write(folder / "t.parquet", x=list(range(1000)))
    content = (folder / "t.parquet").read_bytes()
    (folder / "t.parquet").write_bytes(content[: len(content) // 2])


def mixed_parts(folder):
    write(folder / "t" / "a.parquet", x=[1])
    (folder / "t" / "b.csv").write_text("x\n1\n")


def broken_part(folder):
    write(folder / "t" / "a.parquet", x=[1])
    (folder / "t" / "b.parquet").write_bytes(b"this is not a Parquet file")


def tables_in_a_subfolder(folder):
    write(folder / "db" / "a.parquet", id=[1], x=[1], y=[1])
    write(folder / "db" / "b.parquet", id=[1], z=[1], w=[1])


def same_table_twice(folder):
    write(folder / "Orders.parquet", x=[1])
    (folder / "orders.csv").write_text("x\n1\n")


def csv_twice(folder):
    (folder / "t.csv").write_text("id;name;ID\n1;a;2\n")


def csv_without_a_name(folder):
    (folder / "t.csv").write_text("id,,x\n1,a,2\n")


def parquet_twice(folder):
    pq.write_table(pa.table([[1], [2]], names=["id", "Id"]), folder / "t.parquet")


def latin_1(folder):
    (folder / "t.csv").write_bytes("id,name\n1,Zoë\n".encode("latin-1"))


def empty_csv(folder):
    (folder / "t.csv").write_bytes(b"")


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda folder: None, "no Parquet or CSV files in .*; found: nothing. Give the folder that holds the tables"),
        (lambda folder: (folder / "notes.txt").write_text("x"), "no Parquet or CSV files in .*; found: notes.txt"),
        (bad_parquet, r"t.parquet is not a Parquet file: .*magic bytes"),
        (cut_parquet, r"t.parquet is not a Parquet file"),
        (mixed_parts, "the parts of table 't' in .* are Parquet and CSV: keep one of the two"),
        (broken_part, r"t/b.parquet is not a Parquet file"),
        (
            tables_in_a_subfolder,
            r"one table 'db', but its files 'a.parquet' and 'b.parquet' have different columns. If",
        ),
        (same_table_twice, "'Orders.parquet' and 'orders.csv' in .* both give the table 'orders': remove or rename"),
        (csv_twice, r"t.csv has two columns 'id' and 'ID', and SQL does not tell upper from lower case"),
        (csv_without_a_name, r"t.csv has a column without a name"),
        (parquet_twice, r"t.parquet has two columns 'id' and 'Id'"),
        (latin_1, r"table 't' cannot be read from .*t.csv: .*(utf-8|unicode)"),
        (empty_csv, r"t.csv is empty: it needs a line with the names of the columns"),
    ],
)
def test_what_cannot_be_read_is_refused(tmp_path, make, text):
    make(tmp_path)
    with pytest.raises(SourceError, match=text):
        open_source(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path):
    write(tmp_path / "t.parquet", x=[1])
    (tmp_path / "t.parquet").chmod(0)
    with pytest.raises(SourceError, match="table 't' cannot be read"):
        open_source(tmp_path)


def test_raw_rel_f1(data_dir):
    source = open_source(data_dir / "rel-f1")
    assert source.num_rows("results") == 26_080
    assert source.num_rows("driver_standings") == 34_124
    assert source.columns("results")["milliseconds"] == "BIGINT"
    assert source.columns("races")["fp1_date"] == "DATE"
    missing = source.rows(
        "SELECT count(*) - count(milliseconds), count(*) FILTER (CAST(position AS VARCHAR) = '\\N') FROM results"
    )
    assert missing[0][0] > 0
    assert missing[0][1] == 0


def test_a_relbench_folder(rel_f1):
    source = open_source(rel_f1)
    assert (source.name, source.folder, source.manifest) == ("rel-f1", rel_f1, rel_f1 / "manifest.yaml")
    assert len(source.tables) == 9
    assert sum(source.num_rows(table) for table in source.tables) == 97_606


def test_a_relbench_folder_that_is_broken(rel_f1, tmp_path):
    broken = tmp_path / "f1"
    shutil.copytree(rel_f1, broken, copy_function=shutil.copy)
    broken.chmod(0o755)
    (broken / "db").chmod(0o755)
    (broken / "db" / "races.parquet").rename(broken / "db" / "race.parquet")
    with pytest.raises(SourceError, match=r"lists the table 'races', but .*Did you mean 'race'"):
        open_source(broken)
    manifest = broken / "manifest.yaml"
    manifest.chmod(0o644)
    for text, message in [
        ("name: [", "manifest.yaml is not readable as YAML"),
        ("name: f1", "manifest.yaml lists no tables"),
        ("- a", "manifest.yaml lists no tables"),
    ]:
        manifest.write_text(text)
        with pytest.raises(SourceError, match=message):
            open_source(broken)


def test_reading_leaves_the_folder_as_it_was(tmp_path):
    write(tmp_path / "a.parquet", frame=pd.DataFrame({"x": range(1000)}))
    (tmp_path / "b.csv").write_text("x\n1\n")
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in tmp_path.iterdir()}
    source = open_source(tmp_path)
    source.fingerprint()
    source.close()
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in tmp_path.iterdir()} == before
