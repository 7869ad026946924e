"""Several models that are trained side by side and predict together."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import Module, ModuleList
from torch_frame import TensorFrame
from torch_geometric.data import HeteroData

from graphlearn.models.rdl import RelationalModel
from graphlearn.nn.head.node import NodeHead
from graphlearn.typing import NodeType


class Ensemble(Module):
    r"""Models with weights of their own on the same batches; what they predict is averaged.

    .. math:: \hat{y} = \tfrac{1}{M} \sum_{m=1}^{M} \hat{y}_m, \qquad L = \sum_{m=1}^{M} L_m

    Where labels are few, two trainings of one model that differ in initial weights and dropout alone predict as
    differently as two models do, and their average better than most of them. A batch is sampled and read once for all
    members, and their gradients share nothing.

    Source: Lakshminarayanan et al., "Simple and Scalable Predictive Uncertainty Estimation using Deep Ensembles",
    arXiv:1612.01474. Differs in sharing the batches, and without adversarial training.

    Args:
        members: Models of the same task and sizes, at least one.

    Shapes:
        - returns ``[M, B]`` or ``[M, B, C]``
    """

    def __init__(self, members: Sequence[RelationalModel]) -> None:
        super().__init__()
        self.members = ModuleList(members)
        self.config, self.fan_out = members[0].config, members[0].fan_out
        self.head = EnsembleHead([member.head for member in members])

    def forward(
        self,
        batch: HeteroData,
        rows: dict[NodeType, TensorFrame],
        times: dict[NodeType, Tensor],
        dated: dict[NodeType, Tensor] | None = None,
    ) -> Tensor:
        """What :meth:`RelationalModel.forward` of each member gives."""
        first = self.members[0]
        assert isinstance(first, RelationalModel)
        seen = first.look(batch, times, dated)
        return torch.stack([member(batch, rows, times, dated, seen=seen) for member in self.members])

    def fit_features(self, x: Tensor) -> None:
        """As :meth:`RelationalModel.fit_features` of each member."""
        for member in self.members:
            assert isinstance(member, RelationalModel)
            member.fit_features(x)


class EnsembleHead:
    """The members' heads as one: see :class:`~graphlearn.nn.head.node.NodeHead`, whose names it has.

    It is no module, because the heads are registered with the members.
    """

    def __init__(self, heads: Sequence[NodeHead]) -> None:
        self._heads = list(heads)
        self.task_type, self.num_classes = heads[0].task_type, heads[0].num_classes

    def fit_range(self, label: Tensor) -> None:
        """As :meth:`NodeHead.fit_range` of each member."""
        for head in self._heads:
            head.fit_range(label)

    def loss(self, out: Tensor, label: Tensor) -> Tensor:
        """The sum of the members' losses; ``out`` is what :meth:`Ensemble.forward` gave."""
        return torch.stack([head.loss(o, label) for head, o in zip(self._heads, out, strict=True)]).sum()

    def predict(self, out: Tensor) -> Tensor:
        """The mean of the members' predictions."""
        return torch.stack([head.predict(o) for head, o in zip(self._heads, out, strict=True)]).mean(dim=0)

    def unbounded(self, out: Tensor) -> Tensor:
        """The mean of what the members say without the limits of :meth:`predict`."""
        return torch.stack([head.unbounded(o) for head, o in zip(self._heads, out, strict=True)]).mean(dim=0)
