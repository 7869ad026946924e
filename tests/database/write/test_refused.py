"""What is refused or fails leaves everything as it was, and is told in one sentence without a password."""

from __future__ import annotations

import datetime as dt
import os
import sqlite3
import subprocess
import sys
import uuid

import duckdb
import pyarrow as pa
import pytest
import sqlalchemy as sa

from graphlearn.database import write_duckdb, write_server
from graphlearn.database.target import parse_target
from graphlearn.database.url import engine, parse_url
from graphlearn.database.write import check_target, write_table
from graphlearn.errors import SchemaError, StorageError, UnknownNameError, UsageError

KEY = ["pkey", "seed_time", "run"]


def test_append_to_another_shape_names_the_difference(place, scores):
    table, target = scores(), place.new()
    write_table(target, table, key=KEY)
    before = place.read(target)
    renamed = [*table.column_names[:-1], "when"]
    other = {
        "it has no column 'when'": table.rename_columns(renamed),
        "it has a column 'scored_at', which the new rows have not": table.drop_columns("scored_at"),
        "its column 'prediction' ": table.set_column(2, "prediction", pa.array(["yes"] * 4)),
    }
    if place.kind == "csv":  # which has no types
        del other["its column 'prediction' "]
    for says, rows_ in other.items():
        with pytest.raises(SchemaError, match=f"has another shape: {says}.* or add --replace"):
            write_table(target, rows_, key=KEY, if_exists="append")
    if place.kind not in ("csv", "parquet"):
        with pytest.raises(
            SchemaError, match=r"its primary key is \(pkey, seed_time, run\), and that of the new rows \("
        ):
            write_table(target, table, key=KEY[:2], if_exists="append")
    assert place.read(target) == before


def test_append_to_a_csv_file_in_another_order(make_place, scores):
    place = make_place("csv")
    target, table = place.new(), scores()
    write_table(target, table.select(table.column_names[::-1]), key=KEY)
    with pytest.raises(SchemaError, match="its columns are in the order scored_at, run"):
        write_table(target, table, key=KEY, if_exists="append")


def test_a_view_is_not_replaced(database, scores):
    database.execute("CREATE VIEW seen AS SELECT 1 AS one")
    for if_exists in ("fail", "replace", "append"):
        with pytest.raises(UsageError, match=r"#seen is (no table but )?a view"):
            write_table(database.target("seen"), scores(), key=KEY, if_exists=if_exists)
    assert database.execute("SELECT * FROM seen") == [(1,)]


def test_a_folder_is_no_file(tmp_path, scores):
    (tmp_path / "x.csv").mkdir()
    with pytest.raises(UsageError, match=r"x.csv is a folder. Name a file"):
        write_table(parse_target(tmp_path / "x.csv"), scores(), key=KEY)


def test_names_that_a_server_would_cut(make_place, scores):
    for kind, unit, limit in (("postgresql", "bytes", 63), ("mariadb", "characters", 64)):
        place = make_place(kind)
        write_table(place.target("n" * limit), scores(), key=KEY, if_exists="replace")
        with pytest.raises(UsageError, match=f"'{'n' * (limit + 1)}' has {limit + 1} {unit}, and .* keeps {limit}"):
            check_target(place.target("n" * (limit + 1)))
        table = scores().rename_columns([*KEY[:2], "ü" * 65, "p", "run", "scored_at"])
        target = place.new()
        with pytest.raises(UsageError, match=f"keeps {limit}. Write to DuckDB, SQLite or a Parquet file instead"):
            write_table(target, table, key=KEY)
        assert place.read(target) is None
    with pytest.raises(UsageError, match="holds a NUL character"):
        check_target(place.target("a\0b"))


def test_a_type_that_servers_do_not_have(make_place, scores):
    place = make_place("sqlite")
    target, odd = place.new(), scores(keys=pa.array([dt.time(1), dt.time(2)]))
    with pytest.raises(
        SchemaError, match=r"'pkey' is of type time64\[us\], for which there is none on a sqlite server"
    ):
        write_table(target, odd, key=KEY)
    assert place.read(target) is None


def test_a_key_that_does_not_fit(make_place, scores):
    place = make_place("mariadb")
    target = place.new()
    with pytest.raises(StorageError, match=r"could not be written: Data too long for column 'pkey'.* It is as it was"):
        write_table(target, scores(keys=["x" * 400, "y"]), key=KEY)
    assert [name for name in place.tables() if name in (target.table,) or "graphlearn" in name] == []


def test_a_table_without_transactions(make_place, scores):
    place = make_place("mariadb")
    target = place.new()
    place.execute(f"CREATE TABLE {target.table} (pkey INT PRIMARY KEY) ENGINE = MyISAM")
    with pytest.raises(SchemaError, match="its engine MyISAM knows no transactions"):
        write_table(target, scores(run="2"), key=KEY, if_exists="append")


def test_who_may_not_write_is_told(make_place, scores):
    user = f"graphlearn_test_{uuid.uuid4().hex[:8]}"
    for place, grant in (
        (
            make_place("postgresql"),
            [f"GRANT USAGE ON SCHEMA public TO {user}", "REVOKE CREATE ON SCHEMA public FROM public"],
        ),
        (make_place("mariadb"), [f"GRANT SELECT ON {sa.make_url(make_place('mariadb').where).database}.* TO {user}"]),
    ):
        password = "WITH PASSWORD 's3cret'" if place.kind == "postgresql" else "IDENTIFIED BY 's3cret'"
        place.execute(f"CREATE USER {user} {password}")
        try:
            for statement in grant:
                place.execute(statement)
            url = sa.make_url(place.where).set(username=user, password="s3cret").render_as_string(hide_password=False)
            target = parse_target(f"{url}#denied")
            with pytest.raises(
                StorageError, match=r"#denied could not be written: this user has no right to do it"
            ) as e:
                write_table(target, scores(), key=KEY)
            assert "s3cret" not in str(e.value) + repr(target)
            wrong = parse_target(f"{url.replace('s3cret', 'wr0ng')}#denied")
            if place.kind == "mariadb":  # the PostgreSQL server of the tests may trust whoever comes
                with pytest.raises(
                    StorageError, match=r"mysql://graphlearn_test_.*:\*\*\*@.* cannot be opened: Access de"
                ):
                    check_target(wrong)
        finally:
            if place.kind == "postgresql":
                place.execute(f"DROP OWNED BY {user}")
            place.execute(f"DROP USER {user}")


def test_no_server_no_database_no_folder(make_place, scores, tmp_path):
    for text, says in (
        (
            "postgresql://ann:s3cret@127.0.0.1:1/shop#t",
            "postgresql://ann:.*@127.0.0.1:1/shop cannot be opened: .*refused",
        ),
        ("mysql://ann:s3cret@127.0.0.1:1/shop#t", "cannot be opened: Can't connect"),
        (make_place("postgresql").where + "_not#t", "cannot be opened: .*does not exist"),
        (make_place("mariadb").where + "_not#t", "cannot be opened: Unknown database"),
        (f"sqlite:///{tmp_path}/no/x.db#t", "cannot be opened: unable to open database file"),
        (f"{tmp_path}/no/x.duckdb#t", "cannot be opened as a DuckDB file"),
    ):
        with pytest.raises(StorageError, match=says) as caught:
            write_table(parse_target(text), scores(), key=KEY)
        assert "s3cret" not in str(caught.value)


def test_a_file_that_is_no_database(tmp_path, scores):
    (tmp_path / "x.duckdb").write_text("not a database, but long enough to be one by its size" * 100)
    with pytest.raises(StorageError, match=r"x.duckdb cannot be opened as a DuckDB file"):
        write_table(parse_target(f"{tmp_path}/x.duckdb#t"), scores(), key=KEY)
    (tmp_path / "x.db").write_text("not a database, but long enough to be one by its size" * 100)
    with pytest.raises(StorageError, match=r"x.db.* file is not a database"):
        write_table(parse_target(f"sqlite:///{tmp_path}/x.db#t"), scores(), key=KEY)


def test_a_database_that_is_full(tmp_path, scores):
    path = tmp_path / "small.db"
    con = sqlite3.connect(path)
    con.execute("CREATE TABLE canary (i)")
    con.close()

    def limit(driver, record):
        driver.execute("PRAGMA max_page_count = 4")

    sa.event.listen(sa.Pool, "connect", limit)
    try:
        with pytest.raises(StorageError, match=r"there is no room left \(database or disk is full\). Free some"):
            write_table(parse_target(f"sqlite:///{path}#t"), scores(keys=["x" * 10_000, "y"]), key=KEY)
    finally:
        sa.event.remove(sa.Pool, "connect", limit)
    with engine(parse_url(f"sqlite:///{path}")).connect() as con:
        assert sa.inspect(con).get_table_names() == ["canary"]


def test_a_database_in_another_encoding(make_place, scores):
    place = make_place("postgresql")
    name = sa.make_url(place.where).database + "_latin"
    make = f"CREATE DATABASE {name} ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
    admin = engine(parse_url(place.where)).execution_options(isolation_level="AUTOCOMMIT")
    with admin.connect() as con:
        con.exec_driver_sql(make)
        try:
            url = sa.make_url(place.where).set(database=name)
            target = parse_target(f"{url}#scores")
            write_table(target, scores(keys=["é", "x"]), key=KEY)
            with engine(parse_url(str(url))).connect() as there:
                assert set(there.exec_driver_sql("SELECT pkey FROM scores").scalars()) == {"é", "x"}
            with pytest.raises(StorageError, match="no equivalent in encoding"):
                write_table(target, scores(keys=["😀"]), key=KEY, if_exists="replace")
        finally:
            con.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")


def test_a_table_that_others_hold(make_place, scores, monkeypatch):
    monkeypatch.setattr("graphlearn.database.write_server.LOCK_SECONDS", 1)
    for place, says in (
        (make_place("postgresql"), "due to lock timeout"),
        (make_place("mariadb"), "Lock wait timeout"),
    ):
        target = place.new()
        write_table(target, scores(), key=KEY)
        before = place.read(target)
        with engine(parse_url(place.where)).connect() as reader:
            reader.exec_driver_sql(f"SELECT * FROM {target.table}").all()
            with pytest.raises(StorageError, match=f"could not be written: .*{says}.* It is as it was"):
                write_table(target, scores(run="2"), key=KEY, if_exists="replace")
        assert place.read(target) == before


def test_a_duckdb_file_that_is_open_here(tmp_path, scores):
    place = f"{tmp_path}/x.duckdb"
    write_table(parse_target(f"{place}#t"), scores(), key=KEY)
    with duckdb.connect() as con:
        con.execute(f"ATTACH '{place}' AS mine (READ_ONLY)")
        with pytest.raises(StorageError, match=r"this process has it open: close it \(db.close\(\)\) first"):
            write_table(parse_target(f"{place}#u"), scores(), key=KEY)


def test_a_duckdb_file_that_is_open_elsewhere(tmp_path, scores):
    place = f"{tmp_path}/x.duckdb"
    write_table(parse_target(f"{place}#t"), scores(), key=KEY)
    code = f"import duckdb; con = duckdb.connect({place!r}); print('open', flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"open\n"
        with pytest.raises(StorageError, match="another process has it open: close it there first"):
            write_table(parse_target(f"{place}#u"), scores(), key=KEY)
        other.communicate(b"\n")


def test_a_table_that_somebody_makes_meanwhile(database, scores):
    target = database.new()
    write_table(target, scores(), key=KEY)
    before = database.read(target)
    write = write_duckdb.write if database.kind == "duckdb" else write_server.write
    with pytest.raises(StorageError, match=r"already exists|was made by someone else meanwhile"):
        write(target, scores(run="2"), key=KEY, if_exists="fail", types={})
    assert database.read(target) == before


@pytest.mark.parametrize("name", ["sqlite:///{}/x.db#t", "{}/x.duckdb#t"])
def test_a_new_file_that_cannot_be_put_in_place(tmp_path, scores, monkeypatch, name):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(StorageError, match=r"#t could not be written: No space left on device\."):
        write_table(parse_target(name.format(tmp_path)), scores(), key=KEY)
    assert list(tmp_path.iterdir()) == []


def test_append_to_a_file_that_is_broken(tmp_path, scores):
    (tmp_path / "x.parquet").write_text("no Parquet")
    with pytest.raises(StorageError, match=r"x\.parquet could not be written: .* It is as it was"):
        write_table(parse_target(tmp_path / "x.parquet"), scores(), key=KEY, if_exists="append")
    assert (tmp_path / "x.parquet").read_text() == "no Parquet"


def test_a_choice_that_is_none(tmp_path):
    with pytest.raises(UnknownNameError, match=r"no choice for 'if_exists' 'apend'. Did you mean 'append'"):
        check_target(parse_target(tmp_path / "x.csv"), "apend")
