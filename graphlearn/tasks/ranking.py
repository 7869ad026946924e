"""Scores of rankings: how high the rows that came true stand among all candidates."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from graphlearn.errors import UsageError
from graphlearn.ops.csr_torch import entries_to_rows

RANKING_METRICS = ("map", "recall", "precision", "ndcg", "mrr")
"""Names of the metrics, the one that models are chosen by first."""


@dataclass(frozen=True)
class Relevant:
    """The items that came true for each source, as lists.

    Attributes:
        rowptr: int64 ``[S + 1]``.
        col: int64 ``[P]``: items, each once per source.
    """

    rowptr: Tensor
    col: Tensor

    def __len__(self) -> int:
        return len(self.rowptr) - 1

    def rows(self, first: int, stop: int) -> Relevant:
        """Those of the sources ``first .. stop - 1``."""
        ptr = self.rowptr[first : stop + 1]
        return Relevant(ptr - ptr[0], self.col[int(ptr[0]) : int(ptr[-1])])

    def mask(self, num_items: int) -> Tensor:
        """bool ``[S, num_items]``."""
        mask = torch.zeros(len(self), num_items, dtype=torch.bool, device=self.col.device)
        mask[entries_to_rows(self.rowptr, len(self.col)), self.col] = True
        return mask


def ranking_scores(score: Tensor, relevant: Relevant, k: int) -> dict[str, Tensor]:
    r"""The metrics at k of each source, from the scores of all candidates.

    With :math:`g_j` = 1 if place j holds an item that came true, and R of these in all:

    .. math:: \mathrm{precision} = \frac1k \sum_{j \le k} g_j, \quad
        \mathrm{recall} = \frac1R \sum_{j \le k} g_j, \quad
        \mathrm{AP} = \frac{1}{\min(R, k)} \sum_{j \le k} \frac{g_j}{j} \sum_{i \le j} g_i, \quad
        \mathrm{NDCG} = \frac{\sum_{j \le k} g_j / \log_2 (1 + j)}{\sum_{j \le \min(R, k)} 1 / \log_2 (1 + j)}, \quad
        \mathrm{MRR} = 1 / \min\{j \le k : g_j = 1\}

    and 0 for MRR where there is none. Items with equal scores have no order, so each metric is its mean over all orders
    of them, in closed form.

    Source: of ties, McSherry and Najork, "Computing Information Retrieval Performance Measures Efficiently in the
    Presence of Tied Scores", ECIR 2008; of AP with min(R, k), RelBench.

    Args:
        score: Of each source and candidate; -inf: not a candidate.
        relevant: What came true.
        k: Places that count, at most the number of candidates.

    Shapes:
        - ``score``: ``[S, N]``
        - returns per name of :data:`RANKING_METRICS` float64 ``[S]``; NaN of a source of which nothing came true

    Raises:
        UsageError: If k is larger than the number of items.
    """
    if not 1 <= k <= score.size(1):
        raise UsageError(f"metrics at {k} need at least so many items, there are {score.size(1)}.")
    top = score.topk(k, dim=1)
    mask = relevant.mask(score.size(1))
    hit = mask.gather(1, top.indices).double()
    place = torch.arange(k, device=score.device).expand_as(hit)
    begins = torch.ones_like(hit, dtype=torch.bool)
    begins[:, 1:] = top.values[:, 1:] != top.values[:, :-1]
    first = torch.where(begins, place, 0).cummax(dim=1).values  # of each tie, its first place
    group = begins.cumsum(dim=1) - 1

    def per_group(values: Tensor) -> Tensor:
        return torch.zeros_like(hit).scatter_add_(1, group, values)

    size, true = per_group(torch.ones_like(hit)), per_group(hit)
    # The last tie may go on beyond place k.
    tied, last = score == top.values[:, -1:], group[:, -1:]
    size.scatter_(1, last, tied.sum(1, keepdim=True).double())
    true.scatter_(1, last, (tied & mask).sum(1, keepdim=True).double())
    before = (true.cumsum(dim=1) - true).gather(1, group)
    size, true = size.gather(1, group), true.gather(1, group)
    real = top.values > -torch.inf
    gain = torch.where(real, true / size, 0.0)
    ahead = (place - first).double()  # of the same tie
    rank = place.double() + 1
    found = before + 1 + ahead * (true - 1) / (size - 1).clamp_min(1)
    hazard = torch.where(real, true / (size - ahead), 0.0)
    none_yet = torch.cat([torch.ones_like(hazard[:, :1]), (1 - hazard).cumprod(dim=1)[:, :-1]], dim=1)
    number = relevant.rowptr.diff().double()
    discount = rank[0].add(1).log2().reciprocal()
    ideal = torch.cat([discount.new_zeros(1), discount.cumsum(0)])[number.long().clamp_max(k)]
    metrics = {
        "map": (gain * found / rank).sum(1) / number.clamp_max(k),
        "recall": gain.sum(1) / number,
        "precision": gain.mean(1),
        "ndcg": (gain * discount).sum(1) / ideal,
        "mrr": (none_yet * hazard / rank).sum(1),
    }
    return {name: values.masked_fill(number == 0, torch.nan) for name, values in metrics.items()}


def mean_interval(values: Tensor, groups: Tensor, *, seed: int = 0, repeats: int = 1000) -> tuple[float, float, float]:
    """The mean over sources that have a value, and its 95 % interval over resamples of the entities behind them.

    Args:
        values: float64 ``[S]``; NaN: none.
        groups: The entity of each source, int64 ``[S]``.
        seed: Of the resamples.
        repeats: How many.

    Returns:
        Mean, low, high; NaN without any value.
    """
    known = ~values.isnan()
    if not bool(known.any()):
        return math.nan, math.nan, math.nan
    _, group = torch.unique(groups[known], return_inverse=True)
    count = torch.bincount(group).double()
    total = torch.zeros_like(count).index_add_(0, group, values[known])
    generator = torch.Generator().manual_seed(seed)
    means = []
    for _ in range(repeats):
        drawn = torch.randint(len(count), (len(count),), generator=generator)
        means.append(total[drawn].sum() / count[drawn].sum())
    low, high = torch.stack(means).quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return float(values[known].mean()), low, high
