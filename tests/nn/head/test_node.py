"""NodeHead: losses and predictions of each task type, worked by hand."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from graphlearn.errors import UnknownNameError
from graphlearn.nn import NodeHead
from graphlearn.nn.head.node import TASK_TYPES
from graphlearn.tasks.manifest import TaskType

SEVERAL = ("multiclass_classification", "multilabel_classification", "multistep_regression")


def head(task_type: str, channels: int = 4) -> NodeHead:
    torch.manual_seed(0)
    return NodeHead(channels, task_type, num_classes=3 if task_type in SEVERAL else 1)


def labels(task_type: str, size: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    if "regression" in task_type:
        return torch.randn((size, 3) if task_type in SEVERAL else (size,), generator=generator, dtype=torch.float64)
    if task_type == "multiclass_classification":
        return torch.randint(3, (size,), generator=generator)
    shape = (size, 3) if task_type in SEVERAL else (size,)
    return torch.randint(2, shape, generator=generator)


def test_the_task_types_are_those_of_tasks():
    assert {*TASK_TYPES, "recommendation"} == {kind.value for kind in TaskType}


def test_binary_by_hand():
    layer = head("binary_classification")
    out = torch.tensor([0.0, math.log(3.0)])
    assert layer.predict(out).tolist() == pytest.approx([0.5, 0.75])
    expected = (-math.log(0.5) - math.log(0.25)) / 2
    assert layer.loss(out, torch.tensor([1, 0])).item() == pytest.approx(expected)


def test_multiclass_by_hand_leaves_unseen_classes_out():
    layer = head("multiclass_classification")
    out = torch.tensor([[0.0, 0.0, math.log(2.0)], [5.0, 0.0, 0.0]])
    assert layer.predict(out)[0].tolist() == pytest.approx([0.25, 0.25, 0.5])
    assert layer.loss(out, torch.tensor([2, -1])).item() == pytest.approx(math.log(2.0))
    assert layer.loss(out, torch.tensor([-1, -1])).item() == 0.0  # not NaN


def test_multilabel_by_hand():
    layer = head("multilabel_classification")
    out = torch.tensor([[0.0, math.log(3.0), 0.0]])
    assert layer.predict(out)[0].tolist() == pytest.approx([0.5, 0.75, 0.5])
    expected = -(math.log(0.5) + math.log(0.75) + math.log(0.5)) / 3
    assert layer.loss(out, torch.tensor([[1.0, 1.0, 0.0]])).item() == pytest.approx(expected)


def test_regression_by_hand():
    layer = head("regression")
    layer.fit_range(torch.arange(101, dtype=torch.float64))  # median 50, mean deviation 2550 / 101
    scale = 2550 / 101
    assert layer.center.item() == 50.0
    assert layer.scale.item() == pytest.approx(scale)
    assert (layer.low.item(), layer.high.item()) == (2.0, 98.0)
    out = torch.tensor([0.0, 1.0, 9.0, -9.0])
    assert layer.predict(out).tolist() == pytest.approx([50.0, 50.0 + scale, 98.0, 2.0])
    assert layer.loss(out[:2], torch.tensor([50.0, 50.0])).item() == pytest.approx(0.5)


def test_labels_that_are_all_alike():
    layer = head("regression")
    layer.fit_range(torch.full((5,), 1 / 3, dtype=torch.float64))
    assert layer.scale.item() == 1.0
    assert layer.predict(torch.tensor([7.0, -7.0])).tolist() == pytest.approx([1 / 3, 1 / 3])
    assert layer.loss(torch.zeros(5), torch.full((5,), 1 / 3, dtype=torch.float64)).item() < 1e-6


def test_one_label():
    layer = head("regression")
    layer.fit_range(torch.tensor([4.0]))
    assert layer.predict(torch.zeros(1)).tolist() == [4.0]


def test_the_range_is_saved():
    layer, other = head("regression"), head("regression")
    layer.fit_range(torch.arange(101, dtype=torch.float64))
    other.load_state_dict(layer.state_dict())
    out = torch.randn(10)
    assert torch.equal(layer.predict(out), other.predict(out))


@pytest.mark.parametrize("task_type", TASK_TYPES)
def test_training_fits_a_handful_of_rows(task_type):
    layer = head(task_type, channels=16)
    x, y = torch.randn(6, 16, generator=torch.Generator().manual_seed(2)), labels(task_type, 6)
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.1)
    first = layer.loss(layer(x), y).item()
    for _ in range(200):
        optimizer.zero_grad()
        layer.loss(layer(x), y).backward()
        optimizer.step()
    assert layer.loss(layer(x), y).item() < 0.1 * first


@pytest.mark.parametrize("task_type", TASK_TYPES)
def test_gradients_are_finite_and_right(task_type):
    layer = head(task_type).double()
    x = torch.randn(5, 4, dtype=torch.float64, requires_grad=True, generator=torch.Generator().manual_seed(3))
    y = labels(task_type, 5)
    assert torch.autograd.gradcheck(lambda value: layer.loss(layer(value), y), (x,))
    extreme = torch.full_like(layer(x), 1e4).requires_grad_()
    layer.loss(extreme, y).backward()
    assert torch.isfinite(extreme.grad).all()


@pytest.mark.parametrize("task_type", TASK_TYPES)
def test_shapes_also_without_seeds(task_type):
    layer = head(task_type)
    for size in (0, 1, 3):
        out = layer(torch.randn(size, 4))
        assert out.shape == ((size, 3) if task_type in SEVERAL else (size,))
        assert layer.predict(out).shape == out.shape


def test_half_precision_is_left_before_the_loss():
    layer = head("regression")
    layer.fit_range(torch.tensor([1000.0, 1001.0, 1002.0]))
    out = torch.tensor([0.5], dtype=torch.bfloat16)
    assert layer.predict(out).item() == pytest.approx(1001 + 0.5 * 2 / 3, abs=1e-3)
    assert layer.loss(out, torch.tensor([1001.0])).dtype == torch.float32


def test_the_norm_makes_scale_and_shift_of_the_input_irrelevant():
    layer = head("binary_classification")
    x = torch.randn(5, 4)
    torch.testing.assert_close(layer(x), layer(100 * x + 7), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(layer(x), F.linear(F.layer_norm(x, (4,)), layer.lin.weight).squeeze(-1))


@pytest.mark.parametrize(
    ("args", "error", "says"),
    [
        ((4, "binary_class"), UnknownNameError, r"no task type 'binary_class'. Did you mean 'binary_classification'"),
        ((0, "regression"), ValueError, r"'channels' must be > 0, got 0"),
        ((4, "multiclass_classification", 0), ValueError, r"'num_classes' must be > 0, got 0"),
        ((4, "regression", 3), ValueError, r"regression has one output, got num_classes=3"),
    ],
)
def test_what_is_refused(args, error, says):
    with pytest.raises(error, match=says):
        NodeHead(*args[:2], num_classes=args[2] if len(args) > 2 else 1)
