"""One class per kind of failure, each with the exit code that the command line gives for it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

_SHOWN = 120
"""Characters of a query's line that a message shows."""


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


class QueryError(UsageError):
    """A predictive query that means nothing, or nothing that this database can answer.

    Args:
        message: What is wrong and what to do.
        text: The query.
        start: Where the fault begins in ``text``.
        end: Where it ends.

    Attributes:
        line: Line of the fault, from 1.
        column: Column of the fault, from 1.
    """

    def __init__(self, message: str, text: str, start: int, end: int) -> None:
        start = min(start, len(text))
        first = text.rfind("\n", 0, start) + 1
        self.line, self.column = text.count("\n", 0, start) + 1, start - first + 1
        shown = text[first:].split("\n", 1)[0]
        left = max(0, self.column - 1 - _SHOWN // 2)  # a long line is cut around the fault
        shown = "".join(c if c.isprintable() else " " for c in shown[left : left + _SHOWN])
        width = max(1, min(end - start, len(shown) - (start - first - left)))
        caret = " " * (start - first - left) + "^" * width
        super().__init__(f"line {self.line}, column {self.column}: {message}\n  {shown}\n  {caret}")


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
