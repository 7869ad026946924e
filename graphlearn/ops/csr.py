"""Message passing on compressed sparse rows (CSR) without a message ever being written to memory."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from graphlearn.errors import unknown_name
from graphlearn.ops import csr_torch

Reduce = Literal["sum", "mean", "max"]
_REDUCES = ("sum", "mean", "max")


def gather_reduce(
    x: Tensor, rowptr: Tensor, col: Tensor | None, reduce: Reduce = "sum", weight: Tensor | None = None
) -> Tensor:
    r"""Gathers rows of ``x`` along lists of positions and reduces each list to one row.

    .. math:: \mathbf{out}_i = \bigoplus_{e \in [p_i, p_{i+1})} w_e \, \mathbf{x}_{\mathrm{col}_e}, \quad p = \mathrm{rowptr}

    where :math:`\bigoplus` is the sum, the mean (the sum over the length of the list) or the maximum per channel.
    Costs ``O(E F)`` time and ``O(M F)`` memory (the torch twin of the maximum: ``O(E F)`` memory); rows of ``x`` that
    no list names are not read. The same inputs give the same bits, on any number of threads.

    Gradients flow to ``x`` and ``weight``, once: a second derivative raises. The gradient of a maximum goes to the
    first of several equal entries.

    Args:
        x: The rows to read.
        rowptr: Start of each list in ``col``, and the end of the last one.
        col: Position in ``x`` of each entry, or ``None`` when entry e reads row e.
        reduce: ``"sum"``, ``"mean"`` or ``"max"``.
        weight: Factor of each entry.

    Shapes:
        - ``x``: ``[N, F]`` float;  ``rowptr``: ``[M + 1]`` int32 or int64;  ``col``: ``[E]`` int32 or int64
        - ``weight``: ``[E]``, dtype of ``x``
        - returns ``[M, F]``; an empty list gives zeros, for the maximum too, and no gradient

    Raises:
        UnknownNameError: If ``reduce`` is none of the three.
        ValueError: If a shape or dtype is not as above, or (on a CPU) ``rowptr`` does not run from 0 to E.
        IndexError: If an entry of ``col`` is not a row of ``x`` (on a CPU).
    """
    if reduce not in _REDUCES:
        raise unknown_name("reduction", reduce, _REDUCES)
    _check(x, rowptr, col, weight)
    need_arg = (
        reduce == "max"
        and torch.is_grad_enabled()
        and (x.requires_grad or (weight is not None and weight.requires_grad))
    )
    out: Tensor = _GatherReduce.apply(x, weight, rowptr, col, reduce, need_arg)[0]  # type: ignore[no-untyped-call]
    return out


def transpose_csr(rowptr: Tensor, col: Tensor, num_src: int) -> tuple[Tensor, Tensor, Tensor]:
    """The same entries listed by source: ``(src_rowptr, row, entry)``.

    Source j is read by the entries ``entry[src_rowptr[j]:src_rowptr[j + 1]]``, in increasing order, and ``row`` is the
    row of each. Costs ``O(E + num_src)`` on a CPU with the native kernels, one sort otherwise.

    Shapes:
        - ``rowptr``: ``[M + 1]``;  ``col``: ``[E]``
        - returns ``[num_src + 1]`` in the dtype of ``rowptr``, ``[E]`` and ``[E]`` in the dtype of ``col``
    """
    return csr_torch.transpose(rowptr, col, num_src)


def csr_from_edge_index(edge_index: Tensor, num_dst: int) -> tuple[Tensor, Tensor]:
    """``(rowptr, col)`` by destination of a PyG ``edge_index`` ``[2, E]``, edges of one destination in their order."""
    dst, order = edge_index[1].sort(stable=True)
    bounds = torch.arange(num_dst + 1, device=dst.device, dtype=dst.dtype)
    return torch.searchsorted(dst, bounds), edge_index[0][order]


class _GatherReduce(torch.autograd.Function):
    @staticmethod
    def forward(
        x: Tensor, weight: Tensor | None, rowptr: Tensor, col: Tensor | None, reduce: Reduce, need_arg: bool
    ) -> tuple[Tensor, Tensor | None]:
        if reduce == "max":
            out, arg = csr_torch.max_rows(x, rowptr, col, weight)
            return out, arg if need_arg else None
        out = csr_torch.sum_rows(x, rowptr, col, weight)
        if reduce == "mean":
            out /= _length(rowptr, out.dtype)
        return out, None

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor | None]) -> None:
        x, weight, rowptr, col, ctx.reduce, _ = inputs
        ctx.num_src = x.size(0)
        arg = output[1]
        if arg is not None:
            ctx.mark_non_differentiable(arg)
        keep_x = weight is not None and ctx.needs_input_grad[1]
        ctx.save_for_backward(x if keep_x else None, weight, rowptr, col, arg)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, _: None) -> tuple[Tensor | None, ...]:
        x, weight, rowptr, col, arg = ctx.saved_tensors
        grad_x = grad_weight = None
        if ctx.reduce == "mean":
            grad = grad / _length(rowptr, grad.dtype)
        if ctx.needs_input_grad[0]:
            if ctx.reduce == "max":
                grad_x = csr_torch.scatter_max(grad, arg, rowptr, col, weight, ctx.num_src)
            elif col is None:
                grad_x = csr_torch.expand_rows(grad, rowptr, weight, ctx.num_src)
            else:
                src_rowptr, row, entry = transpose_csr(rowptr, col, ctx.num_src)
                grad_x = csr_torch.sum_rows(grad, src_rowptr, row, None if weight is None else weight[entry])
        if ctx.needs_input_grad[1]:
            if ctx.reduce == "max":
                grad_weight = csr_torch.weight_grad_max(grad, arg, x, rowptr, col, weight.numel())
            else:
                grad_weight = csr_torch.entry_dot(grad, x, rowptr, col, weight.numel())
        return grad_x, grad_weight, None, None, None, None


def _length(rowptr: Tensor, dtype: torch.dtype) -> Tensor:
    """Length of each list, ``[M, 1]``; 1 for an empty one, whose sum is 0 anyway."""
    return rowptr.diff().clamp_min(1).to(dtype)[:, None]


def _check(x: Tensor, rowptr: Tensor, col: Tensor | None, weight: Tensor | None) -> None:
    if x.dim() != 2 or not x.is_floating_point():
        raise ValueError(f"'x' must be a float tensor of shape [N, F], got {x.dtype} {list(x.shape)}.")
    for name, index in (("rowptr", rowptr), ("col", col)):
        if index is not None and (index.dim() != 1 or index.dtype not in (torch.int32, torch.int64)):
            found = f"{index.dtype} {list(index.shape)}"
            raise ValueError(f"'{name}' must be an int32 or int64 tensor of one dimension, got {found}.")
    if rowptr.numel() == 0:
        raise ValueError("'rowptr' must hold at least one number, the 0 at which the first list starts; got none.")
    if weight is not None and (weight.dim() != 1 or weight.dtype != x.dtype):
        found = f"{weight.dtype} {list(weight.shape)}"
        raise ValueError(f"'weight' must be a {x.dtype} tensor of one dimension, got {found}.")
    if weight is not None and col is not None and weight.numel() != col.numel():
        raise ValueError(f"'weight' has {weight.numel()} values for {col.numel()} entries of 'col'.")
    if x.device.type != "cpu":
        return
    start, end = int(rowptr[0]), int(rowptr[-1])
    num_entries = end if col is None else col.numel()
    if start != 0 or end != num_entries:
        raise ValueError(f"'rowptr' must run from 0 to the {num_entries} entries, got {start} to {end}.")
    if bool((rowptr[1:] < rowptr[:-1]).any()):
        raise ValueError("'rowptr' must not decrease.")
    if col is not None and col.numel() and (int(col.min()) < 0 or int(col.max()) >= x.size(0)):
        raise IndexError(f"'col' holds {int(col.min())} to {int(col.max())}, but 'x' has {x.size(0)} rows.")
    if col is None and end > x.size(0):
        raise IndexError(f"'rowptr' names {end} rows, but 'x' has {x.size(0)}.")
