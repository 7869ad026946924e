"""From a task manifest to one SELECT that gives the label table (pkey, seed_time, label) of a split."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from graphlearn.database import quote, time_us
from graphlearn.database.connection import first_line
from graphlearn.errors import TaskError, UsageError, unknown_name
from graphlearn.tasks.manifest import TaskManifest
from graphlearn.tasks.times import duration_us, interval_text, time_text

if TYPE_CHECKING:
    from graphlearn.schema import Database

SPLITS = ("train", "val", "test")


class EmptySplitError(TaskError):
    """A split without labels."""


def entity_key(db: Database, manifest: TaskManifest) -> str:
    """The column of the entity table that predictions are keyed by.

    Raises:
        UnknownNameError: If there is no such table.
        TaskError: If its primary key is not one column.
    """
    table = db.schema[manifest.entity_table]
    if len(table.pkey) != 1:
        found = f"a key of {len(table.pkey)} columns ({', '.join(table.pkey)})" if table.pkey else "no primary key"
        raise TaskError(
            f"task '{manifest.name}': entity table '{table.name}' has {found}; predictions need a key of one column. "
            f"Set 'pkey' of '{table.name}' in the schema."
        )
    return str(table.pkey[0])


def check_hidden(db: Database, manifest: TaskManifest) -> None:
    """Raises :class:`UnknownNameError` if the task hides a column that is not there: a typing error would be a leak."""
    for table, column in manifest.remove_columns:
        if column not in db.columns(table):
            raise unknown_name(f"column to hide in table '{table}'", column, db.columns(table))


def anchor_times(db: Database, manifest: TaskManifest, split: str, val_time: int, test_time: int) -> np.ndarray:
    """Seed times of one split of a forecast task: int64 microseconds, ascending, one label window apart.

    Train steps back from ``val_time - delta`` to the first row of the database, so that no window passes ``val_time``.
    Validation starts at ``val_time``, test at ``test_time``; both stop after ``num_eval_timestamps`` anchors. A window
    of validation ends by ``test_time``, one of test by the last row of the database: labels of later anchors are not
    fully known (right censoring).

    Differs from RelBench, which refuses a validation split if no row lies between the end of its window and
    ``test_time``; where RelBench has anchors, these are the same.

    Raises:
        TaskError: If train has fewer than three anchors.
        EmptySplitError: If validation or test has none.
    """
    delta = _delta(manifest)
    first, last = time_range(db)
    if split == "train":
        times = np.arange(val_time - delta, first - 1, -delta, dtype=np.int64)[::-1]
        if len(times) < 3:
            raise TaskError(
                f"task '{manifest.name}': {len(times)} train anchors fit between the first row ({time_text(first)}) "
                f"and the start of validation ({time_text(val_time)}) in steps of {manifest.timedelta}; at least 3 are "
                f"needed. Take a shorter 'timedelta' or a later 'val_timestamp'."
            )
        return times
    start, end = (val_time, min(test_time, last)) if split == "val" else (test_time, last)
    times = start + delta * np.arange(manifest.num_eval_timestamps, dtype=np.int64)
    times = times[times + delta <= end]
    if not len(times):
        raise EmptySplitError(
            f"task '{manifest.name}': the {split} split is empty: a window of {manifest.timedelta} from "
            f"{time_text(start)} ends after {time_text(end)}, up to where the labels are known. "
            f"Take a shorter 'timedelta' or an earlier '{split}_timestamp'."
        )
    return times


def time_range(db: Database) -> tuple[int, int]:
    """Time of the first and of the last row of the database, microseconds UTC.

    Raises:
        TaskError: If no table has a time.
    """
    parts = [
        f"SELECT {_row_time(db, name)} AS us FROM main.{quote(name)}"
        for name, table in db.schema.tables.items()
        if table.time_col is not None
    ]
    if parts:
        first, last = db.rows(f"SELECT min(us), max(us) FROM ({' UNION ALL '.join(parts)})")[0]
        if first is not None:
            return int(first), int(last)
    raise TaskError(
        f"database '{db.schema.name}' has no row with a time, so nothing can be split into past and future. "
        "Name the time columns in the schema ('time_col')."
    )


def forecast_sql(db: Database, manifest: TaskManifest, split: str, val_time: int, test_time: int) -> str:
    """The SELECT of a forecast task: its own SQL in the surroundings that RelBench gives it.

    The manifest's SQL sees ``timestamps(timestamp)``, the anchors of the split; ``{timedelta}`` replaced by a text such
    as ``30 days 00:00:00``; and every table under its name: whole for test, and for train and validation only rows up
    to ``test_time``. Foreign keys to rows that are not there are NULL. Entities that are not known by ``test_time`` are
    dropped, whatever their keys look like (RelBench compares positions).

    Differs from RelBench: columns that the task hides from models are still there for its labels.

    Raises:
        UsageError: If the manifest's SQL is not exactly one SELECT that DuckDB accepts.
        UnknownNameError: If its result lacks one of the declared columns.
    """
    pkey = entity_key(db, manifest)
    times = anchor_times(db, manifest, split, val_time, test_time)
    until = None if split == "test" else test_time
    body = _one_select(db, manifest)
    # A name that does not occur is no table that is read; leaving it out keeps the text short.
    words = body.lower().replace('""', '"')
    named = [name for name in db.schema.tables if name.lower() in words and name.lower() != "timestamps"]
    tables = [_known_rows(db, name, until) for name in named]
    anchors = (
        f"SELECT unnest(generate_series(TIMESTAMP '{time_text(int(times[0]))}', "
        f"TIMESTAMP '{time_text(int(times[-1]))}', INTERVAL '{interval_text(_delta(manifest))}')) AS timestamp"
    )
    head = ",\n     ".join([f"timestamps AS MATERIALIZED ({anchors})", *(t for t in tables if t)])
    # A line of its own, because the SQL may end in a comment.
    body = f"(\n{body}\n)"
    types = _result_types(db, manifest, f"WITH {head}\nSELECT * FROM {body}")
    known = f"SELECT {quote(pkey)} FROM main.{quote(manifest.entity_table)}"
    known += _where_upto(db, manifest.entity_table, test_time)
    return (
        f"WITH {head}\n"
        f"SELECT {quote(manifest.entity_col or '')} AS pkey, "
        f"{seed_time(manifest, types)} AS seed_time, {plain_label(manifest, types)} AS label\n"
        f"FROM {body}\n"
        f"WHERE {quote(manifest.entity_col or '')} IN ({known})\n"
        "ORDER BY seed_time, pkey"
    )


def autocomplete_sql(db: Database, manifest: TaskManifest, split: str, val_time: int, test_time: int) -> str:
    """The SELECT of an autocomplete task: each row of the entity table at its own time, with the target as label.

    Train holds the rows up to and including ``val_time``, validation those up to and including ``test_time``, test the
    rest. Rows without a time or without a label are left out.

    Raises:
        UnknownNameError: If there is no such column.
        TaskError: If the table has no time, or the target is one of its keys or its time.
    """
    pkey = entity_key(db, manifest)
    table = db.schema[manifest.entity_table]
    target = manifest.target_col
    types = db.columns(table.name)
    if target not in types:
        raise unknown_name(f"column of table '{table.name}'", target, types)
    if table.time_col is None:
        raise TaskError(
            f"task '{manifest.name}': table '{table.name}' has no time column, so its rows cannot be split into past "
            "and future. Set 'time_col' in the schema."
        )
    if target in (pkey, table.time_col) or any(target in fkey.columns for fkey in table.fkeys):
        raise TaskError(
            f"task '{manifest.name}': '{table.name}.{target}' is a key or the time of its table; "
            "only a column that is neither can be completed."
        )
    time = _row_time(db, table.name)
    bounds = {
        "train": f"{time} <= {val_time}",
        "val": f"{time} > {val_time} AND {time} <= {test_time}",
        "test": f"{time} > {test_time}",
    }
    known = f"{quote(target)} IS NOT NULL"
    if types[target] in ("FLOAT", "DOUBLE"):
        known += f" AND NOT isnan({quote(target)})"
    return (
        f"SELECT {quote(pkey)} AS pkey, {time} AS seed_time, {plain_label(manifest, types)} AS label\n"
        f"FROM main.{quote(table.name)}\n"
        f"WHERE {bounds[split]} AND {known}\n"
        "ORDER BY seed_time, pkey"
    )


def run_sql(db: Database, manifest: TaskManifest, sql: str) -> pa.Table:
    """The result of a label query.

    Raises:
        UsageError: If DuckDB refuses it.
    """
    import duckdb

    try:
        return db.arrow(sql)
    except duckdb.Error as error:
        raise _refused(manifest, error) from error


def seed_time(manifest: TaskManifest, types: dict[str, str]) -> str:
    """SQL text of the time column as microseconds; ``types`` are the columns that are there."""
    column = manifest.time_col or ""
    try:
        return time_us(quote(column), types[column])
    except TypeError as error:
        raise TaskError(
            f"task '{manifest.name}': the time column '{column}' is {types[column]}; it must hold timestamps, "
            "dates or ISO 8601 text (numbers have no known unit)."
        ) from error


def plain_label(manifest: TaskManifest, types: dict[str, str]) -> str:
    """SQL text of the target column, as a type that Arrow has plain values for."""
    # Sums of integers are 128 bits wide and averages of decimals are decimals, for which Arrow has no plain numbers.
    column = quote(manifest.target_col)
    wide = types[manifest.target_col].startswith(("HUGEINT", "UHUGEINT", "DECIMAL"))
    return f"CAST({column} AS DOUBLE)" if wide else column


def _delta(manifest: TaskManifest) -> int:
    return duration_us(manifest.timedelta or "", "timedelta")


def _row_time(db: Database, table: str) -> str:
    time_col = db.schema[table].time_col or ""
    return time_us(quote(time_col), db.columns(table)[time_col])


def _where_upto(db: Database, table: str, until: int | None) -> str:
    timed = until is not None and db.schema[table].time_col is not None
    return f" WHERE {_row_time(db, table)} <= {until}" if timed else ""


def _known_rows(db: Database, name: str, until: int | None) -> str | None:
    """The table's rows up to ``until`` as a common table expression; None if that is the table as it is.

    A foreign key to a row that is not there becomes NULL, so that counting keys counts rows that exist.
    """
    keys = []
    for fkey in db.schema[name].fkeys:
        parent = db.schema[fkey.table]
        if len(fkey.columns) == len(parent.pkey) == 1:
            column = quote(fkey.columns[0])
            rows = f"SELECT {quote(parent.pkey[0])} FROM main.{quote(parent.name)}{_where_upto(db, parent.name, until)}"
            keys.append(f"CASE WHEN {column} IN ({rows}) THEN {column} END AS {column}")
    where = _where_upto(db, name, until)
    if not where and not keys:
        return None
    replace = f" REPLACE ({', '.join(keys)})" if keys else ""
    return f"{quote(name)} AS NOT MATERIALIZED (SELECT *{replace} FROM main.{quote(name)}{where})"


def _one_select(db: Database, manifest: TaskManifest) -> str:
    """The manifest's SQL without its semicolon, with the window filled in."""
    import duckdb

    sql = (manifest.sql or "").replace("{timedelta}", interval_text(_delta(manifest)))
    try:
        statements = db.con.extract_statements(sql)
    except duckdb.Error as error:
        raise _refused(manifest, error) from error
    kinds = [statement.type.name for statement in statements]
    if kinds != ["SELECT"]:
        found = " and ".join(kinds) or "nothing"
        raise UsageError(f"task '{manifest.name}': its SQL must be exactly one SELECT; found {found}.")
    # A semicolon may be followed by a comment and may stand inside text, so it is looked for among the tokens.
    text = sql.encode()
    ends = [start for start, _ in duckdb.tokenize(sql) if text[start : start + 1] == b";"]
    return text[: ends[0] if ends else None].decode().strip("\n")


def _result_types(db: Database, manifest: TaskManifest, sql: str) -> dict[str, str]:
    """The columns that the manifest's SQL gives, with their DuckDB types."""
    import duckdb

    try:
        described = db.con.sql(sql)
    except duckdb.Error as error:
        raise _refused(manifest, error) from error
    types = dict(zip(described.columns, map(str, described.types), strict=True))
    for column in (manifest.entity_col, manifest.time_col, manifest.target_col):
        if column not in types:
            raise unknown_name(f"result of the SQL of task '{manifest.name}' called", str(column), types)
    return types


def _refused(manifest: TaskManifest, error: Exception) -> UsageError:
    return UsageError(f"task '{manifest.name}': DuckDB refuses its SQL: {first_line(error)}.")
