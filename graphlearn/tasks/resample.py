"""Metrics as functions of row weights, for many weightings at once.

A bootstrap resample is a vector of how often each row was drawn. Sorting by score does not depend on it, so it is done
once; what remains is sums over rows.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from graphlearn.tasks.manifest import TaskType

OfWeights = Callable[[np.ndarray], np.ndarray]
"""``[R, N]`` float64 weights of N rows -> ``[R]`` values, NaN where there is none."""


def weighted(kind: TaskType, metric: str, true: np.ndarray, pred: np.ndarray) -> OfWeights:
    """The metric of :func:`graphlearn.tasks.metrics.score` with each row counted as often as its weight says."""
    return _METRICS[kind, metric](true, pred)


def _mean(per_row: np.ndarray) -> OfWeights:
    return lambda weight: _ratio(weight @ per_row, weight.sum(axis=1))


def _auroc(true: np.ndarray, pred: np.ndarray) -> OfWeights:
    """Pairs (positive, negative) in the right order, ties half, over all pairs."""
    order, starts = _by_score(pred)
    positive = true[order].astype(np.float64)

    def value(weight: np.ndarray) -> np.ndarray:
        sorted_weight = weight[:, order]
        pos = np.add.reduceat(sorted_weight * positive, starts, axis=1)  # [R, distinct scores]
        neg = np.add.reduceat(sorted_weight, starts, axis=1) - pos
        below = np.cumsum(neg, axis=1)
        # `below` ends with the group itself, of which half is meant to count.
        ordered = np.einsum("rg,rg->r", pos, below) - 0.5 * np.einsum("rg,rg->r", pos, neg)
        return _ratio(ordered, pos.sum(axis=1) * below[:, -1])

    return value


def _average_precision(true: np.ndarray, pred: np.ndarray) -> OfWeights:
    """Sum over thresholds of precision times the step in recall."""
    order, starts = _by_score(-pred)
    positive = true[order].astype(np.float64)

    def value(weight: np.ndarray) -> np.ndarray:
        sorted_weight = weight[:, order]
        pos = np.add.reduceat(sorted_weight * positive, starts, axis=1)
        taken = np.cumsum(np.add.reduceat(sorted_weight, starts, axis=1), axis=1)
        # Where nothing has been taken yet the step in recall is 0 as well.
        precision = np.cumsum(pos, axis=1) / np.maximum(taken, 1.0)
        return _ratio(np.einsum("rg,rg->r", precision, pos), pos.sum(axis=1))

    return value


def _f1(true: np.ndarray, hard: np.ndarray) -> OfWeights:
    """``2 tp / (2 tp + fp + fn)`` for each column of ``[N, C]`` indicators, averaged over columns that occur."""
    hit, wrong = (true * hard).astype(np.float64), (true != hard).astype(np.float64)

    def value(weight: np.ndarray) -> np.ndarray:
        twice = 2 * (weight @ hit)  # [R, C]
        total = twice + weight @ wrong
        f1 = np.divide(twice, total, out=np.zeros_like(total), where=total > 0)
        return _ratio(f1.sum(axis=1), (total > 0).sum(axis=1))

    return value


def _binary_f1(true: np.ndarray, pred: np.ndarray) -> OfWeights:
    mean = _f1(true[:, None], (pred > 0.5)[:, None])
    # One class that occurs nowhere has the value 0, not none.
    return lambda weight: np.nan_to_num(mean(weight))


def _multilabel_f1(true: np.ndarray, pred: np.ndarray) -> OfWeights:
    hard = pred > 0.5
    each = [_binary_f1(true[:, c], hard[:, c].astype(np.float64)) for c in range(true.shape[1])]
    return lambda weight: np.stack([f1(weight) for f1 in each]).mean(axis=0)


def _multiclass_f1(true: np.ndarray, pred: np.ndarray) -> OfWeights:
    values = np.arange(-1, pred.shape[1])  # -1: a class that train did not have, always missed
    return _f1(true[:, None] == values, pred.argmax(axis=1)[:, None] == values)


def _rmse(true: np.ndarray, pred: np.ndarray) -> OfWeights:
    mean = _mean((true - pred) ** 2)
    return lambda weight: np.sqrt(mean(weight))


def _r2(true: np.ndarray, pred: np.ndarray) -> OfWeights:
    # Around the mean of all rows, so that the difference of squares below loses no digits.
    centred, residual = true - true.mean(), (true - pred) ** 2

    def value(weight: np.ndarray) -> np.ndarray:
        total = weight @ centred**2 - (weight @ centred) ** 2 / weight.sum(axis=1)
        constant = total <= 1e-12 * (weight @ centred**2)
        return 1.0 - _ratio(weight @ residual, np.where(constant, 0.0, total))

    return value


def _mrr(true: np.ndarray, pred: np.ndarray) -> OfWeights:
    of_true = np.take_along_axis(pred, np.maximum(true, 0)[:, None], axis=1)
    rank = (pred > of_true).sum(axis=1) + ((pred == of_true).sum(axis=1) + 1) / 2
    return _mean(np.where(true >= 0, 1 / rank, 0.0))


def _log_loss(true: np.ndarray, pred: np.ndarray) -> OfWeights:
    seen = true >= 0
    share = pred / pred.sum(axis=1, keepdims=True)
    of_true = np.take_along_axis(share, np.maximum(true, 0)[:, None], axis=1)[:, 0]
    loss = -np.log(np.clip(of_true, np.finfo(np.float64).eps, 1.0))
    known = seen.astype(np.float64)
    return lambda weight: _ratio(weight @ (loss * known), weight @ known)


def _macro(one: Callable[[np.ndarray, np.ndarray], OfWeights], true: np.ndarray, pred: np.ndarray) -> OfWeights:
    """The mean over the columns that have a value."""
    each = [one(true[:, c], pred[:, c]) for c in range(true.shape[1])]

    def value(weight: np.ndarray) -> np.ndarray:
        values = np.stack([of_weights(weight) for of_weights in each])  # [C, R]
        known = ~np.isnan(values)
        return _ratio(np.where(known, values, 0.0).sum(axis=0), known.sum(axis=0))

    return value


def _mean_step(one: Callable[[np.ndarray, np.ndarray], OfWeights], true: np.ndarray, pred: np.ndarray) -> OfWeights:
    """The mean over the steps, none of which may lack a value."""
    each = [one(true[:, step], pred[:, step]) for step in range(true.shape[1])]
    return lambda weight: np.stack([of_weights(weight) for of_weights in each]).mean(axis=0)


def _by_score(score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows in ascending order of score, and where each distinct score starts."""
    order = np.argsort(score, kind="stable")
    ascending = score[order]
    return order, np.flatnonzero(np.r_[True, ascending[1:] != ascending[:-1]])


def _ratio(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    """``top / bottom``, NaN where ``bottom`` is 0."""
    out = np.full(len(top), np.nan)
    np.divide(top, bottom, out=out, where=bottom > 0)
    return out


_METRICS: dict[tuple[TaskType, str], Callable[[np.ndarray, np.ndarray], OfWeights]] = {
    (TaskType.BINARY, "auroc"): _auroc,
    (TaskType.BINARY, "average_precision"): _average_precision,
    (TaskType.BINARY, "accuracy"): lambda true, pred: _mean((true == (pred > 0.5)).astype(np.float64)),
    (TaskType.BINARY, "f1"): _binary_f1,
    (TaskType.REGRESSION, "mae"): lambda true, pred: _mean(np.abs(true - pred)),
    (TaskType.REGRESSION, "rmse"): _rmse,
    (TaskType.REGRESSION, "r2"): _r2,
    (TaskType.MULTICLASS, "accuracy"): lambda true, pred: _mean((true == pred.argmax(axis=1)).astype(np.float64)),
    (TaskType.MULTICLASS, "macro_f1"): _multiclass_f1,
    (TaskType.MULTICLASS, "mrr"): _mrr,
    (TaskType.MULTICLASS, "log_loss"): _log_loss,
    (TaskType.MULTILABEL, "macro_auprc"): lambda true, pred: _macro(_average_precision, true, pred),
    (TaskType.MULTILABEL, "macro_auroc"): lambda true, pred: _macro(_auroc, true, pred),
    (TaskType.MULTILABEL, "macro_f1"): _multilabel_f1,
    (TaskType.MULTISTEP, "mae"): lambda true, pred: _mean(np.abs(true - pred).mean(axis=1)),
    (TaskType.MULTISTEP, "rmse"): lambda true, pred: _mean_step(_rmse, true, pred),
    (TaskType.MULTISTEP, "r2"): lambda true, pred: _mean_step(_r2, true, pred),
}
