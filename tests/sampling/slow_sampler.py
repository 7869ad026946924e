"""A sampler in plain Python that follows the definition word by word, and small random graphs to try it on."""

from __future__ import annotations

import random
from typing import Any

import torch
from torch_geometric.data import HeteroData

MASK = (1 << 64) - 1
GOLDEN = 0x9E3779B97F4A7C15


def mix(x: int) -> int:
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


def stream(key: int, counter: int) -> int:
    return mix((key + (counter + 1) * GOLDEN) & MASK)


def draw_ranks(key: int, n: int, k: int) -> list[int]:
    """The first different values of the stream are kept, or left out where that is fewer."""
    m, chosen, counter = min(k, n - k), set(), 0
    while len(chosen) < m:
        chosen.add(min(int((stream(key, counter) >> 11) * 2.0**-53 * n), n - 1))
        counter += 1
    return sorted(chosen) if m == k else [rank for rank in range(n) if rank not in chosen]


class SlowSampler:
    def __init__(self, graph: HeteroData, num_neighbors: Any, strategy: str, window: int | None, disjoint: bool):
        self.graph, self.strategy, self.window, self.disjoint = graph, strategy, window, disjoint
        self.node_types, self.edge_types = sorted(graph.node_types), sorted(graph.edge_types)
        lists = num_neighbors if isinstance(num_neighbors, dict) else dict.fromkeys(self.edge_types, num_neighbors)
        self.num_hops = len(next(iter(lists.values()), [])) if lists is num_neighbors else len(num_neighbors)
        self.fan_out = {e: lists.get(e, [0] * self.num_hops) for e in self.edge_types}

    def visible(self, node_type: str, row: int, input_time: int) -> bool:
        store = self.graph[node_type]
        if "time" not in store or row < store.num_undated:
            return True
        time = int(store.time[row])
        return time <= input_time and (self.window is None or time > input_time - self.window)

    def neighbors(self, edge_type: tuple[str, str, str], node: int, input_time: int, k: int, key: int) -> list[int]:
        store = self.graph[edge_type]
        if k == 0:
            return []
        if "index" in store:
            rows = [int(store.index[node])] if int(store.index[node]) >= 0 else []
        else:
            rows = store.col[int(store.rowptr[node]) : int(store.rowptr[node + 1])].tolist()
        rows = [row for row in rows if self.visible(edge_type[0], row, input_time)]
        if k < 0 or len(rows) <= k:
            return rows
        if self.strategy == "last":
            return rows[-k:]
        return [rows[rank] for rank in draw_ranks(key, len(rows), k)]

    def sample(self, node_type: str, index: list[int], input_time: list[int], base: int) -> dict[str, Any]:
        base &= MASK
        levels = {t: [[]] for t in self.node_types}  # of (row, seed, key)
        levels[node_type][0] = [(row, b, stream(base, b)) for b, row in enumerate(index)]
        rowptr = {e: [0] for e in self.edge_types}
        col = {e: [] for e in self.edge_types}
        num_edges = {e: [] for e in self.edge_types}
        for hop in range(self.num_hops):
            picked = {t: [] for t in self.node_types}
            where = {t: [] for t in self.node_types}
            for e, edge_type in enumerate(self.edge_types):
                src, _, dst = edge_type
                before = len(col[edge_type])
                for row, seed, key in levels[dst][hop]:
                    list_key = stream(key, e)
                    found = self.neighbors(edge_type, row, input_time[seed], self.fan_out[edge_type][hop], list_key)
                    for rank, child in enumerate(found):
                        child_key = stream(list_key ^ 0x5851F42D4C957F2D, rank)
                        where[src].append((edge_type, len(col[edge_type])))
                        picked[src].append((child, seed, child_key))
                        col[edge_type].append(None)
                    rowptr[edge_type].append(len(col[edge_type]))
                num_edges[edge_type].append(len(col[edge_type]) - before)
            for t, node in enumerate(self.node_types):
                offset = sum(len(level) for level in levels[node])
                place = list(range(len(picked[node])))
                level = picked[node]
                if not self.disjoint:
                    rows = sorted({row for row, _, _ in level})
                    place = [rows.index(row) for row, _, _ in level]
                    prefix = stream(stream(~base & MASK, hop), t)
                    level = [(row, 0, stream(prefix, row)) for row in rows]
                for (edge_type, position), p in zip(where[node], place, strict=True):
                    col[edge_type][position] = offset + p
                levels[node].append(level)
        out: dict[str, Any] = {"nodes": {}, "edges": {}}
        for node in self.node_types:
            n_id = [row for level in levels[node] for row, _, _ in level]
            rows = sorted(set(n_id))
            out["nodes"][node] = {
                "n_id": n_id,
                "batch": [seed for level in levels[node] for _, seed, _ in level],
                "rows": rows,
                "inverse": [rows.index(row) for row in n_id],
                "num_sampled_nodes": [len(level) for level in levels[node]],
                "num_nodes": len(n_id),
            }
        for edge_type in self.edge_types:
            out["edges"][edge_type] = {
                "rowptr": rowptr[edge_type],
                "col": col[edge_type],
                "num_sampled_edges": num_edges[edge_type],
            }
        return out


def as_lists(batch: HeteroData) -> dict[str, Any]:
    """A batch in the form of `SlowSampler.sample`, with everything that it holds."""

    def plain(store: Any) -> dict[str, Any]:
        for name, value in store.items():
            assert not isinstance(value, torch.Tensor) or value.dtype == torch.int64, name
        return {name: v.tolist() if isinstance(v, torch.Tensor) else v for name, v in store.items()}

    return {
        "nodes": {t: plain(batch[t]) for t in sorted(batch.node_types)},
        "edges": {e: plain(batch[e]) for e in sorted(batch.edge_types)},
    }


def random_graph(seed: int, *, max_rows: int = 12, times: int = 8) -> HeteroData:
    """Up to four tables (some empty, some without time, some with undated rows) and up to five foreign keys."""
    draw = random.Random(seed)
    graph = HeteroData()
    tables = [f"t{i}" for i in range(draw.randint(1, 4))]
    for table in tables:
        store = graph[table]
        store.num_nodes = draw.choice([0, 1, draw.randint(1, max_rows), max_rows])
        kind = draw.choice(["dated", "dated", "undated rows", "no time"])
        if kind != "no time":
            store.num_undated = draw.randint(0, store.num_nodes) if kind == "undated rows" else 0
            dated = sorted(draw.randint(0, times) for _ in range(store.num_nodes - store.num_undated))
            store.time = torch.tensor([draw.randint(-5, 50) for _ in range(store.num_undated)] + dated).long()
    for i in range(draw.randint(0, 5)):
        add_foreign_key(graph, draw.choice(tables), f"k{i}", draw.choice(tables), draw)
    return graph


def add_foreign_key(graph: HeteroData, child: str, name: str, parent: str, draw: random.Random) -> None:
    num_children, num_parents = graph[child].num_nodes, graph[parent].num_nodes
    hub = draw.randrange(num_parents) if num_parents else -1
    index = [draw.choice([-1, hub, draw.randrange(num_parents)]) if num_parents else -1 for _ in range(num_children)]
    lists: list[list[int]] = [[] for _ in range(num_parents)]
    for row, target in enumerate(index):
        if target >= 0:
            lists[target].append(row)
    dtype = draw.choice([torch.int32, torch.int64])
    edges = graph[child, name, parent]
    edges.rowptr = torch.tensor([0] + [len(rows) for rows in lists]).cumsum(0)
    edges.col = torch.tensor([row for rows in lists for row in rows], dtype=dtype)
    graph[parent, f"rev_{name}", child].index = torch.tensor(index, dtype=dtype)


def without_rows_after(graph: HeteroData, time: int) -> HeteroData:
    """The graph as it was at ``time``: later rows, and what points to or from them, are not there yet."""
    past = HeteroData()
    for table in graph.node_types:
        store = graph[table]
        past[table].num_nodes = store.num_nodes
        if "time" in store:
            keep = store.num_undated + int((store.time[store.num_undated :] <= time).sum())
            past[table].num_nodes, past[table].num_undated, past[table].time = (
                keep,
                store.num_undated,
                store.time[:keep],
            )
    for src, name, dst in graph.edge_types:
        edges, num_src, num_dst = graph[src, name, dst], past[src].num_nodes, past[dst].num_nodes
        if "index" in edges:
            index = edges.index[:num_dst]
            past[src, name, dst].index = torch.where(index < num_src, index, -1)
        else:
            lists = [edges.col[edges.rowptr[i] : edges.rowptr[i + 1]] for i in range(num_dst)]
            lists = [rows[rows < num_src] for rows in lists]
            past[src, name, dst].rowptr = torch.tensor([0] + [len(rows) for rows in lists]).cumsum(0)
            past[src, name, dst].col = torch.cat([edges.col[:0], *lists])
    return past
