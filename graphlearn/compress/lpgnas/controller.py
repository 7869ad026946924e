"""The controller: a probability for each option of each decision, and draws that pass a gradient to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module, Parameter


@dataclass(frozen=True)
class Draw:
    """One option of each decision.

    Attributes:
        places: Its position among the options, by decision.
        gates: By decision, a number that is 1 and has the gradient of the option's probability.
    """

    places: dict[str, int]
    gates: dict[str, Tensor]


class Controller(Module):
    r"""Logits of all options; a draw is one-hot going forward, and soft going backward.

    .. math::
        p = \mathrm{softmax}\bigl((\alpha + g) / T\bigr), \quad k = \arg\max_j p_j, \quad
        \text{gate} = 1 + p_k - \mathrm{stop}(p_k)

    with g from the standard Gumbel distribution. What a decision makes is multiplied by its gate, so that the
    probability of what was drawn learns whether there should be more of it, and nothing else has to be computed. The
    logits stay on the CPU: drawing never waits for another device.

    Source: Jang et al., "Categorical Reparameterization with Gumbel-Softmax", arXiv:1611.01144; one branch per step:
    Dong, Yang, "Searching for a Robust Neural Architecture in Four GPU Hours", arXiv:1910.04465.

    Args:
        options: The options of each decision, by name.
    """

    def __init__(self, options: Mapping[str, tuple[Any, ...]]) -> None:
        super().__init__()
        self.sizes = {name: len(choices) for name, choices in options.items()}
        self.logits = Parameter(torch.empty(sum(self.sizes.values())))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        torch.nn.init.zeros_(self.logits)

    def probabilities(self) -> dict[str, Tensor]:
        """Of each option, by decision; without noise."""
        return {name: part.softmax(dim=0) for name, part in self._by_name(self.logits).items()}

    def draw(self, generator: torch.Generator, temperature: float = 1.0) -> Draw:
        """One option of each decision, with its gate."""
        noise = torch.rand(self.logits.shape, generator=generator).clamp_min(1e-20).log().neg().log().neg()
        parts = self._by_name((self.logits + noise) / temperature)
        soft = {name: part.softmax(dim=0) for name, part in parts.items()}
        places = {name: int(part.argmax()) for name, part in soft.items()}
        picked = {name: part[places[name]] for name, part in soft.items()}
        return Draw(places, {name: 1.0 + (share - share.detach()) for name, share in picked.items()})

    def likeliest(self) -> dict[str, int]:
        """The option of the largest probability, by decision; the first of equal ones."""
        return {name: int(part.argmax()) for name, part in self._by_name(self.logits).items()}

    def _by_name(self, values: Tensor) -> dict[str, Tensor]:
        return dict(zip(self.sizes, torch.split(values, list(self.sizes.values())), strict=True))
