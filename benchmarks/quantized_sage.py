"""What do features in int8 gain end to end?    python benchmarks/quantized_sage.py

Two layers of GraphSAGE on the sampled batch of sage_speed.py (512 seeds, fan-out [64, 64], 1M nodes, 128 channels,
mean), forward. Beside *ours* (HeteroSAGEConv, float32) and *PyG trimmed* and *untrimmed* on float32 features: *int8*,
the same layers on a table of int8 rows with one scale (up to four standard deviations), from which the first layer
gathers and adds up; the second layer, which reads 512 times at most 65 rows, is float32. All of one row in turn, in one
process; `error` is the norm of the difference to *ours*.
"""

from __future__ import annotations

import argparse
import statistics

import torch
from common import emit, interleaved_ms, summary, versions
from sage_speed import (
    EDGE_TYPE,
    FAN_OUT,
    Ours,
    PyG,
    copy_weights,
    make_batch,
    make_edge_index,
    sampled_edges,
    sampled_nodes,
)
from torch import Tensor
from torch_geometric.data import HeteroData

from graphlearn.ops import QuantizedRows, gather_reduce_quantized, quantize_rows


class Int8(torch.nn.Module):
    """The weights of ``ours`` on rows of int8."""

    def __init__(self, ours: Ours) -> None:
        super().__init__()
        self.ours = ours

    def forward(self, batch: HeteroData, table: QuantizedRows, index: Tensor) -> Tensor:
        sizes, conv = sampled_nodes(batch), self.ours.convs[0]
        rowptr, col = batch[EDGE_TYPE].rowptr, index[batch[EDGE_TYPE].col]
        (lin_src,), (lin_dst,) = conv.lin_src.values(), conv.lin_dst.values()
        mean = gather_reduce_quantized(table, rowptr, col, "mean")
        own = table.select(index[: mean.size(0)]).dequantize()
        h = torch.addmm(lin_dst(own), mean, lin_src.weight.t()).relu()
        first = {EDGE_TYPE: (rowptr[: sizes[0] + 1], batch[EDGE_TYPE].col[: sampled_edges(batch)[0]])}
        return self.ours.convs[1]({"node": h}, first)["node"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=1_000_000)
    parser.add_argument("--edges", type=int, default=10_000_000)
    parser.add_argument("--batch-size", type=int, default=512)
    parser.add_argument("--channels", type=int, default=128)
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
    table = quantize_rows(features, per_row=False, limit=4 * features.std())
    ours = Ours(args.channels, "mean").to(args.device)
    trimmed, untrimmed = (PyG(args.channels, "mean", trimmed=t).to(args.device) for t in (True, False))
    for peer in (trimmed, untrimmed):
        copy_weights(ours, peer)
    n_id, edge_index, small = batch["node"].n_id, make_edge_index(batch), Int8(ours)
    ways = {
        "ours": lambda: ours(batch, features, n_id),
        "int8": lambda: small(batch, table, n_id),
        "pyg_trimmed": lambda: trimmed(batch, features.index_select(0, n_id), edge_index),
        "pyg_untrimmed": lambda: untrimmed(batch, features.index_select(0, n_id), edge_index),
    }
    with torch.no_grad():
        wanted, found = ways["ours"](), ways["int8"]()
        times = interleaved_ms(ways, args.device, warmup=3, repeats=args.repeats)
    median = {way: statistics.median(taken) for way, taken in times.items()}
    row = {
        "case": "forward", "nodes": args.nodes, "edges": args.edges, "fan_out": FAN_OUT, "batch_size": args.batch_size,
        "channels": args.channels, "device": args.device, "sampled_nodes": n_id.numel(),
        **{way: summary(taken) for way, taken in times.items()},
        "error": round(float((found - wanted).norm() / wanted.norm()), 5),
        "features_smaller": round(4 * features.numel() / table.num_bytes, 2),
        **{f"{way}/int8": round(median[way] / median["int8"], 2) for way in ways if way != "int8"},
    }  # fmt: skip
    emit({**row, **versions(args.device)}, None if args.tiny or args.no_store else "quantized_sage")


if __name__ == "__main__":
    main()
