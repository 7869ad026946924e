"""Quantisers: round trips, exact zeros, order, gradients and ranges of every scheme; state that survives."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save
from torch import Tensor

from graphlearn.compress.quantize import ListQuantizer, NodeQuantizer, Precision, Quantizer
from graphlearn.compress.quantize.ranges import SAMPLES
from graphlearn.errors import DataError, UnknownNameError, UsageError


@st.composite
def precisions(draw):
    """Every scheme with every grouping and range that it has."""
    scheme = draw(st.sampled_from(["affine", "symmetric", "fixed", "ternary", "binary"]))
    bits = {"ternary": 2, "binary": 1}.get(scheme) or draw(st.integers(1 if scheme == "affine" else 2, 16))
    per = draw(st.sampled_from(["tensor", "channel", "row", "node"]))
    ranges = ["current"] if per == "row" else ["current", "ema"]
    if scheme in ("affine", "symmetric", "fixed") and per != "row":
        ranges += ["minmax", "percentile"]
    if scheme == "symmetric" and per != "row":
        ranges += ["learned"]
    return Precision(
        bits, scheme, per, draw(st.sampled_from(ranges)), draw(st.sampled_from(["ste", "gc"])),
        fraction=draw(st.integers(0, 6)) if scheme == "fixed" else 0, tail=0.0,
    )  # fmt: skip


@st.composite
def tensors(draw):
    """Numbers of any size, some of them 0, columns or rows that are constant among them."""
    shape = draw(st.sampled_from([(1, 1), (6, 4), (4, 6), (5, 3, 2)]))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**30)))
    x = torch.randn(shape, generator=generator) * 10.0 ** draw(st.integers(-3, 3)) + draw(st.sampled_from([0.0, 0.5]))
    x[torch.rand(shape, generator=generator) < 0.2] = 0.0
    if draw(st.booleans()):
        x[:1] = draw(st.sampled_from([0.0, 1.0, -2.5]))
    return x


def build(precision: Precision, x: Tensor) -> Quantizer:
    size = {"channel": x.size(-1), "node": x.size(0)}.get(precision.per)
    return Quantizer(precision, size)


def slow(quantizer: Quantizer, x: Tensor) -> Tensor:
    """The definition, one number at a time, on the range that was stored."""
    p = quantizer.precision
    out = []
    for place in torch.cartesian_prod(*[torch.arange(n) for n in x.shape]).view(-1, x.dim()).tolist():
        value = x[tuple(place)].item()
        group = {"tensor": 0, "channel": place[-1], "node": place[0]}[p.per]
        low, high = quantizer.low[group].item(), quantizer.high[group].item()
        if p.scheme in ("ternary", "binary"):
            out.append(0.0 if abs(value) <= low else high if value > 0 else -high)
            continue
        bottom, top = p.levels
        zero = 0
        if p.scheme == "fixed":
            scale = 2.0**-p.fraction
        elif p.range == "learned":
            scale = quantizer.step[group].item()
        elif p.scheme == "symmetric":
            scale = max(-low, high) / top or 1.0
        else:
            scale = (high - low) / (top - bottom) or 1.0
            zero = round(bottom - low / scale)
        level = min(max(round(value / scale) + zero, bottom), top)
        out.append((level - zero) * scale)
    return torch.tensor(out).view_as(x)


@settings(max_examples=150, deadline=None)
@given(precisions(), tensors())
def test_every_quantizer_equals_its_definition(precision, x):
    quantizer = build(precision, x)
    found = quantizer(x)
    if precision.per == "row":
        wanted = torch.cat([build(Precision(**{**vars(precision), "per": "tensor"}), r)(r) for r in x.split(1)])
        torch.testing.assert_close(found, wanted)
        return
    wanted = slow(quantizer, x)
    # A number halfway between two levels may go either way in float32.
    step = (found - wanted).abs()
    assert (step <= 1e-4 * wanted.abs().max() + step_size(quantizer, x) * 1.001).all()
    assert (step > 1e-4 * wanted.abs().max()).float().mean() < 0.35


def step_size(quantizer: Quantizer, x: Tensor) -> Tensor:
    _, step, _ = quantizer.integers(x)
    return quantizer._spread(step, x)


@settings(max_examples=150, deadline=None)
@given(precisions(), tensors())
def test_zero_is_exact_rounding_twice_changes_nothing_and_levels_are_the_result(precision, x):
    quantizer = build(precision, x)
    found = quantizer(x)
    assert torch.equal(found[x == 0], x[x == 0])
    quantizer.eval()
    found = quantizer(x)
    levels, step, zero = quantizer.integers(x)
    assert levels.min() >= precision.levels[0]
    assert levels.max() <= precision.levels[1]
    assert len(levels.unique()) <= 2**precision.bits + (precision.scheme == "binary")  # an exact 0 beside the two
    back = (levels - quantizer._spread(zero, x)) * quantizer._spread(step, x)
    torch.testing.assert_close(back, found, rtol=1e-5, atol=1e-7)
    if precision.scheme in ("affine", "symmetric", "fixed") and precision.range != "current":
        torch.testing.assert_close(quantizer(found), found, rtol=1e-5, atol=1e-7)


@settings(max_examples=100, deadline=None)
@given(precisions(), tensors())
def test_order_is_kept(precision, x):
    if precision.per in ("channel", "row", "node"):
        precision = Precision(**{**vars(precision), "per": "tensor"})
    found = build(precision, x)(x).flatten()
    assert (found[x.flatten().argsort()].diff() >= -1e-6 * found.abs().max()).all()


@settings(max_examples=100, deadline=None)
@given(precisions(), tensors())
def test_within_the_range_the_error_is_at_most_a_step(precision, x):
    if precision.scheme not in ("affine", "symmetric") or precision.range == "learned":
        return
    quantizer = build(Precision(**{**vars(precision), "momentum": 1.0}), x)
    found = quantizer(x)
    assert ((found - x).abs() <= step_size(quantizer, x) * 1.001 + 1e-6).all()


@settings(max_examples=150, deadline=None)
@given(precisions(), tensors(), st.integers(0, 2**30))
def test_gradients(precision, x, seed):
    quantizer = build(precision, x)
    quantizer(x)
    wide = (3 * x).requires_grad_()  # some numbers are outside of the range of x
    quantizer.eval()
    grad = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed))
    out = quantizer(wide)
    leaves = [wide, quantizer.step] if precision.range == "learned" else [wide]
    found = torch.autograd.grad(out, leaves, grad)
    levels, step, zero = quantizer.integers(wide)
    bottom, top = precision.levels
    step = quantizer._spread(step, wide).detach()
    steps = wide.detach() / step
    inside = torch.ones_like(x, dtype=torch.bool)
    if precision.scheme in ("ternary", "binary"):
        inside = wide.detach().abs() <= step
    else:
        raw = steps.round() + quantizer._spread(zero, wide)
        inside = (raw >= bottom) & (raw <= top)
    torch.testing.assert_close(found[0], grad if precision.gradient == "ste" else grad * inside)
    if precision.range == "learned":
        slope = torch.where(inside, levels - steps, levels.float())
        count = x.numel() // quantizer.step.numel()
        wanted = (grad * slope).sum_to_size(quantizer._spread(quantizer.step, x).shape).flatten()
        torch.testing.assert_close(found[1].flatten(), wanted / (count * top) ** 0.5, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("precision", "x", "wanted"),
    [
        (Precision(2, range="current"), [-1.0, 0.0, 0.9, 2.0], [-1.0, 0.0, 1.0, 2.0]),
        (Precision(3, "symmetric", range="current"), [-3.0, 0.4, 1.6, 2.0], [-3.0, 0.0, 2.0, 2.0]),
        (Precision.fixed_point(1, 3), [0.06, 0.07, 1.99, -2.5], [0.0, 0.125, 1.875, -2.0]),
        (Precision(2, "ternary", range="current"), [1.0, -0.5, 3.0, 0.1], [2.0, 0.0, 2.0, 0.0]),
        (Precision(1, "binary", range="current"), [1.0, -2.0, 0.0, 5.0], [2.0, -2.0, 0.0, 2.0]),
        (Precision(1, range="current"), [0.0, 0.4, 0.6, 1.0], [0.0, 0.0, 1.0, 1.0]),
    ],
    ids=lambda value: f"{value.bits} {value.scheme}" if isinstance(value, Precision) else "",
)
def test_a_value_worked_by_hand(precision, x, wanted):
    torch.testing.assert_close(Quantizer(precision)(torch.tensor(x)), torch.tensor(wanted))


def test_the_range_follows_training_and_rests_in_evaluation():
    ema = Quantizer(Precision(8, momentum=0.25))
    for x in (4.0, 8.0, 0.0, 0.0, 0.0, 0.0):
        ema(torch.tensor([x]))
    # The mean of the first four, then a quarter of each new one.
    assert ema.high.item() == pytest.approx(3.0 * 0.75**2)
    ema.eval()(torch.tensor([100.0]))
    assert ema.high.item() == pytest.approx(3.0 * 0.75**2)
    widest = Quantizer(Precision(8, range="minmax"))
    for x in (1.0, -5.0, 2.0):
        widest(torch.tensor([x]))
    assert (widest.low.item(), widest.high.item()) == (-5.0, 2.0)


def test_percentiles_leave_the_tails_out_and_need_no_full_sort():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1000, 64, generator=generator)
    x[:5] *= 1000.0  # hubs: 0.5 % of the rows
    quantizer = Quantizer(Precision(8, range="percentile", tail=0.01))
    quantizer(x)
    assert x.numel() > SAMPLES
    exact = x.flatten().kthvalue(x.numel() - x.numel() // 100).values
    assert quantizer.high.item() == pytest.approx(exact.item(), rel=0.15)
    # Channels of a period are all met: one of 64 is far larger than the others.
    x = torch.zeros(1000, 64)
    x[:, 7] = 5.0
    quantizer = Quantizer(Precision(8, range="percentile", tail=0.01))
    quantizer(x)
    assert quantizer.high.item() == 5.0


@pytest.mark.parametrize("scheme", ["affine", "symmetric", "ternary", "binary"])
def test_constant_and_empty_tensors(scheme):
    bits = {"ternary": 2, "binary": 1}.get(scheme, 8)
    for value in (0.0, 3.0, -3.0):
        quantizer = Quantizer(Precision(bits, scheme))
        x = torch.full((4, 2), value)
        torch.testing.assert_close(quantizer(x), x)
        assert quantizer(torch.zeros(0, 2)).shape == (0, 2)
        assert int(quantizer.seen) == 1  # the empty one changed nothing


@pytest.mark.parametrize("wrong", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("range", ["current", "ema", "minmax"])
def test_a_range_with_nan_or_infinity(range, wrong):
    quantizer = Quantizer(Precision(8, range=range), name="the input of layer 'lin'")
    with pytest.raises(DataError, match=r"the range of the input of layer 'lin' holds NaN or infinity: .* Look for it"):
        quantizer(torch.tensor([1.0, wrong]))


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"bits": 0}, UsageError, r"'bits' must be a whole number from 1 to 16, got 0\."),
        ({"bits": 17}, UsageError, r"'bits' must be a whole number from 1 to 16, got 17\."),
        ({"bits": 4.5}, UsageError, r"'bits' must be a whole number from 1 to 16, got 4\.5\."),
        ({"bits": 8, "scheme": "afine"}, UnknownNameError, r"no quantisation scheme 'afine'. Did you mean 'affine'\?"),
        ({"bits": 8, "per": "edge"}, UnknownNameError, r"no grouping of ranges 'edge'"),
        ({"bits": 8, "range": "ewma"}, UnknownNameError, r"no kind of range 'ewma'. Did you mean 'ema'\?"),
        ({"bits": 8, "gradient": "gcs"}, UnknownNameError, r"no gradient of clamped numbers 'gcs'"),
        ({"bits": 3, "scheme": "ternary"}, UsageError, r"scheme 'ternary' takes 2 bits, got 3\."),
        ({"bits": 1, "scheme": "symmetric"}, UsageError, r"with 1 bit has no level but 0: take 2 bits"),
        ({"bits": 8, "fraction": 40}, UsageError, r"'fraction' must be from 0 to 31, got 40\."),
        ({"bits": 8, "tail": 0.5}, UsageError, r"'tail' must be from 0 to below 0\.5, got 0\.5\."),
        ({"bits": 8, "momentum": 0.0}, UsageError, r"'momentum' must be above 0 and at most 1, got 0\.0\."),
        ({"bits": 8, "range": "learned"}, UsageError, r"a learned step needs scheme 'symmetric', got 'affine'\."),
        ({"bits": 1, "scheme": "binary", "range": "minmax"}, UsageError, r"scheme 'binary' has no 'minmax'"),
        ({"bits": 8, "per": "row"}, UsageError, r"ranges per row are those of the current tensor"),
        ({"bits": 8, "per": "list", "range": "current"}, UsageError, r"ranges per list need scheme 'symmetric'"),
    ],
)
def test_wrong_settings(arguments, error, text):
    with pytest.raises(error, match=text):
        Precision(**arguments)


def test_wrong_sizes():
    with pytest.raises(UsageError, match=r"quantiser: ranges per channel need 'size'"):
        Quantizer(Precision(8, per="channel"))
    with pytest.raises(UsageError, match=r"quantiser: ranges per list are for edges; see ListQuantizer\."):
        Quantizer(Precision(8, "symmetric", "list", "current"))
    with pytest.raises(UsageError, match=r"quantiser has 3 ranges, one per channel, but got \[2, 4\]\."):
        Quantizer(Precision(8, per="channel"), 3)(torch.randn(2, 4))
    with pytest.raises(UsageError, match=r"quantiser rounds edge weights and needs ranges per list, got per tensor\."):
        ListQuantizer(Precision(8))
    with pytest.raises(UsageError, match=r"quantiser has seen no data: train the model, or give calibrate\(\)"):
        Quantizer(Precision(8)).check_range()


# torch's tracer instantiates the class itself.
@pytest.mark.filterwarnings("ignore:.*Function'> should not be instantiated:DeprecationWarning")
@pytest.mark.parametrize("kind", ["ema", "minmax", "percentile", "learned"])
def test_state_survives_saving_and_compiling(kind):
    precision = Precision(4, "symmetric", range=kind)
    generator = torch.Generator().manual_seed(0)
    batches = [torch.randn(8, 3, generator=generator) for _ in range(4)]
    eager, compiled = Quantizer(precision), Quantizer(precision)
    fast = torch.compile(compiled, backend="aot_eager", fullgraph=True)
    places = [buffer.data_ptr() for buffer in compiled.buffers()]
    for x in batches:
        torch.testing.assert_close(fast(x), eager(x))
    assert places == [buffer.data_ptr() for buffer in compiled.buffers()]  # changed in place, never replaced
    for a, b in zip(eager.state_dict().values(), compiled.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b)
    loaded = Quantizer(precision)
    loaded.load_state_dict(load(save(eager.state_dict())))
    assert torch.equal(loaded.eval()(batches[0]), eager.eval()(batches[0]))


def test_rows_that_are_kept():
    x = torch.randn(6, 4, requires_grad=True)
    keep = torch.tensor([True, False] * 3)
    for quantizer in (
        Quantizer(Precision(2, gradient="gc")),
        Quantizer(Precision(1, "binary", gradient="gc")),
        NodeQuantizer(2),
    ):
        out = quantizer(x, keep)
        assert torch.equal(out[keep], x[keep])
        assert not torch.equal(out[~keep], x[~keep])
        (grad,) = torch.autograd.grad(out.sum(), x)
        assert torch.equal(grad[keep], torch.ones(3, 4))


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 8), st.lists(st.integers(0, 6), max_size=6), st.sampled_from([None, 2]), st.integers(0, 2**30))
def test_edge_weights_have_a_step_per_list(bits, lengths, heads, seed):
    generator = torch.Generator().manual_seed(seed)
    index = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths, dtype=torch.int64))
    index = index[torch.randperm(len(index), generator=generator)]
    weight = torch.rand(
        (len(index),) if heads is None else (len(index), heads), generator=generator
    ) * 10.0 ** -index.view(-1, *[1] * (0 if heads is None else 1))
    quantizer = ListQuantizer(Precision(bits, "symmetric", "list", "current"))
    found = quantizer(weight, index, len(lengths))
    levels, steps = quantizer.integers(weight, index, len(lengths))
    torch.testing.assert_close(levels * steps[index], found)
    for i in range(len(lengths)):
        mine, rounded = weight[index == i], found[index == i]
        if len(mine):
            torch.testing.assert_close(rounded.amax(0), mine.amax(0))  # the largest is a level
            assert ((rounded - mine).abs() <= mine.amax(0) / (2 ** (bits - 1) - 1) / 2 * 1.001).all()
    assert (levels[weight == 0] == 0).all()
