"""TemporalSAGEConv against a slow twin, as PyG's SAGEConv in the limit, and what must not matter."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.nn import SAGEConv

from graphlearn.errors import UnknownNameError
from graphlearn.nn import TemporalSAGEConv

F_IN, F_AGE = 6, 3
BUYS, SELLS, SELF = ("orders", "by.key", "a|b"), ("shops", "sells", "a|b"), ("a|b", "parent", "a|b")
BACK = ("a|b", "rev_by.key", "orders")
EDGES = [BUYS, SELLS, SELF, BACK]
SIZES = {"orders": 20, "shops": 5, "a|b": 8}
LISTS = {BUYS: 30, SELLS: 6, SELF: 9, BACK: 12}


def conv(**kwargs) -> TemporalSAGEConv:
    torch.manual_seed(0)
    return TemporalSAGEConv(F_IN, F_AGE, EDGES, **kwargs)


def graph(seed: int = 0, dtype: torch.dtype = torch.float32):
    """x, age, x_dst, csr: two distinct sizes for vectors and ages; the last node of each type has no neighbours."""
    generator = torch.Generator().manual_seed(seed)
    x = {name: torch.randn(size, F_IN, generator=generator, dtype=dtype) for name, size in SIZES.items()}
    age = {name: torch.rand(size + 3, F_AGE, generator=generator, dtype=dtype) for name, size in SIZES.items()}
    x_dst = {name: torch.randn(SIZES[name], F_IN, generator=generator, dtype=dtype) for name in SIZES}
    csr = {}
    for edge_type, count in LISTS.items():
        dst = torch.randint(SIZES[edge_type[2]] - 1, (count,), generator=generator).sort().values
        rowptr = torch.searchsorted(dst, torch.arange(SIZES[edge_type[2]] + 1))
        col = torch.randint(SIZES[edge_type[0]], (count,), generator=generator)
        col_age = torch.randint(SIZES[edge_type[0]] + 3, (count,), generator=generator)
        csr[edge_type] = (rowptr, col, col_age)
    return x, age, x_dst, csr


def slow(layer: TemporalSAGEConv, x, age, x_dst, csr) -> dict[str, Tensor]:
    """The formula of the docstring, node by node."""
    out = {}
    for name, own in x_dst.items():
        into = [e for e in EDGES if e[2] == name]
        if not into:
            out[name] = own
            continue
        key = layer._key[name]
        rows = []
        for v in range(len(own)):
            parts = []
            for edge_type in into:
                rowptr, col, col_age = csr[edge_type]
                span = range(int(rowptr[v]), int(rowptr[v + 1]))
                xs = [x[edge_type[0]][col[e]] for e in span]
                ages = [age[edge_type[0]][col_age[e]] for e in span]
                n = max(len(xs), 1)
                sums = torch.cat([own.new_tensor([float(len(xs))]), sum(ages, own.new_zeros(F_AGE))])
                width = F_IN // (1 + len(layer.memory))
                parts.append(sum(xs, own.new_zeros(F_IN))[:width] / n)
                for k, column in enumerate(layer.memory, start=1):
                    group = [a[column] * row[k * width : (k + 1) * width] for a, row in zip(ages, xs, strict=True)]
                    parts.append(sum(group, own.new_zeros(width)) / (1 + sums[1 + column]) ** 0.5)
                parts += [sums[1:] / n, sums.log1p()]
            hidden = layer.lin_dst[key](own[v]) + layer.lin_src[key](torch.cat(parts))
            rows.append(own[v] + layer.lin_out[key](layer.norm[key](hidden).relu()))
        out[name] = torch.stack(rows)
    return out


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor], **kwargs) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, **kwargs)


@pytest.mark.parametrize("memory", [(), (1,), (2, 0)])
@pytest.mark.parametrize("seed", range(3))
def test_against_the_slow_twin(seed, memory):
    layer, inputs = conv(memory=memory), graph(seed)
    assert_same(layer(*inputs), slow(layer, *inputs), rtol=1e-4, atol=1e-5)


def test_one_neighbour_by_hand():
    """One number per row, weights of one: everything can be added up by hand."""
    layer = TemporalSAGEConv(1, 1, [("a", "r", "b")])
    layer.norm["n0"] = torch.nn.Identity()
    for lin in (layer.lin_src["n0"], layer.lin_dst["n0"], layer.lin_out["n0"]):
        torch.nn.init.ones_(lin.weight)
        if lin.bias is not None:
            torch.nn.init.zeros_(lin.bias)
    x, age = {"a": torch.tensor([[2.0], [4.0]])}, {"a": torch.tensor([[0.5], [0.25]])}
    csr = {("a", "r", "b"): (torch.tensor([0, 2, 2]), torch.tensor([0, 1]), torch.tensor([0, 1]))}
    found = layer(x, age, {"b": torch.tensor([[1.0], [7.0]])}, csr)["b"]
    # own 1 + mean 3 + mean age 0.375 + log(1 + 2) + log(1 + 0.75); a node alone doubles
    inner = 1 + 3 + 0.375 + torch.tensor(3.0).log() + torch.tensor(1.75).log()
    torch.testing.assert_close(found, torch.tensor([[1 + inner], [14.0]]))


def test_without_ages_counts_and_norm_it_is_pygs_sage_conv():
    layer = TemporalSAGEConv(F_IN, F_AGE, [BUYS])
    peer = SAGEConv((F_IN, F_IN), F_IN)
    with torch.no_grad():
        layer.norm["n0"] = torch.nn.Identity()
        layer.lin_out["n0"].weight.copy_(torch.eye(F_IN))
        layer.lin_out["n0"].bias.zero_()
        layer.lin_src["n0"].weight[:, F_IN:].zero_()
        peer.lin_l.weight.copy_(layer.lin_src["n0"].weight[:, :F_IN])
        peer.lin_l.bias.copy_(layer.lin_dst["n0"].bias)
        peer.lin_r.weight.copy_(layer.lin_dst["n0"].weight)
    x, age, x_dst, csr = graph()
    rowptr, col, _ = csr[BUYS]
    edge_index = torch.stack([col, torch.arange(len(rowptr) - 1).repeat_interleave(rowptr.diff())])
    expected = x_dst["a|b"] + peer((x["orders"], x_dst["a|b"]), edge_index).relu()
    found = layer(x, age, {"a|b": x_dst["a|b"]}, {BUYS: csr[BUYS]})["a|b"]
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_the_order_of_nodes_and_of_a_list_does_not_matter():
    layer = conv().double()
    x, age, x_dst, csr = graph(dtype=torch.float64)
    generator = torch.Generator().manual_seed(5)
    order = {name: torch.randperm(size, generator=generator) for name, size in SIZES.items()}
    place = {name: perm.argsort() for name, perm in order.items()}
    moved = {}
    for edge_type, (rowptr, col, col_age) in csr.items():
        entry = torch.cat(
            [rowptr[i] + torch.randperm(int(n), generator=generator) for i, n in enumerate(rowptr.diff())]
        )
        moved[edge_type] = (rowptr, place[edge_type[0]][col[entry]], col_age[entry])
    shuffled = {name: value[order[name]] for name, value in x.items()}
    assert_same(layer(shuffled, age, x_dst, moved), layer(x, age, x_dst, csr))


def test_repeating_every_neighbour_changes_only_the_counts():
    """The mean is the same; with the weights of the sums at zero, so is the result."""
    layer = conv().double()
    width = F_IN + 2 * F_AGE + 1
    with torch.no_grad():
        for lin in layer.lin_src.values():
            for first in range(0, lin.in_features, width):
                lin.weight[:, first + F_IN + F_AGE : first + width].zero_()
    x, age, x_dst, csr = graph(dtype=torch.float64)
    twice = {e: (2 * ptr, *(c.repeat_interleave(2) for c in cols)) for e, (ptr, *cols) in csr.items()}
    assert_same(layer(x, age, x_dst, twice), layer(x, age, x_dst, csr))
    assert not torch.allclose(conv().double()(x, age, x_dst, twice)["a|b"], conv().double()(x, age, x_dst, csr)["a|b"])


def test_a_node_alone_has_its_own_term_only():
    layer, (x, age, x_dst, csr) = conv(), graph()
    found = layer(x, age, x_dst, csr)["a|b"][-1]
    key = layer._key["a|b"]
    own = x_dst["a|b"][-1]
    torch.testing.assert_close(found, own + layer.lin_out[key](layer.norm[key](layer.lin_dst[key](own)).relu()))


def test_a_type_that_nothing_points_to_stays():
    layer, (x, age, x_dst, csr) = conv(), graph()
    assert layer(x, age, x_dst, csr)["shops"] is x_dst["shops"]


def test_no_rows_and_no_edges():
    layer, (x, age, x_dst, csr) = conv(), graph()
    none = {e: (torch.zeros_like(ptr), col[:0], col_age[:0]) for e, (ptr, col, col_age) in csr.items()}
    assert_same(layer(x, age, x_dst, none), slow(layer, x, age, x_dst, none), rtol=1e-4, atol=1e-5)
    nobody = {name: value[:0] for name, value in x_dst.items()}
    empty = {e: (ptr[:1], col[:0], col_age[:0]) for e, (ptr, col, col_age) in none.items()}
    found = layer({n: v[:0] for n, v in x.items()}, {n: v[:0] for n, v in age.items()}, nobody, empty)
    assert {name: value.shape for name, value in found.items()} == dict.fromkeys(SIZES, (0, F_IN))


def test_what_is_long_ago_fades_from_its_group_only():
    layer = conv(memory=(0,)).double()
    x, age, x_dst, csr = graph(dtype=torch.float64)
    gone = {name: value.index_fill(1, torch.tensor([0]), 0.0) for name, value in age.items()}
    changed = {name: value.index_fill(1, torch.arange(F_IN // 2, F_IN), 9.0) for name, value in x.items()}
    assert_same(layer(changed, gone, x_dst, csr), layer(x, gone, x_dst, csr))
    assert not torch.allclose(layer(changed, age, x_dst, csr)["a|b"], layer(x, age, x_dst, csr)["a|b"])


def test_channels_that_do_not_split():
    with pytest.raises(ValueError, match="'channels' must be a multiple of 4, one group per memory, got 6"):
        conv(memory=(0, 1, 2))


@pytest.mark.parametrize("memory", [(), (0, 2)])
def test_gradients_are_right_and_finite(memory):
    layer = conv(memory=memory).double()
    x, age, x_dst, csr = graph(dtype=torch.float64)
    names = sorted(SIZES)
    leaves = [value[name].requires_grad_() for value in (x, age, x_dst) for name in names]

    def run(*values: Tensor) -> Tensor:
        parts = [dict(zip(names, values[i : i + 3], strict=True)) for i in (0, 3, 6)]
        return torch.cat(list(layer(*parts, csr).values()))

    assert torch.autograd.gradcheck(run, leaves, fast_mode=True)
    run(*leaves).sum().backward()
    for name, parameter in layer.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


def test_reset_parameters_draws_again():
    layer = conv()
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    layer.reset_parameters()
    changed = [name for name, value in layer.state_dict().items() if not torch.equal(value, before[name])]
    assert all(name in changed for name in before if "norm" not in name)
    torch.manual_seed(0)
    layer.reset_parameters()
    torch.manual_seed(0)
    other = TemporalSAGEConv(F_IN, F_AGE, EDGES)
    other_state = other.state_dict()
    torch.manual_seed(0)
    other.reset_parameters()
    assert all(torch.equal(value, other_state[name]) for name, value in layer.state_dict().items())


def test_dropout_only_in_training():
    inputs = graph()
    assert_same(conv(dropout=0.9).eval()(*inputs), conv()(*inputs))
    dropped, whole = conv(dropout=0.9).train()(*inputs), conv()(*inputs)
    assert not torch.allclose(dropped["orders"], whole["orders"])
    assert F.l1_loss(dropped["shops"], whole["shops"]) == 0


def test_a_learned_norm_starts_as_the_mean_and_learns():
    plain, learned = conv(memory=(1, 2)), conv(memory=(1, 2), aggr="gnp")
    learned.load_state_dict(plain.state_dict(), strict=False)
    found, wanted = learned(*graph()), plain(*graph())
    for name in wanted:
        torch.testing.assert_close(found[name], wanted[name], rtol=1e-4, atol=1e-4)
    sum(out.pow(2).sum() for out in found.values()).backward()
    orders = [parameter for name, parameter in learned.named_parameters() if name.startswith("pool.")]
    assert len(orders) == 2 * len(EDGES)
    assert all(torch.isfinite(parameter.grad).all() for parameter in orders)
    assert any(parameter.grad.abs().sum() > 0 for parameter in orders)
    with torch.no_grad():
        orders[0].add_(1.0)
    learned.reset_parameters()
    assert all(pool.named_equivalent() == "mean (p=1, q=1)" for pool in learned.pool.values())


def test_an_unknown_pooling_is_refused():
    with pytest.raises(UnknownNameError, match=r"no aggregation 'gpn'. Did you mean 'gnp'. Known: gnp, mean"):
        conv(aggr="gpn")
