"""Sparse features for tests."""

from __future__ import annotations

import torch


def sparse(x: torch.Tensor) -> torch.Tensor:
    """The matrix as sparse CSR."""
    place = x.nonzero()
    rowptr = torch.cat([place.new_zeros(1), (x != 0).sum(1).cumsum(0)])
    return torch.sparse_csr_tensor(rowptr, place[:, 1], x[place[:, 0], place[:, 1]], x.shape, check_invariants=True)
