"""Rows of like predictions, and what came of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from graphlearn.predict.evaluate import Scored
from graphlearn.report import words
from graphlearn.report.charts import CalibrationBin

_BINS = 10
_Z = 1.959964  # of a 95 % interval


@dataclass(frozen=True)
class Texts:
    """What the axes, the spread and the whole are called."""

    across: str
    up: str
    spread: str
    caption: str


def bins_of(scored: Scored) -> tuple[list[CalibrationBin], bool, Texts]:
    """The bins, whether they are shares, and what they are called.

    Binary: probabilities in ten equal steps against the share that came true. Several classes: the probability of the
    likeliest class, or (multilabel) of every class of every row. Numbers: ten equal steps between the first and the
    99th percentile of the predictions, against the median and the quartiles of what came.
    """
    kind, label, said = str(scored.task.task_type.value), scored.label, scored.prediction
    if "regression" in kind:
        return _of_numbers(label.ravel().astype(float), said.ravel())
    if kind == "multiclass_classification":
        truth, share = (said.argmax(axis=1) == label).astype(float), said.max(axis=1)
        across = "probability of the likeliest class"
    else:
        truth, share = label.ravel().astype(float), said.ravel()
        across = "predicted probability"
    bins = _of_shares(truth, share)
    error = sum(b.rows * abs(b.predicted - b.actual) for b in bins) / len(truth)
    caption = (
        f"On the dashed line predictions mean what they say. On average they are {words.percent(float(error))} off "
        f"(expected calibration error); bars: 95 % intervals. Brier score {((share - truth) ** 2).mean():.3f}."
    )
    return bins, True, Texts(across, "share that came true", "95 % interval", caption)


def _of_shares(truth: np.ndarray, share: np.ndarray) -> list[CalibrationBin]:
    number = np.minimum((share * _BINS).astype(int), _BINS - 1)
    found = []
    for i in np.unique(number):
        rows = number == i
        count, hit = int(rows.sum()), float(truth[rows].mean())
        # Wilson's interval, which stays within 0 and 1.
        middle = (hit + _Z**2 / (2 * count)) / (1 + _Z**2 / count)
        half = _Z / (1 + _Z**2 / count) * np.sqrt(hit * (1 - hit) / count + _Z**2 / (4 * count**2))
        found.append(CalibrationBin(float(share[rows].mean()), hit, float(middle - half), float(middle + half), count))
    return found


def _of_numbers(truth: np.ndarray, said: np.ndarray) -> tuple[list[CalibrationBin], bool, Texts]:
    texts = Texts("predicted", "what came, median", "quartiles", "every prediction is the same number.")
    low, high = np.quantile(said, [0.01, 0.99])
    if not high > low:
        return [], False, texts
    number = np.clip(((said - low) / (high - low) * _BINS).astype(int), 0, _BINS - 1)
    found = []
    for i in np.unique(number):
        rows = number == i
        below, middle, above = np.quantile(truth[rows], [0.25, 0.5, 0.75])
        found.append(
            CalibrationBin(float(said[rows].mean()), float(middle), float(below), float(above), int(rows.sum()))
        )
    error = truth - said
    caption = (
        "On the dashed line predictions mean what they say; bars: the middle half of what came. Half of all "
        f"predictions are within {words.number(float(np.median(np.abs(error))))} of it, nine in ten within "
        f"{words.number(float(np.quantile(np.abs(error), 0.9)))}; on average they are "
        f"{words.number(float(abs(error.mean())))} too {'low' if error.mean() > 0 else 'high'}."
    )
    return found, False, Texts(texts.across, texts.up, texts.spread, caption)
