"""KLGNN against copies written out one by one in PyG, against its base, by hand, and on what it is for."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import Linear, Module, ModuleList, ReLU, Sequential
from torch_geometric.data import Batch, Data
from torch_geometric.nn import GCNConv, GINConv, GINEConv, SAGEConv

from graphlearn.errors import UnknownNameError
from graphlearn.models import IDGNN, KLGNN, PPGN, LabelTuples, MoleculeKL, PairLabelGNN
from graphlearn.nn import KLConv

F = 4


class Whole(Module):
    """The same modules as one network, as PyG users write it."""

    def __init__(self, modules) -> None:
        super().__init__()
        self.parts = ModuleList(modules)

    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor | None = None) -> Tensor:
        for part in self.parts:
            if isinstance(part, GINEConv):
                x = part(x, edge_index, edge_attr)
            else:
                x = part(x, edge_index) if hasattr(part, "aggr") or isinstance(part, KLConv) else part(x)
        return x


def both_ways(edges: list[list[int]]) -> Tensor:
    one = torch.tensor(edges, dtype=torch.int64).view(-1, 2).t()
    return torch.cat([one, one.flip(0)], dim=1)


def ring(*sizes: int) -> Tensor:
    """Rings side by side."""
    edges, start = [], 0
    for size in sizes:
        edges += [[start + i, start + (i + 1) % size] for i in range(size)]
        start += size
    return both_ways(edges)


@st.composite
def batches(draw):
    """Up to three graphs, nodes of two kinds, some isolated, some graphs of one or two nodes."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**16)))
    found = []
    for size in draw(st.lists(st.integers(1, 5), min_size=1, max_size=3)):
        pairs = [list(p) for p in itertools.combinations(range(size), 2)]
        edges = draw(st.lists(st.sampled_from(pairs), unique_by=tuple)) if pairs else []
        kind = torch.randint(2, (size,), generator=generator)
        found.append(Data(x=torch.eye(F, dtype=torch.float64)[kind], edge_index=both_ways(edges)))
    return found


def convolutions(kind: str) -> list[Module]:
    torch.manual_seed(0)
    if kind == "ours":
        return [KLConv(F), KLConv(F)]
    if kind == "gin":
        return [GINConv(Sequential(Linear(F, F), ReLU(), Linear(F, F))), ReLU(), GINConv(Linear(F, F))]
    return [SAGEConv(F, F), ReLU(), KLConv(F, norm=False)]


def network(base, l: int = 1, **kwargs) -> KLGNN:  # noqa: E741 - the paper's letter
    torch.manual_seed(1)
    settings = {"copy_net": Sequential(Linear(F, F), ReLU()), "tuples": LabelTuples(l)} | kwargs
    return KLGNN(base, F, **settings).double()


def slowly(net: KLGNN, data: Data) -> Tensor:
    """The definition, copy by copy."""
    tuples, _, _ = net.tuples.tuples(data.edge_index, torch.tensor([0, data.num_nodes]))
    total = []
    for chosen in tuples.t().tolist():
        label = torch.zeros(data.num_nodes, dtype=torch.int64)
        for place, node in reversed(list(enumerate(chosen))):
            label[node] = 1 if net.tuples.order == "none" else place + 1
        z = data.x if net.label is None else net.label(data.x, label)
        for part in net.base:
            z = part(z, data.edge_index) if hasattr(part, "aggr") or isinstance(part, KLConv) else part(z)
        pooled = {"sum": z.sum(dim=0), "mean": z.mean(dim=0), "max": z.max(dim=0).values}[net.node_pool]
        total.append(net.copy_net(pooled))
    stack = torch.stack(total)
    return {"sum": stack.sum(dim=0), "mean": stack.mean(dim=0), "max": stack.max(dim=0).values}[net.copy_pool]


@pytest.mark.parametrize("kind", ["ours", "gin", "sage"])
@settings(max_examples=12, deadline=None)
@given(
    batches(),
    st.integers(0, 3),
    st.sampled_from(["all", "none"]),
    st.sampled_from(["sum", "mean", "max"]),
    st.sampled_from(["sum", "mean", "max"]),
)
def test_shared_states_give_the_numbers_of_copies_written_out(kind, graphs, l, order, node_pool, copy_pool):  # noqa: E741 - the paper's letter
    net = network(
        convolutions(kind), tuples=LabelTuples(l, order=order, num_rounds=2), node_pool=node_pool, copy_pool=copy_pool
    )
    whole = network(Whole(net.base), tuples=net.tuples, node_pool=node_pool, copy_pool=copy_pool)
    whole.load_state_dict({k.replace("base.", "base.parts."): v for k, v in net.state_dict().items()})
    batch = Batch.from_data_list(graphs)
    args = (batch.x, batch.edge_index, None, batch.batch)
    expected = torch.stack([slowly(net, data) for data in graphs])
    torch.testing.assert_close(net(*args), expected)
    torch.testing.assert_close(whole(*args), expected)
    ready = Batch.from_data_list([net.tuples(data) for data in graphs])
    torch.testing.assert_close(net(*args, copies=ready.copies), expected)


@pytest.mark.parametrize("task", ["node", "first"])
@pytest.mark.parametrize("hops", [None, 0, 1])
def test_nodes_and_local_copies_shared_and_written_out(task, hops):
    per_node = {"node": "all", "first": "first"}[task]
    graphs = [Data(x=torch.ones(n, F).double(), edge_index=e) for n, e in ((6, ring(6)), (5, ring(4)), (1, ring()))]
    net = network(convolutions("ours"), task=task, tuples=LabelTuples(2, hops=hops, num_rounds=2, per_node=per_node))
    whole = network(Whole(net.base), task=task, tuples=net.tuples)
    batch = Batch.from_data_list([net.tuples(data) for data in graphs])
    args = (batch.x, batch.edge_index, None, batch.batch)
    expected = whole(*args)
    assert expected.shape == (12, F)
    torch.testing.assert_close(net(*args), expected)
    torch.testing.assert_close(net(*args, copies=batch.copies), expected)


def test_edge_features_shared_and_written_out():
    edge_index = ring(3, 4)
    edge_attr = torch.eye(2, dtype=torch.float64)[torch.arange(14) % 2]
    for conv in (KLConv(F, edge_dim=2), GINEConv(Linear(F, F), edge_dim=2)):
        net = network([conv])
        if isinstance(conv, GINEConv):
            whole = network(Whole([conv]))
            whole.load_state_dict({k.replace("base.", "base.parts."): v for k, v in net.state_dict().items()})
        else:
            whole = network(conv)
            whole.load_state_dict({k.replace("base.0.", "base."): v for k, v in net.state_dict().items()})
        x = torch.ones(7, F, dtype=torch.float64)
        torch.testing.assert_close(net(x, edge_index, edge_attr), whole(x, edge_index, edge_attr))
        data = LabelTuples(1, num_rounds=1)(Data(x=x, edge_index=edge_index, edge_attr=edge_attr))
        torch.testing.assert_close(net(x, edge_index, edge_attr, copies=data.copies), whole(x, edge_index, edge_attr))
        assert not torch.allclose(net(x, edge_index, edge_attr), net(x, edge_index, edge_attr * 2))


def test_without_labels_it_is_its_base():
    base = convolutions("ours")
    x, edge_index = torch.randn(6, F, generator=torch.Generator().manual_seed(0)).double(), ring(6)
    net = KLGNN(base, F, tuples=0).double()
    expected = Whole(base)(x, edge_index).sum(dim=0, keepdim=True)
    torch.testing.assert_close(net(x, edge_index), expected)
    torch.testing.assert_close(KLGNN(Whole(base), F, tuples=0)(x, edge_index), expected)
    assert net.label is None


def test_one_edge_by_hand():
    """Two nodes and an edge, l = 1, one round of x + sum of neighbours: each copy is twice the sum of its inputs."""
    net = KLGNN([GINConv(torch.nn.Identity())], 1, tuples=1, copy_pool="sum")
    with torch.no_grad():
        net.label.embedding.weight.copy_(torch.tensor([[1.0], [10.0]]))
    out = net(torch.tensor([[2.0], [3.0]]), torch.tensor([[0, 1], [1, 0]]))
    # inputs of the copies: (2 + 10) + (3 + 1) = 16 and (2 + 1) + (3 + 10) = 16
    torch.testing.assert_close(out, torch.tensor([[64.0]]))


def test_one_label_separates_a_ring_of_six_from_two_of_three_and_none_does_not():
    edge_index = torch.cat([ring(6), ring(3, 3) + 6], dim=1)
    batch = torch.tensor([0] * 6 + [1] * 6)
    x = torch.ones(12, F, dtype=torch.float64)
    for l in (0, 1, 2):  # noqa: E741 - the paper's letter
        out = network([KLConv(F) for _ in range(3)], l=l)(x, edge_index, batch=batch)
        assert torch.allclose(out[0], out[1], rtol=1e-10, atol=1e-10) == (l == 0)


def rook_and_shrikhande() -> tuple[Tensor, Tensor]:
    """Strongly regular with equal parameters (16, 6, 2, 2), so that 3-WL takes them for one."""
    cells = list(itertools.product(range(4), repeat=2))
    steps = {(0, 1), (0, 3), (1, 0), (3, 0), (1, 1), (3, 3)}
    rook = [[u, v] for (u, a), (v, b) in itertools.combinations(enumerate(cells), 2) if a[0] == b[0] or a[1] == b[1]]
    other = [
        [u, v]
        for (u, a), (v, b) in itertools.combinations(enumerate(cells), 2)
        if ((a[0] - b[0]) % 4, (a[1] - b[1]) % 4) in steps
    ]
    return both_ways(rook), both_ways(other)


class Sine(Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.sin()


@pytest.mark.parametrize(("l", "apart"), [(0, False), (1, False), (2, True)])
def test_two_labels_separate_strongly_regular_graphs_and_one_does_not(l, apart):  # noqa: E741 - the paper's letter
    a, b = rook_and_shrikhande()
    base = [GINConv(Sequential(Linear(F, F), Sine())) for _ in range(4)]
    net = network(base, l=l, copy_net=Sequential(Linear(F, F), Sine()))
    out = net(torch.ones(32, F).double(), torch.cat([a, b + 16], dim=1), batch=torch.arange(32) // 16)
    assert torch.allclose(out[0], out[1], rtol=1e-9, atol=1e-9) != apart


def test_pairs_as_base_see_more_than_labels_alone():
    """k = 2: PPGN without labels tells the rings apart, and with one label strongly regular graphs."""
    torch.manual_seed(0)
    x = torch.ones(12, 1, dtype=torch.float64)
    rings = torch.cat([ring(6), ring(3, 3) + 6], dim=1)
    out = KLGNN(PPGN(1, 16), 1, tuples=0, base_output="graph").double()(x, rings, batch=torch.arange(12) // 6)
    assert not torch.allclose(out[0], out[1], rtol=1e-6)
    a, b = rook_and_shrikhande()
    args = (torch.ones(32, F).double(), torch.cat([a, b + 16], dim=1), None, torch.arange(32) // 16)
    for l, apart in ((0, False), (1, True)):  # noqa: E741 - the paper's letter
        torch.manual_seed(0)
        base = PPGN(F, 8, num_layers=4)
        for conv in base.convs:
            conv.left[1] = conv.right[1] = Sine()
            for lin in (conv.left[0], conv.left[2], conv.right[0], conv.right[2]):
                torch.nn.init.uniform_(lin.weight, -1, 1)  # so large that sines of such weights are not nearly linear
        net = KLGNN(base, F, tuples=l, base_output="graph", copy_net=Sequential(Linear(8, 8), Sine())).double()
        found = net(*args)
        assert torch.allclose(found[0], found[1], rtol=1e-9, atol=1e-9) != apart


def test_renumbering_and_batching():
    generator = torch.Generator().manual_seed(3)
    net = network(convolutions("ours"), l=2)
    x, edge_index = torch.randn(7, F, generator=generator).double(), ring(4, 3)
    order = torch.randperm(7, generator=generator)
    expected = net(x, edge_index)
    torch.testing.assert_close(net(x[order], order.argsort()[edge_index]), expected)
    double = net(torch.cat([x, x]), torch.cat([edge_index, edge_index + 7], dim=1), batch=torch.arange(14) // 7)
    torch.testing.assert_close(double, expected.expand(2, -1))


def test_empty_graphs_and_batches_small_graphs_and_isolated_nodes():
    net = network(convolutions("ours"), l=3, head=Linear(F, F))
    none = torch.zeros(2, 0, dtype=torch.int64)
    x = torch.ones(3, F, dtype=torch.float64)
    zero = net.head(torch.zeros(1, F, dtype=torch.float64))
    torch.testing.assert_close(net(x[:0], none), zero)
    torch.testing.assert_close(net(x[:0], none, batch=none[0], num_graphs=2), zero.expand(2, -1))
    assert net(x[:0], none, batch=none[0]).shape == (0, F)
    gap = net(x, none, batch=torch.tensor([0, 2, 2]), num_graphs=4)  # graphs of one node, none, two, and none
    torch.testing.assert_close(gap[1::2], zero.expand(2, -1))
    torch.testing.assert_close(gap[0], net(x[:1], none)[0])
    torch.testing.assert_close(gap[2], net(x[:2], none)[0])
    assert bool(torch.isfinite(gap).all())


def test_gradients():
    net = network([KLConv(F), KLConv(F)], l=2)
    x = torch.randn(4, F, generator=torch.Generator().manual_seed(0)).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: net(x, ring(4)), (x,))
    net(torch.ones(4, F).double(), ring(4)).sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert bool(torch.isfinite(parameter.grad).all()), name


def test_gradients_of_weights_are_those_of_copies_written_out():
    net = network(convolutions("gin"), l=2)
    whole = network(Whole(copy.deepcopy(net.base)), l=2)
    whole.load_state_dict({k.replace("base.", "base.parts."): v for k, v in net.state_dict().items()})
    x = torch.ones(6, F, dtype=torch.float64)
    for one in (net, whole):
        one(x, ring(6)).pow(2).sum().backward()
    for (name, a), b in zip(net.named_parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, msg=name)


@pytest.mark.filterwarnings("default")  # torch's compiler warns about itself
def test_compiled():
    net = network([KLConv(F)], l=1)
    data = LabelTuples(1, num_rounds=1)(Data(x=torch.ones(4, F).double(), edge_index=ring(4)))
    torch.compiler.reset()
    found = torch.compile(net, backend="aot_eager")(data.x, data.edge_index, copies=data.copies)
    torch.testing.assert_close(found, net(data.x, data.edge_index, copies=data.copies))
    found.sum().backward()
    assert all(p.grad is not None for p in net.parameters())


def test_states_far_from_every_label_are_computed_once():
    """On a path of 40 nodes that all differ, a round spreads a label by one edge: 40 + 40 states first, not 1,600."""
    path = both_ways([[i, i + 1] for i in range(39)])
    x = torch.arange(40.0)[:, None]
    shared = LabelTuples(1, num_rounds=2)(Data(x=x, edge_index=path)).copies
    sizes = [shared.node.numel(), *(step.own.numel() for step in shared.rounds)]
    assert sizes == [40 * 2, 40 * 4 - 2, 40 * 6 - 6]  # none, itself, left, right, …: fewer at the two ends


def test_samples_are_right_in_the_mean_and_follow_the_generator():
    data = Data(x=torch.ones(7, F).double(), edge_index=ring(4, 3))
    exact = network(convolutions("ours"), l=2, copy_pool="sum")
    expected = exact(data.x, data.edge_index)
    sampled = network(
        exact.base, copy_pool="sum", tuples=LabelTuples(2, rate=0.3, generator=torch.Generator().manual_seed(0))
    )
    sampled.load_state_dict(exact.state_dict())
    with torch.no_grad():
        found = torch.cat([sampled(data.x, data.edge_index) for _ in range(300)])
    assert float(found.std()) > 0
    error = (found.mean(dim=0) - expected[0]).abs() / (found.std(dim=0) / 300**0.5 + 1e-9)
    assert bool((error < 4.5).all())


@pytest.mark.parametrize(
    ("build", "shape"),
    [
        (lambda: IDGNN(3, 8, 2), (2, 2)),
        (lambda: IDGNN(3, 8, 2, hops=1, task="first"), (12, 2)),
        (lambda: IDGNN(3, 8, 2, task="node"), (12, 2)),
        (lambda: PairLabelGNN(3, 8, 2), (2, 2)),
        (lambda: PairLabelGNN(3, 8, 2, max_distance=None, order="none"), (2, 2)),
        (lambda: MoleculeKL(3, 8, 2, generator=torch.Generator().manual_seed(0)), (2, 2)),
    ],
)
def test_presets(build, shape):
    torch.manual_seed(0)
    net = build()
    x, edge_index = torch.ones(12, 3), torch.cat([ring(6), ring(3, 3) + 6], dim=1)
    out = net(x, edge_index, batch=torch.arange(12) // 6)
    assert out.shape == shape
    first, last = out[: len(out) // 2], out[len(out) // 2 :]
    assert not torch.allclose(first, last, rtol=1e-6)  # the two graphs that the base cannot tell apart
    assert repr(net).startswith(f"{type(net).__name__}(8, tuples=LabelTuples({net.tuples.l}, ")
    before = [p.clone() for p in net.parameters()]
    net.reset_parameters()
    assert any(not torch.equal(p, q) for p, q in zip(before, net.parameters(), strict=True))


X, EDGES = torch.ones(6, F), ring(6)


@pytest.mark.parametrize(
    ("args", "text"),
    [
        ({"base": [ReLU()]}, "'base' has no convolution: give a list with KLConv or PyG's convolutions, or one module"),
        ({"base": [KLConv(F)], "base_output": "graph"}, "base_output = 'graph' needs one module as 'base' and task"),
        ({"task": "node", "tuples": LabelTuples(1)}, "task = 'node' needs LabelTuples with per_node = 'all', got None"),
    ],
)
def test_wrong_arguments(args, text):
    with pytest.raises(ValueError, match=text):
        KLGNN(**({"base": [KLConv(F)], "channels": F} | args))


@pytest.mark.parametrize("name", ["node_pool", "copy_pool", "task", "base_output"])
def test_unknown_names(name):
    with pytest.raises(UnknownNameError, match="'medain'"):
        KLGNN([KLConv(F)], F, **{name: "medain"})


@pytest.mark.parametrize(
    ("args", "text"),
    [
        ({"x": X[0]}, r"'x' must have shape \[N, F\], got \[4\]\."),
        ({"edge_attr": torch.ones(3, 1)}, r"'edge_attr' has 3 rows for the 12 edges\."),
        ({"batch": torch.zeros(2)}, r"'batch' must have shape \[6\], one graph per row of 'x', got \[2\]\."),
        ({"batch": torch.tensor([0, 1, 0, 0, 0, 0])}, r"'batch' must rise from 0"),
        ({"batch": torch.arange(6), "num_graphs": 2}, r"'batch' names 6 graphs, but 'num_graphs' is 2\."),
        (
            {"edge_index": EDGES.t()},
            r"'edge_index' must be an int64 tensor of shape \[2, E\], got torch\.int64 \[12, 2\]",
        ),
        (
            {"edge_index": EDGES + 1},
            r"'edge_index' must name nodes 0 to 5: 4 of 24 numbers do not \(first: 6, 6, 6\)\.",
        ),
        ({"batch": torch.tensor([0, 0, 0, 1, 1, 1])}, r"4 edges join two graphs of the batch"),
    ],
)
def test_wrong_input(args, text):
    with pytest.raises(ValueError, match=text):
        KLGNN([KLConv(F)], F)(**({"x": X, "edge_index": EDGES} | args))


def test_copies_of_another_model():
    copies = LabelTuples(1, num_rounds=2)(Data(x=X, edge_index=EDGES)).copies
    with pytest.raises(ValueError, match="'copies' were made for 2 rounds, but the base has 1"):
        KLGNN([KLConv(F)], F)(X, EDGES, copies=copies)
    with pytest.raises(ValueError, match="'copies' are for a base given as a list of convolutions"):
        KLGNN(KLConv(F), F)(X, EDGES, copies=copies)


def test_a_base_that_only_works_written_out():
    """GCN normalises by degrees of both ends, which a pair (sources, destinations) does not have."""
    torch.manual_seed(0)
    out = KLGNN(GCNConv(F, F), F, copy_net=Sequential(Linear(F, F), ReLU()))(X, EDGES)
    assert out.shape == (1, F)
    assert bool(torch.isfinite(out).all())
