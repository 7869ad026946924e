"""A task: what is asked about which rows at which times, and its labels."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa

from graphlearn.errors import TaskError, UsageError, unknown_name
from graphlearn.tasks.checks import check_entities, check_items, check_keys, check_labels
from graphlearn.tasks.classes import ClassValue, encode, find_classes
from graphlearn.tasks.given import (
    infer_task_type,
    read_labels,
    split_by_column,
    split_by_time,
    stored_labels,
)
from graphlearn.tasks.labels import SPLITS, autocomplete_sql, check_hidden, entity_key, forecast_sql, run_sql
from graphlearn.tasks.manifest import GIVEN_TYPES, TaskManifest, TaskType, find_task
from graphlearn.tasks.query import is_query, parse
from graphlearn.tasks.query_checked import as_of_time, is_static
from graphlearn.tasks.query_labels import QueryLabels, make_labels, query_cohort
from graphlearn.tasks.query_sql import cohort_sql
from graphlearn.tasks.store import save_task
from graphlearn.tasks.times import TimeLike, duration_text, duration_us, time_text, time_us

if TYPE_CHECKING:
    from graphlearn.schema import Database

REGIMES = ("frozen", "rolling")
_AUTOCOMPLETE_DELTA = 1_000_000  # one second, as in RelBench: the outcome is known right after the row's own time
_DEFAULT_DELTA = 86_400_000_000  # one day, as in RelBench, for stored labels that do not say how far they look ahead


class Task:
    """What is asked: entity, target, label window, splits.

    A label of entity ``e`` at seed time ``t`` is about ``(t, t + timedelta]``; what may be known is ``time <= t``.

    Args:
        db: What :func:`graphlearn.connect` gives.
        task: A predictive query (``"PREDICT …"``, see ``docs/query.md``), the name of a task in the ``tasks`` folder of
            a RelBench source, a path to a task folder (``manifest.yaml`` and, if labels are stored, ``train.parquet``,
            ``val.parquet``, ``test.parquet``), or a manifest.
        val_timestamp: Start of validation, if not that of the task or of the schema.
        test_timestamp: Start of test, likewise.
        eval_anchors: Most anchors of validation and of test of a query; by default all whose labels are known.
        regenerate: Make labels from the database even if they are stored.

    Attributes:
        db: The database, or None for a task that was read from a run without one; then there are no labels.
        name: Name of the task.
        kind: ``forecast``, ``autocomplete`` or ``external``.
        task_type: A :class:`TaskType`, a string.
        entity_table: Table of the rows that predictions are about.
        pkey_col: Its primary key.
        entity_col: The column of stored labels and submissions that holds this key.
        target_col: The column of the label.
        time_col: The column of stored labels that holds the seed time.
        timedelta: Length of the label window in microseconds: a label is known from ``seed_time + timedelta`` on.
            A day if stored labels do not say it.
        num_eval_timestamps: Most anchors of validation and of test.
        val_time, test_time: Start of validation and of test, microseconds UTC.
        remove_columns: (table, column) pairs that no model may see; for autocomplete with the target.
        completes: Whether the target is a column of the entity's own row, which is known but for that column.
        classes: Class values of multiclass and multilabel tasks, found on train; position is the class index.
        description: One line, or None.
        num_outputs: Number of values of a prediction: of classes, of steps, or 1.
        item_table: Table of the rows that a recommendation ranks, or None.
        top: How many rows it names, or None.
        sql: The manifest's SQL of a forecast task, or None.
        query: The predictive query that the task was made from, or None.
        step: Microseconds between two anchors; the label window, unless a query says otherwise.
        notes: Sentences about labels that were left out, or about what a query means.

    Raises:
        UnknownNameError: If there is no such task, table or column.
        UsageError: If the manifest is not valid.
        QueryError: If the query means nothing, or nothing that the database can answer.
        TaskError: If the database does not allow the task.
    """

    def __init__(
        self,
        db: Database,
        task: str | Path | Mapping[str, Any] | TaskManifest,
        *,
        val_timestamp: TimeLike | None = None,
        test_timestamp: TimeLike | None = None,
        eval_anchors: int | None = None,
        regenerate: bool = False,
    ) -> None:
        folder: Path | None = None
        if isinstance(task, str) and is_query(task):
            self._ask(db, task, val_timestamp, test_timestamp, eval_anchors)
            return
        if eval_anchors is not None:
            raise UsageError("'eval_anchors' is for queries; a manifest has 'num_eval_timestamps'.")
        if isinstance(task, TaskManifest):
            manifest = task
        elif isinstance(task, Mapping):
            manifest = TaskManifest.from_dict(task)
        elif hasattr(task, "to_dict"):  # the manifest class of relbench, without importing it
            manifest = TaskManifest.from_dict(task.to_dict())
        else:
            folder = find_task(db.folder, task)
            manifest = TaskManifest.load(folder)
        if manifest.query is not None and (regenerate or folder is None):
            given = (val_timestamp or manifest.val_timestamp, test_timestamp or manifest.test_timestamp)
            self._ask(db, manifest.query, *given, manifest.num_eval_timestamps, name=manifest.name)
            return
        if regenerate and manifest.kind == "external":
            raise UsageError(f"task '{manifest.name}' is external: its labels are stored and cannot be made again.")
        val_time = _first_time("val_timestamp", val_timestamp, manifest.val_timestamp, db.schema.val_timestamp)
        test_time = _first_time("test_timestamp", test_timestamp, manifest.test_timestamp, db.schema.test_timestamp)
        if val_timestamp is not None or test_timestamp is not None:
            manifest = replace(manifest, val_timestamp=time_text(val_time), test_timestamp=time_text(test_time))
        self._set(db, manifest, val_time, test_time, None if regenerate else folder)
        self.classes: tuple[ClassValue, ...] = self._train_classes()

    def _ask(
        self,
        db: Database,
        text: str,
        val_timestamp: TimeLike | None,
        test_timestamp: TimeLike | None,
        eval_anchors: int | None,
        *,
        name: str | None = None,
    ) -> None:
        """Makes this the task of a query."""
        val_time, test_time = (
            None if given is None and declared is None else _first_time(what, given, declared)
            for what, given, declared in (
                ("val_timestamp", val_timestamp, db.schema.val_timestamp),
                ("test_timestamp", test_timestamp, db.schema.test_timestamp),
            )
        )
        if eval_anchors is not None and eval_anchors < 1:
            raise UsageError(f"'eval_anchors' must be at least 1, got {eval_anchors}.")
        asked = make_labels(db, text, val_time=val_time, test_time=test_time, eval_anchors=eval_anchors)
        manifest = asked.manifest if name is None else replace(asked.manifest, name=name)
        self._set(db, manifest, asked.val_time, asked.test_time, None, asked=asked)
        self.classes = self._train_classes()

    def _set(
        self,
        db: Database | None,
        manifest: TaskManifest,
        val_time: int,
        test_time: int,
        folder: Path | None,
        given: dict[str, pa.Table] | None = None,
        *,
        asked: QueryLabels | None = None,
    ) -> None:
        """Everything but the classes."""
        self.db = db
        self._given = given
        self._folder = folder
        self._asked = asked
        self.query = manifest.query
        self.notes: tuple[str, ...] = () if asked is None else asked.notes
        self.classes = ()
        self.name, self.kind, self.task_type = manifest.name, manifest.kind, manifest.task_type
        self.item_table, self.top = manifest.dst_entity_table, manifest.eval_k
        self.entity_table, self.target_col = manifest.entity_table, manifest.target_col
        self.description, self.sql = manifest.description, manifest.sql
        self.num_eval_timestamps = manifest.num_eval_timestamps
        self.val_time, self.test_time = val_time, test_time
        self.remove_columns = manifest.remove_columns
        if db is not None:
            self.pkey_col = entity_key(db, manifest)
            if self.item_table is not None:
                check_items(db, manifest)
            check_hidden(db, manifest)
            if self.kind == "autocomplete":
                manifest = replace(manifest, entity_col=self.pkey_col, time_col=db.schema[self.entity_table].time_col)
        if self.kind == "autocomplete":
            self.timedelta = _AUTOCOMPLETE_DELTA
            self.remove_columns += ((self.entity_table, self.target_col),)
        else:
            self.timedelta = duration_us(manifest.timedelta, "timedelta") if manifest.timedelta else _DEFAULT_DELTA
        self.step = self.timedelta if asked is None else asked.step
        self.completes = self.kind == "autocomplete" or (self.query is not None and is_static(parse(self.query)))
        self.entity_col, self.time_col = manifest.entity_col or "", manifest.time_col or ""
        self.manifest = manifest
        if val_time >= test_time:
            raise UsageError(
                f"task '{self.name}': validation must start before test, got val_timestamp {time_text(val_time)} and "
                f"test_timestamp {time_text(test_time)}."
            )
        if self.kind == "forecast" and test_time - val_time < self.timedelta:
            raise TaskError(
                f"task '{self.name}': a label window of {duration_text(self.timedelta)} does not fit between "
                f"validation ({time_text(val_time)}) and test ({time_text(test_time)}). Take a shorter 'timedelta' or "
                "an earlier 'val_timestamp'."
            )

    @classmethod
    def from_labels(
        cls,
        db: Database,
        labels: Any,
        *,
        entity_table: str,
        time_col: str,
        target_col: str,
        entity_col: str | None = None,
        task_type: str | None = None,
        timedelta: str | int | None = None,
        val_timestamp: TimeLike | None = None,
        test_timestamp: TimeLike | None = None,
        remove_columns: tuple[tuple[str, str], ...] = (),
        name: str | None = None,
    ) -> Task:
        """A task from a label table of the user's own.

        A column ``split`` of it (train, val, test) says which row is in which split; without one, validation starts at
        ``val_timestamp`` and test at ``test_timestamp``. If ``timedelta`` is given, rows whose window reaches into the
        next split are then left out, and :attr:`notes` says how many.

        Args:
            db: The database that the entities are in.
            labels: A pandas, Polars or Arrow table, or a path to a Parquet or CSV file.
            entity_table: Table of the rows that the labels are about.
            time_col: Column of ``labels``: the time up to which things may be known for this label.
            target_col: Column of ``labels``: the label.
            entity_col: Column of ``labels``: the key of the entity; by default named as the table's primary key.
            task_type: One of :class:`TaskType`; by default true/false and 0/1 are binary, other numbers regression,
                text multiclass, lists multilabel.
            timedelta: How far the label looks ahead of its time, such as ``"30 days"``. Give it if that is more than a
                day: past labels count as known from then on.
            val_timestamp: Start of validation; by default that of the schema, or the first row of split ``val``.
            test_timestamp: Start of test, likewise.
            remove_columns: (table, column) pairs that give the label away.
            name: Name of the task; by default that of the target column.
        """
        key = db.schema[entity_table].pkey
        delta = None if timedelta is None else duration_us(timedelta, "timedelta")
        types = [t.value for t in GIVEN_TYPES]
        if task_type is not None and task_type not in types:
            raise unknown_name("task type", task_type, types)
        manifest = TaskManifest(
            name=name or target_col,
            kind="external",
            task_type=TaskType(task_type or TaskType.REGRESSION),
            entity_table=entity_table,
            entity_col=entity_col or (key[0] if key else ""),
            time_col=time_col,
            target_col=target_col,
            timedelta=None if delta is None else duration_text(delta),
            remove_columns=tuple(remove_columns),
        )
        entity_key(db, manifest)
        rows = read_labels(labels, manifest)
        check_keys(rows, f"task '{manifest.name}'")
        if task_type is None:
            manifest = replace(manifest, task_type=infer_task_type(rows["label"]))
        splits = split_by_column(rows) if "split" in rows.column_names else None
        val_time = _first_time("val_timestamp", val_timestamp, db.schema.val_timestamp, _first_seed(splits, "val"))
        test_time = _first_time("test_timestamp", test_timestamp, db.schema.test_timestamp, _first_seed(splits, "test"))
        left_out: dict[str, int] = {}
        if splits is None:
            splits, left_out = split_by_time(rows, val_time, test_time, delta)
        manifest = replace(manifest, val_timestamp=time_text(val_time), test_timestamp=time_text(test_time))
        task = cls.__new__(cls)
        task._set(db, manifest, val_time, test_time, None, splits)
        task.notes = tuple(
            f"{count:,} labels left out of {split}: their window of {manifest.timedelta} reaches into the next split."
            for split, count in left_out.items()
            if count
        )
        task.classes = task._train_classes()
        return task

    def with_labels(self, splits: Mapping[str, pa.Table], *, val_time: int, test_time: int) -> Task:
        """The same question with other labels and splits, such as those that were known at an earlier time.

        Args:
            splits: For train, val and test the columns pkey, seed_time (int64 microseconds) and label.
            val_time: Start of validation, microseconds UTC.
            test_time: Start of test.
        """
        task = copy.copy(self)
        manifest = replace(self.manifest, val_timestamp=time_text(val_time), test_timestamp=time_text(test_time))
        task.manifest, task.val_time, task.test_time = manifest, val_time, test_time
        task._given, task._folder, task._asked = dict(splits), None, None
        task.notes = ()
        task.classes = task._train_classes()
        return task

    def __repr__(self) -> str:
        return f"Task({self.name!r}, {self.task_type}, {self.entity_table}.{self.pkey_col} -> {self.target_col})"

    @property
    def num_outputs(self) -> int:
        output = None if self.query is None else parse(self.query).output
        if self.task_type is TaskType.MULTISTEP and output is not None:
            return output.number
        return max(len(self.classes), 1)

    @property
    def labels_given(self) -> bool:
        """Whether the labels were given as a table, so that only this object has them."""
        return self._given is not None

    def labels(self, split: str) -> pd.DataFrame:
        """The labels of ``train``, ``val`` or ``test``: columns pkey, seed_time (UTC, without an offset), label.

        Sorted by (seed_time, pkey), except for stored test labels, which keep their order.
        """
        frame: pd.DataFrame = self.label_table(split).to_pandas()
        frame["seed_time"] = pd.to_datetime(frame["seed_time"], unit="us").astype("datetime64[us]")
        return frame

    def label_table(self, split: str) -> pa.Table:
        """The same as :meth:`labels` with seed_time as int64 microseconds UTC. Nothing is kept: hold on to it.

        Raises:
            UnknownNameError: If there is no such split.
            TaskError: If the split is empty, or its labels are not usable; the message says which and why.
        """
        db = self._need_db(split)
        table = self._stored(split)
        if table is None:
            # What SQL gives is sorted, and about entities that exist.
            table = run_sql(db, self.manifest, self.label_sql(split))
        else:
            table = check_entities(table, db, self.manifest, self.pkey_col, split)
            if split != "test" or self._given is not None:
                table = table.sort_by([("seed_time", "ascending"), ("pkey", "ascending")])
        return check_labels(table, self.manifest, split)

    def label_sql(self, split: str) -> str:
        """The SELECT that makes the labels of a split; it runs on ``db.con``.

        Raises:
            UsageError: If the task is external: its labels are stored.
        """
        db = self._need_db(split)
        if self._asked is not None:
            return self._asked.sql(db, split)
        if self.kind == "external":
            raise UsageError(f"task '{self.name}' is external: no SQL makes its labels.")
        make = forecast_sql if self.kind == "forecast" else autocomplete_sql
        return make(db, self.manifest, split, self.val_time, self.test_time)

    def targets(self, split: str) -> tuple[np.ndarray, list[ClassValue]]:
        """The labels as numbers, in the order of :meth:`labels`, and the distinct classes that train did not have.

        Returns:
            binary: ``[N]`` int64, 0 or 1; regression: ``[N]`` float64; multiclass: ``[N]`` int64, position in
            :attr:`classes` or -1 for a class that train did not have; multilabel: ``[N, len(classes)]`` float32.
        """
        return self.encode(self.label_table(split))

    def encode(self, table: pa.Table) -> tuple[np.ndarray, list[ClassValue]]:
        """:meth:`targets` of a label table that is already at hand."""
        return encode(table["label"], self.task_type, self.classes)

    def cut(self, split: str, regime: str) -> int | None:
        """The newest row time that any row of this split may see, microseconds UTC; None: each its own seed time.

        Rolling has no cut. Frozen cuts test at ``test_time``, validation and train at ``val_time``.
        """
        if split not in SPLITS:
            raise unknown_name("split", split, SPLITS)
        if regime not in REGIMES:
            raise unknown_name("regime", regime, REGIMES)
        if regime == "rolling":
            return None
        return self.test_time if split == "test" else self.val_time

    def to_dict(self) -> dict[str, Any]:
        """What :meth:`from_dict` needs, as JSON: everything but the labels."""
        return {
            "manifest": self.manifest.to_dict(),
            "pkey_col": self.pkey_col,
            "val_time": self.val_time,
            "test_time": self.test_time,
            "classes": list(self.classes),
            "folder": None if self._folder is None else str(self._folder.resolve()),
        }

    @classmethod
    def from_dict(cls, db: Database | None, values: Mapping[str, Any]) -> Task:
        """The task that :meth:`to_dict` described; it reads no labels.

        Stored labels are found again if their folder still exists, or if ``db`` is a RelBench folder with a task of
        this name. Without a database everything works except labels.
        """
        manifest = TaskManifest.from_dict(values["manifest"], "task of the run")
        folder = Path(values["folder"]) if values.get("folder") else None
        if folder is not None and not (folder / "manifest.yaml").is_file():
            folder = None
        if folder is None and db is not None and db.folder is not None:
            candidate = db.folder / "tasks" / manifest.name
            folder = candidate if (candidate / "manifest.yaml").is_file() else None
        task = cls.__new__(cls)
        task.pkey_col = values["pkey_col"]
        val_time, test_time = values["val_time"], values["test_time"]
        asked = None
        if manifest.query is not None and folder is None and db is not None:
            most = manifest.num_eval_timestamps
            asked = make_labels(db, manifest.query, val_time=val_time, test_time=test_time, eval_anchors=most)
        task._set(db, manifest, val_time, test_time, folder, asked=asked)
        task.classes = tuple(values["classes"])
        return task

    def cohort(self, at: int | None = None, db: Database | None = None) -> pa.Table | None:
        """The entities that a query asks about at a time: columns pkey and seed_time, sorted; None without a query.

        Keys that the query names are all there; otherwise those for which WHERE holds. ASSUMING is not looked at. A
        query that completes a column is about the rows where it is missing, or about all of them if it never is.

        Args:
            at: Microseconds UTC; by default the start of test. Rows that are asked about at their own time need none.
            db: The database, by default the task's own; it needs no labels.
        """
        if self.query is None:
            return None
        db = db or self._need_db("test")
        return query_cohort(db, self.manifest, self.test_time if at is None else at)

    def cohort_size(self, split: str) -> int | None:
        """Number of (entity, anchor) pairs of a split for which a query's WHERE holds, labelled or not."""
        if self._asked is None:
            return None
        db = self._need_db(split)
        sql = cohort_sql(db, self._asked.checked, self._asked.anchors[split])
        return int(db.rows(f"SELECT count(*) FROM ({sql})")[0][0])

    @property
    def as_of(self) -> int | None:
        """When a query with AS OF asks to predict, microseconds UTC."""
        return None if self.query is None else as_of_time(parse(self.query))

    def save(self, folder: str | Path, *, force: bool = False) -> Path:
        """Writes ``manifest.yaml`` and the labels as a RelBench 3 task folder; see :func:`save_task`."""
        return save_task(self, folder, force=force)

    def _stored(self, split: str) -> pa.Table | None:
        """The labels of a split that need not be made, or None."""
        if self._given is not None:
            return self._given[split]
        if self._asked is not None:
            return None
        found = None if self._folder is None else stored_labels(self._folder, self.manifest, split)
        if found is None and self.kind == "external":
            where = "they were given as a table" if self._folder is None else f"{self._folder} has no {split}.parquet"
            raise TaskError(
                f"task '{self.name}': there are no stored labels for the {split} split: {where}. "
                "Make the task from its label table again."
            )
        return found

    def _train_classes(self) -> tuple[ClassValue, ...]:
        if self.task_type not in (TaskType.MULTICLASS, TaskType.MULTILABEL):
            return ()
        return find_classes(self.label_table("train")["label"], self.task_type)

    def _need_db(self, split: str) -> Database:
        if split not in SPLITS:
            raise unknown_name("split", split, SPLITS)
        if self.db is None:
            raise UsageError(f"task '{self.name}' has no database to take labels from: pass one.")
        return self.db


def _first_time(name: str, *candidates: TimeLike | None) -> int:
    """The first candidate that is given, as microseconds UTC."""
    for value in candidates:
        if value is not None:
            return time_us(value, name)
    raise UsageError(f"nothing says where the splits begin: give '{name}', or set it in the schema.")


def _first_seed(splits: dict[str, pa.Table] | None, split: str) -> int | None:
    if splits is None or not splits[split].num_rows:
        return None
    import pyarrow.compute as pc

    first: int | None = pc.min(splits[split]["seed_time"]).as_py()
    return first
