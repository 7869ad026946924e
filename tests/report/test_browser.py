"""The page in a real browser: what it loads, what it says, and whether it can be read on a phone."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import pytest
from chromium import Chromium, Page

from graphlearn.report import write_report

WIDTHS = (390, 1280)
LOOK = """(() => {
  const box = (e) => { const b = e.getBoundingClientRect(); return [b.width, b.height]; };
  const seen = (e) => e.getClientRects().length > 0;
  const all = (s) => [...document.querySelectorAll(s)];
  const svgs = all("svg").filter(seen);
  return {
    scroll: document.scrollingElement.scrollWidth,
    sections: Object.fromEntries(all("section").map((e) => [e.id, box(e)])),
    charts: svgs.map(box),
    // What a line of text is drawn at, in CSS pixels: a chart that is scaled down has smaller ones.
    small: Math.min(...svgs.flatMap((e) => [...e.querySelectorAll("text")].map(
      (t) => parseFloat(getComputedStyle(t).fontSize) * e.getBoundingClientRect().width / e.viewBox.baseVal.width))),
    scripts: all("script, img, iframe, object, embed, form, [onerror], [onload]").length,
    background: getComputedStyle(document.body).backgroundColor,
    color: getComputedStyle(document.body).color,
    links: all("nav a").map((e) => document.querySelector(e.getAttribute("href")) !== null),
    unnamed: svgs.filter((e) => !e.getAttribute("aria-label") || !e.querySelector("title")).length,
  };
})()"""
SECTIONS = [
    "result",
    "question",
    "database",
    "calibration",
    "time",
    "training",
    "matters",
    "examples",
    "audit",
    "making",
]


@pytest.fixture(scope="module")
def page(run, tmp_path_factory) -> Path:
    return write_report(run, out=tmp_path_factory.mktemp("page") / "report.html")


def shades(png: bytes) -> int:
    """How many different bytes the pixels of a picture have, sampled: a blank page has next to none."""
    data, at = b"", 8
    while at < len(png):
        (size,) = struct.unpack(">I", png[at : at + 4])
        if png[at + 4 : at + 8] == b"IDAT":
            data += png[at + 8 : at + 8 + size]
        at += size + 12
    return len(set(zlib.decompress(data)[::7]))


def check(opened: Page, width: int, address: str) -> None:
    assert opened.messages == []
    assert opened.requests == [address]
    look = opened.value
    assert look["scroll"] <= width
    assert list(look["sections"]) == SECTIONS
    assert all(wide > 300 and tall > 40 for wide, tall in look["sections"].values())
    assert len(look["charts"]) >= 8
    assert all(wide > 20 and tall > 10 for wide, tall in look["charts"])
    assert look["small"] >= 11
    assert look["scripts"] == 0
    assert all(look["links"])
    assert look["unnamed"] == 0
    assert shades(opened.picture) > 20


@pytest.mark.parametrize("width", WIDTHS)
def test_it_opens_without_a_word_and_fits(chromium: Chromium, page: Path, width: int):
    check(chromium.open(page.as_uri(), width, LOOK), width, page.as_uri())


def test_it_is_dark_where_the_reader_wants_that(chromium: Chromium, page: Path):
    light, dark = (chromium.open(page.as_uri(), 1280, LOOK, dark=dark).value for dark in (False, True))
    assert light["background"] == "rgb(255, 255, 255)"
    assert light["background"] != dark["background"]
    assert light["color"] != dark["color"]


@pytest.mark.parametrize("width", WIDTHS)
def test_names_that_are_markup_are_text(chromium: Chromium, hostile, tmp_path, width: int):
    run, db = hostile
    file = write_report(run, db, tmp_path / "report.html")
    check(chromium.open(file.as_uri(), width, LOOK), width, file.as_uri())


def test_a_mistake_would_be_seen(chromium: Chromium, tmp_path):
    """The checks above would fail: a page that logs an error, loads a picture, and is too wide."""
    file = tmp_path / "bad.html"
    wide = "<div style='width: 700px'>wide</div><img src='http://127.0.0.1:9/x.png'>"
    file.write_text(f"<!DOCTYPE html><body><script>console.error('oh')</script>{wide}</body>")
    opened = chromium.open(file.as_uri(), 390, "({scroll: document.scrollingElement.scrollWidth})")
    assert any("oh" in message for message in opened.messages)
    assert "http://127.0.0.1:9/x.png" in opened.requests
    assert opened.value["scroll"] >= 700
