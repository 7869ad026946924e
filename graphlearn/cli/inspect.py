"""``graphlearn inspect``: what the tables mean, with what was inferred and how sure it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from graphlearn.cli.source import CacheOption, ExcludeOption, TablesOption, open_database
from graphlearn.errors import UsageError
from graphlearn.schema.manifest import manifest_dict
from graphlearn.schema.show import show_schema


def inspect(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="A database (file or URL), a folder of tables or a RelBench folder.")
    ],
    schema: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A manifest to use instead of inferring keys and times.")
    ] = None,
    save: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the schema as a manifest, to edit it.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace FILE if it is there.")] = False,
    tables: TablesOption = None,
    exclude: ExcludeOption = None,
    cache: CacheOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest as JSON, with row counts.")] = False,
) -> None:
    """Print the schema of a source as understood: keys, times, types, and how sure each is."""
    if save is not None and save.exists() and not force:
        raise UsageError(f"--save: '{save}' exists. Name another file, or add --force to replace it.")
    with open_database(source, schema=schema, tables=tables, exclude=exclude, cache=cache) as db:
        rows = {table: db.num_rows(table) for table in db.schema.tables}
        if as_json:
            typer.echo(json.dumps({"source": db.source, "rows": rows, **manifest_dict(db.schema)}, ensure_ascii=False))
        else:
            typer.echo(show_schema(db.schema, rows))
        if save is not None:
            typer.echo(f"wrote  {db.schema.save(save)}", err=True)
