"""The order of rows, and a column of parents turned into a CSR of children.

On a CPU both sort one 64-bit number a row, the key above and the row's number below, with numpy: it sorts plain
integers with vector instructions and allocates huge pages, which together is several times as fast as a sort with
indices. On other devices torch's stable sort does the same.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

_Ints: TypeAlias = npt.NDArray[np.int64]
_BLOCK = 1 << 16  # numbers that stay in a core's cache


def index_to_csr(index: Tensor, num_parents: int) -> tuple[Tensor, Tensor]:
    """Groups children by parent, each group in increasing order of the child's number.

    Args:
        index: The parent of each child, int32 or int64 ``[N]``; -1 for none.
        num_parents: Number of parents.

    Returns:
        ``rowptr`` int64 ``[num_parents + 1]`` and ``col`` ``[E]``, int32 where the children's numbers fit.
    """
    dtype = torch.int32 if len(index) < 2**31 else torch.int64
    rowptr = torch.zeros(num_parents + 1, dtype=torch.int64, device=index.device)
    count = torch.bincount(index + 1, minlength=num_parents + 1)
    torch.cumsum(count[1:], 0, out=rowptr[1:])
    bits = _bits(len(index) - 1)
    if index.device.type == "cpu" and _bits(num_parents) + bits <= 63:
        # Parent -1 gives negative numbers, which come first and whose low bits still are the row's number.
        packed = _pack(index.numpy().astype(np.int64), bits)[int(count[0]) :]
        return rowptr, torch.from_numpy(_low(packed, bits)).to(dtype)
    return rowptr, index.sort(stable=True).indices[count[0] :].to(dtype)


def row_order(time: Tensor | None, tie: Tensor) -> Tensor | None:
    """The permutation that puts rows into the order of (time, tie), or None if they are in that order.

    Args:
        time: int64 ``[N]``; None: only ``tie`` counts.
        tie: int64 ``[N]``.

    Returns:
        int64 ``[N]``: the row that comes first, second, …; rows that are equal keep their order.
    """
    keys = [tie] if time is None else [time, tie]
    if _is_sorted(keys):
        return None
    if tie.device.type != "cpu":
        return _lexsort(keys)
    return torch.from_numpy(_radix_order([_Key(key) for key in keys]))


def _is_sorted(keys: list[Tensor]) -> bool:
    first = keys[0]
    if bool((first[1:] < first[:-1]).any()):
        return False
    return len(keys) == 1 or not bool(((first[1:] == first[:-1]) & (keys[1][1:] < keys[1][:-1])).any())


def _lexsort(keys: list[Tensor]) -> Tensor:
    order = torch.arange(len(keys[0]), device=keys[0].device)
    for key in reversed(keys):
        order = order[key[order].sort(stable=True).indices]
    return order


class _Key:
    """One key of a sort, as numbers of ``width`` bits that start at 0."""

    def __init__(self, key: Tensor) -> None:
        self.low = int(key.min())
        self.width = _bits(int(key.max()) - self.low)
        self.values = key.numpy()

    def bits(self, rows: _Ints | None, start: int, stop: int) -> _Ints:
        """The bits ``[start, stop)`` of the key of some rows, or of all rows, counted from the highest."""
        values = self.values if rows is None else self.values.take(rows)
        # Two's complement: the difference is right even where it does not fit a signed number.
        found = values.view(np.uint64) - np.uint64(self.low % 2**64)
        if start > 0:
            found &= np.uint64((1 << (self.width - start)) - 1)
        found >>= np.uint64(self.width - stop)
        return found.view(np.int64)


def _radix_order(keys: list[_Key]) -> _Ints:
    """Sorts by as many leading bits of the keys as fit above the row's number, then again what still looks equal."""
    size = len(keys[0].values)
    order: _Ints | None = None
    place: _Ints | None = None  # where in `order` the rows stand that are not settled yet
    run: _Ints | None = None  # which of those look equal so far
    done, width = 0, sum(key.width for key in keys)
    while done < width and size > 0:
        rows = None if order is None or place is None else order.take(place)
        bits = _bits(size - 1)
        stop = min(done + 63 - bits - (0 if run is None else _bits(int(run[-1]))), width)
        packed = run
        offset = 0
        for key in keys:
            first, last = max(done - offset, 0), min(stop - offset, key.width)
            if first < last:
                found = key.bits(rows, first, last)
                packed = found if packed is None else np.bitwise_or(packed << (last - first), found, out=found)
            offset += key.width
        assert packed is not None
        packed = _pack(packed, bits)
        step = np.ones(size + 1, dtype=bool)
        above = packed >> bits
        np.not_equal(above[1:], above[:-1], out=step[1:-1])
        where = _low(packed, bits)
        equal = np.flatnonzero(~(step[1:] & step[:-1]))
        if order is None or place is None or rows is None:
            order, place = where, equal
        else:
            order[place] = rows.take(where)
            place = place.take(equal)
        run = np.cumsum(step[:-1].take(equal), dtype=np.int64)
        done, size = stop, len(equal)
    assert order is not None, "rows that are all equal are in order"
    return order


def _pack(values: _Ints, bits: int) -> _Ints:
    """``values``, which are overwritten, with the number of the row in the lowest ``bits``; sorted."""
    for start in range(0, len(values), _BLOCK):
        block = values[start : start + _BLOCK]
        block <<= bits
        block |= np.arange(start, start + len(block))
    values.sort()
    return values


def _low(packed: _Ints, bits: int) -> _Ints:
    packed &= (1 << bits) - 1
    return packed


def _bits(number: int) -> int:
    return max(number, 0).bit_length()
