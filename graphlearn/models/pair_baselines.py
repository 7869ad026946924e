"""What a ranking has to beat: what everybody takes, what the source took before, and both."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from graphlearn.ops.csr_torch import entries_to_rows
from graphlearn.ops.lists import expand
from graphlearn.tasks.ranking import Relevant

PAIR_BASELINES = ("popularity", "repeats", "repeats, then popularity")
"""Names of the baselines."""

#: Label windows after which a past item counts half.
_HALF_LIFE = 8.0


@dataclass(frozen=True)
class PairHistory:
    """Items that came true, as far as it is known when.

    Attributes:
        source: Row of the source, int64 ``[P]``.
        item: Row of the item, ``[P]``.
        known_from: When it was known, int64 ``[P]`` microseconds.
        period: The label window, microseconds.
        num_items: Rows of the item table.
    """

    source: Tensor
    item: Tensor
    known_from: Tensor
    period: int
    num_items: int

    @classmethod
    def of(cls, parts: Iterable[tuple[Tensor, Tensor, Relevant]], period: int, num_items: int) -> PairHistory:
        """The history of labelled sources, from parts (source, seed time, what came true)."""
        columns: list[tuple[Tensor, Tensor, Tensor]] = []
        for source, seed_time, relevant in parts:
            owner = entries_to_rows(relevant.rowptr, len(relevant.col))
            columns.append((source[owner], relevant.col, seed_time[owner] + period))
        source, item, known_from = (torch.cat(column) for column in zip(*columns, strict=True))
        return cls(source, item, known_from, period, num_items)

    def scores(self, source: Tensor, time: int) -> dict[str, Tensor]:
        """Of some sources at one time, for each baseline float32 ``[S, num_items]``.

        What is past counts :math:`2^{-a / 8}` after a label windows.
        """
        known = self.known_from <= time
        age = (time - self.known_from[known]).double() / self.period
        weight = torch.exp2(-age / _HALF_LIFE).float()
        mine, item = self.source[known], self.item[known]
        popularity = torch.zeros(self.num_items).index_add_(0, item, weight)
        order = mine.argsort(stable=True)
        count = torch.bincount(mine, minlength=int(source.max()) + 1 if len(source) else 0)
        rowptr = torch.cat([count.new_zeros(1), count.cumsum(0)])
        owner, place = expand(rowptr, source)
        at = order[place]
        repeats = torch.zeros(len(source), self.num_items)
        repeats.index_put_((owner, item[at]), weight[at], accumulate=True)
        popular = popularity.expand(len(source), -1)
        both = repeats + popularity / (popularity.max().clamp_min(1e-30) * 2) * _smallest(weight)
        return dict(zip(PAIR_BASELINES, (popular, repeats, both), strict=True))


def _smallest(weight: Tensor) -> float:
    """Less than any weight: what was taken before stands above what was not."""
    return float(weight.min()) if len(weight) else 1.0
