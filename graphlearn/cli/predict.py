"""``graphlearn predict``: from a run and a source to a table of predictions."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer

from graphlearn.cli.ask import assumption, make_task, plan_text
from graphlearn.cli.source import CacheOption, ExcludeOption, TablesOption, open_database
from graphlearn.cli.train import train_aloud
from graphlearn.errors import UsageError, first_three
from graphlearn.predict import RankingRun, Run, load
from graphlearn.predict.train import check_arguments
from graphlearn.predict.write import check_place
from graphlearn.schema import Database
from graphlearn.tasks.query import is_query
from graphlearn.tasks.times import time_us
from graphlearn.training.progress import ProgressBar


def predict(
    run: Annotated[str, typer.Argument(metavar="RUN|SOURCE", help="A run folder; with a QUERY, the database.")],
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
        str | None,
        typer.Option(
            metavar="TARGET",
            help="Write there instead of printing: a .csv or .parquet file, file.duckdb#table, or "
            "postgresql://, mysql://, mariadb:// or sqlite:// …#table.",
        ),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", "--force", help="Replace TARGET, and with a QUERY RUN, if it is there.")
    ] = False,
    append: Annotated[
        bool, typer.Option("--append", help="Add to TARGET if it is there; rows of the same key are replaced.")
    ] = False,
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
    candidates: Annotated[
        str | None,
        typer.Option(metavar="CONDITION", help="Of a ranking: name only rows for which this holds, as after WHERE."),
    ] = None,
    exclude_seen: Annotated[
        bool, typer.Option("--exclude-seen", help="Of a ranking: leave out what each entity has had before.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="With a QUERY: say what would be trained on, and do not train.")
    ] = False,
    tables: TablesOption = None,
    exclude: ExcludeOption = None,
    cache: CacheOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one line for each row.")] = False,
) -> None:
    """Print or save the predictions of a run, or of a query, for a source at a time."""
    if_exists = write_mode(to, replace, append)
    place = None if to is None else check_place(to, if_exists)
    time = None if at is None else time_us(at, "--at")
    keys = [*(entity or []), *([] if entities is None else read_keys(entities))]
    with ExitStack() as opened:
        db: Database | None = None
        if is_query(source):
            db = opened.enter_context(open_database(run, tables=tables, exclude=exclude, cache=cache))
            asked = make_task(db, source, None, eval_anchors=eval_anchors)
            if dry_run:
                typer.echo(plan_text(db, asked))
                return
            kept = Path(opened.enter_context(tempfile.TemporaryDirectory())) / "run" if out is None else out
            check_arguments(kept, device=device, force=replace)
            loaded = train_aloud(db, asked, out=kept, device=device, max_minutes=max_minutes, force=replace)
        else:
            if dry_run or out is not None or eval_anchors is not None or max_minutes is not None:
                raise UsageError(
                    "--out, --eval-anchors, --max-minutes and --dry-run need a QUERY: PREDICT … FOR EACH …."
                )
            loaded = load(run, device=device)
            if source is not None:
                reading = open_database(source, schema=loaded.schema, tables=tables, exclude=exclude, cache=cache)
                db = opened.enter_context(reading)
        supposed = assumption(loaded.task)
        if supposed is not None:
            typer.echo(supposed, err=True)
        bar = opened.enter_context(ProgressBar(100, shown=to is not None))
        table = loaded.predict(
            db,
            **_ranking_options(loaded, candidates, exclude_seen),
            at=time,
            entities=keys or None,
            progress=lambda done, rows: bar.show(100 * done // rows, "predict"),
            to=to,
            if_exists=if_exists,
        )
        unknown = loaded.without_history(table, db)
    if unknown:
        typer.echo(
            f"unknown  {len(unknown):,} of {len(table):,} {loaded.task.entity_table} have no history by then "
            f"(first: {first_three(unknown)}): their predictions rest on their own columns alone",
            err=True,
        )
    if place is not None:
        typer.echo(f"wrote  {place}  {len(table):,} predictions", err=True)
    elif as_json:
        typer.echo(
            table.to_json(orient="records", lines=True, date_format="iso", date_unit="us", double_precision=15),
            nl=False,
        )
    else:
        typer.echo(table.to_csv(index=False), nl=False)


def _ranking_options(run: Run, candidates: str | None, exclude_seen: bool) -> dict[str, Any]:
    """The options that only a ranking has."""
    if isinstance(run, RankingRun):
        return {"candidates": candidates, "exclude_seen": exclude_seen}
    if candidates is not None or exclude_seen:
        raise UsageError(f"--candidates and --exclude-seen are for rankings; task '{run.task.name}' predicts values.")
    return {}


def write_mode(to: str | None, replace: bool, append: bool) -> str:
    """What to do if the target is there, in the words of :meth:`Run.predict`."""
    if replace and append:
        raise UsageError("--replace and --append exclude each other: give one of them.")
    if to is None and (replace or append):
        raise UsageError(f"--{'replace' if replace else 'append'} is about a TARGET: name one with --to.")
    return "replace" if replace else "append" if append else "fail"


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
