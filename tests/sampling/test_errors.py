"""What a wrong argument or a malformed graph gets: a sentence."""

from __future__ import annotations

import pytest
import torch
from torch_geometric.data import HeteroData

from graphlearn.errors import UnknownNameError, UsageError
from graphlearn.sampling import TemporalNeighborSampler, native_backend
from graphlearn.sampling.arrays import EdgeArrays, GraphArrays, NodeArrays
from graphlearn.sampling.torch_backend import TorchBackend

ORDERS = ("orders", "customer", "customers")
REVERSE = ("customers", "rev_customer", "orders")


@pytest.fixture
def graph():
    """Two customers; orders 0, 1, 2 of customers 0, 0, 1 at times 1, 2, 3."""
    data = HeteroData()
    data["customers"].num_nodes = 2
    data["orders"].num_nodes, data["orders"].time = 3, torch.tensor([1, 2, 3])
    data[ORDERS].rowptr, data[ORDERS].col = torch.tensor([0, 2, 3]), torch.tensor([0, 1, 2])
    data[REVERSE].index = torch.tensor([0, 0, 1])
    return data


def one(value: int) -> torch.Tensor:
    return torch.tensor([value])


def refuse(graph, text, **kwargs):
    with pytest.raises(UsageError, match=text):
        TemporalNeighborSampler(graph, kwargs.pop("num_neighbors", [2]), **kwargs)


def refuse_sample(graph, text, *args, num_neighbors=(2,), options=None, **kwargs):
    sampler = TemporalNeighborSampler(graph, num_neighbors, **(options or {}))
    with pytest.raises(UsageError, match=text):
        sampler.sample(*args, **kwargs)


def test_unknown_names_propose_the_closest(graph):
    sampler = TemporalNeighborSampler(graph, [2])
    with pytest.raises(
        UnknownNameError, match=r"no node type 'order'. Did you mean 'orders'\? Known: customers, orders"
    ):
        sampler.sample("order", one(0), one(0))
    with pytest.raises(
        UnknownNameError, match=r"no edge type 'orders, customer, clients'. Did you mean 'orders, cust.*, customers'"
    ):
        TemporalNeighborSampler(graph, {("orders", "customer", "clients"): [2]})
    with pytest.raises(UnknownNameError, match=r"no sampling strategy 'latest'.*Known: last, uniform"):
        TemporalNeighborSampler(graph, [2], strategy="latest")
    with pytest.raises(UnknownNameError, match=r"no sampler backend 'natve'. Did you mean 'native'"):
        TemporalNeighborSampler(graph, [2], backend="natve")


def test_fan_outs(graph):
    hops = r"same number of hops, got 1 for \('customers', .* and 2 for \('orders', .*\. Fill up with zeros"
    refuse(graph, hops, num_neighbors={ORDERS: [2, 2], REVERSE: [1]})
    refuse(graph, r"whole numbers >= 0, or -1 for all, got -2 in \[4, -2\]", num_neighbors=[4, -2])
    refuse(graph, r"got 1.5 in \[1.5\]", num_neighbors={ORDERS: [1.5]})


@pytest.mark.parametrize("window", [0, -5])
def test_window(graph, window):
    refuse(graph, rf"'window' must be > 0 microseconds, got {window}", window=window)


def test_seeds(graph):
    outside = r"2 of 3 seeds are not rows of 'orders', which has 3 \(first: 7, -1\)"
    refuse_sample(graph, outside, "orders", torch.tensor([7, 0, -1]), torch.zeros(3).long())
    refuse_sample(graph, r"'index' must be torch.int64, got torch.int32", "orders", one(0).int(), one(0))
    refuse_sample(graph, r"'input_time' must be torch.int64, got torch.float32", "orders", one(0), one(0).float())
    refuse_sample(graph, r"'input_time' must have shape \[1\], got \[2\]", "orders", one(0), torch.zeros(2).long())
    refuse_sample(graph, r"'index' must have shape \[1\], got \[1, 1\]", "orders", one(0)[None], one(0))
    refuse_sample(graph, r"'seed_time' must have shape", "orders", one(0), one(0), seed_time=torch.zeros(2).long())


def test_uniform_needs_a_generator(graph):
    text = r"strategy 'uniform' is random: pass generator="
    refuse_sample(graph, text, "orders", one(0), one(0), options={"strategy": "uniform"})


def test_shared_levels_need_one_time(graph):
    two, times, options = torch.tensor([0, 1]), torch.tensor([5, 4]), {"disjoint": False}
    refuse_sample(graph, r"one 'input_time', got 2 different \(first: 4, 5\)", "orders", two, times, options=options)
    text = r"one 'seed_time', got 2 different"
    refuse_sample(graph, text, "orders", two, torch.zeros(2).long(), seed_time=times, options=options)


def test_rows_out_of_order(graph):
    graph["orders"].time = torch.tensor([2, 1, 3])
    refuse(graph, r"graph\['orders'\].time is not sorted: it falls at 1 places \(first: 1\). Number the rows by time")
    graph["orders"].num_undated = 1
    TemporalNeighborSampler(graph, [2])


def test_lists_out_of_order(graph):
    graph[ORDERS].col = torch.tensor([1, 0, 2])
    refuse(graph, r"'customers'\)\].col is not sorted: it falls at 1 places \(first: 1\). Sort each row's entries")


@pytest.mark.parametrize(
    ("key", "name", "value", "text"),
    [
        ("orders", "time", torch.tensor([1.0, 2.0, 3.0]), r"time must be torch.int64, got torch.float32"),
        ("orders", "time", torch.tensor([1, 2]), r"time must have shape \[3\], got \[2\]"),
        ("orders", "time", [1, 2, 3], r"time must be a tensor, got list"),
        ("orders", "num_undated", 4, r"num_undated must be in \[0, 3\], got 4"),
        ("orders", "num_nodes", -1, r"num_nodes must be a number of rows, got -1"),
        ("orders", "num_nodes", None, r"num_nodes must be a number of rows, got None"),
        (ORDERS, "rowptr", torch.tensor([0, 2, 3], dtype=torch.int32), r"rowptr must be torch.int64, got torch.int32"),
        (ORDERS, "rowptr", torch.tensor([0, 3]), r"rowptr must have shape \[3\], got \[2\]"),
        (ORDERS, "rowptr", torch.tensor([0, 2, 2]), r"rowptr must rise from 0 to the 3 entries of 'col'"),
        (ORDERS, "rowptr", torch.tensor([0, 4, 3]), r"rowptr must rise from 0 to the 3 entries of 'col'"),
        (ORDERS, "col", torch.tensor([0, 1, 2]).short(), r"col must be torch.int64 or torch.int32, got torch.int16"),
        (ORDERS, "col", torch.tensor([[0, 1, 2]]), r"col must have shape \[E\], got \[1, 3\]"),
        (
            ORDERS,
            "col",
            torch.tensor([0, 1, 3]),
            r"col: 1 of 3 entries are not rows of 'orders', which has 3 \(first: 3",
        ),
        (
            REVERSE,
            "index",
            torch.tensor([0, -2, 1]),
            r"index: 1 of 3 entries are not rows of 'customers'.*\(first: -2\)",
        ),
        (REVERSE, "index", torch.tensor([0, 1]), r"index must have shape \[3\], got \[2\]"),
    ],
)
def test_malformed_graphs(graph, key, name, value, text):
    graph[key][name] = value
    refuse(graph, text)


def test_edge_types_without_edges_or_tables(graph):
    del graph[REVERSE].index
    graph[REVERSE].edge_index = torch.zeros(2, 0).long()
    refuse(graph, r"has neither 'rowptr' and 'col' nor 'index'. Build the graph with build_graph")
    other = HeteroData()
    other["orders"].num_nodes = 1
    other[ORDERS].index = one(0)
    refuse(other, r"names 'customers', which is not a node type of the graph")


def test_a_graph_on_two_devices(graph):
    graph["orders"].time = graph["orders"].time.to("meta")
    refuse(graph, r"the graph lies on several devices \(cpu, meta\). Move it as a whole")


def test_lists_too_large_for_one_search():
    tables = (NodeArrays("child", 1 << 62, 0, torch.zeros(1).long()), NodeArrays("parent", 3, 3, None))
    edges = EdgeArrays(ORDERS, 0, 1, torch.zeros(4).long(), torch.zeros(0).long())
    with pytest.raises(UsageError, match=r"too large for backend='torch': .* Use backend='native'"):
        TorchBackend(GraphArrays(tables, (edges,), torch.device("cpu")), 1, [[2]], uniform=False, disjoint=True)


def test_without_the_kernels_torch_takes_over(graph, monkeypatch):
    monkeypatch.setattr(native_backend, "kernels", None)
    assert TemporalNeighborSampler(graph, [2]).backend == "torch"
    refuse(graph, r"backend='native' is not in this installation. Build it with 'make native'", backend="native")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_native_stays_on_the_cpu(graph):
    assert TemporalNeighborSampler(graph.to("cuda"), [2]).backend == "torch"
    refuse(graph, r"backend='native' needs the graph on the CPU, it is on cuda", backend="native")
