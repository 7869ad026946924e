"""Both backends against the plain-Python sampler, and the properties that must hold whatever the graph."""

from __future__ import annotations

import gc
import math
import random
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from slow_sampler import SlowSampler, as_lists, random_graph, without_rows_after
from torch_geometric.data import HeteroData

from graphlearn.sampling import TemporalNeighborSampler
from graphlearn.sampling.native_backend import native_available
from graphlearn.sampling.random import draw_base

BACKENDS = ["torch"] + (["native"] if native_available() else [])
DEVICES = [("cpu", backend) for backend in BACKENDS] + ([("cuda", "torch")] if torch.cuda.is_available() else [])
STRATEGIES = ["last", "uniform"]
native = pytest.mark.skipif(not native_available(), reason="the kernels are not built")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


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


def hub_graph(num_nodes=3000, num_edges=60_000, dtype=torch.int32):
    """One table with a self relation whose lists are up to a quarter of the table long."""
    generator = seeded(7)
    src, dst = ((torch.rand(num_edges, generator=generator) ** 3 * num_nodes).long() for _ in range(2))
    key = (dst * num_nodes + src).unique()
    graph = HeteroData()
    graph["node"].num_nodes = num_nodes
    graph["node"].time = torch.randint(1000, (num_nodes,), generator=generator).sort().values
    edges = graph["node", "link", "node"]
    edges.rowptr = torch.searchsorted(key, torch.arange(num_nodes + 1) * num_nodes)
    edges.col = (key % num_nodes).to(dtype)
    return graph


def star(num_children):
    """One parent whose list is the whole of an undated child table."""
    graph = HeteroData()
    graph["child"].num_nodes, graph["parent"].num_nodes = num_children, 1
    graph["child", "of", "parent"].rowptr = torch.tensor([0, num_children])
    graph["child", "of", "parent"].col = torch.arange(num_children)
    return graph


@pytest.mark.parametrize(("device", "backend"), DEVICES)
@pytest.mark.parametrize("strategy", STRATEGIES)
@settings(deadline=None, max_examples=200)
@given(st.integers(0, 10**6), st.sampled_from([None, 1, 3, 1 << 63]), st.booleans())
def test_equals_the_definition(device, backend, strategy, seed, window, disjoint):
    graph = random_graph(seed)
    call, fan_out = random_call(graph, seed, one_time=not disjoint), random_fan_out(graph, seed)
    if call is None:
        return
    table, index, times = call
    sampler = TemporalNeighborSampler(
        graph.clone().to(device), fan_out, strategy=strategy, window=window, backend=backend, disjoint=disjoint
    )
    batch = sampler.sample(table, index, times, generator=seeded(seed))
    slow = SlowSampler(graph, fan_out, strategy, window, disjoint)
    assert as_lists(batch) == slow.sample(table, index.tolist(), times.tolist(), draw_base(seeded(seed)))


@native
@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("disjoint", [True, False])
@pytest.mark.parametrize("window", [None, 300])
def test_backends_agree_on_long_lists(dtype, strategy, disjoint, window):
    graph = hub_graph(dtype=dtype)
    index = torch.randint(3000, (200,), generator=seeded())
    times = torch.randint(1000, (200,), generator=seeded()) if disjoint else torch.full((200,), 700)
    batches = [
        TemporalNeighborSampler(
            graph, [20, 40], strategy=strategy, window=window, backend=backend, disjoint=disjoint
        ).sample("node", index, times, generator=seeded())
        for backend in BACKENDS
    ]
    assert batches[0]["node"].num_nodes > 5000 or not disjoint
    assert as_lists(batches[0]) == as_lists(batches[1])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("window", [None, 300])
def test_nothing_new_nothing_twice_never_too_much(backend, strategy, window):
    graph = hub_graph()
    index = torch.randint(3000, (300,), generator=seeded(1))
    times = torch.randint(1000, (300,), generator=seeded(2))
    sampler = TemporalNeighborSampler(graph, [20, 10], strategy=strategy, window=window, backend=backend)
    batch = sampler.sample("node", index, times, generator=seeded())
    nodes, edges = batch["node"], batch["node", "link", "node"]
    sampled = slice(300, None)
    row_time, seed_time = graph["node"].time[nodes.n_id[sampled]], times[nodes.batch[sampled]]
    assert bool((row_time <= seed_time).all())
    assert window is None or bool((row_time > seed_time - window).all())
    taken = edges.rowptr.diff()
    assert int(taken[:300].max()) == 20
    assert int(taken[300:].max()) == 10
    owner = torch.repeat_interleave(torch.arange(len(taken)), taken)
    same_list = owner[1:] == owner[:-1]
    rows = nodes.n_id[edges.col]
    assert bool((rows[1:] > rows[:-1])[same_list].all()), "a list is not increasing, so it has a repeat"
    assert torch.equal(nodes.batch[edges.col], nodes.batch[owner]), "an edge between two trees"


def picks_of_hub(backend, n, k, draws):
    """Which of ``n`` neighbours each of ``draws`` seeds, all at the same hub, took."""
    sampler = TemporalNeighborSampler(star(n), [k], strategy="uniform", backend=backend)
    batch = sampler.sample("parent", torch.zeros(draws).long(), torch.zeros(draws).long(), generator=seeded())
    picked = torch.zeros(draws, n, dtype=torch.int64)
    picked[batch["child"].batch, batch["child"].n_id] = 1
    assert bool((picked.sum(dim=1) == k).all()), "a neighbour was taken twice"
    return picked


def check_chi_square(chi_square, freedom):
    # A chi-square variable has this mean and variance; four standard deviations leave one in 10,000 or so.
    assert abs(chi_square - freedom) < 4 * math.sqrt(2 * freedom), f"{chi_square:.1f} at {freedom} degrees of freedom"


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("n", "k"), [(5, 1), (7, 3), (7, 4), (8, 7)])
def test_every_subset_is_equally_likely(backend, n, k):
    subsets = math.comb(n, k)
    draws = 200 * subsets
    code = (picks_of_hub(backend, n, k, draws) * 2 ** torch.arange(n)).sum(dim=1)
    counts = torch.bincount(code)[code.unique()]
    assert len(counts) == subsets
    check_chi_square(float(((counts - 200) ** 2).sum() / 200), subsets - 1)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("n", "k"), [(200, 30), (200, 150), (5000, 64)])
def test_every_neighbour_of_a_hub_is_equally_likely(backend, n, k):
    draws = 2000
    counts = picks_of_hub(backend, n, k, draws).sum(dim=0)
    p = k / n
    # The counts add up to draws * k, hence the last factor.
    check_chi_square(float(((counts - draws * p) ** 2).sum() / (draws * p * (1 - p)) * (n - 1) / n), n - 1)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_generator_decides(backend):
    graph, index = hub_graph(), torch.arange(50)
    sampler = TemporalNeighborSampler(graph, [5, 5], strategy="uniform", backend=backend)

    def draw(generator):
        return as_lists(sampler.sample("node", index, torch.full((50,), 900), generator=generator))

    generator = seeded(1)
    first, second = draw(generator), draw(generator)
    assert first != second
    assert draw(seeded(1)) == first
    torch.manual_seed(1)  # the default generator has no part in it
    assert draw(seeded(1)) == first


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("strategy", STRATEGIES)
@settings(deadline=None, max_examples=100)
@given(st.integers(0, 10**6), st.sampled_from([None, 3]), st.booleans())
def test_rows_after_the_seeds_change_nothing(backend, strategy, seed, window, disjoint):
    graph = random_graph(seed)
    call, fan_out = random_call(graph, seed, one_time=not disjoint), random_fan_out(graph, seed)
    if call is None or call[1].numel() == 0:
        return
    table, index, times = call
    latest = int(times.max())
    before = without_rows_after(graph, latest)
    index = index % max(1, before[table].num_nodes)
    if before[table].num_nodes == 0:
        return
    # Ids increase with time, so the rows that stay keep their numbers: equal ids are equal rows.
    batches = [
        as_lists(
            TemporalNeighborSampler(
                g, fan_out, strategy=strategy, window=window, backend=backend, disjoint=disjoint
            ).sample(table, index, times, generator=seeded())
        )
        for g in (before, graph)
    ]
    assert batches[0] == batches[1]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("strategy", STRATEGIES)
@settings(deadline=None, max_examples=100)
@given(st.integers(0, 10**6))
def test_a_tree_does_not_depend_on_later_seeds_of_its_batch(backend, strategy, seed):
    """Rows that only other seeds of the batch may see change nothing either: the random numbers do not shift."""
    graph = random_graph(seed)
    call, fan_out = random_call(graph, seed), random_fan_out(graph, seed)
    if call is None or call[1].numel() < 2:
        return
    table, index, times = call
    first = int(times.argmin())
    before = without_rows_after(graph, int(times[first]))
    if before[table].num_nodes == 0:
        return
    index = index % before[table].num_nodes
    trees = []
    for g in (before, graph):
        sampler = TemporalNeighborSampler(g, fan_out, strategy=strategy, backend=backend)
        batch = sampler.sample(table, index, times, generator=seeded())
        trees.append({t: batch[t].n_id[batch[t].batch == first].tolist() for t in batch.node_types})
    assert trees[0] == trees[1]


@pytest.mark.parametrize("backend", BACKENDS)
@settings(deadline=None, max_examples=100)
@given(st.integers(0, 10**6))
def test_shared_levels_compute_what_trees_compute(backend, seed):
    graph = random_graph(seed)
    call, fan_out = random_call(graph, seed, one_time=True), random_fan_out(graph, seed)
    if call is None:
        return
    table, index, times = call
    value = {t: torch.rand(graph[t].num_nodes, generator=seeded(), dtype=torch.float64) for t in graph.node_types}
    results = []
    for disjoint in (True, False):
        sampler = TemporalNeighborSampler(graph, fan_out, backend=backend, disjoint=disjoint)
        batch = sampler.sample(table, index, times)
        h = {t: value[t][batch[t].n_id] for t in batch.node_types}
        for _ in range(sampler.num_hops):
            new = {t: h[t].clone() for t in h}
            for weight, (src, name, dst) in enumerate(sampler.edge_types, start=2):
                edges = batch[src, name, dst]
                sums = torch.cat([h[src].new_zeros(1), h[src][edges.col].cumsum(0)])[edges.rowptr].diff()
                new[dst][: len(sums)] += weight * sums
            h = {t: new[t].tanh() for t in new}
        results.append(h[table][: index.numel()])
    torch.testing.assert_close(results[0], results[1])


@native
def test_threads_at_once_give_what_one_thread_gives():
    sampler = TemporalNeighborSampler(hub_graph(), [20, 10], strategy="uniform", backend="native")

    def draw(seed):
        index = torch.randint(3000, (100,), generator=seeded(seed))
        return as_lists(sampler.sample("node", index, torch.full((100,), 800), generator=seeded(seed)))

    alone = [draw(seed) for seed in range(12)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(draw, range(12))) == alone


@native
def test_a_batch_outlives_its_sampler_and_is_not_written_over():
    sampler = TemporalNeighborSampler(hub_graph(), [20, 10], backend="native")
    batches = [sampler.sample("node", torch.arange(i, i + 64), torch.full((64,), 900)) for i in range(20)]
    kept = [as_lists(batch) for batch in batches]
    parts = [batch["node"].rows for batch in batches]
    rows = [part.tolist() for part in parts]
    again = [sampler.sample("node", torch.arange(i, i + 64), torch.full((64,), 900)) for i in range(20)]
    assert [as_lists(batch) for batch in batches] == kept
    del sampler, batches, again
    gc.collect()
    fresh = TemporalNeighborSampler(hub_graph(), [20, 10], backend="native")
    held = [fresh.sample("node", torch.arange(64), torch.full((64,), 100 * i)) for i in range(10)]
    assert [part.tolist() for part in parts] == rows
    assert len(held) == 10


def test_a_worked_example():
    """Customer 0 has orders 0 (time 1), 1 (time 2) and 3 (time 4); at time 3 it sees the first two, the last is 1."""
    graph = HeteroData()
    graph["customer"].num_nodes = 2
    graph["order"].num_nodes, graph["order"].time = 4, torch.tensor([1, 2, 3, 4])
    graph["order", "customer", "customer"].rowptr = torch.tensor([0, 3, 4])
    graph["order", "customer", "customer"].col = torch.tensor([0, 1, 3, 2])
    graph["customer", "rev_customer", "order"].index = torch.tensor([0, 0, 1, 0])
    for backend in BACKENDS:
        sampler = TemporalNeighborSampler(graph, [1, 1], backend=backend)
        batch = sampler.sample("customer", torch.tensor([0]), torch.tensor([3]), seed_time=torch.tensor([9]))
        assert batch["order"].n_id.tolist() == [1]
        assert batch["customer"].n_id.tolist() == [0, 0]
        assert batch["customer"].rows.tolist() == [0]
        assert batch["customer"].num_sampled_nodes == [1, 0, 1]
        assert batch["customer", "rev_customer", "order"].col.tolist() == [1]
        assert (batch.seed_type, batch.seed_time.tolist(), batch.input_time.tolist()) == ("customer", [9], [3])


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_window_longer_than_all_time_hides_nothing(backend):
    graph = star(2)
    graph["child"].time = torch.tensor([-20, -15])  # before 1970, where subtracting such a window would wrap around
    sampler = TemporalNeighborSampler(graph, [-1], window=1 << 63, backend=backend)
    assert sampler.sample("parent", torch.tensor([0]), torch.tensor([-10]))["child"].n_id.tolist() == [0, 1]
