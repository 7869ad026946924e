"""Seeds: which rows, at which times, and what they may see."""

from __future__ import annotations

import pandas as pd
import pyarrow as pa
import pytest
import torch
from little_shop import TEST, VAL, make_task, open_tables, tables

from graphlearn.errors import TaskError
from graphlearn.graph import build_graph
from graphlearn.training import Seeds, make_seeds, split_seeds
from graphlearn.training.scoring import seed_known
from graphlearn.training.seed import epoch_generator

DAY = 86_400_000_000


def us(day: str) -> int:
    return int(pd.Timestamp(day).value // 1000)


@pytest.fixture(scope="module")
def parts():
    frames = tables()
    db = open_tables(frames)
    return build_graph(db), make_task(db, frames)


@pytest.mark.parametrize("regime", ["frozen", "rolling"])
@pytest.mark.parametrize(("split", "cut"), [("train", None), ("val", VAL), ("test", TEST)])
def test_a_split_in_both_regimes(parts, split, cut, regime):
    graph, task = parts
    seeds, rows = split_seeds(graph, task, split, regime), task.labels(split)
    keys = [graph["customers"].pkey[int(i)].as_py() for i in seeds.index]
    assert keys == rows["pkey"].tolist()
    assert seeds.seed_time.tolist() == [us(t) for t in rows["seed_time"]]
    assert seeds.label.tolist() == rows["label"].tolist()
    limit = us(cut) if cut and regime == "frozen" else us("2100-01-01")
    assert seeds.input_time.tolist() == [min(us(t), limit) for t in rows["seed_time"]]
    assert not seeds.own_row


def test_keys_without_a_row(parts):
    graph, task = parts
    keys = pa.array(["c001", "nobody", "c002", "c999"])
    says = r"2 of 4 keys to predict for name no row of 'customers' that is used \(first: nobody, c999\)"
    with pytest.raises(TaskError, match=says):
        make_seeds(graph, task, keys, torch.zeros(4, dtype=torch.int64), None)


def some_seeds(size: int = 1000) -> Seeds:
    time = torch.full((size,), us("2021-06-01"))
    return Seeds("customers", torch.arange(size), time, time)


def test_ages_are_whole_steps_up_to_the_longest():
    aged = some_seeds().aged(95 * DAY, 30 * DAY, epoch_generator(0, 0))
    age = aged.seed_time - aged.input_time
    assert age.unique().tolist() == [0, 30 * DAY, 60 * DAY, 90 * DAY]
    assert torch.bincount(age // (30 * DAY)).min() > 200  # each about as often
    assert torch.equal(aged.seed_time, some_seeds().seed_time)


def test_no_age_where_none_is_asked_for():
    seeds = some_seeds()
    assert seeds.aged(0, 30 * DAY, epoch_generator(0, 0)) is seeds
    shorter = seeds.aged(5 * DAY, 30 * DAY, epoch_generator(0, 0))
    assert torch.equal(shorter.input_time, seeds.input_time)


def test_ages_depend_on_seed_and_epoch_alone():
    def ages(seed: int, epoch: int) -> torch.Tensor:
        return some_seeds().aged(90 * DAY, DAY, epoch_generator(seed, epoch)).input_time

    assert torch.equal(ages(0, 3), ages(0, 3))
    assert not torch.equal(ages(0, 3), ages(0, 4))
    assert not torch.equal(ages(0, 3), ages(1, 3))


def test_whether_a_seed_may_see_its_own_row(parts):
    graph, task = parts
    store = graph["customers"]
    people = tables()["customers"].set_index("customer_id")["joined"]
    keys = store.pkey
    time = torch.full((len(keys),), us("2021-06-01"))
    seeds = make_seeds(graph, task, keys, time, None)
    expected = [not people[key] > pd.Timestamp("2021-06-01") for key in keys.to_pylist()]  # no time: always
    assert seed_known(graph, seeds).tolist() == expected
    assert False in expected
    own = Seeds("customers", seeds.index, time, time, own_row=True)
    assert seed_known(graph, own).all()
    products = Seeds("products", torch.arange(3), time[:3], time[:3])
    assert seed_known(graph, products).all()


def test_a_row_exactly_at_the_time_is_seen(parts):
    graph, _ = parts
    store = graph["customers"]
    last = store.num_nodes - 1
    own = store.time[last:]
    for shift, known in ((0, True), (-1, False)):
        seeds = Seeds("customers", torch.tensor([last]), own, own + shift)
        assert seed_known(graph, seeds).tolist() == [known]


def test_to_keeps_everything():
    seeds = some_seeds(4)
    moved = seeds.to(torch.device("cpu"))
    assert moved.node_type == "customers"
    assert moved.label is None
    assert torch.equal(moved.index, seeds.index)
    assert len(moved) == 4
