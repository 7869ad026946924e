"""How much faster is parsing all clusters at once than one after the other?    python benchmarks/parse_speed.py

*batch*: all levels of a batch of 128 graphs with random scores. Parsing and the mask of inside edges against
`sequential`, the authors' algorithm told anew; parsing, pooled nodes and pooled edges against PyG's EdgePooling on the
same levels, whose scores are given to it. *graph*: one level of one Erdos-Renyi graph with 2 n edges. *step*: a
training step of GraphParsingNetwork in the authors' settings against the same network, same weights, that parses
sequentially, and (`as_published`) that also does the rest as the authors' code does: both directions of each edge
scored, PyG's GCNConv, torch's dropout. *memory*: what parsing a large graph adds to the process at its peak. The steps
of a row take turns in one process; the ratio is of medians, with the range that its quartiles allow.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import shutil
import statistics
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
import torch.nn.functional as F
from common import emit, interleaved_ms, summary, versions
from torch import Tensor
from torch_geometric.data import Batch
from torch_geometric.datasets import TUDataset
from torch_geometric.nn import EdgePooling, GCNConv

import graphlearn.nn.pool.graph_parsing as pooling
from graphlearn.models import GraphParsingNetwork
from graphlearn.ops import graph_parse
from graphlearn.ops.parse import undirected_edges

NETWORKS: dict[str, dict[str, Any]] = {
    "PROTEINS": {"hidden_channels": 128, "num_layers": 3, "dropout": 0.1, "act_final": True},
    "NCI1": {"hidden_channels": 256, "num_layers": 2, "deepsets_layers": 3, "dropout": 0.4},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = Path(os.environ.get("GRAPHLEARN_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
    parser.add_argument("--root", type=Path, default=data, help="folder that holds tu/")
    parser.add_argument("--parts", nargs="+", default=["batch", "graph", "step", "memory"])
    parser.add_argument("--graphs", type=int, default=128)
    parser.add_argument("--nodes", type=int, nargs="+", default=[10_000, 50_000], help="sizes of *graph*")
    parser.add_argument("--large", type=int, nargs="+", default=[250_000, 500_000, 1_000_000, 2_000_000])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--tiny", action="store_true", help="small sizes, nothing stored")
    parser.add_argument("--no-store", action="store_true", help="only print")
    args = parser.parse_args()
    if args.tiny:
        args.graphs, args.nodes, args.large, args.repeats = 8, [100], [1000], 2
    torch.set_num_threads(args.threads)
    name = None if args.tiny or args.no_store else "parse_speed"
    if "memory" in args.parts:  # first: the peak of a process never falls
        memory(args, name)
    for size in args.nodes if "graph" in args.parts else []:
        one_graph(args, size, name)
    for dataset in NETWORKS:
        if {"batch", "step"} & set(args.parts):
            batch = load(args, dataset)
        if "batch" in args.parts:
            one_batch(args, dataset, batch, name)
        if "step" in args.parts:
            one_step(args, dataset, batch, name)


def load(args: argparse.Namespace, dataset: str) -> Batch:
    with tempfile.TemporaryDirectory() as folder:  # PyG writes beside what it reads
        shutil.copytree(args.root / "tu" / dataset / "raw", Path(folder) / dataset / "raw")
        graphs = TUDataset(folder, dataset, use_node_attr=True)
        order = torch.randperm(len(graphs), generator=torch.Generator().manual_seed(0))[: args.graphs]
        return Batch.from_data_list([graphs[i] for i in order.tolist()])


def one_batch(args: argparse.Namespace, dataset: str, batch: Batch, name: str | None) -> None:
    levels = all_levels(batch.edge_index, batch.batch)
    for pairs, score, graph in levels:
        found = graph_parse(pairs, score, len(graph))
        assert same_partition(found, sequential_roots(pairs, score, len(graph), graph))
    steps = {
        "ours": lambda: [parse_inside(pairs, score, graph) for pairs, score, graph in levels],
        "sequential": lambda: [sequential_roots(pairs, score, len(graph), graph) for pairs, score, graph in levels],
        "ours_merge": lambda: [merge(pairs, score, graph) for pairs, score, graph in levels],
        "edge_pooling": lambda: [edge_pooling(pairs, score, graph) for pairs, score, graph in levels],
    }
    times = interleaved_ms(steps, warmup=2, repeats=args.repeats)
    row = {
        "case": f"batch {dataset}", "graphs": args.graphs, "nodes": [len(level[2]) for level in levels],
        "edges": [level[0].size(1) for level in levels], **{way: summary(taken) for way, taken in times.items()},
        "sequential/ours": ratio(times["sequential"], times["ours"]),
        "edge_pooling/ours_merge": ratio(times["edge_pooling"], times["ours_merge"]),
    }  # fmt: skip
    emit({**row, **versions()}, name)


def one_graph(args: argparse.Namespace, size: int, name: str | None) -> None:
    pairs = erdos_renyi(size)
    score = torch.randn(pairs.size(1), generator=torch.Generator().manual_seed(1))
    graph = torch.zeros(size, dtype=torch.int64)
    slow = partial(sequential_roots, pairs, score, size, graph)
    assert same_partition(graph_parse(pairs, score, size), slow())
    repeats = max(2, args.repeats // 5) if size > 20_000 else args.repeats
    times = interleaved_ms({"sequential": slow}, warmup=0, repeats=min(repeats, 5))
    times |= interleaved_ms({"ours": lambda: parse_inside(pairs, score, graph)}, warmup=3, repeats=args.repeats)
    row = {
        "case": f"graph {size}", "edges": pairs.size(1), **{way: summary(taken) for way, taken in times.items()},
        "sequential/ours": ratio(times["sequential"], times["ours"]),
    }  # fmt: skip
    emit({**row, **versions()}, name)


def one_step(args: argparse.Namespace, dataset: str, batch: Batch, name: str | None) -> None:
    steps = {}
    for way in ("ours", "sequential", "as_published"):
        torch.manual_seed(0)
        model = GraphParsingNetwork(batch.num_features, out_channels=2, **NETWORKS[dataset])
        if way == "sequential":
            model.pool.__class__ = SequentialPooling
        if way == "as_published":
            as_published(model, batch)
        optimizer = torch.optim.Adam(model.parameters(), lr=5e-4, fused=True)
        steps[way] = partial(train_step, model, optimizer, batch)
    times = interleaved_ms(steps, warmup=3, repeats=args.repeats)
    row = {
        "case": f"step {dataset}", "graphs": args.graphs, "nodes": batch.num_nodes, **NETWORKS[dataset],
        **{way: summary(taken) for way, taken in times.items()},
        "sequential/ours": ratio(times["sequential"], times["ours"]),
        "as_published/ours": ratio(times["as_published"], times["ours"]),
    }  # fmt: skip
    emit({**row, **versions()}, name)


def memory(args: argparse.Namespace, name: str | None) -> None:
    warm = erdos_renyi(1000)
    graph_parse(warm, torch.ones(warm.size(1)), 1000)
    for size in sorted(args.large):
        pairs = erdos_renyi(size)
        score = torch.randn(pairs.size(1), generator=torch.Generator().manual_seed(1))
        ctypes.CDLL(None).malloc_trim(0)  # what was freed goes back to the system, so that it is not used unseen
        Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
        before = peak_bytes()
        graph_parse(pairs, score, size)
        added = peak_bytes() - before
        row = {"case": f"memory {size}", "edges": pairs.size(1), "added_mib": round(added / 2**20, 1)}
        emit({**row, "bytes_per_edge": round(added / pairs.size(1), 1), **versions()}, name)


def peak_bytes() -> int:
    """Most memory that the process had at once, as Linux counts it."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return 1024 * int(status["VmHWM"].split()[0])


def train_step(model: torch.nn.Module, optimizer: torch.optim.Optimizer, batch: Batch) -> None:
    optimizer.zero_grad()
    F.cross_entropy(model(batch.x, batch.edge_index, batch.batch, batch.num_graphs), batch.y).backward()
    optimizer.step()


def erdos_renyi(size: int) -> Tensor:
    """About 2 n random edges, each once, without self-loops."""
    ends = torch.randint(size, (2, 2 * size), generator=torch.Generator().manual_seed(0))
    return undirected_edges(ends, size)


def all_levels(edge_index: Tensor, graph: Tensor) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Edges, random scores and graph of each node at each level, until nothing merges."""
    generator = torch.Generator().manual_seed(0)
    pairs, levels = undirected_edges(edge_index, len(graph)), []
    while pairs.size(1):
        score = torch.randn(pairs.size(1), generator=generator)
        levels.append((pairs, score, graph))
        cluster = graph_parse(pairs, score, len(graph))
        num_clusters = int(cluster.max()) + 1
        graph = graph.new_empty(num_clusters).scatter(0, cluster, graph)
        pairs = undirected_edges(cluster[pairs], num_clusters)
    return levels


def parse_inside(pairs: Tensor, score: Tensor, graph: Tensor) -> tuple[Tensor, Tensor]:
    cluster = graph_parse(pairs, score, len(graph))
    return cluster, cluster[pairs[0]] == cluster[pairs[1]]


def merge(pairs: Tensor, score: Tensor, graph: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What EdgePooling's forward gives: pooled nodes of one channel, pooled edges, their graphs."""
    cluster = graph_parse(pairs, score, len(graph))
    num_clusters = int(cluster.max()) + 1
    x = torch.ones(num_clusters, 1).index_add(0, cluster, torch.ones(len(graph), 1))
    pooled = undirected_edges(cluster[pairs], num_clusters)
    return x, torch.cat([pooled, pooled.flip(0)], dim=1), graph.new_empty(num_clusters).scatter(0, cluster, graph)


def edge_pooling(pairs: Tensor, score: Tensor, graph: Tensor) -> tuple[Any, ...]:
    both = torch.cat([pairs, pairs.flip(0)], dim=1)
    given: Callable[..., Tensor] = lambda *_: score.repeat(2)  # noqa: E731
    with torch.no_grad():
        return EdgePooling(1, given, add_to_edge_score=0.0)(torch.ones(len(graph), 1), both, graph)


class SequentialPooling(pooling.GraphParsingPooling):
    """The same layer, parsing one cluster after the other."""

    def pool(self, x: Tensor, pairs: Tensor, batch: Tensor, content: Tensor | None = None) -> Any:
        def parse(pairs: Tensor, score: Tensor, num_nodes: int) -> tuple[Tensor, Tensor]:
            root = sequential_roots(pairs, score, num_nodes, batch)
            return root, root.unique(return_inverse=True)[1]

        with patch.object(pooling, "parse_clusters", parse):
            return super().pool(x, pairs, batch, content)


class PublishedPooling(SequentialPooling):
    """The same, scoring both directions of each edge; the mean counts, as their dropout differs."""

    def _logits(self, x: Tensor, pairs: Tensor) -> Tensor:
        both = super()._logits(x, torch.cat([pairs, pairs.flip(0)], dim=1))
        return both.view(2, -1).mean(dim=0)


def as_published(model: GraphParsingNetwork, batch: Batch) -> None:
    """Makes the network do what the authors' code does, with the weights that it has."""
    model.eval()
    wanted = model(batch.x, batch.edge_index, batch.batch, batch.num_graphs)
    model.pool.__class__ = PublishedPooling
    for i, ours in enumerate(model.gnn1.convs):
        conv = GCNConv(model.hidden_channels, model.hidden_channels)
        conv.lin.weight, conv.bias = ours.lin.weight, ours.lin.bias
        model.gnn1.convs[i] = conv
    for part in list(model.modules()):
        for name, child in list(part.named_children()):
            if type(child).__name__ == "_ReLUDropout":
                setattr(part, name, torch.nn.Sequential(torch.nn.ReLU(), torch.nn.Dropout(child.p)))
    found = model.eval()(batch.x, batch.edge_index, batch.batch, batch.num_graphs)
    right = (found - wanted).abs().amax(dim=1) < 1e-3  # a graph may differ where two scores are within rounding
    assert right.float().mean() > 0.95, f"{int((~right).sum())} of {len(right)} graphs differ"
    model.train()


def sequential_roots(pairs: Tensor, score: Tensor, num_nodes: int, graph: Tensor) -> Tensor:
    """The authors' algorithm: in every graph one cluster grows at a time, from its best dominant edge.

    A node joins a growing cluster when the other end of its dominant edge is in it; each round asks all nodes that are
    left. When nothing joined, the edges inside are marked, and the next cluster begins. Gives the smallest node of each
    node's cluster.
    """
    ends = torch.cat([pairs, pairs.flip(0)], dim=1).numpy()
    order = np.argsort(-score.detach().numpy(), kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    best = np.full(num_nodes, len(order))
    np.minimum.at(best, ends[0], np.tile(rank, 2))
    tail = np.flatnonzero(best < len(order))
    tail = tail[np.argsort(best[tail], kind="stable")]  # nodes with edges, best dominant edge first
    head = pairs.sum(dim=0).numpy()[order[best[tail]]] - tail
    graphs, root = graph.numpy(), np.arange(num_nodes)
    inside = np.zeros(ends.shape[1], dtype=bool)
    while len(tail):
        first = np.unique(graphs[tail], return_index=True)[1]
        members = np.unique([tail[first], head[first]])
        while True:
            joins = np.isin(head, members)
            grown = np.union1d(tail[joins], members)
            tail, head = tail[~joins], head[~joins]
            if len(grown) == len(members):
                break
            members = grown
        smallest = np.full(int(graphs[members].max()) + 1, num_nodes)
        np.minimum.at(smallest, graphs[members], members)
        root[members] = smallest[graphs[members]]
        inside |= np.isin(ends, members).all(axis=0)
    return torch.from_numpy(root)


def same_partition(cluster: Tensor, root: Tensor) -> bool:
    together = torch.stack([cluster, root]).unique(dim=1).size(1)
    return together == len(cluster.unique()) == len(root.unique())


def ratio(slow: list[float], fast: list[float]) -> dict[str, float]:
    """How many times as long: medians, and the range from the quartiles."""
    low, _, high = statistics.quantiles(slow, n=4) if len(slow) > 1 else slow * 3
    quick, _, late = statistics.quantiles(fast, n=4) if len(fast) > 1 else fast * 3
    median = statistics.median(slow) / statistics.median(fast)
    return {"median": round(median, 2), "low": round(low / late, 2), "high": round(high / quick, 2)}


if __name__ == "__main__":
    main()
