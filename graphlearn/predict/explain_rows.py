"""Which of the rows that the GNN saw moved one prediction: rows are taken away, and the rest is scored again."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch_frame
from torch import Tensor
from torch_frame import TensorFrame
from torch_geometric.data import HeteroData

from graphlearn.graph.rows import CONSTANT
from graphlearn.models import Ensemble, RelationalModel
from graphlearn.models.occlusion import (
    Candidates,
    candidates,
    columns_of,
    copies,
    keep_all,
    with_column,
    without_each,
    without_groups,
)
from graphlearn.predict.shown_rows import Pick
from graphlearn.training.scoring import forward
from graphlearn.typing import NodeType

MOST_CANDIDATES = 512
"""Rows that are taken away one by one; of more, groups are taken away first, and the half that moves less is let go."""
TRIED = 40
"""Rows of a direction that are tried for each next place."""
EXCHANGED = 8
"""Rows whose cells are put in the place of a row's, one after the other."""
_NODES = 1_000_000
"""Nodes of the trees that are scored in one pass."""


@dataclass(frozen=True)
class Scorer:
    """Scores copies of the tree of one seed.

    Attributes:
        model: The model.
        graph: The graph.
        batch: The seed's batch.
        output: Which of several outputs, or None.
        weight: Share of the model in the prediction.
        rest: What the others add to it.
    """

    model: RelationalModel | Ensemble
    graph: HeteroData
    batch: HeteroData
    output: int | None = None
    weight: float = 1.0
    rest: float = 0.0

    def __call__(
        self,
        keep: dict[NodeType, Tensor],
        *,
        other: dict[NodeType, tuple[Tensor, Tensor]] | None = None,
        rows: dict[NodeType, TensorFrame] | None = None,
        features: Tensor | None = None,
    ) -> Tensor:
        """The prediction of each copy, float64 ``[D]``; see :func:`~graphlearn.models.occlusion.copies`.

        ``rows``: the rows themselves, where they are not as in the graph; ``features``: those of each copy, ``[D, F]``.
        """
        size = next(iter(keep.values())).size(0)
        step = max(1, _NODES // sum(mask.size(1) for mask in keep.values()))
        parts = []
        with torch.inference_mode():
            for start in range(0, size, step):
                part = {name: mask[start : start + step] for name, mask in keep.items()}
                placed = {name: (ids, rest[start : start + step]) for name, (ids, rest) in (other or {}).items()}
                made = copies(self.batch, part, other=placed)
                if features is not None:
                    made.features = features[start : start + step]
                value = self.model.head.unbounded(forward(self.model, self.graph, made, rows=rows))
                parts.append(value if self.output is None else value[:, self.output])
        return self.rest + self.weight * torch.cat(parts)


@dataclass(frozen=True)
class Found:
    """Rows of one direction in the order in which they are taken away.

    Attributes:
        rows: The rows.
        step: By how much each lowers the score after those before it.
        alone: By how much each lowers it alone.
        left: The score without all of them.
    """

    rows: Candidates
    step: list[float]
    alone: list[float]
    left: float


def strongest(score: Scorer, top: int) -> tuple[Found, Found]:
    """The rows whose absence lowers the score most, and those whose absence raises it most, at most ``top`` each.

    The first row is the one that moves the score most alone; each next the one that moves it most after those before
    were taken away, so that several rows that say the same are not taken for none. A row's direction is that of its
    absence alone.
    """
    batch = score.batch
    keep = keep_all(batch)
    base = float(score(keep)[0])
    rows = _half(score, candidates(batch), base)
    effect = base - score(without_each(batch, rows, keep)) if len(rows) else rows.row.double()
    sides = [_Side(batch, rows, effect, sign, max(TRIED, top), base) for sign in (1, -1)]
    for _ in range(top):
        going = [side for side in sides if side.left.numel()]
        if not going:
            break
        masks = [side.masks() for side in going]
        both = {name: torch.cat([mask[name] for mask in masks]) for name in batch.node_types}
        scores = torch.split(score(both), [side.left.numel() for side in going])
        for side, after in zip(going, scores, strict=True):
            side.take(after)
    return sides[0].found(), sides[1].found()


def _half(score: Scorer, rows: Candidates, base: float) -> Candidates:
    """At most :data:`MOST_CANDIDATES` of many rows: neighbours in time share a group, and strong groups are split."""
    while len(rows) > MOST_CANDIDATES:
        count = MOST_CANDIDATES // 2
        group = torch.arange(len(rows), device=rows.row.device) * count // len(rows)
        effect = (base - score(without_groups(score.batch, rows, group, count, keep_all(score.batch)))).abs()
        chosen = torch.zeros(count, dtype=torch.bool, device=group.device)
        chosen[effect.argsort(descending=True, stable=True)[: count // 2]] = True
        rows = rows[chosen[group]]
    return rows


class _Side:
    """The rows of one direction while they are taken away one after the other."""

    def __init__(self, batch: HeteroData, rows: Candidates, effect: Tensor, sign: int, most: int, base: float) -> None:
        order = (sign * effect).argsort(descending=True, stable=True)
        order = order[sign * effect[order] > 0][:most]
        self.batch, self.sign, self.now = batch, sign, base
        self.rows, self.alone = rows[order], effect[order].tolist()
        self.left = torch.arange(len(order), device=order.device)
        self.keep = keep_all(batch)
        self.taken: list[int] = []
        self.step: list[float] = []

    def masks(self) -> dict[NodeType, Tensor]:
        """What is left without each of the rows that are still there."""
        return without_each(self.batch, self.rows[self.left], self.keep)

    def take(self, after: Tensor) -> None:
        """Takes the row whose absence moves the score most, given the scores of :meth:`masks`; none if none does."""
        best = int((self.sign * (self.now - after)).argmax())
        change = self.now - float(after[best])
        if self.sign * change <= 0:
            self.left = self.left[:0]
            return
        self.taken.append(int(self.left[best]))
        self.step.append(change)
        self.now -= change
        self.keep = without_each(self.batch, self.rows[self.left[best : best + 1]], self.keep)
        self.left = torch.cat([self.left[:best], self.left[best + 1 :]])

    def found(self) -> Found:
        index = torch.tensor(self.taken, dtype=torch.int64, device=self.left.device)
        return Found(self.rows[index], self.step, [self.alone[i] for i in self.taken], self.now)


def describe(score: Scorer, found: Found) -> list[Pick]:
    """The rows with what each of their cells adds.

    That is the score less the mean of the scores with the cells of :data:`EXCHANGED` other rows of the table in its
    place, evenly spread over those that the seed may see.
    """
    made: dict[int, Pick] = {}
    rows = found.rows
    for number, name in enumerate(rows.names):
        where = (rows.table == number).nonzero().flatten()
        if where.numel():
            row = rows.row[where]
            nodes = score.batch[name].rows[row].tolist()
            for i, node, cells in zip(where.tolist(), nodes, _cells(score, name, row), strict=True):
                made[i] = Pick(name, node, found.step[i], found.alone[i], cells)
    return [made[i] for i in range(len(rows))]


def describe_own(score: Scorer) -> Pick:
    """The seed's own row; its attribution is what its columns add together."""
    name = score.batch.seed_type
    row = score.batch[name].inverse[:1]
    (cells,) = _cells(score, name, row)
    other = score.graph[name].tf[_others(score, name)]
    together = float(score(keep_all(score.batch))[0] - _exchanged(score, name, row, other).mean())
    return Pick(name, int(score.batch[name].n_id[0]), together, together, cells)


def feature_effects(score: Scorer) -> Tensor:
    """By how much each aggregate of the seed raises the score over its median in training: float64 ``[F]``."""
    model = score.model.members[0] if isinstance(score.model, Ensemble) else score.model
    assert isinstance(model, RelationalModel)
    if model.features is None:
        return torch.zeros(0, dtype=torch.float64)
    own = score.batch.features
    count = own.size(1)
    usual = torch.eye(count, dtype=torch.bool, device=own.device)
    changed = torch.where(usual, model.features.center, own)
    keep = keep_all(score.batch)
    spread = {name: mask.expand(count, -1) for name, mask in keep.items()}
    return (score(keep)[0] - score(spread, features=changed)).cpu()


def _others(score: Scorer, name: NodeType) -> Tensor:
    """Rows of a table that the seed may see, evenly spread over them: ``[EXCHANGED]``."""
    store = score.graph[name]
    count = store.num_nodes
    if "time" in store:
        dated = store.time[store.num_undated :]
        count = store.num_undated + int(torch.searchsorted(dated, score.batch.input_time[0], right=True))
    # A table may hold nothing as old but the row itself.
    device = score.batch.input_time.device
    spread: Tensor = torch.arange(EXCHANGED, device=device) * max(count - 1, 0) // (EXCHANGED - 1)
    return spread


def _cells(score: Scorer, name: NodeType, row: Tensor) -> list[dict[str, float]]:
    """Of each of these rows of the batch what every column adds to the score."""
    own = score.graph[name].tf[score.batch[name].rows[row]]
    other = score.graph[name].tf[_others(score, name)]
    base = score(keep_all(score.batch))[0]
    repeated = own[torch.arange(row.numel(), device=row.device).repeat_interleave(EXCHANGED)]
    spread = other[torch.arange(EXCHANGED, device=row.device).repeat(row.numel())]
    found: list[dict[str, float]] = [{} for _ in range(row.numel())]
    for kind, position, column in columns_of(own):
        if column == CONSTANT:
            continue
        changed = _exchanged(score, name, row, with_column(repeated, spread, kind, position))
        effect = base - changed.view(row.numel(), EXCHANGED).mean(dim=1)
        for cells, value in zip(found, effect.tolist(), strict=True):
            cells[column] = value
    return found


def _exchanged(score: Scorer, name: NodeType, row: Tensor, instead: TensorFrame) -> Tensor:
    """The scores with one other row each: the i-th row of ``instead`` in the place of ``row[i // EXCHANGED]``."""
    batch = score.batch
    size = instead.num_rows
    replaced = row.repeat_interleave(EXCHANGED)
    count = batch[name].rows.numel()
    added = count + torch.arange(size, device=row.device)
    inverse = batch[name].inverse.expand(size, -1)
    inverse = torch.where(inverse == replaced.unsqueeze(1), added.unsqueeze(1), inverse)
    rows = {table: score.graph[table].tf[batch[table].rows] for table in batch.node_types}
    rows[name] = torch_frame.cat([rows[name], instead], dim=0)
    ids = torch.cat([batch[name].rows, batch[name].rows[replaced]])  # of which the times are: they stay
    keep = {table: mask.expand(size, -1) for table, mask in keep_all(batch).items()}
    return score(keep, other={name: (ids, inverse)}, rows=rows)
