"""How many bytes a model takes, by what they are for."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import parametrize
from torch_geometric.nn import Linear as PyGLinear
from torch_geometric.nn import MessagePassing

from graphlearn.compress.quantize.a2q import MAX_BITS, NodeQuantizer
from graphlearn.compress.quantize.integer_conv import IntegerConv
from graphlearn.compress.quantize.integer_linear import StoredLinear
from graphlearn.compress.quantize.linear import RoundedLinear
from graphlearn.compress.quantize.quantizer import Quantizer
from graphlearn.ops import QuantizedRows


@dataclass(frozen=True)
class SizeReport:
    """Bytes of a model as it would be stored.

    Attributes:
        weights: Parameters: rounded ones at their bits, the others as they are.
        scales: Steps and levels of 0, of weights and of activations; of A2Q the step and the width of each node.
        weight_scales: The part of ``scales`` that belongs to weights.
        buffers: What else is in the state, such as the statistics of batch normalisation.
        activations: What message-passing layers, and linear layers outside of them, read in one call, at its bits.
    """

    weights: int
    scales: int
    weight_scales: int
    buffers: int
    activations: int

    @property
    def weight_bytes(self) -> int:
        """Weights with their scales."""
        return self.weights + self.weight_scales

    @property
    def total(self) -> int:
        """Everything that is stored with the model: all but the activations."""
        return self.weights + self.scales + self.buffers


def size_report(model: torch.nn.Module, *example: Any) -> SizeReport:
    """What a model takes: in float, quantised by ``quantize`` (as if it were stored), or converted.

    Args:
        model: Any of them.
        example: Arguments of the model, for the activations; without any they count as 0.
    """
    counted: set[int] = set()  # parameters and buffers that are counted by their module
    weights = weight_scales = scales = 0
    rounders = {id(q) for module in model.modules() for q in _weight_quantizers(module)}
    for module in model.modules():
        if isinstance(module, RoundedLinear) and module.weight_quantizer is not None:
            weights += _packed(module.weight, module.weight_quantizer.precision.bits)
            weight_scales += 4 * module.weight_quantizer.groups
            counted.add(id(module.weight))
        elif isinstance(module, parametrize.ParametrizationList):
            quantizer = module[0]
            if isinstance(quantizer, Quantizer):
                weights += _packed(module.original, quantizer.precision.bits)
                weight_scales += 4 * quantizer.groups
                counted.add(id(module.original))
        elif isinstance(module, StoredLinear):
            weights += module.levels.numel() + (0 if module.bias is None else 4 * module.bias.numel())
            weight_scales += 4 * module.scale.numel()
            counted |= {id(part) for part in (module.levels, module.scale, module.bias)}
        elif isinstance(module, NodeQuantizer):
            scales += 5 * module.step.numel()  # a float and a byte
        elif isinstance(module, Quantizer) and id(module) not in rounders and module.precision.per != "row":
            scales += 8 * module.groups  # a float and an int32
        if isinstance(module, (Quantizer, NodeQuantizer)):
            counted |= {id(part) for part in (*module.parameters(), *module.buffers())}
    weights += sum(_bytes(part) for part in model.parameters() if id(part) not in counted)
    buffers = sum(_bytes(part) for part in model.buffers() if id(part) not in counted)
    return SizeReport(weights, scales + weight_scales, weight_scales, buffers, _activations(model, example))


def _weight_quantizers(module: torch.nn.Module) -> list[torch.nn.Module]:
    if isinstance(module, parametrize.ParametrizationList):
        return list(module)
    rounds = module.weight_quantizer if isinstance(module, RoundedLinear) else None
    return [] if rounds is None else [rounds]


def row_bytes(columns: int, bits: int) -> int:
    """Bytes of a row of numbers stored at this width: two to a byte up to 4 bits."""
    return -(-columns // 2) if bits <= 4 else columns if bits <= 8 else 2 * columns if bits <= 16 else 4 * columns


def _packed(matrix: Tensor, bits: int) -> int:
    return matrix.size(0) * row_bytes(matrix.numel() // max(matrix.size(0), 1), bits)


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


@torch.no_grad()
def _activations(model: torch.nn.Module, example: tuple[Any, ...]) -> int:
    """Bytes of what message-passing layers, and linear layers outside of them, read in one call."""
    if not example:
        return 0
    total = 0

    def read(module: torch.nn.Module, args: tuple[Any, ...]) -> None:
        nonlocal total
        first = args[0][0] if isinstance(args[0], tuple) else args[0]
        if isinstance(first, QuantizedRows):
            total += first.num_bytes
        elif isinstance(first, Tensor):
            total += math.ceil(first.numel() * _bits(module) / 8)

    handles = [module.register_forward_pre_hook(read, prepend=True) for module in _readers(model)]
    training = model.training
    try:
        model.eval()(*example)
    finally:
        model.train(training)
        for handle in handles:
            handle.remove()
    return total


def _readers(module: torch.nn.Module) -> list[torch.nn.Module]:
    if isinstance(module, (MessagePassing, IntegerConv, torch.nn.Linear, PyGLinear, StoredLinear)):
        return [module]
    return [reader for child in module.children() for reader in _readers(child)]


def _bits(module: torch.nn.Module) -> float:
    """Bits of what a layer reads, on average over the nodes; 32 where nothing is rounded."""
    quantizer = getattr(getattr(module, "quantizers", module), "input", None)
    quantizer = module.input_quantizer if isinstance(module, RoundedLinear) else quantizer
    if isinstance(quantizer, NodeQuantizer):
        return float(quantizer.width.abs().round().clamp(2, MAX_BITS).mean())
    return float(quantizer.precision.bits) if isinstance(quantizer, Quantizer) else 32.0
