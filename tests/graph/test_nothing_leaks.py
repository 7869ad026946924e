"""Rows after a time change no statistic, no feature of an older row, and no batch: all compared by keys."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch_geometric.data import HeteroData

from graphlearn.graph import build_graph, fit_statistics, node_index
from graphlearn.sampling import TemporalNeighborSampler
from graphlearn.sampling.native_backend import native_available
from graphlearn.schema import Schema, connect
from graphlearn.schema.schema import Column, ForeignKey, Table

BACKENDS = ["torch", "native"] if native_available() else ["torch"]
Frames = dict[str, pd.DataFrame]

# Products and makers have no time; items get theirs from their orders; visits have no key.
SCHEMA = Schema(
    "shop",
    {
        "makers": Table("makers", ("name",), columns=(Column("name"), Column("land", stype="categorical"))),
        "products": Table(
            "products",
            ("id",),
            (ForeignKey(("maker",), "makers"),),
            columns=(
                Column("id"),
                Column("maker"),
                Column("price", stype="numerical"),
                Column("tags", stype="multicategorical"),
            ),
        ),
        "orders": Table(
            "orders",
            ("id",),
            (),
            "at",
            columns=(Column("id"), Column("at", stype="timestamp"), Column("kind", stype="categorical")),
        ),
        "items": Table(
            "items",
            ("order", "line"),
            (ForeignKey(("order",), "orders"), ForeignKey(("product",), "products")),
            time_col="known_since",
            time_from=("order",),
            columns=(
                Column("order"),
                Column("line"),
                Column("product"),
                Column("count", stype="numerical"),
                Column("note", stype="text"),
            ),
        ),
        "visits": Table(
            "visits",
            (),
            (ForeignKey(("product",), "products"),),
            "at",
            columns=(Column("product"), Column("at"), Column("seconds", stype="numerical")),
        ),
    },
)


def shop(seed: int, prefix: str, days: tuple[int, int], size: int) -> Frames:
    """Tables of the shop, all of whose keys begin with `prefix`, and whose times lie within some days."""
    rng = np.random.default_rng(seed)

    def keys(kind: str, count: int) -> list[str]:
        return [f"{prefix}{kind}{i}" for i in range(count)]

    def times(count: int) -> pd.Series:
        # Whole days, so that many rows have the same time.
        return pd.Series(pd.Timestamp("2021-01-01") + pd.to_timedelta(rng.integers(*days, count), "D"))

    makers, products, orders = keys("m", 4), keys("p", 12), keys("o", size)
    tags = [",".join(rng.choice([f"{prefix}new", "old", "big"], rng.integers(0, 3))) for _ in products]
    return {
        "makers": pd.DataFrame({"name": makers, "land": [f"{prefix}{i % 3}" for i in range(4)]}),
        "products": pd.DataFrame(
            {"id": products, "maker": rng.choice(makers, 12), "price": rng.lognormal(size=12), "tags": tags}
        ),
        "orders": pd.DataFrame({"id": orders, "at": times(size), "kind": rng.choice([f"{prefix}k", "shop"], size)}),
        "items": pd.DataFrame(
            {
                "order": np.repeat(orders, 2),
                "line": np.tile([1, 2], size),
                "product": rng.choice([*products, "nothing"], 2 * size),
                "count": rng.integers(1, 9, 2 * size),
                "note": [f"{prefix} note {i}" for i in range(2 * size)],
            }
        ),
        "visits": pd.DataFrame(
            {"product": rng.choice(products, size), "at": times(size), "seconds": rng.normal(size=size).round(1)}
        ),
    }


def grown(old: Frames, seed: int, size: int) -> Frames:
    """With rows after day 100 of new and of old products, before and between the old rows; new products too."""
    rng = np.random.default_rng(seed)
    new = shop(seed, "+", (101, 200), size)
    for name in ("items", "visits"):
        given = old["products"]["id"]
        new[name]["product"] = np.where(
            rng.random(len(new[name])) < 0.5, rng.choice(given, len(new[name])), new[name]["product"]
        )
    for name, column in (("products", "price"), ("items", "count"), ("visits", "seconds")):
        new[name][column] = 1e6
    return {name: pd.concat([new[name], frame]).sample(frac=1, random_state=seed) for name, frame in old.items()}


def cells(graph: HeteroData, table: str, rows: Tensor) -> list[Any]:
    """All that a row holds, by column."""
    store = graph[table]
    found: list[Any] = [store.time[rows].tolist()] if "time" in store else []
    for stype, names in store.tf[rows].col_names_dict.items():
        values = store.tf[rows].feat_dict[stype]
        found.append(names)
        found.append(
            values.tolist()
            if isinstance(values, Tensor)
            else [values[i, j].tolist() for i in range(len(rows)) for j in range(len(names))]
        )
    return found


def batch_by_key(graph: HeteroData, seeds: list[str], time: int, backend: str, strategy: str) -> list[Any]:
    sampler = TemporalNeighborSampler(graph, [3, 2, 2], backend=backend, strategy=strategy)
    index = node_index(graph, "products", seeds)
    times = torch.full((len(seeds),), time)
    batch = sampler.sample("products", index, times, generator=torch.Generator().manual_seed(1))
    found: list[Any] = []
    for name in sorted(graph.node_types):
        rows = batch[name].n_id
        found += [name, cells(graph, name, rows), batch[name].batch.tolist()]
        if "pkey" in graph[name]:
            found.append(graph[name].pkey.take(rows.numpy()).to_pylist())
    for edge_type in sorted(graph.edge_types):
        found += [edge_type, batch[edge_type].rowptr.tolist(), batch[edge_type].col.tolist()]
    return found


@given(
    seed=st.integers(0, 10_000),
    size=st.integers(1, 40),
    more=st.integers(1, 40),
    day=st.integers(-5, 100),
    strategy=st.sampled_from(["last", "uniform"]),
)
@settings(max_examples=15, deadline=None)
def test_later_rows_change_nothing(seed, size, more, day, strategy):
    old = shop(seed, "-", (0, 101), size)
    new = grown(old, seed + 1, more)
    cut = pd.Timestamp("2021-01-01") + pd.Timedelta(days=100)
    databases = [connect(frames, schema=SCHEMA) for frames in (old, new)]
    first, second = (build_graph(db, fit_until=cut) for db in databases)
    fitted = [fit_statistics(db, fit_until=cut.value // 1000) for db in databases]
    assert fitted[0] == fitted[1]

    for name in first.node_types:
        if "pkey" in first[name]:
            known = first[name].pkey
            rows = node_index(second, name, known)
            assert (rows >= 0).all()
            assert repr(cells(first, name, torch.arange(len(known)))) == repr(cells(second, name, rows))
            if "time" in first[name]:  # older rows keep their place, too
                assert rows.tolist() == list(range(len(known)))
    time = (pd.Timestamp("2021-01-01") + pd.Timedelta(days=day)).value // 1000
    seeds = old["products"]["id"].tolist()
    for backend in BACKENDS:
        batches = [batch_by_key(graph, seeds, time, backend, strategy) for graph in (first, second)]
        assert repr(batches[0]) == repr(batches[1])


def test_this_would_show_if_it_did_not_hold():
    old = shop(0, "-", (0, 101), 30)
    new = grown(old, 1, 30)
    cut = (pd.Timestamp("2021-01-01") + pd.Timedelta(days=100)).value // 1000
    databases = [connect(frames, schema=SCHEMA) for frames in (old, new)]
    for name in SCHEMA.tables:
        found = [fit_statistics(db, fit_until=cut + 200 * 86_400_000_000).tables[name] for db in databases]
        assert found[0] != found[1]
    graphs = [build_graph(db, fit_until=cut) for db in databases]
    seeds = old["products"]["id"].tolist()
    batches = [batch_by_key(graph, seeds, cut + 200 * 86_400_000_000, "torch", "last") for graph in graphs]
    assert repr(batches[0]) != repr(batches[1])
