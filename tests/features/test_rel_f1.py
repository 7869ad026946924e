"""The real database: what the plan holds, that it is enough to tell drivers apart, and that one driver is quick."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from graphlearn.features import Aggregates
from graphlearn.schema import connect
from graphlearn.tasks import Task
from graphlearn.tasks.metrics import score


@pytest.fixture(scope="module")
def planned(rel_f1: Path):
    db = connect(rel_f1)
    task = Task(db, "driver-top3")
    yield db, task, Aggregates.plan(db, task, max_features=300)
    db.close()


def test_the_plan_reaches_every_kind_of_row(planned):
    _, _, plan = planned
    wanted = {
        "drivers.dob age",
        "results.grid mean last 5",
        "results.position is NULL share last 5",
        "results > constructors.nationality = 'British' share",
        "last constructors > results since last",
        "last constructors > constructor_standings.points last",
        "label mean (own)",
        "label mean (same last constructors)",
        "label mean (all)",
    }
    assert wanted <= set(plan.names)
    assert len(plan.names) == 300
    assert ("races.year", "a clock: it goes with the time of its rows") in plan.dropped
    assert not any("year" in name or name.endswith("Id") for name in plan.names)
    assert not any(name.startswith("last races") for name in plan.names), "a race has no past"


def test_one_column_tells_who_will_be_on_the_podium(planned):
    """In the rolling regime on validation: where a driver started lately."""
    db, task, plan = planned
    labels = task.label_table("val")
    at = labels["seed_time"].to_numpy()
    found = plan.compute(db, labels["pkey"].combine_chunks(), at, at)
    grid = found.values[:, found.names.index("results.grid mean last 5")]
    auroc = score("binary_classification", task.targets("val")[0], -np.nan_to_num(grid, nan=30.0))["auroc"]
    assert auroc > 0.8


def test_one_driver_from_rows_in_memory_is_as_all_together(planned):
    db, task, plan = planned
    labels = task.label_table("val")
    at, keys = labels["seed_time"].to_numpy(), labels["pkey"].combine_chunks()
    together = plan.compute(db, keys, at, at).values
    reader = plan.open(db, upto=int(at.max()))
    alone, seconds = [], []
    for i in range(0, len(keys), 60):
        start = time.process_time()
        alone.append(plan.compute(db, keys[i : i + 1], at[i : i + 1], at[i : i + 1], reader=reader).values[0])
        seconds.append(time.process_time() - start)
    np.testing.assert_allclose(np.array(alone), together[::60], rtol=1e-5, atol=1e-5)
    assert min(seconds) < 0.1  # a tenth of that on a machine that has nothing else to do


def test_the_printed_sql_gives_the_values(planned):
    db, task, plan = planned
    labels = task.label_table("val").take(list(range(0, 500, 40)))
    at = labels["seed_time"].to_numpy()
    seen = at - np.arange(len(at)) * 20 * 86_400_000_000
    chosen = Aggregates(task, plan.features[::4], until=plan.until, db=db)
    found = chosen.compute(db, labels["pkey"].combine_chunks(), at, seen).values
    table = {"seed": np.arange(len(at)), "pkey": labels["pkey"], "seed_time": at, "input_time": seen}
    db.con.register("seeds", pa.table(table))
    db.con.register("labels", chosen.past_labels(db, upto=int(seen.max())))
    made = db.con.sql(chosen.sql()).to_arrow_table()
    wanted = np.stack([made[name].cast(pa.float64()).to_numpy() for name in chosen.names], axis=1)
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)
