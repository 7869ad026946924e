"""Which foreign keys lead from the rows that a query aggregates to the entity it is about."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from graphlearn.schema.schema import ForeignKey, Schema
from graphlearn.tasks.query_tree import Key

MAX_HOPS = 6


@dataclass(frozen=True)
class Hop:
    """A foreign key of ``table``, followed from the row that holds it to the row it names."""

    table: str
    key: ForeignKey

    def __str__(self) -> str:
        return f"{self.table}.{self.key.name} -> {self.key.table}"


@dataclass(frozen=True)
class Path:
    """The rows of a table, joined to an entity and to what they name.

    Args:
        rows: The table whose rows are counted: it leads to the entity and to the values.
        up: From there to the entity.
        out: From there to the table of the values; empty if that is ``rows`` itself.
    """

    rows: str
    up: tuple[Hop, ...]
    out: tuple[Hop, ...] = ()

    def __str__(self) -> str:
        return ", ".join(map(str, (*self.up, *self.out)))

    def __len__(self) -> int:
        return len(self.up) + len(self.out)

    @property
    def tables(self) -> tuple[str, ...]:
        """The tables whose columns a row of the path has: not the entity's."""
        return (self.rows, *(hop.key.table for hop in self.out))


class PathError(Exception):
    """There is no path, or more than one; the text is a sentence."""


def find_path(schema: Schema, table: str, entity: str, via: tuple[Key, ...]) -> Path:
    """The path by which rows of ``table`` belong to a row of ``entity``.

    A chain of foreign keys from ``table`` to ``entity`` is taken first, the shortest one. If there is none, the values
    of ``table`` are reached the other way: from rows of a third table that lead to both. VIA decides between equals,
    and makes a longer chain the right one.

    Raises:
        PathError: If there is none, or two of one length.
    """
    found = [Path(table, up) for up in chains(schema, table, entity)]
    if not found:
        found = [
            Path(rows, up, out)
            for rows in schema.tables
            if rows not in (table, entity)
            for up in chains(schema, rows, entity)
            for out in chains(schema, rows, table)
            # The shortest only: a chain through the entity is what all its other rows have, too.
            if entity not in {hop.key.table for hop in out} and table not in {hop.key.table for hop in up}
        ]
    if not found:
        raise PathError(
            f"no foreign key leads from '{table}' to '{entity}', nor from a third table to both. Declare one in the "
            "schema ('fkeys'), or choose another table."
        )
    # Never none: a hop that is not allowed has a twin, between the same tables, that VIA names.
    allowed = [path for path in found if all(_allows(via, hop) for hop in (*path.up, *path.out))]
    named = {path: sum(_names(key, hop) for key in via for hop in (*path.up, *path.out)) for path in allowed}
    best = min((-named[path], len(path)) for path in allowed)
    chosen = [path for path in allowed if (-named[path], len(path)) == best]
    if len(chosen) > 1:
        hop = _difference(chosen)
        raise PathError(
            f"'{table}' leads to '{entity}' in {len(chosen)} ways of the same length: {_some(chosen)}. "
            f"Choose one, as in VIA {hop}."
        )
    return chosen[0]


def chains(schema: Schema, start: str, end: str) -> list[tuple[Hop, ...]]:
    """All chains of foreign keys from one table to another that visit no table twice, at most :data:`MAX_HOPS` long."""
    return sorted(_chains(schema, start, end, (start,)), key=len)


def _chains(schema: Schema, start: str, end: str, seen: tuple[str, ...]) -> Iterator[tuple[Hop, ...]]:
    for key in schema[start].fkeys:
        hop = Hop(start, key)
        if key.table == end:
            yield (hop,)
        elif key.table not in seen and len(seen) < MAX_HOPS:
            for rest in _chains(schema, key.table, end, (*seen, key.table)):
                yield (hop, *rest)


def _names(via: Key, hop: Hop) -> bool:
    return (via.column.table, via.table) == (hop.table, hop.key.table) and via.column.name in hop.key.columns


def _allows(via: tuple[Key, ...], hop: Hop) -> bool:
    """A table of which VIA names a key is left by that key."""
    named = [key for key in via if key.column.table == hop.table and hop.key.table == key.table]
    return not named or any(_names(key, hop) for key in named)


def _some(paths: list[Path]) -> str:
    return "; ".join(str(path) for path in paths[:3]) + (f"; … ({len(paths)} in all)" if len(paths) > 3 else "")


def _difference(paths: list[Path]) -> Hop:
    """A hop of the first path that the second lacks."""
    other = (*paths[1].up, *paths[1].out)
    return next(hop for hop in (*paths[0].out[::-1], *paths[0].up) if hop not in other)


def used(via: Key, path: Path) -> bool:
    """Whether a path goes by a key that VIA names."""
    return any(_names(via, hop) for hop in (*path.up, *path.out))
