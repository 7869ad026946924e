"""Sources in memory."""

from __future__ import annotations

import datetime as dt

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphlearn.database import open_source, quote
from graphlearn.errors import SourceError, UnknownNameError, UsageError

COLUMNS = {"id": [1, 2, 3], "name": ["a", None, "c"], "at": [dt.datetime(2020, 1, 1), None, dt.datetime(2020, 1, 3)]}


@pytest.mark.parametrize(
    "make",
    [
        pd.DataFrame,
        pa.table,
        pl.DataFrame,
        lambda columns: pl.DataFrame(columns).lazy(),
        lambda columns: pa.record_batch(columns),
        lambda columns: pa.RecordBatchReader.from_batches(pa.table(columns).schema, [pa.record_batch(columns)]),
    ],
    ids=["pandas", "arrow", "polars", "lazy", "batch", "reader"],
)
def test_every_kind_of_frame_gives_the_same_table(make):
    source = open_source({"t": make(COLUMNS)})
    assert source.columns("t") == {"id": "BIGINT", "name": "VARCHAR", "at": "TIMESTAMP"}
    assert source.rows('SELECT id, name, epoch_us("at") // 86400000000 FROM t ORDER BY id') == [
        (1, "a", 18262),
        (2, None, None),
        (3, "c", 18264),
    ]
    assert source.num_rows("t") == 3


names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12)
distinct_names = st.lists(names, min_size=1, max_size=4, unique_by=str.lower)


@settings(max_examples=40, deadline=None)
@given(tables=distinct_names, columns=distinct_names)
def test_hostile_names_survive(tables, columns):
    frame = pa.table({name: [i, i + 1] for i, name in enumerate(columns)})
    source = open_source(dict.fromkeys(tables, frame))
    assert source.tables == tuple(tables)
    for table in tables:
        assert list(source.columns(table)) == columns
        assert source.arrow(f"SELECT * FROM {quote(table)}").to_pydict() == frame.to_pydict()
    source.close()


@pytest.mark.parametrize(
    "name", ["order details", "a.b", 'say "hi"', "select", "🛒", "x'; DROP TABLE y; --", "(plain)"]
)
def test_names_that_sql_reads_as_something_else(name):
    source = open_source({name: pd.DataFrame({name: [7]})})
    assert source.rows(f"SELECT {quote(name)} FROM {quote(name)}") == [(7,)]
    source.add_column(name, "more", f"t.{quote(name)} + 1")
    assert source.columns(name) == {name: "BIGINT", "more": "BIGINT"}
    assert source.rows(f"SELECT more FROM {quote(name)}") == [(8,)]


def test_a_named_index_is_data_and_other_names_become_text():
    frame = pd.DataFrame({0: [1.0]}, index=pd.Index([9], name="id"))
    assert open_source({"t": frame}).rows('SELECT id, "0" FROM t') == [(9, 1.0)]


def test_categories_are_text_and_a_column_of_nothing_is_text_too():
    frame = pd.DataFrame({"c": pd.Categorical(["x", "y"]), "n": [None, None]})
    assert open_source({"t": frame}).columns("t") == {"c": "VARCHAR", "n": "VARCHAR"}


def test_the_frame_itself_is_not_changed_and_later_changes_are_not_seen():
    frame = pd.DataFrame({"x": [1, 2]})
    source = open_source({"t": frame})
    frame.loc[0, "x"] = 100
    assert source.rows("SELECT sum(x) FROM t")[0][0] in (3, 102)
    assert list(frame.columns) == ["x"]


@pytest.mark.parametrize(
    ("frames", "text"),
    [
        ({}, "the dict of tables is empty"),
        ({1: pa.table({"x": [1]})}, "table names must be text, got 1"),
        ({"": pa.table({"x": [1]})}, "the dict of tables has a table without a name"),
        ({"t": pa.table({"x": [1]}), "T": pa.table({"x": [1]})}, "has two tables 't' and 'T'.*rename one"),
        ({"t": pa.table([[1], [2]], names=["a", "A"])}, "table 't' has two columns 'a' and 'A'"),
        ({"t": pd.DataFrame([[1, 2]], columns=["a", "a"])}, "table 't' has two columns 'a' and 'a'"),
        ({"t": pa.table([[1]], names=[""])}, "table 't' has a column without a name"),
        ({"t": pa.table({})}, "table 't' has no columns"),
        ({"t": [1, 2]}, "table 't' is a list: give a pandas, Arrow or Polars table"),
        ({"t": pd.Series([1])}, "table 't' is a pandas Series: give a DataFrame"),
        ({"t": pd.DataFrame({"x": [1, "a"]})}, "table 't' cannot be read: .*column x.*values of one type"),
        ({"t": pd.DataFrame([[1]], columns=pd.MultiIndex.from_tuples([("a", "b")]))}, "2 levels of column names"),
    ],
)
def test_what_is_no_table_is_refused(frames, text):
    with pytest.raises(SourceError, match=text):
        open_source(frames)


def test_a_source_runs_one_select_and_nothing_else():
    source = open_source({"t": pd.DataFrame({"x": [1, 2]})})
    assert source.arrow("SELECT x FROM t WHERE x > ?", [1]).to_pydict() == {"x": [2]}
    assert source.arrow("WITH a AS (FROM t) SELECT count(*) AS n FROM a").to_pydict() == {"n": [2]}
    for sql in ("DROP VIEW t", "INSERT INTO t VALUES (3)", "SELECT 1; DROP VIEW t", "CREATE TABLE y (x int)"):
        with pytest.raises(UsageError, match=r"only one SELECT can be run on a source, which is read-only; found"):
            source.arrow(sql)
    assert source.num_rows("t") == 2


def test_views_are_seen_by_other_cursors_of_the_connection():
    source = open_source({"t": pd.DataFrame({"x": [1, 2]})})
    assert source.con.cursor().execute("SELECT sum(x) FROM t").fetchall() == [(3,)]


def test_a_table_that_is_not_there():
    source = open_source({"orders": pd.DataFrame({"x": [1]})})
    with pytest.raises(UnknownNameError, match=r"no table 'ordres'. Did you mean 'orders'"):
        source.columns("ordres")
    with pytest.raises(UnknownNameError, match="no table 'nothing'"):
        source.num_rows("nothing")


def test_the_fingerprint_is_of_values_not_of_their_order():
    frame = pd.DataFrame({"x": [1, 2, 2, None], "y": list("abbc")})
    other = pd.DataFrame({"z": [1]})
    first = open_source({"t": frame, "u": other}).fingerprint()
    assert first == open_source({"u": other, "t": frame.sample(frac=1, random_state=3)}).fingerprint()
    assert first != open_source({"t": frame[:3], "u": other}).fingerprint()
    assert first != open_source({"t": frame.rename(columns={"x": "w"}), "u": other}).fingerprint()
    assert first != open_source({"t": frame.assign(y=list("abcb")), "u": other}).fingerprint()
    # Equal rows do not cancel.
    assert first != open_source({"t": frame.iloc[[0, 3]], "u": other}).fingerprint()


def test_bytes_are_those_of_the_values():
    frame = pd.DataFrame(
        {
            "id": [1, 2, 3],
            "at": pd.to_datetime(["2020-01-01", None, "2020-01-03"]),
            "text": ["four", None, "é"],
            "tags": [["a", "bc"], [], None],
        }
    )
    source = open_source({"t": frame, "none": frame.head(0)})
    assert source.num_bytes("t") == 3 * 2 * 8 + len("four") + len("é".encode()) + len("[a, bc]") + len("[]")
    assert source.num_bytes("none") == 0
