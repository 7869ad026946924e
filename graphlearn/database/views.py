"""Views of schema ``main``: what queries see of a source's tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphlearn.database.sql import quote

if TYPE_CHECKING:
    import duckdb


def add_view(con: duckdb.DuckDBPyConnection, name: str, origin: str) -> None:
    """Makes ``name`` a view of ``origin`` (SQL that follows FROM), with types that everything downstream reads.

    An ENUM becomes text, and so does a column that Parquet knows only as NULL.
    """
    described = con.execute(f"DESCRIBE SELECT * FROM {origin}").fetchall()
    columns = ", ".join(
        f"CAST({quote(column)} AS VARCHAR) AS {quote(column)}"
        if kind.startswith("ENUM(") or kind.strip('"') == "NULL"
        else quote(column)
        for column, kind, *_ in described
    )
    con.execute(f"CREATE VIEW main.{quote(name)} AS SELECT {columns} FROM {origin}").fetchall()
