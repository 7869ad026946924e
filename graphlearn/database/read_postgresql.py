"""PostgreSQL through ADBC: Arrow batches straight from COPY, all tables in one exported snapshot."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from graphlearn.database import reader
from graphlearn.database.reader import Reader, empty_batch
from graphlearn.database.reflect import ServerTable
from graphlearn.database.sql import literal
from graphlearn.database.url import CONNECT_TIMEOUT

if TYPE_CHECKING:
    import pyarrow as pa
    from sqlalchemy import URL, Connection

BATCH_BYTES = 4 * 2**20


class PostgresReader(Reader):
    """One transaction of psycopg that knows the tables, and one of ADBC that reads them in the same snapshot."""

    def _begin(self, con: Connection) -> Connection:
        con = con.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        for setting in _settings():
            con.exec_driver_sql(setting)
        return con

    def _prepare(self) -> None:
        import adbc_driver_postgresql.dbapi as adbc

        # As long as we read, nobody can change what the tables look like. Only this transaction locks:
        # if both did, the later lock would wait for whoever waits for the earlier one.
        locked = ", ".join(self.qualified(table) for table in self.tables if not table.is_view)
        snapshot = str(self.con.exec_driver_sql("SELECT pg_export_snapshot()").scalar_one())
        self.adbc = self._open.enter_context(adbc.connect(_libpq(self.url), autocommit=False))
        with self.adbc.cursor() as cursor:
            for statement in (
                "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY",
                f"SET TRANSACTION SNAPSHOT {literal(snapshot)}",
                *_settings(),
                *([f"LOCK TABLE {locked} IN ACCESS SHARE MODE"] if locked else []),
            ):
                cursor.execute(statement)

    def count(self, table: ServerTable) -> int:
        with self.adbc.cursor() as cursor:
            cursor.execute(f"SELECT count(*) FROM {self.qualified(table)}")
            return int(cursor.fetchall()[0][0])

    def batches(self, table: ServerTable, where: str = "") -> Iterator[pa.RecordBatch]:
        with self.adbc.cursor() as cursor:
            cursor.adbc_statement.set_options(**{"adbc.postgresql.batch_size_hint_bytes": str(BATCH_BYTES)})
            cursor.execute(self.select(table, where))
            with cursor.fetch_record_batch() as stream:
                yield _plain(empty_batch(stream.schema))
                for batch in stream:
                    yield _plain(batch)


def _settings() -> tuple[str, ...]:
    return (
        f"SET statement_timeout = '{reader.STATEMENT_TIMEOUT}s'",
        f"SET lock_timeout = '{reader.LOCK_TIMEOUT}s'",
        "SET TimeZone = 'UTC'",
        # A scan that starts where another one is gives the rows in another order on each run.
        "SET synchronize_seqscans = off",
    )


def _libpq(url: URL) -> str:
    url = url.set(drivername="postgresql")
    if "connect_timeout" not in url.query:
        url = url.update_query_dict({"connect_timeout": str(CONNECT_TIMEOUT)})
    return url.render_as_string(hide_password=False)


def _plain(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch without Arrow's marks for types that it has no type for; UUIDs, which DuckDB knows, keep theirs."""
    import pyarrow as pa

    arrays = [
        column.storage
        if isinstance(column, pa.ExtensionArray) and column.type.extension_name != "arrow.uuid"
        else column
        for column in batch.columns
    ]
    return pa.RecordBatch.from_arrays(arrays, names=batch.schema.names)
