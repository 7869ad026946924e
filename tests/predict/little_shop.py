"""A shop of a few hundred rows, labels of every task type about its customers, and trainings of a second."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file

from graphlearn.models import ModelConfig
from graphlearn.predict import Run, train
from graphlearn.schema import Column, Database, ForeignKey, Schema, Table, connect
from graphlearn.tasks import Task
from graphlearn.training import TrainConfig

START, VAL, TEST, END = "2021-01-01", "2021-08-01", "2021-10-01", "2021-12-31"
ANCHORS = pd.date_range("2021-03-01", "2021-12-01", freq="MS")
KINDS = ("web", "phone", "desk")
RANKING = "PREDICT LIST_DISTINCT(items.product_id, 0, 30, days) RANK TOP 3 FOR EACH customers.customer_id"

MODEL = ModelConfig(channels=8, num_neighbors=(4, 3))
FAST = TrainConfig(epochs=2, min_steps=1, batch_size=64, lr=0.01)


def tables(seed: int = 0, *, customers: int = 40, orders: int = 300) -> dict[str, pd.DataFrame]:
    """Customers (text keys, some without a time), products (no time), orders, and items without a time of their own.

    Whoever ordered by phone orders again; who did not, seldom. Columns hold NULL, infinities, and one holds nothing.
    """
    rng = np.random.default_rng(seed)
    joined = pd.Timestamp(START) + pd.to_timedelta(rng.integers(0, 330 * 1440, customers), unit="min")
    loyal = rng.random(customers) < 0.4
    people = pd.DataFrame(
        {
            "customer_id": [f"c{i:03d}" for i in range(customers)],
            "joined": joined.where(rng.random(customers) > 0.1),
            "city": rng.choice(["Rome", "Oslo", "Lima", None], customers),
            "score": rng.choice([0.5, 1.5, np.nan, np.inf, -np.inf], customers) + rng.random(customers),
            "nothing": pd.Series([None] * customers, dtype="string"),
        }
    )
    weight = np.where(loyal, 6.0, 1.0)
    who = rng.choice(customers, orders, p=weight / weight.sum())
    first = people["joined"].fillna(pd.Timestamp(START)).iloc[who].reset_index(drop=True)
    left = (pd.Timestamp(END) - first) / pd.Timedelta(minutes=1)
    placed = first + pd.to_timedelta((rng.random(orders) * left).astype(int), unit="min")
    bought = pd.DataFrame(
        {
            "order_id": np.arange(1, orders + 1),
            "customer_id": people["customer_id"].to_numpy()[who],
            "placed": placed,
            "amount": np.round(rng.lognormal(3.0, 1.0, orders), 2),
            "kind": np.where(loyal[who], "phone", rng.choice(KINDS, orders)),
        }
    )
    product = rng.integers(0, 12, 2 * orders)
    items = pd.DataFrame(
        {
            "order_id": np.repeat(bought["order_id"].to_numpy(), 2),
            "product_id": product,
            "quantity": rng.integers(1, 9, 2 * orders),
        }
    )
    products = pd.DataFrame(
        {
            "product_id": np.arange(12),
            "price": np.round(rng.lognormal(1.0, 1.0, 12), 2),
            "tags": ["|".join(rng.permutation(["new", "green", "soft"])[: i % 4]) or None for i in range(12)],
            "words": [f"A thing of kind {i % 5}, made by hand" if i else None for i in range(12)],
        }
    )
    return {"customers": people, "orders": bought, "items": items, "products": products}


def schema() -> Schema:
    """What the tables mean, so that nothing depends on what is inferred from a few rows."""
    return Schema(
        "little",
        {
            "customers": Table(
                "customers",
                pkey=("customer_id",),
                time_col="joined",
                null_time="keep",
                columns=(
                    Column("customer_id"),
                    Column("joined", stype="timestamp"),
                    Column("city", stype="categorical"),
                    Column("score", stype="numerical"),
                    Column("nothing", stype="categorical"),
                ),
            ),
            "orders": Table(
                "orders",
                pkey=("order_id",),
                fkeys=(ForeignKey(("customer_id",), "customers"),),
                time_col="placed",
                columns=(
                    Column("order_id"),
                    Column("customer_id"),
                    Column("placed", stype="timestamp"),
                    Column("amount", stype="numerical"),
                    Column("kind", stype="categorical"),
                ),
            ),
            "items": Table(
                "items",
                fkeys=(ForeignKey(("order_id",), "orders"), ForeignKey(("product_id",), "products")),
                time_col="known_since",
                time_from=("order_id",),
                columns=(Column("order_id"), Column("product_id"), Column("quantity", stype="numerical")),
            ),
            "products": Table(
                "products",
                pkey=("product_id",),
                columns=(
                    Column("product_id"),
                    Column("price", stype="numerical"),
                    Column("tags", stype="multicategorical"),
                    Column("words", stype="text"),
                ),
            ),
        },
    )


def open_tables(frames: dict[str, pd.DataFrame]) -> Database:
    """The frames, read with :func:`schema`."""
    return connect(frames, schema=schema())


def labels(frames: dict[str, pd.DataFrame], task_type: str = "binary_classification") -> pd.DataFrame:
    """(customer_id, as_of, y) for each customer who is there, about the 30 days after ``as_of``."""
    people, orders = frames["customers"], frames["orders"]
    made = []
    for as_of in ANCHORS:
        keys = people["customer_id"][~(people["joined"] > as_of)]
        later = orders[(orders["placed"] > as_of) & (orders["placed"] <= as_of + pd.Timedelta(days=30))]
        grouped = later.groupby("customer_id")
        if task_type == "binary_classification":
            y = grouped.size().reindex(keys, fill_value=0).clip(upper=1)
        elif task_type == "regression":
            y = grouped["amount"].sum().reindex(keys, fill_value=0.0)
        elif task_type == "multiclass_classification":
            y = grouped["kind"].first().reindex(keys).fillna("none")
        else:
            y = grouped["kind"].agg(lambda kinds: sorted(set(kinds))).reindex(keys)
            y = y.map(lambda value: value if isinstance(value, list) else [])
        made.append(pd.DataFrame({"customer_id": keys.to_numpy(), "as_of": as_of, "y": y.to_numpy()}))
    return pd.concat(made, ignore_index=True)


def make_task(
    db: Database, frames: dict[str, pd.DataFrame], task_type: str = "binary_classification", **kwargs: Any
) -> Task:
    """The task of :func:`labels`."""
    settings: dict[str, Any] = {
        "entity_table": "customers",
        "time_col": "as_of",
        "target_col": "y",
        "task_type": task_type,
        "timedelta": "30 days",
        "val_timestamp": VAL,
        "test_timestamp": TEST,
        "name": "again",
    }
    given = kwargs.pop("labels", None)
    return Task.from_labels(db, labels(frames, task_type) if given is None else given, **{**settings, **kwargs})


def train_fast(db: Database, task: Task, out: Path, **kwargs: Any) -> Run:
    """A run of a network, by default, after two short epochs."""
    settings = {"model": "gnn", "model_config": MODEL, "train_config": FAST, **kwargs}
    return train(db, task, out=out, progress=False, **settings)


def write_relbench(folder: Path, seed: int = 0) -> Path:
    """The shop as a RelBench 3 folder with the tasks ``again`` and ``spend``."""
    frames = tables(seed)
    (folder / "db").mkdir(parents=True)
    for name, frame in frames.items():
        frame.to_parquet(folder / "db" / f"{name}.parquet", index=False)
    db = open_tables(frames)
    db.schema.save(folder / "manifest.yaml")
    make_task(db, frames).save(folder / "tasks" / "again")
    make_task(db, frames, "regression", name="spend").save(folder / "tasks" / "spend")
    return folder


def ranking_task(db: Database, query: str = RANKING) -> Task:
    """Which products a customer buys next."""
    return Task(db, query, val_timestamp=VAL, test_timestamp=TEST)


def contents(folder: Path) -> tuple[dict[str, torch.Tensor], list[dict], dict]:
    """Weights, history and run.json, without what a clock says."""
    history = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    meta = json.loads((folder / "run.json").read_text())
    for record in [*history, meta["metrics"]]:
        del record["seconds"]
    del meta["created"], meta["timings"]
    return load_file(folder / "model.safetensors"), history, meta


def assert_same_run(a: Path, b: Path) -> None:
    (weights, history, meta), (other_weights, other_history, other_meta) = contents(a), contents(b)
    assert history == other_history
    assert meta == other_meta
    assert weights.keys() == other_weights.keys()
    assert all(torch.equal(value, other_weights[name]) for name, value in weights.items())
