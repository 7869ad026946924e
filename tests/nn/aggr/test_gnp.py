"""GNPAggregation: the poolings that it contains, its gradients, and what it does at the edges."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch_geometric.nn import GINConv, SAGEConv

from graphlearn.errors import UnknownNameError
from graphlearn.nn import GNPAggregation
from graphlearn.nn.aggr import order_parameters

ORDERS = [0.3, 1.0, 2.0, 8.0]


def rows(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Seven positive rows in four groups: one of them empty, one of a single row."""
    x = 0.1 + 3 * torch.rand(7, 3, generator=torch.Generator().manual_seed(0), dtype=dtype)
    return x, torch.tensor([2, 0, 3, 0, 2, 0, 2])


def pooled(x: Tensor, index: Tensor, p: float, q: float, **kwargs) -> Tensor:
    sign = "+" if p > 0 else "-"
    return GNPAggregation(abs(p), q, sign=sign, **kwargs).to(x.dtype)(x, index, dim_size=4)


def slow(x: Tensor, index: Tensor, p: float, q: float) -> Tensor:
    """The formula as it is written, one group at a time."""
    out = []
    for i in range(4):
        v = x[index == i].abs()
        out.append((len(v) ** -q * (v**p).sum(0)) ** (1 / p) if len(v) else torch.zeros_like(x[0]))
    return torch.stack(out)


@pytest.mark.parametrize("q", [-1.0, 0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("p", [*ORDERS, *(-p for p in ORDERS)])
def test_equals_the_formula(p, q):
    x, index = rows()
    torch.testing.assert_close(pooled(x, index, p, q), slow(x, index, p, q), rtol=1e-5, atol=1e-6)


def test_a_value_worked_by_hand():
    x = torch.tensor([[3.0], [4.0]])
    index = torch.tensor([1, 1])
    assert pooled(x, index, 2, 0).flatten().tolist() == pytest.approx([0, 5, 0, 0], abs=1e-5)
    assert pooled(x, index, -1, 1)[1].item() == pytest.approx(2 / (1 / 3 + 1 / 4), rel=1e-5)


@pytest.mark.parametrize(
    ("p", "q", "known"),
    [
        (1, 0, lambda v: v.sum(0)),
        (1, 1, lambda v: v.mean(0)),
        (2, 1, lambda v: v.square().mean(0).sqrt()),
        (-1, 1, lambda v: len(v) / (1 / v).sum(0)),
    ],
)
@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000))
def test_limits_that_are_exact(p, q, known, seed):
    x = 0.1 + torch.rand(12, 2, generator=torch.Generator().manual_seed(seed))
    index = torch.randint(3, (12,), generator=torch.Generator().manual_seed(seed + 1))
    found = pooled(x, index, p, q)
    for i in range(3):
        if (index == i).any():
            torch.testing.assert_close(found[i], known(x[index == i]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("sign", ["+", "-"])
def test_limits_at_large_orders(sign):
    x, index = rows()
    pool = GNPAggregation(4000.0, 0.0, sign=sign, p_max=5000.0).double()
    extreme = torch.amax if sign == "+" else torch.amin
    wanted = torch.stack([extreme(x[index == i], 0) if (index == i).any() else torch.zeros(3) for i in range(4)])
    torch.testing.assert_close(pool(x, index, dim_size=4), wanted, rtol=1e-3, atol=1e-6)


def test_signed_numbers():
    x, index = rows()
    x = x - 1.5
    wanted = torch.zeros(4, 3, dtype=x.dtype).index_add(0, index, x)
    torch.testing.assert_close(pooled(x, index, 1, 0, signed="split"), wanted, rtol=1e-5, atol=1e-4)
    size = torch.tensor([3.0, 1.0, 3.0, 1.0])[:, None]
    torch.testing.assert_close(pooled(x, index, 1, 1, signed="split"), wanted / size, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(pooled(x, index, 3, 0), pooled(-x, index, 3, 0))
    torch.testing.assert_close(pooled(x, index, 3, 0, signed="split"), -pooled(-x, index, 3, 0, signed="split"))


def test_both_branches_side_by_side_and_gated():
    x, index = rows()
    plus, minus = pooled(x, index, 2.0, 0.5), pooled(x, index, -2.0, 0.5)
    both = GNPAggregation(2.0, 0.5, sign="both").double()
    torch.testing.assert_close(both(x, index, dim_size=4), torch.cat([plus, minus], dim=-1))
    gate = GNPAggregation(2.0, 0.5, sign="gate", channels=3).double()
    torch.testing.assert_close(gate(x, index, dim_size=4), (plus + minus) / 2)
    with torch.no_grad():
        gate.gate[0], gate.gate[1] = 50.0, -50.0
    found = gate(x, index, dim_size=4)
    torch.testing.assert_close(found[:, 0], plus[:, 0])
    torch.testing.assert_close(found[:, 1], minus[:, 1])


def test_an_order_for_each_channel():
    x, index = rows()
    pool = GNPAggregation(channels=3, sign="both", signed="split").double()
    with torch.no_grad():
        pool.raw_p.copy_(torch.linspace(-4, 0, 6).view(2, 3))
        pool.growth.copy_(torch.linspace(-1, 1, 6).view(2, 3))
    found = pool(x, index, dim_size=4)
    for branch in range(2):
        for channel in range(3):
            p, q = pool.p[branch, channel].item(), pool.q[branch, channel].item()
            wanted = slow(x[:, [channel]], index, p, q) - slow(0 * x[:, [channel]] + 1e-6, index, p, q)
            torch.testing.assert_close(found[:, [3 * branch + channel]], wanted, rtol=1e-4, atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1000), st.floats(0.3, 5.0), st.floats(-1.0, 1.0), st.sampled_from(["+", "-", "both", "gate"]))
def test_order_of_rows_does_not_matter_and_ptr_says_the_same(seed, p, q, sign):
    g = torch.Generator().manual_seed(seed)
    x, index = torch.rand(9, 2, generator=g, dtype=torch.float64), torch.randint(4, (9,), generator=g)
    pool = GNPAggregation(p, q, sign=sign).double()
    found, perm = pool(x, index, dim_size=4), torch.randperm(9, generator=g)
    torch.testing.assert_close(found, pool(x[perm], index[perm], dim_size=4))
    order = index.argsort(stable=True)
    ptr = torch.searchsorted(index[order], torch.arange(5))
    torch.testing.assert_close(found, pool(x[order], ptr=ptr))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1000), st.floats(0.3, 20.0), st.floats(0.1, 10.0))
def test_scale_passes_through_and_norms_grow_with_their_rows(seed, p, scale):
    x = 0.1 + torch.rand(6, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    index = torch.zeros(6, dtype=torch.int64)
    for sign in ("+", "-"):
        pool = GNPAggregation(p, 1.0, sign=sign, p_max=50.0).double()
        found = pool(x, index, dim_size=1)
        torch.testing.assert_close(pool(scale * x, index, dim_size=1), scale * found)
        assert (pool(x + 0.1, index, dim_size=1) >= found).all()
        assert (found <= x.amax(0) + 1e-9).all()  # with q = 1 it is a mean
        assert (found >= x.amin(0) - 1e-9).all()


@pytest.mark.parametrize("signed", ["abs", "split"])
@pytest.mark.parametrize("sign", ["+", "-", "both", "gate"])
@pytest.mark.parametrize("p", ORDERS)
def test_gradcheck_of_two_orders(p, sign, signed):
    x, index = rows()
    x = x - 1.5 if signed == "split" else x
    pool = GNPAggregation(p, 0.5, channels=3, sign=sign, signed=signed, eps=1e-3).double()
    names = [name for name, _ in pool.named_parameters()]

    def call(x: Tensor, *values: Tensor) -> Tensor:
        return torch.func.functional_call(pool, dict(zip(names, values, strict=True)), (x, index, None, 4))

    inputs = (x.requires_grad_(), *(v.detach().clone().requires_grad_() for v in pool.parameters()))
    assert torch.autograd.gradcheck(call, inputs)
    if p == 2.0:
        assert torch.autograd.gradgradcheck(call, inputs)


@pytest.mark.parametrize("sign", ["+", "-", "both", "gate"])
def test_groups_without_rows(sign):
    pool = GNPAggregation(sign=sign)
    x = torch.zeros(0, 3, requires_grad=True)
    out = pool(x, torch.zeros(0, dtype=torch.int64), dim_size=2)
    assert torch.equal(out, torch.zeros(2, 6 if sign == "both" else 3))
    out.sum().backward()
    assert all(torch.equal(p.grad, torch.zeros_like(p)) for p in pool.parameters())
    x, index = rows(torch.float32)
    out = pool(x.requires_grad_(), index, dim_size=4)
    assert torch.equal(out[1], torch.zeros_like(out[1]))
    out.log1p().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in [x, *pool.parameters()])


@pytest.mark.parametrize("p", [*ORDERS, *(-p for p in ORDERS)])
def test_a_group_of_one_row_is_that_row_and_teaches_nothing(p):
    x = torch.tensor([[0.7, 12.0]])
    pool = GNPAggregation(abs(p), 0.5, sign="+" if p > 0 else "-")
    out = pool(x, torch.tensor([0]), dim_size=1)
    torch.testing.assert_close(out, x, rtol=1e-6, atol=0)
    out.sum().backward()
    assert pool.raw_p.grad.item() == 0
    assert pool.growth.grad.item() == 0


@pytest.mark.parametrize("sign", ["+", "-"])
def test_zeros_ties_and_numbers_far_apart_give_finite_gradients(sign):
    x = torch.tensor([[0.0], [0.0], [1e-30], [1e30], [2.0], [2.0], [0.0]], requires_grad=True)
    index = torch.tensor([0, 0, 1, 1, 2, 2, 3])
    pool = GNPAggregation(30.0, 1.0, sign=sign)
    out = pool(x, index, dim_size=4)
    assert torch.isfinite(out).all()
    assert out[0] <= 2e-6
    out.sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in [x, pool.raw_p, pool.growth])
    torch.testing.assert_close(x.grad[4], x.grad[5])  # equal rows share


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_against_float64(dtype):
    x, index = rows()
    x = (100 * x).to(dtype)  # a square of it would overflow float16
    pool = GNPAggregation(2.0, 0.0, sign="both")
    found = pool(x, index, dim_size=4)
    assert found.dtype == dtype
    eps = torch.finfo(dtype).eps
    torch.testing.assert_close(found.double(), pool.double()(x.double(), index, dim_size=4), rtol=eps, atol=0)


def test_a_million_rows():
    x = torch.rand(1_000_000, 1, generator=torch.Generator().manual_seed(0))
    index = torch.zeros(1_000_000, dtype=torch.int64)
    for p, q, wanted in ((1.0, 1.0, 0.5), (2.0, 1.0, math.sqrt(1 / 3)), (1.0, 0.0, 5e5)):
        assert GNPAggregation(p, q)(x, index, dim_size=1).item() == pytest.approx(wanted, rel=3e-3)


def test_orders_keep_between_their_bounds():
    pool = GNPAggregation(5.0, p_min=0.5, p_max=10.0, sign="both")
    for far in (-100.0, 100.0):
        torch.nn.init.constant_(pool.raw_p, far)
        assert pool.p.abs().flatten().tolist() == pytest.approx([0.5, 0.5] if far < 0 else [10.0, 10.0])


@pytest.mark.parametrize(
    ("p", "q", "sign", "name"),
    [
        (1.02, 0.03, "+", "sum (p=1.02, q=0.03)"),
        (0.9, 0.8, "+", "mean (p=0.9, q=0.8)"),
        (60.0, 0.7, "+", "max (p=60, q=0.7)"),
        (60.0, 0.7, "-", "min (p=-60, q=0.7)"),
        (1.2, 0.9, "-", "harmonic mean (p=-1.2, q=0.9)"),
        (2.1, 0.9, "+", "root mean square (p=2.1, q=0.9)"),
        (2.1, 0.1, "+", "Euclidean norm (p=2.1, q=0.1)"),
        (1.1, 0.9, "both", "mean (p=1.1, q=0.9); harmonic mean (p=-1.1, q=0.9)"),
    ],
)
def test_names_and_snapping(p, q, sign, name):
    pool = GNPAggregation(p, q, sign=sign)
    assert pool.named_equivalent() == name
    snapped = pool.snap_()
    assert [part.split(" (")[0] for part in snapped.split("; ")] == [part.split(" (")[0] for part in name.split("; ")]
    if name.startswith("sum"):
        assert snapped == "sum (p=1, q=0)"
    if name.startswith(("max", "min")):
        assert abs(pool.p.item()) == pytest.approx(99.0)
        assert pool.q.item() == pytest.approx(0.0, abs=1e-4)
    assert all(parameter.requires_grad for parameter in pool.parameters())


def test_snapping_a_gate_takes_the_branch_that_it_prefers():
    pool = GNPAggregation(1.1, 0.9, sign="gate", channels=2)
    with torch.no_grad():
        pool.gate.copy_(torch.tensor([0.3, -0.3]))
    pool.snap_()
    x, index = torch.tensor([[1.0, 1.0], [3.0, 3.0]]), torch.tensor([0, 0])
    torch.testing.assert_close(pool(x, index, dim_size=1), torch.tensor([[2.0, 1.5]]))


@pytest.mark.parametrize(("sign", "extreme"), [("+", "amax"), ("-", "amin")])
def test_it_learns_an_extreme(sign, extreme):
    """Of groups of 2 to 19 rows, from halfway between sum and mean."""
    g = torch.Generator().manual_seed(0)
    size = torch.randint(2, 20, (64,), generator=g)
    index = torch.arange(64).repeat_interleave(size)
    x = torch.rand(len(index), 1, generator=g)
    wanted = torch.zeros(64, 1).scatter_reduce(0, index[:, None], x, extreme, include_self=False)
    pool = GNPAggregation(1.0, 0.5, sign=sign)
    optimizer = torch.optim.Adam(pool.parameters(), lr=0.2)
    losses = []
    for _ in range(100):
        loss = (pool(x, index, dim_size=64) - wanted).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]
    assert abs(pool.p.item()) > 5


def test_by_name_in_pyg_and_with_an_isolated_node():
    torch.manual_seed(0)
    x, edge_index = torch.randn(5, 4), torch.tensor([[0, 1, 2, 4], [1, 2, 0, 1]])  # 3 is isolated
    layer = SAGEConv(4, 6, aggr="gnp", aggr_kwargs={"signed": "split"})
    assert isinstance(layer.aggr_module, GNPAggregation)
    reference = SAGEConv(4, 6, aggr="sum")
    reference.load_state_dict(layer.state_dict(), strict=False)
    torch.testing.assert_close(layer(x, edge_index), reference(x, edge_index), rtol=1e-4, atol=1e-4)
    assert GINConv(torch.nn.Linear(4, 6), aggr=GNPAggregation(2.0))(x, edge_index).shape == (5, 6)


def test_parameters_for_a_group_of_their_own():
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), GNPAggregation(sign="gate"), GNPAggregation(learn=False))
    assert [p.shape for p in order_parameters(model)] == [(2, 1), (2, 1), (1,), (1, 1), (1, 1)]
    assert not any(p.requires_grad for p in model[2].parameters())


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"p": 0.0}, ValueError, r"'p' must be > 0, got 0.0"),
        ({"p": 0.1}, ValueError, r"'p' must lie between 'p_min' and 'p_max', 0.2 < p < 100.0, got 0.1"),
        ({"p": 5.0, "p_max": 5.0}, ValueError, r"'p' must lie between 'p_min' and 'p_max'"),
        ({"p_min": 0.0}, ValueError, r"'p_min' must be > 0, got 0.0"),
        ({"eps": 0.0}, ValueError, r"'eps' must be > 0, got 0.0"),
        ({"channels": 0}, ValueError, r"'channels' must be > 0, got 0"),
        ({"sign": "plus"}, UnknownNameError, r"no sign 'plus'. Known: \+, -, both, gate"),
        ({"signed": "spilt"}, UnknownNameError, r"no way to pool signed numbers 'spilt'. Did you mean 'split'"),
    ],
)
def test_what_is_refused(arguments, error, text):
    with pytest.raises(error, match=text):
        GNPAggregation(**arguments)


def test_another_number_of_channels_is_refused():
    with pytest.raises(ValueError, match=r"'x' must have 4 channels, one per p and q, got 3"):
        GNPAggregation(channels=4).forward(*rows(torch.float32), dim_size=4)


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # torch does it itself
def test_compiled():
    torch.manual_seed(0)
    layer = SAGEConv(4, 6, aggr=GNPAggregation(2.0, 0.5, sign="gate"))
    x, edge_index = torch.randn(5, 4), torch.tensor([[0, 1, 2, 4], [1, 2, 0, 1]])
    compiled = torch.compile(layer, backend="aot_eager")
    torch.testing.assert_close(compiled(x, edge_index), layer(x, edge_index), rtol=1e-4, atol=1e-5)
    grads = [torch.autograd.grad(f(x, edge_index).sum(), list(layer.parameters())) for f in (compiled, layer)]
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
