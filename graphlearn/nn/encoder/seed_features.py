"""What was computed of an entity, its aggregates, as one vector."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import Dropout, Linear, Module, ReLU, Sequential

from graphlearn.errors import check_positive

#: Standardised values are cut off here: trees take any value, a network follows one that is far away into nonsense.
_FARTHEST = 4.0


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
        - ``x``: ``[B, F]`` float, NaN = missing
        - returns ``[B, channels]``

    Raises:
        ValueError: If ``num_features`` or ``channels`` is not positive, or ``x`` has not F columns.
    """

    center: Tensor
    spread: Tensor

    def __init__(self, num_features: int, channels: int, *, dropout: float) -> None:
        super().__init__()
        check_positive(num_features=num_features, channels=channels)
        self.register_buffer("center", torch.zeros(num_features))
        self.register_buffer("spread", torch.ones(num_features))
        self.mlp = Sequential(
            Dropout(dropout),
            Linear(2 * num_features, 2 * channels),
            ReLU(),
            Dropout(dropout),
            Linear(2 * channels, channels),
        )

    def reset_parameters(self) -> None:
        for layer in self.mlp:
            if isinstance(layer, Linear):
                layer.reset_parameters()

    def fit(self, x: Tensor) -> None:
        """Takes median and spread (mean distance from it) of the train rows ``[N, F]``; a constant has spread 1."""
        center = x.nanmedian(dim=0).values.nan_to_num()
        spread = (x - center).abs().nanmean(dim=0).nan_to_num()
        self.center.copy_(center)
        self.spread.copy_(torch.where(spread > 0, spread, 1.0))

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() != 2 or x.size(1) != self.center.numel():
            raise ValueError(f"'x' must have shape [B, {self.center.numel()}], got {list(x.shape)}.")
        missing = x.isnan()
        z = ((x - self.center) / self.spread).asinh().clamp(-_FARTHEST, _FARTHEST)
        out: Tensor = self.mlp(torch.cat([z.masked_fill(missing, 0.0), missing.to(z.dtype)], dim=1))
        return out
