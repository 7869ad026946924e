"""A student of a ranking: what it learns from, that it is a run like any other, and what is refused."""

from __future__ import annotations

import json

import pandas as pd
import pytest
import torch
from little_shop import FAST, MODEL, TEST, VAL, make_task, open_tables, tables, train_fast

from graphlearn.cli.exit import main
from graphlearn.compress import LLPLoss
from graphlearn.compress.ranking import StudentLessons, ask_teacher, student_sizes
from graphlearn.errors import UnknownNameError, UsageError
from graphlearn.predict import load, train
from graphlearn.predict.compress import compress
from graphlearn.predict.ranking import make_ranker
from graphlearn.schema import Database
from graphlearn.tasks import Task
from graphlearn.training.pairs import split_pairs
from graphlearn.training.ranking import ItemFeatures, PairLessons, Scoring

QUERY = "PREDICT LIST_DISTINCT(items.product_id, 0, 30, days) RANK TOP 4 FOR EACH customers.customer_id"


@pytest.fixture(scope="module")
def db() -> Database:
    return open_tables(tables())


@pytest.fixture(scope="module")
def task(db) -> Task:
    return Task(db, QUERY, val_timestamp=VAL, test_timestamp=TEST)


@pytest.fixture(scope="module")
def teacher(db, task, tmp_path_factory):
    out = tmp_path_factory.mktemp("teacher") / "run"
    return train(db, task, out=out, model="fused", model_config=MODEL, train_config=FAST, progress=False)


def test_the_student_is_a_run_that_predicts(teacher, db, tmp_path):
    made = compress(teacher, db, out=tmp_path / "student", train_config=FAST, progress=False)
    assert made.run.model_config.num_neighbors == (0,)
    assert made.after["bytes"] < made.before["bytes"]
    assert made.run.meta["student_of"]["run"] == teacher.id
    again = load(tmp_path / "student", db=db)
    first, second = (run.predict(db, at="2021-10-01") for run in (made.run, again))
    pd.testing.assert_frame_equal(first, second)
    assert [name for name in first if name.startswith("prediction")] == [
        "prediction", "prediction(2)", "prediction(3)", "prediction(4)",
    ]  # fmt: skip
    assert 0 <= float(again.evaluate("test", db)["map"]) <= 1


def test_the_same_seed_gives_the_same_student(teacher, db, tmp_path):
    one, two = (
        compress(teacher, db, out=tmp_path / name, train_config=FAST, progress=False).run.ranker.state_dict()
        for name in ("one", "two")
    )
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_student_sees_two_rows_and_nothing_else(teacher, db, tmp_path):
    student = compress(teacher, db, out=tmp_path / "student", train_config=FAST, progress=False).run
    before = student.predict(db, at="2021-10-01", entities=["c001", "c002"])
    frames = tables()
    frames["items"] = frames["items"].iloc[:100]  # most of what happened is gone
    after = student.predict(open_tables(frames), at="2021-10-01", entities=["c001", "c002"])
    pd.testing.assert_frame_equal(before, after)


def test_the_teacher_is_asked_for_its_favourites_and_for_others(teacher, db, task):
    graph = teacher.graph(db)
    pairs = split_pairs(graph, task, "train", "frozen").with_items()
    features = ItemFeatures(graph, "products", task.timedelta)
    scoring = Scoring(teacher.ranker, graph, features)
    asked = ask_teacher(scoring, pairs, torch.Generator().manual_seed(0))
    assert asked.item.shape == (len(pairs), 24)  # all 12 products in order, and 12 drawn
    assert bool(asked.known.all())
    best = asked.score[:, :12].float()
    assert bool((best.diff(dim=1) <= 0).all())
    row = pairs.take(torch.tensor([3]))
    with torch.inference_mode():
        own = scoring.scores(row.seeds, scoring.all_items(int(row.seeds.input_time[0]), int(row.seeds.seed_time[0])))[0]
    torch.testing.assert_close(own[asked.item[3]], asked.score[3].float(), rtol=1e-3, atol=1e-2)


def test_what_the_teacher_says_is_learned(teacher, db, task):
    """With the labels' weight at 0 the student follows the teacher alone, and comes to rank as it does."""
    graph = teacher.graph(db)
    pairs = split_pairs(graph, task, "train", "frozen").with_items()
    features = ItemFeatures(graph, "products", task.timedelta)
    contexts = ask_teacher(Scoring(teacher.ranker, graph, features), pairs, torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    model = make_ranker(db.schema, teacher.statistics, task, "two-tower", student_sizes(MODEL), None)
    lessons = StudentLessons(
        Scoring(model, graph, features), pairs, None, FAST, contexts=contexts,
        loss=LLPLoss(w_label=0.0, w_rank=0.0, w_dist=1.0, use_logits=True), top=4,
    )  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    means = []
    for epoch in range(15):
        losses = []
        for loss in lessons.losses(100, torch.Generator().manual_seed(epoch)):
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        means.append(sum(losses) / len(losses))
    assert means[-1] < 0.5 * means[0]


def test_without_a_teacher_the_student_learns_from_labels_alone(teacher, db, task):
    graph = teacher.graph(db)
    pairs = split_pairs(graph, task, "train", "frozen").with_items()
    model = make_ranker(db.schema, teacher.statistics, task, "two-tower", student_sizes(MODEL), None).eval()
    scoring = Scoring(model, graph, ItemFeatures(graph, "products", task.timedelta))
    plain = PairLessons(scoring, pairs, None, FAST, top=4)
    student = StudentLessons(scoring, pairs, None, FAST, contexts=None, loss=LLPLoss(), top=4)
    for ours, theirs in zip(
        student.losses(3, torch.Generator().manual_seed(0)),
        plain.losses(3, torch.Generator().manual_seed(0)),
        strict=True,
    ):
        assert torch.equal(ours, theirs)


def test_what_is_refused(teacher, db, tmp_path):
    with pytest.raises(UnknownNameError, match=r"no student 'trees'\. Known: mlp"):
        compress(teacher, db, out=tmp_path / "out", student="trees")
    with pytest.raises(UsageError, match=r"teacher.*/run exists"):
        compress(teacher, db, out=teacher.folder)
    frames = tables()
    values = train_fast(open_tables(frames), make_task(open_tables(frames), frames), tmp_path / "values")
    with pytest.raises(UsageError, match=r"values predicts values; a student is distilled from a run that ranks"):
        compress(values, db, out=tmp_path / "out")


def test_the_command(teacher, tmp_path, capfd, monkeypatch):
    monkeypatch.setattr("graphlearn.predict.compress._SETTINGS", FAST)
    frames = tables()
    source = tmp_path / "shop"
    (source / "db").mkdir(parents=True)
    for name, frame in frames.items():
        frame.to_parquet(source / "db" / f"{name}.parquet", index=False)
    open_tables(frames).schema.save(source / "manifest.yaml")
    words = ["compress", str(teacher.folder), str(source)]
    assert main(words) == 2
    assert "say what to make of the run: --student mlp" in capfd.readouterr().err
    assert main([*words, "--student", "mlp"]) == 2
    assert "--out is missing" in capfd.readouterr().err
    assert main([*words, "--student", "mlp", "--out", str(tmp_path / "small"), "--json"]) == 0
    said = json.loads(capfd.readouterr().out)
    assert said["run"] == str(tmp_path / "small")
    assert said["after"]["bytes"] < said["before"]["bytes"]
    assert main([*words, "--student", "mlp", "--out", str(tmp_path / "small"), "--force"]) == 0
    out, err = capfd.readouterr()
    assert [line.split()[0] for line in out.splitlines()] == ["val", "teacher", "student", "wrote"]
    assert err.startswith("epoch   1/")
