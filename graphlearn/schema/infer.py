"""Proposes what the tables mean from all their rows; the user edits it."""

from __future__ import annotations

from dataclasses import replace

from graphlearn.database.source import Source
from graphlearn.schema.profile import Profile, profile_table
from graphlearn.schema.schema import Column, Schema, Table
from graphlearn.schema.stypes import infer_stype
from graphlearn.schema.validate import check_against, check_schema


def infer_schema(source: Source) -> Schema:
    """A schema from the source's declared keys, and from the values where it declares none."""
    schema = Schema(source.name, {name: Table(name) for name in source.tables})
    return complete_schema(source, schema)


def complete_schema(source: Source, schema: Schema) -> Schema:
    """``schema`` with the columns and stypes that it leaves open, taken from ``source``.

    Raises:
        SchemaError: If it contradicts itself or the source.
        UnknownNameError: If it names a table or column that the source does not have.
    """
    check_schema(schema)
    check_against(schema, source)
    tables = {name: _complete_table(source, table) for name, table in schema.tables.items()}
    return replace(schema, tables=tables)


def _complete_table(source: Source, table: Table) -> Table:
    dtypes = source.columns(table.name)
    given = {column.name: column for column in table.columns}
    profiles = profile_table(source, table.name) if set(given) != set(dtypes) else {}
    columns = tuple(
        replace(given[name], dtype=dtype) if name in given else _column(table, profiles[name])
        for name, dtype in dtypes.items()
    )
    return replace(table, columns=columns)


def _column(table: Table, profile: Profile) -> Column:
    is_key = profile.name in table.pkey or any(profile.name in key.columns for key in table.fkeys)
    stype, confidence = infer_stype(profile, is_key=is_key)
    return Column(profile.name, profile.dtype, stype, confidence)
