"""SeedFeatures: the scale that it fits, missing and extreme values, and errors."""

from __future__ import annotations

import pytest
import torch

from graphlearn.nn import SeedFeatures


def test_scale_and_missing_values():
    layer = SeedFeatures(2, 4, dropout=0.0)
    x = torch.tensor([[1.0, torch.nan], [3.0, torch.nan], [5.0, torch.nan]])
    layer.fit(x)
    assert layer.center.tolist() == [3.0, 0.0]
    assert layer.spread.tolist() == [pytest.approx(4 / 3), 1.0]
    given = []
    layer.mlp.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
    out = layer(torch.tensor([[3.0, torch.nan], [1e30, 0.0]]))
    assert given[0].tolist() == [[0.0, 0.0, 0.0, 1.0], [4.0, 0.0, 0.0, 0.0]]  # values cut off, then what is missing
    assert out.shape == (2, 4)
    out.sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in layer.parameters())


def test_what_is_fitted_is_kept_with_the_weights():
    layer, other = SeedFeatures(3, 4, dropout=0.5), SeedFeatures(3, 4, dropout=0.5)
    x = torch.randn(50, 3, generator=torch.Generator().manual_seed(0)) * 100
    layer.fit(x)
    other.load_state_dict(layer.state_dict())
    torch.testing.assert_close(other.eval()(x), layer.eval()(x))


def test_errors():
    with pytest.raises(ValueError, match="'num_features' must be > 0, got 0"):
        SeedFeatures(0, 4, dropout=0.0)
    with pytest.raises(ValueError, match=r"'x' must have shape \[B, 3\], got \[2, 4\]"):
        SeedFeatures(3, 4, dropout=0.0)(torch.zeros(2, 4))
