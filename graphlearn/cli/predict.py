"""``graphlearn predict``: from a run and a source to a table of predictions."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from graphlearn.cli.ask import assumption, make_task, plan_text
from graphlearn.cli.label import check_out, write_table
from graphlearn.cli.train import train_aloud
from graphlearn.errors import UsageError
from graphlearn.predict import load
from graphlearn.predict.train import check_arguments
from graphlearn.schema import Database, connect
from graphlearn.tasks.query import is_query
from graphlearn.tasks.times import time_us
from graphlearn.training.progress import ProgressBar


def predict(
    run: Annotated[Path, typer.Argument(metavar="RUN|SOURCE", help="A run folder; with a QUERY, the database.")],
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="SOURCE|QUERY", help="The database, by default that of the training; or PREDICT … to train first."
        ),
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
    out: Annotated[
        Path | None, typer.Option(metavar="RUN", help="With a QUERY: the run folder to keep; by default none.")
    ] = None,
    eval_anchors: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="With a QUERY: most anchors of validation and of test.")
    ] = None,
    max_minutes: Annotated[
        float | None, typer.Option(metavar="T", min=0, help="With a QUERY: time after which no new epoch begins.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="With a QUERY: say what would be trained on, and do not train.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace FILE if it is there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one line for each row.")] = False,
) -> None:
    """Print or save the predictions of a run, or of a query, for a source at a time."""
    if to is not None:
        check_out(to, force, option="--to")
    time = None if at is None else time_us(at, "--at")
    keys = [*(entity or []), *([] if entities is None else read_keys(entities))]
    if is_query(source):
        trained_on = connect(str(run))
        asked = make_task(trained_on, source, None, eval_anchors=eval_anchors)
        if dry_run:
            typer.echo(plan_text(trained_on, asked))
            return
        with tempfile.TemporaryDirectory() as aside:
            kept = Path(aside) / "run" if out is None else out
            check_arguments(kept, device=device, force=force)
            loaded = train_aloud(trained_on, asked, out=kept, device=device, max_minutes=max_minutes, force=force)
        db: Database | None = trained_on
    else:
        if dry_run or out is not None or eval_anchors is not None or max_minutes is not None:
            raise UsageError("--out, --eval-anchors, --max-minutes and --dry-run need a QUERY: PREDICT … FOR EACH ….")
        loaded = load(run, device=device)
        db = None if source is None else connect(source, schema=loaded.schema)
    supposed = assumption(loaded.task)
    if supposed is not None:
        typer.echo(supposed, err=True)
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
