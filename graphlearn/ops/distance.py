"""Distances to the two nodes of a pair, and the labels that are made of them."""

from __future__ import annotations

import torch
from torch import Tensor

from graphlearn.ops.csr import gather_reduce


def pair_distances(rowptr: Tensor, col: Tensor, pair: Tensor) -> Tensor:
    """Steps from each node to the two nodes of its graph's pair, each measured in the graph without the other one.

    Both searches of all graphs of a batch go on at once, one level at a time. Costs ``O(D E)`` time, D the largest
    distance, and reads one flag from the device per level.

    Shapes:
        - ``rowptr``: ``[N + 1]`` int64;  ``col``: ``[E]`` int32 or int64, where the steps from each node lead
        - ``pair``: ``[2, B]`` int64, at most one pair in each connected part
        - returns ``[N, 2]`` int64; -1 where there is no way, and from either node of the pair to the other
    """
    num_nodes = rowptr.numel() - 1
    distance = torch.full((num_nodes, 2), -1, device=col.device, dtype=torch.int64)
    ends = torch.arange(2, device=col.device)
    distance[pair, ends[:, None]] = 0
    passable = torch.ones(num_nodes, 2, device=col.device, dtype=torch.bool)
    passable[pair.flip(0), ends[:, None]] = False
    front, level = distance == 0, 0
    while front.any():
        level += 1
        near = gather_reduce(front.float(), rowptr, col, "sum") > 0
        front = near & (distance < 0) & passable
        distance[front] = level
    return distance


def drnl_labels(distance: Tensor, pair: Tensor, max_label: int | None = None) -> Tensor:
    r"""Double-radius node labels of the distances :math:`d_i, d_j` to the two nodes of the pair.

    .. math::
        z = 1 + \min(d_i, d_j) + \lfloor s / 2 \rfloor (\lfloor s / 2 \rfloor + s \bmod 2 - 1), \qquad s = d_i + d_j

    Source: Zhang, Chen, "Link Prediction Based on Graph Neural Networks", arXiv:1802.09691. The pair itself has label
    1; a node that reaches only one of its nodes, or none, has 0.

    Args:
        distance: What :func:`pair_distances` gives.
        pair: The pair of each graph.
        max_label: Larger labels become this one. None are cut if not given.

    Shapes:
        - ``distance``: ``[N, 2]`` int64;  ``pair``: ``[2, B]`` int64
        - returns ``[N]`` int64, >= 0
    """
    total = distance.sum(1)
    half = total // 2
    label = 1 + distance.amin(1) + half * (half + total % 2 - 1)
    label = label.masked_fill((distance < 0).any(1), 0)
    label[pair] = 1
    return label if max_label is None else label.clamp_max(max_label)
