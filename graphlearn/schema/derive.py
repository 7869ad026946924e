"""Times for tables that have none but refer to tables that have one: a row is known since all rows it names are.

Without that, the items of tomorrow's orders would be visible today: order_items(order_id, product_id) has no time,
and a product leads to all of its items, whenever they were ordered.
"""

from __future__ import annotations

from dataclasses import replace

from graphlearn.database.source import Source
from graphlearn.database.sql import quote, time_us
from graphlearn.errors import SchemaError
from graphlearn.schema.schema import KNOWN_SINCE, Column, ForeignKey, Schema, Table

MAX_OLDER = 0.01
"""Where a larger share of the dated rows that name a row are older than its derived time, that time is wrong."""


def add_derived_times(source: Source, schema: Schema) -> None:
    """Gives the views of tables with ``time_from`` their column :data:`KNOWN_SINCE`."""

    def add(table: Table) -> None:
        keys = [key for key in table.fkeys if key.name in table.time_from]
        for key in keys:
            add(schema[key.table])
        if keys:
            _add(source, table.name, _known_since_us(schema, keys))

    for table in schema.tables.values():
        add(table)


def infer_derived_times(source: Source, schema: Schema) -> Schema:
    """``schema`` with ``time_from`` where a table has no time, but one it refers to has; adds the columns too."""
    tables = dict(schema.tables)
    undated = {name for name, table in tables.items() if table.time_col is None and not _is_taken(table)}
    while True:
        keys = {
            name: [k for k in tables[name].fkeys if k.table != name and tables[k.table].time_col is not None]
            for name in undated
        }
        ready = [name for name in undated if keys[name]]
        if not ready:
            return replace(schema, tables=tables)
        # Those first whose parents are all settled; the name only makes the order the same on every run.
        name = min(ready, key=lambda n: (sum(k.table in undated - {n} for k in tables[n].fkeys), n))
        undated.remove(name)
        known_since = _known_since_us(replace(schema, tables=tables), keys[name])
        if _fits(source, tables, name, known_since):
            _add(source, name, known_since)
            tables[name] = replace(
                tables[name],
                time_col=KNOWN_SINCE,
                time_from=tuple(key.name for key in keys[name]),
                time_confidence=0.8,
                columns=(*tables[name].columns, Column(KNOWN_SINCE, "TIMESTAMP")),
            )


def _add(source: Source, table: str, known_since_us: str) -> None:
    expression = f"make_timestamp({known_since_us})"
    before = source.added.get((table, KNOWN_SINCE))
    if before is None:
        source.add_column(table, KNOWN_SINCE, expression)
    elif before != expression:
        raise SchemaError(
            f"{table}.{KNOWN_SINCE}: on this connection it comes from other keys than 'time_from' says. "
            f"Connect to the source again, with this schema."
        )


def _is_taken(table: Table) -> bool:
    return any(column.name.lower() == KNOWN_SINCE for column in table.columns)


def _known_since_us(schema: Schema, keys: list[ForeignKey]) -> str:
    """SQL for the latest time among the rows that a row ``t`` names, in microseconds; NULL if none has one."""
    times = []
    for key in keys:
        parent = schema[key.table]
        time = time_us(f"p.{quote(str(parent.time_col))}", parent.column(str(parent.time_col)).dtype)
        match = " AND ".join(f"p.{quote(k)} = t.{quote(c)}" for c, k in zip(key.columns, parent.pkey, strict=True))
        # min(): a key that is not unique, which check() reports, must not double the rows here.
        times.append(f"(SELECT min({time}) FROM {quote(key.table)} AS p WHERE {match})")
    return f"greatest({', '.join(times)})"


def _fits(source: Source, tables: dict[str, Table], name: str, known_since: str) -> bool:
    """Whether the rows that name a row of the table are no older than it would be."""
    for child in tables.values():
        for key in child.fkeys:
            if key.table != name or child.name == name or child.time_col is None:
                continue
            match = " AND ".join(
                f"a.{quote(c)} = b.{quote(k)}" for c, k in zip(key.columns, tables[name].pkey, strict=True)
            )
            time = time_us(f"a.{quote(child.time_col)}", child.column(child.time_col).dtype)
            rows, older = source.rows(
                f"SELECT count(*), count(*) FILTER ({time} < b.known) FROM {quote(child.name)} AS a JOIN "
                f"(SELECT *, {known_since} AS known FROM {quote(name)} AS t) AS b ON {match}"
            )[0]
            if older > MAX_OLDER * rows:
                return False
    return True
