"""Rows in SQL: their cells, what names them, what a foreign key matches, and keys that nothing can be built on."""

from __future__ import annotations

from collections.abc import Sequence

from graphlearn.database.sql import quote, time_us
from graphlearn.errors import SchemaError, first_three
from graphlearn.schema.connect import Database
from graphlearn.schema.schema import Column, ForeignKey, Table

_WHOLE = frozenset({"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER"})
_GREATEST = 1e100  # beyond it lie marks for missing values, whose squares are infinite
# The types whose values Arrow compares; others stand for themselves as text.
_PLAIN = _WHOLE | {"UBIGINT", "HUGEINT", "BOOLEAN", "FLOAT", "DOUBLE", "VARCHAR", "DATE", "TIME", "BLOB"}


def cell(column: str, row: str = "t") -> str:
    """A column of a row, by default of what every SELECT calls ``t``, so that no name of the user's means another."""
    return f"{row}.{quote(column)}"


def rows_of(table: str) -> str:
    """The rows of a table of the source, whatever temporary tables are called."""
    return f"main.{quote(table)}"


def time_sql(table: Table, row: str = "t") -> str | None:
    """The time of a row, microseconds UTC, or None if the table has no time column."""
    return None if table.time_col is None else time_us(cell(table.time_col, row), table.column(table.time_col).dtype)


def kept_sql(table: Table) -> str:
    """The WHERE clause, if one is needed, that leaves out rows without a time."""
    return f" WHERE {time_sql(table)} IS NOT NULL" if table.time_col and table.null_time == "drop" else ""


def numeric_sql(column: Column, row: str = "t") -> str:
    """SQL for a numerical cell as a DOUBLE; NULL where it is missing, infinite, not a number, or beyond 1e100."""
    value = f"TRY_CAST({cell(column.name, row)} AS DOUBLE)"
    return f"CASE WHEN abs({value}) <= {_GREATEST} THEN {value} END"


def category_sql(column: Column, row: str = "t") -> str:
    """SQL for a categorical cell as text; 1, 1.0 and 1.00 are one category, as types change when a table grows."""
    value = cell(column.name, row)
    text = f"CAST({value} AS VARCHAR)"
    if column.dtype in ("FLOAT", "DOUBLE") or column.dtype.startswith("DECIMAL"):
        whole = f"TRY_CAST({value} AS HUGEINT)"
        return f"CASE WHEN {whole} = {value} THEN CAST({whole} AS VARCHAR) ELSE {text} END"
    return text


def is_whole(table: Table) -> bool:
    """Whether the primary key is one whole number of at most 64 bits with a sign."""
    return len(table.pkey) == 1 and table.column(table.pkey[0]).dtype in _WHOLE


def key_sql(table: Table, row: str = "t") -> str:
    """One value for the primary key: the column itself, or a JSON list of texts if it is composite."""
    return one_key_sql(table, [cell(column, row) for column in table.pkey])


def one_key_sql(table: Table, values: Sequence[str]) -> str:
    """What :func:`key_sql` gives, from the SQL of each column of the key, such as that of :func:`match_sql`."""
    if len(values) > 1:
        return f"CAST(to_json([{', '.join(f'CAST({value} AS VARCHAR)' for value in values)}]) AS VARCHAR)"
    dtype = table.column(table.pkey[0]).dtype
    plain = dtype in _PLAIN or dtype.startswith(("DECIMAL", "TIMESTAMP"))
    return values[0] if plain else f"CAST({values[0]} AS VARCHAR)"


def tie_sql(table: Table, hidden: frozenset[str]) -> str:
    """A BIGINT that orders rows of equal time in the same way however the source orders them.

    It is the primary key if that is one whole number, else a hash of it. Rows without a key are told apart by a hash of
    all their columns but those that are hidden: an order by these would give away what they hold.
    """
    seen = [cell(c.name) for c in table.columns if c.name not in hidden]
    everything = _hash_sql(seen) if seen else "0"
    if not table.pkey:
        return everything
    key = [cell(c) for c in table.pkey]
    missing = " OR ".join(f"{k} IS NULL" for k in key)
    number = f"CAST({key[0]} AS BIGINT)" if is_whole(table) else _hash_sql(key)
    return f"CASE WHEN {missing} THEN {everything} ELSE {number} END"


def _hash_sql(values: Sequence[str]) -> str:
    # hash() gives 64 bits without a sign; one bit less fits a BIGINT.
    return f"CAST(hash({', '.join(values)}) >> 1 AS BIGINT)"


def match_sql(db: Database, table: Table, key: ForeignKey, row: str = "t") -> list[str]:
    """The columns of a foreign key of a row, each as the type of the primary key's column.

    What that type cannot hold becomes NULL: no row has such a key.
    """
    own, other = db.columns(table.name), db.columns(key.table)
    found = []
    for column, target in zip(key.columns, db.schema[key.table].pkey, strict=True):
        value, dtype = cell(column, row), other[target]
        if own[column] != dtype and not {own[column], dtype} <= _WHOLE:
            # A plain comparison would happen in floating point, where several large keys are the same number.
            same = f"TRY_CAST({value} AS {dtype})"
            value = f"CASE WHEN {same} = {value} THEN {same} END"
        found.append(value)
    return found


def visible_rows(db: Database, table: Table, fit_until: int | None) -> str:
    """SQL that follows FROM, for the rows of ``table`` that statistics may read."""
    if fit_until is None:
        return rows_of(table.name)
    return _visible(db, table, fit_until, ()) or rows_of(table.name)


def _visible(db: Database, table: Table, fit_until: int, below: tuple[str, ...]) -> str | None:
    """None stands for all rows: nothing bounds them in time."""
    time = time_sql(table)
    if time is not None:
        undated = f" OR {time} IS NULL" if table.null_time == "keep" else ""
        return f"(SELECT * FROM {rows_of(table.name)} AS t WHERE {time} <= {int(fit_until)}{undated})"
    below = (*below, table.name)
    known = []
    for child in db.schema.tables.values():
        keys = [key for key in child.fkeys if key.table == table.name and child.name not in below]
        rows = _visible(db, child, fit_until, below) if keys else None
        if rows is not None:
            known += [_named(db, table, child, key, rows) for key in keys]
    return f"(SELECT * FROM {rows_of(table.name)} AS t WHERE {' OR '.join(known)})" if known else None


def _named(db: Database, table: Table, child: Table, key: ForeignKey, rows: str) -> str:
    """Whether a row ``t`` is named by one of ``rows`` of ``child``."""
    names = ", ".join(cell(c) for c in table.pkey)
    return f"({names}) IN (SELECT {', '.join(match_sql(db, child, key))} FROM {rows} AS t)"


def check_unique(db: Database, table: Table) -> None:
    """Refuses a primary key with repeated values; keys with a NULL in them name no row and are not compared.

    Raises:
        SchemaError: If values repeat.
    """
    keys = ", ".join(cell(c) for c in table.pkey)
    complete = " AND ".join(f"{cell(c)} IS NOT NULL" for c in table.pkey)
    kept = f"{kept_sql(table)} AND {complete}" if kept_sql(table) else f" WHERE {complete}"
    shown = ", ".join(f"CAST({cell(c)} AS VARCHAR)" for c in table.pkey)
    repeated = db.rows(
        f"SELECT {shown} FROM {rows_of(table.name)} AS t{kept} "
        f"GROUP BY {keys} HAVING count(*) > 1 ORDER BY {keys} LIMIT 3"
    )
    if repeated:
        raise SchemaError(
            f"{table.name}.{', '.join(table.pkey)} is given as the primary key but has repeated values "
            f"(first: {_show(repeated)}). Remove the repetitions, or name another key in manifest.yaml."
        )


def refuse_missing(db: Database, table: Table, key: ForeignKey) -> None:
    """Refuses values of a foreign key that name no row of its target.

    Raises:
        SchemaError: If there are any.
    """
    present = " AND ".join(f"{cell(c)} IS NOT NULL" for c in key.columns)
    target = db.schema[key.table]
    same = " AND ".join(
        f"{value} = p.{quote(column)}" for value, column in zip(match_sql(db, table, key), target.pkey, strict=True)
    )
    missing = (
        f"SELECT DISTINCT {', '.join(f'{cell(c)} AS k{i}' for i, c in enumerate(key.columns))} "
        f"FROM {rows_of(table.name)} AS t ANTI JOIN {rows_of(key.table)} AS p ON {same} WHERE {present}"
    )
    (total,) = db.rows(f"SELECT count(*) FROM ({missing})")[0]
    if total:
        names = [f"k{i}" for i in range(len(key.columns))]
        shown = ", ".join(f"CAST({name} AS VARCHAR)" for name in names)
        first = db.rows(f"SELECT {shown} FROM ({missing}) ORDER BY {', '.join(names)} LIMIT 3")
        raise SchemaError(
            f"{table.name}.{key.name} -> {key.table}.{', '.join(target.pkey)}: {total:,} values have no matching row "
            f"(first: {_show(first)}). Load the missing rows of '{key.table}', or set on_missing = 'drop' for this key "
            "in manifest.yaml to leave those edges out."
        )


def _show(rows: list[tuple[object, ...]]) -> str:
    return first_three([row[0] if len(row) == 1 else f"({', '.join(map(str, row))})" for row in rows])
