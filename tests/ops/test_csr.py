"""Gather and reduce over lists: every path against a slow one, its gradients, and what wrong lists get."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from graphlearn.errors import UnknownNameError
from graphlearn.ops import csr_from_edge_index, csr_native, gather_reduce, gather_rows, transpose_csr

REDUCES = ["sum", "mean", "max", "min"]
needs_native = pytest.mark.skipif(
    not csr_native.usable(torch.device("cpu")), reason="the native kernels were not built"
)


def slow(x: Tensor, rowptr: Tensor, col: Tensor | None, reduce: str, weight: Tensor | None) -> Tensor:
    """The definition, one list at a time; differentiable."""
    out = []
    for begin, end in zip(rowptr[:-1].tolist(), rowptr[1:].tolist(), strict=True):
        source = torch.arange(begin, end) if col is None else col[begin:end].long()
        rows = x[source] if weight is None else x[source] * weight[begin:end, None]
        if begin == end:
            out.append(x.new_zeros(x.size(1)))
        elif reduce in ("max", "min"):
            function = max if reduce == "max" else min
            best = [rows[:, f].tolist().index(function(rows[:, f].tolist())) for f in range(x.size(1))]  # first of ties
            out.append(rows[best, torch.arange(x.size(1))])
        else:
            out.append(rows.sum(dim=0) / (len(rows) if reduce == "mean" else 1))
    return torch.stack(out) if out else x.new_zeros(0, x.size(1))


@st.composite
def problems(draw):
    """Lists of any length over sources of any number, with repeats, gaps, ties and widths around the vector sizes."""
    lengths = draw(st.lists(st.integers(0, 6), max_size=8))
    rowptr = torch.tensor([0, *lengths], dtype=draw(st.sampled_from([torch.int32, torch.int64]))).cumsum(0)
    num_entries = sum(lengths)
    kind = draw(st.sampled_from(["any", "increasing", "none"]))
    num_src = draw(st.integers(max(num_entries, 1), num_entries + 5)) if kind != "any" else draw(st.integers(1, 9))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**30)))
    col = None
    if kind == "any":
        col = torch.randint(num_src, (num_entries,), generator=generator)
    elif kind == "increasing":
        col = torch.randperm(num_src, generator=generator)[:num_entries].sort().values
    if col is not None and draw(st.booleans()):
        col = col.int()
    num_channels = draw(st.sampled_from([0, 1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 31, 33, 48, 64, 100, 128, 131, 257]))
    # Halves between -2 and 2: sums are exact, and ties happen.
    x = torch.randint(-4, 5, (num_src, num_channels), generator=generator) / 2
    weight = torch.randint(-4, 5, (num_entries,), generator=generator) / 2 if draw(st.booleans()) else None
    return x, rowptr, col, weight


@pytest.mark.parametrize("reduce", REDUCES)
def test_equals_the_slow_answer_forward_and_backward(backend, reduce):
    @settings(max_examples=80, deadline=None)
    @given(problem=problems(), seed=st.integers(0, 2**30))
    def check(problem, seed):
        x, rowptr, col, weight = problem
        leaves = [x.requires_grad_()] + ([] if weight is None else [weight.requires_grad_()])
        found, wanted = gather_reduce(x, rowptr, col, reduce, weight), slow(x, rowptr, col, reduce, weight)
        torch.testing.assert_close(found, wanted)
        grad = torch.randint(-3, 4, found.shape, generator=torch.Generator().manual_seed(seed)).float()
        found_grads = torch.autograd.grad(found, leaves, grad)
        # Without any list the slow answer depends on nothing.
        wanted = wanted + 0.0 * sum(leaf.sum() for leaf in leaves)
        for found_grad, wanted_grad in zip(found_grads, torch.autograd.grad(wanted, leaves, grad), strict=True):
            torch.testing.assert_close(found_grad, wanted_grad)

    check()


def example(num_src: int, num_rows: int, num_entries: int, num_channels: int, dtype: torch.dtype = torch.float32):
    """Random lists, large enough for several threads where the numbers are large."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(num_src, num_channels, generator=generator, dtype=dtype)
    row = torch.randint(num_rows, (num_entries,), generator=generator).sort().values
    rowptr = torch.searchsorted(row, torch.arange(num_rows + 1))
    col = torch.randint(num_src, (num_entries,), generator=generator)
    return x, rowptr, col, torch.randn(num_entries, generator=generator, dtype=dtype)


def by_hand() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    x = torch.tensor([[1.0, 8.0], [2.0, 4.0], [3.0, -1.0], [99.0, 99.0]])
    return x, torch.tensor([0, 2, 2, 5]), torch.tensor([2, 0, 1, 1, 0]), torch.tensor([1.0, 2.0, 0.5, 1.5, -1.0])


@pytest.mark.parametrize(
    ("reduce", "weighted", "wanted"),
    [
        ("sum", False, [[4.0, 7.0], [0.0, 0.0], [5.0, 16.0]]),
        ("mean", False, [[2.0, 3.5], [0.0, 0.0], [5 / 3, 16 / 3]]),
        ("max", False, [[3.0, 8.0], [0.0, 0.0], [2.0, 8.0]]),
        ("min", False, [[1.0, -1.0], [0.0, 0.0], [1.0, 4.0]]),
        ("sum", True, [[5.0, 15.0], [0.0, 0.0], [3.0, 0.0]]),
        ("mean", True, [[2.5, 7.5], [0.0, 0.0], [1.0, 0.0]]),
        ("max", True, [[3.0, 16.0], [0.0, 0.0], [3.0, 6.0]]),
        ("min", True, [[2.0, -1.0], [0.0, 0.0], [-1.0, -8.0]]),
    ],
)
def test_a_value_worked_by_hand(backend, reduce, weighted, wanted):
    x, rowptr, col, weight = by_hand()
    found = gather_reduce(x, rowptr, col, reduce, weight if weighted else None)
    torch.testing.assert_close(found, torch.tensor(wanted))


@pytest.mark.parametrize("reduce", ["max", "min"])
def test_gradient_of_ties_goes_to_the_first(backend, reduce):
    x = torch.tensor([[5.0], [5.0], [1.0]], requires_grad=True)
    sign = 1 if reduce == "max" else -1
    gather_reduce(sign * x, torch.tensor([0, 3]), torch.tensor([2, 1, 0]), reduce).mul(sign).backward()
    assert x.grad.flatten().tolist() == [0.0, 1.0, 0.0]


def test_negative_and_infinite_maxima(backend):
    x = torch.tensor([[-3.0, -torch.inf], [-2.0, -torch.inf], [torch.nan, 1.0]])
    found = gather_reduce(x, torch.tensor([0, 2, 3, 5]), torch.tensor([0, 1, 2, 2, 0]), "max")
    smallest = gather_reduce(-x, torch.tensor([0, 2, 3, 5]), torch.tensor([0, 1, 2, 2, 0]), "min")
    assert torch.equal(smallest.nan_to_num(7.0), -found.nan_to_num(-7.0))
    assert found[0].tolist() == [-2.0, -torch.inf]
    assert found[1:, 0].isnan().all()  # what is not a number must show in the loss
    assert found[1:, 1].tolist() == [1.0, 1.0]


@pytest.mark.parametrize("reduce", REDUCES)
@pytest.mark.parametrize("with_col", [True, False])
def test_gradcheck_of_two_orders(backend, reduce, with_col):
    x, rowptr, col, weight = example(14, 6, 11, 3, torch.float64)
    x.requires_grad_(), weight.requires_grad_()
    col = col if with_col else None
    both, one = (
        (lambda x, w: gather_reduce(x, rowptr, col, reduce, w)),
        (lambda x: gather_reduce(x, rowptr, col, reduce)),
    )
    assert torch.autograd.gradcheck(both, (x, weight))
    assert torch.autograd.gradgradcheck(both, (x, weight))
    assert torch.autograd.gradcheck(one, (x,))
    assert torch.autograd.gradgradcheck(lambda x: one(x).pow(3), (x,))


def test_a_second_derivative_worked_by_hand(backend):
    """The largest x, squared: twice on the diagonal where it was taken, nothing elsewhere."""
    x = torch.tensor([[3.0], [5.0], [5.0], [1.0]], requires_grad=True)

    def loss(x: Tensor) -> Tensor:
        return gather_reduce(x, torch.tensor([0, 3, 4]), torch.tensor([0, 1, 2, 3]), "max").square().sum()

    found = torch.autograd.functional.hessian(loss, x).view(4, 4)
    assert torch.equal(found, torch.diag(torch.tensor([0.0, 2.0, 0.0, 2.0])))


def test_a_third_derivative(backend):
    x, rowptr, col, weight = example(14, 6, 11, 3, torch.float64)
    x.requires_grad_()

    def derivative(times: int) -> Tensor:
        out = gather_reduce(x, rowptr, col, "sum", weight).pow(4).sum()
        for _ in range(times):
            (out,) = torch.autograd.grad(out.sum(), x, create_graph=True)
        return out

    def wanted(times: int) -> Tensor:
        out = slow(x, rowptr, col, "sum", weight).pow(4).sum()
        for _ in range(times):
            (out,) = torch.autograd.grad(out.sum(), x, create_graph=True)
        return out

    torch.testing.assert_close(derivative(3), wanted(3))


def results(reduce: str, *, increasing: bool = False) -> list[Tensor]:
    """The result and its gradients on lists of 2.6 M numbers."""
    x, rowptr, col, weight = example(30_000, 700, 20_000, 130)
    if increasing:
        col = torch.randperm(30_000, generator=torch.Generator().manual_seed(1))[:20_000].sort().values
    x.requires_grad_(), weight.requires_grad_()
    out = gather_reduce(x, rowptr, col, reduce, weight)
    return [out.detach(), *torch.autograd.grad(out, [x, weight], torch.randn_like(out))]


@pytest.fixture(params=[0, 1, 2], ids=["plain", "avx2", "avx512"])
def instruction_set(request):
    """The native kernels as compiled for each instruction set (or the widest below it that this processor has)."""
    csr_native.kernels.limit_instruction_set(request.param)
    yield
    csr_native.kernels.limit_instruction_set(2)


@needs_native
@pytest.mark.usefixtures("instruction_set")
@pytest.mark.parametrize("num_channels", [1, 3, 8, 37, 130])
@pytest.mark.parametrize("reduce", REDUCES)
def test_every_instruction_set_equals_torch(reduce, num_channels, monkeypatch):
    def both(x: Tensor, rowptr: Tensor, col: Tensor, weight: Tensor | None) -> list[Tensor]:
        leaves = [x.requires_grad_()] + ([] if weight is None else [weight.requires_grad_()])
        out = gather_reduce(x, rowptr, col, reduce, weight)
        return [out.detach(), *torch.autograd.grad(out, leaves, torch.ones_like(out).cumsum(0))]

    x, rowptr, col, weight = example(50, 40, 300, num_channels)
    native = [*both(x, rowptr, col, None), *both(x, rowptr, col, weight)]
    monkeypatch.setattr(csr_native, "usable", lambda *_: False)
    for found, wanted in zip(native, [*both(x, rowptr, col, None), *both(x, rowptr, col, weight)], strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


@needs_native
@pytest.mark.parametrize("increasing", [True, False])
@pytest.mark.parametrize("reduce", REDUCES)
def test_native_equals_torch(reduce, increasing, monkeypatch):
    torch.manual_seed(0)
    native = results(reduce, increasing=increasing)
    monkeypatch.setattr(csr_native, "usable", lambda *_: False)
    torch.manual_seed(0)
    for found, wanted in zip(native, results(reduce, increasing=increasing), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("increasing", [True, False])
@pytest.mark.parametrize("reduce", REDUCES)
def test_same_bits_on_any_number_of_threads(backend, reduce, increasing):
    before = torch.get_num_threads()
    try:
        found = []
        for threads in (1, 2, 5, 2):
            torch.set_num_threads(threads)
            torch.manual_seed(0)
            found.append(results(reduce, increasing=increasing))
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


def test_any_layout_of_x(backend):
    x, rowptr, col, _ = example(20, 8, 40, 6)
    wanted = gather_reduce(x, rowptr, col, "max")
    wide = torch.randn(40, 12)
    wide[::2, 3:9] = x
    for layout in (x.t().contiguous().t(), wide[::2, 3:9]):
        torch.testing.assert_close(gather_reduce(layout, rowptr, col, "max"), wanted)
    one_row = x[:1].expand(20, 6)
    torch.testing.assert_close(gather_reduce(one_row, rowptr, col), x[:1] * rowptr.diff()[:, None])
    spread = torch.stack([col, col], dim=1)[:, 0]
    torch.testing.assert_close(gather_reduce(x, rowptr, spread, "max"), wanted)


def test_only_what_asks_for_a_gradient_gets_one(backend):
    x, rowptr, col, weight = example(20, 8, 40, 6)
    for reduce in REDUCES:
        assert not gather_reduce(x, rowptr, col, reduce, weight).requires_grad
        gather_reduce(x, rowptr, col, reduce, weight.requires_grad_()).sum().backward()
        assert x.grad is None
        assert weight.grad is not None
        with torch.no_grad():
            assert not gather_reduce(x, rowptr, col, reduce, weight).requires_grad
        weight = weight.detach()


def test_arguments_are_not_changed(backend):
    arguments = example(20, 8, 40, 6)
    copies = [argument.clone() for argument in arguments]
    x, rowptr, col, weight = arguments
    gather_reduce(x.requires_grad_(), rowptr, col, "max", weight.requires_grad_()).sum().backward()
    assert all(torch.equal(argument, copy) for argument, copy in zip(arguments, copies, strict=True))


def test_nothing_to_read(backend):
    x = torch.randn(0, 5, requires_grad=True)
    out = gather_reduce(x, torch.zeros(4, dtype=torch.int64), torch.zeros(0, dtype=torch.int64), "max")
    out.sum().backward()
    assert torch.equal(out, torch.zeros(3, 5))
    assert x.grad.shape == (0, 5)
    assert gather_reduce(x, torch.tensor([0]), None).shape == (0, 5)


@pytest.mark.parametrize(
    ("rowptr", "col", "error", "text"),
    [
        ([1, 2], [0, 0], ValueError, r"'rowptr' must run from 0 to the 2 entries, got 1 to 2\."),
        ([0, 1], [0, 0], ValueError, r"'rowptr' must run from 0 to the 2 entries, got 0 to 1\."),
        ([0, 3, 1, 2], [0, 0], ValueError, r"'rowptr' must not decrease, but .* at 1 places \(first: 1\)\."),
        ([0, 2**40, 2], [0, 0], ValueError, r"'rowptr' must not decrease, but"),
        ([0, -(2**40), 2], [0, 0], ValueError, r"'rowptr' must not decrease, but"),
        ([0, 2], [0, 3], IndexError, r"'col' must name rows 0 to 2: 1 of 2 entries are not \(first: 3\)\."),
        ([0, 2], [-1, 2**40], IndexError, r"'col' must name rows 0 to 2: 2 of 2 .* \(first: -1, 1099511627776\)\."),
        ([0, 4], None, IndexError, r"'rowptr' lists 4 entries, but there are 3 rows to read\."),
    ],
)
@pytest.mark.parametrize("reduce", REDUCES)
def test_wrong_lists_get_a_sentence_not_a_crash(backend, reduce, rowptr, col, error, text):
    col = None if col is None else torch.tensor(col)
    with pytest.raises(error, match=text):
        gather_reduce(torch.randn(3, 40), torch.tensor(rowptr), col, reduce)
    if col is not None:
        with pytest.raises(error, match=text):
            transpose_csr(torch.tensor(rowptr), col, 3)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"x": torch.randn(3)}, r"'x' must be a float tensor of shape \[N, F\], got torch.float32 \[3\]"),
        ({"x": torch.ones(3, 2).long()}, r"'x' must be a float tensor .* got torch.int64 \[3, 2\]"),
        ({"rowptr": torch.tensor([0.0, 2.0])}, r"'rowptr' must be an int32 or int64 tensor of one dimension"),
        ({"rowptr": torch.tensor([], dtype=torch.int64)}, r"'rowptr' must hold at least one number"),
        ({"col": torch.tensor([[0, 1]])}, r"'col' must be an int32 or int64 tensor of one dimension, got .* \[1, 2\]"),
        (
            {"rowptr": torch.tensor([0, 2], device="meta")},
            r"'rowptr' must be on the device of 'x', cpu, but is on meta",
        ),
        ({"col": torch.tensor([0, 1], device="meta")}, r"'col' must be on the device of 'x', cpu, but is on meta"),
        ({"weight": torch.ones(2, 1)}, r"'weight' must be a torch.float32 tensor of one dimension, got .* \[2, 1\]"),
        ({"weight": torch.ones(2).double()}, r"'weight' must be a torch.float32 tensor .* got torch.float64"),
        ({"weight": torch.ones(3)}, r"'weight' has 3 values for the 2 entries of 'col'"),
        ({"weight": torch.ones(3), "col": None}, r"'rowptr' must run from 0 to the 3 entries, got 0 to 2"),
        ({"reduce": "mode"}, r"no reduction 'mode'. Did you mean 'mean'\? Known: max, mean, min, sum"),
    ],
)
def test_wrong_arguments(backend, change, text):
    arguments = {"x": torch.randn(3, 2), "rowptr": torch.tensor([0, 2]), "col": torch.tensor([0, 1]), **change}
    with pytest.raises(UnknownNameError if "reduce" in change else ValueError, match=text):
        gather_reduce(**arguments)


@pytest.mark.parametrize(("setting", "wanted"), [("0", "None"), pytest.param("1", "<module", marks=needs_native)])
def test_the_native_kernels_can_be_switched_off(setting, wanted):
    code = "from graphlearn.native import kernels; print(kernels)"
    environment = {**os.environ, "GRAPHLEARN_NATIVE": setting}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.startswith(wanted)


def test_transpose(backend):
    src_rowptr, row, entry = transpose_csr(*by_hand()[1:3], 4)
    assert src_rowptr.tolist() == [0, 2, 4, 5, 5]
    assert row.tolist() == [0, 2, 2, 2, 0]
    assert entry.tolist() == [1, 4, 2, 3, 0]


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_transposing_twice_sorts_each_list(backend, dtype):
    _, rowptr, col, _ = example(50, 40, 300, 1)
    src_rowptr, row, entry = transpose_csr(rowptr, col.to(dtype), 50)
    assert row.dtype == entry.dtype == dtype
    back_rowptr, back, _ = transpose_csr(src_rowptr, row, 40)
    assert torch.equal(back_rowptr, rowptr)
    for begin, end in zip(rowptr[:-1].tolist(), rowptr[1:].tolist(), strict=True):
        assert back[begin:end].tolist() == sorted(col[begin:end].tolist())
    assert torch.equal(col[entry.long()], torch.repeat_interleave(torch.arange(50), src_rowptr.diff()))


def test_edge_index_to_lists():
    edge_index = torch.tensor([[4, 0, 3, 1, 2], [2, 0, 2, 0, 3]])
    rowptr, col = csr_from_edge_index(edge_index, 5)
    assert rowptr.tolist() == [0, 2, 2, 4, 5, 5]
    assert col.tolist() == [0, 1, 4, 3, 2]


def test_gather_rows(backend):
    x = torch.randn(6, 3, requires_grad=True)
    index = torch.tensor([4, 0, 4], dtype=torch.int32)
    found = gather_rows(x, index)
    assert torch.equal(found, x[index])
    found.sum().backward()
    assert x.grad[:, 0].tolist() == [1.0, 0.0, 0.0, 0.0, 2.0, 0.0]
