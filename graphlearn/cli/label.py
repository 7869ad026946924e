"""``graphlearn label``: what a model would be trained on."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from graphlearn.cli.ask import EvalAnchorsOption, TestTimeOption, ValTimeOption, check_asked, make_task, shape
from graphlearn.cli.source import CacheOption, ExcludeOption, TablesOption, open_database
from graphlearn.errors import StorageError, UsageError
from graphlearn.tasks import Task
from graphlearn.tasks.times import time_text


def label(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="A database (file or URL), a folder of tables or a RelBench folder.")
    ],
    query: Annotated[
        str | None, typer.Argument(metavar="QUERY", help="What to predict, as in PREDICT … FOR EACH …; or give --task.")
    ] = None,
    task: Annotated[
        str | None, typer.Option(metavar="NAME|FOLDER", help="A task of the source, or a task folder.")
    ] = None,
    split: Annotated[str, typer.Option(metavar="SPLIT", help="train, val or test.")] = "train",
    sql: Annotated[bool, typer.Option("--sql", help="Print the SQL that makes the labels instead.")] = False,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a .csv or .parquet file instead of printing.")
    ] = None,
    val_time: ValTimeOption = None,
    test_time: TestTimeOption = None,
    eval_anchors: EvalAnchorsOption = None,
    force: Annotated[bool, typer.Option("--force", help="Replace FILE if it is there.")] = False,
    tables: TablesOption = None,
    exclude: ExcludeOption = None,
    cache: CacheOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one line for each label.")] = False,
) -> None:
    """Print the label table of a query or task, or the SQL behind it."""
    if out is not None:
        check_out(out, force)
    check_asked(query, task)
    with open_database(source, tables=tables, exclude=exclude, cache=cache) as db:
        asked = make_task(db, query, task, val_time=val_time, test_time=test_time, eval_anchors=eval_anchors)
        if sql:
            text = asked.label_sql(split)
            typer.echo(json.dumps({"task": asked.name, "split": split, "sql": text}) if as_json else text)
            return
        labels = asked.labels(split)
        typer.echo(summary(asked, split, labels), err=True)
        if out is not None:
            write_table(labels, out)
            typer.echo(f"wrote  {out}", err=True)
        elif as_json:
            typer.echo(labels.to_json(orient="records", lines=True, date_format="iso", date_unit="us"), nl=False)
        else:
            typer.echo(labels.to_csv(index=False), nl=False)


def summary(task: Task, split: str, labels: pd.DataFrame) -> str:
    """One line about the labels, and one for each note of the task."""
    seeds = labels["seed_time"]
    span = f"{seeds.nunique():,} times from {time_text(seeds.min())} to {time_text(seeds.max())}"
    return "\n".join([f"labels   {task.name}, {split}: {len(labels):,} ({shape(task, labels)}), {span}", *task.notes])


def check_out(out: Path, force: bool, *, option: str = "--out") -> None:
    """Refuses a file that cannot be meant, before any work is done."""
    if out.suffix not in (".csv", ".parquet"):
        raise UsageError(f"{option}: '{out}' must end in .csv or .parquet.")
    if out.exists() and not force:
        raise UsageError(f"{option}: '{out}' exists. Name another file, or add --force to replace it.")


def write_table(table: pd.DataFrame, out: Path) -> None:
    """Writes a CSV or Parquet file that is whole or absent."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as aside:
            made = Path(aside) / out.name
            if out.suffix == ".csv":
                table.to_csv(made, index=False)
            else:
                table.to_parquet(made, index=False)
            os.replace(made, out)
    except OSError as error:
        raise StorageError(f"could not write {out}: {error}.") from error
