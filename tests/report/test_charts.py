"""What the page is drawn with: markup that escapes, axes, bins, and the layout of the schema."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from graphlearn.report import charts, words
from graphlearn.report.calibrate import _of_numbers, _of_shares
from graphlearn.report.canvas import NARROW, WIDE, numbers_axis, times_axis
from graphlearn.report.diagram import diagram
from graphlearn.report.markup import Markup, join, table, tag
from graphlearn.schema import ForeignKey, Schema, Table

US = 1_000_000


@given(st.text(), st.text())
def test_text_comes_back_as_it_went_in(text: str, value: str):
    """What a parser reads out of an element and an attribute is what was put in, but for what no page may hold."""
    read: list[str] = []

    class Reader(HTMLParser):
        def handle_starttag(self, name, attributes):
            read.append(dict(attributes)["title"])

        def handle_data(self, data):
            read.append(data)

    reader = Reader()
    reader.feed(tag("p", text, title=value))
    reader.close()
    unfit = "[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff\u202a-\u202e\u2066-\u2069]"
    wanted = [re.sub(unfit, "\ufffd", part) for part in (value, text)]
    assert [read[0], "".join(read[1:])] == wanted


def test_markup_is_not_escaped_twice():
    inner = tag("b", "a & b")
    assert inner == "<b>a &amp; b</b>"
    assert isinstance(join([inner, "<"]), Markup)
    assert tag("p", inner, None, "<i>", class_="x", hidden=True, id=None) == (
        '<p class="x" hidden><b>a &amp; b</b>&lt;i&gt;</p>'
    )
    assert tag("meta", name="a", content='"') == '<meta name="a" content="&quot;">'


def test_a_table_names_its_rows_and_aligns_its_numbers():
    made = table(["name", "n"], [["<x>", "1"]], caption="Names")
    assert '<th scope="col">name</th><th class="n" scope="col">n</th>' in made
    assert '<th scope="row">&lt;x&gt;</th><td class="n">1</td>' in made
    assert 'tabindex="0" role="region" aria-label="Names"' in made


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (1234567, "1,234,567"), (0.12345, "0.123"), (-2.5, "−2.50"), (98765.4, "98,765"), (1e-9, "1.00e−09"),
     (float("nan"), "–"), (None, "–")],
)  # fmt: skip
def test_numbers_in_words(value, text):
    assert words.number(value) == text


def test_other_words():
    assert [words.percent(v) for v in (0, 0.004, 0.0994, 0.0996, 1, float("nan"))] == [
        "0%", "0.4%", "9.9%", "10%", "100%", "–"
    ]  # fmt: skip
    assert [words.short(v) for v in (0, 950, 1200, -25e5, 3e9)] == ["0", "950", "1.2k", "−2.5M", "3G"]
    assert [words.seconds(v) for v in (0.04, 9.94, 35.2, 250)] == ["0.0 s", "9.9 s", "35 s", "4 min 10 s"]
    assert words.between(0.25, 12.345) == "0.250 to 12.3"
    assert words.clipped("a  b\n" + "c" * 50, 10) == "a b ccccc…"


@given(st.floats(-1e9, 1e9), st.floats(1e-6, 1e9), st.sampled_from([3, 5, 6]))
def test_ticks_are_few_round_and_within(low: float, span: float, most: int):
    assume(span > 1e-6 * abs(low))  # beyond it the ticks differ by less than a number can
    axis = numbers_axis(low, low + span, 10, 210, most=most)
    values = [value for value, _ in axis.ticks]
    assert 2 <= len(values) <= most + 2
    assert axis.low <= low + 1e-6 * span
    assert axis.high >= low + span * (1 - 1e-6)
    assert axis(axis.low) == 10
    assert axis(axis.high) == 210
    assert np.allclose(np.diff(values), values[1] - values[0], rtol=1e-6, atol=1e-9 * max(abs(low), span))


def test_an_axis_of_one_value_has_room_around_it():
    axis = numbers_axis(5, 5, 0, 100)
    assert axis.low < 5 < axis.high
    assert numbers_axis(0, 0, 0, 100).low < 0


@pytest.mark.parametrize(
    ("first", "last", "texts"),
    [
        ("1950-05-01", "2013-06-01", ["1960", "1970", "1980", "1990", "2000", "2010"]),
        ("2023-07-17", "2026-06-01", ["2024", "2025", "2026"]),
        ("2021-01-10", "2021-06-20", ["Feb 2021", "Mar 2021", "Apr 2021", "May 2021", "Jun 2021"]),
        ("2021-01-04", "2021-01-06", ["Jan 04", "Jan 05", "Jan 06"]),
        ("2021-01-01", "2021-01-01", ["2021-01-01"]),
    ],
)
def test_times_have_calendar_ticks(first, last, texts):
    low, high = (pd.Timestamp(t).value // 1000 for t in (first, last))
    axis = times_axis(low, high, 0, 600)
    assert [text for _, text in axis.ticks][: len(texts)] == texts
    for value, text in axis.ticks:
        assert pd.Timestamp(int(value), unit="us").strftime("%Y") in text or not text.isdigit()
        assert 0 <= axis(value) <= 600


def test_bins_of_probabilities_by_hand():
    share = np.array([0.05, 0.07, 0.55, 0.58, 0.51, 1.0])
    truth = np.array([0.0, 0.0, 1.0, 0.0, 1.0, 1.0])
    first, middle, last = _of_shares(truth, share)
    assert (first.rows, middle.rows, last.rows) == (2, 3, 1)
    assert (first.predicted, first.actual) == (pytest.approx(0.06), 0.0)
    assert (middle.predicted, middle.actual) == (pytest.approx(0.5466667), pytest.approx(2 / 3))
    # Wilson's interval of 2 in 3, from its formula.
    assert (middle.low, middle.high) == (pytest.approx(0.20766, abs=1e-4), pytest.approx(0.93851, abs=1e-4))
    assert (last.actual, last.high) == (1.0, pytest.approx(1.0))


def test_bins_of_numbers():
    said = np.repeat(np.arange(11.0), 20)
    truth = said + np.tile([-1.0, 0.0, 0.0, 3.0], 55)
    bins, shares, texts = _of_numbers(truth, said)
    assert not shares
    assert sum(b.rows for b in bins) == 220
    assert all(b.low <= b.actual <= b.high for b in bins)
    assert bins[3].actual == bins[3].predicted
    assert "on average they are 0.500 too low." in texts.caption
    assert _of_numbers(truth, np.ones(220))[0] == []


@st.composite
def schemas(draw) -> Schema:
    """Tables that refer to each other in any way, circles and themselves included."""
    names = [f"t{i}" for i in range(draw(st.integers(1, 20)))]
    keys = draw(st.lists(st.tuples(st.sampled_from(names), st.sampled_from(names)), max_size=30, unique=True))
    return Schema(
        "any",
        {
            name: Table(name, pkey=("id",), fkeys=tuple(
                ForeignKey((f"{b}_id",), b) for a, b in keys if a == name
            ))
            for name in names
        },
    )  # fmt: skip


def rectangles(svg: str) -> dict[str, tuple[float, float, float, float]]:
    found = re.findall(
        r'<rect x="([\d.]+)" y="([\d.]+)" width="([\d.]+)" height="([\d.]+)"[^>]*class="box[^>]*><title>(\w+)', svg
    )
    return {name: tuple(map(float, place)) for *place, name in found}


@settings(max_examples=60, deadline=None)
@given(schemas())
def test_no_two_tables_of_the_diagram_overlap(schema: Schema):
    svg = diagram(schema, "t0", None)
    boxes = rectangles(svg)
    assert set(boxes) == set(schema.tables)
    width, height = (float(n) for n in re.search(r'width="(\d+)" height="(\d+)" role', svg).groups())
    places = list(boxes.values())
    for i, (x, y, w, h) in enumerate(places):
        assert x >= 0
        assert y >= 0
        assert x + w <= width
        assert y + h <= height
        for a, b, _, _ in places[:i]:
            assert abs(a - x) >= w or abs(b - y) >= h + 8
    assert svg.count("<path") == sum(len(t.fkeys) for t in schema.tables.values())


def test_who_holds_a_key_stands_to_the_right():
    schema = Schema(
        "shop",
        {
            "items": Table(
                "items", fkeys=(ForeignKey(("order_id",), "orders"), ForeignKey(("product_id",), "products"))
            ),
            "orders": Table("orders", pkey=("id",), fkeys=(ForeignKey(("customer_id",), "customers"),), time_col="at"),
            "customers": Table("customers", pkey=("id",)),
            "products": Table("products", pkey=("id",)),
        },
    )
    svg = diagram(schema, "customers", {"items": 7, "orders": 3, "customers": 1, "products": 2})
    x = {name: place[0] for name, place in rectangles(svg).items()}
    assert x["customers"] < x["orders"] < x["items"]
    assert x["products"] == x["orders"]  # next to the one table that needs it
    assert "items.order_id names a row of orders" in svg
    assert "7 rows" in svg
    assert "1 row · entity" in svg
    assert "time at" in svg


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_charts_of_odd_values(width: int):
    """One point, no interval, a value that is not there: something is drawn, and no NaN gets into the picture."""
    nan = float("nan")
    drawn = [
        charts.interval_rows([charts.Interval("a", nan, nan, nan, True)], "AUROC", "higher", width),
        charts.interval_rows([charts.Interval("a" * 99, 1.0, 1.0, 1.0)], "MAE", "lower", width),
        charts.labels_over_time([charts.LabelPoint(0, 0, 3, nan)], [("train", 0)], "mean label", width),
        charts.labels_over_time([charts.LabelPoint(0, US, 3, -1.0)], [("train", 0), ("val", 0)], "mean label", width),
        charts.calibration([charts.CalibrationBin(3, 3, 3, 3, 1)], "a", "b", shares=False, width=width),
        charts.curve([(1, 0.5)], "loss", chosen=None, width=width, also=[(1, 0.5)]),
        charts.curve([], "loss", chosen=1, width=width, also=[(1, 0.5), (2, 0.4)]),
        charts.bars([], "nothing", width),
        charts.bars([("a" * 99, 1.0)], "all", width),
        charts.over_time(
            [charts.Span(0, 0, 0.5, nan, nan, 9), charts.Span(US, US, nan, nan, nan, 9)], "F1", "higher", width
        ),
        charts.effect(-1.0),
    ]
    for svg in drawn:
        assert "nan" not in re.sub(r"<title>.*?</title>|aria-label=\"[^\"]*\"", "", svg).lower()
        assert svg.count("<svg ") == svg.count("</svg>") == 1


def test_names_of_splits_do_not_stand_on_each_other():
    day = 86_400 * US
    points = [charts.LabelPoint(i * day, i * day, 5, 0.5) for i in range(100)]
    svg = charts.labels_over_time(points, [("train", 0), ("val", 97 * day), ("test", 99 * day)], "share of yes", NARROW)
    at = {name: float(x) for x, name in re.findall(r'<text x="([\d.]+)" y="[\d.]+" class="tick strong">(\w+)<', svg)}
    assert at["train"] + 30 < at["val"]
    assert at["val"] + 20 < at["test"] < NARROW - 20
