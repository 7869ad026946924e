"""Explanations of the GNN: they add up, hold in the database itself, see nothing new, and are the same every time."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from little_shop import FAST, MODEL, make_task, open_tables, tables, train_fast

from graphlearn.errors import TaskError, UnknownNameError, UsageError
from graphlearn.models import ModelConfig
from graphlearn.models.occlusion import candidates, keep_all, without_groups
from graphlearn.predict.entities import asked_of_graph
from graphlearn.predict.explain import Explainer, explain
from graphlearn.predict.explain_rows import MOST_CANDIDATES, strongest
from graphlearn.predict.explanation import number, short, signed
from graphlearn.predict.importance import OWN_ROW, ROWS, importance
from graphlearn.schema import Column, ForeignKey, Schema, Table, connect
from graphlearn.tasks import Task
from graphlearn.tasks.times import time_us
from graphlearn.training import TrainConfig

AT = "2021-11-15"
#: All neighbours: what a row's absence does in the tree is then what it does in the database.
WHOLE = replace(MODEL, num_neighbors=(-1, -1))


@pytest.fixture(scope="module")
def shop():
    frames = tables()
    return frames, open_tables(frames)


@pytest.fixture(scope="module")
def run(shop, tmp_path_factory):
    frames, db = shop
    config = replace(FAST, epochs=6)
    return train_fast(
        db,
        make_task(db, frames),
        tmp_path_factory.mktemp("runs") / "run",
        model="gnn",
        model_config=WHOLE,
        train_config=config,
    )


@pytest.fixture(scope="module")
def busy(shop):
    """The customers with the most orders by then, most first."""
    orders = shop[0]["orders"]
    return list(orders[orders["placed"] <= AT]["customer_id"].value_counts().index)


def predicted(run, db, entity, at=AT):
    return run.predict(db, at=at, entities=[entity])["prediction"][0]


def sides(found):
    return ([r for r in found.rows if r.attribution > 0], [r for r in found.rows if r.attribution < 0])


def test_the_numbers_add_up(shop, run, busy):
    for entity in busy[:3]:
        found = explain(run, shop[1], entity=entity, at=AT, top=4)
        assert found.prediction == pytest.approx(predicted(run, shop[1], entity), abs=1e-6)
        assert 0 < len(found.rows) <= 8
        for rows, without in zip(sides(found), found.without, strict=True):
            assert sum(row.attribution for row in rows) == pytest.approx(found.prediction - without, abs=1e-6)
            assert all(row.attribution * row.alone > 0 for row in rows)
        # The first of each direction is the row that matters most alone.
        for rows in sides(found):
            assert not rows or rows[0].alone == pytest.approx(max((r.alone for r in rows), key=abs))
        # The direction that moves the prediction more stands first.
        totals = [abs(found.prediction - without) for without in found.without]
        assert (found.rows[0].attribution > 0) == (totals[0] >= totals[1])


def test_a_row_that_is_taken_away_is_as_if_it_were_not_in_the_database(shop, run, busy):
    frames, db = shop
    tried = 0
    for entity in busy[:2]:
        found = explain(run, db, entity=entity, at=AT, top=4)
        row = next(r for r in found.rows if r.table == "orders")
        fewer = {
            **frames,
            "orders": frames["orders"][frames["orders"]["order_id"] != row.pkey],
            "items": frames["items"][frames["items"]["order_id"] != row.pkey],
        }
        without = predicted(run, open_tables(fewer), entity)
        assert found.prediction - without == pytest.approx(row.alone, abs=1e-5)
        tried += abs(row.alone) > 1e-4
    assert tried


def test_the_rows_that_are_named_move_the_prediction_more_than_others(shop, run, busy):
    explainer = Explainer(run, shop[1])
    generator = torch.Generator().manual_seed(0)
    for entity in busy[:6]:
        asked = asked_of_graph(run.task, shop[1], explainer.graph, time_us(AT, "at"), [entity])
        said = explainer.say(asked)
        score, prediction = said.score, said.prediction
        rows = candidates(score.batch)
        side = max(strongest(score, 5), key=lambda found: abs(prediction - found.left))

        def change(some, score=score, prediction=prediction):
            group = torch.zeros(len(some), dtype=torch.int64)
            return abs(prediction - float(score(without_groups(score.batch, some, group, 1, keep_all(score.batch)))[0]))

        top = change(side.rows)
        assert top == pytest.approx(abs(prediction - side.left), abs=1e-6)
        draws = [change(rows[torch.randperm(len(rows), generator=generator)[: len(side.rows)]]) for _ in range(10)]
        assert top > np.mean(draws)


def test_nothing_newer_is_seen_or_matters(shop, run, busy):
    frames, db = shop
    at = "2021-07-01"
    found = explain(run, db, entity=busy[0], at=at)
    assert found.rows
    assert all(row.time is None or pd.Timestamp(row.time) <= pd.Timestamp(at) for row in found.rows)
    later = frames["orders"][frames["orders"]["placed"] > "2021-06-01"].copy()
    later["order_id"] += 10_000
    later["placed"] = pd.Timestamp("2021-07-01 00:00:01")
    items = frames["items"].assign(order_id=frames["items"]["order_id"] + 10_000)
    grown = {
        **frames,
        "orders": pd.concat([frames["orders"], later], ignore_index=True),
        "items": pd.concat([frames["items"], items[items["order_id"].isin(later["order_id"])]], ignore_index=True),
    }
    assert explain(run, open_tables(grown), entity=busy[0], at=at).to_dict() == found.to_dict()


def test_twice_the_same(shop, run, busy):
    first, again = (explain(run, shop[1], entity=busy[1], at=AT).to_dict() for _ in range(2))
    assert first == again
    assert json.loads(json.dumps(first)) == first
    pd.testing.assert_frame_equal(importance(run, shop[1], rows=20), importance(run, shop[1], rows=20))


def test_rows_are_shown_as_they_stand_in_the_source(shop, run, busy):
    frames, db = shop
    found = explain(run, db, entity=busy[0], at=AT, top=50)
    orders = frames["orders"].set_index("order_id")
    seen = {row.table for row in found.rows}
    assert {"orders", "items"} <= seen
    for row in found.rows:
        cells = {cell.column: cell.value for cell in row.cells}
        if row.table == "orders":
            assert cells["amount"] == orders.loc[row.pkey, "amount"]
            assert cells["kind"] == orders.loc[row.pkey, "kind"]
            assert row.keys == {"order_id": row.pkey}  # that it is the customer's own goes without saying
            assert row.title == f"orders of {row.time} (order_id {row.pkey})"
        if row.table == "items":
            assert row.pkey is None
            assert set(row.keys) == {"order_id", "product_id"}
            assert set(cells) == {"quantity"}
        ranked = [abs(cell.attribution) for cell in row.cells]
        assert ranked == sorted(ranked, reverse=True)
    assert found.own.table == "customers"
    assert found.own.pkey == busy[0]
    assert {cell.column for cell in found.own.cells} == {"joined", "city", "score", "nothing"}
    assert found.seen["orders"] == (orders["customer_id"][orders["placed"] <= AT] == busy[0]).sum()


def test_the_text_says_it_in_words(shop, run, busy):
    found = explain(run, shop[1], entity=busy[0], at=AT, top=2)
    lines = str(found).splitlines()
    assert lines[0] == f"again of customers {busy[0]} at {AT}: probability {number(found.prediction)}"
    assert lines[1].startswith("rows seen beside its own: ")
    assert any(line.startswith("These 2 rows push the probability up; without them: 0.") for line in lines)
    assert any(line.startswith("These 2 rows push the probability down; without them: 0.") for line in lines)
    for row in found.rows:
        assert f"  {signed(row.attribution)}  {row.text}" in lines
    assert f"Its own row, {found.own.title}, by column:" in lines


@pytest.mark.parametrize(
    ("value", "said"),
    [(None, "-"), (1.23456789, "1.23457"), ("a\nb", "a b"), ("x" * 50, "x" * 39 + "…"), (True, "True")],
)
def test_values_are_short(value, said):
    assert short(value) == said


def test_numbers_have_digits_that_say_something():
    assert [signed(v) for v in (0.0312, -2.5, 0.00012, 0.0)] == ["+0.0312", "-2.5000", "+1.2e-04", "+0.0000"]
    assert [number(v) for v in (0.5, 12345.678)] == ["0.5000", "12,345.7"]


def test_an_entity_without_history(shop, run):
    frames, _ = shop
    people = pd.concat(
        [
            frames["customers"],
            pd.DataFrame([{"customer_id": "new", "joined": pd.Timestamp("2021-11-14"), "city": "Rome"}]),
        ]
    )
    found = explain(run, open_tables({**frames, "customers": people}), entity="new", at=AT)
    assert found.rows == ()
    assert not any(found.seen.values())
    assert found.notes == ("It has no history: nothing but its own row was seen.",)
    assert "rows seen beside its own: none" in str(found)
    assert {cell.column: cell.value for cell in found.own.cells}["city"] == "Rome"


def test_a_time_before_all_data(shop, run):
    people = shop[0]["customers"]
    entity = people["customer_id"][people["joined"].notna()].iloc[0]
    found = explain(run, shop[1], entity=entity, at="1999-01-01")
    assert found.rows == ()
    assert found.own is None
    assert found.notes[0].startswith("Nothing in the database is as old as 1999-01-01: its first row is of 2021-01-")
    assert found.notes[1].startswith(
        "Its own row is newer than 1999-01-01: it is predicted as one of which nothing is known."
    )


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"entity": "nobody", "at": AT}, TaskError, r"1 of 1 keys to predict for name no row of 'customers'"),
        ({"entity": "c001", "at": "soon"}, UsageError, r"'at' must be a time"),
        ({"entity": "c001", "top": 0}, UsageError, r"'top' must be > 0, got 0"),
        ({"entity": "c001", "output": "web"}, UsageError, r"task 'again' \(binary_classification\) has no classes"),
    ],
)
def test_what_is_refused(shop, run, arguments, error, says):
    with pytest.raises(error, match=says):
        explain(run, shop[1], **arguments)


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"split": "late"}, UnknownNameError, r"no split 'late'"),
        ({"rows": 0}, UsageError, r"'rows' must be > 0, got 0"),
    ],
)
def test_what_importance_refuses(shop, run, arguments, error, says):
    with pytest.raises(error, match=says):
        importance(run, shop[1], **arguments)


@pytest.mark.parametrize("kind", ["regression", "multiclass_classification", "multilabel_classification"])
def test_task_types(shop, tmp_path, kind):
    frames, db = shop
    trained = train_fast(db, make_task(db, frames, kind), tmp_path / "run", model="gnn", members=1)
    orders = frames["orders"]
    entity = orders[orders["placed"] <= AT]["customer_id"].value_counts().index[0]
    found = explain(trained, db, entity=entity, at=AT, top=3)
    row = trained.predict(db, at=AT, entities=[entity]).iloc[0]
    if kind == "regression":
        assert found.what == "value"
        assert found.prediction == pytest.approx(row["prediction"], abs=1e-4)
    else:
        shares = {c: row[f"p({c})"] for c in trained.task.classes}
        likeliest = max(shares, key=lambda c: shares[c])
        assert found.what == f"probability of '{likeliest}'"
        assert found.prediction == pytest.approx(shares[likeliest], abs=1e-6)
        other = explain(trained, db, entity=entity, at=AT, top=3, output="desk")
        assert (other.what, other.prediction) == ("probability of 'desk'", pytest.approx(shares["desk"], abs=1e-6))
        with pytest.raises(UnknownNameError, match=r"no class 'dsk'. Did you mean 'desk'\?"):
            explain(trained, db, entity=entity, at=AT, output="dsk")
    for rows, without in zip(sides(found), found.without, strict=True):
        assert sum(r.attribution for r in rows) == pytest.approx(found.prediction - without, rel=1e-4, abs=1e-5)
    effects = importance(trained, db, rows=20)
    assert effects["share"].sum() == pytest.approx(1)


def test_steps_explain_the_first(shop, tmp_path):
    db = shop[1]
    task = Task(db, "PREDICT SUM(orders.amount, 0, 30, days) FORECAST 2 TIMEFRAMES FOR EACH customers.customer_id")
    trained = train_fast(db, task, tmp_path / "run", model="gnn", members=1)
    found = explain(trained, db, entity="c001", at=AT)
    assert found.what == "value of the first step"
    assert found.prediction == pytest.approx(predicted(trained, db, "c001"), rel=1e-4)


def test_a_value_beyond_the_train_labels_says_so(shop, tmp_path):
    frames, db = shop
    trained = train_fast(db, make_task(db, frames, "regression"), tmp_path / "run", model="gnn", members=1)
    trained.model.head.low.fill_(100.0)
    found = explain(trained, db, entity="c001", at=AT)
    assert found.prediction == 100.0
    assert "which was brought to 100.0000, into the range of the train labels" in found.notes[-1]


def test_many_rows_are_halved_until_each_can_be_tried(tmp_path):
    frames = tables(orders=1200)
    frames["orders"]["customer_id"] = "c003"
    db = open_tables(frames)
    config = ModelConfig(channels=8, num_neighbors=(-1, -1))
    trained = train_fast(db, make_task(db, tables()), tmp_path / "run", model="gnn", members=1, model_config=config)
    found = explain(trained, db, entity="c003", at=AT, top=3)
    assert found.seen["orders"] > MOST_CANDIDATES
    assert found.rows
    for rows, without in zip(sides(found), found.without, strict=True):
        assert sum(row.attribution for row in rows) == pytest.approx(found.prediction - without, abs=1e-5)


def planted(odd: bool = False, newest: bool = False):
    """Events whose ``flag`` is the label, beside columns and a table that say nothing.

    All events of one have the same flag, or with ``newest`` any, and the newest one by then is the label.
    """
    rng = np.random.default_rng(0)
    people, events, noise = ("drop table", 'say "hi"; --', "a.b") if odd else ("people", "events", "noise")
    flag, size = ("it's %s", "größe") if odd else ("flag", "size")
    count = 300
    likes = rng.integers(0, 2, count)
    who = rng.integers(0, count, 1500)
    day = pd.Timestamp("2021-01-01") + pd.to_timedelta(rng.integers(0, 200, 1500), unit="D")
    frames = {
        people: pd.DataFrame({"id": np.arange(count), "shade": rng.choice(["x", "y", "z"], count)}),
        events: pd.DataFrame(
            {
                "event": np.arange(1500),
                "who": who,
                "day": day,
                flag: np.where(rng.integers(0, 2, 1500) if newest else likes[who], "yes", "no"),
                size: rng.normal(size=1500),
            }
        ),
        noise: pd.DataFrame(
            {"noise": np.arange(1500), "who": rng.permutation(who), "day": day, "height": rng.normal(size=1500)}
        ),
    }
    key = (ForeignKey(("who",), people),)
    schema = Schema(
        "planted",
        {
            people: Table(people, ("id",), columns=(Column("id"), Column("shade", stype="categorical"))),
            events: Table(
                events,
                ("event",),
                fkeys=key,
                time_col="day",
                columns=(
                    Column("event"),
                    Column("who"),
                    Column("day"),
                    Column(flag, stype="categorical"),
                    Column(size, stype="numerical"),
                ),
            ),
            noise: Table(
                noise,
                ("noise",),
                fkeys=key,
                time_col="day",
                columns=(Column("noise"), Column("who"), Column("day"), Column("height", stype="numerical")),
            ),
        },
    )
    db = connect(frames, schema=schema)
    months = ("2021-04-01", "2021-05-15", "2021-07-01") if newest else ("2021-08-01", "2021-09-01", "2021-10-01")
    made = []
    for at in pd.to_datetime(months):
        known = frames[events][frames[events]["day"] <= at].sort_values(["day", "event"]).groupby("who")[flag].last()
        last = known.reindex(range(count)).eq("yes").to_numpy()
        made.append(pd.DataFrame({"id": np.arange(count), "at": at, "y": (last if newest else likes).astype(int)}))
    labels = pd.concat(made)
    task = Task.from_labels(
        db,
        labels,
        entity_table=people,
        time_col="at",
        target_col="y",
        val_timestamp=months[1],
        test_timestamp=months[2],
        timedelta="30 days",
    )
    return db, task, (people, events, flag)


@pytest.mark.parametrize("odd", [False, True])
def test_what_decides_the_label_is_found(tmp_path, odd):
    db, task, (people, events, flag) = planted(odd)
    config = ModelConfig(channels=16, num_neighbors=(8,))
    trained = train_fast(
        db,
        task,
        tmp_path / "run",
        model="gnn",
        members=1,
        model_config=config,
        train_config=TrainConfig(epochs=15, batch_size=64, lr=0.02),
    )
    assert trained.evaluate("test")["auroc"] > 0.95
    effects = importance(trained, db, rows=100)
    assert list(effects.columns) == ["table", "column", "window", "share", "effect"]
    assert effects["share"].sum() == pytest.approx(1)
    assert effects.groupby(["table", "column"])["share"].sum().idxmax() == (events, flag)
    assert effects.groupby("table")["share"].sum()[events] > 0.6
    assert set(effects[effects["table"] == people]["window"]) <= {OWN_ROW}
    assert set(effects[effects["table"] == events]["window"]) <= {"0-30 days", "30-120 days", "120-480 days"}
    assert ROWS in set(effects["column"])
    found = explain(trained, db, entity=7, at="2021-10-01", top=3)
    first = found.rows[0]
    assert first.table == events
    assert first.cells[0].column == flag
    assert first.cells[0].attribution * first.attribution > 0
    assert found.rows[0].text.startswith(f"{events} of 2021-")
    assert f"{flag} {first.cells[0].value}" in first.text


def test_a_row_to_complete_is_explained_at_its_own_time(shop, tmp_path):
    db = shop[1]
    task = Task(
        db,
        {
            "name": "amount",
            "kind": "autocomplete",
            "task_type": "regression",
            "entity_table": "orders",
            "target_col": "amount",
            "val_timestamp": "2021-08-01",
            "test_timestamp": "2021-10-01",
        },
    )
    trained = train_fast(db, task, tmp_path / "run", model="gnn", members=1)
    found = explain(trained, db, entity=17, top=5)
    orders = shop[0]["orders"].set_index("order_id")
    assert pd.Timestamp(found.seed_time) == orders.loc[17, "placed"]
    assert {cell.column for cell in found.own.cells} == {"placed", "kind"}
    for row in found.rows:
        assert "amount" not in {cell.column for cell in row.cells} | set(row.keys)
    with pytest.raises(UsageError, match="completes a column at each row's own time: leave 'at' out"):
        explain(trained, db, entity=17, at=AT)
