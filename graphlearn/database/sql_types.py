"""Arrow's types as those of a SQL server, and whether a table that is there has the same shape."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.types as pt
import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from graphlearn.errors import SchemaError

if TYPE_CHECKING:
    from sqlalchemy.types import TypeEngine

    AnyType = TypeEngine[Any]

MYSQL_KEY_LENGTH = 700
"""Characters of all texts in a primary key together: InnoDB indexes 3072 bytes of a row, at 4 a character."""


def sql_types(
    columns: pa.Schema, key: Sequence[str], dialect: sa.Dialect, types: Mapping[str, str]
) -> dict[str, AnyType]:
    """The type of each column on a server; ``types`` are DuckDB types that Arrow does not tell.

    Raises:
        SchemaError: If there is none for a column.
    """
    texts = sum(_is_text(columns.field(name).type) or _is_bytes(columns.field(name).type) for name in key)
    length = MYSQL_KEY_LENGTH // max(texts, 1)
    return {
        field.name: _sql_type(field, dialect, length if field.name in key else None, types.get(field.name, ""))
        for field in columns
    }


def family(dtype: AnyType | str) -> str:
    """What a type holds, in words; lengths and widths do not matter, the server refuses what does not fit.

    Args:
        dtype: A type of SQLAlchemy, or MySQL's name of one of its own.
    """
    if isinstance(dtype, str):
        return next((what for names, what in _MYSQL if dtype.lower() in names), dtype)
    return next((what for kinds, what in _FAMILIES if isinstance(dtype, kinds)), str(dtype).lower())


def shape_difference(
    wanted: Mapping[str, str], key: Sequence[str], found: Mapping[str, str], found_key: Sequence[str]
) -> str | None:
    """In what a table that is there differs from the one that would be made, in words; None if in nothing.

    Args:
        wanted: The :func:`family` of each column of the new rows.
        key: Their primary key.
        found: The same of the table that is there.
        found_key: Its primary key.
    """
    missing = [name for name in wanted if name not in found]
    if missing:
        return f"it has no column '{missing[0]}'"
    more = [name for name in found if name not in wanted]
    if more:
        return f"it has a column '{more[0]}', which the new rows have not"
    for name, ours in wanted.items():
        if found[name] != ours:
            return f"its column '{name}' holds {found[name]}, and the new rows hold {ours}"
    if set(key) != set(found_key):
        return f"its primary key is ({', '.join(found_key)}), and that of the new rows ({', '.join(key)})"
    return None


def _sql_type(field: pa.Field, dialect: sa.Dialect, key_length: int | None, duckdb_type: str) -> AnyType:
    dtype = field.type
    kind = "mysql" if dialect.name in ("mysql", "mariadb") else dialect.name
    if duckdb_type == "UUID" and kind == "postgresql":
        return sa.Uuid()
    if _is_text(dtype):
        if kind != "mysql":
            return sa.Text()
        # Compared byte by byte, trailing spaces included: 'a', 'A' and 'a ' are three keys.
        collation = "utf8mb4_nopad_bin" if getattr(dialect, "is_mariadb", False) else "utf8mb4_0900_bin"
        options = {"charset": "utf8mb4", "collation": collation}
        return mysql.VARCHAR(key_length, **options) if key_length else mysql.LONGTEXT(**options)
    if _is_bytes(dtype):
        return mysql.VARBINARY(key_length) if key_length and kind == "mysql" else sa.LargeBinary()
    if pt.is_timestamp(dtype):
        # MySQL keeps whole seconds unless it is told otherwise.
        return mysql.DATETIME(fsp=6) if kind == "mysql" else sa.TIMESTAMP(timezone=dtype.tz is not None)
    if pt.is_decimal(dtype):
        # SQLite would make it a float.
        return sa.Text() if kind == "sqlite" else sa.Numeric(dtype.precision, dtype.scale)
    if pt.is_boolean(dtype):
        return mysql.TINYINT(1) if kind == "mysql" else sa.Boolean()
    if pt.is_floating(dtype):
        return sa.Double()
    if pt.is_date(dtype):
        return sa.Date()
    if pt.is_uint64(dtype):
        return sa.Text() if kind == "sqlite" else sa.Numeric(20, 0)
    if pt.is_integer(dtype):
        # A column without a sign needs the next larger type.
        bits = dtype.bit_width + pt.is_unsigned_integer(dtype)
        return sa.SmallInteger() if bits <= 16 else sa.Integer() if bits <= 32 else sa.BigInteger()
    raise SchemaError(
        f"the column '{field.name}' is of type {dtype}, for which there is none on a {dialect.name} server. Write to a "
        "DuckDB or Parquet file instead."
    )


def _is_text(dtype: pa.DataType) -> bool:
    return bool(pt.is_string(dtype) or pt.is_large_string(dtype))


def _is_bytes(dtype: pa.DataType) -> bool:
    return bool(pt.is_binary(dtype) or pt.is_large_binary(dtype))


_FAMILIES: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (sa.Boolean, "true or false"),
    (sa.Integer, "whole numbers"),
    (sa.Float, "numbers"),
    (sa.Numeric, "decimals"),
    (sa.Uuid, "UUIDs"),
    (sa.String, "text"),
    (sa.DateTime, "timestamps"),
    (sa.Date, "dates"),
    ((sa.LargeBinary, sa.BINARY, sa.VARBINARY), "bytes"),
)
_MYSQL: tuple[tuple[frozenset[str], str], ...] = (
    (frozenset({"tinyint", "smallint", "mediumint", "int", "bigint"}), "whole numbers"),
    (frozenset({"float", "double"}), "numbers"),
    (frozenset({"decimal"}), "decimals"),
    (frozenset({"char", "varchar", "tinytext", "text", "mediumtext", "longtext"}), "text"),
    (frozenset({"datetime", "timestamp"}), "timestamps"),
    (frozenset({"date"}), "dates"),
    (frozenset({"binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob"}), "bytes"),
)
