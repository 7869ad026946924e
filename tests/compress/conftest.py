"""A graph whose features say who is linked, split for training."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from graphlearn.compress import DistillData
from graphlearn.compress.production_split import both_directions
from graphlearn.sampling.free_pairs import FreePairs

sys.path.insert(0, str(Path(__file__).parent))  # for sparse_rows


@pytest.fixture
def groups() -> DistillData:
    """120 nodes in six groups, links within a group, features that are the group plus noise."""
    g = torch.Generator().manual_seed(0)
    group = torch.arange(120) % 6
    x = torch.nn.functional.one_hot(group).float() + 0.1 * torch.randn(120, 6, generator=g)
    pairs = (group[:, None] == group).triu(1).nonzero().t()
    links = pairs[:, torch.randperm(pairs.size(1), generator=g)[:500]]
    negatives = FreePairs(pairs, 120).draw(200, g)
    train, val = links[:, :400], links[:, 400:]
    return DistillData(x, both_directions(train), train, val, negatives)
