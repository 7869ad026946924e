"""LinkDistiller: a student learns the teacher's order, the same numbers from the same seed, and what is refused."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import pytest
import torch
from sparse_rows import sparse
from torch_geometric.nn import SAGEConv

from graphlearn.compress import (
    DistillConfig,
    LinkDistiller,
    LLPLoss,
    LogitMatching,
    MLPStudent,
    RepresentationMatching,
)
from graphlearn.errors import GraphLearnError
from graphlearn.nn import DotHead, MLPHead
from graphlearn.tasks.link_metrics import hits_at

CONFIG = DistillConfig(epochs=8, lr=0.01)


def distiller(loss=None, *, config=CONFIG, teacher=lambda x, edge_index: 4 * x, teacher_head=None, **kwargs):
    """The teacher knows: it scores pairs of one group high, through their features."""
    torch.manual_seed(0)
    return LinkDistiller(
        teacher, MLPStudent(6, 6), MLPHead(6, 16),
        teacher_head=teacher_head or (lambda src, dst: (src * dst).sum(-1) - 8), loss=loss, config=config, **kwargs,
    )  # fmt: skip


LOSSES = {
    "llp": lambda: LLPLoss(),
    "drawn": lambda: LLPLoss(pairs=5),
    "labels": lambda: LLPLoss(w_rank=0, w_dist=0),
    "logits": lambda: LogitMatching(),
    "vectors": lambda: RepresentationMatching(),
}
each_loss = pytest.mark.parametrize("name", LOSSES)


@each_loss
def test_the_same_seed_gives_the_same_numbers(name, groups):
    runs = []
    for seed in (0, 0, 1):
        found = distiller(LOSSES[name](), config=replace(CONFIG, low_precision=name == "llp", rounds=2))
        result = found.fit(groups, seed=seed)
        runs.append((result.history, [weight.clone() for weight in found.student.parameters()]))
    (first, weights), (again, same), (other, _) = runs
    assert first == again
    assert all(torch.equal(a, b) for a, b in zip(weights, same, strict=True))
    assert first != other


@each_loss
def test_every_loss_trains(name, groups):
    found = distiller(LOSSES[name](), config=replace(CONFIG, epochs=60))
    result = found.fit(groups)
    assert result.history[-1]["loss"] < 0.8 * result.history[0]["loss"]
    assert result.best_hits > 0.8
    assert result.best_hits == max(record["val_hits"] for record in result.history)


def test_the_order_of_the_teacher_is_learned_without_labels(groups):
    found = distiller(LLPLoss(w_label=0.0), config=replace(CONFIG, epochs=60))
    result = found.fit(groups)
    assert result.history[-1]["rank"] < 0.3 * result.history[0]["rank"]
    assert result.history[-1]["dist"] < 0.3 * result.history[0]["dist"]
    assert result.best_hits > 0.9


def test_the_best_epoch_is_kept_and_patience_ends(groups):
    found = distiller(config=replace(CONFIG, epochs=500, patience=5))
    result = found.fit(groups)
    assert len(result.history) == result.best_epoch + 5
    z = found.student(groups.x)
    scores = [found.head(z[pairs[0]], z[pairs[1]]).detach() for pairs in (groups.val, groups.val_negatives)]
    assert hits_at(*scores, 20, ties="ogb") == result.best_hits


def test_a_student_on_sparse_features_is_the_same(groups):
    x = groups.x * (groups.x.abs() > 0.1)
    teacher = {"teacher": lambda rows, edge_index: 4 * x}
    results = [distiller(**teacher).fit(replace(groups, x=features)) for features in (x, sparse(x))]
    for a, b in zip(*(result.history for result in results), strict=True):
        assert a == pytest.approx(b, rel=1e-3, abs=0.02)


def test_batches_embed_the_nodes_that_they_name(groups):
    """Ten links of a step name fewer than all nodes; the student must not see the others."""
    seen = []
    found = distiller(LLPLoss(w_rank=0, w_dist=0), config=replace(CONFIG, epochs=1, link_batch=10))
    found.student.register_forward_pre_hook(lambda module, args: seen.append(len(args[0])))
    found.fit(groups)
    assert len(seen) == 40 + 1
    assert max(seen[:40]) <= 40


def test_one_anchor_of_an_epoch_is_enough_to_go_on(groups):
    result = distiller(config=replace(CONFIG, anchors=1, link_batch=100)).fit(groups)
    assert all(math.isfinite(record["loss"]) for record in result.history)


def test_any_teacher_will_do(groups):
    """A PyG layer with a head of ours is asked as a module; it is put into evaluation and not trained."""
    torch.manual_seed(0)
    teacher, head = SAGEConv(6, 5), MLPHead(5, 4, dropout=0.5)
    before = copy.deepcopy(teacher.state_dict())
    found = distiller(LLPLoss(1e-3), teacher=teacher, teacher_head=head)  # untrained, it scores all pairs about alike
    assert len(found.fit(groups).history) == 8
    assert not teacher.training
    assert not head.training
    assert all(torch.equal(a, b) for a, b in zip(before.values(), teacher.state_dict().values(), strict=True))


def test_the_teacher_is_asked_in_the_first_rounds_only(groups):
    asked = []

    def head(src, dst):
        asked.append(len(src))
        return (src * dst).sum(-1) - 8

    distiller(teacher_head=head, config=replace(CONFIG, rounds=3)).fit(groups)
    assert asked == 3 * [120 * 12]


def test_export_is_a_copy(groups):
    found = distiller()
    exported = found.export()
    before = exported(groups.x[:5], groups.x[5:10]).detach()
    found.fit(groups)
    assert torch.equal(exported(groups.x[:5], groups.x[5:10]), before)
    after = found.export()
    z = found.student(groups.x[:10])
    torch.testing.assert_close(after(groups.x[:5], groups.x[5:10]), found.head(z[:5], z[5:]))


def test_a_saturated_teacher_is_named(groups):
    with pytest.warns(UserWarning, match=r"decides the order of only 0 % of the pairs of contexts by more than margin"):
        distiller(teacher_head=lambda src, dst: (src * dst).sum(-1) + 1e3).fit(groups)


@pytest.mark.parametrize("store", [lambda x: x, sparse])
def test_one_hot_features_are_warned_of(groups, store):
    torch.manual_seed(0)
    ids = torch.eye(120)[torch.randperm(120)]
    found = LinkDistiller(
        lambda x, edge_index: torch.ones(120, 6), MLPStudent(120, 6), DotHead(), teacher_head=DotHead(),
        loss=LLPLoss(w_rank=0, w_dist=0), config=replace(CONFIG, epochs=1),
    )  # fmt: skip
    with pytest.warns(UserWarning, match="The 120 features are one number per node: .* cannot score new nodes"):
        found.fit(replace(groups, x=store(ids)))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"x": None}, "The graph has no node features 'x', and a student reads nothing else"),
        ({"x": torch.zeros(120, 0)}, "The graph has no node features 'x'"),
        ({"val": torch.tensor([[0], [120]])}, r"'val' must name nodes 0 to 119, but 1 of 2 numbers do not"),
        ({"train": torch.zeros(4, 2, dtype=torch.int64)}, r"'train' must be an int64 tensor of shape \[2, L\]"),
        (
            {"val_negatives": torch.zeros(2, 19, dtype=torch.int64)},
            "Hits@20 ranks links among at least 20 pairs that are none, but 'val_negatives' has 19",
        ),
    ],
)
def test_data_that_cannot_be_learned_from(groups, change, says):
    with pytest.raises(ValueError, match=says):
        distiller().fit(replace(groups, **change))


def test_a_diverging_training_is_stopped(groups):
    with pytest.raises(GraphLearnError, match=r"the loss of epoch 1 is nan: the training diverged. Take a lower"):
        distiller(LLPLoss(w_rank=0, w_dist=0)).fit(replace(groups, x=groups.x * torch.nan))


@pytest.mark.parametrize("name", ["epochs", "patience", "k", "lr", "grad_clip", "link_batch", "anchors", "rounds"])
def test_settings_out_of_range(name):
    with pytest.raises(ValueError, match=f"'{name}' must be > 0, got 0"):
        DistillConfig(**{name: 0})
