"""Where a server's tables are copied to: memory, or a DuckDB file that is kept as a cache."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from graphlearn.database.sql import literal, quote
from graphlearn.errors import SourceError, StorageError

if TYPE_CHECKING:
    import duckdb

META = "source.graphlearn.meta"
VERSION = 1


class LocalCopy:
    """Where a server's tables are copied to: a database in memory, attached as ``source``, which goes away.

    DuckDB moves what exceeds its memory limit to its temporary folder. Into a file everything would be written, mostly
    to be removed after one training: a sixth of the time of a copy.
    """

    is_update = False
    """Whether there was a copy before, which is brought up to date."""

    def __init__(self, con: duckdb.DuckDBPyConnection) -> None:
        self.con = con
        self._run("ATTACH ':memory:' AS source")

    def finish(self, tables: Mapping[str, object]) -> None:
        """Makes everything written so far last, with a note of how each table was read."""

    def give_up(self) -> None:
        """Forgets everything written since it was opened."""
        import duckdb

        with contextlib.suppress(duckdb.Error):
            self._run("DETACH source")
        self.close()

    def close(self) -> None:
        """Removes what is not kept; the connection must be closed, or let go of it."""

    def note_times(self, times: Mapping[str, str]) -> None:
        """Keeps the time column of each table: the next update reads only rows that it says are new."""

    @property
    def known_tables(self) -> dict[str, object]:
        """How each table was read last time."""
        return {}

    @property
    def times(self) -> dict[str, str]:
        """The time column of each table that was read last time."""
        return {}

    def drop_others(self, kept: Mapping[str, object]) -> None:
        """Removes the tables that the server does not have any more."""

    def _run(self, statement: str) -> None:
        self.con.execute(statement).fetchall()


class LocalFile(LocalCopy):
    """The same as a DuckDB file that is kept: open for writing until :meth:`finish`, read-only from then on.

    It is made aside, from a copy of the cache if there is one, and :meth:`finish` renames it. So a cache is whole, as
    before or absent, whatever happens.

    Args:
        con: The connection that will read it.
        cache: Where it is kept.
        origin: What it is a copy of: the URL without its password, and the options. A cache of another one is refused.

    Raises:
        SourceError: If the cache is of something else, no DuckDB file, or in use.
        StorageError: If it cannot be written.
    """

    def __init__(self, con: duckdb.DuckDBPyConnection, cache: Path, origin: Mapping[str, object]) -> None:
        self.con = con
        self.cache = cache
        self.is_update = cache.exists()
        self._origin = json.dumps(origin, sort_keys=True)
        self._times: dict[str, str] = {}
        self._meta: dict[str, str] = {}
        try:
            # In the folder of the cache, from where it can be renamed.
            self._aside = Path(tempfile.mkdtemp(prefix=".graphlearn-", dir=cache.parent))
            # Also removed with a source that nobody closes.
            self._remove = weakref.finalize(self, shutil.rmtree, self._aside, ignore_errors=True)
            self.path = self._aside / "source.duckdb"
            if self.is_update:
                shutil.copyfile(str(cache), self.path)
        except OSError as error:
            raise StorageError(f"the cache {cache} cannot be written: {error.strerror}.") from error
        try:
            self._attach(read_only=False)
            if self.is_update:
                self._check_origin(origin)
        except BaseException:
            self.give_up()
            raise

    def finish(self, tables: Mapping[str, object]) -> None:
        self._run("CREATE SCHEMA IF NOT EXISTS source.graphlearn")
        self._run(f"CREATE OR REPLACE TABLE {META} (key VARCHAR, value VARCHAR)")
        rows = {
            "origin": self._origin,
            "version": str(VERSION),
            "tables": json.dumps(tables),
            "times": json.dumps(self._times),
        }
        for key, value in rows.items():
            self._run(f"INSERT INTO {META} VALUES ({literal(key)}, {literal(value)})")
        self._run("CHECKPOINT source")
        self._run("DETACH source")
        try:
            os.replace(self.path, self.cache)
        except OSError as error:
            raise StorageError(f"the cache {self.cache} cannot be written: {error.strerror}.") from error
        self.path = self.cache
        self._remove()
        self._attach(read_only=True)

    def close(self) -> None:
        self._remove()

    def note_times(self, times: Mapping[str, str]) -> None:
        if dict(times) == self._times:
            return
        self._run("DETACH source")
        try:
            self._attach(read_only=False)
            self._run(f"UPDATE {META} SET value = {literal(json.dumps(dict(times)))} WHERE key = 'times'")
            self._run("DETACH source")
        finally:
            self._attach(read_only=True)
        self._times = dict(times)

    @property
    def known_tables(self) -> dict[str, object]:
        found: dict[str, object] = json.loads(self._meta.get("tables", "{}"))
        return found

    @property
    def times(self) -> dict[str, str]:
        return dict(self._times)

    def drop_others(self, kept: Mapping[str, object]) -> None:
        for name in set(self.known_tables) - set(kept):
            self._run(f"DROP TABLE IF EXISTS {table_name(name)}")

    def _attach(self, *, read_only: bool) -> None:
        import duckdb

        from graphlearn.database.duckdb_file import why_not

        try:
            self._run(f"ATTACH {literal(str(self.path))} AS source{' (READ_ONLY)' if read_only else ''}")
        except duckdb.Error as error:
            raise SourceError(why_not(self.cache, error)) from error
        self._meta = {}
        if self.is_update or read_only:
            try:
                self._meta = dict(self.con.execute(f"SELECT key, value FROM {META}").fetchall())
            except duckdb.CatalogException:
                self._meta = {}
        self._times = json.loads(self._meta.get("times", "{}"))

    def _check_origin(self, origin: Mapping[str, object]) -> None:
        if self._meta.get("version") != str(VERSION):
            raise SourceError(
                f"{self.cache} is no cache of this version of graphlearn. Name another file as the cache; this one is "
                "left as it is."
            )
        found = json.loads(self._meta["origin"])
        for key, value in origin.items():
            if found.get(key) != json.loads(json.dumps(value)):
                raise SourceError(
                    f"{self.cache} is the cache of another source: its {key} is {found.get(key)!r}, not {value!r}. "
                    "Name another file as the cache, or remove this one."
                )


def table_name(name: str) -> str:
    """The quoted SQL name of a table of the copy."""
    return f"source.main.{quote(name)}"
