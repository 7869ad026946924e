"""Attention over CSR lists: dot products along the entries, and a softmax per list."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from graphlearn.ops.csr import gather_reduce
from graphlearn.ops.csr_autograd import EntryDot
from graphlearn.ops.eager import eager


@eager
def entry_dot(src: Tensor, dst: Tensor, rowptr: Tensor, col: Tensor) -> Tensor:
    r"""Dot product of the two rows that each entry joins.

    .. math:: w_e = \langle \mathbf{s}_{c_e}, \mathbf{d}_{r_e} \rangle

    where c is ``col`` and r the list of entry e. Costs ``O(E F)`` time and ``O(E)`` memory: no row is copied per entry
    (the torch twin: ``O(E F)`` memory). Derivatives of any order flow to both sides.

    Shapes:
        - ``src``: ``[N, F]`` float;  ``dst``: ``[M, F]``, dtype of ``src``
        - ``rowptr``: ``[M + 1]`` int64;  ``col``: ``[E]`` int32 or int64, each in ``[0, N)``
        - returns ``[E]``; none for empty lists

    Raises:
        ValueError: If the two sides differ in channels or dtype, or ``dst`` has not one row per list.
    """
    if src.dim() != 2 or dst.dim() != 2 or src.size(1) != dst.size(1) or src.dtype != dst.dtype:
        found = f"{src.dtype} {list(src.shape)} and {dst.dtype} {list(dst.shape)}"
        raise ValueError(f"'src' and 'dst' must be [N, F] and [M, F] of one dtype, got {found}.")
    if dst.size(0) != rowptr.numel() - 1:
        raise ValueError(f"'dst' must have one row per list, {rowptr.numel() - 1}, got {dst.size(0)}.")
    parts = dst.contiguous(), src, rowptr.contiguous(), col.contiguous(), None, False, col.numel()
    out: Tensor = EntryDot.apply(*parts)  # type: ignore[no-untyped-call]
    return out


@eager
def list_softmax(logit: Tensor, rowptr: Tensor, row: Tensor, keep: Tensor | None = None) -> tuple[Tensor, Tensor]:
    r"""Softmax over the entries of each list, and the logarithm of its denominator.

    .. math::
        p_e = \exp(w_e - \ell_{r_e}), \qquad \ell_i = \log \sum_{e \in i} \exp(w_e)

    The maximum of each list is taken off before the exponential, so no logit is too large.

    Args:
        logit: One number per entry.
        rowptr: Start of each list, and the end of the last one.
        row: The list of each entry.
        keep: Entries that count; the others get probability 0 and no gradient. All if not given.

    Shapes:
        - ``logit``: ``[E]`` float;  ``rowptr``: ``[M + 1]`` int64;  ``row``: ``[E]`` int64;  ``keep``: ``[E]`` bool
        - returns ``[E]`` and ``[M]``; a list without entries that count has denominator 0, logarithm ``-inf``
    """
    out: tuple[Tensor, Tensor] = _ListSoftmax.apply(logit, rowptr, row, keep)  # type: ignore[no-untyped-call]
    return out


class _ListSoftmax(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logit: Tensor, rowptr: Tensor, row: Tensor, keep: Tensor | None) -> tuple[Tensor, Tensor]:
        if keep is not None:
            logit = logit.masked_fill(~keep, -torch.inf)
        largest = gather_reduce(logit.detach()[:, None], rowptr, None, "max").squeeze(1)
        largest = largest.masked_fill(largest == -torch.inf, 0.0)
        share = (logit - largest[row]).exp_()
        total = gather_reduce(share[:, None], rowptr, None, "sum").squeeze(1)
        # The largest entry of a list contributes 1, so a total below 1 is that of a list in which nothing counts.
        share = share.div_(total.clamp_min(1.0)[row])
        ctx.save_for_backward(share, rowptr, row)
        return share, total.log() + largest

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, grad_log: Tensor) -> tuple[Tensor | None, ...]:
        share, rowptr, row = ctx.saved_tensors
        slope = share * grad
        moved = grad_log - gather_reduce(slope[:, None], rowptr, None, "sum").squeeze(1)
        return slope.addcmul_(share, moved[row]), None, None, None
