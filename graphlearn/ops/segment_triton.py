"""The kernels of ``csr.py`` in Triton, on a GPU. The same functions as in ``csr_torch.py``.

Messages are never written to memory, and nothing is added atomically, so the same inputs give the same bits. One
program walks through one list: a graph with a few giant hubs keeps a few programs busy for long.
"""

from __future__ import annotations

import functools
import importlib
from types import ModuleType

import torch
from torch import Tensor

from graphlearn.ops import csr_torch

_KINDS = {"sum": 0, "mean": 1, "max": 2, "min": 3}
_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def usable(device: torch.device, dtype: torch.dtype = torch.float32) -> bool:
    """Whether these kernels exist and take such tensors."""
    if torch.compiler.is_compiling():
        return False
    return device.type == "cuda" and dtype in _DTYPES and _kernels() is not None


def reduce_rows(
    x: Tensor, rowptr: Tensor, col: Tensor | None, reduce: str, weight: Tensor | None, need_arg: bool
) -> tuple[Tensor, Tensor | None]:
    """The reduction of each list, and if needed the place in the list that was the best; both ``[M, F]``."""
    num_rows, num_channels = rowptr.numel() - 1, x.size(1)
    out = x.new_empty(num_rows, num_channels)
    arg = torch.empty(out.shape, dtype=torch.int64, device=x.device) if need_arg else None
    if out.numel() == 0:
        return out, arg
    kernels = _kernels()
    assert kernels is not None
    rows = x if x.stride(1) == 1 else x.contiguous()
    block = min(max(kernels.triton.next_power_of_2(num_channels), 16), 128)
    wide = kernels.tl.float64 if x.dtype == torch.float64 else kernels.tl.float32
    kernels.reduce_lists[(num_rows, -(-num_channels // block))](
        rows, rows.stride(0), rowptr, rowptr if col is None else col, rows if weight is None else weight, out,
        out if arg is None else arg, num_channels, KIND=_KINDS[reduce], HAS_COL=col is not None,
        HAS_WEIGHT=weight is not None, HAS_ARG=arg is not None, SUM=wide, BLOCK=block,
    )  # fmt: skip
    return out, arg


def backward(
    grad: Tensor, rowptr: Tensor, col: Tensor | None, weight: Tensor | None, num_src: int, mean: bool
) -> Tensor:
    """Gradient of a sum or mean for x, ``[num_src, F]``: the same kernel on the lists turned around."""
    if col is None:  # every row is read once: nothing to add up
        return csr_torch.backward(grad, None, rowptr, None, weight, num_src, mean)
    if mean:
        grad = grad / csr_torch.lengths(rowptr, grad.dtype)
    src_rowptr, row, entry = csr_torch.transpose(rowptr, col, num_src)
    return reduce_rows(grad, src_rowptr, row, "sum", None if weight is None else weight[entry], need_arg=False)[0]


@functools.cache
def _kernels() -> ModuleType | None:
    try:
        return importlib.import_module("graphlearn.ops.segment_kernels")
    except ImportError:
        return None
