"""Segment operators against PyG and slow answers, their derivatives, their dtypes, and what wrong segments get."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch_geometric.utils import softmax

from graphlearn.errors import UnknownNameError
from graphlearn.ops import Segments, segment_logsumexp, segment_reduce, segment_softmax

REDUCES = ["sum", "mean", "max", "min"]
OPERATORS = {
    **{reduce: lambda x, s, reduce=reduce: segment_reduce(x, s, reduce) for reduce in REDUCES},
    "softmax": segment_softmax,
    "logsumexp": segment_logsumexp,
}
each_operator = pytest.mark.parametrize("name", sorted(OPERATORS))


def slow(name: str, x: Tensor, index: Tensor, dim_size: int) -> Tensor:
    """One segment at a time, with torch's own functions; differentiable."""
    if name == "softmax":
        out = torch.zeros_like(x)
        for i in range(dim_size):
            out = out + torch.zeros_like(x).index_put(((index == i).nonzero().flatten(),), x[index == i].softmax(0))
        return out
    functions = {
        "sum": lambda rows: rows.sum(0),
        "mean": lambda rows: rows.mean(0),
        "max": lambda rows: rows.max(0).values,
        "min": lambda rows: rows.min(0).values,
        "logsumexp": lambda rows: rows.logsumexp(0),
    }
    empty = torch.full(x.shape[1:], -torch.inf if name == "logsumexp" else 0.0, dtype=x.dtype)
    groups = [x[index == i] for i in range(dim_size)]
    return torch.stack([functions[name](rows) if len(rows) else empty for rows in groups])


@st.composite
def problems(draw):
    """Rows of up to three dimensions in up to five segments, sorted or not, some of them empty."""
    g = torch.Generator().manual_seed(draw(st.integers(0, 2**30)))
    count, dim_size = draw(st.integers(0, 12)), draw(st.integers(1, 5))
    index = torch.randint(dim_size, (count,), generator=g)
    index = index.sort().values if draw(st.booleans()) else index
    x = torch.randn(count, *draw(st.sampled_from([(), (1,), (3,), (17,), (2, 3)])), generator=g, dtype=torch.float64)
    return x, index.int() if draw(st.booleans()) else index, dim_size


@each_operator
def test_equals_the_slow_answer_forward_and_backward(backend, name):
    @settings(max_examples=60, deadline=None)
    @given(problem=problems())
    def check(problem):
        x, index, dim_size = problem
        x.requires_grad_()
        found = OPERATORS[name](x, Segments.of(index, dim_size=dim_size))
        wanted = slow(name, x, index, dim_size)
        torch.testing.assert_close(found, wanted)
        if len(x):
            mask = wanted.isfinite()
            grads = [torch.autograd.grad((out[mask] ** 2).sum(), x)[0] for out in (found, wanted)]
            torch.testing.assert_close(*grads)

    check()


def rows(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Nine rows in five segments: one of them empty, one of a single row."""
    x = torch.randn(9, 3, generator=torch.Generator().manual_seed(0), dtype=dtype)
    return x, torch.tensor([4, 0, 2, 0, 4, 0, 4, 2, 1])


def test_values_worked_by_hand(backend):
    x, index = torch.tensor([[1.0], [4.0], [2.0], [-3.0]]), torch.tensor([2, 0, 2, 0])
    wanted = {"sum": [1.0, 0.0, 3.0], "mean": [0.5, 0.0, 1.5], "max": [4.0, 0.0, 2.0], "min": [-3.0, 0.0, 1.0]}
    for reduce, values in wanted.items():
        assert segment_reduce(x, index, reduce, dim_size=3).flatten().tolist() == values
    logs = segment_logsumexp(torch.tensor([1.0, 3.0]).log(), torch.tensor([1, 1]), dim_size=2)
    torch.testing.assert_close(logs, torch.tensor([-torch.inf, torch.tensor(4.0).log()]))
    shares = segment_softmax(torch.tensor([1.0, 3.0, 7.0]).log(), torch.tensor([1, 1, 0]), dim_size=2)
    torch.testing.assert_close(shares, torch.tensor([0.25, 0.75, 1.0]))


@each_operator
def test_gradcheck_of_two_orders(backend, name):
    x, index = rows()
    segments = Segments.of(index, dim_size=5)
    keep = torch.tensor([0, 1, 2, 4]) if name == "logsumexp" else slice(None)  # -inf has no derivative to compare
    assert torch.autograd.gradcheck(lambda x: OPERATORS[name](x, segments)[keep], (x.requires_grad_(),))
    assert torch.autograd.gradgradcheck(lambda x: OPERATORS[name](x, segments)[keep].pow(2), (x,))


@each_operator
def test_index_and_ptr_agree_and_so_do_orders_of_rows(backend, name):
    x, index = rows()
    order = index.sort(stable=True).indices
    ptr = torch.tensor([0, 3, 4, 6, 6, 9])
    by_ptr = OPERATORS[name](x[order], Segments.of(ptr=ptr))
    by_index = OPERATORS[name](x, Segments.of(index, dim_size=5))
    torch.testing.assert_close(by_ptr, by_index[order] if name == "softmax" else by_index)
    assert torch.equal(Segments.of(ptr=ptr.int()).index, index[order])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@each_operator
def test_narrow_dtypes_against_float64(backend, name, dtype):
    x, index = rows(dtype)
    segments = Segments.of(index, dim_size=5)
    found = OPERATORS[name](x, segments)
    assert found.dtype == dtype
    eps = torch.finfo(dtype).eps
    torch.testing.assert_close(found.double(), OPERATORS[name](x.double(), segments), rtol=2 * eps, atol=2 * eps)


def test_half_precision_is_added_up_in_float32(backend):
    """In float16 itself the sum would stop growing at 2048."""
    x = torch.ones(5000, 1, dtype=torch.float16)
    index = torch.zeros(5000, dtype=torch.int64)
    assert segment_reduce(x, index, dim_size=1).item() == 5000
    assert segment_reduce(x.bfloat16(), index, "mean", dim_size=1).item() == 1


def test_softmax_equals_pyg(backend):
    x, index = rows(torch.float32)
    torch.testing.assert_close(segment_softmax(x, index, dim_size=5), softmax(x, index, num_nodes=5))


def test_numbers_that_overflow_and_infinities(backend):
    x = torch.tensor([1000.0, 1001.0, -torch.inf, -torch.inf, -2000.0], requires_grad=True)
    index = torch.tensor([0, 0, 1, 1, 2])
    logs, shares = segment_logsumexp(x, index, dim_size=3), segment_softmax(x, index, dim_size=3)
    torch.testing.assert_close(logs, torch.tensor([1001.3133, -torch.inf, -2000.0]))
    torch.testing.assert_close(shares, torch.tensor([0.2689, 0.7311, 0.0, 0.0, 1.0]), rtol=1e-3, atol=1e-4)
    for out in (logs[[0, 2]], shares):
        (grad,) = torch.autograd.grad(out.sum(), x, retain_graph=True)
        assert torch.isfinite(grad).all()


@pytest.mark.parametrize("reduce", ["max", "min"])
def test_ties_go_to_the_first_row_and_shares_of_ties_are_equal(backend, reduce):
    x = torch.tensor([2.0, 2.0, 2.0], requires_grad=True)
    index = torch.tensor([1, 1, 1])
    assert torch.autograd.grad(segment_reduce(x, index, reduce, dim_size=2).sum(), x)[0].tolist() == [1.0, 0.0, 0.0]
    grad = torch.autograd.grad(segment_logsumexp(x, index, dim_size=2)[1], x)[0]
    torch.testing.assert_close(grad, torch.full((3,), 1 / 3))


def test_nothing_at_all(backend):
    x, index = torch.zeros(0, 4, requires_grad=True), torch.zeros(0, dtype=torch.int64)
    for reduce in REDUCES:
        assert torch.equal(segment_reduce(x, index, reduce, dim_size=2), torch.zeros(2, 4))
    assert segment_softmax(x, index, dim_size=2).shape == (0, 4)
    assert segment_reduce(x, index, dim_size=0).shape == (0, 4)
    segment_reduce(x, index, dim_size=2).sum().backward()
    assert x.grad.shape == (0, 4)


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({}, ValueError, r"the segments are missing: give 'index', the segment of each row, or 'ptr'\."),
        ({"index": [0, 1, 1]}, ValueError, r"'dim_size' is missing: give the number of segments beside 'index'\."),
        (
            {"index": [0.0, 1, 1], "dim_size": 2},
            ValueError,
            r"'index' must be an int32 or int64 tensor of one dimension",
        ),
        ({"index": [[0, 1, 1]], "dim_size": 2}, ValueError, r"'index' must be .*, got torch.int64 \[1, 3\]\."),
        (
            {"index": [0, 5, -1], "dim_size": 2},
            IndexError,
            r"'index' must name segments 0 to 1: 2 of 3 rows do not \(first: 5, -1\)\.",
        ),
        ({"index": [0, 1], "dim_size": 2}, ValueError, r"the segments have 2 rows, but 'x' has 3\."),
        ({"ptr": [0, 3], "dim_size": 2}, ValueError, r"'ptr' describes 1 segments, but 'dim_size' is 2\."),
        ({"ptr": [0, 2]}, ValueError, r"'ptr' must run from 0 to the 3 rows, got 0 to 2\."),
        ({"ptr": [0, 3, 1, 3]}, ValueError, r"'ptr' must not decrease, but the next .* at 1 places \(first: 1\)\."),
        ({"ptr": []}, ValueError, r"'ptr' must hold at least one number, the 0 at which the first segment starts"),
        (
            {"index": [0, 1, 1], "dim_size": 2, "reduce": "men"},
            UnknownNameError,
            r"no reduction 'men'. Did you mean 'mean'",
        ),
    ],
)
def test_wrong_segments_get_a_sentence(arguments, error, text):
    given = {k: torch.tensor(v) if isinstance(v, list) else v for k, v in arguments.items()}
    if arguments.get("ptr") == []:
        given["ptr"] = torch.zeros(0, dtype=torch.int64)
    with pytest.raises(error, match=text):
        segment_reduce(torch.ones(3, 2), **given)


def test_a_single_number_is_no_rows():
    with pytest.raises(ValueError, match="'x' must have a dimension of rows, got a single number"):
        segment_reduce(torch.tensor(1.0), torch.tensor([0]), dim_size=1)


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # torch does it itself
def test_compiled(backend):
    """Without breaks: a compiled model holds the torch operations."""
    x, index = rows(torch.float32)
    x.requires_grad_()

    def step(x: Tensor, index: Tensor) -> Tensor:
        return segment_reduce(segment_softmax(x, index, dim_size=5) * x, index, "max", dim_size=5)

    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x, index), step(x, index))
    grads = [torch.autograd.grad(f(x, index).sum(), x)[0] for f in (compiled, step)]
    torch.testing.assert_close(*grads)


TRITON = """
import sys, torch
from graphlearn.ops import csr_native, gather_reduce, segment_triton

def results(reduce, dtype, weighted, with_col):
    g = torch.Generator().manual_seed(0)
    x = torch.randn(9, 19, generator=g).to(dtype).requires_grad_()
    rowptr = torch.tensor([0, 3, 3, 4, 9])
    col = torch.randint(9, (9,), generator=g) if with_col else None
    weight = torch.randn(9, generator=g).to(dtype).requires_grad_() if weighted else None
    out = gather_reduce(x, rowptr, col, reduce, weight)
    leaves = [x, weight] if weighted else [x]
    return [out.detach(), *torch.autograd.grad(out, leaves, torch.ones_like(out).cumsum(0).to(dtype))]

csr_native.usable = lambda *_: False
for reduce in ("sum", "mean", "max", "min"):
    for dtype in (torch.float32, torch.float64, torch.float16, torch.bfloat16):
        for weighted in (False, True):
            for with_col in (False, True):
                wanted = results(reduce, dtype, weighted, with_col)
                usable, segment_triton.usable = segment_triton.usable, lambda *_: True
                found = results(reduce, dtype, weighted, with_col)
                segment_triton.usable = usable
                for a, b in zip(found, wanted, strict=True):
                    eps = torch.finfo(dtype).eps
                    torch.testing.assert_close(a, b, rtol=4 * eps, atol=4 * eps)
print("the same")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="Triton is for Linux")
def test_triton_equals_torch_in_the_interpreter():
    """The kernels as they run on a GPU, interpreted on this CPU."""
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run([sys.executable, "-c", TRITON], capture_output=True, text=True, check=False, env=environment)
    assert done.stdout == "the same\n", done.stderr[-2000:]
