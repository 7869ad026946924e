"""``graphlearn export``: a source as a folder that ``relbench`` loads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from graphlearn.cli.source import CacheOption, ExcludeOption, TablesOption, open_database
from graphlearn.tasks import Task, export_relbench
from graphlearn.tasks.manifest import task_names


def export(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="A database (file or URL), a folder of tables or a RelBench folder.")
    ],
    to: Annotated[Path, typer.Option(metavar="FOLDER", help="The RelBench folder to write.")],
    task: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME|FOLDER|QUERY",
            help="A task of the source, a task folder or a query; repeat it for several. By default all tasks of the "
            "source.",
        ),
    ] = None,
    schema: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A saved schema; by default the source's own, or inferred.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace FOLDER if it is a RelBench folder.")] = False,
    tables: TablesOption = None,
    exclude: ExcludeOption = None,
    cache: CacheOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Write a source and its tasks as a RelBench 3 folder."""
    with open_database(source, schema=schema, tables=tables, exclude=exclude, cache=cache) as db:
        tasks = [Task(db, name) for name in (task_names(db.folder) if task is None else task)]
        folder = export_relbench(db, to, tasks, force=force)
        if as_json:
            found = {"folder": str(folder), "tables": list(db.tables), "tasks": [t.name for t in tasks]}
            typer.echo(json.dumps(found, ensure_ascii=False))
        else:
            typer.echo(f"wrote  {folder}  {len(db.tables)} tables, {len(tasks)} tasks")
