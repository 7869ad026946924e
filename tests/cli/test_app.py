"""The command line before any command runs: help, version, wrong usage."""

from __future__ import annotations

import inspect
import subprocess
import sys
import time
from typing import Annotated

import pytest

import graphlearn
from graphlearn.cli import app, exit


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")


def test_help_lists_the_commands_in_the_order_of_the_data(capfd):
    assert exit.main(["--help"]) == 0
    out = capfd.readouterr().out
    listed = [line.split()[0] for line in out.partition("Commands:\n")[2].splitlines() if line[2:3].strip()]
    assert listed == [
        "inspect",
        "check",
        "label",
        "features",
        "train",
        "evaluate",
        "backtest",
        "predict",
        "explain",
        "audit",
        "report",
        "link",
        "compress",
        "export",
        "submit",
        "demo",
    ]
    assert listed == list(app.COMMANDS)


@pytest.mark.parametrize("name", app.COMMANDS)
def test_the_line_in_the_list_is_the_commands_own_first_line(name):
    command = app.load_command(name)
    assert command.name == name
    assert (command.help or "").partition("\n\n")[0].replace("\n", " ") == app.COMMANDS[name]


@pytest.mark.parametrize("name", app.COMMANDS)
def test_each_command_has_help(name, capfd):
    assert exit.main([name, "--help"]) == 0
    assert capfd.readouterr().out.startswith(f"Usage: graphlearn {name} ")


@pytest.mark.parametrize("name", app.COMMANDS)
def test_every_option_is_explained(name):
    command = app.load_command(name)
    assert not [param.name for param in command.params if not getattr(param, "help", None)]


def test_no_arguments_shows_the_help_as_wrong_usage(capfd):
    assert exit.main([]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("Usage: graphlearn [OPTIONS] COMMAND")


def test_version(capfd):
    assert exit.main(["--version"]) == 0
    assert capfd.readouterr().out.startswith(f"graphlearn {graphlearn.__version__} (")


def test_unknown_command(capfd):
    assert exit.main(["trian"]) == 2
    assert capfd.readouterr().err == (
        "UnknownNameError: no command 'trian'. Did you mean 'train'? "
        "Known: audit, backtest, check, compress, demo, evaluate, explain, export, features, inspect, label, link, "
        "predict, report, submit, train.\n"
    )


@pytest.fixture
def command(monkeypatch):
    def inspect(source: Annotated[str, app.typer.Argument(metavar="SOURCE")], seed: int = 0, save: str = "") -> None:
        """Stands in for a command."""

    single = app.typer.Typer(add_completion=False, rich_markup_mode=None)
    single.command("inspect")(inspect)
    monkeypatch.setattr(app, "load_command", lambda name: app.typer.main.get_command(single))


@pytest.mark.parametrize(
    ("words", "first"),
    [
        (
            ["inspect", "a", "--sede", "1"],
            "UnknownNameError: no option '--sede'. Did you mean '--seed'? Known: --help, --save, --seed.",
        ),
        (["inspect"], "UsageError: Missing argument 'SOURCE'."),
        (
            ["inspect", "a", "--seed", "x"],
            "UsageError: Invalid value for '--seed': Input should be a valid integer, "
            "unable to parse string as an integer",
        ),
        (["inspect", "a", "b"], "UsageError: Got unexpected extra argument(s) (b)"),
    ],
)
def test_wrong_usage_names_the_fault_the_usage_and_the_help(command, capfd, words, first):
    assert exit.main(words) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.splitlines() == [
        first,
        "  Usage: graphlearn inspect [OPTIONS] {SOURCE}",
        "  Help:  graphlearn inspect --help",
    ]


def test_python_m_graphlearn_is_the_command():
    done = subprocess.run([sys.executable, "-m", "graphlearn", "--nope"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("UnknownNameError: no option '--nope'.")


def test_help_answers_at_once():
    def seconds() -> float:
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "graphlearn", "--help"], capture_output=True, check=True)
        return time.perf_counter() - start

    assert min(seconds() for _ in range(3)) < 0.5


def test_commands_are_plain_functions():
    """So that a notebook can call them as it calls any other function."""
    for name in app.COMMANDS:
        function = getattr(__import__(f"graphlearn.cli.{name}", fromlist=[name]), name)
        assert inspect.isfunction(function)
