"""The audit: what it says of a run that is sound, and that each kind of fault is found."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from little_shop import ANCHORS, TEST, labels, make_task, open_tables, tables, train_fast, write_relbench

from graphlearn.cli.exit import main
from graphlearn.errors import TaskError, UsageError
from graphlearn.graph import build_graph
from graphlearn.predict import audit, load
from graphlearn.predict.audit import distance, examine
from graphlearn.predict.audit_cohort import cohort, members, overlap, twins
from graphlearn.predict.audit_columns import target_like
from graphlearn.predict.audit_inputs import future_rows, inputs, source, statistics
from graphlearn.predict.evaluate import Scored
from graphlearn.schema import connect
from graphlearn.tasks import Task
from graphlearn.training.seeds import split_seeds

CHECKS = [
    "source", "inputs", "future rows", "statistics", "overlap", "duplicates", "columns", "members", "cohort",
    "distance", "carriers",
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_relbench(tmp_path_factory.mktemp("audit") / "shop")


@pytest.fixture(scope="module")
def run(folder):
    db = connect(folder)
    return train_fast(db, Task(db, "again"), folder.parent / "run", model="gnn")


@pytest.fixture(scope="module")
def seen(run):
    with examine(run) as examined:
        yield examined


def seeds_of(db, task):
    """Graph and seeds of a task that nothing was trained on."""
    graph = build_graph(db, fit_until=task.val_time, hidden=task.remove_columns, edge_index=False)
    return graph, {split: split_seeds(graph, task, split, "rolling") for split in ("train", "val", "test")}


@pytest.mark.parametrize("regime", ["frozen", "rolling"])
def test_a_sound_run_passes(folder, run, regime, tmp_path):
    if regime == "rolling":
        db = connect(folder)
        run = train_fast(db, Task(db, "again"), tmp_path / "run", regime=regime, model="gnn")
    found = audit(run)
    assert [finding.check for finding in found.findings] == CHECKS
    assert found.ok
    assert {found.finding(check).status for check in CHECKS[:7]} == {"ok"}
    assert (found.split, found.regime) == ("test", regime)
    inside = found.finding("inputs").numbers["splits"]
    assert {split: part["seeds"] for split, part in inside.items()} == {"val": 56, "test": 111}
    assert all(part["rows"] > 3 * part["seeds"] and part["newer"] == 0 for part in inside.values())
    assert found.finding("future rows").numbers["largest_difference"] < 1e-5
    assert sum(found.finding("carriers").numbers["tables"].values()) == pytest.approx(1)


def test_seeds_that_see_too_much_are_counted(run, seen):
    """Against a plain count: the own row, and all rows that the sampler would give at the wrong time."""
    task, graph, seeds = seen.task, seen.scored.graph, seen.seeds["test"]
    late = replace(seeds, input_time=seeds.seed_time + 60 * 86_400_000_000)
    found = inputs(run, graph, task, {"test": late})
    assert found.status == "fail"
    assert "rows in the batches of test are newer than they may be" in found.what
    by_table = found.numbers["newer_by_table"]
    assert set(by_table) >= {"orders", "items"}
    # In the rolling regime less of it would be too much.
    wider = inputs(SimpleNamespace(model=run.model, regime="rolling"), graph, task, {"test": late})
    assert sum(wider.numbers["newer_by_table"].values()) < sum(by_table.values())
    fine = inputs(run, graph, task, {"test": seeds})
    assert (fine.status, fine.numbers["newer_by_table"]) == ("ok", {})


def test_predictions_that_read_the_future_are_found(seen):
    """A run whose prediction is the number of orders in the database, whenever they were placed."""

    def predict(db, *, at, entities):
        many = float(db.num_rows("orders"))
        return pd.DataFrame({"pkey": entities, "seed_time": at, "prediction": many / 1000})

    found = future_rows(SimpleNamespace(predict=predict), seen.db, seen.task, seen.labels)
    assert found.status == "fail"
    placed, joined = (pd.to_datetime(tables()[t][c]) for t, c in (("orders", "placed"), ("customers", "joined")))
    # Each table goes on after the first test anchor: the time by when all have.
    at = max(times[times > TEST].min() for times in (placed, joined))
    assert found.what.startswith(f"Taking away all rows later than {at} changes predictions")
    assert found.numbers["largest_difference"] == pytest.approx((placed > at).sum() / 1000)


def test_past_labels_that_end_at_the_anchor_are_no_future(tmp_path):
    """The last window of validation ends where test starts: its labels are features of test, and known by then."""
    db = open_tables(tables())
    query = "PREDICT COUNT(orders.*, 0, 30, days) = 0 FOR EACH customers.customer_id"
    task = Task(db, query, val_timestamp="2021-08-02", test_timestamp=TEST)
    run = train_fast(db, task, tmp_path / "run", model="gbdt")
    with examine(run, db) as examined:
        found = future_rows(run, db, examined.task, examined.labels)
    assert (found.status, found.numbers["largest_difference"]) == ("ok", 0.0)


def test_statistics_from_later_rows_are_found(run, seen):
    later = replace(run.statistics, fit_until=seen.task.test_time)
    assert statistics(SimpleNamespace(statistics=later, aggregates=None), seen.db, seen.task).status == "fail"
    tables_ = dict(run.statistics.tables)
    tables_["orders"] = tuple(
        replace(c, vocabulary=(*c.vocabulary, "drone"), counts=(*c.counts, 1)) if c.name == "kind" else c
        for c in tables_["orders"]
    )
    found = statistics(
        SimpleNamespace(statistics=replace(run.statistics, tables=tables_), aggregates=None), seen.db, seen.task
    )
    assert found.status == "fail"
    assert found.numbers["unknown_categories"] == ["orders.kind = drone"]
    tables_["orders"] = tuple(
        replace(c, mean=c.mean + 1) if c.name == "amount" else c for c in run.statistics.tables["orders"]
    )
    found = statistics(
        SimpleNamespace(statistics=replace(run.statistics, tables=tables_), aggregates=None), seen.db, seen.task
    )
    assert (found.status, found.numbers["differing_columns"]) == ("warn", ["orders.amount"])


def test_another_database_is_said(run, seen):
    assert source(run, seen.db).status == "ok"
    assert source(run, open_tables(tables(1))).status == "warn"


def test_labels_that_overlap_fail():
    frames = tables()
    db = open_tables(frames)
    rows = labels(frames)
    rows["split"] = np.where(rows["as_of"] < "2021-09-01", "train", np.where(rows["as_of"] < TEST, "val", "test"))
    rows.loc[rows["as_of"] == ANCHORS[-3], "split"] = "train"  # 2021-10-01, among those of test
    shifted = rows[rows["as_of"] == ANCHORS[-3]].assign(as_of=ANCHORS[-3] + pd.Timedelta(days=29), split="test")
    task = make_task(db, frames, labels=pd.concat([rows, shifted]), val_timestamp="2021-09-01")
    tables_ = {split: task.label_table(split) for split in ("train", "val", "test")}
    found = overlap(task, tables_, refit=True)
    assert found.status == "fail"
    assert found.numbers["overlapping"] == len(shifted)
    # A day later the window (t, t + 30 days] has ended; that of 2021-11-01 lies 31 days after.
    apart = rows[rows["as_of"] == ANCHORS[-3]].assign(as_of=ANCHORS[-3] + pd.Timedelta(days=30), split="test")
    task = make_task(db, frames, labels=pd.concat([rows, apart]), val_timestamp="2021-09-01")
    tables_ = {split: task.label_table(split) for split in ("train", "val", "test")}
    assert overlap(task, tables_, refit=False).status == "ok"


def test_entities_that_are_there_twice():
    frames = tables()
    people = frames["customers"].assign(score=np.arange(40) / 7)
    early = people[~(people["joined"] > "2021-03-01")]
    again = early.iloc[:3].assign(customer_id=[f"d{i}" for i in range(3)])
    frames["customers"] = pd.concat([people, again], ignore_index=True)
    rows = labels(frames)
    twin = rows["customer_id"].str.startswith("d")
    rows = rows[~twin | (rows["as_of"] >= TEST)]  # the copies are asked about in test only
    db = open_tables(frames)
    task = make_task(db, frames, labels=rows)
    found = twins(*seeds_and_task(db, task))
    assert found.status == "warn"
    assert found.numbers["same_row"] == 3
    assert "seems to hold rows twice" in found.advice
    few = open_tables({**frames, "customers": frames["customers"].assign(score=1.5, joined=pd.Timestamp("2021-01-02"))})
    found = twins(*seeds_and_task(few, make_task(few, frames, labels=rows)))
    assert found.status == "ok"
    assert "do not tell rows apart" in found.what


def seeds_and_task(db, task):
    graph, seeds = seeds_of(db, task)
    return graph, task, seeds


@pytest.mark.parametrize("task_type", ["binary_classification", "multiclass_classification", "regression"])
def test_a_column_that_is_the_label_is_named(task_type):
    frames = tables()
    rows = labels(frames)
    people = frames["customers"].set_index("customer_id")
    if task_type == "regression":
        rows["y"] = (
            people["score"].replace([np.inf, -np.inf], np.nan).fillna(0.0).reindex(rows["customer_id"]).to_numpy()
        )
    else:
        city = people["city"].fillna("nowhere").reindex(rows["customer_id"]).to_numpy()
        rows["y"] = (city == "Rome").astype(int) if task_type == "binary_classification" else city
    db = open_tables(frames)
    task = make_task(db, frames, task_type, labels=rows)
    found = target_like(*seeds_and_task(db, task))
    named = "customers.score" if task_type == "regression" else "customers.city"
    assert found.status == "fail"
    assert found.numbers["columns"][0] == [named, pytest.approx(1.0)]
    assert f"remove_columns: [customers, {named.partition('.')[2]}]." in found.advice
    hidden = make_task(db, frames, task_type, labels=rows, remove_columns=[("customers", named.partition(".")[2])])
    assert target_like(*seeds_and_task(db, hidden)).status == "ok"


def test_a_cohort_that_gives_the_answer_away():
    """Who is asked about again at the next anchor is who orders: the label table alone says it."""
    frames = tables()
    rows = labels(frames)
    rng = np.random.default_rng(0)
    rows = rows[rng.random(len(rows)) < 0.6].reset_index(drop=True)
    there = set(zip(rows["customer_id"], rows["as_of"], strict=True))
    following = dict(pairwise(ANCHORS))
    rows["y"] = [int((c, following.get(t)) in there) for c, t in zip(rows["customer_id"], rows["as_of"], strict=True)]
    db = open_tables(frames)
    graph, seeds = seeds_of(db, task := make_task(db, frames, labels=rows))
    found = cohort(task, seeds, "test", achieved=0.7)
    assert found.status == "warn"
    assert found.numbers["scores"]["all"]["auroc"] > 0.95
    assert found.numbers["scores"]["known"]["auroc"] < 0.7
    assert members(graph, task, seeds).status == "ok"


def test_members_of_train_and_test_that_are_chosen_differently():
    frames = tables()
    rows = labels(frames)
    few = rows[(rows["as_of"] < TEST) | (rows["customer_id"] < "c010")]
    db = open_tables(frames)
    task = make_task(db, frames, labels=few)
    found = members(*seeds_and_task(db, task))
    assert found.status == "warn"
    _, seeds = seeds_of(db, task)
    joined = pd.to_datetime(frames["customers"]["joined"])
    test = [a for a in ANCHORS if a >= pd.Timestamp(TEST)]
    existing = sum(int((~(joined > a)).sum()) for a in test)
    assert found.numbers["share_of_existing"]["test"] == pytest.approx(len(seeds["test"]) / existing)


def scored(label, prediction, seed_time, task):
    seeds = SimpleNamespace(
        index=torch.arange(len(label)), seed_time=torch.from_numpy(seed_time), label=torch.from_numpy(label)
    )
    return Scored(task, "test", "rolling", None, seeds, None, prediction)


def test_results_that_fall_with_time():
    rng = np.random.default_rng(0)
    label = rng.integers(0, 2, 1200)
    day = 86_400_000_000
    time = np.repeat(np.arange(12), 100) * 30 * day
    noise = np.repeat(np.linspace(0.05, 3.0, 12), 100)
    task = SimpleNamespace(task_type=SimpleNamespace(value="binary_classification"), val_time=-60 * day)
    found = distance(scored(label, label + noise * rng.normal(size=1200), time, task))
    assert found.status == "warn"
    groups = found.numbers["groups"]
    assert [group["rows"] for group in groups] == [200] * 6
    assert groups[0]["days_after_train"] == 75
    assert groups[0]["auroc"] > 0.99 > groups[-1]["auroc"]
    assert (groups[0]["from"], groups[-1]["to"]) == ("1970-01-01", "1970-11-27")
    even = distance(scored(label, label + rng.normal(size=1200), time, task))
    assert even.status == "ok"


def test_the_command(run, folder, capfd, tmp_path):
    assert main(["audit", str(run.folder)]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert [line[6:18].strip() for line in lines[:-1]] == CHECKS
    assert lines[-1].startswith("again, test, frozen: ")
    assert lines[-1].endswith(" 0 fail")
    assert main(["audit", str(run.folder), str(folder), "--json"]) == 0
    said = json.loads(capfd.readouterr().out)
    assert said["ok"] is True
    assert [finding["check"] for finding in said["findings"]] == CHECKS


def test_the_command_fails_where_the_run_does(capfd, tmp_path):
    frames = tables()
    city = frames["customers"].set_index("customer_id")["city"]
    rows = labels(frames)
    rows["y"] = (city.reindex(rows["customer_id"]) == "Rome").to_numpy().astype(int)
    folder = write_relbench(tmp_path / "shop")
    db = connect(folder)
    run = train_fast(db, make_task(db, frames, labels=rows), tmp_path / "run", model="gnn")
    assert main(["audit", str(run.folder)]) == 3
    says = r"fail  columns      1 of \d+ columns say the label alone, by AUROC: customers.city 1.0000\. If"
    assert re.search(says, capfd.readouterr().out)


def test_without_its_inputs_a_run_gets_a_sentence(tmp_path, capfd):
    frames = tables()
    db = open_tables(frames)
    run = train_fast(db, make_task(db, frames), tmp_path / "run", model="gnn")
    with pytest.raises(UsageError, match="the source of this run, 4 tables in memory, is not there: name the database"):
        audit(load(run.folder))
    assert main(["audit", str(run.folder)]) == 2
    assert capfd.readouterr().err.startswith("UsageError: the source of this run, ")
    rows = pd.concat([make_task(db, frames).labels("train")]).set_axis(["customer_id", "as_of", "y"], axis=1)
    rows["split"] = np.where(rows["as_of"] < "2021-07-01", "train", "val")
    only = train_fast(
        db, make_task(db, frames, labels=rows, val_timestamp="2021-07-01"), tmp_path / "only", model="gnn"
    )
    assert audit(only, db).split == "val"
    (only.folder / "task" / "val.parquet").unlink()
    with pytest.raises(TaskError, match="the val split is empty"):
        audit(only, db)


@pytest.mark.parametrize("model", ["gbdt", "fused", "constant"])
def test_every_kind_of_run_can_be_asked(model, tmp_path):
    frames = tables()
    db = open_tables(frames)
    run = train_fast(db, make_task(db, frames), tmp_path / "run", model=model)
    found = audit(run, db)
    assert [finding.check for finding in found.findings] == CHECKS
    assert found.ok
    assert found.finding("future rows").status == "ok"
    assert ("samples no batches" in found.finding("inputs").what) == (model != "fused")
    assert ("the choice of features" in found.finding("statistics").what) == (model != "constant")
    if model == "gbdt":
        late = SimpleNamespace(statistics=run.statistics, aggregates=SimpleNamespace(until=run.task.test_time))
        says = statistics(late, db, run.task)
        assert (says.status, says.what[:22]) == ("fail", "The choice of features")
