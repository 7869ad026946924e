"""What is written is what was given, on every kind of place; what is refused leaves everything as it was."""

from __future__ import annotations

import datetime as dt
import decimal
import sqlite3
import uuid

import duckdb
import pyarrow as pa
import pytest
import sqlalchemy as sa

from graphlearn.database.target import parse_target
from graphlearn.database.url import engine, parse_url
from graphlearn.database.write import check_target, write_table
from graphlearn.errors import SchemaError, StorageError, UnknownNameError, UsageError

KEY = ["pkey", "seed_time", "run"]


def rows(table: pa.Table) -> list[tuple]:
    """The rows as the places of these tests give them."""
    return sorted(zip(*(column.to_pylist() for column in table.columns), strict=True), key=repr)


def in_sqlite(found):
    """SQLite has no times: they are text that says the same."""
    return [
        tuple(dt.datetime.fromisoformat(v) if isinstance(v, str) and v[:3] == "202" else v for v in r) for r in found
    ]


def read(place, target):
    found = place.read(target)
    return in_sqlite(found) if place.kind == "sqlite" and found is not None else found


def test_new_then_replaced_then_appended(place, scores):
    target, first, second = place.new(), scores(), scores(keys=["b", "c"], value=0.5, scored="2023-01-01")
    write_table(target, first, key=KEY)
    assert read(place, target) == rows(first)
    with pytest.raises(UsageError, match=r"exists. Name another place, or add --append .* or --replace"):
        write_table(target, second, key=KEY)
    assert read(place, target) == rows(first)
    for _ in range(2):
        write_table(target, second, key=KEY, if_exists="append")
        kept = first.slice(0, 3)
        assert read(place, target) == rows(pa.concat_tables([kept, second]))
    write_table(target, scores(run="run2"), key=KEY, if_exists="append")
    assert len(read(place, target)) == 9
    write_table(target, second.drop_columns("prediction"), key=KEY, if_exists="replace")
    assert read(place, target) == rows(second.drop_columns("prediction"))


def test_append_makes_what_is_not_there(place, scores):
    target = place.new()
    write_table(target, scores(), key=KEY, if_exists="append")
    assert read(place, target) == rows(scores())


def test_no_rows_make_an_empty_table(place, scores):
    target = place.new()
    write_table(target, scores().slice(0, 0), key=KEY)
    assert read(place, target) == []


def test_many_batches(database, scores, monkeypatch):
    monkeypatch.setattr("graphlearn.database.write_server.BATCH_ROWS", 7)
    monkeypatch.setattr("graphlearn.database.write_server.STATEMENT_VALUES", 40)
    table = pa.concat_tables([scores(keys=[f"{i}-{k}" for k in range(4)]) for i in range(30)])
    target = database.new()
    for if_exists in ("fail", "append"):
        write_table(target, table, key=KEY, if_exists=if_exists)
        assert read(database, target) == rows(table)


HOSTILE = [
    'x"; DROP TABLE canary; --',
    "x'; DROP TABLE canary; --",
    "x`; DROP TABLE canary; --",
    "%s %(a)s %%",
    ":bound ?",
    "select",
    "a.b",
    "ümläut 表",
    "#",
    " leading",
    "back\\slash",
    "new\nline",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_name_a_table_and_a_column_and_nothing_else(database, scores, name):
    if "canary" not in database.tables():
        database.execute("CREATE TABLE canary (i INTEGER)")
        database.execute("INSERT INTO canary VALUES (1)")
    target = database.target(name)
    assert target.table == name
    table = scores()
    table = table.rename_columns([*table.column_names[:3], name, *table.column_names[4:]])
    for if_exists in ("fail", "append", "replace"):
        write_table(target, table, key=KEY, if_exists=if_exists)
        assert read(database, target) == rows(table)
        assert list(database.columns(target)) == table.column_names
    assert database.execute("SELECT * FROM canary") == [(1,)]


def test_emoji_where_the_database_knows_them(database, scores):
    target, odd = database.target("😀"), scores().rename_columns(["pkey", "seed_time", "😀", "p", "run", "scored_at"])
    if database.kind == "mariadb":
        for place, table in ((target, scores()), (database.new(), odd)):
            with pytest.raises(
                UsageError, match=r"'😀' holds characters above U\+FFFF, such as emoji, which mysql does"
            ):
                write_table(place, table, key=KEY)
        with pytest.raises(UsageError, match="ends in a space, which mysql does not take"):
            write_table(database.target("x "), scores(), key=KEY)
        return
    write_table(target, odd, key=KEY)
    assert read(database, target) == rows(odd)


UUIDS = [str(uuid.UUID(int=i)) for i in (1, 2)]
TYPES = {
    "int16": (
        pa.array([-1, 7], pa.int16()),
        {"postgresql": "SMALLINT", "mariadb": "smallint(6)", "duckdb": "SMALLINT"},
    ),
    "int32": (pa.array([-1, 7], pa.int32()), {"postgresql": "INTEGER", "mariadb": "int(11)", "duckdb": "INTEGER"}),
    "int64": (pa.array([-(2**60), 7]), {"postgresql": "BIGINT", "mariadb": "bigint(20)", "duckdb": "BIGINT"}),
    "uint32": (pa.array([2**32 - 1, 7], pa.uint32()), {"postgresql": "BIGINT", "mariadb": "bigint(20)"}),
    "uint64": (pa.array([2**64 - 1, 7], pa.uint64()), {"postgresql": "NUMERIC(20, 0)", "duckdb": "UBIGINT"}),
    "text": (pa.array(["é😀", "x"]), {"postgresql": "TEXT", "sqlite": "TEXT", "duckdb": "VARCHAR"}),
    "date": (
        pa.array([dt.date(1999, 2, 3), dt.date(2021, 1, 1)]),
        {"postgresql": "DATE", "mariadb": "date", "duckdb": "DATE"},
    ),
    "time": (pa.array([dt.datetime(1999, 2, 3, 4, 5, 6, 7), dt.datetime(2021, 1, 1)]), {"postgresql": "TIMESTAMP"}),
    "decimal": (pa.array([decimal.Decimal("123456789012345678.01"), decimal.Decimal("7.00")]), {}),
    "bool": (pa.array([True, False]), {"postgresql": "BOOLEAN", "duckdb": "BOOLEAN"}),
    "bytes": (pa.array([b"\x00'\\\xff", b"x"]), {"postgresql": "BYTEA", "sqlite": "BLOB", "duckdb": "BLOB"}),
    "uuid": (pa.array(UUIDS), {"postgresql": "UUID", "duckdb": "UUID", "sqlite": "TEXT"}),
}


@pytest.mark.parametrize("name", TYPES)
def test_keys_of_every_type_come_back(database, scores, name):
    keys, types = TYPES[name]
    target = database.new()
    for if_exists in ("fail", "append"):
        write_table(
            target, scores(keys=keys), key=KEY, if_exists=if_exists, types={"pkey": "UUID"} if name == "uuid" else {}
        )
        found = {row[0] for row in database.read(target)}
        wanted = set(keys.to_pylist())
        if database.kind == "sqlite" and name == "time":
            found = {dt.datetime.fromisoformat(value) for value in found}
        elif name == "uuid" or (database.kind == "sqlite" and name in ("date", "decimal", "uint64")):
            found, wanted = {str(value) for value in found}, {str(value) for value in wanted}
        assert found == wanted
    columns = database.columns(target)
    assert columns["pkey"] == types.get(database.kind, columns["pkey"])
    double = {"postgresql": "DOUBLE PRECISION", "mariadb": "double"}
    assert columns["prediction"] == double.get(database.kind, "DOUBLE")


def test_a_time_with_an_offset_is_utc(database, scores):
    keys = pa.array(["2021-01-01 02:00:00+02:00"]).cast(pa.timestamp("us", "UTC"))
    target = database.new()
    write_table(target, scores(keys=keys), key=KEY)
    text = "CHAR(30)" if database.kind == "mariadb" else "VARCHAR(30)"
    ((found,),) = database.execute(f"SELECT CAST(pkey AS {text}) FROM {target.table}")
    assert found.startswith("2021-01-01 00:00:00")


def test_times_are_read_back_to_the_microsecond(make_place, scores):
    place = make_place("mariadb")
    target = place.new()
    write_table(target, scores(), key=KEY)
    # Keys join those of a table with the server's own collation.
    place.execute("CREATE TABLE customers (id VARCHAR(20) PRIMARY KEY)")
    place.execute("INSERT INTO customers VALUES ('b')")
    joined = f"SELECT count(*) FROM {target.table} JOIN customers ON pkey = id"
    assert place.execute(f"{joined} WHERE seed_time = '2021-03-01 12:30:00.000001'") == [(1,)]


def test_a_schema_of_its_own(make_place, scores):
    for place, default in ((make_place("postgresql"), "public"), (make_place("duckdb"), "main")):
        place.execute('CREATE SCHEMA "my.own"')
        target = parse_target(place.where + '#"my.own".scores')
        write_table(target, scores(), key=KEY)
        write_table(target, scores(run="2"), key=KEY, if_exists="append")
        write_table(target, scores(), key=KEY, if_exists="replace")
        write_table(target, scores(), key=KEY, if_exists="append")
        assert place.execute('SELECT count(*) FROM "my.own".scores') == [(4,)]
        assert "scores" not in place.tables(), default
        with pytest.raises(StorageError, match=r"no\w*.scores could not be written: .*nowhere"):
            write_table(parse_target(place.where + "#nowhere.scores"), scores(), key=KEY)


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


def test_a_choice_that_is_none(tmp_path):
    with pytest.raises(UnknownNameError, match=r"no choice for 'if_exists' 'apend'. Did you mean 'append'"):
        check_target(parse_target(tmp_path / "x.csv"), "apend")
