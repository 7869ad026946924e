"""The share of a network beside trees."""

from __future__ import annotations

import numpy as np

from graphlearn.models.fused import share_of


def test_shares():
    label = np.array([1.0, 2.0, 3.0, 4.0])
    good, bad = label.copy(), np.zeros(4)
    assert share_of("regression", label, good, bad) == 1.0
    assert share_of("regression", label, bad, good) == 0.0
    assert share_of("regression", label, label + 1, label - 1) == 0.5  # their errors cancel
    assert share_of("regression", label, label + 1, label - 3) == 0.75
    assert share_of("regression", label, good, good) == 0.5  # where nothing is known, the mean
    assert share_of("binary_classification", np.ones(4), good / 5, good / 5) == 0.5  # one class has no AUROC
