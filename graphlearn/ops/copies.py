"""Labelled copies of graphs, written out or with all equal states computed once.

A copy of a graph for each tuple of labelled nodes repeats most of its work: after t rounds of message passing a node
more than t edges away from every label is where it would be without labels, and so are two nodes whose neighbourhoods
look alike. Which states are equal does not depend on any weight, so it is found once, by colour refinement.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from graphlearn.errors import first_three
from graphlearn.ops.lists import expand
from graphlearn.ops.tuples import check_graphs, power_graph

PerNode = Literal["all", "first"]


@dataclass(frozen=True)
class CopyRows:
    """Every copy written out: R rows, one per copy and node of it, E edges among them.

    Attributes:
        copy: The copy of each row, ``[R]``, in increasing order.
        node: The node that it is a copy of, ``[R]``.
        label: Its label: 0, or 1 to l, ``[R]``.
        edge_index: Edges between rows, ``[2, E]``, sorted by destination.
        edge: The edge of the graph that each is a copy of, ``[E]``.
        first: The row of the first node of each copy's tuple, ``[T]``.
    """

    copy: Tensor
    node: Tensor
    label: Tensor
    edge_index: Tensor
    edge: Tensor
    first: Tensor


@dataclass(frozen=True)
class Round:
    """One round of message passing from the K' distinct states before it to the K after it.

    Attributes:
        own: The state that each had before, ``[K]``.
        rowptr: Start of each state's list of neighbours, ``[K + 1]``.
        col: The state of each neighbour, ``[E]``.
        row: The state that each entry is a neighbour of, ``[E]``.
        edge: The edge of the graph that each entry stands for, ``[E]``.
    """

    own: Tensor
    rowptr: Tensor
    col: Tensor
    row: Tensor
    edge: Tensor

    @classmethod
    def of(cls, own: Tensor, degree: Tensor, col: Tensor, edge: Tensor) -> Round:
        row = torch.arange(degree.numel(), device=col.device).repeat_interleave(degree, output_size=col.numel())
        return cls(own, offsets(degree), col, row, edge)


@dataclass(frozen=True)
class SharedStates:
    """The distinct states of all copies of B graphs, round by round, and how often each copy has them.

    Attributes:
        node: A node that each of the first states belongs to, ``[K0]``.
        label: Its label, ``[K0]``.
        rounds: The rounds, in order.
        copy_rowptr: Start of each distinct copy's list of last states, ``[C + 1]``; copies are sorted by graph.
        copy_state: The states in the copy, ``[M]``.
        copy_count: How many of its nodes have that state, ``[M]`` float.
        graph_rowptr: The first copy of each graph, ``[B + 1]``.
        copy_weight: How many tuples give that copy, ``[C]`` float; of sampled ones, the sum of their weights.
        node_rowptr: Start of each node's list of last states, ``[N + 1]``; None if not asked for.
        node_state: The states of the node in its copies, ``[P]``.
        node_count: The weight of the copies where it has that state, ``[P]`` float.
    """

    node: Tensor
    label: Tensor
    rounds: tuple[Round, ...]
    copy_rowptr: Tensor
    copy_state: Tensor
    copy_count: Tensor
    graph_rowptr: Tensor
    copy_weight: Tensor
    node_rowptr: Tensor | None = None
    node_state: Tensor | None = None
    node_count: Tensor | None = None


def copy_rows(
    edge_index: Tensor,
    ptr: Tensor,
    tuple_index: Tensor,
    tuple_graph: Tensor,
    *,
    hops: int | None = None,
    same_label: bool = False,
) -> CopyRows:
    """Writes out a copy of its graph for each tuple, label i on the i-th node of the tuple.

    Costs ``O(R + E)`` for R rows and E edges of all copies. Waits for the device: R and E depend on values.

    Args:
        edge_index: Edges.
        ptr: The first node of each graph, and the number of nodes at the end.
        tuple_index: The tuples; a node repeated in one has the label of its first place.
        tuple_graph: The graph of each tuple, in increasing order.
        hops: Keep only what is this many edges or fewer from a labelled node (0: the subgraph that the labelled nodes
            induce). None: keep all.
        same_label: Label 1 for every node of the tuple.

    Shapes:
        - ``edge_index``: ``[2, E]``;  ``ptr``: ``[B + 1]``;  ``tuple_index``: ``[l, T]``;  ``tuple_graph``: ``[T]``
        - all int64

    Raises:
        ValueError: If a shape or dtype is not as above, an index is out of range, a tuple leaves its graph, or
            ``hops`` is negative or given without labels.
    """
    graph = check_graphs(edge_index, ptr)
    _check_tuples(tuple_index, tuple_graph, ptr)
    size, num_copies = tuple_index.shape
    num_nodes = graph.numel()
    if hops is None:
        length = ptr.diff()[tuple_graph]
        start = offsets(length)
        copy = torch.arange(num_copies, device=ptr.device).repeat_interleave(length)
        node = torch.arange(copy.numel(), device=ptr.device) + (ptr[tuple_graph] - start[:-1])[copy]

        def row_of(copy: Tensor, node: Tensor) -> Tensor:
            return start[copy] + node - ptr[tuple_graph[copy]]
    else:
        keys = _local_keys(edge_index, num_nodes, tuple_index, hops)
        copy, node = keys // max(num_nodes, 1), keys % max(num_nodes, 1)

        def row_of(copy: Tensor, node: Tensor) -> Tensor:
            wanted = copy * num_nodes + node
            found = torch.searchsorted(keys, wanted).clamp_max(max(keys.numel() - 1, 0))
            return torch.where(keys[found] == wanted, found, -1) if keys.numel() else found - 1

    every = torch.arange(num_copies, device=ptr.device)
    label = torch.zeros_like(node)
    for place in reversed(range(size)):  # the first place of a repeated node is written last
        label[row_of(every, tuple_index[place])] = 1 if same_label else place + 1

    dst, by_dst = edge_index[1].sort(stable=True)
    rowptr = torch.searchsorted(dst, torch.arange(num_nodes + 1, device=ptr.device))
    into, entry = expand(rowptr, node)
    edge = by_dst[entry]
    source = row_of(copy[into], edge_index[0][edge])
    if hops is not None:
        inside = source >= 0
        into, source, edge = into[inside], source[inside], edge[inside]
    first = row_of(every, tuple_index[0]) if size else every.new_zeros(num_copies)
    return CopyRows(copy, node, label, torch.stack([source, into]), edge, first)


def share_states(
    rows: CopyRows,
    ptr: Tensor,
    tuple_graph: Tensor,
    num_rounds: int,
    *,
    node_color: Tensor | None = None,
    edge_color: Tensor | None = None,
    weight: Tensor | None = None,
    per_node: PerNode | None = None,
) -> SharedStates:
    r"""Finds which states of the copies are equal in every round of message passing, whatever its weights.

    .. math:: c^{(t+1)}_v = \mathrm{HASH}\bigl(c^{(t)}_v, \{\!\{ (c^{(t)}_u, e_{uv}) : u \to v \}\!\}\bigr)

    for node v of a copy, the first colour being that of the node and its label. Nodes of one colour have one state in
    any network that starts from equal inputs and sees of a neighbour its state and the features of the edge. Multisets
    are compared by a sum of 64-bit hashes, so two different ones are taken for one with probability about
    :math:`K^2 / 2^{64}`.

    Costs a sort of all rows per round, once per graph: what it returns can be kept for all epochs. Waits for the
    device.

    Args:
        rows: The copies, of :func:`copy_rows`.
        ptr: The first node of each graph, and the number of nodes at the end.
        tuple_graph: The graph of each copy.
        num_rounds: Rounds of message passing.
        node_color: Equal for nodes whose features are equal; without it every node is taken for different.
        edge_color: The same of edges, over those of the graph.
        weight: Weight of each copy; without it 1.
        per_node: Also list the states of each node: in ``"all"`` copies, or in those whose ``"first"`` label it has.

    Shapes:
        - ``ptr``: ``[B + 1]``, ``tuple_graph``: ``[T]``, ``node_color``: ``[N]``, ``edge_color``: ``[E]``, all int64
        - ``weight``: ``[T]`` float32
    """
    num_copies, num_nodes, num_rows = tuple_graph.numel(), int(ptr[-1]), rows.node.numel()
    weight = torch.ones(num_copies, device=ptr.device) if weight is None else weight
    color = rows.node if node_color is None else node_color[rows.node]
    source, into = rows.edge_index
    edge_hash = _mix(rows.edge * 0 if edge_color is None else edge_color[rows.edge])
    neighbours = offsets(torch.bincount(into, minlength=num_rows))

    state, sample = _classes(_mix(color) + rows.label)
    node, label = rows.node[sample], rows.label[sample]
    rounds = []
    for _ in range(num_rounds):
        # Times three, so that state 0 over edge 1 is not state 1 over edge 0.
        heard = _mix(_mix(state[source]) * 3 + edge_hash)
        before = state
        state, sample = _classes(_mix(before) * 3 + torch.zeros_like(before).index_add_(0, into, heard))
        entry = expand(neighbours, sample)[1]
        degree = neighbours[sample + 1] - neighbours[sample]
        rounds.append(Round.of(before[sample], degree, before[source[entry]], rows.edge[entry]))

    # Copies with the same multiset of last states: one stands for all. By graph, so that a graph's are together.
    whole = torch.zeros_like(tuple_graph).index_add_(0, rows.copy, _mix(_mix(state)))
    kind, sample = _classes(_mix(whole) + tuple_graph)
    order = tuple_graph[sample].argsort(stable=True)
    sample, kind = sample[order], order.argsort()[kind]
    copy_weight = weight.new_zeros(sample.numel()).index_add_(0, kind, weight)
    graph_rowptr = offsets(torch.bincount(tuple_graph[sample], minlength=ptr.numel() - 1))
    length = offsets(torch.bincount(rows.copy, minlength=num_copies))
    owner, place = expand(length, sample)
    copy_rowptr, copy_state, copy_count = _tally(owner, state[place], sample.numel())
    of_nodes: tuple[Tensor, Tensor, Tensor] | tuple[None, None, None] = (None, None, None)
    if per_node is not None:
        picked = rows.first if per_node == "first" else torch.arange(num_rows, device=ptr.device)
        of_nodes = _tally(rows.node[picked], state[picked], num_nodes, weight[rows.copy[picked]])
    return SharedStates(
        node, label, tuple(rounds), copy_rowptr, copy_state, copy_count, graph_rowptr, copy_weight, *of_nodes
    )


def offsets(count: Tensor) -> Tensor:
    """Where each of consecutive lists of ``count`` entries starts, and where the last one ends."""
    return torch.cat([count.new_zeros(1), count.cumsum(0)])


def _local_keys(edge_index: Tensor, num_nodes: int, tuple_index: Tensor, hops: int) -> Tensor:
    """Copy and node as one number, for the nodes of each copy within ``hops`` of a labelled one, in order."""
    if hops < 0 or tuple_index.size(0) == 0:
        raise ValueError(f"'hops' must be >= 0 and needs a labelled node, got {hops} with l = {tuple_index.size(0)}.")
    near = power_graph(edge_index, num_nodes, hops) if hops else edge_index.new_zeros(2, 0)
    rowptr = torch.searchsorted(near[0].contiguous(), torch.arange(num_nodes + 1, device=near.device))
    copies = torch.arange(tuple_index.size(1), device=near.device)
    parts = []
    for node in tuple_index:
        owner, place = expand(rowptr, node)
        parts += [copies * num_nodes + node, owner * num_nodes + near[1][place]]
    found: Tensor = torch.unique(torch.cat(parts))
    return found


def _tally(
    owner: Tensor, state: Tensor, num_owners: int, weight: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Per owner the distinct states and how often (or with which summed weight) it has them."""
    width = state.max() + 1 if state.numel() else 1
    keys, which = torch.unique(owner * width + state, return_inverse=True)
    one = torch.ones(state.numel(), device=state.device) if weight is None else weight
    count = one.new_zeros(keys.numel()).index_add_(0, which, one)
    return offsets(torch.bincount(keys // width, minlength=num_owners)), keys % width, count


def _classes(key: Tensor) -> tuple[Tensor, Tensor]:
    """Numbers equal keys alike, and gives one position (the first) of each: ``[R]`` and ``[K]``."""
    ordered, order = key.sort(stable=True)
    starts = torch.ones_like(ordered, dtype=torch.bool)
    starts[1:] = ordered[1:] != ordered[:-1]
    number = torch.empty_like(order)
    number[order] = starts.cumsum(0) - 1
    return number, order[starts]


def _mix(number: Tensor) -> Tensor:
    """A bijection of 64-bit numbers that spreads every bit over all: the finaliser of SplitMix64."""
    number = number + -7046029254386353131
    number = (number ^ _shift(number, 30)) * -4658895280553007687
    number = (number ^ _shift(number, 27)) * -7723592293110705685
    return number ^ _shift(number, 31)


def _shift(number: Tensor, bits: int) -> Tensor:
    # torch shifts signed numbers with their sign; the mask takes it off.
    return (number >> bits) & ((1 << (64 - bits)) - 1)


def _check_tuples(tuple_index: Tensor, tuple_graph: Tensor, ptr: Tensor) -> None:
    if tuple_index.dim() != 2 or tuple_index.dtype != torch.int64:
        found = f"{tuple_index.dtype} {list(tuple_index.shape)}"
        raise ValueError(f"'tuple_index' must be int64 of shape [l, T], one tuple per column, got {found}.")
    if tuple_graph.shape != tuple_index.shape[1:]:
        raise ValueError(f"'tuple_graph' must have shape [{tuple_index.size(1)}], got {list(tuple_graph.shape)}.")
    num_graphs = ptr.numel() - 1
    wrong = tuple_graph[(tuple_graph < 0) | (tuple_graph >= num_graphs)]
    if wrong.numel() or bool((tuple_graph.diff() < 0).any()):
        found = first_three((wrong if wrong.numel() else tuple_graph)[:3].tolist())
        raise ValueError(f"'tuple_graph' must rise and name graphs 0 to {num_graphs - 1}, found {found}.")
    outside = (tuple_index < ptr[tuple_graph]) | (tuple_index >= ptr[tuple_graph + 1])
    if bool(outside.any()):
        copy = int(outside.any(dim=0).nonzero()[0])
        low, high = int(ptr[tuple_graph[copy]]), int(ptr[tuple_graph[copy] + 1])
        raise ValueError(
            f"'tuple_index' must name nodes of the tuple's graph: tuple {copy} is {tuple_index[:, copy].tolist()}, but "
            f"graph {int(tuple_graph[copy])} has nodes {low} to {high - 1}."
        )
