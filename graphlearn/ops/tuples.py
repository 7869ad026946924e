"""Which nodes are labelled together: tuples of nodes of one graph, enumerated for a whole batch at once."""

from __future__ import annotations

import itertools
from typing import Literal

import torch
from torch import Tensor

from graphlearn.errors import check_positive, first_three, unknown_name
from graphlearn.ops.csr_check import check_pairs
from graphlearn.ops.lists import contains, expand

Among = Literal["all", "connected", "distance", "cluster"]
Order = Literal["all", "sample", "none"]
_AMONG = ("all", "connected", "distance", "cluster")
_ORDERS = ("all", "sample", "none")
MAX_LABELS = 4


def node_tuples(
    edge_index: Tensor,
    ptr: Tensor,
    size: int,
    *,
    among: Among = "all",
    max_distance: int = 3,
    cluster: Tensor | None = None,
    order: Order = "all",
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    r"""Tuples of ``size`` nodes of one graph, each node in at least one.

    Sets of distinct nodes are enumerated, smallest first, and then ordered. ``"all"``: every set. ``"connected"``: the
    sets whose induced subgraph is connected. ``"distance"``: the sets with all pairwise distances up to
    ``max_distance``, which are the cliques of that power of the graph. ``"cluster"``: those of them inside one
    cluster. A node that is in no set of ``size`` nodes (its graph, component or cluster is too small) is in the largest
    sets that it can be in, whose last node is then repeated; a node repeated in a tuple has the label of its first
    place.

    Costs ``O(T)`` memory for T tuples, and as much time except ``"connected"`` (a sort) and the power of the graph:
    tuples are never enumerated to be thrown away, but for ``"cluster"``. Waits for the device, as T depends on values.

    Args:
        edge_index: Edges; their direction does not matter here.
        ptr: The first node of each graph, and the number of nodes at the end.
        size: Nodes of a tuple, 0 to 4; 0 gives one empty tuple per graph.
        among: ``"all"``, ``"connected"``, ``"distance"`` or ``"cluster"``.
        max_distance: Largest distance within a tuple, for ``"distance"`` and ``"cluster"``.
        cluster: Cluster of each node, needed for ``"cluster"``.
        order: ``"all"``: every order of a set is a tuple. ``"sample"``: one order of each, drawn from ``generator``.
            ``"none"``: one, by number of node, for labels that do not tell the nodes of a set apart.
        generator: Where ``"sample"`` draws from.

    Shapes:
        - ``edge_index``: ``[2, E]`` int64;  ``ptr``: ``[B + 1]`` int64;  ``cluster``: ``[N]`` int64
        - returns ``tuple_index`` ``[size, T]`` and ``tuple_graph`` ``[T]`` int64, by graph in increasing order; a graph
          without nodes has no tuple, unless ``size`` is 0

    Raises:
        UnknownNameError: If ``among`` or ``order`` is unknown.
        ValueError: If a shape, ``size`` or ``max_distance`` is not as above, an edge names no node or leaves its graph,
            or ``cluster`` or ``generator`` is missing.
    """
    if among not in _AMONG:
        raise unknown_name("kind of tuples", among, _AMONG)
    if order not in _ORDERS:
        raise unknown_name("order of tuples", order, _ORDERS)
    if not 0 <= size <= MAX_LABELS:
        raise ValueError(f"'size' must be 0 to {MAX_LABELS} nodes, got {size}.")
    check_positive(max_distance=max_distance)
    if order == "sample" and generator is None:
        raise ValueError("order = 'sample' draws at random: give it a 'generator'.")
    graph = check_graphs(edge_index, ptr)
    num_graphs, num_nodes = ptr.numel() - 1, graph.numel()
    if size == 0:
        return ptr.new_zeros(0, num_graphs), torch.arange(num_graphs, device=ptr.device)
    if among == "cluster":
        if cluster is None:
            raise ValueError("among = 'cluster' needs 'cluster', the cluster of each node, int64 [N].")
        if cluster.shape != (num_nodes,):
            raise ValueError(f"'cluster' must have shape [{num_nodes}], one per node, got {list(cluster.shape)}.")
    if among == "connected":
        sets = _connected_sets(edge_index, num_nodes, size)
    else:
        if among == "all":
            later = _later_nodes(ptr, graph)
        else:
            pairs = power_graph(edge_index, num_nodes, max_distance)
            pairs = pairs[:, pairs[0] < pairs[1]]
            if among == "cluster":
                assert cluster is not None
                pairs = pairs[:, cluster[pairs[0]] == cluster[pairs[1]]]
            later = _csr(pairs, num_nodes)
        sets = _cliques(*later, size, complete=among == "all")
    tuples = torch.cat([_ordered(part, size, order, generator) for part in _covering(sets, num_nodes)], dim=1)
    tuple_graph, by_graph = graph[tuples[0]].sort(stable=True)
    return tuples[:, by_graph], tuple_graph


def sample_tuples(
    tuple_graph: Tensor, num_graphs: int, rate: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    r"""Keeps :math:`k_g = \lceil \mathrm{rate} \cdot T_g \rceil` of the :math:`T_g` tuples of each graph, at random.

    Shapes:
        - ``tuple_graph``: ``[T]`` int64, in increasing order
        - returns the tuples kept, int64 in increasing order, and the weight :math:`T_g / k_g` of each, float32: with it
          the expectation of a sum over tuples is the sum over all

    Raises:
        ValueError: If ``rate`` is not in (0, 1].
    """
    if not 0 < rate <= 1:
        raise ValueError(f"'rate' must be above 0 and at most 1, got {rate}.")
    total = torch.bincount(tuple_graph, minlength=num_graphs)
    kept = (total * rate).ceil().long().clamp(max=total)
    draw = torch.rand(tuple_graph.numel(), generator=generator, device=generator.device).to(tuple_graph.device)
    order = draw.argsort()
    order = order[tuple_graph[order].argsort(stable=True)]
    place = torch.arange(order.numel(), device=order.device) - (total.cumsum(0) - total)[tuple_graph]
    chosen = order[place < kept[tuple_graph]].sort().values
    return chosen, (total / kept.clamp_min(1))[tuple_graph[chosen]]


def power_graph(edge_index: Tensor, num_nodes: int, hops: int) -> Tensor:
    """The pairs of different nodes that are 1 to ``hops`` edges apart, edges taken both ways.

    Costs ``O(P d)`` for P pairs and d neighbours a node, and a sort of P pairs a hop.

    Shapes:
        - ``edge_index``: ``[2, E]`` int64
        - returns ``[2, P]`` int64, both directions of each pair, sorted by the first node and then the second
    """
    src, dst = edge_index
    keys: Tensor = torch.unique(torch.cat([src * num_nodes + dst, dst * num_nodes + src]))
    keys = keys[keys // max(num_nodes, 1) != keys % max(num_nodes, 1)]
    near = _csr(_split(keys, num_nodes), num_nodes)
    newest = keys
    for _ in range(hops - 1):
        start, end = _split(newest, num_nodes)
        entry, place = expand(near[0], end)
        reached: Tensor = torch.unique(start[entry] * num_nodes + near[1][place])
        newest = reached[~contains(keys, reached) & (reached // max(num_nodes, 1) != reached % max(num_nodes, 1))]
        keys = torch.cat([keys, newest]).sort().values
    return _split(keys, num_nodes)


def check_graphs(edge_index: Tensor, ptr: Tensor) -> Tensor:
    """The graph of each node, ``[N]``; raises ``ValueError`` if an edge names no node or joins two graphs."""
    check_pairs("edge_index", edge_index, "E")
    if ptr.dim() != 1 or ptr.numel() == 0 or int(ptr[0]) != 0 or bool((ptr.diff() < 0).any()):
        raise ValueError(
            f"'ptr' must rise from 0 to the number of nodes, got {first_three(ptr.flatten().tolist())}, …."
        )
    num_nodes = int(ptr[-1])
    wrong = edge_index[(edge_index < 0) | (edge_index >= num_nodes)]
    if wrong.numel():
        raise ValueError(
            f"'edge_index' must name nodes 0 to {num_nodes - 1}: {wrong.numel()} of {edge_index.numel()} numbers do "
            f"not (first: {first_three(wrong[:3].tolist())})."
        )
    graph = torch.arange(ptr.numel() - 1, device=ptr.device).repeat_interleave(ptr.diff())
    across = edge_index[:, graph[edge_index[0]] != graph[edge_index[1]]]
    if across.size(1):
        raise ValueError(
            f"{across.size(1)} edges join two graphs of the batch (first: {first_three(across[:, :3].t().tolist())}). "
            "Does 'batch' belong to this 'edge_index'?"
        )
    return graph


def _later_nodes(ptr: Tensor, graph: Tensor) -> tuple[Tensor, Tensor]:
    """Lists of the nodes that come after each node in its graph."""
    node = torch.arange(graph.numel(), device=ptr.device)
    end = ptr[graph + 1]
    rowptr = torch.cat([ptr.new_zeros(1), (end - node - 1).cumsum(0)])
    owner = node.repeat_interleave(end - node - 1)
    return rowptr, torch.arange(owner.numel(), device=ptr.device) - rowptr[owner] + owner + 1


def _cliques(rowptr: Tensor, col: Tensor, size: int, *, complete: bool) -> list[Tensor]:
    """The cliques of 1 to ``size`` nodes, each with rising numbers, from the lists of later neighbours."""
    num_nodes = rowptr.numel() - 1
    sets = [torch.arange(num_nodes, device=rowptr.device)[None]]
    keys = torch.arange(num_nodes, device=rowptr.device).repeat_interleave(rowptr.diff()) * num_nodes + col
    for _ in range(size - 1):
        owner, place = expand(rowptr, sets[-1][-1])
        grown = torch.cat([sets[-1][:, owner], col[place][None]])
        if not complete and grown.size(0) > 2:
            grown = grown[:, contains(keys, grown[:-2] * num_nodes + grown[-1]).all(dim=0)]
        sets.append(grown)
    return sets


def _connected_sets(edge_index: Tensor, num_nodes: int, size: int) -> list[Tensor]:
    """The sets of 1 to ``size`` nodes with a connected induced subgraph, each with rising numbers."""
    rowptr, col = _csr(power_graph(edge_index, num_nodes, 1), num_nodes)
    sets = [torch.arange(num_nodes, device=rowptr.device)[None]]
    for count in range(1, size):
        # A connected set has a node without which it is still connected, so growing by neighbours finds all.
        parts = []
        for member in sets[-1]:
            owner, place = expand(rowptr, member)
            parts.append(torch.cat([sets[-1][:, owner], col[place][None]]))
        grown = torch.cat(parts, dim=1)
        grown = grown[:, (grown[:-1] != grown[-1]).all(dim=0)].sort(dim=0).values
        sets.append(torch.unique(grown, dim=1) if grown.size(1) else grown.new_zeros(count + 1, 0))
    return sets


def _covering(sets: list[Tensor], num_nodes: int) -> list[Tensor]:
    """The largest sets, and of each smaller size those with a node that no larger one has."""
    covered = torch.zeros(num_nodes, dtype=torch.bool, device=sets[0].device)
    kept: list[Tensor] = []
    for part in reversed(sets):
        needed = part[:, ~covered[part].all(dim=0)] if kept else part
        covered[needed] = True
        kept.append(needed)
    return kept


def _ordered(sets: Tensor, size: int, order: Order, generator: torch.Generator | None) -> Tensor:
    count = sets.size(0)
    if order == "all":
        sets = torch.cat([sets[list(p)] for p in itertools.permutations(range(count))], dim=1)
    elif order == "sample":
        assert generator is not None
        draw = torch.rand(sets.shape, generator=generator, device=generator.device).to(sets.device)
        sets = sets.gather(0, draw.argsort(dim=0))
    return torch.cat([sets, sets[-1:].expand(size - count, -1)])


def _csr(pairs: Tensor, num_nodes: int) -> tuple[Tensor, Tensor]:
    """Lists of the second nodes by the first, of pairs sorted by the first."""
    return torch.searchsorted(pairs[0].contiguous(), torch.arange(num_nodes + 1, device=pairs.device)), pairs[1]


def _split(keys: Tensor, num_nodes: int) -> Tensor:
    return torch.stack([keys // max(num_nodes, 1), keys % max(num_nodes, 1)])
