"""The network that a search chose: blocks and a last layer, each rounded to the bits that it chose for them."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import Linear, Module, ModuleList, Parameter
from torch_geometric.nn import MessagePassing

from graphlearn.compress.lpgnas.attention import ATTENTION, Edges, coefficients
from graphlearn.compress.lpgnas.space import Architecture, BlockChoice
from graphlearn.compress.lpgnas.widths import precision
from graphlearn.compress.quantize import QuantConfig, quantize
from graphlearn.ops import segment_reduce


class SearchedConv(MessagePassing):  # type: ignore[misc, unused-ignore]
    r"""One block as it was chosen, in float; ``quantize`` rounds it as any other layer.

    .. math:: \mathbf{h}'_i = \sigma\Bigl(\mathbf{b} + \mathrm{norm}
        \bigoplus_{j \in \mathcal{N}(i) \cup \{i\}} \alpha_{ij} \mathbf{W} \mathbf{h}_j\Bigr)

    with :math:`\alpha` from :func:`.attention.coefficients`, for each head on its share of the channels.

    Args:
        in_channels: Channels of the input.
        choice: Attention, aggregator, activation, heads and width; its bits are not read.
        generator: Draws the first weights.

    Shapes:
        - ``x``: ``[N, in_channels]`` float;  ``edge_index``: ``[2, E]`` int64
        - returns ``[N, choice.hidden]``
    """

    def __init__(self, in_channels: int, choice: BlockChoice, *, generator: torch.Generator | None = None) -> None:
        super().__init__(aggr=choice.aggregator, node_dim=0)
        self.choice = choice
        self.heads = heads_of(choice.attention, choice.heads)
        self.lin = Linear(in_channels, choice.hidden, bias=False)
        vectors = ATTENTION[choice.attention]
        self.register_parameter("vectors", Parameter(torch.empty(vectors, choice.hidden)) if vectors else None)
        self.bias = Parameter(torch.empty(choice.hidden))
        self.reset_parameters(generator)

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        super().reset_parameters()
        start_matrix(self.lin.weight, generator)
        if self.vectors is not None:
            start_matrix(self.vectors, generator)
        torch.nn.init.zeros_(self.bias)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        h = self.lin(x).view(x.size(0), self.heads, -1)
        edges = Edges.of(edge_index, x.size(0))
        alpha = coefficients(self.choice.attention, h, self.vectors, edges)
        out: Tensor = self.propagate(torch.stack([edges.src, edges.dst]), x=h, alpha=alpha, size=(x.size(0),) * 2)
        return out

    def message(self, x_j: Tensor, alpha: Tensor | None) -> Tensor:
        return x_j if alpha is None else x_j * alpha[:, :, None]

    def update(self, aggr_out: Tensor) -> Tensor:
        return activate(self.choice.activation, normalised(self.choice, aggr_out.flatten(1)) + self.bias)


class SearchedNet(Module):
    """The network of an :class:`.space.Architecture`, with dropout before each layer; trained as any other.

    Args:
        in_channels: Features of a node.
        out_channels: Numbers of the answer.
        architecture: What was chosen.
        dropout: Share of the inputs of each layer that training zeroes, in [0, 1).
        generator: Draws the first weights.

    Shapes:
        - ``x``: ``[N, in_channels]`` float;  ``edge_index``: ``[2, E]`` int64
        - ``batch``: ``[N]`` int64, for one answer per graph, with ``num_graphs``: the mean of its nodes is read
        - returns ``[N, out_channels]`` or ``[num_graphs, out_channels]``
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        architecture: Architecture,
        *,
        dropout: float = 0.5,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.architecture, self.dropout = architecture, dropout
        widths = [block.hidden for block in architecture.blocks]
        sizes = [in_channels, *widths[:-1]]
        self.blocks = ModuleList(
            quantize(SearchedConv(size, block, generator=generator), block_config(block))
            for size, block in zip(sizes, architecture.blocks, strict=True)
        )
        self.kept = [block.skip for block in architecture.blocks[:-1]] + [True]
        read = sum(width for width, kept in zip(widths, self.kept, strict=True) if kept)
        weight, reads = precision(architecture.head["weight"], "weight"), precision(architecture.head["input"], "input")
        head = Linear(read, out_channels)
        start_matrix(head.weight, generator)
        torch.nn.init.zeros_(head.bias)
        self.head = quantize(head, QuantConfig(weight=weight, input=reads))

    def forward(
        self, x: Tensor, edge_index: Tensor, batch: Tensor | None = None, num_graphs: int | None = None
    ) -> Tensor:
        read = []
        for block, kept in zip(self.blocks, self.kept, strict=True):
            x = block(F.dropout(x, self.dropout, self.training), edge_index)
            if kept:
                read.append(x)
        return read_out(self.head, read, batch, num_graphs, self.dropout if self.training else 0.0)


def read_out(
    head: Callable[[Tensor], Tensor], read: list[Tensor], batch: Tensor | None, num_graphs: int | None, dropout: float
) -> Tensor:
    """The last layer, on what the blocks hand it: of each node, or of the mean of each graph."""
    x = torch.cat(read, dim=1)
    if batch is not None:
        x = segment_reduce(x, batch, "mean", dim_size=num_graphs)
    return head(F.dropout(x, dropout))


def block_config(block: BlockChoice) -> QuantConfig:
    """What ``quantize`` has to round in a block."""
    rounded = {part: precision(name, part) for part, name in block.bits.items()}
    return QuantConfig(
        rounded.get("weight"),
        rounded.get("input"),
        rounded.get("message"),
        rounded.get("aggregate"),
        rounded.get("output"),
        rounded.get("attention"),
    )


def heads_of(attention: str, heads: int) -> int:
    """Heads that weigh edges differently: without learned vectors there is one."""
    return heads if ATTENTION[attention] else 1


def normalised(choice: BlockChoice, x: Tensor) -> Tensor:
    """Each row with mean 0 and variance 1, where the block has a norm; nothing is learned or stored for it."""
    return F.layer_norm(x, x.shape[1:]) if choice.norm else x


def activate(name: str, x: Tensor) -> Tensor:
    """One of :data:`.space.ACTIVATIONS`."""
    if name == "none":
        return x
    out: Tensor = F.leaky_relu(x) if name == "leaky" else getattr(F, name)(x)
    return out


@torch.no_grad()
def start_matrix(matrix: Tensor, generator: torch.Generator | None) -> None:
    """Glorot's uniform start, drawn on the generator's device."""
    bound = math.sqrt(6.0 / (matrix.size(0) + matrix.size(1)))
    drawn = torch.empty(matrix.shape, dtype=matrix.dtype)
    matrix.copy_(drawn.uniform_(-bound, bound, generator=generator))
