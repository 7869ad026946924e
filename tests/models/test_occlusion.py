"""Rows taken away from sampled trees: copies of a batch against the batch itself, and against fewer rows."""

from __future__ import annotations

import pytest
import torch
import torch_frame
from little_shop import MODEL, open_tables, tables

from graphlearn.graph import build_graph, fit_statistics
from graphlearn.models import Ensemble, RelationalModel
from graphlearn.models.occlusion import (
    candidates,
    columns_of,
    copies,
    keep_all,
    with_column,
    without_each,
    without_groups,
)
from graphlearn.sampling import TemporalNeighborSampler
from graphlearn.tasks.times import time_us
from graphlearn.training.scoring import forward, seed_known
from graphlearn.training.seeds import Seeds

AT = time_us("2021-11-01", "at")


@pytest.fixture(scope="module")
def shop():
    db = open_tables(tables())
    statistics = fit_statistics(db)
    torch.manual_seed(0)
    members = [RelationalModel(db.schema, statistics, "customers", "binary_classification", MODEL) for _ in range(2)]
    return build_graph(db, statistics=statistics), Ensemble(members).eval()


def sample(shop, index):
    graph, model = shop
    index = torch.as_tensor(index)
    seeds = Seeds("customers", index, torch.full((len(index),), AT + 86_400_000_000), torch.full((len(index),), AT))
    sampler = TemporalNeighborSampler(graph, model.fan_out)
    batch = sampler.sample("customers", seeds.index, seeds.input_time, seed_time=seeds.seed_time)
    batch.seed_known = seed_known(graph, seeds)
    return batch


def predict(shop, batch):
    graph, model = shop
    with torch.inference_mode():
        return model.head.predict(forward(model, graph, batch))


def test_whole_copies_say_what_the_batch_says(shop):
    batch = sample(shop, [3, 7, 11, 20])
    mask = {name: keep.expand(3, -1) for name, keep in keep_all(batch).items()}
    made = copies(batch, mask)
    torch.testing.assert_close(predict(shop, made), predict(shop, batch).repeat(3), rtol=0, atol=1e-6)
    assert made.seed_time.tolist() == batch.seed_time.repeat(3).tolist()
    assert made.seed_known.tolist() == batch.seed_known.repeat(3).tolist()


def test_each_copy_lacks_its_row_and_no_other(shop):
    batch = sample(shop, [3])
    found = candidates(batch)
    total = sum(batch[name].rows.numel() for name in batch.node_types)
    assert len(found) == total - 1
    keep = keep_all(batch)
    together = predict(shop, copies(batch, without_each(batch, found, keep)))
    for i in range(0, len(found), 7):  # one at a time, and with the copies counted by hand
        one = without_each(batch, found[torch.tensor([i])], keep)
        name = found.names[int(found.table[i])]
        copies_of = int((batch[name].inverse == found.row[i]).sum())
        assert sum(int((~mask).sum()) for mask in one.values()) == copies_of > 0
        torch.testing.assert_close(predict(shop, copies(batch, one))[0], together[i], rtol=0, atol=1e-6)
    assert (together - predict(shop, batch)).abs().max() > 1e-4


def test_groups_are_their_rows_together(shop):
    batch = sample(shop, [3])
    found = candidates(batch)
    keep = keep_all(batch)
    group = torch.arange(len(found)) % 3
    masks = without_groups(batch, found, group, 3, keep)
    for number in range(3):
        slow = keep
        for i in (group == number).nonzero().flatten():
            slow = without_each(batch, found[i.view(1)], slow)
        for name, mask in masks.items():
            assert mask[number].tolist() == slow[name][0].tolist()


def test_without_any_row_only_the_seed_is_left(shop):
    batch = sample(shop, [3])
    found = candidates(batch)
    group = torch.zeros(len(found), dtype=torch.int64)
    made = copies(batch, without_groups(batch, found, group, 1, keep_all(batch)))
    assert all(made[edge_type].col.numel() == 0 for edge_type in made.edge_types)
    assert torch.isfinite(predict(shop, made)).all()


def test_rows_of_several_seeds_are_refused(shop):
    with pytest.raises(ValueError, match="rows are taken from the tree of one seed, got 2 seeds"):
        candidates(sample(shop, [3, 4]))


def test_one_column_of_every_kind_is_exchanged(shop):
    graph, _ = shop
    seen = set()
    for name in graph.node_types:
        own = graph[name].tf[torch.arange(8)]
        other = graph[name].tf[torch.arange(8).flip(0)]
        for kind, position, column in columns_of(own):
            mixed = with_column(own, other, kind, position)
            for k, p, c in columns_of(own):
                source = other if (k, p) == (kind, position) else own
                assert str(cells(mixed, k, p)) == str(cells(source, k, p)), (name, column, c)
            seen.add(kind)
    assert seen == {
        torch_frame.numerical,
        torch_frame.categorical,
        torch_frame.multicategorical,
        torch_frame.timestamp,
        torch_frame.embedding,
    }


def cells(tf, kind, position):
    return [tf.feat_dict[kind][i, position].tolist() for i in range(tf.num_rows)]
