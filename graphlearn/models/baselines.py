"""What a model has to beat: a constant, the entity's own past labels, and trees on the entity's own columns."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import torch_frame
from torch_frame import TensorFrame

_OBJECTIVE = {
    "binary_classification": "binary",
    "multilabel_classification": "binary",
    "multiclass_classification": "multiclass",
    "regression": "mae",
    "multistep_regression": "mae",
}


@dataclass(frozen=True)
class Labels:
    """Labels as arrays.

    Attributes:
        entity: Row number of each label's entity, int64 ``[N]``.
        known_from: When its outcome is known (seed time + window), int64 ``[N]`` microseconds.
        value: As ``Task.encode`` gives it: ``[N]``, or ``[N, C]`` for multilabel.
    """

    entity: np.ndarray
    known_from: np.ndarray
    value: np.ndarray


def constant(task_type: str, train: np.ndarray, size: int, *, num_classes: int = 1) -> np.ndarray:
    """The median of the train labels, or the share of each class, for ``size`` rows."""
    if "regression" in task_type:
        return np.repeat(np.median(train, axis=0)[None], size, axis=0)
    shares = _columns(task_type, train, num_classes).mean(axis=0)
    return np.repeat(shares[None], size, axis=0) if "multi" in task_type else np.full(size, shares[0])


def entity_past(
    task_type: str,
    past: Labels,
    entity: np.ndarray,
    input_time: np.ndarray,
    *,
    fallback: np.ndarray,
    num_classes: int = 1,
) -> np.ndarray:
    """The mean of the entity's own labels whose outcome was known by ``input_time``.

    Args:
        task_type: Kind of task.
        past: All labels that may be known to some row.
        entity: Row number of the entity of each row to predict, ``[M]``.
        input_time: The newest time that each row may see, ``[M]``.
        fallback: What :func:`constant` says of each row, for entities of which nothing is known yet.
        num_classes: Number of classes.
    """
    if task_type == "multiclass_classification":
        known = past.value >= 0  # a class that train did not have cannot be predicted
        past = Labels(past.entity[known], past.known_from[known], past.value[known])
    values = _columns(task_type, past.value, num_classes)
    # One sorted key (entity, time) turns "this entity, up to that time" into two binary searches.
    times, rank = np.unique(np.concatenate([past.known_from, input_time]), return_inverse=True)
    span = len(times) + 1
    key = past.entity * span + rank[: len(past.entity)]
    order = np.argsort(key, kind="stable")
    # Summed within each entity: a difference of sums over all would carry the rounding of other entities' labels.
    total = pd.DataFrame(values[order]).groupby(past.entity[order]).cumsum().to_numpy()
    total = np.concatenate([np.zeros((1, values.shape[1])), total])
    start = np.searchsorted(key[order], entity * span, side="left")
    stop = np.searchsorted(key[order], entity * span + rank[len(past.entity) :], side="right")
    mean = total[stop] / np.maximum(stop - start, 1)[:, None]  # of an entity without any: replaced below
    mean = mean if "multi" in task_type else mean[:, 0]
    seen = stop > start
    return np.where(seen[:, None] if mean.ndim == 2 else seen, mean, fallback)


def entity_columns(
    task_type: str,
    train: tuple[np.ndarray, np.ndarray],
    val: tuple[np.ndarray, np.ndarray],
    rows: np.ndarray,
    *,
    num_classes: int = 1,
    seed: int = 0,
) -> np.ndarray:
    """LightGBM on a matrix of the entity's own columns, stopped early on validation.

    Args:
        task_type: Kind of task.
        train: Matrix ``[N, C]`` and labels.
        val: The same of validation.
        rows: Matrix of the rows to predict, ``[M, C]``.
        num_classes: Number of classes.
        seed: Of LightGBM.
    """
    if task_type in ("multilabel_classification", "multistep_regression"):
        single = "regression" if task_type == "multistep_regression" else "binary_classification"
        parts = [
            entity_columns(single, (train[0], train[1][:, c]), (val[0], val[1][:, c]), rows, seed=seed)
            for c in range(num_classes)
        ]
        return np.stack(parts, axis=1)
    train, val = _known(task_type, train), _known(task_type, val)
    if len(np.unique(train[1])) < 2:
        return constant(task_type, train[1], len(rows), num_classes=num_classes)
    settings = {
        "objective": _OBJECTIVE[task_type],
        "learning_rate": 0.05,
        "verbosity": -1,
        "seed": seed,
        "deterministic": True,
        "force_row_wise": True,
        **({"num_class": num_classes} if task_type == "multiclass_classification" else {}),
    }
    data = lightgbm.Dataset(train[0], train[1])
    stop: list[Callable[..., Any]] = [lightgbm.early_stopping(30, verbose=False)] if len(val[1]) else []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # LightGBM warns of constant columns, which are the user's business in `check`
        sets = [data.create_valid(val[0], val[1])] if stop else []
        trees = lightgbm.train(settings, data, num_boost_round=300, valid_sets=sets, callbacks=stop)
    return np.asarray(trees.predict(rows))


def feature_matrix(tf: TensorFrame) -> np.ndarray:
    """Numbers, codes of categories, and parts of dates as one float matrix; text and vectors are left out."""
    kinds = (torch_frame.numerical, torch_frame.categorical, torch_frame.timestamp)
    found = [tf.feat_dict[kind].flatten(1).float().cpu().numpy() for kind in kinds if kind in tf.feat_dict]
    return np.concatenate([np.zeros((tf.num_rows, 1), dtype=np.float32), *found], axis=1)


def _known(task_type: str, data: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    keep = data[1] >= 0 if task_type == "multiclass_classification" else np.ones(len(data[1]), dtype=bool)
    return data[0][keep], data[1][keep]


def _columns(task_type: str, value: np.ndarray, num_classes: int) -> np.ndarray:
    """Labels as float columns: one-hot for multiclass (a class that train did not have is no class)."""
    if task_type == "multiclass_classification":
        value = value[:, None] == np.arange(num_classes)
    columns: np.ndarray = value.reshape(len(value), -1 if len(value) else num_classes).astype(np.float64)
    return columns
