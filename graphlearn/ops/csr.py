"""Message passing on compressed sparse rows (CSR) without a message ever being written to memory."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from graphlearn.errors import unknown_name
from graphlearn.ops import csr_dispatch, csr_native, csr_torch
from graphlearn.ops.csr_autograd import GatherReduce
from graphlearn.ops.csr_check import check_arguments, check_values, explain

Reduce = Literal["sum", "mean", "max", "min"]
REDUCES = ("sum", "mean", "max", "min")


def gather_reduce(
    x: Tensor, rowptr: Tensor, col: Tensor | None, reduce: Reduce = "sum", weight: Tensor | None = None
) -> Tensor:
    r"""Gathers rows of ``x`` along lists of positions and reduces each list to one row.

    .. math:: \mathbf{y}_i = \bigoplus_{p_i \le e < p_{i+1}} w_e \, \mathbf{x}_{c_e}

    where p is ``rowptr``, c is ``col`` and :math:`\bigoplus` is the sum, the mean (the sum over the length of the
    list), the maximum or the minimum per channel. Costs ``O(E F)`` time and ``O(M F)`` memory (the torch twin of
    maximum and minimum: ``O(E F)`` memory where a gradient is asked for); rows of ``x`` that no list names are not
    read. Same inputs, same bits, on any number of threads. float16 and bfloat16 are added up in float32 and rounded
    once.

    Gradients of any order flow to ``x`` and ``weight``. That of a maximum or minimum goes to the first of several
    equal entries, and a second derivative takes the same way.

    Args:
        x: The rows to read.
        rowptr: Start of each list in ``col``, and the end of the last one.
        col: Position in ``x`` of each entry, or ``None`` when entry e reads row e.
        reduce: ``"sum"``, ``"mean"``, ``"max"`` or ``"min"``.
        weight: Factor of each entry.

    Shapes:
        - ``x``: ``[N, F]`` float;  ``rowptr``: ``[M + 1]`` int32 or int64;  ``col``: ``[E]`` int32 or int64
        - ``weight``: ``[E]``, dtype of ``x``
        - returns ``[M, F]``; an empty list gives zeros, for the maximum and minimum too, and no gradient

    Raises:
        UnknownNameError: If ``reduce`` is none of the four.
        ValueError: If a shape or dtype is not as above, or (on a CPU) ``rowptr`` does not run from 0 to E.
        IndexError: If an entry of ``col`` is not a row of ``x`` (on a CPU).
    """
    if reduce not in REDUCES:
        raise unknown_name("reduction", reduce, REDUCES)
    check_arguments(x, rowptr, col, weight)
    rowptr = rowptr.long().contiguous()
    col = None if col is None else col.contiguous()
    weight = None if weight is None else weight.contiguous()
    differentiable = x.requires_grad or (weight is not None and weight.requires_grad)
    if not (differentiable and torch.is_grad_enabled()):
        return csr_dispatch.reduce_rows(x, weight, rowptr, col, reduce, need_arg=False)[0]
    out: Tensor = GatherReduce.apply(x, weight, rowptr, col, None, reduce)  # type: ignore[no-untyped-call]
    return out


def gather_rows(x: Tensor, index: Tensor) -> Tensor:
    """``x[index]`` with the kernels of :func:`gather_reduce`: same bits every time, in the gradient too.

    Shapes:
        - ``x``: ``[N, F]`` float;  ``index``: ``[M]`` int32 or int64
        - returns ``[M, F]``
    """
    return gather_reduce(x, torch.arange(index.numel() + 1, device=index.device), index)


def transpose_csr(rowptr: Tensor, col: Tensor, num_src: int) -> tuple[Tensor, Tensor, Tensor]:
    """The same entries listed by source: ``(src_rowptr, row, entry)``.

    Source j is read by the entries ``entry[src_rowptr[j]:src_rowptr[j + 1]]``, in increasing order, and ``row`` is the
    row of each. Costs ``O(E + num_src)`` on a CPU with the native kernels, one sort otherwise.

    Shapes:
        - ``rowptr``: ``[M + 1]`` int32 or int64;  ``col``: ``[E]`` int32 or int64, each in ``[0, num_src)``
        - returns ``[num_src + 1]`` int64, ``[E]`` and ``[E]`` in the dtype of ``col``

    Raises:
        ValueError: If ``rowptr`` does not run from 0 to E (on a CPU).
        IndexError: If an entry of ``col`` is not a source (on a CPU).
    """
    rowptr, col = rowptr.long().contiguous(), col.contiguous()
    if csr_native.usable(col.device):
        turned = csr_native.transpose(rowptr, col, num_src)
        return turned if turned is not None else explain(num_src, rowptr, col)
    if col.device.type == "cpu" and not torch.compiler.is_compiling():
        check_values(num_src, rowptr, col)
    return csr_torch.transpose(rowptr, col, num_src)


def csr_from_edge_index(edge_index: Tensor, num_dst: int) -> tuple[Tensor, Tensor]:
    """``(rowptr, col)`` by destination of a PyG ``edge_index`` ``[2, E]``, edges of one destination in their order."""
    dst, order = edge_index[1].sort(stable=True)
    bounds = torch.arange(num_dst + 1, device=dst.device, dtype=dst.dtype)
    return torch.searchsorted(dst, bounds), edge_index[0][order]
