"""Link predictors behind one interface: what they compute, what must not matter, and what they refuse."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.nn import GAT, GCN, MLP, GraphSAGE

from graphlearn.models import LinkModel, SEALLinkPredictor, SubgraphLinkModel, WalkPoolLinkPredictor
from graphlearn.nn import BilinearHead, DotHead, MLPHead

NODES = 20
PAIRS = torch.tensor([[0, 3, 19, 4], [5, 1, 2, 7]])


def features() -> Tensor:
    return torch.randn(NODES, 6, generator=torch.Generator().manual_seed(1))


def ring() -> Tensor:
    """19 nodes, each knowing the next two, and one that knows nobody."""
    node = torch.arange(NODES - 1)
    links = torch.cat([torch.stack([node, (node + step) % (NODES - 1)]) for step in (1, 2)], dim=1)
    return torch.cat([links, links.flip(0)], dim=1)


def encoders() -> dict[str, torch.nn.Module]:
    torch.manual_seed(0)
    return {
        "gcn": GCN(6, 8, 2, out_channels=4),
        "sage": GraphSAGE(6, 8, 2, out_channels=4),
        "gat": GAT(6, 8, 2, out_channels=4),
        "mlp": MLP([6, 8, 4]),
    }


HEADS = {"dot": DotHead(), "bilinear": BilinearHead(4), "mlp": MLPHead(4, 5)}


def subgraph_models(**options) -> dict[str, SubgraphLinkModel]:
    torch.manual_seed(0)
    return {
        "walkpool": SubgraphLinkModel(WalkPoolLinkPredictor(6, 4, walk_length=2), num_hops=1, **options),
        "walkpool with labels": SubgraphLinkModel(WalkPoolLinkPredictor(6, 4, walk_length=2, max_label=9), **options),
        "seal": SubgraphLinkModel(SEALLinkPredictor(9, 4, k=10), **options),
        "seal with x": SubgraphLinkModel(SEALLinkPredictor(9, 4, k=10, in_channels=6), **options),
    }


EVERY = {f"{e}-{h}": LinkModel(encoder, head) for e, encoder in encoders().items() for h, head in HEADS.items()}
EVERY |= subgraph_models()


@pytest.mark.parametrize("name", sorted(EVERY))
def test_a_score_is_the_same_in_both_directions(name):
    model = EVERY[name].eval()
    forward, back = model(features(), ring(), PAIRS), model(features(), ring(), PAIRS.flip(0))
    assert forward.shape == (4,)
    torch.testing.assert_close(forward, back)


@pytest.mark.parametrize("encoder", ["gcn", "sage", "gat", "mlp"])
def test_it_is_the_head_of_the_encoders_rows(encoder):
    model = EVERY[f"{encoder}-mlp"].eval()
    z = model.encoder(features()) if encoder == "mlp" else model.encoder(features(), ring())
    torch.testing.assert_close(model(features(), ring(), PAIRS), model.head(z[PAIRS[0]], z[PAIRS[1]]))


def test_a_bilinear_score_is_the_mean_of_both_directions():
    model = EVERY["gcn-bilinear"].eval()
    z = model.encode(features(), ring())
    there, back = model.head(z[PAIRS[0]], z[PAIRS[1]]), model.head(z[PAIRS[1]], z[PAIRS[0]])
    torch.testing.assert_close(model.score(z, PAIRS), (there + back) / 2)


@pytest.mark.parametrize("name", ["gcn-dot", "walkpool"])
def test_the_loss_is_binary_cross_entropy(name):
    model = EVERY[name].eval()
    z = model.encode(features(), ring())
    score = torch.cat([model.score(z, PAIRS), model.score(z, PAIRS[:, :2] + 8)])
    expected = F.binary_cross_entropy_with_logits(score, torch.tensor([1.0] * 4 + [0.0] * 2))
    torch.testing.assert_close(model.loss(z, PAIRS, PAIRS[:, :2] + 8), expected)


@pytest.mark.parametrize("name", sorted(subgraph_models()))
def test_subgraphs_hide_their_own_link_and_batches_do_not_matter(name):
    model = subgraph_models(batch_size=3)[name].eval()
    one = subgraph_models(batch_size=100)[name].eval()
    linked = ring()[:, :7]
    torch.testing.assert_close(model(features(), ring(), linked), one(features(), ring(), linked), rtol=1e-4, atol=1e-5)
    asked = linked[:, :1]
    kept = ~((ring() == asked).all(0) | (ring() == asked.flip(0)).all(0))
    with_it, without = model(features(), ring(), asked), model(features(), ring()[:, kept], asked)
    torch.testing.assert_close(with_it, without)
    assert model.hides_links


def test_without_hiding_a_link_shows():
    model = EVERY["gcn-dot"].eval()
    asked = ring()[:, :1]
    kept = ~((ring() == asked).all(0) | (ring() == asked.flip(0)).all(0))
    assert not torch.allclose(model(features(), ring(), asked), model(features(), ring()[:, kept], asked))
    assert not model.hides_links


def test_a_graph_without_features_gets_learned_vectors():
    torch.manual_seed(0)
    model = LinkModel(GCN(6, 8, 2, out_channels=4), DotHead(), num_nodes=NODES, channels=6).eval()
    assert model.embedding.weight.shape == (NODES, 6)
    z = model.encoder(model.embedding.weight, ring())
    torch.testing.assert_close(model(None, ring(), PAIRS), DotHead()(z[PAIRS[0]], z[PAIRS[1]]))
    model(None, ring(), PAIRS).sum().backward()
    assert model.embedding.weight.grad.isfinite().all()


@pytest.mark.parametrize("kind", ["walkpool", "seal"])
def test_subgraphs_without_features(kind):
    predictor = WalkPoolLinkPredictor(3, 4, walk_length=2) if kind == "walkpool" else SEALLinkPredictor(9, 4, k=10)
    model = SubgraphLinkModel(predictor, num_nodes=NODES).eval()
    found = model(None, ring(), PAIRS)
    assert found.isfinite().all()
    if kind == "walkpool":
        ones = SubgraphLinkModel(predictor).eval()(torch.ones(NODES, 3), ring(), PAIRS)
        torch.testing.assert_close(found, ones)


@pytest.mark.parametrize("name", sorted(EVERY))
def test_no_pairs(name):
    assert EVERY[name].eval()(features(), ring(), PAIRS[:, :0]).shape == (0,)


def test_same_seed_same_weights():
    for name, model in EVERY.items():
        torch.manual_seed(3)
        model.reset_parameters()
        first = {key: value.clone() for key, value in model.state_dict().items()}
        torch.manual_seed(3)
        model.reset_parameters()
        assert all(torch.equal(first[key], value) for key, value in model.state_dict().items()), name


def test_what_is_refused():
    with pytest.raises(ValueError, match="'num_nodes' and 'channels' go together, for a table of vectors, got 5 and"):
        LinkModel(encoders()["gcn"], DotHead(), num_nodes=5)
    with pytest.raises(ValueError, match="'num_nodes' must be > 0, got 0"):
        LinkModel(encoders()["gcn"], DotHead(), num_nodes=0, channels=6)
    with pytest.raises(ValueError, match=r"needs features of its nodes, but got no 'x'"):
        EVERY["gcn-dot"](None, ring(), PAIRS)
    table = LinkModel(encoders()["gcn"], DotHead(), num_nodes=NODES, channels=6)
    with pytest.raises(ValueError, match=r"has learned vectors instead of its nodes, but got 'x'"):
        table(features(), ring(), PAIRS)
    with pytest.raises(ValueError, match="'batch_size' must be > 0, got 0"):
        subgraph_models(batch_size=0)
    with pytest.raises(ValueError, match=r"A graph without features needs SubgraphLinkModel\(…, num_nodes=…\)"):
        EVERY["seal"](None, ring(), PAIRS)
