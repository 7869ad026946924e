"""The last layer of an entity task, and its loss."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import LayerNorm, Linear, Module

from graphlearn.errors import check_positive, unknown_name

TASK_TYPES = (
    "binary_classification",
    "regression",
    "multiclass_classification",
    "multilabel_classification",
    "multistep_regression",
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
    multistep_regression        absolute error         ``[B, C]`` float                         C values
    ==========================  =====================  =======================================  ===================

    A regression works on ``(y - center) / scale``, and its predictions are kept within ``[low, high]``; see
    :meth:`fit_range`. A label of -1 is a class that training did not have.

    Args:
        channels: Size of the seed's vector.
        task_type: One of the five above.
        num_classes: C, for the kinds that have several outputs; 1 for the others.

    Shapes:
        - ``x``: ``[B, channels]``
        - returns ``[B]``, or ``[B, C]`` for several outputs

    Raises:
        UnknownNameError: If the task type is none of the five.
        ValueError: If ``num_classes`` does not fit the task type.
    """

    center: Tensor
    scale: Tensor
    low: Tensor
    high: Tensor

    def __init__(self, channels: int, task_type: str, *, num_classes: int = 1) -> None:
        super().__init__()
        if task_type not in TASK_TYPES:
            raise unknown_name("task type", task_type, TASK_TYPES)
        check_positive(channels=channels, num_classes=num_classes)
        if num_classes > 1 and "multi" not in task_type:
            raise ValueError(f"{task_type} has one output, got num_classes={num_classes}. Leave it out.")
        self.channels, self.num_classes = channels, num_classes
        self.task_type = str(task_type)
        self.norm = LayerNorm(channels)
        self.lin = Linear(channels, num_classes)
        shape = (num_classes,) if task_type == "multistep_regression" else ()
        self.register_buffer("center", torch.zeros(shape))
        self.register_buffer("scale", torch.ones(shape))
        self.register_buffer("low", torch.full(shape, -torch.inf))
        self.register_buffer("high", torch.full(shape, torch.inf))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        self.norm.reset_parameters()
        self.lin.reset_parameters()
        torch.nn.init.zeros_(self.lin.bias)

    def fit_range(self, label: Tensor) -> None:
        """Sets the range of a regression from its train labels ``[N]``, or ``[N, C]`` for each step, N > 0.

        ``center`` is their median, ``scale`` their mean absolute deviation from it (1 if they are all alike), ``low``
        and ``high`` their 2nd and 98th percentile.
        """
        ranked = label.double().sort(dim=0).values
        center = ranked[(len(ranked) - 1) // 2]
        spread = (ranked - center).abs().mean(dim=0)
        self.center.copy_(center)
        self.scale.copy_(torch.where(spread > 0, spread, 1.0))
        self.low.copy_(ranked[round(0.02 * (len(ranked) - 1))])
        self.high.copy_(ranked[round(0.98 * (len(ranked) - 1))])

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.lin(self.norm(x))
        return out if "multi" in self.task_type else out.squeeze(-1)

    def loss(self, out: Tensor, label: Tensor) -> Tensor:
        """Mean loss of a batch; ``out`` is what :meth:`forward` gave."""
        out = out.to(self.scale.dtype)  # under autocast it has fewer digits
        if "regression" in self.task_type:
            return F.l1_loss(out, ((label - self.center) / self.scale).to(out.dtype))
        if self.task_type == "multiclass_classification":
            # Not the mean that torch takes, which is NaN where every label is left out.
            total = F.cross_entropy(out, label, ignore_index=-1, reduction="sum")
            return total / (label >= 0).sum().clamp_min(1)
        return F.binary_cross_entropy_with_logits(out, label.to(out.dtype))

    def predict(self, out: Tensor) -> Tensor:
        """Probabilities, or values in the unit of the label; float64, in which probabilities add up to 1."""
        found = self.unbounded(out)
        return found.clamp(self.low.double(), self.high.double()) if "regression" in self.task_type else found

    def unbounded(self, out: Tensor) -> Tensor:
        """The same, but values of a regression are not kept within the range of the train labels."""
        out = out.double()
        if "regression" in self.task_type:
            return out * self.scale + self.center
        if self.task_type == "multiclass_classification":
            return out.softmax(dim=-1)
        return out.sigmoid()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.channels}, {self.task_type!r}, num_classes={self.num_classes})"
