"""quantize() on PyG models: what is rounded, calibration, protection, A2Q, and what wrong models get."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import KINDS, Net, graph, net
from torch_geometric.nn import GCNConv, Linear, SAGEConv

from graphlearn.compress.quantize import (
    A2Q,
    W4A4,
    W4A8,
    W8A8,
    DegreeQuant,
    NodeQuantizer,
    NodeWidths,
    Precision,
    QuantConfig,
    Quantizer,
    calibrate,
    memory_penalty,
    protected,
    protection,
    quantize,
    size_report,
)
from graphlearn.errors import DataError, UsageError
from graphlearn.nn.conv import HeteroSAGEConv

EVERY = {"W8A8": W8A8(), "W4A8": W4A8(), "W4A4": W4A4(), "DQ8": DegreeQuant(8), "DQ4": DegreeQuant(4), "A2Q": A2Q(4)}


@pytest.mark.parametrize("config", EVERY.values(), ids=EVERY)
@pytest.mark.parametrize("kind", [*KINDS, "Edge", "Graph"])
def test_any_layer_trains_in_every_precision(kind, config):
    x, edge_index = graph()
    model = quantize(net(kind), config)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    losses = []
    for _ in range(12):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x, edge_index), torch.arange(len(x)) % 5)
        loss.backward()
        assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("kind", KINDS)
def test_many_bits_change_nothing_and_fewer_change_more(kind):
    x, edge_index = graph()
    model = net(kind).eval()
    errors = []
    for bits in (16, 8, 4):
        every = Precision(bits)
        config = QuantConfig(
            Precision(bits, "symmetric", "channel", "current"), every, every, every, every,
            Precision(bits, "symmetric", "list", "current"),
        )  # fmt: skip
        rounded = quantize(model, config)
        calibrate(rounded, [(x, edge_index)])
        errors.append((rounded(x, edge_index) - model(x, edge_index)).norm() / model(x, edge_index).norm())
    assert errors[0] < 1e-3
    assert errors[0] < errors[1] < errors[2]


def test_the_model_given_is_not_changed_and_copies_are_their_own():
    x, edge_index = graph()
    model = net("GAT").eval()
    before, state = model(x, edge_index), {k: v.clone() for k, v in model.state_dict().items()}
    rounded = quantize(model, W4A4())
    calibrate(rounded, [(x, edge_index)])
    assert torch.equal(model(x, edge_index), before)
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    copied, wanted = copy.deepcopy(rounded), rounded(x, edge_index)
    calibrate(copied, [(100 * x, edge_index)])
    assert torch.equal(rounded(x, edge_index), wanted)
    assert not torch.equal(copied(x, edge_index), wanted)


@pytest.mark.parametrize("config", EVERY.values(), ids=EVERY)
@pytest.mark.parametrize("kind", KINDS)
def test_states_load_and_those_of_the_float_model_too(kind, config):
    x, edge_index = graph()
    rounded = quantize(net(kind), config)
    calibrate(rounded, [(x, edge_index)])
    fresh = quantize(net(kind, seed=1), config)
    fresh.load_state_dict(rounded.state_dict())
    assert torch.equal(fresh.eval()(x, edge_index), rounded.eval()(x, edge_index))
    if kind != "GAT" and kind != "GAT mean":  # whose own vectors torch keeps under another name
        assert not quantize(net(kind, seed=1), config).load_state_dict(net(kind).state_dict(), strict=False)[1]


@pytest.mark.filterwarnings("ignore:.*Function'> should not be instantiated:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
def test_torch_compile_rounds_too():
    x, edge_index = graph()
    rounded = quantize(net("GCN"), W4A4())
    calibrate(rounded, [(x, edge_index)])
    found = torch.compile(copy.deepcopy(rounded).eval(), backend="eager")(x, edge_index)
    torch.testing.assert_close(found, rounded.eval()(x, edge_index))


def test_each_part_is_rounded_where_it_should_be():
    """By hand: SAGE with 2 bits for its input and 3 for the mean."""
    x, edge_index = torch.tensor([[0.0], [1.4], [3.0]]), torch.tensor([[1, 2], [0, 0]])
    conv = SAGEConv(1, 1, bias=False)
    conv.lin_l.weight.data.fill_(1.0)
    conv.lin_r.weight.data.fill_(10.0)
    for config, wanted in (
        (QuantConfig(input=Precision(2)), [2.0, 10.0, 30.0]),  # 1.4 becomes 1, their mean 2
        (QuantConfig(aggregate=Precision(2)), [2.2, 14.0, 30.0]),  # the mean 2.2 is the largest of its range
        (QuantConfig(message=Precision(2)), [2.0, 14.0, 30.0]),  # what is gathered, but not the node's own
        (QuantConfig(weight=Precision(2, "symmetric", "channel", "current")), [2.2, 14.0, 30.0]),
    ):
        model = quantize(torch.nn.ModuleList([conv]), config)
        calibrate(model, [(x, edge_index)], call=lambda m, b: m[0](*b))
        if config.input is None or config.weight is None:
            torch.testing.assert_close(model[0](x, edge_index).flatten(), torch.tensor(wanted))


def test_a_range_is_learned_once_per_call():
    x, edge_index = graph()
    rounded = quantize(net("SAGE"), W8A8())
    calibrate(rounded, [(x, edge_index)])
    conv = rounded.convs[0]
    assert int(conv.quantizers.input.seen) == 1  # for edges and the node itself together
    assert int(conv.quantizers.message.seen) == 0  # what edges gather is the input
    assert int(conv.lin_l.input_quantizer.seen) == 0  # it reads the aggregate
    assert int(conv.lin_r.input_quantizer.seen) == 0
    assert int(rounded.head.input_quantizer.seen) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_nodes_in_another_order_and_graphs_side_by_side(kind):
    x, edge_index = graph()
    rounded = quantize(net(kind), W8A8())
    calibrate(rounded, [(x, edge_index)])
    rounded.eval()
    wanted = rounded(x, edge_index).detach()
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    close = {"rtol": 0.0, "atol": 0.03 * float(wanted.abs().max())}  # sums in another order: one step here and there
    torch.testing.assert_close(rounded(x[order], order.argsort()[edge_index]), wanted[order], **close)
    both = rounded(torch.cat([x, x]), torch.cat([edge_index, edge_index + len(x)], dim=1))
    torch.testing.assert_close(both, torch.cat([wanted, wanted]), **close)


# Degree-Quant


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=4), st.integers(0, 2**30))
def test_protection_equals_the_definition_graph_by_graph(sizes, seed):
    g = torch.Generator().manual_seed(seed)
    edges, first, wanted = [], 0, []
    for n in sizes:
        edge_index = torch.randint(n, (2, 3 * n), generator=g)
        degree = [int((edge_index[1] == v).sum()) for v in range(n)]
        wanted += [0.1 + 0.3 * sum(other <= d for other in degree) / n for d in degree]
        edges.append(edge_index + first)
        first += n
    batch = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    found = protection(torch.cat(edges, dim=1), first, batch, len(sizes), low=0.1, high=0.4)
    torch.testing.assert_close(found, torch.tensor(wanted))


def test_protection_counts_edges_into_a_node_of_the_graph_given_and_no_others():
    train = torch.tensor([[0, 1, 2, 3], [1, 2, 1, 1]])
    assert protection(train, 4, low=0.0, high=1.0).tolist() == [0.5, 1.0, 0.75, 0.5]
    assert protection(train.flip(0), 4, low=0.0, high=1.0).tolist() == [1.0, 1.0, 1.0, 1.0]
    assert protection(torch.zeros(2, 0, dtype=torch.int64), 0).shape == (0,)
    assert protection(torch.zeros(2, 0, dtype=torch.int64), 2).tolist() == pytest.approx([0.1, 0.1])


def test_protected_rows_are_kept_in_training_and_only_there():
    x, edge_index = graph()
    model = quantize(net("GCN"), QuantConfig(input=Precision(2)))
    calibrate(model, [(x, edge_index)])
    rounds = model.convs[0].quantizers.input
    seen = []
    rounds.register_forward_hook(lambda _, args, out: seen.append((args[0] == out).all(dim=1)))
    everyone = torch.ones(len(x))
    for training, probability, kept in ((True, everyone, True), (False, everyone, False), (True, 0 * everyone, False)):
        model.train(training)
        with protected(model, probability, torch.Generator().manual_seed(0)):
            model(x, edge_index)
        assert bool(seen.pop().all()) == kept
    model.train()(x, edge_index)
    assert not seen.pop().all()  # after the block nobody is protected
    with protected(model, 0.5 * everyone, torch.Generator().manual_seed(0)) as keep:
        model(x, edge_index)
    assert seen.pop()[keep].all()
    with protected(model, 0.5 * everyone, torch.Generator().manual_seed(0)) as again:
        assert torch.equal(keep, again)


def test_wrong_protection():
    x, edge_index = graph()
    model = quantize(net("GCN"), W8A8())
    with (
        protected(model, torch.ones(7), torch.Generator()),
        pytest.raises(UsageError, match=r"the input of layer 'convs.0' got 30 rows, but 7 nodes are protected\."),
    ):
        model(x, edge_index)
    with pytest.raises(UsageError, match=r"no quantised layer to protect nodes in"), protected(net("GCN"), x, None):
        pass
    with pytest.raises(UsageError, match=r"'low' and 'high' must be probabilities with low <= high, got 0\.3 and 0\.1"):
        protection(edge_index, 30, low=0.3, high=0.1)


# A2Q


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 6), st.integers(1, 5), st.integers(0, 2**30), st.booleans())
def test_a2q_equals_its_definition(num_rows, num_channels, seed, table):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(num_rows, num_channels, generator=g) * 3
    x[torch.rand(x.shape, generator=g) < 0.2] = 0.0
    quantizer = NodeQuantizer(4, None if table else num_rows, groups=7)
    quantizer(x)
    with torch.no_grad():
        quantizer.width.copy_(2 + 6 * torch.rand(quantizer.width.shape, generator=g))
        quantizer.step.mul_(0.5 + torch.rand(quantizer.step.shape, generator=g))
    quantizer.eval()
    x.requires_grad_()
    out = quantizer(x)
    grad = torch.randn(x.shape, generator=g)
    grads = torch.autograd.grad(out, [x, quantizer.step, quantizer.width], grad)
    reach = quantizer.step * (2 ** (quantizer.width.round() - 1) - 1)
    by_step, by_width = torch.zeros_like(quantizer.step), torch.zeros_like(quantizer.width)
    for v in range(num_rows):
        largest = x[v].abs().max()
        pair = int((reach - largest).abs().argmin()) if table else v  # the slow answer of the nearest-range rule
        step, bits = quantizer.step[pair].item(), round(quantizer.width[pair].item())
        top = 2 ** (bits - 1) - 1
        for f in range(num_channels):
            value = x[v, f].item()
            sign = (value > 0) - (value < 0)
            level = min(int(abs(value) / step + 0.5), top)
            rounded = sign * level * step
            assert out[v, f].item() == pytest.approx(rounded, abs=1e-5)
            inside = abs(value) / step <= top
            assert grads[0][v, f].item() == pytest.approx(grad[v, f].item() if inside else 0.0)
            error = (rounded > value) - (rounded < value)
            by_step[pair] += error * (sign * level - value / step if inside else sign * top) / num_channels
            by_width[pair] += 0 if inside else error * sign * step * 2 ** (bits - 1) * 0.6931472 / num_channels
    torch.testing.assert_close(grads[1], by_step.detach(), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(grads[2], by_width.detach(), rtol=1e-3, atol=1e-4)
    levels, step, _ = quantizer.integers(x.detach())
    torch.testing.assert_close(levels * step[:, None], out.detach())


def test_the_memory_term_holds_the_widths_down():
    x, edge_index = graph()
    model = quantize(net("GCN"), A2Q(8, num_nodes=30))
    model(x, edge_index)
    widths = [m for m in model.modules() if isinstance(m, NodeQuantizer) and int(m.seen)]
    kib = sum(8 * 30 * int(m.channels) / 8192 for m in widths)
    assert memory_penalty(model, 0.0).item() == pytest.approx(kib**2)
    assert memory_penalty(model, kib + 1).item() == 0.0
    memory_penalty(model, kib / 2).backward()
    assert all((m.width.grad > 0).all() for m in widths)
    assert size_report(model, x, edge_index).scales > 5 * 30 * len(widths)
    with pytest.raises(UsageError, match=r"the model learns no widths: quantize it with A2Q\(\)"):
        memory_penalty(net("GCN"), 1.0)
    with pytest.raises(UsageError, match=r"the input of layer 'convs.0' has a width for each of 30 nodes, but got 31"):
        model(*graph(num_nodes=31))
    with pytest.raises(UsageError, match=r"'bits' of a node must start from 2 to 8, got 9\."):
        NodeQuantizer(9)


# What wrong models, settings and data get


class WithMemory(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lin, self.lstm = torch.nn.Linear(3, 3), torch.nn.LSTM(3, 3)


@pytest.mark.parametrize(
    ("model", "config", "text"),
    [
        (WithMemory(), W8A8(), r"layer 'lstm' is a LSTM, and how it uses 'weight_ih_l0' is not known to quantize\(\)\. "
         r"Leave it in float with QuantConfig\(skip=\('lstm',\)\)"),
        (torch.nn.LSTM(3, 3), W8A8(), r"the model is a LSTM, .* Build it from linear layers and PyG's"),
        (HeteroSAGEConv(3, 3, edge_types=[("a", "to", "a")]), W8A8(), r"is a HeteroSAGEConv, and how it uses its"),
        (torch.nn.ReLU(), W8A8(), r"the model has no linear and no message-passing layer to quantise\."),
        (Linear(-1, 3), W8A8(), r"the model has no weight yet: run the model on one batch before quantize\(\)"),
        (net("GCN"), QuantConfig(skip=("conv",)), r"'skip' names 'conv', which the model has not\. It has: convs"),
        (quantize(net("GCN"), W8A8()), W8A8(), r"the model is quantised already: give quantize\(\) the float model\."),
    ],
)  # fmt: skip
def test_wrong_models(model, config, text):
    with pytest.raises(UsageError, match=text):
        quantize(model, config)


def test_what_is_skipped_stays_in_float():
    model = quantize(WithMemory(), QuantConfig(weight=W8A8().weight, skip=("lstm",)))
    assert type(model.lstm) is torch.nn.LSTM
    assert isinstance(model.lin.weight_quantizer, Quantizer)
    skipped = quantize(net("GCN"), QuantConfig(weight=W8A8().weight, skip=("convs.0",)))
    assert type(skipped.convs[0]) is GCNConv
    assert type(skipped.convs[1]) is not GCNConv


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda: QuantConfig(attention=Precision(8)), r"'attention' needs ranges per list of edges, got per tensor\."),
        (lambda: QuantConfig(weight=Precision(8, per="row", range="current")), r"'weight' needs ranges per tensor or"),
        (
            lambda: QuantConfig(input=Precision(8, per="channel")),
            r"'input' needs ranges per tensor or row, got per",
        ),
        (lambda: DegreeQuant(6), r"DegreeQuant is for 4 or 8 bits, got 6\."),
    ],
)
def test_wrong_configs(build, text):
    with pytest.raises(UsageError, match=text):
        build()


def test_wrong_data():
    x, edge_index = graph()
    model = quantize(net("GCN"), W8A8())
    with pytest.raises(UsageError, match=r"calibrate\(\) got no batch: give it some of the training data\."):
        calibrate(model, [])
    with pytest.raises(UsageError, match=r"the model has no quantiser to calibrate: give it to quantize\(\) first\."):
        calibrate(net("GCN"), [(x, edge_index)])
    with pytest.raises(DataError, match=r"the range of the input of layer 'convs.0' holds NaN or infinity"):
        calibrate(model, [(x / 0, edge_index)])
    sparse = torch.eye(30).to_sparse()
    with pytest.raises(UsageError, match=r"layer 'convs.0' is quantised and takes 'edge_index' as a \[2, E\] tensor"):
        quantize(net("SAGE"), W8A8())(x, sparse)
    model.train()
    calibrate(model, [(x, edge_index)])
    assert model.training  # as it was
    assert model.convs[0].quantizers.input.training


def test_one_class_one_node_and_no_edges():
    for kind in KINDS:
        model = quantize(net(kind), W4A4())
        empty = torch.zeros(2, 0, dtype=torch.int64)
        model.eval()
        calibrate(model, [(torch.zeros(1, 12), empty)])
        assert model(torch.zeros(1, 12), empty).isfinite().all()


def test_node_widths_are_settings_too():
    config = QuantConfig(input=NodeWidths(5, groups=10))
    quantizer = quantize(Net("GCN"), config).convs[0].quantizers.input
    assert quantizer.width.tolist() == [5.0] * 10
