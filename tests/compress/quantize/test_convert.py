"""convert(): integers against simulation, what is stored, saving and loading, sizes, and what it refuses."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import KINDS, GraphNet, Net, graph, net
from safetensors.torch import load, save
from torch.nn import BatchNorm1d, Linear, ReLU, Sequential

from graphlearn.compress.quantize import (
    A2Q,
    W4A4,
    W4A8,
    W8A8,
    DegreeQuant,
    Precision,
    QuantConfig,
    calibrate,
    convert,
    quantize,
    size_report,
)
from graphlearn.compress.quantize.integer_conv import IntegerConv, IntegerSAGE
from graphlearn.compress.quantize.integer_linear import IntegerLinear, StoredLinear
from graphlearn.errors import UsageError
from graphlearn.ops import QuantizedRows, csr_native

EVERY = {"W8A8": W8A8(), "W4A8": W4A8(), "W4A4": W4A4(), "DQ4": DegreeQuant(4), "A2Q": A2Q(4)}


def calibrated(kind: str, config: QuantConfig, seed: int = 0) -> Net:
    model = quantize(net(kind, seed), config)
    calibrate(model, [graph(seed)])
    return model.eval()


def gain(linear: IntegerLinear) -> float:
    """By how much a step in every input can move an output."""
    return float((linear.whole().abs() * linear.scale.abs()[:, None]).sum(dim=1).max())


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("kind", KINDS)
def test_each_layer_in_integers_is_the_simulated_one_within_a_step(kind, name, native, monkeypatch):
    if not native:
        monkeypatch.setattr(csr_native, "usable", lambda *_: False)

    @settings(max_examples=8, deadline=None)
    @given(st.integers(0, 2**20))
    def check(seed):
        model = calibrated(kind, EVERY[name], seed)
        integer = convert(model)
        x, edge_index = graph(seed)
        assert isinstance(integer.convs[0], IntegerConv)
        simulated, found = model.convs[0](x, edge_index), integer.convs[0](x, edge_index)
        # One step of the aggregate, as it reaches the result; of GIN's inner grids too.
        step = model.convs[0].quantizers.aggregate.integers(x[:, :1].expand(-1, 12))[1].max()
        reach = 1.0
        if kind.startswith("SAGE"):
            reach = gain(integer.convs[0].lin_l)
        if kind == "GIN":
            wide = model.convs[0].nn
            step = step + wide[0].input_quantizer.integers(x)[1].max() + wide[3].input_quantizer.integers(x)[1].max()
            reach = gain(integer.convs[0].nn[0]) * gain(integer.convs[0].nn[3])
        difference = (simulated - found).abs()
        assert difference.max() <= 1.01 * reach * step
        # Means of few rows, and 4 bits, often lie halfway between two levels: there it may be more of them.
        if name in ("W8A8", "W4A8") and kind in ("GCN", "GAT", "GAT mean"):
            assert (difference > 1e-4 * simulated.abs().max()).float().mean() <= 0.1

    check()


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("kind", [*KINDS, "Edge", "Graph"])
def test_whole_models_predict_the_same(kind, name):
    x, edge_index = graph()
    model = calibrated(kind, EVERY[name])
    integer = convert(model)
    wanted, found = model(x, edge_index), integer(x, edge_index)
    assert (found - wanted).norm() <= 0.05 * wanted.norm()
    assert (found.argmax(1) == wanted.argmax(1)).float().mean() >= 0.9
    assert model(x, edge_index).equal(wanted)  # the model given still works
    assert not any(p.requires_grad for p in integer.parameters())


def test_batches_of_graphs_are_the_graphs():
    parts = [graph(seed, num_nodes=9 + seed) for seed in range(3)]
    model = quantize(GraphNet("GIN"), W8A8())
    calibrate(model, [(x, e, torch.zeros(len(x), dtype=torch.int64), 1) for x, e in parts])
    integer = convert(model)
    alone = torch.cat([integer(x, e, torch.zeros(len(x), dtype=torch.int64), 1) for x, e in parts])
    sizes = torch.tensor([len(x) for x, _ in parts])
    shift = sizes.cumsum(0) - sizes
    edges = torch.cat([e + s for (_, e), s in zip(parts, shift, strict=True)], dim=1)
    batch = torch.arange(3).repeat_interleave(sizes)
    torch.testing.assert_close(integer(torch.cat([x for x, _ in parts]), edges, batch, 3), alone)


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("kind", KINDS)
def test_saved_and_loaded_it_predicts_the_same(kind, name):
    x, edge_index = graph()
    integer = convert(calibrated(kind, EVERY[name]))
    loaded = convert(quantize(net(kind, seed=1), EVERY[name]), state=load(save(integer.state_dict())))
    assert torch.equal(loaded(x, edge_index), integer(x, edge_index))


def test_what_is_stored():
    integer = convert(calibrated("SAGE", W4A8()))
    linear = integer.convs[0].lin_l
    assert linear.levels.dtype == torch.int8
    assert linear.levels.shape == (16, 6)  # two channels in a byte
    assert linear.whole().abs().max() == 7
    assert convert(calibrated("SAGE", W8A8())).convs[0].lin_l.levels.shape == (16, 12)
    other = convert(calibrated("Edge", W4A8()))
    assert [type(m) for m in other.convs[0].nn] == [StoredLinear, ReLU, StoredLinear]  # gathers pairs: not in integers
    in_float = QuantConfig(W4A8().weight, aggregate=Precision(8))
    assert isinstance(convert(calibrated("SAGE", in_float)).convs[0].lin_l, StoredLinear)


def test_batch_normalisation_is_folded():
    layers = Sequential(Linear(6, 8), BatchNorm1d(8), ReLU(), Linear(8, 3))
    layers[1].running_mean.uniform_(-1, 1), layers[1].running_var.uniform_(0.5, 2)
    layers[1].weight.data.uniform_(-2, 2), layers[1].bias.data.uniform_(-1, 1)
    model = quantize(layers, W8A8())
    x = torch.randn(20, 6)
    calibrate(model, [(x,)])
    integer = convert(model)
    assert [type(m).__name__ for m in integer] == ["IntegerLinear", "Identity", "ReLU", "IntegerLinear"]
    torch.testing.assert_close(integer(x), model.eval()(x), rtol=1e-3, atol=1e-3)
    assert type(convert(calibrated("GCN", W8A8())).norm).__name__ == "ChannelAffine"


def test_rows_that_are_levels_already_are_read_as_they_are():
    x, edge_index = graph()
    integer = convert(calibrated("SAGE", W8A8()))
    conv = integer.convs[0]
    assert isinstance(conv, IntegerSAGE)
    levels, scale, zero = conv.input.integers(x)
    rows = QuantizedRows(levels, scale, 12, zero=zero)
    assert torch.equal(conv(rows, edge_index), conv(x, edge_index))
    pair = conv((x, x[:7]), edge_index[:, edge_index[1] < 7])
    torch.testing.assert_close(pair, conv(x, edge_index)[:7])


def test_linear_layers_on_few_rows_and_odd_widths():
    for width, rows in ((1, 1), (7, 3), (33, 40)):
        model = quantize(Sequential(Linear(width, 5)), W8A8())
        x = torch.randn(rows, width)
        calibrate(model, [(x,)])
        integer = convert(model)
        assert isinstance(integer[0], IntegerLinear)
        torch.testing.assert_close(integer(x), model.eval()(x), rtol=1e-4, atol=1e-4)


def test_sizes_by_what_they_are_for():
    x, edge_index = graph()
    plain, rounded = net("GCN"), calibrated("GCN", W4A8())
    integer = convert(rounded)
    floats, simulated, stored = (size_report(m, x, edge_index) for m in (plain, rounded, integer))
    matrices, biases, norms = 12 * 16 + 16 * 16 + 16 * 5, 16 + 16 + 5, 2 * 16
    assert floats.weights == 4 * (matrices + biases + norms)
    assert simulated.weights == matrices // 2 + 4 * (biases + norms)
    assert simulated.weight_scales == 4 * (16 + 16 + 5)
    assert (floats.scales, floats.buffers) == (0, 2 * 4 * 16 + 8)  # mean and variance, and a count
    assert stored.weights == simulated.weights - 4 * norms  # folded into factors and shifts
    assert stored.weight_scales == simulated.weight_scales
    assert stored.buffers == 2 * 4 * 16
    assert floats.activations == 4 * 30 * (12 + 16 + 16)
    assert simulated.activations == stored.activations == 30 * (12 + 16 + 16)
    assert size_report(plain).activations == 0
    assert stored.total == stored.weights + stored.scales + stored.buffers
    saved = sum(v.numel() * v.element_size() for v in integer.state_dict().values())
    assert saved >= stored.weight_bytes


def test_what_it_refuses():
    with pytest.raises(UsageError, match=r"the input of layer 'convs.0' has seen no data: train the model, or give"):
        convert(quantize(net("GCN"), W8A8()))
    with pytest.raises(UsageError, match=r"the input of layer 'convs.0' has seen no data"):
        convert(quantize(net("GCN"), A2Q(4)))
    with pytest.raises(UsageError, match=r"the input of the model has seen no data"):
        convert(quantize(Linear(3, 3), W8A8()))
    with pytest.raises(UsageError, match=r"the model is not quantised: give it to quantize\(\) and train or calibrate"):
        convert(net("GCN"))
    wide = QuantConfig(Precision(12, "symmetric", "channel", "current"), Precision(8))
    with pytest.raises(UsageError, match=r"the weight of layer 'head' has 12 bits, scheme 'symmetric': convert\(\)"):
        convert(calibrated("Edge", QuantConfig(wide.weight, wide.input, skip=("convs",))))
