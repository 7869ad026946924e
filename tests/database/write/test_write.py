"""What is written is what was given, on every kind of place."""

from __future__ import annotations

import datetime as dt
import decimal
import uuid

import pyarrow as pa
import pytest

from graphlearn.database.target import parse_target
from graphlearn.database.write import write_table
from graphlearn.errors import StorageError, UsageError

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
