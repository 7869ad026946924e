"""Which rows say something about an entity: the paths along foreign keys, up to three of them, that lead to tables."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from graphlearn.schema.schema import ForeignKey, Schema, Table

MAX_KEYS = 3
"""Most foreign keys between the entity and a column that is read."""


@dataclass(frozen=True)
class Hop:
    """One foreign key, walked from the row it names to the rows that hold it (``down``) or the other way (up).

    Args:
        table: Where it leads.
        key: Name of the foreign key.
        down: From parent to child.
    """

    table: str
    key: str
    down: bool


@dataclass(frozen=True)
class Hub:
    """Whose rows are looked at.

    Args:
        kind: ``entity``: the entity itself; ``parent``: the row that its foreign keys name; ``last``: the row that the
            newest of its child rows names; ``all``: everyone.
        table: Its table; empty for ``all``.
        path: How it is reached from the entity.
    """

    kind: str
    table: str = ""
    path: tuple[Hop, ...] = ()


@dataclass(frozen=True)
class Source:
    """Rows, and the hub that they are grouped by.

    Args:
        hub: The hub.
        table: The table of the rows; of labels, the entity's.
        path: From the hub down to the rows; empty: the hub's own row, of everyone all rows.
        labels: Whether the rows are past labels.
    """

    hub: Hub
    table: str
    path: tuple[Hop, ...] = ()
    labels: bool = False

    @property
    def is_own(self) -> bool:
        """Whether this is the one row of the hub itself."""
        return not self.path and not self.labels and self.hub.kind != "all"

    @property
    def length(self) -> int:
        """Number of foreign keys between the entity and these rows."""
        return len(self.hub.path) + len(self.path)


def foreign_key(schema: Schema, table: str, name: str) -> ForeignKey:
    """The foreign key of that name."""
    return next(key for key in schema[table].fkeys if key.name == name)


def ups(schema: Schema, table: str, most: int, hidden: frozenset[tuple[str, str]]) -> Iterator[tuple[Hop, ...]]:
    """Chains of at most ``most`` foreign keys from a row to those it names, nearest first; no table twice."""
    level: list[tuple[Hop, ...]] = [()]
    for _ in range(most):
        further = []
        for chain in level:
            at = chain[-1].table if chain else table
            further += [
                (*chain, Hop(key.table, key.name, False))
                for key in usable_keys(schema, schema[at], hidden)
                if all(key.table != hop.table for hop in chain)
            ]
        yield from further
        level = further


def downs(schema: Schema, table: str, most: int, hidden: frozenset[tuple[str, str]]) -> Iterator[tuple[Hop, ...]]:
    """Chains of at most ``most`` foreign keys from a row to the rows that name it, nearest first."""
    level: list[tuple[Hop, ...]] = [()]
    for _ in range(most):
        further = []
        for chain in level:
            at = chain[-1].table if chain else table
            for child in schema.tables.values():
                further += [
                    (*chain, Hop(child.name, key.name, True))
                    for key in usable_keys(schema, child, hidden)
                    if key.table == at and all(child.name != hop.table for hop in chain)
                ]
        yield from further
        level = further


def usable_keys(schema: Schema, table: Table, hidden: frozenset[tuple[str, str]]) -> list[ForeignKey]:
    """The foreign keys of a table that the task does not hide."""
    return [
        key
        for key in table.fkeys
        if not any((table.name, column) in hidden for column in key.columns)
        and len(key.columns) == len(schema[key.table].pkey)
    ]


def sources(schema: Schema, entity: str, hidden: frozenset[tuple[str, str]], lasting: set[Hop]) -> list[Source]:
    """Everything within :data:`MAX_KEYS` foreign keys of the entity, nearest first.

    Args:
        schema: The schema.
        entity: The entity's table.
        hidden: (table, column) pairs that may not be read.
        lasting: Foreign keys ``Hop(parent, key of the child, up)``, as ``(child, hop)``'s hop, whose parents last: they
            have rows at more than one time, so that "the last one" has a past.
    """
    me = Hub("entity", entity)
    found = [Source(me, entity)]
    found += [Source(me, path[-1].table, path) for path in downs(schema, entity, MAX_KEYS, hidden)]
    for chain in ups(schema, entity, MAX_KEYS - 1, hidden):
        hub = Hub("parent", chain[-1].table, chain)
        found += [Source(hub, path[-1].table, path) for path in downs(schema, hub.table, MAX_KEYS - len(chain), hidden)]
    for hub in last_hubs(schema, entity, hidden, lasting):
        found += [Source(hub, path[-1].table, path) for path in downs(schema, hub.table, MAX_KEYS - 2, hidden)]
    near = dict.fromkeys(source.table for source in found)
    found += [Source(Hub("all"), table) for table in near if schema[table].time_col is not None]
    return sorted(found, key=lambda source: source.length)


def last_hubs(schema: Schema, entity: str, hidden: frozenset[tuple[str, str]], lasting: set[Hop]) -> list[Hub]:
    """The parents that an entity's newest child rows name, one for each parent table."""
    hubs: dict[str, Hub] = {}
    for (down,) in downs(schema, entity, 1, hidden):
        if schema[down.table].time_col is None:
            continue
        for key in usable_keys(schema, schema[down.table], hidden):
            up = Hop(key.table, key.name, False)
            if key.name != down.key and up in lasting and key.table not in hubs:
                hubs[key.table] = Hub("last", key.table, (down, up))
    return list(hubs.values())
