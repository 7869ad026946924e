"""A linear layer whose weight and input are rounded."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from graphlearn.compress.quantize.a2q import NodeQuantizer
from graphlearn.compress.quantize.protect import Protection
from graphlearn.compress.quantize.quantizer import Quantizer

FeatureQuantizer = Quantizer | NodeQuantizer


@dataclass
class Flow:
    """What the quantisers within one message-passing layer know of each other, during one call of it.

    Attributes:
        protection: The rows to keep, in training.
        rounded: The tensors that are rounded already; who reads one of them need not round it again.
    """

    protection: Protection
    rounded: list[Tensor] = field(default_factory=list)

    def round(self, quantizer: FeatureQuantizer | None, x: Tensor) -> Tensor:
        """``x`` rounded, unless it is already or there is nothing to round it with."""
        if quantizer is None or not x.is_floating_point() or any(x is other for other in self.rounded):
            return x
        out: Tensor = quantizer(x, self.protection.of(x, quantizer.name) if quantizer.training else None)
        self.rounded.append(out)
        return out


class RoundedLinear(torch.nn.Linear):
    r"""``Q(x) Q(W)^T + b``; the bias stays in float.

    Its weight and bias have the names, shapes and values of the layer that it takes the place of, so that states of
    the float model load.

    Args:
        weight: Of the float layer, ``[out, in]``; used as it is.
        bias: Of the float layer, ``[out]``.
        weight_quantizer: Rounds the weight.
        input_quantizer: Rounds what comes in.
        flow: Of the message-passing layer that it belongs to; ``None`` outside of one.
    """

    def __init__(
        self,
        weight: torch.nn.Parameter,
        bias: torch.nn.Parameter | None,
        weight_quantizer: Quantizer | None,
        input_quantizer: FeatureQuantizer | None,
        flow: Flow | None,
    ) -> None:
        with torch.device("meta"):
            super().__init__(weight.size(1), weight.size(0), bias is not None)
        self.weight = weight
        self.bias = bias  # type: ignore[assignment, unused-ignore]
        self.weight_quantizer, self.input_quantizer = weight_quantizer, input_quantizer
        self.flow = flow

    def forward(self, input: Tensor) -> Tensor:
        if self.flow is not None:
            x = self.flow.round(self.input_quantizer, input)
        else:
            x = input if self.input_quantizer is None else self.input_quantizer(input)
        weight = self.weight if self.weight_quantizer is None else self.weight_quantizer(self.weight)
        return F.linear(x, weight, self.bias)
