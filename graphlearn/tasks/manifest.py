"""What a task manifest says: the file that RelBench 3 reads, plus a few lines of ours that it skips."""

from __future__ import annotations

import enum
import inspect
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from graphlearn.errors import UsageError, unknown_name

KINDS = ("forecast", "autocomplete", "external")


class TaskType(enum.StrEnum):
    """What is predicted, and hence which loss and metrics apply; the values are RelBench's, but for ``MULTISTEP``."""

    BINARY = "binary_classification"
    REGRESSION = "regression"
    MULTICLASS = "multiclass_classification"
    MULTILABEL = "multilabel_classification"
    MULTISTEP = "multistep_regression"
    RECOMMENDATION = "recommendation"


GIVEN_TYPES = (TaskType.BINARY, TaskType.REGRESSION, TaskType.MULTICLASS, TaskType.MULTILABEL)
"""What labels that come without a manifest can be."""

_FILE_NAME = {"entity_table": "src_entity_table", "entity_col": "src_entity_col", "target_col": "dst_entity_col"}
"""What the file of a recommendation task calls the things that every task has."""
_OWN_NAME = {theirs: ours for ours, theirs in _FILE_NAME.items()}


@dataclass(frozen=True)
class TaskManifest:
    """A task as its file declares it; nothing has been checked against a database.

    Args:
        name: Name of the task.
        kind: ``forecast`` (SQL makes the labels), ``autocomplete`` (a column of the entity table is the label) or
            ``external`` (labels are stored).
        task_type: What is predicted.
        entity_table: Table of the rows that predictions are about.
        target_col: Column of the label.
        entity_col: Column of the labels that holds the entity's key; for autocomplete it follows from the schema.
        time_col: Column of the labels that holds the seed time; for autocomplete it follows from the schema.
        timedelta: Length of the label window, such as ``30 days``.
        num_eval_timestamps: Most anchors of validation and of test.
        remove_columns: (table, column) pairs that give the label away and must not be seen.
        description: One line.
        sql: Query of a forecast task, see :func:`graphlearn.tasks.labels.forecast_sql`.
        query: The predictive query that the task was made from (ours).
        val_timestamp: Start of validation if it is not that of the database (ours).
        test_timestamp: Start of test if it is not that of the database (ours).
        dst_entity_table: Table of the rows that a recommendation task ranks. Its file calls the entity ``src_entity``
            and the target column ``dst_entity_col``, as RelBench does.
        eval_k: How many rows a recommendation names.
    """

    name: str
    kind: str
    task_type: TaskType
    entity_table: str
    target_col: str
    entity_col: str | None = None
    time_col: str | None = None
    timedelta: str | None = None
    num_eval_timestamps: int = 1
    remove_columns: tuple[tuple[str, str], ...] = ()
    description: str | None = None
    sql: str | None = None
    query: str | None = None
    val_timestamp: str | None = None
    test_timestamp: str | None = None
    dst_entity_table: str | None = None
    eval_k: int | None = None

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: str = "task manifest") -> TaskManifest:
        """Reads what YAML gives; keys that are not known are skipped, as RelBench does.

        Args:
            values: The keys of the file.
            where: What to call the manifest in a message.

        Raises:
            UsageError: If a key is missing or has a value that means nothing.
        """
        known = {f.name for f in fields(cls)}
        ranks = values.get("task_type") == TaskType.RECOMMENDATION
        own = {_OWN_NAME.get(k, k): v for k, v in values.items()} if ranks else values
        given = {k: v for k, v in own.items() if k in known and v is not None}
        name = str(given.get("name", where))
        kind = str(given.get("kind", ""))
        if kind not in KINDS:
            raise UsageError(f"{where}: 'kind' must be one of {', '.join(KINDS)}, got {given.get('kind')!r}.")
        stored = (*GIVEN_TYPES, TaskType.RECOMMENDATION)
        types = [t.value for t in (TaskType if "query" in given else stored)]
        if given.get("task_type") not in types:
            raise UsageError(f"{where}: 'task_type' must be one of {', '.join(types)}, got {given.get('task_type')!r}.")
        needed = ["name", "entity_table", "target_col"]
        if kind != "autocomplete":
            needed += ["entity_col", "time_col"]
        if kind == "forecast":
            needed += ["timedelta", "sql"]
        if ranks:
            needed += ["dst_entity_table", "eval_k"]
        missing = [_FILE_NAME.get(key, key) if ranks else key for key in needed if not given.get(key)]
        if missing:
            raise UsageError(f"{where}: {kind} task '{name}' lacks {', '.join(repr(k) for k in missing)}.")
        given["task_type"] = TaskType(given["task_type"])
        given["remove_columns"] = _pairs(given.get("remove_columns", ()), where)
        evaluations = given.get("num_eval_timestamps", 1)
        if not isinstance(evaluations, int) or evaluations < 1:
            raise UsageError(f"{where}: 'num_eval_timestamps' must be a whole number >= 1, got {evaluations!r}.")
        if ranks and (not isinstance(given["eval_k"], int) or given["eval_k"] < 1):
            raise UsageError(f"{where}: 'eval_k' must be a whole number >= 1, got {given['eval_k']!r}.")
        for key in ("timedelta", "val_timestamp", "test_timestamp"):
            if key in given:
                given[key] = str(given[key])  # YAML reads an unquoted date as a date
        return cls(**given)

    @classmethod
    def load(cls, path: str | Path) -> TaskManifest:
        """Reads ``manifest.yaml``; ``path`` is the file or its folder.

        Raises:
            UsageError: If it cannot be read, or is no task manifest.
        """
        file = Path(path)
        file = file / "manifest.yaml" if file.is_dir() else file
        try:
            values = yaml.safe_load(file.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"cannot read the task manifest {file}: {error}.") from error
        except yaml.YAMLError as error:
            raise UsageError(f"{file} is not valid YAML: {error}.") from error
        if not isinstance(values, dict):
            raise UsageError(f"{file} must hold keys such as 'name' and 'kind', got {type(values).__name__}.")
        return cls.from_dict(values, str(file))

    def to_dict(self) -> dict[str, Any]:
        """The keys of the file, in RelBench's order; what is not set is left out."""
        out: dict[str, Any] = {}
        ranks = self.task_type is TaskType.RECOMMENDATION
        for f in fields(self):
            value = getattr(self, f.name)
            if value not in (None, ()) and not (f.name == "num_eval_timestamps" and value == 1):
                out[_FILE_NAME.get(f.name, f.name) if ranks else f.name] = value
        out["task_type"] = self.task_type.value
        if self.remove_columns:
            out["remove_columns"] = [list(pair) for pair in self.remove_columns]
        return out | {"manifest_version": 1}

    def to_yaml(self) -> str:
        """The text of the file; SQL is a block that can be read."""
        return yaml.dump(self.to_dict(), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=4096)


def task_names(folder: Path | None) -> list[str]:
    """Names of the tasks in a RelBench folder, sorted; none if there is no folder."""
    if folder is None or not (folder / "tasks").is_dir():
        return []
    return sorted(f.parent.name for f in (folder / "tasks").glob("*/manifest.yaml"))


def find_task(folder: Path | None, task: str | Path) -> Path:
    """The folder of a task: one of ``folder``/tasks by name, else a path to any task folder or its manifest.

    Raises:
        UnknownNameError: If there is neither.
    """
    path = Path(task)
    if folder is not None and (folder / "tasks" / path / "manifest.yaml").is_file():
        return folder / "tasks" / path
    if (path / "manifest.yaml").is_file():
        return path
    if path.name == "manifest.yaml" and path.is_file():
        return path.parent
    if path.is_dir():
        raise UsageError(f"the folder {path} holds no task: there is no manifest.yaml in it.")
    raise unknown_name("task", str(task), task_names(folder))


def _pairs(values: Any, where: str) -> tuple[tuple[str, str], ...]:
    if not isinstance(values, list | tuple) or any(not isinstance(v, list | tuple) or len(v) != 2 for v in values):
        raise UsageError(f"{where}: 'remove_columns' must be a list of [table, column] pairs, got {values!r}.")
    return tuple((str(table), str(column)) for table, column in values)


class _Dumper(yaml.SafeDumper):
    """Writes text of several lines as a block scalar."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    if "\n" not in text:
        return dumper.represent_scalar("tag:yaml.org,2002:str", text)
    # YAML has no block form for lines that end in spaces or for a first line that is indented.
    lines = "\n".join(line.rstrip() for line in inspect.cleandoc(text).splitlines())
    return dumper.represent_scalar("tag:yaml.org,2002:str", lines, style="|")


_Dumper.add_representer(str, _represent_text)
