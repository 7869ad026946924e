"""Which kernels reduce lists: C++ on a CPU, Triton on a GPU, torch operations where neither is.

float16 and bfloat16 are added up in float32: the C++ and Triton kernels of the forward pass read them as they are,
everything else widens the rows, of which there are fewer than entries.
"""

from __future__ import annotations

import torch
from torch import Tensor

from graphlearn.ops import csr_native, csr_torch, segment_triton
from graphlearn.ops.csr_check import check_values, explain

_HALF = (torch.float16, torch.bfloat16)


def reduce_rows(
    x: Tensor, weight: Tensor | None, rowptr: Tensor, col: Tensor | None, reduce: str, need_arg: bool
) -> tuple[Tensor, Tensor | None]:
    """The reduction of each list, and if needed the place in the list of the maximum or minimum; both ``[M, F]``."""
    if csr_native.usable(x.device, x.dtype):
        result = csr_native.reduce_rows(x, rowptr, col, reduce, _wide(weight), need_arg)
        return result if result is not None else explain(x.size(0), rowptr, col, weight)
    if segment_triton.usable(x.device, x.dtype):
        return segment_triton.reduce_rows(x, rowptr, col, reduce, weight, need_arg)
    if x.device.type == "cpu" and not torch.compiler.is_compiling():
        check_values(x.size(0), rowptr, col, weight)
    out, arg = csr_torch.reduce_rows(wide(x), rowptr, col, reduce, _wide(weight), need_arg)
    return out.to(x.dtype), arg


def pick(x: Tensor, weight: Tensor | None, rowptr: Tensor, col: Tensor | None, arg: Tensor) -> Tensor:
    """Each channel of ``weight[e] * x[col[e]]`` of the entry e that ``arg`` names, ``[M, F]``; 0 for an empty list."""
    return csr_torch.pick_rows(wide(x), rowptr, col, _wide(weight), arg).to(x.dtype)


def spread(
    grad: Tensor,
    weight: Tensor | None,
    rowptr: Tensor,
    col: Tensor | None,
    arg: Tensor | None,
    *,
    num_src: int,
    mean: bool,
) -> Tensor:
    """Adds each row of ``grad`` ``[M, F]`` to what its list read, ``[num_src, F]``: the transpose of the reduction.

    ``arg``: of a maximum or minimum; then each channel goes to its one entry.
    """
    found, factor = wide(grad.contiguous()), _wide(weight)
    if csr_native.usable(found.device, found.dtype):
        out = csr_native.backward(found, arg, rowptr, col, factor, num_src, mean)
    elif segment_triton.usable(found.device, found.dtype) and arg is None:
        out = segment_triton.backward(found, rowptr, col, factor, num_src, mean)
    else:
        out = csr_torch.backward(found, arg, rowptr, col, factor, num_src, mean)
    return out.to(grad.dtype)


def dot(
    grad: Tensor,
    x: Tensor,
    rowptr: Tensor,
    col: Tensor | None,
    arg: Tensor | None,
    *,
    num_entries: int,
    mean: bool,
) -> Tensor:
    """What each entry's weight is multiplied by: ``<grad[row of e], x[col[e]]>``, ``[E]``.

    ``arg``: of a maximum or minimum; then only the channels for which it names e.
    """
    found, rows = wide(grad.contiguous()), wide(x)
    if arg is not None:
        return csr_torch.best_backward_weight(found, arg, rows, rowptr, col, num_entries).to(grad.dtype)
    if mean:
        found = found / csr_torch.lengths(rowptr, found.dtype)
    entry_dot = csr_native.entry_dot if csr_native.usable(found.device, found.dtype) else csr_torch.entry_dot
    return entry_dot(found, rows, rowptr, col, num_entries).to(grad.dtype)


def wide(values: Tensor) -> Tensor:
    """float16 and bfloat16 as float32."""
    return values.float() if values.dtype in _HALF else values


def _wide(values: Tensor | None) -> Tensor | None:
    return None if values is None else wide(values)
