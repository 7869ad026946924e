"""Rows to tensors: Arrow columns into a ``torch_frame.TensorFrame``, batch by batch, without pandas."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import torch
import torch_frame
from torch import Tensor
from torch_frame.data import MultiEmbeddingTensor, MultiNestedTensor
from torch_frame.data.stats import StatType

from graphlearn.database.sql import time_us
from graphlearn.graph.statistics import ColumnStatistics, parts_sql
from graphlearn.graph.text import Floats, TextEncoder, encode_texts
from graphlearn.ops.index import take_rows
from graphlearn.schema.keys import category_sql, cell, numeric_sql
from graphlearn.schema.schema import Table

Ints: TypeAlias = npt.NDArray[np.int64]

#: The one column of a table that has no other feature.
CONSTANT = "__constant__"
#: Numbers are kept within so many standard deviations, so that their squares are finite in float32.
FARTHEST = 1e9
_PARTS = ("year", "month", "day", "isodow", "hour", "minute", "second")
# The years that a four-digit calendar knows; other times are mistakes.
_FIRST_US, _LAST_US = -62_135_596_800_000_000, 253_402_300_799_000_000
_STYPE = {
    "numerical": torch_frame.numerical,
    "categorical": torch_frame.categorical,
    "multicategorical": torch_frame.multicategorical,
    "timestamp": torch_frame.timestamp,
    "embedding": torch_frame.embedding,
}


def feature_sql(table: Table, columns: Sequence[ColumnStatistics]) -> list[str]:
    """The select list that :class:`RowWriter` reads, over rows ``t``."""
    items = []
    for i, stats in enumerate(columns):
        column = table.column(stats.name)
        value = cell(stats.name)
        if stats.stype == "numerical":
            # As DOUBLEs: literals with a point are decimals, whose digits run out.
            scaled = f"({numeric_sql(column)} - CAST({stats.mean!r} AS DOUBLE)) / CAST({stats.std!r} AS DOUBLE)"
            items.append(f"TRY_CAST({scaled} AS FLOAT) AS __f{i}")
        elif stats.stype == "categorical":
            items.append(f"{category_sql(column)} AS __f{i}")
        elif stats.stype == "multicategorical":
            items.append(f"{parts_sql(column, stats.separator)} AS __f{i}")
        elif stats.stype == "timestamp":
            us = time_us(value, column.dtype)
            time = f"make_timestamp(CASE WHEN {us} BETWEEN {_FIRST_US} AND {_LAST_US} THEN {us} END)"
            # Month, day and weekday start at 0, as in PyTorch Frame.
            parts = [f"{part}({time}){' - 1' if part in ('month', 'day', 'isodow') else ''}" for part in _PARTS]
            items += [f"CAST({part} AS SMALLINT) AS __f{i}_{j}" for j, part in enumerate(parts)]
        elif stats.stype == "text":
            items.append(f"CAST({value} AS VARCHAR) AS __f{i}")
        else:
            items.append(f"TRY_CAST({value} AS FLOAT[]) AS __f{i}")
    return items


class RowWriter:
    """Fills the tensors of one table from the Arrow batches of its select list.

    Missing cells are NaN (numbers), -1 (categories, parts of a date), an empty list or a zero vector; a category that
    was not there up to ``fit_until`` has the index after the last known one. A year before all years that were there
    becomes the first of them, as PyTorch Frame's encoders know no earlier ones.

    Args:
        columns: The features.
        num_rows: Rows for which there is room; nothing is touched before it is written.
        encoder: Of the texts.
    """

    def __init__(
        self, columns: Sequence[ColumnStatistics], num_rows: int, *, encoder: TextEncoder | None = None
    ) -> None:
        self.columns = list(columns)
        self.encoder = encoder
        self.num_rows = 0
        self._names: dict[str, list[str]] = {}
        for c in self.columns:
            self._names.setdefault(_kind(c), []).append(c.name)
        # Room from numpy, which asks for huge pages: what torch allocates takes longer to fill.
        self._numerical = np.empty((num_rows, self._count("numerical")), np.float32)
        self._categorical = np.empty((num_rows, self._count("categorical")), np.int32)
        self._timestamp = np.empty((num_rows, self._count("timestamp"), len(_PARTS)), np.int16)
        self._sets: list[list[tuple[Ints, Ints]]] = [[] for _ in range(self._count("multicategorical"))]
        dims = [c.dim for c in self.columns if _kind(c) == "embedding"]
        self._ends = np.cumsum([0, *dims])
        self._vectors = np.empty((num_rows, int(self._ends[-1])), np.float32)
        self._vocabulary = {
            c.name: pa.array(c.vocabulary, pa.string())
            for c in self.columns
            if c.stype in ("categorical", "multicategorical")
        }
        self._first_year = {
            c.name: _time_statistics(c)[StatType.YEAR_RANGE][0] for c in self.columns if c.stype == "timestamp"
        }

    def write(self, batch: pa.RecordBatch, start: int) -> None:
        """Writes ``batch`` to the rows from ``start`` on."""
        rows = slice(start, start + batch.num_rows)
        self.num_rows = max(self.num_rows, rows.stop)
        at = dict.fromkeys(self._names, 0)
        for i, column in enumerate(self.columns):
            kind = _kind(column)
            j = at[kind]
            at[kind] += 1
            if kind == "timestamp":
                for k in range(len(_PARTS)):
                    self._timestamp[rows, j, k] = _numpy(pc.fill_null(batch.column(f"__f{i}_{k}"), -1))
                year = self._timestamp[rows, j, 0]
                year[(year >= 0) & (year < self._first_year[column.name])] = self._first_year[column.name]
                continue
            cells = batch.column(f"__f{i}")
            if kind == "numerical":
                numbers = _numpy(pc.fill_null(cells, float("nan")))
                np.clip(numbers, -FARTHEST, FARTHEST, out=self._numerical[rows, j])
            elif kind == "categorical":
                self._categorical[rows, j] = _codes(cells, self._vocabulary[column.name])
            elif kind == "multicategorical":
                lengths = _numpy(pc.fill_null(pc.list_value_length(cells), 0)).astype(np.int64)
                self._sets[j].append((_codes(cells.flatten(), self._vocabulary[column.name]), lengths))
            elif column.stype == "text":
                self._vectors[rows, self._ends[j] : self._ends[j + 1]] = encode_texts(cells, self.encoder, column.dim)
            else:
                self._vectors[rows, self._ends[j] : self._ends[j + 1]] = _fixed_lists(cells, column.dim)

    def finish(self, order: Tensor | None = None) -> tuple[torch_frame.TensorFrame, dict[str, dict[StatType, Any]]]:
        """The table and its PyTorch Frame column statistics.

        Args:
            order: Which written row comes first, second, …, int64 ``[num_rows]``; None: in the order of writing.
        """
        feats: dict[torch_frame.stype, Any] = {}
        names: dict[torch_frame.stype, list[str]] = {}
        for kind, columns in self._names.items():
            stype = _STYPE[kind]
            names[stype] = columns
            if kind == "numerical":
                feats[stype] = _finished(self._numerical, self.num_rows, order)
            elif kind == "categorical":
                feats[stype] = _finished(self._categorical, self.num_rows, order)
            elif kind == "timestamp":
                feats[stype] = _finished(self._timestamp, self.num_rows, order)
            elif kind == "multicategorical":
                feats[stype] = _multi_nested(self._sets, self.num_rows, order)
            else:
                vectors = _finished(self._vectors, self.num_rows, order)
                offset = torch.from_numpy(self._ends)
                feats[stype] = MultiEmbeddingTensor(self.num_rows, len(columns), vectors, offset)
        if not feats:
            feats[torch_frame.numerical] = torch.ones(self.num_rows, 1)
            names[torch_frame.numerical] = [CONSTANT]
        return torch_frame.TensorFrame(feats, names), self._statistics()

    def _count(self, kind: str) -> int:
        return len(self._names.get(kind, ()))

    def _statistics(self) -> dict[str, dict[StatType, Any]]:
        found: dict[str, dict[StatType, Any]] = {}
        for c in self.columns:
            if c.stype == "numerical":
                quantiles = list(c.quantiles) or [0.0] * 5
                found[c.name] = {StatType.MEAN: 0.0, StatType.STD: 1.0, StatType.QUANTILES: quantiles}
            elif c.stype in ("categorical", "multicategorical"):
                kind = StatType.COUNT if c.stype == "categorical" else StatType.MULTI_COUNT
                found[c.name] = {kind: ([*c.vocabulary, "<other>"], [*c.counts, 0])}
            elif c.stype == "timestamp":
                found[c.name] = _time_statistics(c)
            else:
                found[c.name] = {StatType.EMB_DIM: c.dim}
        if not self.columns:
            found[CONSTANT] = {StatType.MEAN: 0.0, StatType.STD: 1.0, StatType.QUANTILES: [1.0] * 5}
        return found


def _kind(column: ColumnStatistics) -> str:
    return "embedding" if column.stype == "text" else column.stype


def _finished(block: npt.NDArray[Any], num_rows: int, order: Tensor | None) -> Tensor:
    # What was never written must not be saved with the rows.
    block = block if num_rows == len(block) else block[:num_rows].copy()
    if order is not None:
        flat = torch.from_numpy(block.reshape(num_rows, math.prod(block.shape[1:])))
        # One cache line at a time, so that no second copy of a wide table is needed.
        width = 64 // block.itemsize
        for start in range(0, flat.size(1), width):
            flat[:, start : start + width] = take_rows(flat[:, start : start + width], order)
    return torch.from_numpy(block)


def _numpy(array: pa.Array) -> npt.NDArray[Any]:
    values: npt.NDArray[Any] = array.to_numpy(zero_copy_only=False)
    return values


def _codes(cells: pa.Array, vocabulary: pa.Array) -> npt.NDArray[Any]:
    known = pc.index_in(cells, value_set=vocabulary)
    other = pc.if_else(pc.is_valid(cells), len(vocabulary), -1)
    return _numpy(pc.coalesce(known, other))


def _fixed_lists(cells: pa.ListArray, dim: int) -> Floats:
    lengths = _numpy(pc.fill_null(pc.list_value_length(cells), 0))
    out = np.zeros((len(cells), dim), dtype=np.float32)
    whole = lengths == dim  # a vector of another length cannot be used; it stays zero like a missing one
    values = _numpy(pc.fill_null(cells.filter(pa.array(whole)).flatten(), 0.0))
    out[whole] = np.nan_to_num(values.reshape(-1, dim), nan=0.0, posinf=0.0, neginf=0.0)
    return out


def _multi_nested(columns: list[list[tuple[Ints, Ints]]], num_rows: int, order: Tensor | None) -> MultiNestedTensor:
    """Joins columns, each a list of (values, lengths), into PyTorch Frame's row-major cells."""
    values = [np.concatenate([v for v, _ in c] or [np.empty(0, np.int64)]) for c in columns]
    written = [np.concatenate([n for _, n in c] or [np.empty(0, np.int64)]) for c in columns]
    rows = np.arange(num_rows) if order is None else order.numpy()
    lengths = np.stack([n.take(rows) for n in written], axis=1)
    offset = np.concatenate([[0], np.cumsum(lengths.reshape(-1))])
    starts = offset[:-1].reshape(num_rows, len(columns))
    joined = np.empty(offset[-1], dtype=np.int64)
    for j, (column, size) in enumerate(zip(values, written, strict=True)):
        count = lengths[:, j]
        within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
        source = np.repeat((np.cumsum(size) - size).take(rows), count)
        joined[np.repeat(starts[:, j], count) + within] = column[source + within]
    return MultiNestedTensor(num_rows, len(columns), torch.from_numpy(joined), torch.from_numpy(offset))


def _time_statistics(c: ColumnStatistics) -> dict[StatType, Any]:
    days = np.asarray(c.quantiles or (0.0,) * 5)
    us = np.rint(days * 86_400_000_000).clip(_FIRST_US, _LAST_US).astype(np.int64)
    year, month, day = (us.astype("datetime64[us]").astype(f"datetime64[{unit}]") for unit in "YMD")
    second = us // 1_000_000 % 86_400
    number = day.astype(np.int64)
    parts = np.stack(
        [
            year.astype(np.int64) + 1970,
            month.astype(np.int64) % 12,
            number - month.astype("datetime64[D]").astype(np.int64),
            (number + 3) % 7,  # 1970-01-01 was a Thursday
            second // 3600,
            second // 60 % 60,
            second % 60,
        ],
        axis=1,
    )
    # Of the type of the rows, as PyTorch Frame writes them in place of missing ones.
    low, _, middle, _, high = torch.from_numpy(parts.astype(np.int16))
    return {
        StatType.YEAR_RANGE: [int(low[0]), int(high[0])],
        StatType.OLDEST_TIME: low,
        StatType.MEDIAN_TIME: middle,
        StatType.NEWEST_TIME: high,
    }
