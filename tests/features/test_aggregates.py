"""What a plan chooses and drops, what it computes for odd inputs, and that it survives JSON."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from graphlearn.errors import SchemaError, UnknownNameError, UsageError
from graphlearn.features import Aggregates, reader
from graphlearn.features.aggregates import _candidates
from graphlearn.features.functions import Feature
from graphlearn.features.paths import Hop, Hub, Source
from graphlearn.features.profile import windows
from graphlearn.schema import Column, Database, ForeignKey, Schema, Table, connect
from graphlearn.tasks import Task

DAY = 86_400_000_000
T0 = pd.Timestamp("2021-01-01")
DATES = {"val_timestamp": "2021-07-01", "test_timestamp": "2021-09-01"}
CHURN = "PREDICT COUNT(orders.*, 0, 30, days) = 0 FOR EACH customers.id"


def us(day: float) -> int:
    """A day of 2021 as microseconds."""
    return T0.value // 1000 + round(day * DAY)


def shop(**extra: Any) -> dict[str, pd.DataFrame]:
    """60 customers with an order every 5 to 20 days, one of them without any; columns of ``extra`` join the orders."""
    rng = np.random.default_rng(0)
    who = rng.integers(0, 59, 1500)
    orders = pd.DataFrame(
        {
            "id": np.arange(1500),
            "customer_id": who,
            "at": T0 + pd.to_timedelta(rng.integers(0, 300 * 1440, 1500), unit="min"),
            "amount": np.round(rng.lognormal(3, 1, 1500), 2),
            "kind": rng.choice(["web", "desk"], 1500),
            **extra,
        }
    )
    return {
        "customers": pd.DataFrame({"id": np.arange(60), "city": rng.choice(["Rome", "Oslo"], 60)}),
        "orders": orders,
    }


def meaning(*columns: Column) -> Schema:
    """The schema of :func:`shop`."""
    own = (Column("amount", stype="numerical"), Column("kind", stype="categorical"), *columns)
    key = ForeignKey(("customer_id",), "customers")
    return Schema(
        "shop",
        {
            "customers": Table("customers", pkey=("id",), columns=(Column("city", stype="categorical"),)),
            "orders": Table("orders", pkey=("id",), fkeys=(key,), time_col="at", columns=own),
        },
    )


def labelled(db: Database, y: Any, **kwargs: Any) -> Task:
    """A label for customers 0 to 39 on five days."""
    frame = pd.DataFrame(
        {"id": np.tile(np.arange(40), 5), "t": np.repeat([T0 + pd.Timedelta(days=30 * k) for k in range(1, 6)], 40)}
    )
    frame["y"] = y(frame)
    options = {"entity_table": "customers", "time_col": "t", "target_col": "y", "timedelta": "10 days", **DATES}
    return Task.from_labels(db, frame, **{**options, **kwargs})


@pytest.fixture(scope="module")
def db():
    found = connect(shop(), schema=meaning())
    yield found
    found.close()


@pytest.fixture(scope="module")
def plan(db):
    return Aggregates.plan(db, Task(db, CHURN, **DATES))


def only(db: Database, task: Task, *names: str) -> Aggregates:
    """A plan of some of the candidates."""
    found = [feature for feature in _candidates(db, task, task.val_time)[0] if feature.name in names]
    assert len(found) == len(names)
    return Aggregates(task, found, until=task.val_time, db=db)


def at(plan: Aggregates, db: Database, keys: list[Any], day: float, **kwargs: Any) -> dict[str, np.ndarray]:
    """Features by name."""
    time = np.full(len(keys), us(day))
    found = plan.compute(db, pa.array(keys), time, time, **kwargs)
    return dict(zip(found.names, found.values.T, strict=True))


def test_names_are_readable_and_unique(plan):
    assert {
        "orders count",
        "orders since last",
        "orders.amount mean last 5",
        "label last (own)",
        "customers.city",
    } <= set(plan.names)
    assert len(set(plan.names)) == len(plan.names)
    assert len(plan.origin) == len(plan.categorical) == len(plan.names)
    origin = plan.origin[plan.names.index("orders.amount mean last 5")]
    assert (origin.table, origin.column, origin.function, origin.rows) == ("orders", "amount", "mean", 5)
    assert origin.path == ("orders.customer_id",)


def test_the_querys_own_target_is_asked_of_the_past(db):
    orders = shop()["orders"]
    query = (
        "PREDICT SUM(orders.amount WHERE orders.kind = 'web' AND orders.amount > 10, 0, 30, days) FOR EACH customers.id"
    )
    plan = Aggregates.plan(db, Task(db, query, **DATES))
    asked = "SUM(orders.amount WHERE orders.kind = 'web' AND orders.amount > 10) sum"
    assert {asked, f"{asked} 30d"} <= set(plan.names)
    rows = orders[(orders["kind"] == "web") & (orders["amount"] > 10)]
    end = T0 + pd.Timedelta(days=150)
    rows = rows[(rows["at"] > end - pd.Timedelta(days=30)) & (rows["at"] <= end)]
    wanted = rows.groupby("customer_id")["amount"].sum().reindex(range(40)).to_numpy()
    np.testing.assert_allclose(at(plan, db, list(range(40)), 150)[f"{asked} 30d"], wanted, rtol=1e-5)
    again = Aggregates.from_dict(db, plan.task, json.loads(json.dumps(plan.to_dict())))
    assert again.sql(asked) == plan.sql(asked)
    assert "orders count 30d" in Aggregates.plan(db, Task(db, CHURN, **DATES)).names


def test_a_budget_of_zero_is_an_empty_plan(db):
    plan = Aggregates.plan(db, Task(db, CHURN, **DATES), max_features=0)
    assert (plan.names, plan.dropped) == ((), ())
    assert at(plan, db, [1, 2], 100) == {}
    assert plan.compute(db, pa.array([1, 2]), np.zeros(2, int), np.zeros(2, int)).values.shape == (2, 0)


def test_the_budget_keeps_the_best_and_names_the_rest(db, plan):
    small = Aggregates.plan(db, Task(db, CHURN, **DATES), max_features=7)
    assert small.names == plan.names[:7]
    assert (plan.names[7], "over the budget of 7") in small.dropped
    with pytest.raises(UsageError, match="'max_features' must be >= 0, got -1"):
        Aggregates.plan(db, small.task, max_features=-1)


def test_useless_features_are_dropped_and_named():
    same, clock = Column("same", stype="numerical"), Column("clock", stype="numerical")
    frames = shop(same=1.0)
    frames["orders"]["clock"] = (frames["orders"]["at"] - T0).dt.days + 0.0
    db = connect(frames, schema=meaning(same, clock))
    counts = frames["orders"]

    def ordered(frame: pd.DataFrame) -> list[float]:
        return [
            float(((counts["customer_id"] == key) & (counts["at"] <= time)).sum())
            for key, time in zip(frame["id"], frame["t"], strict=True)
        ]

    plan = Aggregates.plan(db, labelled(db, ordered, task_type="regression"))
    dropped = dict(plan.dropped)
    assert dropped["orders count"] == "a copy of the label"
    assert dropped["orders.clock"] == "a clock: it goes with the time of its rows"
    assert not any("clock" in name for name in plan.names)
    assert dropped["orders.same sum"] == "a copy of the label"
    assert any(why.startswith("equal to ") for why in dropped.values())
    db.close()


def test_an_entity_without_history_has_zero_counts_and_missing_values(plan, db):
    found = at(plan, db, [59, 12345], 150)
    assert found["orders count"].tolist() == [0, 0]
    assert np.isnan(found["orders since last"]).all()
    assert np.isnan(found["orders.amount mean"]).all()
    assert np.isfinite(found["customers.city"]).tolist() == [True, False]


def test_both_ends_of_a_window():
    """A row at ``input_time`` counts, one at ``input_time - window`` does not."""
    days = [T0 + pd.Timedelta(days=day) for day in (10, 40, 69)]
    orders = {
        "id": [0, 1, 2],
        "customer_id": 0,
        "at": days,
        "amount": 1.0,
        "kind": "a",
    }
    db = connect({**shop(), "orders": pd.DataFrame(orders)}, schema=meaning())
    task = labelled(db, lambda frame: np.arange(len(frame)) % 2, task_type="binary_classification")
    source = Source(Hub("entity", "customers"), "orders", (Hop("orders", "customer_id", True),))
    plan = Aggregates(task, [Feature("n", "count", source, None, 30 * DAY)], until=us(0))
    time = np.array([us(40), us(40) - 1, us(40) + 1, us(70), us(70) - 1, us(99), us(99) - 1])
    found = plan.compute(db, pa.array([0] * len(time)), time, time)
    assert found.values[:, 0].tolist() == [1, 1, 1, 1, 2, 0, 1]
    db.close()


def test_tables_without_a_time_have_no_windows():
    frames = shop()
    schema = meaning()
    plain = Table("orders", pkey=("id",), fkeys=schema["orders"].fkeys, columns=schema["orders"].columns)
    db = connect(frames, schema=Schema("shop", {**schema.tables, "orders": plain}))
    plan = Aggregates.plan(db, labelled(db, lambda frame: frame["id"] % 2, task_type="binary_classification"))
    orders = [origin for origin in plan.origin if origin.table == "orders"]
    assert orders
    assert all(origin.window is None and origin.rows is None for origin in orders)
    assert {"last", "since last", "first", "gap"}.isdisjoint(origin.function for origin in orders)
    count = plan.names.index("orders count")
    early = np.array([us(-1000)])
    found = plan.compute(db, pa.array([3]), early, early).values[0, count]
    assert found == (frames["orders"]["customer_id"] == 3).sum()
    db.close()


def test_where_there_is_little_past_one_window_is_enough():
    frames = shop()
    frames["orders"]["at"] = T0 + (frames["orders"]["at"] - T0) / 100
    db = connect(frames, schema=meaning())
    source = Source(Hub("entity", "customers"), "orders", (Hop("orders", "customer_id", True),))
    assert windows(db, [source], 10 * DAY, us(300)) == (14 * DAY,)
    plan = Aggregates.plan(db, labelled(db, lambda frame: frame["id"] % 2, task_type="binary_classification"))
    assert {origin.window for origin in plan.origin if origin.table == "orders"} <= {None, 14 * DAY}
    db.close()


def test_of_many_categories_the_frequent_ones_have_codes():
    words = np.array([f"word {i}" for i in range(1500)], dtype=object)
    words[::3] = "often"
    db = connect(shop(word=words), schema=meaning(Column("word", stype="categorical")))
    task = labelled(db, lambda frame: frame["id"] % 2, task_type="binary_classification")
    plan = Aggregates.plan(db, task, max_features=400)
    last = plan.features[plan.names.index("orders.word last")]
    assert len(last.value.vocabulary) == 50
    assert last.value.vocabulary[0] == "often"
    found = at(plan, db, list(range(50)), 150)["orders.word last"]
    assert np.isnan(found).any()
    assert np.nanmin(found) == 0
    assert np.nanmax(found) < 50
    db.close()


def test_hidden_columns_are_never_read(db):
    task = labelled(
        db, lambda frame: frame["id"] % 2, task_type="binary_classification", remove_columns=(("orders", "amount"),)
    )
    plan = Aggregates.plan(db, task)
    assert plan.names
    assert not any("amount" in name for name, _ in [*plan.dropped, *((name, "") for name in plan.names)])
    assert '"amount"' not in plan.sql()


def test_to_complete_a_column_the_other_columns_are_seen_and_other_rows_only_before():
    frames = shop()
    frames["orders"] = frames["orders"].head(300)
    frames["orders"].loc[:9, ["customer_id", "at"]] = [7, T0 + pd.Timedelta(days=200)]
    db = connect(frames, schema=meaning())
    task = Task(
        db,
        "PREDICT orders.amount FOR EACH orders.id AS OF ENTITY",
        val_timestamp="2021-07-01",
        test_timestamp="2021-09-01",
    )
    plan = Aggregates.plan(db, task)
    assert "orders.kind" in plan.names
    assert not any("amount" in name for name in plan.names)
    orders = frames["orders"]
    before = orders[(orders["customer_id"] == 7) & (orders["at"] < T0 + pd.Timedelta(days=200))]
    assert len(before)
    found = at(plan, db, [0, 5], 200)
    assert found["customers > orders count"].tolist() == [len(before)] * 2
    assert found["label mean (same customers)"] == pytest.approx([before["amount"].mean()] * 2)
    db.close()


def test_keys_of_several_columns_and_keys_that_are_no_numbers():
    frames = {
        "people": pd.DataFrame({"id": ["a'b", 'c"d']}),
        "rooms": pd.DataFrame({"house": ["x", "x", "y"], "number": [1, 2, 1], "size": [10.0, 20.0, 30.0]}),
        "stays": pd.DataFrame(
            {
                "person": ["a'b", "a'b", 'c"d', "a'b"],
                "house": ["x", "y", "x", None],
                "number": [2, 1, 1, 1],
                "at": [T0, T0 + pd.Timedelta(days=1), T0 + pd.Timedelta(days=2), T0 + pd.Timedelta(days=3)],
            }
        ),
    }
    schema = Schema(
        "houses",
        {
            "people": Table("people", pkey=("id",)),
            "rooms": Table("rooms", pkey=("house", "number"), columns=(Column("size", stype="numerical"),)),
            "stays": Table(
                "stays",
                fkeys=(ForeignKey(("person",), "people"), ForeignKey(("house", "number"), "rooms")),
                time_col="at",
            ),
        },
    )
    db = connect(frames, schema=schema)
    labels = pd.DataFrame(
        {"id": ["a'b", 'c"d'] * 2, "t": [T0 + pd.Timedelta(days=d) for d in (1, 1, 5, 5)], "y": [0, 1, 1, 0]}
    )
    task = Task.from_labels(db, labels, entity_table="people", time_col="t", target_col="y", **DATES)
    plan = only(db, task, "stays count", "stays > rooms.size mean")
    found = at(plan, db, ["a'b", 'c"d', "a'b"], 5)
    assert found["stays count"].tolist() == [3, 1, 3]
    assert found["stays > rooms.size mean"].tolist() == [25, 10, 25]
    db.close()


def test_a_key_that_is_not_unique_is_refused():
    frames = shop()
    frames["customers"] = pd.concat([frames["customers"], frames["customers"].head(1)])
    db = connect(frames, schema=meaning())
    with pytest.raises(SchemaError, match=r"customers\.id is given as the primary key but has repeated values"):
        Aggregates.plan(db, Task(db, CHURN, **DATES))
    db.close()


def test_it_survives_json(plan, db):
    text = json.dumps(plan.to_dict())
    again = Aggregates.from_dict(None, plan.task, json.loads(text))
    assert (again.names, again.dropped, again.features) == (plan.names, plan.dropped, plan.features)
    np.testing.assert_array_equal(*(list(at(p, db, [1, 2, 3], 160).values()) for p in (plan, again)))
    with pytest.raises(UsageError, match="this plan was read without a database"):
        again.sql()
    assert again.sql(db=db) == plan.sql()


def test_a_database_without_what_is_read_is_refused(plan):
    frames = shop()
    schema = meaning()
    orders = schema["orders"]
    less = Table("orders", pkey=("id",), fkeys=orders.fkeys, time_col="at", columns=orders.columns[1:])
    frames["orders"] = frames["orders"].drop(columns="amount")
    other = connect(frames, schema=Schema("shop", {**schema.tables, "orders": less}))
    with pytest.raises(UnknownNameError, match="no column of table 'orders' 'amount'"):
        Aggregates.from_dict(other, plan.task, plan.to_dict())
    other.close()


def test_wrong_arguments(plan, db):
    with pytest.raises(UsageError, match="must be equally long, got 2, 1 and 1"):
        plan.compute(db, pa.array([1, 2]), np.zeros(1, int), np.zeros(1, int))
    with pytest.raises(UnknownNameError, match=r"no feature 'orders cuont'\. Did you mean 'orders count'"):
        plan.sql("orders cuont")


def test_the_input_never_lies_after_the_seed(plan, db):
    late = plan.compute(db, pa.array([1]), np.array([us(100)]), np.array([us(200)]))
    same = plan.compute(db, pa.array([1]), np.array([us(100)]), np.array([us(100)]))
    np.testing.assert_array_equal(late.values, same.values)


def test_staleness_moves_ages_but_no_window(plan, db):
    fresh = plan.compute(db, pa.array([1]), np.array([us(100)]), np.array([us(100)])).values[0]
    stale = plan.compute(db, pa.array([1]), np.array([us(120)]), np.array([us(100)])).values[0]
    by_name = dict(zip(plan.names, stale - fresh, strict=True))
    assert by_name["staleness"] == 20
    assert by_name["orders since last"] == pytest.approx(20, abs=1e-4)
    assert by_name["orders count"] == 0
    moved = {name for name, change in by_name.items() if change != 0 and not np.isnan(change)}
    assert all("since" in name or name in ("staleness", "seed month") or "age" in name for name in moved)


def test_blocks_of_entities_give_the_same(plan, db, monkeypatch):
    keys = pa.array(np.tile(np.arange(60), 4))
    time = np.repeat([us(day) for day in (60, 90, 120, 150)], 60)
    whole = plan.compute(db, keys, time, time).values
    monkeypatch.setattr(reader, "CELLS", 2000)
    monkeypatch.setattr(reader, "_FEW", 1)
    calls: list[tuple[int, int]] = []
    blocks = plan.compute(db, keys, time, time, progress=lambda done, total: calls.append((done, total))).values
    assert len(calls) > 2
    assert calls[-1] == (240, 240)
    np.testing.assert_array_equal(whole, blocks)


def test_a_repeated_plan_is_the_same(plan, db):
    again = Aggregates.plan(db, Task(db, CHURN, **DATES))
    assert (again.names, again.dropped) == (plan.names, plan.dropped)
