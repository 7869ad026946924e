"""Perceptrons that several layers are made of."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import LayerNorm, Linear, Module, ReLU, Sequential

from graphlearn.ops.dropout import dropout


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
    return Sequential(ReLU(), _Dropout(dropout)) if dropout else ReLU()


class _Residual(Module):
    def __init__(self, layers: Sequential, channels: int) -> None:
        super().__init__()
        self.layers = layers
        self.norm = LayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(x + self.layers(x))
        return out


class _Dropout(torch.nn.Dropout):
    def forward(self, x: Tensor) -> Tensor:
        return dropout(x, self.p) if self.training else x
