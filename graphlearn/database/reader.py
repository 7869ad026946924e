"""One consistent, read-only view of a server: what is in its tables at one moment, as Arrow batches."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from graphlearn.database.reflect import Options, ServerTable, reflect
from graphlearn.database.url import engine, reason, shown
from graphlearn.errors import SourceError

if TYPE_CHECKING:
    import pyarrow as pa
    from sqlalchemy import URL, Connection, CursorResult

STATEMENT_TIMEOUT = 3600
"""Seconds after which a server gives up on one of our statements."""
LOCK_TIMEOUT = 30
"""Seconds to wait for a table that somebody else has locked."""
BATCH_ROWS = 32_768
LOST = re.compile(
    r"(?i)server closed the connection|terminating connection|connection (was |has been |is )?(lost|closed|reset|dead)"
    r"|lost connection|gone away|broken pipe|reset by peer|no connection to the server|connection not open"
    r"|bytes remaining on stream"
    r"|server has been shut|was killed|EOF detected|not connected|connection timed out"
)
"""How drivers say that a connection that worked does so no more."""


class LostConnectionError(SourceError):
    """The connection broke while tables were read; a second try may succeed."""


class Reader(ABC):
    """Reads the tables of one server, all of them as they were when it was made.

    Closing it gives the connections back. What it is made of is opened read-only, so that the server itself refuses to
    write.

    Args:
        url: What :func:`~graphlearn.database.url.parse_url` gave.
        options: Which tables are read.
    """

    plain = False
    """Whether only types that every database has are read."""
    strict = False
    """Whether a value that is not of its column's type is an error instead of NULL."""

    def __init__(self, url: URL, options: Options) -> None:
        self.url = url
        self.options = options
        self.place = shown(url)
        self._open = ExitStack()
        try:
            self.con = self._begin(self._open.enter_context(self._connect()))
            self.tables: tuple[ServerTable, ...] = reflect(self.con, options, self.place, plain=self.plain)
            self._prepare()
        except BaseException as error:
            self._open.close()
            if isinstance(error, Exception):
                raise self.explain(error, "") from error
            raise

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *exc: object) -> None:
        # What is left of a broken connection may fail to close; what it failed at is being reported already.
        try:
            self._open.close()
        except Exception:
            if exc[0] is None:
                raise

    def _connect(self) -> Connection:
        """The connection that is used to ask about tables."""
        return engine(self.url).connect()

    @abstractmethod
    def _begin(self, con: Connection) -> Connection:
        """Begins the read-only transaction on the connection that is used to ask about tables."""

    def _prepare(self) -> None:  # noqa: B027 - not every reader needs more
        """Opens what else is needed, once the tables are known."""

    @abstractmethod
    def batches(self, table: ServerTable, where: str = "") -> Iterator[pa.RecordBatch]:
        """The rows of a table, in one batch at least; the columns are ``c0``, ``c1``, … in its order."""

    def count(self, table: ServerTable) -> int:
        """Number of rows of a table."""
        row = self.run(f"SELECT count(*) FROM {self.qualified(table)}").fetchone()
        return int(row[0]) if row is not None else 0

    def quote(self, name: str) -> str:
        """``name`` as one quoted name of this server's SQL."""
        quoted = str(self.con.dialect.identifier_preparer.quote_identifier(name))
        return quoted.replace("%%", "%") if self._doubles_percent else quoted

    def run(self, sql: str, **options: Any) -> CursorResult[Any]:
        """The result of SQL without parameters, whatever characters its names hold."""
        con = self.con.execution_options(**options) if options else self.con
        return con.exec_driver_sql(sql.replace("%", "%%") if self._doubles_percent else sql)

    @property
    def _doubles_percent(self) -> bool:
        """Whether the driver takes a '%' for the beginning of a parameter, and SQLAlchemy therefore doubles it."""
        return self.con.dialect.paramstyle in ("format", "pyformat")

    def qualified(self, table: ServerTable) -> str:
        """The table with its schema as quoted SQL."""
        return ".".join(self.quote(name) for name in (table.schema, table.table) if name)

    def select(self, table: ServerTable, where: str = "") -> str:
        """The SELECT of :meth:`batches`."""
        columns = ", ".join(
            f"{column.reading.sql.format(self.quote(column.name))} AS c{i}" for i, column in enumerate(table.columns)
        )
        return f"SELECT {columns} FROM {self.qualified(table)}{where and f' WHERE {where}'}"

    def rows(self, table: ServerTable, where: str = "") -> Iterator[pa.RecordBatch]:
        """The rows of a table through SQLAlchemy: slower, with any driver."""
        import pyarrow as pa

        result = self.run(self.select(table, where), stream_results=True, yield_per=BATCH_ROWS)
        schema = pa.schema([(f"c{i}", column.reading.arrow) for i, column in enumerate(table.columns)])
        yield empty_batch(schema)
        for part in result.partitions(BATCH_ROWS):
            arrays = [_array(values, kind) for values, kind in zip(zip(*part, strict=True), schema.types, strict=True)]
            yield pa.RecordBatch.from_arrays(arrays, schema=schema)

    def explain(self, error: Exception, table: str) -> Exception:
        """What to tell the user about a failure while ``table`` was read (or, if empty, before)."""
        from graphlearn.errors import GraphLearnError

        if isinstance(error, GraphLearnError):
            return error
        # ADBC adds the whole SQL.
        text = re.sub(r"\s*Query was: .*?(?=\. SQLSTATE|$)", "", reason(error), flags=re.DOTALL)
        if table and LOST.search(text):
            return LostConnectionError(f"{self.place}: the connection broke while '{table}' was read: {text}.")
        if not table:
            return SourceError(f"{self.place} cannot be opened: {text}. {_advice(text)}".rstrip())
        return SourceError(f"{self.place}: the table '{table}' cannot be read: {text}. {_advice(text)}".rstrip())


class RowReader(Reader):
    """Any database that SQLAlchemy knows, row by row, in a transaction as strict as it offers."""

    plain = True

    def _begin(self, con: Connection) -> Connection:
        driver = con.connection.dbapi_connection
        offered = con.dialect.get_isolation_level_values(driver) if driver is not None else ()
        levels = [level for level in ("SNAPSHOT", "REPEATABLE READ", "SERIALIZABLE") if level in offered]
        return con.execution_options(isolation_level=levels[0]) if levels else con

    def batches(self, table: ServerTable, where: str = "") -> Iterator[pa.RecordBatch]:
        return self.rows(table, where)


def empty_batch(schema: pa.Schema) -> pa.RecordBatch:
    """A batch without rows, for a stream that would otherwise not say what its columns are."""
    import pyarrow as pa

    return pa.RecordBatch.from_arrays([pa.array([], field.type) for field in schema], schema=schema)


def _array(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    import pyarrow as pa

    if pa.types.is_string(kind):
        values = [None if value is None else str(value) for value in values]
    return pa.array(values, kind)


def _advice(text: str) -> str:
    lowered = text.lower()
    if "timeout" in lowered or "max_statement_time" in lowered:
        return f"A statement may take {STATEMENT_TIMEOUT} seconds, and wait {LOCK_TIMEOUT} for a lock."
    if "permission denied" in lowered or "command denied" in lowered:
        return "GRANT SELECT on it to this user, or leave it out with exclude."
    if "does not exist" in lowered or "unknown column" in lowered or "doesn't exist" in lowered:
        return "Check the name; if the table was changed while it was read, run the same again."
    if "refused" in lowered or "not known" in lowered or "could not translate" in lowered or "can't connect" in lowered:
        return "Check the host and the port, and that the server runs."
    return ""
