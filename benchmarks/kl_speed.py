"""How much does it save to compute equal states of labelled copies once?    python benchmarks/kl_speed.py --graphs 12

One training step (forward, backward, Adam) of a (1,2) network on one graph of EXP at a time, all pairs of nodes
labelled, on one core. *ours*: KLGNN with shared states, found once before (as a pre_transform does; *prepare*, per
graph and not part of a step). *peer*: the same network, same weights, as PyG users would write it: all copies
replicated into one batch of graphs (made before, too) and PyG's message passing. Both losses are compared to be the
same number. *order*: "none" labels each set of two once with one label, "all" both orders.

*peak_mb* is the most that torch allocates in a step, counted by its profiler, largest of all graphs; *process_mb* the
largest size of the whole process after our steps and before any of the peer's. CPU time beside wall time, because the
machine is shared.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
from common import emit, versions
from kl_expressive import read_pairs
from torch import Tensor
from torch.nn import LayerNorm, Linear, Module, Parameter, ReLU, Sequential
from torch_geometric.data import Data
from torch_geometric.nn import MessagePassing
from torch_geometric.utils import scatter

from graphlearn.models import KLGNN, LabelTuples
from graphlearn.models.label_tuples import LabelledData
from graphlearn.nn import KLConv
from graphlearn.ops import copy_rows


class PeerConv(MessagePassing):
    """The layer of KLConv, in PyG."""

    def __init__(self, channels: int) -> None:
        super().__init__(aggr="add")
        self.eps = Parameter(torch.zeros(()))
        self.lin_in, self.norm, self.lin_out = (
            Linear(channels, channels),
            LayerNorm(channels),
            Linear(channels, channels),
        )

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        hidden = self.propagate(edge_index, x=x) + (1 + self.eps) * x
        return x + self.lin_out(self.norm(self.lin_in(hidden)).relu())


class Peer(Module):
    """The network on all copies, written out."""

    def __init__(self, ours: KLGNN, channels: int, layers: int) -> None:
        super().__init__()
        self.base = torch.nn.ModuleList(PeerConv(channels) for _ in range(layers))
        self.encoder, self.copy_net, self.head = (mlp(n, channels) for n in (2, channels, channels))
        self.label = torch.nn.Module()
        self.label.embedding = torch.nn.Embedding(ours.label.num_labels + 1, channels)
        self.load_state_dict(ours.state_dict())

    def forward(self, x: Tensor, label: Tensor, edge_index: Tensor, copy: Tensor, copies: int) -> Tensor:
        state = self.encoder(x) + self.label.embedding(label)
        for conv in self.base:
            state = conv(state, edge_index)
        return self.head(self.copy_net(scatter(state, copy, dim_size=copies)).mean(dim=0, keepdim=True))


def mlp(size: int, channels: int) -> Sequential:
    return Sequential(Linear(size, channels), ReLU(), Linear(channels, channels))


def model(channels: int, layers: int, order: str) -> KLGNN:
    torch.manual_seed(0)
    return KLGNN(
        [KLConv(channels) for _ in range(layers)], channels, tuples=LabelTuples(2, order=order, num_rounds=layers),
        encoder=mlp(2, channels), copy_net=mlp(channels, channels), head=mlp(channels, channels),
    )  # fmt: skip


def step(net: Module, optimizer: torch.optim.Optimizer, *args: object, **kwargs: object) -> float:
    optimizer.zero_grad()
    loss = net(*args, **kwargs).pow(2).sum()
    loss.backward()
    optimizer.step()
    return float(loss.detach())


def our_step(net: KLGNN, optimizer: torch.optim.Optimizer, data: LabelledData) -> float:
    return step(net, optimizer, data.x, data.edge_index, copies=data.copies)


def peak_mb(run: Callable[[], object]) -> float:
    """The peak of what a step allocates above what was there before it."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as prof:
        run()
    now = peak = 0
    for event in prof.profiler.kineto_results.events():
        if event.name() == "[memory]":
            now += event.nbytes()
            peak = max(peak, now)
    return peak / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--graphs", type=int, default=12)
    parser.add_argument("--channels", type=int, default=16)
    parser.add_argument("--layers", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--tiny", action="store_true", help="two graphs and repeats, nothing stored")
    parser.add_argument("--no-store", action="store_true", help="only print")
    args = parser.parse_args()
    if args.tiny:
        args.graphs, args.repeats, args.channels, args.layers = 2, 2, 4, 2
    torch.set_num_threads(1)
    graphs = read_pairs("EXP", args.graphs)
    process_mb = {}
    for order in ("none", "all"):
        net = model(args.channels, args.layers, order)
        optimizer = torch.optim.Adam(net.parameters())
        for data in graphs:
            our_step(net, optimizer, net.tuples(data))
        process_mb[order] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    for order in ("none", "all"):
        measure(args, graphs, order, process_mb[order])


def measure(args: argparse.Namespace, graphs: list[Data], order: str, process_mb: int) -> None:
    ours = model(args.channels, args.layers, order)
    peer = Peer(ours, args.channels, args.layers)
    optimizers = {net: torch.optim.Adam(net.parameters(), lr=1e-4) for net in (ours, peer)}
    wall: dict[str, list[float]] = {"ours": [], "peer": [], "prepare": []}
    cpu: dict[str, list[float]] = {"ours": [], "peer": [], "prepare": []}
    memory: dict[str, list[float]] = {"ours": [], "peer": []}
    sizes, copies_of = [], []
    for data in graphs:
        ptr = torch.tensor([0, data.num_nodes])
        found = timed("prepare", wall, cpu, partial(ours.tuples, data))
        copies = found.copies
        index, graph, _ = ours.tuples.tuples(data.edge_index, ptr)
        rows = copy_rows(data.edge_index, ptr, index, graph, same_label=order == "none")
        copies_of.append(graph.numel())
        sizes.append(
            (rows.node.numel() * (args.layers + 1), copies.node.numel() + sum(r.own.numel() for r in copies.rounds))
        )
        x = data.x[rows.node]
        runs = {
            "ours": partial(our_step, ours, optimizers[ours], found),
            "peer": partial(
                step, peer, optimizers[peer], x, rows.label, rows.edge_index, rows.copy, graph.numel()
            ),
        }  # fmt: skip
        for turn in range(args.repeats + 1):
            losses = []
            for name, run in runs.items():
                losses.append(timed(name, wall if turn else None, cpu, run))
            assert abs(losses[0] - losses[1]) <= 2e-3 * abs(losses[1]), f"not the same network: {losses}"
        for name, run in runs.items():
            memory[name].append(peak_mb(run))
    row: dict[str, object] = {
        "case": "EXP, l = 2, all pairs, one training step", "order": order, "graphs": len(graphs),
        "copies_per_graph": round(statistics.mean(copies_of), 1), "channels": args.channels, "layers": args.layers,
        "states_computed_percent": round(100 * sum(s[1] for s in sizes) / sum(s[0] for s in sizes), 2),
    }  # fmt: skip
    for name in ("ours", "peer", "prepare"):
        quartiles = statistics.quantiles(wall[name], n=4)
        row[name] = {"wall_ms": round(quartiles[1], 2), "wall_iqr_ms": round(quartiles[2] - quartiles[0], 2),
                     "cpu_ms": round(statistics.median(cpu[name]), 2)}  # fmt: skip
    row["peak_mb"] = {name: round(max(found), 1) for name, found in memory.items()}
    row["process_mb"] = process_mb
    row["peer/ours time"] = round(statistics.median(cpu["peer"]) / statistics.median(cpu["ours"]), 1)
    row["ours/peer memory"] = round(
        statistics.median(a / b for a, b in zip(memory["ours"], memory["peer"], strict=True)), 4
    )
    emit({**row, **versions()}, None if args.tiny or args.no_store else "kl_speed")


def timed(
    name: str, wall: dict[str, list[float]] | None, cpu: dict[str, list[float]], run: Callable[[], object]
) -> object:
    start, used = time.perf_counter(), time.process_time()
    out = run()
    if wall is not None:
        wall[name].append(1e3 * (time.perf_counter() - start))
        cpu[name].append(1e3 * (time.process_time() - used))
    return out


if __name__ == "__main__":
    main()
