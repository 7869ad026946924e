"""The command ``graphlearn``: its list of commands, each imported when it is called and not before."""

from __future__ import annotations

import importlib
import platform
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

import graphlearn
from graphlearn.errors import unknown_name
from graphlearn.native import kernels

COMMANDS = {
    "inspect": "Print the schema of a source as understood: keys, times, types, and how sure each is.",
    "check": "Report what is wrong with the data: broken keys, nulls in keys, times in the future.",
    "label": "Print the label table of a query or task, or the SQL behind it.",
    "features": "Print the features made from the schema for a query or task, the SQL behind them, or their values.",
    "train": "Train a model on a source and a query or task, and write a run folder.",
    "evaluate": "Print the metrics of a run, with intervals, next to the baselines.",
    "backtest": "Train at several earlier times and score what came after each, next to the baselines.",
    "predict": "Print or save the predictions of a run, or of a query, for a source at a time.",
    "explain": "Print the rows and columns that moved one prediction, or what matters for a whole run.",
    "audit": "Report whether a run can be trusted: inputs newer than allowed, labels given away, results that age.",
    "report": "Write a run as one HTML page: schema, metrics, calibration, curves, what matters, audit.",
    "link": "Predict links of one graph, and score the model beside heuristics against easy and hard non-links.",
    "compress": "Make a smaller, faster run from a trained one.",
    "export": "Write a source and its tasks as a RelBench 3 folder.",
    "submit": "Write RelBench leaderboard files from runs, and check them.",
    "demo": "Run the whole path on a generated shop: inspect, train, evaluate, predict, report.",
}
"""Name -> the line that ``graphlearn --help`` shows, in the order of the data.

Each command is the function of that name in the module ``graphlearn.cli.<name>``. Those modules load torch and DuckDB,
so the list above is written out here: ``--help`` has to answer at once.
"""


class LazyGroup(TyperGroup):
    """A group that knows the names of its commands, and imports one when it is to be run."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> TyperCommand | None:
        if cmd_name not in COMMANDS:
            return None
        return TyperCommand(cmd_name, short_help=COMMANDS[cmd_name], rich_markup_mode=None)

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        name = args[0]
        if name not in COMMANDS:
            raise unknown_name("command", name, COMMANDS)
        return name, load_command(name), args[1:]


def load_command(name: str) -> TyperCommand:
    """The command ``name`` with its options, made from the function of that name."""
    function = getattr(importlib.import_module(f"graphlearn.cli.{name}"), name)
    single = typer.Typer(add_completion=False, rich_markup_mode=None, context_settings=_SETTINGS)
    single.command(name)(function)
    command = typer.main.get_command(single)
    assert isinstance(command, TyperCommand)
    return command


def run(words: list[str]) -> int:
    """Runs the command line ``words`` and returns the exit code it asked for; failures are raised."""
    # Not the group's own `main`, which would end the process, in its own words.
    group = typer.main.get_command(app)
    try:
        with group.make_context("graphlearn", words) as context:
            group.invoke(context)
    except typer.Exit as done:
        return done.exit_code
    return 0


def show_version(wanted: bool) -> None:
    if wanted:
        native = "native kernels" if kernels else "no native kernels"
        typer.echo(f"graphlearn {graphlearn.__version__} ({native}, Python {platform.python_version()})")
        raise typer.Exit


_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}

app = typer.Typer(name="graphlearn", cls=LazyGroup, add_completion=False, rich_markup_mode=None)


@app.callback(no_args_is_help=True, context_settings=_SETTINGS)
def graphlearn_command(
    version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of a failure; may also stand after the command.")
    ] = False,
) -> None:
    """Predictions from a relational database: inspect it, train on it, evaluate, predict.

    Results go to stdout, progress to stderr. Exit code 0: done, 1: failed, 2: wrong usage, 3: the data do not allow it.
    """
