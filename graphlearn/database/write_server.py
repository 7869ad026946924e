"""One table into PostgreSQL, MySQL, MariaDB or SQLite.

PostgreSQL and SQLite take it back whole if the transaction does not end. MySQL and MariaDB commit at every CREATE and
DROP, so a table is made aside there and renamed, which both do in one step.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.types as pt
import sqlalchemy as sa

from graphlearn.database.connection import new_connection
from graphlearn.database.sql import quote, quote_all
from graphlearn.database.sql_types import family, shape_difference, sql_types
from graphlearn.database.target import Target, qualified
from graphlearn.database.url import engine, reason, shown
from graphlearn.errors import SchemaError, StorageError, UsageError

if TYPE_CHECKING:
    from sqlalchemy import Connection

BATCH_ROWS = 65_536
"""Rows that are turned into what a driver takes at a time."""

STATEMENT_VALUES = 8_000
"""Values of one INSERT of MySQL: far below the smallest packet that a server is set up for."""

LOCK_SECONDS = 60
"""How long to wait for others who hold the table."""


def exists(target: Target) -> bool:
    """Whether the table is there.

    Raises:
        UsageError: If something else of that name is there, such as a view.
        StorageError: If the database cannot be opened.
    """
    if _is_new_file(target):
        return False
    with _connection(target) as con:
        return _exists(con, target)


def write(target: Target, data: pa.Table, *, key: list[str], if_exists: str, types: Mapping[str, str]) -> None:
    """See :func:`graphlearn.database.write.write_table`."""
    if not _is_new_file(target):
        _write(target, data, key, if_exists, types)
        return
    assert target.url is not None
    path = Path(str(target.url.database))
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        _write(replace(target, url=target.url.set(database=str(aside))), data, key, if_exists, types)
        os.replace(aside, path)
    except OSError as error:
        raise StorageError(f"{target} could not be written: {error.strerror}.") from error
    finally:
        aside.unlink(missing_ok=True)


def _write(target: Target, data: pa.Table, key: list[str], if_exists: str, types: Mapping[str, str]) -> None:
    with _connection(target) as con:
        table = _define(con, target, data, key, types)
        if target.kind in ("mysql", "mariadb"):
            _write_mysql(con, target, table, data, if_exists)
            return
        if target.kind == "sqlite":
            # Its driver would begin at the first INSERT, after the table was made.
            con.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            con.exec_driver_sql(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'")
        there = _exists(con, target)
        append = there and if_exists == "append"
        if append:
            _check_shape(con, target, table)
        else:
            if there and if_exists == "replace":
                con.execute(sa.schema.DropTable(table))
            con.execute(sa.schema.CreateTable(table))
        if target.kind == "sqlite":
            _insert_sqlite(con, table, data)
        else:
            _copy_postgresql(con, target, table, data, upsert=append)
        con.commit()


def _write_mysql(con: Connection, target: Target, table: sa.Table, data: pa.Table, if_exists: str) -> None:
    con.exec_driver_sql(
        f"SET SESSION sql_mode = 'STRICT_ALL_TABLES', lock_wait_timeout = {LOCK_SECONDS}, "
        f"innodb_lock_wait_timeout = {LOCK_SECONDS}"
    )
    # What a writer that was killed has left aside has this name too, so that the next one clears it away. Two writers
    # at once would take each other's: the lock goes with the connection, however that ends.
    mark = hashlib.sha256(f"{target.schema or con.engine.url.database}.{target.table}".encode()).hexdigest()[:16]
    (free,) = con.exec_driver_sql("SELECT GET_LOCK(%s, %s)", (f"graphlearn_{mark}", LOCK_SECONDS)).one()
    if not free:
        raise StorageError(f"{target} is being written by another process: wait for it, and run the command again.")
    there = _exists(con, target)
    if there and if_exists == "append":
        _check_shape(con, target, table)
        _insert_mysql(con, table, data)
        con.commit()
        return
    if there and if_exists == "fail":
        raise StorageError(f"{target} was made by someone else meanwhile.")
    new, old = (table.to_metadata(sa.MetaData(), name=f"graphlearn_{kind}_{mark}") for kind in ("new", "old"))
    name, new_name, old_name = (con.dialect.identifier_preparer.format_table(t) for t in (table, new, old))
    for left in (new, old):
        con.execute(sa.schema.DropTable(left, if_exists=True))
    try:
        con.execute(sa.schema.CreateTable(new))
        _insert_mysql(con, new, data)
        con.commit()
        away = f"{name} TO {old_name}, " if there else ""
        con.exec_driver_sql(f"RENAME TABLE {away}{new_name} TO {name}")
    except BaseException:
        # On another connection, because this one may be what failed; it holds the table until it is gone.
        con.invalidate()
        with contextlib.suppress(StorageError), _connection(target) as again:
            again.exec_driver_sql(f"SET SESSION lock_wait_timeout = {LOCK_SECONDS}")
            again.execute(sa.schema.DropTable(new, if_exists=True))
        raise
    # From here on the table is whole; what remains of the old one, the next writer clears away.
    with contextlib.suppress(sa.exc.DBAPIError):
        con.execute(sa.schema.DropTable(old, if_exists=True))


@contextlib.contextmanager
def _connection(target: Target) -> Iterator[Connection]:
    """A connection of its own; what the server says becomes one sentence."""
    assert target.url is not None
    database = engine(target.url)
    dbapi: Any = database.dialect.dbapi
    try:
        con = database.connect()
    except (sa.exc.DBAPIError, dbapi.Error) as error:
        raise StorageError(f"{shown(target.url)} cannot be opened: {reason(error)}.") from error
    try:
        yield con
    except (sa.exc.DBAPIError, dbapi.Error, OverflowError) as error:
        raise StorageError(f"{target} could not be written: {_why(error)} It is as it was.") from error
    finally:
        with contextlib.suppress(sa.exc.DBAPIError, dbapi.Error):
            con.close()


def _why(error: Exception) -> str:
    said: Any = getattr(error, "orig", None) or error
    # PyMySQL has an SQLSTATE too, but one for many things.
    code = said.args[0] if said.args and isinstance(said.args[0], int) else getattr(said, "sqlstate", None)
    text = reason(error)
    if code in _NO_RIGHT:
        return f"this user has no right to do it ({text}). Ask for the right, or name another place."
    if code in _FULL or "is full" in text:
        return f"there is no room left ({text}). Free some and run the same command again."
    if code in _LOST or str(code).startswith(("08", "57P")) or getattr(error, "connection_invalidated", False):
        return f"the connection was lost ({text}). Run the same command again."
    return f"{text}."


# SQLSTATE of PostgreSQL, numbers of MySQL.
_NO_RIGHT = frozenset({"42501", 1044, 1045, 1142, 1143, 1227, 1370})
_FULL = frozenset({"53100", 1021, 1114})
_LOST = frozenset({2006, 2013})


def _is_new_file(target: Target) -> bool:
    return target.kind == "sqlite" and target.url is not None and not Path(str(target.url.database)).exists()


def _exists(con: Connection, target: Target) -> bool:
    inspector = sa.inspect(con)
    if not inspector.has_table(target.table, schema=target.schema):
        return False
    tables = inspector.get_table_names(schema=target.schema)
    # SQLite does not tell upper from lower case.
    if target.table in tables or (target.kind == "sqlite" and target.table.lower() in map(str.lower, tables)):
        return True
    raise UsageError(f"{target} is no table but a view or the like. Name another table.")


def _define(con: Connection, target: Target, data: pa.Table, key: list[str], types: Mapping[str, str]) -> sa.Table:
    columns = [
        sa.Column(sa.sql.quoted_name(name, quote=True), dtype, primary_key=name in key, autoincrement=False)
        for name, dtype in sql_types(data.schema, key, con.dialect, types).items()
    ]
    schema = None if target.schema is None else sa.sql.quoted_name(target.schema, quote=True)
    name = sa.sql.quoted_name(target.table, quote=True)
    # A server may be set up with an engine that knows no transactions.
    return sa.Table(name, sa.MetaData(), *columns, schema=schema, mysql_engine="InnoDB", mariadb_engine="InnoDB")


def _check_shape(con: Connection, target: Target, table: sa.Table) -> None:
    wanted = {str(c.name): family(c.type) for c in table.columns}
    look = _shape_mysql if target.kind in ("mysql", "mariadb") else _shape
    columns, key, problem = look(con, target)
    difference = problem or shape_difference(wanted, [str(c.name) for c in table.primary_key], columns, key)
    if difference is not None:
        raise SchemaError(
            f"{target} has another shape: {difference}. Name another table, or add --replace to replace this one."
        )


def _shape(con: Connection, target: Target) -> tuple[dict[str, str], list[str], str | None]:
    inspector = sa.inspect(con)
    columns = {c["name"]: family(c["type"]) for c in inspector.get_columns(target.table, schema=target.schema)}
    key = inspector.get_pk_constraint(target.table, schema=target.schema)["constrained_columns"]
    return columns, key, None


def _shape_mysql(con: Connection, target: Target) -> tuple[dict[str, str], list[str], str | None]:
    """The same from the catalogue: SQLAlchemy parses SHOW CREATE TABLE, and fails at names with a backtick."""
    named = (target.schema or con.engine.url.database, target.table)
    where = "table_schema = %s AND table_name = %s"
    columns = con.exec_driver_sql(
        f"SELECT column_name, data_type, column_key FROM information_schema.columns WHERE {where} "
        "ORDER BY ordinal_position",
        named,
    ).all()
    (used,) = con.exec_driver_sql(f"SELECT engine FROM information_schema.tables WHERE {where}", named).one()
    problem = None if used == "InnoDB" else f"its engine {used} knows no transactions"
    return {n: family(t) for n, t, _ in columns}, [n for n, _, role in columns if role == "PRI"], problem


def _copy_postgresql(con: Connection, target: Target, table: sa.Table, data: pa.Table, *, upsert: bool) -> None:
    """COPY, the bulk path; into a table of this transaction first where rows that are there may be replaced."""
    import pyarrow.csv

    names = quote_all(data.column_names)
    into = qualified(target)
    if upsert:
        con.exec_driver_sql(
            f"CREATE TEMP TABLE graphlearn_new ON COMMIT DROP AS SELECT {_doubled(names)} FROM {_doubled(into)} LIMIT 0"
        )
    place = "pg_temp.graphlearn_new" if upsert else into
    driver: Any = con.connection.driver_connection
    options = pyarrow.csv.WriteOptions(include_header=False)
    with (
        driver.cursor() as cursor,
        cursor.copy(f"COPY {place} ({names}) FROM STDIN (FORMAT csv, ENCODING 'UTF8')") as copy,
    ):
        for batch in _hexed(data).to_batches(max_chunksize=BATCH_ROWS):
            text = io.BytesIO()
            pyarrow.csv.write_csv(batch, text, options)
            copy.write(text.getbuffer())
    if upsert:
        rest = [str(c.name) for c in table.columns if not c.primary_key]
        keys = quote_all(str(c.name) for c in table.primary_key)
        changes = ", ".join(f"{quote(name)} = excluded.{quote(name)}" for name in rest)
        con.exec_driver_sql(
            _doubled(
                f"INSERT INTO {into} ({names}) SELECT {names} FROM pg_temp.graphlearn_new "
                f"ON CONFLICT ({keys}) DO UPDATE SET {changes}"
            )
        )


def _insert_sqlite(con: Connection, table: sa.Table, data: pa.Table) -> None:
    names = [str(c.name) for c in table.columns]
    keys = quote_all(str(c.name) for c in table.primary_key)
    changes = ", ".join(
        f"{quote(str(c.name))} = excluded.{quote(str(c.name))}" for c in table.columns if not c.primary_key
    )
    sql = (
        f"INSERT INTO {quote(str(table.name))} ({quote_all(names)}) VALUES ({', '.join('?' * len(names))}) "
        f"ON CONFLICT ({keys}) DO UPDATE SET {changes}"
    )
    for rows in _rows(_as_text(data), BATCH_ROWS):
        con.exec_driver_sql(sql, rows)


def _insert_mysql(con: Connection, table: sa.Table, data: pa.Table) -> None:
    prepare = con.dialect.identifier_preparer
    names = [prepare.quote_identifier(str(c.name)) for c in table.columns]
    changes = ", ".join(
        f"{name} = VALUES({name})" for name, c in zip(names, table.columns, strict=True) if not c.primary_key
    )
    head = f"INSERT INTO {prepare.format_table(table)} ({', '.join(names)}) VALUES "
    row = f"({', '.join(['%s'] * len(names))})"
    for rows in _rows(_naive(data), max(1, STATEMENT_VALUES // len(names))):
        sql = head + ", ".join([row] * len(rows)) + f" ON DUPLICATE KEY UPDATE {changes}"
        con.exec_driver_sql(sql, tuple(value for values in rows for value in values))


def _rows(data: pa.Table, size: int) -> Iterator[list[tuple[Any, ...]]]:
    """The rows as these drivers take them, who know no columns."""
    for batch in data.to_batches(max_chunksize=size):
        yield list(zip(*(column.to_pylist() for column in batch.columns), strict=True))


def _naive(data: pa.Table) -> pa.Table:
    """Times with an offset as UTC without one."""
    return _cast(data, lambda dtype: pa.timestamp("us") if pt.is_timestamp(dtype) else None)


def _as_text(data: pa.Table) -> pa.Table:
    """What SQLite has no type for, as text: times as ISO 8601 in UTC, decimals to the last digit."""
    naive = _naive(data)
    text = (pt.is_timestamp, pt.is_date, pt.is_decimal, pt.is_uint64)
    return _cast(naive, lambda dtype: pa.string() if any(test(dtype) for test in text) else None)


def _cast(data: pa.Table, wanted: Any) -> pa.Table:
    for i, field in enumerate(data.schema):
        dtype = wanted(field.type)
        if dtype is not None:
            data = data.set_column(i, field.name, data.column(i).cast(dtype))
    return data


def _hexed(data: pa.Table) -> pa.Table:
    """Bytes as PostgreSQL reads them in text."""
    names = [f.name for f in data.schema if pt.is_binary(f.type) or pt.is_large_binary(f.type)]
    if not names:
        return data
    con = new_connection()
    try:
        con.register("data", data)
        hexed = ", ".join(f"'\\x' || hex({quote(name)}) AS {quote(name)}" for name in names)
        return con.sql(f"SELECT * REPLACE ({hexed}) FROM data").to_arrow_table()
    finally:
        con.close()


def _doubled(sql: str) -> str:
    """SQL for a driver that reads ``%`` as the mark of a value."""
    return sql.replace("%", "%%")
