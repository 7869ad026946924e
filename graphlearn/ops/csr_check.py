"""What is wrong with lists and the rows that they name."""

from __future__ import annotations

from typing import NoReturn

import torch
from torch import Tensor

from graphlearn.errors import first_three


def check_arguments(x: Tensor, rowptr: Tensor, col: Tensor | None, weight: Tensor | None) -> None:
    """Raises what shapes, dtypes and devices tell, without reading a value."""
    if x.dim() != 2 or not x.is_floating_point():
        raise ValueError(f"'x' must be a float tensor of shape [N, F], got {x.dtype} {list(x.shape)}.")
    check_index(x.device, rowptr, col)
    if weight is not None:
        if weight.device != x.device:
            raise ValueError(f"'weight' must be on the device of 'x', {x.device}, but is on {weight.device}.")
        if weight.dim() != 1 or weight.dtype != x.dtype:
            found = f"{weight.dtype} {list(weight.shape)}"
            raise ValueError(f"'weight' must be a {x.dtype} tensor of one dimension, got {found}.")
        if col is not None and weight.numel() != col.numel():
            raise ValueError(f"'weight' has {weight.numel()} values for the {col.numel()} entries of 'col'.")


def check_index(device: torch.device, rowptr: Tensor, col: Tensor | None) -> None:
    """Raises unless ``rowptr`` and ``col`` are whole numbers of one dimension on this device."""
    for name, index in (("rowptr", rowptr), ("col", col)):
        if index is None:
            continue
        if index.dim() != 1 or index.dtype not in (torch.int32, torch.int64):
            found = f"{index.dtype} {list(index.shape)}"
            raise ValueError(f"'{name}' must be an int32 or int64 tensor of one dimension, got {found}.")
        if index.device != device:  # the kernels take addresses, and would not notice
            raise ValueError(f"'{name}' must be on the device of 'x', {device}, but is on {index.device}.")
    if rowptr.numel() == 0:
        raise ValueError("'rowptr' must hold at least one number, the 0 at which the first list starts; got none.")


def check_values(num_src: int, rowptr: Tensor, col: Tensor | None, weight: Tensor | None = None) -> None:
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


def explain(num_src: int, rowptr: Tensor, col: Tensor | None, weight: Tensor | None = None) -> NoReturn:
    """Raises for the wrong index that a native kernel met."""
    check_values(num_src, rowptr, col, weight)
    raise AssertionError("a native kernel refused indices that are all in range")


def check_pairs(name: str, index: Tensor, letter: str) -> None:
    """Raises ``ValueError`` unless ``index`` is an int64 tensor of shape ``[2, *]``."""
    if index.dim() != 2 or index.size(0) != 2 or index.dtype != torch.int64:
        hint = f" Transpose it: {name}.t().contiguous()." if index.dim() == 2 and index.size(1) == 2 else ""
        found = f"{index.dtype} {list(index.shape)}"
        raise ValueError(f"'{name}' must be an int64 tensor of shape [2, {letter}], got {found}.{hint}")


def check_range(name: str, index: Tensor, num_nodes: int) -> None:
    """Raises ``ValueError`` if a number is no node. Reads them all, so on a GPU it would wait for the device."""
    wrong = index[(index < 0) | (index >= num_nodes)]
    if wrong.numel():
        raise ValueError(
            f"{name} must name nodes 0 to {num_nodes - 1}, but {wrong.numel()} of {index.numel()} numbers do not "
            f"(first: {first_three(wrong[:3].tolist())}). Is num_nodes of the graph right?"
        )
