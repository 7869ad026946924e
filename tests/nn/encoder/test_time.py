"""AgeEncoder: values worked by hand, precision far from now, limits."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from graphlearn.nn import AgeEncoder

DAY = 86_400_000_000


def test_worked_by_hand():
    encoder = AgeEncoder(1.0, 16.0, num_decays=3)  # half-lives of 1, 4 and 16 days
    found = encoder(torch.tensor([0, 4 * DAY, 16 * DAY]))
    expected = [
        [0.0, 1.0, 1.0, 1.0],
        [math.log(5) / math.log(17), 2.0**-4, 2.0**-1, 2.0**-0.25],
        [1.0, 2.0**-16, 2.0**-4, 2.0**-1],
    ]
    torch.testing.assert_close(found, torch.tensor(expected))


def test_a_mean_of_decays_is_a_moving_average():
    ages = torch.tensor([1, 2, 5]) * DAY
    decay = AgeEncoder(2.0, 2.0, num_decays=1)(ages)[:, 1]
    assert decay.sum().item() == pytest.approx(sum(0.5 ** (d / 2) for d in (1, 2, 5)))


@given(st.integers(0, 60_000), st.integers(1_000_000, DAY))
@settings(max_examples=50, deadline=None)
def test_older_is_more_and_decays_less(days, more):
    encoder = AgeEncoder().double()
    young, old = encoder(torch.tensor([days * DAY, days * DAY + more]))
    assert old[0] > young[0]
    assert (old[1:] <= young[1:]).all()
    assert torch.isfinite(young).all()
    assert ((young[1:] >= 0) & (young[1:] <= 1)).all()


def test_one_second_shows_in_half_a_century():
    ages = torch.tensor([50 * 365 * DAY, 50 * 365 * DAY + 1_000_000])
    far, further = AgeEncoder().double()(ages)[:, 0]
    expected = (1 / 86_400) / (50 * 365 + 1) / math.log1p(4096)
    assert (further - far).item() == pytest.approx(expected, rel=1e-3)


def test_no_age_gives_no_rows():
    assert AgeEncoder()(torch.empty(0, dtype=torch.int64)).shape == (0, 8)


def test_out_channels_is_the_width():
    encoder = AgeEncoder(num_decays=4)
    assert encoder(torch.tensor([DAY])).shape == (1, encoder.out_channels)


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ({"shortest": 0.0}, r"'shortest' must be > 0, got 0.0"),
        ({"num_decays": 0}, r"'num_decays' must be > 0, got 0"),
        ({"shortest": 3.0, "longest": 2.0}, r"'longest' must be >= 'shortest' = 3.0 days, got 2.0"),
    ],
)
def test_what_is_refused(args, says):
    with pytest.raises(ValueError, match=says):
        AgeEncoder(**args)
