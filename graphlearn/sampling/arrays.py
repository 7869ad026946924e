"""The graph as the samplers read it: plain tensors in a fixed order, checked once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch_geometric.data import HeteroData

from graphlearn.errors import UsageError, first_three
from graphlearn.typing import EdgeType, NodeType


@dataclass(frozen=True)
class NodeArrays:
    """One node type. Rows ``[0, num_undated)`` have no time and are always visible; the rest are sorted by ``time``.

    A table without a time column has ``time = None`` and ``num_undated = num_nodes``.
    """

    name: NodeType
    num_nodes: int
    num_undated: int
    time: Tensor | None


@dataclass(frozen=True)
class EdgeArrays:
    """One edge type, messages from node type ``src`` to ``dst`` (positions in ``GraphArrays.nodes``).

    With ``rowptr`` the sources of node ``i`` are ``neighbor[rowptr[i]:rowptr[i + 1]]``, increasing; without it node
    ``i`` has the one source ``neighbor[i]``, or none where that is -1.
    """

    edge_type: EdgeType
    src: int
    dst: int
    rowptr: Tensor | None
    neighbor: Tensor


@dataclass(frozen=True)
class GraphArrays:
    """Node types sorted by name and edge types sorted; the order of both fixes the order within a batch."""

    nodes: tuple[NodeArrays, ...]
    edges: tuple[EdgeArrays, ...]
    device: torch.device


@dataclass(frozen=True)
class Sampled:
    """What a backend returns, in the order of ``GraphArrays``; see the batch of `TemporalNeighborSampler`."""

    n_id: list[Tensor]
    seed: list[Tensor]
    rows: list[Tensor]
    inverse: list[Tensor]
    num_nodes: list[list[int]]
    rowptr: list[Tensor]
    col: list[Tensor]
    num_edges: list[list[int]]


def read_graph(graph: HeteroData) -> GraphArrays:
    """Reads and checks the arrays of ``graph``, in ``O(N + E)``; a backend may then index without checking.

    Raises:
        UsageError: If an array is missing, has another dtype or length, points outside its table, or is not sorted.
    """
    device = _one_device(graph)
    names = sorted(graph.node_types)
    nodes = tuple(_read_nodes(graph, name) for name in names)
    position = {name: i for i, name in enumerate(names)}
    edges = []
    for edge_type in sorted(graph.edge_types):
        for name in (edge_type[0], edge_type[2]):
            if name not in position:
                raise UsageError(f"edge type {edge_type} names '{name}', which is not a node type of the graph.")
        edges.append(_read_edges(graph, edge_type, nodes, position))
    return GraphArrays(nodes, tuple(edges), device)


def edge_type_name(edge_type: object) -> str:
    """An edge type as messages write it: ``orders, customer_id, customers``."""
    return ", ".join(map(str, edge_type)) if isinstance(edge_type, tuple) else str(edge_type)


def _one_device(graph: HeteroData) -> torch.device:
    stores = [*graph.node_stores, *graph.edge_stores]
    tensors = [store[name] for store in stores for name in ("time", "rowptr", "col", "index") if name in store]
    devices = {tensor.device for tensor in tensors if isinstance(tensor, Tensor)}
    if len(devices) > 1:
        found = ", ".join(sorted(map(str, devices)))
        raise UsageError(f"the graph lies on several devices ({found}). Move it as a whole: graph.to(…).")
    return devices.pop() if devices else torch.device("cpu")


def _read_nodes(graph: HeteroData, name: NodeType) -> NodeArrays:
    store = graph[name]
    num_nodes = store.get("num_nodes")
    if not isinstance(num_nodes, int) or num_nodes < 0:
        raise UsageError(f"graph['{name}'].num_nodes must be a number of rows, got {num_nodes!r}.")
    time = store.get("time")
    if time is None:
        return NodeArrays(name, num_nodes, num_nodes, None)

    _check_vector(f"graph['{name}'].time", time, num_nodes, (torch.int64,))
    num_undated = int(store.get("num_undated") or 0)
    if not 0 <= num_undated <= num_nodes:
        raise UsageError(f"graph['{name}'].num_undated must be in [0, {num_nodes}], got {num_undated}.")
    dated = time[num_undated:]
    _check_sorted(f"graph['{name}'].time", dated[1:] < dated[:-1], num_undated + 1, "Number the rows by time")
    return NodeArrays(name, num_nodes, num_undated, time.contiguous())


def _read_edges(
    graph: HeteroData, edge_type: EdgeType, nodes: tuple[NodeArrays, ...], position: dict[NodeType, int]
) -> EdgeArrays:
    store, label = graph[edge_type], f"graph[{edge_type}]"
    src, dst = position[edge_type[0]], position[edge_type[2]]
    num_src, num_dst = nodes[src].num_nodes, nodes[dst].num_nodes
    if "rowptr" in store and "col" in store:
        rowptr, col = store["rowptr"], store["col"]
        _check_vector(f"{label}.rowptr", rowptr, num_dst + 1, (torch.int64,))
        _check_vector(f"{label}.col", col, None, (torch.int64, torch.int32))
        if int(rowptr[0]) != 0 or int(rowptr[-1]) != col.numel() or bool((rowptr[1:] < rowptr[:-1]).any()):
            raise UsageError(f"{label}.rowptr must rise from 0 to the {col.numel()} entries of 'col'.")
        _check_range(f"{label}.col", col, 0, num_src, edge_type[0])
        falls = torch.cat([col.new_zeros(min(1, col.numel()), dtype=torch.bool), col[1:] < col[:-1]])
        starts = rowptr[:-1]
        falls[starts[starts < col.numel()]] = False
        _check_sorted(f"{label}.col", falls, 0, "Sort each row's entries")
        return EdgeArrays(edge_type, src, dst, rowptr.contiguous(), col.contiguous())
    if "index" in store:
        index = store["index"]
        _check_vector(f"{label}.index", index, num_dst, (torch.int64, torch.int32))
        _check_range(f"{label}.index", index, -1, num_src, edge_type[0])
        return EdgeArrays(edge_type, src, dst, None, index.contiguous())
    raise UsageError(
        f"{label} has neither 'rowptr' and 'col' nor 'index'. Build the graph with build_graph, or set them."
    )


def _check_vector(label: str, value: object, length: int | None, dtypes: tuple[torch.dtype, ...]) -> None:
    if not isinstance(value, Tensor):
        raise UsageError(f"{label} must be a tensor, got {type(value).__name__}.")
    if value.dtype not in dtypes:
        wanted = " or ".join(str(d) for d in dtypes)
        raise UsageError(f"{label} must be {wanted}, got {value.dtype}. Convert it: .to({dtypes[0]}).")
    if value.dim() != 1 or (length is not None and value.numel() != length):
        wanted = "[E]" if length is None else f"[{length}]"
        raise UsageError(f"{label} must have shape {wanted}, got {list(value.shape)}.")


def _check_range(label: str, value: Tensor, low: int, high: int, table: NodeType) -> None:
    outside = (value < low) | (value >= high)
    if bool(outside.any()):
        found = value[outside]
        raise UsageError(
            f"{label}: {found.numel()} of {value.numel()} entries are not rows of '{table}', which has {high} "
            f"(first: {first_three(found[:3].tolist())})."
        )


def _check_sorted(label: str, falls: Tensor, offset: int, remedy: str) -> None:
    if bool(falls.any()):
        where = falls.nonzero()[:3, 0] + offset
        places = f"{int(falls.sum())} places (first: {first_three(where.tolist())})"
        raise UsageError(f"{label} is not sorted: it falls at {places}. {remedy}.")
