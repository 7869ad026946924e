"""How near to a plain copy is gather_reduce, and how far from gather + scatter?    python benchmarks/reduce_speed.py

1M entries in 100k lists, 128 channels, float32. *gather*: every entry reads one of 100k rows at random, against
`index_select` + `index_add_` (sum, mean) or `scatter_reduce_` (max, min) with sorted destinations, PyG's way.
*segment*: the entries are the rows themselves, in order, against the same scatter. *backward*: the gradient for the
rows. Each beside a copy that reads and writes as many bytes as the forward pass must move; all of one row in turn, in
one process. Without the native kernels: GRAPHLEARN_NATIVE=0.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from functools import partial

import torch
from common import emit, interleaved_ms, summary, versions
from torch import Tensor

from graphlearn.ops import csr_native, gather_reduce


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--channels", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--tiny", action="store_true", help="few entries and repeats, nothing stored")
    parser.add_argument("--no-store", action="store_true", help="only print")
    args = parser.parse_args()
    if args.tiny:
        args.rows, args.entries, args.channels, args.repeats = 100, 1_000, 16, 3
    torch.set_num_threads(args.threads)
    generator = torch.Generator().manual_seed(0)
    dst = torch.randint(args.rows, (args.entries,), generator=generator).sort().values
    rowptr = torch.searchsorted(dst, torch.arange(args.rows + 1)).to(args.device)
    col = torch.randint(args.rows, (args.entries,), generator=generator).to(args.device)
    dst = dst.to(args.device)

    for kind in ("gather", "segment"):
        num_src = args.rows if kind == "gather" else args.entries
        x = torch.randn(num_src, args.channels, generator=generator).to(args.device).requires_grad_()
        index = col if kind == "gather" else None
        # Every entry reads a row of x, every list writes one of the result, and col and rowptr are read.
        numbers = (args.entries + args.rows) * args.channels
        moved = 4 * numbers + 8 * ((args.entries if kind == "gather" else 0) + args.rows)
        source, target = torch.randn(moved // 8), torch.empty(moved // 8)
        copy = partial(target.to(args.device).copy_, source.to(args.device))
        grad = torch.randn(args.rows, args.channels, generator=generator).to(args.device)
        for reduce in ("sum", "mean", "max", "min"):
            steps = {
                "ours": partial(ours, reduce, x, rowptr, index),
                "peer": partial(peer, reduce, x, rowptr, index, dst),
            }
            torch.testing.assert_close(steps["ours"](), steps["peer"](), rtol=1e-4, atol=1e-4)
            passes = {
                "forward": {way: partial(without_grad, step) for way, step in steps.items()},
                "backward": {way: partial(gradient, step(), x, grad) for way, step in steps.items()},
            }
            for name, timed in passes.items():
                times = interleaved_ms({**timed, "copy": copy}, args.device, warmup=2, repeats=args.repeats)
                median = {way: statistics.median(taken) for way, taken in times.items()}
                row: dict[str, object] = {
                    "case": f"{kind} {reduce} {name}", "rows": args.rows, "entries": args.entries,
                    "channels": args.channels, "device": args.device, "native": csr_native.usable(x.device, x.dtype),
                    **{way: summary(taken) for way, taken in times.items()},
                    "peer/ours": round(median["peer"] / median["ours"], 2),
                    "percent_of_copy": round(100 * median["copy"] / median["ours"], 1),
                    "copy_gb_per_s": round(moved / median["copy"] / 1e6, 1),
                }  # fmt: skip
                emit({**row, **versions(args.device)}, None if args.tiny or args.no_store else "reduce_speed")


def ours(reduce: str, x: Tensor, rowptr: Tensor, col: Tensor | None) -> Tensor:
    return gather_reduce(x, rowptr, col, reduce)


def peer(reduce: str, x: Tensor, rowptr: Tensor, col: Tensor | None, dst: Tensor) -> Tensor:
    """PyG's way."""
    message = x if col is None else x.index_select(0, col)
    out = x.new_zeros(rowptr.numel() - 1, x.size(1))
    if reduce in ("max", "min"):
        return out.scatter_reduce(0, dst[:, None].expand_as(message), message, f"a{reduce}", include_self=False)
    out = out.index_add(0, dst, message)
    return out / rowptr.diff().clamp_min(1)[:, None] if reduce == "mean" else out


def without_grad(step: Callable[[], Tensor]) -> None:
    with torch.no_grad():
        step()


def gradient(out: Tensor, x: Tensor, grad: Tensor) -> None:
    torch.autograd.grad(out, x, grad, retain_graph=True)


if __name__ == "__main__":
    main()
