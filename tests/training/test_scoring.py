"""Layer by layer or tree by tree: the same predictions."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest
import torch
from little_shop import MODEL, open_tables, tables

from graphlearn.graph import build_graph, fit_statistics
from graphlearn.models import RelationalModel
from graphlearn.sampling import TemporalNeighborSampler
from graphlearn.training import Seeds, predict_seeds
from graphlearn.training.scoring import forward, seed_loader


@pytest.fixture(scope="module")
def graph():
    return build_graph(open_tables(tables()))


def model(task_type: str = "binary_classification", **kwargs) -> RelationalModel:
    db = open_tables(tables())
    torch.manual_seed(0)
    sizes = replace(MODEL, num_neighbors=(5, 4, 3))
    return RelationalModel(db.schema, fit_statistics(db), "customers", task_type, sizes, **kwargs)


def at_one_time(graph, day: str) -> Seeds:
    time = torch.full((graph["customers"].num_nodes,), int(pd.Timestamp(day).value // 1000))
    return Seeds("customers", torch.arange(len(time)), time, time)


@pytest.mark.parametrize("day", ["2021-01-15", "2021-06-15", "2022-01-01"])
def test_seeds_of_one_time_give_what_their_own_trees_give(graph, day):
    made, seeds = model().eval(), at_one_time(graph, day)
    shared = predict_seeds(made, graph, seeds)
    sampler = TemporalNeighborSampler(graph, made.fan_out, disjoint=True)
    batch = next(iter(seed_loader(graph, sampler, seeds, batch_size=len(seeds))))
    with torch.inference_mode():
        trees = made.head.predict(forward(made, graph, batch))
    torch.testing.assert_close(shared, trees, rtol=0, atol=1e-5)


def test_shared_levels_hold_each_row_once(graph):
    made, seeds = model(), at_one_time(graph, "2022-01-01")
    sampler = TemporalNeighborSampler(graph, made.fan_out, disjoint=False)
    batch = next(iter(seed_loader(graph, sampler, seeds, batch_size=len(seeds))))
    for name in ("orders", "items", "products"):
        sizes = batch[name].num_sampled_nodes
        for level in batch[name].n_id.split(sizes):
            assert len(level.unique()) == len(level)


def test_the_size_of_a_batch_does_not_matter(graph):
    made, seeds = model(), at_one_time(graph, "2021-06-15")
    spread = replace(seeds, seed_time=seeds.seed_time + torch.arange(len(seeds)))
    whole = predict_seeds(made, graph, spread)
    for size in (1, 7, 40):
        torch.testing.assert_close(predict_seeds(made, graph, spread, batch_size=size), whole, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("task_type", "shape"),
    [("binary_classification", (0,)), ("regression", (0,)), ("multiclass_classification", (0, 3))],
)
def test_no_seeds(graph, task_type, shape):
    made = model(task_type, num_classes=3 if len(shape) > 1 else 1)
    none = Seeds("customers", *(torch.empty(0, dtype=torch.int64) for _ in range(3)))
    assert predict_seeds(made, graph, none).shape == shape


def test_the_model_is_left_ready_to_predict(graph):
    made = model().train()
    predict_seeds(made, graph, at_one_time(graph, "2021-06-15"))
    assert not made.training
    assert all(parameter.grad is None for parameter in made.parameters())
