"""Link prediction with WalkPool: an encoder, the pooling, and a classifier."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import BatchNorm1d, Dropout, Embedding, Linear, Module, ReLU, Sequential

from graphlearn.errors import check_positive
from graphlearn.nn.pool.walk_pool import WalkPooling, not_candidates
from graphlearn.ops.csr import csr_from_edge_index
from graphlearn.ops.gcn import gcn_sum


class WalkPoolLinkPredictor(Module):
    r"""Scores each candidate link by the random walks in its enclosing subgraph.

    .. math::
        \mathbf{h}_1 = \mathrm{GCN}(\mathbf{x}), \quad
        \mathbf{h}_2 = \mathrm{GCN}(\mathrm{drop}(\mathrm{ReLU}(\mathbf{h}_1))),
        \quad s = \mathrm{MLP}(\mathrm{WalkPool}([\mathbf{x}, \mathbf{h}_1, \mathbf{h}_2]))

    The GCNs run on the graph with the candidate link, for links and non-links alike. Batches come from
    :class:`~graphlearn.sampling.subgraph.LinkSubgraphLoader`.

    Source: Pan, Shi, Dokmanic, "Neural Link Prediction with Walk Pooling", arXiv:2110.04375.
    Differs from the paper: the score is a logit, meant for binary cross-entropy as in the authors' code, where the
    paper has the squared error of its sigmoid; see :class:`~graphlearn.nn.pool.walk_pool.WalkPooling`.

    Args:
        in_channels: Size of a node's vector.
        hidden_channels: Size of the GCNs, of queries and keys.
        heads: Number of walks learned side by side.
        walk_length: Number of lengths that are read, from 2 on.
        dropout: Share of hidden units zeroed in training.
        max_label: Largest double-radius label, each of which gets a vector that is put beside ``x``; without labels if
            not given.
        encoder: Called with ``(x, edge_index)``, gives ``[N, encoder.out_channels]``, and takes the place of the GCNs.
        classifier: Takes the pooled ``[B, pool.out_channels]`` and gives ``[B, 1]``. Default: the paper's, which is
            :func:`paper_classifier`.

    Shapes:
        - ``x``: ``[N, in_channels]`` float;  ``edge_index``: ``[2, E]`` int64, both directions, the candidates among
          them;  ``batch``: ``[N]`` int64;  ``candidate``: ``[2, B]`` int64
        - ``z``: ``[N]`` int64, labels in ``[0, max_label]``;  ``edge_mask``: ``[E]`` bool;  ``rowptr``: ``[N + 1]``
          int64 if the edges are sorted by target
        - returns ``[B]``, logits; none for no candidates

    Raises:
        ValueError: If there are labels and ``max_label`` was not given, or the other way round, or an argument is not
            as :class:`~graphlearn.nn.pool.walk_pool.WalkPooling` wants it.
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int = 32,
        *,
        heads: int = 2,
        walk_length: int = 7,
        dropout: float = 0.5,
        max_label: int | None = None,
        encoder: Module | None = None,
        classifier: Module | None = None,
    ) -> None:
        super().__init__()
        check_positive(in_channels=in_channels, hidden_channels=hidden_channels)
        self.in_channels, self.hidden_channels = in_channels, hidden_channels
        self.dropout, self.max_label = dropout, max_label
        self.label = None if max_label is None else Embedding(max_label + 1, hidden_channels)
        width = in_channels + (0 if max_label is None else hidden_channels)
        self.encoder = encoder
        if encoder is None:
            self.lin1 = Linear(width, hidden_channels)
            self.lin2 = Linear(hidden_channels, hidden_channels)
            width += 2 * hidden_channels
        else:
            width = int(encoder.out_channels)  # type: ignore[arg-type]
        self.pool = WalkPooling(width, hidden_channels, heads=heads, walk_length=walk_length, dropout=dropout)
        self.classifier = paper_classifier(self.pool.out_channels, dropout) if classifier is None else classifier

    def reset_parameters(self) -> None:
        for module in self.modules():
            if module is not self and isinstance(module, (Linear, Embedding, BatchNorm1d)):
                module.reset_parameters()

    def forward(
        self,
        x: Tensor,
        edge_index: Tensor,
        batch: Tensor,
        candidate: Tensor,
        edge_mask: Tensor | None = None,
        *,
        z: Tensor | None = None,
        rowptr: Tensor | None = None,
    ) -> Tensor:
        if (z is None) != (self.label is None):
            found, needed = ("no 'z'", "needs") if z is None else ("'z'", "has no use for")
            raise ValueError(
                f"A model with max_label={self.max_label} {needed} labels, but got {found}. Labels come from "
                f"EnclosingSubgraph(…, drnl=True, max_label=…), with the same max_label here."
            )
        if edge_mask is None:
            edge_mask = not_candidates(edge_index, candidate, x.size(0))
        if rowptr is None:
            order = edge_index[1].argsort(stable=True)
            edge_index, edge_mask = edge_index[:, order], edge_mask[order]
            rowptr = csr_from_edge_index(edge_index, x.size(0))[0]
        if self.label is not None:
            assert z is not None
            x = torch.cat([x, self.label(z)], dim=1)
        if self.encoder is not None:
            x = self.encoder(x, edge_index)
        else:
            h1 = gcn_sum(self.lin1(x), rowptr, edge_index[0])
            hidden = F.dropout(h1.relu(), self.dropout, self.training)
            h2 = gcn_sum(self.lin2(hidden), rowptr, edge_index[0])
            x = torch.cat([x, h1, h2], dim=1)
        pooled = self.pool(x, edge_index, batch, candidate, edge_mask, rowptr=rowptr)
        score: Tensor = self.classifier(pooled)
        return score.squeeze(-1)


def paper_classifier(channels: int, dropout: float = 0.5) -> Module:
    """The authors' classifier, ``[B, D]`` to ``[B, 1]``: batch norm, then widths 20 D, 20 D, 10 D, D and 1.

    With D = 72 it has 3.3 million weights, most of the model. Its batch norm cannot train on a batch of one link.
    """
    sizes = [channels, 20 * channels, 20 * channels, 10 * channels, channels]
    layers: list[Module] = [BatchNorm1d(channels)]
    for i in range(4):
        layers += [Linear(sizes[i], sizes[i + 1]), ReLU()]
    return Sequential(*layers, Dropout(dropout), Linear(channels, 1))


def slim_classifier(channels: int, dropout: float = 0.5, hidden_channels: int = 256) -> Module:
    """A smaller one, ``[B, D]`` to ``[B, 1]``: batch norm, then widths ``hidden_channels``, a quarter of it, and 1."""
    return Sequential(
        BatchNorm1d(channels),
        Linear(channels, hidden_channels),
        ReLU(),
        Linear(hidden_channels, hidden_channels // 4),
        ReLU(),
        Dropout(dropout),
        Linear(hidden_channels // 4, 1),
    )
