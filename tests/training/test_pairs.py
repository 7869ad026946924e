"""Sources and the items that came true for them, as lists that are cut, joined and grouped by time."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from little_shop import TEST, VAL, open_tables, ranking_task, tables
from torch_geometric.data import HeteroData

from graphlearn.errors import TaskError
from graphlearn.graph import build_graph
from graphlearn.tasks import Task
from graphlearn.tasks.ranking import Relevant
from graphlearn.training import Seeds
from graphlearn.training.pairs import Pairs, by_time, split_pairs


def made(seed: int, size: int) -> Pairs:
    generator = torch.Generator().manual_seed(seed)
    count = torch.randint(0, 4, (size,), generator=generator)
    rowptr = torch.cat([count.new_zeros(1), count.cumsum(0)])
    col = torch.randint(9, (int(rowptr[-1]),), generator=generator)
    seed_time = torch.randint(3, (size,), generator=generator)
    input_time = seed_time - torch.randint(2, (size,), generator=generator)
    return Pairs(Seeds("a", torch.arange(size) + 10 * seed, seed_time, input_time), Relevant(rowptr, col))


def rows(pairs: Pairs) -> list[tuple[int, int, int, list[int]]]:
    """(row, seed time, input time, items) of each source."""
    lists = [part.tolist() for part in torch.split(pairs.relevant.col, pairs.relevant.rowptr.diff().tolist())]
    seeds = pairs.seeds
    return list(zip(seeds.index.tolist(), seeds.seed_time.tolist(), seeds.input_time.tolist(), lists, strict=True))


@settings(deadline=None)
@given(st.integers(0, 500), st.integers(1, 12), st.data())
def test_taken_and_joined(seed, size, data):
    pairs, other = made(seed, size), made(seed + 1, 3)
    at = data.draw(st.lists(st.integers(0, size - 1), max_size=8))
    taken = pairs.take(torch.tensor(at, dtype=torch.int64))
    assert rows(taken) == [rows(pairs)[i] for i in at]
    assert len(taken) == len(at)
    joined = pairs.joined(other)
    assert rows(joined) == [(row, time, time, items) for row, time, _, items in [*rows(pairs), *rows(other)]]


@settings(deadline=None)
@given(st.integers(0, 500), st.integers(0, 12))
def test_groups_of_one_time(seed, size):
    seeds = made(seed, size).seeds
    groups = [(times, seen, at.tolist()) for seen, times, at in by_time(seeds)]
    assert sorted(i for *_, at in groups for i in at) == list(range(size))
    assert len({(time, seen) for time, seen, _ in groups}) == len(groups)
    for time, seen, at in groups:
        assert {(int(seeds.seed_time[i]), int(seeds.input_time[i])) for i in at} == {(time, seen)}
        assert at == sorted(at)


@pytest.fixture(scope="module")
def task() -> Task:
    return ranking_task(open_tables(tables()))


@pytest.fixture(scope="module")
def graph(task: Task) -> HeteroData:
    assert task.db is not None
    return build_graph(task.db)


@pytest.mark.parametrize("regime", ["frozen", "rolling"])
@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_a_split_against_its_labels(graph, task, split, regime):
    found, labels = split_pairs(graph, task, split, regime), task.labels(split)
    customers, products = graph["customers"].pkey.to_pylist(), graph["products"].pkey.to_pylist()
    cut = {"train": None, "val": VAL, "test": TEST}[split] if regime == "frozen" else None
    for (row, time, seen, items), label in zip(rows(found), labels.itertuples(), strict=True):
        assert customers[row] == label.pkey
        assert [products[i] for i in items] == list(label.label)
        assert pd.Timestamp(time, unit="us") == label.seed_time
        newest = label.seed_time if cut is None else min(label.seed_time, pd.Timestamp(cut))
        assert pd.Timestamp(seen, unit="us") == newest


def test_items_without_a_row_are_left_out(graph, task):
    table = task.label_table("val")
    lists = table["label"].to_pylist()
    odd = pa.array([[99, *items, 98] for items in lists])
    found = split_pairs(graph, task, "val", "frozen", labels=table.set_column(2, "label", odd))
    assert rows(found) == rows(split_pairs(graph, task, "val", "frozen"))
    small = table.set_column(2, "label", pa.array(lists, pa.list_(pa.int32())))
    assert rows(split_pairs(graph, task, "val", "frozen", labels=small)) == rows(found)


def test_none_of_the_items_has_a_row(graph, task):
    table = task.label_table("val")
    odd = table.set_column(2, "label", pa.array([[98, 99]] * table.num_rows))
    says = rf"task '.*', val: none of {2 * table.num_rows} labelled keys names a row of 'products'"
    with pytest.raises(TaskError, match=says):
        split_pairs(graph, task, "val", "frozen", labels=odd)


def test_sources_of_which_nothing_came_true(graph, task):
    table = task.label_table("val")
    none = table.set_column(2, "label", pa.array([[]] * table.num_rows, pa.list_(pa.int64())))
    found = split_pairs(graph, task, "val", "frozen", labels=none)
    assert len(found) == table.num_rows
    assert not len(found.relevant.col)
    assert rows(replace(found)) == [(row, time, seen, []) for row, time, seen, _ in rows(found)]
