"""Pairs of nodes that are not linked, numbered, so that any of them can be drawn without trying others first."""

from __future__ import annotations

import torch
from torch import Tensor

from graphlearn.errors import first_three
from graphlearn.ops.lists import contains, distinct, expand
from graphlearn.ops.neighbors import NeighborLists, check_nodes
from graphlearn.sampling.random import draw_base, draw_ranks, stream


class FreePairs:
    """The unlinked pairs of a graph: of two different nodes, or, with ``num_src``, of a source and a destination.

    A link counts in both directions. Free pairs are numbered by leaving the links out of the numbers of all pairs, so
    a draw is uniform and costs ``O(log E)`` however few are left.

    Args:
        edge_index: The links, in any direction, repeated or not; self-links say nothing.
        num_nodes: Number N of nodes.
        num_src: In a graph of two kinds of nodes, how many are of the first kind; they come first.

    Attributes:
        num_left: Number of free pairs.

    Shapes:
        - ``edge_index``: ``[2, E]`` int64

    Raises:
        ValueError: If the edges are not as above, name a node that is not there, or join two nodes of one kind.
    """

    def __init__(self, edge_index: Tensor, num_nodes: int, num_src: int | None = None) -> None:
        self.graph = NeighborLists.from_edge_index(edge_index, num_nodes)
        self.num_nodes, self.num_src = num_nodes, num_src
        if num_src is not None:
            check_kinds("edge_index", edge_index, num_nodes, num_src)
        node = torch.arange(num_nodes, device=edge_index.device).repeat_interleave(self.graph.degree())
        link = torch.stack([node, self.graph.col.long()])
        self._keys = self.graph.keys()
        self._taken = self.rank(link[:, link[0] < link[1]]).sort().values
        size = num_nodes * (num_nodes - 1) // 2 if num_src is None else num_src * (num_nodes - num_src)
        self.num_left = size - len(self._taken)

    def rank(self, pairs: Tensor) -> Tensor:
        """The number of each pair among all pairs, whichever end comes first: ``[2, L]`` to ``[L]``."""
        low, high = pairs.min(dim=0).values, pairs.max(dim=0).values
        if self.num_src is not None:
            return low * (self.num_nodes - self.num_src) + high - self.num_src
        return high * (high - 1) // 2 + low

    def pair(self, rank: Tensor) -> Tensor:
        """The inverse of :meth:`rank`, the smaller node first: ``[L]`` to ``[2, L]``."""
        if self.num_src is not None:
            num_dst = self.num_nodes - self.num_src
            return torch.stack([rank // num_dst, rank % num_dst + self.num_src])
        high = ((1 + (8.0 * rank.double() + 1).sqrt()) / 2).long()
        high -= (high * (high - 1) // 2 > rank).long()  # the root was rounded up
        high += (high * (high + 1) // 2 <= rank).long()  # or down
        return torch.stack([rank - high * (high - 1) // 2, high])

    def is_free(self, pairs: Tensor) -> Tensor:
        """Whether each pair is one of these: no link, no self-link, one of each kind; ``[2, L]`` to bool ``[L]``."""
        free = (pairs[0] != pairs[1]) & ~contains(self._keys, pairs[0] * self.num_nodes + pairs[1])
        if self.num_src is not None:
            free &= (pairs[0] < self.num_src) != (pairs[1] < self.num_src)
        return free

    def check_left(self, num: int) -> None:
        """Raises ``ValueError`` if fewer than ``num`` pairs are free, saying how many are."""
        if num > self.num_left:
            raise ValueError(
                f"{num:,} pairs without a link were asked for, but of {self.num_nodes:,} nodes with "
                f"{len(self._taken):,} links only {self.num_left:,} are left. Ask for at most so many."
            )

    def all(self) -> Tensor:
        """Every free pair, ``[2, num_left]``."""
        return self._numbered(torch.arange(self.num_left, device=self._keys.device))

    def draw(self, num: int, generator: torch.Generator) -> Tensor:
        """``num`` different free pairs, every set of them equally likely, in random order: ``[2, num]``.

        Raises:
            ValueError: If fewer are left.
        """
        self.check_left(num)
        device = self._keys.device
        base = draw_base(generator)
        if num in (0, self.num_left):
            number = torch.arange(num, device=device)
        else:
            key = torch.tensor([base], device=device)
            number = draw_ranks(key, torch.tensor([self.num_left], device=device), num)[0]
        order = torch.randperm(num, generator=generator, device=generator.device).to(device)
        return self._numbered(number[order])

    def draw_for(self, source: Tensor, num: int, generator: torch.Generator) -> Tensor:
        """``num`` different nodes without a link to each source, every set equally likely, increasing: ``[L, num]``.

        Raises:
            ValueError: If a source has fewer such nodes.
        """
        self.check_left_for(source, num)
        node = distinct(source)
        row = torch.searchsorted(node, source)
        owner, place = expand(self.graph.rowptr, node)
        first = self.partners(node)[0]
        span = self.num_nodes + 1
        blocked = owner * span + self.graph.col[place] - first[owner]
        if self.num_src is None:
            blocked = torch.cat([blocked, torch.arange(len(node), device=node.device) * span + node])
        blocked = blocked.sort().values
        rowptr = torch.searchsorted(blocked, torch.arange(len(node) + 1, device=node.device) * span)

        left = self.left_for(source)
        key = stream(draw_base(generator), torch.arange(len(source), device=source.device))
        number = torch.arange(num, device=source.device).expand(len(source), num).clone()
        some = (left > num).nonzero().flatten()  # where just enough are left, all of them are taken
        if len(some) and num:
            number[some] = draw_ranks(key[some], left[some], num)
        # Node b_j is the j-th blocked one of its row, so b_j - j free nodes come before it.
        inside = torch.arange(len(blocked), device=node.device) - rowptr[blocked // span]
        before = torch.searchsorted(blocked - inside, row[:, None] * span + number, right=True)
        return number + (before - rowptr[row][:, None]) + first[row][:, None]

    def left_for(self, source: Tensor) -> Tensor:
        """How many nodes have no link to each source, ``[L]``."""
        first, last = self.partners(source)
        return last - first - self.graph.degree()[source] - (1 if self.num_src is None else 0)

    def partners(self, source: Tensor) -> tuple[Tensor, Tensor]:
        """The range of nodes, from one up to before the other, that each source may be linked with, ``[L]`` each."""
        first, last = torch.zeros_like(source), torch.full_like(source, self.num_nodes)
        if self.num_src is None:
            return first, last
        of_first_kind = source < self.num_src
        return first.masked_fill(of_first_kind, self.num_src), last.masked_fill(~of_first_kind, self.num_src)

    def check_left_for(self, source: Tensor, num: int, left: Tensor | None = None) -> None:
        """Raises ``ValueError`` if a source has fewer than ``num`` nodes left, saying how many it has."""
        left = self.left_for(source) if left is None else left
        short = (left < num).nonzero().flatten()
        if short.numel():
            shown = first_three([f"node {int(source[i])} has {int(left[i])}" for i in short[:3]])
            raise ValueError(
                f"{num:,} nodes without a link to each of {len(source):,} sources were asked for, but "
                f"{short.numel():,} have fewer left (first: {shown}). Ask for fewer per source."
            )

    def _numbered(self, number: Tensor) -> Tensor:
        before = torch.searchsorted(
            self._taken - torch.arange(len(self._taken), device=number.device), number, right=True
        )
        return self.pair(number + before)


def check_kinds(name: str, pairs: Tensor, num_nodes: int, num_src: int) -> None:
    """Raises ``ValueError`` unless each pair joins one of the first ``num_src`` nodes with one of the others."""
    check_nodes(name, pairs, num_nodes)
    if not 0 < num_src < num_nodes:
        raise ValueError(f"'num_src' must be between 1 and {num_nodes - 1}, the nodes but one, got {num_src}.")
    wrong = ((pairs[0] < num_src) == (pairs[1] < num_src)).nonzero().flatten()
    if wrong.numel():
        shown = first_three([f"{int(pairs[0, i])} - {int(pairs[1, i])}" for i in wrong[:3]])
        raise ValueError(
            f"'{name}' must join one of the first {num_src:,} nodes with one of the others, but {wrong.numel():,} of "
            f"{pairs.size(1):,} pairs join two of one kind (first: {shown})."
        )


def undirected_pairs(edge_index: Tensor, num_nodes: int) -> Tensor:
    """Each link of ``edge_index`` once, the smaller node first, sorted, without self-links: ``[2, M]``."""
    low, high = edge_index.min(dim=0).values, edge_index.max(dim=0).values
    key = distinct((low * num_nodes + high)[low != high])
    return torch.stack([key // max(num_nodes, 1), key % max(num_nodes, 1)])
