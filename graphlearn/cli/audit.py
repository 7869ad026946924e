"""``graphlearn audit``: what a run may see, what its labels give away, and how its results age."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from graphlearn.cli.source import CacheOption, ExcludeOption, TablesOption, open_database
from graphlearn.errors import DataError
from graphlearn.predict import audit as audit_run
from graphlearn.predict import load
from graphlearn.training.checkpoint import to_json


def audit(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    source: Annotated[
        str | None, typer.Argument(metavar="SOURCE", help="The database; by default that of the training.")
    ] = None,
    tables: TablesOption = None,
    exclude: ExcludeOption = None,
    cache: CacheOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Report whether a run can be trusted: inputs newer than allowed, labels given away, results that age.

    Exit code 3 if something failed: then the run's metrics mean nothing.
    """
    loaded = load(run)
    with (
        nullcontext()
        if source is None
        else open_database(source, schema=loaded.schema, tables=tables, exclude=exclude, cache=cache)
    ) as db:
        found = audit_run(loaded, db, progress=True)
    typer.echo(to_json(found.to_dict()) if as_json else str(found))
    if not found.ok:
        raise typer.Exit(DataError.exit_code)
