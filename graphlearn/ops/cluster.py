"""Communities of a graph by modularity."""

from __future__ import annotations

import torch
from torch import Tensor

from graphlearn.ops.tuples import power_graph


def modularity_clusters(edge_index: Tensor, num_nodes: int, *, resolution: float = 0.5, rounds: int = 50) -> Tensor:
    r"""A cluster of each node, by moves that raise the modularity, of nodes that gain more than their neighbours.

    .. math:: \Delta_{v \to c} = w_{v,c} - \mathrm{resolution} \cdot \frac{d_v\, D_c}{2m}

    with :math:`w_{v,c}` the edges of v into c, :math:`d_v` its degree, :math:`D_c` the degrees of c without v, m the
    edges. Ties go to the cluster with the smallest number, so the result can depend on how nodes are numbered. One
    level, no merging of clusters: coarser than the published Louvain method (arXiv:0803.0476). ``O(rounds * E log E)``.

    Shapes:
        - ``edge_index``: ``[2, E]`` int64, direction and repetition do not matter
        - returns ``[N]`` int64, the number of a node of the cluster; a node without edges is its own
    """
    src, dst = power_graph(edge_index, num_nodes, 1)
    every = torch.arange(num_nodes, device=edge_index.device)
    cluster = every
    if src.numel() == 0:
        return cluster
    degree = torch.bincount(src, minlength=num_nodes).double()
    for _ in range(rounds):
        weight = degree.new_zeros(num_nodes).index_add_(0, cluster, degree)
        # Into each neighbouring cluster and, with no edge, into the own one.
        pairs = torch.cat([src * num_nodes + cluster[dst], every * num_nodes + cluster])
        keys, place = torch.unique(pairs, return_inverse=True)
        links = degree.new_zeros(keys.numel()).index_add_(0, place[: src.numel()], degree.new_ones(src.numel()))
        node, target = keys // num_nodes, keys % num_nodes
        others = weight[target] - degree[node] * (target == cluster[node])
        gain = links - resolution * degree[node] * others / src.numel()
        best = gain.new_full((num_nodes,), -torch.inf).scatter_reduce_(0, node, gain, "amax")
        ties = target.masked_fill(gain < best[node] - _TIE, num_nodes)
        choice = torch.full_like(cluster, num_nodes).scatter_reduce_(0, node, ties, "amin")
        rise = best - gain[place[src.numel() :]]
        # Two neighbours that moved at once would swap places for ever: only who gains most among its neighbours moves.
        rank = torch.empty_like(every)
        rank[rise.argsort(stable=True, descending=True)] = every
        first = torch.full_like(every, num_nodes).scatter_reduce_(0, src, rank[dst], "amin")
        moves = (rise > _TIE) & (rank < first)
        cluster = torch.where(moves, choice, cluster)
    return cluster


_TIE = 1e-9
"""Gains closer than this are equal: they are sums of a few fractions."""
