"""How many times faster are two layers of GraphSAGE on a sampled batch than PyG's?    python benchmarks/sage_speed.py

One batch of 512 seeds, drawn by degree, fan-out [64, 64], from the graph of sampler_speed.py (1M nodes, 10M edges, Zipf
0.75); 128 channels, float32, all features in memory. Three ways on the same edges with the same weights, in turn:
*ours* (HeteroSAGEConv: trimmed, gathered and reduced in one step, straight from the features), *PyG trimmed* (SAGEConv,
bipartite: each layer computes what the next one reads) and *PyG untrimmed* (SAGEConv: every layer computes every
sampled node, as RelBench's model does). `train` adds the gradients of the weights, `train rows` those of the rows too,
as when an encoder makes them (ours: one vector per distinct row; PyG: one per sampled node).
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from dataclasses import dataclass

import torch
from common import emit, interleaved_ms, summary, versions
from sampler_speed import EDGE_TYPE, FAN_OUT, make_graph, make_seeds
from torch import Tensor
from torch_geometric.data import HeteroData
from torch_geometric.nn import SAGEConv

from graphlearn.nn.conv import HeteroSAGEConv
from graphlearn.sampling import TemporalNeighborSampler


class Ours(torch.nn.Module):
    def __init__(self, channels: int, aggr: str) -> None:
        super().__init__()
        self.convs = torch.nn.ModuleList(
            HeteroSAGEConv(channels, channels, edge_types=[EDGE_TYPE], aggr=aggr) for _ in range(2)
        )

    def forward(self, batch: HeteroData, x: Tensor, index: Tensor) -> Tensor:
        """``index``: the row of ``x`` of each sampled node."""
        sizes = sampled_nodes(batch)
        adj = {EDGE_TYPE: (batch[EDGE_TYPE].rowptr, batch[EDGE_TYPE].col)}
        h = self.convs[0]({"node": (x, index)}, adj)["node"].relu()
        first = {EDGE_TYPE: (batch[EDGE_TYPE].rowptr[: sizes[0] + 1], batch[EDGE_TYPE].col[: sampled_edges(batch)[0]])}
        return self.convs[1]({"node": h}, first)["node"]


class PyG(torch.nn.Module):
    def __init__(self, channels: int, aggr: str, trimmed: bool) -> None:
        super().__init__()
        self.convs = torch.nn.ModuleList(SAGEConv(channels, channels, aggr) for _ in range(2))
        self.trimmed = trimmed

    def forward(self, batch: HeteroData, x: Tensor, edge_index: Tensor) -> Tensor:
        """``x``: the vector of each sampled node."""
        if not self.trimmed:
            return self.convs[1](self.convs[0](x, edge_index).relu(), edge_index)[: batch.seed_time.numel()]
        sizes = sampled_nodes(batch)
        h = self.convs[0]((x, x[: sum(sizes[:2])]), edge_index).relu()
        return self.convs[1]((h, h[: sizes[0]]), edge_index[:, : sampled_edges(batch)[0]])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=1_000_000)
    parser.add_argument("--edges", type=int, default=10_000_000)
    parser.add_argument("--batch-size", type=int, default=512)
    parser.add_argument("--channels", type=int, default=128)
    parser.add_argument("--aggr", choices=("mean", "sum", "max"), default="mean")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--tiny", action="store_true", help="a small graph and few repeats, nothing stored")
    parser.add_argument("--no-store", action="store_true", help="only print")
    args = parser.parse_args()
    if args.tiny:
        args.nodes, args.edges, args.batch_size, args.channels, args.repeats = 1_000, 10_000, 32, 16, 3
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)

    batch, features = make_batch(args)
    ours = Ours(args.channels, args.aggr).to(args.device)
    peers = {
        "pyg_trimmed": PyG(args.channels, args.aggr, trimmed=True).to(args.device),
        "pyg_untrimmed": PyG(args.channels, args.aggr, trimmed=False).to(args.device),
    }
    for peer in peers.values():
        copy_weights(ours, peer)
    n_id, distinct, inverse = batch["node"].n_id, batch["node"].rows, batch["node"].inverse
    edge_index = make_edge_index(batch)
    rows, nodes = (features.index_select(0, index).requires_grad_() for index in (distinct, n_id))

    def pyg(peer: PyG) -> Case:
        return Case(
            forward=lambda: peer(batch, features.index_select(0, n_id), edge_index),
            forward_rows=lambda: peer(batch, nodes, edge_index),
            leaves=[*peer.parameters(), nodes],
        )

    cases = {
        "ours": Case(
            forward=lambda: ours(batch, features, n_id),
            forward_rows=lambda: ours(batch, rows, inverse),
            leaves=[*ours.parameters(), rows],
        ),
        **{name: pyg(peer) for name, peer in peers.items()},
    }
    check_equal({name: case.forward() for name, case in cases.items()})
    setting = {
        "nodes": args.nodes, "edges": args.edges, "fan_out": FAN_OUT, "batch_size": args.batch_size,
        "channels": args.channels, "aggr": args.aggr, "device": args.device, "sampled_nodes": n_id.numel(),
        "distinct_rows": rows.size(0), "sampled_edges": edge_index.size(1),
    }  # fmt: skip
    steps = {
        "forward": {name: case.no_grad for name, case in cases.items()},
        "train": {name: case.train for name, case in cases.items()},
        "train rows": {name: case.train_rows for name, case in cases.items()},
    }
    for name, timed in steps.items():
        times = interleaved_ms(timed, args.device, warmup=3, repeats=args.repeats)
        row: dict[str, object] = {"case": name, **setting}
        row.update({way: summary(taken) for way, taken in times.items()})
        for peer in peers:
            row[f"{peer}/ours"] = round(statistics.median(times[peer]) / statistics.median(times["ours"]), 2)
        emit({**row, **versions(args.device)}, None if args.tiny or args.no_store else "sage_speed")


@dataclass(frozen=True)
class Case:
    """One way to compute the batch. ``leaves``: the weights, and last the rows."""

    forward: Callable[[], Tensor]
    forward_rows: Callable[[], Tensor]
    leaves: list[Tensor]

    def no_grad(self) -> None:
        with torch.no_grad():
            self.forward()

    def train(self) -> None:
        torch.autograd.grad(self.forward().square().mean(), self.leaves[:-1])

    def train_rows(self) -> None:
        torch.autograd.grad(self.forward_rows().square().mean(), self.leaves)


def make_batch(args: argparse.Namespace) -> tuple[HeteroData, Tensor]:
    """The batch and the features of all nodes, on the device."""
    generator = torch.Generator().manual_seed(0)
    graph, dst = make_graph(args.nodes, args.edges, generator)
    seeds = make_seeds("active", dst, args.nodes, args.batch_size, generator)
    batch = TemporalNeighborSampler(graph, FAN_OUT).sample("node", *seeds)
    return batch.to(args.device), torch.randn(args.nodes, args.channels, generator=generator).to(args.device)


def make_edge_index(batch: HeteroData) -> Tensor:
    rowptr, col = batch[EDGE_TYPE].rowptr, batch[EDGE_TYPE].col
    dst = torch.repeat_interleave(torch.arange(rowptr.numel() - 1, device=col.device), rowptr.diff())
    return torch.stack([col, dst])


def copy_weights(ours: Ours, peer: PyG) -> None:
    for conv, sage in zip(ours.convs, peer.convs, strict=True):
        (lin_src,), (lin_dst,) = conv.lin_src.values(), conv.lin_dst.values()
        sage.lin_l.weight.data.copy_(lin_src.weight)
        sage.lin_l.bias.data.copy_(lin_dst.bias)
        sage.lin_r.weight.data.copy_(lin_dst.weight)


def sampled_nodes(batch: HeteroData) -> list[int]:
    return batch["node"].num_sampled_nodes


def sampled_edges(batch: HeteroData) -> list[int]:
    return batch[EDGE_TYPE].num_sampled_edges


def check_equal(results: dict[str, Tensor]) -> None:
    for result in results.values():
        torch.testing.assert_close(result, results["ours"], rtol=1e-4, atol=1e-4)


if __name__ == "__main__":
    main()
