"""Batches on worker threads: the same ones in the same order as without, and no thread left behind."""

from __future__ import annotations

import threading
import time

import pytest
import torch
from slow_sampler import as_lists
from torch_geometric.data import HeteroData

from graphlearn.errors import UsageError
from graphlearn.sampling import SeedLoader, TemporalNeighborSampler


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def sampler():
    graph = HeteroData()
    graph["row"].num_nodes, graph["row"].time = 100, torch.arange(100)
    graph["row", "link", "row"].rowptr = (torch.arange(101) - 1).clamp_min(0).cumsum(0)
    graph["row", "link", "row"].col = torch.cat([torch.arange(max(0, i)) for i in range(100)])
    return TemporalNeighborSampler(graph, [3, 2], strategy="uniform")


def make(sampler, count=50, **options):
    options = {"batch_size": 8, "shuffle": True, "generator": seeded(), **options}
    return SeedLoader(sampler, "row", torch.arange(count), torch.full((count,), 99), **options)


def contents(loader):
    return [(batch.y.tolist(), as_lists(batch)) for batch in loader]


def workers():
    return [t for t in threading.enumerate() if t.name.startswith("graphlearn-sampler")]


@pytest.mark.parametrize(("threads", "prefetch"), [(1, 2), (3, 0), (4, 5)])
def test_batches_do_not_depend_on_the_threads(sampler, threads, prefetch):
    y = {"y": torch.arange(50) * 10}
    plain = make(sampler, extra=y, prefetch=0)
    ahead = make(sampler, extra=y, num_threads=threads, prefetch=prefetch)
    for _ in range(2):
        assert contents(plain) == contents(ahead)
    assert not workers()


def test_an_epoch_has_every_seed_once_and_the_next_another_order(sampler):
    loader = make(sampler, extra={"y": torch.arange(50)})
    assert len(loader) == 7
    epochs = [torch.cat([batch.y for batch in loader]) for _ in range(2)]
    assert [len(batch.y) for batch in loader] == [8] * 6 + [2]
    for epoch in epochs:
        assert epoch.sort().values.tolist() == list(range(50))
    assert epochs[0].tolist() != epochs[1].tolist()


def test_each_batch_is_what_the_sampler_makes_of_its_seeds(sampler):
    seed_time, y = torch.arange(50) + 1000, torch.rand(50, 3)
    loader = make(sampler, seed_time=seed_time, extra={"y": y, "number": torch.arange(50)})
    for batch in loader:
        index = batch["row"].n_id[: batch.seed_time.numel()]
        assert torch.equal(index, batch.number)
        assert torch.equal(batch.seed_time, seed_time[index])
        assert torch.equal(batch.y, y[index])
        assert batch.seed_type == "row"


def test_without_shuffling_the_order_is_the_given_one(sampler):
    loader = make(sampler, shuffle=False, drop_last=True, extra={"y": torch.arange(50)})
    assert len(loader) == 6
    assert torch.cat([batch.y for batch in loader]).tolist() == list(range(48))
    last = TemporalNeighborSampler(HeteroData({"row": {"num_nodes": 4}}), [1])
    assert [batch["row"].n_id.tolist() for batch in make(last, 4, generator=None, shuffle=False)] == [[0, 1, 2, 3]]
    assert list(make(sampler, 0)) == []


class Slow:
    """Counts its calls, and fails at one of them."""

    strategy, node_types = "last", ()

    def __init__(self, fails_at=None):
        self.calls, self.fails_at, self.lock = 0, fails_at, threading.Lock()

    def sample(self, node_type, index, input_time, *, seed_time, generator):
        with self.lock:
            self.calls += 1
        if self.fails_at is not None and int(index[0]) == self.fails_at:
            raise RuntimeError("no such luck")
        time.sleep(0.001)
        return HeteroData()


def test_what_a_thread_raises_comes_with_its_batch():
    batches = iter(make(Slow(fails_at=16), shuffle=False, num_threads=2))
    next(batches), next(batches)
    with pytest.raises(RuntimeError, match="no such luck"):
        next(batches)
    assert not workers()


def test_threads_do_not_run_far_ahead():
    slow = Slow()
    batches = iter(make(slow, count=800, shuffle=False, num_threads=2, prefetch=3))
    assert slow.calls == 0
    next(batches)
    deadline = time.monotonic() + 10
    while slow.calls < 6 and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(0.02)
    assert slow.calls == 6
    batches.close()


@pytest.mark.parametrize("interrupt", [False, True])
def test_no_thread_stays_behind(interrupt):
    slow = Slow()
    batches = iter(make(slow, count=800, shuffle=False, num_threads=3))
    next(batches)
    assert workers()
    if interrupt:
        with pytest.raises(KeyboardInterrupt):
            batches.throw(KeyboardInterrupt())
    else:
        del batches
    assert not workers()
    assert slow.calls < 20


def test_errors(sampler):
    last = Slow()
    for options, text in [
        ({"batch_size": 0}, "'batch_size' must be >= 1, got 0"),
        ({"num_threads": 0}, "'num_threads' must be >= 1, got 0"),
        ({"prefetch": -1}, "'prefetch' must be >= 0, got -1"),
        ({"generator": None}, r"shuffle=True needs generator="),
        ({"extra": {"y": torch.zeros(3)}}, r"'y' must have one row per seed, 50, got \[3\]"),
        ({"extra": {"y": torch.tensor(1.0)}}, r"'y' must have one row per seed, 50, got \[\]"),
        ({"seed_time": torch.zeros(3)}, r"'seed_time' must have one row per seed"),
        ({"extra": {"seed_time": torch.zeros(50)}}, r"'extra' must not have 'seed_time'.*Rename it"),
        ({"extra": {"num_nodes": torch.zeros(50)}}, r"'extra' must not have 'num_nodes'"),
    ]:
        with pytest.raises(UsageError, match=text):
            make(last, **options)
    with pytest.raises(UsageError, match=r"'extra' must not have 'row'"):
        make(sampler, extra={"row": torch.zeros(50)})
    with pytest.raises(UsageError, match=r"strategy 'uniform' needs generator="):
        make(sampler, shuffle=False, generator=None)
