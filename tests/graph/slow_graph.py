"""Random small databases, and the graph of one in plain Python, row by row.

Rows are told apart by their `tag`, a number that no two rows of a table share and that is their only feature.
"""

from __future__ import annotations

import datetime as dt
import decimal
import random
import uuid
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from graphlearn.graph.statistics import ColumnStatistics, Statistics
from graphlearn.schema import Schema
from graphlearn.schema.schema import Column, ForeignKey, Table

TAG = "tag"
STATISTICS = ColumnStatistics(TAG, "numerical")
TABLES = ("t", "n0", "select", 'quo"te', "a.b", "nodes 0", "main", "Ünï")
COLUMNS = ("t", "n1", "node", "k0", "row", 'x"y', "a b", "c.d", "order", "part", "time", "p0", "hash", "Größe")
EPOCH = dt.datetime(2020, 1, 1)

WHOLE = (pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint32(), pa.uint64())
KINDS = ("whole", "text", "date", "decimal", "uuid", "binary", "two", "none")


@dataclass
class Slow:
    """One table: its rows as dicts, and what is known about it."""

    table: Table
    rows: list[dict[str, Any]]
    types: dict[str, pa.DataType] = field(default_factory=dict)

    def arrow(self) -> pa.Table:
        return pa.table({name: pa.array([row[name] for row in self.rows], kind) for name, kind in self.types.items()})

    def kept(self) -> list[dict[str, Any]]:
        if self.table.time_col is None or self.table.null_time == "keep":
            return self.rows
        return [row for row in self.rows if row[self.table.time_col] is not None]

    def key(self, row: dict[str, Any]) -> tuple[Any, ...] | None:
        """The primary key, or None if it names no row."""
        values = tuple(row[column] for column in self.table.pkey)
        return None if not values or None in values else values

    def time(self, row: dict[str, Any]) -> int | None:
        when = None if self.table.time_col is None else row[self.table.time_col]
        return None if when is None else (when - EPOCH) // dt.timedelta(microseconds=1)


def random_database(seed: int) -> tuple[dict[str, Slow], Schema, Statistics]:
    """Up to four tables that refer to each other, to themselves and in circles, under names that trouble SQL."""
    draw = random.Random(seed)
    names = draw.sample(TABLES, draw.randint(1, 4))
    kinds = {name: draw.choice(KINDS) for name in names}
    slow = {name: _random_rows(draw, name, kinds[name]) for name in names}
    for name in names:
        for _ in range(draw.randint(0, 3)):
            target = draw.choice(names)
            if kinds[target] != "none":
                _add_fkey(draw, slow[name], slow[target], kinds[target])
    for table in slow.values():
        order = list(table.types)
        draw.shuffle(order)
        table.types = {column: table.types[column] for column in order}
        columns = tuple(Column(c, stype="numerical" if c == TAG else None) for c in order)
        table.table = Table(**{**table.table.__dict__, "columns": columns})
    schema = Schema("random", {name: table.table for name, table in slow.items()})
    return slow, schema, Statistics(None, dict.fromkeys(names, (STATISTICS,)))


def _random_rows(draw: random.Random, name: str, kind: str) -> Slow:
    free = draw.sample(COLUMNS, 3)
    size = draw.choice([0, 1, draw.randint(2, 12)])
    types: dict[str, pa.DataType] = {TAG: pa.int32()}
    columns: dict[str, list[Any]] = {TAG: draw.sample(range(1_000), size)}
    pkey: tuple[str, ...] = ()
    if kind != "none":
        pkey = tuple(free[: 2 if kind == "two" else 1])
        values = [draw.choice(_keys(kind)) for _ in range(3 * size)]
        unique = list(dict.fromkeys(v for v in values))[:size]
        unique += [None] * (size - len(unique))
        draw.shuffle(unique)
        for i, column in enumerate(pkey):
            types[column] = _type(draw, _part(kind, i))
            columns[column] = [v if v is None or kind != "two" else v[i] for v in unique]
        if kind == "two":  # half a key names no row either
            columns[pkey[1]] = [None if draw.random() < 0.1 else v for v in columns[pkey[1]]]
    time_col = free[2] if draw.random() < 0.6 else None
    null_time = draw.choice(["drop", "keep"])
    if time_col is not None:
        types[time_col] = draw.choice([pa.timestamp("us"), pa.timestamp("ms"), pa.timestamp("ns")])
        hours = [draw.choice([None, draw.randint(0, 3), draw.randint(-900_000, 500_000)]) for _ in range(size)]
        columns[time_col] = [None if h is None else EPOCH + dt.timedelta(hours=h) for h in hours]
    rows = [{column: columns[column][i] for column in types} for i in range(size)]
    return Slow(Table(name, pkey, (), time_col, null_time), rows, types)


def _keys(kind: str) -> list[Any]:
    numbers = range(16)
    return {
        "whole": list(numbers),
        "text": ["", "'", '"', "a b", "NULL", "Ä", "ä", *map(str, numbers)],
        "date": [dt.date(2020, 1, 1) + dt.timedelta(days=n) for n in numbers],
        "decimal": [decimal.Decimal(n) / 4 for n in numbers],
        "uuid": [uuid.UUID(int=n << 60).bytes for n in numbers],
        "binary": [bytes([n, 0, 255]) for n in numbers],
        "two": [(str(n % 4), n // 4) for n in numbers],
    }[kind]


def _part(kind: str, i: int) -> str:
    return ("text", "whole")[i] if kind == "two" else kind


def _type(draw: random.Random, kind: str, *, child: bool = False) -> pa.DataType:
    if kind == "whole":
        # A column of a data frame with gaps arrives as floats.
        return draw.choice((*WHOLE, pa.float64(), pa.decimal128(9, 1)) if child else WHOLE)
    return {
        "text": pa.string(),
        "date": pa.date32(),
        "decimal": pa.decimal128(9, 2),
        "uuid": pa.uuid(),
        "binary": pa.binary(),
    }[kind]


def _add_fkey(draw: random.Random, child: Slow, parent: Slow, kind: str) -> None:
    names = [f"{draw.choice(COLUMNS)} {len(child.types)}" for _ in parent.table.pkey]
    names = [f"{name}{i}" for i, name in enumerate(names)]
    existing = [tuple(row[c] for c in parent.table.pkey) for row in parent.rows]
    for i, name in enumerate(names):
        own = parent.types[parent.table.pkey[i]]
        child.types[name] = own if _part(kind, i) != "whole" else _type(draw, "whole", child=True)
    for row in child.rows:
        values = draw.choice([*existing, *existing, (None,) * len(names), draw.choice(_keys(kind))])
        values = values if isinstance(values, tuple) else (values,)
        row.update(zip(names, values, strict=True))
    keys = (*child.table.fkeys, ForeignKey(tuple(names), parent.table.name))
    child.table = Table(**{**child.table.__dict__, "fkeys": keys})
