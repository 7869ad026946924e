"""DuckDB files, attached read-only."""

from __future__ import annotations

import subprocess
import sys

import duckdb
import pytest

from graphlearn.database import DeclaredKey, open_source
from graphlearn.errors import SourceError


@pytest.fixture
def shop_file(tmp_path):
    path = tmp_path / "shop.duckdb"
    with duckdb.connect(str(path)) as con:
        for statement in (
            "CREATE TABLE customers (id INTEGER PRIMARY KEY, kind ENUM('a', 'b'))",
            "CREATE TABLE orders (no INTEGER, line INTEGER, customer INTEGER REFERENCES customers (id), "
            "PRIMARY KEY (no, line))",
            "CREATE TABLE returns (no INTEGER, line INTEGER, FOREIGN KEY (no, line) REFERENCES orders (no, line))",
            "CREATE VIEW big_orders AS SELECT * FROM orders WHERE line > 1",
            "CREATE SCHEMA archive",
            "CREATE TABLE archive.orders (no INTEGER)",
            'CREATE TABLE archive."odd "" name.🛒" ("select" INTEGER)',
            "INSERT INTO customers VALUES (1, 'a'), (2, 'b')",
            "INSERT INTO orders VALUES (7, 1, 1), (7, 2, 1)",
        ):
            con.execute(statement)
    return path


def test_every_table_of_every_schema(shop_file):
    source = open_source(shop_file)
    assert set(source.tables) == {
        "customers", "main.orders", "archive.orders", "returns", "big_orders", 'odd " name.🛒'
    }  # fmt: skip
    assert source.name == "shop"
    assert source.columns("customers") == {"id": "INTEGER", "kind": "VARCHAR"}
    assert source.rows('SELECT count(*) FROM "main.orders"') == [(2,)]
    assert source.rows("SELECT line FROM big_orders") == [(2,)]
    assert source.columns('odd " name.🛒') == {"select": "INTEGER"}


def test_declared_keys(shop_file):
    source = open_source(shop_file)
    assert source.declared_pkeys == {"customers": ("id",), "main.orders": ("no", "line")}
    assert source.declared_fkeys == {
        "main.orders": (DeclaredKey(("customer",), "customers", ("id",)),),
        "returns": (DeclaredKey(("no", "line"), "main.orders", ("no", "line")),),
    }


def test_nothing_can_be_written_through_it(shop_file):
    before = shop_file.read_bytes()
    source = open_source(shop_file)
    for statement in (
        "INSERT INTO customers VALUES (3, 'a')",
        "INSERT INTO source.main.customers VALUES (3, 'a')",
        "DELETE FROM source.main.customers",
        "DROP TABLE source.main.customers",
        "CREATE TABLE source.main.more (x INTEGER)",
        "WITH x AS (INSERT INTO source.main.customers VALUES (3, 'a') RETURNING id) SELECT * FROM x",
    ):
        with pytest.raises(duckdb.Error):
            source.con.execute(statement).fetchall()
    source.close()
    assert shop_file.read_bytes() == before
    assert list(shop_file.parent.iterdir()) == [shop_file]


def test_two_readers_at_once(shop_file):
    first, second = open_source(shop_file), open_source(shop_file)
    assert first.num_rows("customers") == second.num_rows("customers") == 2


def test_a_file_that_another_process_writes(shop_file):
    program = f"import duckdb; con = duckdb.connect({str(shop_file)!r}); print('open', flush=True); input()"
    writer = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with writer:
        assert writer.stdout.readline() == "open\n"
        message = rf"shop.duckdb is locked by process {writer.pid}, which has it open for writing. Close it there"
        with pytest.raises(SourceError, match=message):
            open_source(shop_file)
        writer.stdin.write("\n")
        writer.stdin.flush()
        assert writer.wait(timeout=30) == 0
    assert open_source(shop_file).num_rows("customers") == 2


def test_a_view_that_is_broken_is_left_out_with_a_warning(shop_file):
    with duckdb.connect(str(shop_file)) as con:
        con.execute("CREATE TABLE gone (x INTEGER)")
        con.execute("CREATE VIEW broken AS SELECT x FROM gone")
        con.execute("DROP TABLE gone")
    with pytest.warns(UserWarning, match=r"shop.duckdb: 'broken' cannot be read and is left out: .*gone"):
        source = open_source(shop_file)
    assert "broken" not in source.tables


def test_a_file_without_tables(tmp_path):
    duckdb.connect(str(tmp_path / "none.duckdb")).close()
    with pytest.raises(SourceError, match=r"none.duckdb holds no tables"):
        open_source(tmp_path / "none.duckdb")


def test_a_file_that_is_damaged(shop_file):
    content = bytearray(shop_file.read_bytes())
    content[12:4096] = b"\xff" * (4096 - 12)
    shop_file.write_bytes(content)
    with pytest.raises(
        SourceError, match=r"shop.duckdb (cannot be opened as a DuckDB file|was written by another version)"
    ):
        open_source(shop_file)
