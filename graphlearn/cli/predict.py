"""``graphlearn predict``: from a run and a source to a table of predictions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from graphlearn.cli.label import check_out, write_table
from graphlearn.cli.source import CacheOption, ExcludeOption, TablesOption, open_database
from graphlearn.errors import UsageError
from graphlearn.predict import load
from graphlearn.tasks.times import time_us
from graphlearn.training.progress import ProgressBar


def predict(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    source: Annotated[
        str | None, typer.Argument(metavar="SOURCE", help="The database; by default that of the training.")
    ] = None,
    at: Annotated[
        str | None, typer.Option(metavar="TIME", help="The time to predict for; by default the newest in the source.")
    ] = None,
    entity: Annotated[
        list[str] | None, typer.Option(metavar="KEY", help="A primary key to predict for; repeat it for several.")
    ] = None,
    entities: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A file with one primary key a line to predict for.")
    ] = None,
    to: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a .csv or .parquet file instead of printing.")
    ] = None,
    device: Annotated[str, typer.Option(metavar="D", help="cpu or cuda.")] = "cpu",
    force: Annotated[bool, typer.Option("--force", help="Replace FILE if it is there.")] = False,
    tables: TablesOption = None,
    exclude: ExcludeOption = None,
    cache: CacheOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one line for each row.")] = False,
) -> None:
    """Print or save the predictions of a run for a source at a time."""
    if to is not None:
        check_out(to, force, option="--to")
    time = None if at is None else time_us(at, "--at")
    keys = [*(entity or []), *([] if entities is None else read_keys(entities))]
    loaded = load(run, device=device)
    db = (
        None
        if source is None
        else open_database(source, schema=loaded.schema, tables=tables, exclude=exclude, cache=cache)
    )
    with ProgressBar(100, shown=to is not None) as bar:
        table = loaded.predict(
            db, at=time, entities=keys or None, progress=lambda done, rows: bar.show(100 * done // rows, "predict")
        )
    if to is not None:
        write_table(table, to)
        typer.echo(f"wrote  {to}  {len(table):,} predictions", err=True)
    elif as_json:
        typer.echo(
            table.to_json(orient="records", lines=True, date_format="iso", date_unit="us", double_precision=15),
            nl=False,
        )
    else:
        typer.echo(table.to_csv(index=False), nl=False)


def read_keys(file: Path) -> list[str]:
    """The lines of a file; empty ones are skipped."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(
            f"--entities: '{file}' cannot be read: {reason}. Give a text file with one key a line."
        ) from error
    keys = [line for line in lines if line.strip()]
    if not keys:
        raise UsageError(f"--entities: '{file}' holds no key. Write one primary key a line, or leave the option out.")
    return keys
