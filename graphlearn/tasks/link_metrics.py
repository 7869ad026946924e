"""Scores of link predictors: how high links stand among pairs that are none."""

from __future__ import annotations

import re
from collections.abc import Iterable

import sklearn.metrics as skm
import torch
from torch import Tensor

from graphlearn.errors import UsageError, first_three, unknown_name

LINK_METRICS = ("auc", "ap", "mrr", "hits@K")
"""Names of the metrics; K is any number above zero."""


def hits_at(pos: Tensor, neg: Tensor, k: int, *, ties: str = "mean") -> float:
    r"""The share of links that stand among the first ``k`` places against their negatives.

    .. math:: \mathrm{Hits@}k = \frac1L \sum_{i=1}^L P(\mathrm{rank}_i \le k), \qquad
        \mathrm{rank}_i \in \{1 + g_i, \dots, 1 + g_i + e_i\}

    where :math:`g_i` negatives score above link i and :math:`e_i` as high as it. Equal scores have no order, so the
    link is equally likely to have each of these ranks.

    Source: Hu et al., "Open Graph Benchmark: Datasets for Machine Learning on Graphs", arXiv:2005.00687.
    Differs from the source in ties: OGB's evaluator gives a link the worst of its ranks, which is ``ties="ogb"``.

    Args:
        pos: Scores of the links.
        neg: Scores of negatives that all links share, or of each link's own.
        k: Places that count.
        ties: ``"mean"`` or ``"ogb"``.

    Shapes:
        - ``pos``: ``[L]``;  ``neg``: ``[M]`` or ``[L, M]``

    Raises:
        UsageError: If there is no score, a shape is not as above, a score is NaN, or ``k`` is not in 1..M.
        UnknownNameError: If ``ties`` is neither of the two.
    """
    if ties not in ("mean", "ogb"):
        raise unknown_name("treatment of ties", ties, ("mean", "ogb"))
    pos, neg = _checked(pos, neg)
    if not 1 <= k <= neg.size(-1):
        raise UsageError(
            f"hits@{k} needs at least {max(k, 1)} negatives, there are {neg.size(-1)}: every link would be a hit. "
            f"Take a K from 1 to {neg.size(-1)}, or draw more negatives."
        )
    above, equal = _places(pos, neg)
    if ties == "ogb":
        return float((above + equal < k).double().mean())
    return float(((k - above) / (equal + 1)).clamp(0, 1).mean())


def mrr(pos: Tensor, neg: Tensor) -> float:
    r"""The mean reciprocal rank of links among their negatives.

    .. math:: \mathrm{MRR} = \frac1L \sum_{i=1}^L \frac{1}{1 + g_i + e_i / 2}

    where :math:`g_i` negatives score above link i and :math:`e_i` as high as it: a link that is tied has the mean of
    its ranks, as in OGB's evaluator.

    Source: Hu et al., "Open Graph Benchmark: Datasets for Machine Learning on Graphs", arXiv:2005.00687.

    Args:
        pos: Scores of the links.
        neg: Scores of negatives that all links share, or of each link's own.

    Shapes:
        - ``pos``: ``[L]``;  ``neg``: ``[M]`` or ``[L, M]``

    Raises:
        UsageError: If there is no score, a shape is not as above, or a score is NaN.
    """
    above, equal = _places(*_checked(pos, neg))
    return float((1 + above + equal / 2).reciprocal().mean())


def auc(pos: Tensor, neg: Tensor) -> float:
    """The probability that a link scores above a negative, a tie counted half (scikit-learn's ``roc_auc_score``).

    Shapes:
        - ``pos``: ``[L]``;  ``neg``: ``[M]`` or ``[L, M]``, whose rows are then pooled

    Raises:
        UsageError: As :func:`mrr`.
    """
    pos, neg = _checked(pos, neg)
    score = torch.cat([pos, neg.flatten()])
    label = torch.arange(len(score)) < len(pos)
    return float(skm.roc_auc_score(label.numpy(), score.numpy()))


def average_precision(pos: Tensor, neg: Tensor) -> float:
    r"""The mean, over the links, of the share of links among all that stand as high; over all orders of equal scores.

    A group of n equal scores, r of them of links, below N others with R links has in expectation

    .. math:: \sum_{j=1}^{n} \frac{r}{n} \cdot \frac{R + 1 + (j - 1) \frac{r - 1}{n - 1}}{N + j}

    of the sum. Without ties this is scikit-learn's ``average_precision_score``, which takes a group of equal scores as
    one step.

    Source: McSherry, Najork, "Computing Information Retrieval Performance Measures Efficiently in the Presence of Tied
    Scores", ECIR 2008.

    Shapes:
        - ``pos``: ``[L]``;  ``neg``: ``[M]`` or ``[L, M]``, whose rows are then pooled

    Raises:
        UsageError: As :func:`mrr`.
    """
    pos, neg = _checked(pos, neg)
    score, order = torch.cat([pos, neg.flatten()]).sort(descending=True)
    link = (order < len(pos)).double()
    starts = torch.ones_like(score, dtype=torch.bool)
    starts[1:] = score[1:] != score[:-1]
    group = starts.cumsum(0) - 1
    size = group.bincount()
    first = size.cumsum(0) - size  # N
    in_group = torch.zeros(len(size), dtype=torch.float64).index_add(0, group, link)  # r
    before = in_group.cumsum(0) - in_group  # R
    n, r = size[group].double(), in_group[group]
    place = torch.arange(1, len(score) + 1, dtype=torch.float64)  # N + j
    among = (place - first[group] - 1) * (r - 1) / (n - 1).clamp_min(1)
    return float((r / n * (before[group] + 1 + among) / place).sum() / len(pos))


def link_scores(pos: Tensor, neg: Tensor, metrics: Iterable[str] = ("auc", "ap", "mrr", "hits@20")) -> dict[str, float]:
    """Several metrics by name: ``auc``, ``ap``, ``mrr`` and ``hits@K`` with any K.

    Raises:
        UnknownNameError: If there is no such metric.
        UsageError: As the metrics.
    """
    return {name: _score(name, pos, neg) for name in metrics}


def check_metric(name: str) -> int | None:
    """The K of ``hits@K``, None of another metric.

    Raises:
        UnknownNameError: If there is no such metric.
    """
    found = re.fullmatch(r"hits@([1-9]\d*)", name)
    if found is None and name not in LINK_METRICS[:-1]:
        raise unknown_name("link metric", name, LINK_METRICS)
    return None if found is None else int(found[1])


def _score(name: str, pos: Tensor, neg: Tensor) -> float:
    k = check_metric(name)
    if k is not None:
        return hits_at(pos, neg, k)
    return {"auc": auc, "ap": average_precision, "mrr": mrr}[name](pos, neg)


def _checked(pos: Tensor, neg: Tensor) -> tuple[Tensor, Tensor]:
    """Both as float64 on the CPU."""
    if pos.dim() != 1 or neg.dim() not in (1, 2) or (neg.dim() == 2 and len(neg) != len(pos)):
        raise UsageError(
            f"scores of links must have shape [L] and those of negatives [M] or [L, M], got {list(pos.shape)} and "
            f"{list(neg.shape)}."
        )
    if pos.numel() == 0 or neg.numel() == 0:
        raise UsageError(f"there is nothing to score: {pos.numel()} links and {neg.numel()} negatives.")
    for name, score in (("links", pos), ("negatives", neg)):
        wrong = score.isnan().flatten().nonzero().flatten()
        if wrong.numel():
            raise UsageError(
                f"{wrong.numel()} of {score.numel()} scores of {name} are NaN "
                f"(first: {first_three(wrong[:3].tolist())})."
            )
    return pos.detach().double().cpu(), neg.detach().double().cpu()


def _places(pos: Tensor, neg: Tensor) -> tuple[Tensor, Tensor]:
    """How many negatives score above each link, and how many as high; float64 ``[L]`` each."""
    ordered = neg.sort(dim=-1).values
    wanted = pos if neg.dim() == 1 else pos[:, None]
    below = torch.searchsorted(ordered, wanted).reshape(-1)
    up_to = torch.searchsorted(ordered, wanted, right=True).reshape(-1)
    return (neg.size(-1) - up_to).double(), (up_to - below).double()
