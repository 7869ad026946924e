"""The rows of a label table as the sampler takes them: node, seed time, and the newest time that each may see."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor
from torch_geometric.data import HeteroData

from graphlearn.errors import TaskError, first_three
from graphlearn.features import Aggregates
from graphlearn.graph.build import node_index
from graphlearn.tasks.task import Task


@dataclass(frozen=True)
class Seeds:
    """Seeds of one node type.

    Attributes:
        node_type: Their table.
        index: Their rows, int64 ``[N]``.
        seed_time: When the prediction is for, int64 ``[N]`` microseconds UTC.
        input_time: The newest row time that each may see, ``<= seed_time``.
        label: As :class:`~graphlearn.nn.head.node.NodeHead` takes it, or None.
        own_row: Whether a seed sees its own row even if that is newer than ``input_time``: the row to complete.
        features: Aggregates of each seed as of ``input_time``, float32 ``[N, F]``, NaN = missing; or None.
        aged_times: What :meth:`aged` chooses from if there are features, which are not made anew each epoch: input
            times, int64 ``[R, N]``.
        aged_features: Their aggregates, ``[R, N, F]``.
    """

    node_type: str
    index: Tensor
    seed_time: Tensor
    input_time: Tensor
    label: Tensor | None = None
    own_row: bool = False
    features: Tensor | None = None
    aged_times: Tensor | None = None
    aged_features: Tensor | None = None

    def __len__(self) -> int:
        return self.index.numel()

    def aged(self, longest: int, step: int, generator: torch.Generator) -> Seeds:
        """The same seeds with random ages: each sees up to ``seed_time`` less 0, 1, 2, … steps, at most ``longest``.

        In the frozen regime a test row looks up to ``longest`` past the newest row it may see, in steps of the
        label window; train rows that always see all up to their own time would teach a model nothing about that.
        """
        if longest <= 0:
            return self
        if self.features is not None:
            if self.aged_times is None or self.aged_features is None or not len(self.aged_times):
                return self
            copy = torch.randint(len(self.aged_times), (len(self),), generator=generator)
            row = torch.arange(len(self))
            return replace(self, input_time=self.aged_times[copy, row], features=self.aged_features[copy, row])
        share = torch.rand(len(self), generator=generator, dtype=torch.float64)
        age = (share * (longest // step + 1)).long().to(self.seed_time.device) * step
        return replace(self, input_time=self.seed_time - age)

    def joined(self, other: Seeds) -> Seeds:
        """These seeds and then the others, each seeing all up to its own time; without features."""
        time = torch.cat([self.seed_time, other.seed_time])
        label = torch.cat([labels_of(self), labels_of(other)])
        index = torch.cat([self.index, other.index])
        return Seeds(self.node_type, index, time, time, label, self.own_row)

    def to(self, device: torch.device) -> Seeds:
        """The same seeds on another device."""
        return replace(
            self,
            index=self.index.to(device),
            seed_time=self.seed_time.to(device),
            input_time=self.input_time.to(device),
            label=None if self.label is None else self.label.to(device),
            features=None if self.features is None else self.features.to(device),
        )

    def take(self, rows: np.ndarray) -> Seeds:
        """Some of these seeds, without features: ``rows`` are positions, int64."""
        at = torch.from_numpy(rows)
        label = None if self.label is None else self.label[at]
        return Seeds(self.node_type, self.index[at], self.seed_time[at], self.input_time[at], label, self.own_row)

    def spread(self, most: int) -> Seeds:
        """At most so many of these seeds, evenly spread over them, without features."""
        count = min(most, len(self))
        return self.take(np.arange(count) * len(self) // max(count, 1))


def make_seeds(graph: HeteroData, task: Task, keys: pa.Array, seed_time: Tensor, cut: int | None) -> Seeds:
    """Seeds for primary keys at times; ``cut`` is the newest time any of them may see, or None for its own time.

    Raises:
        TaskError: If a key has no row in the graph.
    """
    index = node_index(graph, task.entity_table, keys)
    if bool((index < 0).any()):
        missing = [keys[int(i)].as_py() for i in (index < 0).nonzero()[:3]]
        count = int((index < 0).sum())
        raise TaskError(
            f"{count:,} of {len(keys):,} keys to predict for name no row of '{task.entity_table}' that is used "
            f"(first: {first_three(missing)}). Load these rows, give them a time if the schema drops rows without one, "
            "or leave the keys out."
        )
    input_time = seed_time if cut is None else seed_time.clamp_max(cut)
    return Seeds(task.entity_table, index, seed_time, input_time, own_row=task.completes)


def labels_of(seeds: Seeds) -> Tensor:
    """The labels of seeds that have some."""
    assert seeds.label is not None
    return seeds.label


def split_seeds(graph: HeteroData, task: Task, split: str, regime: str, *, labels: pa.Table | None = None) -> Seeds:
    """The labelled seeds of a split under a regime; train rows see everything up to their own time.

    ``labels`` is the split's label table, if it is already at hand.
    """
    table = task.label_table(split) if labels is None else labels
    values, _ = task.encode(table)
    time = torch.from_numpy(table["seed_time"].to_numpy().copy())
    cut = None if split == "train" else task.cut(split, regime)
    seeds = make_seeds(graph, task, table["pkey"].combine_chunks(), time, cut)
    return replace(seeds, label=torch.from_numpy(values))


def with_features(seeds: Seeds, values: np.ndarray, plan: Aggregates | None) -> Seeds:
    """The seeds with aggregates ``[N, F]`` as a network takes them; unchanged without a plan."""
    return seeds if plan is None else replace(seeds, features=network_columns(values, plan.categorical))


def network_columns(values: np.ndarray, categorical: tuple[bool, ...]) -> Tensor:
    """The columns that a network reads, ``[..., F]``: not codes, which the rows of its graph have as categories."""
    return torch.from_numpy(np.ascontiguousarray(values[..., ~np.asarray(categorical, dtype=bool)]))
