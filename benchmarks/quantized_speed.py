"""How much faster are rows of small integers to gather and reduce?    python benchmarks/quantized_speed.py

*gather*: lists that each read rows of a table larger than the cache at random, 128 channels: our float32 kernel, int8
with a scale per row and with one for all (up to four standard deviations), int8 whose result is rounded to int8 again,
packed int4, int8 with int8 weights of the edges beside float32 with float32 weights, and torch's own int8 and int4
tables (`embedding_bag_byte`, `embedding_bag_4bit`, rows with a scale and an offset each, sums only). *linear*: int8 by
`torch._int_mm` and by torch's x86 engine, beside float32. All ways of one row in turn, in one process; error is the
norm of the difference to float32.
"""

from __future__ import annotations

import argparse
import statistics
import warnings
from collections.abc import Callable
from functools import partial

import torch
from common import emit, interleaved_ms, summary, versions
from torch import Tensor

from graphlearn.native import kernels
from graphlearn.ops import gather_reduce, gather_reduce_quantized, gather_reduce_requantized, quantize_rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--lists", type=int, default=100_000)
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--channels", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--tiny", action="store_true", help="few entries and repeats, nothing stored")
    parser.add_argument("--no-store", action="store_true", help="only print")
    args = parser.parse_args()
    if args.tiny:
        args.rows, args.lists, args.entries, args.channels, args.repeats = 1_000, 100, 1_000, 16, 3
    torch.set_num_threads(args.threads)
    store = None if args.tiny or args.no_store else "quantized_speed"
    for row in [*gathers(args), *linears(args)]:
        emit({**row, **versions(args.device)}, store)


def gathers(args: argparse.Namespace) -> list[dict[str, object]]:
    generator = torch.Generator().manual_seed(0)
    dst = torch.randint(args.lists, (args.entries,), generator=generator).sort().values
    rowptr = torch.searchsorted(dst, torch.arange(args.lists + 1)).to(args.device)
    col = torch.randint(args.rows, (args.entries,), generator=generator).to(args.device)
    x = torch.randn(args.rows, args.channels, generator=generator).to(args.device)
    weight = torch.rand(args.entries, generator=generator).to(args.device)
    per_row, four = quantize_rows(x), quantize_rows(x, 4)
    one = quantize_rows(x, per_row=False, limit=4 * x.std())  # of 128M normal numbers 1 in 16,000 is beyond
    small, step = (127 * weight).round().to(torch.int8), torch.full((args.lists,), 1 / 127, device=args.device)
    scale, zero = torch.full((1,), 0.1, device=args.device), torch.zeros(1, dtype=torch.int32, device=args.device)
    rows = []
    for reduce in ("sum", "mean", "max"):
        ways: dict[str, Callable[[], Tensor]] = {
            "float32": partial(gather_reduce, x, rowptr, col, reduce),
            "int8_row_scale": partial(gather_reduce_quantized, per_row, rowptr, col, reduce),
            "int8_one_scale": partial(gather_reduce_quantized, one, rowptr, col, reduce),
            "int8_to_int8": lambda r=reduce: (
                gather_reduce_requantized(one, rowptr, col, r, out_scale=scale, out_zero=zero).levels
            ),
            "int4_row_scale": partial(gather_reduce_quantized, four, rowptr, col, reduce),
        }
        if reduce == "sum" and args.device == "cpu":
            ways |= tables(x, rowptr, col)
        rows.append(compare(f"gather {reduce}", ways, args))
    ways = {
        "float32": partial(gather_reduce, x, rowptr, col, "sum", weight),
        "int8_one_scale": partial(gather_reduce_quantized, one, rowptr, col, weight=small, list_scale=step),
        "int8_row_scale": partial(gather_reduce_quantized, per_row, rowptr, col, weight=small, list_scale=step),
    }
    rows.append(compare("gather weighted sum", ways, args))
    return rows


def tables(x: Tensor, rowptr: Tensor, col: Tensor) -> dict[str, Callable[[], Tensor]]:
    """torch's tables of 8 and 4 bits."""
    ops = torch.ops.quantized
    byte, four = ops.embedding_bag_byte_prepack(x), ops.embedding_bag_4bit_prepack(x)
    return {
        "torch_int8": lambda: ops.embedding_bag_byte_rowwise_offsets(byte, col, rowptr, include_last_offset=True),
        "torch_int4": lambda: ops.embedding_bag_4bit_rowwise_offsets(four, col, rowptr, include_last_offset=True),
    }


def linears(args: argparse.Namespace) -> list[dict[str, object]]:
    generator = torch.Generator().manual_seed(0)
    rows = []
    for width in (64, 128, 256):
        x = torch.randn(args.lists, width, generator=generator).to(args.device)
        linear = torch.nn.Linear(width, width, device=args.device).requires_grad_(False)
        levels, weights = quantize_rows(x, per_row=False), quantize_rows(linear.weight, per_row=True)
        across = weights.levels.t()
        ways: dict[str, Callable[[], Tensor]] = {
            "float32": partial(linear, x),
            "int_mm": lambda a=levels, b=across, w=weights, m=linear: (
                torch._int_mm(a.levels, b).float().mul_(a.scale * w.scale).add_(m.bias)
            ),
        }
        if args.device == "cpu":
            ways["x86_engine"] = x86(linear, x)
        rows.append(compare(f"linear {width}", ways, args))
    return rows


def x86(linear: torch.nn.Linear, x: Tensor) -> Callable[[], Tensor]:
    """torch's int8 linear layer, on an input that is int8 already."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scale = float(x.abs().max()) / 127
        levels = torch.quantize_per_tensor(x, scale, 0, torch.quint8 if x.min() >= 0 else torch.qint8)
        levels = torch.quantize_per_tensor(x, scale, 128, torch.quint8) if levels.dtype == torch.qint8 else levels
        steps = linear.weight.abs().amax(dim=1) / 127
        weight = torch.quantize_per_channel(linear.weight, steps, torch.zeros_like(steps).long(), 0, torch.qint8)
        packed = torch.ops.quantized.linear_prepack(weight, linear.bias)
        top = float(linear(x).abs().max()) / 127
    return lambda: torch.ops.quantized.linear(levels, packed, top, 128)


def compare(case: str, ways: dict[str, Callable[[], Tensor]], args: argparse.Namespace) -> dict[str, object]:
    with torch.no_grad():
        wanted = ways["float32"]()
        errors = {}
        for name, way in ways.items():
            found = way()
            found = found.dequantize() if found.is_quantized else found.float()
            found = found * 0.1 if name == "int8_to_int8" else found
            errors[name] = round(float((found - wanted).norm() / wanted.norm()), 5)
        times = interleaved_ms(ways, args.device, warmup=2, repeats=args.repeats)
    median = {name: statistics.median(taken) for name, taken in times.items()}
    return {
        "case": case, "rows": args.rows, "lists": args.lists, "entries": args.entries, "channels": args.channels,
        "device": args.device,
        "instructions": None if kernels is None else ["plain", "avx2", "avx512-vnni"][kernels.quantized_level()],
        **{name: summary(taken) for name, taken in times.items()},
        **{f"float32/{name}": round(median["float32"] / median[name], 2) for name in ways if name != "float32"},
        "error": errors,
    }  # fmt: skip


if __name__ == "__main__":
    main()
