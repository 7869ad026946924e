"""Which parts of a model are rounded, and how: the settings of ``quantize`` and their presets."""

from __future__ import annotations

from dataclasses import dataclass

from graphlearn.compress.quantize.precision import Precision
from graphlearn.errors import UsageError


@dataclass(frozen=True)
class NodeWidths:
    """Bits that each node learns for itself, see :class:`.a2q.NodeQuantizer`.

    Args:
        bits: Where the widths start, 2 to 8.
        num_nodes: Number of nodes of the one graph, or ``None`` for a table of ranges for any graph.
        groups: Size of that table.
    """

    bits: int = 4
    num_nodes: int | None = None
    groups: int = 1000


@dataclass(frozen=True)
class QuantConfig:
    """What is rounded; ``None`` leaves a part in float.

    Args:
        weight: Matrices of linear layers, embeddings and message-passing layers. Biases and norms stay in float.
        input: What linear and message-passing layers read.
        message: What is gathered along edges, where that is not the layer's input itself.
        aggregate: What each node's messages add up to.
        update: What ``update`` makes of it, in layers that have one.
        attention: Attention coefficients and edge weights, with a step per list of edges into a node.
        skip: Names of modules (as ``named_modules`` gives them) that stay in float, with all that is in them.
    """

    weight: Precision | None = None
    input: Precision | NodeWidths | None = None
    message: Precision | NodeWidths | None = None
    aggregate: Precision | NodeWidths | None = None
    update: Precision | NodeWidths | None = None
    attention: Precision | None = None
    skip: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.attention is not None and self.attention.per != "list":
            raise UsageError(f"'attention' needs ranges per list of edges, got per {self.attention.per}.")
        if self.weight is not None and self.weight.per not in ("tensor", "channel"):
            raise UsageError(f"'weight' needs ranges per tensor or channel, got per {self.weight.per}.")
        for part in ("input", "message", "aggregate", "update"):
            precision = getattr(self, part)
            if isinstance(precision, Precision) and precision.per in ("channel", "node", "list"):
                raise UsageError(f"'{part}' needs ranges per tensor or row, got per {precision.per}.")


def attention_weights(bits: int) -> Precision:
    """Coefficients of edges: a step for each node's incoming edges."""
    return Precision(bits, "symmetric", "list", "current")


def weights(bits: int) -> Precision:
    """Weights: a step for each output channel, from the current weights."""
    return Precision(bits, "symmetric", "channel", "current")


def W8A8() -> QuantConfig:
    """8 bits everywhere: nothing to tune, a quarter of the memory."""
    every = Precision(8)
    return QuantConfig(weights(8), every, every, every, every, attention_weights(8))


def W4A8() -> QuantConfig:
    """Weights in 4 bits, what flows through in 8."""
    every = Precision(8)
    return QuantConfig(weights(4), every, every, every, every, attention_weights(8))


def W4A4() -> QuantConfig:
    """4 bits everywhere, ranges by moving averages: the naive way, which hubs and sparse features can ruin."""
    every = Precision(4)
    return QuantConfig(weights(4), every, every, every, every, attention_weights(4))


def DegreeQuant(bits: int) -> QuantConfig:
    """Ranges by percentiles; train it inside of :func:`.protect.protected`, with the probabilities of the paper:
    0 to 0.1 at 8 bits, 0.1 to 0.2 at 4.

    Source: Tailor et al., "Degree-Quant: Quantization-Aware Training for Graph Neural Networks", arXiv:2008.05000.

    Raises:
        UsageError: If ``bits`` is neither 4 nor 8.
    """
    if bits not in (4, 8):
        raise UsageError(f"DegreeQuant is for 4 or 8 bits, got {bits}.")
    tail = 0.001 if bits == 8 else 0.01
    every = Precision(bits, range="percentile", tail=tail)
    return QuantConfig(weights(bits), every, every, every, every, attention_weights(bits))


def A2Q(bits: int = 4, num_nodes: int | None = None) -> QuantConfig:
    """Features with bits that each node learns, weights in 4 bits with learned steps.

    Train it with :func:`.a2q.memory_penalty`. With ``num_nodes`` for one graph, without for any.

    Source: Zhu et al., "A2Q: Aggregation-Aware Quantization for Graph Neural Networks", arXiv:2302.00193.
    """
    every = NodeWidths(bits, num_nodes)
    weight = Precision(4, "symmetric", "channel", "learned")
    return QuantConfig(weight, every, every, every, every, attention_weights(8))
