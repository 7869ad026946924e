"""gather_reduce in float16, bfloat16 and float32 against float64; how the kernels read and write halves."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from graphlearn.ops import csr_native, gather_reduce

REDUCES = ["sum", "mean", "max", "min"]
needs_native = pytest.mark.skipif(
    not csr_native.usable(torch.device("cpu")), reason="the native kernels were not built"
)


@pytest.fixture(params=[0, 1, 2], ids=["plain", "avx2", "avx512"])
def instruction_set(request):
    """The native kernels as compiled for each instruction set (or the widest below it that this processor has)."""
    csr_native.kernels.limit_instruction_set(request.param)
    yield
    csr_native.kernels.limit_instruction_set(2)


def example() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """20 rows of 37 channels, read by 400 weighted entries in 8 lists."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(20, 37, generator=generator)
    row = torch.randint(8, (400,), generator=generator).sort().values
    rowptr = torch.searchsorted(row, torch.arange(9))
    return x, rowptr, torch.randint(20, (400,), generator=generator), torch.randn(400, generator=generator)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("reduce", REDUCES)
def test_narrow_dtypes_equal_float64_but_for_one_rounding(backend, reduce, weighted, dtype):
    x, rowptr, col, weight = (t.to(dtype) if t.is_floating_point() else t for t in example())
    weight = weight if weighted else None
    found = gather_reduce(x, rowptr, col, reduce, weight)
    wanted = gather_reduce(x.double(), rowptr, col, reduce, None if weight is None else weight.double())
    assert found.dtype == dtype
    half_step = torch.finfo(dtype).eps / 2
    # Sums of float32 have an error of their own, but far below a step of the narrow dtypes.
    torch.testing.assert_close(
        found.double(), wanted, rtol=1.01 * half_step if dtype != torch.float32 else 1e-5, atol=2e-5
    )
    grads = []
    for rows in (x, x.double()):
        factor = None if weight is None else weight.to(rows.dtype).requires_grad_()
        rows = rows.clone().requires_grad_()
        out = gather_reduce(rows, rowptr, col, reduce, factor)
        leaves = [rows] if factor is None else [rows, factor]
        grads.append(torch.autograd.grad(out, leaves, torch.ones_like(out)))
    for narrow, full in zip(*grads, strict=True):
        if reduce in ("sum", "mean"):  # elsewhere float64 may choose another of two almost equal entries
            torch.testing.assert_close(narrow.double(), full, rtol=2 * half_step + 1e-5, atol=1e-4)


@needs_native
@pytest.mark.usefixtures("instruction_set")
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_every_number_of_16_bits_is_read_and_written_as_torch_does(dtype):
    """All 65,536 of them, and float32 numbers between them: what is halfway, too small, too large, and no number."""
    bits = torch.arange(-(2**15), 2**15).short()
    x = bits.view(dtype).view(-1, 16)
    each = torch.arange(len(x) + 1)
    found = gather_reduce(x, each, None)
    assert torch.equal(found.isnan(), x.isnan())
    assert torch.equal(found[~x.isnan()], x[~x.isnan()])
    # Twice a half, plus a number far below it, is what rounds up, down or stays; weights are added up in float32.
    for weight in (0.5, 1.0 + 2**-11, 1.0 + 2**-8, 1.0 + 2**-9, 1.0 + 3 * 2**-12, 2.0**-13, 2.0**13):
        factor = torch.full((len(x),), weight).to(dtype)
        wanted = (x.float() * factor.float()[:, None]).to(dtype)
        found = gather_reduce(x, each, None, "sum", factor)
        assert torch.equal(found.nan_to_num(7.0), wanted.nan_to_num(7.0))
    pairs = torch.arange(0, len(x) + 1, 2)
    wanted = (x.float()[::2] + x.float()[1::2]).to(dtype)
    assert torch.equal(gather_reduce(x, pairs, None).nan_to_num(7.0), wanted.nan_to_num(7.0))
