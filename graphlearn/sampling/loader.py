"""Mini-batches of seeds, sampled on worker threads ahead of the one who trains."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor
from torch_geometric.data import HeteroData

from graphlearn.errors import UsageError
from graphlearn.sampling.neighbor import TemporalNeighborSampler
from graphlearn.sampling.random import draw_base
from graphlearn.typing import NodeType

_RESERVED = ("seed_type", "seed_time", "input_time")


class SeedLoader:
    """Iterates over batches of seeds; each iteration is an epoch with its own order.

    An epoch takes its order and one number per batch from ``generator`` when it starts, so the batches do not depend
    on the number of threads or on how far they ran ahead. At most ``num_threads + prefetch`` batches are in memory
    beside the one in use. The threads end with the epoch, or when its iterator is dropped or interrupted. What a
    thread raises is raised by the batch that it concerns.

    Args:
        sampler: Makes the batches.
        node_type: The seeds' table.
        index: Row ids of the seeds.
        input_time: What is newer is invisible to the seed, microseconds UTC.
        seed_time: When the prediction is for; ``input_time`` if not given.
        batch_size: Seeds in a batch, > 0; the last batch of an epoch may have fewer.
        shuffle: Whether each epoch goes through the seeds in a new order.
        generator: Needed to shuffle and by the strategy ``"uniform"``.
        num_threads: Threads that sample, > 0, one batch each at a time.
        prefetch: Finished batches that may wait, >= 0.
        drop_last: Leaves out the last batch if it is not full.
        extra: Tensors with one row per seed; the rows of a batch's seeds are attached to it under the same name.

    Shapes:
        - ``index``, ``input_time``, ``seed_time``: ``[S]`` int64;  ``extra[name]``: ``[S, *]``

    Raises:
        UsageError: If a tensor has another length, a number is out of range, a name in ``extra`` is taken, or
            ``shuffle`` got no generator.
    """

    def __init__(
        self,
        sampler: TemporalNeighborSampler,
        node_type: NodeType,
        index: Tensor,
        input_time: Tensor,
        *,
        seed_time: Tensor | None = None,
        batch_size: int,
        shuffle: bool,
        generator: torch.Generator | None = None,
        num_threads: int = 1,
        prefetch: int = 2,
        drop_last: bool = False,
        extra: dict[str, Tensor] | None = None,
    ) -> None:
        least = {"batch_size": (batch_size, 1), "num_threads": (num_threads, 1), "prefetch": (prefetch, 0)}
        for name, (value, low) in least.items():
            if value < low:
                raise UsageError(f"'{name}' must be >= {low}, got {value}.")
        if generator is None and (shuffle or sampler.strategy == "uniform"):
            reason = "shuffle=True" if shuffle else "strategy 'uniform'"
            raise UsageError(f"{reason} needs generator=torch.Generator().manual_seed(…): no order is left to chance.")
        self.sampler, self.node_type = sampler, node_type
        self.index, self.input_time = index, input_time
        self.seed_time = input_time if seed_time is None else seed_time
        self.extra = dict(extra or {})
        for name in self.extra:
            if name in _RESERVED or name in sampler.node_types or hasattr(HeteroData, name) or name.endswith("_dict"):
                raise UsageError(f"'extra' must not have '{name}': a batch uses that name itself. Rename it.")
        named = {"input_time": input_time, "seed_time": self.seed_time, **self.extra}
        for name, tensor in named.items():
            if tensor.dim() == 0 or tensor.shape[0] != index.numel():
                raise UsageError(f"'{name}' must have one row per seed, {index.numel()}, got {list(tensor.shape)}.")
        self.batch_size, self.shuffle, self.generator = batch_size, shuffle, generator
        self.num_threads, self.prefetch, self.drop_last = num_threads, prefetch, drop_last

    def __len__(self) -> int:
        """The number of batches in an epoch."""
        count = self.index.numel()
        return count // self.batch_size if self.drop_last else -(-count // self.batch_size)

    def __iter__(self) -> Iterator[HeteroData]:
        count = self.index.numel()
        device = self.index.device
        if self.shuffle:
            assert self.generator is not None
            order = torch.randperm(count, generator=self.generator, device=self.generator.device).to(device)
        else:
            order = torch.arange(count, device=device)
        batches = list(torch.split(order, self.batch_size))[: len(self)]
        seeds = [None if self.generator is None else draw_base(self.generator) for _ in batches]
        return self._run(batches, seeds)

    def _run(self, batches: list[Tensor], seeds: list[int | None]) -> Iterator[HeteroData]:
        # Nothing runs before the first batch is asked for; leaving this frame in any way ends the threads.
        pool = ThreadPoolExecutor(self.num_threads, thread_name_prefix="graphlearn-sampler")
        try:
            waiting: deque[Future[HeteroData]] = deque()
            for position, seed in zip(batches, seeds, strict=True):
                waiting.append(pool.submit(self._sample, position, seed))
                if len(waiting) > self.num_threads + self.prefetch:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _sample(self, position: Tensor, seed: int | None) -> HeteroData:
        batch = self.sampler.sample(
            self.node_type,
            self.index[position],
            self.input_time[position],
            seed_time=self.seed_time[position],
            generator=None if seed is None else torch.Generator().manual_seed(seed),
        )
        for name, tensor in self.extra.items():
            setattr(batch, name, tensor[position.to(tensor.device)])
        return batch
