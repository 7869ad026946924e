"""HeteroSAGEConv against PyG's SAGEConv and HeteroConv, and its shortcuts against the long way."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch_geometric.nn import HeteroConv, SAGEConv

from graphlearn.errors import UnknownNameError
from graphlearn.nn.conv import HeteroSAGEConv
from graphlearn.ops import csr_from_edge_index

AGGRS = ["mean", "sum", "max"]
# Names that torch's own dictionaries of modules would refuse, and two that a careless key would merge.
BUYS, SOLD, SELF = ("items", "by.key", "a|b"), ("keys", "by", "a|b"), ("a|b", "parent", "a|b")
BACK = ("a|b", "rev_by.key", "items")
SIZES = {"items": 30, "keys": 12, "a|b": 9}
WIDTHS = {"items": 6, "keys": 3, "a|b": 5}


def graph(seed: int = 0) -> tuple[dict[str, Tensor], dict[tuple[str, str, str], Tensor]]:
    """Vectors and edges; node 0 of each destination type has no neighbours."""
    generator = torch.Generator().manual_seed(seed)
    x = {name: torch.randn(size, WIDTHS[name], generator=generator) for name, size in SIZES.items()}
    edges = {}
    for edge_type, count in {BUYS: 60, SOLD: 20, SELF: 15, BACK: 25}.items():
        src = torch.randint(SIZES[edge_type[0]], (count,), generator=generator)
        dst = torch.randint(1, SIZES[edge_type[2]], (count,), generator=generator)
        edges[edge_type] = torch.stack([src, dst])
    return x, edges


def conv(aggr: str = "mean", out_channels: int = 4, **kwargs) -> HeteroSAGEConv:
    torch.manual_seed(0)
    return HeteroSAGEConv(WIDTHS, out_channels, edge_types=[BUYS, SOLD, SELF, BACK], aggr=aggr, **kwargs)


def lins(layer: HeteroSAGEConv) -> tuple[dict, dict]:
    """The linear maps by edge type and by destination."""
    return (
        dict(zip(layer.edge_types, layer.lin_src.values(), strict=True)),
        dict(zip(layer.dst_types, layer.lin_dst.values(), strict=True)),
    )


@pytest.mark.parametrize("out_channels", [3, 16])  # 3: multiplied before the reduction, 16: after it
@pytest.mark.parametrize("aggr", AGGRS)
def test_one_relation_is_pygs_sage_conv(aggr, out_channels):
    x, edges = graph()
    layer = HeteroSAGEConv(WIDTHS, out_channels, edge_types=[BUYS], aggr=aggr)
    peer = SAGEConv((WIDTHS["items"], WIDTHS["a|b"]), out_channels, aggr)
    peer.lin_l.weight.data = next(iter(layer.lin_src.values())).weight.data
    peer.lin_l.bias.data = next(iter(layer.lin_dst.values())).bias.data
    peer.lin_r.weight.data = next(iter(layer.lin_dst.values())).weight.data
    leaves = [x["items"].requires_grad_(), x["a|b"].requires_grad_()]

    found = layer(x, {BUYS: edges[BUYS]})["a|b"]
    wanted = peer((x["items"], x["a|b"]), edges[BUYS])
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)

    weight = torch.randn_like(found)
    (lin_src,), (lin_dst,) = layer.lin_src.values(), layer.lin_dst.values()
    found_grads = torch.autograd.grad(found, [*leaves, lin_src.weight, lin_dst.weight, lin_dst.bias], weight)
    wanted_grads = torch.autograd.grad(wanted, [*leaves, peer.lin_l.weight, peer.lin_r.weight, peer.lin_l.bias], weight)
    for found_grad, wanted_grad in zip(found_grads, wanted_grads, strict=True):
        torch.testing.assert_close(found_grad, wanted_grad, rtol=1e-5, atol=1e-5)


@pytest.mark.filterwarnings("ignore:There exist node types")  # 'keys' is no destination: PyG warns
@pytest.mark.parametrize("aggr", AGGRS)
def test_several_relations_are_pygs_hetero_conv(aggr):
    x, edges = graph()
    layer = conv(aggr)
    convs = {}
    for edge_type, lin in lins(layer)[0].items():
        peer = SAGEConv((WIDTHS[edge_type[0]], WIDTHS[edge_type[2]]), 4, aggr)
        into = sum(other[2] == edge_type[2] for other in layer.edge_types)
        own = lins(layer)[1][edge_type[2]]
        peer.lin_l.weight.data = lin.weight.data
        peer.lin_l.bias.data, peer.lin_r.weight.data = own.bias.data / into, own.weight.data / into
        convs[edge_type] = peer
    wanted = HeteroConv(convs, aggr="sum")(x, edges)
    found = layer(x, edges)
    assert set(found) == set(wanted) == {"a|b", "items"}
    for name, value in found.items():
        torch.testing.assert_close(value, wanted[name], rtol=1e-5, atol=1e-5)


def test_a_value_worked_by_hand():
    layer = HeteroSAGEConv(1, 1, edge_types=[("a", "r", "b"), ("b", "s", "b")], aggr="sum")
    for lin, weight in zip([*layer.lin_src.values(), *layer.lin_dst.values()], [2.0, 3.0, 10.0], strict=True):
        lin.weight.data.fill_(weight)
    next(iter(layer.lin_dst.values())).bias.data.fill_(0.5)
    x = {"a": torch.tensor([[1.0], [5.0]]), "b": torch.tensor([[1.0], [2.0]])}
    edges = {("a", "r", "b"): torch.tensor([[0, 1], [0, 0]]), ("b", "s", "b"): torch.tensor([[1], [0]])}
    # 10 * 1 + 0.5 + 2 * (1 + 5) + 3 * 2, and a node without neighbours: 10 * 2 + 0.5
    assert layer(x, edges)["b"].flatten().tolist() == [28.5, 20.5]


@pytest.mark.parametrize("aggr", AGGRS)
def test_lists_cut_to_the_first_nodes_give_the_first_rows(aggr):
    x, edges = graph()
    layer = conv(aggr)
    whole = layer(x, edges)
    keep = {"a|b": 4, "items": 7}
    cut = {}
    for edge_type, edge_index in edges.items():
        rowptr, col = csr_from_edge_index(edge_index, SIZES[edge_type[2]])
        rowptr = rowptr[: keep[edge_type[2]] + 1]
        cut[edge_type] = (rowptr, col[: rowptr[-1]])
    found = layer(x, cut)
    for name, value in found.items():
        torch.testing.assert_close(value, whole[name][: keep[name]])


@pytest.mark.parametrize("aggr", AGGRS)
def test_distinct_rows_equal_their_copies(aggr):
    x, edges = graph()
    layer = conv(aggr)
    generator = torch.Generator().manual_seed(1)
    rows = {name: torch.randn(7, WIDTHS[name], generator=generator, requires_grad=True) for name in x}
    index = {name: torch.randint(7, (size,), generator=generator) for name, size in SIZES.items()}
    found = layer({name: (rows[name], index[name]) for name in x}, edges)
    wanted = layer({name: rows[name][index[name]] for name in x}, edges)
    for name in found:
        torch.testing.assert_close(found[name], wanted[name])
    found_grads = torch.autograd.grad(sum(value.square().sum() for value in found.values()), list(rows.values()))
    wanted_grads = torch.autograd.grad(sum(value.square().sum() for value in wanted.values()), list(rows.values()))
    for found_grad, wanted_grad in zip(found_grads, wanted_grads, strict=True):
        torch.testing.assert_close(found_grad, wanted_grad, rtol=1e-5, atol=1e-5)


def test_order_of_edges_and_nodes_does_not_matter():
    x, edges = graph()
    layer = conv("max")
    whole = layer(x, edges)
    generator = torch.Generator().manual_seed(2)
    order = {name: torch.randperm(size, generator=generator) for name, size in SIZES.items()}
    place = {name: perm.argsort() for name, perm in order.items()}
    moved = {}
    for (src, name, dst), edge_index in edges.items():
        shuffled = edge_index[:, torch.randperm(edge_index.size(1), generator=generator)]
        moved[src, name, dst] = torch.stack([place[src][shuffled[0]], place[dst][shuffled[1]]])
    for name, value in layer({name: value[order[name]] for name, value in x.items()}, moved).items():
        torch.testing.assert_close(value, whole[name][order[name]])


def test_missing_relations_and_tables():
    x, edges = graph()
    layer = conv()
    own = lins(layer)[1]
    found = layer(x, {BACK: edges[BACK]})
    torch.testing.assert_close(found["a|b"], own["a|b"](x["a|b"]))  # no relation given: the own term of every node
    torch.testing.assert_close(layer(x, {}, {"a|b": 2, "items": 3})["a|b"], own["a|b"](x["a|b"][:2]))
    assert set(layer({"keys": x["keys"], "a|b": x["a|b"]}, {SOLD: edges[SOLD]})) == {"a|b"}


def test_num_dst_cuts_an_edge_index():
    x, edges = graph()
    layer = conv()
    few = edges[BUYS][:, edges[BUYS][1] < 5]
    found = layer(x, {BUYS: few}, {"a|b": 5})["a|b"]
    torch.testing.assert_close(found, layer(x, {BUYS: few})["a|b"][:5])


def test_float64_and_no_bias():
    x, edges = graph()
    layer = conv(bias=False).double()
    found = layer({name: value.double() for name, value in x.items()}, edges)["items"]
    assert found.dtype == torch.float64
    torch.testing.assert_close(found.float(), conv(bias=False)(x, edges)["items"])
    assert all(lin.bias is None for lin in layer.lin_dst.values())


def test_state_survives_and_reset_changes_it():
    x, edges = graph()
    layer, other = conv(), conv()
    other.reset_parameters()
    assert not torch.equal(layer(x, edges)["items"], other(x, edges)["items"])
    other.load_state_dict(layer.state_dict())
    assert torch.equal(layer(x, edges)["items"], other(x, edges)["items"])
    assert "lin_src.<items|by%2Ekey|a%7Cb>.weight" in layer.state_dict()


def test_repr():
    assert repr(HeteroSAGEConv(8, 4, edge_types=[BUYS, SELF])) == "HeteroSAGEConv(8, 4, edge_types=2, aggr='mean')"


def test_errors():
    x, edges = graph()
    one = torch.tensor([0])
    with pytest.raises(UnknownNameError, match=r"no aggregation 'min'\. Did you mean 'mean'"):
        conv("min")
    with pytest.raises(UnknownNameError, match="no node type 'shops'"):
        HeteroSAGEConv(WIDTHS, 4, edge_types=[("shops", "by", "items")])
    with pytest.raises(UnknownNameError, match=r"no edge type .*'rev_by'.* Did you mean"):
        conv()(x, {("a|b", "rev_by", "items"): edges[BACK]})
    with pytest.raises(ValueError, match=r"destinations of 'a\|b' differs: .*: 2, .*: 3; num_dst_dict: None"):
        conv()(x, {BUYS: (torch.tensor([0, 1, 1]), one), SOLD: (torch.tensor([0, 1, 1, 1]), one)})
    with pytest.raises(ValueError, match=r"differs: .*: 2; num_dst_dict: 5"):
        conv()(x, {BUYS: (torch.tensor([0, 1, 1]), one)}, {"a|b": 5})
