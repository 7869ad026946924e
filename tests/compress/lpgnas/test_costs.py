"""Expected costs against plain counts of the models that they stand for."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from search_cases import BITS, OPTIONS, random_places

from graphlearn.compress.lpgnas import QuantSpace, SearchSpace
from graphlearn.compress.lpgnas.attention import ATTENTION, PER_EDGE
from graphlearn.compress.lpgnas.costs import Costs, one_hot
from graphlearn.compress.lpgnas.network import SearchedNet
from graphlearn.compress.lpgnas.space import architecture, decisions
from graphlearn.compress.lpgnas.widths import width_bits
from graphlearn.compress.quantize import size_report


def costs(options=OPTIONS, in_channels=11):
    return Costs(options, in_channels=in_channels, out_channels=3, num_nodes=20, num_edges=90, num_outputs=20)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([1, 10, 11]))
def test_bytes_are_those_of_the_model(seed, in_channels):
    places = random_places(seed)
    model = SearchedNet(in_channels, 3, architecture(OPTIONS, places))
    assert int(costs(in_channels=in_channels).size(one_hot(OPTIONS, places))) == size_report(model).total


@given(st.integers(0, 2**32))
def test_bit_operations_are_those_of_each_layer(seed):
    places = random_places(seed)
    picked = architecture(OPTIONS, places)
    total, width, read = 0, 11, 0
    for block in picked.blocks:
        bits = {part: width_bits(name, part) for part, name in block.bits.items()}
        total += 20 * width * block.hidden * bits["weight"] * bits["input"]
        scored = 90 if block.attention in PER_EDGE else 20
        total += scored * ATTENTION[block.attention] * block.hidden * 32 * bits["weight"]
        total += 90 * block.hidden * bits["message"] * (1 if block.attention == "none" else bits["attention"])
        read += block.skip * block.hidden
        width = block.hidden
    head = {part: width_bits(name, part) for part, name in picked.head.items()}
    total += 20 * read * 3 * head["weight"] * head["input"]
    assert float(costs().operations(one_hot(OPTIONS, places))) == total


@pytest.mark.parametrize("cost", ["size", "operations"])
def test_the_expected_cost_is_the_mean_over_all_networks(cost):
    space = SearchSpace(("none", "gat"), ("sum",), ("relu",), (1,), (2, 6))
    quant = QuantSpace(("Q1.3", "float"), ("int4",), ("int8",), ("int8", "float"), ("float",), ("float",))
    options = decisions(space, quant, 1)
    generator = torch.Generator().manual_seed(0)
    chance = {name: torch.rand(len(c), generator=generator).double() for name, c in options.items()}
    chance = {name: part / part.sum() for name, part in chance.items()}
    table, expected = costs(options), 0.0
    for places in itertools.product(*(range(len(choices)) for choices in options.values())):
        named = dict(zip(options, places, strict=True))
        likely = torch.stack([chance[name][place] for name, place in named.items()]).prod()
        expected += float(likely * getattr(table, cost)(one_hot(options, named)))
    assert float(getattr(table, cost)(chance)) == pytest.approx(expected)


def test_parts_add_up():
    hot = one_hot(OPTIONS, random_places(4))
    parts = costs().parts(hot)
    assert float(costs().size(hot)) == pytest.approx(sum(float(part) for part in parts.values()))
    assert {name.split(".")[0] for name in parts} == {"0", "1", "head"}


def test_wider_bits_cost_more():
    places = random_places(0)
    sizes = []
    for name in ("ternary", "int4", "int8", "int16", "float"):
        chosen = places | {"0.bits.weight": BITS.weight.index(name)}
        sizes.append(float(costs(in_channels=100).size(one_hot(OPTIONS, chosen))))
    assert sizes[0] == sizes[1] < sizes[2] < sizes[3] < sizes[4]
