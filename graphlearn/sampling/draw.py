"""What is drawn many at a time: random neighbours, walks, and the first different ones of a row of draws."""

from __future__ import annotations

import torch
from torch import Tensor

from graphlearn.ops.neighbors import NeighborLists
from graphlearn.sampling.free_pairs import FreePairs


def random_neighbor(graph: NeighborLists, node: Tensor, generator: torch.Generator) -> Tensor:
    """A uniform neighbour of each node; -1 of one without neighbours, and of -1. Same shape as ``node``."""
    at = node.clamp_min(0)
    degree = graph.degree()[at]
    rank = (torch.rand(node.shape, generator=generator, dtype=torch.float64).to(node.device) * degree).long()
    some = (degree > 0) & (node >= 0)
    place = torch.where(some, graph.rowptr[at] + torch.minimum(rank, degree - 1), 0)
    return torch.where(some, graph.col[place].long(), -1) if len(graph.col) else torch.full_like(node, -1)


def walk_pairs(graph: NeighborLists, num: int, steps: int, generator: torch.Generator) -> Tensor:
    """First and last node of ``num`` walks that start at an end of a random link; ``[2, num]``, none without links."""
    if not len(graph.col):
        return graph.rowptr.new_empty(2, 0)
    entry = torch.randint(len(graph.col), (num,), generator=generator).to(graph.col.device)
    start = graph.col[entry].long()
    end = start
    for _ in range(steps):
        end = random_neighbor(graph, end, generator)
    return torch.stack([start, end])


def distinct_pairs(free: FreePairs, pairs: Tensor) -> Tensor:
    """Each pair once, in whichever direction it came, at its first place; the smaller node first."""
    rank = free.rank(pairs)
    value, order = rank.sort(stable=True)
    first = torch.ones_like(value, dtype=torch.bool)
    first[1:] = value[1:] != value[:-1]
    return free.pair(rank[order[first].sort().values])


def first_distinct(drawn: Tensor, fine: Tensor, num: int) -> tuple[Tensor, Tensor]:
    """The first ``num`` different ones in each row of those that are ``fine``, and which places hold one.

    Shapes:
        - ``drawn``: ``[L, k]`` int64;  ``fine``: ``[L, k]`` bool
        - returns ``[L, num]`` of each, ``num`` at most k
    """
    value, order = torch.where(fine, drawn, -1).sort(dim=1, stable=True)
    again = torch.zeros_like(fine)
    again[:, 1:] = value[:, 1:] == value[:, :-1]
    fine = fine & ~torch.zeros_like(fine).scatter_(1, order, again)
    front = (~fine).to(torch.int8).argsort(dim=1, stable=True)[:, :num]
    return drawn.gather(1, front), fine.gather(1, front)
