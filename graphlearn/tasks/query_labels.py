"""The splits of a task that a predictive query asks: when its entities are asked about, and the SQL of their labels."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from graphlearn.database import quote, time_us
from graphlearn.errors import TaskError, UsageError
from graphlearn.tasks.labels import SPLITS, EmptySplitError, run_sql, time_range
from graphlearn.tasks.manifest import TaskManifest
from graphlearn.tasks.query_check import check_query
from graphlearn.tasks.query_checked import Checked, named_table, values
from graphlearn.tasks.query_sql import Anchors, cohort_sql, label_sql
from graphlearn.tasks.query_tree import Aggregation, Query
from graphlearn.tasks.query_windows import Offset
from graphlearn.tasks.times import duration_text, time_text

if TYPE_CHECKING:
    from graphlearn.schema import Database, Schema

_DAY = 86_400_000_000
_CENTURY = (-2_208_988_800_000_000, 4_102_444_800_000_000)
"""1900 and 2100 in microseconds: times outside are no events but stand for 'never' or 'unknown'."""
_SECOND = 1_000_000


@dataclass(frozen=True)
class QueryLabels:
    """A checked query with the anchors of its splits.

    Args:
        checked: The query.
        anchors: Of each split; without times if the split is empty.
        val_time: Start of validation, microseconds UTC.
        test_time: Start of test.
        manifest: The task that the query asks.
        step: Microseconds between two anchors.
        notes: What the user should know, in sentences.
    """

    checked: Checked
    anchors: dict[str, Anchors] = field(hash=False)
    val_time: int
    test_time: int
    manifest: TaskManifest
    step: int
    notes: tuple[str, ...]

    def sql(self, db: Database, split: str) -> str:
        """The SELECT of a split's labels.

        Raises:
            EmptySplitError: If the split has no anchor.
        """
        times = self.anchors[split].times
        if times is not None and not len(times):
            start = self.val_time if split == "val" else self.test_time
            raise EmptySplitError(
                f"task '{self.manifest.name}': the {split} split is empty: no window of "
                f"{_horizon(self.checked)} from {time_text(start)} on ends before the labels are known. Take a shorter "
                f"window or an earlier '{split}_timestamp'."
            )
        return label_sql(db, self.checked, self.anchors[split])


def query_cohort(db: Database, manifest: TaskManifest, at: int) -> pa.Table:
    """The entities that a task's query is about at ``at``, or each at its own time: columns pkey and seed_time."""
    checked = check_query(db, str(manifest.query))
    keys = [literal.value for literal in checked.query.keys]
    if keys:
        return pa.table({"pkey": keys, "seed_time": pa.nulls(len(keys), pa.int64())})
    anchors = Anchors() if checked.own_time else Anchors(np.array([at]))
    found = run_sql(db, manifest, cohort_sql(db, checked, anchors))
    if "missing" not in found.column_names:
        return found
    missing = found.filter(found["missing"])
    return (missing if missing.num_rows else found).drop_columns("missing")


def make_labels(
    db: Database,
    text: str | Query,
    *,
    val_time: int | None = None,
    test_time: int | None = None,
    eval_anchors: int | None = None,
) -> QueryLabels:
    """Checks a query and lays its anchors.

    An anchor is labelled only if its window ends by the last event of the target tables, or by AS OF. Train steps back
    from ``val_time`` less the window, validation forth from ``val_time`` and test from ``test_time``, so that no window
    reaches into the next split, whatever the step. If nothing says where the splits begin, a tenth of the anchors, at
    least one, is test and as many before it are validation.

    Args:
        db: The database.
        text: The query.
        val_time: Start of validation.
        test_time: Start of test.
        eval_anchors: Most anchors of validation and of test.

    Raises:
        QueryError: If the query means nothing, or nothing that this database can answer.
        UsageError: If one of ``val_time`` and ``test_time`` is given without the other.
        TaskError: If there are fewer than three train anchors.
    """
    checked = check_query(db, text)
    notes = list(checked.notes)
    if checked.own_time:
        val_time, test_time = _split_rows(db, checked, val_time, test_time)
        anchors = {
            "train": Anchors(upto=val_time),
            "val": Anchors(after=val_time, upto=test_time),
            "test": Anchors(after=test_time),
        }
        horizon, step = _SECOND, _SECOND
    elif checked.static:
        dated = any(table.time_col is not None for table in db.schema.tables.values())
        now = time_range(db)[1] if dated else 0
        val_time, test_time = now, now + 1
        tenths = {"train": (0, 7), "val": (8, 8), "test": (9, 9)}
        anchors = {split: Anchors(np.array([now]), share=tenths[split]) for split in SPLITS}
        horizon, step = _SECOND, _SECOND
        notes.append(
            f"'{checked.entity}' has no time: eight tenths of its rows are train, chosen by a hash of the key, and all "
            "see everything."
        )
    else:
        if (val_time is None) != (test_time is None):
            raise UsageError("one of val_timestamp and test_timestamp is given: give both, or neither.")
        laid = _Temporal(db, checked)
        if val_time is None or test_time is None:
            val_time, test_time = laid.default_splits()
        times = laid.splits(val_time, test_time, eval_anchors)
        notes += laid.notes
        anchors = {split: Anchors(times[split]) for split in SPLITS}
        horizon, step = _horizon(checked).longest(), checked.every.longest()
        eval_anchors = max(eval_anchors or 1, len(times["val"]), len(times["test"]))
    query = checked.query
    column = {"label": "label", "timestamp": "timestamp"}
    for name in column:
        while column[name] == checked.pkey:
            column[name] += "_"
    manifest = TaskManifest(
        name=re.sub(r"\W+", "-", str(query.target).lower()).strip("-")[:60],
        kind="external",
        task_type=checked.task_type,
        entity_table=checked.entity,
        entity_col=checked.pkey,
        target_col=column["label"],
        time_col=column["timestamp"],
        timedelta=duration_text(horizon),
        num_eval_timestamps=eval_anchors or 1,
        remove_columns=checked.hidden,
        query=str(query),
        val_timestamp=time_text(val_time),
        test_timestamp=time_text(test_time),
        dst_entity_table=ranked_table(db.schema, query),
        eval_k=query.output.number if query.output is not None and query.output.kind == "RANK" else None,
    )
    return QueryLabels(checked, anchors, val_time, test_time, manifest, step, tuple(notes))


def ranked_table(schema: Schema, query: Query) -> str | None:
    """The table whose rows a query with RANK orders; None of any other query."""
    if query.output is None or query.output.kind != "RANK":
        return None
    assert isinstance(query.target, Aggregation)
    return named_table(schema, query.target.column)


def _horizon(checked: Checked) -> Offset:
    """From an anchor to the end of its last window."""
    return checked.window.shifted(checked.steps - 1).end


class _Temporal:
    """Anchors of a query about what happens after them."""

    def __init__(self, db: Database, checked: Checked) -> None:
        self.checked, self.notes = checked, list[str]()
        self.horizon, self.step = _horizon(checked), checked.every
        target = [v for v in values(checked.query.target) if isinstance(v, Aggregation)]
        ranges = [_time_range(db, *checked.rows[v].time) for v in target]
        self.first = min(first for first, _ in ranges)
        self.last = max(last for _, last in ranges)
        # Without a row anywhere nothing is known, and nothing can be learned.
        self.beginning = time_range(db)[0] if checked.conditional else self.first
        if checked.as_of is not None:
            self.last = min(self.last, checked.as_of)
        where = [] if checked.query.where is None else list(values(checked.query.where))
        self.looks = [
            (rows.window.start, _time_range(db, *rows.time)[0])
            for rows in (checked.rows[v] for v in where if isinstance(v, Aggregation))
            if rows.window.start is not None
        ]

    def splits(self, val_time: int, test_time: int, most: int | None) -> dict[str, np.ndarray]:
        train = self._before(val_time)
        kept = train[self._well_formed(train)]
        if len(kept) < len(train) and len(kept):
            self.notes.append(
                f"{len(train) - len(kept):,} anchors before {time_text(int(kept[0]))} are left out: WHERE looks back "
                "from them to before the first row."
            )
        if len(kept) < 3:
            raise TaskError(
                f"{len(kept)} train anchors fit between the first event ({time_text(self.first)}) and the start of "
                f"validation ({time_text(val_time)}) in steps of {self.step}; at least 3 are needed. Take a shorter "
                "window, a smaller step (EVERY), or a later val_timestamp."
            )
        val = self._from(val_time, min(test_time, self.last), most)
        test = self._from(test_time, self.last, most)
        return {"train": kept, "val": val[self._well_formed(val)], "test": test[self._well_formed(test)]}

    def default_splits(self) -> tuple[int, int]:
        """A tenth of the anchors each for validation and for test, at the end of the data."""
        last = int(self.horizon.times(-1).after(np.array([self.last]))[0])
        if self.step.months or self.step.us % _DAY == 0:
            last = last // _DAY * _DAY
        times = self._back(last, self.first)
        times = times[self._well_formed(times)]
        ends = self.horizon.after(times)
        number = max(1, len(times) // 10)
        test = int(times[-number]) if len(times) >= number else last
        before = times[ends <= test]
        val = int(before[-number]) if len(before) >= number else int(self.horizon.times(-1).after(np.array([test]))[0])
        return val, test

    def _before(self, val_time: int) -> np.ndarray:
        """Train anchors: windows end by ``val_time``, and by the last event."""
        end = self.horizon.times(-1).after(np.array([val_time]))
        times = self._back(int(end[0]), self.first)
        return times[self.horizon.after(times) <= min(val_time, self.last)]

    def _back(self, last: int, first: int) -> np.ndarray:
        """Anchors from ``last`` back to the first event, ascending.

        An anchor before the first event has a window that is only partly known. It counts if entities without rows are
        left out anyway: then what is unknown makes no wrong zeros.
        """
        count = max(0, (last - first) // max(1, self._shortest(self.step))) + 2
        if self.step.months:
            times = np.array(
                [int(self.step.times(-k).after(np.array([last]))[0]) for k in range(count)], dtype=np.int64
            )
        else:
            times = last - self.step.us * np.arange(count, dtype=np.int64)
        return np.sort(times[(times >= self.beginning) & (self.horizon.after(times) > first)])

    def _from(self, start: int, end: int, most: int | None) -> np.ndarray:
        count = max(0, (end - start) // max(1, self._shortest(self.step))) + 1
        count = count if most is None else min(count, most)
        if self.step.months:
            times = np.array(
                [int(self.step.times(k).after(np.array([start]))[0]) for k in range(count)], dtype=np.int64
            )
        else:
            times = start + self.step.us * np.arange(count, dtype=np.int64)
        return times[self.horizon.after(times) <= end]

    def _well_formed(self, times: np.ndarray) -> np.ndarray:
        """Whether the look-back of WHERE begins at or after the first row that it could see."""
        fits = np.ones(len(times), dtype=bool)
        for start, first in self.looks:
            fits &= start.after(times) >= first
        return fits

    @staticmethod
    def _shortest(length: Offset) -> int:
        return length.us + length.months * 28 * _DAY


def _time_range(db: Database, table: str, column: str) -> tuple[int, int]:
    """First and last time of a table's rows, less what stands for 'never'."""
    us = time_us(quote(column), db.columns(table)[column])
    low, high = _CENTURY
    first, last = db.rows(
        f"SELECT min(us), max(us) FROM (SELECT {us} AS us FROM main.{quote(table)}) WHERE us > {low} AND us < {high} "
        "AND us <> 0"
    )[0]
    if first is None:
        raise TaskError(f"'{table}.{column}' holds no time between 1900 and 2100, so there is nothing to learn from.")
    return int(first), int(last)


def _split_rows(db: Database, checked: Checked, val_time: int | None, test_time: int | None) -> tuple[int, int]:
    """Start of validation and of test for rows at their own time: eight and nine tenths of them, if not given."""
    if val_time is not None and test_time is not None:
        return val_time, test_time
    column = str(db.schema[checked.entity].time_col)
    us = time_us(quote(column), db.columns(checked.entity)[column])
    val, test = db.rows(
        f"SELECT quantile_disc(us, 0.8), quantile_disc(us, 0.9) FROM (SELECT {us} AS us FROM "
        f"main.{quote(checked.entity)}) WHERE us IS NOT NULL"
    )[0]
    if val is None:
        raise TaskError(f"no row of '{checked.entity}' has a time, so none can be asked about at its own time.")
    return (val if val_time is None else val_time), (test if test_time is None else test_time)
