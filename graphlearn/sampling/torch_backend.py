"""The sampler in torch operations, on any device: what runs without a compiler and on a GPU.

On a GPU the host waits for the device once per hop (the sizes of the next level) and twice per batch for the distinct
rows; with ``"uniform"`` also once per round of repeated draws, and with ``disjoint=False`` once per type and level and
to compare the times. Tensor sizes cannot be known earlier.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from graphlearn.errors import UsageError
from graphlearn.sampling.arrays import EdgeArrays, GraphArrays, NodeArrays, Sampled, edge_type_name
from graphlearn.sampling.random import child_key, draw_ranks, stream


@dataclass(frozen=True)
class _Level:
    """The nodes of one type at one depth, in batch order; ``key`` is None where nothing is drawn."""

    ids: Tensor
    seed: Tensor
    key: Tensor | None


@dataclass(frozen=True)
class _Bounds:
    """Per seed: rows of one type are visible below ``num_undated`` and in ``[lower, upper)``."""

    num_undated: int
    lower: Tensor | None
    upper: Tensor | None


@dataclass
class _Lists:
    """The lists of one edge type at one hop: which entries are visible, and how many are taken.

    Entry ``j`` of a list's visible ones lies at ``head_start + j`` while ``j < num_head``, else at
    ``start + j`` (``num_head`` is None where nothing but one range can be visible).
    """

    start: Tensor
    n: Tensor
    take: Tensor
    head_start: Tensor | None = None
    num_head: Tensor | None = None
    total: int = 0
    num_drawn: int = 0


class TorchBackend:
    """Samples with torch operations; arguments are checked by `TemporalNeighborSampler`.

    Keeps one int64 per edge of a dated source type beside the graph, to search all lists at once.
    """

    def __init__(
        self, graph: GraphArrays, num_hops: int, fan_out: list[list[int]], *, uniform: bool, disjoint: bool
    ) -> None:
        self.graph, self.num_hops, self.fan_out = graph, num_hops, fan_out
        self.uniform, self.disjoint = uniform, disjoint
        self._sorted_key = [self._sort_key(edges) for edges in graph.edges]

    def sample(self, seed_type: int, index: Tensor, input_time: Tensor, after: Tensor | None, base: int) -> Sampled:
        """The batch of seeds ``index``; ``after`` holds the exclusive lower ends of the windows, if there are."""
        graph = self.graph
        bounds = [_bounds(nodes, input_time, after) for nodes in graph.nodes]
        number = torch.arange(index.numel(), device=graph.device)
        nothing = _Level(index.new_empty(0), index.new_empty(0), index.new_empty(0) if self.uniform else None)
        seeds = _Level(index, number, stream(base, number) if self.uniform else None)

        frontier = [seeds if t == seed_type else nothing for t in range(len(graph.nodes))]
        levels = [[level] for level in frontier]
        takes: list[list[Tensor]] = [[] for _ in graph.edges]
        cols: list[list[Tensor]] = [[] for _ in graph.edges]
        for hop in range(self.num_hops):
            lists = [self._visible(e, hop, frontier, bounds) for e in range(len(graph.edges))]
            _measure(lists)
            picked: list[list[tuple[int, _Level]]] = [[] for _ in graph.nodes]
            for e, found in enumerate(lists):
                takes[e].append(found.take)
                picked[graph.edges[e].src].append((e, self._pick(e, hop, found, frontier[graph.edges[e].dst])))
            frontier = [
                self._next_level(hop, t, parts, sum(_sizes(levels[t])), base, cols) if parts else nothing
                for t, parts in enumerate(picked)
            ]
            for above, level in zip(levels, frontier, strict=True):
                above.append(level)

        n_id = [torch.cat([level.ids for level in above]) for above in levels]
        rows, inverse = _distinct(n_id, [nodes.num_nodes for nodes in graph.nodes])
        zero = index.new_zeros(1)
        return Sampled(
            n_id=n_id,
            seed=[torch.cat([level.seed for level in above]) for above in levels],
            rows=rows,
            inverse=inverse,
            num_nodes=[_sizes(above) for above in levels],
            rowptr=[torch.cat([zero, torch.cat([zero[:0], *parts]).cumsum(0)]) for parts in takes],
            col=[torch.cat([zero[:0], *parts]) for parts in cols],
            num_edges=[[part.numel() for part in parts] for parts in cols],
        )

    def _sort_key(self, edges: EdgeArrays) -> Tensor | None:
        """``dst * num_src + src`` of every edge: increasing over all lists, so that one search serves them all."""
        src, dst = self.graph.nodes[edges.src], self.graph.nodes[edges.dst]
        if edges.rowptr is None or src.time is None:
            return None
        if src.num_nodes * (dst.num_nodes + 1) >= 1 << 63:
            name, rows = edge_type_name(edges.edge_type), f"{src.num_nodes} x {dst.num_nodes}"
            raise UsageError(
                f"edge type '{name}' is too large for backend='torch': {rows} rows do not fit in 63 bits. "
                "Use backend='native'."
            )
        node = torch.arange(dst.num_nodes, device=self.graph.device)
        size = edges.neighbor.numel()
        return torch.repeat_interleave(node * src.num_nodes, edges.rowptr.diff(), output_size=size) + edges.neighbor

    def _visible(self, e: int, hop: int, frontier: list[_Level], bounds: list[_Bounds]) -> _Lists:
        edges, k = self.graph.edges[e], self.fan_out[e][hop]
        parents, bound = frontier[edges.dst], bounds[edges.src]
        if k == 0:
            none = parents.ids.new_zeros(parents.ids.numel())
            return _Lists(none, none, none)
        if edges.rowptr is None:
            one = _is_visible(edges.neighbor[parents.ids], bound, parents.seed).long()
            return _Lists(parents.ids, one, one)

        first = start = edges.rowptr[parents.ids]
        end = edges.rowptr[parents.ids + 1]
        head_start = num_head = None
        key = self._sorted_key[e]
        if key is not None and bound.upper is not None:
            row = parents.ids * self.graph.nodes[edges.src].num_nodes
            end = torch.searchsorted(key, row + bound.upper[parents.seed])
            if bound.lower is not None:
                start = torch.searchsorted(key, row + bound.lower[parents.seed])
                if bound.num_undated > 0:
                    head_start, num_head = first, torch.searchsorted(key, row + bound.num_undated) - first
        n = end - start
        if num_head is not None:
            n, start = n + num_head, start - num_head
        return _Lists(start, n, n if k < 0 else n.clamp_max(k), head_start, num_head)

    def _pick(self, e: int, hop: int, found: _Lists, parents: _Level) -> _Level:
        edges, device = self.graph.edges[e], self.graph.device
        lists = torch.arange(found.take.numel(), device=device)
        owner = torch.repeat_interleave(lists, found.take, output_size=found.total)
        entry = torch.arange(found.total, device=device)
        first = found.take.cumsum(0) - found.take
        skipped = found.n - found.take
        list_key = None if parents.key is None else stream(parents.key, torch.full_like(found.take, e))
        if list_key is None and found.num_head is None:
            position = entry + (found.start + skipped - first)[owner]
        else:
            rank = entry - first[owner]
            if list_key is None:
                rank += skipped[owner]
            elif found.num_drawn > 0:
                k = self.fan_out[e][hop]
                drawn = torch.nonzero_static(skipped, size=found.num_drawn).squeeze(1)
                cells = first[drawn][:, None] + torch.arange(k, device=device)
                rank[cells] = draw_ranks(list_key[drawn], found.n[drawn], k)
            position = found.start[owner] + rank
            if found.num_head is not None and found.head_start is not None:
                position = torch.where(rank < found.num_head[owner], found.head_start[owner] + rank, position)

        key = None
        if list_key is not None and self.disjoint and hop + 1 < self.num_hops:
            key = child_key(list_key[owner], entry - first[owner])
        return _Level(edges.neighbor[position].long(), parents.seed[owner], key)

    def _next_level(
        self, hop: int, t: int, picked: list[tuple[int, _Level]], offset: int, base: int, cols: list[list[Tensor]]
    ) -> _Level:
        """The level that the picks of type ``t`` make, and each pick's place in it (into ``cols``)."""
        ids = torch.cat([level.ids for _, level in picked])
        sizes = _sizes([level for _, level in picked])
        key = None
        if self.disjoint:
            place = torch.arange(offset, offset + ids.numel(), device=ids.device)
            seed = torch.cat([level.seed for _, level in picked])
            keys = [level.key for _, level in picked if level.key is not None]
            key = torch.cat(keys) if keys else None
        else:
            ids, place = torch.unique(ids, return_inverse=True)
            place, seed = place + offset, torch.zeros_like(ids)
            if self.uniform:
                # All seeds see the same rows, so a row's key depends on where the row is, not on a path to it.
                level_key = stream(~base, torch.full_like(ids, hop))
                key = stream(stream(level_key, torch.full_like(ids, t)), ids)
        for (e, _), part in zip(picked, torch.split(place, sizes), strict=True):
            cols[e].append(part)
        return _Level(ids, seed, key)


def _sizes(levels: list[_Level]) -> list[int]:
    return [level.ids.numel() for level in levels]


def _bounds(nodes: NodeArrays, input_time: Tensor, after: Tensor | None) -> _Bounds:
    if nodes.time is None:
        return _Bounds(nodes.num_undated, None, None)
    dated = nodes.time[nodes.num_undated :]
    upper = torch.searchsorted(dated, input_time, right=True) + nodes.num_undated
    lower = None if after is None else torch.searchsorted(dated, after, right=True) + nodes.num_undated
    return _Bounds(nodes.num_undated, lower, upper)


def _is_visible(row: Tensor, bound: _Bounds, seed: Tensor) -> Tensor:
    visible = row >= 0
    if bound.upper is not None:
        dated = row < bound.upper[seed]
        if bound.lower is not None:
            dated = (dated & (row >= bound.lower[seed])) | (row < bound.num_undated)
        visible = visible & dated
    return visible


def _measure(lists: list[_Lists]) -> None:
    """Fills in the totals of all edge types with one read from the device."""
    if not lists:
        return
    sums = torch.stack([torch.stack([found.take.sum(), (found.n > found.take).sum()]) for found in lists])
    for found, (total, num_drawn) in zip(lists, sums.tolist(), strict=True):
        found.total, found.num_drawn = total, num_drawn


def _distinct(n_id: list[Tensor], num_nodes: list[int]) -> tuple[list[Tensor], list[Tensor]]:
    """Per type, the distinct ids in increasing order and where each id is among them; all types in one go."""
    if not n_id:
        return [], []
    starts = [0]
    for size in num_nodes:
        starts.append(starts[-1] + size)
    ids = torch.cat([part + start for part, start in zip(n_id, starts, strict=False)])
    if starts[-1] <= 8 * ids.numel():
        present = torch.zeros(starts[-1], dtype=torch.bool, device=ids.device)
        present[ids] = True
        rows = present.nonzero().squeeze(1)
        rank = torch.empty(starts[-1], dtype=torch.int64, device=ids.device)
        rank[rows] = torch.arange(rows.numel(), device=ids.device)
        inverse = rank[ids]
    else:
        rows, inverse = torch.unique(ids, return_inverse=True)
    ends = torch.searchsorted(rows, torch.tensor(starts, device=ids.device)).tolist()
    spans = zip(ends[:-1], ends[1:], starts[:-1], strict=True)
    parts = torch.split(inverse, [part.numel() for part in n_id])
    return (
        [rows[low:high] - start for low, high, start in spans],
        [part - low for part, low in zip(parts, ends[:-1], strict=True)],
    )
