"""Runs a command line and turns whatever went wrong into one sentence and an exit code.

0 done, 1 failed, 2 wrong usage, 3 the data do not allow what was asked. Users see a traceback with ``--debug`` only.
"""

from __future__ import annotations

import errno
import os
import re
import sys
import traceback
import warnings
from collections.abc import Sequence
from types import TracebackType
from typing import Any

import typer

from graphlearn.cli.app import run
from graphlearn.errors import GraphLearnError, unknown_name


def main(args: Sequence[str] | None = None) -> int:
    """Runs ``graphlearn ARGS`` and returns its exit code."""
    # Before torch is loaded: an OpenMP thread that waits by spinning takes the core from the one it waits for as
    # soon as anything else runs; an epoch of the demo then took 100 s instead of 6.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    words, debug = _take_debug(list(sys.argv[1:] if args is None else args))
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            code = run(words)
        sys.stdout.flush()  # here, where a closed pipe is still caught
    except BrokenPipeError:  # the reader (head, less) has seen enough
        _give_up_stdout()
        return 1
    except (Exception, KeyboardInterrupt) as exc:
        _give_up_stdout()
        if debug:
            print(hide_passwords("".join(traceback.format_exception(exc))), file=sys.stderr, end="")
        text, code = explain(exc)
        print(hide_passwords(text), file=sys.stderr)
    return code


def explain(exc: BaseException) -> tuple[str, int]:
    """What to tell the user about ``exc``, and the exit code."""
    if isinstance(exc, GraphLearnError):
        return f"{type(exc).__name__}: {exc}", exc.exit_code
    if isinstance(exc, KeyboardInterrupt):
        # Whoever was interrupted says in the exception's text what is kept, and how to go on.
        return f"Interrupted. {exc}".rstrip(), 1
    if isinstance(exc, typer.TyperException):
        return _explain_usage(exc)
    if isinstance(exc, OSError):
        return _explain_os_error(exc), 1
    if isinstance(exc, ValueError) and _raised_by_us(exc.__traceback__):
        return f"ValueError: {exc}", 2
    first_line = (str(exc).strip().splitlines() or ["no message"])[0]
    again = "Run the same command with --debug to see where."
    return f"unexpected error: {type(exc).__name__}: {first_line}\n  {again}", 1


def hide_passwords(text: str) -> str:
    """``text`` with every password of a URL or a connection string replaced by ``***``."""
    for pattern in _SECRETS:
        text = pattern.sub(r"\1***\2", text)
    return text


def _show_warning(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
    """A warning of ours as one line; those of libraries, which name the line of code, are for developers."""
    if category is UserWarning:
        print(f"warning  {hide_passwords(str(message))}", file=sys.stderr)


def _give_up_stdout() -> None:
    """Python flushes stdout once more at exit. If that cannot succeed, it must not fail in words of its own."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _take_debug(words: list[str]) -> tuple[list[str], bool]:
    """``--debug`` may stand anywhere before ``--``."""
    end = words.index("--") if "--" in words else len(words)
    kept = [word for word in words[:end] if word != "--debug"]
    return kept + words[end:], len(kept) < end


def _explain_usage(exc: typer.TyperException) -> tuple[str, int]:
    context: Any = getattr(exc, "ctx", None)
    if type(exc).__name__ == "NoArgsIsHelpError":  # `graphlearn` alone; the message is the help page
        return exc.format_message(), exc.exit_code
    text = f"UsageError: {exc.format_message()}"
    option = getattr(exc, "option_name", None)
    if context is not None:
        options = [name for param in context.command.get_params(context) for name in param.opts if name[:2] == "--"]
        if type(exc).__name__ == "NoSuchOption" and option:
            text = f"UnknownNameError: {unknown_name('option', option, options)}"
        text += f"\n  {context.get_usage()}\n  Help:  {context.command_path} --help"
    return text, exc.exit_code


def _explain_os_error(exc: OSError) -> str:
    place = f" ({exc.filename})" if exc.filename else ""
    if exc.errno == errno.ENOSPC:
        return f"StorageError: no space left on the device{place}. Free some and run the same command again."
    return f"{type(exc).__name__}: {exc.strerror or exc}{place}."


def _raised_by_us(trace: TracebackType | None) -> bool:
    """Whether the raising line is ours: then the text of a ValueError was written for the user."""
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and str(trace.tb_frame.f_globals.get("__name__", "")).startswith("graphlearn.")


_SECRETS = (
    # scheme://user:password@host. A password that should have been percent-encoded may hold '/', '@' and ':',
    # so it runs to the last '@' of the word: rather too much hidden than too little.
    re.compile(r"(\b[a-zA-Z][\w+.-]*://[^\s:/@]*:)[^\s]*(@)"),
    re.compile(r"(?i)(\b(?:password|passwd|pwd|secret|token)\s*=\s*)(?:'[^']*'|\"[^\"]*\"|[^\s&;,'\")]+)()"),
)
