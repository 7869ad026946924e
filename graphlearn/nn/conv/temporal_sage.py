"""Heterogeneous GraphSAGE whose messages know how old they are; the convolution of the relational model."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import LayerNorm, Linear, Module, ModuleDict

from graphlearn.ops.csr import gather_reduce
from graphlearn.typing import EdgeType, NodeType


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
    Contents are gathered and reduced in one step, so no message is ever written to memory.

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

    Shapes:
        - ``x``: per source type ``[N, channels]``, the vectors that ``col`` of :meth:`forward` points into
        - ``x_dst``: per destination type ``[M, channels]``
        - ``age``: per source type ``[N, age_channels]``, the ages that ``col_age`` points into; zeros for no age
        - returns per destination type ``[M, channels]``; a node without neighbours changes by its own term only, and a
          type that no edge type ends in does not change

    Raises:
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
    ) -> None:
        super().__init__()
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

    def reset_parameters(self) -> None:
        for modules in (self.lin_src, self.lin_dst, self.norm, self.lin_out):
            for module in modules.values():
                assert isinstance(module, (Linear, LayerNorm))
                module.reset_parameters()

    def forward(
        self,
        x: dict[NodeType, Tensor],
        age: dict[NodeType, Tensor],
        x_dst: dict[NodeType, Tensor],
        csr: dict[EdgeType, tuple[Tensor, Tensor, Tensor]],
    ) -> dict[NodeType, Tensor]:
        """``csr``: per edge type ``rowptr`` ``[M + 1]``, and for each entry its row of ``x`` and its row of ``age``."""
        out = {}
        for name, own in x_dst.items():
            messages = [
                self._message(x[edge_type[0]], age[edge_type[0]], *csr[edge_type])
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

    def _message(self, x: Tensor, age: Tensor, rowptr: Tensor, col: Tensor, col_age: Tensor) -> Tensor:
        count = rowptr.diff().unsqueeze(-1).to(x.dtype)
        ages = gather_reduce(age, rowptr, col_age, "sum")
        groups = [group.contiguous() for group in x.chunk(1 + len(self.memory), dim=1)]
        content = [gather_reduce(groups[0], rowptr, col, "mean")]
        for group, column in zip(groups[1:], self.memory, strict=True):
            total = gather_reduce(group, rowptr, col, "sum", weight=age[:, column][col_age])
            content.append(total * (1.0 + ages[:, column : column + 1]).rsqrt())
        sums = torch.cat([count, ages], dim=-1).log1p()
        return torch.cat([*content, ages / count.clamp_min(1.0), sums], dim=-1)
