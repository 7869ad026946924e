"""``graphlearn explain``: why one prediction is what it is, or what a whole run relies on."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from graphlearn.cli.source import CacheOption, ExcludeOption, TablesOption, open_database
from graphlearn.errors import UsageError
from graphlearn.predict import load
from graphlearn.predict.explain import explain as explain_one
from graphlearn.predict.importance import importance
from graphlearn.tasks.times import time_us
from graphlearn.training.progress import ProgressBar


def explain(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    source: Annotated[
        str | None, typer.Argument(metavar="SOURCE", help="The database; by default that of the training.")
    ] = None,
    entity: Annotated[
        str | None,
        typer.Option(metavar="KEY", help="The primary key whose prediction is explained; without it the whole run."),
    ] = None,
    at: Annotated[
        str | None, typer.Option(metavar="TIME", help="With KEY: the time predicted for; by default the newest.")
    ] = None,
    top: Annotated[
        int, typer.Option("--top", metavar="N", min=1, help="Most rows of each direction; or lines of each table.")
    ] = 10,
    output: Annotated[
        str | None,
        typer.Option("--class", metavar="C", help="With KEY: of several classes this one, not the likeliest."),
    ] = None,
    split: Annotated[
        str, typer.Option(metavar="SPLIT", help="Without KEY: whose predictions are looked at, train, val or test.")
    ] = "val",
    sample: Annotated[
        int, typer.Option("--rows", metavar="N", min=1, help="Without KEY: how many of these predictions.")
    ] = 200,
    device: Annotated[str, typer.Option(metavar="D", help="cpu or cuda.")] = "cpu",
    tables: TablesOption = None,
    exclude: ExcludeOption = None,
    cache: CacheOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print the rows and columns that moved one prediction, or what matters for a whole run."""
    time = None if at is None else time_us(at, "--at")
    if entity is None and (time is not None or output is not None):
        raise UsageError("--at and --class are about one prediction: name whose with --entity KEY.")
    with ExitStack() as opened:
        loaded = load(run, device=device)
        db = None
        if source is not None:
            reading = open_database(source, schema=loaded.schema, tables=tables, exclude=exclude, cache=cache)
            db = opened.enter_context(reading)
        if entity is not None:
            found = explain_one(loaded, db, entity=entity, at=time, top=top, output=output)
            typer.echo(json.dumps(found.to_dict(), ensure_ascii=False) if as_json else str(found))
            return
        bar = opened.enter_context(ProgressBar(100))
        table = importance(
            loaded,
            db,
            split=split,
            rows=sample,
            progress=lambda done, passes: bar.show(100 * done // passes, "explain"),
        )
    if as_json:
        typer.echo(table.to_json(orient="records", lines=True, double_precision=15), nl=False)
    else:
        typer.echo(f"{loaded.task.name}, {split}: what moves the predictions, in shares of all effects")
        typer.echo(as_text(table, top))


def as_text(table: pd.DataFrame, top: int) -> str:
    """Three lists: tables, columns, windows."""
    lists = {"tables": ["table"], "columns": ["table", "column"], "windows": ["window"]}
    lines = []
    for title, by in lists.items():
        summed = table.groupby(by, sort=True)["share"].sum().sort_values(ascending=False, kind="stable")
        lines += ["", title]
        for key, share in summed.head(top).items():
            name = " ".join(key) if isinstance(key, tuple) else str(key)
            lines.append(f"  {share:6.1%}  {name}")
    return "\n".join(lines)
