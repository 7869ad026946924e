"""The order of rows, rows in another order, and a column of parents turned into a CSR of children.

On a CPU rows are sorted as one 64-bit number each, the key above and the row's number below, with numpy: it sorts plain
integers with vector instructions and allocates huge pages, which together is several times as fast as a sort with
indices. Elsewhere torch's stable sort does the same. Reordering and grouping are native where the kernels are built.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from graphlearn.native import kernels

_Ints: TypeAlias = npt.NDArray[np.int64]
_Flags: TypeAlias = npt.NDArray[np.bool_]
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
    if kernels is not None and index.device.type == "cpu" and index.dtype == dtype:
        index = index.contiguous()
        # From numpy, which allocates huge pages: the first touch of small ones takes longer than all else.
        col, scratch = (torch.from_numpy(np.empty(n * len(index), index.numpy().dtype)) for n in (1, 2))
        valid = kernels.group_children(
            index.data_ptr(), index.element_size(), len(index), num_parents, rowptr.data_ptr(), col.data_ptr(),
            scratch.data_ptr(), torch.get_num_threads(),
        )  # fmt: skip
        assert valid, f"a parent is not in [-1, {num_parents})"
        return rowptr, _first(col, int(rowptr[-1]))
    count = torch.bincount(index + 1, minlength=num_parents + 1)
    torch.cumsum(count[1:], 0, out=rowptr[1:])
    bits = _bits(len(index) - 1)
    if index.device.type == "cpu" and _bits(num_parents) + bits <= 63:
        # Parent -1 gives negative numbers, which come first and whose low bits still are the row's number.
        packed = index.numpy().astype(np.int64) << bits
        packed |= np.arange(len(packed))
        packed.sort()
        return rowptr, torch.from_numpy(packed[int(count[0]) :] & ((1 << bits) - 1)).to(dtype)
    return rowptr, index.sort(stable=True).indices[count[0] :].to(dtype)


class KeyTable:
    """Which row has a key: a hash table of whole numbers, twice as many slots as there are rows.

    It needs the native kernels; without them, and for other keys, the database joins.

    Args:
        keys: The key of each row, int64 ``[P]``, no two alike.
    """

    def __init__(self, keys: Tensor) -> None:
        assert kernels is not None
        self._bits = _bits(2 * len(keys))
        self._slots = np.empty((1 << self._bits, 2), dtype=np.int64)
        keys = keys.contiguous()
        built = kernels.build_key_table(keys.data_ptr(), len(keys), self._slots.ctypes.data, self._bits)
        assert built, "more keys than slots"

    @staticmethod
    def usable(num_keys: int) -> bool:
        """Whether the kernels exist, and so many keys fit into a quarter of a gigabyte."""
        return kernels is not None and num_keys <= 2**22

    def find(self, keys: Tensor) -> Tensor:
        """The row of each key, or -1: int32 ``[N]``."""
        assert kernels is not None
        keys = keys.contiguous()
        found = torch.empty(len(keys), dtype=torch.int32)
        kernels.find_keys(
            self._slots.ctypes.data, self._bits, keys.data_ptr(), len(keys), found.data_ptr(), torch.get_num_threads()
        )
        return found


def take_rows(values: Tensor, order: Tensor) -> Tensor:
    """``values[order]`` for rows on a CPU: ``values`` ``[N, ...]``, ``order`` int64 ``[M]``."""
    out = torch.from_numpy(np.empty((len(order), *values.shape[1:]), values.numpy().dtype))
    row = values[0].numel() if len(values) else 0
    if kernels is None or (row > 1 and not values[0].is_contiguous()):
        torch.index_select(values, 0, order, out=out)
        return out
    size = values.element_size()
    valid = kernels.take_rows(
        values.data_ptr(), values.stride(0) * size, row * size, len(values), order.data_ptr(), len(order),
        out.data_ptr(), torch.get_num_threads(),
    )  # fmt: skip
    assert valid, f"a row is not in [0, {len(values)})"
    return out


def sort_rows(*keys: Tensor) -> tuple[Tensor | None, Tensor]:
    """The permutation that puts rows into the order of several keys, and the first key in that order.

    Args:
        keys: Each int32 or int64 ``[N]``; a later one tells apart the rows that are equal in all before. At least one.

    Returns:
        int64 ``[N]``: the row that comes first, second, …; rows that are equal keep their order; or None (on a CPU) if
        they are in that order. And the first key, which the sort has at hand: to fetch it by row would take longer.
    """
    if keys[0].device.type != "cpu":
        order = _lexsort(list(keys))
        return order, keys[0][order]
    if _is_sorted([key.numpy() for key in keys]):
        return None, keys[0]
    found, values = _radix_order([_Key(key) for key in keys])
    order = torch.from_numpy(found)
    return order, take_rows(keys[0], order) if values is None else torch.from_numpy(values)


def _is_sorted(keys: list[_Ints]) -> bool:
    for block in _blocks(len(keys[0]) - 1):  # most are found not to be in the first block
        falls = np.zeros(block.stop - block.start, dtype=bool)
        for key in reversed(keys):
            before, after = key[block], key[block.start + 1 : block.stop + 1]
            falls = (after < before) | ((after == before) & falls)
        if falls.any():
            return False
    return True


def _first(values: Tensor, count: int) -> Tensor:
    # A part of a tensor keeps, and saves, the memory of the whole.
    return values if count == len(values) else values[:count].clone()


def _lexsort(keys: list[Tensor]) -> Tensor:
    order = torch.arange(len(keys[0]), device=keys[0].device)
    for key in reversed(keys):
        order = order[key[order].sort(stable=True).indices]
    return order


class _Key:
    """One key of a sort, as numbers of ``width`` bits that start at 0."""

    def __init__(self, key: Tensor) -> None:
        self.values: npt.NDArray[np.signedinteger[Any]] = key.numpy()

    @cached_property
    def low(self) -> int:
        return int(self.values.min())

    @cached_property
    def width(self) -> int:
        return _bits(int(self.values.max()) - self.low)

    def bits(self, rows: slice | _Ints, start: int, stop: int) -> _Ints:
        """The bits ``[start, stop)`` of the key of some rows, counted from the highest."""
        # Two's complement: the difference is right even where it does not fit a signed number.
        found = self.values[rows].astype(np.int64, copy=False).view(np.uint64) - np.uint64(self.low % 2**64)
        if start > 0:
            found &= np.uint64((1 << (self.width - start)) - 1)
        found >>= np.uint64(self.width - stop)
        return found.view(np.int64)


def _radix_order(keys: list[_Key]) -> tuple[_Ints, _Ints | None]:
    """Sorts by as many leading bits of the first key as fit above a row's number, then again what still looks equal.

    Returns:
        The order, and the first key in it if it could be read off the sorted numbers.
    """
    first = keys[0]
    bits = _bits(len(first.values) - 1)
    done = min(63 - bits, first.width)
    order, rest = _sorted_rows(first, done, bits)
    values = None if rest is None else np.empty(len(order), np.int64)
    # where in `order` the rows stand that are not settled yet
    place, starts = _split_ties(order, bits, values, rest, first.width - done, first.low)
    looked_equal = place
    run = np.cumsum(starts, dtype=np.int64)  # which of those look equal so far
    size, used, width = len(place), 1, first.width
    while size > 0:
        # To know how wide a key is costs a pass over all rows, so few rows are settled by one key after the other.
        while used < len(keys) and (done == width or size > len(order) >> 6):
            width += keys[used].width
            used += 1
        if done == width:
            break
        bits = _bits(size - 1)
        stop = min(done + 63 - bits - _bits(int(run[-1])), width)
        rows = order.take(place)
        packed = np.empty(size, np.int64)
        for block in _blocks(size):
            part = packed[block]
            part[:] = run[block]
            before = 0
            for key in keys[:used]:
                start, end = max(done - before, 0), min(stop - before, key.width)
                if start < end:
                    part <<= end - start
                    part |= key.bits(rows[block], start, end)
                before += key.width
            part <<= bits
            part |= np.arange(block.start, block.stop)
        packed.sort()
        tied, starts = _split_ties(packed, bits)
        order[place] = rows.take(packed)
        place = place[tied]
        run = np.cumsum(starts, dtype=np.int64)
        done, size = stop, len(place)
    if values is not None:
        values[looked_equal] = first.values[order[looked_equal]]
    return order, values


def _sorted_rows(key: _Key, count: int, bits: int) -> tuple[_Ints, npt.NDArray[np.uint16] | None]:
    """The first ``count`` bits of the key of each row, the row's number in the ``bits`` below, in increasing order.

    Several threads sort parts that fit into a core's cache.

    Returns:
        The numbers, and the bits of each row's key that had no place in them; None if they are more than 16, or nobody
        looked at them.
    """
    size, threads = len(key.values), torch.get_num_threads()
    if kernels is None or threads < 2 or size < _BLOCK * threads or key.values.dtype != np.int64:
        packed = np.empty(size, np.int64)
        for block in _blocks(size):
            packed[block] = key.bits(block, 0, count) << bits
            packed[block] |= np.arange(block.start, block.stop)
        packed.sort()
        return packed, None
    # Most rows, as a sample tells, lie in 64 parts of equal width; the outermost parts take the rest.
    sample = np.sort(key.bits(slice(None, None, size // 1024), 0, count)) << bits
    low, high = int(sample[8]), int(sample[-8])
    shift = max(_bits(high - low) - 6, 0)
    packed, ends = np.empty(size, np.int64), np.empty(((high - low) >> shift) + 1, np.int64)
    rest = np.empty(size, np.uint16) if key.width - count <= 16 else None
    kernels.split_keys(
        key.values.ctypes.data, size, key.low, key.width - count, bits, low, shift, len(ends), packed.ctypes.data,
        ends.ctypes.data, 0 if rest is None else rest.ctypes.data, threads,
    )  # fmt: skip
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(np.ndarray.sort, np.split(packed, ends[:-1])))  # in place; numpy sorts without the GIL
    return packed, rest


def _split_ties(
    packed: _Ints,
    bits: int,
    values: _Ints | None = None,
    rest: npt.NDArray[np.uint16] | None = None,
    drop: int = 0,
    least: int = 0,
) -> tuple[_Ints, _Flags]:
    """Leaves of each sorted number the row's, which is in its lowest ``bits``.

    With ``values`` (needs the kernels) the keys go there: ``least`` + what stands above the row, and below it the
    ``drop`` bits of ``rest``.

    Returns:
        Where the numbers stand that above these bits are equal to the one before or after, and which of those differ
        from the one before.
    """
    if kernels is not None:
        count = len(packed) >> 6
        while True:
            place, starts = np.empty(count, np.int64), np.empty(count, bool)
            room, count = count, kernels.split_ties(
                packed.ctypes.data, len(packed), bits, place.ctypes.data, starts.ctypes.data, count,
                0 if values is None else values.ctypes.data, 0 if rest is None else rest.ctypes.data, drop, least,
                torch.get_num_threads(),
            )  # fmt: skip
            if count <= room:
                return place[:count], starts[:count]
    differs = np.ones(len(packed) + 1, dtype=bool)
    for block in _blocks(len(packed) - 1):
        above = packed[block.start : block.stop + 1] >> bits
        np.not_equal(above[1:], above[:-1], out=differs[block.start + 1 : block.stop + 1])
    packed &= (1 << bits) - 1
    tied = ~(differs[:-1] & differs[1:])
    return np.flatnonzero(tied), differs[:-1][tied]


def _blocks(size: int) -> Iterator[slice]:
    for start in range(0, size, _BLOCK):
        yield slice(start, min(start + _BLOCK, size))


def _bits(number: int) -> int:
    return max(number, 0).bit_length()
