"""Message passing on compressed sparse rows (CSR) without a message ever being written to memory."""

from __future__ import annotations

from typing import Any, Literal, NoReturn

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from graphlearn.errors import first_three, unknown_name
from graphlearn.ops import csr_native, csr_torch

Reduce = Literal["sum", "mean", "max"]
_REDUCES = ("sum", "mean", "max")


def gather_reduce(
    x: Tensor, rowptr: Tensor, col: Tensor | None, reduce: Reduce = "sum", weight: Tensor | None = None
) -> Tensor:
    r"""Gathers rows of ``x`` along lists of positions and reduces each list to one row.

    .. math:: \mathbf{y}_i = \bigoplus_{p_i \le e < p_{i+1}} w_e \, \mathbf{x}_{c_e}

    where p is ``rowptr``, c is ``col`` and :math:`\bigoplus` is the sum, the mean (the sum over the length of the list)
    or the maximum per channel. Costs ``O(E F)`` time and ``O(M F)`` memory (the torch twin of the maximum: ``O(E F)``
    memory); rows of ``x`` that no list names are not read. Same inputs, same bits, on any number of threads.

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
    rowptr = rowptr.long().contiguous()
    col = None if col is None else col.contiguous()
    weight = None if weight is None else weight.contiguous()
    return _run(x, weight, rowptr, col, reduce)


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
        return turned if turned is not None else _explain(num_src, rowptr, col)
    if col.device.type == "cpu":
        _check_values(num_src, rowptr, col)
    return csr_torch.transpose(rowptr, col, num_src)


def csr_from_edge_index(edge_index: Tensor, num_dst: int) -> tuple[Tensor, Tensor]:
    """``(rowptr, col)`` by destination of a PyG ``edge_index`` ``[2, E]``, edges of one destination in their order."""
    dst, order = edge_index[1].sort(stable=True)
    bounds = torch.arange(num_dst + 1, device=dst.device, dtype=dst.dtype)
    return torch.searchsorted(dst, bounds), edge_index[0][order]


@torch.compiler.disable  # a kernel that reads addresses cannot be traced: compiled models call it as it is
def _run(x: Tensor, weight: Tensor | None, rowptr: Tensor, col: Tensor | None, reduce: Reduce) -> Tensor:
    differentiable = x.requires_grad or (weight is not None and weight.requires_grad)
    if not (differentiable and torch.is_grad_enabled()):
        return _forward(x, weight, rowptr, col, reduce, need_arg=False)[0]
    out: Tensor = _GatherReduce.apply(x, weight, rowptr, col, reduce)[0]  # type: ignore[no-untyped-call]
    return out


def _forward(
    x: Tensor, weight: Tensor | None, rowptr: Tensor, col: Tensor | None, reduce: Reduce, need_arg: bool
) -> tuple[Tensor, Tensor | None]:
    if csr_native.usable(x.device, x.dtype):
        result = csr_native.reduce_rows(x, rowptr, col, reduce, weight, need_arg)
        return result if result is not None else _explain(x.size(0), rowptr, col, weight)
    if x.device.type == "cpu":
        _check_values(x.size(0), rowptr, col, weight)
    return csr_torch.reduce_rows(x, rowptr, col, reduce, weight, need_arg)


class _GatherReduce(torch.autograd.Function):
    # With a `setup_context` of its own torch looks up the signature of `forward` at every call, which takes longer
    # than the kernel does on a small batch.
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, rowptr: Tensor, col: Tensor | None, reduce: Reduce
    ) -> tuple[Tensor, Tensor | None]:
        out, arg = _forward(x, weight, rowptr, col, reduce, need_arg=reduce == "max")
        ctx.reduce, ctx.num_src = reduce, x.size(0)
        if arg is not None:
            ctx.mark_non_differentiable(arg)
        ctx.save_for_backward(x if ctx.needs_input_grad[1] else None, weight, rowptr, col, arg)
        return out, arg

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, _: None) -> tuple[Tensor | None, ...]:
        x, weight, rowptr, col, arg = ctx.saved_tensors
        grad = grad.contiguous()
        backend = csr_native if csr_native.usable(grad.device, grad.dtype) else csr_torch
        grad_x = grad_weight = None
        if ctx.needs_input_grad[0]:
            grad_x = backend.backward(grad, arg, rowptr, col, weight, ctx.num_src, ctx.reduce == "mean")
        if ctx.needs_input_grad[1]:
            if ctx.reduce == "max":
                grad_weight = csr_torch.max_backward_weight(grad, arg, x, rowptr, col, weight.numel())
            else:
                if ctx.reduce == "mean":
                    grad = grad / csr_torch.lengths(rowptr, grad.dtype)
                grad_weight = backend.entry_dot(grad, x, rowptr, col, weight.numel())
        return grad_x, grad_weight, None, None, None


def _check(x: Tensor, rowptr: Tensor, col: Tensor | None, weight: Tensor | None) -> None:
    if x.dim() != 2 or not x.is_floating_point():
        raise ValueError(f"'x' must be a float tensor of shape [N, F], got {x.dtype} {list(x.shape)}.")
    for name, index in (("rowptr", rowptr), ("col", col)):
        if index is not None and (index.dim() != 1 or index.dtype not in (torch.int32, torch.int64)):
            found = f"{index.dtype} {list(index.shape)}"
            raise ValueError(f"'{name}' must be an int32 or int64 tensor of one dimension, got {found}.")
    for name, other in (("rowptr", rowptr), ("col", col), ("weight", weight)):
        if other is not None and other.device != x.device:  # the kernels take addresses, and would not notice
            raise ValueError(f"'{name}' must be on the device of 'x', {x.device}, but is on {other.device}.")
    if rowptr.numel() == 0:
        raise ValueError("'rowptr' must hold at least one number, the 0 at which the first list starts; got none.")
    if weight is not None:
        if weight.dim() != 1 or weight.dtype != x.dtype:
            found = f"{weight.dtype} {list(weight.shape)}"
            raise ValueError(f"'weight' must be a {x.dtype} tensor of one dimension, got {found}.")
        if col is not None and weight.numel() != col.numel():
            raise ValueError(f"'weight' has {weight.numel()} values for the {col.numel()} entries of 'col'.")


def _check_values(num_src: int, rowptr: Tensor, col: Tensor | None, weight: Tensor | None = None) -> None:
    """Raises if an index is out of its range. Reads them all, so on a GPU it would wait for the device."""
    start, end = int(rowptr[0]), int(rowptr[-1])
    num_entries = end if col is None else col.numel()
    if col is None and weight is not None:
        num_entries = weight.numel()
    if start != 0 or end != num_entries:
        raise ValueError(f"'rowptr' must run from 0 to the {num_entries} entries, got {start} to {end}.")
    falling = (rowptr.diff() < 0).nonzero().flatten().tolist()
    if falling:
        where = f"at {len(falling)} places (first: {first_three(falling)})"
        raise ValueError(f"'rowptr' must not decrease, but the next number is smaller {where}.")
    if col is None and num_entries > num_src:
        raise IndexError(f"'rowptr' lists {num_entries} entries, but there are {num_src} rows to read.")
    if col is not None:
        wrong = col[(col < 0) | (col >= num_src)]
        if wrong.numel():
            found = f"{wrong.numel()} of {num_entries} entries are not (first: {first_three(wrong[:3].tolist())})"
            raise IndexError(f"'col' must name rows 0 to {num_src - 1}: {found}.")


def _explain(num_src: int, rowptr: Tensor, col: Tensor | None, weight: Tensor | None = None) -> NoReturn:
    """Raises for the wrong index that a native kernel met."""
    _check_values(num_src, rowptr, col, weight)
    raise AssertionError("a native kernel refused indices that are all in range")
