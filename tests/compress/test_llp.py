"""The losses against loops over pairs, by hand, and what must not matter."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from graphlearn.compress import LLPLoss, LogitMatching, RepresentationMatching
from graphlearn.compress import llp as source


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def scores(anchors: int, width: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Logits of student and teacher, some of the teacher's equal, and a mask."""
    g = generator(seed)
    student = torch.randn(anchors, width, generator=g, dtype=torch.float64).requires_grad_()
    teacher = torch.randint(-3, 4, (anchors, width), generator=g).double()
    return student, teacher, torch.rand(anchors, width, generator=g) < 0.8


def slow_rank(student: Tensor, teacher: Tensor, mask: Tensor, margin: float, open_pairs: bool) -> tuple[Tensor, float]:
    """The formula of the docstring, pair by pair: the mean over the anchors of their means."""
    s, t, means, shares = student.sigmoid(), teacher.sigmoid(), [], []
    for a in range(len(s)):
        total, active, pairs = s.new_zeros(()), 0, 0
        for i, j in itertools.combinations(mask[a].nonzero().flatten().tolist(), 2):
            r = int(t[a, i] > t[a, j] + margin) - int(t[a, i] < t[a, j] - margin)
            if r or open_pairs:
                total = total + (-r * (s[a, i] - s[a, j]) + margin).clamp_min(0)
            active, pairs = active + abs(r), pairs + 1
        if pairs:
            means.append(total / pairs)
            shares.append(active / pairs)
    return (torch.stack(means).mean(), sum(shares) / len(shares)) if means else (s.sum() * 0, 0.0)


def slow_dist(student: Tensor, teacher: Tensor, mask: Tensor, temperature: float, use_logits: bool) -> Tensor:
    found = []
    for s, t, kept in zip(student, teacher, mask, strict=True):
        s, t = (x[kept] if use_logits else x[kept].sigmoid() for x in (s, t))
        if kept.sum() > 1:
            p, q = (t / temperature).softmax(0), (s / temperature).softmax(0)
            found.append((p * (p.log() - q.log())).sum() * temperature**2)
    return torch.stack(found).mean() if found else student.sum() * 0


@given(
    anchors=st.integers(0, 4),
    width=st.integers(1, 6),
    seed=st.integers(0, 99),
    open_pairs=st.booleans(),
    use_logits=st.booleans(),
    tile=st.sampled_from([1, 1 << 20]),
)
def test_against_loops(anchors, width, seed, open_pairs, use_logits, tile):
    student, teacher, mask = scores(anchors, width, seed)
    margin, temperature = 0.1 + seed / 1000, 0.5 + seed / 50
    loss = LLPLoss(margin, temperature, use_logits=use_logits, open_pairs=open_pairs, w_rank=2.0, w_dist=3.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(source, "_TILE", tile)
        found = loss(student, teacher, mask)
    rank, active = slow_rank(student, teacher, mask, margin, open_pairs)
    dist = slow_dist(student, teacher, mask, temperature, use_logits)
    torch.testing.assert_close(found["rank"], rank)
    torch.testing.assert_close(found["dist"], dist)
    assert found["active"].item() == pytest.approx(active)
    torch.testing.assert_close(found["loss"], 2.0 * rank + 3.0 * dist)
    (slope,) = torch.autograd.grad(2.0 * rank + 3.0 * dist, student)
    torch.testing.assert_close(torch.autograd.grad(found["loss"], student)[0], slope)


def test_one_pair_by_hand():
    logit = lambda p: math.log(p / (1 - p))  # noqa: E731
    student = torch.tensor([[logit(0.5), logit(0.6)]], dtype=torch.float64)
    teacher = torch.tensor([[logit(0.9), logit(0.2)]], dtype=torch.float64)
    found = LLPLoss(0.1, w_dist=0)(student, teacher)
    assert found["rank"].item() == pytest.approx(0.2)  # 0.1 behind, and should be 0.1 ahead
    assert found["active"].item() == 1.0
    same = LLPLoss(0.1)(teacher, teacher)
    assert same["rank"].item() == pytest.approx(0.0)
    assert same["dist"].item() == pytest.approx(0.0)


def test_pairs_that_the_teacher_leaves_open_have_no_gradient():
    student = torch.randn(3, 5, generator=generator()).requires_grad_()
    teacher = torch.full((3, 5), 2.0)
    for open_pairs, value in ((False, 0.0), (True, 0.1)):
        found = LLPLoss(0.1, w_dist=0, open_pairs=open_pairs)(student, teacher)
        assert found["rank"].item() == pytest.approx(value)
        assert found["active"].item() == 0.0
        (slope,) = torch.autograd.grad(found["loss"], student)
        assert not slope.any()


def test_values_of_two_margins_can_be_compared():
    student, teacher, mask = scores(20, 8, 0)
    ours, papers = ([LLPLoss(m, open_pairs=o)(student, teacher, mask) for m in (0.05, 0.2)] for o in (False, True))
    for margin, a, b in zip((0.05, 0.2), ours, papers, strict=True):
        assert (b["rank"] - a["rank"]).item() == pytest.approx(margin * (1 - a["active"].item()))


def test_masked_contexts_take_no_part():
    student, teacher, mask = scores(4, 7, 3)
    with torch.no_grad():
        other, said = student.clone(), teacher.clone()
        other[~mask], said[~mask] = 1e3, -1e3
    for pairs in (None, 50):
        loss = LLPLoss(pairs=pairs)
        first = loss(student, teacher, mask, generator=generator(1))
        second = loss(other.requires_grad_(), said, mask, generator=generator(1))
        torch.testing.assert_close(first, second)
        (slope,) = torch.autograd.grad(second["loss"], other)
        assert not slope[~mask].any()
        assert slope[mask].any()


def test_drawn_pairs_are_unbiased():
    student, teacher, mask = scores(5, 6, 4)
    mask[0] = False
    mask[1] = torch.arange(6) == 2  # one context: no pair
    exact = LLPLoss(w_dist=0)(student, teacher, mask)
    drawn = LLPLoss(w_dist=0, pairs=60_000)(student, teacher, mask, generator=generator(7))
    for name in ("rank", "active"):
        assert drawn[name].item() == pytest.approx(exact[name].item(), abs=4 / 60_000**0.5 / 2)
    slopes = [torch.autograd.grad(found["loss"], student)[0] for found in (exact, drawn)]
    torch.testing.assert_close(*slopes, atol=2e-3, rtol=0)


def test_labels_are_a_cross_entropy():
    student, teacher, _ = scores(2, 3, 0)
    logits, labels = torch.tensor([0.0, math.log(3.0)]), torch.tensor([1.0, 0.0])
    found = LLPLoss(w_label=5.0, w_rank=0, w_dist=0)(student, teacher, None, logits, labels)
    assert found["label"].item() == pytest.approx((-math.log(0.5) - math.log(0.25)) / 2)
    assert found["loss"].item() == pytest.approx(5 * found["label"].item())


def test_half_precision_of_the_teacher_is_enough():
    student, teacher, mask = scores(20, 8, 0)
    wide, half = (LLPLoss()(student, t, mask) for t in (teacher, teacher.half()))
    torch.testing.assert_close(wide, half, rtol=1e-3, atol=1e-3)


def test_logit_matching_by_hand():
    student, teacher = torch.tensor([0.0, math.log(3.0)]), torch.tensor([math.log(3.0), 0.0])
    found = LogitMatching(2.0, w_label=0.0)(student, teacher, torch.tensor([1.0, 0.0]))
    assert found["match"].item() == pytest.approx(0.25**2)
    assert found["loss"].item() == pytest.approx(2 * 0.25**2)


def test_representation_matching_by_hand():
    student, teacher = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([[3.0, 0.0], [1.0, 1.0]])
    logits, labels = torch.zeros(2), torch.tensor([1.0, 0.0])
    found = RepresentationMatching()(student, teacher, logits, labels)
    assert found["match"].item() == pytest.approx((1 - 0.5**0.5) / 2)
    assert found["loss"].item() == pytest.approx((1 - 0.5**0.5) / 2 + math.log(2.0))


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: LLPLoss(0.0), "'margin' must be > 0, got 0.0"),
        (lambda: LLPLoss(temperature=0.0), "'temperature' must be > 0, got 0.0"),
        (lambda: LLPLoss(pairs=0), "'pairs' must be > 0, got 0"),
        (lambda: LLPLoss(w_rank=-1.0), "'w_rank' must be >= 0, got -1.0"),
        (lambda: LogitMatching(-1.0), "'weight' must be >= 0, got -1.0"),
        (lambda: RepresentationMatching(w_label=-1.0), "'w_label' must be >= 0, got -1.0"),
        (lambda: LLPLoss()(torch.zeros(2, 3), torch.zeros(2, 4)), r"same shape \[a, m\], got \[2, 3\] and \[2, 4\]"),
        (lambda: LLPLoss(pairs=3)(torch.zeros(2, 3), torch.zeros(2, 3)), "pairs=3 needs generator="),
        (
            lambda: RepresentationMatching()(torch.zeros(2, 3), torch.zeros(2, 4), torch.zeros(1), torch.zeros(1)),
            r"got \[2, 3\] and \[2, 4\]. Give the student the teacher's size",
        ),
    ],
)
def test_what_is_refused(call, says):
    with pytest.raises(ValueError, match=says):
        call()
