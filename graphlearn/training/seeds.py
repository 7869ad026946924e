"""The rows of a label table as the sampler takes them: node, seed time, and the newest time that each may see."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pyarrow as pa
import torch
from torch import Tensor
from torch_geometric.data import HeteroData

from graphlearn.errors import TaskError, first_three
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
    """

    node_type: str
    index: Tensor
    seed_time: Tensor
    input_time: Tensor
    label: Tensor | None = None
    own_row: bool = False

    def __len__(self) -> int:
        return self.index.numel()

    def aged(self, longest: int, step: int, generator: torch.Generator) -> Seeds:
        """The same seeds with random ages: each sees up to ``seed_time`` less 0, 1, 2, … steps, at most ``longest``.

        In the frozen regime a test row looks up to ``longest`` past the newest row it may see, in steps of the
        label window; train rows that always see all up to their own time would teach a model nothing about that.
        """
        if longest <= 0:
            return self
        share = torch.rand(len(self), generator=generator, dtype=torch.float64)
        age = (share * (longest // step + 1)).long().to(self.seed_time.device) * step
        return replace(self, input_time=self.seed_time - age)

    def joined(self, other: Seeds) -> Seeds:
        """These seeds and then the others, each seeing all up to its own time."""
        time = torch.cat([self.seed_time, other.seed_time])
        label = torch.cat([labels_of(self), labels_of(other)])
        index = torch.cat([self.index, other.index])
        return replace(self, index=index, seed_time=time, input_time=time, label=label)

    def take(self, chosen: Tensor) -> Seeds:
        """The seeds of these positions."""
        return replace(
            self,
            index=self.index[chosen],
            seed_time=self.seed_time[chosen],
            input_time=self.input_time[chosen],
            label=None if self.label is None else self.label[chosen],
        )

    def spread(self, most: int) -> Seeds:
        """At most so many of these seeds, evenly spread over them."""
        count = min(most, len(self))
        return self.take(torch.arange(count, device=self.index.device) * len(self) // max(count, 1))

    def to(self, device: torch.device) -> Seeds:
        """The same seeds on another device."""
        return replace(
            self,
            index=self.index.to(device),
            seed_time=self.seed_time.to(device),
            input_time=self.input_time.to(device),
            label=None if self.label is None else self.label.to(device),
        )


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
