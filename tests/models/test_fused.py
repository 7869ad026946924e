"""Aggregates at the seed, and the share of a network."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from graphlearn.models.fused import SeedFeatures, share_of


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


def test_shares():
    label = np.array([1.0, 2.0, 3.0, 4.0])
    good, bad = label.copy(), np.zeros(4)
    assert share_of("regression", label, good, bad) == 1.0
    assert share_of("regression", label, bad, good) == 0.0
    assert share_of("regression", label, label + 1, label - 1) == 0.5  # their errors cancel
    assert share_of("regression", label, label + 1, label - 3) == 0.75
    assert share_of("regression", label, good, good) == 0.5  # where nothing is known, the mean
    assert share_of("binary_classification", np.ones(4), good / 5, good / 5) == 0.5  # one class has no AUROC
