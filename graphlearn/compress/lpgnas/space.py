"""What a search chooses from, and what it chose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from graphlearn.compress.lpgnas.attention import ATTENTION
from graphlearn.compress.lpgnas.widths import PARTS, Part, precision
from graphlearn.errors import UsageError, unknown_name

AGGREGATORS = ("sum", "mean", "max")
ACTIVATIONS = ("none", "relu", "elu", "leaky", "tanh", "sigmoid", "softplus")
HEAD = "head"


@dataclass(frozen=True)
class SearchSpace:
    """Choices of the architecture, for each block; one choice fixes a part.

    Args:
        attention: How edges are weighed, see :func:`.attention.coefficients`.
        aggregator: How weighed messages become one: sum, mean or max.
        activation: What follows.
        heads: Attention heads; each weighs its share of the channels.
        hidden: Channels of a block's output, over all heads. Even, and a multiple of each number of heads.
        norm: Whether each row is brought to mean 0 and variance 1 before the activation. Without it, networks that
            share weights differ much in the size of what flows, and learn slowly.
        skip: Whether a block's output also goes straight to the last layer. The last block's always does.

    Raises:
        UsageError: If a part has no choice, one twice, or widths that heads do not divide.
        UnknownNameError: If a name is not known.
    """

    attention: tuple[str, ...] = tuple(ATTENTION)
    aggregator: tuple[str, ...] = AGGREGATORS
    activation: tuple[str, ...] = ACTIVATIONS
    heads: tuple[int, ...] = (1, 2, 4, 8)
    hidden: tuple[int, ...] = (8, 16, 32, 64, 128, 256)
    norm: tuple[bool, ...] = (True,)
    skip: tuple[bool, ...] = (False, True)

    def __post_init__(self) -> None:
        _check_choices("SearchSpace", vars(self))
        for part, known in (("attention", tuple(ATTENTION)), ("aggregator", AGGREGATORS), ("activation", ACTIVATIONS)):
            for name in getattr(self, part):
                if name not in known:
                    raise unknown_name(part, name, known)
        for hidden in self.hidden:
            for heads in self.heads:
                if hidden < 1 or heads < 1 or hidden % heads or hidden % 2:
                    raise UsageError(
                        f"'hidden' must be even and a multiple of every number of heads, got hidden {hidden} with"
                        f" {heads} heads. Take multiples of {max(2, *self.heads)}."
                    )


_FEATURES = ("ternary", "int4", "int8", "Q2.5", "Q7.8", "float")


@dataclass(frozen=True)
class QuantSpace:
    """Choices of bits, for each block; names as in :func:`.widths.precision`.

    Args:
        weight: Of the matrix and the attention vectors.
        input: Of what a block reads.
        attention: Of the coefficients of edges.
        message: Of what edges gather.
        aggregate: Of what each node's messages come to.
        output: Of what follows the activation.

    Raises:
        UsageError: If a part has no choice, one twice, or a width that it cannot have.
    """

    weight: tuple[str, ...] = ("binary", "ternary", "Q1.3", "int4", "int8", "float")
    input: tuple[str, ...] = _FEATURES
    attention: tuple[str, ...] = ("int4", "int8", "float")
    message: tuple[str, ...] = _FEATURES
    aggregate: tuple[str, ...] = _FEATURES
    output: tuple[str, ...] = _FEATURES

    def __post_init__(self) -> None:
        _check_choices("QuantSpace", vars(self))
        for part in PARTS:
            for name in self.of(part):
                precision(name, part)

    def of(self, part: Part) -> tuple[str, ...]:
        choices: tuple[str, ...] = getattr(self, part)
        return choices


@dataclass(frozen=True)
class BlockChoice:
    """A block as it was chosen: one of each of :class:`SearchSpace`, and a width for each part of it."""

    attention: str
    aggregator: str
    activation: str
    heads: int
    hidden: int
    norm: bool
    skip: bool
    bits: dict[Part, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Architecture:
    """What a search chose: plain values, to be stored as JSON.

    Attributes:
        blocks: In the order of the data.
        head: Widths of the weight and the input of the last layer.
    """

    blocks: tuple[BlockChoice, ...]
    head: dict[Part, str]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Architecture:
        """The architecture that :meth:`to_dict` gave, also after JSON.

        Raises:
            UsageError: If a part is missing or not known.
        """
        try:
            return cls(tuple(BlockChoice(**block) for block in values["blocks"]), dict(values["head"]))
        except (KeyError, TypeError) as error:
            raise UsageError(f"this is no architecture: {error}. Give what Architecture.to_dict() gave.") from error


def decisions(space: SearchSpace, quant: QuantSpace, num_layers: int) -> dict[str, tuple[Any, ...]]:
    """Every choice of a network by name, such as ``0.hidden`` and ``0.bits.weight``, with its options."""
    found: dict[str, tuple[Any, ...]] = {}
    for layer in range(num_layers):
        for part, options in vars(space).items():
            found[f"{layer}.{part}"] = (True,) if part == "skip" and layer == num_layers - 1 else options
        found |= {f"{layer}.bits.{part}": quant.of(part) for part in PARTS}
    return found | {f"{HEAD}.bits.weight": quant.weight, f"{HEAD}.bits.input": quant.input}


def architecture(options: Mapping[str, tuple[Any, ...]], chosen: Mapping[str, int]) -> Architecture:
    """The values that these positions of the options stand for."""
    value = {name: options[name][place] for name, place in chosen.items()}
    layers = sum(name.endswith(".hidden") for name in options)
    blocks = []
    for layer in range(layers):
        bits = {part: value[f"{layer}.bits.{part}"] for part in PARTS}
        blocks.append(BlockChoice(**{part: value[f"{layer}.{part}"] for part in vars(SearchSpace())}, bits=bits))
    head: dict[Part, str] = {"weight": value[f"{HEAD}.bits.weight"], "input": value[f"{HEAD}.bits.input"]}
    return Architecture(tuple(blocks), head)


def values_of(chosen: Architecture) -> dict[str, Any]:
    """The value of each decision, by name: the way back from :func:`architecture`."""
    found: dict[str, Any] = {}
    for layer, block in enumerate(chosen.blocks):
        found |= {f"{layer}.{part}": value for part, value in vars(block).items() if part != "bits"}
        found |= {f"{layer}.bits.{part}": name for part, name in block.bits.items()}
    return found | {f"{HEAD}.bits.{part}": name for part, name in chosen.head.items()}


def _check_choices(kind: str, parts: Mapping[str, Any]) -> None:
    for part, options in parts.items():
        if not isinstance(options, tuple) or not options:
            raise UsageError(f"{kind}: '{part}' must be a tuple with at least one choice, got {options!r}.")
        if len(set(options)) != len(options):
            raise UsageError(f"{kind}: '{part}' has a choice twice: {options}.")
