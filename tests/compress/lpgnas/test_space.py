import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from search_cases import OPTIONS, random_places

from graphlearn.compress.lpgnas import Architecture, QuantSpace, SearchSpace
from graphlearn.compress.lpgnas.space import architecture, values_of
from graphlearn.compress.lpgnas.widths import precision, width_bits
from graphlearn.errors import UnknownNameError, UsageError


@given(st.integers(0, 2**32))
def test_an_architecture_survives_json(seed):
    picked = architecture(OPTIONS, random_places(seed))
    assert Architecture.from_dict(json.loads(json.dumps(picked.to_dict()))) == picked


@given(st.integers(0, 2**32))
def test_values_are_those_of_the_places(seed):
    places = random_places(seed)
    assert values_of(architecture(OPTIONS, places)) == {name: OPTIONS[name][place] for name, place in places.items()}


def test_the_last_block_is_always_read():
    assert OPTIONS["1.skip"] == (True,)
    assert OPTIONS["0.skip"] == (False, True)


@pytest.mark.parametrize(
    ("name", "bits"), [("float", 32), ("binary", 1), ("ternary", 2), ("int5", 5), ("Q2.5", 8), ("Q7.8", 16)]
)
def test_names_of_widths(name, bits):
    assert width_bits(name, "weight") == width_bits(name, "message") == bits


def test_weights_have_a_step_per_channel_and_edges_one_per_list():
    assert precision("int4", "weight").per == "channel"
    assert precision("int4", "message").per == "tensor"
    assert precision("int4", "attention").per == "list"
    assert precision("float", "weight") is None


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda: SearchSpace(attention=("gatt",)), "no attention 'gatt'. Did you mean 'gat'"),
        (lambda: SearchSpace(activation=("selu",)), "no activation 'selu'. Did you mean 'elu'"),
        (lambda: SearchSpace(aggregator=("min",)), "no aggregator 'min'"),
        (lambda: SearchSpace(hidden=(12,)), r"got hidden 12 with 8 heads\. Take multiples of 8"),
        (lambda: SearchSpace(hidden=(3,), heads=(1,)), "got hidden 3 with 1 heads. Take multiples of 2"),
        (lambda: SearchSpace(hidden=()), r"SearchSpace: 'hidden' must be a tuple with at least one choice, got \(\)"),
        (lambda: SearchSpace(heads=[1]), r"'heads' must be a tuple with at least one choice, got \[1\]"),
        (lambda: QuantSpace(weight=("int4", "int4")), "QuantSpace: 'weight' has a choice twice"),
        (lambda: QuantSpace(input=("int",)), "'input' has no width 'int'. Widths are float, binary"),
        (lambda: QuantSpace(attention=("ternary",)), "'attention' has a step per list of edges: .* got 'ternary'"),
        (lambda: QuantSpace(weight=("Q8.8",)), "'bits' must be a whole number from 1 to 16, got 17"),
        (lambda: Architecture.from_dict({"blocks": []}), "this is no architecture: 'head'"),
        (lambda: Architecture.from_dict({"blocks": [{"wide": 3}], "head": {}}), "this is no architecture: .*'wide'"),
    ],
)
def test_errors(build, text):
    with pytest.raises((UsageError, UnknownNameError), match=text):
        build()
