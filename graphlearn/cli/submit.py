"""``graphlearn submit``: from runs to RelBench leaderboard files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from graphlearn.errors import UsageError
from graphlearn.predict import load
from graphlearn.predict.submit import write_submission


def submit(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders, each of another task.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the CSV files, <dataset>__<task>.csv.")],
    dataset: Annotated[
        str | None, typer.Option(metavar="NAME", help="Name of the data set, if it is not that of the source.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that are there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Write RelBench leaderboard files from runs, and check them."""
    import json

    for path in runs:
        run = load(path)
        db = run.task.db
        if db is None:
            raise UsageError(f"{path}: the source of this run is not at hand, so its test rows are not known.")
        file = write_submission(run.predict_split("test"), run.task, dataset or db.name, out, force=force)
        line = {"run": str(path), "task": run.task.name, "file": str(file)}
        typer.echo(json.dumps(line) if as_json else f"wrote  {file}        accepted by relbench.submit")
