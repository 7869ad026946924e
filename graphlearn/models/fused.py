"""Aggregates at the seed of a GNN, and its share beside trees."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import Dropout, Linear, Module, ReLU, Sequential

from graphlearn.tasks.metrics import bootstrap, primary_metric, score

#: Standardised values are cut off here: trees take any value, a network follows one that is far away into nonsense.
_FARTHEST = 4.0
#: Shares of the first of two that are tried.
_SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
#: What makes no difference between two shares, as a part of a 68 % interval, which is two standard errors.
_ALIKE = 0.25


class SeedFeatures(Module):
    r"""Turns a seed's aggregates into a vector that is added to what its rows said.

    .. math:: z = \mathrm{arsinh}\Bigl(\frac{x - \mathrm{median}}{\mathrm{spread}}\Bigr), \qquad
        h = W_2\, \mathrm{ReLU}(W_1 [z, m])

    with ``m`` = 1 where a value is missing, and z = 0 there. Sums and counts have long tails, which arsinh makes short.

    Args:
        num_features: F.
        channels: Size of the vector.
        dropout: Share of features and of hidden units zeroed in training.

    Shapes:
        - ``x``: ``[B, F]``, NaN = missing
        - returns ``[B, channels]``
    """

    center: Tensor
    spread: Tensor

    def __init__(self, num_features: int, channels: int, *, dropout: float) -> None:
        super().__init__()
        self.register_buffer("center", torch.zeros(num_features))
        self.register_buffer("spread", torch.ones(num_features))
        self.mlp = Sequential(
            Dropout(dropout),
            Linear(2 * num_features, 2 * channels),
            ReLU(),
            Dropout(dropout),
            Linear(2 * channels, channels),
        )

    def fit(self, x: Tensor) -> None:
        """Takes median and spread (mean distance from it) of the train rows ``[N, F]``; a constant has spread 1."""
        center = x.nanmedian(dim=0).values.nan_to_num()
        spread = (x - center).abs().nanmean(dim=0).nan_to_num()
        self.center.copy_(center)
        self.spread.copy_(torch.where(spread > 0, spread, 1.0))

    def forward(self, x: Tensor) -> Tensor:
        missing = x.isnan()
        z = ((x - self.center) / self.spread).asinh().clamp(-_FARTHEST, _FARTHEST)
        out: Tensor = self.mlp(torch.cat([z.masked_fill(missing, 0.0), missing.to(z.dtype)], dim=1))
        return out


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
