"""k,l-GNN: any network, run on copies of a graph in which a few nodes carry labels, and pooled over the copies."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import Identity, Module, ModuleList
from torch_geometric.nn import MessagePassing

from graphlearn.errors import unknown_name
from graphlearn.models.label_tuples import LabelTuples
from graphlearn.nn.conv.kl_wl import Combine, KLConv, LabelEmbedding
from graphlearn.ops.copies import PerNode, SharedStates, copy_rows, offsets
from graphlearn.ops.csr import Reduce, gather_reduce, gather_rows

Task = Literal["graph", "node", "first"]
_TASKS = ("graph", "node", "first")
_POOLS = ("sum", "mean", "max")


class KLGNN(Module):
    r"""Runs a network on a copy of the graph for each tuple of l labelled nodes, and pools over the copies.

    .. math::
        \mathbf{y}_a = g\Bigl(\bigoplus_{v} M\bigl(\mathbf{x} \oplus \mathbf{E}_{\mathrm{label}_a}, \mathbf{A}\bigr)_v
            \Bigr) \qquad \mathbf{y} = h\Bigl(\bigoplus_{a} \mathbf{y}_a\Bigr)

    M is the base, a runs over the tuples. With l = 0 this is the base. With k the order of the base (1: neighbours,
    2: :class:`~graphlearn.models.PPGN`), larger k or l tells more graphs apart: (1,1) is a network with identities and
    at most 3-WL, (1,2) at most 4-WL, and (2,l) with PPGN more than (1,l).

    Give the base as a list of convolutions that take a pair (sources, destinations), ours or PyG's (``GINConv``,
    ``SAGEConv``, ``GATv2Conv``, …), with anything that acts on each row between them, and **every distinct state of all
    copies is computed once**: the same numbers, often with a hundredth of the work. What depends on the rows that
    stand beside (BatchNorm in training) sees the distinct states only, and dropout drops in all their copies alike.
    Give it as one module, ``base(x, edge_index, …)``, and all copies are written out as one batch of graphs.

    Source: Zhou et al., "From Relational Pooling to Subgraph GNNs", arXiv:2305.04963. Differs from the paper's code:
    those of :class:`LabelTuples`; labels are in the input of the base instead of in a branch beside it; copies are
    averaged by default, where the code takes the maximum, which loses numbers; no dense adjacency.

    Args:
        base: A list of convolutions and row-wise modules, or one module.
        channels: Size of the label vectors; for ``combine`` add and product the size of the base's input.
        tuples: How tuples are chosen; a number l stands for ``LabelTuples(l)``.
        encoder: From x to the base's input, row by row.
        copy_net: The network g on each copy's vector (on each state, for nodes).
        head: The network h on each graph's (or node's) vector.
        combine: How labels are told: ``"add"``, ``"product"`` or ``"concat"``.
        node_pool: ``"sum"``, ``"mean"`` or ``"max"`` over the nodes of a copy.
        copy_pool: The same over the copies; sums and means use the weights of sampled tuples.
        task: ``"graph"``; ``"node"``: one vector per node, pooled over its copies; ``"first"``: over the copies where
            it has the first label.
        base_output: Whether one module gives a vector per ``"node"`` or per ``"graph"``.

    Shapes:
        - ``x``: ``[N, F]`` float;  ``edge_index``: ``[2, E]`` int64;  ``edge_attr``: ``[E, D]``
        - ``batch``: ``[N]`` int64 in increasing order;  ``num_graphs``: B, by default the last of
          ``batch`` and 1
        - ``copies``: what :class:`LabelTuples` found beforehand (``data.copies``); then nothing waits for the device.
          Their first states come from equal rows of the data: x must have equal rows where the data had them
        - returns ``[B, C]`` or ``[N, C]``; a graph without nodes, or a node in no copy, gives h of zeros

    Raises:
        UnknownNameError: If a pool, task or ``base_output`` is unknown.
        ValueError: If the base has no convolution, gives vectors of graphs where nodes are asked for, or the tuples are
            not made for the task; in ``forward`` if a shape is not as above, or ``copies`` were made for another base.
    """

    def __init__(
        self,
        base: Module | Sequence[Module],
        channels: int,
        *,
        tuples: LabelTuples | int = 1,
        encoder: Module | None = None,
        copy_net: Module | None = None,
        head: Module | None = None,
        combine: Combine = "add",
        node_pool: Reduce = "sum",
        copy_pool: Reduce = "mean",
        task: Task = "graph",
        base_output: Literal["node", "graph"] = "node",
    ) -> None:
        super().__init__()
        for kind, name, known in (
            ("pool", node_pool, _POOLS), ("pool", copy_pool, _POOLS), ("task", task, _TASKS),
            ("base_output", base_output, ("node", "graph")),
        ):  # fmt: skip
            if name not in known:
                raise unknown_name(kind, name, known)
        self.tuples = LabelTuples(tuples, per_node=PER_NODE[task]) if isinstance(tuples, int) else tuples
        if self.tuples.per_node != PER_NODE[task]:
            raise ValueError(
                f"task = '{task}' needs LabelTuples with per_node = {PER_NODE[task]!r}, got {self.tuples.per_node!r}."
            )
        self.channels, self.combine, self.task, self.base_output = channels, combine, task, base_output
        self.node_pool, self.copy_pool = node_pool, copy_pool
        self.shared = not isinstance(base, Module) or isinstance(base, ModuleList)
        self.base: Module = ModuleList(base) if isinstance(base, Sequence) else base
        self.num_rounds = sum(map(_passes_messages, self.base.children())) if self.shared else 0
        if self.shared and self.num_rounds == 0:
            raise ValueError("'base' has no convolution: give a list with KLConv or PyG's convolutions, or one module.")
        if base_output == "graph" and (self.shared or task != "graph"):
            raise ValueError("base_output = 'graph' needs one module as 'base' and task = 'graph'.")
        accepted = inspect.signature(self.base.forward).parameters if not self.shared else {}
        self._accepted = [name for name in ("edge_attr", "batch", "num_graphs", "batch_size") if name in accepted]
        self.encoder, self.copy_net, self.head = encoder or Identity(), copy_net or Identity(), head or Identity()
        # Without labels there is nothing to tell, and the network is its base.
        labels = min(self.tuples.l, 1) if self.tuples.order == "none" else self.tuples.l
        self.label = LabelEmbedding(channels, labels, combine=combine) if labels else None

    def reset_parameters(self) -> None:
        for part in (self.encoder, self.base, self.copy_net, self.head, self.label):
            _reset(part)

    def forward(
        self,
        x: Tensor,
        edge_index: Tensor,
        edge_attr: Tensor | None = None,
        batch: Tensor | None = None,
        *,
        num_graphs: int | None = None,
        copies: SharedStates | None = None,
    ) -> Tensor:
        if x.dim() != 2:
            raise ValueError(f"'x' must have shape [N, F], got {list(x.shape)}.")
        if edge_attr is not None and edge_attr.size(0) != edge_index.size(1):
            raise ValueError(f"'edge_attr' has {edge_attr.size(0)} rows for the {edge_index.size(1)} edges.")
        if copies is not None and not self.shared:
            raise ValueError("'copies' are for a base given as a list of convolutions; this one is a single module.")
        if copies is None:
            ptr = _graph_ptr(x, batch, num_graphs)
            if not self.shared:
                return self._written_out(x, edge_index, edge_attr, ptr)
            # Equal rows share their first state, whose gradient would then reach one of them only.
            rows = None if x.requires_grad else x.detach()
            kinds = edge_attr
            if edge_attr is not None and edge_attr.requires_grad:
                kinds = torch.arange(edge_attr.size(0), device=x.device)
            copies = self.tuples.states(edge_index, ptr, self.num_rounds, rows, kinds)
        if len(copies.rounds) != self.num_rounds:
            raise ValueError(f"'copies' were made for {len(copies.rounds)} rounds, but the base has {self.num_rounds}.")
        state = self._labelled(gather_rows(self.encoder(x), copies.node), copies.label)
        rounds = iter(copies.rounds)
        for module in self.base.children():
            if not _passes_messages(module):
                state = module(state)
                continue
            step = next(rounds)
            extra = {} if edge_attr is None else {"edge_attr": gather_rows(edge_attr, step.edge)}
            if isinstance(module, KLConv):
                extra["rowptr"] = step.rowptr
            state = module((state, gather_rows(state, step.own)), torch.stack([step.col, step.row]), **extra)
        if self.task != "graph":
            assert copies.node_rowptr is not None, "the task was compared with the tuples"
            assert copies.node_state is not None
            assert copies.node_count is not None
            state = self.copy_net(state)
            return self.head(_pool(state, copies.node_rowptr, copies.node_state, copies.node_count, self.copy_pool))  # type: ignore[no-any-return]
        pooled = _pool(state, copies.copy_rowptr, copies.copy_state, copies.copy_count, self.node_pool)
        return self._pool_copies(pooled, copies.graph_rowptr, copies.copy_weight)

    def _labelled(self, x: Tensor, label: Tensor) -> Tensor:
        return x if self.label is None else self.label(x, label)

    def _pool_copies(self, y: Tensor, graph_rowptr: Tensor, weight: Tensor) -> Tensor:
        return self.head(_pool(self.copy_net(y), graph_rowptr, None, weight, self.copy_pool))  # type: ignore[no-any-return]

    def _written_out(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor | None, ptr: Tensor) -> Tensor:
        index, graph, weight = self.tuples.tuples(edge_index, ptr)
        rows = copy_rows(
            edge_index, ptr, index, graph, hops=self.tuples.hops, same_label=self.tuples.order == "none"
        )  # fmt: skip
        num_copies = graph.numel()
        given = {
            "edge_attr": None if edge_attr is None else gather_rows(edge_attr, rows.edge),
            "batch": rows.copy, "num_graphs": num_copies, "batch_size": num_copies,
        }  # fmt: skip
        state = self.base(
            self._labelled(gather_rows(self.encoder(x), rows.node), rows.label), rows.edge_index,
            **{name: given[name] for name in self._accepted},
        )  # fmt: skip
        if self.task != "graph":
            picked = rows.first if self.task == "first" else torch.arange(rows.node.numel(), device=x.device)
            picked = picked[rows.node[picked].argsort(stable=True)]
            rowptr = offsets(torch.bincount(rows.node[picked], minlength=x.size(0)))
            pooled = _pool(self.copy_net(state), rowptr, picked, weight[rows.copy[picked]], self.copy_pool)
            return self.head(pooled)  # type: ignore[no-any-return]
        if self.base_output == "node":
            rowptr = offsets(torch.bincount(rows.copy, minlength=num_copies))
            state = gather_reduce(state, rowptr, None, self.node_pool)
        return self._pool_copies(state, offsets(torch.bincount(graph, minlength=ptr.numel() - 1)), weight)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.channels}, tuples={self.tuples}, combine={self.combine!r}, "
            f"node_pool={self.node_pool!r}, copy_pool={self.copy_pool!r}, task={self.task!r}, "
            f"{f'{self.num_rounds} rounds' if self.shared else type(self.base).__name__})"
        )


PER_NODE: dict[str, PerNode | None] = {"graph": None, "node": "all", "first": "first"}


def _passes_messages(module: Module) -> bool:
    return isinstance(module, KLConv | MessagePassing)


def _graph_ptr(x: Tensor, batch: Tensor | None, num_graphs: int | None) -> Tensor:
    if batch is None:
        return torch.tensor([0, x.size(0)], device=x.device)
    if batch.shape != x.shape[:1]:
        raise ValueError(f"'batch' must have shape [{x.size(0)}], one graph per row of 'x', got {list(batch.shape)}.")
    if batch.numel() and bool((batch.diff() < 0).any() | (batch[0] < 0)):
        raise ValueError("'batch' must rise from 0: the nodes of a graph stand together, as PyG's Batch puts them.")
    found = int(batch[-1]) + 1 if batch.numel() else 0
    if num_graphs is not None and num_graphs < found:
        raise ValueError(f"'batch' names {found} graphs, but 'num_graphs' is {num_graphs}.")
    return offsets(torch.bincount(batch, minlength=found if num_graphs is None else num_graphs))


def _pool(x: Tensor, rowptr: Tensor, col: Tensor | None, weight: Tensor, pool: Reduce) -> Tensor:
    """Lists of rows of ``x``, each row with a positive weight, to one row; an empty list gives zeros."""
    if pool == "max":
        return gather_reduce(x, rowptr, col, "max")
    weight = weight.to(x.dtype)
    total = gather_reduce(x, rowptr, col, "sum", weight)
    if pool == "sum":
        return total
    whole = gather_reduce(weight[:, None], rowptr, None, "sum")
    return total / whole.masked_fill(whole == 0, 1.0)


def _reset(module: Any) -> None:
    if module is None:
        return
    if hasattr(module, "reset_parameters"):
        module.reset_parameters()
        return
    for child in module.children():
        _reset(child)
