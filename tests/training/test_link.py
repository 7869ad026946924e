"""Training of link predictors: what a step sees, what chooses, and that it learns."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch_geometric.nn import GCN

from graphlearn.errors import UnknownNameError
from graphlearn.models import LinkModel, LinkPredictor, SEALLinkPredictor, SubgraphLinkModel
from graphlearn.nn import DotHead
from graphlearn.ops.heuristics import common_neighbors
from graphlearn.sampling.link_split import LinkSplit, new_node_split, random_link_split
from graphlearn.sampling.split_negatives import with_negatives
from graphlearn.tasks.link_metrics import auc, mrr
from graphlearn.training import link as training
from graphlearn.training.link import LinkTrainConfig, fit_links, heuristic_scores, predictor_scores, score_split

NODES = 60


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def communities() -> tuple[Tensor, Tensor]:
    """Three groups of nodes whose features say which group is whose, though not clearly; links lie within groups."""
    group = torch.arange(NODES) % 3
    draw = torch.rand(NODES, NODES, generator=seeded())
    linked = ((group[:, None] == group) & (draw < 0.3)).triu(1)
    x = torch.eye(3)[group] + torch.randn(NODES, 3, generator=seeded(1))
    return linked.nonzero().t(), x


def split() -> LinkSplit:
    return random_link_split(communities()[0], NODES, 0.1, 0.2, seeded())


def model(num_nodes: int | None = None) -> LinkModel:
    torch.manual_seed(0)
    options = {} if num_nodes is None else {"num_nodes": num_nodes, "channels": 3}
    return LinkModel(GCN(3, 16, 2, out_channels=8), DotHead(), **options)


class Watching(LinkPredictor):
    """Keeps what it is shown and asked for."""

    def __init__(self, hides: bool = False) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.hides_links = hides
        self.steps: list[tuple[set, set, set, bool]] = []

    def encode(self, x: Tensor | None, edge_index: Tensor) -> Tensor:
        return edge_index

    def score(self, z: Tensor, edge_label_index: Tensor) -> Tensor:
        return self.weight.expand(edge_label_index.size(1))

    def loss(self, z: Tensor, links: Tensor, negatives: Tensor) -> Tensor:
        self.steps.append((*(as_set(pairs) for pairs in (z, links, negatives)), self.training))
        return super().loss(z, links, negatives)


def as_set(pairs: Tensor) -> set[frozenset[int]]:
    return {frozenset(p) for p in pairs.t().tolist()}


@pytest.mark.parametrize("make", [random_link_split, new_node_split])
def test_a_step_does_not_see_the_links_that_it_asks_for(make):
    links, x = communities()
    found = make(links, NODES, 0.1, 0.2, seeded())
    watching = Watching()
    fit_links(watching, x, found, LinkTrainConfig(epochs=3, batch_size=20), seed=0)
    known = as_set(found.positives["train"])
    per_epoch = -(-len(known) // 20)
    assert len(watching.steps) == 3 * per_epoch
    for seen, asked, negatives, in_training in watching.steps:
        assert in_training
        assert seen == known - asked
        assert not negatives & known
        assert len(negatives) == len(asked)
        if found.new is not None:
            assert not {v for pair in negatives for v in pair} & set(found.new.nonzero().flatten().tolist())
    for epoch in range(3):
        asked = [step[1] for step in watching.steps[epoch * per_epoch : (epoch + 1) * per_epoch]]
        assert sum(map(len, asked)) == len(set.union(*asked)) == len(known)


def test_without_masking_and_for_models_that_hide_links_themselves():
    known = as_set(split().positives["train"])
    for watching, config in (
        (Watching(), LinkTrainConfig(epochs=1, mask=False, batch_size=10**6)),
        (Watching(hides=True), LinkTrainConfig(epochs=1)),
    ):
        fit_links(watching, None, split(), config, seed=0)
        assert all(seen == known for seen, *_ in watching.steps)


@settings(deadline=None)
@given(st.data())
def test_edges_know_which_link_they_are(data):
    """Edges in either direction, repeated, and some that are no links that are asked for."""
    node = st.integers(0, 6)
    pair = st.tuples(node, node)
    edges = torch.tensor(data.draw(st.lists(pair, min_size=1, max_size=20))).t()
    links = data.draw(st.lists(pair, max_size=8, unique_by=frozenset))
    found = training._link_of_edge(edges, torch.tensor(links, dtype=torch.int64).reshape(-1, 2).t(), 7)
    place = {frozenset(p): i for i, p in enumerate(links)}
    assert found.tolist() == [place.get(frozenset(p), len(links)) for p in edges.t().tolist()]


def test_it_learns_and_the_best_epoch_stays():
    x, found = communities()[1], with_negatives(split(), "hard", seeded())
    trained = model()
    before = score_split(predictor_scores(trained, x, found, "test"), found, "test", ["auc"])
    state = fit_links(trained, x, found, LinkTrainConfig(epochs=40), seed=0)
    after = score_split(predictor_scores(trained, x, found, "test"), found, "test", ["auc"])
    assert after["uniform"]["auc"] > max(0.7, before["uniform"]["auc"])
    assert after["hard"]["auc"] < after["uniform"]["auc"]
    scores = [record["val_auc"] for record in state.history]
    assert state.best_score == max(scores) == scores[state.best_epoch - 1]
    val = score_split(predictor_scores(trained, x, found, "val"), found, "val", ["auc"])
    assert val["uniform"]["auc"] == state.best_score


def test_validation_negatives_of_the_asked_kind_choose():
    x, found = communities()[1], with_negatives(split(), "hard", seeded())
    config = LinkTrainConfig(epochs=3, metric="mrr", negatives="hard")
    trained = model()
    state = fit_links(trained, x, found, config, seed=0)
    val = score_split(predictor_scores(trained, x, found, "val"), found, "val", ["mrr"])
    assert state.best_score == val["hard"]["mrr"]


def test_training_ends_without_improvement():
    state = fit_links(Watching(), None, split(), LinkTrainConfig(epochs=50, lr=1e-12, patience=3), seed=0)
    assert len(state.history) == 50  # equal scores are no worse: the latest is kept
    worse = model()
    state = fit_links(worse, communities()[1], split(), LinkTrainConfig(epochs=200, lr=0.1, patience=2), seed=0)
    assert len(state.history) < 200
    assert len(state.history) - state.best_epoch == 2


@pytest.mark.parametrize("kind", ["table", "seal"])
def test_same_seed_same_numbers(kind):
    def run(seed: int) -> list[float]:
        trained: LinkPredictor = model(NODES)
        if kind == "seal":
            torch.manual_seed(0)
            trained = SubgraphLinkModel(SEALLinkPredictor(9, 4, k=10), num_nodes=NODES)
        state = fit_links(trained, None, split(), LinkTrainConfig(epochs=2, lr=0.001), seed=seed)
        return [record["loss"] for record in state.history]

    assert run(0) == run(0) != run(1)


def test_scores_of_test_do_not_reach_training():
    """Whatever the test links are, training gives the same weights."""
    x = communities()[1]
    whole = split()
    less = replace(
        whole,
        positives={**whole.positives, "test": whole.positives["test"][:, :1]},
        negatives={**whole.negatives, "test": {}},
    )
    weights = []
    for found in (whole, less):
        trained = model()
        fit_links(trained, x, found, LinkTrainConfig(epochs=3), seed=0)
        weights.append(trained.state_dict())
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


def test_negatives_of_each_link_and_shared_ones():
    found, lists = split(), split().lists("test")
    links = found.positives["test"]
    own = torch.stack([links[0][:, None].expand(-1, 4), torch.randint(NODES, (links.size(1), 4), generator=seeded())])
    found = replace(found, negatives={**found.negatives, "test": {**found.negatives["test"], "own": own}}, repeats=True)
    score = heuristic_scores(common_neighbors, found, "test")
    result = score_split(score, found, "test", ["auc", "mrr"])
    pos, shared = common_neighbors(lists, links), common_neighbors(lists, found.negatives["test"]["uniform"])
    each = torch.stack([common_neighbors(lists, own[:, :, k]) for k in range(4)], dim=1)
    assert result == {
        "uniform": {"auc": auc(pos, shared), "mrr": mrr(pos, shared)},
        "own": {"auc": auc(pos, each), "mrr": mrr(pos, each)},
    }


def test_what_is_refused():
    size = split().positives["train"].size(1)
    with pytest.raises(ValueError, match=rf"a step over all {size} training links would take every link out of the"):
        fit_links(model(), communities()[1], split(), LinkTrainConfig(batch_size=10**6), seed=0)
    with pytest.raises(ValueError, match=r"the split has no 'hard' negatives of val, only uniform. Draw them"):
        fit_links(model(), communities()[1], split(), LinkTrainConfig(negatives="hard"), seed=0)
    with pytest.raises(ValueError, match="'batch_size' must be > 0, got 0"):
        LinkTrainConfig(batch_size=0)
    with pytest.raises(ValueError, match=r"'lr' must be > 0, got 0\.0"):
        LinkTrainConfig(lr=0.0)
    with pytest.raises(UnknownNameError, match=r"no link metric 'acu'\. Did you mean 'auc'"):
        LinkTrainConfig(metric="acu")
