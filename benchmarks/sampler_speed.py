"""How much faster is the native temporal sampler than the pure-torch one?    python benchmarks/sampler_speed.py

One table of 1M rows with a self relation of 10M edges, both ends drawn with Zipf exponent 0.75 (the mean list has 10
entries, the longest some 300,000). Times are random; in our graphs ids increase with time, so an edge is visible when
its source row is. Fan-out [64, 64], batches of 512 trees, each seed at its own time; every batch is whole, with
the distinct rows of `rows` and `inverse`. *uniform* seeds are any rows, *active* ones are drawn by degree.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from typing import Literal

import torch
from common import emit, interleaved_ms, summary, versions
from torch import Tensor
from torch_geometric.data import HeteroData

from graphlearn.sampling import SeedLoader, TemporalNeighborSampler

Strategy = Literal["last", "uniform"]
Backend = Literal["native", "torch"]
STRATEGIES: tuple[Strategy, ...] = ("last", "uniform")
BACKENDS: tuple[Backend, ...] = ("native", "torch")
FAN_OUT = [64, 64]
EDGE_TYPE = ("node", "link", "node")
WARMUP = 5


def make_graph(num_nodes: int, num_edges: int, generator: torch.Generator) -> tuple[HeteroData, Tensor]:
    """The graph, and the destination of every edge (a list to draw active seeds from)."""

    # A random numbering puts the hubs anywhere in time; a hub is one at both ends.
    node_of_rank = torch.randperm(num_nodes, generator=generator)

    def zipf() -> Tensor:
        # rank = N u^4 has a density proportional to rank^(-3/4).
        return node_of_rank[
            (torch.rand(num_edges, generator=generator, dtype=torch.float64).pow_(4) * num_nodes).long()
        ]

    src, dst = zipf(), zipf()
    key = (dst * num_nodes + src).sort().values
    graph = HeteroData()
    graph["node"].num_nodes = num_nodes
    graph["node"].time = torch.randint(10**12, (num_nodes,), generator=generator).sort().values
    graph[EDGE_TYPE].rowptr = torch.searchsorted(key, torch.arange(num_nodes + 1) * num_nodes)
    graph[EDGE_TYPE].col = (key % num_nodes).int()
    return graph, dst


def make_seeds(kind: str, dst: Tensor, num_nodes: int, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Seeds and their times."""
    if kind == "active":
        index = dst[torch.randint(dst.numel(), (count,), generator=generator)]
    else:
        index = torch.randint(num_nodes, (count,), generator=generator)
    return index, torch.randint(10**12, (count,), generator=generator)


def one_thread(graph: HeteroData, seeds: tuple[Tensor, Tensor], strategy: Strategy, size: int) -> dict[str, object]:
    """Both backends on the same batches in turn, on the calling thread."""
    edges = dict.fromkeys(BACKENDS, 0)

    def stepper(backend: Backend) -> Callable[[], None]:
        sampler = TemporalNeighborSampler(graph, FAN_OUT, strategy=strategy, backend=backend)
        batches = zip(torch.split(seeds[0], size), torch.split(seeds[1], size), strict=True)
        generator = torch.Generator().manual_seed(1)

        def step() -> None:
            index, times = next(batches)
            batch = sampler.sample("node", index, times, generator=generator)
            edges[backend] += sum(batch[EDGE_TYPE].num_sampled_edges)

        return step

    repeats = seeds[0].numel() // size - WARMUP
    taken = interleaved_ms({backend: stepper(backend) for backend in BACKENDS}, warmup=WARMUP, repeats=repeats)
    if edges["native"] != edges["torch"]:
        raise RuntimeError(f"the backends sampled different batches: {edges} edges")
    per_batch = edges["native"] / (repeats + WARMUP)
    row: dict[str, object] = {"edges_per_seed": round(per_batch / size, 1)}
    for backend, times in taken.items():
        per_s = 1e3 / statistics.median(times)
        speed = {"seeds_per_s": round(size * per_s), "edges_per_s": round(per_batch * per_s)}
        row[backend] = {**summary(times), **speed}
    row["native/torch"] = round(statistics.median(taken["torch"]) / statistics.median(taken["native"]), 2)
    return row


def two_threads(graph: HeteroData, seeds: tuple[Tensor, Tensor], strategy: Strategy, size: int) -> dict[str, object]:
    """The native sampler behind `SeedLoader` with one thread and with two, whole epochs in turn."""
    sampler = TemporalNeighborSampler(graph, FAN_OUT, strategy=strategy, backend="native")

    def epoch(num_threads: int) -> Callable[[], None]:
        generator = torch.Generator().manual_seed(1)
        loader = SeedLoader(
            sampler, "node", *seeds, batch_size=size, shuffle=False, generator=generator, num_threads=num_threads
        )

        def step() -> None:
            for _ in loader:
                pass

        return step

    taken = interleaved_ms({"1 thread": epoch(1), "2 threads": epoch(2)}, warmup=1, repeats=5)
    row: dict[str, object] = {}
    for name, times in taken.items():
        row[name] = {**summary(times), "seeds_per_s": round(1e3 * seeds[0].numel() / statistics.median(times))}
    row["2 threads/1"] = round(statistics.median(taken["1 thread"]) / statistics.median(taken["2 threads"]), 2)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=1_000_000)
    parser.add_argument("--edges", type=int, default=10_000_000)
    parser.add_argument("--batch-size", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=60)
    parser.add_argument("--tiny", action="store_true", help="a small graph and few repeats; stores nothing")
    parser.add_argument("--no-store", action="store_true", help="prints the rows, stores nothing")
    args = parser.parse_args()
    if args.tiny:
        args.nodes, args.edges, args.batch_size, args.repeats = 1_000, 10_000, 32, 3
    name = None if args.tiny or args.no_store else "sampler_speed"

    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    graph, dst = make_graph(args.nodes, args.edges, generator)
    setting = {"nodes": args.nodes, "edges": args.edges, "fan_out": FAN_OUT, "batch_size": args.batch_size}
    for kind in ("uniform", "active"):
        count = args.batch_size * (args.repeats + WARMUP)
        seeds = make_seeds(kind, dst, args.nodes, count, generator)
        for strategy in STRATEGIES:
            case = {"case": f"{kind} seeds, {strategy}", **setting}
            emit({**case, **one_thread(graph, seeds, strategy, args.batch_size), **versions()}, name)
            case["case"] += ", SeedLoader"
            emit({**case, **two_threads(graph, seeds, strategy, args.batch_size), **versions()}, name)


if __name__ == "__main__":
    main()
