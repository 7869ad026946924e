"""SEAL: link prediction with labelled enclosing subgraphs and a DGCNN, the usual baseline of WalkPool."""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import Conv1d, Embedding, Linear, MaxPool1d, Module, ModuleList
from torch_geometric.nn import SortAggregation

from graphlearn.errors import check_positive
from graphlearn.nn.pool.walk_pool import not_candidates
from graphlearn.ops.csr import csr_from_edge_index
from graphlearn.ops.gcn import gcn_sum


class SEALLinkPredictor(Module):
    r"""Scores each candidate link from its enclosing subgraph, whose nodes are labelled by their distances to its ends.

    .. math::
        \mathbf{h}_0 = [\mathrm{Embedding}(z), \mathbf{x}], \qquad \mathbf{h}_{l+1} = \tanh(\mathrm{GCN}(\mathbf{h}_l)),
        \qquad s = \mathrm{MLP}(\mathrm{CNN}(\mathrm{sort}_k([\mathbf{h}_1, \dots, \mathbf{h}_L])))

    on the graph without the candidate link. The last GCN has one channel, by which the nodes are sorted; k of them are
    kept, or rows of zeros added.

    Source: Zhang, Chen, "Link Prediction Based on Graph Neural Networks", arXiv:1802.09691.
    Differs from the paper: labels have an embedding instead of one-hot vectors, and convolutions are normalised
    symmetrically, as in later implementations; no node2vec vectors are put beside them.

    Args:
        max_label: Largest double-radius label.
        hidden_channels: Size of the GCNs and of a label's vector.
        in_channels: Size of ``x``; 0 for none.
        num_layers: GCNs before the one that sorts, > 0.
        k: Nodes kept of each subgraph, >= 10; the paper takes the size that 60 % of the subgraphs exceed.
        dropout: Share of hidden units zeroed before the last layer.

    Shapes:
        - ``z``: ``[N]`` int64 in ``[0, max_label]``;  ``edge_index``: ``[2, E]`` int64, both directions;  ``batch``:
          ``[N]`` int64, not decreasing;  ``candidate``: ``[2, B]`` int64
        - ``x``: ``[N, in_channels]`` float;  ``edge_mask``: ``[E]`` bool, False on the candidates
        - ``rowptr``: ``[N + 1]`` int64 if the edges are sorted by target
        - returns ``[B]``, logits

    Raises:
        ValueError: If a number is not > 0, ``k`` is below 10, or ``x`` is not as ``in_channels`` says.
    """

    def __init__(
        self,
        max_label: int,
        hidden_channels: int = 32,
        *,
        in_channels: int = 0,
        num_layers: int = 3,
        k: int = 30,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        check_positive(max_label=max_label, hidden_channels=hidden_channels, num_layers=num_layers)
        if k < 10:
            raise ValueError(f"'k' must be >= 10, so that both convolutions over the sorted nodes fit, got {k}.")
        self.in_channels, self.k, self.dropout = in_channels, k, dropout
        self.label = Embedding(max_label + 1, hidden_channels)
        sizes = [hidden_channels + in_channels] + num_layers * [hidden_channels] + [1]
        self.lins = ModuleList(Linear(a, b) for a, b in itertools.pairwise(sizes))
        width = num_layers * hidden_channels + 1
        self.sort = SortAggregation(k)
        self.conv1 = Conv1d(1, 16, width, width)
        self.pool = MaxPool1d(2, 2)
        self.conv2 = Conv1d(16, 32, 5)
        self.lin1 = Linear((k // 2 - 4) * 32, 128)
        self.lin2 = Linear(128, 1)

    def reset_parameters(self) -> None:
        for module in self.modules():
            if isinstance(module, (Linear, Embedding, Conv1d)):
                module.reset_parameters()

    def forward(
        self,
        z: Tensor,
        edge_index: Tensor,
        batch: Tensor,
        candidate: Tensor,
        edge_mask: Tensor | None = None,
        *,
        x: Tensor | None = None,
        rowptr: Tensor | None = None,
    ) -> Tensor:
        found = None if x is None else list(x.shape)
        if (0 if x is None else x.size(-1)) != self.in_channels:
            raise ValueError(f"'x' must be [N, {self.in_channels}], or None for 0 channels, got {found}.")
        if edge_mask is None:
            edge_mask = not_candidates(edge_index, candidate, z.numel())
        if rowptr is None:
            order = edge_index[1].argsort(stable=True)
            edge_index, edge_mask = edge_index[:, order], edge_mask[order]
            rowptr = csr_from_edge_index(edge_index, z.numel())[0]
        hidden = self.label(z) if x is None else torch.cat([self.label(z), x], dim=1)
        # Leaving edges out would change the shape, for which a GPU waits; a weight of zero says the same.
        weight = edge_mask.to(hidden.dtype)
        outs: list[Tensor] = []
        for lin in self.lins:
            hidden = gcn_sum(lin(hidden), rowptr, edge_index[0], weight).tanh()
            outs.append(hidden)
        pooled = self.sort(torch.cat(outs, dim=1), batch, dim_size=candidate.size(1)).unsqueeze(1)  # [B, 1, k * width]
        out = self.pool(self.conv1(pooled).relu())
        out = self.conv2(out).relu().flatten(1)
        out = F.dropout(self.lin1(out).relu(), self.dropout, self.training)
        score: Tensor = self.lin2(out)
        return score.squeeze(-1)
