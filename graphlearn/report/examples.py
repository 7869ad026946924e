"""Three rows of the split, told in full: the highest prediction, the lowest, and one in the middle."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from graphlearn.predict.audit import Examined
from graphlearn.predict.evaluate import Scored
from graphlearn.predict.explain import Explainer
from graphlearn.predict.explanation import Explanation
from graphlearn.report import words
from graphlearn.tasks.times import time_text

_CLASSES, _ROWS = 3, 5
"""Most classes of a prediction that are named, and most rows of each direction."""


@dataclass(frozen=True)
class Example:
    """One prediction.

    Attributes:
        which: ``highest``, ``typical`` or ``lowest``.
        entity: The primary key.
        at: The time that was predicted for.
        predicted: What was predicted, in words.
        came: What came, in words.
        why: What moved it, with all rows up to that time in sight.
    """

    which: str
    entity: str
    at: str
    predicted: str
    came: str
    why: Explanation


def examples(examined: Examined) -> tuple[Example, ...]:
    """The rows with the highest and the lowest prediction, and the one in the middle of all."""
    scored, explainer = examined.scored, Explainer(examined.run, examined.db)
    order = np.argsort(-_height(scored), kind="stable")
    chosen = {"highest": order[0], "typical": order[len(order) // 2], "lowest": order[-1]}
    return tuple(_example(scored, explainer, which, int(row)) for which, row in chosen.items())


def _example(scored: Scored, explainer: Explainer, which: str, row: int) -> Example:
    key, time = scored.pkey[row].as_py(), int(scored.seeds.seed_time[row])
    why = explainer.explain(key, at=None if scored.task.completes else time, top=_ROWS)
    return Example(which, str(key), time_text(time), predicted_text(scored, row), came_text(scored, row), why)


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
