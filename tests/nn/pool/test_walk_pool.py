"""WalkPooling by hand, against whole powers of whole matrices, and what must not matter."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from graphlearn.nn import WalkPooling
from graphlearn.ops import csr_native

F_IN = 5


def pooling(dtype: torch.dtype = torch.float64, **kwargs) -> WalkPooling:
    torch.manual_seed(0)
    kwargs = {"heads": 2, "walk_length": 5, "dropout": 0.0} | kwargs
    return WalkPooling(F_IN, 4, **kwargs).to(dtype)


def graphs(sizes: list[int], density: float, seed: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, ...]:
    """x, edge_index (in a random order), batch, candidate: random graphs whose first two nodes are the candidate.

    In the second graph the first node has no other edge, in the third it is a hub.
    """
    g = torch.Generator().manual_seed(seed)
    edges, batch, candidate, start = [], [], [], 0
    for b, n in enumerate(sizes):
        linked = (torch.rand(n, n, generator=g) < density).triu(1)
        if b in (1, 2):
            linked[0] = b == 2
            linked[:, 0] = False
        linked = linked | linked.t()
        linked.fill_diagonal_(False)
        linked[0, 1] = linked[1, 0] = True
        edges.append(linked.nonzero().t() + start)
        batch += n * [b]
        candidate.append([start, start + 1])
        start += n
    edge_index = torch.cat(edges, dim=1)
    edge_index = edge_index[:, torch.randperm(edge_index.size(1), generator=g)]
    x = torch.randn(start, F_IN, generator=g, dtype=dtype)
    return x, edge_index, torch.tensor(batch), torch.tensor(candidate).t().contiguous()


def uniform(walk_length: int) -> WalkPooling:
    """Without weights each step goes to any neighbour alike."""
    layer = pooling(heads=1, walk_length=walk_length)
    torch.nn.utils.vector_to_parameters(
        torch.zeros_like(torch.nn.utils.parameters_to_vector(layer.parameters())), layer.parameters()
    )
    return layer


def test_a_triangle_by_hand():
    # Two steps: with the link 1/2 back and 1/4 to each other node, without it the middle is passed every second step.
    edge_index = torch.tensor([[0, 2, 1, 2, 0, 1], [2, 0, 2, 1, 1, 0]])
    x = torch.ones(3, F_IN, dtype=torch.float64)
    out = uniform(1)(x, edge_index, torch.zeros(3, dtype=torch.int64), torch.tensor([[0], [1]]))
    trace = 3 / 2 - 2
    expected = [trace, 1.0, 1 / 2 + 1 / 2, 1 / 2 + 1 / 2, 1 / 4 + 1 / 4, 1 / 2 + 1 / 2]
    torch.testing.assert_close(out, torch.tensor([expected], dtype=torch.float64))


def test_two_nodes_alone():
    """Without their link nobody moves; with it they change places."""
    edge_index = torch.tensor([[0, 1], [1, 0]])
    x = torch.ones(2, F_IN, dtype=torch.float64)
    out = uniform(3)(x, edge_index, torch.zeros(2, dtype=torch.int64), torch.tensor([[0], [1]]))[0]
    swap = [[2, 0, 2], [0, 0, 0], [0, 2, 0], [0, 0, 0]]
    expected = torch.tensor([2, 0, 2, 1, *(v for part in swap for v in part)], dtype=torch.float64)
    torch.testing.assert_close(out, expected)


@given(st.integers(0, 10_000), st.integers(2, 9), st.floats(0.0, 1.0), st.integers(1, 7), st.integers(1, 3))
@settings(max_examples=60, deadline=None)
def test_equals_whole_powers_of_whole_matrices(seed, size, density, walk_length, heads):
    layer = pooling(walk_length=walk_length, heads=heads)
    inputs = graphs([size, size + 1, size + 2], density, seed)
    torch.testing.assert_close(layer(*inputs), layer.forward_dense(*inputs), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("native", [True, False])
def test_equals_whole_matrices_in_float32_and_so_do_gradients(native, monkeypatch):
    if not native:
        monkeypatch.setattr(csr_native, "usable", lambda *_: False)
    layer = pooling(torch.float32, walk_length=7)
    inputs = graphs([40, 20, 50], 0.2, 1, torch.float32)
    fast, dense = layer(*inputs), layer.forward_dense(*inputs)
    torch.testing.assert_close(fast, dense, rtol=0, atol=1e-5)
    weight = torch.randn(fast.shape, generator=torch.Generator().manual_seed(2))
    found = torch.autograd.grad((fast * weight).sum(), layer.parameters())
    expected = torch.autograd.grad((dense * weight).sum(), layer.parameters())
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_a_node_with_large_weights_overflows_nothing():
    layer = pooling(torch.float32)
    x, *rest = graphs([12, 8, 10], 0.5, 3, torch.float32)
    out = layer(1e3 * x, *rest)
    assert torch.isfinite(out).all()
    torch.testing.assert_close(out, layer.forward_dense(1e3 * x, *rest), rtol=1e-4, atol=1e-4)


@given(st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_order_of_nodes_and_edges_does_not_matter(seed):
    layer = pooling()
    x, edge_index, batch, candidate = graphs([5, 6, 7], 0.4, seed)
    perm = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    place = perm.argsort()
    moved = layer(x[perm], place[edge_index], batch[perm], place[candidate])
    torch.testing.assert_close(moved, layer(x, edge_index, batch, candidate))


def test_the_ends_may_be_swapped():
    layer = pooling()
    x, edge_index, batch, candidate = graphs([9, 6, 7], 0.4, 0)
    torch.testing.assert_close(layer(x, edge_index, batch, candidate.flip(0)), layer(x, edge_index, batch, candidate))


def test_the_candidate_counts_once_however_it_is_stored():
    """The layer knows the link from ``candidate``: nothing in the edges can tell it the answer."""
    layer = pooling()
    x, edge_index, batch, candidate = graphs([9, 6, 7], 0.4, 0)
    expected = layer(x, edge_index, batch, candidate)
    hit = (edge_index == candidate[:, :1]).all(0)  # i -> j of the first graph
    torch.testing.assert_close(layer(x, edge_index[:, ~hit], batch, candidate), expected)  # stored in one direction
    twice = torch.cat([edge_index, candidate, candidate.flip(0)], dim=1)
    torch.testing.assert_close(layer(x, twice, batch, candidate), expected)


def test_mask_and_row_starts_change_nothing():
    layer = pooling()
    x, edge_index, batch, candidate = graphs([9, 6, 7], 0.4, 0)
    expected = layer(x, edge_index, batch, candidate)
    edge_index = edge_index[:, edge_index[1].argsort(stable=True)]
    rowptr = torch.searchsorted(edge_index[1].contiguous(), torch.arange(len(x) + 1))
    mask = torch.ones(edge_index.size(1), dtype=torch.bool)
    for i, j in candidate.t():
        mask &= ~(((edge_index[0] == i) & (edge_index[1] == j)) | ((edge_index[0] == j) & (edge_index[1] == i)))
    torch.testing.assert_close(layer(x, edge_index, batch, candidate, mask, rowptr=rowptr), expected)


def test_a_batch_is_its_graphs():
    layer = pooling()
    x, edge_index, batch, candidate = graphs([9, 6, 7], 0.4, 0)
    alone = []
    for b in range(3):
        node, inside = batch == b, batch[edge_index[0]] == b
        first = int(node.nonzero()[0])
        args = (x[node], edge_index[:, inside] - first, batch[node] * 0, candidate[:, b : b + 1] - first)
        alone.append(layer(*args))
    torch.testing.assert_close(layer(x, edge_index, batch, candidate), torch.cat(alone))


def test_other_nodes_may_be_isolated_and_the_last_one_too():
    layer = pooling()
    x, edge_index, batch, candidate = graphs([6], 0.4, 0)
    more = torch.cat([x, torch.randn(2, F_IN, dtype=torch.float64, generator=torch.Generator().manual_seed(1))])
    out = layer(more, edge_index, torch.zeros(8, dtype=torch.int64), candidate)
    torch.testing.assert_close(out, layer(x, edge_index, batch, candidate))


def test_no_candidates_give_no_rows():
    layer = pooling()
    none = torch.empty(2, 0, dtype=torch.int64)
    out = layer(torch.empty(0, F_IN, dtype=torch.float64), none, torch.empty(0, dtype=torch.int64), none)
    assert out.shape == (0, layer.out_channels) == (0, 2 * 26)
    out.sum().backward()
    assert all((p.grad == 0).all() for p in layer.parameters())


def test_gradcheck():
    layer = pooling(walk_length=3)
    x, *rest = graphs([4, 4, 5], 0.6, 0)
    names = [name for name, _ in layer.named_parameters()]

    def run(x, *parameters):
        return torch.func.functional_call(layer, dict(zip(names, parameters, strict=True)), (x, *rest))

    values = [p.detach().clone().requires_grad_() for p in layer.parameters()]
    assert torch.autograd.gradcheck(run, (x.requires_grad_(), *values), fast_mode=True)


def test_half_precision_walks_in_float32():
    layer = pooling(torch.float32)
    inputs = graphs([20, 8, 9], 0.4, 0, torch.float32)
    half = layer.to(torch.bfloat16)
    out = half(inputs[0].bfloat16(), *inputs[1:])
    assert out.dtype == torch.bfloat16
    wide = pooling(torch.float32)
    wide.load_state_dict({name: value.float() for name, value in half.state_dict().items()})
    torch.testing.assert_close(out.float(), wide(inputs[0].bfloat16().float(), *inputs[1:]), rtol=0.05, atol=0.05)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")  # of torch, where it leaves the graph
def test_compiled():
    layer = pooling(torch.float32)
    inputs = graphs([9, 6, 7], 0.4, 0, torch.float32)
    compiled = torch.compile(layer, backend="aot_eager")
    torch.testing.assert_close(compiled(*inputs), layer(*inputs))


def test_dropout_in_training_only():
    layer = pooling(dropout=0.5)
    inputs = graphs([9, 6, 7], 0.4, 0)
    layer.eval()
    torch.testing.assert_close(layer(*inputs), pooling()(*inputs))
    layer.train()
    assert not torch.allclose(layer(*inputs), layer(*inputs))


X = torch.ones(3, F_IN, dtype=torch.float64)
EDGES = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])
BATCH = torch.zeros(3, dtype=torch.int64)
PAIR = torch.tensor([[0], [2]])


@pytest.mark.parametrize(
    ("args", "kwargs", "message"),
    [
        ((X[0], EDGES, BATCH, PAIR), {}, r"'x' must be a float tensor of shape \[N, 5\], got torch.float64 \[5\]"),
        ((X.long(), EDGES, BATCH, PAIR), {}, r"'x' must be a float tensor of shape \[N, 5\], got torch.int64 \[3, 5\]"),
        ((X[:, :2], EDGES, BATCH, PAIR), {}, r"got torch.float64 \[3, 2\]"),
        ((X, EDGES.t(), BATCH, PAIR), {}, r"'edge_index' .* got torch.int64 \[4, 2\]. Transpose it: edge_index.t\(\)"),
        ((X, EDGES, BATCH, PAIR.int()), {}, r"'candidate' must be an int64 tensor .*, got torch.int32 \[2, 1\]"),
        (
            (X, EDGES, BATCH, PAIR[0]),
            {},
            r"'candidate' must be an int64 tensor of shape \[2, B\], got torch.int64 \[1\]",
        ),
        ((X, EDGES, BATCH[:2], PAIR), {}, r"'batch' must be int64 \[3\], the graph of each row of 'x', got .* \[2\]"),
        ((X, EDGES, BATCH, PAIR, EDGES[0]), {}, r"'edge_mask' must be bool \[4\], one value per edge, got torch.int64"),
        ((X, EDGES, BATCH, PAIR), {"rowptr": BATCH}, r"'rowptr' must have 4 numbers, .*, got \[3\]"),
        (
            (X, EDGES + 1, BATCH, PAIR),
            {},
            r"'edge_index' must name rows 0 to 2 of 'x', but 2 of its 8 .*\(first: 3, 3\)",
        ),
        ((X, EDGES, BATCH, PAIR - 1), {}, r"'candidate' must name rows 0 to 2 of 'x', but 1 of its 2 .*\(first: -1\)"),
        ((X, EDGES, BATCH, PAIR * 0), {}, r"'candidate' has two equal ends; .*: 1 of 1 do \(first: 0\)"),
        (
            (X, EDGES, BATCH, torch.tensor([[0, 1], [2, 2]])),
            {},
            r"'candidate' has a graph that another .*: 1 of 2 .* 1\)",
        ),
        ((X, EDGES, torch.tensor([0, 0, 1]), PAIR), {}, r"'candidate' joins two graphs; .*: 1 of 1 do \(first: 0\)"),
    ],
)
def test_wrong_inputs(args, kwargs, message):
    with pytest.raises(ValueError, match=message):
        pooling()(*args, **kwargs)


@pytest.mark.parametrize("name", ["heads", "walk_length"])
def test_wrong_numbers(name):
    with pytest.raises(ValueError, match=f"'{name}' must be > 0, got 0"):
        WalkPooling(3, **{name: 0})


def test_wrong_dropout():
    with pytest.raises(ValueError, match=r"'dropout' must be in \[0, 1\), got 1.0"):
        WalkPooling(3, dropout=1.0)
