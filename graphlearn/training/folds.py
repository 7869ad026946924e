"""Rolling-origin folds: what would have been known at earlier cuts, judged on what came after them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

#: A fold that would train on a smaller share of what the newest one trains on says little about the final model.
_LEAST_SHARE = 0.25
#: As many anchors a task needs to be trained at all.
_LEAST_ANCHORS = 3


@dataclass(frozen=True)
class Fold:
    """One cut through the labels.

    Attributes:
        cut: int64 microseconds UTC: evaluation begins here, and in the frozen regime nothing later is seen.
        train: Rows whose outcome was known by ``cut``, int64 positions in ascending order.
        evaluate: Rows asked at ``cut`` or later, as far past it as test rows are asked past their own.
    """

    cut: int
    train: np.ndarray
    evaluate: np.ndarray

    def input_time(self, seed_time: np.ndarray, regime: str) -> np.ndarray:
        """The newest time that each row to evaluate may see: int64 ``[len(evaluate)]`` microseconds."""
        times = seed_time[self.evaluate]
        return np.asarray(np.minimum(times, self.cut) if regime == "frozen" else times)


def rolling_origin(seed_time: np.ndarray, *, window: int, span: int, newest: int, most: int = 4) -> list[Fold]:
    """Folds from the newest cut back, at most ``most``; none of them reads a label of its own future.

    The newest cut is ``newest``, the start of validation, so the first fold is the task's own validation split as far
    as ``span`` reaches. Each earlier cut lies at a seed time so far back that what it evaluates ends before the next
    cut; so no row is evaluated twice. A fold that would train on less than a quarter of what the first one trains on,
    or on fewer than three anchors, is left out, and so are all before it; a task of few anchors gets fewer folds.

    Costs ``O(N log N + folds * N)``.

    Args:
        seed_time: Of each labelled row, int64 ``[N]`` microseconds UTC, in any order.
        window: Length of the label window: a label is known from ``seed_time + window`` on.
        span: How far past the cut rows are evaluated, as test reaches past its own.
        newest: The newest cut.
        most: Most folds.
    """
    times = np.unique(seed_time)
    folds: list[Fold] = []
    cut = int(newest)
    while len(folds) < most:
        train = np.flatnonzero(seed_time + window <= cut)
        evaluate = np.flatnonzero((seed_time >= cut) & (seed_time <= cut + span))
        if folds and (
            len(train) < _LEAST_SHARE * len(folds[0].train) or len(np.unique(seed_time[train])) < _LEAST_ANCHORS
        ):
            break
        if len(train) and len(evaluate):
            folds.append(Fold(cut, train, evaluate))
        before = times[times + span < cut]
        if not len(before):
            break
        cut = int(before[-1])
    return folds
