"""Degrees that decay, against a loop over rows; and what later rows may do to them, which is nothing."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from little_shop import open_tables, schema, tables

from graphlearn.graph import build_graph, fit_statistics
from graphlearn.graph.degrees import decayed_degrees
from graphlearn.schema import connect

DAY = 86_400_000_000
HALF_LIVES = (10 * DAY, 100 * DAY, math.inf)
Frames = dict[str, pd.DataFrame]


def us(time: pd.Timestamp | str) -> int:
    return int(pd.Timestamp(time).value // 1000)


def slow(frames: Frames, table: str, key: str, at: str) -> dict[object, list[float]]:
    """Per key of ``table`` what each row that names it adds."""
    placed = frames["orders"].set_index("order_id")["placed"]
    naming = frames["items"].assign(placed=placed.loc[frames["items"]["order_id"]].to_numpy())
    naming = naming if table == "products" else frames["orders"]
    found = {value: [0.0] * len(HALF_LIVES) for value in frames[table][key]}
    for row in naming.itertuples():
        age = us(at) - us(row.placed)
        for i, half_life in enumerate(HALF_LIVES):
            found[getattr(row, key)][i] += 2.0 ** -(age / half_life) if age >= 0 else 0.0
    return found


def degrees(frames: Frames, table: str, at: str) -> dict[object, list[float]]:
    graph = build_graph(open_tables(frames), statistics=fit_statistics(open_tables(tables())))
    made = decayed_degrees(graph, table, us(at), HALF_LIVES)
    return dict(zip(graph[table].pkey.to_pylist(), made.tolist(), strict=True))


@pytest.mark.parametrize(("table", "key"), [("products", "product_id"), ("customers", "customer_id")])
@pytest.mark.parametrize("at", ["2020-01-01", "2021-06-15", "2022-02-01"])
def test_equals_a_loop(table, key, at):
    found, expected = degrees(tables(), table, at), slow(tables(), table, key, at)
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert found[name] == pytest.approx(values, rel=1e-5)


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 60), st.sampled_from([1, 4_000, 40_000]))
def test_later_rows_change_nothing(seed, count, days):
    """However late: half-lives of a day are nothing beside a century."""
    frames, rng = tables(), np.random.default_rng(seed)
    at = "2021-07-01"
    later = frames["orders"].sample(count, random_state=seed, replace=True)
    wait = pd.to_timedelta(rng.random(count) * days * 86_400 + 1, unit="s").ceil("us")
    later = later.assign(order_id=np.arange(count) + 10_000, placed=pd.Timestamp(at) + wait)
    bought = pd.DataFrame({"order_id": later["order_id"], "product_id": rng.integers(0, 12, count), "quantity": 1})
    more = {
        **frames,
        "orders": pd.concat([frames["orders"], later]),
        "items": pd.concat([frames["items"], bought]),
    }
    assert degrees(more, "products", at) == degrees(frames, "products", at)
    graph = build_graph(open_tables(more))
    short = decayed_degrees(graph, "products", us(at), [DAY / 2])
    assert bool(short.isfinite().all())


def test_rows_without_a_time_always_count():
    """Of orders that no time says anything about; items of those are left out, and nothing names an item."""
    frames = tables()
    frames["orders"]["placed"] = frames["orders"]["placed"].mask(frames["orders"].index < 50)
    known = schema()
    kept = replace(known.tables["orders"], null_time="keep")
    graph = build_graph(connect(frames, schema=replace(known, tables={**known.tables, "orders": kept})))
    assert graph["orders"].num_undated == 50
    found = decayed_degrees(graph, "customers", us("2020-01-01"), HALF_LIVES)
    count = frames["orders"]["customer_id"][:50].value_counts()
    expected = [count.get(key, 0) for key in graph["customers"].pkey.to_pylist()]
    assert found.tolist() == [[value] * 3 for value in expected]
    assert decayed_degrees(graph, "items", us("2022-01-01"), HALF_LIVES).shape == (500, 0)


def test_no_half_life_and_no_rows():
    graph = build_graph(open_tables(tables()))
    assert torch.equal(decayed_degrees(graph, "products", us("2022-01-01"), []), torch.zeros(12, 0))
