"""Gradient-boosted trees on a matrix of features, for every task type, saved as LightGBM's own text."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np

from graphlearn.errors import RunError, check_positive

#: Per task type: LightGBM's objective, the metric that it tells of each round, and whether higher is better.
_KINDS = {
    "binary_classification": ("binary", "auc", True),
    "multilabel_classification": ("binary", "binary_logloss", False),
    "multiclass_classification": ("multiclass", "multi_logloss", False),
    "regression": ("l1", "l1", False),
    "multistep_regression": ("l1", "l1", False),
}
#: Bins of a column. Half of LightGBM's own number: as good on few rows, and faster.
_BINS = 127
_FEW = 10_000


@dataclass(frozen=True)
class TreeConfig:
    """Settings of :class:`Trees`.

    Attributes:
        num_leaves: Most leaves of a tree.
        min_rows: Fewest rows of a leaf; a twentieth of the rows where there are few.
        learning_rate: Share of each tree that counts.
        feature_fraction: Share of the columns that a tree may ask.
        row_fraction: Share of the rows that a tree is fitted on.
        lambda_l2: Pull of a leaf's value to zero, in rows.
        extra: Ask each column at one random threshold only, which fits noise less.
        num_threads: Threads; the trees do not depend on them.
    """

    num_leaves: int = 15
    min_rows: int = 40
    learning_rate: float = 0.05
    feature_fraction: float = 0.5
    row_fraction: float = 0.7
    lambda_l2: float = 5.0
    extra: bool = False
    num_threads: int = 2

    def __post_init__(self) -> None:
        check_positive(
            num_leaves=self.num_leaves - 1,
            min_rows=self.min_rows,
            learning_rate=self.learning_rate,
            feature_fraction=self.feature_fraction,
            row_fraction=self.row_fraction,
            num_threads=self.num_threads,
        )

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


class Trees:
    """Boosted trees of one task: one model for each class of a multilabel task and each step, else one.

    Missing values and codes of categories are LightGBM's own business. Categories and values that training did not see
    go the way of missing ones.

    Source: Ke et al., "LightGBM: A Highly Efficient Gradient Boosting Decision Tree", NeurIPS 2017.

    Args:
        boosters: The models, one for each output.
        task_type: Kind of task.

    Attributes:
        boosters: The models.
        curve: What each round scored on the rows to evaluate, float64 ``[rounds]``, higher is better; None without.
    """

    def __init__(
        self, boosters: Sequence[lightgbm.Booster], task_type: str, *, curve: np.ndarray | None = None
    ) -> None:
        self.boosters, self.task_type, self.curve = list(boosters), str(task_type), curve

    @classmethod
    def fit(
        cls,
        task_type: str,
        train: tuple[np.ndarray, np.ndarray],
        config: TreeConfig,
        *,
        rounds: int,
        seed: int,
        num_classes: int = 1,
        categorical: Sequence[bool] = (),
        evaluate: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> Trees:
        """Fits ``rounds`` trees for each output.

        Args:
            task_type: Kind of task, see :class:`~graphlearn.nn.head.node.NodeHead`.
            train: Features ``[N, F]``, NaN = missing, and labels ``[N]``, or ``[N, C]`` for several outputs.
            config: Settings.
            rounds: Trees of each output.
            seed: Of the rows and columns drawn; same seed, same trees.
            num_classes: Number of outputs.
            categorical: Which columns hold codes.
            evaluate: Features and labels that each round is scored on, for :attr:`curve`.
        """
        kind = str(task_type)
        if kind in ("multilabel_classification", "multistep_regression"):
            outputs = range(num_classes)
            fitted = [
                _boost(kind, _output(train, c), config, rounds, seed, 1, categorical, _output(evaluate, c))
                for c in outputs
            ]
        else:
            known = _known(kind, train)
            fitted = [_boost(kind, known, config, rounds, seed, num_classes, categorical, _known(kind, evaluate))]
        curves = [curve for _, curve in fitted if curve is not None]
        return cls([b for b, _ in fitted], kind, curve=np.mean(curves, axis=0) if curves else None)

    def predict(self, values: np.ndarray, *, rounds: int | None = None) -> np.ndarray:
        """Probabilities or numbers, float64 ``[N]`` or ``[N, C]``, from the first ``rounds`` trees (all by default).

        Args:
            values: Features ``[N, F]`` in the order of the training.
            rounds: How many trees of each output.
        """
        if not len(values):  # which LightGBM refuses
            outputs = self.boosters[0].num_model_per_iteration() if len(self.boosters) == 1 else len(self.boosters)
            return np.zeros((0, outputs) if "multi" in self.task_type else 0)
        threads = 1 if len(values) < _FEW else 0  # threads that wait for each other cost more than a few rows
        parts = [np.asarray(b.predict(values, num_iteration=rounds, num_threads=threads)) for b in self.boosters]
        wide = self.task_type in ("multilabel_classification", "multistep_regression")
        return np.stack(parts, axis=1) if wide else parts[0]

    def save(self, folder: Path, member: int) -> None:
        """Writes ``trees-<member>-<output>.txt`` into ``folder``."""
        for output, booster in enumerate(self.boosters):
            text = booster.model_to_string(num_iteration=-1)
            (folder / f"trees-{member}-{output}.txt").write_text(text, encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, member: int, task_type: str) -> Trees:
        """Reads what :meth:`save` wrote.

        Raises:
            RunError: If a file is missing or cannot be read.
        """
        boosters: list[lightgbm.Booster] = []
        while (file := folder / f"trees-{member}-{len(boosters)}.txt").is_file():
            try:
                boosters.append(lightgbm.Booster(model_str=file.read_text(encoding="utf-8")))
            except (lightgbm.basic.LightGBMError, OSError, ValueError) as error:
                raise RunError(f"{file} cannot be read: {error}. Train again, or restore it.") from error
        if not boosters:
            raise RunError(f"{folder / f'trees-{member}-0.txt'} is missing. Train again, or restore it.")
        return cls(boosters, task_type)


def mean_prediction(trees: Sequence[Trees], values: np.ndarray) -> np.ndarray:
    """The mean of what several :class:`Trees` say of the same rows."""
    total = trees[0].predict(values)
    for other in trees[1:]:
        total = total + other.predict(values)
    return np.asarray(total / len(trees))


def _boost(
    task_type: str,
    train: tuple[np.ndarray, np.ndarray],
    config: TreeConfig,
    rounds: int,
    seed: int,
    num_classes: int,
    categorical: Sequence[bool],
    evaluate: tuple[np.ndarray, np.ndarray] | None,
) -> tuple[lightgbm.Booster, np.ndarray | None]:
    objective, metric, higher = _KINDS[task_type]
    if metric == "auc" and evaluate is not None and len(np.unique(evaluate[1])) < 2:
        metric, higher = "binary_logloss", False  # one class has no AUROC
    settings = {
        "objective": objective,
        "metric": metric,
        "num_leaves": config.num_leaves,
        "min_data_in_leaf": max(1, min(config.min_rows, len(train[1]) // 20)),
        "learning_rate": config.learning_rate,
        "feature_fraction": config.feature_fraction,
        "bagging_fraction": config.row_fraction,
        "bagging_freq": 1,
        "lambda_l2": config.lambda_l2,
        "extra_trees": config.extra,
        "num_threads": config.num_threads,
        "seed": seed,
        "max_bin": _BINS,
        "verbosity": -1,
        "deterministic": True,
        "force_row_wise": True,
        **({"num_class": num_classes} if objective == "multiclass" else {}),
    }
    told: dict[str, dict[str, list[float]]] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of constant columns, which folds of few rows have
        data = lightgbm.Dataset(
            train[0],
            train[1],
            params={"max_bin": _BINS, "verbosity": -1, "min_data_in_bin": 1},
            categorical_feature=[i for i, codes in enumerate(categorical) if codes],
            free_raw_data=False,
        )
        sets = [] if evaluate is None or not len(evaluate[1]) else [data.create_valid(evaluate[0], evaluate[1])]
        keep = [lightgbm.record_evaluation(told)] if sets else []
        booster = lightgbm.train(settings, data, num_boost_round=rounds, valid_sets=sets, callbacks=list(keep))
    if not sets:
        return booster, None
    (scores,) = next(iter(told.values())).values()
    # Training stops where no split is left; what follows would have scored the same.
    curve = np.array(scores + scores[-1:] * (rounds - len(scores)))
    return booster, curve if higher else -curve


def _known(task_type: str, data: tuple[np.ndarray, np.ndarray] | None) -> Any:
    """The rows whose class training had."""
    if data is None or task_type != "multiclass_classification":
        return data
    keep = data[1] >= 0
    return data[0][keep], data[1][keep]


def _output(data: tuple[np.ndarray, np.ndarray] | None, column: int) -> Any:
    return None if data is None else (data[0], data[1][:, column])
