"""Linear layers whose weights are stored, and multiplied, as small integers."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from graphlearn.compress.quantize.linear import FeatureQuantizer, RoundedLinear
from graphlearn.compress.quantize.quantizer import Quantizer
from graphlearn.errors import UsageError
from graphlearn.ops.quantized import QuantizedRows, pack_int4, unpack_int4


def rows_of(quantizer: FeatureQuantizer | None, x: Tensor | QuantizedRows) -> QuantizedRows:
    """``x`` ``[N, ...]`` as rows of levels; what is rows already stays."""
    if isinstance(x, QuantizedRows):
        return x
    assert quantizer is not None
    levels, scale, zero = quantizer.integers(x)
    levels = levels.reshape(x.size(0), -1)
    single = scale.numel() == 1
    return QuantizedRows(levels, scale.float(), levels.size(1), zero=zero.view(1) if single else None)


class StoredLinear(torch.nn.Module):
    """A weight stored as levels (two to a byte up to 4 bits) with a step per output channel, and a bias in float.

    Multiplies in float, and rounds its input as the layer did that it is made of. Batch normalisation after it can be
    folded in.
    """

    levels: Tensor
    scale: Tensor
    bias: Tensor | None

    def __init__(self, linear: RoundedLinear) -> None:
        super().__init__()
        quantizer = linear.weight_quantizer
        assert quantizer is not None
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.bits = quantizer.precision.bits
        levels, scale, _ = _symmetric(quantizer).integers(linear.weight)
        self.register_buffer("levels", pack_int4(levels) if self.bits <= 4 else levels)
        self.register_buffer("scale", scale.detach().expand(self.out_features).clone())
        self.register_buffer("bias", None if linear.bias is None else linear.bias.detach().clone())
        self.input = linear.input_quantizer
        self.flow = linear.flow

    def whole(self) -> Tensor:
        """The levels, int8 ``[out, in]``."""
        return unpack_int4(self.levels, self.in_features) if self.bits <= 4 else self.levels

    def fold(self, scale: Tensor, shift: Tensor) -> None:
        """Makes the layer compute ``scale * out + shift``; the levels stay."""
        bias = shift if self.bias is None else scale * self.bias + shift
        self.scale.mul_(scale)
        self.bias = bias.detach().clone()

    def forward(self, x: Tensor) -> Tensor:
        if self.flow is not None:
            x = self.flow.round(self.input, x)
        elif self.input is not None:
            x = self.input(x)
        return F.linear(x, self.whole().to(x.dtype) * self.scale[:, None], self.bias)

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, {self.bits} bits"


class IntegerLinear(StoredLinear):
    r"""Multiplies levels by levels and adds up in int32.

    .. math:: y_o = s\,t_o \Bigl(\sum_i w_{oi} q_i - z \sum_i w_{oi}\Bigr) + b_o

    By ``torch._int_mm``; on a GPU, where that does not take every shape, else in float64, which gives the same whole
    numbers.

    Args:
        linear: The layer that was trained or calibrated.
        rounds: Whether it rounds its input itself; else it only takes rows of levels.
    """

    def __init__(self, linear: RoundedLinear, *, rounds: bool = True) -> None:
        super().__init__(linear)
        self.input = self.input if rounds else None
        self.flow = None

    def forward(self, x: Tensor | QuantizedRows) -> Tensor:
        rows = rows_of(self.input, x)
        weight = self.whole()
        step = rows.scale[:, None] * self.scale  # [1, out], or [N, out] if each row has its own
        out = _product(rows.unpacked(), weight).to(torch.float32).mul_(step)  # in place: new pages cost more
        if rows.zero is not None:
            out.sub_(step * (rows.zero * weight.sum(dim=1, dtype=torch.int32)))
        return out if self.bias is None else out.add_(self.bias)


def _product(levels: Tensor, weight: Tensor) -> Tensor:
    """``levels @ weight.t()`` of int8 in int32."""
    rows, channels = levels.shape
    fits = rows > 16 and channels >= 16 and channels % 8 == 0 and weight.size(0) % 8 == 0
    # On a CPU it is wrong for one channel (torch 2.13).
    if rows and (channels > 1 if levels.device.type == "cpu" else fits):
        return torch._int_mm(levels.contiguous(), weight.t())
    return (levels.double() @ weight.double().t()).to(torch.int32)


def _symmetric(quantizer: Quantizer) -> Quantizer:
    """The quantiser of a weight, if its levels fit a byte and 0 is level 0.

    Raises:
        UsageError: If not.
    """
    precision = quantizer.precision
    if precision.bits > 8 or precision.scheme == "affine":
        raise UsageError(
            f"{quantizer.name} has {precision.bits} bits, scheme '{precision.scheme}': convert() stores weights of at"
            " most 8 bits around 0. Take scheme 'symmetric', 'fixed', 'ternary' or 'binary', or leave it out."
        )
    return quantizer
