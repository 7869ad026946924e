"""The small values passed between folders."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

NodeType = str
EdgeType = tuple[str, str, str]


@dataclass(frozen=True)
class PoolOutput:
    """A graph after pooling, K clusters of N nodes, and what un-pooling needs.

    Attributes:
        x: Vector of each cluster, ``[K, F]``.
        pairs: Edges between clusters, each once, the smaller number first, ``[2, M']`` int64.
        batch: Graph of each cluster, ``[K]`` int64.
        cluster: Cluster of each node, ``[N]`` int64.
        root: The node after which each cluster is named, ``[K]`` int64.
        count: Directed edges and self-loops inside each cluster, at least 1, ``[K]`` float.
        scored: The edges that were scored, ``[2, M]`` int64: pairs as above, then self-loops if there are any.
        edge_score: Their scores in (0, 1), ``[M]`` float.
    """

    x: Tensor
    pairs: Tensor
    batch: Tensor
    cluster: Tensor
    root: Tensor
    count: Tensor
    scored: Tensor
    edge_score: Tensor

    @property
    def edge_index(self) -> Tensor:
        """Edges between clusters in both directions, as PyG's layers take them, ``[2, 2 M']``."""
        return torch.cat([self.pairs, self.pairs.flip(0)], dim=1)
