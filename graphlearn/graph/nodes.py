"""From keys to node numbers: a table in DuckDB that is joined, or one in memory that is looked up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from graphlearn.database.stream import DATA, stream, temporary_table
from graphlearn.ops.index import KeyTable
from graphlearn.schema.connect import Database
from graphlearn.schema.keys import is_whole
from graphlearn.schema.schema import Table

Numbers: TypeAlias = npt.NDArray[Any]


class NodeMap(Protocol):
    """The node of each row of a table that has a whole key."""

    dtype: npt.DTypeLike

    def value_sql(self, alias: str, columns: Sequence[str]) -> str:
        """What a SELECT reads for a row whose foreign key has these ``columns``."""

    def join_sql(self, alias: str, columns: Sequence[str]) -> str:
        """What it joins for that, under the name ``alias``."""

    def nodes(self, values: pa.Array) -> Numbers:
        """The nodes of what was read, -1 for none."""


class JoinedKeys:
    """Keys of any kind and number, in a temporary table of DuckDB that spills to disk: ``k0``, ``k1``, …, ``node``."""

    def __init__(self, name: str, dtype: npt.DTypeLike) -> None:
        self.name, self.dtype = name, dtype

    def value_sql(self, alias: str, columns: Sequence[str]) -> str:
        return f"coalesce({alias}.node, -1)"

    def join_sql(self, alias: str, columns: Sequence[str]) -> str:
        same = " AND ".join(f"{column} = {alias}.k{i}" for i, column in enumerate(columns))
        return f" LEFT JOIN {self.name} AS {alias} ON {same}"

    def nodes(self, values: pa.Array) -> Numbers:
        found: Numbers = values.to_numpy()
        return found


class LookedUpKeys:
    """Keys of one whole number, in a hash table that is several times as fast as a join."""

    dtype: npt.DTypeLike = np.int32

    def __init__(self, keys: pa.Array) -> None:
        self._table = KeyTable(_whole_numbers(keys))

    def value_sql(self, alias: str, columns: Sequence[str]) -> str:
        (column,) = columns
        return f"CAST({column} AS BIGINT)"

    def join_sql(self, alias: str, columns: Sequence[str]) -> str:
        return ""

    def nodes(self, values: pa.Array) -> Numbers:
        missing = values.null_count > 0
        found: Numbers = self._table.find(_whole_numbers(pc.fill_null(values, 0) if missing else values)).numpy()
        if missing:
            found[values.is_null().to_numpy(zero_copy_only=False)] = -1
        return found


@contextmanager
def node_map(db: Database, table: Table, name: str, keys: pa.Table) -> Iterator[NodeMap]:
    """The node of each key of a table.

    Args:
        db: The database.
        table: The table.
        name: For a temporary table.
        keys: The columns of its primary key ``k0``, ``k1``, …, in the order of the nodes.
    """
    if is_whole(table) and keys["k0"].null_count == 0 and KeyTable.usable(keys.num_rows):
        yield LookedUpKeys(keys["k0"].combine_chunks())
        return
    dtype = np.int32 if keys.num_rows < 2**31 else np.int64
    data = keys.append_column("node", pa.array(np.arange(keys.num_rows, dtype=dtype)))
    complete = " AND ".join(f"k{i} IS NOT NULL" for i in range(keys.num_columns))
    sql = f"SELECT {_restored(db, table)}, node FROM {DATA} WHERE {complete}"
    with temporary_table(db, name, sql, data=data) as quoted:
        yield JoinedKeys(quoted, dtype)


def match_later(db: Database, target: Table, keys: pa.Table, nodes: NodeMap) -> Tensor:
    """The node of ``target`` that each row of ``keys`` (``k0``, ``k1``, …) names, or -1: int32 or int64 ``[N]``."""
    columns = [f"t.k{i}" for i in range(keys.num_columns)]
    found = np.empty(keys.num_rows, dtype=nodes.dtype)
    data = keys.append_column("row", pa.array(np.arange(keys.num_rows)))
    with temporary_table(db, "__keys", f"SELECT {_restored(db, target)}, row FROM {DATA}", data=data) as rows:
        sql = f"SELECT row, {nodes.value_sql('n', columns)} AS node FROM {rows} AS t{nodes.join_sql('n', columns)}"
        with closing(stream(db, sql, ordered=False)) as batches:
            for batch in batches:
                found[batch.column("row").to_numpy()] = nodes.nodes(batch.column("node"))
    return torch.from_numpy(found)


def _restored(db: Database, table: Table) -> str:
    """The columns of a primary key in their own types: Arrow has no UUID, for one."""
    types = db.columns(table.name)
    return ", ".join(f"CAST(k{i} AS {types[column]}) AS k{i}" for i, column in enumerate(table.pkey))


def _whole_numbers(values: pa.Array) -> Tensor:
    numbers = values.cast(pa.int64()).to_numpy()
    return torch.from_numpy(numbers if numbers.flags.writeable else numbers.copy())
