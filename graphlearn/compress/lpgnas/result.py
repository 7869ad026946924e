"""What a search found, and what each part of it costs."""

from __future__ import annotations

from dataclasses import dataclass

from graphlearn.compress.lpgnas.costs import FEATURE_PARTS, RANGE
from graphlearn.compress.lpgnas.network import SearchedNet
from graphlearn.compress.lpgnas.space import HEAD, Architecture
from graphlearn.compress.lpgnas.widths import width_bits


@dataclass(frozen=True)
class PartCost:
    """One line of the account.

    Attributes:
        part: Of which block, what.
        choice: What was chosen for it.
        bits: Bits of a number.
        bytes: What is stored for it.
        share: Of the whole model, 0 to 1.
    """

    part: str
    choice: str
    bits: int
    bytes: int
    share: float


@dataclass(frozen=True)
class Derived:
    """The network that a search chose. Printing it shows the account.

    Attributes:
        architecture: Plain values; ``to_dict()`` goes into JSON.
        model: The network, rounded as chosen; with the shared weights, or trained by ``retrain``.
        bytes: What is stored: weights, scales and biases.
        bit_operations: Multiplications of a pass times the bits of both factors.
        val_loss: Loss on validation.
        val_score: Score on validation.
        costs: The account, part by part.
    """

    architecture: Architecture
    model: SearchedNet
    bytes: int
    bit_operations: float
    val_loss: float
    val_score: float
    costs: tuple[PartCost, ...]

    def __str__(self) -> str:
        head = f"{'part':<18}{'choice':<32}{'bits':>5}{'bytes':>10}{'share':>8}"
        lines = (
            f"{row.part:<18}{row.choice:<32}{row.bits:>5}{row.bytes:>10,}{100 * row.share:>7.1f}%" for row in self.costs
        )
        total = (
            f"{self.bytes:,} bytes, {self.bit_operations:.3g} bit operations,"
            f" validation loss {self.val_loss:.3f}, score {self.val_score:.3f}"
        )
        return "\n".join([head, *lines, total])


def account(architecture: Architecture, parts: dict[str, int], in_channels: int) -> tuple[PartCost, ...]:
    """The lines for an architecture whose parts take these bytes."""
    total = sum(parts.values())
    rows: list[PartCost] = []

    def add(part: str, choice: str, bits: int, size: int) -> None:
        rows.append(PartCost(part, choice, bits, size, size / total))

    width = in_channels
    for layer, block in enumerate(architecture.blocks):
        weight = block.bits["weight"]
        bits = width_bits(weight, "weight")
        kind = f"{width} x {block.hidden}, {weight}"
        add(f"block {layer} weight", kind, bits, parts[f"{layer}.weight"] + parts[f"{layer}.bias"])
        heads = f"{block.attention}, {block.heads} heads, {block.bits['attention']}"
        add(
            f"block {layer} edges", heads, width_bits(block.bits["attention"], "attention"), parts[f"{layer}.attention"]
        )
        for part in FEATURE_PARTS:
            what = {"aggregate": f"{block.aggregator}, ", "output": f"{block.activation}, "}.get(part, "")
            size = RANGE * (block.bits[part] != "float") * (2 if part == "input" else 1)
            name = block.bits[part]
            add(f"block {layer} {part}", f"{what}{name}", width_bits(name, part), size)
        width = block.hidden
    read = [layer for layer, block in enumerate(architecture.blocks) if block.skip]
    weight, reads = architecture.head["weight"], architecture.head["input"]
    size = parts[f"{HEAD}.weight"] + parts[f"{HEAD}.bias"]
    blocks = " and ".join(str(layer) for layer in read)
    add(f"{HEAD} weight", f"reads block {blocks}, {weight}", width_bits(weight, "weight"), size)
    add(f"{HEAD} input", reads, width_bits(reads, "input"), parts[f"{HEAD}.ranges"])
    return tuple(rows)
