"""The share of a network beside trees."""

from __future__ import annotations

import numpy as np

from graphlearn.tasks.metrics import bootstrap, primary_metric, score

#: Shares of the first of two that are tried.
_SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
#: What makes no difference between two shares, as a part of a 68 % interval, which is two standard errors.
_ALIKE = 0.25


def share_of(task_type: str, label: np.ndarray, first: np.ndarray, second: np.ndarray) -> float:
    """The share of ``first`` in a mean of two predictions, one of 0, ¼, ½, ¾, 1, that does best on some rows.

    One number from a few choices, because a fold decides no more than that. Shares that score within half a
    standard error of the best are alike, and of these the one nearest to a half is taken: two models that err in
    different ways err less together.

    Args:
        task_type: Kind of task.
        label: Labels ``[N]`` or ``[N, C]``.
        first: Predictions of the one.
        second: Predictions of the other.
    """
    metric, higher = primary_metric(task_type)
    sign = 1 if higher else -1
    means = [share * first + (1 - share) * second for share in _SHARES]
    scores = [sign * score(task_type, label, mean)[metric] for mean in means]
    if np.isnan(scores).any():
        return 0.5
    best = int(np.argmax(scores))
    low, high = bootstrap(task_type, label, means[best], metric=metric, seed=0, repeats=200, level=0.68)
    alike = [
        share for share, value in zip(_SHARES, scores, strict=True) if value >= scores[best] - _ALIKE * (high - low)
    ]
    return min(alike, key=lambda share: (abs(share - 0.5), share))
