"""How long ago the dates of a row were, as seen from another time: the age of a person, the years of a contract."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import Linear, Module

from graphlearn.errors import check_positive

_US_PER_YEAR = 365.25 * 86_400_000_000


class SinceEncoder(Module):
    r"""Maps the years from each date of a row to a given time to one vector.

    .. math::
        \mathrm{out} = \sum_{c} \mathbf{W}_c
            \bigl(y_c / 20,\; (y_c / 20)^2,\; \mathrm{sign}(y_c) \log(1 + |y_c|),\; 1\bigr)
        \qquad y_c = \mathrm{clip}(t - d_c, \pm 100)

    with years as the unit, and nothing for a missing date. A date of birth or of a first order says little by itself,
    and its year nothing that a later row shares; how long ago it was does.

    Source: own.

    Args:
        channels: Size of the output.
        num_dates: Number of dates in a row, C > 0.

    Shapes:
        - ``date``: ``[B, C, 7]`` integers as PyTorch Frame keeps timestamps: year, month and day counted from 0,
          weekday, hour, minute, second; negative where missing
        - ``time``: ``[B]`` int64, microseconds UTC
        - returns ``[B, channels]`` in the dtype of the module

    Raises:
        ValueError: If an argument is not positive.
    """

    def __init__(self, channels: int, num_dates: int) -> None:
        super().__init__()
        check_positive(channels=channels, num_dates=num_dates)
        self.lin = Linear(num_dates * 4, channels, bias=False)

    def reset_parameters(self) -> None:
        self.lin.reset_parameters()

    def forward(self, date: Tensor, time: Tensor) -> Tensor:
        # A float32 holds a year to the minute; the microseconds themselves are divided in float64.
        now = (time.double() / _US_PER_YEAR + 1970).unsqueeze(-1)
        year = date[..., 0] + date[..., 1] / 12 + date[..., 2] / 365.25
        years = (now - year).clamp(-100, 100).to(self.lin.weight.dtype)
        parts = [years / 20, (years / 20).square(), years.sign() * years.abs().log1p(), torch.ones_like(years)]
        missing = (date[..., 0] < 0).unsqueeze(-1)
        out: Tensor = self.lin(torch.stack(parts, dim=-1).masked_fill(missing, 0.0).flatten(1))
        return out
