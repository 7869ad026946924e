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

_SCALE = 4  # bytes: a float per row of a weight, or one per matrix of fixed point
_RANGE = 8  # bytes: a float and an int32 per place where features are rounded


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
        self._hidden = _numbers(options["0.hidden"])
        kinds = options["0.attention"]
        self._vectors = _numbers([ATTENTION[kind] for kind in kinds])
        self._at_nodes = _numbers([ATTENTION[kind] if kind not in PER_EDGE else 0 for kind in kinds])
        self._at_edges = _numbers([ATTENTION[kind] if kind in PER_EDGE else 0 for kind in kinds])
        self._weighed = _numbers([kind != "none" for kind in kinds])
        names = options["0.bits.weight"]
        rounded = [precision(name, "weight") for name in names]
        self._per_row = _numbers([_SCALE if p is not None and p.per == "channel" else 0 for p in rounded])
        self._per_matrix = _numbers([_SCALE if p is not None and p.per == "tensor" else 0 for p in rounded])
        self._rows = _row_table(names, self.options["0.hidden"])  # [W, hidden]
        self._first = _row_table(names, (in_channels,))  # [W, 1]
        self._bits = {
            name: _numbers([width_bits(width, _part(name)) for width in widths])
            for name, widths in options.items()
            if ".bits." in name
        }
        self._ranges = {
            name: _numbers([_RANGE * (width != "float") for width in options[name]])
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
            weight = chosen[f"{layer}.bits.weight"]
            hidden = chosen[f"{layer}.hidden"] @ self._hidden
            row = weight @ self._first @ weight.new_ones(1)
            if layer:
                row = weight @ self._rows @ chosen[f"{layer - 1}.hidden"]
            found[f"{layer}.weight"] = hidden * (row + weight @ self._per_row) + weight @ self._per_matrix
            vectors = chosen[f"{layer}.attention"] @ self._vectors
            some = chosen[f"{layer}.attention"] @ (self._vectors > 0).to(vectors.dtype)
            row = weight @ self._rows @ chosen[f"{layer}.hidden"]
            found[f"{layer}.attention"] = vectors * (row + weight @ self._per_row) + some * (weight @ self._per_matrix)
            found[f"{layer}.bias"] = 4 * hidden
            ranges = {part: self._range(chosen, f"{layer}.bits.{part}") for part in _FEATURE_PARTS}
            # The input's range is stored by the block and by its matrix.
            found[f"{layer}.ranges"] = torch.stack([*ranges.values(), ranges["input"]]).sum()
        weight = chosen[f"{HEAD}.bits.weight"]
        row = weight @ self._per_row
        for layer in range(self.layers):
            row = row + self._read(chosen, layer) * (weight @ self._rows @ chosen[f"{layer}.hidden"])
        found[f"{HEAD}.weight"] = self.out_channels * row + weight @ self._per_matrix
        found[f"{HEAD}.bias"] = weight.new_tensor(4.0 * self.out_channels)
        found[f"{HEAD}.ranges"] = self._range(chosen, f"{HEAD}.bits.input")
        return found

    def operations(self, chosen: Mapping[str, Tensor]) -> Tensor:
        """Bit operations of one pass, expected under these probabilities of the options."""
        total = self._hidden.new_zeros(())
        width = total + self.in_channels
        read = total
        for layer in range(self.layers):
            kind, hidden = chosen[f"{layer}.attention"], chosen[f"{layer}.hidden"] @ self._hidden
            bits = {part: self._mean_bits(chosen, f"{layer}.bits.{part}") for part in _COUNTED}
            total = total + self.num_nodes * width * hidden * bits["weight"] * bits["input"]
            scored = self.num_nodes * (kind @ self._at_nodes) + self.num_edges * (kind @ self._at_edges)
            total = total + scored * hidden * FLOAT_BITS * bits["weight"]
            factor = 1 + (kind @ self._weighed) * (bits["attention"] - 1)
            total = total + self.num_edges * hidden * factor * bits["message"]
            read = read + self._read(chosen, layer) * hidden
            width = hidden
        bits = {part: self._mean_bits(chosen, f"{HEAD}.bits.{part}") for part in ("weight", "input")}
        return total + self.num_outputs * read * self.out_channels * bits["weight"] * bits["input"]

    def _read(self, chosen: Mapping[str, Tensor], layer: int) -> Tensor:
        return chosen[f"{layer}.skip"] @ _numbers(self.options[f"{layer}.skip"])

    def _range(self, chosen: Mapping[str, Tensor], name: str) -> Tensor:
        return chosen[name] @ self._ranges[name]

    def _mean_bits(self, chosen: Mapping[str, Tensor], name: str) -> Tensor:
        return chosen[name] @ self._bits[name]


_FEATURE_PARTS: tuple[Part, ...] = ("input", "message", "aggregate", "output")
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


def _row_table(widths: tuple[str, ...], columns: tuple[int, ...]) -> Tensor:
    return torch.stack(
        [_numbers([row_bytes(count, width_bits(width, "weight")) for count in columns]) for width in widths]
    )


def _numbers(values: Any) -> Tensor:
    return torch.tensor([float(value) for value in values], dtype=torch.float64)
