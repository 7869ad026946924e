"""The features of labelled rows, fresh and as they were some time before, as folds and models need them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from graphlearn.features import Aggregates
from graphlearn.schema import Database
from graphlearn.training.folds import Fold

#: Rows at random ages, over all copies; and the most copies of a row. Few labels gain by more copies, many do not.
_AGED_ROWS, _MOST_COPIES = 24_000, 4


@dataclass(frozen=True)
class Matrix:
    """Features of N labelled rows.

    Attributes:
        names: Of the F columns.
        categorical: Which columns hold codes.
        value: Labels as numbers, ``[N]`` or ``[N, C]``.
        fresh: Features with all that was known at each row's own time, float32 ``[N, F]``.
        ages: How long before its own time the copies of each row end, int64 ``[R, N]`` microseconds; R may be 0.
        aged: Features of these copies, float32 ``[R, N, F]``.
        folds: The folds.
        evaluate: Per fold the features of the rows to evaluate, as test rows would have them.
    """

    names: tuple[str, ...]
    categorical: tuple[bool, ...]
    value: np.ndarray
    fresh: np.ndarray
    ages: np.ndarray
    aged: np.ndarray
    folds: tuple[Fold, ...]
    evaluate: tuple[np.ndarray, ...]

    def rows(self, which: np.ndarray, max_age: int) -> tuple[np.ndarray, np.ndarray]:
        """Features and labels to train on: fresh ones, or with ``max_age`` > 0 every copy that is no older.

        A row none of whose copies is young enough is there once, fresh.

        Args:
            which: Positions of the rows, int64.
            max_age: The oldest copies, microseconds.
        """
        if max_age <= 0 or not len(self.ages):
            return self.fresh[which], self.value[which]
        young = self.ages[:, which] <= max_age
        copy, row = np.nonzero(young)
        none = which[~young.any(axis=0)]
        values = np.concatenate([self.aged[copy, which[row]], self.fresh[none]])
        return values, self.value[np.concatenate([which[row], none])]


def make_matrix(
    db: Database,
    plan: Aggregates,
    keys: pa.Array,
    seed_time: np.ndarray,
    value: np.ndarray,
    folds: list[Fold],
    *,
    regime: str,
    longest_age: int = 0,
    age_step: int = 1,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Matrix:
    """Computes all features in one pass.

    Args:
        db: The database.
        plan: Which features.
        keys: Primary keys of the labelled rows, ``[N]``.
        seed_time: Their times, int64 ``[N]`` microseconds.
        value: Their labels as numbers.
        folds: Whose rows to evaluate get features, in the frozen regime as of the cut.
        regime: ``frozen`` or ``rolling``.
        longest_age: Copies end up to so many microseconds before; 0 makes none.
        age_step: Ages are multiples of this.
        seed: Of the ages.
        progress: Called with (rows done, rows in all).
    """
    size = len(seed_time)
    copies = min(max(_AGED_ROWS // max(size, 1), 1), _MOST_COPIES) if longest_age > 0 else 0
    share = np.random.default_rng(seed).random((copies, size))
    ages = (share * (longest_age // age_step + 1)).astype(np.int64) * age_step
    row = np.concatenate([np.tile(np.arange(size), 1 + copies), *(fold.evaluate for fold in folds)])
    sees = [seed_time, *(seed_time - age for age in ages), *(fold.input_time(seed_time, regime) for fold in folds)]
    made = plan.compute(db, keys.take(pa.array(row)), seed_time[row], np.concatenate(sees), progress=progress)
    ends = np.cumsum([size, *[size] * copies, *(len(fold.evaluate) for fold in folds)])[:-1]
    parts = np.split(np.asarray(made.values), ends)
    width = made.values.shape[1]
    aged = np.stack(parts[1 : 1 + copies]) if copies else np.zeros((0, size, width), dtype=np.float32)
    return Matrix(made.names, made.categorical, value, parts[0], ages, aged, tuple(folds), tuple(parts[1 + copies :]))
