"""One table out of the database, in the order of its nodes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import torch
import torch_frame
from torch import Tensor
from torch_frame.data.stats import StatType

from graphlearn.database.stream import stream
from graphlearn.graph.nodes import NodeMap
from graphlearn.graph.rows import RowWriter, feature_sql
from graphlearn.graph.statistics import ColumnStatistics
from graphlearn.graph.text import TextEncoder
from graphlearn.ops.index import sort_rows, take_rows
from graphlearn.schema.connect import Database
from graphlearn.schema.keys import cell, check_unique, kept_sql, key_sql, match_sql, rows_of, tie_sql, time_sql
from graphlearn.schema.schema import ForeignKey, Table

Progress = Callable[[str, int, int], None]
_UNDATED = np.iinfo(np.int64).min


@dataclass(frozen=True)
class TableRows:
    """The rows of a table, numbered in the order of (time, primary key).

    Attributes:
        num_nodes: How many there are.
        num_undated: How many of them have no time; they come first.
        time: int64 ``[N]`` microseconds UTC, 0 where undated; None without a time column.
        pkey: The primary keys as one value each; None without any.
        keys: The columns of the primary key ``k0``, ``k1``, …, if they were asked for.
        parents: For each foreign key that could be matched the parent's number, or -1.
        unmatched: For the others their columns ``k0``, ``k1``, …, as the types of the key that they refer to.
        tf: The features.
        col_stats: Their statistics as PyTorch Frame keeps them.
    """

    num_nodes: int
    num_undated: int
    time: Tensor | None
    pkey: pa.Array | None
    keys: pa.Table | None
    parents: dict[str, Tensor]
    unmatched: dict[str, pa.Table]
    tf: torch_frame.TensorFrame
    col_stats: dict[str, dict[StatType, Any]]


def read_table(
    db: Database,
    table: Table,
    columns: Sequence[ColumnStatistics],
    maps: Mapping[str, NodeMap],
    *,
    hidden: frozenset[str] = frozenset(),
    with_keys: bool = False,
    text_encoder: TextEncoder | None = None,
    progress: Progress | None = None,
) -> TableRows:
    """Streams a table into tensors and then sorts these.

    That is faster than to sort the rows in SQL, and beside the tensors takes room for a few columns at a time.

    Args:
        db: The database.
        table: The table.
        columns: Its features.
        maps: The tables that are numbered already, by name.
        hidden: Columns that must not be looked at.
        with_keys: Whether the columns of the primary key are wanted.
        text_encoder: See :func:`~graphlearn.graph.build.build_graph`.
        progress: Called with (table, rows done, rows in all).

    Raises:
        SchemaError: If the primary key is not unique.
    """
    keys = [key for key in table.fkeys if not hidden.intersection(key.columns)]
    matched = [key for key in keys if key.table in maps]
    unmatched = [key for key in keys if key.table not in maps]
    kept = _kept_columns(db, table, unmatched, with_keys)
    # Rows without a key of their own and without features are what their time and the rows that they name are: those
    # that are equal in them are the same node to the graph, in any order, and need no hash that DuckDB would make.
    plain = not (table.pkey or columns or unmatched) and bool(matched or table.time_col)
    sql = _rows_sql(db, table, columns, matched, maps, kept, tie=None if plain else tie_sql(table, hidden))

    room = db.num_rows(table.name)
    writer = RowWriter(columns, room, encoder=text_encoder)
    tie, time = np.empty(0 if plain else room, np.int64), np.empty(room if table.time_col else 0, np.int64)
    parents = [np.empty(room, maps[key.table].dtype) for key in matched]
    chunks: dict[str, list[pa.Array]] = {name: [] for name in kept}
    done, undated = 0, False
    # An encoder of the user's may depend on which texts it gets together.
    reading = stream(db, sql, batch_rows=_batch_rows(columns), ordered=text_encoder is not None)
    with closing(reading) as batches, ThreadPoolExecutor(1) as pool:
        waiting: deque[Future[None]] = deque()
        for batch in batches:
            rows = slice(done, done + batch.num_rows)
            # Keys are looked up beside the reading, which waits for DuckDB, but at most a few batches behind it.
            waiting.append(pool.submit(_look_up, batch, [maps[key.table] for key in matched], parents, rows))
            if len(waiting) > 4:
                waiting.popleft().result()
            if not plain:
                tie[rows] = batch.column("__tie").to_numpy()
            if table.time_col:
                when = batch.column("__t")
                undated |= when.null_count > 0
                time[rows] = (pc.fill_null(when, _UNDATED) if when.null_count else when).to_numpy()
            for name, chunk in chunks.items():
                # A copy: a column of a batch keeps the memory of the whole batch.
                chunk.append(pa.concat_arrays([batch.column(name), batch.column(name).slice(0, 0)]))
            writer.write(batch, done)
            done = rows.stop
            if progress is not None:
                progress(table.name, done, room)
        for rest in waiting:
            rest.result()

    if done < room:  # what was never written must not be saved with the rows
        tie, time, parents = tie[:done], time[:done].copy(), [parent[:done].copy() for parent in parents]
    num_undated = _put_undated_first(time) if undated else 0
    keys_of_order = [*([time] if table.time_col else []), *(parents if plain else [tie])]
    order, first = sort_rows(*map(torch.from_numpy, keys_of_order))
    del (
        tie,
        time,
        keys_of_order,
    )  # memory that is given back is ready for the next column; new memory is slow to come by
    arrow = {name: _joined(db, table, kept[name], chunk, order) for name, chunk in chunks.items()}
    if table.pkey and _may_repeat(arrow["__pkey"]):
        check_unique(db, table)
    moments = first if table.time_col else None
    if moments is not None:
        moments[:num_undated] = 0
    del first
    tf, col_stats = writer.finish(order)
    return TableRows(
        num_nodes=done,
        num_undated=num_undated,
        time=moments,
        pkey=arrow["__pkey"] if table.pkey else None,
        keys=_key_table(arrow, "__k", ["__pkey"]) if with_keys else None,
        parents={key.name: _ordered(parents.pop(0), order) for key in matched},
        unmatched={key.name: _key_table(arrow, f"__u{i}_", []) for i, key in enumerate(unmatched)},
        tf=tf,
        col_stats=col_stats,
    )


def _kept_columns(db: Database, table: Table, unmatched: list[ForeignKey], with_keys: bool) -> dict[str, str]:
    """SQL of the columns that stay Arrow: the primary key, its columns if it has several, and unmatched keys."""
    kept = {}
    if table.pkey:
        kept["__pkey"] = key_sql(table)
        if with_keys and kept["__pkey"] != cell(table.pkey[0]):
            kept |= {f"__k{i}": cell(column) for i, column in enumerate(table.pkey)}
    for i, key in enumerate(unmatched):
        kept |= {f"__u{i}_{j}": value for j, value in enumerate(match_sql(db, table, key))}
    return kept


def _rows_sql(
    db: Database,
    table: Table,
    columns: Sequence[ColumnStatistics],
    matched: list[ForeignKey],
    maps: Mapping[str, NodeMap],
    kept: dict[str, str],
    tie: str | None,
) -> str:
    select = [f"{value} AS {name}" for name, value in kept.items()]
    if tie is not None:
        select.append(f"{tie} AS __tie")
    time = time_sql(table)
    if time is not None:
        select.append(f"{time} AS __t")
    joins = ""
    for i, key in enumerate(matched):
        values = match_sql(db, table, key)
        select.append(f"{maps[key.table].value_sql(f'n{i}', values)} AS __n{i}")
        joins += maps[key.table].join_sql(f"n{i}", values)
    select += feature_sql(table, columns)
    return f"SELECT {', '.join(select)} FROM {rows_of(table.name)} AS t{joins}{kept_sql(table)}"


def _batch_rows(columns: Sequence[ColumnStatistics]) -> int:
    """Each batch costs a tenth of a millisecond, so narrow rows come in larger ones; of no more than some 10 MB."""
    narrow = len(columns) <= 8 and all(c.stype in ("numerical", "categorical") for c in columns)
    return 131_072 if narrow else 32_768


def _look_up(batch: pa.RecordBatch, maps: list[NodeMap], parents: list[npt.NDArray[Any]], rows: slice) -> None:
    for i, (nodes, parent) in enumerate(zip(maps, parents, strict=True)):
        parent[rows] = nodes.nodes(batch.column(f"__n{i}"))


def _put_undated_first(time: npt.NDArray[np.int64]) -> int:
    """Gives rows without a time one before all others (in place), and their number."""
    undated = time == _UNDATED
    count = int(np.count_nonzero(undated))
    if count:
        time[undated] = 0 if count == len(time) else time[~undated].min() - 1
    return count


def _ordered(values: npt.NDArray[Any], order: Tensor | None) -> Tensor:
    return torch.from_numpy(values) if order is None else take_rows(torch.from_numpy(values), order)


def _joined(db: Database, table: Table, value: str, chunks: list[pa.Array], order: Tensor | None) -> pa.Array:
    if not chunks:
        return db.arrow(f"SELECT {value} AS k FROM {rows_of(table.name)} AS t LIMIT 0").column("k").combine_chunks()
    if pa.types.is_string(chunks[0].type) and sum(chunk.nbytes for chunk in chunks) >= 2**31:
        chunks = [chunk.cast(pa.large_string()) for chunk in chunks]
    array = pa.concat_arrays(chunks)
    return array if order is None else array.take(pa.array(order.numpy()))


def _key_table(arrow: dict[str, pa.Array], prefix: str, otherwise: list[str]) -> pa.Table:
    names = [name for name in arrow if name.startswith(prefix)] or otherwise
    return pa.table({f"k{i}": arrow[name] for i, name in enumerate(names)})


def _may_repeat(keys: pa.Array) -> bool:
    """False only if no key is there twice, so that DuckDB need not be asked."""
    if pa.types.is_integer(keys.type):
        values = keys.drop_null().to_numpy().copy()
        values.sort()
        return bool((values[1:] == values[:-1]).any())
    if pa.types.is_string(keys.type) or pa.types.is_large_string(keys.type):
        return bool(pc.count_distinct(keys).as_py() < len(keys) - keys.null_count)
    return True
