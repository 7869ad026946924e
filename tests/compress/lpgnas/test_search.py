import json

import pytest
import torch
from search_cases import BITS, CHANNELS, NUM_NODES, WIDE, make_graph
from torch_geometric.data import Data

from graphlearn.compress.lpgnas import (
    LPGNAS,
    Architecture,
    GraphTask,
    LinkTask,
    NodeTask,
    QuantSpace,
    SearchSpace,
)
from graphlearn.compress.quantize import convert, size_report
from graphlearn.errors import DataError, GraphLearnError, UsageError

FLOATS = QuantSpace(*(("float",),) * 6)


def search(data=None, **settings):
    settings = {"epochs": 30, "warmup": 10, "candidates": 5} | settings
    return LPGNAS(WIDE, BITS, **settings).fit(make_graph() if data is None else data)


def links(seed):
    data = make_graph()
    generator = torch.Generator().manual_seed(seed)
    label = data.edge_index[:, torch.randperm(data.num_edges, generator=generator)[:40]]
    other = torch.randint(0, NUM_NODES, (2, 40), generator=generator)
    pairs, truth = torch.cat([label, other], dim=1), torch.arange(80) < 40
    return Data(x=data.x, edge_index=data.edge_index, edge_label_index=pairs, edge_label=truth.long())


def graphs(seed, count=12):
    found = []
    for place in range(count):
        data = make_graph(seed + place)
        found.append(Data(x=data.x + 2.0 * (place % 2), edge_index=data.edge_index, y=torch.tensor([place % 2])))
    return found


def test_the_same_seed_gives_the_same_search():
    first, second, other = search(seed=3), search(seed=3), search(seed=4)
    assert first.history == second.history != other.history
    one, two = first.derive(), second.derive()
    assert one.architecture == two.architecture
    for name, value in one.model.state_dict().items():
        assert torch.equal(value, two.model.state_dict()[name])
    assert first.retrain(epochs=5).val_loss == second.retrain(epochs=5).val_loss


def test_fit_leaves_no_trace_of_an_earlier_one():
    again = search(seed=1)
    history = again.history
    assert again.fit(make_graph()).history == history


def test_test_nodes_are_not_read():
    data = make_graph()
    blind = data.clone()
    blind.y = data.y.masked_fill(data.test_mask, 0)
    first, second = search(data), search(blind)
    assert first.history == second.history
    assert first.retrain(epochs=3).architecture == second.retrain(epochs=3).architecture


def test_weights_of_costs_steer_the_search():
    sizes = [search(size_weight=weight, epochs=60).derive().bytes for weight in (0.0, 3.0)]
    assert sizes[1] < sizes[0]
    operations = [search(size_weight=0.0, ops_weight=w, epochs=60).derive().bit_operations for w in (0.0, 3.0)]
    assert operations[1] < operations[0]


def test_the_expected_size_falls_when_only_it_counts():
    history = search(size_weight=100.0, epochs=60).history
    assert history[-1].bytes < 0.5 * history[0].bytes


@pytest.mark.parametrize("retrained", [False, True])
def test_bytes_and_account_are_those_of_the_model(retrained):
    found = search()
    derived = found.retrain(epochs=3) if retrained else found.derive()
    report = size_report(derived.model)
    assert derived.bytes == report.total == sum(row.bytes for row in derived.costs)
    assert sum(row.share for row in derived.costs) == pytest.approx(1.0)
    text = str(derived)
    assert f"{derived.bytes:,} bytes" in text
    block = derived.architecture.blocks[0]
    assert f"{CHANNELS} x {block.hidden}, {block.bits['weight']}" in text


def test_retraining_learns():
    derived = search(epochs=60).retrain(epochs=60)
    assert derived.val_score > 0.6  # a third by chance


def test_the_best_finalist_is_kept():
    found = search()
    every = found.retrain(epochs=5, finalists=4)
    assert found._target(every) <= found._target(found.retrain(epochs=5))


def test_an_architecture_from_json_is_trained_without_a_search():
    found = search()
    chosen = found.derive().architecture
    read = Architecture.from_dict(json.loads(json.dumps(chosen.to_dict())))
    plain = LPGNAS().retrain(make_graph(), chosen=read, epochs=3)
    ours = found.retrain(chosen=chosen, epochs=3)
    assert plain.bytes == ours.bytes
    assert plain.val_loss == ours.val_loss


def test_the_chosen_network_converts_to_integers():
    quant = QuantSpace(("int4", "int8"), ("int8",), ("int8",), ("int8",), ("int8",), ("int8",))
    data = make_graph()
    model = LPGNAS(WIDE, quant, epochs=12, warmup=4).fit(data).retrain(epochs=10).model.eval()
    integers = convert(model)
    with torch.no_grad():
        torch.testing.assert_close(
            integers(data.x, data.edge_index), model(data.x, data.edge_index), atol=0.05, rtol=0.05
        )


def test_links_and_graphs_are_searched_too():
    task = LinkTask(links(0), links(1), links(2), channels=8)
    found = search(task, epochs=40)
    derived = found.retrain(epochs=60)
    assert derived.bytes == size_report(derived.model).total
    assert found.score(derived) > 0.55
    task = GraphTask(graphs(0), graphs(20), graphs(40))
    found = search(task, epochs=40)
    derived = found.retrain(epochs=40)
    assert derived.bytes == size_report(derived.model).total
    assert found.score(derived) > 0.8


def test_a_float_network_has_nothing_to_calibrate():
    found = LPGNAS(WIDE, FLOATS, epochs=4, warmup=1).fit(make_graph()).derive()
    data = make_graph()
    assert {row.bits for row in found.costs} == {32}
    assert found.model(data.x, data.edge_index).isfinite().all()


def test_double_precision_is_kept():
    data = make_graph()
    data.x = data.x.double()
    derived = search(data).retrain(epochs=2)
    assert derived.model(data.x, data.edge_index).dtype == torch.float64


def without(part):
    data = make_graph()
    del data[part]
    return data


def no_val():
    data = make_graph()
    data.val_mask[:] = False
    return data


def unbounded():
    data = make_graph()
    data.x = data.x * 1e38
    return data


@pytest.mark.parametrize(
    ("run", "error", "text"),
    [
        (lambda: LPGNAS(size_weight=-1.0), UsageError, "must not be negative, got -1.0, 0.0, 0.0005 and 50"),
        (lambda: LPGNAS(epochs=10, warmup=10), UsageError, "'warmup' must be from 0 to below the 10 epochs, got 10"),
        (lambda: LPGNAS(dropout=1.0), UsageError, r"'dropout' must lie in \[0, 1\), got 1.0"),
        (lambda: LPGNAS(temperature=(0.1, 1.0)), UsageError, "'temperature' must fall and stay above 0, got 0.1 to"),
        (lambda: LPGNAS(num_layers=0), ValueError, "'num_layers' must be > 0, got 0"),
        (lambda: LPGNAS().derive(), UsageError, r"derive\(\) has no search to go by: call fit\(\) first"),
        (lambda: LPGNAS().retrain(), UsageError, r"retrain\(\) has no search to go by"),
        (lambda: LPGNAS().retrain(make_graph()), UsageError, "derive.. has no search to go by"),
        (
            lambda: NodeTask(without("val_mask")),
            UsageError,
            "the data have no 'val_mask'; a search needs x, edge_index",
        ),
        (lambda: NodeTask(no_val()), DataError, "the split 'val' has no nodes"),
        (lambda: GraphTask(graphs(0), []), DataError, "the split 'val' has no graphs"),
        (lambda: LinkTask(make_graph(), links(0)), UsageError, "the data have no 'edge_label_index'"),
        (lambda: LinkTask(links(0), links(1)).inputs("test"), UsageError, "no split 'test', only train, val"),
        (
            lambda: LPGNAS(SearchSpace(hidden=(8,), norm=(False,), aggregator=("sum",)), FLOATS).fit(unbounded()),
            GraphLearnError,
            "the train loss is (inf|nan) in epoch 1. Scale the features",
        ),
    ],
)
def test_errors(run, error, text):
    with pytest.raises(error, match=text):
        run()
