"""The loss of rankings, and what a ranker is made of."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from little_shop import MODEL, open_tables, tables

from graphlearn.errors import UnknownNameError
from graphlearn.graph import fit_statistics
from graphlearn.models.ranker import RANKERS, Ranker, sampled_softmax, tree_sizes


@settings(deadline=None)
@given(st.integers(0, 1000), st.integers(1, 5), st.integers(1, 7))
def test_without_drawing_it_is_the_cross_entropy_over_all_items(seed, sources, items):
    """Of each pair against all items but those that came true for the source too."""
    generator = torch.Generator().manual_seed(seed)
    score = torch.randn(sources, items, generator=generator, dtype=torch.float64, requires_grad=True)
    true = torch.rand(sources, items, generator=generator) < 0.4
    true[torch.arange(sources), torch.randint(items, (sources,), generator=generator)] = True
    owner, item = true.nonzero().T
    loss = sampled_softmax(score, score[owner, item], owner, true, torch.zeros(items, dtype=torch.float64))
    parts = []
    for row, column in zip(owner.tolist(), item.tolist(), strict=True):
        others = [j for j in range(items) if j == column or not true[row, j]]
        place = torch.tensor(others.index(column))
        parts.append(F.cross_entropy(score[row, others], place))
    expected = torch.stack(parts).mean()
    torch.testing.assert_close(loss, expected)
    (found,) = torch.autograd.grad(loss, score, retain_graph=True)
    (slow,) = torch.autograd.grad(expected, score)
    torch.testing.assert_close(found, slow)  # also of a source of which every item came true


def test_columns_that_do_not_count():
    score = torch.tensor([[1.0, 2.0, 50.0]], requires_grad=True)
    weight = torch.tensor([0.0, 0.0, -torch.inf])
    true = torch.tensor([[True, False, False]])
    loss = sampled_softmax(score, score[[0], [0]], torch.tensor([0]), true, weight)
    torch.testing.assert_close(loss, F.cross_entropy(score[:, :2], torch.tensor([0])))


def test_a_drawn_column_stands_for_several():
    score = torch.tensor([[0.0, 1.0]])
    weight = torch.tensor([0.0, 3.0]).log()
    loss = sampled_softmax(score, score[[0], [0]], torch.tensor([0]), torch.tensor([[True, False]]), weight)
    four = torch.tensor([[0.0, 1.0, 1.0, 1.0]])
    torch.testing.assert_close(loss, F.cross_entropy(four, torch.tensor([0])))


def ranker(kind: str) -> Ranker:
    db = open_tables(tables())
    torch.manual_seed(0)
    return Ranker(db.schema, fit_statistics(db), "customers", "products", kind, MODEL, num_item_features=2)


@pytest.mark.parametrize("kind", RANKERS)
def test_what_each_kind_is_made_of(kind):
    made = ranker(kind)
    assert (made.item is None) == (kind == "id-gnn")
    assert (made.paths is None) == (kind == "two-tower")
    assert made.kind == kind


def test_there_is_no_other_kind():
    with pytest.raises(UnknownNameError, match=r"no kind of ranking 'two-towers'. Did you mean 'two-tower'"):
        ranker("two-towers")


def test_a_tree_reaches_the_items():
    schema = open_tables(tables()).schema
    assert tree_sizes(schema, "customers", "products") == (16, 8, 4)
    assert tree_sizes(schema, "orders", "products") == (16, 8)
    assert tree_sizes(schema, "items", "products") == (16, 8)
    assert tree_sizes(schema, "products", "customers") == (16, 8, 4)
