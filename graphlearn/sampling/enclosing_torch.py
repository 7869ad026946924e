"""The subgraph around each of many links in torch operations. Twin of graphlearn/native/subgraph.cpp.

A node of the subgraph of link l is one number, ``l * num_nodes + node``: sorted, these are the nodes of the batch.
"""

from __future__ import annotations

import torch
from torch import Tensor

from graphlearn.ops.lists import contains, distinct, expand
from graphlearn.sampling.random import stream


def enclosing_nodes(
    rowptr: Tensor, col: Tensor, links: Tensor, num_hops: int, cap: int | None, link_key: Tensor | None
) -> Tensor:
    """Nodes within ``num_hops`` of either end of each link, at most ``cap`` new ones a hop; sorted ``[n]``."""
    num_nodes, num_links = rowptr.numel() - 1, links.size(1)
    first = torch.arange(num_links, device=links.device) * num_nodes
    front = found = distinct((links + first).flatten())
    for _ in range(num_hops):
        key, to = neighbours(rowptr, col, front, num_nodes)
        near = distinct(key - key % num_nodes + to)
        front = near[~contains(found, near)]
        if cap is not None and link_key is not None:
            link = front // num_nodes
            # Which are kept depends on the link and the node alone. `>> 1` of the unsigned number keeps its order.
            draw = (stream(link_key[link], front % num_nodes) >> 1) & torch.iinfo(torch.int64).max
            order = draw.argsort(stable=True)
            order = order[link[order].argsort(stable=True)]
            rank = torch.arange(len(front), device=front.device) - torch.searchsorted(link, link)
            front = front[order[rank < cap]].sort().values
        found = torch.cat([found, front]).sort().values
    return found


def enclosing_edges(rowptr: Tensor, col: Tensor, links: Tensor, found: Tensor) -> tuple[Tensor, Tensor]:
    """Edges of each link's subgraph with its link in both directions ``[2, E]``, and the ends of the links ``[2, B]``.

    Sources and targets are places in ``found``, sorted by target, then source.
    """
    num_nodes, num_links = rowptr.numel() - 1, links.size(1)
    key, to = neighbours(rowptr, col, found, num_nodes)
    near = key - key % num_nodes + to
    inside = contains(found, near)
    src, dst = torch.searchsorted(found, near[inside]), torch.searchsorted(found, key[inside])
    pair = torch.searchsorted(found, links + torch.arange(num_links, device=links.device) * num_nodes)
    dst, src = torch.cat([dst, pair.flatten()]), torch.cat([src, pair.flip(0).flatten()])
    size = max(len(found), 1)
    edge = distinct(dst * size + src)  # a link that is an edge of the graph is there once
    return torch.stack([edge % size, edge // size]), pair


def neighbours(rowptr: Tensor, col: Tensor, key: Tensor, num_nodes: int) -> tuple[Tensor, Tensor]:
    """Each key repeated for its node's neighbours, and those neighbours; ``[sum of degrees]`` each."""
    owner, place = expand(rowptr, key % num_nodes)
    return key[owner], col[place].long()
