"""A schema that contradicts itself, or the source it is for, is refused here with a sentence."""

from __future__ import annotations

from graphlearn.database.source import Source
from graphlearn.database.sql import is_time
from graphlearn.errors import SchemaError, unknown_name
from graphlearn.schema.profile import is_number
from graphlearn.schema.schema import KNOWN_SINCE, NULL_TIMES, ON_MISSING, STYPES, ForeignKey, Schema, Table


def check_schema(schema: Schema) -> None:
    """Raises if tables, keys and stypes do not fit together, without looking at a source."""
    for table in schema.tables.values():
        for kind, values in (("null_time", [table.null_time]), ("on_missing", [k.on_missing for k in table.fkeys])):
            known = NULL_TIMES if kind == "null_time" else ON_MISSING
            for value in values:
                if value not in known:
                    raise SchemaError(f"{table.name}: {unknown_name(kind, str(value), known)}")
        for column in table.columns:
            if column.stype is not None and column.stype not in STYPES:
                raise SchemaError(f"{table.name}.{column.name}: {unknown_name('stype', str(column.stype), STYPES)}")
        names = [key.name for key in table.fkeys]
        for key in table.fkeys:
            if names.count(key.name) > 1:
                raise SchemaError(f"{table.name}.{key.name} is a foreign key twice: keep one of the two.")
            _check_fkey(schema, table, key)
        for name in table.time_from:
            if name not in names:
                raise SchemaError(f"{table.name}.time_from: {unknown_name('foreign key', name, names)}")
            parent = next(key.table for key in table.fkeys if key.name == name)
            if schema.tables[parent].time_col is None or parent == table.name:
                raise SchemaError(
                    f"{table.name}.time_from: '{name}' refers to '{parent}', which gives no time. Name a foreign key "
                    f"to another table that has a time column."
                )
        if table.time_from:
            _check_no_circle(schema, table.name, ())


def check_against(schema: Schema, source: Source) -> None:
    """Raises if ``schema`` names a table or column that ``source`` does not have, or a time that holds no times."""
    for table in schema.tables.values():
        if table.name not in source.tables:
            raise unknown_name("table", table.name, source.tables)
        columns = source.own_columns(table.name)
        if table.time_from:
            if any(column.lower() == KNOWN_SINCE for column in columns):
                raise SchemaError(f"{table.name} has a column '{KNOWN_SINCE}' of its own, so it cannot have time_from.")
            columns[KNOWN_SINCE] = "TIMESTAMP"
        named = [*table.pkey, *(c for key in table.fkeys for c in key.columns), *(c.name for c in table.columns)]
        for column in [*named, *([] if table.time_col is None else [table.time_col])]:
            if column not in columns:
                raise unknown_name(f"column of table '{table.name}'", column, columns)
        for key in table.fkeys:
            _check_types(source, table, key, schema.tables[key.table])
        if table.time_col is not None:
            dtype = columns[table.time_col]
            if not is_time(dtype) and dtype != "VARCHAR":
                raise SchemaError(
                    f"{table.name}.{table.time_col} is the time column, but its type {dtype} is not a point in time: "
                    f"give a TIMESTAMP, DATE or ISO 8601 text (for seconds since 1970, a view with to_timestamp())."
                )


def _check_types(source: Source, table: Table, key: ForeignKey, target: Table) -> None:
    for column, pkey in zip(key.columns, target.pkey, strict=True):
        own, other = source.columns(table.name)[column], source.columns(target.name).get(pkey, "")
        alike = own == other or (is_number(own) and is_number(other)) or (is_time(own) and is_time(other))
        # A name that does not exist is reported for the table that should have it.
        if other and not alike:
            raise SchemaError(
                f"{table.name}.{column} ({own}) -> {target.name}.{pkey} ({other}): the types cannot be compared. Name "
                f"the column that these values refer to as the primary key, or remove this foreign key."
            )


def _check_fkey(schema: Schema, table: Table, key: ForeignKey) -> None:
    where = f"{table.name}.{key.name} -> {key.table}"
    if key.table not in schema.tables:
        raise SchemaError(f"{where}: a foreign key without a target: {unknown_name('table', key.table, schema.tables)}")
    target = schema.tables[key.table].pkey
    if not target:
        raise SchemaError(
            f"{where}: a foreign key without a target: '{key.table}' has no primary key. Set its 'pkey' in the "
            f"manifest, or remove this foreign key."
        )
    if len(target) != len(key.columns):
        raise SchemaError(
            f"{where}: the foreign key has {len(key.columns)} columns, but the primary key of '{key.table}' has "
            f"{len(target)} ({', '.join(target)}). Give one column for each, in that order."
        )


def _check_no_circle(schema: Schema, table: str, above: tuple[str, ...]) -> None:
    if table in above:
        raise SchemaError(
            f"time_from goes in a circle: {' -> '.join([*above, table])}. Give one of them a time column."
        )
    for key in schema.tables[table].fkeys:
        if key.name in schema.tables[table].time_from:
            _check_no_circle(schema, key.table, (*above, table))
