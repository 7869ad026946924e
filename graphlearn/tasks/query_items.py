"""What a query that ranks knows of its items: which may be named at a time, and which a source has had."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from graphlearn.database import quote
from graphlearn.errors import UsageError
from graphlearn.tasks.labels import run_sql
from graphlearn.tasks.query import parse
from graphlearn.tasks.query_check import check_query
from graphlearn.tasks.query_sql import Anchors, cohort_sql, label_sql
from graphlearn.tasks.query_tree import Aggregation, Column, Window
from graphlearn.tasks.query_windows import Bounds, offset

if TYPE_CHECKING:
    from graphlearn.schema import Database
    from graphlearn.tasks.task import Task


def items_where(db: Database, task: Task, condition: str, at: int) -> pa.ChunkedArray:
    """The keys of the items that exist at a time and for which a condition holds.

    Args:
        db: The database.
        task: A task that ranks.
        condition: As after WHERE: about columns of the item table or of tables that it refers to, or about what
            happened before, such as ``products.list_price < 20 AND COUNT(order_items.*, -30, 0, days) > 0``.
        at: Microseconds UTC.

    Raises:
        QueryError: If the condition means nothing.
        UsageError: If no table with a time refers to the item table.
    """
    table = db.schema[str(task.item_table)]
    naming = next(
        (
            Column(child.name, key.columns[0])
            for child in db.schema.tables.values()
            for key in child.fkeys
            if key.table == table.name and child.time_col is not None and len(key.columns) == 1
        ),
        None,
    )
    if naming is None:
        raise UsageError(
            f"a condition on '{table.name}' needs a table with a time that refers to it; there is none. Leave it out."
        )
    rows = Column(naming.table, "*", star=True)
    key = Column(table.name, table.pkey[0])
    head = f"PREDICT COUNT({rows}, 0, 1, days) FOR EACH {key} WHERE "
    text = f"{head}{condition} VIA {naming} -> {quote(table.name)}"
    checked = check_query(db, parse(text))
    return run_sql(db, task.manifest, cohort_sql(db, checked, Anchors(np.array([at]))))["pkey"]


def past_items(db: Database, task: Task, at: int) -> pa.Table:
    """The items that the target of a query lists for each source up to a time: columns pkey and label, a list.

    Raises:
        UsageError: If the task was not asked as a query.
    """
    if task.query is None:
        raise UsageError(
            f"task '{task.name}' is no query, so it is not known which rows of '{task.item_table}' a source has had."
        )
    checked = check_query(db, task.query)
    target = checked.query.target
    assert isinstance(target, Aggregation)
    past = replace(target, window=Window(None, 0.0))
    until = Bounds(None, offset(0.0, "DAYS"))
    query = replace(checked.query, target=past, where=None, assuming=None)
    rows = {past: replace(checked.rows[target], window=until)}
    sql = label_sql(db, replace(checked, query=query, rows=rows, window=until), Anchors(np.array([at])))
    return run_sql(db, task.manifest, sql).select(["pkey", "label"])
