"""The rows of a label table that ranks: sources, when they are asked about, and the items that came true."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor
from torch_geometric.data import HeteroData

from graphlearn.errors import TaskError
from graphlearn.graph.build import node_index
from graphlearn.ops.lists import expand
from graphlearn.tasks import Task
from graphlearn.tasks.ranking import Relevant
from graphlearn.training.seeds import Seeds, make_seeds


@dataclass(frozen=True)
class Pairs:
    """Sources, and the items that came true for each.

    Attributes:
        seeds: The sources, without labels.
        relevant: Rows of the item table, per source.
    """

    seeds: Seeds
    relevant: Relevant

    def __len__(self) -> int:
        return len(self.seeds)

    def take(self, at: Tensor) -> Pairs:
        """Some of the sources, by their positions."""
        seeds = self.seeds
        count = self.relevant.rowptr.diff()[at]
        _, place = expand(self.relevant.rowptr, at)
        rowptr = torch.cat([count.new_zeros(1), count.cumsum(0)])
        some = replace(seeds, index=seeds.index[at], seed_time=seeds.seed_time[at], input_time=seeds.input_time[at])
        return Pairs(some, Relevant(rowptr, self.relevant.col[place]))

    def joined(self, other: Pairs) -> Pairs:
        """These and then the others, each seeing all up to its own time."""
        mine, theirs = self.relevant, other.relevant
        seeds = [torch.cat([getattr(p.seeds, name) for p in (self, other)]) for name in ("index", "seed_time")]
        rowptr = torch.cat([mine.rowptr, mine.rowptr[-1] + theirs.rowptr[1:]])
        both = Seeds(self.seeds.node_type, seeds[0], seeds[1], seeds[1])
        return Pairs(both, Relevant(rowptr, torch.cat([mine.col, theirs.col])))


def split_pairs(graph: HeteroData, task: Task, split: str, regime: str, *, labels: pa.Table | None = None) -> Pairs:
    """The labelled sources of a split under a regime; train sees everything up to its own time.

    Items that have no row in the graph are left out, as nothing could name them.

    Raises:
        TaskError: If a source has no row in the graph, or no item has one.
    """
    table = task.label_table(split) if labels is None else labels
    time = torch.from_numpy(table["seed_time"].to_numpy().copy())
    cut = None if split == "train" else task.cut(split, regime)
    seeds = make_seeds(graph, task, table["pkey"].combine_chunks(), time, cut)
    label = table["label"].combine_chunks()
    item = node_index(graph, str(task.item_table), pc.list_flatten(label))
    owner = torch.from_numpy(pc.list_parent_indices(label).to_numpy().astype(np.int64))
    known = item >= 0
    if len(item) and not bool(known.any()):
        raise TaskError(
            f"task '{task.name}', {split}: none of {len(item):,} labelled keys names a row of '{task.item_table}'."
        )
    count = torch.bincount(owner[known], minlength=len(seeds))
    return Pairs(seeds, Relevant(torch.cat([count.new_zeros(1), count.cumsum(0)]), item[known]))


def by_time(seeds: Seeds) -> Iterator[tuple[int, int, Tensor]]:
    """For each pair of times (input time, seed time) the positions of its seeds."""
    both = torch.stack([seeds.input_time, seeds.seed_time], dim=1)
    times, group = torch.unique(both, dim=0, return_inverse=True)
    order = group.argsort(stable=True)
    for (input_time, seed_time), at in zip(
        times.tolist(), torch.split(order, torch.bincount(group, minlength=len(times)).tolist()), strict=True
    ):
        yield input_time, seed_time, at
