"""``graphlearn backtest``: how well a model would have worked at earlier times."""

from __future__ import annotations

from typing import Annotated

import pandas as pd
import typer

from graphlearn.cli.ask import EvalAnchorsOption, TestTimeOption, ValTimeOption, check_asked, make_task
from graphlearn.cli.source import CacheOption, ExcludeOption, TablesOption, open_database
from graphlearn.errors import unknown_name
from graphlearn.predict.backtest import backtest as backtest_task
from graphlearn.predict.train import MODELS
from graphlearn.tasks.metrics import primary_metric
from graphlearn.tasks.task import REGIMES
from graphlearn.training.progress import ProgressBar


def backtest(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="A database (file or URL), a folder of tables or a RelBench folder.")
    ],
    query: Annotated[
        str | None, typer.Argument(metavar="QUERY", help="What to predict, as in PREDICT … FOR EACH …; or give --task.")
    ] = None,
    task: Annotated[
        str | None, typer.Option(metavar="NAME|FOLDER", help="A task of the source, or a task folder.")
    ] = None,
    model: Annotated[str, typer.Option(metavar="M", help="auto, constant, gbdt, gnn or fused.")] = "gbdt",
    folds: Annotated[int, typer.Option(metavar="N", min=1, help="Most times to train at.")] = 4,
    regime: Annotated[str | None, typer.Option(metavar="R", help="frozen or rolling; by default both.")] = None,
    seed: Annotated[int, typer.Option(metavar="S", min=0, help="Seed of everything that is drawn.")] = 0,
    device: Annotated[str, typer.Option(metavar="D", help="cpu or cuda.")] = "cpu",
    max_minutes: Annotated[
        float | None, typer.Option(metavar="T", min=0, help="Of each training: time after which no new epoch begins.")
    ] = None,
    val_time: ValTimeOption = None,
    test_time: TestTimeOption = None,
    eval_anchors: EvalAnchorsOption = None,
    tables: TablesOption = None,
    exclude: ExcludeOption = None,
    cache: CacheOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one line for each model at each time.")] = False,
) -> None:
    """Train at several earlier times and score what came after each, next to the baselines."""
    check_asked(query, task)
    if model not in MODELS:
        raise unknown_name("model", model, MODELS)
    if regime is not None and regime not in REGIMES:
        raise unknown_name("regime", regime, REGIMES)
    with (
        open_database(source, tables=tables, exclude=exclude, cache=cache) as db,
        ProgressBar(100) as bar,
    ):
        asked = make_task(db, query, task, val_time=val_time, test_time=test_time, eval_anchors=eval_anchors)
        found = backtest_task(
            db,
            asked,
            model=model,
            folds=folds,
            regimes=REGIMES if regime is None else (regime,),
            seed=seed,
            device=device,
            max_minutes=max_minutes,
            progress=lambda done, total, what: bar.show(100 * done // total, what),
        )
    if as_json:
        typer.echo(found.to_json(orient="records", lines=True, double_precision=15), nl=False)
        return
    metric, higher = primary_metric(str(asked.task_type.value))
    better = "higher" if higher else "lower"
    typer.echo(f"{asked.name}: {metric} ({better} is better) of models trained at the cut; [95 % interval]")
    typer.echo(as_text(found, metric))
    typer.echo("Labels from the start of test on were not read.")


def as_text(found: pd.DataFrame, metric: str) -> str:
    """One line for each regime and cut, the models side by side, and their means."""
    lines = []
    for (regime, cut), part in found.groupby(["regime", "cut"], sort=False):
        first = part.iloc[0]
        line = {"regime": regime, "cut": cut, "until": first["until"], "rows": f"{first['rows']:,}"}
        line |= {row["model"]: f"{row[metric]:.4f}" for _, row in part.iterrows()}
        line[first["model"]] += f" [{first['low']:.4f}, {first['high']:.4f}]"
        lines.append(line)
    for regime, part in found.groupby("regime", sort=False):
        means = part.groupby("model", sort=False)[metric].mean()
        lines.append(
            {"regime": regime, "cut": "mean", "until": "", "rows": "", **{str(m): f"{v:.4f}" for m, v in means.items()}}
        )
    return pd.DataFrame(lines).fillna("").to_string(index=False)
