"""SegmentAggregation inside PyG's layers and as a read-out, against PyG's own aggregations."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.nn import GATConv, GINConv, SAGEConv, aggr

from graphlearn.errors import UnknownNameError
from graphlearn.nn import SegmentAggregation

PYG = {
    "sum": aggr.SumAggregation(),
    "mean": aggr.MeanAggregation(),
    "max": aggr.MaxAggregation(),
    "min": aggr.MinAggregation(),
    "softmax": aggr.SoftmaxAggregation(),
}
NAMES = [*PYG, "logsumexp"]


def rows(seed: int = 0, dtype: torch.dtype = torch.float32):
    """Seven rows in four groups: one of them empty, one of a single row."""
    g = torch.Generator().manual_seed(seed)
    return torch.randn(7, 3, generator=g, dtype=dtype), torch.tensor([2, 0, 3, 0, 2, 0, 2])


@pytest.mark.parametrize("name", sorted(PYG))
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000))
def test_equals_pyg_by_index_and_by_ptr(name, seed):
    x, index = rows(seed)
    found = SegmentAggregation(name)(x, index, dim_size=4)
    torch.testing.assert_close(found, PYG[name](x, index, dim_size=4))
    order = index.argsort(stable=True)
    torch.testing.assert_close(SegmentAggregation(name)(x[order], ptr=torch.tensor([0, 3, 3, 6, 7])), found)


def test_a_value_worked_by_hand():
    x, index = torch.tensor([[1.0], [3.0], [5.0]]), torch.tensor([1, 1, 0])
    assert SegmentAggregation("min")(x, index, dim_size=3).flatten().tolist() == [5.0, 1.0, 0.0]
    logs = SegmentAggregation("logsumexp")(x.log(), index, dim_size=3).flatten()
    torch.testing.assert_close(logs, torch.tensor([5.0, 4.0, 0.0]).log())


@pytest.mark.parametrize("name", sorted(PYG))
def test_any_dimension_of_rows(name):
    x = torch.randn(2, 7, 5, 3)
    index = rows()[1]
    for dim in (1, -3):
        found = SegmentAggregation(name)(x, index, dim_size=4, dim=dim)
        assert found.shape == (2, 4, 5, 3)
        torch.testing.assert_close(found[1, :, 2], PYG[name](x[1, :, 2], index, dim_size=4))


@pytest.mark.parametrize("name", NAMES)
def test_one_group_of_all_rows(name):
    x, _ = rows()
    wanted = SegmentAggregation(name)(x, torch.zeros(7, dtype=torch.int64), dim_size=1)
    assert torch.equal(SegmentAggregation(name)(x), wanted)
    assert torch.equal(SegmentAggregation(name).forward(x), wanted)


@pytest.mark.parametrize("name", sorted(PYG))
def test_inside_layers_of_pyg(name):
    """The same output and the same gradients of weights; node 3 is isolated."""
    x, edge_index = torch.randn(5, 4), torch.tensor([[0, 1, 2, 4, 4, 2], [1, 2, 0, 1, 0, 4]])
    layers = {
        "sage": lambda pool: SAGEConv(4, 6, aggr=pool),
        "gat": lambda pool: GATConv(4, 3, heads=2, aggr=pool),
        "gin": lambda pool: GINConv(torch.nn.Linear(4, 6), aggr=pool),
    }
    for build in layers.values():
        theirs, ours = build(PYG[name]), build(SegmentAggregation(name))
        ours.load_state_dict(theirs.state_dict())
        torch.testing.assert_close(ours(x, edge_index), theirs(x, edge_index))
        for layer in (theirs, ours):
            layer.zero_grad()
            layer(x, edge_index).square().sum().backward()
        for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(a.grad, b.grad)


def test_by_name_in_pyg():
    layer = SAGEConv(4, 6, aggr="segment", aggr_kwargs={"reduce": "min"})
    assert isinstance(layer.aggr_module, SegmentAggregation)
    assert repr(layer.aggr_module) == "SegmentAggregation('min')"


@pytest.mark.parametrize("name", sorted(PYG))
def test_gradcheck_of_two_orders(name):
    x, index = rows(dtype=torch.float64)
    pool = SegmentAggregation(name)
    assert torch.autograd.gradcheck(lambda x: pool(x, index, dim_size=4), (x.requires_grad_(),))
    assert torch.autograd.gradgradcheck(lambda x: pool(x, index, dim_size=4).pow(2), (x,))


@pytest.mark.parametrize("name", NAMES)
def test_no_rows(name):
    found = SegmentAggregation(name)(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64), dim_size=2)
    assert torch.equal(found, torch.full((2, 3), -torch.inf if name == "logsumexp" else 0.0))


def test_unknown_names_are_refused():
    with pytest.raises(UnknownNameError, match=r"no reduction 'maximum'. Did you mean 'max'"):
        SegmentAggregation("maximum")


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # torch does it itself
def test_compiled():
    torch.manual_seed(0)
    layer = SAGEConv(4, 6, aggr=SegmentAggregation("max"))
    x, edge_index = torch.randn(5, 4), torch.tensor([[0, 1, 2, 4, 4, 2], [1, 2, 0, 1, 0, 4]])
    compiled = torch.compile(layer, backend="aot_eager")
    torch.testing.assert_close(compiled(x, edge_index), layer(x, edge_index))
