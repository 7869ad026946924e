"""The kernel of ``quantized.py`` in torch operations: any device, no compiler needed."""

from __future__ import annotations

import torch
from torch import Tensor

from graphlearn.ops import csr_torch
from graphlearn.ops.quantized_job import Job


def reduce_rows(job: Job) -> Tensor:
    """The reduction of each list, ``[M, F]``.

    Levels are added up in float64, which holds every whole number below 2^53: the same sums as in integers.
    """
    levels = _levels(job)
    kind = "max" if job.reduce == "max" else "sum"
    if job.scale_per_row:
        total = _by_head(levels.float() * job.scale[:, None], job, kind)
    else:
        total = _by_head(levels.double(), job, kind)
        if job.zero is not None:
            total = total - job.zero * _times(job)
    value = total.float()
    if not job.scale_per_row:
        value = value * job.scale
    if job.list_scale is not None:
        step = job.list_scale.view(-1, job.num_heads)
        value = value * step.repeat_interleave(job.num_channels // job.num_heads, dim=1)
    if job.reduce == "mean":
        value = value / csr_torch.lengths(job.rowptr, value.dtype)
    if job.out_scale is None or job.out_zero is None:
        return value
    return ((value / job.out_scale).round() + job.out_zero).clamp(job.out_low, job.out_high).to(torch.int8)


def _levels(job: Job) -> Tensor:
    if not job.packed:
        return job.levels
    low = ((job.levels & 15) ^ 8) - 8
    return torch.cat([low, job.levels >> 4], dim=1)[:, : job.num_channels]


def _by_head(x: Tensor, job: Job, kind: str) -> Tensor:
    """Lists of ``x`` reduced, the channels of each head with its own weights."""
    if job.weight is None:
        return csr_torch.reduce_rows(x, job.rowptr, job.col, kind, None, need_arg=False)[0]
    weight = job.weight.view(-1, job.num_heads).to(x.dtype)
    parts = [
        csr_torch.sum_rows(part.contiguous(), job.rowptr, job.col, weight[:, head].contiguous())
        for head, part in enumerate(x.chunk(job.num_heads, dim=1))
    ]
    return torch.cat(parts, dim=1)


def _times(job: Job) -> Tensor:
    """How often the level of 0 is in each sum, ``[M, 1]`` or, with heads, ``[M, F]``."""
    if job.reduce == "max":
        return (job.rowptr.diff() > 0).double()[:, None]
    if job.weight is None:
        return job.rowptr.diff().double()[:, None]
    weight = job.weight.view(-1, job.num_heads).double()
    total = csr_torch.sum_rows(weight, job.rowptr, None, None)  # [M, H]
    return total.repeat_interleave(job.num_channels // job.num_heads, dim=1)
