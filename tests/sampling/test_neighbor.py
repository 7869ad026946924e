"""Both backends against the plain-Python sampler, and the properties that must hold whatever the graph."""

from __future__ import annotations

import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from slow_sampler import SlowSampler, as_lists, random_graph

from graphlearn.sampling import TemporalNeighborSampler
from graphlearn.sampling.native_backend import native_available
from graphlearn.sampling.random import draw_base

BACKENDS = ["torch"] + (["native"] if native_available() else [])


def random_call(graph, seed, *, one_time=False):
    """A seed type, seeds (repeats allowed) and times for ``graph``, or None if all its tables are empty."""
    draw = random.Random(seed + 1)
    tables = [t for t in graph.node_types if graph[t].num_nodes > 0]
    if not tables:
        return None
    table, size = draw.choice(tables), draw.randint(0, 5)
    time = draw.randint(-1, 9)
    index = torch.tensor([draw.randrange(graph[table].num_nodes) for _ in range(size)]).long()
    times = torch.tensor([time if one_time else draw.randint(-1, 9) for _ in range(size)]).long()
    return table, index, times


def random_fan_out(graph, seed):
    draw = random.Random(seed + 2)
    hops = draw.randint(0, 3)
    if draw.random() < 0.5:
        return [draw.choice([-1, 0, 1, 2, 3]) for _ in range(hops)]
    chosen = [e for e in graph.edge_types if draw.random() < 0.8]
    return {e: [draw.choice([-1, 0, 1, 2, 3]) for _ in range(hops)] for e in chosen}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("strategy", ["last", "uniform"])
@settings(deadline=None, max_examples=150)
@given(st.integers(0, 10**6), st.sampled_from([None, 1, 3, 1 << 63]), st.booleans())
def test_equals_the_definition(backend, strategy, seed, window, disjoint):
    graph = random_graph(seed)
    call, fan_out = random_call(graph, seed, one_time=not disjoint), random_fan_out(graph, seed)
    if call is None:
        return
    table, index, times = call
    sampler = TemporalNeighborSampler(
        graph, fan_out, strategy=strategy, window=window, backend=backend, disjoint=disjoint
    )
    batch = sampler.sample(table, index, times, generator=torch.Generator().manual_seed(seed))
    base = draw_base(torch.Generator().manual_seed(seed))
    slow = SlowSampler(graph, fan_out, strategy, window, disjoint).sample(table, index.tolist(), times.tolist(), base)
    assert as_lists(batch) == slow
