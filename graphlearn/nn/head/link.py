"""Heads that score links: the last layer of a link predictor."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import Linear, Module, Parameter, Sequential

from graphlearn.errors import check_positive
from graphlearn.nn.perceptron import relu_dropout


class LinkHead(Module, ABC):
    """Scores a link from the vectors of its two ends.

    Leading dimensions of the two are broadcast, so an own head only needs :meth:`forward`.

    Shapes:
        - ``src``, ``dst``: ``[L, F]`` float, or any shapes ``[..., F]`` that broadcast
        - returns ``[L]`` (``[...]``), logits
    """

    @abstractmethod
    def forward(self, src: Tensor, dst: Tensor) -> Tensor: ...

    def context(self, anchor: Tensor, context: Tensor, index: Tensor) -> Tensor:
        """Scores each anchor against m nodes of its own; what :meth:`forward` gives for the ``A * m`` pairs.

        An anchor's row is never repeated in memory. Costs ``O(A m F)`` memory.

        Shapes:
            - ``anchor``: ``[A, F]`` float;  ``context``: ``[U, F]`` float;  ``index``: ``[A, m]`` int64, rows of
              ``context``
            - returns ``[A, m]``, logits
        """
        # `embedding` gathers rows faster than indexing, and adds their gradients up without sorting.
        out: Tensor = self(anchor.unsqueeze(1), F.embedding(index, context))
        return out

    def reset_parameters(self) -> None:
        for module in self.modules():
            if isinstance(module, Linear):
                module.reset_parameters()


class DotHead(LinkHead):
    r"""Scores a link by the dot product of its ends; it has no weights.

    .. math:: s(u, v) = \mathbf{x}_u^\top \mathbf{x}_v

    Args:
        There are none.

    Shapes:
        - ``src``, ``dst``: ``[L, F]`` float, or any shapes ``[..., F]`` that broadcast
        - returns ``[L]`` (``[...]``), logits
    """

    def forward(self, src: Tensor, dst: Tensor) -> Tensor:
        return (src * dst).sum(dim=-1)

    def context(self, anchor: Tensor, context: Tensor, index: Tensor) -> Tensor:
        return torch.bmm(F.embedding(index, context), anchor.unsqueeze(-1)).squeeze(-1)


class BilinearHead(LinkHead):
    r"""Scores a link by a learned bilinear form; the direction of the link matters.

    .. math:: s(u, v) = \mathbf{x}_u^\top \mathbf{W} \mathbf{x}_v + b

    Args:
        channels: Size F of a node's vector.

    Shapes:
        - ``src``, ``dst``: ``[L, F]`` float, or any shapes ``[..., F]`` that broadcast
        - returns ``[L]`` (``[...]``), logits

    Raises:
        ValueError: If ``channels <= 0``.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        check_positive(channels=channels)
        self.lin = Linear(channels, channels, bias=False)
        self.bias = Parameter(torch.zeros(()))

    def reset_parameters(self) -> None:
        super().reset_parameters()
        torch.nn.init.zeros_(self.bias)

    def forward(self, src: Tensor, dst: Tensor) -> Tensor:
        out: Tensor = (self.lin(src) * dst).sum(dim=-1) + self.bias
        return out

    def context(self, anchor: Tensor, context: Tensor, index: Tensor) -> Tensor:
        rows = F.embedding(index, context)
        return torch.bmm(rows, self.lin(anchor).unsqueeze(-1)).squeeze(-1) + self.bias


class MLPHead(LinkHead):
    r"""Scores a link by a perceptron over the elementwise product of its ends, the same in both directions.

    .. math:: s(u, v) = \mathrm{MLP}(\mathbf{x}_u \odot \mathbf{x}_v)

    ReLU and dropout lie between its linear layers. Scoring contexts with the product's matrix scaled per anchor,
    :math:`(\mathbf{W}_1 \operatorname{diag} \mathbf{x}_u) \mathbf{x}_v`, is 15 times slower than the products (12
    contexts, 256 channels, one core), so they are made, with the anchor broadcast.

    Args:
        channels: Size F of a node's vector.
        hidden: Size of the hidden layers.
        num_layers: Linear layers, > 0.
        dropout: Share of hidden units zeroed in training, in [0, 1).

    Shapes:
        - ``src``, ``dst``: ``[L, F]`` float, or any shapes ``[..., F]`` that broadcast
        - returns ``[L]`` (``[...]``), logits

    Raises:
        ValueError: If a size is not > 0, or ``dropout`` lies outside [0, 1).
    """

    def __init__(self, channels: int, hidden: int, *, num_layers: int = 2, dropout: float = 0.0) -> None:
        super().__init__()
        check_positive(channels=channels, hidden=hidden, num_layers=num_layers)
        if not 0.0 <= dropout < 1.0:
            raise ValueError(f"'dropout' must lie in [0, 1), got {dropout}.")
        layers: list[Module] = []
        for i in range(num_layers - 1):
            layers += [Linear(channels if i == 0 else hidden, hidden), relu_dropout(dropout)]
        self.layers = Sequential(*layers, Linear(channels if num_layers == 1 else hidden, 1))

    def forward(self, src: Tensor, dst: Tensor) -> Tensor:
        out: Tensor = self.layers(src * dst)
        return out.squeeze(-1)
