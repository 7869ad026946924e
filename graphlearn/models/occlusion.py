"""What a seed's prediction would be without some of the rows that it saw, for many choices of rows at once."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate, pairwise

import torch
from torch import Tensor
from torch_frame import TensorFrame, stype
from torch_frame.data import MultiEmbeddingTensor, MultiNestedTensor
from torch_geometric.data import HeteroData

from graphlearn.typing import NodeType


@dataclass(frozen=True)
class Candidates:
    """Distinct rows of a batch that can be taken away: ``table[i]`` is a position in ``names``, ``row[i]`` one in
    ``batch[name].rows``.

    Shapes:
        - ``table``, ``row``: ``[K]`` int64
    """

    names: tuple[NodeType, ...]
    table: Tensor
    row: Tensor

    def __len__(self) -> int:
        return self.table.numel()

    def __getitem__(self, index: Tensor) -> Candidates:
        return Candidates(self.names, self.table[index], self.row[index])


def candidates(batch: HeteroData) -> Candidates:
    """Every distinct row in the tree of the batch's one seed, but the seed itself; newest last within each table.

    Raises:
        ValueError: If the batch has not exactly one seed.
    """
    if batch.seed_time.numel() != 1:
        raise ValueError(f"rows are taken from the tree of one seed, got {batch.seed_time.numel()} seeds.")
    names = tuple(batch.node_types)
    tables, rows = [], []
    for number, name in enumerate(names):
        row = torch.arange(batch[name].rows.numel(), device=batch[name].rows.device)
        if name == batch.seed_type:
            row = row[row != batch[name].inverse[0]]
        rows.append(row)
        tables.append(torch.full_like(row, number))
    return Candidates(names, torch.cat(tables), torch.cat(rows))


def keep_all(batch: HeteroData) -> dict[NodeType, Tensor]:
    """The mask of :func:`copies` that takes nothing away: per table ``[1, n]`` bool."""
    return {name: torch.ones_like(batch[name].inverse, dtype=torch.bool).unsqueeze(0) for name in batch.node_types}


def without_each(batch: HeteroData, found: Candidates, keep: dict[NodeType, Tensor]) -> dict[NodeType, Tensor]:
    """Masks that take away one candidate each, all copies of it, from what ``keep`` (``[1, n]``) leaves.

    Shapes:
        - returns per table ``[K, n]`` bool
    """
    masks = {}
    for number, name in enumerate(found.names):
        row = torch.where(found.table == number, found.row, -1)
        masks[name] = keep[name] & (batch[name].inverse != row.unsqueeze(1))
    return masks


def without_groups(
    batch: HeteroData, found: Candidates, group: Tensor, num_groups: int, keep: dict[NodeType, Tensor]
) -> dict[NodeType, Tensor]:
    """Masks that take away all candidates of one group each.

    Shapes:
        - ``group``: ``[K]`` int64 in ``[0, num_groups)``
        - returns per table ``[num_groups, n]`` bool
    """
    masks = {}
    for number, name in enumerate(found.names):
        own = found.table == number
        of_row = torch.full_like(batch[name].rows, -1)
        of_row[found.row[own]] = group[own]
        number_of = torch.arange(num_groups, device=group.device).unsqueeze(1)
        masks[name] = keep[name] & (of_row[batch[name].inverse] != number_of)
    return masks


def copies(
    batch: HeteroData, keep: dict[NodeType, Tensor], *, other: dict[NodeType, tuple[Tensor, Tensor]] | None = None
) -> HeteroData:
    """A batch of B seeds D times side by side, as one of D * B seeds; copy d lacks the rows outside of ``keep[.][d]``.

    A row that is taken away passes nothing on, and neither does what only it leads to; nothing comes in its place. Its
    node stays in the arrays, where no list names it, so that levels have D times their size and no node is renumbered
    by a loop. ``O(D (n + E))``.

    Args:
        batch: A batch of :class:`~graphlearn.sampling.TemporalNeighborSampler`.
        keep: Per table which nodes copy d keeps, ``[D, n]`` bool; the seeds themselves always stay.
        other: Per table ``rows [R]`` and ``inverse [D, n]``, where they are not those of the batch.

    The tensors of the batch with one row for each seed are repeated under their names.
    """
    size, num_seeds = next(iter(keep.values())).size(0), batch.seed_time.numel()
    made = HeteroData()
    place = {}
    for name in batch.node_types:
        store = batch[name]
        place[name] = _places(store.num_sampled_nodes, size, store.inverse)
        flat = place[name].flatten()
        rows, inverse = (other or {}).get(name, (store.rows, store.inverse.expand(size, -1)))
        number = store.batch + num_seeds * torch.arange(size, device=flat.device).unsqueeze(1)
        made[name].rows = rows
        made[name].inverse = torch.empty_like(flat).scatter_(0, flat, inverse.flatten())
        made[name].batch = torch.empty_like(flat).scatter_(0, flat, number.flatten())
        made[name].num_sampled_nodes = [size * count for count in store.num_sampled_nodes]
        made[name].num_nodes = flat.numel()
    for edge_type in batch.edge_types:
        source, _, destination = edge_type
        store = batch[edge_type]
        num_dst = store.rowptr.numel() - 1
        owner = torch.repeat_interleave(torch.arange(num_dst, device=store.col.device), store.rowptr.diff())
        # Hop by hop, and in each hop copy by copy: the order in which the destinations lie.
        cols, owners, counts = [], [], []
        ends = list(accumulate(store.num_sampled_edges, initial=0))
        for start, stop in pairwise(ends):
            col, own = store.col[start:stop], owner[start:stop]
            kept = keep[source][:, col].flatten()
            cols.append(place[source][:, col].flatten()[kept])
            owners.append(place[destination][:, own].flatten()[kept])
            counts.append(cols[-1].numel())
        degree = torch.bincount(torch.cat(owners), minlength=size * num_dst) if owners else store.rowptr.new_empty(0)
        made[edge_type].rowptr = torch.cat([degree.new_zeros(1), degree.cumsum(0)])
        made[edge_type].col = torch.cat(cols) if cols else store.col
        made[edge_type].num_sampled_edges = counts
    made.seed_type = batch.seed_type
    for name in batch.keys():  # noqa: SIM118 - a HeteroData is no mapping
        value = getattr(batch, name, None)
        if isinstance(value, Tensor) and value.dim() and value.size(0) == num_seeds:
            setattr(made, name, value.repeat(size, *[1] * (value.dim() - 1)))
    return made


def columns_of(tf: TensorFrame) -> list[tuple[stype, int, str]]:
    """The columns of a table of rows: kind, position within the kind, name."""
    return [(kind, i, name) for kind, names in tf.col_names_dict.items() for i, name in enumerate(names)]


def with_column(own: TensorFrame, other: TensorFrame, kind: stype, position: int) -> TensorFrame:
    """``own`` with one column of ``other``, a frame of the same columns and number of rows."""
    x, y = own.feat_dict[kind], other.feat_dict[kind]
    mixed: Tensor | MultiNestedTensor | MultiEmbeddingTensor
    if isinstance(x, Tensor):
        mixed = x.clone()
        mixed[:, position] = y[:, position]
    else:
        parts = [x[:, :position], y[:, position : position + 1], x[:, position + 1 :]]
        mixed = type(x).cat([part for part in parts if part.num_cols], dim=1)
    return TensorFrame({**own.feat_dict, kind: mixed}, own.col_names_dict)


def _places(levels: list[int], size: int, like: Tensor) -> Tensor:
    """Where node p of copy d lies: level by level, and in each level copy by copy; ``[D, n]``."""
    count = torch.tensor(levels, device=like.device)
    first = count.cumsum(0) - count
    level = torch.repeat_interleave(torch.arange(len(levels), device=like.device), count, output_size=like.numel())
    within = torch.arange(like.numel(), device=like.device) - first[level]
    copy = torch.arange(size, device=like.device).unsqueeze(1)
    return size * first[level] + copy * count[level] + within
