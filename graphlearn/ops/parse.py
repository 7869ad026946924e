"""Clusters of a graph from its best edges: one round of Borůvka's algorithm, without a loop over nodes or clusters."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from graphlearn.errors import first_three
from graphlearn.native import kernels
from graphlearn.ops.csr_check import check_pairs


def graph_parse(edge_index: Tensor, edge_score: Tensor, num_nodes: int) -> Tensor:
    r"""Merges every node with the neighbour at the other end of its best edge, and so on along the chain.

    .. math:: \mathrm{dom}(u) = \text{other end of } \operatorname{argmax}_{e \ni u} s_e, \qquad
        \text{clusters} = \text{weakly connected components of } u \to \mathrm{dom}(u)

    which is one round of Borůvka's algorithm for the maximum spanning forest. Edges are undirected: a column joins its
    two nodes whichever comes first, and of several columns between two nodes the best one counts, so both directions,
    one direction and multi-edges are all fine. A self-loop lets its node stay where it is. Of equal scores the column
    that comes first wins; therefore nothing is symmetric under a new order of the edges where scores are equal, but
    everything is where they differ.

    Each cluster without a self-loop that won has at least two nodes, so repeated parsing ends after at most
    ``ceil(log2 N)`` rounds. Costs ``O(E + N log N)`` time and ``O(E + N)`` memory, waits for no device, and gives no
    gradient. The numbers of clusters follow the nodes: all clusters of a batch's first graph come first.

    Source: Song et al., "Graph Parsing Networks", arXiv:2402.14393, whose three operators DOM, EXP and GEN grow one
    cluster after the other. Differs from it: the partition is found for all clusters at once; equal scores are told
    apart by the edge and not by the order in which clusters grow.

    Args:
        edge_index: Pairs of nodes.
        edge_score: One score per column, larger is better. Give logits: equal sigmoids may come from different logits.
        num_nodes: N; a node without edges is a cluster of its own.

    Shapes:
        - ``edge_index``: ``[2, E]`` int64;  ``edge_score``: ``[E]`` float
        - returns ``[N]`` int64, the cluster of each node, from 0 without gaps; no node gives ``[0]``

    Raises:
        ValueError: If a shape or dtype is not as above, or (on a CPU) if an index is out of range or a score NaN.
    """
    check_pairs("edge_index", edge_index, "E")
    if edge_score.shape != edge_index.shape[1:] or not edge_score.is_floating_point():
        found = f"{edge_score.dtype} {list(edge_score.shape)}"
        raise ValueError(
            f"'edge_score' must be a float tensor with one score for each of the {edge_index.size(1)} "
            f"columns of 'edge_index', got {found}."
        )
    return parse_clusters(edge_index, edge_score, num_nodes)[1]


def parse_clusters(edge_index: Tensor, edge_score: Tensor, num_nodes: int) -> tuple[Tensor, Tensor]:
    """For each node the one after which its cluster is named, and the cluster's number: each ``[N]`` int64.

    A cluster is named after the smaller end of its best edge. What :func:`graph_parse` does, for tensors of the right
    shape; one pass in C++ on a CPU where the kernels are built.
    """
    if edge_index.device.type == "cpu":
        if kernels is not None and not torch.compiler.is_compiling():
            return _native(edge_index, edge_score, num_nodes)
        check_edge_index(edge_index, num_nodes)
        check_scores(edge_score)
    root = parse_roots(edge_index, edge_score, num_nodes)
    own = root == torch.arange(num_nodes, device=root.device)
    return root, (own.cumsum(0) - 1)[root]


def _native(edge_index: Tensor, edge_score: Tensor, num_nodes: int) -> tuple[Tensor, Tensor]:
    assert kernels is not None
    edge_index, edge_score = edge_index.contiguous(), edge_score.detach().double().contiguous()
    root, cluster = edge_index.new_empty(num_nodes), edge_index.new_empty(num_nodes)
    valid = kernels.parse_clusters(
        edge_index.data_ptr(), edge_score.data_ptr(), edge_score.numel(), num_nodes, root.data_ptr(), cluster.data_ptr()
    )
    if not valid:  # only now is it worth looking what it was
        check_edge_index(edge_index, num_nodes)
        check_scores(edge_score)
    return root, cluster


def parse_roots(edge_index: Tensor, edge_score: Tensor, num_nodes: int) -> Tensor:
    """The roots of :func:`parse_clusters` in torch operations: any device, nothing waited for, nothing checked."""
    num_edges = edge_score.numel()
    node = torch.arange(num_nodes, device=edge_index.device)
    end, score = edge_index.flatten(), edge_score.detach().repeat(2)
    best = score.new_full((num_nodes,), -torch.inf).scatter_reduce(0, end, score, "amax")
    # One order of all edges, seen from both ends alike: then only the two ends of one edge can choose each other, and
    # a circle of three or more nodes, in which pointers never arrive, cannot be.
    edge = torch.arange(num_edges, device=node.device).repeat(2)
    edge = torch.where(score == best[end], edge, num_edges)
    chosen = torch.full_like(node, num_edges).scatter_reduce(0, end, edge, "amin")
    both_ends = torch.cat([edge_index.sum(dim=0), node.new_zeros(1)])
    dominant = torch.where(chosen < num_edges, both_ends[chosen] - node, node)
    root = torch.where(dominant[dominant] == node, torch.minimum(dominant, node), dominant)
    for _ in range(max(num_nodes - 1, 0).bit_length()):  # each turn doubles the length of the way behind a pointer
        root = root[root]
    return root


def undirected_edges(edge_index: Tensor, num_nodes: int) -> Tensor:
    """Each pair of different nodes that a column joins, once, the smaller node first: ``[2, M]``, sorted.

    Waits for the device, as M is a size that only the device knows.
    """
    low, high = edge_index.min(dim=0).values, edge_index.max(dim=0).values
    key = (low * num_nodes + high)[low < high]
    # On a CPU numpy's sort is several times as fast as torch's, which also keeps places.
    key = torch.from_numpy(np.sort(key.numpy())) if key.device.type == "cpu" else key.sort().values
    key = key[torch.cat([key.new_ones(min(1, key.numel()), dtype=torch.bool), key[1:] != key[:-1]])]
    low = key.div(max(num_nodes, 1), rounding_mode="floor")
    return torch.stack([low, key - low * num_nodes])


def check_edge_index(edge_index: Tensor, num_nodes: int) -> None:
    """Raises if ``edge_index`` is not ``[2, E]`` int64, or (on a CPU) names a node that is not there."""
    check_pairs("edge_index", edge_index, "E")
    if edge_index.device.type == "cpu" and edge_index.numel():
        low, high = edge_index.aminmax()
        if low < 0 or high >= num_nodes:
            wrong = edge_index[(edge_index < 0) | (edge_index >= num_nodes)].tolist()
            raise ValueError(
                f"'edge_index' must name nodes 0 to {num_nodes - 1}: {len(wrong)} of {edge_index.numel()} "
                f"entries do not (first: {first_three(wrong)})."
            )


def check_scores(edge_score: Tensor) -> None:
    """Raises if a score is NaN. Reads them, so on a GPU it waits for the device."""
    wrong = edge_score.isnan().nonzero().flatten().tolist()
    if wrong:
        raise ValueError(
            f"{len(wrong)} of {edge_score.numel()} edge scores are NaN (first: edges {first_three(wrong)}), and NaN "
            "has no place in an order. Look for NaN in the features and in the weights."
        )
