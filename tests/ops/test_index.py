"""The order of rows, lists of children, and keys looked up: native, numpy and torch ways against plain Python."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from graphlearn.ops import index as module
from graphlearn.ops.index import KeyTable, index_to_csr, sort_rows, take_rows

SMALLEST, LARGEST = torch.iinfo(torch.int64).min, torch.iinfo(torch.int64).max
native = pytest.mark.skipif(module.kernels is None, reason="the native kernels are not built")
# Few values, so that many are equal; days in microseconds; and all that 64 bits hold.
KEYS = st.one_of(
    st.lists(st.integers(-2, 2), max_size=60),
    st.lists(st.integers(-9_000, 9_000).map(lambda day: day * 86_400_000_000), max_size=60),
    st.lists(st.sampled_from([SMALLEST, SMALLEST + 1, -1, 0, 1, LARGEST - 1, LARGEST]), max_size=60),
    st.lists(st.integers(SMALLEST, LARGEST), max_size=60),
)


@pytest.fixture(params=[pytest.param(True, marks=native), False], ids=["native", "without"])
def kernels(request, monkeypatch):
    """Once with the native kernels and once as if they had not been built."""
    if not request.param:
        monkeypatch.setattr(module, "kernels", None)
    return request.param


@given(KEYS, KEYS)
@settings(max_examples=300, deadline=None)
def test_the_order_is_that_of_pythons_sort(times, ties):
    size = min(len(times), len(ties))
    rows = sorted(range(size), key=lambda i: (times[i], ties[i]))
    order = row_order(torch.tensor(times[:size], dtype=torch.int64), torch.tensor(ties[:size], dtype=torch.int64))
    assert (list(range(size)) if order is None else order.tolist()) == rows
    alone = row_order(torch.tensor(ties, dtype=torch.int64))
    expected = sorted(range(len(ties)), key=ties.__getitem__)
    assert (list(range(len(ties))) if alone is None else alone.tolist()) == expected


@pytest.mark.parametrize("step", [1, 1_000_000, 86_400_000_000, 10**15], ids=["us", "s", "day", "two dates"])
def test_the_order_of_many_rows_is_that_of_torchs_stable_sorts(step):
    """More rows than fit into a block, whose keys do not fit beside the row's number at once."""
    generator = torch.Generator().manual_seed(step % 1000)
    time = torch.randint(1_500_000_000_000_000, 1_700_000_000_000_000, (200_000,), generator=generator) // step * step
    for tie in (torch.randint(LARGEST, (200_000,), generator=generator), torch.arange(200_000).flip(0) // 2):
        order = row_order(time, tie)
        assert order is not None
        torch.testing.assert_close(order, module._lexsort([time, tie]), rtol=0, atol=0)
        assert row_order(time[order], tie[order]) is None


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("span", [1, 1_000, 10**6, 10**14, 2**62], ids=lambda n: f"{n:.0e}")
def test_the_first_key_comes_in_order_too(span, threads, kernels):
    """Whether its bits all fit beside the row's number, all but 16, or fewer; with a least key below zero, and ties."""
    generator = torch.Generator().manual_seed(0)
    key = torch.randint(-(span // 2), span - span // 2, (200_000,), generator=generator)
    key[::1000] = key[0]
    tie = torch.randint(5, (200_000,), generator=generator, dtype=torch.int32)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        order, values = sort_rows(key, tie)
    finally:
        torch.set_num_threads(before)
    assert order is not None
    torch.testing.assert_close(order, module._lexsort([key, tie]), rtol=0, atol=0)
    torch.testing.assert_close(values, key[order], rtol=0, atol=0)
    again, same = sort_rows(values, tie[order])
    assert again is None
    assert same.equal(values)


@pytest.mark.parametrize("distinct", [1, 40, 3_000, 65_536, 200_000, 10**9])
@pytest.mark.parametrize("size", [1, 2, 65_535, 65_536, 65_537, 200_000])
def test_ties_of_sorted_numbers(distinct, size, kernels):
    """None, few, or more than there is room for at first; within blocks and across their ends; on several threads."""
    generator = np.random.default_rng(size)
    keys = np.sort(generator.integers(0, distinct, size))
    packed = (keys << 20) | generator.permutation(size)
    rows = packed & ((1 << 20) - 1)
    before, after = np.diff(keys, prepend=-1) == 0, np.diff(keys, append=-1) == 0
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        place, starts = module._split_ties(packed, 20)
    finally:
        torch.set_num_threads(threads)
    np.testing.assert_array_equal(place, np.flatnonzero(before | after))
    np.testing.assert_array_equal(starts, ~before[before | after])
    np.testing.assert_array_equal(packed, rows)


def test_rows_in_order_are_left_alone():
    none = torch.empty(0, dtype=torch.int64)
    assert row_order(none, none) is None
    assert row_order(torch.tensor([5])) is None
    assert row_order(torch.tensor([1, 1, 2]), torch.tensor([3, 3, 0])) is None
    assert row_order(torch.tensor([7, 7, 7]), torch.tensor([4, 4, 4])) is None
    order = row_order(torch.tensor([1, 1, 2]), torch.tensor([3, 2, 0]))
    assert order is not None
    assert order.tolist() == [1, 0, 2]


def row_order(*keys: Tensor) -> Tensor | None:
    return sort_rows(*keys)[0]


def slow_lists(index: Tensor, num_parents: int) -> list[list[int]]:
    lists: list[list[int]] = [[] for _ in range(num_parents)]
    for child, parent in enumerate(index.tolist()):
        if parent >= 0:
            lists[parent].append(child)
    return lists


def lists_of(rowptr: Tensor, col: Tensor) -> list[list[int]]:
    return [col[a:b].tolist() for a, b in zip(rowptr[:-1].tolist(), rowptr[1:].tolist(), strict=True)]


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
@given(st.integers(0, 20).flatmap(lambda n: st.tuples(st.just(n), st.lists(st.integers(-1, n - 1), max_size=60))))
@settings(max_examples=150, deadline=None)
def test_children_are_listed_by_parent(dtype, case):
    num_parents, parents = case
    index = torch.tensor(parents, dtype=dtype)
    rowptr, col = index_to_csr(index, num_parents)
    assert lists_of(rowptr, col) == slow_lists(index, num_parents)
    assert (rowptr.dtype, col.dtype) == (torch.int64, torch.int32)
    assert int(rowptr[-1]) == len(col)
    # What is saved with the graph is the list alone.
    assert col.untyped_storage().nbytes() == col.numel() * 4


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_lists_do_not_depend_on_threads_or_kernels(kernels, threads, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    index = torch.randint(-1, 1_000, (600_000,), generator=torch.Generator().manual_seed(0), dtype=torch.int32)
    rowptr, col = index_to_csr(index, 1_000)
    order = index.sort(stable=True).indices[(index == -1).sum() :]
    torch.testing.assert_close(col.long(), order, rtol=0, atol=0)
    torch.testing.assert_close(rowptr[1:], torch.bincount(index[index >= 0], minlength=1_000).cumsum(0))


def test_lists_written_by_hand(kernels):
    rowptr, col = index_to_csr(torch.tensor([2, -1, 0, 2, 2], dtype=torch.int32), 4)
    assert rowptr.tolist() == [0, 1, 1, 4, 4]
    assert col.tolist() == [2, 0, 3, 4]
    rowptr, col = index_to_csr(torch.empty(0, dtype=torch.int32), 0)
    assert (rowptr.tolist(), col.tolist()) == ([0], [])
    rowptr, col = index_to_csr(torch.full((3,), -1, dtype=torch.int32), 0)
    assert (rowptr.tolist(), col.tolist()) == ([0], [])


@native
@pytest.mark.parametrize("wrong", [-2, 4, 2**30])
def test_a_parent_that_does_not_exist_is_not_followed(wrong):
    with pytest.raises(AssertionError, match=r"a parent is not in \[-1, 4\)"):
        index_to_csr(torch.tensor([0, wrong], dtype=torch.int32), 4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.int64, torch.int16])
@pytest.mark.parametrize("shape", [(), (1,), (3,), (5, 7)], ids=str)
def test_rows_are_taken_as_by_an_index(kernels, shape, dtype):
    generator = torch.Generator().manual_seed(0)
    values = torch.randint(-1_000, 1_000, (50_000, *shape), generator=generator).to(dtype)
    order = torch.randint(50_000, (70_000,), generator=generator)
    torch.testing.assert_close(take_rows(values, order), values[order], rtol=0, atol=0)
    if shape:
        part = values[:, :2]
        torch.testing.assert_close(take_rows(part, order), part[order], rtol=0, atol=0)
        assert take_rows(values, order[:0]).shape == (0, *shape)
    none = values[:0]
    assert take_rows(none, order[:0]).shape == none.shape


@native
def test_a_row_that_does_not_exist_is_not_taken():
    for row in (-1, 3):
        with pytest.raises(AssertionError, match=r"a row is not in \[0, 3\)"):
            take_rows(torch.arange(3), torch.tensor([0, row]))


@native
@given(
    st.lists(st.one_of(st.integers(-5, 30), st.integers(SMALLEST, LARGEST)), unique=True, max_size=200),
    st.lists(st.one_of(st.integers(-5, 30), st.integers(SMALLEST, LARGEST)), max_size=50),
)
@settings(max_examples=200, deadline=None)
def test_keys_are_found_as_in_a_dict(keys, others):
    table = KeyTable(torch.tensor(keys, dtype=torch.int64))
    asked = [*keys, *others]
    rows = {key: row for row, key in enumerate(keys)}
    assert table.find(torch.tensor(asked, dtype=torch.int64)).tolist() == [rows.get(key, -1) for key in asked]


@native
@pytest.mark.parametrize("step", [1, 1 << 32, 3], ids=str)
def test_many_keys_of_a_pattern_are_found(step):
    keys = torch.arange(100_000) * step
    shuffled = keys[torch.randperm(100_000, generator=torch.Generator().manual_seed(0))]
    found = KeyTable(shuffled).find(torch.cat([keys, keys + 100_000 * step]))
    torch.testing.assert_close(shuffled[found[:100_000].long()], keys, rtol=0, atol=0)
    assert (found[100_000:] == -1).all()


def test_without_kernels_or_with_many_keys_the_database_joins(monkeypatch):
    assert not KeyTable.usable(2**22 + 1)
    monkeypatch.setattr(module, "kernels", None)
    assert not KeyTable.usable(10)
