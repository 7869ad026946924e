"""``graphlearn compress``: a smaller run from a trained one."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer

from graphlearn.cli.source import CacheOption, ExcludeOption, TablesOption, open_database
from graphlearn.errors import UsageError
from graphlearn.predict import load
from graphlearn.predict.compress import Compressed
from graphlearn.predict.compress import compress as compress_run
from graphlearn.predict.train import check_arguments
from graphlearn.tasks.metrics import primary_metric


def compress(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    source: Annotated[
        str | None, typer.Argument(metavar="SOURCE", help="The database; by default that of the training.")
    ] = None,
    student: Annotated[
        str | None, typer.Option(metavar="S", help="mlp: a network of the two rows, which needs no graph.")
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="RUN2", help="The run folder to write.")] = None,
    seed: Annotated[int, typer.Option(metavar="S", min=0, help="Seed of everything that is drawn.")] = 0,
    device: Annotated[str, typer.Option(metavar="D", help="cpu or cuda.")] = "cpu",
    force: Annotated[bool, typer.Option("--force", help="Replace RUN2 if it is there.")] = False,
    tables: TablesOption = None,
    exclude: ExcludeOption = None,
    cache: CacheOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Make a smaller, faster run from a trained one.

    Prints what it ranks on validation, the size of the weights, and the time to score all rows for one source, before
    and after.
    """
    if student is None:
        raise UsageError("say what to make of the run: --student mlp.")
    if out is None:
        raise UsageError("--out is missing: name the run folder to write.")
    check_arguments(out, device=device, force=force)
    loaded = load(run, device=device)

    def on_epoch(record: dict[str, Any]) -> None:
        typer.echo(
            f"epoch  {record['epoch']:>2}/{record['epochs']}   loss {record['loss']:.4f}   "
            f"val map {record['val_map']:.4f}   {record['seconds']:.1f} s",
            err=True,
        )

    with (
        nullcontext()
        if source is None
        else open_database(source, schema=loaded.schema, tables=tables, exclude=exclude, cache=cache)
    ) as db:
        found = compress_run(loaded, db, out=out, student=student, seed=seed, force=force, on_epoch=on_epoch)
    if as_json:
        typer.echo(json.dumps({"run": str(out), "before": found.before, "after": found.after}))
        return
    typer.echo(_table(found, primary_metric(str(loaded.task.task_type.value))[0]))
    typer.echo(f"wrote  {out}        next: graphlearn predict {out} {source or ''}".rstrip())


def _table(found: Compressed, metric: str) -> str:
    lines = [f"{'':10}{'val ' + metric:>10}{'weights':>14}{'one source':>14}"]
    for name, values in (("teacher", found.before), ("student", found.after)):
        lines.append(f"{name:10}{values[metric]:>10.4f}{values['bytes'] / 1024:>10,.0f} KiB{values['ms']:>11.2f} ms")
    return "\n".join(lines)
