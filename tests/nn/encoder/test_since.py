"""SinceEncoder: years by hand, missing dates, dates that are no dates, and what it says when errors are made."""

from __future__ import annotations

import math

import pandas as pd
import pytest
import torch

from graphlearn.nn import SinceEncoder

MISSING = [-1] * 7


def us(day: str) -> int:
    return int(pd.Timestamp(day).value // 1000)


def date(day: str) -> list[int]:
    t = pd.Timestamp(day)
    return [t.year, t.month - 1, t.day - 1, t.day_of_week, t.hour, t.minute, t.second]


def parts(dates: list[list[int]], time: str) -> torch.Tensor:
    """What the linear map is given, for one row."""
    layer = SinceEncoder(4 * len(dates), len(dates))
    torch.nn.init.eye_(layer.lin.weight)
    return layer(torch.tensor([dates], dtype=torch.int16), torch.tensor([us(time)])).view(len(dates), 4).detach()


def test_years_worked_by_hand():
    born, signed = parts([date("1980-07-01"), date("2010-01-01")], "2010-07-01")
    torch.testing.assert_close(born, torch.tensor([1.5, 2.25, math.log(31), 1.0]), rtol=1e-3, atol=0)
    torch.testing.assert_close(signed, torch.tensor([0.025, 0.000625, math.log(1.5), 1.0]), rtol=3e-2, atol=0)


def test_a_date_to_come_counts_backwards_and_no_date_is_endless():
    soon, never = parts([date("2012-01-01"), [9999, 11, 30, 4, 0, 0, 0]], "2010-01-01")
    torch.testing.assert_close(soon, torch.tensor([-0.1, 0.01, -math.log(3), 1.0]), rtol=1e-2, atol=0)
    torch.testing.assert_close(never, torch.tensor([-5.0, 25.0, -math.log(101), 1.0]), rtol=1e-5, atol=0)


def test_a_missing_date_says_nothing():
    torch.testing.assert_close(parts([MISSING, date("2000-01-01")], "2020-01-01")[0], torch.zeros(4))


def test_a_later_time_makes_all_dates_older():
    layer = SinceEncoder(3, 1).double()
    dates = torch.tensor([[date("1990-05-05")]] * 3, dtype=torch.int16)
    times = torch.tensor([us("2000-01-01"), us("2000-01-02"), us("2030-01-01")])
    out = layer(dates, times)
    assert out.dtype == torch.float64
    assert not torch.equal(out[0], out[1])
    torch.testing.assert_close(out[0], layer(dates[:1], times[:1])[0])


def test_gradients_are_finite():
    layer = SinceEncoder(3, 2)
    layer(torch.tensor([[MISSING, date("1900-01-01")]]), torch.tensor([0])).sum().backward()
    assert layer.lin.weight.grad.isfinite().all()


@pytest.mark.parametrize("given", [(0, 1), (3, 0)])
def test_sizes_are_positive(given):
    with pytest.raises(ValueError, match="must be > 0, got 0"):
        SinceEncoder(*given)
