"""GraphParsingPooling: values by hand, limits, gradients, un-pooling, errors."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from graphlearn.errors import UnknownNameError
from graphlearn.nn import GraphParsingPooling
from graphlearn.ops import graph_parse
from graphlearn.typing import PoolOutput

INT = torch.int64
PATH = torch.tensor([[0, 1, 2, 3], [1, 2, 3, 4]])  # one direction is enough


def both(edge_index: Tensor) -> Tensor:
    return torch.cat([edge_index, edge_index.flip(0)], dim=1)


def layer(channels: int = 4, **kwargs) -> GraphParsingPooling:
    torch.manual_seed(0)
    return GraphParsingPooling(channels, **kwargs).double()


def nodes(size: int, channels: int = 4, seed: int = 0) -> Tensor:
    return torch.randn(size, channels, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def by_hand(gate: str = "sum", **kwargs) -> GraphParsingPooling:
    """Scores are the product of two numbers, and PRE and POST are layer normalisation alone, of two channels."""
    made = GraphParsingPooling(2, gate=gate, edge_mlp_layers=1, **kwargs).double()
    made.edge_mlp[0].weight.data = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    made.edge_mlp[0].bias.data.zero_()
    for part in (made.pre, made.post):
        part.layers[0].weight.data.zero_()
        part.layers[0].bias.data.zero_()
    return made


@pytest.mark.parametrize("gate", ["sum", "mean"])
def test_a_value_worked_by_hand(gate):
    # Logits of 0-1, 1-2, 2-3: 2, 6, 3; so 0 -> 1 <-> 2 <- 3 is one cluster of three edges; 4 has none.
    x = torch.tensor([[1.0, 0], [2, 0], [3, 0], [1, 9], [7, 0]], dtype=torch.float64)
    out = by_hand(gate)(x, PATH[:, :3])
    score = torch.tensor([2.0, 6.0, 3.0], dtype=torch.float64).sigmoid()
    torch.testing.assert_close(out.edge_score, score)
    assert out.scored.tolist() == PATH[:, :3].tolist()
    assert out.cluster.tolist() == [0, 0, 0, 0, 1]
    assert out.root.tolist() == [1, 4]
    assert out.count.tolist() == [6, 1]  # both directions; 1 where there is no edge
    # PRE gives (1, -1), and (-1, 1) for node 3. They add up to (2, -2) and (1, -1), of which POST makes (1, -1).
    factor = 2 * score.sum() if gate == "sum" else score.mean()
    expected = torch.stack([factor, factor.new_ones(())])[:, None] * torch.tensor([1.0, -1.0], dtype=torch.float64)
    torch.testing.assert_close(out.x, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("gate", ["sum", "mean"])
def test_the_gate_is_the_sum_or_mean_of_scores(gate):
    x = torch.tensor([[1.0, 0], [2, 0], [3, 0]], dtype=torch.float64)  # all larger in the first channel
    out = by_hand(gate)(x, both(PATH[:, :2]))
    score = torch.tensor([2.0, 6.0], dtype=torch.float64).sigmoid()
    factor = 2 * score.sum() if gate == "sum" else score.mean()
    torch.testing.assert_close(out.x[0, 0], factor, rtol=1e-4, atol=1e-4)


def test_self_loops_can_win_and_count_once():
    x = torch.tensor([[1.0, 0], [2, 0], [3, 0]], dtype=torch.float64)  # logits: 2, 6 and of the loops 1, 4, 9
    out = by_hand(add_self_loops=True)(x, PATH[:, :2])
    assert out.cluster.tolist() == [0, 0, 0]  # 0 -> 1 -> 2 -> itself
    assert out.root.tolist() == [2]
    assert out.count.tolist() == [2 * 2 + 3]
    assert out.scored.tolist() == [[0, 1, 0, 1, 2], [1, 2, 0, 1, 2]]
    x[2, 0] = -3.0  # logits: 2, -6, and 1, 4, 9: 1 and 2 stay, 0 joins 1
    out = by_hand(add_self_loops=True)(x, PATH[:, :2])
    assert out.cluster.tolist() == [0, 0, 1]
    loop = torch.tensor(9.0, dtype=torch.float64).sigmoid()
    torch.testing.assert_close(out.x[1].abs().max(), loop, rtol=1e-3, atol=1e-3)
    assert out.count.tolist() == [2 + 2, 1]
    assert out.pairs.tolist() == [[0], [1]]


@st.composite
def graphs(draw):
    """A batch of two graphs, with multi-edges, self-loops and isolated nodes."""
    sizes = [draw(st.integers(1, 8)) for _ in range(2)]
    edges = []
    for first, size in zip((0, sizes[0]), sizes, strict=True):
        node = st.integers(first, first + size - 1)
        edges += draw(st.lists(st.tuples(node, node), max_size=16))
    edge_index = torch.tensor(edges, dtype=INT).view(-1, 2).t()
    return nodes(sum(sizes), seed=draw(st.integers(0, 99))), edge_index, torch.tensor([0] * sizes[0] + [1] * sizes[1])


@given(graphs(), st.booleans())
@settings(deadline=None, max_examples=60)
def test_what_must_hold_of_every_result(graph, loops):
    x, edge_index, batch = graph
    made = layer(add_self_loops=loops)
    out = made(x, edge_index, batch)
    num_clusters = out.x.size(0)
    assert torch.equal(out.cluster.unique(), torch.arange(num_clusters))
    assert torch.equal(out.cluster, graph_parse(out.scored, out.edge_score.logit(), len(x)))
    assert torch.equal(out.batch[out.cluster], batch)  # no cluster of two graphs
    assert torch.equal(out.cluster[out.root], torch.arange(num_clusters))
    assert torch.isfinite(out.x).all()
    # Pooled edges: the pairs of clusters that an edge joins.
    wanted = {tuple(sorted(pair)) for pair in out.cluster[edge_index].t().tolist() if pair[0] != pair[1]}
    assert {tuple(pair) for pair in out.pairs.t().tolist()} == wanted
    assert out.pairs.size(1) == len(wanted)
    assert torch.equal(out.edge_index, both(out.pairs))
    # Sums: nothing is lost, nothing counts twice.
    inside = out.cluster[out.scored[0]] == out.cluster[out.scored[1]]
    weight = torch.where(out.scored[0] == out.scored[1], 1.0, 2.0) * inside
    count = torch.zeros(num_clusters, dtype=torch.float64).index_add(0, out.cluster[out.scored[0]], weight.double())
    torch.testing.assert_close(out.count, count.clamp_min(1.0))
    if not loops:
        assert num_clusters <= len(x) - len(out.pairs.unique()) / 2  # each of these merged with another node


@given(graphs())
@settings(deadline=None, max_examples=40)
def test_directions_multi_edges_and_loops_change_nothing(graph):
    x, edge_index, batch = graph
    made = layer()
    out = made(x, edge_index, batch)
    for other in (both(edge_index), torch.cat([edge_index, edge_index], 1), edge_index.flip(0), edge_index.flip(1)):
        same = made(x, other, batch)
        torch.testing.assert_close(same.x, out.x)
        assert torch.equal(same.cluster, out.cluster)
    clean = made(x, edge_index[:, edge_index[0] != edge_index[1]], batch)
    torch.testing.assert_close(clean.x, out.x)


def test_unpool_undoes_the_counts():
    x = nodes(5)
    for gate in ("sum", "mean"):
        made = layer(gate=gate)
        out = made(x, PATH)
        back = made.unpool(out.x, out)
        expected = out.x / out.count[:, None] if gate == "sum" else out.x
        torch.testing.assert_close(back, expected[out.cluster])
    other = layer(gate="mean")
    torch.testing.assert_close(other.unpool(nodes(len(out.root)), out), nodes(len(out.root))[out.cluster])


def test_content_is_pooled_and_x_is_scored():
    x, content = nodes(5), nodes(5, seed=1)
    made = layer()
    out, plain = made(x, PATH, content=content), made(x, PATH)
    assert torch.equal(out.cluster, plain.cluster)
    assert not torch.allclose(out.x, plain.x)
    members = torch.zeros(len(out.root), 4, dtype=torch.float64).index_add(0, out.cluster, made.pre(content))
    factor = torch.zeros(len(out.root), dtype=torch.float64)
    inside = out.cluster[PATH[0]] == out.cluster[PATH[1]]
    factor = factor.index_add(0, out.cluster[PATH[0]], 2 * out.edge_score * inside)
    torch.testing.assert_close(out.x, made.post(members) * factor[:, None])


@pytest.mark.parametrize("kwargs", [{}, {"gate": "mean"}, {"add_self_loops": True, "deepsets_layers": 2}])
def test_gradcheck(kwargs):
    x = nodes(6).requires_grad_()
    made = layer(edge_mlp_layers=1, **kwargs)
    edge_index = torch.tensor([[0, 1, 2, 0], [1, 2, 3, 4]])  # 5 is isolated
    parameters = tuple(made.parameters())

    def function(x: Tensor, *values: Tensor) -> Tensor:
        names = [name for name, _ in made.named_parameters()]
        given = dict(zip(names, values, strict=True))
        return torch.func.functional_call(made, given, (x, edge_index)).x

    assert torch.autograd.gradcheck(function, (x, *parameters), eps=1e-7, atol=1e-5)


def test_the_score_gets_its_gradient_from_inside_edges_only():
    made = layer(edge_mlp_layers=1)
    x = nodes(12).requires_grad_()
    ring = torch.stack([torch.arange(12), torch.arange(1, 13) % 12])
    out = made(x, ring, content=nodes(12, seed=1))  # so that x is used by the scores only
    outside = out.cluster[out.scored[0]] != out.cluster[out.scored[1]]
    assert outside.any()
    grad = torch.autograd.grad(out.x.square().sum(), out.edge_score, retain_graph=True)[0]
    assert (grad[outside] == 0).all()
    assert (grad[~outside] != 0).all()
    assert torch.autograd.grad(out.x.square().sum(), x)[0].abs().sum() > 0


def test_nothing_and_little():
    made = layer()
    nothing = torch.empty(2, 0, dtype=INT)
    for size in (0, 1, 3):  # no node, one node, isolated nodes
        out = made(nodes(size), nothing)
        assert out.cluster.tolist() == list(range(size))
        torch.testing.assert_close(out.x, made.post(made.pre(nodes(size))))
        assert out.edge_index.shape == (2, 0)
    out = made(nodes(1), torch.zeros(2, 3, dtype=INT))  # three self-loops
    assert out.cluster.tolist() == [0]


def test_equal_nodes_are_told_apart_by_the_order_of_edges_in_every_batch():
    square = torch.tensor([[0, 1, 2, 0], [1, 2, 3, 3]])
    x = torch.ones(4, 4, dtype=torch.float32)
    made = layer().float()
    alone = made(x, square).cluster
    for noise in range(5):
        shaken = x + 1e-6 * nodes(4, seed=noise).float()  # what rounding does to scores that are equal
        assert torch.equal(made(shaken, square).cluster, alone)


def test_training_drops_edges_and_evaluation_does_not():
    made = layer(edge_dropout=0.5, dropout=0.3)
    x, edge_index = nodes(200), torch.randint(200, (2, 600), generator=torch.Generator().manual_seed(0))
    whole = made.eval()(x, edge_index).scored.size(1)
    torch.manual_seed(0)
    out = made.train()(x, edge_index)
    assert 0.4 * whole < out.scored.size(1) < 0.6 * whole
    outside = out.cluster[out.scored[0]] != out.cluster[out.scored[1]]
    assert out.pairs.size(1) <= int(outside.sum())  # what was dropped does not join clusters either
    torch.manual_seed(0)
    assert torch.equal(made(x, edge_index).x, out.x)
    made.add_self_loops = True
    assert made(x, edge_index).scored.size(1) < 0.6 * (whole + 200)


def test_low_precision_scores_in_single():
    made = layer().float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = made(nodes(5).bfloat16(), PATH)
    assert out.edge_score.dtype == torch.float32
    assert torch.isfinite(out.x).all()


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # torch's, about its own look at what a graph break left
def test_compiled_it_is_the_same():
    made = layer().float()
    x = nodes(6).float()
    compiled = torch.compile(copy.deepcopy(made), backend="aot_eager")
    for edge_index in (PATH, both(PATH)):
        found, wanted = compiled(x, edge_index), made(x, edge_index)
        assert isinstance(found, PoolOutput)
        torch.testing.assert_close(found.x, wanted.x)
        assert torch.equal(found.cluster, wanted.cluster)


def test_repr():
    assert repr(GraphParsingPooling(8)) == "GraphParsingPooling(8, gate='sum')"
    looped = GraphParsingPooling(8, gate="mean", add_self_loops=True)
    assert repr(looped) == "GraphParsingPooling(8, gate='mean', add_self_loops=True)"


@pytest.mark.parametrize(
    ("kwargs", "text"),
    [
        ({"in_channels": 0}, "'in_channels' must be > 0, got 0"),
        ({"edge_mlp_layers": 0}, "'edge_mlp_layers' must be > 0"),
        ({"dropout": 1.0}, r"'dropout' must be in \[0, 1\), got 1.0"),
        ({"edge_dropout": -0.1}, r"'edge_dropout' must be in \[0, 1\), got -0.1"),
    ],
)
def test_wrong_arguments(kwargs, text):
    with pytest.raises(ValueError, match=text):
        GraphParsingPooling(**{"in_channels": 4, **kwargs})


def test_unknown_gate():
    with pytest.raises(UnknownNameError, match=r"no gate 'men'\. Did you mean 'mean'"):
        GraphParsingPooling(4, gate="men")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"x": torch.zeros(5, 3)}, r"'x' must be a float tensor of shape \[N, 4\], got torch.float32 \[5, 3\]"),
        ({"x": torch.zeros(5, 4, dtype=INT)}, r"'x' must be a float tensor .* got torch.int64"),
        ({"x": torch.zeros(5)}, r"'x' must be .* got torch.float32 \[5\]"),
        ({"edge_index": PATH.t()}, r"shape \[2, E\], got torch\.int64 \[4, 2\]\. Transpose it"),
        ({"edge_index": PATH + 1}, r"nodes 0 to 4: 1 of 8 entries do not \(first: 5\)"),
        ({"batch": torch.zeros(4, dtype=INT)}, r"graph for each of the 5 nodes, got torch.int64 \[4\]"),
        ({"batch": torch.zeros(5)}, r"graph for each of the 5 nodes, got torch.float32 \[5\]"),
        ({"batch": torch.tensor([-1, 0, 0, 0, 0])}, "'batch' must number graphs from 0, got -1"),
        ({"batch": torch.tensor([0, 0, 1, 1, 1])}, r"1 edges join .* \(first: 1 of graph 0 and 2 of graph 1\)"),
        ({"content": torch.zeros(4, 4)}, r"'content' must have the shape of 'x', \[5, 4\], got \[4, 4\]"),
        ({"x": torch.full((5, 4), torch.nan)}, r"4 of 4 edge scores are NaN \(first: edges 0, 1, 2\)"),
    ],
)
def test_wrong_inputs(change, text):
    given = {"x": torch.zeros(5, 4), "edge_index": PATH, **change}
    with pytest.raises(ValueError, match=text):
        layer().float()(**given)


def test_unpool_needs_one_row_per_cluster():
    made = layer()
    out = made(nodes(5), PATH)
    with pytest.raises(ValueError, match=r"one row per cluster, \d, got 5"):
        made.unpool(nodes(5), out)
