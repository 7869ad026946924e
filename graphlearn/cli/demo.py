"""``graphlearn demo``: the other commands, one after the other, on a database that it generates."""

from __future__ import annotations

import importlib.util
import shlex
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Annotated

import typer

import graphlearn
from graphlearn.cli.app import run
from graphlearn.errors import StorageError, UsageError
from graphlearn.training.checkpoint import partial_path


def demo(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the shop, the run and the predictions.")] = Path(
        "graphlearn-demo"
    ),
    seed: Annotated[int, typer.Option(metavar="S", help="Seed of the shop and of the training.")] = 0,
    customers: Annotated[int, typer.Option(metavar="N", min=1, help="Customers of the shop.")] = 4000,
    force: Annotated[bool, typer.Option("--force", help="Replace what an earlier demo left in DIR.")] = False,
) -> None:
    """Run the whole path on a generated shop: inspect, train, evaluate, predict, report."""
    shop, churn, predictions = out / "shop", out / "churn", out / "predictions.parquet"
    _make_room(out, [shop, churn, partial_path(churn), predictions], force)
    generator = load_generator()

    typer.echo(f"A shop of {customers:,} customers, made from seed {seed}: {shop}")
    truth = generator.write(shop, seed=seed, customers=customers)
    best = generator.best_auroc(shop=truth)["test"]

    _step("inspect", shop)
    _step(
        "train", shop, "--task", "churn", "--model", "gnn", "--no-refit", "--seed", seed, "--members", 1, "--out", churn
    )
    _step("evaluate", churn, shop)
    _step("predict", churn, shop, "--to", predictions)
    _step("report", churn, shop)

    scored = graphlearn.load(churn).evaluate("test")
    typer.echo("\nWho places no order in the next 30 days? AUROC on the test split:")
    typer.echo(f"  this model                      {scored['auroc']:.3f}")
    typer.echo(f"  the best that anyone can reach  {best:.3f}  (the generator knows the probabilities)")
    typer.echo(f"Predictions: {predictions}")
    typer.echo(f"Report: {churn / 'report.html'}")


def load_generator() -> ModuleType:
    """The module that makes the shop: from the wheel's data, or from ``datasets/shop`` in a checkout."""
    package = Path(graphlearn.__file__).parent
    places = [package / "_data" / "shop" / "generate.py", package.parent / "datasets" / "shop" / "generate.py"]
    for place in places:
        if place.is_file():
            spec = importlib.util.spec_from_file_location("graphlearn_shop", place)
            assert spec is not None
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            sys.modules[spec.name] = module  # its dataclasses look their module up there
            spec.loader.exec_module(module)
            return module
    raise StorageError(f"the demo's generator is missing (looked for {places[0]}). Reinstall graphlearn.")


def _step(*words: object) -> None:
    """Prints a command as a user would type it, then runs it."""
    line = [str(word) for word in words]
    typer.echo(f"\n$ graphlearn {shlex.join(line)}")
    code = run(line)
    if code:
        raise typer.Exit(code)


def _make_room(out: Path, ours: list[Path], force: bool) -> None:
    """Sees to it that ``out`` can be filled; removes what a demo writes and nothing else."""
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out: '{out}' is a file. Name a folder that is new or empty.")
    if force:
        for path in ours:
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    left = sorted(path.name for path in out.iterdir()) if out.is_dir() else []
    if left and not force:
        raise UsageError(
            f"--out: '{out}' is not empty (first: {', '.join(left[:3])}). "
            "Name another folder, or add --force to replace what an earlier demo wrote there."
        )
