"""The kept copy of a server: only new rows are read, it is whole or absent, and it is of one source."""

from __future__ import annotations

import warnings

import duckdb
import pytest
from conftest import SERVERS

import graphlearn as gl
from graphlearn.cli.exit import main
from graphlearn.database import ingest
from graphlearn.database.url import engine, parse_url
from graphlearn.errors import GraphLearnError, SourceError, StorageError

TABLES = (
    "CREATE TABLE customers (id bigint PRIMARY KEY, name varchar(50))",
    "CREATE TABLE orders (id bigint PRIMARY KEY, customer_id bigint, placed {time} NULL, total decimal(10,2), "
    "FOREIGN KEY (customer_id) REFERENCES customers (id))",
    "INSERT INTO customers VALUES (1, 'Ann'), (2, 'Bob')",
    "INSERT INTO orders VALUES (7, 1, '2020-02-01 10:00:00', 1.5), (8, 2, '2020-02-02 10:00:00', 2.25), "
    "(9, 1, '2020-02-03 10:00:00', 3)",
)
TIMES = {"postgresql": "timestamptz", "mariadb": "datetime(6)", "sqlite": "datetime"}


def run(url, *statements):
    with engine(parse_url(url)).begin() as con:
        for statement in statements:
            con.exec_driver_sql(statement)


@pytest.fixture
def shop(new_url):
    def make(server="sqlite"):
        url = new_url(server)
        run(url, *(statement.format(time=TIMES[server]) for statement in TABLES))
        return url

    return make


def orders(db):
    return db.rows("SELECT id, customer_id, CAST(total AS DOUBLE) FROM orders ORDER BY id")


@pytest.mark.parametrize("server", SERVERS)
def test_the_next_time_only_new_rows_are_read(shop, tmp_path, monkeypatch, server):
    url, cache = shop(server), tmp_path / "shop.duckdb"
    first = gl.connect(url, cache=cache)
    assert first.notes == ()
    first.close()
    run(
        url,
        "INSERT INTO customers VALUES (3, 'Eve')",
        "INSERT INTO orders VALUES (10, 3, '2020-02-03 10:00:00', 4), (11, 3, '2020-02-04 10:00:00', 5)",
    )
    read = []
    monkeypatch.setattr(ingest.IngestBar, "show", lambda bar, table, rows, size: read.append((table, rows)))
    second = gl.connect(url, cache=cache)
    assert second.notes == ("customers: read whole", "orders: 2 new rows by placed")
    # The row of the newest day is read again, because others of that day may have come.
    assert sum(rows for table, rows in read if table == "orders") == 3
    assert orders(second) == [(7, 1, 1.5), (8, 2, 2.25), (9, 1, 3), (10, 3, 4), (11, 3, 5)]
    assert second.num_rows("customers") == 3
    assert second.schema == gl.connect(url).schema


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM orders WHERE id = 7",
        "INSERT INTO orders VALUES (6, 1, '2020-01-01 10:00:00', 9)",
    ],
)
def test_what_the_time_does_not_say_is_noticed_by_the_number_of_rows(shop, tmp_path, change):
    url, cache = shop(), tmp_path / "shop.duckdb"
    gl.connect(url, cache=cache).close()
    run(url, change)
    db = gl.connect(url, cache=cache)
    assert "orders: read whole, placed alone does not say what changed" in db.notes
    assert orders(db) == orders(gl.connect(url))


def test_rows_without_a_time_are_read_again(shop, tmp_path):
    url, cache = shop(), tmp_path / "shop.duckdb"
    run(url, "INSERT INTO orders VALUES (12, 1, NULL, 9)")
    gl.connect(url, cache=cache).close()
    run(url, "INSERT INTO orders VALUES (13, 1, NULL, 8)")
    db = gl.connect(url, cache=cache)
    assert db.notes[1] == "orders: 1 new rows by placed"
    assert orders(db) == orders(gl.connect(url))


def test_a_table_that_looks_different_is_read_whole_and_one_that_is_gone_goes(shop, tmp_path):
    url, cache = shop(), tmp_path / "shop.duckdb"
    run(url, "CREATE TABLE extra (id integer PRIMARY KEY)")
    gl.connect(url, cache=cache).close()
    run(url, "DROP TABLE extra", "ALTER TABLE orders ADD COLUMN note text")
    db = gl.connect(url, cache=cache)
    assert db.notes == ("customers: read whole", "orders: read whole")
    assert db.tables == ("customers", "orders")
    assert "note" in db.columns("orders")
    db.close()
    with duckdb.connect(str(cache), read_only=True) as con:
        assert con.execute("SELECT table_name FROM duckdb_tables() ORDER BY 1").fetchall() == [
            ("customers",), ("meta",), ("orders",)
        ]  # fmt: skip


def test_a_cache_of_something_else_is_refused_and_left_as_it_is(shop, tmp_path):
    url, other, cache = shop(), shop(), tmp_path / "shop.duckdb"
    gl.connect(url, cache=cache).close()
    before = cache.read_bytes()
    with pytest.raises(
        SourceError, match=r"shop.duckdb is the cache of another source: its source is 'sqlite://.*, not"
    ):
        gl.connect(other, cache=cache)
    with pytest.raises(
        SourceError, match=r"is the cache of another source: its exclude is \[\], not \['orders.total'\]"
    ):
        gl.connect(url, cache=cache, exclude="orders.total")
    assert cache.read_bytes() == before
    plain = tmp_path / "plain.duckdb"
    duckdb.connect(str(plain)).close()
    with pytest.raises(SourceError, match=r"plain.duckdb is no cache of this version of graphlearn. Name another file"):
        gl.connect(url, cache=plain)
    (tmp_path / "text.duckdb").write_text("not a database")
    with pytest.raises(SourceError, match=r"text.duckdb cannot be opened as a DuckDB file"):
        gl.connect(url, cache=tmp_path / "text.duckdb")
    with pytest.raises(StorageError, match=r"the cache .*nowhere/shop.duckdb cannot be written: No such file"):
        gl.connect(url, cache=tmp_path / "nowhere" / "shop.duckdb")
    assert {path.name for path in tmp_path.iterdir()} == {"shop.duckdb", "plain.duckdb", "text.duckdb"}


@pytest.mark.parametrize("is_there", [True, False], ids=["as before", "absent"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_copy_leaves_the_cache_as_before_or_absent(shop, tmp_path, monkeypatch, is_there, error):
    url, cache = shop(), tmp_path / "shop.duckdb"
    if is_there:
        gl.connect(url, cache=cache).close()
        run(url, "INSERT INTO orders VALUES (10, 1, '2020-02-05 10:00:00', 4)")
    before = cache.read_bytes() if is_there else None

    def interrupted(bar, table, rows, size):
        if table == "orders":
            raise error("stop")

    monkeypatch.setattr(ingest.IngestBar, "show", interrupted)
    with pytest.raises(SourceError if error is RuntimeError else error):
        gl.connect(url, cache=cache)
    assert [path.name for path in tmp_path.iterdir()] == (["shop.duckdb"] if is_there else [])
    assert (cache.read_bytes() if is_there else None) == before
    monkeypatch.undo()
    assert orders(gl.connect(url, cache=cache)) == orders(gl.connect(url))


def test_the_password_is_not_in_the_cache(new_database, tmp_path):
    import sqlalchemy as sa

    url = sa.make_url(new_database("postgresql"))
    run(url.render_as_string(hide_password=False), *(statement.format(time="timestamptz") for statement in TABLES))
    secret = url.set(password="s3cret-word").render_as_string(hide_password=False)
    gl.connect(secret, cache=tmp_path / "shop.duckdb").close()
    assert b"s3cret-word" not in (tmp_path / "shop.duckdb").read_bytes()


def test_commands_say_what_was_read(shop, tmp_path, capsys):
    url, cache = shop(), str(tmp_path / "shop.duckdb")
    assert main(["inspect", url, "--cache", cache, "--exclude", "*.total"]) == 0
    assert "total" not in capsys.readouterr().out
    run(url, "INSERT INTO orders VALUES (10, 1, '2020-02-05 10:00:00', 4)")
    assert main(["check", url, "--cache", cache, "--exclude", "*.total"]) == 0
    said = capsys.readouterr().err
    assert "cache    orders: 1 new rows by placed" in said
    assert main(["inspect", url, "--tables", "customers"]) == 0
    assert "orders" not in capsys.readouterr().out


def test_commands_show_a_warning_as_one_line(new_url, capsys):
    url = new_url("sqlite")
    run(url, "CREATE TABLE t (id integer PRIMARY KEY, picture blob)", "INSERT INTO t VALUES (1, NULL)")
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        assert main(["inspect", url]) == 0
    said = capsys.readouterr().err.splitlines()
    assert said == [f"warning  {url}: column 't.picture' is left out: its type BLOB is of no use here."]


def test_a_cache_that_cannot_be_put_in_its_place(shop, tmp_path, monkeypatch):
    def full(made, place):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("graphlearn.database.local.os.replace", full)
    with pytest.raises(StorageError, match=r"the cache .*shop.duckdb cannot be written: No space left on device"):
        gl.connect(shop(), cache=tmp_path / "shop.duckdb")
    assert list(tmp_path.iterdir()) == []


def test_too_little_memory_is_said_in_one_sentence(shop, monkeypatch):
    def too_little(*args):
        raise duckdb.OutOfMemoryException("Out of Memory Error: could not allocate block")

    monkeypatch.setattr(ingest, "read_ahead", too_little)
    with pytest.raises(GraphLearnError, match=r"DuckDB has not enough memory to copy 'customers' of sqlite:.*larger"):
        gl.connect(shop())
