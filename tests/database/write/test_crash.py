"""A crash between any two steps of a write leaves the target as it was, or complete."""

from __future__ import annotations

import gc
import itertools
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow.csv
import pytest
import sqlalchemy as sa

from graphlearn.database import write_duckdb, write_file, write_server
from graphlearn.database.connection import new_connection
from graphlearn.database.url import engine, parse_url
from graphlearn.database.write import write_table
from graphlearn.errors import StorageError

KEY = ["pkey", "seed_time", "run"]


class Crash(BaseException):
    """Nothing catches it by accident."""


class Steps:
    """Counts the steps of a write; at number ``last`` it does ``then``."""

    def __init__(self, last: int, then: Callable[[Any], None]) -> None:
        self.last, self.then, self.taken = last, then, 0

    def __call__(self, con: Any = None) -> None:
        self.taken += 1
        if self.taken - 1 == self.last:
            self.then(con)


class Wrapped:
    """A DuckDB connection whose every statement is a step, before and after."""

    def __init__(self, con: Any, step: Steps) -> None:
        self.con, self.step = con, step

    def __getattr__(self, name: str) -> Any:
        return getattr(self.con, name)

    def execute(self, *args: Any) -> Any:
        self.step()
        done = self.con.execute(*args)
        self.step()
        return done


@contextmanager
def stepping(monkeypatch: pytest.MonkeyPatch, step: Steps) -> Iterator[None]:
    """Every statement, COPY, commit and renaming of a write calls ``step``."""
    write_csv, rename = pyarrow.csv.write_csv, os.replace

    def copied(*args: Any) -> None:
        step()
        write_csv(*args)

    def renamed(*args: Any) -> None:
        step()
        rename(*args)
        step()

    listeners = {
        "before_cursor_execute": lambda con, *_: step(con),
        "commit": lambda con: step(con),
    }
    with monkeypatch.context() as patch:
        patch.setattr(pyarrow.csv, "write_csv", copied)
        patch.setattr(write_duckdb, "new_connection", lambda: Wrapped(new_connection(), step))
        patch.setattr(write_file, "new_connection", lambda: Wrapped(new_connection(), step))
        for module in (write_duckdb, write_file, write_server):
            patch.setattr(module.os, "replace", renamed)
        for name, listener in listeners.items():
            sa.event.listen(sa.Engine, name, listener)
        try:
            yield
        finally:
            for name, listener in listeners.items():
                sa.event.remove(sa.Engine, name, listener)


def crash(con: Any) -> None:
    raise Crash


@pytest.mark.parametrize("if_exists", ["fail", "replace", "append"])
def test_a_crash_at_any_step(place, scores, monkeypatch, if_exists):
    new = scores(keys=["b", "c"], run="run1", value=0.75)
    for number in itertools.count():
        target = place.new()
        if if_exists != "fail":
            write_table(target, scores(), key=KEY)
        before, names = place.read(target), set(place.tables())
        step = Steps(number, crash)
        try:
            with stepping(monkeypatch, step):
                write_table(target, new, key=KEY, if_exists=if_exists)
        except Crash:
            found = place.read(target)
            assert found == before or {row[0] for row in found} >= {"b", "c"}, f"step {number}"
            left = {name for name in place.tables() if not name.startswith("graphlearn_old_")}
            assert left - names <= {target.table, str(target.path and target.path.name)}, f"step {number}"
        else:
            break
        # An interrupted connection of SQLite lives, and locks the file, as long as anything holds a cursor of it.
        gc.collect()
        # Whatever was left aside does not stand in the way of the next write.
        write_table(target, new, key=KEY, if_exists="replace")
        assert [row[0] for row in place.read(target)] == ["b", "c"]
        assert not [name for name in place.tables() if name.startswith((".", "graphlearn_"))]
    assert number >= 4


KILL = {
    "postgresql": ("SELECT pg_backend_pid()", "SELECT pg_terminate_backend({})"),
    "mariadb": ("SELECT connection_id()", "KILL {}"),
}


@pytest.mark.parametrize("kind", KILL)
@pytest.mark.parametrize("if_exists", ["fail", "replace", "append"])
def test_a_connection_that_is_dropped_at_any_step(make_place, kind, scores, monkeypatch, if_exists):
    place = make_place(kind)
    who, kill = KILL[kind]

    def drop(con: Any) -> None:
        if con is None:  # in the midst of a COPY, where nothing tells which connection it is
            return
        with con.connection.driver_connection.cursor() as cursor:
            cursor.execute(who)
            (number,) = cursor.fetchone()
        with other.connect() as killer:
            killer.exec_driver_sql(kill.format(number)).close()

    # Not an Engine of its own class: its statements are no steps.
    other = engine(parse_url(place.where))
    for number in itertools.count():
        target = place.new()
        if if_exists != "fail":
            write_table(target, scores(), key=KEY)
        before = place.read(target)
        step = Steps(number, drop)
        said = None
        try:
            with stepping(monkeypatch, step):
                write_table(target, scores(keys=["b", "c"]), key=KEY, if_exists=if_exists)
        except StorageError as error:
            said = str(error)
        found = place.read(target)
        if said is None:
            assert {row[0] for row in found} >= {"b", "c"}
        else:
            assert "could not be written: the connection was lost (" in said
            assert found == before, f"step {number}"
        if step.taken <= number:
            break
    assert number >= 4


@pytest.mark.parametrize("kind", ["sqlite", "duckdb"])
def test_a_process_that_is_killed_before_it_commits(make_place, kind, scores):
    place = make_place(kind)
    target = place.new()
    write_table(target, scores(), key=KEY)
    before = place.read(target)
    code = f"""
        import os, pyarrow as pa, sqlalchemy as sa
        from graphlearn.database import write_duckdb
        from graphlearn.database.connection import new_connection
        from graphlearn.database.target import parse_target
        from graphlearn.database.write import write_table
        class Wrapped:
            def __init__(self): self.con = new_connection()
            def __getattr__(self, name): return getattr(self.con, name)
            def execute(self, sql, *args):
                return os._exit(9) if sql == "COMMIT" else self.con.execute(sql, *args)
        write_duckdb.new_connection = Wrapped
        sa.event.listen(sa.Engine, "commit", lambda con: os._exit(9))
        data = pa.table({{"pkey": ["z"] * 5, "seed_time": [*range(5)], "run": ["r"] * 5, "prediction": [0.5] * 5}})
        write_table(parse_target({place.where + "#" + target.table!r}), data, key={KEY}, if_exists="replace")
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (9, "")
    assert place.read(target) == before
    write_table(target, scores(), key=KEY, if_exists="append")
    assert place.read(target) == before


def test_two_writers_of_one_mariadb_table_wait_for_each_other(make_place, scores, monkeypatch):
    place = make_place("mariadb")
    target = place.new()
    monkeypatch.setattr(write_server, "LOCK_SECONDS", 1)
    insert = write_server._insert_mysql

    def other_writes_too(*args: Any) -> None:
        with pytest.raises(StorageError, match="is being written by another process: wait for it"):
            write_table(target, scores(run="other"), key=KEY)
        insert(*args)

    monkeypatch.setattr(write_server, "_insert_mysql", other_writes_too)
    write_table(target, scores(), key=KEY)
    assert {row[4] for row in place.read(target)} == {"run1"}
