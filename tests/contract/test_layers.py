"""What every public layer of graphlearn.nn must hold, each built from its line in cases.py."""

from __future__ import annotations

import copy
import inspect
from typing import Any

import pytest
import torch
from cases import CASES
from torch import Tensor
from torch_frame import TensorFrame

import graphlearn.nn

each_layer = pytest.mark.parametrize("name", sorted(CASES))


def built(name: str, seed: int = 0) -> torch.nn.Module:
    torch.manual_seed(seed)
    layer = CASES[name].build()
    layer.register_forward_hook(lambda layer, inputs, out: CASES[name].read(out))
    return layer


def tensors(value: Any) -> list[Tensor]:
    """Every tensor in nested containers, in a fixed order."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        return [t for key in sorted(value, key=str) for t in tensors(value[key])]
    if isinstance(value, tuple | list):
        return [t for item in value for t in tensors(item)]
    if isinstance(value, TensorFrame):
        return [t for key in sorted(value.feat_dict, key=str) for t in tensors(value.feat_dict[key])]
    return tensors([value.values, value.offset]) if hasattr(value, "offset") else []


def mapped(value: Any, change) -> Any:
    """The same containers with every tensor changed; the cells of a TensorFrame stay as they are."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, dict):
        return {key: mapped(item, change) for key, item in value.items()}
    if isinstance(value, tuple):
        return tuple(mapped(item, change) for item in value)
    return value


def assert_same(found: Any, expected: Any, **kwargs) -> None:
    pairs = list(zip(tensors(found), tensors(expected), strict=True))
    assert pairs
    for a, b in pairs:
        torch.testing.assert_close(a, b, **kwargs)


def test_the_list_of_cases_is_complete():
    assert set(CASES) == set(graphlearn.nn.__all__)


@each_layer
def test_state_dict_round_trip(name):
    layer, other = built(name, 0), built(name, 1)
    inputs = CASES[name].inputs(0)
    missing, unexpected = other.load_state_dict(layer.state_dict())
    assert not missing
    assert not unexpected
    assert_same(other(*inputs), layer(*inputs), rtol=0, atol=0)


@each_layer
def test_same_seed_same_output(name):
    inputs = CASES[name].inputs(0)
    assert_same(built(name)(*inputs), built(name)(*inputs), rtol=0, atol=0)
    layer = built(name)
    assert_same(layer(*inputs), layer(*inputs), rtol=0, atol=0)


@each_layer
def test_reset_parameters_gives_the_weights_of_the_seed(name):
    layer = built(name)
    if not list(layer.parameters()):
        pytest.skip("it has no weights")
    layer.reset_parameters()
    for parameter in layer.parameters():
        assert torch.isfinite(parameter).all()
    torch.manual_seed(3)
    layer.reset_parameters()
    first = copy.deepcopy(layer.state_dict())
    torch.manual_seed(3)
    layer.reset_parameters()
    assert_same(layer.state_dict(), first, rtol=0, atol=0)


@each_layer
def test_float64(name):
    layer, inputs = built(name), CASES[name].inputs(0)
    wide = copy.deepcopy(layer).double()
    out = wide(*mapped(inputs, lambda t: t.double() if t.is_floating_point() else t))
    assert all(t.dtype == torch.float64 for t in tensors(out))
    assert_same(mapped(out, Tensor.float), layer(*inputs), rtol=1e-4, atol=1e-5)


@each_layer
def test_inputs_stay_as_they_were(name):
    inputs = CASES[name].inputs(0)
    before = [t.clone() for t in tensors(inputs)]
    out = built(name)(*inputs)
    sum(t.sum() for t in tensors(out) if t.is_floating_point()).backward() if has_weights(name) else None
    for a, b in zip(tensors(inputs), before, strict=True):
        assert torch.equal(a.nan_to_num(7.0), b.nan_to_num(7.0))


def has_weights(name: str) -> bool:
    return bool(list(built(name).parameters()))


@each_layer
def test_two_together_are_each_alone(name):
    case, layer = CASES[name], built(name)
    a, b = case.inputs(0), case.inputs(1)
    both = layer(*case.join(a, b))
    alone = [torch.cat(pair) for pair in zip(tensors(layer(*a)), tensors(layer(*b)), strict=True)]
    assert_same(both, alone)


@each_layer
def test_the_order_of_what_is_read_does_not_matter(name):
    case, layer = CASES[name], built(name)
    inputs = case.inputs(0)
    moved, order = case.reorder(inputs)
    expected = layer(*inputs)
    assert_same(layer(*moved), expected if order is None else mapped(expected, lambda t: t[order]))


@each_layer
def test_gradients_are_finite(name):
    if not has_weights(name):
        pytest.skip("it has no weights")
    layer = built(name)
    sum(t.pow(2).sum() for t in tensors(layer(*CASES[name].inputs(0)))).backward()
    for key, parameter in layer.named_parameters():
        assert parameter.grad is not None, key
        assert torch.isfinite(parameter.grad).all(), key


@each_layer
def test_repr_names_the_class(name):
    assert repr(built(name)).startswith(name + "(")


@each_layer
def test_the_docstring_says_what_goes_in_and_out(name):
    text = inspect.getdoc(getattr(graphlearn.nn, name))
    assert text is not None
    for part in ("Args:", "Shapes:", "returns"):
        assert part in text


@each_layer
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_device_follows_the_module(name):
    layer, inputs = built(name), CASES[name].inputs(0)
    moved = tuple(item.to("cuda") if isinstance(item, TensorFrame) else mapped(item, Tensor.cuda) for item in inputs)
    out = copy.deepcopy(layer).to("cuda")(*moved)
    assert all(t.device.type == "cuda" for t in tensors(out))
    assert_same(mapped(out, Tensor.cpu), layer(*inputs), rtol=1e-4, atol=1e-4)


@each_layer
def test_tensors_are_made_where_the_inputs_are(name):
    """On the meta device anything that was made on the CPU by mistake does not fit; where an operation has no meta
    version, a GPU decides (above)."""
    if name in ("HeteroSAGEConv", "KLConv", "TemporalSAGEConv"):
        pytest.skip("the native reduction has no meta version")
    if name == "GraphParsingPooling":
        pytest.skip("the values of the scores decide how large the result is")
    layer = built(name).to("meta")
    inputs = CASES[name].inputs(0)
    moved = tuple(
        item.to("meta") if isinstance(item, TensorFrame) else mapped(item, lambda t: t.to("meta")) for item in inputs
    )
    assert all(t.device.type == "meta" for t in tensors(layer(*moved)))
