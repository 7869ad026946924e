"""What a student learns from a teacher that scores links: its preferences around each node, its scores, its vectors."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import Module

from graphlearn.errors import check_positive

_TILE = 1 << 20
"""Pairs of contexts that are compared at a time, so that they stay in a core's cache."""

_NEVER = -1e4
"""A logit whose probability is zero in float32, and whose differences are finite."""


class LLPLoss(Module):
    r"""Teaches a student which contexts of an anchor its teacher prefers, and how strongly.

    With probabilities T of the teacher and S of the student for m context nodes of an anchor,

    .. math::
        L_R = \operatorname{mean}_{i < j} \max\bigl(0, -r_{ij} (S_i - S_j) + \delta\bigr) [r_{ij} \ne 0], \qquad
        r_{ij} = [T_i > T_j + \delta] - [T_i < T_j - \delta],

    .. math::
        L_D = \tau^2 \operatorname{KL}(\operatorname{softmax}(T / \tau) \,\|\, \operatorname{softmax}(S / \tau)), \qquad
        L = w_l L_L + w_r L_R + w_d L_D

    averaged over the anchors with two contexts or more, and :math:`L_L` the binary cross entropy of the labelled links.
    The pairs are never kept: memory is ``O(a m)``, time ``O(a m^2)``, or ``O(a P)`` with ``pairs``.

    Source: Guo et al., "Linkless Link Prediction via Relational Distillation", arXiv:2210.05801.
    Differs from the paper: a pair whose order the teacher leaves open (r = 0) has no gradient and counts 0, where the
    paper adds the constant :math:`\delta`, so that values of different margins can be compared; ``open_pairs=True``
    adds it. The mean is over all pairs either way, so gradients are the paper's. Masked contexts take no part.

    Args:
        margin: :math:`\delta`, in probability, > 0.
        temperature: :math:`\tau`, > 0. The paper's code has 1, at which a softmax of probabilities is nearly flat.
        w_label: Weight of the labelled links.
        w_rank: Weight of :math:`L_R`; at 0 it is not computed.
        w_dist: Weight of :math:`L_D`; at 0 it is not computed.
        use_logits: Whether :math:`L_D` compares logits instead of probabilities.
        pairs: Pairs drawn per anchor, in expectation the same loss; None: all of them.
        open_pairs: Whether pairs that the teacher leaves open count :math:`\delta`, as in the paper.

    Shapes:
        - ``student_scores``, ``teacher_scores``: ``[a, m]`` float, logits;  ``mask``: ``[a, m]`` bool, False on entries
          that are no context
        - ``label_logits``, ``labels``: ``[L]`` float
        - ``generator``: to draw with
        - returns a dict of scalars: ``loss``, ``rank``, ``dist``, ``label``, and ``active``, the share of pairs whose
          order the teacher decides

    Raises:
        ValueError: If ``margin``, ``temperature`` or ``pairs`` is not > 0, a weight is negative, the shapes of the
            scores differ, or pairs are to be drawn without a generator.
    """

    def __init__(
        self,
        margin: float = 0.1,
        temperature: float = 1.0,
        *,
        w_label: float = 1.0,
        w_rank: float = 1.0,
        w_dist: float = 1.0,
        use_logits: bool = False,
        pairs: int | None = None,
        open_pairs: bool = False,
    ) -> None:
        super().__init__()
        check_positive(margin=margin, temperature=temperature, pairs=1 if pairs is None else pairs)
        _check_weights(w_label=w_label, w_rank=w_rank, w_dist=w_dist)
        self.margin, self.temperature, self.pairs = margin, temperature, pairs
        self.w_label, self.w_rank, self.w_dist = w_label, w_rank, w_dist
        self.use_logits, self.open_pairs = use_logits, open_pairs

    @property
    def needs_contexts(self) -> bool:
        """Whether scores of contexts have any weight."""
        return self.w_rank > 0 or self.w_dist > 0

    def forward(
        self,
        student_scores: Tensor,
        teacher_scores: Tensor,
        mask: Tensor | None = None,
        label_logits: Tensor | None = None,
        labels: Tensor | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> dict[str, Tensor]:
        if student_scores.shape != teacher_scores.shape:
            found = f"{list(student_scores.shape)} and {list(teacher_scores.shape)}"
            raise ValueError(f"'student_scores' and 'teacher_scores' must have the same shape [a, m], got {found}.")
        dtype = torch.promote_types(student_scores.dtype, torch.float32)  # a margin has no place in half precision
        student, teacher = student_scores.to(dtype), teacher_scores.to(dtype)
        mask = torch.ones_like(student, dtype=torch.bool) if mask is None else mask
        rank = dist = active = student.new_zeros(())
        if self.w_rank:
            rank, active = self._rank(student.sigmoid(), teacher.sigmoid(), mask, generator)
        if self.w_dist:
            scores = (student, teacher) if self.use_logits else (student.sigmoid(), teacher.sigmoid())
            dist = self._dist(*scores, mask)
        label = _label_loss(label_logits, labels, student)
        loss = self.w_label * label + self.w_rank * rank + self.w_dist * dist
        return {"loss": loss, "rank": rank, "dist": dist, "label": label, "active": active}

    def _rank(
        self, student: Tensor, teacher: Tensor, mask: Tensor, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        count = mask.sum(dim=1)
        if self.pairs is None:
            total, decided = _RankHinge.apply(student, teacher, mask, self.margin)  # type: ignore[no-untyped-call]
            pairs = (count * (count - 1)).to(student.dtype) / 2
        else:
            total, decided = self._drawn(student, teacher, mask, generator)
            pairs = torch.full_like(total, self.pairs)
        if self.open_pairs:
            total = total + self.margin * (pairs - decided)
        has_pairs = (count > 1).to(student.dtype)
        scale = has_pairs / pairs.clamp_min(1.0) / has_pairs.sum().clamp_min(1.0)  # of each anchor
        return (total * scale).sum(), (decided * scale).sum()

    def _drawn(
        self, student: Tensor, teacher: Tensor, mask: Tensor, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        assert self.pairs is not None
        if generator is None:
            raise ValueError(f"pairs={self.pairs} needs generator=torch.Generator().manual_seed(…) to draw with.")
        count = mask.sum(dim=1, keepdim=True)
        shape = (2, student.size(0), self.pairs)
        drawn = torch.rand(shape, generator=generator, device=generator.device, dtype=torch.float64).to(student.device)
        # The second is any but the first: one of the others, those from the first on shifted by one.
        first = (drawn[0] * count).long()
        second = (drawn[1] * (count - 1).clamp_min(0)).long()
        second += second >= first
        order = mask.argsort(dim=1, descending=True, stable=True)  # contexts first
        i, j = (order.gather(1, place.clamp_max(max(mask.size(1) - 1, 0))) for place in (first, second))
        lead = teacher.gather(1, i) - teacher.gather(1, j)
        sign = (lead > self.margin).to(student.dtype) - (lead < -self.margin).to(student.dtype)
        hinge = (self.margin - sign * (student.gather(1, i) - student.gather(1, j))).clamp_min(0.0)
        return (hinge * sign.abs()).sum(dim=1), sign.abs().sum(dim=1)

    def _dist(self, student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
        log_q, log_p = (
            (score / self.temperature).masked_fill(~mask, _NEVER).log_softmax(dim=1) for score in (student, teacher)
        )
        each = F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(dim=1)
        has_pairs = (mask.sum(dim=1) > 1).to(each.dtype)
        return self.temperature**2 * (each * has_pairs).sum() / has_pairs.sum().clamp_min(1.0)

    def extra_repr(self) -> str:
        weights = f"w_label={self.w_label}, w_rank={self.w_rank}, w_dist={self.w_dist}"
        return f"margin={self.margin}, temperature={self.temperature}, {weights}, pairs={self.pairs}"


class LogitMatching(Module):
    r"""The plain way to distil scores: the student's probabilities of the labelled links follow the teacher's.

    .. math:: L = w_l L_L + w \operatorname{mean} (\sigma(s) - \sigma(t))^2

    Args:
        weight: w.
        w_label: Weight of the binary cross entropy.

    Shapes:
        - ``student_logits``, ``teacher_logits``, ``labels``: ``[L]`` float
        - returns a dict of scalars: ``loss``, ``match``, ``label``

    Raises:
        ValueError: If a weight is negative.
    """

    def __init__(self, weight: float = 1.0, *, w_label: float = 1.0) -> None:
        super().__init__()
        _check_weights(weight=weight, w_label=w_label)
        self.weight, self.w_label = weight, w_label

    def forward(self, student_logits: Tensor, teacher_logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
        match = F.mse_loss(student_logits.sigmoid(), teacher_logits.to(student_logits.dtype).sigmoid())
        label = _label_loss(student_logits, labels, student_logits)
        return {"loss": self.w_label * label + self.weight * match, "match": match, "label": label}


class RepresentationMatching(Module):
    r"""The plain way to distil vectors: the student's point where the teacher's do.

    .. math:: L = w_l L_L + w \operatorname{mean}_v \bigl(1 - \cos(\mathbf{h}^S_v, \mathbf{h}^T_v)\bigr)

    Args:
        weight: w.
        w_label: Weight of the binary cross entropy.

    Shapes:
        - ``student``, ``teacher``: ``[N, F]`` float, vectors of the same nodes
        - ``label_logits``, ``labels``: ``[L]`` float
        - returns a dict of scalars: ``loss``, ``match``, ``label``

    Raises:
        ValueError: If a weight is negative, or the vectors have different sizes.
    """

    def __init__(self, weight: float = 1.0, *, w_label: float = 1.0) -> None:
        super().__init__()
        _check_weights(weight=weight, w_label=w_label)
        self.weight, self.w_label = weight, w_label

    def forward(self, student: Tensor, teacher: Tensor, label_logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
        if student.shape != teacher.shape:
            raise ValueError(
                f"Vectors of student and teacher must have the same shape to be compared, got {list(student.shape)} "
                f"and {list(teacher.shape)}. Give the student the teacher's size, or compare scores with LLPLoss."
            )
        match = (1.0 - F.cosine_similarity(student, teacher.to(student.dtype), dim=1)).mean()
        label = _label_loss(label_logits, labels, student)
        return {"loss": self.w_label * label + self.weight * match, "match": match, "label": label}


class _RankHinge(torch.autograd.Function):
    """Per anchor the hinges of all pairs, and the number of pairs whose order the teacher decides.

    The loss is piecewise linear, so its slope is found together with it: the pairs are looked at once, a tile of
    anchors at a time.
    """

    @staticmethod
    def forward(ctx: Any, student: Tensor, teacher: Tensor, mask: Tensor, margin: float) -> tuple[Tensor, Tensor]:
        # Nothing is greater than NaN, so a masked context is in no pair.
        teacher = teacher.masked_fill(~mask, torch.nan)
        parts = []
        rows = max(1, _TILE // max(student.size(1) ** 2, 1))
        for s, t in zip(torch.split(student, rows), torch.split(teacher, rows), strict=True):
            decided = t[:, :, None] > (t + margin)[:, None, :]  # [b, m, m]: the first above the second
            gap = (s + margin)[:, None, :] - s[:, :, None]
            missed = (decided & (gap > 0)).to(s.dtype)
            slope = missed.sum(dim=1) - missed.sum(dim=2)
            parts.append(((gap * missed).sum(dim=(1, 2)), decided.sum(dim=(1, 2)).to(s.dtype), slope))
        total, count, slope = (torch.cat(part) for part in zip(*parts, strict=True))
        ctx.save_for_backward(slope)
        ctx.mark_non_differentiable(count)
        return total, count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        (slope,) = ctx.saved_tensors
        return grad[:, None] * slope, None, None, None


def _label_loss(logits: Tensor | None, labels: Tensor | None, like: Tensor) -> Tensor:
    if logits is None or labels is None:
        return like.new_zeros(())
    return F.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype))


def _check_weights(**weights: float) -> None:
    for name, weight in weights.items():
        if not weight >= 0:
            raise ValueError(f"'{name}' must be >= 0, got {weight}.")
