"""GraphParsingNetwork: against the formula told slowly, batches against single graphs, learning, errors."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch_geometric.nn import GCNConv

from graphlearn.errors import UnknownNameError
from graphlearn.models import GraphParsingNetwork

INT = torch.int64
TASKS = ["graph", "node"]


def network(task: str = "graph", **kwargs) -> GraphParsingNetwork:
    torch.manual_seed(0)
    return GraphParsingNetwork(3, 8, out_channels=2, task=task, **kwargs).double()


def random_graph(size: int, num_edges: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(size, 3, generator=generator, dtype=torch.float64)
    return x, torch.randint(size, (2, num_edges), generator=generator)


def joined(graphs: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor, Tensor]:
    """A batch of graphs."""
    first = torch.tensor([0, *(len(x) for x, _ in graphs)]).cumsum(0)
    edges = [edge_index + shift for (_, edge_index), shift in zip(graphs, first.tolist()[:-1], strict=True)]
    batch = torch.arange(len(graphs)).repeat_interleave(first.diff())
    return torch.cat([x for x, _ in graphs]), torch.cat(edges, dim=1), batch


def pygs_gnn(gnn: torch.nn.Module, x: Tensor, edge_index: Tensor) -> Tensor:
    """The convolutions of ``gnn`` by PyG's GCNConv, with their residual and normalisation."""
    h = x
    for i, ours in enumerate(gnn.convs):
        conv = GCNConv(h.size(1), h.size(1)).double()
        conv.lin.weight.data, conv.bias.data = ours.lin.weight.data, ours.lin.bias.data
        h = conv(h, edge_index)
        h = h.relu() if i < len(gnn.convs) - 1 else h
    return gnn.norm(x + h)


@pytest.mark.parametrize("task", TASKS)
def test_the_network_is_its_formula(task):
    made = network(task, pool_layers=1).eval()
    x, edge_index = random_graph(40, 60)
    edge_index = edge_index[:, edge_index[0] != edge_index[1]]
    both = torch.cat([edge_index, edge_index.flip(0)], dim=1).unique(dim=1)
    h, levels = made.lin_in(x), []
    while True:
        out = made.pool(pygs_gnn(made.gnn1, h, both), both, content=pygs_gnn(made.gnn2, h, both))
        if len(out.root) == len(h):
            break
        levels.append((h, both, out))
        h, both = out.x, out.edge_index
    assert len(levels) >= 2
    if task == "graph":
        expected = made.lin_out(h.sum(0, keepdim=True))
    else:
        for before, edges, out in reversed(levels):
            h = pygs_gnn(made.gnn3, (h / out.count[:, None])[out.cluster] + before, edges)
        expected = made.lin_out(h)
    torch.testing.assert_close(made(x, edge_index), expected)
    found = made.parse(x, edge_index)
    assert [level.cluster.tolist() for level in found] == [out.cluster.tolist() for *_, out in levels]


@st.composite
def batches(draw):
    graphs = []
    for _ in range(draw(st.integers(2, 4))):
        size = draw(st.integers(1, 12))
        graphs.append(random_graph(size, draw(st.integers(0, 2 * size)), seed=draw(st.integers(0, 999))))
    return graphs


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("conv", ["gcn", "gin", "gat"])
@given(graphs=batches())
@settings(deadline=None, max_examples=15)
def test_a_batch_gives_what_its_graphs_give(task, conv, graphs):
    made = network(task, conv=conv).eval()
    alone = torch.cat([made(x, edge_index) for x, edge_index in graphs])
    torch.testing.assert_close(made(*joined(graphs)), alone)
    torch.testing.assert_close(made(*joined(graphs), batch_size=len(graphs)), alone)


@pytest.mark.parametrize("task", TASKS)
@given(graphs=batches(), random=st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=15)
def test_the_order_of_nodes_and_edges_does_not_matter(task, graphs, random):
    made = network(task).eval()
    x, edge_index = graphs[0]
    order = list(range(len(x)))
    random.shuffle(order)
    order = torch.tensor(order)
    moved = made(x[order], order.argsort()[edge_index].flip(1))
    expected = made(x, edge_index)
    torch.testing.assert_close(moved, expected if task == "graph" else expected[order])


@pytest.mark.parametrize("task", TASKS)
def test_nothing_and_little(task):
    made = network(task).eval()
    nothing = torch.empty(2, 0, dtype=INT)
    x, _ = random_graph(3, 0)
    h = made.lin_in(x)
    for size in (1, 3):  # nothing merges: nodes keep what they are
        expected = made.lin_out(h[:size].sum(0, keepdim=True) if task == "graph" else h[:size])
        if task == "graph":
            torch.testing.assert_close(made(x[:size], nothing), expected)
            assert made.parse(x[:size], nothing) == []
        assert torch.isfinite(made(x[:size], nothing)).all()
    no_batch = torch.empty(0, dtype=INT)
    assert made(x[:0], nothing, no_batch).shape == (0, 2)
    assert made(x[:0], nothing).shape == ((1, 2) if task == "graph" else (0, 2))
    if task == "graph":  # a graph without nodes is a sum of nothing
        out = made(x, nothing, torch.tensor([0, 2, 2]), batch_size=4)
        torch.testing.assert_close(out[[1, 3]], made.lin_out(torch.zeros(2, 8, dtype=torch.float64)))


@pytest.mark.parametrize(("task", "kwargs"), [("graph", {}), ("node", {"pool_layers": 1}), ("graph", {"gate": "mean"})])
def test_gradcheck(task, kwargs):
    made = network(task, num_layers=1, **kwargs)
    x, edge_index = random_graph(7, 7)
    assert len(made.parse(x, edge_index)) >= 1
    assert torch.autograd.gradcheck(lambda x: made(x, edge_index), x.requires_grad_(), eps=1e-7, atol=1e-5)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("conv", ["gcn", "gin", "gat"])
def test_every_weight_has_a_finite_gradient_and_is_reset(task, conv):
    made = network(task, conv=conv, pool_layers=2, dropout=0.2, edge_dropout=0.1, act_final=True)
    made(*joined([random_graph(20, 40), random_graph(5, 0), random_graph(1, 0)])).square().sum().backward()
    for name, parameter in made.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
    before = copy.deepcopy(made.state_dict())
    made.reset_parameters()
    for name, value in made.state_dict().items():
        if value.unique().numel() > 1:  # scales and shifts of normalisations begin as ones and zeros
            assert not torch.equal(value, before[name]), name


def test_same_seed_same_training():
    x, edge_index = random_graph(30, 60)
    results = []
    for _ in range(2):
        made = network(dropout=0.5, edge_dropout=0.3)
        results.append(made(x, edge_index))
    assert torch.equal(*results)


def test_it_learns_to_tell_rings_from_two_rings():
    """Rings of 12 and pairs of rings of 6: every node has two neighbours, so plain convolutions cannot tell them."""
    ring = torch.stack([torch.arange(12), torch.arange(1, 13) % 12])
    two = torch.cat([ring[:, :6] % 6, ring[:, :6] % 6 + 6], dim=1)
    two[1, 5], two[1, 11] = 0, 6
    generator = torch.Generator().manual_seed(0)
    graphs = [(torch.randn(12, 3, generator=generator).double(), two if i % 2 else ring) for i in range(40)]
    y = torch.arange(40) % 2
    batch = joined(graphs)
    made = network(num_layers=1)
    optimizer = torch.optim.Adam(made.parameters(), lr=0.01)
    for _ in range(60):
        loss = F.cross_entropy(made(*batch, batch_size=40), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert (made.eval()(*batch).argmax(dim=1) == y).float().mean() > 0.9


def test_levels_are_bounded():
    x, edge_index = random_graph(40, 80)
    assert len(network().parse(x, edge_index)) >= 2
    assert len(network(max_levels=1).parse(x, edge_index)) == 1


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # both of them torch's, about what it does itself
@pytest.mark.filterwarnings("ignore:<class 'torch.autograd.function.Function'> should not be instantiated")
def test_compiled_it_is_the_same():
    made = network("node", num_layers=1).float().eval()
    x, edge_index = random_graph(10, 15)
    compiled = torch.compile(copy.deepcopy(made), backend="eager")
    torch.testing.assert_close(compiled(x.float(), edge_index), made(x.float(), edge_index))


def test_repr():
    assert repr(network()) == "GraphParsingNetwork(3, 8, out_channels=2, task='graph', conv='gcn')"


@pytest.mark.parametrize(
    ("kwargs", "error", "text"),
    [
        ({"task": "nod"}, UnknownNameError, r"no task 'nod'\. Did you mean 'node'"),
        ({"conv": "gc"}, UnknownNameError, r"no convolution 'gc'\. Did you mean 'gcn'"),
        ({"num_layers": 0}, ValueError, "'num_layers' must be > 0, got 0"),
        ({"pool_layers": 0}, ValueError, "'pool_layers' must be > 0, got 0"),
        ({"max_levels": 0}, ValueError, "'max_levels' must be > 0, got 0"),
        ({"dropout": 2.0}, ValueError, r"'dropout' must be in \[0, 1\), got 2.0"),
    ],
)
def test_wrong_arguments(kwargs, error, text):
    with pytest.raises(error, match=text):
        network(**kwargs)


def test_wrong_inputs():
    x, edge_index = random_graph(5, 6)
    batch = torch.tensor([0, 0, 0, 0, 2])
    with pytest.raises(ValueError, match=r"'x' must be a float tensor of shape \[N, 3\], got torch.float64 \[5, 2\]"):
        network()(x[:, :2], edge_index)
    with pytest.raises(ValueError, match=r"'batch' names graph 2, but 'batch_size' is 2"):
        network()(x, edge_index[:, :0], batch, batch_size=2)
    with pytest.raises(ValueError, match="edge scores are NaN"):
        network()(x * torch.nan, edge_index)
