"""Pairs of nodes that no edge joins, drawn uniformly."""

from __future__ import annotations

import torch
from torch import Tensor

from graphlearn.ops.lists import contains


def edge_keys(edge_index: Tensor, num_nodes: int) -> Tensor:
    """One number per edge and direction, sorted, for :func:`random_non_edges`."""
    src, dst = edge_index
    return torch.cat([src * num_nodes + dst, dst * num_nodes + src]).sort().values


def random_non_edges(keys: Tensor, num_nodes: int, count: int, generator: torch.Generator) -> Tensor:
    """``count`` pairs of different nodes that are no edge in either direction, ``[2, count]`` int64; repeats may occur.

    What is drawn and is an edge is drawn again, so the cost grows with the inverse of the share of pairs that are none.

    Raises:
        ValueError: If more than 90 % of all pairs are edges.
    """
    pairs = num_nodes * (num_nodes - 1)
    distinct = keys[torch.cat([keys[:1] == keys[:1], keys[1:] != keys[:-1]])]
    free = pairs - int((distinct // num_nodes != distinct % num_nodes).sum())
    if free < 0.1 * pairs or pairs == 0:
        raise ValueError(
            f"Of {pairs:,} pairs of {num_nodes:,} nodes only {free:,} are no edge, which are too few to draw "
            f"negatives from. Is this graph meant for link prediction?"
        )
    found = torch.empty(2, count, dtype=torch.int64, device=keys.device)
    todo = torch.arange(count, device=keys.device)
    while todo.numel():
        drawn = torch.randint(num_nodes, (2, todo.numel()), generator=generator, device=generator.device)
        drawn = drawn.to(keys.device)
        found[:, todo] = drawn
        todo = todo[(drawn[0] == drawn[1]) | contains(keys, drawn[0] * num_nodes + drawn[1])]
    return found
