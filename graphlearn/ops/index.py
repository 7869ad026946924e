"""A column of parents to a CSR of children."""

from __future__ import annotations

import torch
from torch import Tensor


def index_to_csr(index: Tensor, num_parents: int) -> tuple[Tensor, Tensor]:
    """Groups children by parent, each group in increasing order of the child's number.

    Args:
        index: The parent of each child, int32 or int64 ``[N]``; -1 for none.
        num_parents: Number of parents.

    Returns:
        ``rowptr`` int64 ``[num_parents + 1]`` and ``col`` ``[E]``, int32 where the children's numbers fit.
    """
    dtype = torch.int32 if len(index) < 2**31 else torch.int64
    order = index.sort(stable=True).indices
    rowptr = torch.zeros(num_parents + 1, dtype=torch.int64, device=index.device)
    count = torch.bincount(index.clamp_min(-1).add(1), minlength=num_parents + 1)
    torch.cumsum(count[1:], 0, out=rowptr[1:])
    return rowptr, order[count[0] :].to(dtype)
