"""Free pairs drawn one after the other without replacement, each with a probability like its weight.

Draws with replacement of which repeated ones are passed over give the same distribution. Where few are left, each gets
an exponential time with its weight as rate, and the earliest are taken, which gives it too.
"""

from __future__ import annotations

import torch
from torch import Tensor

from graphlearn.ops.lists import expand
from graphlearn.sampling.draw import distinct_pairs, first_distinct
from graphlearn.sampling.free_pairs import FreePairs

_FEW = 1 << 12  # free pairs that are weighed rather than drawn
_ROUNDS = 8  # of draws for a source before its nodes are weighed
_BLOCK = 1 << 22  # nodes weighed at a time


def weighted_free(free: FreePairs, weight: Tensor, num: int, generator: torch.Generator) -> Tensor:
    """``num`` different free pairs, ``[2, num]``; P(u, v) is proportional to ``weight[u] * weight[v]``.

    Args:
        free: The pairs.
        weight: Of each node; zero of nodes without a link, and of no others.
        num: Number of pairs.
        generator: To draw with.

    Raises:
        ValueError: If fewer are left whose weight is not zero.
    """
    node = (weight > 0).nonzero().flatten()
    if num and not len(node):
        raise ValueError(f"{num:,} pairs were to be drawn by degree, but no node of {len(weight):,} has a link.")
    label = torch.zeros_like(weight, dtype=torch.int64)
    label[node] = torch.arange(len(node), device=node.device)
    owner, place = expand(free.graph.rowptr, node)
    num_src = None if free.num_src is None else int((node < free.num_src).sum())
    inner = FreePairs(torch.stack([owner, label[free.graph.col[place]]]), len(node), num_src)
    inner.check_left(num)
    if inner.num_left <= max(4 * num, _FEW):
        pairs = node[inner.all()]
        return pairs[:, _earliest(weight[pairs].prod(dim=0)[None], num, generator)[0]]
    total = torch.cat([weight.new_zeros(1), weight[node].cumsum(0)])
    ends = node.new_tensor([[0, len(node)]] * 2 if num_src is None else [[0, num_src], [num_src, len(node)]])
    found = node.new_empty(2, 0)
    while found.size(1) < num:
        drawn = _draw(total, ends[:, 0], ends[:, 1], 2 * (num - found.size(1)) + 1024, generator)
        found = distinct_pairs(inner, torch.cat([found, drawn[:, inner.is_free(drawn)]], dim=1))
    return node[found[:, :num]]


def weighted_free_for(free: FreePairs, weight: Tensor, source: Tensor, num: int, generator: torch.Generator) -> Tensor:
    """``num`` different nodes without a link to each source, ``[L, num]``; P(v) is proportional to ``weight[v]``.

    Args:
        free: The pairs.
        weight: Of each node; zero of nodes without a link, and of no others.
        source: ``[L]``.
        num: Nodes for each.
        generator: To draw with.

    Raises:
        ValueError: If a source has fewer whose weight is not zero.
    """
    first, last = free.partners(source)
    idle = torch.cat([first.new_zeros(1), (weight == 0).long().cumsum(0)])
    itself = (weight[source] == 0).long() if free.num_src is None else 0  # is not among those left
    free.check_left_for(source, num, free.left_for(source) - (idle[last] - idle[first] - itself))
    total = torch.cat([weight.new_zeros(1), weight.cumsum(0)])
    ends = source.new_zeros(len(source), num)
    fine = torch.zeros_like(ends, dtype=torch.bool)
    for _ in range(_ROUNDS):
        todo = (~fine).any(dim=1).nonzero().flatten()
        drawn = _draw(total, first[todo], last[todo], 2 * num, generator)
        pairs = torch.stack([source[todo][:, None].expand_as(drawn), drawn])
        allowed = free.is_free(pairs.flatten(1)).reshape(drawn.shape) & (weight[drawn] > 0)
        ends[todo], fine[todo] = first_distinct(
            torch.cat([ends[todo], drawn], dim=1), torch.cat([fine[todo], allowed], dim=1), num
        )
    todo = (~fine).any(dim=1).nonzero().flatten()
    for rows in torch.split(todo, max(1, _BLOCK // free.num_nodes)):
        rate = weight.expand(len(rows), -1).clone()
        node = torch.arange(free.num_nodes, device=rows.device)
        rate[(node < first[rows][:, None]) | (node >= last[rows][:, None])] = 0
        rate[torch.arange(len(rows), device=rows.device), source[rows]] = 0
        owner, place = expand(free.graph.rowptr, source[rows])
        rate[owner, free.graph.col[place].long()] = 0
        drawn_row, drawn_place = fine[rows].nonzero().t()
        rate[drawn_row, ends[rows][drawn_row, drawn_place]] = 0
        chosen = _earliest(rate, min(num, free.num_nodes), generator)
        ends[rows], fine[rows] = first_distinct(
            torch.cat([ends[rows], chosen], dim=1), torch.cat([fine[rows], rate.gather(1, chosen) > 0], dim=1), num
        )
    return ends


def _draw(total: Tensor, first: Tensor, last: Tensor, num: int, generator: torch.Generator) -> Tensor:
    """``num`` nodes of each range ``first .. last - 1`` by weight, with replacement; ``total`` are sums up to each."""
    low, high = total[first][:, None], total[last][:, None]
    share = torch.rand(len(first), num, generator=generator, dtype=torch.float64).to(total.device)
    found = torch.searchsorted(total, low + share * (high - low), right=True) - 1
    return torch.minimum(found, last[:, None] - 1)  # rounding may give the upper end itself


def _earliest(rate: Tensor, num: int, generator: torch.Generator) -> Tensor:
    """The ``num`` places of each row with the earliest exponential times, ``[L, N]`` to ``[L, num]``."""
    time = torch.empty(rate.shape, dtype=torch.float64).exponential_(generator=generator).to(rate.device)
    return (time / rate).topk(num, dim=1, largest=False).indices
