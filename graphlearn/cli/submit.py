"""``graphlearn submit``: from runs to RelBench leaderboard files."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from graphlearn.cli.source import open_database
from graphlearn.predict import load
from graphlearn.predict.submit import write_submission


def submit(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN", help="Run folders, each of another task.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the CSV files, <dataset>__<task>.csv.")],
    source: Annotated[
        str | None, typer.Option(metavar="SOURCE", help="The RelBench folder; by default that of the training.")
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(metavar="NAME", help="Name of the data set, if it is not that of the source.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that are there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one line for each file.")] = False,
) -> None:
    """Write RelBench leaderboard files from runs, and check them."""
    for path in runs:
        run = load(path)
        with nullcontext() if source is None else open_database(source, schema=run.schema) as db:
            predictions = run.predict_split("test", db)
            assert run.task.db is not None
            file = write_submission(predictions, run.task, dataset or run.task.db.name, out, force=force)
        line = {"run": str(path), "task": run.task.name, "file": str(file)}
        typer.echo(json.dumps(line) if as_json else f"wrote  {file}        accepted by relbench.submit")
