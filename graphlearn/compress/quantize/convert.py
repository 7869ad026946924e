"""From a model that rounds to one that stores and computes in integers."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn.utils import parametrize
from torch_geometric.nn import BatchNorm as PyGBatchNorm
from torch_geometric.nn import MessagePassing

from graphlearn.compress.quantize.integer_conv import integer_conv, is_narrow
from graphlearn.compress.quantize.integer_linear import IntegerLinear, StoredLinear
from graphlearn.compress.quantize.linear import RoundedLinear
from graphlearn.compress.quantize.points import LayerPoints
from graphlearn.errors import UsageError

M = TypeVar("M", bound=torch.nn.Module)


class ChannelAffine(torch.nn.Module):
    """Batch normalisation in evaluation: a factor and a shift per channel."""

    scale: Tensor
    shift: Tensor

    def __init__(self, scale: Tensor, shift: Tensor) -> None:
        super().__init__()
        self.register_buffer("scale", scale)
        self.register_buffer("shift", shift)

    def forward(self, x: Tensor) -> Tensor:
        return torch.addcmul(self.shift, x, self.scale)


def convert(model: M, state: dict[str, Tensor] | None = None) -> M:
    """A copy of a quantised model that stores its weights as integers and computes in them, for prediction.

    Weights become int8, or two to a byte up to 4 bits; matrices that a layer uses otherwise (embeddings, those of
    message-passing layers without a linear layer) keep their rounded values in float. ``GCNConv``, ``SAGEConv``,
    ``GINConv`` and ``GATConv`` gather and add up int8 where all their parts are rounded to at most 8 bits, and linear
    layers multiply int8. What they give differs from the model in evaluation by rounding in float32 alone, so now and
    then by one step of a grid. Other layers keep their quantisers, and compute in float with weights stored as
    integers. Batch normalisation is folded into the linear layer before it in a ``Sequential``, elsewhere into one
    factor and shift per channel.

    Args:
        model: What ``quantize`` gave, trained or calibrated; not changed.
        state: The ``state_dict`` of such a model converted earlier, to load; then ``model`` need not be calibrated.

    Raises:
        UsageError: If the model is not quantised or has seen no data, or a weight is not rounded to at most 8 bits
            around 0.
        DataError: If a range holds NaN or infinity.
    """
    if not any(isinstance(module, (RoundedLinear, LayerPoints)) for module in model.modules()):
        raise UsageError("the model is not quantised: give it to quantize() and train or calibrate it first.")
    if state is None:
        _check_ranges(model)
    holder = torch.nn.ModuleDict({"model": copy.deepcopy(model).eval()})
    _replace(holder)
    done: M = holder["model"]  # type: ignore[assignment]
    if state is not None:
        done.load_state_dict(state)
    return done.requires_grad_(False)


def _check_ranges(model: torch.nn.Module) -> None:
    """Raises for a quantiser that has to be calibrated and is not."""
    for module in model.modules():
        if isinstance(module, LayerPoints) and module.input is not None:
            module.input.check_range()
        if isinstance(module, RoundedLinear) and module.flow is None and module.input_quantizer is not None:
            module.input_quantizer.check_range()


def _replace(module: torch.nn.Module, in_float: bool = False) -> None:
    """Replaces the children of ``module``, and theirs; ``in_float``: within a layer that keeps its quantisers."""
    before: torch.nn.Module | None = None  # the layer that ran before, where the order is known
    for part, child in list(module.named_children()):
        if isinstance(child, parametrize.ParametrizationList):
            # Rounded for good. Not removed: that would change the class, which the model that was copied shares.
            child.original = torch.nn.Parameter(child().detach())
            child[0] = torch.nn.Identity()
            continue
        new, norm = child, _affine(child)
        if isinstance(child, MessagePassing):
            rounded = any(isinstance(inner, LayerPoints) for inner in child.children())
            new = integer_conv(child) or child if rounded else child
            _replace(new, in_float=new is child)
        elif isinstance(child, RoundedLinear):
            new = _linear(child, in_float)
        elif norm is not None and isinstance(before, StoredLinear):
            before.fold(*norm)
            new = torch.nn.Identity()
        elif norm is not None:
            new = ChannelAffine(*norm)
        else:
            _replace(child, in_float)
        if new is not child:
            setattr(module, part, new)
        before = new if isinstance(module, torch.nn.Sequential) else None


def _linear(linear: RoundedLinear, in_float: bool) -> torch.nn.Module:
    """In integers if its input is rounded to at most 8 bits, with a stored weight if only that is, else as it is."""
    if linear.weight_quantizer is None:
        return linear
    integer = not in_float and is_narrow(linear.input_quantizer)
    return IntegerLinear(linear) if integer else StoredLinear(linear)


def _affine(module: torch.nn.Module) -> tuple[Tensor, Tensor] | None:
    """Factor and shift of a batch normalisation that has statistics."""
    norm = module.module if isinstance(module, PyGBatchNorm) else module
    if not isinstance(norm, torch.nn.BatchNorm1d) or norm.running_mean is None or norm.running_var is None:
        return None
    scale = (norm.running_var + norm.eps).rsqrt()
    scale = scale if norm.weight is None else scale * norm.weight.detach()
    shift = -norm.running_mean * scale
    return scale, shift if norm.bias is None else shift + norm.bias.detach()
