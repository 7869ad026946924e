"""The best of many in blocks, against all scores sorted."""

from __future__ import annotations

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from graphlearn.ops.ranking import top_k

Extra = tuple[Tensor, Tensor, Tensor]


def slow(
    source: Tensor, item: Tensor, k: int, extra: Extra | None = None, candidates: Tensor | None = None
) -> tuple[Tensor, list[dict[int, float]]]:
    """All scores, sorted, and per source the score of each item that may be named."""
    scores = source @ item.t()
    if extra is not None:
        rowptr, col, value = extra
        for row in range(len(source)):
            for place in range(int(rowptr[row]), int(rowptr[row + 1])):
                scores[row, col[place]] += value[place]
    if candidates is not None:
        scores[:, ~candidates] = -torch.inf
    known = [{i: float(v) for i, v in enumerate(row) if v > -torch.inf} for row in scores]
    return scores.sort(dim=1, descending=True).values[:, :k], known


def problem(seed: int, sources: int, items: int, *, whole: bool) -> tuple[Tensor, Tensor, Extra, Tensor]:
    """Vectors, whole numbers for many ties; extra pairs, some of them twice and some -inf; and candidates."""
    generator = torch.Generator().manual_seed(seed)
    source = torch.randn(sources, 3, generator=generator, dtype=torch.float64)
    item = torch.randn(items, 3, generator=generator, dtype=torch.float64)
    if whole:
        source, item = source.round(), item.round()
    count = torch.randint(0, 6, (sources,), generator=generator)
    rowptr = torch.cat([count.new_zeros(1), count.cumsum(0)])
    col = torch.randint(items, (int(rowptr[-1]),), generator=generator)
    value = torch.randn(len(col), generator=generator, dtype=torch.float64) * 3
    value[torch.rand(len(col), generator=generator) < 0.3] = -torch.inf
    candidates = torch.rand(items, generator=generator) < torch.rand((), generator=generator)
    return source, item, (rowptr, col, value), candidates


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 10_000),
    st.integers(0, 9),
    st.integers(1, 700),
    st.floats(0, 1),
    st.sampled_from([1, 300, 2_000, 100_000]),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)
@example(0, 7, 640, 0.001, 1, True, True, True)  # k = 1: five blocks of two chunks or more
@example(1, 5, 300, 1.0, 1, False, True, True)  # k = N
@example(2, 600, 20, 0.2, 100_000, False, True, False)  # more sources than one block has
def test_blocks_give_what_sorting_all_gives(seed, sources, items, share, held, whole, with_extra, with_candidates):
    source, item, extra, candidates = problem(seed, sources, items, whole=whole)
    k = max(1, round(share * items))
    given_extra, given_candidates = extra if with_extra else None, candidates if with_candidates else None
    values, named = top_k(source, item, k, extra=given_extra, candidates=given_candidates, held=held)
    expected, known = slow(source, item, k, given_extra, given_candidates)
    torch.testing.assert_close(values, expected)
    for row in range(sources):
        mine = named[row].tolist()
        there = min(k, len(known[row]))
        assert mine[there:] == [-1] * (k - there)
        assert len(set(mine[:there])) == there
        assert [known[row][i] for i in mine[:there]] == pytest.approx(values[row, :there].tolist())


def test_a_chunk_of_the_best_and_the_rest_after_the_last_chunk():
    """All of the best are neighbours, and the very best are those that no whole chunk holds."""
    item = torch.zeros(64 * 5 + 3, 1)
    item[70:80, 0] = torch.arange(10.0) + 1
    item[-3:, 0] = torch.tensor([20.0, 30.0, 0.5])
    values, named = top_k(torch.ones(2, 1), item, 2)
    assert values.tolist() == [[30.0, 20.0]] * 2
    assert named.tolist() == [[321, 320]] * 2
    assert top_k(torch.ones(1, 1), item, 2, candidates=torch.arange(len(item)) < 320)[1].tolist() == [[79, 78]]


def test_nobody_asks_and_nothing_may_be_named():
    item = torch.ones(3, 2)
    values, named = top_k(torch.ones(0, 2), item, 2)
    assert values.shape == named.shape == (0, 2)
    values, named = top_k(torch.ones(1, 2), item, 2, candidates=torch.zeros(3, dtype=torch.bool))
    assert values.tolist() == [[-torch.inf, -torch.inf]]
    assert named.tolist() == [[-1, -1]]


def test_what_is_refused():
    with pytest.raises(ValueError, match=r"'k' must be between 1 and the number of items, 3, got 4"):
        top_k(torch.ones(2, 2), torch.ones(3, 2), 4)
    with pytest.raises(ValueError, match=r"'k' must be between 1 and the number of items, 3, got 0"):
        top_k(torch.ones(2, 2), torch.ones(3, 2), 0)
    with pytest.raises(ValueError, match=r"'source' and 'item' must be \[S, F\] and \[N, F\], got \[2, 2\], \[3, 4\]"):
        top_k(torch.ones(2, 2), torch.ones(3, 4), 1)
