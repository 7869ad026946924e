"""How long does scoring B links take, with a graph and without?    python benchmarks/link_serving.py --graph Cora

A SAGE teacher and an MLP student of the same size, untrained: weights do not change the time. Both score with the
same kind of head. Ways of the teacher: `full`: vectors of all nodes, then scores; `exact`: only what the ends of the
links need, all neighbours within two hops; `exact PyG`: the same by PyG's `k_hop_subgraph` and `SAGEConv`; `exact in
batches`: the same, 1,024 links at a time, as a service would meet them; `sampled`: 25 neighbours of an end and 10 of
each of those, drawn with replacement, 1,024 links at a time; `cached`: vectors made before, which is only possible
for known nodes of a graph that stands still, and costs the same for either model. The student scores from the
features. A node that is in several links is embedded once by all ways of the teacher, and by the student where the
links name as many nodes as there are. Features are dense (`--sparse`: CSR) and in memory, as are the lists of
neighbours. `generated`: 1 M nodes with 64 features, 20 M edges, targets skewed (u squared). The whole graph is one
graph of inference: links are drawn uniformly.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from common import emit, summary, versions
from llp_accuracy import SAGE, default_source, load
from torch import Tensor
from torch_geometric.nn import SAGEConv
from torch_geometric.utils import k_hop_subgraph

from graphlearn.compress import MLPStudent
from graphlearn.compress.student import sparse_linear, take_rows
from graphlearn.nn import MLPHead
from graphlearn.ops import gather_reduce
from graphlearn.ops.csr import csr_from_edge_index
from graphlearn.ops.lists import expand

BATCH = 1024
BLOCK = 1 << 16
FAN_OUT = (25, 10)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, default=default_source())
    parser.add_argument("--graph", nargs="+", default=["Cora", "generated"])
    parser.add_argument("--nodes", type=int, default=1_000_000, help="of the generated graph")
    parser.add_argument("--links", type=int, nargs="+", default=[1, 64, 1024, 65536])
    parser.add_argument("--channels", type=int, default=256)
    parser.add_argument("--sparse", action="store_true", help="features as a sparse CSR matrix, for both models")
    parser.add_argument("--ways", nargs="+", help="only these")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--slow-repeats", type=int, default=1, help="of ways that take more than two seconds")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--tiny", action="store_true", help="a generated graph of 1,000 nodes, 1 and 64 links")
    parser.add_argument("--no-store", action="store_true", help="only print")
    args = parser.parse_args()
    if args.tiny:
        args.graph, args.nodes, args.links, args.repeats = ["generated"], 1000, [1, 64], 2
    torch.set_num_threads(args.threads)
    store = None if args.tiny or args.no_store else "link_serving"
    for graph in args.graph:
        service = Service(args, graph)
        for links in args.links:
            emit({**service.row(args, links), **versions()}, store)


class Service:
    """Both models, the graph in memory, and the ways to score."""

    @torch.no_grad()
    def __init__(self, args: argparse.Namespace, graph: str) -> None:
        self.name, self.generator = graph, torch.Generator().manual_seed(0)
        if graph == "generated":
            x = torch.randn(args.nodes, 64, generator=self.generator)
            src = torch.randint(args.nodes, (20 * args.nodes,), generator=self.generator)
            dst = torch.rand(20 * args.nodes, generator=self.generator, dtype=torch.float64).square_().mul_(args.nodes)
            edge_index = torch.stack([src, dst.long()])
        else:
            x, edge_index = load(args.source, graph)
            x = x if args.sparse else x.to_dense()
        rowptr, col = csr_from_edge_index(edge_index, x.size(0))
        torch.manual_seed(0)
        self.sage = SAGE(x.size(1), args.channels, 0.0).eval()
        self.student = MLPStudent(x.size(1), args.channels).eval()
        self.head = MLPHead(args.channels, args.channels).eval()
        self.x, self.rowptr, self.col = x, rowptr, col.to(torch.int32)
        self.convs = [
            pyg_conv(self.sage.own1, self.sage.near1),
            pyg_conv(self.sage.own2, self.sage.near2),
        ]
        self.edge_index = edge_index
        self.teacher_z = self.all_nodes()
        self.ways: dict[str, Callable[[Tensor], Tensor]] = {
            "student": self.from_features,
            "cached": lambda pairs: self.head(self.teacher_z[pairs[0]], self.teacher_z[pairs[1]]),
            "exact": lambda pairs: self.on_nodes(pairs, self.exact),
            "exact PyG": self.exact_pyg,
            "exact in batches": lambda pairs: self.in_batches(pairs, self.exact),
            "sampled": lambda pairs: self.in_batches(pairs, self.sampled),
            "full": self.full,
        }

    def row(self, args: argparse.Namespace, links: int) -> dict[str, Any]:
        pairs = torch.randint(self.x.size(0), (2, links), generator=self.generator)
        left_out = {"exact in batches"} if links <= BATCH else set()
        if self.x.size(0) > 10**5 and links >= BATCH:
            left_out.add("exact PyG")  # its messages would take tens of gigabytes
        chosen = [way for way in args.ways or self.ways if way not in left_out]
        with torch.no_grad():
            expected = self.ways["cached"](pairs)
            errors = {
                way: float((self.ways[way](pairs) - expected).abs().max()) for way in chosen if way.startswith("exact")
            }
            steps = {way: partial(self.ways[way], pairs) for way in chosen}
            wall, cpu = measured(steps, args.repeats, args.slow_repeats)
        ratios = {}
        if "student" in wall:
            ratios = {
                f"{way}/student{clock}": round(statistics.median(times[way]) / statistics.median(times["student"]), 2)
                for clock, times in (("", wall), (", cpu", cpu))
                for way in chosen
                if way != "student"
            }
        print(f"{self.name} {links}: {ratios}", file=sys.stderr)
        return {
            "case": f"{self.name}, {links} links", "graph": self.name, "nodes": self.x.size(0),
            "features": self.x.size(1), "sparse": self.x.is_sparse_csr, "edges": self.col.numel(), "links": links,
            "channels": args.channels, "largest_error": errors,
            "ms": {way: summary(times) for way, times in wall.items()},
            "cpu_ms": {way: summary(times) for way, times in cpu.items()}, "ratios": ratios,
        }  # fmt: skip

    def on_nodes(self, pairs: Tensor, embed: Callable[[Tensor], Tensor]) -> Tensor:
        """Scores from the vectors of the ends, each node embedded once."""
        nodes, place = pairs.unique(return_inverse=True)
        z = embed(nodes)
        return self.head(z[place[0]], z[place[1]])

    def from_features(self, pairs: Tensor) -> Tensor:
        if pairs.numel() >= self.x.size(0):
            return self.on_nodes(pairs, lambda nodes: self.student(take_rows(self.x, nodes)))
        z = self.student(take_rows(self.x, pairs.flatten()))
        return self.head(z[: pairs.size(1)], z[pairs.size(1) :])

    def exact_pyg(self, pairs: Tensor) -> Tensor:
        ends, place = pairs.unique(return_inverse=True)
        nodes, edges, ends, _ = k_hop_subgraph(ends, 2, self.edge_index, relabel_nodes=True, num_nodes=self.x.size(0))
        hidden = self.convs[0](take_rows(self.x, nodes), edges).relu_()
        z = self.convs[1](hidden, edges)[ends]
        return self.head(z[place[0]], z[place[1]])

    def in_batches(self, pairs: Tensor, embed: Callable[[Tensor], Tensor]) -> Tensor:
        return torch.cat([self.on_nodes(some, embed) for some in pairs.split(BATCH, dim=1)])

    def full(self, pairs: Tensor) -> Tensor:
        z = self.all_nodes()
        return self.head(z[pairs[0]], z[pairs[1]])

    def all_nodes(self) -> Tensor:
        """Vectors of all nodes, layer by layer; what is between them is made for a block of nodes at a time."""
        hidden = self.layer(self.x, self.sage.own1, self.sage.near1).relu_()
        return self.layer(hidden, self.sage.own2, self.sage.near2)

    def layer(self, x: Tensor, own: torch.nn.Linear, near: torch.nn.Linear) -> Tensor:
        if x.is_sparse_csr:
            return sparse_linear(x, own) + gather_reduce(sparse_linear(x, near), self.rowptr, self.col, "mean")
        out = x.new_empty(x.size(0), own.out_features)
        for start in range(0, x.size(0), BLOCK):
            end = min(start + BLOCK, x.size(0))
            first, last = int(self.rowptr[start]), int(self.rowptr[end])
            lists = self.rowptr[start : end + 1] - first
            mean = gather_reduce(x, lists, self.col[first:last], "mean")
            out[start:end] = own(x[start:end]) + near(mean)
        return out

    def exact(self, nodes: Tensor) -> Tensor:
        """Vectors of some nodes, from all their neighbours within two hops."""
        lists1, near1 = self.lists_of(nodes)
        ring, place = torch.cat([nodes, near1]).unique(return_inverse=True)
        lists2, near2 = self.lists_of(ring)
        inner, where = torch.cat([ring, near2]).unique(return_inverse=True)
        rows = take_rows(self.x, inner)
        hidden = self.combine(rows, where[: ring.numel()], lists2, where[ring.numel() :], 1).relu_()
        return self.combine(hidden, place[: nodes.numel()], lists1, place[nodes.numel() :], 2)

    def sampled(self, nodes: Tensor) -> Tensor:
        """Vectors of some nodes, from drawn neighbours."""
        near1 = self.drawn(nodes, FAN_OUT[0])
        ring, place = torch.cat([nodes, near1]).unique(return_inverse=True)
        near2 = self.drawn(ring, FAN_OUT[1])
        inner, where = torch.cat([ring, near2]).unique(return_inverse=True)
        lists1, lists2 = (
            torch.arange(0, (some.numel() + 1) * k, k, device=some.device)
            for some, k in ((nodes, FAN_OUT[0]), (ring, FAN_OUT[1]))
        )
        rows = take_rows(self.x, inner)
        hidden = self.combine(rows, where[: ring.numel()], lists2, where[ring.numel() :], 1).relu_()
        return self.combine(hidden, place[: nodes.numel()], lists1, place[nodes.numel() :], 2)

    def combine(self, x: Tensor, self_row: Tensor, lists: Tensor, col: Tensor, layer: int) -> Tensor:
        own, near = (self.sage.own1, self.sage.near1) if layer == 1 else (self.sage.own2, self.sage.near2)
        if x.is_sparse_csr:
            mean = gather_reduce(sparse_linear(x, near), lists, col, "mean")
            return sparse_linear(x, own)[self_row] + mean
        return own(x[self_row]) + near(gather_reduce(x, lists, col, "mean"))

    def lists_of(self, nodes: Tensor) -> tuple[Tensor, Tensor]:
        """Lists of neighbours of some nodes, as a CSR."""
        _, place = expand(self.rowptr, nodes)
        size = self.rowptr[nodes + 1] - self.rowptr[nodes]
        return torch.cat([size.new_zeros(1), size.cumsum(0)]), self.col[place].long()

    def drawn(self, nodes: Tensor, k: int) -> Tensor:
        """``k`` neighbours of each node, with replacement; a node without any is its own."""
        start, size = self.rowptr[nodes], self.rowptr[nodes + 1] - self.rowptr[nodes]
        draw = torch.rand(nodes.numel(), k, generator=self.generator).to(nodes.device)
        place = (start[:, None] + (draw * size[:, None]).long()).clamp_max(self.col.numel() - 1)
        return torch.where(size[:, None] > 0, self.col[place].long(), nodes[:, None]).flatten()


def pyg_conv(own: torch.nn.Linear, near: torch.nn.Linear) -> SAGEConv:
    """PyG's layer with the same weights."""
    conv = SAGEConv(own.in_features, own.out_features)
    conv.lin_l.weight.copy_(near.weight)
    conv.lin_l.bias.copy_(own.bias)
    conv.lin_r.weight.copy_(own.weight)
    return conv.eval()


def measured(
    steps: dict[str, Callable[[], object]], repeats: int, slow_repeats: int
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Milliseconds of each step by the clock and by the processor, in turn; more than two seconds is slow."""
    wall: dict[str, list[float]] = {way: [] for way in steps}
    cpu: dict[str, list[float]] = {way: [] for way in steps}
    for turn in range(1 + repeats):
        for way, step in steps.items():
            if turn >= slow_repeats and wall[way] and statistics.median(wall[way]) > 2000:
                continue
            start, busy = time.perf_counter(), time.process_time()
            step()
            cpu[way].append(1e3 * (time.process_time() - busy))
            wall[way].append(1e3 * (time.perf_counter() - start))
    # The first turn warms up what is quick.
    wall, cpu = ({way: some[1:] or some for way, some in times.items()} for times in (wall, cpu))
    return wall, cpu


if __name__ == "__main__":
    main()
