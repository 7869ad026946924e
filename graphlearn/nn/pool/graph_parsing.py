"""Graph Parsing pooling: edges are scored, each node merges along its best one; ratio and depth come from the graph."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import LayerNorm, Linear, Module

from graphlearn.errors import check_positive, unknown_name
from graphlearn.nn.perceptron import mlp, residual_mlp
from graphlearn.ops.dropout import dropout as drop
from graphlearn.ops.parse import check_edge_index, check_scores, parse_clusters, undirected_edges
from graphlearn.typing import PoolOutput

Gate = Literal["sum", "mean"]

_STEPS = 2**12


class GraphParsingPooling(Module):
    r"""Merges each node with the neighbour at the other end of its best edge, with learned scores.

    .. math::
        s_{uv} = \sigma\bigl(\mathrm{MLP}(\mathbf{x}_u \odot \mathbf{x}_v)\bigr), \qquad
        \mathbf{x}'_c = \mathrm{POST}\Bigl(\sum_{u \in c} \mathrm{PRE}(\mathbf{x}_u)\Bigr)
            \sum_{(u,v) \in E,\; u, v \in c} s_{uv}

    where the clusters c are those of :func:`graphlearn.ops.graph_parse` on the logits of s. The last sum runs over both
    directions of each edge; it is 1 for a cluster without an edge inside, and a mean with ``gate="mean"``, which dense
    graphs need. It is the only way in which the scores get a gradient. PRE and POST are perceptrons with a residual and
    layer normalisation. Clusters are joined where an edge joined their nodes, without weights.

    No node is dropped, the ratio is not fixed, and memory is ``O(N F + E F)``. The device is waited for twice, for the
    sizes of the result.

    Source: Song et al., "Graph Parsing Networks", arXiv:2402.14393. Differs from the authors' code: all clusters at
    once instead of one after the other; each undirected edge is scored once, so that dropout inside the MLP cannot
    give its two directions different scores; logits are compared in steps of 2^-12, and equal ones are told apart by
    the order of the edges, so that a graph is parsed alike in every batch; a self-loop counts once in training too.

    Args:
        in_channels: Size of nodes, in and out.
        edge_mlp_layers: Linear layers of the MLP that scores edges.
        deepsets_layers: Linear layers of PRE, and of POST.
        gate: ``"sum"`` or ``"mean"`` of the scores inside a cluster.
        dropout: Share of hidden units zeroed in training.
        edge_dropout: Share of edges that training removes before they are scored, from the result too.
        act_final: Also a ReLU after the last layer of PRE and POST, if they have more than one.
        add_self_loops: Whether a node may choose itself and so stay alone; for node tasks.

    Shapes:
        - ``x``: ``[N, F]`` float, scored
        - ``edge_index``: ``[2, E]`` int64, undirected: one direction or both, multi-edges merged, self-loops ignored
        - ``batch``: ``[N]`` int64, graph of each node; all zeros by default
        - ``content``: ``[N, F]`` float, what is pooled; ``x`` by default
        - returns :class:`~graphlearn.typing.PoolOutput`, clusters in the order of the nodes; a node without edges is a
          cluster of its own, no nodes give no clusters

    Raises:
        UnknownNameError: If ``gate`` is neither.
        ValueError: If an argument or shape is not as above, a score is NaN, or (on a CPU) an index is out of range or
            an edge joins two graphs.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        edge_mlp_layers: int = 2,
        deepsets_layers: int = 1,
        gate: Gate = "sum",
        dropout: float = 0.0,
        edge_dropout: float = 0.0,
        act_final: bool = False,
        add_self_loops: bool = False,
    ) -> None:
        super().__init__()
        check_positive(in_channels=in_channels, edge_mlp_layers=edge_mlp_layers, deepsets_layers=deepsets_layers)
        check_share(dropout=dropout, edge_dropout=edge_dropout)
        if gate not in ("sum", "mean"):
            raise unknown_name("gate", gate, ("sum", "mean"))
        self.in_channels, self.gate = in_channels, gate
        self.edge_dropout, self.add_self_loops = edge_dropout, add_self_loops
        self.edge_mlp = mlp(in_channels, in_channels, 1, edge_mlp_layers, dropout)
        self.pre = residual_mlp(in_channels, deepsets_layers, dropout, act_final)
        self.post = residual_mlp(in_channels, deepsets_layers, dropout, act_final)

    def reset_parameters(self) -> None:
        for part in self.modules():
            if isinstance(part, (Linear, LayerNorm)):
                part.reset_parameters()

    def forward(
        self, x: Tensor, edge_index: Tensor, batch: Tensor | None = None, *, content: Tensor | None = None
    ) -> PoolOutput:
        check_graph(x, edge_index, batch, self.in_channels)
        if content is not None and content.shape != x.shape:
            raise ValueError(f"'content' must have the shape of 'x', {list(x.shape)}, got {list(content.shape)}.")
        if batch is None:
            batch = edge_index.new_zeros(x.size(0))
        return self.pool(x, undirected_edges(edge_index, x.size(0)), batch, content)

    def pool(self, x: Tensor, pairs: Tensor, batch: Tensor, content: Tensor | None = None) -> PoolOutput:
        """What :meth:`forward` does, for edges that are each given once, the smaller node first."""
        if self.training and self.edge_dropout > 0:
            pairs = pairs[:, self._kept(x, pairs)]
        scored, weight = pairs, x.new_full((pairs.size(1),), 2.0)  # an edge has two directions
        if self.add_self_loops:
            loops = torch.arange(x.size(0), device=x.device).expand(2, -1)
            if self.training and self.edge_dropout > 0:
                loops = loops[:, self._kept(x, loops)]
            scored = torch.cat([pairs, loops], dim=1)
            weight = torch.cat([weight, x.new_ones(loops.size(1))])

        logit = self._logits(x, scored)
        # Symmetric atoms have scores that differ by rounding only, and differently in each batch: such are equal here.
        root, cluster = parse_clusters(scored, (logit.detach() * _STEPS).round(), x.size(0))
        own = root == torch.arange(x.size(0), device=x.device)
        num_clusters, num_nan = torch.stack([own.sum(), logit.isnan().sum()]).tolist()  # one wait for both
        if num_nan:
            check_scores(logit)
        # Every node of a cluster writes the same number.
        roots = cluster.new_empty(num_clusters).scatter(0, cluster, root)

        score = logit.sigmoid()
        first, second = cluster[scored]
        inside = first == second
        weight = torch.where(inside, weight.to(score.dtype), 0.0)
        count = score.new_zeros(num_clusters).index_add(0, first, weight)
        factor = score.new_zeros(num_clusters).index_add(0, first, weight * score)
        if self.gate == "mean":
            factor = factor / count.clamp_min(1.0)
        factor = torch.where(count > 0, factor, 1.0)

        members = self.pre(x if content is None else content)
        total = members.new_zeros(num_clusters, members.size(1)).index_add(0, cluster, members)
        pooled = self.post(total) * factor.to(total.dtype)[:, None]
        return PoolOutput(
            x=pooled,
            pairs=undirected_edges(cluster[pairs], num_clusters),
            batch=batch[roots],
            cluster=cluster,
            root=roots,
            count=count.clamp_min(1.0),
            scored=scored,
            edge_score=score,
        )

    def unpool(self, x: Tensor, output: PoolOutput) -> Tensor:
        """Gives each node the vector of its cluster, over the ``count`` that the sum of scores grew with.

        Shapes:
            - ``x``: ``[K, F]``, one row per cluster of ``output``
            - returns ``[N, F]``

        Raises:
            ValueError: If ``x`` has not one row per cluster.
        """
        if x.size(0) != output.root.numel():
            raise ValueError(f"'x' must have one row per cluster, {output.root.numel()}, got {x.size(0)}.")
        if self.gate == "sum":
            x = x / output.count.to(x.dtype)[:, None]
        return x.index_select(0, output.cluster)

    def _logits(self, x: Tensor, pairs: Tensor) -> Tensor:
        # Half precision would make many scores equal.
        with torch.autocast(x.device.type, enabled=False):
            x = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
            logit: Tensor = self.edge_mlp(x.index_select(0, pairs[0]) * x.index_select(0, pairs[1]))
            return logit.squeeze(-1)

    def _kept(self, x: Tensor, pairs: Tensor) -> Tensor:
        return drop(x.new_ones(pairs.size(1)), self.edge_dropout) > 0

    def __repr__(self) -> str:
        loops = ", add_self_loops=True" if self.add_self_loops else ""
        return f"{type(self).__name__}({self.in_channels}, gate={self.gate!r}{loops})"


def check_share(**values: float) -> None:
    """Raises ``ValueError`` naming the first argument that is not in [0, 1)."""
    for name, value in values.items():
        if not 0 <= value < 1:
            raise ValueError(f"'{name}' must be in [0, 1), got {value}.")


def check_graph(x: Tensor, edge_index: Tensor, batch: Tensor | None, channels: int) -> None:
    """Raises if nodes, edges and graphs do not fit each other; looks at indices on a CPU only."""
    if x.dim() != 2 or x.size(1) != channels or not x.is_floating_point():
        raise ValueError(f"'x' must be a float tensor of shape [N, {channels}], got {x.dtype} {list(x.shape)}.")
    check_edge_index(edge_index, x.size(0))
    if batch is None:
        return
    if batch.shape != x.shape[:1] or batch.dtype != torch.int64:
        found = f"{batch.dtype} {list(batch.shape)}"
        raise ValueError(f"'batch' must hold an int64 graph for each of the {x.size(0)} nodes, got {found}.")
    if batch.device.type == "cpu" and batch.numel():
        if batch.min() < 0:
            raise ValueError(f"'batch' must number graphs from 0, got {int(batch.min())}.")
        first, second = batch[edge_index]
        wrong = (first != second).nonzero().flatten()
        if wrong.numel():
            u, v = edge_index[:, wrong[0]].tolist()
            raise ValueError(
                f"{wrong.numel()} edges join nodes of different graphs (first: {u} of graph {int(batch[u])} and {v} of "
                f"graph {int(batch[v])}). Edges of a batch must stay within their graph."
            )
