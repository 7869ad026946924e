"""The kernel of ``quantized.py`` in C++, on a CPU."""

from __future__ import annotations

import torch
from torch import Tensor

from graphlearn.native import kernels
from graphlearn.ops import csr_native
from graphlearn.ops.quantized_job import Job

_KINDS = {"sum": 0, "mean": 1, "max": 2}


def usable(device: torch.device) -> bool:
    """Whether this kernel exists and takes such tensors."""
    return csr_native.usable(device)


def reduce_rows(job: Job) -> Tensor | None:
    """The reduction of each list, ``[M, F]``; ``None`` if an index is wrong."""
    assert kernels is not None
    num_rows = job.rowptr.numel() - 1
    dtype = torch.float32 if job.out_scale is None else torch.int8
    out = torch.empty(num_rows, job.num_channels, dtype=dtype)
    valid = kernels.reduce_quantized(
        job.levels.data_ptr(), job.levels.stride(0), job.levels.size(0), job.num_channels, job.packed,
        job.scale.data_ptr(), job.scale_per_row, _address(job.zero), job.rowptr.data_ptr(), num_rows, _address(job.col),
        0 if job.col is None else job.col.element_size(), _num_entries(job), _address(job.weight),
        _address(job.list_scale), job.num_heads, out.data_ptr(), _address(job.out_scale), _address(job.out_zero),
        job.out_low, job.out_high, _KINDS[job.reduce], torch.get_num_threads(),
    )  # fmt: skip
    return out if valid else None


def _num_entries(job: Job) -> int:
    if job.col is None and job.weight is None:
        return int(job.rowptr[-1])
    return job.num_entries


def _address(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()
