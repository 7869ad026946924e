"""``graphlearn report``: a run as one HTML page."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from graphlearn.cli.source import CacheOption, ExcludeOption, TablesOption, open_database
from graphlearn.predict import load
from graphlearn.report.write import make_report, place, save_report
from graphlearn.training.checkpoint import to_json


def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    source: Annotated[
        str | None, typer.Argument(metavar="SOURCE", help="The database; by default that of the training.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The file to write; by default report.html in the run folder.")
    ] = None,
    tables: TablesOption = None,
    exclude: ExcludeOption = None,
    cache: CacheOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the file and what is missing in it as JSON.")] = False,
) -> None:
    """Write a run as one HTML page: schema, metrics, calibration, curves, what matters, audit."""
    loaded = load(run)
    file = place(loaded, out)
    with (
        nullcontext()
        if source is None
        else open_database(source, schema=loaded.schema, tables=tables, exclude=exclude, cache=cache)
    ) as db:
        made = make_report(loaded, db, progress=True)
    save_report(made, file)
    if as_json:
        typer.echo(to_json({"report": str(file), "missing": {k: v for k, v in made.missing.items() if v}}))
        return
    for section, why in made.missing.items():
        if why:
            typer.echo(f"missing  {section}: {why}", err=True)
    typer.echo(f"wrote  {file}")
