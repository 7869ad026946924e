"""How close does a copy of a server's table come to the speed of its driver?    python benchmarks/ingest_speed.py

A table of 2M rows of nine columns (keys, a time, floats, text, a decimal, a flag, a date) in PostgreSQL, MariaDB and
SQLite. Two ways in turn:

- *ours*: `open_source` with the URL: the server's tables and keys, one snapshot, every row into DuckDB;
- *driver*: the stream of ADBC (PostgreSQL, SQLite) or connectorx (MariaDB) into Arrow, thrown away batch by batch: what
  no way through that driver can beat. `driver/ours` is the share of its speed that is left.

*memory*: PostgreSQL's table, four times as large as the memory limit of DuckDB; `peak_mib` is the most that a fresh
process holds while it copies it, `over_mib` how much of that is above the limit.

Servers are those of the tests: GRAPHLEARN_TEST_POSTGRESQL and GRAPHLEARN_TEST_MARIADB name others than 127.0.0.1's.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import adbc_driver_postgresql.dbapi as adbc_postgresql
import adbc_driver_sqlite.dbapi as adbc_sqlite
import connectorx
import sqlalchemy as sa
from common import emit, interleaved_ms, summary, versions

from graphlearn.database import open_source
from graphlearn.database.read_mysql import MARGIN
from graphlearn.database.url import engine, parse_url

SERVERS = {
    "postgresql": ("GRAPHLEARN_TEST_POSTGRESQL", "postgresql://postgres@127.0.0.1:5432/postgres"),
    "mariadb": ("GRAPHLEARN_TEST_MARIADB", "mysql://root@127.0.0.1:3306/test"),
}
BYTES_A_ROW = 75
"""About what a row takes in Arrow's memory."""
COLUMNS = (
    "id bigint PRIMARY KEY, customer_id bigint, placed {time}, weight {double}, note varchar(40), kind int, "
    "price numeric(10,2), paid boolean, due date"
)
FILL = {
    "postgresql": "SELECT i, i * 7919 % 200003, timestamp '2020-01-01' + i * interval '17 seconds', i * 0.37, "
    "'text number ' || i % 100003 || ' abc', i % 17, "
    "(i % 100000) / 100.0, i % 3 = 0, date '2020-01-01' + (i % 1000)::int "
    "FROM generate_series(1::bigint, {rows}) AS i",
    "mariadb": "SELECT i, i * 7919 % 200003, '2020-01-01' + INTERVAL i * 17 SECOND, i * 0.37, concat('text number ', "
    "i % 100003, ' abc'), i % 17, (i % 100000) / 100.0, i % 3 = 0, date('2020-01-01' + INTERVAL i % 1000 DAY) "
    "FROM (SELECT seq AS i FROM seq_1_to_{rows}) AS numbers",
    "sqlite": "WITH RECURSIVE numbers(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM numbers WHERE i < {rows}) "
    "SELECT i, i * 7919 % 200003, datetime('2020-01-01', i * 17 || ' seconds'), i * 0.37, 'text number ' || i % 100003 "
    "|| ' abc', i % 17, (i % 100000) / 100.0, i % 3 = 0, date('2020-01-01', i % 1000 || ' days') FROM numbers",
}
SELECT = "SELECT id, customer_id, placed, weight, note, kind, price, paid, due FROM events"


@contextmanager
def filled(server: str, rows: int, folder: Path) -> Iterator[str]:
    """The URL of a database with the table, dropped at the end."""
    if server == "sqlite":
        url = f"sqlite:///{folder / 'events.db'}"
        fill(url, server, rows)
        yield url
        return
    variable, default = SERVERS[server]
    base = os.environ.get(variable, default)
    name = f"graphlearn_bench_{uuid.uuid4().hex[:12]}"
    administer(base, f"CREATE DATABASE {name}")
    try:
        url = sa.make_url(base).set(database=name).render_as_string(hide_password=False)
        fill(url, server, rows)
        # So long after the last change MariaDB's table is surely that of the snapshot.
        time.sleep(MARGIN + 0.2)
        yield url
    finally:
        administer(base, f"DROP DATABASE {name}{' WITH (FORCE)' if server == 'postgresql' else ''}")


def fill(url: str, server: str, rows: int) -> None:
    types = {
        "postgresql": ("timestamp", "float8"),
        "mariadb": ("datetime(6)", "double"),
        "sqlite": ("datetime", "real"),
    }
    kinds = dict(zip(("time", "double"), types[server], strict=True))
    with engine(parse_url(url)).begin() as con:
        for statement in (f"CREATE TABLE events ({COLUMNS})", f"INSERT INTO events {FILL[server]}"):
            con.execute(sa.text(statement.format(rows=rows, **kinds).replace(":", r"\:")))
    if server == "postgresql":
        administer(url, "VACUUM ANALYZE events")


def administer(url: str, statement: str) -> None:
    with engine(parse_url(url)).connect() as con:
        con.execution_options(isolation_level="AUTOCOMMIT").execute(sa.text(statement))


def ours(url: str) -> None:
    open_source(url).close()


def driver(url: str, server: str) -> int:
    if server == "mariadb":
        stream = connectorx.read_sql(url.replace("mariadb:", "mysql:"), SELECT, return_type="arrow_stream")
        return sum(batch.num_rows for batch in stream)
    open_driver: Callable[..., object] = adbc_postgresql.connect if server == "postgresql" else adbc_sqlite.connect
    with open_driver(url.removeprefix("sqlite:///")) as con, con.cursor() as cursor:  # type: ignore[attr-defined]
        cursor.execute(SELECT)
        with cursor.fetch_record_batch() as stream:
            return sum(batch.num_rows for batch in stream)


def peak_mib(url: str, limit_mib: int) -> int | None:
    """The most memory that a fresh process holds while it copies the table; None where that is not known."""
    if not Path("/proc/self/status").exists():
        return None
    copy = (
        "import sys; from graphlearn.database import open_source; open_source(sys.argv[1], memory_limit=sys.argv[2]); "
        "print(open('/proc/self/status').read())"
    )
    done = subprocess.run(
        [sys.executable, "-c", copy, url, f"{limit_mib}MiB"], capture_output=True, text=True, check=True
    )
    found = re.search(r"VmHWM:\s+(\d+) kB", done.stdout)
    return round(int(found[1]) / 1024) if found else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--servers", nargs="*", default=["postgresql", "mariadb", "sqlite"])
    parser.add_argument("--memory-rows", type=int, default=14_000_000, help="rows of the table that exceeds the limit")
    parser.add_argument("--tiny", action="store_true", help="few rows, once; stores nothing")
    parser.add_argument("--no-store", action="store_true", help="prints the rows, stores nothing")
    args = parser.parse_args()
    if args.tiny:
        args.rows, args.repeats, args.memory_rows = 5_000, 1, 5_000
    name = None if args.tiny or args.no_store else "ingest_speed"

    for server in args.servers:
        with tempfile.TemporaryDirectory() as folder, filled(server, args.rows, Path(folder)) as url:
            steps = {"ours": lambda: ours(url), "driver": lambda: driver(url, server)}  # noqa: B023 - used in this turn
            taken = interleaved_ms(steps, warmup=1, repeats=args.repeats)
            row: dict[str, object] = {"case": f"{server} to DuckDB", "rows": args.rows}
            for way, times in taken.items():
                row[way] = {**summary(times), "rows_per_s": round(args.rows / statistics.median(times) * 1e3)}
            row["driver/ours"] = round(statistics.median(taken["driver"]) / statistics.median(taken["ours"]), 2)
            emit({**row, **versions()}, name)

    if "postgresql" in args.servers and args.memory_rows:
        with tempfile.TemporaryDirectory() as folder, filled("postgresql", args.memory_rows, Path(folder)) as url:
            size = args.memory_rows * BYTES_A_ROW // 2**20
            limit = max(64, size // 4)
            peak = peak_mib(url, limit)
            row = {"case": "memory", "rows": args.memory_rows, "table_mib": size, "limit_mib": limit, "peak_mib": peak}
            emit({**row, "over_mib": None if peak is None else peak - limit, **versions()}, name)


if __name__ == "__main__":
    main()
