"""Enclosing subgraphs against PyG's k_hop_subgraph, one link at a time; both backends; what wrong links get."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.data import Data
from torch_geometric.transforms import RandomLinkSplit
from torch_geometric.utils import k_hop_subgraph, to_undirected

from graphlearn.native import kernels
from graphlearn.sampling import EnclosingSubgraph, LinkSubgraphLoader, subgraph

FIELDS = ("edge_index", "edge_mask", "rowptr", "candidate", "batch", "ptr", "node_id", "x")
BACKENDS = ["torch"] + ["native"] * (kernels is not None)


def graph(seed: int, num_nodes: int, density: float) -> Data:
    g = torch.Generator().manual_seed(seed)
    linked = (torch.rand(num_nodes, num_nodes, generator=g) < density).triu(1)
    edge_index = (linked | linked.t()).nonzero().t()
    return Data(x=torch.randn(num_nodes, 3, generator=g), edge_index=edge_index, num_nodes=num_nodes)


def links(seed: int, num_nodes: int, count: int) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    src = torch.randint(num_nodes, (count,), generator=g)
    return torch.stack([src, (src + torch.randint(1, num_nodes, (count,), generator=g)) % num_nodes])


def cut(monkeypatch, backend: str, cutter: EnclosingSubgraph, pairs: torch.Tensor) -> Data:
    with monkeypatch.context() as patch:
        if backend == "torch":
            patch.setattr(subgraph, "kernels", None)
        return cutter(pairs)


@pytest.mark.parametrize("backend", BACKENDS)
@given(seed=st.integers(0, 10_000), num_nodes=st.integers(2, 60), density=st.floats(0, 0.3), hops=st.integers(0, 4))
@settings(max_examples=30, deadline=None)
def test_is_the_k_hop_subgraph_of_each_link(backend, seed, num_nodes, density, hops):
    data, pairs = graph(seed, num_nodes, density), links(seed, num_nodes, 5)
    with pytest.MonkeyPatch.context() as patch:
        batch = cut(patch, backend, EnclosingSubgraph(data, hops), pairs)
    assert batch.ptr[-1] == batch.num_nodes == len(batch.batch)
    assert torch.equal(batch.edge_index[1], torch.repeat_interleave(torch.arange(batch.num_nodes), batch.rowptr.diff()))
    for link in range(5):
        i, j = pairs[:, link].tolist()
        first, last = batch.ptr[link : link + 2].tolist()
        node_id = batch.node_id[first:last]
        assert (batch.batch[first:last] == link).all()
        nodes, edges, _, _ = k_hop_subgraph(pairs[:, link], hops, data.edge_index, num_nodes=num_nodes)
        assert torch.equal(node_id, nodes)
        assert torch.equal(batch.x[first:last], data.x[nodes])
        mine = slice(int(batch.rowptr[first]), int(batch.rowptr[last]))
        named = batch.node_id[batch.edge_index[:, mine]].t().tolist()
        kept = batch.edge_mask[mine].tolist()
        candidate = [(i, j), (j, i)]
        # Exactly the two directions of the link are masked, whether it is an edge of the graph or not.
        assert sorted(tuple(e) for e, k in zip(named, kept, strict=True) if not k) == sorted(candidate)
        expected = {tuple(e) for e in edges.t().tolist()} - set(candidate)
        assert sorted(tuple(e) for e, k in zip(named, kept, strict=True) if k) == sorted(expected)
        assert batch.node_id[batch.candidate[:, link]].tolist() == [i, j]


@pytest.mark.skipif(kernels is None, reason="the native kernels were not built")
@given(seed=st.integers(0, 10_000), cap=st.one_of(st.none(), st.integers(1, 6)), hops=st.integers(0, 3))
@settings(max_examples=30, deadline=None)
def test_both_backends_give_the_same_batch(seed, cap, hops):
    data, pairs = graph(seed, 50, 0.15), links(seed, 50, 40)
    cutter = EnclosingSubgraph(data, hops, max_nodes_per_hop=cap, generator=torch.Generator().manual_seed(seed))
    with pytest.MonkeyPatch.context() as patch:
        found = [cut(patch, backend, cutter, pairs) for backend in ("torch", "native")]
    for name in FIELDS:
        assert torch.equal(found[0][name], found[1][name]), name


@pytest.mark.skipif(kernels is None, reason="the native kernels were not built")
def test_threads_change_nothing():
    cutter, pairs = EnclosingSubgraph(graph(0, 300, 0.05)), links(0, 300, 200)
    threads = torch.get_num_threads()
    try:
        found = []
        for count in (1, 3):
            torch.set_num_threads(count)
            found.append(cutter(pairs))
    finally:
        torch.set_num_threads(threads)
    for name in FIELDS:
        assert torch.equal(found[0][name], found[1][name]), name


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_sparse_large_graph(monkeypatch, backend):
    """Far more nodes than any subgraph has: found by sorting, not by reading a mark of every node."""
    n = 20_000
    ring = torch.stack([torch.arange(n), torch.arange(1, n + 1) % n])
    batch = cut(
        monkeypatch, backend, EnclosingSubgraph(Data(edge_index=to_undirected(ring), num_nodes=n)), links(0, n, 3)
    )
    assert batch.ptr.tolist() == [0, 10, 20, 30]
    assert "x" not in batch


@pytest.mark.parametrize("backend", BACKENDS)
def test_at_most_so_many_nodes_a_hop_the_same_ones_each_time(monkeypatch, backend):
    star = to_undirected(torch.stack([torch.zeros(40, dtype=torch.int64), torch.arange(1, 41)]))
    data = Data(edge_index=star, num_nodes=42)
    cutters = [
        EnclosingSubgraph(data, 1, max_nodes_per_hop=10, generator=torch.Generator().manual_seed(seed))
        for seed in (0, 0, 1)
    ]
    pairs = torch.tensor([[0, 0], [41, 1]])
    first, again, other = (cut(monkeypatch, backend, cutter, pairs) for cutter in cutters)
    assert first.ptr.tolist() == [0, 12, 24]
    assert torch.equal(first.node_id, again.node_id)
    assert not torch.equal(first.node_id, other.node_id)
    alone = cut(monkeypatch, backend, cutters[0], pairs[:, 1:])
    assert torch.equal(alone.node_id, first.node_id[12:])


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_neighbour_is_drawn_alike(monkeypatch, backend):
    star = to_undirected(torch.stack([torch.zeros(20, dtype=torch.int64), torch.arange(1, 21)]))
    data = Data(edge_index=star, num_nodes=1000)
    cutter = EnclosingSubgraph(data, 1, max_nodes_per_hop=5, generator=torch.Generator().manual_seed(0))
    batch = cut(
        monkeypatch, backend, cutter, torch.stack([torch.zeros(900, dtype=torch.int64), torch.arange(100, 1000)])
    )
    drawn = torch.bincount(batch.node_id, minlength=21)[1:21]
    assert drawn.sum() == 900 * 5
    assert (drawn - 225).abs().max() < 5 * 13  # five standard deviations of a count with mean 225


def test_isolated_ends_and_repeated_edges():
    data = Data(edge_index=torch.tensor([[0, 1, 0, 1, 1], [1, 0, 1, 0, 0]]), num_nodes=4)
    batch = EnclosingSubgraph(data)(torch.tensor([[2, 0], [3, 1]]))
    assert batch.node_id.tolist() == [2, 3, 0, 1]
    assert batch.edge_index.tolist() == [[1, 0, 3, 2], [0, 1, 2, 3]]
    assert not batch.edge_mask.any()


@pytest.mark.parametrize("backend", BACKENDS)
def test_no_links_and_no_graph(monkeypatch, backend):
    none = torch.empty(2, 0, dtype=torch.int64)
    for data in (graph(0, 5, 0.5), Data(edge_index=none, num_nodes=0)):
        batch = cut(monkeypatch, backend, EnclosingSubgraph(data, drnl=True), none)
        assert batch.num_nodes == 0
        assert batch.edge_index.shape == batch.candidate.shape == (2, 0)
        assert batch.ptr.tolist() == batch.rowptr.tolist() == [0]
        assert batch.z.shape == (0,)


def test_labels_do_not_know_the_link():
    """With the link among the edges and without it, everything but the mask's edges is the same."""
    data = graph(3, 30, 0.1)
    linked = data.edge_index[:, :1]
    there = (data.edge_index == linked).all(0) | (data.edge_index == linked.flip(0)).all(0)
    without = Data(x=data.x, edge_index=data.edge_index[:, ~there], num_nodes=30)
    found = [EnclosingSubgraph(d, drnl=True)(linked) for d in (data, without)]
    for name in (*FIELDS, "z"):
        assert torch.equal(found[0][name], found[1][name]), name


def test_loader_with_random_link_split():
    data = graph(0, 40, 0.2)
    split = RandomLinkSplit(is_undirected=True, num_val=0.2, num_test=0.0)
    torch.manual_seed(0)
    train, val, _ = split(data)
    loader = LinkSubgraphLoader(EnclosingSubgraph(train), val.edge_label_index, val.edge_label, batch_size=7)
    batches = list(loader)
    assert len(batches) == len(loader) == -(-val.edge_label.numel() // 7)
    assert torch.equal(torch.cat([b.y for b in batches]), val.edge_label)
    ends = torch.cat([b.node_id[b.candidate] for b in batches], dim=1)
    assert torch.equal(ends, val.edge_label_index)


def test_loader_shuffles_with_its_generator_and_may_drop_the_rest():
    cutter, pairs = EnclosingSubgraph(graph(0, 40, 0.2)), links(0, 40, 11)

    def epochs(seed: int) -> list[torch.Tensor]:
        loader = LinkSubgraphLoader(
            cutter, pairs, torch.arange(11), batch_size=4, shuffle=True, drop_last=True,
            generator=torch.Generator().manual_seed(seed),
        )  # fmt: skip
        assert len(loader) == 2
        return [torch.cat([batch.y for batch in loader]) for _ in range(2)]

    first, second = epochs(0)
    assert len(first) == 8
    assert not torch.equal(first, second)
    assert torch.equal(first, epochs(0)[0])
    assert "y" not in next(iter(LinkSubgraphLoader(cutter, pairs)))


RING = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])
FINE = Data(edge_index=RING, num_nodes=3)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (Data(num_nodes=3), "The graph has no 'edge_index'"),
        (
            Data(edge_index=RING.t(), num_nodes=3),
            r"'edge_index' must be an int64 tensor of shape \[2, E\], got .* \[4, 2\]",
        ),
        (Data(edge_index=RING.float(), num_nodes=3), r"got torch.float32 \[2, 4\]"),
        (Data(edge_index=RING + 1, num_nodes=3), r"'edge_index' must name nodes 0 to 2, but 2 of 8 .* \(first: 3, 3\)"),
        (Data(edge_index=RING - 1, num_nodes=3), r"but 2 of 8 numbers do not \(first: -1, -1\)"),
        (
            Data(edge_index=RING[:, 1:], num_nodes=3),
            r"in both directions, but 1 of 3 are there in one only \(first: 1 -> 0\). Add .*to_undirected",
        ),
        (Data(edge_index=RING, num_nodes=2**31), "The graph has 2,147,483,648 nodes"),
        (Data(edge_index=RING, x=torch.ones(2, 1), num_nodes=3), r"'x' must have one row per node, 3, got \[2, 1\]"),
        (
            Data(edge_index=RING, x=torch.tensor([[1.0], [torch.nan], [0.0]])),
            r"'x' has NaN in 1 of 3 rows \(first: 1\); every score they reach would be NaN",
        ),
    ],
)
def test_wrong_graphs(data, message):
    with pytest.raises(ValueError, match=message):
        EnclosingSubgraph(data)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"num_hops": -1}, "'num_hops' must be >= 0, got -1"),
        ({"max_nodes_per_hop": 0}, "'max_nodes_per_hop' must be > 0, or None for all, got 0"),
        ({"max_nodes_per_hop": 5}, r"'max_nodes_per_hop' needs generator="),
    ],
)
def test_wrong_numbers(kwargs, message):
    with pytest.raises(ValueError, match=message):
        EnclosingSubgraph(FINE, **kwargs)


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (
            torch.tensor([[0, 1], [1, 2], [2, 0]]),
            r"Links must be .* \[2, B\], got torch.int64 \[3, 2\]. Transpose them",
        ),
        (torch.tensor([[0.0], [1.0]]), r"got torch.float32 \[2, 1\]\.$"),
        (torch.tensor([[0], [3]]), r"Links must name nodes 0 to 2, but 1 of 2 numbers do not \(first: 3\)"),
        (torch.tensor([[0, 1], [1, 1]]), r"two different nodes, but 1 of 2 join one with itself \(first: node 1\)"),
    ],
)
def test_wrong_links(pairs, message):
    with pytest.raises(ValueError, match=message):
        EnclosingSubgraph(FINE)(pairs)
    with pytest.raises(ValueError, match=message):
        LinkSubgraphLoader(EnclosingSubgraph(FINE), pairs)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"edge_label": torch.ones(2)}, r"'edge_label' must have one value per link, \[1\], got \[2\]"),
        ({"batch_size": 0}, "'batch_size' must be > 0, got 0"),
        ({"shuffle": True}, "shuffle=True needs generator="),
    ],
)
def test_wrong_loaders(kwargs, message):
    with pytest.raises(ValueError, match=message):
        LinkSubgraphLoader(EnclosingSubgraph(FINE), torch.tensor([[0], [2]]), **kwargs)
