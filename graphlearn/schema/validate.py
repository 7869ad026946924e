"""A schema that contradicts itself, or the source it is for, is refused here with a sentence."""

from __future__ import annotations

from graphlearn.database.source import Source
from graphlearn.database.sql import is_time
from graphlearn.errors import SchemaError, unknown_name
from graphlearn.schema.schema import NULL_TIMES, ON_MISSING, STYPES, ForeignKey, Schema, Table


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


def check_against(schema: Schema, source: Source) -> None:
    """Raises if ``schema`` names a table or column that ``source`` does not have, or a time that holds no times."""
    for table in schema.tables.values():
        if table.name not in source.tables:
            raise unknown_name("table", table.name, source.tables)
        columns = source.columns(table.name)
        named = [*table.pkey, *(c for key in table.fkeys for c in key.columns), *(c.name for c in table.columns)]
        for column in [*named, *([] if table.time_col is None else [table.time_col])]:
            if column not in columns:
                raise unknown_name(f"column of table '{table.name}'", column, columns)
        if table.time_col is not None:
            dtype = columns[table.time_col]
            if not is_time(dtype) and dtype != "VARCHAR":
                raise SchemaError(
                    f"{table.name}.{table.time_col} is the time column, but its type {dtype} is not a point in time: "
                    f"give a TIMESTAMP, DATE or ISO 8601 text (for seconds since 1970, a view with to_timestamp())."
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
