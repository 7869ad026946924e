"""Three rows of the split, told in full: the highest prediction, the lowest, and one in the middle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from graphlearn.graph.keys import cell, rows_of
from graphlearn.predict.audit import Examined
from graphlearn.predict.audit_inputs import take
from graphlearn.predict.evaluate import Scored
from graphlearn.report import words
from graphlearn.sampling import TemporalNeighborSampler
from graphlearn.tasks.times import time_text
from graphlearn.training.scoring import seed_known

_CLASSES, _LETTERS = 3, 80
"""Most classes of a prediction that are named, and most letters of a value."""


@dataclass(frozen=True)
class Example:
    """One prediction.

    Attributes:
        which: ``highest``, ``typical`` or ``lowest``.
        entity: The primary key.
        at: The time that was predicted for.
        predicted: What was predicted, in words.
        came: What came, in words.
        columns: The columns of its row that the model may read, with their values.
        seen: Number of rows of each table that the model read for it.
    """

    which: str
    entity: str
    at: str
    predicted: str
    came: str
    columns: tuple[tuple[str, str], ...]
    seen: tuple[tuple[str, int], ...]


def examples(examined: Examined) -> tuple[Example, ...]:
    """The rows with the highest and the lowest prediction, and the one in the middle of all."""
    scored = examined.scored
    height = _height(scored)
    order = np.argsort(-height, kind="stable")
    chosen = {"highest": order[0], "typical": order[len(order) // 2], "lowest": order[-1]}
    rows = torch.tensor([int(row) for row in chosen.values()])
    seen = _seen(examined, rows)
    known = seed_known(scored.graph, take(scored.seeds, rows)).tolist()
    return tuple(
        Example(
            which=which,
            entity=str(scored.pkey[int(row)].as_py()),
            at=time_text(int(scored.seeds.seed_time[int(row)])),
            predicted=predicted_text(scored, int(row)),
            came=came_text(scored, int(row)),
            columns=_columns(examined, scored.pkey[int(row)].as_py()) if known[i] else (),
            seen=seen[i],
        )
        for i, (which, row) in enumerate(chosen.items())
    )


def predicted_text(scored: Scored, row: int) -> str:
    """A prediction in words."""
    said = scored.prediction[row]
    kind, classes = scored.task.task_type, scored.task.classes
    if kind == "binary_classification":
        return words.percent(float(said))
    if kind == "regression":
        return words.number(float(said))
    if kind == "multistep_regression":
        return ", ".join(words.number(float(value)) for value in said)
    first = np.argsort(-said, kind="stable")[:_CLASSES]
    return ", ".join(f"{classes[i]} ({words.percent(float(said[i]))})" for i in first)


def came_text(scored: Scored, row: int) -> str:
    """A label in words."""
    label = scored.label[row]
    kind, classes = scored.task.task_type, scored.task.classes
    if kind == "binary_classification":
        return "yes" if label else "no"
    if kind == "regression":
        return words.number(float(label))
    if kind == "multistep_regression":
        return ", ".join(words.number(float(value)) for value in label)
    if kind == "multiclass_classification":
        return str(classes[int(label)]) if label >= 0 else "a class that train did not have"
    return ", ".join(str(classes[i]) for i in np.flatnonzero(label)) or "none"


def _height(scored: Scored) -> np.ndarray:
    """What rows are put in order by: the prediction, the surest class, or the mean over classes or steps."""
    said = scored.prediction
    if said.ndim == 1:
        return said
    height: np.ndarray = said.max(axis=1) if scored.task.task_type == "multiclass_classification" else said.mean(axis=1)
    return height


def _columns(examined: Examined, key: object) -> tuple[tuple[str, str], ...]:
    task, db = examined.task, examined.db
    hidden = {column for table, column in task.remove_columns if table == task.entity_table}
    names = [name for name in db.schema[task.entity_table].stypes if name not in hidden]
    if not names:
        return ()
    found = db.rows(
        f"SELECT {', '.join(f'left(CAST({cell(name)} AS VARCHAR), {_LETTERS + 1})' for name in names)} "
        f"FROM {rows_of(task.entity_table)} AS t "
        f"WHERE CAST({cell(task.pkey_col)} AS VARCHAR) = CAST(? AS VARCHAR) LIMIT 1",
        [key],
    )
    return tuple(
        (name, words.UNKNOWN if value is None else words.clipped(value.removesuffix(" 00:00:00"), _LETTERS))
        for row in found
        for name, value in zip(names, row, strict=True)
    )


def _seen(examined: Examined, rows: Tensor) -> list[tuple[tuple[str, int], ...]]:
    """Per row how many rows of each table the network reads, besides the entity's own."""
    scored = examined.scored
    fan_out: Any = getattr(examined.run.model, "fan_out", None)
    if fan_out is None:
        return [()] * len(rows)
    seeds = take(scored.seeds, rows)
    sampler = TemporalNeighborSampler(scored.graph, fan_out, strategy="last")
    batch = sampler.sample(seeds.node_type, seeds.index, seeds.input_time, seed_time=seeds.seed_time)
    counts = {name: torch.bincount(batch[name].batch, minlength=len(rows)) for name in scored.graph.node_types}
    counts[seeds.node_type] -= 1
    return [tuple((name, int(count[i])) for name, count in counts.items() if count[i] > 0) for i in range(len(rows))]
