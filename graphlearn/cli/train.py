"""``graphlearn train``: from a source and a task to a run folder."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from graphlearn.cli.ask import EvalAnchorsOption, TestTimeOption, ValTimeOption, check_asked, make_task, plan_text
from graphlearn.cli.source import CacheOption, ExcludeOption, TablesOption, open_database
from graphlearn.errors import UsageError
from graphlearn.features.aggregates import MAX_FEATURES
from graphlearn.models.ranker import Ranker
from graphlearn.predict import Run
from graphlearn.predict import train as train_run
from graphlearn.predict.ground import Prepared
from graphlearn.predict.train import as_age, check_arguments
from graphlearn.schema import Database
from graphlearn.tasks import Task
from graphlearn.tasks.metrics import primary_metric
from graphlearn.tasks.times import time_text
from graphlearn.training.checkpoint import to_json


def train(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="A database (file or URL), a folder of tables or a RelBench folder.")
    ],
    query: Annotated[
        str | None, typer.Argument(metavar="QUERY", help="What to predict, as in PREDICT … FOR EACH …; or give --task.")
    ] = None,
    task: Annotated[
        str | None, typer.Option(metavar="NAME|FOLDER", help="A task of the source, or a task folder.")
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="RUN", help="The run folder to write.")] = None,
    model: Annotated[
        str,
        typer.Option(
            metavar="M", help="auto, constant, gbdt, gnn or fused; with RANK auto, two-tower, id-gnn or fused."
        ),
    ] = "auto",
    regime: Annotated[str, typer.Option(metavar="R", help="frozen or rolling.")] = "frozen",
    seed: Annotated[int, typer.Option(metavar="S", min=0, help="Seed of everything that is drawn.")] = 0,
    device: Annotated[str, typer.Option(metavar="D", help="cpu or cuda.")] = "cpu",
    members: Annotated[
        int | None,
        typer.Option(metavar="M", min=1, help="Models that predict together; by default up to 4 if labels are few."),
    ] = None,
    aggr: Annotated[
        str | None,
        typer.Option(
            metavar="A", help="How networks pool neighbours: mean (the default), or gnp, a norm that is learned."
        ),
    ] = None,
    max_age: Annotated[
        str | None,
        typer.Option(
            metavar="DURATION",
            help="Train rows see the database as it was up to so long before, such as '90 days'; 0: none. By default "
            "frozen runs find out.",
        ),
    ] = None,
    max_features: Annotated[
        int, typer.Option(metavar="N", min=0, help="Most aggregates for trees and fused networks.")
    ] = MAX_FEATURES,
    max_minutes: Annotated[
        float | None, typer.Option(metavar="T", min=0, help="Time after which no new epoch begins.")
    ] = None,
    refit: Annotated[
        bool, typer.Option(help="Train again on train and val labels once val has chosen the number of epochs.")
    ] = True,
    val_time: ValTimeOption = None,
    test_time: TestTimeOption = None,
    eval_anchors: EvalAnchorsOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what the training would start from, and do not train.")
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted training.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace RUN if it is there, and forget an interrupted training of it.")
    ] = False,
    tables: TablesOption = None,
    exclude: ExcludeOption = None,
    cache: CacheOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Train a model on a source and a query or task, and write a run folder."""
    check_asked(query, task)
    if out is None and not dry_run:
        raise UsageError("--out is missing: name the run folder to write, or add --dry-run to write none.")
    if max_age is not None:
        as_age(max_age)
    if out is not None:
        check_arguments(out, model=model, regime=regime, device=device, aggr=aggr, resume=resume, force=force)
    with open_database(source, tables=tables, exclude=exclude, cache=cache) as db:
        asked = make_task(db, query, task, val_time=val_time, test_time=test_time, eval_anchors=eval_anchors)
        if dry_run:
            typer.echo(plan_text(db, asked))
            return
        assert out is not None
        run = train_aloud(
            db,
            asked,
            out=out,
            model=model,
            regime=regime,
            seed=seed,
            device=device,
            members=members,
            aggr=aggr,
            max_age=max_age,
            max_features=max_features,
            max_minutes=max_minutes,
            refit=refit,
            resume=resume,
            force=force,
        )
        found, (metric, _) = run.meta["metrics"], primary_metric(str(asked.task_type.value))
        if as_json:
            said = {"kind": run.kind, "seconds_of": run.meta["timings"]} if model != "gnn" else {}
            typer.echo(to_json({"run": str(out), "task": asked.name, "regime": regime, "seed": seed, **found, **said}))
            return
        typer.echo(_best(run, metric))
        typer.echo(f"wrote  {out}        next: graphlearn {shlex.join(['evaluate', str(out), source])}")


def train_aloud(
    db: Database, task: Task, *, out: Path, device: str = "cpu", seed: int = 0, regime: str = "frozen", **options: Any
) -> Run:
    """Trains, telling on stderr what it starts from and how each epoch went."""
    metric, _ = primary_metric(str(task.task_type.value))

    def on_start(prepared: Prepared) -> None:
        typer.echo(_start(task, prepared, device, seed, regime), err=True)

    def on_epoch(record: dict[str, Any]) -> None:
        value = record.get(f"val_{metric}")
        judged = "with the val labels" if value is None else f"val {metric} {value:.4f}"
        kind = f"{record['kind']}  " if "kind" in record else ""
        typer.echo(
            f"{kind}{'epoch' if value is not None else 'refit'}  {record['epoch']:>2}/{record['epochs']}   "
            f"loss {record['loss']:.4f}   {judged}   {record['seconds']:.1f} s",
            err=True,
        )

    settings = {"out": out, "regime": regime, "seed": seed, "device": device, **options}
    run = train_run(db, task, on_start=on_start, on_epoch=on_epoch, **settings)
    choice = run.meta["choice"]
    if choice is not None:
        typer.echo(f"choice   {choice['chosen']}: {choice['why']} ({len(choice['folds'])} folds)", err=True)
    return run


def _best(run: Run, metric: str) -> str:
    """What came out, in one line."""
    found, regime = run.meta["metrics"], run.regime
    best = f"val {metric} {found['val']:.4f}" if found["val"] is not None else f"the last one: val has no {metric}"
    if run.kind == "gnn" or run.task.item_table is not None:
        kind = "" if run.kind == "gnn" else f"{run.kind}, "
        return f"best   {kind}epoch {found['best_epoch']}, {best}, {regime}; test was not read"
    parts = " + ".join(f"{weight:.0%} {_PARTS[name]}" for name, weight in run.weights.items() if run.kind == "fused")
    return f"best   {run.kind}{f' ({parts})' if parts else ''}, {best}, {regime}; test was not read"


_PARTS = {"gnn": "network", "gbdt": "trees"}


def _start(task: Task, prepared: Prepared, device: str, seed: int, regime: str) -> str:
    lines = [
        f"labels   {task.name}: train {prepared.num_train:,} | val {prepared.num_val:,} from "
        f"{time_text(task.val_time)}",
        *task.notes,
    ]
    graph, model = prepared.graph, prepared.model
    if prepared.aggregates is not None:
        plan = prepared.aggregates
        lines.append(f"features {len(plan.names):,} from the schema, {len(plan.dropped):,} left out")
    if graph is not None and model is not None:
        edges = sum(store.col.numel() for store in graph.edge_stores if "col" in store)
        parameters = sum(p.numel() for p in model.parameters())
        sizes = model.config
        kind = "temporal sage" if sizes.members == 1 else f"{sizes.members} x temporal sage"
        kind += f", {model.kind} ranking of {task.item_table}" if isinstance(model, Ranker) else ""
        kind += f" with {sizes.aggr}" if sizes.aggr != "mean" else ""
        lines += [
            f"graph    {graph.num_nodes:,} nodes of {len(graph.node_types)} types, {edges:,} edges of "
            f"{len(graph.edge_types) // 2} foreign keys, statistics fitted on rows until {time_text(task.val_time)}",
            f"model    {kind}, {len(sizes.num_neighbors)} layers, {sizes.channels} channels, {parameters:,} "
            f"parameters; {device}, seed {seed}, {regime}",
        ]
        if prepared.longest_age:
            days = prepared.longest_age / 86_400_000_000
            lines.append(
                f"ages     train rows see the database as it was up to {days:,.0f} days before, as test rows will"
            )
    if prepared.state is not None:
        lines.append(f"resume   after epoch {prepared.state.epoch}")
    return "\n".join(lines)
