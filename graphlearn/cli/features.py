"""``graphlearn features``: what is made of the tables for a task, and the SQL behind it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer

from graphlearn.cli.ask import EvalAnchorsOption, TestTimeOption, ValTimeOption, check_asked, make_task
from graphlearn.cli.label import check_out, write_table
from graphlearn.cli.source import CacheOption, ExcludeOption, TablesOption, open_database
from graphlearn.features import Aggregates
from graphlearn.features.aggregates import MAX_FEATURES
from graphlearn.features.profile import span_text
from graphlearn.schema import Database
from graphlearn.tasks import Task
from graphlearn.training.progress import ProgressBar


def features(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="A database (file or URL), a folder of tables or a RelBench folder.")
    ],
    query: Annotated[
        str | None, typer.Argument(metavar="QUERY", help="What to predict, as in PREDICT … FOR EACH …; or give --task.")
    ] = None,
    task: Annotated[
        str | None, typer.Option(metavar="NAME|FOLDER", help="A task of the source, or a task folder.")
    ] = None,
    max_features: Annotated[
        int, typer.Option("--max-features", metavar="N", min=0, help="Most features; those of near tables come first.")
    ] = MAX_FEATURES,
    sql: Annotated[bool, typer.Option("--sql", help="Print the SQL that makes the features instead.")] = False,
    only: Annotated[
        str | None, typer.Option("--only", metavar="FEATURE", help="With --sql: the SQL of this feature alone.")
    ] = None,
    dropped: Annotated[
        bool, typer.Option("--dropped", help="Print what was left out, and why, instead of what was chosen.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Compute the features and write a .csv or .parquet file.")
    ] = None,
    split: Annotated[
        str, typer.Option(metavar="SPLIT", help="With --out: the labels to compute them for: train, val or test.")
    ] = "train",
    regime: Annotated[str, typer.Option(metavar="R", help="With --out: frozen or rolling.")] = "frozen",
    val_time: ValTimeOption = None,
    test_time: TestTimeOption = None,
    eval_anchors: EvalAnchorsOption = None,
    force: Annotated[bool, typer.Option("--force", help="Replace FILE if it is there.")] = False,
    tables: TablesOption = None,
    exclude: ExcludeOption = None,
    cache: CacheOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one line for each feature.")] = False,
) -> None:
    """Print the features made from the schema for a query or task, the SQL behind them, or their values."""
    if out is not None:
        check_out(out, force)
    check_asked(query, task)
    with open_database(source, tables=tables, exclude=exclude, cache=cache) as db:
        asked = make_task(db, query, task, val_time=val_time, test_time=test_time, eval_anchors=eval_anchors)
        plan = Aggregates.plan(db, asked, max_features=max_features)
        typer.echo(f"features {asked.name}: {len(plan.names):,}, and {len(plan.dropped):,} left out", err=True)
        if not plan.names:
            why = "the budget is zero: raise --max-features" if max_features == 0 else "--dropped says why"
            typer.echo(f"nothing  is left; {why}", err=True)
        if sql:
            text = plan.sql(only)
            typer.echo(json.dumps({"task": asked.name, "sql": text}) if as_json else text)
        elif out is not None:
            write_table(values(db, asked, plan, split, regime), out)
            typer.echo(f"wrote  {out}", err=True)
        else:
            lines = _dropped(plan) if dropped else _chosen(plan)
            typer.echo("\n".join(map(json.dumps, lines) if as_json else _table(list(lines))))


def values(db: Database, task: Task, plan: Aggregates, split: str, regime: str) -> pd.DataFrame:
    """The labels of a split with their features, one row each."""
    labels = task.label_table(split)
    seed_time = labels["seed_time"].to_numpy()
    cut = None if split == "train" else task.cut(split, regime)
    input_time = seed_time if cut is None else np.minimum(seed_time, cut)
    with ProgressBar(labels.num_rows) as bar:
        found = plan.compute(
            db,
            labels["pkey"].combine_chunks(),
            seed_time,
            input_time,
            progress=lambda done, _: bar.show(done, "features"),
        )
    frame = task.labels(split)
    return pd.concat([frame, pd.DataFrame(found.values, columns=list(found.names))], axis=1)


def _chosen(plan: Aggregates) -> Iterator[dict[str, Any]]:
    for name, origin in zip(plan.names, plan.origin, strict=True):
        window = "" if origin.window is None else span_text(origin.window)
        yield {
            "feature": name,
            "table": "labels" if origin.history else origin.table,
            "function": origin.function,
            "window": window if origin.rows is None else f"last {origin.rows}",
            "path": " ".join(origin.path),
        }


def _dropped(plan: Aggregates) -> Iterator[dict[str, Any]]:
    for name, why in plan.dropped:
        yield {"feature": name, "left out": why}


def _table(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Rows as columns of text."""
    if not rows:
        return
    heads = list(rows[0])
    widths = [max(len(head), *(len(row[head]) for row in rows)) for head in heads]
    for cells in (heads, *([row[head] for head in heads] for row in rows)):
        yield "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
