"""Statistics by hand, of what is not a number, and of which rows."""

from __future__ import annotations

import datetime as dt
import json
import math
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphlearn.errors import SchemaError
from graphlearn.graph import Statistics, fit_statistics, statistics
from graphlearn.graph.statistics import ColumnStatistics
from graphlearn.schema import Database, Schema, connect
from graphlearn.schema.schema import Column, ForeignKey, Table

DAY = 86_400_000_000
START = 18_262 * DAY  # 2020-01-01
NAN, INF = math.nan, math.inf


def day(n: int | None) -> dt.datetime | None:
    return None if n is None else dt.datetime(2020, 1, 1) + dt.timedelta(days=n)


def one_table(columns: dict[str, tuple[str | None, Any]], **more: Any) -> Database:
    """A table `t` of (stype, values) by column."""
    frame = pa.table({name: values for name, (_, values) in columns.items()})
    listed = tuple(Column(name, stype=stype) for name, (stype, _) in columns.items())
    return connect({"t": frame}, schema=Schema("one", {"t": Table("t", columns=listed, **more)}))


def fit_one(stype: str, values: Any, **more: Any) -> ColumnStatistics:
    (found,) = fit_statistics(one_table({"x": (stype, values)}), **more).tables["t"]
    assert (found.name, found.stype) == ("x", stype)
    return found


def test_numbers_by_hand():
    found = fit_one("numerical", [1.0, 5.0, None, 3.0, NAN, INF, -INF, 7.0])
    assert (found.mean, found.std) == (4.0, 2.236068)
    np.testing.assert_allclose(found.quantiles, [-1.3416407, -0.6708203, 0.0, 0.6708203, 1.3416407], rtol=1e-6)


@pytest.mark.parametrize(
    ("values", "mean", "std"),
    [
        ([7.25, 7.25, None], 7.25, 1.0),
        ([None, None], 0.0, 1.0),
        ([], 0.0, 1.0),
        ([0.1 + 0.2] * 1_000, 0.1 + 0.2, 1.0),
        ([True, False, None], 0.5, 0.5),
        ([Decimal("1.50"), Decimal("2.50")], 2.0, 0.5),
        (["1", " 3", "none", "", None, "1e999"], 2.0, 1.0),
        ([2**62, 2**62 + 2**40], float(2**62 + 2**39), float(2**39)),
        ([1e-13, 3e-13], 2e-13, 1e-13),
        ([1.7976931348623157e308, -1e200, 1.0, 3.0], 2.0, 1.0),
        ([1e10, 1e10 + 2], 1e10 + 1, 1.0),
    ],
    ids=["constant", "null", "empty", "sum that rounds", "bool", "decimal", "text", "large", "small", "marks", "far"],
)
def test_numbers_of_every_kind(values, mean, std):
    kind = pa.float64() if not [v for v in values if v is not None] else None
    found = fit_one("numerical", pa.array(values, kind))
    assert found.mean == pytest.approx(mean, rel=1e-6)
    assert found.std == pytest.approx(std, rel=1e-6)
    assert len(found.quantiles) == (5 if [v for v in values if v is not None] else 0)
    assert list(found.quantiles) == sorted(found.quantiles)
    assert all(map(math.isfinite, found.quantiles))


def test_timestamps_by_hand():
    found = fit_one("timestamp", [day(4), day(0), None, day(2), day(1)])
    assert found.quantiles == (18_262.0, 18_262.0, 18_263.0, 18_264.0, 18_266.0)
    found = fit_one("timestamp", ["2020-01-01T06:00:00+06:00", "no time"])
    assert found.quantiles == (18_262.0,) * 5
    assert fit_one("timestamp", pa.array([None], pa.timestamp("us"))).quantiles == ()


def test_categories_are_counted():
    found = fit_one("categorical", ["b", "a", None, "c", "a", "b", ""])
    assert (found.vocabulary, found.counts) == (("a", "b", "", "c"), (2, 2, 1, 1))


@pytest.mark.parametrize(
    ("values", "vocabulary"),
    [
        ([True, False, True, None], ("true", "false")),
        ([3, 1, 3], ("3", "1")),
        ([3.0, 1.0, 3.0, None], ("3", "1")),
        ([1.5, 1e300, 1.5, -0.0], ("1.5", "0", "1e+300")),
        ([Decimal("1.00"), Decimal("1.00"), Decimal("0.50")], ("1", "0.50")),
        ([dt.date(2020, 1, 2)], ("2020-01-02",)),
        ([[1, 2], [1, 2], None], ("[1, 2]",)),
        (pa.array(["x", "y", "y"]).dictionary_encode(), ("y", "x")),
        (pa.array([None, None], pa.string()), ()),
    ],
    ids=["bool", "whole", "whole as float", "float", "decimal", "date", "list", "enum", "null"],
)
def test_categories_of_every_type_are_texts(values, vocabulary):
    assert fit_one("categorical", values).vocabulary == vocabulary


def test_only_the_most_frequent_categories_are_kept(monkeypatch):
    monkeypatch.setattr(statistics, "MAX_CATEGORIES", 2)
    assert fit_one("categorical", ["a", "b", "b", "c", "c", "c"]).vocabulary == ("c", "b")


@pytest.mark.parametrize(
    ("values", "separator", "vocabulary"),
    [
        (["a, b", "b,c", "c", None, "", ",a,,"], ",", ("a", "b", "c")),
        (["a|b, c", "b|a", "'a'| b;"], "|", ("a", "'a'", "b", "b, c", "b;")),
        (['"x";y', "y ; z"], ";", ("y", '"x"', "z")),
        ([["a", "b", None], ["b", ""], None, []], "", ("b", "a")),
        ([[1, 2], [2]], "", ("2", "1")),
        (pa.array([[1, 2], [2, 3]], pa.list_(pa.int32(), 2)), "", ("2", "1", "3")),
        (pa.array([None, None], pa.string()), ",", ()),
        (pa.array([None], pa.list_(pa.string())), "", ()),
    ],
)
def test_sets_of_categories(values, separator, vocabulary):
    found = fit_one("multicategorical", values)
    assert found.separator == separator
    assert found.vocabulary == vocabulary


def test_a_vectors_length_is_the_most_common_one():
    vectors = [[1.0, 2.0], [1.0] * 9, [3.0, 4.0], None, []]
    assert fit_one("embedding", vectors).dim == 2
    assert fit_one("embedding", pa.array([[1, 2, 3]], pa.list_(pa.int16(), 3))).dim == 3
    assert fit_statistics(one_table({"x": ("embedding", pa.array([None, []], pa.list_(pa.float32())))})).tables == {
        "t": ()
    }


def test_columns_that_are_hidden_or_no_features_are_left_out():
    db = one_table({"a": ("numerical", [1.0]), "b": ("text", ["x"]), "c": (None, [1]), "d": ("categorical", ["x"])})
    found = fit_statistics(db, hidden=[("t", "a"), ("u", "d")], text_dim=5).tables["t"]
    assert [(c.name, c.dim) for c in found] == [("b", 5), ("d", 0)]


WRONG = [
    (
        "numerical",
        [dt.date(2020, 1, 1)],
        r"t\.x has the stype 'numerical', which needs numbers, .* its type is DATE\. Give",
    ),
    ("timestamp", [1], r"which needs a TIMESTAMP, DATE or ISO 8601 text, but its type is BIGINT"),
    ("multicategorical", [1.5], r"which needs lists, or text with separators, but its type is DOUBLE"),
    ("embedding", ["1"], r"which needs lists of numbers, but its type is VARCHAR"),
    ("embedding", [["1"]], r"which needs lists of numbers, but its type is VARCHAR\[\]"),
]


@pytest.mark.parametrize(("stype", "values", "text"), WRONG)
def test_a_type_that_cannot_hold_its_stype(stype, values, text):
    with pytest.raises(SchemaError, match=text):
        fit_one(stype, values)


def test_only_rows_up_to_the_time_are_read():
    columns = {
        "at": ("timestamp", [day(1), day(2), day(3), None]),
        "x": ("numerical", [1.0, 3.0, 1_000.0, 5.0]),
        "c": ("categorical", ["a", "b", "later", "undated"]),
    }
    until = START + 2 * DAY
    at, x, c = fit_statistics(one_table(columns, time_col="at"), fit_until=until).tables["t"]
    assert (x.mean, x.std, c.vocabulary, at.quantiles[-1]) == (2.0, 1.0, ("a", "b"), 18_264.0)
    *_, c = fit_statistics(one_table(columns, time_col="at", null_time="keep"), fit_until=until).tables["t"]
    assert c.vocabulary == ("a", "b", "undated")
    *_, c = fit_statistics(one_table(columns, time_col="at"), fit_until=None).tables["t"]
    assert c.vocabulary == ("a", "b", "later", "undated")
    *_, c = fit_statistics(one_table(columns, time_col="at"), fit_until=until - 1).tables["t"]
    assert c.vocabulary == ("a",)


def chain() -> Database:
    """visits (dated) -> shops -> towns, all but visits undated; colours that nothing dated refers to."""
    frames = {
        "towns": pa.table({"id": [1, 2, 3], "colour": ["r", "g", "x"], "name": ["old", "later", "never"]}),
        "shops": pa.table({"id": ["a", "b", "c"], "town": [1.0, 2.0, None], "owner": ["a", "c", "c"]}),
        "visits": pa.table({"shop": ["a", "b", "a"], "at": [day(1), day(9), day(2)], "home": [1, 1, None]}),
        "colours": pa.table({"id": ["r", "g"], "name": ["red", "green"]}),
    }
    name = Column("name", stype="categorical")
    own = Column("id", stype="categorical")
    tables = [
        Table("towns", ("id",), (), columns=(Column("id"), Column("colour"), name)),
        Table(
            "shops",
            ("id",),
            (ForeignKey(("town",), "towns"), ForeignKey(("owner",), "shops")),
            columns=(own, Column("town"), Column("owner")),
        ),
        Table(
            "visits",
            (),
            (ForeignKey(("shop",), "shops"), ForeignKey(("home",), "towns")),
            "at",
            columns=(Column("shop"), Column("at"), Column("home")),
        ),
        Table("colours", ("id",), columns=(Column("id"), name)),
    ]
    return connect(frames, schema=Schema("chain", {table.name: table for table in tables}))


@pytest.mark.parametrize(
    ("until", "shops", "towns"),
    [(START, (), ()), (START + DAY, ("a",), ("old",)), (START + 9 * DAY, ("a", "b"), ("later", "old"))],
)
def test_rows_without_a_time_are_known_once_a_known_row_names_them(until, shops, towns):
    found = fit_statistics(chain(), fit_until=until).tables
    assert found["shops"][0].vocabulary == shops
    assert found["towns"][0].vocabulary == towns
    # Nothing with a time leads here, so these are known always.
    assert found["colours"][0].vocabulary == ("green", "red")
    assert fit_statistics(chain()).tables["towns"][0].vocabulary == ("later", "never", "old")


def test_quantiles_of_large_tables_are_those_of_a_share_of_their_rows(monkeypatch):
    monkeypatch.setattr(statistics, "LARGE", 2_000)
    values = np.random.default_rng(0).normal(size=50_000)
    found = fit_one("numerical", values)
    shares = np.quantile(values, [0, 0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose(found.quantiles, (shares - values.mean()) / values.std(), atol=0.08)
    np.testing.assert_allclose(found.quantiles[::4], (shares[::4] - values.mean()) / values.std(), rtol=1e-5)
    assert fit_one("numerical", values[::-1].copy()) == found  # the same rows whatever their order is
    days = pa.array((values * 1e14).astype(np.int64)).cast(pa.timestamp("us"))
    assert fit_one("timestamp", days).quantiles[2] == pytest.approx(0, abs=100)
    # Rows that are all alike cannot be told apart to take a share of them.
    found = fit_one("numerical", [1.0] * 4_000 + [2.0] * 4_000)
    assert found.quantiles == (-1.0, -1.0, 0.0, 1.0, 1.0)
    # Of a nearly empty column the share may have nothing.
    lonely = pa.array([None] * 5_000 + [3.0, 5.0])
    rows = one_table({"id": (None, range(5_002)), "x": ("numerical", lonely)}, pkey=("id",))
    quantiles = fit_statistics(rows).tables["t"][0].quantiles
    assert (quantiles[0], quantiles[4], sorted(quantiles)) == (-1.0, 1.0, list(quantiles))


def test_more_columns_than_one_query_looks_at():
    columns = {
        f"c{i}": ("numerical" if i % 2 else "timestamp", [i, i + 2] if i % 2 else [day(i)] * 2) for i in range(80)
    }
    found = fit_statistics(one_table(columns)).tables["t"]
    assert [c.name for c in found] == list(columns)
    assert all(c.mean == int(c.name[1:]) + 1 for c in found if c.stype == "numerical")


@given(
    st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=30),
    st.lists(st.one_of(st.none(), st.text(st.characters(exclude_categories=["Cs"]), max_size=8)), max_size=30),
)
@settings(max_examples=60, deadline=None)
def test_they_survive_json_exactly(numbers, texts):
    size = min(len(numbers), len(texts))
    columns = {
        "x": ("numerical", pa.array(numbers[:size], pa.float64(), from_pandas=False)),
        "c": ("categorical", pa.array(texts[:size], pa.string())),
        "m": ("multicategorical", pa.array(texts[:size], pa.string())),
        "text": ("text", pa.array(texts[:size], pa.string())),
    }
    found = fit_statistics(one_table(columns))
    again = Statistics.from_dict(json.loads(json.dumps(found.to_dict(), allow_nan=False)))
    assert again == found
    assert repr(again) == repr(found)


def test_the_order_of_rows_and_the_number_of_threads_change_nothing():
    rng = np.random.default_rng(0)
    frame = {"x": rng.lognormal(size=400_000) * 1e6, "c": rng.integers(0, 50, 400_000).astype(str)}
    schema = Schema("t", {"t": Table("t", columns=(Column("x", stype="numerical"), Column("c", stype="categorical")))})
    found = set()
    for threads in (1, 2, 4):
        order = rng.permutation(400_000)
        source = {"t": pa.table({name: values[order] for name, values in frame.items()})}
        found.add(repr(fit_statistics(connect(source, schema=schema, threads=threads))))
    assert len(found) == 1
