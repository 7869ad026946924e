"""All networks of a search space in one set of weights, of which a step runs one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import Module, ModuleDict, ModuleList, Parameter

from graphlearn.compress.lpgnas.attention import ATTENTION, Edges, coefficients
from graphlearn.compress.lpgnas.network import activate, heads_of, normalised, read_out, start_matrix
from graphlearn.compress.lpgnas.space import HEAD, Architecture, BlockChoice, QuantSpace, SearchSpace
from graphlearn.compress.lpgnas.widths import PARTS, Part, precision
from graphlearn.compress.quantize import ListQuantizer, Quantizer
from graphlearn.ops import gather_reduce

Gates = Mapping[str, Tensor]


class SuperConv(Module):
    """A block with every choice open: the first rows and columns of its matrix are those of all its widths.

    Args:
        in_channels: The widest input.
        space: Choices of the architecture.
        quant: Choices of bits.
        name: What the controller calls the block.
        generator: Draws the first weights.

    Shapes:
        - ``x``: ``[N, C]`` float, C at most ``in_channels``
        - returns ``[N, choice.hidden]``
    """

    def __init__(
        self, in_channels: int, space: SearchSpace, quant: QuantSpace, *, name: str, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.name, widest = name, max(space.hidden)
        self.weight = Parameter(torch.empty(widest, in_channels))
        self.vectors = Parameter(torch.empty(max(ATTENTION.values()), widest))
        self.bias = Parameter(torch.zeros(widest))
        start_matrix(self.weight, generator)
        start_matrix(self.vectors, generator)
        self.rounders = ModuleDict(
            {part: _rounders(quant, part, f"block {name}") for part in PARTS if part != "weight"}
        )
        self.rounders["weight"] = _rounders(quant, "weight", f"block {name}", widest)
        self.rounders["vectors"] = _rounders(quant, "weight", f"block {name}", self.vectors.size(0))

    def forward(self, x: Tensor, edges: Edges, choice: BlockChoice, gates: Gates | None = None) -> Tensor:
        heads, rows = heads_of(choice.attention, choice.heads), ATTENTION[choice.attention]
        x = self._round("input", choice, x)
        # Each row has its own step, so rounding before taking the first rows is rounding them.
        weight = self._round("weight", choice, self.weight[:, : x.size(1)])[: choice.hidden]
        h = F.linear(x, weight).view(x.size(0), heads, -1)
        vectors = self._round("vectors", choice, self.vectors[:, : choice.hidden])[:rows] if rows else None

        alpha = coefficients(choice.attention, h, vectors, edges)
        if alpha is not None:
            attention = self._rounder("attention", choice)
            alpha = alpha if attention is None else attention(alpha, edges.dst, x.size(0))
        h = self._round("message", choice, h)
        parts = [
            gather_reduce(
                h[:, head],
                edges.segments.rowptr,
                edges.src,
                choice.aggregator,  # type: ignore[arg-type]
                None if alpha is None else alpha[:, head],
            )
            for head in range(heads)
        ]
        out = self._round("aggregate", choice, torch.stack(parts, dim=1)).flatten(1)
        # One factor passes the gradient to the gates of all that went into it: after the norm, which undoes factors.
        scaled = ["bits.input", "bits.weight", "hidden", "attention", "aggregator", "bits.message", "bits.aggregate"]
        scaled.append("norm")
        scaled += [] if alpha is None else ["bits.attention"]
        scaled += ["heads"] if rows else []
        out = self._gated(normalised(choice, out), gates, *scaled)
        out = activate(choice.activation, out + self.bias[: choice.hidden])
        return self._gated(self._round("output", choice, out), gates, "activation", "bits.output")

    def _rounder(self, part: str, choice: BlockChoice) -> Module | None:
        name = choice.bits["weight" if part == "vectors" else part]  # type: ignore[index]
        return None if name == "float" else self.rounders[part][_key(name)]  # type: ignore[index]

    def _round(self, part: str, choice: BlockChoice, x: Tensor) -> Tensor:
        rounder = self._rounder(part, choice)
        return x if rounder is None else rounder(x)

    def _gated(self, x: Tensor, gates: Gates | None, *parts: str) -> Tensor:
        return x if gates is None else x * gate(x, [gates[f"{self.name}.{part}"] for part in parts])


class SuperHead(Module):
    """The last layer: for each block as many columns as it may have channels."""

    def __init__(self, widths: list[int], out_channels: int, quant: QuantSpace, *, generator: torch.Generator) -> None:
        super().__init__()
        self.weight = Parameter(torch.empty(out_channels, sum(widths)))
        self.bias = Parameter(torch.zeros(out_channels))
        start_matrix(self.weight, generator)
        self.rounders = ModuleDict(
            {
                "weight": _rounders(quant, "weight", "the head", out_channels),
                "input": _rounders(quant, "input", "the head"),
            }
        )

    def forward(self, x: Tensor, columns: Tensor, bits: Mapping[Part, str], gates: Gates | None = None) -> Tensor:
        weight = self.weight[:, columns]
        if bits["input"] != "float":
            x = self.rounders["input"][_key(bits["input"])](x)  # type: ignore[index]
        if bits["weight"] != "float":
            weight = self.rounders["weight"][_key(bits["weight"])](weight)  # type: ignore[index]
        out = F.linear(x, weight)
        if gates is not None:
            out = out * gate(out, [gates[f"{HEAD}.bits.input"], gates[f"{HEAD}.bits.weight"]])
        return out + self.bias


class Supernet(Module):
    """Blocks and a last layer with every choice open; a call runs what one architecture asks for, and no more.

    With the weights of :meth:`weights_of` the network of that architecture gives the same numbers. Ranges are those
    of the current tensor: architectures share weights, not ranges.

    Args:
        in_channels: Features of a node.
        out_channels: Numbers of the answer.
        space: Choices of the architecture.
        quant: Choices of bits.
        num_layers: Blocks.
        dropout: As in :class:`.network.SearchedNet`.
        generator: Draws the first weights.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        space: SearchSpace,
        quant: QuantSpace,
        *,
        num_layers: int,
        dropout: float,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.widest, self.dropout = max(space.hidden), dropout
        sizes = [in_channels, *[self.widest] * (num_layers - 1)]
        self.blocks = ModuleList(
            SuperConv(size, space, quant, name=str(layer), generator=generator) for layer, size in enumerate(sizes)
        )
        self.head = SuperHead([self.widest] * num_layers, out_channels, quant, generator=generator)

    def forward(
        self,
        x: Tensor,
        edges: Edges,
        architecture: Architecture,
        gates: Gates | None = None,
        *,
        batch: Tensor | None = None,
        num_graphs: int | None = None,
    ) -> Tensor:
        read = []
        for layer, (block, choice) in enumerate(zip(self.blocks, architecture.blocks, strict=True)):
            x = block(F.dropout(x, self.dropout, self.training), edges, choice, gates)
            if choice.skip:
                read.append(x if gates is None else x * gate(x, [gates[f"{layer}.skip"]]))
        columns = self._columns(architecture)

        def head(rows: Tensor) -> Tensor:
            out: Tensor = self.head(rows, columns, architecture.head, gates)
            return out

        return read_out(head, read, batch, num_graphs, self.dropout if self.training else 0.0)

    @torch.no_grad()
    def weights_of(self, architecture: Architecture) -> dict[str, Tensor]:
        """What :class:`.network.SearchedNet` needs of the shared weights, as its ``state_dict`` names them."""
        found: dict[str, Tensor] = {}
        width: int | None = None
        for layer, (block, choice) in enumerate(zip(self.blocks, architecture.blocks, strict=True)):
            assert isinstance(block, SuperConv)
            found[f"blocks.{layer}.lin.weight"] = block.weight[: choice.hidden, :width].clone()
            found[f"blocks.{layer}.bias"] = block.bias[: choice.hidden].clone()
            rows = ATTENTION[choice.attention]
            if rows:
                rounded = choice.bits["weight"] != "float"
                name = "parametrizations.vectors.original" if rounded else "vectors"
                found[f"blocks.{layer}.{name}"] = block.vectors[:rows, : choice.hidden].clone()
            width = choice.hidden
        found["head.weight"] = self.head.weight[:, self._columns(architecture)].clone()
        found["head.bias"] = self.head.bias.clone()
        return found

    def _columns(self, architecture: Architecture) -> Tensor:
        device = self.head.weight.device
        kept = [(layer, choice.hidden) for layer, choice in enumerate(architecture.blocks) if choice.skip]
        return torch.cat([layer * self.widest + torch.arange(width, device=device) for layer, width in kept])


def gate(x: Tensor, gates: list[Tensor]) -> Tensor:
    """The product of gates where ``x`` is, without waiting for it."""
    return torch.stack(gates).prod().to(x.device, x.dtype, non_blocking=True)


def _rounders(quant: QuantSpace, part: Part, owner: str, rows: int | None = None) -> ModuleDict:
    found: dict[str, Module] = {}
    for name in quant.of(part):
        rounded = precision(name, part)
        if rounded is None:
            continue
        label = f"the {part} of {owner}"
        if part == "attention":
            found[_key(name)] = ListQuantizer(rounded, name=label)
        else:
            current = replace(rounded, range="current")
            found[_key(name)] = Quantizer(current, rows, dim=0 if part == "weight" else -1, name=label)
    return ModuleDict(found)


def _key(name: str) -> str:
    return name.replace(".", "_")  # names of modules have no dots
