"""Graph Parsing Network: convolutions and parsing in turn until nothing merges, for whole graphs and for nodes."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import LayerNorm, Linear, Module, ModuleList, ReLU, Sequential
from torch_geometric.nn import GATConv, GINConv

from graphlearn.errors import check_positive, unknown_name
from graphlearn.nn.perceptron import mlp, relu_dropout
from graphlearn.nn.pool.graph_parsing import Gate, GraphParsingPooling, check_graph, check_share
from graphlearn.ops.csr import csr_from_edge_index, gather_reduce
from graphlearn.ops.parse import undirected_edges
from graphlearn.typing import PoolOutput

Task = Literal["graph", "node"]
Conv = Literal["gcn", "gin", "gat"]


class GraphParsingNetwork(Module):
    r"""Learns for each graph how often and along which edges it is pooled.

    .. math::
        \mathbf{H}_1 = \mathrm{GNN}_1(\mathbf{H}, \mathbf{A}), \qquad
        (\mathbf{H}, \mathbf{A}) \leftarrow \mathrm{GraphParsingPooling}
            \bigl(\mathbf{H}_1, \mathbf{A};\; \mathrm{GNN}_2(\mathbf{H}, \mathbf{A})\bigr)

    until no graph has anything left to merge. For graphs, what remains (one vector per connected component) is summed
    and classified. For nodes, the way back adds to each level what it was before,
    :math:`\mathbf{H} \leftarrow \mathrm{GNN}_3(\mathrm{unpool}(\mathbf{H}) + \mathbf{H}_\mathrm{before}, \mathbf{A})`.
    Each GNN adds its input to its output and normalises.

    A graph in which nothing merges any more keeps its vectors while the others of its batch go on, so that a batch
    gives what its graphs give alone. There are at most ``ceil(log2 N)`` levels without self-loops; each costs
    ``O((N + E) F^2)`` time and waits for the device a few times, because its sizes depend on the scores.

    Source: Song et al., "Graph Parsing Networks", arXiv:2402.14393. Differs from the authors' code, besides what
    :class:`~graphlearn.nn.GraphParsingPooling` says: a graph of several components stays as it is when it alone is
    finished; no edge features and no sum over levels, which they use for molecules.

    Args:
        in_channels: Size of a node.
        hidden_channels: Size of a node inside.
        out_channels: Size of the result.
        task: ``"graph"`` or ``"node"``.
        conv: ``"gcn"``, ``"gin"`` or ``"gat"``.
        num_layers: Convolutions of GNN1.
        pool_layers: Convolutions of GNN2, and of GNN3 (nodes only); ``None``: GNN2 is GNN1.
        lin_layers: Linear layers of the first and of the last perceptron.
        deepsets_layers: See :class:`~graphlearn.nn.GraphParsingPooling`, also for the next three.
        edge_mlp_layers: The same.
        gate: The same.
        edge_dropout: The same.
        dropout: Share of hidden units zeroed in training.
        act_final: Also ReLU and dropout after the last layer of each GNN and perceptron but the last.
        add_self_loops: Whether a node may stay alone; by default for nodes and not for graphs.
        max_levels: At most so many levels; as many as merge something by default.

    Shapes:
        - ``x``: ``[N, in_channels]`` float;  ``edge_index``: ``[2, E]`` int64, taken as undirected
        - ``batch``: ``[N]`` int64, graph of each node; one graph by default
        - ``batch_size``: B; by default one more than the largest of ``batch``, for which the device is waited for
        - returns ``[B, out_channels]`` for graphs, of which an empty one is what a sum of nothing gives, and
          ``[N, out_channels]`` for nodes

    Raises:
        UnknownNameError: If ``task``, ``conv`` or ``gate`` is unknown.
        ValueError: If an argument or shape is not as above, a score is NaN, or (on a CPU) an index is out of range or
            an edge joins two graphs.
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        *,
        out_channels: int,
        task: Task = "graph",
        conv: Conv = "gcn",
        num_layers: int = 2,
        pool_layers: int | None = None,
        lin_layers: int = 2,
        deepsets_layers: int = 1,
        edge_mlp_layers: int = 2,
        gate: Gate = "sum",
        edge_dropout: float = 0.0,
        dropout: float = 0.0,
        act_final: bool = False,
        add_self_loops: bool | None = None,
        max_levels: int | None = None,
    ) -> None:
        super().__init__()
        if task not in ("graph", "node"):
            raise unknown_name("task", task, ("graph", "node"))
        if conv not in _CONVS:
            raise unknown_name("convolution", conv, _CONVS)
        check_positive(
            in_channels=in_channels, hidden_channels=hidden_channels, out_channels=out_channels, num_layers=num_layers,
            pool_layers=1 if pool_layers is None else pool_layers, lin_layers=lin_layers,
            max_levels=1 if max_levels is None else max_levels,
        )  # fmt: skip
        check_share(dropout=dropout)
        self.in_channels, self.hidden_channels, self.out_channels = in_channels, hidden_channels, out_channels
        self.task, self.conv, self.max_levels = task, conv, max_levels

        def gnn(layers: int) -> _GNN:
            return _GNN(_CONVS[conv], hidden_channels, layers, dropout, act_final)

        self.lin_in = mlp(in_channels, hidden_channels, hidden_channels, lin_layers, dropout, act_final)
        self.gnn1 = gnn(num_layers)
        self.gnn2 = None if pool_layers is None else gnn(pool_layers)
        self.gnn3 = None if task == "graph" else gnn(pool_layers or num_layers)
        self.pool = GraphParsingPooling(
            hidden_channels, edge_mlp_layers=edge_mlp_layers, deepsets_layers=deepsets_layers, gate=gate,
            dropout=dropout, edge_dropout=edge_dropout, act_final=act_final,
            add_self_loops=task == "node" if add_self_loops is None else add_self_loops,
        )  # fmt: skip
        self.lin_out = mlp(hidden_channels, hidden_channels, out_channels, lin_layers, dropout)

    def reset_parameters(self) -> None:
        for part in self.modules():
            if part is not self and isinstance(part, (Linear, LayerNorm, GATConv)):
                part.reset_parameters()

    def forward(
        self, x: Tensor, edge_index: Tensor, batch: Tensor | None = None, batch_size: int | None = None
    ) -> Tensor:
        batch, batch_size = self._graphs(x, edge_index, batch, batch_size)
        h, levels = self._encode(x, edge_index, batch, batch_size)
        if self.task == "graph":
            last = levels[-1].output.batch if levels else batch
            out: Tensor = self.lin_out(h.new_zeros(batch_size, h.size(1)).index_add(0, last, h))
            return out
        assert self.gnn3 is not None
        for level in reversed(levels):
            down = self.gnn3(self.pool.unpool(h, level.output) + level.h, level.edges)
            h = torch.where(level.merged[:, None], down, h.index_select(0, level.output.cluster))
        result: Tensor = self.lin_out(h)
        return result

    def parse(
        self, x: Tensor, edge_index: Tensor, batch: Tensor | None = None, batch_size: int | None = None
    ) -> list[PoolOutput]:
        """The levels at which something merged: clusters, their edges and scores, to look at or to coarsen with."""
        batch, batch_size = self._graphs(x, edge_index, batch, batch_size)
        return [level.output for level in self._encode(x, edge_index, batch, batch_size)[1]]

    def _graphs(
        self, x: Tensor, edge_index: Tensor, batch: Tensor | None, batch_size: int | None
    ) -> tuple[Tensor, int]:
        check_graph(x, edge_index, batch, self.in_channels)
        if batch is None:
            return edge_index.new_zeros(x.size(0)), 1 if batch_size is None else batch_size
        if batch_size is None:
            return batch, int(batch.max()) + 1 if batch.numel() else 0
        if batch.device.type == "cpu" and batch.numel() and batch.max() >= batch_size:
            raise ValueError(f"'batch' names graph {int(batch.max())}, but 'batch_size' is {batch_size}.")
        return batch, batch_size

    def _encode(self, x: Tensor, edge_index: Tensor, batch: Tensor, batch_size: int) -> tuple[Tensor, list[_Level]]:
        h = self.lin_in(x)
        pairs = undirected_edges(edge_index, x.size(0))
        levels: list[_Level] = []
        while self.max_levels is None or len(levels) < self.max_levels:
            if pairs.size(1) == 0:
                break
            edges = _Edges(pairs, h.size(0))
            scored = self.gnn1(h, edges)
            content = scored if self.gnn2 is None else self.gnn2(h, edges)
            output = self.pool.pool(scored, pairs, batch, content)
            if output.x.size(0) == h.size(0):
                break
            moved = output.root[output.cluster] != torch.arange(h.size(0), device=h.device)
            active = torch.zeros(batch_size, dtype=torch.int32, device=h.device)
            active = active.scatter_reduce(0, batch, moved.int(), "amax") > 0
            levels.append(_Level(h, edges, output, active[batch]))
            h = torch.where(active[output.batch][:, None], output.x, h.index_select(0, output.root))
            pairs, batch = output.pairs, output.batch
        return h, levels

    def __repr__(self) -> str:
        sizes = f"{self.in_channels}, {self.hidden_channels}, out_channels={self.out_channels}"
        return f"{type(self).__name__}({sizes}, task={self.task!r}, conv={self.conv!r})"


class _Edges:
    """The edges of one level, in the forms that its convolutions read, each made once."""

    def __init__(self, pairs: Tensor, num_nodes: int) -> None:
        self.pairs, self.num_nodes = pairs, num_nodes

    @cached_property
    def edge_index(self) -> Tensor:
        return torch.cat([self.pairs, self.pairs.flip(0)], dim=1)

    @cached_property
    def csr(self) -> tuple[Tensor, Tensor, Tensor]:
        """Lists of neighbours with the node itself among them, and the weights of a graph convolution."""
        node = torch.arange(self.num_nodes, device=self.pairs.device)
        edges = torch.cat([self.pairs, self.pairs.flip(0), node.expand(2, -1)], dim=1)
        rowptr, col = csr_from_edge_index(edges, self.num_nodes)
        degree = rowptr.diff()
        scale = degree.double().rsqrt()
        return rowptr, col, scale.repeat_interleave(degree, output_size=col.numel()) * scale[col]


class _Level:
    """What the way back needs of a level: its nodes and edges, how they merged, and in which graphs they did."""

    def __init__(self, h: Tensor, edges: _Edges, output: PoolOutput, merged: Tensor) -> None:
        self.h, self.edges, self.output, self.merged = h, edges, output, merged


class _GNN(Module):
    """Convolutions with ReLU and dropout between them, the input added at the end, then layer normalisation."""

    def __init__(
        self, conv: Callable[[int], Module], channels: int, num_layers: int, dropout: float, act_final: bool
    ) -> None:
        super().__init__()
        self.convs = ModuleList(conv(channels) for _ in range(num_layers))
        self.norm = LayerNorm(channels)
        self.act = relu_dropout(dropout)
        self.act_final = act_final

    def forward(self, x: Tensor, edges: _Edges) -> Tensor:
        h = x
        for i, conv in enumerate(self.convs):
            h = conv(h, edges) if isinstance(conv, _GCN) else conv(h, edges.edge_index)
            if i < len(self.convs) - 1 or self.act_final:
                h = self.act(h)
        out: Tensor = self.norm(x + h)
        return out


class _GCN(Module):
    """PyG's GCNConv on undirected edges, without a message being written to memory."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.lin = Linear(channels, channels)

    def forward(self, x: Tensor, edges: _Edges) -> Tensor:
        rowptr, col, weight = edges.csr
        return gather_reduce(F.linear(x, self.lin.weight), rowptr, col, weight=weight.to(x.dtype)) + self.lin.bias


def _gin(channels: int) -> Module:
    conv: Module = GINConv(Sequential(Linear(channels, channels), ReLU(), Linear(channels, channels), ReLU()))
    return conv


def _gat(channels: int) -> Module:
    conv: Module = GATConv(channels, channels)
    return conv


_CONVS: dict[str, Callable[[int], Module]] = {"gcn": _GCN, "gin": _gin, "gat": _gat}
