"""Scores of each task type, and how sure they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import sklearn.metrics as skm

from graphlearn.errors import UsageError, first_three, unknown_name
from graphlearn.tasks.manifest import TaskType
from graphlearn.tasks.ranking import RANKING_METRICS
from graphlearn.tasks.resample import weighted

METRICS: dict[TaskType, dict[str, bool]] = {
    TaskType.BINARY: {"auroc": True, "average_precision": True, "accuracy": True, "f1": True},
    TaskType.REGRESSION: {"mae": False, "rmse": False, "r2": True},
    TaskType.MULTICLASS: {"accuracy": True, "macro_f1": True, "mrr": True, "log_loss": False},
    TaskType.MULTILABEL: {"macro_auprc": True, "macro_auroc": True, "macro_f1": True},
    TaskType.MULTISTEP: {"mae": False, "rmse": False, "r2": True},
}
"""Metrics of each task type and whether higher is better; the first is the one that models are chosen by. Rankings have
their own, see :mod:`graphlearn.tasks.ranking`."""

CHUNK = 2**20
"""Weights that are made at a time: 8 MiB, which stay near the processor."""


@dataclass(frozen=True)
class Interval:
    """A bootstrap interval; unpacks as ``low, high = interval``.

    Args:
        low: Lower end.
        high: Upper end.
        dropped: Resamples left out because the metric has no value for them (one class only).
    """

    low: float
    high: float
    dropped: int

    def __iter__(self) -> Iterator[float]:
        return iter((self.low, self.high))


def metrics_for(task_type: str) -> tuple[str, ...]:
    """Names of the metrics of a task type, the primary one first."""
    return RANKING_METRICS if task_type == TaskType.RECOMMENDATION else tuple(METRICS[_task_type(task_type)])


def primary_metric(task_type: str) -> tuple[str, bool]:
    """The metric that models of a task type are chosen by, and whether higher is better."""
    if task_type == TaskType.RECOMMENDATION:
        return RANKING_METRICS[0], True
    return next(iter(METRICS[_task_type(task_type)].items()))


def score(
    task_type: str,
    y_true: Sequence[object] | np.ndarray,
    y_pred: np.ndarray,
    *,
    classes: Sequence[object] | None = None,
) -> dict[str, float]:
    r"""All metrics of a task type.

    A class that train did not have (index -1) counts as a wrong answer for accuracy and macro F1, as rank infinity for
    MRR, and not at all for log loss. The reciprocal rank is that of the true class among the scores of a row; classes
    that share a score share the mean of their ranks. Classes without a positive or without a negative row are left out
    of macro AUROC, those without a positive one out of macro AUPRC. A metric without a value is NaN. Metrics of several
    steps are means over the steps; ``mae_1``, ``mae_2``, … are those of each.

    Args:
        task_type: One of :class:`TaskType`.
        y_true: As :meth:`Task.targets` gives it; for multiclass with ``classes`` the class values themselves.
        y_pred: ``[N]`` probability of 1, or ``[N]`` number; ``[N, C]`` probabilities for multiclass (rows sum to 1)
            and multilabel.
        classes: Class values of a multiclass task, in the order of the columns of ``y_pred``.

    Raises:
        UsageError: If shapes do not fit, or a prediction is NaN or infinite.
    """
    kind = _task_type(task_type)
    true, pred = _checked(kind, y_true, y_pred, classes)
    out = _SCORES[kind](true, pred)
    return {name: float(value) for name, value in out.items()}


def bootstrap(
    task_type: str,
    y_true: Sequence[object] | np.ndarray,
    y_pred: np.ndarray,
    *,
    metric: str,
    seed: int,
    repeats: int = 1000,
    groups: np.ndarray | None = None,
    level: float = 0.95,
    classes: Sequence[object] | None = None,
) -> Interval:
    """The percentile interval of a metric over resamples with replacement.

    Cost: ``O(N log N + repeats * N)`` time, ``O(N)`` memory.

    Args:
        task_type: One of :class:`TaskType`.
        y_true: As for :func:`score`.
        y_pred: As for :func:`score`.
        metric: One of :func:`metrics_for`.
        seed: Seed of the resamples: same seed, same interval.
        repeats: Number of resamples.
        groups: ``[N]`` entity of each row; then entities are resampled, each with all its rows. Rows of one entity are
            alike, so resampling them one by one gives an interval that is too narrow.
        level: Share of the resamples inside the interval.
        classes: As for :func:`score`.

    Raises:
        UnknownNameError: If the task type has no such metric.
        UsageError: As for :func:`score`; or if the metric has no value in any resample.
    """
    kind = _task_type(task_type)
    if metric not in METRICS[kind]:
        raise unknown_name(f"metric of {kind}", metric, METRICS[kind])
    if repeats < 1 or not 0 < level < 1:
        raise UsageError(f"'repeats' must be >= 1 and 'level' between 0 and 1, got {repeats} and {level}.")
    true, pred = _checked(kind, y_true, y_pred, classes)
    if groups is None:
        unit = np.arange(len(true))
    elif len(groups) != len(true):
        raise UsageError(f"'groups' must have one value for each of the {len(true):,} rows, got {len(groups):,}.")
    else:
        unit = np.unique(np.asarray(groups), return_inverse=True)[1]
    of_weights = weighted(kind, metric, true, pred)
    generator = np.random.default_rng(seed)
    units = int(unit.max()) + 1
    chunk = max(1, CHUNK // len(true))
    values = []
    for start in range(0, repeats, chunk):
        count = min(chunk, repeats - start)
        drawn = generator.integers(units, size=(count, units))
        drawn += np.arange(count)[:, None] * units
        times_drawn = np.bincount(drawn.ravel(), minlength=count * units).reshape(count, units)
        values.append(of_weights(times_drawn[:, unit].astype(np.float64)))
    found = np.concatenate(values)
    found = found[~np.isnan(found)]
    if not len(found):
        raise UsageError(f"{metric} has no value in any of {repeats} resamples: the labels hold one class only.")
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high), repeats - len(found))


def _task_type(name: str) -> TaskType:
    types = [t.value for t in METRICS]
    if name not in types:
        raise unknown_name("task type", str(name), types)
    return TaskType(name)


def _checked(
    kind: TaskType, y_true: Sequence[object] | np.ndarray, y_pred: np.ndarray, classes: Sequence[object] | None
) -> tuple[np.ndarray, np.ndarray]:
    true, pred = np.asarray(y_true), np.asarray(y_pred, dtype=np.float64)
    wide = kind in (TaskType.MULTICLASS, TaskType.MULTILABEL, TaskType.MULTISTEP)
    if kind is TaskType.MULTICLASS and classes is not None:
        position = {value: i for i, value in enumerate(classes)}
        true = np.array([position.get(value, -1) for value in true.tolist()], dtype=np.int64)
    if pred.ndim == 2 and pred.shape[1] == 1 and not wide:
        pred = pred[:, 0]
    columns = "steps" if kind is TaskType.MULTISTEP else "classes"
    shape = f"[{len(true)}, {columns}]" if wide else f"[{len(true)}]"
    fits = pred.ndim == (2 if wide else 1) and len(pred) == len(true)
    if not fits or (kind in (TaskType.MULTILABEL, TaskType.MULTISTEP) and true.shape != pred.shape):
        raise UsageError(f"predictions of {kind} must have shape {shape}, got {list(pred.shape)}.")
    if not len(true):
        raise UsageError("there are no predictions to score.")
    finite = np.isfinite(pred).reshape(len(pred), -1).all(axis=1)
    if not finite.all():
        rows = np.flatnonzero(~finite)
        raise UsageError(
            f"{len(rows):,} of {len(pred):,} predictions are NaN or infinite "
            f"(first rows: {first_three(rows.tolist())})."
        )
    if kind is TaskType.MULTICLASS and len(true) and true.max() >= pred.shape[1]:
        raise UsageError(f"class index {true.max()} has no column in predictions of shape {list(pred.shape)}.")
    return true, pred


def _binary(true: np.ndarray, pred: np.ndarray) -> dict[str, float]:
    both = 0 < true.sum() < len(true)
    hard = (pred > 0.5).astype(np.int64)
    return {
        "auroc": skm.roc_auc_score(true, pred) if both else np.nan,
        "average_precision": skm.average_precision_score(true, pred) if true.any() else np.nan,
        "accuracy": skm.accuracy_score(true, hard),
        "f1": skm.f1_score(true, hard, zero_division=0),
    }


def _regression(true: np.ndarray, pred: np.ndarray) -> dict[str, float]:
    return {
        "mae": skm.mean_absolute_error(true, pred),
        "rmse": skm.root_mean_squared_error(true, pred),
        "r2": skm.r2_score(true, pred) if np.ptp(true) > 0 else np.nan,
    }


def _multistep(true: np.ndarray, pred: np.ndarray) -> dict[str, float]:
    steps = [_regression(true[:, step], pred[:, step]) for step in range(true.shape[1])]
    means = {name: float(np.mean([step[name] for step in steps])) for name in steps[0]}
    return means | {f"mae_{i}": step["mae"] for i, step in enumerate(steps, 1)}


def _multiclass(true: np.ndarray, pred: np.ndarray) -> dict[str, float]:
    hard = pred.argmax(axis=1)
    seen = true >= 0
    of_true = np.take_along_axis(pred, np.maximum(true, 0)[:, None], axis=1)
    rank = (pred > of_true).sum(axis=1) + ((pred == of_true).sum(axis=1) + 1) / 2
    chosen = pred[seen]
    return {
        "accuracy": skm.accuracy_score(true, hard),
        "macro_f1": skm.f1_score(true, hard, average="macro", zero_division=0),
        "mrr": float(np.where(seen, 1 / rank, 0.0).mean()),
        "log_loss": skm.log_loss(true[seen], chosen, labels=np.arange(pred.shape[1])) if seen.any() else np.nan,
    }


def _multilabel(true: np.ndarray, pred: np.ndarray) -> dict[str, float]:
    positives = true.sum(axis=0)
    some, both = positives > 0, (positives > 0) & (positives < len(true))
    hard = pred > 0.5
    return {
        "macro_auprc": skm.average_precision_score(true[:, some], pred[:, some]) if some.any() else np.nan,
        "macro_auroc": skm.roc_auc_score(true[:, both], pred[:, both]) if both.any() else np.nan,
        "macro_f1": skm.f1_score(true, hard, average="macro", zero_division=0),
    }


_SCORES: dict[TaskType, Callable[[np.ndarray, np.ndarray], dict[str, float]]] = {
    TaskType.BINARY: _binary,
    TaskType.REGRESSION: _regression,
    TaskType.MULTICLASS: _multiclass,
    TaskType.MULTILABEL: _multilabel,
    TaskType.MULTISTEP: _multistep,
}
