"""Runs of link prediction: what is scored, what is kept, and that what is kept scores alike."""

from __future__ import annotations

import json
from dataclasses import replace

import pandas as pd
import pytest
import torch
from torch import Tensor

from graphlearn.errors import RunError, UnknownNameError, UsageError
from graphlearn.graph.link_data import LinkData
from graphlearn.models import LinkModel, SubgraphLinkModel
from graphlearn.models.link_presets import ENCODERS, HEADS, LinkModelConfig, make_link_model
from graphlearn.ops.heuristics import HEURISTICS
from graphlearn.ops.neighbors import NeighborLists
from graphlearn.predict.link_run import LinkRun, run_links, save_link_run
from graphlearn.sampling.given_split import given_link_split
from graphlearn.sampling.link_split import LinkSplit, random_link_split
from graphlearn.sampling.split_negatives import with_negatives
from graphlearn.training.link import LinkTrainConfig

NODES = 50


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def ring() -> Tensor:
    node = torch.arange(NODES)
    return torch.cat([torch.stack([node, (node + step) % NODES]) for step in (1, 2, 3)], dim=1)


def graph(*, features: bool = True) -> LinkData:
    x = torch.randn(NODES, 5, generator=seeded(1)) if features else None
    return LinkData("ring", ring(), NODES, x=x, names=tuple(f"n{v}" for v in range(NODES)))


def split(num_src: int | None = None, edges: Tensor | None = None) -> LinkSplit:
    edges = ring() if edges is None else edges
    made = random_link_split(edges, NODES, 0.15, 0.2, seeded(), num_src=num_src)
    return with_negatives(made, "hard", seeded())


SHORT = LinkTrainConfig(epochs=1)


@pytest.mark.parametrize("features", [True, False])
@pytest.mark.parametrize("name", [*ENCODERS, "walkpool", "seal", *HEURISTICS])
def test_each_model_is_scored_and_its_run_scores_alike(name, features, tmp_path):
    data, made = graph(features=features), split()
    config = LinkModelConfig(name, channels=8) if name not in HEURISTICS else None
    result = run_links(data, made, name, config=config, training=SHORT)
    assert list(result.test) == list(dict.fromkeys([name, "cn", "aa", "ra"]))
    for kinds in (*result.val.values(), *result.test.values()):
        assert list(kinds) == ["uniform", "hard"]
        assert all(0 <= value <= 1 for scores in kinds.values() for value in scores.values())
    save_link_run(tmp_path / "run", data, result, {"split": "random"}, config=config)
    run = LinkRun(tmp_path / "run")
    pairs = pd.DataFrame({"from": ["n0", "n0", "n7"], "to": ["n1", "n30", "n9"], "more": [1, 2, 3]})
    found = run.score(pairs)
    assert list(found) == ["from", "to", "linked", "score"]
    assert found["linked"].tolist() == [True, False, True]
    asked = torch.tensor([[0, 0, 7], [1, 30, 9]])
    if config is None:
        expected = HEURISTICS[name](NeighborLists.from_edge_index(ring(), NODES), asked)
    else:
        whole = torch.cat([ring(), ring().flip(0)], dim=1)
        with torch.no_grad():
            expected = result.predictor.eval()(data.x, whole, asked)
    torch.testing.assert_close(torch.tensor(found["score"].to_numpy()), expected)
    kept = json.loads((tmp_path / "run" / "run.json").read_text())
    assert kept["kind"] == "link"
    assert kept["metrics"]["test"] == result.test


def test_same_seed_same_result():
    def run(seed: int) -> dict:
        config = LinkModelConfig("gcn", channels=8)
        return run_links(graph(), split(), "gcn", config=config, training=LinkTrainConfig(epochs=3), seed=seed).test

    assert run(0) == run(0) != run(1)


def test_between_two_kinds_other_heuristics_stand_beside(tmp_path):
    src, dst = torch.meshgrid(torch.arange(20), torch.arange(20, NODES), indexing="ij")
    edges = torch.stack([src.flatten(), dst.flatten()])[:, ((src + dst) % 5 < 2).flatten()]
    data = LinkData("shop", edges, NODES, num_src=20, kinds=("users", "movies"))
    result = run_links(data, split(20, edges), "gcn", config=LinkModelConfig("gcn", channels=8), training=SHORT)
    assert list(result.test) == ["gcn", "pa", "katz", "ppr"]
    save_link_run(tmp_path / "run", data, result, {}, config=LinkModelConfig("gcn", channels=8))
    found = LinkRun(tmp_path / "run").score(pd.DataFrame({"u": [0, 1], "m": ["20", "21"]}))
    linked = [bool((edges == torch.tensor([[u], [m]])).all(0).any()) for u, m in ((0, 20), (1, 21))]
    assert found["linked"].tolist() == linked
    with pytest.raises(UsageError, match=r"1 of 1 pairs name one of 'movies' that .* \(first: 3\). It knows 30"):
        LinkRun(tmp_path / "run").score(pd.DataFrame({"u": [0], "m": [3]}))


def test_published_splits_are_scored_by_their_publisher():
    made = random_link_split(ring(), NODES, 0.15, 0.2, seeded())
    negatives = torch.randint(NODES, (2, 300), generator=seeded())
    negatives = negatives[:, ~NeighborLists.from_edge_index(ring(), NODES).linked(negatives)]
    negatives = negatives[:, negatives[0] != negatives[1]]
    given = {**made.positives, "val_neg": negatives, "test_neg": negatives}
    official = with_negatives(given_link_split(given, NODES, seeded()), "uniform", seeded())
    assert official.repeated("test") == 0
    data = replace(graph(), name="ogbl-ddi", given=given, metric="hits@20")
    result = run_links(data, official, "ra")
    scores = result.test["ra"]["official"]
    assert scores["ogb hits@20"] <= scores["hits@20"]  # a tie is the worst of its ranks
    assert "ogb hits@20" not in result.test["ra"]["uniform"]


def test_a_published_split_without_validation_gives_some_of_training_for_it():
    pairs = torch.stack([torch.arange(40), torch.arange(40) + 1])
    given = {"train": pairs, "train_neg": pairs + 2, "test": pairs[:, :3], "test_neg": pairs[:, :4] + 3}
    made = given_link_split(given, NODES, seeded(), test_graph="train+val")
    assert made.positives["val"].size(1) == made.negatives["val"]["official"].size(1) == 2
    assert made.positives["train"].size(1) == 38
    assert made.graph["train"].size(1) == 76
    assert made.graph["test"].size(1) == 80
    assert made.repeated("test") in (1, 2, 3)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("model", [*ENCODERS, "walkpool", "seal"])
def test_presets(model, head):
    config = LinkModelConfig(model, head, channels=8)
    made = make_link_model(config, NODES, None)
    assert isinstance(made, SubgraphLinkModel if model in ("walkpool", "seal") else LinkModel)
    assert LinkModelConfig(**config.to_dict()) == config


def test_what_is_refused(tmp_path):
    with pytest.raises(UnknownNameError, match=r"no link predictor 'gnc'. Did you mean 'gcn'"):
        run_links(graph(), split(), "gnc")
    with pytest.raises(UnknownNameError, match=r"no link predictor 'cn'"):
        LinkModelConfig("cn")
    with pytest.raises(UnknownNameError, match=r"no head 'dto'. Did you mean 'dot'"):
        LinkModelConfig("gcn", "dto")
    with pytest.raises(RunError, match="is not a run folder"):
        LinkRun(tmp_path)
    save_link_run(tmp_path / "run", graph(), run_links(graph(), split(), "cn"), {})
    run = LinkRun(tmp_path / "run")
    with pytest.raises(UsageError, match=r"1 of 2 pairs name a node that the run .* \(first: n99\). It knows 50"):
        run.score(pd.DataFrame({"a": ["n1", "n99"], "b": ["n2", "n3"]}))
    with pytest.raises(UsageError, match=r"pairs must have two columns and a row at least, got \[0, 2\]"):
        run.score(pd.DataFrame({"a": [], "b": []}))
    file = tmp_path / "run" / "run.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"kind": "gnn"}))
    (tmp_path / "run" / "graph.safetensors").rename(tmp_path / "run" / "model.safetensors")
    with pytest.raises(RunError, match=r"is a run of graphlearn train, not of graphlearn link. Score it with predict"):
        LinkRun(tmp_path / "run")
    file.write_text(json.dumps(json.loads(file.read_text()) | {"kind": "link"}))
    with pytest.raises(RunError, match=r"is not a whole run: .* Run link again, or restore it"):
        LinkRun(tmp_path / "run")
