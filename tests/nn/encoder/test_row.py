"""RowEncoder: every kind of column against a slow twin, missing and unseen cells, and what must not matter."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch_frame import TensorFrame, stype
from torch_frame.data import MultiEmbeddingTensor, MultiNestedTensor
from torch_frame.data.stats import StatType

from graphlearn.nn import RowEncoder

NAMES = {
    stype.numerical: ["price", "weight"],
    stype.categorical: ["color", "size"],
    stype.multicategorical: ["tags", "rooms"],
    stype.timestamp: ["made", "sold"],
    stype.embedding: ["text", "picture"],
}
STATS = {
    "price": {StatType.QUANTILES: [-2.0, -0.5, 0.0, 0.5, 3.0]},
    "weight": {StatType.QUANTILES: [0.0, 0.0, 0.0, 1.0, 1.0]},  # most weigh the same
    "color": {StatType.COUNT: (["red", "blue", "<other>"], [4, 3, 0])},
    "size": {StatType.COUNT: (["L", "<other>"], [7, 0])},
    "tags": {StatType.MULTI_COUNT: (["new", "green", "<other>"], [4, 3, 0])},
    "rooms": {StatType.MULTI_COUNT: (["hall", "<other>"], [4, 0])},
    "made": {StatType.YEAR_RANGE: [1990, 1999]},
    "sold": {StatType.YEAR_RANGE: [2001, 2001]},
    "text": {StatType.EMB_DIM: 3},
    "picture": {StatType.EMB_DIM: 2},
}
NAN = math.nan
# Missing, unseen, empty and extreme cells in every column.
NUMBERS = [[0.25, 0.5], [NAN, 0.0], [-9.0, 40.0], [3.0, NAN], [0.0, 1.0]]
CATEGORIES = [[0, 0], [1, -1], [-1, 1], [2, 0], [2, 1]]
SETS = [[[0, 1], [0]], [[], [1, 0]], [[2], []], [[], []], [[-1, 0, 2], [0, 0]]]
DATES = [
    [[1990, 0, 0, 0, 0, 0, 0], [2001, 11, 30, 6, 23, 59, 59]],
    [[-1] * 7, [2001, 5, 10, 3, 12, 0, 0]],
    [[1999, 6, 1, 2, 6, 0, 0], [-1] * 7],
    [[9999, 11, 30, 4, 0, 0, 0], [2001, 0, 0, 0, 0, 0, 0]],
    [[2005, 2, 3, 4, 5, 6, 7], [1970, 0, 0, 3, 0, 0, 0]],
]
VECTORS = [[1.0, 2.0, 3.0, 4.0, 5.0], [0.0] * 5, [-1.0, 0.5, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 7.0, 8.0], [0.1] * 5]


def frame(rows: list[int] | None = None, kinds: list[stype] | None = None) -> TensorFrame:
    rows = list(range(5)) if rows is None else rows
    count = len(rows)
    cells = [SETS[r][c] for r in rows for c in range(2)]
    offset = torch.tensor([0, *[len(cell) for cell in cells]]).cumsum(0)
    values = torch.tensor([v for cell in cells for v in cell], dtype=torch.int64)
    feats = {
        stype.numerical: torch.tensor([NUMBERS[r] for r in rows]).reshape(count, 2),
        stype.categorical: torch.tensor([CATEGORIES[r] for r in rows], dtype=torch.int32).reshape(count, 2),
        stype.multicategorical: MultiNestedTensor(count, 2, values, offset),
        stype.timestamp: torch.tensor([DATES[r] for r in rows], dtype=torch.int16).reshape(count, 2, 7),
        stype.embedding: MultiEmbeddingTensor(
            count, 2, torch.tensor([VECTORS[r] for r in rows]).reshape(count, 5), torch.tensor([0, 3, 5])
        ),
    }
    kinds = list(NAMES) if kinds is None else kinds
    return TensorFrame({kind: feats[kind] for kind in kinds}, {kind: NAMES[kind] for kind in kinds})


def encoder(channels: int = 6, kinds: list[stype] | None = None, **kwargs) -> RowEncoder:
    torch.manual_seed(0)
    names = {kind: NAMES[kind] for kind in (NAMES if kinds is None else kinds)}
    layer = RowEncoder(channels, STATS, names, **kwargs)
    torch.nn.init.normal_(layer.bias)
    return layer


def slow_sum(layer: RowEncoder, row: int) -> Tensor:
    """``h`` of the docstring for one row, cell by cell."""
    h = layer.bias.clone()
    for c, value in enumerate(NUMBERS[row]):
        edges = STATS[NAMES[stype.numerical][c]][StatType.QUANTILES]
        if math.isnan(value):
            parts = [0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0]
        else:
            log = math.copysign(math.log1p(abs(value)), value)
            quarters = [min(max((value - a) / max(b - a, 1e-6), 0.0), 1.0) for a, b in itertools.pairwise(edges)]
            parts = [min(max(value, -5.0), 5.0), log, 0.0, *quarters]
        for p, part in enumerate(parts):
            h = h + part * layer.numerical.weight[:, 2 * p + c]
    first = 0
    for c, code in enumerate(CATEGORIES[row]):
        h = h + layer.category[first + code + 1]  # slots: missing, the known ones, unseen
        first += len(STATS[NAMES[stype.categorical][c]][StatType.COUNT][0]) + 1
    first = 0
    for c, cell in enumerate(SETS[row]):
        if cell:
            h = h + torch.stack([layer.set[first + code + 1] for code in cell]).mean(0)
        first += len(STATS[NAMES[stype.multicategorical][c]][StatType.MULTI_COUNT][0]) + 1
    for c, (year, month, day, weekday, hour, _, _) in enumerate(DATES[row]):
        since = 0.0
        if layer.own_time is not None and DATES[row][layer.own_time][0] >= 0:
            own = DATES[row][layer.own_time]
            days = sum(n * (a - b) for n, a, b in zip((365.25, 30.44, 1), (year, month, day), own, strict=False))
            since = math.copysign(math.log1p(abs(days)), days) / 8
        if year < 0:
            parts = [0.0] * 7 + [1.0]
        else:
            turns = [2 * math.pi * t for t in (month / 12 + day / 372, weekday / 7, hour / 24)]
            parts = [since, *map(math.sin, turns), *map(math.cos, turns), 0.0]
        for p, part in enumerate(parts):
            h = h + part * layer.timestamp.weight[:, 8 * c + p]
    return h + layer.vector.weight @ torch.tensor(VECTORS[row])


def rest(layer: RowEncoder, h: Tensor) -> Tensor:
    """Every other channel as it is, the others rectified."""
    out = h.clone()
    out[1::2] = F.relu(F.layer_norm(h, (layer.channels,), layer.norm.weight, layer.norm.bias))[1::2]
    return out


@pytest.mark.parametrize("time_col", [None, "made", "sold", "no date"])
def test_every_kind_of_cell_against_the_slow_twin(time_col):
    layer = encoder(time_col=time_col)
    expected = torch.stack([rest(layer, slow_sum(layer, row)) for row in range(5)])
    torch.testing.assert_close(layer(frame()), expected, rtol=1e-4, atol=1e-5)


def test_the_mean_of_rows_holds_the_mean_of_their_numbers():
    """Even channels are linear: rows whose numbers average to those of another row average to its vector."""
    names = {stype.numerical: ["a"]}
    layer = RowEncoder(6, {"a": {StatType.QUANTILES: [-9.0, -8.0, -7.0, -6.0, -5.0]}}, names)
    torch.nn.init.zeros_(layer.numerical.weight[:, 1:2].detach())  # the logarithm
    out = layer(TensorFrame({stype.numerical: torch.tensor([[1.0], [4.0], [2.5]])}, names))
    torch.testing.assert_close(out[:2].mean(0)[::2], out[2][::2])
    assert not torch.allclose(out[:2].mean(0)[1::2], out[2][1::2])


@pytest.mark.parametrize("kind", list(NAMES))
def test_one_kind_of_column_alone(kind):
    layer = encoder(kinds=[kind])
    out = layer(frame(kinds=[kind]))
    assert out.shape == (5, 6)
    assert torch.isfinite(out).all()
    assert len(out.unique(dim=0)) == 5  # no two rows are alike


def test_a_row_does_not_know_the_others():
    layer = encoder()
    together = layer(frame())
    for row in range(5):
        torch.testing.assert_close(layer(frame([row]))[0], together[row])
    torch.testing.assert_close(layer(frame([4, 2, 0, 1, 3])), together[[4, 2, 0, 1, 3]])


def test_no_rows():
    layer = encoder()
    out = layer(frame([]))
    assert out.shape == (0, 6)
    out.sum().backward()


def test_missing_is_neither_zero_nor_unseen():
    layer = encoder()

    def with_cells(number: float, code: int) -> Tensor:
        tf = frame([0])
        tf.feat_dict[stype.numerical][0, 0] = number
        tf.feat_dict[stype.categorical][0, 0] = code
        return layer(tf)

    assert not torch.allclose(with_cells(NAN, 0), with_cells(0.0, 0))
    codes = [with_cells(0.0, code) for code in (-1, 0, 1, 2)]
    assert all(not torch.allclose(a, b) for i, a in enumerate(codes) for b in codes[:i])


def test_gradients_are_finite_and_reach_every_parameter():
    layer = encoder()
    layer(frame()).pow(2).sum().backward()
    for name, parameter in layer.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().sum() > 0, name


def test_float64():
    layer = encoder().double()
    out = layer(frame())
    assert out.dtype == torch.float64
    torch.testing.assert_close(out.float(), encoder()(frame()), rtol=1e-4, atol=1e-4)


def test_a_far_date_stays_small():
    """Year 9999, "for ever", must not drown the other columns."""
    layer = encoder(kinds=[stype.timestamp])
    assert layer(frame(kinds=[stype.timestamp])).abs().max() < 50


def test_it_never_builds_a_vector_per_cell():
    """The largest thing kept for the backward pass grows with R * F, not with R * columns * F."""
    names = {stype.numerical: [f"c{i}" for i in range(40)]}
    stats = {name: {StatType.QUANTILES: [-1.0, -0.5, 0.0, 0.5, 1.0]} for name in names[stype.numerical]}
    layer = RowEncoder(64, stats, names)
    sizes: list[int] = []
    keep = torch.autograd.graph.saved_tensors_hooks(lambda t: sizes.append(t.numel()) or t, lambda t: t)
    with keep:
        layer(TensorFrame({stype.numerical: torch.randn(100, 40)}, names))
    assert max(sizes) <= 100 * 40 * 7  # 7 numbers per cell go in; 64 would be 256,000
