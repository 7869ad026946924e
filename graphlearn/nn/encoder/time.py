"""How long ago: a small vector for the age of a row as its seed sees it."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import Module

from graphlearn.errors import check_positive

_US_PER_DAY = 86_400_000_000


class AgeEncoder(Module):
    r"""Encodes an age in days by its logarithm and by exponential decays of many half-lives.

    .. math:: \phi(d) = \bigl(\log(1 + d) / \log(1 + d_{\max}),\; 2^{-d / \tau_1}, \dots, 2^{-d / \tau_K}\bigr)

    with half-lives :math:`\tau_k` spaced evenly in the logarithm between ``shortest`` and ``longest``. A mean of such
    vectors over rows is a set of exponential moving averages, so counts and shares over several windows are linear in
    it; sines, which the reference code uses, need many terms for the same.

    Source: own; compare the time encoding of Fey et al., "Relational Deep Learning", arXiv:2312.04615, appendix B.

    Args:
        shortest: Shortest half-life in days, > 0.
        longest: Longest half-life in days, :math:`d_{\max}`, >= ``shortest``.
        num_decays: How many half-lives, K > 0.

    Shapes:
        - ``age``: ``[N]`` int64, microseconds, >= 0
        - returns ``[N, K + 1]`` in the dtype of the module

    Raises:
        ValueError: If an argument is out of range.
    """

    rate: Tensor

    def __init__(self, shortest: float = 1.0, longest: float = 4096.0, *, num_decays: int = 7) -> None:
        super().__init__()
        check_positive(shortest=shortest, num_decays=num_decays)
        if longest < shortest:
            raise ValueError(f"'longest' must be >= 'shortest' = {shortest} days, got {longest}.")
        self.shortest, self.longest = shortest, longest
        self.out_channels = num_decays + 1
        half_lives = torch.logspace(math.log10(shortest), math.log10(longest), num_decays, dtype=torch.float64)
        self.register_buffer("rate", (math.log(2) / half_lives).to(torch.get_default_dtype()))

    def forward(self, age: Tensor) -> Tensor:
        # Whole microseconds are divided in float64: float32 cannot hold a date.
        days = (age.double() / _US_PER_DAY).to(self.rate.dtype).unsqueeze(-1)
        return torch.cat([days.log1p() / math.log1p(self.longest), (-days * self.rate).exp()], dim=-1)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.shortest}, {self.longest}, num_decays={self.out_channels - 1})"
