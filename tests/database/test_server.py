"""Servers as sources: one consistent state, nothing written, every failure one sentence and nothing half-done."""

from __future__ import annotations

import contextlib
import re
import sqlite3
import threading
import time
import uuid
import warnings

import pytest
import sqlalchemy as sa
from conftest import SERVERS

import graphlearn as gl
from graphlearn.database import read_mysql, reader
from graphlearn.database.read_mysql import MysqlReader
from graphlearn.database.reader import RowReader
from graphlearn.database.reflect import Options
from graphlearn.database.server import READERS
from graphlearn.database.source import DeclaredKey
from graphlearn.database.url import engine, parse_url
from graphlearn.errors import SourceError, UnknownNameError, UsageError

SHOP = (
    "CREATE TABLE customers (id bigint PRIMARY KEY, name varchar(50), joined timestamp NULL)",
    "CREATE TABLE orders (no bigint, line bigint, customer_id bigint, placed timestamp NULL, total decimal(10,2), "
    "PRIMARY KEY (no, line), FOREIGN KEY (customer_id) REFERENCES customers (id))",
    "CREATE TABLE returns (id bigint PRIMARY KEY, no bigint, line bigint, replaces bigint, "
    "FOREIGN KEY (no, line) REFERENCES orders (no, line), FOREIGN KEY (replaces) REFERENCES returns (id))",
    "CREATE TABLE blank (id bigint PRIMARY KEY, note varchar(9))",
    "CREATE VIEW big_orders AS SELECT no, total FROM orders WHERE total > 1",
    "INSERT INTO customers VALUES (1, 'Ann', '2020-01-01 10:00:00'), (2, 'Bob', '2020-01-02 10:00:00')",
    "INSERT INTO orders VALUES (7, 1, 1, '2020-02-01 10:00:00', 1.5), (7, 2, 1, '2020-02-01 10:00:00', 0.5), "
    "(8, 1, 2, '2020-02-02 10:00:00', 2.25)",
    "INSERT INTO returns VALUES (1, 7, 1, NULL), (2, 7, 2, 1)",
)


def run(url, *statements):
    with engine(parse_url(url)).begin() as con:
        for statement in statements:
            con.exec_driver_sql(statement)


@pytest.fixture(scope="module")
def shop_url(new_url):
    """The URL of the shop on each server, made once; tests that change it make their own."""
    urls = {}

    def make(server):
        if server not in urls:
            urls[server] = new_url(server)
            run(urls[server], *SHOP)
        return urls[server]

    return make


@pytest.fixture
def own_shop(new_url):
    def make(server):
        url = new_url(server)
        run(url, *SHOP)
        return url

    return make


@pytest.mark.parametrize("server", SERVERS)
def test_tables_views_and_declared_keys(shop_url, server):
    db = gl.connect(shop_url(server))
    assert set(db.tables) == {"customers", "orders", "returns", "blank", "big_orders"}
    assert {table: db.num_rows(table) for table in db.tables} == {
        "customers": 2, "orders": 3, "returns": 2, "blank": 0, "big_orders": 2
    }  # fmt: skip
    assert db.declared_pkeys == {"customers": ("id",), "orders": ("no", "line"), "returns": ("id",), "blank": ("id",)}
    assert db.declared_fkeys == {
        "orders": (DeclaredKey(("customer_id",), "customers", ("id",)),),
        "returns": (
            DeclaredKey(("no", "line"), "orders", ("no", "line")),
            DeclaredKey(("replaces",), "returns", ("id",)),
        ),
    }
    assert db.schema["orders"].time_col == "placed"
    orders, returns = db.schema["orders"], db.schema["returns"]
    assert (orders.pkey_confidence, orders.pkey_evidence) == (1, "declared")
    assert [(key.name, key.confidence, key.evidence) for key in returns.fkeys] == [
        ("no,line", 1, "declared"), ("replaces", 1, "declared")
    ]  # fmt: skip
    assert db.rows("SELECT sum(total) FROM orders")[0][0] == pytest.approx(4.25)


@pytest.mark.parametrize(
    ("options", "tables"),
    [
        ({"tables": ["cust*", "orders"]}, {"customers", "orders"}),
        ({"tables": "ORDERS"}, {"orders"}),
        ({"exclude": ["big_*", "blank", "returns.replaces"]}, {"customers", "orders", "returns"}),
    ],
)
@pytest.mark.parametrize("server", SERVERS)
def test_only_what_is_asked_for_is_read(shop_url, server, options, tables):
    db = gl.connect(shop_url(server), **options)
    assert set(db.tables) == tables
    if "returns" in tables:
        assert list(db.own_columns("returns")) == ["id", "no", "line"]
        assert len(db.declared_fkeys["returns"]) == 1


def test_a_schema_names_the_tables_that_are_read(shop_url, tmp_path):
    whole = gl.connect(shop_url("sqlite"))
    schema = gl.Schema("shop", {name: whole.schema[name] for name in ("customers", "orders")})
    path = schema.save(tmp_path / "manifest.yaml")
    db = gl.connect(shop_url("sqlite"), schema=path)
    assert set(db.tables) == {"customers", "orders"}
    assert db.schema["orders"].fkeys[0].table == "customers"


def test_a_name_that_no_table_has_and_options_without_a_server(shop_url, shop_frames):
    with pytest.raises(UnknownNameError, match=r"no table of sqlite://.* 'order'\. Did you mean 'orders'\?"):
        gl.connect(shop_url("sqlite"), tables=["order"])
    with pytest.raises(SourceError, match="holds no tables"):
        gl.connect(shop_url("sqlite"), exclude=["*"])
    with pytest.raises(UsageError, match=r"tables, exclude and cache are for the URL of a database"):
        gl.connect(".", tables=["orders"])
    with pytest.warns(UserWarning, match=r"'blank' has no column that can be used and is left out"):
        assert "blank" not in gl.connect(shop_url("sqlite"), exclude=["blank.*"]).tables


@pytest.mark.parametrize("server", SERVERS)
def test_nothing_can_be_written_through_the_connections(own_shop, server):
    url = parse_url(own_shop(server))
    kind = MysqlReader if server == "mariadb" else READERS[server]
    with kind(url, Options()) as opened:
        with pytest.raises(sa.exc.DBAPIError, match=r"(?i)read.?only"):
            opened.con.exec_driver_sql("INSERT INTO customers VALUES (3, 'Eve', NULL)")
        if server == "sqlite":
            with pytest.raises(Exception, match="readonly"), opened.adbc.cursor() as cursor:
                cursor.execute("INSERT INTO customers VALUES (3, 'Eve', NULL)")
        if server == "postgresql":
            with pytest.raises(Exception, match="read-only"), opened.adbc.cursor() as cursor:
                cursor.execute("INSERT INTO customers VALUES (3, 'Eve', NULL)")
    assert gl.connect(url.render_as_string(hide_password=False).replace("+psycopg", "").replace("+pymysql", "")
                      .replace("+pysqlite", "")).num_rows("customers") == 2  # fmt: skip


@pytest.mark.parametrize("server", ["postgresql", "mariadb"])
@pytest.mark.parametrize("waited", [False, True], ids=["at once", "after a while"])
def test_all_tables_are_of_one_moment(own_shop, monkeypatch, server, waited):
    url = own_shop(server)
    if waited:
        time.sleep(2.2)  # from then on connectorx reads tables that nobody has changed since
    read = READERS[server].batches
    seen = []

    def changed_meanwhile(self, table, where=""):
        if not seen:
            run(
                url,
                "INSERT INTO customers VALUES (3, 'Eve', NULL)",
                "INSERT INTO orders VALUES (9, 1, 3, NULL, 1)",
                "DELETE FROM returns WHERE id = 2",
                "INSERT INTO blank VALUES (1, 'x')",
            )
        seen.append(table.name)
        return read(self, table, where)

    monkeypatch.setattr(READERS[server], "batches", changed_meanwhile)
    db = gl.connect(url)
    monkeypatch.undo()
    assert {t: db.num_rows(t) for t in ("customers", "orders", "returns", "blank")} == {
        "customers": 2, "orders": 3, "returns": 2, "blank": 0
    }  # fmt: skip
    assert gl.connect(url).num_rows("customers") == 3


def test_a_table_that_changes_while_connectorx_reads_it_is_read_from_the_snapshot(own_shop, monkeypatch):
    import connectorx

    url = own_shop("mariadb")
    time.sleep(2.2)
    read, calls = connectorx.read_sql, []

    def slow(place, sql, **options):
        if "customers" in sql:
            run(url, "INSERT INTO customers VALUES (3, 'Eve', NULL)")
        calls.append(sql)
        return read(place, sql, **options)

    monkeypatch.setattr(connectorx, "read_sql", slow)
    db = gl.connect(url)
    assert any("customers" in sql for sql in calls)
    assert db.rows("SELECT name FROM customers ORDER BY id") == [("Ann",), ("Bob",)]


def test_schemas_whose_names_clash(new_url):
    url = new_url("postgresql")
    run(
        url,
        "CREATE SCHEMA sales",
        "CREATE SCHEMA archive",
        "CREATE TABLE customers (id int PRIMARY KEY)",
        "CREATE TABLE sales.orders (id int PRIMARY KEY, customer_id int REFERENCES customers)",
        "CREATE TABLE archive.orders (id int PRIMARY KEY, newer int REFERENCES sales.orders)",
        "CREATE TABLE measures (id int, at date) PARTITION BY RANGE (at)",
        "CREATE TABLE measures_2020 PARTITION OF measures FOR VALUES FROM ('2020-01-01') TO ('2021-01-01')",
        "INSERT INTO measures VALUES (1, '2020-05-05')",
        "COMMENT ON TABLE customers IS 'who buys'",
        "COMMENT ON COLUMN customers.id IS 'the number on the card'",
    )
    db = gl.connect(url)
    assert set(db.tables) == {"customers", "sales.orders", "archive.orders", "measures"}
    assert db.declared_fkeys["archive.orders"] == (DeclaredKey(("newer",), "sales.orders", ("id",)),)
    assert db.declared_fkeys["sales.orders"] == (DeclaredKey(("customer_id",), "customers", ("id",)),)
    assert db.schema["customers"].comment == "who buys"
    assert "id  INTEGER  key  # the number on the card" in str(db.schema)
    assert db.comments == {("customers", ""): "who buys", ("customers", "id"): "the number on the card"}
    assert gl.connect(url, tables=["archive.*"]).tables == ("archive.orders",)


ODD = ['a "quote', "semi;colon; DROP TABLE canary", "two words", "dot.ted", "select", "per%cent", "a'post", "{brace}"]


@pytest.mark.parametrize("server", SERVERS)
def test_names_of_any_kind(new_url, monkeypatch, server):
    url = new_url(server)
    names = [*ODD, "cart \U0001f6d2"] if server != "mariadb" else [*ODD, "h\u00e9"]
    with engine(parse_url(url)).begin() as con:
        quote = con.dialect.identifier_preparer.quote_identifier
        con.exec_driver_sql("CREATE TABLE canary (id int PRIMARY KEY)")
        for number, name in enumerate(names):
            con.exec_driver_sql(f"CREATE TABLE {quote(name)} ({quote(name)} int PRIMARY KEY, x varchar(9))")
            con.exec_driver_sql(f"INSERT INTO {quote(name)} VALUES ({number}, 'x')")
    monkeypatch.setattr(read_mysql, "MARGIN", -1_000_000)  # connectorx reads, although the tables are new
    db = gl.connect(url)
    assert set(db.tables) == {*names, "canary"}
    for number, name in enumerate(names):
        assert list(db.columns(name)) == [name, "x"]
        assert db.arrow('SELECT * FROM "{}"'.format(name.replace('"', '""'))).column(0).to_pylist() == [number]
        assert db.declared_pkeys[name] == (name,)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("postgresql://ann:s3cret@127.0.0.1:1/shop", r"//ann:\*\*\*@127.0.0.1:1/shop cannot be opened: .*refused"),
        ("mysql://ann:s3cret@127.0.0.1:1/shop", r"mysql://ann:\*\*\*@127.0.0.1:1/shop cannot be opened: .*refused"),
        ("sqlite:///nowhere/shop.db", r"there is no SQLite file 'nowhere/shop.db'. A relative path has three slashes"),
        ("sqlite://", r"sqlite:// names no file: write sqlite:///file.db"),
    ],
)  # fmt: skip
def test_a_server_that_is_not_there(url, says):
    with pytest.raises(SourceError, match=says) as caught:
        gl.connect(url)
    assert "s3cret" not in str(caught.value)


def test_a_wrong_password_is_never_shown(shop_url):
    url = sa.make_url(shop_url("mariadb"))
    run(
        shop_url("mariadb"),
        "CREATE OR REPLACE USER gl_password@'127.0.0.1' IDENTIFIED BY 'right'",
        "CREATE OR REPLACE USER gl_password@localhost IDENTIFIED BY 'right'",
    )
    try:
        wrong = url.set(username="gl_password", password="wr0ng").render_as_string(hide_password=False)
        with pytest.raises(
            SourceError, match=r"mysql://gl_password:\*\*\*@.* cannot be opened: Access denied"
        ) as caught:
            gl.connect(wrong)
        assert "wr0ng" not in f"{caught.value} {caught.value.__cause__}"
    finally:
        run(shop_url("mariadb"), "DROP USER gl_password@'127.0.0.1'", "DROP USER gl_password@localhost")


def test_a_database_has_to_be_named(shop_url):
    url = shop_url("mariadb").rsplit("/", 1)[0]
    with pytest.raises(SourceError, match=r"names no database: write mysql://.*/database|mariadb://.*/database"):
        gl.connect(url)


def test_a_table_that_may_not_be_read(own_shop):
    url = own_shop("postgresql")
    role = f"gl_reader_{abs(hash(url)) % 10**9}"
    run(url, f"CREATE ROLE {role} LOGIN", f"GRANT SELECT ON customers, orders TO {role}")
    reads = sa.make_url(url).set(username=role).render_as_string(hide_password=False)
    try:
        with pytest.warns(UserWarning, match="may not be read by this user and is left out") as warned:
            db = gl.connect(reads)
        assert set(db.tables) == {"customers", "orders"}
        assert len(warned) == 3
        with pytest.raises(SourceError, match=r"the table 'returns', which is needed, may not be read by this"):
            gl.connect(reads, tables=["customers", "returns"])
    finally:
        run(url, f"DROP OWNED BY {role}", f"DROP ROLE {role}")


@pytest.mark.parametrize("server", ["postgresql", "mariadb"])
@pytest.mark.parametrize("times", [1, 2])
def test_a_connection_that_breaks_is_tried_once_more(own_shop, monkeypatch, tmp_path, server, times):
    url = own_shop(server)
    read, broken = READERS[server].batches, []

    def breaks(self, table, where=""):
        if table.name == "orders" and len(broken) < times:
            broken.append(table.name)
            kill(url, self, server)
        return read(self, table, where)

    monkeypatch.setattr(READERS[server], "batches", breaks)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        if times == 1:
            assert gl.connect(url, cache=tmp_path / "shop.duckdb").num_rows("orders") == 3
        else:
            with pytest.raises(
                SourceError, match=r"broke while 'orders' was read: .*\. It did so twice; nothing of it"
            ):
                gl.connect(url, cache=tmp_path / "shop.duckdb")
    assert any("Trying once more, from the beginning" in str(warning.message) for warning in said)
    assert [path.name for path in tmp_path.iterdir()] == (["shop.duckdb"] if times == 1 else [])


def kill(url, opened, server):
    """Ends the connections of a reader, as an administrator would."""
    if server == "postgresql":
        run(url, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
                 "AND pid <> pg_backend_pid()")  # fmt: skip
    else:
        run(url, f"KILL {opened.con.exec_driver_sql('SELECT connection_id()').scalar_one()}")


def test_a_statement_that_takes_too_long(own_shop, monkeypatch):
    monkeypatch.setattr(reader, "STATEMENT_TIMEOUT", 1)
    for server, sleep in (("postgresql", "pg_sleep(5)::text"), ("mariadb", "sleep(5)")):
        url = own_shop(server)
        run(url, f"CREATE VIEW slow AS SELECT id, {sleep} AS s FROM customers")
        with pytest.raises(SourceError, match=r"the table 'slow' cannot be read: .*A statement may take 1 seconds"):
            gl.connect(url, tables=["slow"])


def test_a_locked_table_is_not_waited_for_for_ever(own_shop, monkeypatch):
    monkeypatch.setattr(reader, "LOCK_TIMEOUT", 1)
    url = own_shop("postgresql")
    with engine(parse_url(url)).begin() as con:
        con.exec_driver_sql("LOCK TABLE orders IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(SourceError, match=r"cannot be opened: .*lock timeout.*wait 1 for a lock"):
            gl.connect(url)


def test_a_table_cannot_be_altered_while_it_is_read(own_shop, monkeypatch):
    url = own_shop("postgresql")
    read, waiting = READERS["postgresql"].batches, []

    def altered(self, table, where=""):
        if not waiting:
            waiting.append(threading.Thread(target=run, args=(url, "ALTER TABLE orders DROP COLUMN total CASCADE")))
            waiting[0].start()
            time.sleep(0.3)
        return read(self, table, where)

    monkeypatch.setattr(READERS["postgresql"], "batches", altered)
    db = gl.connect(url, exclude=["big_orders"])
    waiting[0].join(timeout=30)
    assert db.rows("SELECT sum(total) FROM orders")[0][0] == pytest.approx(4.25)
    monkeypatch.undo()
    assert "total" not in gl.connect(url).columns("orders")


def test_sqlite_values_that_are_not_of_their_columns_type(new_url):
    url = new_url("sqlite")
    run(
        url,
        "CREATE TABLE t (id integer PRIMARY KEY, n integer, at datetime, late real, code text)",
        "INSERT INTO t VALUES (1, 5, '2020-01-01', NULL, 'x'), (2, 'many', 'soon', 1.5, x'ff')",
        "CREATE VIEW v AS SELECT n IS NOT NULL AS known, id * 1.5 AS more FROM t",
    )
    with pytest.warns(UserWarning, match="not all values of") as warned:
        db = gl.connect(url)
    said = [str(warning.message) for warning in warned]
    assert any(
        re.search(r"not all values of 't.n' are of its type BIGINT; it is read as VARCHAR", text) for text in said
    )
    assert any("'t.at' are of its type TIMESTAMP; it is read as VARCHAR" in text for text in said)
    assert len(said) == 2
    assert db.rows("SELECT * FROM t ORDER BY id") == [
        (1, "5", "2020-01-01", None, "x"), (2, "many", "soon", 1.5, "FF")
    ]  # fmt: skip
    assert db.columns("v") == {"known": "BIGINT", "more": "DOUBLE"}


def test_sqlite_columns_of_bytes_that_hold_text(new_url):
    url = new_url("sqlite")
    run(
        url,
        "CREATE TABLE t (id integer PRIMARY KEY, note blob, both blob, picture blob)",
        "INSERT INTO t VALUES (1, 'long', 'text', x'ff'), (2, NULL, x'fe', NULL)",
    )
    with pytest.warns(UserWarning, match=r"column 't.picture' is left out: its type BLOB") as warned:
        db = gl.connect(url)
    assert len(warned) == 1
    assert db.rows("SELECT * FROM t ORDER BY id") == [(1, "long", "text"), (2, None, None)]


@pytest.mark.parametrize("server", SERVERS)
def test_any_driver_of_sqlalchemy_gives_the_same(shop_url, server):
    driver = {"postgresql": "postgresql+psycopg", "mariadb": "mariadb+pymysql", "sqlite": "sqlite+pysqlite"}[server]
    url = sa.make_url(shop_url(server)).set(drivername=driver).render_as_string(hide_password=False)
    slow, fast = gl.connect(url), gl.connect(shop_url(server))
    assert set(slow.tables) == set(fast.tables)
    assert slow.declared_fkeys == fast.declared_fkeys
    for table in ("customers", "orders", "blank"):
        columns = ", ".join(
            f"CAST({name} AS {'DOUBLE' if name == 'total' else 'VARCHAR'})" for name in fast.columns(table)
        )
        query = f"SELECT {columns} FROM {table} ORDER BY ALL"
        assert slow.rows(query) == fast.rows(query)


def test_types_through_any_driver(new_url):
    url = new_url("sqlite")
    run(url, "CREATE TABLE t (id integer, x real, ok boolean, at datetime, day date, n numeric, b blob)",
        "INSERT INTO t VALUES (1, 1.5, 1, '2020-01-01 10:00:00', '2020-01-01', 2.5, x'00')")  # fmt: skip
    with pytest.warns(UserWarning, match=r"column 't.b' is left out"):
        opened = gl.connect(url.replace("sqlite:", "sqlite+pysqlite:"))
    assert opened.columns("t") == {
        "id": "BIGINT", "x": "DOUBLE", "ok": "BOOLEAN", "at": "TIMESTAMP", "day": "DATE", "n": "DOUBLE"
    }  # fmt: skip
    assert opened.num_rows("t") == 1
    assert issubclass(RowReader, reader.Reader)


def test_a_copy_larger_than_memory_goes_to_disk_and_away_with_the_source(tmp_path, monkeypatch):
    url = f"sqlite:///{tmp_path / 'large.db'}"
    run(url, "CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT NOT NULL)",
        "INSERT INTO t WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200000) "
        "SELECT i, printf('%0400d', i) FROM n")  # fmt: skip
    spilled = tmp_path / "spilled"
    spilled.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(spilled))
    db = gl.connect(url, memory_limit="60MB", threads=1)
    assert sum(file.stat().st_size for file in spilled.rglob("*") if file.is_file()) > 10_000_000
    assert db.rows("SELECT count(*), sum(CAST(text AS BIGINT)), sum(length(text)) FROM t") == [
        (200_000, 200_000 * 200_001 // 2, 80_000_000)
    ]
    db.close()
    assert list(spilled.iterdir()) == []


@pytest.mark.parametrize("server", ["mariadb", "sqlite"])
def test_a_view_whose_table_is_gone_is_left_out(own_shop, server):
    url = own_shop(server)
    run(url, "CREATE TABLE gone (id int)", "CREATE VIEW broken AS SELECT id FROM gone", "DROP TABLE gone")
    with pytest.warns(UserWarning, match=r"'broken' has no column that can be used and is left out"):
        db = gl.connect(url)
    assert set(db.tables) == {"customers", "orders", "returns", "blank", "big_orders"}
    with pytest.raises(SourceError, match=r"the table 'broken', which is needed, has no column that can be used"):
        gl.connect(url, tables=["broken"])


def test_a_table_of_mysql_that_may_not_be_read(own_shop):
    url, user = own_shop("mariadb"), f"gl_{uuid.uuid4().hex[:8]}"
    run(url, *(f"CREATE USER {user}@'{host}'" for host in ("127.0.0.1", "localhost")))
    try:
        for host in ("127.0.0.1", "localhost"):
            run(url, f"GRANT SELECT ON customers TO {user}@'{host}'", f"GRANT INSERT ON orders TO {user}@'{host}'")
        reads = sa.make_url(url).set(username=user).render_as_string(hide_password=False)
        with pytest.warns(UserWarning, match=r"'orders' cannot be read \(SELECT command denied .*\) and is left out"):
            assert gl.connect(reads).tables == ("customers",)
        with pytest.raises(SourceError, match=r"the table 'orders', which is needed, cannot be read"):
            gl.connect(reads, tables=["orders"])
    finally:
        run(url, *(f"DROP USER {user}@'{host}'" for host in ("127.0.0.1", "localhost")))


def test_connectorx_that_is_not_installed(shop_url, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SourceError, match=r"Python needs the module 'connectorx': pip install graphlearn\[mysql\]"):
        gl.connect(shop_url("mariadb"))


def test_materialized_views(own_shop):
    url = own_shop("postgresql")
    run(url, "CREATE MATERIALIZED VIEW totals AS SELECT customer_id, sum(total) AS total FROM orders GROUP BY 1")
    assert gl.connect(url).num_rows("totals") == 2


def test_a_panic_of_connectorx_is_a_sentence(shop_url, monkeypatch):
    class Panic(BaseException):
        """Rust's failures are no exceptions for Python."""

    def panics(*args, **options):
        raise Panic("not implemented: a type of next year")

    monkeypatch.setattr("connectorx.read_sql", panics)
    monkeypatch.setattr(read_mysql, "MARGIN", -1_000_000)
    with pytest.raises(SourceError, match=r"the table '.*' cannot be read: not implemented: a type of next year"):
        gl.connect(shop_url("mariadb"))


def test_a_url_with_options_that_only_pymysql_knows_is_read_by_it(shop_url, monkeypatch):
    monkeypatch.setattr("connectorx.read_sql", lambda *args, **options: pytest.fail("connectorx was used"))
    monkeypatch.setattr(read_mysql, "MARGIN", -1_000_000)
    assert gl.connect(f"{shop_url('mariadb')}?local_infile=0").num_rows("orders") == 3


def test_a_file_with_an_odd_name(tmp_path):
    path = tmp_path / "my #1 shop? 100% \u00e9.db"
    with contextlib.closing(sqlite3.connect(path)) as con:
        con.execute("CREATE TABLE t (id integer PRIMARY KEY)")
    assert gl.connect(f"sqlite:///{path}".replace("?", "%3F")).tables == ("t",)
