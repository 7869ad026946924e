"""What each kind of failure prints, and the exit code it gives."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from typing import IO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphlearn import errors
from graphlearn.cli import app, exit

AGAIN = "  Run the same command with --debug to see where.\n"


@pytest.fixture
def command(monkeypatch):
    """Puts a function in the place of ``graphlearn inspect``."""

    def replace(function):
        single = app.typer.Typer(add_completion=False, rich_markup_mode=None)
        single.command("inspect")(function)
        monkeypatch.setattr(app, "load_command", lambda name: app.typer.main.get_command(single))

    return replace


def fails_with(exc):
    def run() -> None:
        raise exc

    return run


@pytest.mark.parametrize(
    ("exc", "code", "text"),
    [
        (errors.GraphLearnError("it broke."), 1, "GraphLearnError: it broke.\n"),
        (errors.UsageError("what a flag."), 2, "UsageError: what a flag.\n"),
        (errors.SourceError("no file 'a'."), 2, "SourceError: no file 'a'.\n"),
        (errors.TaskError("one class in train."), 3, "TaskError: one class in train.\n"),
        (errors.StorageError("could not write 'a'."), 1, "StorageError: could not write 'a'.\n"),
        (
            OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "runs/a/model.safetensors"),
            1,
            "StorageError: no space left on the device (runs/a/model.safetensors). Free some and run the same command"
            " again.\n",
        ),
        (PermissionError(errno.EACCES, "Permission denied", "a"), 1, "PermissionError: Permission denied (a).\n"),
        (KeyboardInterrupt(), 1, "Interrupted.\n"),
        (
            KeyboardInterrupt("runs/a keeps epoch 3; go on with --resume."),
            1,
            "Interrupted. runs/a keeps epoch 3; go on with --resume.\n",
        ),
        (
            ZeroDivisionError("division by zero\nand more"),
            1,
            f"unexpected error: ZeroDivisionError: division by zero\n{AGAIN}",
        ),
        (KeyError(), 1, f"unexpected error: KeyError: no message\n{AGAIN}"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
def test_a_failure_is_one_sentence_and_a_code(command, capfd, exc, code, text):
    command(fails_with(exc))
    assert exit.main(["inspect"]) == code
    assert capfd.readouterr() == ("", text)


def test_the_database_engine_failing_is_unexpected(command, capfd):
    import duckdb

    command(lambda: duckdb.sql("SELECT * FROM nowhere"))
    assert exit.main(["inspect"]) == 1
    assert capfd.readouterr().err.startswith(
        "unexpected error: CatalogException: Catalog Error: Table with name nowhere"
    )


def test_a_value_error_of_our_own_is_wrong_usage(command, capfd):
    command(lambda: errors.check_positive(lr=-1.0))
    assert exit.main(["inspect"]) == 2
    assert capfd.readouterr().err == "ValueError: 'lr' must be > 0, got -1.0.\n"


def test_a_value_error_of_a_library_is_unexpected(command, capfd):
    command(lambda: int("x"))
    assert exit.main(["inspect"]) == 1
    assert capfd.readouterr().err.startswith("unexpected error: ValueError: invalid literal for int()")


@pytest.mark.parametrize("words", [["--debug", "inspect"], ["inspect", "--debug"]])
def test_debug_shows_the_traceback_anywhere_on_the_line(command, capfd, words):
    command(fails_with(errors.UsageError("what a flag.")))
    assert exit.main(words) == 2
    err = capfd.readouterr().err
    assert err.startswith("Traceback (most recent call last):")
    assert err.endswith("\nUsageError: what a flag.\n")


def test_debug_after_two_dashes_is_an_argument(command, capfd):
    command(lambda name: app.typer.echo(name))
    assert exit.main(["inspect", "--", "--debug"]) == 0
    assert capfd.readouterr().out == "--debug\n"


def test_a_command_may_choose_its_exit_code(command):
    def found_problems() -> None:
        raise app.typer.Exit(3)

    command(found_problems)
    assert exit.main(["inspect"]) == 3


@pytest.mark.parametrize("words", [[], ["--debug"]])
def test_no_password_is_printed(command, capfd, words):
    command(fails_with(errors.SourceError("cannot reach postgresql://ann:s3cr/e:t@p@host:5432/shop.")))
    assert exit.main([*words, "inspect"]) == 2
    err = capfd.readouterr().err
    assert "postgresql://ann:***@host:5432/shop." in err
    assert not any(part in err for part in ("s3cr", "e:t", "@p@"))


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("mysql://root:pw@db/x and sqlite:///a.db", "mysql://root:***@db/x and sqlite:///a.db"),
        ("postgresql://:pw@db", "postgresql://:***@db"),
        ("host=db password=pw user=ann", "host=db password=*** user=ann"),
        ("host=db password='p w' user=ann", "host=db password=*** user=ann"),
        ("postgresql://db/x?user=ann&PASSWORD=pw&sslmode=off", "postgresql://db/x?user=ann&PASSWORD=***&sslmode=off"),
        ("postgresql://ann@db:5432/x", "postgresql://ann@db:5432/x"),
        ("http://localhost:8080/a", "http://localhost:8080/a"),
        ("12:30 ann@example.org", "12:30 ann@example.org"),
    ],
)
def test_hide_passwords(text, hidden):
    assert exit.hide_passwords(text) == hidden


@given(st.text(st.characters(exclude_categories=["Z", "C"]), min_size=1))
def test_any_password_without_spaces_is_hidden(password):
    assert exit.hide_passwords(f"no answer from 'mysql://ann:{password}@host/db'.") == (
        "no answer from 'mysql://ann:***@host/db'."
    )


def start(body: str, stdout: int | IO[str]) -> subprocess.Popen[str]:
    """``graphlearn inspect`` in a process of its own, where ``body`` is what the command does."""
    code = (
        "import sys, time, graphlearn.cli.app as app, graphlearn.cli.exit as exit\n"
        f"def run() -> None:\n    {body}\n"
        "single = app.typer.Typer(); single.command('inspect')(run)\n"
        "app.load_command = lambda name: app.typer.main.get_command(single)\n"
        "sys.exit(exit.main(['inspect']))"
    )
    return subprocess.Popen([sys.executable, "-c", code], stdout=stdout, stderr=subprocess.PIPE, text=True)


def test_a_reader_that_leaves_early_is_no_error():
    with start("print('row\\n' * 100_000)", subprocess.PIPE) as process:
        assert process.stdout.readline() == "row\n"
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 1


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no device that is always full")
@pytest.mark.parametrize("rows", [1, 100_000])  # fails when flushed at the end; fails in the middle
def test_a_full_disk_behind_stdout_is_said_once(rows):
    with open("/dev/full", "w") as full, start(f"print('row\\n' * {rows})", full) as process:
        err = process.stderr.read()
    assert err == "StorageError: no space left on the device. Free some and run the same command again.\n"
    assert process.returncode == 1


def test_ctrl_c_shows_no_traceback():
    with start("print('ready', flush=True); time.sleep(60)", subprocess.PIPE) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        assert process.stderr.read() == "Interrupted.\n"
    assert process.returncode == 1
