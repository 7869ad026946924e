"""Chinook, Northwind and Sakila as tables of a server, with the keys that they publish."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from graphlearn.database.url import engine, parse_url

NAMES = ("chinook", "northwind", "sakila")


def load(folder: Path, url: str) -> None:
    """Writes the tables of a folder of ``<table>.parquet`` and ``keys.json`` to an empty database."""
    keys = json.loads((folder / "keys.json").read_text())
    tables = {name: pq.read_table(folder / f"{name}.parquet") for name in keys}
    metadata = sa.MetaData()
    for name, spec in keys.items():
        in_keys = {*spec["primary_key"], *(c for key in spec["foreign_keys"] for c in columns_of(key, "columns"))}
        columns = [
            sa.Column(field.name, _type(_typed(tables, keys, name, field), field.name in in_keys))
            for field in tables[name].schema
        ]
        sa.Table(name, metadata, *columns, sa.PrimaryKeyConstraint(*spec["primary_key"]))
    with engine(parse_url(url)).begin() as con:
        metadata.create_all(con)
        for name, table in tables.items():
            if table.num_rows:
                con.execute(sa.insert(metadata.tables[name]), table.to_pylist())
        for name, spec in keys.items():
            for key in spec["foreign_keys"]:
                target = metadata.tables[key["table"]]
                constraint = sa.ForeignKeyConstraint(
                    [metadata.tables[name].c[c] for c in columns_of(key, "columns")],
                    [target.c[c] for c in columns_of(key, "references")],
                    name=f"fk_{name}_{key['columns']}".replace(" ", "_")[:60],
                )
                metadata.tables[name].append_constraint(constraint)
                con.execute(sa.schema.AddConstraint(constraint))


def columns_of(key: dict[str, str | list[str]], what: str) -> list[str]:
    found = key[what]
    return [found] if isinstance(found, str) else found


def _typed(tables: dict[str, pa.Table], keys: dict[str, Any], name: str, field: pa.Field) -> pa.Field:
    """``field``, of the type of the key that it names, or text, if all of its values are NULL."""
    if not pa.types.is_null(field.type):
        return field
    for key in keys[name]["foreign_keys"]:
        if columns_of(key, "columns") == [field.name]:
            target = tables[key["table"]].schema.field(columns_of(key, "references")[0])
            return _typed(tables, keys, key["table"], target).with_name(field.name)
    return field.with_type(pa.string())


def _type(field: pa.Field, is_key: bool) -> sa.types.TypeEngine:
    if pa.types.is_timestamp(field.type):
        return sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
    if pa.types.is_string(field.type) or pa.types.is_large_string(field.type):
        return sa.String(255) if is_key else sa.Text()
    known = {pa.int64(): sa.BigInteger(), pa.float64(): sa.Double(), pa.bool_(): sa.Boolean(), pa.date32(): sa.Date()}
    return known[field.type]
