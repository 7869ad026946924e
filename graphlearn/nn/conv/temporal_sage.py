"""Heterogeneous GraphSAGE whose messages know how old they are; the convolution of the relational model."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import LayerNorm, Linear, Module, ModuleDict

from graphlearn.errors import unknown_name
from graphlearn.nn.aggr.gnp import GNPAggregation
from graphlearn.ops.csr import gather_reduce, gather_rows
from graphlearn.typing import EdgeType, NodeType


@dataclass(frozen=True)
class EdgeAges:
    """What the ages of the neighbours alone say of one edge type, K the number of ``memory`` columns.

    Attributes:
        weight: For each memory the weight of each entry, ``[E]``.
        scale: What weighted sums are multiplied with, ``[M, K]``.
        sums: Mean age and logarithms of count and summed ages, ``[M, 2 * age_channels + 1]``.
    """

    weight: tuple[Tensor, ...]
    scale: Tensor
    sums: Tensor

    def first(self, num_dst: int, num_entries: int) -> EdgeAges:
        """The same of the first destinations, which have the first entries."""
        return EdgeAges(tuple(w[:num_entries] for w in self.weight), self.scale[:num_dst], self.sums[:num_dst])


class TemporalSAGEConv(Module):
    r"""Adds to each row what its neighbours say, one relation at a time, with their ages and their number.

    .. math::
        \mathbf{m}_{v,e} = \Bigl[\tfrac{1}{n} \sum_{u} \mathbf{x}_u^{(0)},\;
            \Bigl(\frac{\sum_u \phi_{u,k}\, \mathbf{x}_u^{(k)}}
                {\sqrt{1 + \sum_u \phi_{u,k}}}\Bigr)_{k \in \mathrm{memory}},\;
            \tfrac{1}{n} \sum_{u} \boldsymbol{\phi}_u,\; \log\bigl(1 + \sum_{u} (1, \boldsymbol{\phi}_u)\bigr)\Bigr]
        \qquad
        \mathbf{x}'_v = \mathbf{x}_v + \mathbf{W}_2\, \mathrm{ReLU}\Bigl(\mathrm{LN}\bigl(\mathbf{W}_1 \mathbf{x}_v
            + \sum_e \mathbf{W}_e\, \mathbf{m}_{v,e}\bigr)\Bigr)

    over the n neighbours u of v through edge type e; :math:`\boldsymbol{\phi}_u` is the age of u
    (:class:`~graphlearn.nn.encoder.time.AgeEncoder`), whose decays summed are counts in several windows. The
    channels of x are split into 1 + K equal groups: group 0 is averaged over all neighbours, group k is weighted with
    the k-th column of ``memory``, a decay, so that what happened lately and what happened at any time are told apart.
    Contents are gathered and reduced in one step, so no message is ever written to memory. With ``aggr="gnp"`` group 0
    is pooled by a norm of learned order and size exponent per relation and channel
    (:class:`~graphlearn.nn.aggr.gnp.GNPAggregation`), which starts as the mean; messages of that group are written.

    Source: Hamilton et al., "Inductive Representation Learning on Large Graphs", arXiv:1706.02216; summed over
    relations as in Schlichtkrull et al., arXiv:1703.06103. Differs from the relational reference model (Fey et al.,
    arXiv:2312.04615): mean instead of sum with the counts beside it, decaying weights (own), ages per relation, a
    residual, normalisation before the non-linearity.

    Args:
        channels: Size of rows, in and out.
        age_channels: Size of an age.
        edge_types: Edge types (source, relation, destination).
        memory: Columns of the age that weigh the second and further groups of channels, each in [0, 1]; without any
            all channels are averaged.
        dropout: Share of hidden units zeroed in training.
        aggr: How group 0 is pooled, ``"mean"`` or ``"gnp"``.

    Shapes:
        - ``x``: per source type ``[N, channels]``, the vectors that ``col`` of :meth:`forward` points into
        - ``x_dst``: per destination type ``[M, channels]``
        - ``age``: per source type ``[N, age_channels]``, the ages that ``col_age`` points into; zeros for no age
        - returns per destination type ``[M, channels]``; a node without neighbours changes by its own term only, and a
          type that no edge type ends in does not change

    Raises:
        UnknownNameError: If ``aggr`` is neither.
        ValueError: If ``channels`` cannot be split into ``1 + len(memory)`` groups.
    """

    def __init__(
        self,
        channels: int,
        age_channels: int,
        edge_types: list[EdgeType],
        *,
        memory: tuple[int, ...] = (),
        dropout: float = 0.0,
        aggr: str = "mean",
    ) -> None:
        super().__init__()
        if aggr not in ("mean", "gnp"):
            raise unknown_name("aggregation", aggr, ("mean", "gnp"))
        if channels % (1 + len(memory)):
            raise ValueError(
                f"'channels' must be a multiple of {1 + len(memory)}, one group per memory, got {channels}."
            )
        self.memory = tuple(memory)
        self.dropout = dropout
        self.edge_types = list(edge_types)
        destinations = sorted({edge_type[2] for edge_type in edge_types})
        self._key = {name: f"n{i}" for i, name in enumerate(destinations)}  # names of modules must not hold dots
        width = channels + 2 * age_channels + 1
        sizes = {d: sum(e[2] == d for e in edge_types) * width for d in destinations}
        self.lin_src = ModuleDict({self._key[d]: Linear(sizes[d], channels, bias=False) for d in destinations})
        self.lin_dst = ModuleDict({self._key[d]: Linear(channels, channels) for d in destinations})
        self.norm = ModuleDict({self._key[d]: LayerNorm(channels) for d in destinations})
        self.lin_out = ModuleDict({self._key[d]: Linear(channels, channels) for d in destinations})
        self.pool: ModuleDict | None = None
        if aggr == "gnp":
            first = channels // (1 + len(memory))
            self._pool_key = {edge_type: f"e{i}" for i, edge_type in enumerate(self.edge_types)}
            self.pool = ModuleDict(
                {key: GNPAggregation(1.0, 1.0, channels=first, signed="split") for key in self._pool_key.values()}
            )

    def reset_parameters(self) -> None:
        for modules in (self.lin_src, self.lin_dst, self.norm, self.lin_out, self.pool or ModuleDict()):
            for module in modules.values():
                assert isinstance(module, (Linear, LayerNorm, GNPAggregation))
                module.reset_parameters()

    def forward(
        self,
        x: dict[NodeType, Tensor],
        age: dict[NodeType, Tensor],
        x_dst: dict[NodeType, Tensor],
        csr: dict[EdgeType, tuple[Tensor, Tensor, Tensor]],
        *,
        ages: dict[EdgeType, EdgeAges] | None = None,
    ) -> dict[NodeType, Tensor]:
        """``csr``: per edge type ``rowptr`` ``[M + 1]``, and for each entry its row of ``x`` and its row of ``age``.

        ``ages``: what :meth:`edge_ages` gives for these lists, if it is already at hand.
        """
        ages = self.edge_ages(age, csr) if ages is None else ages
        out = {}
        for name, own in x_dst.items():
            messages = [
                self._message(edge_type, x[edge_type[0]], *csr[edge_type][:2], ages[edge_type])
                for edge_type in self.edge_types
                if edge_type[2] == name
            ]
            if not messages or own.size(0) == 0:
                out[name] = own
                continue
            key = self._key[name]
            hidden = self.norm[key](self.lin_dst[key](own) + self.lin_src[key](torch.cat(messages, dim=-1)))
            hidden = F.dropout(F.relu(hidden), self.dropout, self.training)
            out[name] = own + self.lin_out[key](hidden)
        return out

    def edge_ages(
        self, age: dict[NodeType, Tensor], csr: dict[EdgeType, tuple[Tensor, Tensor, Tensor]]
    ) -> dict[EdgeType, EdgeAges]:
        """What does not depend on any weight, so that layers and models that see the same lists can share it."""
        found = {}
        for edge_type in self.edge_types:
            rowptr, _, col_age = csr[edge_type]
            own = age[edge_type[0]]
            count = rowptr.diff().unsqueeze(-1).to(own.dtype)
            total = gather_reduce(own, rowptr, col_age, "sum")
            sums = torch.cat([total / count.clamp_min(1.0), torch.cat([count, total], dim=-1).log1p()], dim=-1)
            columns = list(self.memory)
            weight = own[:, columns].t().contiguous()[:, col_age].unbind(0)
            found[edge_type] = EdgeAges(tuple(weight), (1.0 + total[:, columns]).rsqrt(), sums)
        return found

    def _message(self, edge_type: EdgeType, x: Tensor, rowptr: Tensor, col: Tensor, ages: EdgeAges) -> Tensor:
        first, *groups = x.chunk(1 + len(self.memory), dim=1)
        if self.pool is None:
            content = [gather_reduce(first, rowptr, col, "mean")]
        else:
            pool = self.pool[self._pool_key[edge_type]]
            content = [pool(gather_rows(first, col), ptr=rowptr, dim_size=rowptr.numel() - 1)]
        for k, (group, weight) in enumerate(zip(groups, ages.weight, strict=True)):
            content.append(gather_reduce(group, rowptr, col, "sum", weight=weight) * ages.scale[:, k : k + 1])
        return torch.cat([*content, ages.sums], dim=-1)
