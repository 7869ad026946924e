"""The options that every command takes for the URL of a database, and the opening of a source."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from graphlearn.schema import Database, Schema, connect

TablesOption = Annotated[
    list[str] | None,
    typer.Option("--tables", metavar="GLOB", help="Of a URL: read only these tables; repeat it for several."),
]
ExcludeOption = Annotated[
    list[str] | None,
    typer.Option("--exclude", metavar="GLOB", help="Of a URL: do not read these tables, or columns (table.column)."),
]
CacheOption = Annotated[
    Path | None,
    typer.Option("--cache", metavar="FILE", help="Of a URL: keep what was read; next time read only what is new."),
]


@contextmanager
def open_database(
    source: str,
    *,
    schema: Schema | Path | None = None,
    tables: list[str] | None = None,
    exclude: list[str] | None = None,
    cache: Path | None = None,
) -> Iterator[Database]:
    """The source for as long as a command reads it; what there is to say about how it was read goes to stderr."""
    db = connect(source, schema=schema, tables=tables, exclude=exclude or (), cache=cache)
    try:
        for note in db.notes:
            typer.echo(f"cache    {note}", err=True)
        yield db
    finally:
        db.close()
