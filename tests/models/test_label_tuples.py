"""LabelTuples as PyG uses it: in a data set, in a loader, and with wrong settings."""

from __future__ import annotations

import pytest
import torch
from torch_geometric.data import Batch, Data
from torch_geometric.loader import DataLoader

from graphlearn.errors import UnknownNameError
from graphlearn.models import KLGNN, LabelTuples
from graphlearn.nn import KLConv

EDGES = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])


def graph(size: int = 3) -> Data:
    return Data(x=torch.ones(size, 2), edge_index=EDGES[:, : 4 if size > 2 else 0], y=torch.tensor([size]))


def test_without_rounds_it_stores_tuples_that_batch_right():
    batch = Batch.from_data_list([LabelTuples(2, order="none")(graph(n)) for n in (3, 1, 4)])
    assert batch.kl_tuple.t().tolist() == [
        [0, 1],
        [0, 2],
        [1, 2],
        [3, 3],
        [4, 5],
        [4, 6],
        [4, 7],
        [5, 6],
        [5, 7],
        [6, 7],
    ]
    assert batch.kl_tuple_graph.tolist() == [0, 0, 0, 1] + [2] * 6
    assert batch.kl_tuple_weight.tolist() == [1.0] * 10
    assert batch.y.tolist() == [3, 1, 4]
    with pytest.raises(ValueError, match="these graphs hold no shared states: use LabelTuples"):
        _ = batch.copies


@pytest.mark.parametrize("l", [0, 1, 2])
@pytest.mark.parametrize("among", ["all", "connected", "distance", "cluster"])
def test_a_loader_gives_what_the_model_finds_by_itself(l, among):  # noqa: E741 - the paper's letter
    torch.manual_seed(0)
    tuples = LabelTuples(l, among=among, num_rounds=2)
    net = KLGNN([KLConv(2), KLConv(2)], 2, tuples=tuples)
    data = [graph(n) for n in (3, 1, 4, 5)]
    expected = torch.cat([net(d.x, d.edge_index) for d in data])
    ready = [tuples(d) for d in data]
    found = [net(b.x, b.edge_index, batch=b.batch, copies=b.copies) for b in DataLoader(ready, batch_size=3)]
    torch.testing.assert_close(torch.cat(found), expected)


def test_graphs_without_features_and_the_data_stay_as_they_were():
    data = Data(edge_index=EDGES, num_nodes=4)
    out = LabelTuples(1, num_rounds=1)(data)
    assert out.num_nodes == 4
    assert out.copies.copy_weight.sum() == 4
    assert set(data.to_dict()) == {"edge_index", "num_nodes"}


def test_a_rate_draws_anew_on_each_call():
    tuples = LabelTuples(2, rate=0.5, generator=torch.Generator().manual_seed(0))
    drawn = [tuples(graph(4)).kl_tuple for _ in range(8)]
    assert all(d.shape == (2, 6) for d in drawn)
    assert any(not torch.equal(d, drawn[0]) for d in drawn)


def test_repr():
    assert repr(LabelTuples(2, hops=1)) == "LabelTuples(2, among='all', order='all', rate=1.0, hops=1)"


@pytest.mark.parametrize(
    ("args", "text"),
    [
        ({"l": 5}, r"'size' must be 0 to 4 nodes, got 5\."),
        ({"num_rounds": -1}, r"'num_rounds' must be >= 0, got -1\."),
        ({"hops": -1}, r"'hops' must be >= 0 and needs a labelled node, got -1 with l = 2\."),
        ({"l": 0, "hops": 1}, r"needs a labelled node, got 1 with l = 0\."),
        ({"rate": 0.5}, r"rate = 0\.5 draws at random: give LabelTuples a 'generator'\."),
        ({"rate": 1.5}, r"'rate' must be above 0 and at most 1, got 1\.5\."),
        ({"l": 0, "per_node": "first"}, r"per_node = 'first' needs a labelled node, got l = 0\."),
        ({"max_distance": 0}, r"'max_distance' must be > 0, got 0\."),
        ({"order": "sample"}, r"order = 'sample' draws at random"),
    ],
)
def test_wrong_settings(args, text):
    with pytest.raises(ValueError, match=text):
        LabelTuples(**({"l": 2} | args))


def test_unknown_names():
    with pytest.raises(UnknownNameError, match="no kind of tuples 'clique'"):
        LabelTuples(2, among="clique")
