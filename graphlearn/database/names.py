"""Names that SQL cannot tell apart or cannot hold."""

from __future__ import annotations

from collections.abc import Iterable

from graphlearn.errors import SourceError


def check_names(kind: str, names: Iterable[str], where: str) -> None:
    """Raises :class:`SourceError` for an empty name, and for two names that differ only in case."""
    seen: dict[str, str] = {}
    for name in names:
        if not name:
            raise SourceError(f"{where} has a {kind} without a name: give every {kind} a name.")
        if name.lower() in seen:
            raise SourceError(
                f"{where} has two {kind}s '{seen[name.lower()]}' and '{name}', and SQL does not tell upper from lower "
                f"case: rename one of them."
            )
        seen[name.lower()] = name
