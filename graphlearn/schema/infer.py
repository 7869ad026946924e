"""Proposes what the tables mean from all their rows, always the same; the user edits it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from graphlearn.database.source import Source
from graphlearn.schema.derive import infer_derived_times
from graphlearn.schema.fkeys import infer_fkeys
from graphlearn.schema.pkeys import PrimaryKey, infer_pkey
from graphlearn.schema.profile import Profile, profile_table
from graphlearn.schema.schema import DECLARED, KNOWN_SINCE, Column, ForeignKey, Schema, Table
from graphlearn.schema.stypes import infer_stype
from graphlearn.schema.times import infer_time_col
from graphlearn.schema.validate import check_against, check_schema


def infer_schema(source: Source) -> Schema:
    """A schema from the keys that the source declares and, where it declares none, from names and values.

    Cost: some scans of every table, and one semi-join per pair of columns that may be a foreign key.
    """
    profiles = {table: profile_table(source, table) for table in source.tables}
    pkeys = {table: _pkey(source, table, profiles) for table in source.tables}
    columns = {table: key.columns for table, key in pkeys.items()}
    fkeys = {table: _fkeys(source, table, profiles, columns) for table in source.tables}
    referred = {key.table for keys in fkeys.values() for key in keys}
    tables = {}
    for name in source.tables:
        time_col, time_confidence = infer_time_col(name, profiles[name], referred=name in referred)
        table = Table(
            name,
            pkey=columns[name],
            fkeys=fkeys[name],
            time_col=time_col,
            # What others refer to is needed even where its own time is not known.
            null_time="keep" if name in referred else "drop",
            pkey_confidence=pkeys[name].confidence,
            time_confidence=time_confidence,
            pkey_evidence=pkeys[name].evidence,
            comment=source.comments.get((name, ""), ""),
        )
        tables[name] = replace(table, columns=tuple(_column(source, table, p) for p in profiles[name].values()))
    schema = infer_derived_times(source, Schema(source.name, tables))
    check_schema(schema)
    return schema


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


def _pkey(source: Source, table: str, profiles: Mapping[str, Mapping[str, Profile]]) -> PrimaryKey:
    if table in source.declared_pkeys:
        return PrimaryKey(source.declared_pkeys[table], evidence=DECLARED)
    others = {name: columns for name, columns in profiles.items() if name != table}
    return infer_pkey(source, table, profiles[table], others)


def _fkeys(
    source: Source,
    table: str,
    profiles: Mapping[str, Mapping[str, Profile]],
    pkeys: Mapping[str, tuple[str, ...]],
) -> tuple[ForeignKey, ...]:
    declared = []
    for key in source.declared_fkeys.get(table, ()):
        target = pkeys[key.table]
        # One that refers to a UNIQUE column instead of the key has no place in a schema.
        if set(key.references) == set(target):
            order = [key.references.index(column) for column in target]
            declared.append(ForeignKey(tuple(key.columns[i] for i in order), key.table, evidence=DECLARED))
    taken = {key.columns for key in declared}
    inferred = infer_fkeys(source, table, profiles, pkeys)
    return (*declared, *(key for key in inferred if key.columns not in taken))


def _complete_table(source: Source, table: Table) -> Table:
    dtypes = source.own_columns(table.name)
    given = {column.name: column for column in table.columns}
    profiles = profile_table(source, table.name) if set(dtypes) - set(given) else {}
    columns = [
        replace(given[name], dtype=dtype) if name in given else _column(source, table, profiles[name])
        for name, dtype in dtypes.items()
    ]
    if table.time_from:
        columns.append(given.get(KNOWN_SINCE, Column(KNOWN_SINCE, "TIMESTAMP")))
    return replace(table, columns=tuple(columns))


def _column(source: Source, table: Table, profile: Profile) -> Column:
    is_key = profile.name in table.pkey or any(profile.name in key.columns for key in table.fkeys)
    stype, confidence = infer_stype(profile, is_key=is_key)
    comment = source.comments.get((table.name, profile.name), "")
    return Column(profile.name, profile.dtype, stype, confidence, comment)
