"""Students that read a node's own features only, stored densely or sparsely."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import Linear, Module, Sequential

from graphlearn.errors import check_positive
from graphlearn.nn.perceptron import relu_dropout
from graphlearn.ops.csr import gather_reduce
from graphlearn.ops.lists import expand


class MLPStudent(Module):
    r"""A perceptron from a node's features to its vector; no graph, no batch statistics.

    .. math:: \mathbf{h} = \mathbf{W}_2 \operatorname{dropout}(\operatorname{ReLU}(\mathbf{W}_1 \mathbf{x}))

    (for two layers). Features may be a sparse CSR matrix: words of a text, say. The first layer then costs
    ``O(nnz F)``, not ``O(N C F)``.

    Source: the student of Guo et al., "Linkless Link Prediction via Relational Distillation", arXiv:2210.05801.

    Args:
        in_channels: Features C of a node.
        channels: Size F of the hidden layers and of the vector.
        num_layers: Linear layers, > 0.
        dropout: Share of hidden units zeroed in training, in [0, 1).

    Shapes:
        - ``x``: ``[N, in_channels]`` float, dense or sparse CSR
        - returns ``[N, channels]``

    Raises:
        ValueError: If a size is not > 0, or ``dropout`` lies outside [0, 1).
    """

    def __init__(self, in_channels: int, channels: int, *, num_layers: int = 2, dropout: float = 0.0) -> None:
        super().__init__()
        check_positive(in_channels=in_channels, channels=channels, num_layers=num_layers)
        if not 0.0 <= dropout < 1.0:
            raise ValueError(f"'dropout' must lie in [0, 1), got {dropout}.")
        self.lin = Linear(in_channels, channels)
        rest: list[Module] = []
        for _ in range(num_layers - 1):
            rest += [relu_dropout(dropout), Linear(channels, channels)]
        self.rest = Sequential(*rest)

    def reset_parameters(self) -> None:
        for module in self.modules():
            if isinstance(module, Linear):
                module.reset_parameters()

    def forward(self, x: Tensor) -> Tensor:
        hidden = sparse_linear(x, self.lin) if x.layout == torch.sparse_csr else self.lin(x)
        out: Tensor = self.rest(hidden)
        return out


def sparse_linear(x: Tensor, lin: Linear) -> Tensor:
    """``lin(x)`` for a sparse CSR matrix; same bits every time, in the gradient too."""
    out = gather_reduce(lin.weight.t(), x.crow_indices(), x.col_indices(), "sum", weight=x.values())
    return out if lin.bias is None else out + lin.bias


def take_rows(x: Tensor, index: Tensor) -> Tensor:
    """``x[index]`` for a dense or a sparse CSR matrix."""
    if x.layout != torch.sparse_csr:
        return x[index]
    rowptr = x.crow_indices()
    _, place = expand(rowptr, index)
    count = (rowptr[1:] - rowptr[:-1])[index]
    starts = torch.cat([count.new_zeros(1), count.cumsum(0)])
    return torch.sparse_csr_tensor(
        starts, x.col_indices()[place], x.values()[place], (index.numel(), x.size(1)), check_invariants=False
    )
