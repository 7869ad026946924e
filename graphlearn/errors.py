"""One class per kind of failure, each with the exit code that the command line gives for it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class GraphLearnError(Exception):
    """Something could not be done; the text says what, where, what was found and what to do."""

    exit_code = 1


class UsageError(GraphLearnError, ValueError):
    """An argument is wrong."""

    exit_code = 2


class UnknownNameError(UsageError):
    """A table, column, task, split or option that does not exist."""


class SourceError(UsageError):
    """A source that is missing, unreadable or locked."""


class RunError(UsageError):
    """A run folder that is missing, incomplete or from another version."""


class DataError(GraphLearnError, ValueError):
    """The data themselves do not allow what was asked."""

    exit_code = 3


class SchemaError(DataError):
    """Keys, times or types that the data do not bear out."""


class TaskError(DataError):
    """Labels or splits on which nothing can be trained or scored."""


class StorageError(GraphLearnError):
    """A result could not be written."""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UnknownNameError:
    """The error for a name that is not among ``known``, with the closest one proposed."""
    names = sorted(known)
    lowered = {n.lower(): n for n in names}
    close = difflib.get_close_matches(name.lower(), list(lowered), n=1, cutoff=0.5)
    hint = f" Did you mean '{lowered[close[0]]}'?" if close else ""
    shown = ", ".join(names[:20]) + (f", … ({len(names)} in all)" if len(names) > 20 else "")
    return UnknownNameError(f"no {kind} '{name}'.{hint} Known: {shown or 'none'}.")


def check_positive(**values: float) -> None:
    """Raises ``ValueError`` naming the first argument that is not above zero."""
    for name, value in values.items():
        if not value > 0:
            raise ValueError(f"'{name}' must be > 0, got {value}.")


def first_three(values: Sequence[object]) -> str:
    """The first three offenders as text, for a message."""
    return ", ".join(str(v) for v in list(values)[:3])
