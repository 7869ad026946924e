"""Batches into the model, and predictions out of it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch_frame import TensorFrame
from torch_geometric.data import HeteroData

from graphlearn.models import Ensemble, RelationalModel
from graphlearn.sampling import SeedLoader, TemporalNeighborSampler
from graphlearn.training.seeds import Seeds
from graphlearn.typing import NodeType

#: Seeds of one shared-time batch: its lower levels hold each row of the database once, whatever the number of seeds.
SHARED_BATCH = 16_384


def seed_loader(
    graph: HeteroData,
    sampler: TemporalNeighborSampler,
    seeds: Seeds,
    *,
    batch_size: int,
    generator: torch.Generator | None = None,
    num_threads: int = 1,
) -> SeedLoader:
    """Batches of seeds, in random order if there is a generator, with what :func:`forward` needs attached.

    The seeds must be on the device of the graph.
    """
    extra = {"seed_known": seed_known(graph, seeds)}
    if seeds.label is not None:
        extra["label"] = seeds.label
    if seeds.features is not None:
        extra["features"] = seeds.features
    return SeedLoader(
        sampler,
        seeds.node_type,
        seeds.index,
        seeds.input_time,
        seed_time=seeds.seed_time,
        batch_size=batch_size,
        shuffle=generator is not None,
        generator=generator,
        num_threads=num_threads,
        extra=extra,
    )


def seed_known(graph: HeteroData, seeds: Seeds) -> Tensor:
    """Whether each seed may see its own row: bool ``[N]``."""
    store = graph[seeds.node_type]
    if seeds.own_row or "time" not in store:
        return torch.ones(len(seeds), dtype=torch.bool, device=seeds.index.device)
    known: Tensor = (seeds.index < store.num_undated) | (store.time[seeds.index] <= seeds.input_time)
    return known


def forward(
    model: RelationalModel | Ensemble,
    graph: HeteroData,
    batch: HeteroData,
    *,
    rows: dict[NodeType, TensorFrame] | None = None,
) -> Tensor:
    """The model's output for a batch, whose rows are read from ``graph``, or given where they are not as there."""
    output: Tensor = model(batch, batch_rows(graph, batch) if rows is None else rows, *batch_times(graph, batch))
    return output


def batch_rows(graph: HeteroData, batch: HeteroData) -> dict[NodeType, TensorFrame]:
    """Per table the distinct rows of a batch."""
    return {name: graph[name].tf[batch[name].rows] for name in graph.node_types}


def batch_times(graph: HeteroData, batch: HeteroData) -> tuple[dict[NodeType, Tensor], dict[NodeType, Tensor]]:
    """Per table the times of the distinct rows of a batch; and where some have none, which have one."""
    times, dated = {}, {}
    for name in graph.node_types:
        store = graph[name]
        if "time" in store:
            times[name] = store.time[batch[name].rows]
        if store.num_undated and "time" in store:
            dated[name] = batch[name].rows >= store.num_undated
    return times, dated


def predict_seeds(
    model: RelationalModel | Ensemble,
    graph: HeteroData,
    seeds: Seeds,
    *,
    batch_size: int = 1024,
    progress: Callable[[int, int], None] | None = None,
) -> Tensor:
    """Predictions in the order of ``seeds``: float64 ``[N]``, or ``[N, C]`` for several classes, on the CPU.

    When all seeds share one time, the levels below them hold each row once: every seed computes what its own tree
    would, but rows that many seeds see are computed once.
    """
    if not len(seeds):
        shape = (0, model.head.num_classes) if "multi" in model.head.task_type else (0,)
        return torch.empty(shape, dtype=torch.float64)
    seeds = seeds.to(device_of(model))
    shared = all(bool((t == t[0]).all()) for t in (seeds.input_time, seeds.seed_time))
    sampler = TemporalNeighborSampler(graph, model.fan_out, strategy="last", disjoint=not shared)
    loader = seed_loader(graph, sampler, seeds, batch_size=SHARED_BATCH if shared else batch_size)
    model.eval()
    parts = []
    with torch.inference_mode():
        for batch in loader:
            parts.append(model.head.predict(forward(model, graph, batch)).cpu())
            if progress is not None:
                progress(sum(map(len, parts)), len(seeds))
    return torch.cat(parts)


def device_of(model: torch.nn.Module) -> torch.device:
    """The device of the model's parameters."""
    return next(model.parameters()).device
