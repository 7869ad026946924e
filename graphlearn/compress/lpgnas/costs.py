"""What a network takes: bytes as they are stored and bit operations, for one choice or on average over many."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from graphlearn.compress.lpgnas.attention import ATTENTION, PER_EDGE
from graphlearn.compress.lpgnas.space import HEAD
from graphlearn.compress.lpgnas.widths import FLOAT_BITS, Part, precision, width_bits
from graphlearn.compress.quantize.size import row_bytes

_FLOAT = 4  # bytes
_SCALE = 4  # bytes: a float per row of a weight, or one per matrix of fixed point
RANGE = 8
"""Bytes of a float and an int32, per place where features are rounded."""


class Costs:
    r"""Tables of costs, so that the expected cost is a product of probabilities with them.

    Decisions are independent, so with :math:`p` and :math:`r` the probabilities of widths out and in, and :math:`q`
    those of bits, a block's matrix takes :math:`\bigl(\sum_h p_h h\bigr) \sum_{b,c} q_b r_c \, B_{bc}` bytes, where
    :math:`B_{bc}` are the bytes of a row of c numbers at b. With one-hot probabilities these are the bytes that
    ``size_report`` counts, scales and biases included.

    Bit operations are multiplications times the bits of both factors: matrices, attention and neighbours. Kinds of
    attention are counted in float, as they are computed; without attention a message costs its bits.

    Args:
        options: The decisions and their options.
        in_channels: Features of a node.
        out_channels: Numbers of the answer.
        num_nodes: Nodes of the graph.
        num_edges: Edges of the graph, loops included.
        num_outputs: Answers: nodes, or graphs.
    """

    def __init__(
        self,
        options: Mapping[str, tuple[Any, ...]],
        *,
        in_channels: int,
        out_channels: int,
        num_nodes: int,
        num_edges: int,
        num_outputs: int,
    ) -> None:
        self.options, self.in_channels, self.out_channels = options, in_channels, out_channels
        self.num_nodes, self.num_edges, self.num_outputs = num_nodes, num_edges, num_outputs
        self.layers = sum(name.endswith(".hidden") for name in options)
        names = [str(layer) for layer in range(self.layers)]
        self._hidden = {name: _numbers(options[f"{name}.hidden"]) for name in names}
        kinds = {name: options[f"{name}.attention"] for name in names}
        self._vectors = {name: _numbers([ATTENTION[kind] for kind in kinds[name]]) for name in names}
        self._at_edges = {
            name: _numbers([ATTENTION[kind] * (kind in PER_EDGE) for kind in kinds[name]]) for name in names
        }
        self._weighed = {name: _numbers([kind != "none" for kind in kinds[name]]) for name in names}
        widths = {owner: options[f"{owner}.bits.weight"] for owner in [*names, HEAD]}
        self._per_row = {owner: _scale_table(widths[owner], "channel") for owner in widths}
        self._per_matrix = {owner: _scale_table(widths[owner], "tensor") for owner in widths}
        self._first = _row_table(widths["0"], (in_channels,)).squeeze(1)  # [W]
        self._rows = {
            (owner, name): _row_table(widths[owner], options[f"{name}.hidden"]) for owner in widths for name in names
        }  # [W, hidden]
        self._bits = {
            name: _numbers([width_bits(width, _part(name)) for width in widths])
            for name, widths in options.items()
            if ".bits." in name
        }
        self._ranges = {
            name: _numbers([RANGE * (width != "float") for width in options[name]])
            for name in self._bits
            if _part(name) not in ("weight", "attention")
        }

    def size(self, chosen: Mapping[str, Tensor]) -> Tensor:
        """Bytes of the stored model, expected under these probabilities of the options."""
        return torch.stack(list(self.parts(chosen).values())).sum()

    def parts(self, chosen: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The same by part: names of blocks and what is stored of them."""
        found = {}
        for layer in range(self.layers):
            name = str(layer)
            weight, kind = chosen[f"{name}.bits.weight"], chosen[f"{name}.attention"]
            hidden = chosen[f"{name}.hidden"] @ self._hidden[name]
            row = self._row(chosen, name, str(layer - 1)) if layer else weight @ self._first
            per_row, per_matrix = weight @ self._per_row[name], weight @ self._per_matrix[name]
            found[f"{name}.weight"] = hidden * (row + per_row) + per_matrix
            vectors = kind @ self._vectors[name]
            some = kind @ (self._vectors[name] > 0).to(vectors.dtype)
            found[f"{name}.attention"] = vectors * (self._row(chosen, name, name) + per_row) + some * per_matrix
            found[f"{name}.bias"] = _FLOAT * hidden
            ranges = {part: self._range(chosen, f"{name}.bits.{part}") for part in FEATURE_PARTS}
            # The input's range is stored by the block and by its matrix.
            found[f"{name}.ranges"] = torch.stack([*ranges.values(), ranges["input"]]).sum()
        weight = chosen[f"{HEAD}.bits.weight"]
        row = weight @ self._per_row[HEAD]
        for layer in range(self.layers):
            row = row + self._read(chosen, layer) * self._row(chosen, HEAD, str(layer))
        found[f"{HEAD}.weight"] = self.out_channels * row + weight @ self._per_matrix[HEAD]
        found[f"{HEAD}.bias"] = weight.new_tensor(_FLOAT * self.out_channels)
        found[f"{HEAD}.ranges"] = self._range(chosen, f"{HEAD}.bits.input")
        return found

    def operations(self, chosen: Mapping[str, Tensor]) -> Tensor:
        """Bit operations of one pass, expected under these probabilities of the options."""
        read = total = self._first.new_zeros(())
        width = total + self.in_channels
        for layer in range(self.layers):
            name = str(layer)
            kind, hidden = chosen[f"{name}.attention"], chosen[f"{name}.hidden"] @ self._hidden[name]
            bits = {part: self._mean_bits(chosen, f"{name}.bits.{part}") for part in _COUNTED}
            total = total + self.num_nodes * width * hidden * bits["weight"] * bits["input"]
            at_edges = kind @ self._at_edges[name]
            scored = self.num_edges * at_edges + self.num_nodes * (kind @ self._vectors[name] - at_edges)
            total = total + scored * hidden * FLOAT_BITS * bits["weight"]
            factor = 1 + (kind @ self._weighed[name]) * (bits["attention"] - 1)
            total = total + self.num_edges * hidden * factor * bits["message"]
            read = read + self._read(chosen, layer) * hidden
            width = hidden
        bits = {part: self._mean_bits(chosen, f"{HEAD}.bits.{part}") for part in ("weight", "input")}
        return total + self.num_outputs * read * self.out_channels * bits["weight"] * bits["input"]

    def _row(self, chosen: Mapping[str, Tensor], owner: str, read: str) -> Tensor:
        """Bytes of a row of the owner's matrix, with a number per channel of the block that is read."""
        return chosen[f"{owner}.bits.weight"] @ self._rows[owner, read] @ chosen[f"{read}.hidden"]

    def _read(self, chosen: Mapping[str, Tensor], layer: int) -> Tensor:
        return chosen[f"{layer}.skip"] @ _numbers(self.options[f"{layer}.skip"])

    def _range(self, chosen: Mapping[str, Tensor], name: str) -> Tensor:
        return chosen[name] @ self._ranges[name]

    def _mean_bits(self, chosen: Mapping[str, Tensor], name: str) -> Tensor:
        return chosen[name] @ self._bits[name]


FEATURE_PARTS: tuple[Part, ...] = ("input", "message", "aggregate", "output")
"""What is rounded and has a range to store."""

_COUNTED: tuple[Part, ...] = ("weight", "input", "attention", "message")


def one_hot(options: Mapping[str, tuple[Any, ...]], places: Mapping[str, int]) -> dict[str, Tensor]:
    """Probabilities that are 1 for the chosen option of each decision."""
    eye = {name: torch.zeros(len(choices), dtype=torch.float64) for name, choices in options.items()}
    for name, place in places.items():
        eye[name][place] = 1.0
    return eye


def _part(name: str) -> Part:
    part: Part = name.rpartition(".")[2]  # type: ignore[assignment]
    return part


def _scale_table(widths: tuple[str, ...], per: str) -> Tensor:
    """Bytes of a scale, for widths that have one per ``"channel"`` or ``"tensor"``."""
    rounded = [precision(width, "weight") for width in widths]
    return _numbers([_SCALE if found is not None and found.per == per else 0 for found in rounded])


def _row_table(widths: tuple[str, ...], columns: tuple[int, ...]) -> Tensor:
    return torch.stack(
        [_numbers([row_bytes(count, width_bits(width, "weight")) for count in columns]) for width in widths]
    )


def _numbers(values: Any) -> Tensor:
    return torch.tensor([float(value) for value in values], dtype=torch.float64)
