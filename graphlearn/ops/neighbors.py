"""The neighbours of each node of an undirected graph, each once, in increasing order."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from graphlearn.errors import first_three
from graphlearn.ops.csr_check import check_pairs
from graphlearn.ops.lists import contains, distinct

_LARGEST = 2**31 - 1


@dataclass(frozen=True)
class NeighborLists:
    """An undirected graph as lists of neighbours: no link twice, no node its own neighbour, lists increasing.

    Made by :meth:`from_edge_index`, which takes any edges.

    Attributes:
        rowptr: Start of each node's list, int64 ``[N + 1]``.
        col: The neighbours, int32 ``[2 M]``; each of the M links is in the lists of both its ends.
    """

    rowptr: Tensor
    col: Tensor

    @classmethod
    def from_edge_index(cls, edge_index: Tensor, num_nodes: int) -> NeighborLists:
        """The graph of some edges, whatever their direction, however often they are there; self-links are left out.

        Costs ``O(E log E)``.

        Shapes:
            - ``edge_index``: ``[2, E]`` int64

        Raises:
            ValueError: If a shape or dtype is not as above, a number is no node, or int32 cannot number the nodes.
        """
        check_nodes("edge_index", edge_index, num_nodes)
        if num_nodes > _LARGEST:
            raise ValueError(f"The graph has {num_nodes:,} nodes; lists of neighbours hold {_LARGEST:,} at most.")
        edge_index = edge_index[:, edge_index[0] != edge_index[1]]
        size = max(num_nodes, 1)
        key = distinct(torch.cat([edge_index[0] * size + edge_index[1], edge_index[1] * size + edge_index[0]]))
        rowptr = torch.searchsorted(key, torch.arange(num_nodes + 1, device=key.device) * size)
        return cls(rowptr, (key % size).to(torch.int32))

    @property
    def num_nodes(self) -> int:
        return self.rowptr.numel() - 1

    def degree(self) -> Tensor:
        """Number of neighbours of each node, int64 ``[N]``."""
        return self.rowptr.diff()

    def keys(self) -> Tensor:
        """``node * N + neighbour`` of each entry, increasing, int64 ``[2 M]``."""
        node = torch.arange(self.num_nodes, device=self.col.device).repeat_interleave(self.degree())
        return node * self.num_nodes + self.col

    def linked(self, pairs: Tensor) -> Tensor:
        """Whether each of ``pairs`` ``[2, L]`` is a link, bool ``[L]``."""
        return contains(self.keys(), pairs[0] * self.num_nodes + pairs[1])


def check_nodes(name: str, pairs: Tensor, num_nodes: int) -> None:
    """Raises ``ValueError`` unless ``pairs`` is int64 ``[2, *]`` and names nodes only. Reads them all."""
    check_pairs(name, pairs, "E" if name == "edge_index" else "L")
    wrong = pairs[(pairs < 0) | (pairs >= num_nodes)]
    if wrong.numel():
        raise ValueError(
            f"'{name}' must name nodes 0 to {num_nodes - 1}, but {wrong.numel()} of {pairs.numel()} numbers do not "
            f"(first: {first_three(wrong[:3].tolist())}). Is 'num_nodes' right?"
        )
