"""Weights of edges, rounded with one step per list of edges into a node."""

from __future__ import annotations

import torch
from torch import Tensor

from graphlearn.compress.quantize.precision import Precision
from graphlearn.compress.quantize.rounding import round_to_grid
from graphlearn.errors import UsageError


class ListQuantizer(torch.nn.Module):
    r"""Rounds attention coefficients or edge weights, with a step for each node's incoming edges.

    .. math:: Q(w_e) = s_i \lfloor w_e / s_i \rceil, \quad s_i = \max_{e \to i} |w_e| / h

    After a softmax the coefficients of a node with 1,000 neighbours are near 0.001: with one step for all nodes they
    would all become 0 at 8 bits. Their own largest one is always a level here, and a list that is all 0 stays so. The
    step is that of the current edges: nothing is learned or stored.

    Args:
        precision: Bits; ``per`` is ``"list"``.
        name: What errors call it.

    Shapes:
        - ``weight``: ``[E]`` or ``[E, H]`` float;  ``index``: ``[E]`` int64, the list of each edge
        - returns the shape of ``weight``
    """

    def __init__(self, precision: Precision, *, name: str = "quantiser") -> None:
        super().__init__()
        if precision.per != "list":
            raise UsageError(f"{name} rounds edge weights and needs ranges per list, got per {precision.per}.")
        self.precision, self.name = precision, name

    def forward(self, weight: Tensor, index: Tensor, num_lists: int) -> Tensor:
        if weight.numel() == 0:
            return weight
        scale = self.steps(weight, index, num_lists)[index]
        low, high = self.precision.levels
        zero = scale.new_zeros(1)
        return round_to_grid(weight, scale, zero, low, high)

    @torch.no_grad()
    def integers(self, weight: Tensor, index: Tensor, num_lists: int) -> tuple[Tensor, Tensor]:
        """The levels as int8 (int16 above 8 bits), ``[E]`` or ``[E, H]``, and the steps of the lists, ``[M(, H)]``."""
        scale = self.steps(weight, index, num_lists)
        levels = (weight / scale[index]).round().clamp_(*self.precision.levels)
        return levels.to(torch.int8 if self.precision.bits <= 8 else torch.int16), scale

    @torch.no_grad()
    def steps(self, weight: Tensor, index: Tensor, num_lists: int) -> Tensor:
        """The step of each list; 1 for lists without a weight above 0."""
        largest = weight.new_zeros(num_lists, *weight.shape[1:])
        place = index if weight.dim() == 1 else index[:, None].expand_as(weight)
        scale = largest.scatter_reduce_(0, place, weight.abs(), "amax") / self.precision.levels[1]
        return torch.where(scale < torch.finfo(scale.dtype).tiny, torch.ones_like(scale), scale)

    def check_range(self) -> None:
        """Nothing is stored that could be wrong."""

    def extra_repr(self) -> str:
        return f"{self.precision.bits} bits, symmetric, per list"
