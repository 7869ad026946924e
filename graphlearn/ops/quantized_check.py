"""What is wrong with integer rows and the lists over them."""

from __future__ import annotations

import torch
from torch import Tensor

from graphlearn.ops.csr_check import check_index


def check_rows(levels: Tensor, scale: Tensor, num_channels: int, bits: int, zero: Tensor | None) -> None:
    """Raises what shapes and dtypes tell."""
    if bits not in (4, 8):
        raise ValueError(f"'bits' must be 8 or 4, got {bits}.")
    width = num_channels if bits == 8 else -(-num_channels // 2)
    if levels.dtype != torch.int8 or levels.dim() != 2 or levels.size(1) != width:
        found = f"{levels.dtype} {list(levels.shape)}"
        raise ValueError(f"'levels' of {num_channels} channels in {bits} bits must be int8 [N, {width}], got {found}.")
    if scale.dtype != torch.float32 or scale.dim() != 1 or scale.numel() not in (1, levels.size(0)):
        found = f"{scale.dtype} {list(scale.shape)}"
        raise ValueError(f"'scale' must be float32 [1] or [{levels.size(0)}], got {found}.")
    if zero is None:
        return
    if zero.dtype != torch.int32 or zero.shape != (1,):
        raise ValueError(f"'zero' must be int32 [1], got {zero.dtype} {list(zero.shape)}.")
    if scale.numel() != 1:
        raise ValueError(f"'zero' goes with one scale for all rows, but there are {scale.numel()}.")


def check_lists(
    levels: Tensor,
    num_channels: int,
    rowptr: Tensor,
    col: Tensor | None,
    reduce: str,
    weight: Tensor | None,
    list_scale: Tensor | None,
    out_scale: Tensor | None,
    out_zero: Tensor | None,
    out_bits: int,
) -> None:
    """Raises what shapes, dtypes and devices tell, without reading a value."""
    check_index(levels.device, rowptr, col)
    for name, other in (
        ("weight", weight),
        ("list_scale", list_scale),
        ("out_scale", out_scale),
        ("out_zero", out_zero),
    ):
        if other is not None and other.device != levels.device:
            raise ValueError(f"'{name}' must be on the device of the rows, {levels.device}, but is on {other.device}.")
    if (weight is None) != (list_scale is None):
        raise ValueError("'weight' and 'list_scale' belong together: give both or none.")
    if weight is not None and list_scale is not None:
        if weight.dtype != torch.int8 or weight.dim() not in (1, 2):
            raise ValueError(f"'weight' must be int8 [E] or [E, H], got {weight.dtype} {list(weight.shape)}.")
        if col is not None and weight.size(0) != col.numel():
            raise ValueError(f"'weight' has {weight.size(0)} rows for the {col.numel()} entries of 'col'.")
        wanted = [rowptr.numel() - 1, *weight.shape[1:]]
        if list_scale.dtype != torch.float32 or list(list_scale.shape) != wanted:
            found = f"{list_scale.dtype} {list(list_scale.shape)}"
            raise ValueError(f"'list_scale' must be float32 {wanted}, got {found}.")
        if weight.dim() == 2 and (weight.size(1) == 0 or num_channels % weight.size(1)):
            raise ValueError(f"{num_channels} channels cannot be shared out among {weight.size(1)} heads.")
        if reduce == "max":
            raise ValueError("a maximum takes no 'weight': scale the rows, or take 'sum' or 'mean'.")
    if out_scale is not None and (out_scale.dtype != torch.float32 or out_scale.shape != (1,)):
        raise ValueError(f"'out_scale' must be float32 [1], got {out_scale.dtype} {list(out_scale.shape)}.")
    if out_zero is not None and (out_zero.dtype != torch.int32 or out_zero.shape != (1,)):
        raise ValueError(f"'out_zero' must be int32 [1], got {out_zero.dtype} {list(out_zero.shape)}.")
    if not 1 <= out_bits <= 8:
        raise ValueError(f"'out_bits' must be from 1 to 8, got {out_bits}.")
