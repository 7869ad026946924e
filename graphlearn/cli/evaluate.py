"""``graphlearn evaluate``: a run next to the baselines."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from graphlearn.cli.source import CacheOption, ExcludeOption, TablesOption, open_database
from graphlearn.predict import load
from graphlearn.predict.run import check_split


def evaluate(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    source: Annotated[
        str | None, typer.Argument(metavar="SOURCE", help="The database; by default that of the training.")
    ] = None,
    split: Annotated[str, typer.Option(metavar="SPLIT", help="train, val or test.")] = "test",
    regime: Annotated[
        str | None, typer.Option(metavar="R", help="frozen or rolling; by default that of the training.")
    ] = None,
    device: Annotated[str, typer.Option(metavar="D", help="cpu or cuda.")] = "cpu",
    tables: TablesOption = None,
    exclude: ExcludeOption = None,
    cache: CacheOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one line for each model.")] = False,
) -> None:
    """Print the metrics of a run, with intervals, next to the baselines."""
    check_split(split, regime)
    loaded = load(run, device=device)
    with (
        nullcontext()
        if source is None
        else open_database(source, schema=loaded.schema, tables=tables, exclude=exclude, cache=cache)
    ) as db:
        table = loaded.compare(split, db, regime=regime)
    if as_json:
        typer.echo(table.to_json(orient="records", lines=True, double_precision=15), nl=False)
        return
    first = table.columns[1]
    shown = f"{loaded.task.name}, {split}, regime {table['regime'][0]}: {table.attrs['rows']:,} rows"
    typer.echo(f"{shown}; [95 % interval]")
    typer.echo(as_text(table, first))
    if table.attrs.get("without"):
        typer.echo(f"Note: {table.attrs['without']:,} rows have nothing that came true; no metric counts them.")
    if table.attrs["trained_on"]:
        typer.echo(f"Note: the run was trained on these labels; what it said of val before that is in {run}/run.json.")


def as_text(table: pd.DataFrame, first: str) -> str:
    """The table with the interval beside the first metric."""
    shown = table.drop(columns=["low", "high", "regime"]).map(lambda v: f"{v:.4f}" if isinstance(v, float) else v)
    shown[first] = [
        f"{value} [{low:.4f}, {high:.4f}]"
        for value, low, high in zip(shown[first], table["low"], table["high"], strict=True)
    ]
    width = shown["model"].str.len().max()
    shown["model"] = shown["model"].str.ljust(width)
    return shown.to_string(index=False)
