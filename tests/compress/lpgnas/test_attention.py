"""Each kind of attention against a loop over nodes and edges, and its order of nodes."""

import math

import pytest
import torch
from search_cases import NUM_NODES, make_graph

from graphlearn.compress.lpgnas.attention import ATTENTION, Edges, coefficients


def leaky(value):
    return value if value > 0 else 0.2 * value


def slow(kind, h, vectors, pairs):
    """The weight of each edge ``(j, i)`` and head, one at a time."""
    heads = h.size(1)
    degree = {i: sum(dst == i for _, dst in pairs) for _, i in pairs}
    if kind == "gcn":
        return {(j, i): [1 / math.sqrt(degree[i] * degree[j])] for j, i in pairs}
    parts = vectors.view(-1, *h.shape[1:])
    logit = {}
    for j, i in pairs:
        for k in range(heads):
            a, b, c = (parts[v, k].tolist() if v < len(parts) else [] for v in range(3))
            hi, hj = h[i, k].tolist(), h[j, k].tolist()
            ai, aj = (sum(x * y for x, y in zip(a, side, strict=True)) for side in (hi, hj))
            bi, bj = (sum(x * y for x, y in zip(b, side, strict=False)) for side in (hi, hj))
            value = math.tanh(aj)
            if kind in ("gat", "sym-gat"):
                value = leaky(aj + bi) + (leaky(ai + bj) if kind == "sym-gat" else 0.0)
            src, dst = [x * y for x, y in zip(a, hj, strict=True)], [x * y for x, y in zip(b, hi, strict=False)]
            if kind == "cosine":
                dot = sum(x * y for x, y in zip(src, dst, strict=True))
                value = dot / math.sqrt(sum(x * x for x in src) * sum(x * x for x in dst))
            if kind == "gatv2":
                value = sum(z * leaky(x + y) for x, y, z in zip(src, dst, c, strict=True))
            if kind == "gene-linear":
                value = sum(z * math.tanh(x + y) for x, y, z in zip(src, dst, c, strict=True))
            logit[j, i, k] = value
    total = {
        (i, k): sum(math.exp(logit[j, i2, k]) for j, i2 in pairs if i2 == i) for _, i in pairs for k in range(heads)
    }
    return {(j, i): [math.exp(logit[j, i, k]) / total[i, k] for k in range(heads)] for j, i in pairs}


@pytest.mark.parametrize("kind", [kind for kind in ATTENTION if kind != "none"])
def test_every_kind_is_its_formula(kind):
    generator = torch.Generator().manual_seed(1)
    edge_index = torch.tensor([[0, 1, 2, 2, 0], [1, 2, 0, 1, 2]])  # node 3 has no neighbour
    h = torch.randn(4, 2, 3, generator=generator, dtype=torch.float64)
    vectors = torch.randn(ATTENTION[kind], 6, generator=generator, dtype=torch.float64) if ATTENTION[kind] else None
    edges = Edges.of(edge_index, 4)
    found = coefficients(kind, h, vectors, edges)
    pairs = list(zip(edges.src.tolist(), edges.dst.tolist(), strict=True))
    assert sorted(pairs) == sorted([*zip(*edge_index.tolist(), strict=True), *((i, i) for i in range(4))])
    expected = slow(kind, h, vectors, pairs)
    torch.testing.assert_close(found, torch.tensor([expected[pair] for pair in pairs], dtype=torch.float64))


def test_none_weighs_nothing():
    edges = Edges.of(torch.tensor([[0], [1]]), 2)
    assert coefficients("none", torch.zeros(2, 1, 2), None, edges) is None


@pytest.mark.parametrize("kind", [kind for kind in ATTENTION if kind not in ("none", "gcn")])
def test_the_weights_of_a_node_are_a_distribution(kind):
    edges = Edges.of(make_graph().edge_index, NUM_NODES)
    generator = torch.Generator().manual_seed(0)
    h, vectors = torch.randn(NUM_NODES, 4, 2, generator=generator), torch.randn(3, 8, generator=generator)
    alpha = coefficients(kind, h, vectors[: ATTENTION[kind]], edges)
    total = torch.zeros(NUM_NODES, 4).index_add_(0, edges.dst, alpha)
    torch.testing.assert_close(total, torch.ones(NUM_NODES, 4))
