"""The kernel of ``quantized.py`` in Triton, on a GPU."""

from __future__ import annotations

import functools
import importlib
from types import ModuleType

import torch
from torch import Tensor

from graphlearn.ops.quantized_job import Job

_KINDS = {"sum": 0, "mean": 1, "max": 2}
GUARD = 131_071
"""Products of two int8 that int32 can hold the sum of; the parts of longer lists are added up in int64."""


def usable(device: torch.device) -> bool:
    """Whether this kernel exists and takes such tensors."""
    if torch.compiler.is_compiling():
        return False
    return device.type == "cuda" and _kernels() is not None


def reduce_rows(job: Job, guard: int = GUARD) -> Tensor:
    """The reduction of each list, ``[M, F]``; ``guard``: entries that are added up in int32."""
    num_rows = job.rowptr.numel() - 1
    dtype = torch.float32 if job.out_scale is None else torch.int8
    out = torch.empty(num_rows, job.num_channels, dtype=dtype, device=job.levels.device)
    if out.numel() == 0:
        return out
    kernels = _kernels()
    assert kernels is not None
    block = min(max(kernels.triton.next_power_of_2(job.num_channels), 16), 128)
    nothing = job.rowptr  # stands for what is absent; never read
    kernels.reduce_quantized_lists[(num_rows, -(-job.num_channels // block))](
        job.levels, job.levels.stride(0), job.scale, nothing if job.zero is None else job.zero, job.rowptr,
        nothing if job.col is None else job.col, nothing if job.weight is None else job.weight,
        nothing if job.list_scale is None else job.list_scale, out,
        nothing if job.out_scale is None else job.out_scale, nothing if job.out_zero is None else job.out_zero,
        job.num_channels, job.num_channels // job.num_heads, -(-job.num_channels // 2), job.out_low, job.out_high,
        KIND=_KINDS[job.reduce], HEADS=job.num_heads, PACKED=job.packed, PER_ROW=job.scale_per_row,
        HAS_ZERO=job.zero is not None, HAS_COL=job.col is not None, HAS_WEIGHT=job.weight is not None,
        REQUANTIZE=job.out_scale is not None, GUARD=guard, BLOCK=block,
    )  # fmt: skip
    return out


@functools.cache
def _kernels() -> ModuleType | None:
    try:
        return importlib.import_module("graphlearn.ops.quantized_kernels")
    except ImportError:
        return None
