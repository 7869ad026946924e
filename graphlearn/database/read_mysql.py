"""MySQL and MariaDB through connectorx, all tables as one consistent snapshot shows them.

connectorx opens a connection for each table and cannot share a snapshot. So one connection of PyMySQL holds the
snapshot, and keeps the tables from being altered. A table that connectorx has read is as in the snapshot if nothing was
committed to it between the two moments, which InnoDB tells (``update_time``). Where something was, or where that is not
known (views, other engines), the rows come over the connection of the snapshot itself: many times slower, but right.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from graphlearn.database import reader
from graphlearn.database.reader import BATCH_ROWS, Reader, empty_batch
from graphlearn.database.reflect import ServerTable, leave_out
from graphlearn.database.url import DRIVERS, engine, reason
from graphlearn.errors import SourceError

if TYPE_CHECKING:
    import pyarrow as pa
    from sqlalchemy import Connection

KNOWN_TO_BOTH = {"charset", "connect_timeout"}
"""Options of a URL that connectorx can do without; with any other, such as those of TLS, PyMySQL reads everything."""
NOT_READABLE = (1142, 1143, 1356)
"""MySQL's numbers for: no right to a table, none to a column, and a view of what is not there any more."""
MARGIN = 2
"""Seconds between the last commit to a table and the snapshot from which on the commit is surely a part of it."""
CHANGED = """
    SELECT engine, timestampdiff(SECOND, update_time, %s) FROM information_schema.tables
    WHERE table_schema = DATABASE() AND table_name = %s"""


class ChangedError(Exception):
    """A table may have been changed since the snapshot; what was read of it does not count."""


class MysqlReader(Reader):
    """The connection of the snapshot, and one of connectorx for each table."""

    def _connect(self) -> Connection:
        # SQLAlchemy knows the types of MariaDB only by that name, and what a server is only once it is connected to.
        pooled = engine(self.url).raw_connection()
        pooled.detach()
        driver: Any = pooled.dbapi_connection
        if "mariadb" in driver.get_server_info().lower():
            self.url = self.url.set(drivername=DRIVERS["mariadb"])
        return engine(self.url, creator=lambda: driver).connect()

    def _begin(self, con: Connection) -> Connection:
        if not self.url.database:
            raise SourceError(f"{self.place} names no database: write {self.place.rstrip('/')}/database.")
        if importlib.util.find_spec("connectorx") is None:
            raise SourceError(
                f"to read {self.place}, Python needs the module 'connectorx': pip install graphlearn[mysql]."
            )
        for setting in self._settings(con):
            con.exec_driver_sql(setting)
        con.exec_driver_sql("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
        self.began = con.exec_driver_sql("SELECT now(6)").scalar_one()
        return con

    def _prepare(self) -> None:
        import sqlalchemy as sa

        readable = []
        for table in self.tables:
            try:
                # Takes the lock that keeps a table as it is described until the transaction ends.
                self.run(f"SELECT {self.quote(table.columns[0].name)} FROM {self.qualified(table)} LIMIT 0")
                readable.append(table)
            except sa.exc.DBAPIError as error:
                if error.orig is None or error.orig.args[0] not in NOT_READABLE:
                    raise
                leave_out(table.name, self.options, self.place, f"cannot be read ({reason(error)})")
        names = {table.name for table in readable}
        self.tables = tuple(
            replace(table, fkeys=tuple(key for key in table.fkeys if key.table in names)) for table in readable
        )

    def batches(self, table: ServerTable, where: str = "") -> Iterator[pa.RecordBatch]:
        if set(self.url.query) - KNOWN_TO_BOTH or self._may_differ(table):
            return self.rows(table, where)
        return self._fast(table, where)

    def _fast(self, table: ServerTable, where: str) -> Iterator[pa.RecordBatch]:
        import connectorx

        try:
            stream: Any = connectorx.read_sql(
                self._driver_url(),
                self.select(table, where),
                return_type="arrow_stream",
                batch_size=BATCH_ROWS,
                pre_execution_query=[*self._settings(self.con), "SET SESSION TRANSACTION READ ONLY"],
            )
            first = next(stream, None)
            # The moment that connectorx shows lies behind us by now.
            if self._may_differ(table):
                raise ChangedError
            yield empty_batch(stream.schema) if first is None else first
            yield from stream
        except (Exception, KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:  # the panic of a Rust library is no Exception
            raise RuntimeError(str(error)) from error

    def _may_differ(self, table: ServerTable) -> bool:
        """Whether the newest state of a table may be another one than that of the snapshot."""
        row = self.con.exec_driver_sql(CHANGED, (self.began, table.table)).fetchone()
        return row is None or row[0] != "InnoDB" or (row[1] is not None and row[1] < MARGIN)

    def _driver_url(self) -> str:
        return self.url.set(drivername="mysql", query={}).render_as_string(hide_password=False)

    def _settings(self, con: Connection) -> list[str]:
        seconds = reader.STATEMENT_TIMEOUT
        limit = (
            f"max_statement_time = {seconds}"
            if getattr(con.dialect, "is_mariadb", False)
            # MySQL also remembers when a table was changed, for a day.
            else f"max_execution_time = {1000 * seconds}, information_schema_stats_expiry = 0"
        )
        return [f"SET SESSION {limit}, lock_wait_timeout = {reader.LOCK_TIMEOUT}, time_zone = '+00:00'"]
