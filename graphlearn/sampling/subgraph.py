"""The subgraph around each candidate link, and mini-batches of them."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch_geometric.data import Data

from graphlearn.errors import first_three
from graphlearn.native import kernels
from graphlearn.ops.csr import csr_from_edge_index
from graphlearn.ops.csr_check import check_pairs, check_range
from graphlearn.ops.distance import drnl_labels, pair_distances
from graphlearn.ops.lists import distinct
from graphlearn.sampling.enclosing_torch import enclosing_edges, enclosing_nodes
from graphlearn.sampling.random import draw_base, stream

_LARGEST = 2**31 - 1


class EnclosingSubgraph:
    """Cuts the k-hop subgraph around each of a batch of links out of one graph, all links at once.

    The nodes are those within ``num_hops`` of either end, the edges all that join two of them. The link itself is
    stored in both directions, whether it is an edge of the graph or not, and ``edge_mask`` is False on it: so positive
    and negative links look alike, and nothing tells a layer the answer. Since both ends are seeds, the nodes do not
    depend on the link either. Costs the sum of the degrees of all nodes found, in C++ on a CPU where the kernels are
    built, otherwise in torch with a sort; both give the same batch.

    A batch is a PyG ``Data`` of the disjoint union:

    - ``edge_index`` ``[2, E]`` int64, sorted by target, then source;  ``rowptr`` ``[N + 1]``, where targets start
    - ``edge_mask`` ``[E]`` bool;  ``candidate`` ``[2, B]``, rows of the ends in the order that the link has
    - ``batch`` ``[N]``, the link of each node;  ``ptr`` ``[B + 1]``;  ``node_id`` ``[N]``, rows of the whole graph
    - ``x`` ``[N, *]`` if the graph has it;  ``z`` ``[N]``, double-radius labels, if asked for

    Attributes of edges are not carried over.

    Args:
        data: The observed graph, each edge in both directions; an edge that is stored repeatedly counts once.
        num_hops: Size k of the neighbourhood, >= 0.
        max_nodes_per_hop: Largest number of new nodes per link and hop, > 0; a uniform sample of more. What is drawn
            for a link depends on the link and ``generator`` only, so it is the same in each epoch and each batch.
        drnl: Whether to label the nodes (:func:`~graphlearn.ops.distance.drnl_labels`).
        max_label: Larger labels become this one.
        generator: Needed with ``max_nodes_per_hop``; one number is taken from it.

    Raises:
        ValueError: If the graph has no ``edge_index``, an index out of range, an edge in one direction only, more nodes
            than int32 can number, or an ``x`` with NaN or another number of rows, or if a number is out of range. When
            called, if the links are not ``[2, B]`` int64, name a node that is not there, or join a node with itself.
    """

    def __init__(
        self,
        data: Data,
        num_hops: int = 2,
        *,
        max_nodes_per_hop: int | None = None,
        drnl: bool = False,
        max_label: int | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        if num_hops < 0:
            raise ValueError(f"'num_hops' must be >= 0, got {num_hops}.")
        if max_nodes_per_hop is not None and max_nodes_per_hop < 1:
            raise ValueError(f"'max_nodes_per_hop' must be > 0, or None for all, got {max_nodes_per_hop}.")
        if max_nodes_per_hop is not None and generator is None:
            raise ValueError("'max_nodes_per_hop' needs generator=torch.Generator().manual_seed(…) to draw with.")
        self.num_hops, self.max_nodes_per_hop = num_hops, max_nodes_per_hop
        self.drnl, self.max_label = drnl, max_label
        self._base = draw_base(generator) if generator is not None and max_nodes_per_hop is not None else 0
        self.num_nodes = int(data.num_nodes or 0)
        self.x = _checked_x(data.x, self.num_nodes)
        self.rowptr, self.col = _checked_graph(data.edge_index, self.num_nodes)

    def __call__(self, links: Tensor) -> Data:
        """The batch of subgraphs around ``links``, ``[2, B]`` int64."""
        links = self._checked_links(links)
        key = None if self.max_nodes_per_hop is None else stream(stream(self._base, links[0]), links[1])
        cut = _cut_native if kernels is not None and self.col.device.type == "cpu" else _cut_torch
        batch = cut(self, links, key)
        batch.num_nodes = batch.node_id.numel()
        if self.x is not None:
            batch.x = self.x.index_select(0, batch.node_id)
        if self.drnl:
            distance = pair_distances(batch.rowptr, batch.edge_index[0], batch.candidate)
            batch.z = drnl_labels(distance, batch.candidate, self.max_label)
        return batch

    def _checked_links(self, links: Tensor) -> Tensor:
        if links.dim() != 2 or links.size(0) != 2 or links.dtype != torch.int64:
            hint = " Transpose them: links.t().contiguous()." if links.dim() == 2 and links.size(1) == 2 else ""
            found = f"{links.dtype} {list(links.shape)}"
            raise ValueError(f"Links must be an int64 tensor of shape [2, B], got {found}.{hint}")
        check_range("Links", links, self.num_nodes)
        same = (links[0] == links[1]).nonzero().flatten()
        if same.numel():
            shown = first_three(links[0, same[:3]].tolist())
            raise ValueError(
                f"A link must join two different nodes, but {same.numel()} of {links.size(1)} join one with itself "
                f"(first: node {shown}). Leave them out."
            )
        return links.to(self.col.device).contiguous()


class LinkSubgraphLoader:
    """Iterates over mini-batches of links with the subgraph around each (:class:`EnclosingSubgraph`).

    Works with what PyG's ``RandomLinkSplit`` gives: its ``edge_index`` is the graph that is seen, its
    ``edge_label_index`` and ``edge_label`` are the links and the answers. Subgraphs are cut anew for every batch, which
    takes microseconds per link, so none are kept in memory.

    Args:
        subgraph: Cuts them.
        edge_label_index: The links.
        edge_label: The answer for each, attached to a batch as ``y``.
        batch_size: Links in a batch, > 0; the last one may have fewer.
        shuffle: Whether each epoch goes through the links in a new order.
        generator: Needed to shuffle.
        drop_last: Leaves out the last batch if it is not full; a batch of one link cannot train a batch norm.

    Shapes:
        - ``edge_label_index``: ``[2, L]`` int64;  ``edge_label``: ``[L]`` any dtype

    Raises:
        ValueError: If the labels are not one per link, ``batch_size`` is not > 0, there is nothing to shuffle with, or
            the links are not as :class:`EnclosingSubgraph` wants them.
    """

    def __init__(
        self,
        subgraph: EnclosingSubgraph,
        edge_label_index: Tensor,
        edge_label: Tensor | None = None,
        *,
        batch_size: int = 32,
        shuffle: bool = False,
        generator: torch.Generator | None = None,
        drop_last: bool = False,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"'batch_size' must be > 0, got {batch_size}.")
        if shuffle and generator is None:
            raise ValueError(
                "shuffle=True needs generator=torch.Generator().manual_seed(…): no order is left to chance."
            )
        links = subgraph._checked_links(edge_label_index)
        if edge_label is not None and edge_label.shape != links.shape[1:]:
            raise ValueError(
                f"'edge_label' must have one value per link, [{links.size(1)}], got {list(edge_label.shape)}."
            )
        self.subgraph, self.edge_label_index, self.edge_label = subgraph, links, edge_label
        self.batch_size, self.shuffle, self.generator, self.drop_last = batch_size, shuffle, generator, drop_last

    def __len__(self) -> int:
        """The number of batches in an epoch."""
        count = self.edge_label_index.size(1)
        return count // self.batch_size if self.drop_last else -(-count // self.batch_size)

    def __iter__(self) -> Iterator[Data]:
        count, device = self.edge_label_index.size(1), self.edge_label_index.device
        if self.shuffle:
            assert self.generator is not None
            order = torch.randperm(count, generator=self.generator, device=self.generator.device).to(device)
        else:
            order = torch.arange(count, device=device)
        for position in torch.split(order, self.batch_size)[: len(self)]:
            batch = self.subgraph(self.edge_label_index[:, position])
            if self.edge_label is not None:
                batch.y = self.edge_label[position.to(self.edge_label.device)]
            yield batch


def _cut_native(cutter: EnclosingSubgraph, links: Tensor, key: Tensor | None) -> Data:
    assert kernels is not None
    rowptr, col, num_links = cutter.rowptr, cutter.col, links.size(1)
    cap = -1 if cutter.max_nodes_per_hop is None else cutter.max_nodes_per_hop
    found = kernels.Enclosed(
        rowptr.data_ptr(), col.data_ptr(), cutter.num_nodes, links.data_ptr(), num_links, cutter.num_hops, cap,
        0 if key is None else key.data_ptr(), torch.get_num_threads(),
    )  # fmt: skip
    num_nodes, num_edges = found.num_nodes, found.num_edges
    node_id, batch = links.new_empty(num_nodes), links.new_empty(num_nodes)
    ptr, starts = links.new_empty(num_links + 1), links.new_empty(num_nodes + 1)
    edge_index, pair = links.new_empty(2, num_edges), links.new_empty(2, num_links)
    mask = torch.empty(num_edges, dtype=torch.bool)
    found.write(*(t.data_ptr() for t in (node_id, batch, ptr, starts, edge_index, mask, pair)))
    return Data(
        edge_index=edge_index, edge_mask=mask, rowptr=starts, candidate=pair, batch=batch, ptr=ptr, node_id=node_id
    )


def _cut_torch(cutter: EnclosingSubgraph, links: Tensor, key: Tensor | None) -> Data:
    rowptr, col, num_nodes = cutter.rowptr, cutter.col, max(cutter.num_nodes, 1)
    found = enclosing_nodes(rowptr, col, links, cutter.num_hops, cutter.max_nodes_per_hop, key)
    edge_index, pair = enclosing_edges(rowptr, col, links, found)
    batch = found // num_nodes
    ptr = torch.searchsorted(batch, torch.arange(links.size(1) + 1, device=links.device))
    other = pair.new_full((found.numel(),), -1)
    other[pair.flatten()] = pair.flip(0).flatten()
    starts = torch.searchsorted(edge_index[1].contiguous(), torch.arange(found.numel() + 1, device=links.device))
    return Data(
        edge_index=edge_index, edge_mask=other[edge_index[0]] != edge_index[1], rowptr=starts, candidate=pair,
        batch=batch, ptr=ptr, node_id=found % num_nodes,
    )  # fmt: skip


def _checked_graph(edge_index: Tensor | None, num_nodes: int) -> tuple[Tensor, Tensor]:
    """CSR of the distinct edges, neighbours in increasing order; ``col`` is int32."""
    if num_nodes > _LARGEST:
        raise ValueError(f"The graph has {num_nodes:,} nodes; subgraphs can be cut out of {_LARGEST:,} at most.")
    if edge_index is None:
        raise ValueError("The graph has no 'edge_index'. Build it with Data(edge_index=…, num_nodes=…).")
    check_pairs("edge_index", edge_index, "E")
    check_range("'edge_index'", edge_index, num_nodes)
    size = max(num_nodes, 1)
    edge = distinct(edge_index[1] * size + edge_index[0])
    back = (edge % size * size + edge // size).sort().values
    if not torch.equal(edge, back):
        lone = edge[~torch.isin(edge, back)]
        shown = first_three([f"{e % size} -> {e // size}" for e in lone[:3].tolist()])
        raise ValueError(
            f"'edge_index' must have each edge in both directions, but {lone.numel()} of {edge.numel()} are there in "
            f"one only (first: {shown}). Add the others: torch_geometric.utils.to_undirected(edge_index)."
        )
    rowptr, col = csr_from_edge_index(torch.stack([edge % size, edge // size]), num_nodes)
    return rowptr, col.to(torch.int32).contiguous()


def _checked_x(x: Tensor | None, num_nodes: int) -> Tensor | None:
    if x is None:
        return None
    if x.dim() == 0 or x.size(0) != num_nodes:
        raise ValueError(f"'x' must have one row per node, {num_nodes}, got {list(x.shape)}.")
    if x.is_floating_point():
        rows = x.isnan().flatten(1).any(1).nonzero().flatten()
        if rows.numel():
            raise ValueError(
                f"'x' has NaN in {rows.numel()} of {num_nodes} rows (first: {first_three(rows[:3].tolist())}); every "
                f"score they reach would be NaN. Fill them first, for example with x.nan_to_num()."
            )
    return x
