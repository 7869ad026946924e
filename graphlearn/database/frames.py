"""Sources in memory: a dict of pandas, Arrow or Polars tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from graphlearn.database.names import check_names
from graphlearn.database.source import Source
from graphlearn.errors import SourceError

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa


def open_frames(con: duckdb.DuckDBPyConnection, frames: Mapping[str, object]) -> Source:
    """Views over the frames; Arrow memory is read where it lies, everything else is converted to Arrow once."""
    if not frames:
        raise SourceError("the dict of tables is empty: give {name: DataFrame, …}.")
    for name in frames:
        if not isinstance(name, str):
            raise SourceError(f"table names must be text, got {name!r}.")
    check_names("table", frames, "the dict of tables")
    for name, frame in frames.items():
        con.from_arrow(_to_arrow(name, frame)).create_view(name)
    return Source(con, name="frames", source=f"{len(frames)} tables in memory", tables=frames)


def _to_arrow(name: str, frame: object) -> pa.Table:
    import pyarrow as pa

    if type(frame).__module__.startswith("polars") and hasattr(frame, "collect"):
        frame = frame.collect()
    if type(frame).__module__.startswith("pandas"):
        table = _from_pandas(name, frame)
    elif isinstance(frame, pa.Table):
        table = frame
    elif hasattr(frame, "__arrow_c_stream__"):
        table = pa.table(frame)
    elif isinstance(frame, pa.RecordBatch):
        table = pa.Table.from_batches([frame])
    else:
        raise SourceError(
            f"table '{name}' is a {type(frame).__name__}: give a pandas, Arrow or Polars table, or a path to connect()."
        )
    check_names("column", table.column_names, f"table '{name}'")
    if not table.column_names:
        raise SourceError(f"table '{name}' has no columns.")
    for i, field in enumerate(table.schema):
        # Views hold no column without a type: one that is NULL everywhere becomes text that is NULL everywhere.
        if pa.types.is_null(field.type):
            table = table.set_column(i, field.name, table.column(i).cast(pa.string()))
    return table


def _from_pandas(name: str, frame: Any) -> pa.Table:
    import pyarrow as pa

    if not hasattr(frame, "columns"):
        raise SourceError(f"table '{name}' is a pandas {type(frame).__name__}: give a DataFrame.")
    if frame.columns.nlevels > 1:
        raise SourceError(f"table '{name}' has {frame.columns.nlevels} levels of column names: flatten them to one.")
    if any(level is not None for level in frame.index.names):
        # A named index is data (set_index("id")), and often the key.
        frame = frame.reset_index()
    frame = frame.set_axis([str(column) for column in frame.columns], axis=1)
    check_names("column", frame.columns, f"table '{name}'")
    try:
        return pa.Table.from_pandas(frame, preserve_index=False)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        reason = " ".join(str(part) for part in error.args)
        raise SourceError(f"table '{name}' cannot be read: {reason}. Give each column values of one type.") from error
