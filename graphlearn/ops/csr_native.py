"""The kernels of ``csr.py`` in C++, on a CPU. The same functions as in ``csr_torch.py``.

Float dtypes all; float16 and bfloat16, whose sums and weights are float32, in the forward pass only.

``rowptr`` is int64, and all tensors but ``x`` are contiguous. The kernels never follow an index that is wrong: a
forward function then returns ``None``, and the caller finds out which it was.
"""

from __future__ import annotations

import torch
from torch import Tensor

from graphlearn.native import kernels

_KINDS = {"sum": 0, "mean": 1, "max": 2, "dot": 3, "picked": 4, "min": 5}
_TYPES = {torch.float32: 0, torch.float64: 1, torch.float16: 2, torch.bfloat16: 3}
_CHANGED = "indices that the forward pass found in range were changed before the backward pass"


def usable(device: torch.device, dtype: torch.dtype = torch.float32) -> bool:
    """Whether these kernels exist and take such tensors."""
    if torch.compiler.is_compiling():  # a compiled graph holds torch operations, and no addresses
        return False
    return kernels is not None and dtype in _TYPES and device.type == "cpu"


def reduce_rows(
    x: Tensor, rowptr: Tensor, col: Tensor | None, reduce: str, weight: Tensor | None, need_arg: bool
) -> tuple[Tensor, Tensor | None] | None:
    """The reduction of each list, and if needed the place in the list that was the best; both ``[M, F]``."""
    out = x.new_empty(rowptr.numel() - 1, x.size(1))
    arg = torch.empty(out.shape, dtype=torch.int32) if need_arg else None
    return (out, arg) if _reduce(reduce, x, rowptr, col, out, weight=weight, arg=arg) else None


def entry_dot(grad: Tensor, x: Tensor, rowptr: Tensor, col: Tensor | None, num_entries: int) -> Tensor:
    """Gradient of a sum for the weights: ``<x[col[e]], grad[row of e]>``, ``[E]``."""
    out = x.new_zeros(num_entries)  # zeros, as nothing is written where there are no channels
    valid = _reduce("dot", x, rowptr, col, out, beside=grad)
    assert valid, _CHANGED
    return out


def backward(
    grad: Tensor,
    arg: Tensor | None,
    rowptr: Tensor,
    col: Tensor | None,
    weight: Tensor | None,
    num_src: int,
    mean: bool,
) -> Tensor:
    """Gradient for x, ``[num_src, F]``; ``arg`` for a maximum or minimum only."""
    assert kernels is not None
    out = grad.new_empty(num_src, grad.size(1))
    # Where the lists name increasing rows, as in the sampler's trees, no row is read twice: nothing to add up.
    state = kernels.spread_rows(
        grad.dtype == torch.float64, grad.data_ptr(), _address(arg), grad.size(1), *_lists(rowptr, col, weight),
        _address(weight), out.data_ptr(), num_src, mean, torch.get_num_threads(),
    )  # fmt: skip
    assert state != 0, _CHANGED
    if state == 2 and col is not None:
        factor = None if weight is None and not mean else grad.new_empty(col.numel())
        place = None if arg is None else torch.empty(col.numel(), dtype=torch.int32)
        turned = _transpose(rowptr, col, num_src, weight, mean, place=place, factor=factor)
        assert turned is not None, _CHANGED
        kind = "sum" if arg is None else "picked"
        valid = _reduce(kind, grad, *turned, out, weight=factor, beside=arg, place=place)
        assert valid
    return out


def transpose(rowptr: Tensor, col: Tensor, num_src: int) -> tuple[Tensor, Tensor, Tensor] | None:
    """See ``csr.transpose_csr``."""
    entry = torch.empty_like(col)
    turned = _transpose(rowptr, col, num_src, None, False, entry=entry)
    return None if turned is None else (*turned, entry)


def _transpose(
    rowptr: Tensor,
    col: Tensor,
    num_src: int,
    weight: Tensor | None,
    mean: bool,
    *,
    entry: Tensor | None = None,
    place: Tensor | None = None,
    factor: Tensor | None = None,
) -> tuple[Tensor, Tensor] | None:
    assert kernels is not None
    src_rowptr, row = rowptr.new_empty(num_src + 1), torch.empty_like(col)
    valid = kernels.transpose(
        factor is not None and factor.dtype == torch.float64, *_lists(rowptr, col, weight), num_src, _address(weight),
        mean, src_rowptr.data_ptr(), row.data_ptr(), _address(entry), _address(place), _address(factor),
    )  # fmt: skip
    return (src_rowptr, row) if valid else None


def _reduce(
    kind: str,
    x: Tensor,
    rowptr: Tensor,
    col: Tensor | None,
    out: Tensor,
    *,
    weight: Tensor | None = None,
    beside: Tensor | None = None,
    place: Tensor | None = None,
    arg: Tensor | None = None,
) -> bool:
    assert kernels is not None
    if x.stride(1) != 1:
        x = x.contiguous()
    valid: bool = kernels.reduce_rows(
        _TYPES[x.dtype], x.data_ptr(), x.stride(0), x.size(0), x.size(1), *_lists(rowptr, col, weight),
        _address(weight), _address(beside), _address(place), out.data_ptr(), _address(arg), _KINDS[kind],
        torch.get_num_threads(),
    )  # fmt: skip
    return valid


def _lists(rowptr: Tensor, col: Tensor | None, weight: Tensor | None) -> tuple[int, int, int, int, int]:
    """Address of ``rowptr``, number of rows, address of ``col``, bytes of one of its numbers, number of entries."""
    num_rows = rowptr.numel() - 1
    if col is None:
        num_entries = int(rowptr[-1]) if weight is None else weight.numel()
        return rowptr.data_ptr(), num_rows, 0, 0, num_entries
    return rowptr.data_ptr(), num_rows, col.data_ptr(), col.element_size(), col.numel()


def _address(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()
