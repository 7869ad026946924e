"""WalkPool's and SEAL's whole models: what they read, what must not matter, and that they learn."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.nn import GCN, GCNConv, SortAggregation

from graphlearn.models import SEALLinkPredictor, WalkPoolLinkPredictor
from graphlearn.models.walk_pool import slim_classifier
from graphlearn.sampling import EnclosingSubgraph

MAX_LABEL = 20


def batch(num_links: int = 6, seed: int = 0) -> Data:
    """Subgraphs of a random graph around links, the first half of which are edges."""
    g = torch.Generator().manual_seed(seed)
    linked = (torch.rand(30, 30, generator=g) < 0.15).triu(1)
    edge_index = (linked | linked.t()).nonzero().t()
    data = Data(x=torch.randn(30, 3, generator=g), edge_index=edge_index, num_nodes=30)
    some = edge_index[:, torch.randperm(edge_index.size(1), generator=g)[: num_links // 2]]
    src = torch.randint(30, (num_links - num_links // 2,), generator=g)
    links = torch.cat([some, torch.stack([src, (src + 7) % 30])], dim=1)
    return EnclosingSubgraph(data, drnl=True, max_label=MAX_LABEL)(links)


def walk_pool(**kwargs) -> WalkPoolLinkPredictor:
    torch.manual_seed(0)
    return WalkPoolLinkPredictor(3, 4, **({"walk_length": 3, "dropout": 0.0} | kwargs)).eval()


def seal(**kwargs) -> SEALLinkPredictor:
    torch.manual_seed(0)
    return SEALLinkPredictor(MAX_LABEL, 4, **({"k": 12, "dropout": 0.0} | kwargs)).eval()


def run(model: torch.nn.Module, b: Data, **kwargs) -> Tensor:
    if isinstance(model, SEALLinkPredictor):
        return model(b.z, b.edge_index, b.batch, b.candidate, b.edge_mask, rowptr=b.rowptr, **kwargs)
    return model(b.x, b.edge_index, b.batch, b.candidate, b.edge_mask, rowptr=b.rowptr, **kwargs)


def test_walk_pool_is_pygs_gcns_and_the_pooling():
    model, b = walk_pool(), batch()
    first, second = GCNConv(3, 4), GCNConv(4, 4)
    for conv, lin in ((first, model.lin1), (second, model.lin2)):
        conv.lin.weight.data, conv.bias.data = lin.weight.data, torch.zeros(4)
        lin.bias.data.zero_()  # PyG adds its bias after the sum
    h1 = first(b.x, b.edge_index)
    h2 = second(h1.relu(), b.edge_index)
    pooled = model.pool(torch.cat([b.x, h1, h2], dim=1), b.edge_index, b.batch, b.candidate)
    torch.testing.assert_close(run(model, b), model.classifier(pooled).squeeze(1))


@pytest.mark.parametrize("build", [walk_pool, seal])
def test_sorted_edges_are_a_help_only(build):
    model, b = build(), batch()
    shuffled = b.edge_index[:, torch.randperm(b.edge_index.size(1), generator=torch.Generator().manual_seed(1))]
    first = b.z if build is seal else b.x
    torch.testing.assert_close(model(first, shuffled, b.batch, b.candidate), run(model, b), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("build", [walk_pool, seal])
def test_a_batch_is_its_links(build):
    model, b = build(), batch()
    alone = []
    for link in range(6):
        node, edge = b.batch == link, b.batch[b.edge_index[1]] == link
        one = Data(
            x=b.x[node], z=b.z[node], batch=b.batch[node] * 0, edge_index=b.edge_index[:, edge] - b.ptr[link],
            candidate=b.candidate[:, link : link + 1] - b.ptr[link], edge_mask=b.edge_mask[edge],
        )  # fmt: skip
        one.rowptr = torch.searchsorted(one.edge_index[1].contiguous(), torch.arange(int(node.sum()) + 1))
        alone.append(run(model, one))
    torch.testing.assert_close(run(model, b), torch.cat(alone), rtol=1e-4, atol=1e-5)


def test_seal_does_not_see_the_candidate():
    """The score of the graph with the candidates' edges is that of the graph without."""
    model, b = seal(), batch()
    minus = b.edge_index[:, b.edge_mask]
    torch.testing.assert_close(model(b.z, minus, b.batch, b.candidate), run(model, b), rtol=1e-4, atol=1e-5)


def test_seal_is_pygs_layers():
    model, b = seal(num_layers=2), batch()
    edge_index = b.edge_index[:, b.edge_mask]
    hidden, outs = model.label(b.z), []
    for lin in model.lins:
        conv = GCNConv(lin.in_features, lin.out_features)
        conv.lin.weight.data, conv.bias.data = lin.weight.data, torch.zeros(lin.out_features)
        lin.bias.data.zero_()
        hidden = conv(hidden, edge_index).tanh()
        outs.append(hidden)
    out = SortAggregation(12)(torch.cat(outs, dim=1), b.batch).unsqueeze(1)
    out = model.conv2(model.pool(model.conv1(out).relu())).relu().flatten(1)
    torch.testing.assert_close(run(model, b), model.lin2(model.lin1(out).relu()).squeeze(1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("model", "beside"),
    [
        (walk_pool(dropout=0.5), None),
        (walk_pool(max_label=MAX_LABEL, dropout=0.5), "z"),
        (seal(dropout=0.5), None),
        (seal(in_channels=3), "x"),
    ],
    ids=["walk_pool", "walk_pool with labels", "seal", "seal with x"],
)
def test_learns_to_tell_links_from_others(model, beside):
    b = batch(32)
    kwargs = {} if beside is None else {beside: b[beside]}
    y = (torch.arange(32) < 16).float()
    torch.manual_seed(0)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
    model.train()
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = F.binary_cross_entropy_with_logits(run(model, b, **kwargs), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    assert sum(losses[-5:]) < 0.6 * sum(losses[:5])


def test_own_encoder_and_classifier():
    b = batch()
    encoder = GCN(3, 8, num_layers=2)
    model = walk_pool(encoder=encoder, classifier=slim_classifier(2 * 16, hidden_channels=16))
    assert model.pool.in_channels == 8
    model.eval()
    pooled = model.pool(encoder(b.x, b.edge_index), b.edge_index, b.batch, b.candidate)
    torch.testing.assert_close(run(model, b), model.classifier(pooled).squeeze(1))


def test_the_papers_classifier_has_its_size():
    model = WalkPoolLinkPredictor(16)
    assert model.pool.out_channels == 72
    assert sum(p.numel() for p in model.classifier.parameters()) == pytest.approx(3.3e6, rel=0.02)


@pytest.mark.parametrize("build", [lambda: walk_pool(max_label=MAX_LABEL), seal])
def test_reset_parameters(build):
    model = build()
    torch.manual_seed(5)
    model.reset_parameters()
    first = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(5)
    model.reset_parameters()
    for name, value in model.state_dict().items():
        assert torch.equal(value, first[name]), name
    changed = [not torch.equal(value, first[name]) for name, value in build().state_dict().items()]
    assert any(changed)


def test_no_links():
    none = torch.empty(2, 0, dtype=torch.int64)
    args = (none, none[0], none)
    assert walk_pool()(torch.empty(0, 3), *args).shape == (0,)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")  # of torch, where it leaves the graph
def test_compiled():
    model, b = walk_pool(), batch()
    torch.testing.assert_close(run(torch.compile(model, backend="aot_eager"), b), run(model, b))


@pytest.mark.parametrize(
    ("model", "kwargs", "message"),
    [
        (walk_pool(), {"z": batch().z}, r"A model with max_label=None has no use for labels, but got 'z'\. Labels"),
        (walk_pool(max_label=9), {}, r"A model with max_label=9 needs labels, but got no 'z'\. Labels come from"),
        (seal(in_channels=3), {}, r"'x' must be \[N, 3\], or None for 0 channels, got None"),
        (seal(), {"x": batch().x}, r"'x' must be \[N, 0\], or None for 0 channels, got \[\d+, 3\]"),
    ],
)
def test_wrong_inputs(model, kwargs, message):
    with pytest.raises(ValueError, match=message):
        run(model, batch(), **kwargs)


def test_wrong_numbers():
    with pytest.raises(ValueError, match=r"'k' must be >= 10, .*, got 9"):
        SEALLinkPredictor(5, k=9)
    with pytest.raises(ValueError, match="'num_layers' must be > 0, got 0"):
        SEALLinkPredictor(5, num_layers=0)
    with pytest.raises(ValueError, match="'hidden_channels' must be > 0, got 0"):
        WalkPoolLinkPredictor(5, 0)
