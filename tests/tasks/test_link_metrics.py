"""Metrics of links against loops over all orders of ties, scikit-learn, and OGB's evaluators."""

from __future__ import annotations

import itertools
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score
from torch import Tensor

from graphlearn.errors import UnknownNameError, UsageError
from graphlearn.graph.ogb import evaluator
from graphlearn.tasks.link_metrics import auc, average_precision, hits_at, link_scores, mrr

few = st.lists(st.integers(0, 3), min_size=1, max_size=3)


def orders(pos: list[int], neg: list[int]) -> list[list[bool]]:
    """Whether a link stands at each place, for each order of the equal scores."""
    rows = [(-s, True) for s in pos] + [(-s, False) for s in neg]
    return [[link for _, link in sorted(order, key=lambda row: row[0])] for order in itertools.permutations(rows)]


@settings(deadline=None, max_examples=50)
@given(few, few)
def test_average_precision_is_the_mean_over_all_orders_of_ties(pos, neg):
    def of(order: list[bool]) -> float:
        at = [i for i, link in enumerate(order, 1) if link]
        return sum(j / place for j, place in enumerate(at, 1)) / len(at)

    values = [of(order) for order in orders(pos, neg)]
    found = average_precision(torch.tensor(pos).float(), torch.tensor(neg).float())
    assert found == pytest.approx(sum(values) / len(values))


@settings(deadline=None)
@given(few, few, st.data())
def test_hits_is_the_mean_over_all_orders_of_ties(pos, neg, data):
    k = data.draw(st.integers(1, len(neg)))
    hits = []
    for score in pos:  # a link is ranked among the negatives only
        of_one = [order.index(True) < k for order in orders([score], neg)]
        hits.append(sum(of_one) / len(of_one))
    found = hits_at(torch.tensor(pos).float(), torch.tensor(neg).float(), k)
    assert found == pytest.approx(sum(hits) / len(hits))


@settings(deadline=None)
@given(few, st.data())
def test_negatives_of_each_link_are_as_many_calls(pos, data):
    neg = torch.tensor([data.draw(st.lists(st.integers(0, 3), min_size=4, max_size=4)) for _ in pos]).float()
    score = torch.tensor(pos).float()
    for metric in (mrr, lambda p, n: hits_at(p, n, 2)):
        alone = [metric(score[i : i + 1], neg[i]) for i in range(len(pos))]
        assert metric(score, neg) == pytest.approx(sum(alone) / len(alone))


def scores(count: int, negatives: tuple[int, ...], *, tied: bool, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    pos, neg = torch.randn(count, generator=generator) + 1, torch.randn(negatives, generator=generator)
    return ((pos * 2).round(), (neg * 2).round()) if tied else (pos, neg)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize(("name", "k"), [("ogbl-ddi", 20), ("ogbl-collab", 50), ("ogbl-ppa", 100)])
def test_hits_is_ogbs(name, k, tied):
    pos, neg = scores(300, (200,), tied=tied)
    theirs = evaluator(name).eval({"y_pred_pos": pos, "y_pred_neg": neg})[f"hits@{k}"]
    assert hits_at(pos, neg, k, ties="ogb") == pytest.approx(theirs)
    if not tied:
        assert hits_at(pos, neg, k) == pytest.approx(theirs)


@pytest.mark.parametrize("tied", [False, True])
def test_mrr_is_ogbs(tied):
    pos, neg = scores(300, (300, 50), tied=tied)
    theirs = evaluator("ogbl-citation2").eval({"y_pred_pos": pos, "y_pred_neg": neg})["mrr_list"]
    assert mrr(pos, neg) == pytest.approx(float(theirs.mean()))


@pytest.mark.parametrize("tied", [False, True])
def test_auc_and_ap_are_scikit_learns_and_ogbs(tied):
    pos, neg = scores(100, (150,), tied=tied)
    label, score = torch.arange(250) < 100, torch.cat([pos, neg])
    assert auc(pos, neg) == pytest.approx(roc_auc_score(label, score))
    theirs = evaluator("ogbl-vessel").eval({"y_pred_pos": pos, "y_pred_neg": neg})["rocauc"]
    assert auc(pos, neg) == pytest.approx(theirs)
    if not tied:
        assert average_precision(pos, neg) == pytest.approx(average_precision_score(label, score))


def test_a_constant_score_says_nothing():
    """OGB's worst rank would give 0 to a constant, the best one 1."""
    pos, neg = torch.zeros(7), torch.zeros(19)
    assert auc(pos, neg) == 0.5
    assert hits_at(pos, neg, 5) == pytest.approx(5 / 20)
    assert hits_at(pos, neg, 5, ties="ogb") == 0
    assert mrr(pos, neg) == pytest.approx(1 / 10.5)


def test_by_name():
    pos, neg = scores(50, (40,), tied=True)
    found = link_scores(pos, neg, ["auc", "ap", "mrr", "hits@3"])
    assert found == {
        "auc": auc(pos, neg),
        "ap": average_precision(pos, neg),
        "mrr": mrr(pos, neg),
        "hits@3": hits_at(pos, neg, 3),
    }


def test_what_cannot_be_scored():
    pos, neg = torch.zeros(3), torch.zeros(10)
    with pytest.raises(
        UsageError, match=r"hits@11 needs at least 11 negatives, there are 10: every link would be a hit"
    ):
        hits_at(pos, neg, 11)
    with pytest.raises(UsageError, match=r"hits@0 needs at least 1 negatives, there are 10"):
        hits_at(pos, neg, 0)
    with pytest.raises(UnknownNameError, match=r"no treatment of ties 'men'. Did you mean 'mean'"):
        hits_at(pos, neg, 1, ties="men")
    with pytest.raises(UsageError, match=r"\[L\] and those of negatives \[M\] or \[L, M\], got \[3\] and \[2, 5\]"):
        mrr(pos, torch.zeros(2, 5))
    with pytest.raises(UsageError, match="nothing to score: 0 links and 10 negatives"):
        auc(torch.zeros(0), neg)
    with pytest.raises(UsageError, match=r"1 of 3 scores of links are NaN \(first: 1\)"):
        average_precision(torch.tensor([0.0, float("nan"), 1.0]), neg)
    with pytest.raises(
        UnknownNameError, match=r"no link metric 'hits@x'\. Did you mean 'hits@K'\? Known: ap, auc, hits"
    ):
        link_scores(pos, neg, ["hits@x"])


def test_ogb_asks_no_network_and_says_nothing():
    """Importing it would look for newer versions in a thread, which without a network keeps the process from ending."""
    code = (
        "import socket, threading\n"
        "def refuse(*_, **__): raise AssertionError('the network was asked')\n"
        "socket.create_connection = socket.getaddrinfo = refuse\n"
        "from graphlearn.graph.ogb import evaluator\n"
        "evaluator('ogbl-ddi')\n"
        "import sys; assert 'outdated' not in sys.modules and threading.active_count() == 1"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
