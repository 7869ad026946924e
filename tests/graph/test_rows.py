"""Rows as tensors: each stype by hand, what is missing, unseen, out of range, and in which order."""

from __future__ import annotations

import datetime as dt
import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
import torch_frame
from torch import Tensor
from torch_frame.data.stats import StatType

from graphlearn.graph import Statistics, build_graph, fit_statistics
from graphlearn.graph.rows import CONSTANT, FARTHEST, RowWriter
from graphlearn.graph.statistics import ColumnStatistics
from graphlearn.schema import Database, Schema, connect
from graphlearn.schema.schema import Column, Table

NAN, INF = math.nan, math.inf


def one_table(columns: dict[str, tuple[str | None, Any]], **more: Any) -> Database:
    """A table `t` of (stype, values) by column, with the key `row` that puts the rows in their order."""
    size = len(next(iter(columns.values()))[1])
    frame = pa.table({"row": range(size), **{name: values for name, (_, values) in columns.items()}})
    listed = (Column("row"), *(Column(name, stype=stype) for name, (stype, _) in columns.items()))
    return connect({"t": frame}, schema=Schema("one", {"t": Table("t", ("row",), columns=listed, **more)}))


def encoded(stype: str, values: Any, fit_on: Any = None) -> tuple[Any, dict[StatType, Any]]:
    """The tensor of a column, and its statistics, which are fitted on other values if some are given."""
    statistics = None if fit_on is None else fit_statistics(one_table({"x": (stype, fit_on)}))
    store = build_graph(one_table({"x": (stype, values)}), statistics=statistics)["t"]
    (values,) = store.tf.feat_dict.values()
    return values, store.col_stats["x"]


def test_numbers_are_scaled_and_missing_ones_are_nan():
    x, stats = encoded("numerical", [1.0, None, 5.0, NAN, INF, -INF, "3"][:6])
    expected = torch.tensor([[-1.0], [NAN], [1.0], [NAN], [NAN], [NAN]])
    torch.testing.assert_close(x, expected, equal_nan=True)
    assert stats == {StatType.MEAN: 0.0, StatType.STD: 1.0, StatType.QUANTILES: [-1.0, -0.5, 0.0, 0.5, 1.0]}


@pytest.mark.parametrize(
    ("fit_on", "value", "expected"),
    [
        ([1.0, 3.0], 1e300, NAN),
        ([1.0, 3.0], 1e60, NAN),
        ([1.0, 3.0], -1e30, -FARTHEST),
        ([2.0, 2.0], 5.0, 3.0),
        ([None], 5.0, 5.0),
        ([0.1, 0.3], 0.2, 0.0),
        ([1e20, 3e20], 4e20, 2.0),
        ([1e-20, 3e-20], 4e-20, 2.0),
        ([-7.0, -5.0], -8.0, -2.0),
    ],
)
def test_numbers_that_were_not_there_when_statistics_were_fitted(fit_on, value, expected):
    x, _ = encoded("numerical", [value], pa.array(fit_on, pa.float64()))
    torch.testing.assert_close(x, torch.tensor([[expected]]), equal_nan=True, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("values", [["1", "3", "x", None], [True, False, None, None], [1, 3, None, None]], ids=str)
def test_numbers_may_be_text_or_flags(values):
    x, _ = encoded("numerical", values)
    assert sorted(x[:2].view(-1).tolist()) == [-1.0, 1.0]
    assert x[2:].isnan().all()


def test_categories_have_a_slot_for_unseen_ones_and_none_for_missing_ones():
    x, stats = encoded("categorical", ["b", None, "new", "a", ""], ["a", "a", "b"])
    assert x.view(-1).tolist() == [1, -1, 2, 0, 2]
    assert stats == {StatType.COUNT: (["a", "b", "<other>"], [2, 1, 0])}
    assert x.dtype == torch.int32


def test_a_column_of_whole_numbers_may_become_one_of_floats():
    """As in a data frame, once a row has none."""
    x, _ = encoded("categorical", [2.0, None, 1.0, 2.5], [1, 2, 2])
    assert x.view(-1).tolist() == [0, -1, 1, 2]


def test_sets_of_categories():
    x, stats = encoded("multicategorical", ["b|a", None, "", "c| a |c", "b"], ["a|b", "a"])
    assert [x[i, 0].tolist() for i in range(5)] == [[1, 0], [], [], [2, 0, 2], [1]]
    assert stats == {StatType.MULTI_COUNT: (["a", "b", "<other>"], [2, 1, 0])}
    x, _ = encoded("multicategorical", [["b", None, "a"], [], None, ["z"]], [["a", "a"], ["b"]])
    assert [x[i, 0].tolist() for i in range(4)] == [[1, 0], [], [], [2]]


def test_dates_are_parts_from_zero():
    when = [dt.datetime(2024, 2, 29, 23, 59, 58), None, dt.datetime(2021, 1, 1), dt.datetime(1850, 12, 31)]
    x, stats = encoded("timestamp", when, when[:3])
    thursday, friday, tuesday = 3, 4, 1
    assert x[:, 0].tolist() == [
        [2024, 1, 28, thursday, 23, 59, 58],
        [-1] * 7,
        [2021, 0, 0, friday, 0, 0, 0],
        [2021, 11, 30, tuesday, 0, 0, 0],  # no year before the first that was there
    ]
    assert stats[StatType.YEAR_RANGE] == [2021, 2024]
    assert stats[StatType.OLDEST_TIME].tolist() == [2021, 0, 0, friday, 0, 0, 0]
    assert stats[StatType.MEDIAN_TIME].tolist() == [2021, 0, 0, friday, 0, 0, 0]
    assert stats[StatType.NEWEST_TIME].tolist() == [2024, 1, 28, thursday, 23, 59, 58]


@pytest.mark.parametrize(
    "values",
    [
        ["2020-05-06T07:08:09+02:00", "no time", None],
        pa.array([1588741689000000000, None, None], pa.timestamp("ns", tz="America/New_York")),
    ],
    ids=["text", "zone"],
)
def test_dates_are_read_as_utc(values):
    x, _ = encoded("timestamp", values)
    assert x[0, 0].tolist() == [2020, 4, 5, 2, 5, 8, 9]
    assert (x[1:] == -1).all()


def test_dates_before_1970_and_beyond_the_calendar():
    values = pa.array([-1, -(10**18), 4 * 10**18], pa.timestamp("us"))
    x, stats = encoded("timestamp", values)
    assert x[0, 0].tolist() == [1969, 11, 30, 2, 23, 59, 59]
    assert (x[1:] == -1).all()
    assert stats[StatType.YEAR_RANGE] == [1, 9999]


def test_vectors():
    x, stats = encoded("embedding", [[1.0, 2.0], None, [3.0], [NAN, None], [INF, 1e300], [4.0, 5.0, 6.0]], [[0.5, 0.5]])
    assert x.values.tolist() == [[1, 2], [0, 0], [0, 0], [0, 0], [0, 0], [0, 0]]
    assert stats == {StatType.EMB_DIM: 2}
    x, _ = encoded("embedding", pa.array([[1, 2], [3, 4]], pa.list_(pa.int16(), 2)))
    assert x.values.tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize("stype", ["numerical", "categorical", "multicategorical", "timestamp", "text"])
def test_columns_without_a_value(stype):
    x, _ = encoded(stype, pa.array([None, None], pa.string()))
    assert (x if isinstance(x, Tensor) else x.values).shape[0] == (0 if stype == "multicategorical" else 2)


def test_vectors_that_were_never_there_are_no_column():
    db = one_table({"x": ("embedding", pa.array([None], pa.list_(pa.float32()))), "y": ("numerical", [1.0])})
    assert build_graph(db)["t"].tf.col_names_dict == {torch_frame.numerical: ["y"]}


def test_a_table_without_features_has_a_constant():
    store = build_graph(one_table({"x": (None, [1, 2, 3])}))["t"]
    assert store.tf.col_names_dict == {torch_frame.numerical: [CONSTANT]}
    assert store.tf.feat_dict[torch_frame.numerical].tolist() == [[1.0]] * 3
    assert store.col_stats[CONSTANT][StatType.QUANTILES] == [1.0] * 5


EVERY = {
    "n1": ("numerical", [0.5, 1.5, None, 2.5]),
    "set1": ("multicategorical", ["a,b", None, "b", "c,a,b"]),
    "text": ("text", ["one", "two", None, "one"]),
    "c1": ("categorical", ["x", "y", "x", None]),
    "date": ("timestamp", [dt.date(2020, 1, d) for d in (1, 2, 3, 4)]),
    "vector": ("embedding", [[1.0, 2.0, 3.0], None, [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]]),
    "n2": ("numerical", [1, 2, 3, 4]),
    "set2": ("multicategorical", [["p"], ["q", "p"], [], None]),
}


def cells(tf: torch_frame.TensorFrame) -> dict[str, list[Any]]:
    """Each column as a list of cells."""
    found: dict[str, list[Any]] = {}
    for stype, names in tf.col_names_dict.items():
        values = tf.feat_dict[stype]
        for j, name in enumerate(names):
            if isinstance(values, Tensor):
                found[name] = values[:, j].tolist()
            else:
                found[name] = [values[i, j].tolist() for i in range(tf.num_rows)]
    return found


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 1, 0, 2]])
@pytest.mark.parametrize("split", [1, 2, 4])
def test_all_columns_follow_the_order_of_the_rows(order, split):
    """The same cells as row by row, whatever the batches and the order are."""
    statistics = fit_statistics(one_table(EVERY))
    single = [
        cells(build_graph(one_table({n: (s, [v[i]] if v[i] is not None else pa.array([None], pa.array(v).type))
                                     for n, (s, v) in EVERY.items()}), statistics=statistics)["t"].tf)
        for i in range(4)
    ]  # fmt: skip
    db = one_table(EVERY)
    writer = RowWriter(statistics.tables["t"], 10)
    from graphlearn.graph.rows import feature_sql

    select = ", ".join(feature_sql(db.schema["t"], statistics.tables["t"]))
    batches = db.arrow(f"SELECT {select} FROM t ORDER BY row").combine_chunks().to_batches(max_chunksize=split)
    start = 0
    for batch in batches:
        writer.write(batch, start)
        start += batch.num_rows
    tf, _ = writer.finish(None if order == [0, 1, 2, 3] else torch.tensor(order))
    assert tf.num_rows == 4
    expected = {name: [single[i][name][0] for i in order] for name in single[0]}
    assert repr(cells(tf)) == repr(expected)
    for values in tf.feat_dict.values():  # what was never written is not saved with the rows
        tensor = values if isinstance(values, Tensor) else values.values
        assert tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()


def test_wide_vectors_follow_the_order():
    size, dim = 70_000, 40
    values = np.random.default_rng(0).normal(size=(size, dim)).astype(np.float32)
    writer = RowWriter([ColumnStatistics("x", "embedding", dim=dim)], size)
    column = pa.FixedSizeListArray.from_arrays(values.reshape(-1), dim).cast(pa.list_(pa.float32()))
    writer.write(pa.record_batch({"__f0": column}), 0)
    order = torch.randperm(size, generator=torch.Generator().manual_seed(0))
    tf, _ = writer.finish(order)
    np.testing.assert_array_equal(tf.feat_dict[torch_frame.embedding].values, values[order])


def test_sizes_of_a_model_are_known_without_rows():
    statistics = Statistics.from_dict(fit_statistics(one_table(EVERY)).to_dict())
    tf, col_stats = RowWriter(statistics.tables["t"], 0).finish()
    whole = build_graph(one_table(EVERY))["t"]
    assert tf.num_rows == 0
    assert tf.col_names_dict == whole.tf.col_names_dict
    assert repr(col_stats) == repr(whole.col_stats)
    assert {k: v.shape[1:] for k, v in tf.feat_dict.items() if isinstance(v, Tensor)} == {
        k: v.shape[1:] for k, v in whole.tf.feat_dict.items() if isinstance(v, Tensor)
    }
