"""MLPStudent: sparse features give what dense ones give."""

from __future__ import annotations

import pytest
import torch
from sparse_rows import sparse

from graphlearn.compress import MLPStudent
from graphlearn.compress.student import take_rows


def features(dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    """Nine rows of seven features, most of them zero and one row empty, densely and as sparse CSR."""
    g = torch.Generator().manual_seed(0)
    x = torch.randn(9, 7, generator=g, dtype=dtype) * (torch.rand(9, 7, generator=g) < 0.3)
    x[4] = 0
    return x, sparse(x)


def built(num_layers: int = 2) -> MLPStudent:
    torch.manual_seed(0)
    return MLPStudent(7, 5, num_layers=num_layers).double()


@pytest.mark.parametrize("num_layers", [1, 2, 4])
def test_sparse_is_dense(num_layers):
    student, (dense, csr) = built(num_layers), features()
    slopes = []
    for x in (dense, csr):
        out = student(x)
        slopes.append([out, *torch.autograd.grad(out.square().sum(), list(student.parameters()))])
    torch.testing.assert_close(*slopes)


def test_two_layers_by_hand():
    student, (x, _) = built(), features()
    first, last = student.lin, student.rest[1]
    hidden = (x @ first.weight.t() + first.bias).relu()
    torch.testing.assert_close(student(x), hidden @ last.weight.t() + last.bias)


@pytest.mark.parametrize("index", [[], [4], [8, 0, 0, 4, 3]])
def test_rows_of_a_sparse_matrix(index):
    dense, csr = features()
    index = torch.tensor(index, dtype=torch.int64)
    assert torch.equal(take_rows(csr, index).to_dense(), dense[index])
    assert torch.equal(take_rows(dense, index), dense[index])


def test_dropout_is_for_training_only():
    student, (x, csr) = MLPStudent(7, 64, dropout=0.5).double(), features()
    assert not torch.equal(student(x), student(x))
    student.eval()
    torch.testing.assert_close(student(x), student(csr))


def test_reset_gives_the_weights_of_the_seed():
    torch.manual_seed(0)
    student = MLPStudent(7, 5)
    before = [weight.clone() for weight in student.parameters()]
    torch.manual_seed(0)
    student.reset_parameters()
    assert all(torch.equal(a, b) for a, b in zip(before, student.parameters(), strict=True))


@pytest.mark.parametrize(
    ("kwargs", "says"),
    [
        ({"in_channels": 0}, "'in_channels' must be > 0, got 0"),
        ({"channels": 0}, "'channels' must be > 0, got 0"),
        ({"num_layers": 0}, "'num_layers' must be > 0, got 0"),
        ({"dropout": 1.0}, r"'dropout' must lie in \[0, 1\), got 1.0"),
    ],
)
def test_what_is_refused(kwargs, says):
    with pytest.raises(ValueError, match=says):
        MLPStudent(**({"in_channels": 3, "channels": 4} | kwargs))
