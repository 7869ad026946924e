"""Predictions as a table of a database or a file, each row with the run that made it and the time of scoring."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pyarrow as pa

from graphlearn.database.names import check_names
from graphlearn.database.target import Target, parse_target
from graphlearn.database.write import check_target, write_table
from graphlearn.database.write_duckdb import released
from graphlearn.errors import unknown_name

if TYPE_CHECKING:
    from graphlearn.predict.run import Run
    from graphlearn.schema import Database

KEY = ("pkey", "seed_time", "run")
"""The primary key: entities and times are those of the predictions; several runs may predict for the same."""


def check_place(to: str | Path, if_exists: str = "fail", db: Database | None = None) -> Target:
    """The place that ``to`` names; raises what :func:`write_predictions` could say of it before there is anything."""
    target = parse_target(to)
    with released(db, target):
        check_target(target, if_exists)
    return target


def write_predictions(
    predictions: pd.DataFrame, run: Run, to: str | Path, *, if_exists: str = "fail", db: Database | None = None
) -> Target:
    """Writes what :meth:`Run.predict` gave, with ``run`` (:attr:`Run.id`) and ``scored_at`` (UTC), all or nothing.

    The table's primary key is (pkey, seed_time, run). To ``append`` what is there already replaces it, so that the same
    call twice leaves the same rows, with the newer ``scored_at``.

    Args:
        predictions: Columns pkey, seed_time and what was predicted.
        run: The run that predicted.
        to: ``postgresql://user@host/database#schema.table``, ``mysql://…#table``, ``mariadb://…#table``,
            ``sqlite:///file.db#table``, ``file.duckdb#table``, ``file.parquet`` or ``file.csv``.
        if_exists: What to do if it exists: ``fail``, ``replace`` or ``append``.
        db: The database that was predicted for, if it may be the file that is written to.

    Returns:
        The place, whose text shows no password.

    Raises:
        UnknownNameError: If there is no such choice, or a column of ``predictions`` is missing.
        UsageError: If ``to`` names no place, or it exists.
        SchemaError: If ``append`` meets a table of another shape.
        StorageError: If it cannot be written; then the database is as it was.
    """
    for column in KEY[:2]:
        if column not in predictions:
            raise unknown_name("column in the predictions", column, map(str, predictions.columns))
    target = parse_target(to)
    scored = predictions.assign(run=run.id, scored_at=pd.Timestamp.now("UTC").tz_localize(None).as_unit("us"))
    if target.kind != "postgresql":
        check_names("column", scored.columns, "the table of predictions")
    table = pa.Table.from_pandas(scored, preserve_index=False)
    dtype = run.schema[run.task.entity_table].column(run.task.pkey_col).dtype
    decimal = re.fullmatch(r"DECIMAL\((\d+),(\d+)\)", dtype)
    if decimal:  # pandas knows only how many digits each number has
        keys = table["pkey"].cast(pa.decimal128(int(decimal[1]), int(decimal[2])))
        table = table.set_column(0, "pkey", keys)
    with released(db, target):
        write_table(target, table, key=KEY, if_exists=if_exists, types={"pkey": "UUID"} if dtype == "UUID" else {})
    return target
