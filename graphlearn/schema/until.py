"""A database as it was at a time: the same tables without the rows that came later."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager

from graphlearn.database.source import Source
from graphlearn.database.sql import quote, time_us
from graphlearn.schema.connect import Database
from graphlearn.schema.schema import Table


@contextmanager
def rows_until(db: Database, until: int, *, whole: Collection[str] = ()) -> Iterator[Database]:
    """``db`` without the rows whose time is later than ``until``; rows without a time are all there.

    Nothing is copied: its tables are views of those of ``db``, in a catalogue of their own on a cursor of the same
    connection. It must not be used after the context ends.

    Args:
        db: The database.
        until: Microseconds UTC.
        whole: Tables that keep all of their rows.
    """
    catalog = f"__until_{uuid.uuid4().hex[:12]}"
    origin = quote(str(db.rows("SELECT current_database()")[0][0]))
    cursor = db.con.cursor()
    cursor.execute("SET TimeZone = 'UTC'").fetchall()  # a setting of each session, on which the reading of text relies
    cursor.execute(f"ATTACH ':memory:' AS {quote(catalog)}").fetchall()
    try:
        cursor.execute(f"USE {quote(catalog)}").fetchall()
        for table in db.schema.tables.values():
            name, where = quote(table.name), "" if table.name in whole else _where(table, until)
            sql = f"CREATE VIEW main.{name} AS SELECT * FROM {origin}.main.{name}{where}"
            cursor.execute(sql).fetchall()
        source = Source(
            cursor,
            name=db.name,
            source=db.source,
            tables=db.schema.tables,
            folder=db.folder,
            manifest=db.manifest,
            declared_pkeys=db.declared_pkeys,
            declared_fkeys=db.declared_fkeys,
            added=db.added,
            comments=db.comments,
        )
        with closing(Database(source, db.schema)) as earlier:
            yield earlier
    finally:
        db.con.execute(f"DETACH {quote(catalog)}").fetchall()


def _where(table: Table, until: int) -> str:
    if table.time_col is None:
        return ""
    time = time_us(quote(table.time_col), table.column(table.time_col).dtype)
    return f" WHERE {time} <= {int(until)} OR {time} IS NULL"
