"""Temporal neighbours: for each seed, the tree of rows that it may see."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import torch
from torch import Tensor
from torch_geometric.data import HeteroData

from graphlearn.errors import UsageError, first_three, unknown_name
from graphlearn.sampling.arrays import Sampled, edge_type_name, read_graph
from graphlearn.sampling.native_backend import NativeBackend, native_available
from graphlearn.sampling.random import draw_base
from graphlearn.sampling.torch_backend import TorchBackend
from graphlearn.typing import EdgeType, NodeType

Strategy = Literal["last", "uniform"]
FanOut = Sequence[int] | dict[EdgeType, Sequence[int]]


class Backend(Protocol):
    """Makes the arrays of one batch out of checked arguments."""

    def sample(self, seed_type: int, index: Tensor, input_time: Tensor, after: Tensor | None, base: int) -> Sampled:
        """``after``: per seed, rows up to this time are too old (None: no window); ``base``: 64 random bits."""
        ...


class TemporalNeighborSampler:
    r"""Samples, for each seed row, a tree of neighbours of which none is newer than the seed's ``input_time``.

    Level 0 are the seeds. Level ``h + 1`` are, for each edge type in sorted order and each node of level ``h`` in
    order, the node's sampled neighbours through that edge type. A row is visible if its time is ``<= input_time``
    (and ``> input_time - window``); a row without a time always is; a seed is in its tree whatever its own time.
    Trees are not deduplicated and seeds share nothing; ``rows`` names each distinct row once, to encode it once.

    Cost: ``O(log E)`` per node of an inner level and ``O(1)`` per sampled edge; construction checks the graph in
    ``O(N + E)``. The graph must not be changed afterwards.

    Args:
        graph: As made by `build_graph`: ids increase with time; per edge type ``rowptr`` and ``col``, or ``index``.
        num_neighbors: Neighbours per node and hop; for all edge types, or per edge type (those left out are not
            followed). -1 takes all, 0 switches the edge type off at that hop.
        strategy: ``"last"`` takes the newest (of rows without a time the last, as the oldest); ``"uniform"`` draws
            without replacement, every subset equally likely.
        window: Look-back in microseconds before ``input_time``, > 0; None for no limit.
        backend: ``"native"`` (C++, on the CPU), ``"torch"`` (any device), or ``"auto"``: native where it was built
            and the graph is on the CPU. Both give the same batches.
        disjoint: With False the nodes of a level are deduplicated over all seeds, which must then share one
            ``input_time``; ``batch`` is 0 below level 0. With ``"last"`` each seed computes what its tree would.

    The batch is a `HeteroData` in which every node type and edge type of the graph is present:
        - per node type: ``n_id [n]`` row ids, level by level; ``batch [n]`` number of the seed;
          ``num_sampled_nodes`` per level; ``rows [R]`` the distinct ids, increasing; ``inverse [n]`` with
          ``n_id = rows[inverse]``; ``num_nodes``
        - per edge type: ``rowptr [M + 1]``, ``col [E]``: the sampled neighbours of the ``M`` destination nodes of
          all levels but the last, as positions in the source type's ``n_id``; ``num_sampled_edges`` per hop
        - ``seed_type``, ``seed_time [B]``, ``input_time [B]``

        All tensors are int64. Trimming a hop is a prefix slice of each of them.

    Raises:
        UsageError: For an unknown edge type, fan-outs of unequal length, or a graph that is malformed or not sorted.
    """

    def __init__(
        self,
        graph: HeteroData,
        num_neighbors: FanOut,
        *,
        strategy: Strategy = "last",
        window: int | None = None,
        backend: Literal["auto", "torch", "native"] = "auto",
        disjoint: bool = True,
    ) -> None:
        if strategy not in ("last", "uniform"):
            raise unknown_name("sampling strategy", str(strategy), ("last", "uniform"))
        if window is not None and window <= 0:
            raise UsageError(f"'window' must be > 0 microseconds, got {window}. Leave it out for no limit.")
        self.strategy, self.window, self.disjoint = strategy, window, disjoint
        self._graph = read_graph(graph)
        self.node_types = [nodes.name for nodes in self._graph.nodes]
        self.edge_types = [edges.edge_type for edges in self._graph.edges]
        self._type_number = {nodes.name: i for i, nodes in enumerate(self._graph.nodes)}
        self.num_hops, self._fan_out = _read_fan_out(num_neighbors, self.edge_types)
        self.backend, self._backend = self._choose(backend)

    def sample(
        self,
        node_type: NodeType,
        index: Tensor,
        input_time: Tensor,
        *,
        seed_time: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> HeteroData:
        """Samples the batch of the seeds ``index``; the same generator state gives the same batch.

        The range of ``index`` is checked on the CPU only: asking a GPU would make the host wait.

        Args:
            node_type: The seeds' table.
            index: Row ids of the seeds, in any order, repeats allowed.
            input_time: What is newer is invisible to the seed, microseconds UTC.
            seed_time: When the prediction is for, kept in the batch; ``input_time`` if not given.
            generator: Needed by ``"uniform"``, which takes one number from it per batch.

        Shapes:
            - ``index``, ``input_time``, ``seed_time``: ``[B]`` int64

        Raises:
            UsageError: If the node type is unknown, a tensor has another shape or dtype, a seed is not a row of the
                table, ``"uniform"`` got no generator, or ``disjoint=False`` got more than one time.
        """
        if node_type not in self._type_number:
            raise unknown_name("node type", str(node_type), self._type_number)
        seed_time = input_time if seed_time is None else seed_time
        for name, value in (("index", index), ("input_time", input_time), ("seed_time", seed_time)):
            if value.dtype != torch.int64:
                raise UsageError(f"'{name}' must be torch.int64, got {value.dtype}. Convert it: .long().")
            if value.dim() != 1 or value.numel() != index.numel():
                raise UsageError(f"'{name}' must have shape [{index.numel()}], got {list(value.shape)}.")
        number = self._type_number[node_type]
        self._check_seeds(index, number)
        device = self._graph.device
        index, input_time, seed_time = index.to(device), input_time.to(device), seed_time.to(device)
        if not self.disjoint:
            _check_one_time(input_time, seed_time)
        base = 0
        if self.strategy == "uniform":
            if generator is None:
                raise UsageError(
                    "strategy 'uniform' is random: pass generator=torch.Generator().manual_seed(…), or take 'last'."
                )
            base = draw_base(generator)
        after = None if self.window is None else _subtract(input_time, self.window)
        sampled = self._backend.sample(number, index.contiguous(), input_time.contiguous(), after, base)
        return self._assemble(sampled, node_type, input_time, seed_time)

    def _choose(self, backend: str) -> tuple[str, Backend]:
        if backend not in ("auto", "torch", "native"):
            raise unknown_name("sampler backend", str(backend), ("auto", "torch", "native"))
        on_cpu = self._graph.device.type == "cpu"
        if backend == "auto":
            backend = "native" if native_available() and on_cpu else "torch"
        if backend == "native" and not on_cpu:
            raise UsageError(
                f"backend='native' needs the graph on the CPU, it is on {self._graph.device}. Use 'torch'."
            )
        if backend == "native" and not native_available():
            raise UsageError(
                "backend='native' is not in this installation. Build it with 'make native', or use backend='torch'."
            )
        kind = NativeBackend if backend == "native" else TorchBackend
        uniform = self.strategy == "uniform"
        return backend, kind(self._graph, self.num_hops, self._fan_out, uniform=uniform, disjoint=self.disjoint)

    def _check_seeds(self, index: Tensor, number: int) -> None:
        nodes = self._graph.nodes[number]
        if index.device.type != "cpu" or index.numel() == 0:
            return
        low, high = torch.aminmax(index)
        if int(low) < 0 or int(high) >= nodes.num_nodes:
            outside = index[(index < 0) | (index >= nodes.num_nodes)]
            raise UsageError(
                f"{outside.numel()} of {index.numel()} seeds are not rows of '{nodes.name}', which has "
                f"{nodes.num_nodes} (first: {first_three(outside[:3].tolist())})."
            )

    def _assemble(self, sampled: Sampled, node_type: NodeType, input_time: Tensor, seed_time: Tensor) -> HeteroData:
        batch = HeteroData()
        for i, nodes in enumerate(self._graph.nodes):
            store = batch[nodes.name]
            store.num_nodes = sampled.n_id[i].numel()
            store.n_id, store.batch = sampled.n_id[i], sampled.seed[i]
            store.rows, store.inverse = sampled.rows[i], sampled.inverse[i]
            store.num_sampled_nodes = sampled.num_nodes[i]
        for i, edges in enumerate(self._graph.edges):
            store = batch[edges.edge_type]
            store.rowptr, store.col = sampled.rowptr[i], sampled.col[i]
            store.num_sampled_edges = sampled.num_edges[i]
        batch.seed_type, batch.seed_time, batch.input_time = node_type, seed_time, input_time
        return batch


def _read_fan_out(num_neighbors: FanOut, edge_types: list[EdgeType]) -> tuple[int, list[list[int]]]:
    """The number of hops, and the fan-outs per edge type and hop."""
    if isinstance(num_neighbors, dict):
        for edge_type in num_neighbors:
            if edge_type not in edge_types:
                raise unknown_name("edge type", edge_type_name(edge_type), map(edge_type_name, edge_types))
        lengths = {len(hops) for hops in num_neighbors.values()}
        if len(lengths) > 1:
            short, long = min(num_neighbors.items(), key=_hops), max(num_neighbors.items(), key=_hops)
            raise UsageError(
                "'num_neighbors' must give every edge type the same number of hops, got "
                f"{len(short[1])} for {short[0]} and {len(long[1])} for {long[0]}. Fill up with zeros."
            )
        num_hops = lengths.pop() if lengths else 0
        fan_out = [list(num_neighbors.get(edge_type, [0] * num_hops)) for edge_type in edge_types]
    else:
        num_hops = len(num_neighbors)
        fan_out = [list(num_neighbors) for _ in edge_types]
    for hops in fan_out:
        for k in hops:
            if not isinstance(k, int) or k < -1:
                raise UsageError(f"'num_neighbors' must hold whole numbers >= 0, or -1 for all, got {k!r} in {hops}.")
    return num_hops, fan_out


def _hops(item: tuple[EdgeType, Sequence[int]]) -> int:
    return len(item[1])


def _check_one_time(input_time: Tensor, seed_time: Tensor) -> None:
    for name, value in (("input_time", input_time), ("seed_time", seed_time)):
        if value.numel() > 0 and bool((value != value[0]).any()):
            found = torch.unique(value)
            raise UsageError(
                f"disjoint=False shares rows between seeds, so all must have one '{name}', got {found.numel()} "
                f"different (first: {first_three(found[:3].tolist())}). Use disjoint=True, or one batch per time."
            )


def _subtract(time: Tensor, window: int) -> Tensor:
    # A window that reaches past the smallest int64 would wrap around into the future.
    smallest = torch.iinfo(torch.int64).min
    window = min(window, torch.iinfo(torch.int64).max)
    return torch.where(time < smallest + window, smallest, time - window)
