"""Gather and reduce over integer rows: every path against a slow one, overflow, and what wrong arguments get."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from graphlearn.errors import UnknownNameError
from graphlearn.ops import (
    QuantizedRows,
    csr_native,
    gather_reduce,
    gather_reduce_quantized,
    gather_reduce_requantized,
    quantize_rows,
)
from graphlearn.ops.quantized import pack_int4, unpack_int4

REDUCES = ["sum", "mean", "max"]
needs_native = pytest.mark.skipif(
    not csr_native.usable(torch.device("cpu")), reason="the native kernels were not built"
)
PATHS = [pytest.param(level, marks=needs_native) for level in ("plain", "avx2", "avx512")]


@pytest.fixture(params=[*PATHS, "torch"])
def path(request, monkeypatch):
    """Each test on the kernels of each instruction set (or the widest below it that there is), and on torch."""
    if request.param == "torch":
        monkeypatch.setattr(csr_native, "usable", lambda *_: False)
        yield
        return
    csr_native.kernels.limit_instruction_set(["plain", "avx2", "avx512"].index(request.param))
    yield
    csr_native.kernels.limit_instruction_set(2)


def slow(rows: QuantizedRows, rowptr, col, reduce, weight=None, list_scale=None) -> Tensor:
    """The definition in whole numbers of any size, one list and one channel at a time."""
    levels, zero = rows.unpacked().tolist(), 0 if rows.zero is None else rows.zero.item()
    heads = 1 if weight is None or weight.dim() == 1 else weight.size(1)
    width = rows.num_channels // heads
    out = torch.zeros(len(rowptr) - 1, rows.num_channels, dtype=torch.float64)
    for i in range(len(rowptr) - 1):
        entries = range(int(rowptr[i]), int(rowptr[i + 1]))
        for c in range(rows.num_channels):
            values = []
            for e in entries:
                source = e if col is None else int(col[e])
                factor = 1 if weight is None else int(weight.view(len(weight), heads)[e, c // width])
                scale = rows.scale[source if rows.scale.numel() > 1 else 0].item()
                values.append(scale * ((levels[source][c] - zero) * factor))
            if values:
                out[i, c] = max(values) if reduce == "max" else sum(values) / (len(values) if reduce == "mean" else 1)
            if weight is not None:
                out[i, c] *= list_scale.view(-1, heads)[i, c // width].item()
    return out.float()


@st.composite
def problems(draw, reduce):
    """Lists of any length over rows of any width, with repeats, gaps, heads, scales and a level of 0."""
    lengths = draw(st.lists(st.integers(0, 7), max_size=6))
    rowptr = torch.tensor([0, *lengths], dtype=draw(st.sampled_from([torch.int32, torch.int64]))).cumsum(0)
    num_entries = sum(lengths)
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**30)))
    no_col = draw(st.booleans())
    num_src = num_entries if no_col else draw(st.integers(1, 9))
    col = None if no_col else torch.randint(num_src, (num_entries,), generator=generator)
    if col is not None and draw(st.booleans()):
        col = col.int()
    bits = draw(st.sampled_from([8, 4]))
    heads = draw(st.sampled_from([1, 1, 2, 3]))
    width = draw(st.sampled_from([0, 1, 2, 5, 8, 16, 17, 33, 64, 65, 128, 200]))
    half = 2 ** (bits - 1)
    levels = torch.randint(-half, half, (num_src, heads * width), generator=generator, dtype=torch.int8)
    per_row = draw(st.booleans())
    scale = torch.rand(num_src if per_row else 1, generator=generator) + 0.01
    has_zero = scale.numel() == 1 and draw(st.booleans())
    zero = torch.randint(-half, half, (1,), generator=generator, dtype=torch.int32) if has_zero else None
    rows = QuantizedRows(pack_int4(levels) if bits == 4 else levels, scale, heads * width, bits, zero)
    weight = list_scale = None
    if reduce != "max" and (heads > 1 or draw(st.booleans())):
        shape = () if heads == 1 else (heads,)
        weight = torch.randint(-128, 128, (num_entries, *shape), generator=generator, dtype=torch.int8)
        list_scale = torch.rand(len(lengths), *shape, generator=generator) + 0.01
    return rows, rowptr, col, weight, list_scale


@pytest.mark.parametrize("reduce", REDUCES)
def test_equals_the_slow_answer(path, reduce):
    @settings(max_examples=60, deadline=None)
    @given(problems(reduce), st.floats(0.01, 3.0), st.integers(-128, 127))
    def check(problem, step, middle):
        rows, rowptr, col, weight, list_scale = problem
        beside = {"weight": weight, "list_scale": list_scale}
        found, wanted = (
            gather_reduce_quantized(rows, rowptr, col, reduce, **beside),
            slow(*problem[:3], reduce, *problem[3:]),
        )
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-3)
        out_scale, out_zero = torch.tensor([step]), torch.tensor([middle], dtype=torch.int32)
        rounded = gather_reduce_requantized(rows, rowptr, col, reduce, out_scale=out_scale, out_zero=out_zero, **beside)
        assert torch.equal(rounded.levels, ((found / out_scale).round() + out_zero).clamp(-128, 127).to(torch.int8))

    check()


def test_a_value_worked_by_hand(path):
    levels = torch.tensor([[1, 8], [2, 4], [3, -1]], dtype=torch.int8)
    rows = QuantizedRows(levels, torch.tensor([0.5]), 2, zero=torch.tensor([1], dtype=torch.int32))
    rowptr, col = torch.tensor([0, 2, 2, 3]), torch.tensor([2, 0, 1])
    assert gather_reduce_quantized(rows, rowptr, col).tolist() == [[1.0, 2.5], [0.0, 0.0], [0.5, 1.5]]
    assert gather_reduce_quantized(rows, rowptr, col, "max").tolist() == [[1.0, 3.5], [0.0, 0.0], [0.5, 1.5]]
    weight, step = torch.tensor([2, -1, 3], dtype=torch.int8), torch.tensor([1.0, 1.0, 2.0])
    found = gather_reduce_quantized(rows, rowptr, col, "mean", weight=weight, list_scale=step)
    assert found.tolist() == [[1.0, -2.75], [0.0, 0.0], [3.0, 9.0]]


def example(num_src: int, num_rows: int, num_entries: int, num_channels: int):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(num_src, num_channels, generator=generator)
    row = torch.randint(num_rows, (num_entries,), generator=generator).sort().values
    rowptr = torch.searchsorted(row, torch.arange(num_rows + 1))
    col = torch.randint(num_src, (num_entries,), generator=generator)
    weight = torch.randint(-128, 128, (num_entries,), generator=generator, dtype=torch.int8)
    return x, rowptr, col, weight, torch.rand(num_rows, generator=generator)


@needs_native
@pytest.mark.parametrize("num_channels", [1, 7, 16, 63, 64, 100, 128, 257])
@pytest.mark.parametrize("bits", [8, 4])
def test_every_path_gives_the_same_bits(num_channels, bits, monkeypatch):
    """With one scale the sums are whole numbers, so that portable, AVX2, AVX-512 and torch agree to the last bit."""
    x, rowptr, col, weight, step = example(300, 90, 4_000, num_channels)
    rows = quantize_rows(x, bits, per_row=False)

    def results() -> list[Tensor]:
        return [
            *(gather_reduce_quantized(rows, rowptr, col, reduce) for reduce in REDUCES),
            gather_reduce_quantized(rows, rowptr, col, weight=weight, list_scale=step),
            gather_reduce_quantized(quantize_rows(x, bits), rowptr, col, "max"),
        ]

    found = []
    for level in (0, 1, 2):
        csr_native.kernels.limit_instruction_set(level)
        assert csr_native.kernels.quantized_level() <= level
        found.append(results())
    monkeypatch.setattr(csr_native, "usable", lambda *_: False)
    for other in found:
        for a, b in zip(other, results(), strict=True):
            assert torch.equal(a, b)


def test_same_bits_on_any_number_of_threads(path):
    x, rowptr, col, weight, step = example(3_000, 700, 20_000, 130)
    rows = quantize_rows(x)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            found.append(gather_reduce_quantized(rows, rowptr, col, weight=weight, list_scale=step))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(found[0], other) for other in found[1:])


@pytest.mark.parametrize("extra", [-1, 0, 1, 131_071])
@pytest.mark.parametrize("num_channels", [3, 64])
def test_products_at_the_edge_of_int32(path, extra, num_channels):
    """131,071 products of -128 and -128 are just below 2^31; one more is not, and lists are cut there."""
    count = 131_071 + extra
    rows = QuantizedRows(torch.full((1, num_channels), -128, dtype=torch.int8), torch.ones(1), num_channels)
    rowptr, col = torch.tensor([0, count]), torch.zeros(count, dtype=torch.int32)
    weight = torch.full((count,), -128, dtype=torch.int8)
    found = gather_reduce_quantized(rows, rowptr, col, weight=weight, list_scale=torch.ones(1))
    assert torch.equal(found, torch.full((1, num_channels), float(count * 2**14)))


@needs_native
@pytest.mark.parametrize("extra", [-1, 0, 1])
def test_levels_at_the_edge_of_int32(extra):
    count = 131_071 * 128 + extra
    rows = QuantizedRows(torch.full((1, 1), -128, dtype=torch.int8), torch.ones(1), 1)
    found = gather_reduce_quantized(rows, torch.tensor([0, count]), torch.zeros(count, dtype=torch.int32))
    assert found.item() == torch.tensor(-128.0 * count).item()
    assert csr_native.kernels.quantized_guard == 131_071


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("reduce", REDUCES)
def test_error_against_float(path, bits, reduce):
    x, rowptr, col, _, _ = example(2_000, 500, 10_000, 128)
    found = gather_reduce_quantized(quantize_rows(x, bits), rowptr, col, reduce)
    wanted = gather_reduce(x, rowptr, col, reduce)
    assert (found - wanted).norm() / wanted.norm() <= (0.01 if bits == 8 else 0.15)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 5), st.integers(0, 9), st.sampled_from([4, 8]), st.booleans(), st.integers(0, 2**30))
def test_rows_round_trip(num_rows, num_channels, bits, per_row, seed):
    x = torch.randn(num_rows, num_channels, generator=torch.Generator().manual_seed(seed))
    x[:1] = 0.0
    rows = quantize_rows(x, bits, per_row=per_row)
    back = rows.dequantize()
    assert torch.equal(back[:1], x[:1])
    assert ((back - x).abs() <= rows.scale[:, None] / 2 * 1.001).all()
    assert torch.equal(unpack_int4(pack_int4(rows.unpacked() // 16), num_channels), rows.unpacked() // 16)
    assert rows.num_bytes == num_rows * (num_channels if bits == 8 else -(-num_channels // 2)) + 4 * rows.scale.numel()
    index = torch.arange(num_rows).flip(0)
    assert torch.equal(rows.select(index).dequantize(), back[index])


def test_nodes_in_another_order_and_two_graphs_side_by_side(path):
    x, rowptr, col, weight, step = example(50, 20, 300, 24)
    rows = quantize_rows(x)
    wanted = gather_reduce_quantized(rows, rowptr, col, weight=weight, list_scale=step)
    order = torch.randperm(50, generator=torch.Generator().manual_seed(1))
    found = gather_reduce_quantized(rows.select(order), rowptr, order.argsort()[col], weight=weight, list_scale=step)
    assert torch.equal(found, wanted)
    both = gather_reduce_quantized(
        rows.select(torch.arange(50).repeat(2)), torch.cat([rowptr, rowptr[1:] + 300]), torch.cat([col, col + 50]),
        weight=weight.repeat(2), list_scale=step.repeat(2),
    )  # fmt: skip
    assert torch.equal(both, wanted.repeat(2, 1))


def test_torch_compile():
    x, rowptr, col, _, _ = example(50, 20, 300, 24)
    rows = quantize_rows(x, per_row=False)
    compiled = torch.compile(
        lambda: gather_reduce_quantized(rows, rowptr, col, "mean"), backend="eager", fullgraph=True
    )
    assert torch.equal(compiled(), gather_reduce_quantized(rows, rowptr, col, "mean"))


@pytest.mark.parametrize(
    ("rowptr", "col", "error", "text"),
    [
        ([1, 2], [0, 0], ValueError, r"'rowptr' must run from 0 to the 2 entries, got 1 to 2\."),
        ([0, 3, 1, 2], [0, 0], ValueError, r"'rowptr' must not decrease, but .* at 1 places \(first: 1\)\."),
        ([0, 2**40, 2], [0, 0], ValueError, r"'rowptr' must not decrease, but"),
        ([0, 2], [0, 3], IndexError, r"'col' must name rows 0 to 2: 1 of 2 entries are not \(first: 3\)\."),
        ([0, 2], [-1, 2**40], IndexError, r"'col' must name rows 0 to 2: 2 of 2 .* \(first: -1, 1099511627776\)\."),
        ([0, 4], None, IndexError, r"'rowptr' lists 4 entries, but there are 3 rows to read\."),
    ],
)
def test_wrong_lists_get_a_sentence_not_a_crash(path, rowptr, col, error, text):
    rows = quantize_rows(torch.randn(3, 40))
    with pytest.raises(error, match=text):
        gather_reduce_quantized(rows, torch.tensor(rowptr), None if col is None else torch.tensor(col))


W, T = torch.ones(2, dtype=torch.int8), torch.ones(1)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"weight": W}, r"'weight' and 'list_scale' belong together: give both or none\."),
        ({"weight": torch.ones(2), "list_scale": T}, r"'weight' must be int8 \[E\] or \[E, H\], got torch.float32"),
        ({"weight": W[:1], "list_scale": T}, r"'weight' has 1 rows for the 2 entries of 'col'\."),
        ({"weight": W, "list_scale": torch.ones(2)}, r"'list_scale' must be float32 \[1\], got torch.float32 \[2\]\."),
        ({"weight": W.view(2, 1).repeat(1, 3), "list_scale": torch.ones(1, 3)}, r"4 channels cannot be .* 3 heads\."),
        ({"weight": W, "list_scale": T, "reduce": "max"}, r"a maximum takes no 'weight': scale the rows, or take"),
        ({"weight": W.to("meta"), "list_scale": T}, r"'weight' must be on the device of the rows, cpu, but is on"),
        ({"out_scale": torch.ones(2)}, r"'out_scale' must be float32 \[1\], got torch.float32 \[2\]\."),
        ({"out_zero": torch.ones(1)}, r"'out_zero' must be int32 \[1\], got torch.float32 \[1\]\."),
        ({"out_bits": 9}, r"'out_bits' must be from 1 to 8, got 9\."),
    ],
)  # fmt: skip
def test_wrong_arguments(change, text):
    rows = quantize_rows(torch.randn(3, 4))
    arguments = {"out_scale": T, "out_zero": torch.zeros(1, dtype=torch.int32), **change}
    with pytest.raises(ValueError, match=text):
        gather_reduce_requantized(rows, torch.tensor([0, 2]), torch.tensor([0, 1]), **arguments)


def test_wrong_rows():
    rows = quantize_rows(torch.randn(3, 4))
    for change, text in (
        ({"bits": 7}, r"'bits' must be 8 or 4, got 7\."),
        ({"bits": 4}, r"'levels' of 4 channels in 4 bits must be int8 \[N, 2\], got torch.int8 \[3, 4\]\."),
        ({"scale": torch.ones(2)}, r"'scale' must be float32 \[1\] or \[3\], got torch.float32 \[2\]\."),
        ({"zero": torch.ones(1)}, r"'zero' must be int32 \[1\], got torch.float32 \[1\]\."),
        ({"zero": torch.ones(1, dtype=torch.int32)}, r"'zero' goes with one scale for all rows, but there are 3\."),
    ):
        with pytest.raises(ValueError, match=text):
            replace(rows, **change)
    with pytest.raises(ValueError, match=r"'bits' must be 8 or 4, got 2\."):
        quantize_rows(torch.randn(3, 4), 2)
    with pytest.raises(ValueError, match=r"'x' must be a float tensor of shape \[N, F\], got torch.float32 \[3\]\."):
        quantize_rows(torch.randn(3))
    for arguments, found in (({"per_row": True}, "a step per row"), ({"per_row": False}, r"a limit of shape \[3\]")):
        with pytest.raises(
            ValueError, match=rf"'limit' is one number for one step for all rows, but there is {found}\."
        ):
            quantize_rows(torch.randn(3, 4), limit=torch.ones(3), **arguments)
    clamped = quantize_rows(torch.tensor([[1.0, -4.0]]), per_row=False, limit=torch.tensor(2.0))
    torch.testing.assert_close(clamped.dequantize(), torch.tensor([[1.0, -2.0]]), rtol=0.0, atol=0.01)
    with pytest.raises(UnknownNameError, match=r"no reduction 'min'\. .*Known: max, mean, sum"):
        gather_reduce_quantized(rows, torch.tensor([0, 2]), None, "min")


def test_the_triton_kernel():
    """In Triton's interpreter, in a process of its own, because Triton reads the variable when it is imported."""
    pytest.importorskip("triton")
    code = f"""
import itertools, sys
import torch
sys.path.insert(0, {os.path.dirname(__file__)!r})
from graphlearn.ops import quantized, quantized_torch, quantized_triton
from graphlearn.ops.quantized import QuantizedRows, pack_int4

g = torch.Generator().manual_seed(0)
rowptr = torch.tensor([0, 3, 3, 12, 13])
cases = itertools.product((8, 4), (0, 1, 2), (False, True), ("sum", "mean", "max"), (False, True))
for bits, heads, per_row, reduce, requantize in cases:
    if heads and reduce == "max":
        continue
    width = 2 if heads == 2 else 1
    levels = torch.randint(-(2 ** (bits - 1)), 2 ** (bits - 1), (9, 21 * width), generator=g, dtype=torch.int8)
    scale = torch.rand(9 if per_row else 1, generator=g) + 0.1
    zero = None if per_row else torch.tensor([-3], dtype=torch.int32)
    rows = QuantizedRows(pack_int4(levels) if bits == 4 else levels, scale, 21 * width, bits, zero)
    shape = (13, 2) if heads == 2 else (13,)
    weight = torch.randint(-128, 128, shape, generator=g, dtype=torch.int8) if heads else None
    step = torch.rand(4, *shape[1:], generator=g) if heads else None
    out = (torch.tensor([0.3]), torch.tensor([5], dtype=torch.int32)) if requantize else (None, None)
    for col in (None, torch.randint(9, (13,), generator=g)):
        if col is None:
            more = torch.cat([scale, scale[:4]]) if per_row else scale
            rows = QuantizedRows(torch.cat([rows.levels, rows.levels[:4]]), more, 21 * width, bits, zero)
        job = quantized._job(rows, rowptr, col, reduce, weight, step, *out, 8)
        found, wanted = quantized_triton.reduce_rows(job, guard=2), quantized_torch.reduce_rows(job)
        if per_row and not requantize:
            torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-3)
        elif per_row:
            assert (found.int() - wanted.int()).abs().max() <= 1
        else:
            assert torch.equal(found, wanted), (bits, heads, reduce, requantize)
print("equal")
"""
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.strip() == "equal"
