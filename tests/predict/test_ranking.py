"""Rankings from training to predictions: kinds, baselines, filters, new items, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from little_shop import FAST, MODEL, TEST, make_task, open_tables, ranking_task, tables, train_fast

from graphlearn.errors import QueryError, RunError, TaskError, UsageError
from graphlearn.models.pair_baselines import PAIR_BASELINES
from graphlearn.models.ranker import RANKERS
from graphlearn.predict import RankingRun, Run, audit, backtest, load
from graphlearn.predict.explain import explain
from graphlearn.predict.importance import importance
from graphlearn.report import write_report
from graphlearn.schema import Database, connect
from graphlearn.tasks import Task
from graphlearn.tasks.ranking import RANKING_METRICS

DEEP = replace(MODEL, num_neighbors=(4, 3, 3))
AT = "2021-11-15"
Frames = dict[str, pd.DataFrame]


def trained(db: Database, out: Path, model: str = "fused", **kwargs: Any) -> Run:
    task = kwargs.pop("task", None) or ranking_task(db)
    return train_fast(db, task, out, **{"model": model, "model_config": DEEP, "train_config": FAST, **kwargs})


@pytest.fixture(scope="module")
def frames() -> Frames:
    return tables()


@pytest.fixture(scope="module")
def runs(frames, tmp_path_factory) -> dict[str, RankingRun]:
    db, folder = open_tables(frames), tmp_path_factory.mktemp("rankings")
    made = {kind: trained(db, folder / kind, kind) for kind in (*RANKERS, "auto")}
    assert all(isinstance(run, RankingRun) for run in made.values())
    return made  # type: ignore[return-value]


@pytest.fixture
def run(runs) -> RankingRun:
    return runs["fused"]


def names(places: int) -> list[str]:
    numbers = ["", *(f"({place})" for place in range(2, places + 1))]
    return ["pkey", "seed_time", *(f"prediction{n}" for n in numbers), *(f"score{n}" for n in numbers)]


def items_of(table: pd.DataFrame) -> pd.DataFrame:
    """pkey, item, score: one row for each item that is named."""
    said = [name for name in table if name.startswith("prediction")]
    parts = [
        table[["pkey", name, name.replace("prediction", "score")]].set_axis(["pkey", "item", "score"], axis=1)
        for name in said
    ]
    return pd.concat(parts, ignore_index=True).dropna(subset="item")


@pytest.mark.parametrize("kind", RANKERS)
def test_each_kind_end_to_end(runs, kind, frames):
    run = runs[kind]
    assert run.kind == kind
    assert run.meta["kind"] == kind
    assert run.meta["choice"] is None
    assert run.model is run.trees is run.aggregates is None
    scored = run.evaluate("test")
    labels = run.labelled_task(open_tables(frames)).labels("test")
    assert scored["rows"] == len(labels)
    assert scored["without"] == (labels["label"].str.len() == 0).sum()
    assert (scored["split"], scored["regime"], scored["trained_on"]) == ("test", "frozen", False)
    assert all(0 <= scored[name] <= 1 for name in RANKING_METRICS)
    assert scored["low"] <= scored["map"] <= scored["high"]
    assert run.evaluate("val")["trained_on"]

    table = run.compare("test")
    assert list(table["model"]) == ["this run", *PAIR_BASELINES]
    assert list(table) == ["model", *RANKING_METRICS, "regime", "low", "high"]
    assert table["map"][0] == scored["map"]
    assert (table["low"] <= table["map"]).all()
    assert table.attrs == {"rows": scored["rows"], "without": scored["without"], "trained_on": False}

    found = run.predict(at=AT)
    assert list(found) == names(3)
    assert found["pkey"].tolist() == sorted(frames["customers"]["customer_id"][~(frames["customers"]["joined"] > AT)])
    assert (found["seed_time"] == pd.Timestamp(AT)).all()
    scores = found[[name for name in found if name.startswith("score")]].to_numpy()
    assert (np.diff(scores, axis=1) <= 0).all()
    named = found[[name for name in found if name.startswith("prediction")]]
    assert (named.nunique(axis=1) == 3).all()
    assert named.isin(frames["products"]["product_id"].tolist()).all(axis=None)


def test_the_choice_says_what_was_tried(runs):
    run = runs["auto"]
    choice = run.meta["choice"]
    assert choice["chosen"] == run.kind == max(choice["scores"], key=choice["scores"].get)
    assert set(choice["scores"]) == set(RANKERS)
    assert choice["folds"] == ["val"]
    assert choice["why"].startswith("map on validation: ")
    alone = runs[run.kind]
    pd.testing.assert_frame_equal(run.predict(at=AT), alone.predict(at=AT))


def test_metrics_follow_from_the_predictions_of_the_split(run, frames):
    """Recall and precision, counted from the table that predict_split gives."""
    found = run.predict_split("test")
    labels = run.labelled_task(open_tables(frames)).labels("test")
    assert found["pkey"].tolist() == labels["pkey"].tolist()
    assert (found["seed_time"] == labels["seed_time"]).all()
    named = found[["prediction", "prediction(2)", "prediction(3)"]].to_numpy().tolist()
    hits = [len(set(mine) & set(true)) for mine, true in zip(named, labels["label"], strict=True)]
    scored = run.evaluate("test")
    assert scored["precision"] == pytest.approx(np.mean(hits) / 3)
    recall = [hit / len(true) for hit, true in zip(hits, labels["label"], strict=True)]
    assert scored["recall"] == pytest.approx(np.mean(recall))


def test_baselines_know_the_past_only(run, frames):
    """With other orders after test began, what they say of the first test time is the same but for the labels."""
    before = run.compare("val")
    later = {**frames, "items": frames["items"].copy()}
    late = frames["orders"].loc[frames["orders"]["placed"] > TEST, "order_id"]
    later["items"].loc[later["items"]["order_id"].isin(late), "product_id"] = 0
    pd.testing.assert_frame_equal(run.compare("val", open_tables(later)), before)


def test_a_moved_run_says_the_same(run, frames, tmp_path):
    moved = load(run.folder.rename(tmp_path / "moved"))
    try:
        db = open_tables(frames)
        pd.testing.assert_frame_equal(moved.predict(db, at=AT), run.predict(at=AT))
        assert moved.evaluate("test", db) == run.evaluate("test")
        assert moved.id == run.id
        with pytest.raises(RunError, match=r"moved ranks 'products': open it with graphlearn.load"):
            Run(moved.folder)
    finally:
        moved.folder.rename(run.folder)


def test_a_source_on_disk_is_opened_and_closed(frames, tmp_path):
    for name, frame in frames.items():
        (tmp_path / "shop").mkdir(exist_ok=True)
        frame.to_parquet(tmp_path / "shop" / f"{name}.parquet")
    db = connect(tmp_path / "shop", schema=open_tables(frames).schema)
    run = trained(db, tmp_path / "run", "two-tower")
    alone = load(tmp_path / "run")
    pd.testing.assert_frame_equal(alone.predict(at=AT), run.predict(db, at=AT))
    assert list(alone.predict(at=AT, top=1)) == names(1)


def test_some_entities_and_another_number_of_places(run, frames):
    found = run.predict(at=AT, entities=["c005", "c001"], top=12)
    assert found["pkey"].tolist() == ["c001", "c005"]
    assert list(found) == names(12)
    for row in found.to_numpy().tolist():
        assert sorted(row[2:14]) == list(range(12))
    few = run.predict(at=AT).set_index("pkey").loc[["c001", "c005"]]
    assert few["prediction(3)"].tolist() == found["prediction(3)"].tolist()
    with pytest.raises(UsageError, match=r"the 13 best of 'products' cannot be named: it has 12 rows"):
        run.predict(at=AT, top=13)
    with pytest.raises(UsageError, match=r"the 0 best of 'products' cannot be named"):
        run.predict(at=AT, top=0)
    with pytest.raises(TaskError, match=r"1 of 1 keys to predict for name no row of 'customers'"):
        run.predict(at=AT, entities=["nobody"])


@pytest.mark.parametrize("kind", RANKERS)
def test_only_candidates_are_named(runs, kind, frames):
    """Missing, as whole numbers, where there are fewer than places."""
    cheap = frames["products"].nsmallest(2, "price")["product_id"].tolist()
    bar = frames["products"]["price"].nsmallest(3).iloc[-1]
    found = runs[kind].predict(at=AT, candidates=f"products.price < {bar}")
    assert set(items_of(found)["item"]) == set(cheap)
    assert found["prediction(3)"].isna().all()
    assert found["score(3)"].isna().all()
    assert found["prediction"].tolist() == found["prediction"].astype(int).tolist()
    assert str(found["prediction(3)"].dtype) == "Int64"
    assert ",7.0," not in found.to_csv(index=False)
    with pytest.raises(QueryError, match=r"no column of table 'products' 'prize'. Did you mean 'price'"):
        runs[kind].predict(at=AT, candidates="products.prize < 3")


def test_what_was_had_is_left_out(runs, frames):
    orders = frames["orders"].merge(frames["items"], on="order_id")
    orders = orders[orders["placed"] <= AT]
    had = set(zip(orders["customer_id"], orders["product_id"], strict=True))
    for run in runs.values():
        every = items_of(run.predict(at=AT, top=12))
        new = items_of(run.predict(at=AT, top=12, exclude_seen=True))
        assert not had & set(zip(new["pkey"], new["item"], strict=True))
        pairs = [pair for pair in zip(every["pkey"], every["item"], strict=True) if pair not in had]
        assert sorted(pairs) == sorted(zip(new["pkey"], new["item"], strict=True))
        joined = new.merge(every, on=["pkey", "item"])
        np.testing.assert_allclose(joined["score_x"], joined["score_y"], rtol=1e-4, atol=1e-5)
    assert had


def test_what_was_had_is_not_known_of_a_task_that_is_no_query(frames, tmp_path):
    run = trained(open_tables(frames), tmp_path / "run", "two-tower", task=stored(frames, tmp_path))
    with pytest.raises(UsageError, match=r"task 'next' is no query, so it is not known which rows of 'products'"):
        run.predict(at=AT, exclude_seen=True)


def stored(frames: Frames, folder: Path) -> Task:
    """The same labels as a task folder that knows no query."""
    task = ranking_task(open_tables(frames))
    task.save(folder / "next")
    manifest = {k: v for k, v in task.manifest.to_dict().items() if k != "query"} | {"name": "next"}
    (folder / "next" / "manifest.yaml").write_text(json.dumps(manifest))
    return Task(open_tables(frames), folder / "next")


def test_stored_labels_give_the_run_of_the_query(run, frames, tmp_path):
    task = stored(frames, tmp_path)
    other = trained(open_tables(frames), tmp_path / "run", task=task)
    pd.testing.assert_frame_equal(other.predict(at=AT), run.predict(at=AT))
    assert other.evaluate("test") == pytest.approx(run.evaluate("test"))


def test_predictions_are_written(run, tmp_path):
    table = run.predict(at=AT, to=tmp_path / "out.parquet")
    written = pd.read_parquet(tmp_path / "out.parquet")
    assert set(written["run"]) == {run.id}
    pd.testing.assert_frame_equal(written[names(3)], table, check_dtype=False)
    few = run.predict(at="2021-11-16", to=tmp_path / "out.parquet", if_exists="append", candidates="products.price < 0")
    assert few["prediction"].isna().all()
    assert len(pd.read_parquet(tmp_path / "out.parquet")) == len(table) + len(few)


def new_product(frames: Frames, like: int) -> Frames:
    """One that nobody has bought, with the columns of another."""
    row = frames["products"][frames["products"]["product_id"] == like].assign(product_id=12)
    return {**frames, "products": pd.concat([frames["products"], row], ignore_index=True)}


@pytest.mark.parametrize("kind", ["two-tower", "fused"])
def test_a_new_item_is_ranked_by_its_columns(runs, kind, frames):
    """Added after the training: it can be named, what it is decides how high, and it moves no other's score."""
    run = runs[kind]
    before = items_of(run.predict(at=AT, top=12)).set_index(["pkey", "item"])["score"]
    scores = {}
    for like in (int(frames["products"]["price"].idxmin()), int(frames["products"]["price"].idxmax())):
        found = items_of(run.predict(open_tables(new_product(frames, like)), at=AT, top=13))
        mine = found[found["item"] == 12].set_index("pkey")["score"]
        assert mine.notna().all()
        rank = (before.unstack("item").gt(mine, axis=0)).sum(axis=1)
        assert (rank < 12).any()  # not the last for everybody
        scores[like] = mine
        rest = found[found["item"] != 12].set_index(["pkey", "item"])["score"]
        pd.testing.assert_series_equal(
            rest.sort_index(), before.sort_index(), rtol=1e-4, atol=1e-5, check_index_type=False
        )
    cheap, dear = scores.values()
    assert (cheap - dear).abs().max() > 1e-4


@pytest.fixture(scope="module")
def before(runs) -> list[tuple[str, dict[str, Any], pd.DataFrame]]:
    """What each kind says, with filters and without."""
    filters = {"exclude_seen": True, "candidates": "COUNT(items.*, -30, 0, days) > 8"}
    return [(kind, options, runs[kind].predict(at=AT, **options)) for kind in RANKERS for options in ({}, filters)]


@settings(deadline=None, max_examples=4)
@given(st.integers(0, 1000), st.integers(1, 40), st.sampled_from([1, 60, 3_000]))
def test_the_future_changes_no_recommendation(runs, before, frames, seed, count, days):
    rng = np.random.default_rng(seed)
    later = frames["orders"].sample(count, random_state=seed, replace=True)
    wait = pd.to_timedelta(rng.random(count) * days * 86_400 + 1, unit="s").ceil("us")
    later = later.assign(order_id=np.arange(count) + 10_000, placed=pd.Timestamp(AT) + wait)
    bought = pd.DataFrame({"order_id": later["order_id"], "product_id": rng.integers(0, 12, count), "quantity": 1})
    people = frames["customers"].head(2).assign(customer_id=["x1", "x2"], joined=pd.Timestamp(AT) + wait[0])
    more = {
        **frames,
        "customers": pd.concat([frames["customers"], people]),
        "orders": pd.concat([frames["orders"], later]),
        "items": pd.concat([frames["items"], bought]),
    }
    grown = open_tables(more)
    for kind, options, expected in before:
        pd.testing.assert_frame_equal(runs[kind].predict(grown, at=AT, **options), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (
            "gnn",
            r"task '.*' ranks rows of 'products', which 'gnn' does not. Models for it: auto, two-tower, id-gnn, fused",
        ),
        ("gbdt", r"ranks rows of 'products', which 'gbdt' does not"),
    ],
)
def test_a_model_of_values_for_a_ranking(frames, tmp_path, model, says):
    with pytest.raises(UsageError, match=says):
        trained(open_tables(frames), tmp_path / "run", model)


def test_a_ranking_for_a_task_of_values(frames, tmp_path):
    db = open_tables(frames)
    with pytest.raises(
        UsageError, match=r"task 'again' predicts values, which 'two-tower' does not. Models for it: au"
    ):
        train_fast(db, make_task(db, frames), tmp_path / "run", model="two-tower")


@pytest.mark.parametrize("option", [{"members": 2}, {"aggr": "gnp"}])
def test_settings_of_values_alone(frames, tmp_path, option):
    with pytest.raises(UsageError, match=r"'aggr' and 'members' are for models of values, not for rankings"):
        trained(open_tables(frames), tmp_path / "run", **option)
    assert not list(tmp_path.iterdir())


def test_what_is_for_one_value_says_so(run, frames, tmp_path):
    def says(what: str) -> str:
        return rf"^task '.*' ranks rows of 'products', and {what} is for predictions of one value. Of a ranking"

    with pytest.raises(UsageError, match=says("explain")):
        explain(run, entity="c001")
    with pytest.raises(UsageError, match=says("explain")):
        importance(run)
    with pytest.raises(UsageError, match=says("audit")):
        audit(run)
    with pytest.raises(UsageError, match=says("report")):
        write_report(run, out=tmp_path / "report.html")
    db = open_tables(frames)
    with pytest.raises(UsageError, match=says("backtest")):
        backtest(db, ranking_task(db))
    assert not list(tmp_path.iterdir())


def test_no_source_has_an_item(frames, tmp_path):
    db = open_tables(frames)
    with pytest.raises(TaskError, match=r"task '.*', (train|val): no source has an item|is empty"):
        trained(db, tmp_path / "run", task=without_labels(frames, tmp_path))


def without_labels(frames: Frames, folder: Path) -> Task:
    stored(frames, folder)
    for split in ("train", "val"):
        file = folder / "next" / f"{split}.parquet"
        table = pd.read_parquet(file)
        table["label"] = [np.array([], dtype=np.int64)] * len(table)
        table.to_parquet(file)
    return Task(open_tables(frames), folder / "next")


def test_items_that_do_not_exist_before_the_cut(frames, tmp_path):
    """All products come in after validation has begun."""
    late = {**frames, "products": frames["products"].assign(since=pd.Timestamp("2021-09-01"))}
    known = open_tables(frames).schema
    products = replace(known.tables["products"], time_col="since")
    db = connect(late, schema=replace(known, tables={**known.tables, "products": products}))
    says = r"task '.*', train: no row of 'products' exists by 2021-0\d-\d\d, the newest time that is looked at. Load"
    with pytest.raises(TaskError, match=says):
        trained(db, tmp_path / "run")
    assert not list(tmp_path.iterdir())


def test_items_that_come_in_over_time(frames, tmp_path):
    """None is named before it exists, and then the places stay empty."""
    since = pd.date_range("2021-01-01", "2021-12-01", periods=12)
    dated = {**frames, "products": frames["products"].assign(since=since)}
    known = open_tables(frames).schema
    products = replace(known.tables["products"], time_col="since")
    db = connect(dated, schema=replace(known, tables={**known.tables, "products": products}))
    run = trained(db, tmp_path / "run")
    for at in ("2021-01-15", "2021-06-15"):
        found = run.predict(db, at=at, top=12)
        there = (since <= at).sum()
        assert set(items_of(found)["item"]) == set(range(there))
        assert found[f"prediction({there + 1})"].isna().all()
    assert run.predict(db, at="2020-12-01", entities=["c001"])["prediction"].isna().all()
    assert 0 <= run.evaluate("test")["map"] <= 1


def test_rolling(frames, tmp_path):
    run = trained(open_tables(frames), tmp_path / "run", "two-tower", regime="rolling")
    assert run.evaluate("test")["regime"] == "rolling"
    assert set(run.compare("test")["regime"]) == {"rolling"}
    assert run.evaluate("test", regime="frozen")["regime"] == "frozen"
