"""The page: what stands in it, that it says what is missing, and that it is written whole or not at all."""

from __future__ import annotations

import json
import os
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from little_shop import labels, make_task, open_tables, tables, train_fast

from graphlearn.cli.exit import main
from graphlearn.errors import StorageError, UnknownNameError, UsageError
from graphlearn.predict import Run, load
from graphlearn.report import Report, make_report, write_report
from graphlearn.report.write import place, save_report
from graphlearn.schema import connect
from graphlearn.tasks import Task

NEEDS_DATA = ["result", "calibration", "time", "matters", "examples", "audit"]


class Outline(HTMLParser):
    """The text of each section, the open elements, and every attribute that could load or run something."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open, self.sections, self.loads, self.ids = [], {}, [], []
        self._section = "head"
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, name, attributes):
        found = dict(attributes)
        if name == "section":
            self._section = found["id"]
        self.ids += [found["id"]] if "id" in found else []
        self.loads += [(name, k, v) for k, v in attributes if k in ("src", "srcset", "style") or k.startswith("on")]
        self.loads += [(name, "href", found["href"])] if "href" in found and not found["href"].startswith("#") else []
        if name not in ("meta", "link", "br"):
            self.open.append(name)

    def handle_endtag(self, name):
        assert self.open.pop() == name

    def handle_data(self, data):
        if self.open[-1:] != ["style"]:
            self.sections[self._section] = self.sections.get(self._section, "") + " " + data


@pytest.fixture(scope="module")
def page(run):
    return make_report(run).html


def test_everything_is_in_it(run, page):
    read = Outline(page)
    text = read.sections
    assert read.loads == [("link", "href", "data:,")]
    assert len(set(read.ids)) == len(read.ids)
    row = run.compare().iloc[0]
    assert f"{row['auroc']:.3f}" in text["head"]
    for shown in (row["auroc"], row["low"], row["high"], row["average_precision"], row["f1"]):
        assert f"{shown:.3f}" in text["result"]
    assert "entity's past labels" in text["result"]
    assert "Frozen regime" in text["question"]
    sizes = run.compare("train").attrs["rows"], run.compare("val").attrs["rows"], 111
    assert all(f" {size} " in text["question"] for size in sizes)
    for name, count in {"customers": 40, "orders": 300, "items": 600, "products": 12}.items():
        assert name in text["database"]
        assert f"{count} rows" in text["database"]
    assert "expected calibration error" in text["calibration"]
    assert "was chosen on validation" in text["training"]
    assert "orders" in text["matters"]
    assert all(word in text["examples"] for word in ("Highest: customers c", "In the middle:", "Lowest:", "points"))
    assert text["audit"].count("✓ ok") >= 7
    assert run.id in text["making"]
    assert run.meta["fingerprint"] in text["making"]
    assert run.meta["versions"]["torch"] in text["making"]
    assert "train_config.batch_size" in text["making"]
    assert "Content-Security-Policy" in page


def test_the_same_run_gives_the_same_page(run, page):
    assert make_report(run).html == page


def test_names_and_values_cannot_be_markup(hostile):
    run, db = hostile
    read = Outline(make_report(run, db).html)  # raises where an element is not closed
    assert read.loads == [("link", "href", "data:,")]
    assert "<script>alert('table')</script>" in read.sections["database"]
    assert "😀" in read.sections["database"]
    assert "\u202e" not in "".join(read.sections.values())


@pytest.mark.parametrize(
    "task_type", ["regression", "multiclass_classification", "multilabel_classification", "multistep_regression"]
)
def test_every_kind_of_task_has_a_page(task_type, tmp_path):
    frames = tables()
    db = open_tables(frames)
    if task_type == "multistep_regression":
        query = "PREDICT COUNT(orders.*, 0, 30, days) FORECAST 2 TIMEFRAMES FOR EACH customers.customer_id"
        task = Task(db, query, val_timestamp="2021-08-01", test_timestamp="2021-10-01")
    else:
        task = make_task(db, frames, task_type)
    made = make_report(train_fast(db, task, tmp_path / "run", model="gnn"), db)
    read = Outline(made.html)
    assert {section for section, why in made.missing.items() if why} <= {"time"}
    assert "nan" not in " ".join(read.sections.values()).lower()
    if task_type == "multistep_regression":
        assert "FORECAST 2" in read.sections["question"]


def without_source(run: Run, tmp_path: Path) -> Path:
    """A copy of the run folder whose database is not there any more."""
    folder = shutil.copytree(run.folder, tmp_path / "run")
    meta = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(meta | {"source": str(tmp_path / "gone")}))
    return folder


def test_without_the_source_each_section_says_so(run, tmp_path):
    folder = without_source(run, tmp_path)
    (folder / "metrics.jsonl").unlink()
    made = make_report(load(folder))
    assert [section for section, why in made.missing.items() if why] == sorted(
        [*NEEDS_DATA, "training"], key=list(made.missing).index
    )
    read = Outline(made.html).sections
    for section in NEEDS_DATA:
        assert f"the source of this run, {tmp_path / 'gone'}, is not there: name the database to use." in read[section]
    assert "There are no learning curves: the run folder has no metrics.jsonl." in read["training"]
    assert "customers" in read["database"]  # the schema is in the run
    assert "Row counts are missing:" in read["database"]
    assert run.id in read["making"]


def test_without_labels_each_section_says_so(shop, tmp_path):
    frames = tables()
    db = open_tables(frames)
    run = train_fast(db, make_task(db, frames), tmp_path / "run", model="gnn")
    for split in ("val", "test"):
        (run.folder / "task" / f"{split}.parquet").unlink()
    made = make_report(run, db)
    assert [section for section, why in made.missing.items() if why] == NEEDS_DATA
    assert "the val split is empty: the labels of the training had none." in made.missing["result"]


def test_a_run_that_keeps_no_epochs(run, tmp_path):
    folder = without_source(run, tmp_path)
    (folder / "metrics.jsonl").write_text("")
    made = make_report(load(folder))
    assert made.missing["training"] == "This kind of model keeps no record of epochs, so there are no learning curves."
    (folder / "metrics.jsonl").write_text("{not json")
    assert make_report(load(folder)).missing["training"]


def test_one_class_in_test_is_no_reason_to_fail(tmp_path):
    frames = tables()
    rows = labels(frames)
    rows.loc[rows["as_of"] >= "2021-10-01", "y"] = 0
    db = open_tables(frames)
    made = make_report(train_fast(db, make_task(db, frames, labels=rows), tmp_path / "run", model="gnn"), db)
    assert made.missing["time"]
    assert "no value" in made.html
    assert "nan" not in " ".join(Outline(made.html).sections.values()).lower()


def test_it_is_whole_or_absent(run, tmp_path, monkeypatch):
    file = tmp_path / "deep" / "report.html"
    assert write_report(run, out=file) == file
    assert file.stat().st_mode & 0o777 == 0o666 & ~umask()
    before = file.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(
        StorageError, match=r"the report could not be written to .*report.html: No space left on device"
    ):
        write_report(run, out=file)
    assert file.read_bytes() == before
    assert os.listdir(file.parent) == ["report.html"]


def umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_what_is_refused(run, tmp_path):
    with pytest.raises(UsageError, match="is a folder: name the file to write"):
        place(run, tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="could not be written"):
        save_report(Report("page", {}), tmp_path / "file" / "report.html")
    frames = tables()
    frames.pop("items")
    with pytest.raises(UnknownNameError, match="no table 'items'"):
        write_report(run, connect(frames))


def test_the_command(run, shop, tmp_path, capfd):
    folder = shutil.copytree(run.folder, tmp_path / "run")
    assert main(["report", str(folder), str(shop)]) == 0
    out, err = capfd.readouterr()
    assert out == f"wrote  {folder / 'report.html'}\n"
    assert err == ""
    assert Outline((folder / "report.html").read_text()).sections["result"]
    load(folder)  # a page in it does not make a run folder another one
    assert load(folder).id == run.id
    shutil.rmtree(folder)
    folder = without_source(run, tmp_path)
    assert main(["report", str(folder), "--out", str(tmp_path / "a.html"), "--json"]) == 0
    said = json.loads(capfd.readouterr().out)
    assert said["report"] == str(tmp_path / "a.html")
    assert list(said["missing"]) == NEEDS_DATA
    assert main(["report", str(folder), "--out", str(tmp_path / "b.html")]) == 0
    assert capfd.readouterr().err.startswith("missing  result: the source of this run, ")
    assert main(["report", str(tmp_path)]) == 2
    assert re.match(r"RunError: .* is not a run folder", capfd.readouterr().err)


def test_rows_are_counted_by_anchor(run, page):
    """The bars of the chart of labels: one for each anchor, as tall as the number of its labels."""
    frames = [Task(connect(run.meta["source"]), "again").labels(split) for split in ("train", "val", "test")]
    rows = pd.concat(frames).groupby("seed_time").size()
    said = re.findall(r"<title>(\S+) to \S+: (\d+) labels, mean [\d.]+", page)
    half = len(said) // 2  # drawn twice: for screens and for phones
    assert said[:half] == said[half:] == [(f"{time:%Y-%m-%d}", str(count)) for time, count in rows.items()]
    assert len(rows) == 10
