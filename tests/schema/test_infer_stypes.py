"""Which kind of feature a column is, decided over all rows."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from graphlearn.schema import connect

N = 1000
rng = np.random.default_rng(0)
days = pd.date_range("2020-01-01", periods=N).to_series().reset_index(drop=True)
vector = pa.array(rng.random((N, 3)).tolist())
parts = ["rock", "jazz", "pop", "folk", "soul", "funk"]


def cycle(*values):
    return [values[i % len(values)] for i in range(N)]


def with_nulls(values, every=3):
    return [None if i % every == 0 else v for i, v in enumerate(values)]


CASES = {
    # numbers
    "price": (rng.lognormal(size=N), "numerical"),
    "price_with_gaps": (with_nulls(rng.lognormal(size=N).tolist()), "numerical"),
    "population": (rng.permutation(10 * N)[:N], "numerical"),
    "age": (rng.integers(18, 90, N), "numerical"),
    "months": (cycle(*range(1, 13)), "categorical"),
    "stars": (with_nulls(cycle(1.0, 2.0, 3.0)), "categorical"),
    "rare_stars": ([9, *cycle(1, 2, 3)[1:]], "numerical"),  # 9 occurs once: a number with a tail
    "flag": (cycle(0, 1), "categorical"),
    "truth": (with_nulls(cycle(True, False)), "categorical"),
    "decimal": (pa.array(range(N)).cast(pa.decimal128(25, 2)), "numerical"),
    "with_infinity": ([float("inf"), float("nan"), *rng.random(N - 2)], "numerical"),
    "whole_with_infinity": ([float("inf"), *np.arange(N - 1.0)], "numerical"),
    # codes and identifiers
    "status_id": (cycle(*range(40)), "categorical"),
    "external_id": (rng.permutation(N), None),
    "session_key": ([f"{i * 7919:x}" for i in range(N)], None),
    # texts
    "country": (with_nulls(cycle("DE", "FR", "US")), "categorical"),
    "surname": (cycle(*[f"name{i}" for i in range(300)]), "categorical"),
    "title": ([f"A thing called {i}" for i in range(N)], "text"),
    "comment": (cycle(*[f"{'a long remark about something ' * 3}{i}" for i in range(100)]), "text"),
    "number_text": ([f"{i}.5" for i in range(N)], "numerical"),
    "city_state": (cycle("London, UK", "Paris, FR", "Rome, IT"), "categorical"),
    "genres": (
        ["|".join(sorted({parts[i % 6], parts[i // 6 % 6], parts[i // 36 % 6]})) for i in range(N)],
        "multicategorical",
    ),
    "tags": ([", ".join(parts[: 1 + i % 6]) + f", {parts[i % 5]}" for i in range(N)], "multicategorical"),
    "prose": ([f"Well, this is remark {i}, and nothing else" for i in range(N)], "text"),
    # times
    "when": (days, "timestamp"),
    "day": (days.dt.date, "timestamp"),
    "day_text": (with_nulls(days.dt.strftime("%Y-%m-%d").tolist()), "timestamp"),
    "zoned_text": (days.dt.strftime("%Y-%m-%dT%H:%M:%SZ"), "timestamp"),
    "almost_day_text": (["soon", *days.dt.strftime("%Y-%m-%d")[1:]], "text"),
    "score": (cycle("1-2", "0-0", "3-1"), "categorical"),  # some parsers take it for a date
    "clock": ([dt.time(i % 24) for i in range(N)], None),
    # lists
    "vector": (vector, "embedding"),
    "fixed_vector": (vector.cast(pa.list_(pa.float32(), 3)), "embedding"),
    "ragged": (pa.array([[0.5] * (i % 3) for i in range(N)]), None),
    "holey": (pa.array([[0.5, None] for i in range(N)], pa.list_(pa.float64())), None),
    "labels": (pa.array([parts[: i % 4] for i in range(N)]), "multicategorical"),
    "numbers_list": (pa.array([[i % 5, i % 7] for i in range(N)]), "multicategorical"),
    "unique_labels": (pa.array([[f"x{i}"] for i in range(N)]), None),
    # what is no feature
    "nothing": (pa.nulls(N, pa.float64()), None),
    "nested": (pa.array([{"a": i} for i in range(N)]), None),
    "bytes": (pa.array([b"x"] * N), None),
}


@pytest.fixture(scope="module")
def table():
    columns = {"id": pa.array(range(N))}
    for name, (values, _) in CASES.items():
        columns[name] = values if isinstance(values, pa.Array) else pa.Array.from_pandas(pd.Series(values))
    return connect({"things": pa.table(columns)}).schema["things"]


@pytest.mark.parametrize("name", CASES)
def test_stype(table, name):
    assert table.column(name).stype == CASES[name][1]
    assert 0 < table.column(name).confidence <= 1


def test_keys_are_no_features(shop):
    for name in ("orders", "order_items"):
        table = shop.schema[name]
        keys = {*table.pkey, *(column for key in table.fkeys for column in key.columns)}
        assert keys
        assert not keys & table.stypes.keys()


def test_a_table_of_nothing_has_no_features():
    frame = pd.DataFrame({"x": np.array([], float), "y": np.array([], object)})
    assert connect({"t": frame}).schema["t"].stypes == {}


def test_stypes_do_not_come_from_a_sample():
    # The only fraction, the only long value, the only text that is no date: at the end of 50,000 rows.
    n = 50_000
    frame = pd.DataFrame(
        {
            "mostly_few": [*np.arange(n - 1) % 5, 0.5],
            "mostly_days": [*["2020-01-01"] * (n - 1), "later"],
        }
    )
    stypes = connect({"t": frame}).schema["t"].stypes
    assert stypes == {"mostly_few": "numerical", "mostly_days": "categorical"}


def test_rel_f1(rel_f1):
    schema = connect(rel_f1).schema
    assert schema["results"].stypes == {
        **dict.fromkeys(
            ["number", "grid", "position", "positionOrder", "points", "laps", "milliseconds", "fastestLap", "rank"],
            "numerical",
        ),
        "statusId": "categorical",
        "date": "timestamp",
    }
    assert schema["drivers"].column("nationality").stype == "categorical"
    assert schema["drivers"].column("surname").stype == "text"
    assert schema["drivers"].column("dob").stype == "timestamp"
    assert schema["races"].column("time").stype == "categorical"  # '13:00:00' is no point in time
