"""The shared weights: each draw is the network that it stands for, and nothing else is computed."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from search_cases import BITS, CHANNELS, NUM_NODES, OPTIONS, WIDE, make_graph, random_places

from graphlearn.compress.lpgnas.attention import Edges
from graphlearn.compress.lpgnas.controller import Controller
from graphlearn.compress.lpgnas.network import SearchedNet
from graphlearn.compress.lpgnas.space import architecture
from graphlearn.compress.lpgnas.supernet import Supernet
from graphlearn.compress.quantize import ListQuantizer, Quantizer


def supernet(seed=0):
    generator = torch.Generator().manual_seed(seed)
    net = Supernet(CHANNELS, 3, WIDE, BITS, num_layers=2, dropout=0.0, generator=generator).double()
    with torch.no_grad():  # biases that are not 0, as after training
        for block in net.blocks:
            block.bias.uniform_(-0.5, 0.5, generator=generator)
    return net


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32))
def test_a_draw_is_the_network_with_the_same_weights(seed):
    net, data = supernet(), make_graph()
    x = data.x.double()
    picked = architecture(OPTIONS, random_places(seed))
    alone = SearchedNet(CHANNELS, 3, picked, dropout=0.0).double()
    left = alone.load_state_dict(net.weights_of(picked), strict=False)
    assert not left.unexpected_keys
    assert {name.rpartition(".")[2] for name in left.missing_keys} <= {"low", "high", "seen"}
    # In training the first range of a quantiser is that of the current tensor, as it always is in the supernet.
    expected, found = alone.train()(x, data.edge_index), net.eval()(x, Edges.of(data.edge_index, NUM_NODES), picked)
    # A sum that ends on the border of two levels may fall to either, as it does when edges come in another order.
    expected = expected.detach()
    off = (found.detach() - expected).abs()
    assert float((off > 1e-7).float().mean()) <= 0.1
    assert float(off.max()) <= 0.05 * max(float(expected.abs().max()), 1.0)


@pytest.mark.parametrize("graphs", [False, True])
def test_gates_change_no_number_and_reach_every_logit(graphs):
    net, data, controller = supernet(), make_graph(), Controller(OPTIONS)
    edges = Edges.of(data.edge_index, NUM_NODES)
    kinds = {"batch": data.y, "num_graphs": 3} if graphs else {}
    generator = torch.Generator().manual_seed(0)
    learned = torch.zeros_like(controller.logits)
    for _ in range(60):
        drawn = controller.draw(generator, 0.8)
        picked = architecture(OPTIONS, drawn.places)
        out = net(data.x.double(), edges, picked, drawn.gates, **kinds)
        torch.testing.assert_close(out, net(data.x.double(), edges, picked, **kinds))
        (grad,) = torch.autograd.grad(out.square().sum(), controller.logits)
        assert grad.isfinite().all()
        learned += grad.abs()
    sizes = list(controller.sizes.values())
    several = torch.cat([torch.full((size,), size > 1) for size in sizes])
    assert (learned[several] > 0).all()
    assert (learned[~several] == 0).all()


def test_only_what_was_drawn_runs():
    net, data = supernet(), make_graph()
    calls = {}
    for name, module in net.named_modules():
        if isinstance(module, (Quantizer, ListQuantizer)):
            module.register_forward_hook(lambda *_, name=name: calls.__setitem__(name, calls.get(name, 0) + 1))
    for seed in range(10):
        calls.clear()
        picked = architecture(OPTIONS, random_places(seed))
        net(data.x.double(), Edges.of(data.edge_index, NUM_NODES), picked)
        expected = set()
        for layer, block in enumerate(picked.blocks):
            parts = dict(block.bits)
            if block.attention not in ("none", "gcn"):
                parts["vectors"] = parts["weight"]
            if block.attention == "none":
                del parts["attention"]
            expected |= {
                f"blocks.{layer}.rounders.{part}.{name.replace('.', '_')}"
                for part, name in parts.items()
                if name != "float"
            }
        expected |= {
            f"head.rounders.{part}.{name.replace('.', '_')}" for part, name in picked.head.items() if name != "float"
        }
        assert calls == dict.fromkeys(expected, 1)


def test_the_order_of_nodes_does_not_matter():
    net, data = supernet(), make_graph()
    x = data.x.double()
    order = torch.randperm(NUM_NODES, generator=torch.Generator().manual_seed(3))
    place = order.argsort()
    for seed in range(12):
        picked = architecture(OPTIONS, random_places(seed))
        out = net(x, Edges.of(data.edge_index, NUM_NODES), picked)
        turned = net(x[order], Edges.of(place[data.edge_index], NUM_NODES), picked)
        torch.testing.assert_close(turned, out[order])


def test_a_batch_of_graphs_is_each_graph_alone():
    data = make_graph()
    floats = {name: len(options) - 1 for name, options in OPTIONS.items() if ".bits." in name}
    picked = architecture(OPTIONS, random_places(5) | floats)
    net = SearchedNet(CHANNELS, 3, picked, generator=torch.Generator().manual_seed(0)).double().eval()
    x, one = data.x.double(), torch.zeros(NUM_NODES, dtype=torch.int64)
    both = net(
        torch.cat([x, 2 * x]),
        torch.cat([data.edge_index, data.edge_index + NUM_NODES], dim=1),
        torch.cat([one, one + 1]),
        2,
    )
    for place, rows in enumerate((x, 2 * x)):
        torch.testing.assert_close(both[place], net(rows, data.edge_index, one, 1)[0])


def test_a_draw_follows_the_probabilities():
    controller = Controller({"kind": ("a", "b", "c")})
    with torch.no_grad():
        controller.logits.copy_(torch.tensor([0.0, 1.0, 2.0]))
    generator = torch.Generator().manual_seed(0)
    count = torch.zeros(3)
    for _ in range(3000):
        count[controller.draw(generator, 0.5).places["kind"]] += 1
    torch.testing.assert_close(count / 3000, torch.tensor([0.0, 1.0, 2.0]).softmax(0), atol=0.03, rtol=0.0)
    assert controller.likeliest() == {"kind": 2}
