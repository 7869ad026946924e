"""Settings of trees, and how old the data of train rows should be, chosen on rolling-origin folds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from graphlearn.models.gbdt import TreeConfig, Trees
from graphlearn.tasks.metrics import primary_metric, score
from graphlearn.training.matrix import Matrix

#: Settings that err in different ways: one that finds interactions, one that trusts little, and two of small trees that
#: may ask few columns each. Stumps add up one effect per column, spread over all columns that say the same, as a ridge
#: regression does: on few labels, or far past the last data, that errs least.
CONFIGS = (
    TreeConfig(num_leaves=15, min_rows=40, feature_fraction=0.3, lambda_l2=5.0),
    TreeConfig(num_leaves=8, min_rows=60, feature_fraction=0.3, lambda_l2=20.0, extra=True),
    TreeConfig(num_leaves=4, min_rows=60, feature_fraction=0.05, lambda_l2=20.0, extra=True),
    TreeConfig(num_leaves=2, min_rows=60, feature_fraction=0.05, lambda_l2=20.0, extra=True),
)
#: Most trees of one output, fewer where there are many classes, and over how many rounds a curve is smoothed.
_MOST_ROUNDS, _MOST_TREES, _SMOOTH = 400, 1500, 15
#: Rows that settings are chosen on; more would say the same, later.
_MOST_ROWS = 20_000


@dataclass(frozen=True)
class Found:
    """What the folds chose.

    Attributes:
        configs: Settings of the trees that predict together.
        rounds: Number of trees for each of them.
        max_age: How old the data of train rows are at most, microseconds; 0: fresh.
        scores: Per age that was tried the primary metric on each fold.
        predictions: Per fold what the chosen trees said of its rows.
    """

    configs: tuple[TreeConfig, ...]
    rounds: tuple[int, ...]
    max_age: int
    scores: dict[int, list[float]]
    predictions: list[np.ndarray]

    def to_dict(self) -> dict[str, Any]:
        """For ``run.json``."""
        settings = [{**c.to_dict(), "rounds": r} for c, r in zip(self.configs, self.rounds, strict=True)]
        return {"settings": settings, "max_age": self.max_age}


def search_trees(
    matrix: Matrix,
    task_type: str,
    *,
    num_classes: int = 1,
    ages: Sequence[int] = (0,),
    seed: int = 0,
    num_threads: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Found:
    """Chooses the age with the first settings, then the number of trees of all settings at that age.

    The number of trees is where the mean of the folds' curves is highest. All settings predict together: their mean is
    better than most of them, and folds cannot tell which is the best.

    Args:
        matrix: Features, labels and folds.
        task_type: Kind of task.
        num_classes: Number of outputs.
        ages: Oldest copies to try, microseconds.
        seed: Of the trees.
        num_threads: Threads.
        progress: Called with (fits done, fits in all).
    """
    folds, configs = len(matrix.folds), [replace(config, num_threads=num_threads) for config in CONFIGS]
    total = folds * (len(ages) + len(configs) - 1)
    done = 0
    most = max(20, min(_MOST_ROUNDS, _MOST_TREES // num_classes))

    def fitted(config: TreeConfig, age: int) -> tuple[list[Trees], int, list[np.ndarray]]:
        nonlocal done
        made = []
        for number, fold in enumerate(matrix.folds):
            train = _fewer(matrix.rows(fold.train, age), seed)
            judged = matrix.evaluate[number], matrix.value[fold.evaluate]
            made.append(
                Trees.fit(
                    task_type,
                    train,
                    config,
                    rounds=most,
                    seed=seed,
                    num_classes=num_classes,
                    categorical=matrix.categorical,
                    evaluate=judged,
                )
            )
            done += 1
            if progress is not None:
                progress(done, total)
        rounds = _best_round([trees.curve for trees in made if trees.curve is not None])
        said = [trees.predict(rows, rounds=rounds) for trees, rows in zip(made, matrix.evaluate, strict=True)]
        return made, rounds, said

    tried = {age: fitted(configs[0], age) for age in ages}
    first = {age: _scores(matrix, task_type, said) for age, (_, _, said) in tried.items()}
    sign = 1 if primary_metric(task_type)[1] else -1
    best = max(ages, key=lambda age: (_mean(sign, first[age]), -age))
    parts = [tried[best], *(fitted(config, best) for config in configs[1:])]
    together = [np.mean([said[fold] for _, _, said in parts], axis=0) for fold in range(folds)]
    return Found(tuple(configs), tuple(rounds for _, rounds, _ in parts), best, first, together)


def fit_trees(
    matrix: Matrix,
    found: Found,
    task_type: str,
    *,
    which: np.ndarray,
    num_classes: int = 1,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> list[Trees]:
    """Trees with the chosen settings on the rows ``which``, one for each setting."""
    train = matrix.rows(which, found.max_age)
    made = []
    for number, (config, rounds) in enumerate(zip(found.configs, found.rounds, strict=True)):
        # Another seed for each: trees of one seed draw the same rows.
        made.append(
            Trees.fit(
                task_type,
                train,
                config,
                rounds=rounds,
                seed=len(found.configs) * seed + number,
                num_classes=num_classes,
                categorical=matrix.categorical,
            )
        )
        if progress is not None:
            progress(number + 1, len(found.configs))
    return made


def _scores(matrix: Matrix, task_type: str, said: list[np.ndarray]) -> list[float]:
    metric, _ = primary_metric(task_type)
    pairs = zip(matrix.folds, said, strict=True)
    return [score(task_type, matrix.value[fold.evaluate], values)[metric] for fold, values in pairs]


def _mean(sign: int, scores: list[float]) -> float:
    """Higher is better; folds without a value say nothing."""
    known = [value for value in scores if not np.isnan(value)]
    return sign * float(np.mean(known)) if known else 0.0


def _best_round(curves: list[np.ndarray]) -> int:
    """Where the mean curve, smoothed, is highest; the curves of folds of one class are left out by their scale."""
    if not curves:
        return 100
    # Each fold counts alike, whatever the unit and the spread of its scores.
    mean = np.mean([(curve - curve.mean()) / (curve.std() or 1.0) for curve in curves], axis=0)
    width = min(_SMOOTH, len(mean))
    kernel = np.ones(width)
    smooth = np.convolve(mean, kernel, mode="same") / np.convolve(np.ones_like(mean), kernel, mode="same")
    return int(smooth.argmax()) + 1


def _fewer(data: tuple[np.ndarray, np.ndarray], seed: int) -> tuple[np.ndarray, np.ndarray]:
    if len(data[1]) <= _MOST_ROWS:
        return data
    kept = np.sort(np.random.default_rng(seed).choice(len(data[1]), _MOST_ROWS, replace=False))
    return data[0][kept], data[1][kept]
