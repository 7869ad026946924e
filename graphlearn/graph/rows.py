"""Rows to tensors: Arrow columns into a ``torch_frame.TensorFrame``, batch by batch, without pandas."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
import torch_frame
from torch import Tensor
from torch_frame.data import MultiEmbeddingTensor, MultiNestedTensor
from torch_frame.data.stats import StatType

from graphlearn.database.sql import quote, time_us
from graphlearn.graph.statistics import ColumnStatistics, numeric_sql, parts_sql
from graphlearn.graph.text import TextEncoder, encode_texts
from graphlearn.schema.schema import Table

#: The one column of a table that has no other feature.
CONSTANT = "__constant__"
_PARTS = ("year", "month", "day", "isodow", "hour", "minute", "second")
_STYPE = {
    "numerical": torch_frame.numerical,
    "categorical": torch_frame.categorical,
    "multicategorical": torch_frame.multicategorical,
    "timestamp": torch_frame.timestamp,
    "text": torch_frame.embedding,
    "embedding": torch_frame.embedding,
}


def feature_sql(table: Table, columns: Sequence[ColumnStatistics]) -> list[str]:
    """The select list that :class:`RowWriter` reads, one item a column."""
    items = []
    for i, stats in enumerate(columns):
        column = table.column(stats.name)
        if stats.stype == "numerical":
            items.append(f"CAST(({numeric_sql(column)} - {stats.mean!r}) / {stats.std!r} AS FLOAT) AS __f{i}")
        elif stats.stype == "categorical":
            items.append(f"CAST({quote(stats.name)} AS VARCHAR) AS __f{i}")
        elif stats.stype == "multicategorical":
            items.append(f"{parts_sql(column, stats.separator)} AS __f{i}")
        elif stats.stype == "timestamp":
            time = f"make_timestamp({time_us(quote(stats.name), column.dtype)})"
            # Month, day and weekday start at 0, as in PyTorch Frame.
            parts = [f"{part}({time}){' - 1' if part in ('month', 'day', 'isodow') else ''}" for part in _PARTS]
            items += [f"CAST({part} AS SMALLINT) AS __f{i}_{j}" for j, part in enumerate(parts)]
        elif stats.stype == "text":
            items.append(f"CAST({quote(stats.name)} AS VARCHAR) AS __f{i}")
        else:
            items.append(f"CAST({quote(stats.name)} AS FLOAT[]) AS __f{i}")
    return items


class RowWriter:
    """Fills the tensors of one table from the Arrow batches of its select list.

    Missing cells are NaN (numbers), -1 (categories, parts of a date), an empty list or a zero vector; a category that was
    not there up to ``fit_until`` has the index after the last known one.
    """

    def __init__(self, columns: Sequence[ColumnStatistics], num_rows: int, *, encoder: TextEncoder | None = None) -> None:
        self.columns = list(columns)
        self.num_rows = num_rows
        self.encoder = encoder
        self.names: dict[str, list[str]] = {}
        for c in self.columns:
            self.names.setdefault("embedding" if c.stype == "text" else c.stype, []).append(c.name)
        self.numerical = torch.empty(num_rows, len(self.names.get("numerical", ())))
        self.categorical = torch.empty(num_rows, len(self.names.get("categorical", ())), dtype=torch.int32)
        self.timestamp = torch.empty(num_rows, len(self.names.get("timestamp", ())), len(_PARTS), dtype=torch.int16)
        self.multi: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {n: [] for n in self.names.get("multicategorical", ())}
        self.vectors: dict[str, Tensor] = {}
        self.vocabulary = {
            c.name: pa.array(c.vocabulary, pa.string())
            for c in self.columns
            if c.stype in ("categorical", "multicategorical")
        }

    def write(self, batch: pa.RecordBatch, start: int) -> None:
        """Writes ``batch`` to the rows from ``start`` on."""
        rows = slice(start, start + batch.num_rows)
        at = dict.fromkeys(self.names, 0)
        for i, column in enumerate(self.columns):
            kind = "embedding" if column.stype == "text" else column.stype
            j = at[kind]
            at[kind] += 1
            if kind == "timestamp":
                for k in range(len(_PARTS)):
                    part = pc.fill_null(batch.column(f"__f{i}_{k}"), -1)
                    self.timestamp[rows, j, k] = torch.from_numpy(part.to_numpy(zero_copy_only=False).copy())
                continue
            cells = batch.column(f"__f{i}")
            if kind == "numerical":
                self.numerical[rows, j] = _to_tensor(pc.fill_null(cells, float("nan")))
            elif kind == "categorical":
                self.categorical[rows, j] = _to_tensor(_codes(cells, self.vocabulary[column.name]))
            elif kind == "multicategorical":
                self.multi[column.name].append(_nested(cells, self.vocabulary[column.name]))
            else:
                self._vectors(column, cells, rows)

    def _vectors(self, column: ColumnStatistics, cells: pa.Array, rows: slice) -> None:
        if column.stype == "text":
            block = encode_texts(cells, self.encoder, column.dim)
        else:
            block = _fixed_lists(cells, column.dim)
        if column.name not in self.vectors:
            self.vectors[column.name] = torch.zeros(self.num_rows, block.shape[1])
        self.vectors[column.name][rows] = torch.from_numpy(block)

    def finish(self) -> tuple[torch_frame.TensorFrame, dict[str, dict[StatType, Any]]]:
        """The table and its PyTorch Frame column statistics."""
        feats: dict[torch_frame.stype, Any] = {}
        names: dict[torch_frame.stype, list[str]] = {}
        for kind, columns in self.names.items():
            stype = _STYPE[kind]
            names[stype] = columns
            if kind == "numerical":
                feats[stype] = self.numerical
            elif kind == "categorical":
                feats[stype] = self.categorical
            elif kind == "timestamp":
                feats[stype] = self.timestamp
            elif kind == "multicategorical":
                feats[stype] = _multi_nested([self.multi[name] for name in columns], self.num_rows)
            else:
                feats[stype] = self._embedding(columns)
        if not feats:
            feats[torch_frame.numerical] = torch.ones(self.num_rows, 1)
            names[torch_frame.numerical] = [CONSTANT]
        return torch_frame.TensorFrame(feats, names), self._statistics(feats)

    def _embedding(self, columns: list[str]) -> MultiEmbeddingTensor:
        dims = {c.name: c.dim for c in self.columns}
        parts = [self.vectors.get(name, torch.zeros(self.num_rows, dims[name])) for name in columns]
        offset = torch.tensor([0, *np.cumsum([p.shape[1] for p in parts])])
        return MultiEmbeddingTensor(self.num_rows, len(columns), torch.cat(parts, dim=1), offset)

    def _statistics(self, feats: dict[torch_frame.stype, Any]) -> dict[str, dict[StatType, Any]]:
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
                found[c.name] = {StatType.EMB_DIM: self.vectors[c.name].shape[1] if c.name in self.vectors else c.dim}
        if not self.columns:
            found[CONSTANT] = {StatType.MEAN: 0.0, StatType.STD: 1.0, StatType.QUANTILES: [1.0] * 5}
        return found


def _to_tensor(array: pa.Array) -> Tensor:
    values = array.to_numpy(zero_copy_only=False)
    return torch.from_numpy(values if values.flags.writeable else values.copy())


def _codes(cells: pa.Array, vocabulary: pa.Array) -> pa.Array:
    known = pc.index_in(cells, value_set=vocabulary)
    other = pc.if_else(pc.is_valid(cells), len(vocabulary), -1)
    return pc.coalesce(known, other).cast(pa.int32())


def _nested(cells: pa.ListArray, vocabulary: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    lengths = pc.fill_null(pc.list_value_length(cells), 0).to_numpy(zero_copy_only=False)
    return _codes(cells.flatten(), vocabulary).to_numpy(zero_copy_only=False), lengths.astype(np.int64)


def _fixed_lists(cells: pa.ListArray, dim: int) -> np.ndarray:
    lengths = pc.fill_null(pc.list_value_length(cells), 0).to_numpy(zero_copy_only=False)
    out = np.zeros((len(cells), dim), dtype=np.float32)
    whole = lengths == dim  # a vector of another length cannot be used; it stays zero like a missing one
    values = pc.fill_null(cells.filter(pa.array(whole)).flatten(), 0.0).to_numpy(zero_copy_only=False)
    out[whole] = np.nan_to_num(values.reshape(-1, dim), nan=0.0, posinf=0.0, neginf=0.0)
    return out


def _multi_nested(columns: list[list[tuple[np.ndarray, np.ndarray]]], num_rows: int) -> MultiNestedTensor:
    """Joins columns, each a list of (values, lengths), into PyTorch Frame's row-major cells."""
    values = [np.concatenate([v for v, _ in c] or [np.empty(0, np.int32)]) for c in columns]
    lengths = np.stack([np.concatenate([n for _, n in c] or [np.empty(0, np.int64)]) for c in columns], axis=1)
    offset = np.concatenate([[0], np.cumsum(lengths.reshape(-1))])
    joined = np.empty(offset[-1], dtype=np.int64)
    for j, column in enumerate(values):
        starts, counts = offset[:-1].reshape(num_rows, -1)[:, j], lengths[:, j]
        within = np.arange(len(column)) - np.repeat(np.cumsum(counts) - counts, counts)
        joined[np.repeat(starts, counts) + within] = column
    return MultiNestedTensor(num_rows, len(columns), torch.from_numpy(joined), torch.from_numpy(offset))


def _time_statistics(c: ColumnStatistics) -> dict[StatType, Any]:
    days = [c.mean + c.std * q for q in c.quantiles] or [0.0] * 5
    stamps = np.asarray([d * 86_400 for d in days]).astype("datetime64[s]")

    def parts(stamp: np.datetime64) -> Tensor:
        day, month, year = (stamp.astype(f"datetime64[{u}]").astype(int) for u in "DMY")
        first = np.datetime64(stamp, "M").astype("datetime64[D]").astype(int)
        second = int(stamp.astype("datetime64[s]").astype(int)) % 86_400
        fields = [year + 1970, month % 12, day - first, (day + 3) % 7, second // 3600, second // 60 % 60, second % 60]
        return torch.tensor([int(f) for f in fields])

    low, middle, high = (parts(stamps[i]) for i in (0, 2, 4))
    return {
        StatType.YEAR_RANGE: [int(low[0]), int(high[0])],
        StatType.OLDEST_TIME: low,
        StatType.MEDIAN_TIME: middle,
        StatType.NEWEST_TIME: high,
    }
