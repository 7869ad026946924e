"""Explanations of trees, and of what networks and trees say together: they add up, and name the rows behind."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from little_shop import FAST, make_task, open_tables, tables, train_fast
from test_explain import AT, planted, sides

from graphlearn.features.functions import Feature
from graphlearn.features.paths import Hop, Hub, Source
from graphlearn.graph import build_graph
from graphlearn.models.gbdt import TreeConfig, Trees
from graphlearn.predict.explain import explain
from graphlearn.predict.explain_features import rows_behind, share_of_rows, tree_effects
from graphlearn.predict.importance import PAST_LABELS, ROWS, TIME, importance
from graphlearn.tasks.times import time_us

DAY = 86_400_000_000
ORDERS = Hop("orders", "customer_id", True)
ITEMS = Hop("items", "order_id", True)


def matrix(size=300):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(size, 5)).astype(np.float32)
    x[rng.random(x.shape) < 0.1] = np.nan
    return x, np.nan_to_num(x)


@pytest.mark.parametrize(
    ("kind", "label", "classes", "outputs"),
    [
        ("binary_classification", lambda x: (x[:, 0] + x[:, 1] * x[:, 2] > 0).astype(float), 1, [None]),
        ("regression", lambda x: 3 * x[:, 0] + x[:, 1], 1, [None]),
        ("multiclass_classification", lambda x: np.digitize(x[:, 0], [-0.5, 0.5]), 3, [0, 1, 2]),
        ("multilabel_classification", lambda x: (x[:, :3] > 0).astype(float), 3, [0, 2]),
        ("multistep_regression", lambda x: x[:, :2], 2, [0]),
    ],
)
def test_effects_of_features_add_up_to_the_prediction(kind, label, classes, outputs):
    x, known = matrix()
    members = [
        Trees.fit(kind, (x, label(known)), TreeConfig(num_threads=1), rounds=15, seed=seed, num_classes=classes)
        for seed in (0, 1)
    ]
    predicted = np.mean([trees.predict(x) for trees in members], axis=0)
    for output in outputs:
        start, effects = tree_effects(members, x, output)
        wanted = predicted if output is None else predicted[:, output]
        np.testing.assert_allclose(start + effects.sum(axis=1), wanted, atol=1e-9)
        assert np.abs(effects).mean(axis=0).argmax() == (output if kind == "multilabel_classification" else 0)


@pytest.fixture(scope="module")
def shop():
    frames = tables()
    db = open_tables(frames)
    return frames, db, build_graph(db)


def test_rows_behind_are_those_of_the_entity_up_to_then(shop):
    frames, _, graph = shop
    orders, items = frames["orders"], frames["items"]
    for entity in range(0, graph["customers"].num_nodes, 5):
        key = graph["customers"].pkey[entity].as_py()
        own = orders[(orders["customer_id"] == key) & (orders["placed"] <= AT)].sort_values("placed")
        found = rows_behind(graph, Source(Hub("entity", "customers"), "orders", (ORDERS,)), entity, time_us(AT, "at"))
        assert [graph["orders"].pkey[n].as_py() for n in found.node.tolist()] == own["order_id"].tolist()
        below = rows_behind(
            graph, Source(Hub("entity", "customers"), "items", (ORDERS, ITEMS)), entity, time_us(AT, "at")
        )
        assert below.node.numel() == items["order_id"].isin(own["order_id"]).sum()
        assert below.time.tolist() == sorted(below.time.tolist())
        assert set(below.time.tolist()) == set(found.time.tolist())


@pytest.mark.parametrize(
    "source",
    [
        Source(Hub("entity", "customers"), "customers"),
        Source(Hub("entity", "customers"), "customers", labels=True),
        Source(Hub("all"), "orders"),
    ],
)
def test_rows_that_are_not_the_entitys_own_are_not_asked_for(shop, source):
    assert rows_behind(shop[2], source, 0, time_us(AT, "at")) is None


@pytest.mark.parametrize(
    ("change", "shares"),
    [
        ({}, [0.25, 0.25, 0.25, 0.25]),
        ({"window": 15 * DAY}, [0, 0, 0.5, 0.5]),
        ({"window": 14 * DAY}, [0, 0, 0.5, 0.5]),
        ({"window": 4 * DAY}, [0, 0, 0, 0]),
        ({"rows": 3}, [0, 1 / 3, 1 / 3, 1 / 3]),
        ({"window": 15 * DAY, "rows": 1}, [0, 0, 0, 1]),
        ({"function": "last"}, [0, 0, 0, 1]),
        ({"function": "since last"}, [0, 0, 0, 1]),
        ({"function": "first"}, [1, 0, 0, 0]),
        ({"function": "first", "window": 15 * DAY}, [0, 0, 1, 0]),
    ],
)
def test_a_feature_is_shared_by_the_rows_of_its_window(shop, change, shares):
    """Rows of day 0, 5, 10 and 15, seen from day 20: a window of 10 days ends before day 10 itself."""
    source = Source(Hub("entity", "customers"), "orders", (ORDERS,))
    behind = rows_behind(shop[2], source, 0, time_us("2100-01-01", "at"))
    behind = replace(behind, node=torch.arange(4), time=torch.tensor([0, 5, 10, 15]) * DAY)
    feature = replace(Feature("f", "mean", source), **change)
    assert share_of_rows(feature, behind, 20 * DAY).tolist() == pytest.approx(shares)


@pytest.fixture(scope="module")
def runs(shop, tmp_path_factory):
    frames, db, _ = shop
    folder = tmp_path_factory.mktemp("runs")
    settings = {"train_config": replace(FAST, epochs=4), "members": 1}
    return {
        kind: train_fast(db, make_task(db, frames), folder / kind, model=kind, **settings)
        for kind in ("constant", "gbdt", "fused")
    }


@pytest.fixture(scope="module")
def busy(shop):
    orders = shop[0]["orders"]
    return orders[orders["placed"] <= AT]["customer_id"].value_counts().index[0]


def predicted(run, db, entity):
    return run.predict(db, at=AT, entities=[entity])["prediction"][0]


def test_trees(shop, runs, busy):
    run, db = runs["gbdt"], shop[1]
    found = explain(run, db, entity=busy, at=AT, top=1000)
    assert found.prediction == pytest.approx(predicted(run, db, busy), abs=1e-9)
    assert found.base + sum(f.attribution for f in found.features) == pytest.approx(found.prediction, abs=1e-9)
    assert [abs(f.attribution) for f in found.features] == sorted([abs(f.attribution) for f in found.features])[::-1]
    assert (found.own, found.seen, found.without) == (None, None, None)
    assert {f.table for f in found.features} <= {"customers", "orders", "items", "products", None}
    assert found.rows
    assert all(row.alone is None for row in found.rows)
    assert all(pd.Timestamp(row.time) <= pd.Timestamp(AT) for row in found.rows)
    # Rows have no more of a feature than there is: those of one source alone add up to its features with rows.
    assert abs(sum(row.attribution for row in found.rows)) <= sum(abs(f.attribution) for f in found.features) + 1e-9
    assert "The trees read no rows but features made from them" in found.notes[-1]
    assert f"Features that were read, counted from {found.base:.4f}:" in str(found)
    short = explain(run, db, entity=busy, at=AT, top=2)
    assert short.features == found.features[:2]
    assert len(short.rows) <= 4


def test_network_and_trees_together(shop, runs, busy):
    run, db = runs["fused"], shop[1]
    assert run.weights["gnn"] > 0
    found = explain(run, db, entity=busy, at=AT, top=5)
    assert found.prediction == pytest.approx(predicted(run, db, busy), abs=1e-6)
    for rows, without in zip(sides(found), found.without, strict=True):
        assert sum(row.attribution for row in rows) == pytest.approx(found.prediction - without, abs=1e-6)
    assert len(found.features) == 5
    assert found.own.table == "customers"
    if run.trees is not None:
        share = f"{run.weights['gnn']:.0%} of what the network says and {run.weights['gbdt']:.0%} of what the trees say"
        assert share in found.notes[-1]
    assert any("features keep their values" in note for note in found.notes)


def test_a_constant_has_nothing_to_explain(shop, runs, busy):
    found = explain(runs["constant"], shop[1], entity=busy, at=AT)
    assert found.prediction == pytest.approx(predicted(runs["constant"], shop[1], busy))
    assert (found.rows, found.features, found.own) == ((), (), None)
    assert found.notes == ("This run says the same of every row: no model that was tried said more.",)
    assert importance(runs["constant"], shop[1]).empty


def test_an_entity_without_history(shop, runs):
    frames = shop[0]
    new = pd.DataFrame([{"customer_id": "new", "joined": pd.Timestamp("2021-11-14"), "city": "Rome"}])
    db = open_tables({**frames, "customers": pd.concat([frames["customers"], new])})
    for kind in ("gbdt", "fused"):
        found = explain(runs[kind], db, entity="new", at=AT)
        assert found.rows == ()
        assert "It has no history: nothing but its own row was seen." in found.notes


@pytest.mark.parametrize("kind", ["gbdt", "fused"])
def test_importance_of_features(shop, runs, kind):
    table = importance(runs[kind], shop[1], rows=40)
    assert table["share"].sum() == pytest.approx(1)
    assert not table.duplicated(["table", "column", "window"]).any()
    assert set(table["table"]) <= {"customers", "orders", "items", "products"}
    columns = {column.name for own in shop[1].schema.tables.values() for column in own.columns}
    assert set(table["column"]) <= columns | {ROWS, TIME, PAST_LABELS}


def test_trees_find_what_decides_the_label(tmp_path):
    db, task, (_, events, flag) = planted(newest=True)
    run = train_fast(db, task, tmp_path / "run", model="gbdt")
    assert run.evaluate("test")["auroc"] > 0.85
    shares = importance(run, db, rows=100).groupby(["table", "column"])["share"].sum()
    assert shares.idxmax() == (events, flag)
    found = explain(run, db, entity=7, at="2021-07-01", top=3)
    assert (found.features[0].table, found.features[0].column) == (events, flag)
    assert found.rows[0].table == events
    assert found.rows[0].cells[0].column == flag
