"""The last layer of an entity task, and its loss."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import LayerNorm, Linear, Module

TASK_TYPES = (
    "binary_classification",
    "regression",
    "multiclass_classification",
    "multilabel_classification",
)


class NodeHead(Module):
    r"""Maps a seed's vector to its prediction.

    ==========================  =====================  =======================================  ===================
    task type                   loss                   label                                    prediction
    ==========================  =====================  =======================================  ===================
    binary_classification       binary cross entropy   ``[B]`` float, 0 or 1                    probability
    multilabel_classification   binary cross entropy   ``[B, C]`` float, 0 or 1                 C probabilities
    multiclass_classification   cross entropy          ``[B]`` int64, -1 is left out            C probabilities
    regression                  absolute error         ``[B]`` float                            value
    ==========================  =====================  =======================================  ===================

    A regression works on ``(y - center) / scale``, and its predictions are kept within ``[low, high]``, which training
    sets from the train labels (median, mean absolute deviation, 2nd and 98th percentile).

    Args:
        channels: Size of the seed's vector.
        task_type: One of the four above.
        num_classes: C, for the two kinds that have several.

    Shapes:
        - ``x``: ``[B, channels]``
        - returns ``[B]``, or ``[B, C]`` for several classes

    Raises:
        ValueError: If the task type is none of the four.
    """

    def __init__(self, channels: int, task_type: str, *, num_classes: int = 1) -> None:
        super().__init__()
        if task_type not in TASK_TYPES:
            raise ValueError(f"'task_type' must be one of {', '.join(TASK_TYPES)}, got '{task_type}'.")
        self.task_type = task_type
        self.norm = LayerNorm(channels)
        self.lin = Linear(channels, num_classes)
        self.register_buffer("center", torch.zeros(()))
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("low", torch.tensor(-torch.inf))
        self.register_buffer("high", torch.tensor(torch.inf))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        self.norm.reset_parameters()
        self.lin.reset_parameters()
        torch.nn.init.zeros_(self.lin.bias)

    def fit_range(self, label: Tensor) -> None:
        """Sets centre, scale and range of a regression from the train labels ``[N]``."""
        ranked = label.double().sort().values
        center = ranked[(len(ranked) - 1) // 2]
        self.center.fill_(center)
        self.scale.fill_((ranked - center).abs().mean().clamp_min(1e-12))
        self.low.fill_(ranked[round(0.02 * (len(ranked) - 1))])
        self.high.fill_(ranked[round(0.98 * (len(ranked) - 1))])

    def forward(self, x: Tensor) -> Tensor:
        out = self.lin(self.norm(x))
        return out if "multi" in self.task_type else out.squeeze(-1)

    def loss(self, out: Tensor, label: Tensor) -> Tensor:
        """Mean loss of a batch; ``out`` is what :meth:`forward` gave."""
        if self.task_type == "regression":
            return F.l1_loss(out, ((label - self.center) / self.scale).to(out.dtype))
        if self.task_type == "multiclass_classification":
            return F.cross_entropy(out, label, ignore_index=-1)
        return F.binary_cross_entropy_with_logits(out, label.to(out.dtype))

    def predict(self, out: Tensor) -> Tensor:
        """Probabilities, or values in the unit of the label."""
        if self.task_type == "regression":
            return (out * self.scale + self.center).clamp(self.low, self.high)
        if self.task_type == "multiclass_classification":
            return out.softmax(dim=-1)
        return out.sigmoid()
