"""Perceptrons that several layers are made of."""

from __future__ import annotations

from torch import Tensor
from torch.nn import LayerNorm, Linear, Module, Sequential

from graphlearn.ops import dropout as ops


def mlp(
    in_channels: int, channels: int, out_channels: int, num_layers: int, dropout: float, act_final: bool = False
) -> Sequential:
    """Linear layers with layer normalisation, ReLU and dropout between them.

    ``act_final``: also after the last one, if there are several.
    """
    layers: list[Module] = []
    for i in range(num_layers):
        last = i == num_layers - 1
        out = out_channels if last else channels
        layers.append(Linear(in_channels if i == 0 else channels, out))
        if not last or (act_final and num_layers > 1):
            layers += [LayerNorm(out), relu_dropout(dropout)]
    return Sequential(*layers)


def residual_mlp(channels: int, num_layers: int, dropout: float, act_final: bool = False) -> Module:
    """Linear layers with ReLU and dropout between them, whose input is added at the end, then layer normalisation.

    ``act_final``: also ReLU and dropout after the last one, if there are several.
    """
    layers: list[Module] = []
    for i in range(num_layers):
        layers.append(Linear(channels, channels))
        if i < num_layers - 1 or (act_final and num_layers > 1):
            layers.append(relu_dropout(dropout))
    return _Residual(Sequential(*layers), channels)


def relu_dropout(dropout: float) -> Module:
    """ReLU, then dropout in training."""
    return _ReLUDropout(dropout)


class _Residual(Module):
    def __init__(self, layers: Sequential, channels: int) -> None:
        super().__init__()
        self.layers = layers
        self.norm = LayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(x + self.layers(x))
        return out


class _ReLUDropout(Module):
    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        return ops.relu_dropout(x, self.p) if self.training and self.p else x.relu()

    def extra_repr(self) -> str:
        return f"p={self.p}"
