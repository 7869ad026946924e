"""How each type of a server is read: what the server is asked for, and the DuckDB type that it becomes here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

MAX_DIGITS = 38
"""Most digits of a DuckDB DECIMAL."""
EXACT = "DECIMAL(38,10)"
"""For decimals of unknown size in keys, where a DOUBLE would make different values equal."""


@dataclass(frozen=True)
class Reading:
    """How one column is read.

    Args:
        sql: What the server is asked for; ``{}`` stands for the quoted column.
        dtype: The DuckDB type that it is cast to; empty: as it arrives. What does not fit becomes NULL.
        via: A type that it is cast to before.
        arrow: Its Arrow type where rows come one by one, which know no types of their own.
        first: SQLite: a value of the type that is expected, as SQL; empty: nothing is expected.
    """

    sql: str = "{}"
    dtype: str = ""
    via: str = ""
    arrow: pa.DataType | None = None
    first: str = ""


BLOB = Reading("CASE typeof({0}) WHEN 'text' THEN {0} END", "VARCHAR", first="''")
"""SQLite: a column of bytes may as well hold texts, which are of use."""


def reading(kind: Any, dialect: str, *, is_key: bool = False) -> Reading | None:
    """How a column of SQLAlchemy's type ``kind`` is read; None: its values are of no use here.

    Args:
        kind: The type as SQLAlchemy reflects it.
        dialect: ``postgresql``, ``mysql``, ``sqlite``, or the name of any other database.
        is_key: Whether the column belongs to a primary or foreign key.
    """
    by_dialect = {"postgresql": _postgresql, "mysql": _mysql, "sqlite": _sqlite}
    return by_dialect.get(dialect, _any)(kind, is_key)


def _postgresql(kind: Any, is_key: bool) -> Reading | None:
    import sqlalchemy as sa
    from sqlalchemy.dialects import postgresql as pg

    if isinstance(kind, pg.DOMAIN):
        return _postgresql(kind.data_type, is_key)
    if isinstance(kind, sa.ARRAY):
        return _postgresql_array(kind.item_type)
    if isinstance(kind, pg.MONEY):
        return Reading("{}::numeric", "DECIMAL(19,2)")
    if isinstance(kind, pg.OID | sa.Integer | sa.Float | sa.Boolean):
        return Reading()
    if isinstance(kind, sa.Numeric):
        return Reading(dtype=_decimal(kind, is_key))
    if isinstance(kind, sa.Uuid):
        return Reading(dtype="UUID")
    if isinstance(kind, pg.BIT):
        if kind.varying or (kind.length or 1) > 63:
            return Reading("{}::text")
        return Reading("({} = B'1')" if (kind.length or 1) == 1 else "{}::bigint")
    if isinstance(kind, sa.Interval | pg.INTERVAL):
        return Reading("extract(epoch FROM {})::float8")
    if isinstance(kind, sa.DateTime | sa.Date):
        # Neither Arrow nor a time in microseconds has an infinity.
        return Reading("CASE WHEN isfinite({0}) THEN {0} END")
    if isinstance(kind, sa.Time):
        return Reading("{}::text" if kind.timezone else "{}")
    if isinstance(kind, sa.Enum):
        return Reading()
    if isinstance(kind, sa.JSON | pg.INET | pg.CIDR | pg.MACADDR | pg.MACADDR8 | pg.CITEXT | sa.CHAR | pg.HSTORE):
        return Reading("{}::text")
    return Reading() if isinstance(kind, sa.String) else None


def _postgresql_array(item: Any) -> Reading | None:
    import sqlalchemy as sa

    if isinstance(item, sa.Integer | sa.Float | sa.Boolean):
        return Reading()
    if isinstance(item, sa.Numeric):
        return Reading("{}::float8[]")
    return Reading("{}::text[]") if _postgresql(item, False) is not None else None


def _mysql(kind: Any, is_key: bool) -> Reading | None:
    import pyarrow as pa
    import sqlalchemy as sa
    from sqlalchemy.dialects import mysql

    if isinstance(kind, mysql.BIT):
        one = kind.length in (None, 1)
        return Reading("CAST({} AS UNSIGNED)", "BOOLEAN" if one else "UBIGINT", arrow=pa.uint64())
    if isinstance(kind, sa.Integer | mysql.YEAR):
        name = {mysql.TINYINT: "TINYINT", sa.SmallInteger: "SMALLINT", mysql.YEAR: "SMALLINT", sa.BigInteger: "BIGINT"}
        dtype = next((dtype for base, dtype in name.items() if isinstance(kind, base)), "INTEGER")
        if getattr(kind, "unsigned", False):
            return Reading(dtype=f"U{dtype}", arrow=pa.uint64())
        return Reading(dtype=dtype, arrow=pa.int64())
    if isinstance(kind, sa.Float):
        return Reading(dtype="FLOAT" if isinstance(kind, mysql.FLOAT) else "DOUBLE", arrow=pa.float64())
    if isinstance(kind, sa.Numeric):
        digits, scale = kind.precision or 10, kind.scale or 0
        # connectorx has decimals of 28 digits before the point and 10 after it.
        fits = scale <= 10 and digits - scale <= 28
        if digits <= 15:
            # A DOUBLE holds as many digits; it is sent and read several times faster than a decimal, which is a text.
            return Reading("{} + 0e0", _decimal(kind, is_key), arrow=pa.float64())
        return Reading("{}" if fits else "CAST({} AS CHAR)", _decimal(kind, is_key), arrow=pa.string())
    if isinstance(kind, sa.DateTime | sa.Date):
        # '0000-00-00' and '2020-00-00' are dates for MySQL, and for nobody else; nothing can be added to them.
        whole = pa.timestamp("us") if isinstance(kind, sa.DateTime) else pa.date32()
        return Reading("{} + INTERVAL 0 DAY", arrow=whole)
    if isinstance(kind, sa.Time):
        return Reading("time_to_sec({}) + 0e0", arrow=pa.float64())
    if isinstance(kind, sa.Uuid):
        return Reading("CAST({} AS CHAR)", "UUID", arrow=pa.string())
    if isinstance(kind, sa.LargeBinary | sa.BINARY | sa.VARBINARY):
        return None
    if isinstance(kind, sa.JSON | sa.String):
        return Reading("{}" if isinstance(kind, sa.String) else "CAST({} AS CHAR)", arrow=pa.string())
    return None


def _sqlite(kind: Any, is_key: bool) -> Reading | None:
    import sqlalchemy as sa

    if isinstance(kind, sa.Boolean):
        return Reading(dtype="BOOLEAN", first="0")
    if isinstance(kind, sa.Integer):
        return Reading(dtype="BIGINT", first="0")
    if isinstance(kind, sa.Float):
        return Reading(dtype="DOUBLE", first="0.0")
    if isinstance(kind, sa.Numeric):
        # Whatever was declared, SQLite stores whole numbers or floats.
        whole = kind.scale == 0 or (kind.precision is not None and kind.scale is None) or is_key
        return Reading(dtype="BIGINT", first="0") if whole else Reading(dtype="DOUBLE", first="0.0")
    if isinstance(kind, sa.DateTime | sa.Date):
        # A text may have an offset from UTC, which a cast to TIMESTAMP would overlook.
        return Reading(dtype="TIMESTAMP", via="TIMESTAMPTZ", first="''")
    if isinstance(kind, sa.LargeBinary):
        return BLOB
    if isinstance(kind, sa.String | sa.JSON | sa.Time):
        return Reading(dtype="VARCHAR", first="''")
    # No type was declared, as for what a view computes.
    return Reading()


def _any(kind: Any, is_key: bool) -> Reading | None:
    import pyarrow as pa
    import sqlalchemy as sa

    if isinstance(kind, sa.Integer):
        return Reading(arrow=pa.int64())
    if isinstance(kind, sa.Float):
        return Reading(arrow=pa.float64())
    # Drivers do not agree on what Python gets for these; as text they all mean the same.
    texts = {sa.Boolean: "BOOLEAN", sa.DateTime: "TIMESTAMP", sa.Date: "DATE", sa.Uuid: "UUID", sa.String: "VARCHAR"}
    if isinstance(kind, sa.Numeric):
        return Reading(dtype=_decimal(kind, is_key), arrow=pa.string())
    dtype = next((dtype for base, dtype in texts.items() if isinstance(kind, base)), None)
    via = "TIMESTAMPTZ" if dtype == "TIMESTAMP" else ""
    return None if dtype is None else Reading(dtype=dtype, via=via, arrow=pa.string())


def _decimal(kind: Any, is_key: bool) -> str:
    digits = kind.precision
    if digits is None or digits > MAX_DIGITS or not 0 <= (kind.scale or 0) <= digits:
        return EXACT if is_key else "DOUBLE"
    return f"DECIMAL({digits},{kind.scale or 0})"
