"""What is learned from the rows before any model: means, spreads, vocabularies, all from rows up to ``fit_until``."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from graphlearn.database.sql import is_time, literal, time_us
from graphlearn.errors import SchemaError
from graphlearn.graph.text import TextEncoder, vector_length
from graphlearn.schema.connect import Database
from graphlearn.schema.keys import category_sql, cell, numeric_sql, visible_rows
from graphlearn.schema.profile import is_list, is_number, item_type
from graphlearn.schema.schema import Column, Table

MAX_CATEGORIES = 20_000
"""Categories beyond the most frequent so many count as unseen."""
SEPARATORS = (",", "|", ";")
LARGE = 1_000_000
"""Quantiles of a table are taken from all of its rows up to twice so many, else from about so many: finding them holds
the values in memory."""
TOGETHER = 32
"""How many columns one query looks at: the time to plan a query grows with the square of its columns."""
_DAY = 86_400_000_000


@dataclass(frozen=True)
class ColumnStatistics:
    """One feature column, as it was up to ``fit_until``.

    Attributes:
        name: Column name.
        stype: ``numerical``, ``categorical``, ``multicategorical``, ``timestamp``, ``text`` or ``embedding``.
        mean: Mean of the finite values of a numerical column.
        std: Their standard deviation, 1 for a constant column.
        quantiles: Minimum, quartiles and maximum: of numbers after ``(x - mean) / std``, of timestamps in days since
            1970; empty if there were no values.
        vocabulary: Categories as text, most frequent first. Index ``len(vocabulary)`` is kept for all others.
        counts: How often each category occurred.
        separator: What separates the parts of a multicategorical text; empty for a list column.
        dim: Length of an embedding or of a text's vector.
    """

    name: str
    stype: str
    mean: float = 0.0
    std: float = 1.0
    quantiles: tuple[float, ...] = ()
    vocabulary: tuple[str, ...] = ()
    counts: tuple[int, ...] = ()
    separator: str = ""
    dim: int = 0


@dataclass(frozen=True)
class Statistics:
    """The statistics of every table; saved with a run, so that it can predict without the training data."""

    fit_until: int | None
    tables: dict[str, tuple[ColumnStatistics, ...]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain values that survive JSON exactly."""
        tables = {name: [asdict(column) for column in columns] for name, columns in self.tables.items()}
        return {"fit_until": self.fit_until, "tables": tables}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Statistics:
        """The inverse of :meth:`to_dict`."""

        def column(c: Mapping[str, Any]) -> ColumnStatistics:
            fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in c.items()}
            return ColumnStatistics(**fields)

        return cls(values["fit_until"], {t: tuple(column(c) for c in cols) for t, cols in values["tables"].items()})


def fit_statistics(
    db: Database,
    *,
    fit_until: int | None = None,
    hidden: Iterable[tuple[str, str]] = (),
    text_dim: int = 64,
    text_encoder: TextEncoder | None = None,
) -> Statistics:
    """Reads every feature column and keeps what its encoding needs.

    Args:
        db: The database.
        fit_until: Rows with a later time (microseconds UTC) are not looked at. Rows of a table without a time column
            count as known once a row that is known refers to them; where nothing with a time does, all are read. None
            reads everything.
        hidden: ``(table, column)`` pairs that a task must not see.
        text_dim: Length of the vectors of text columns, unless there is an encoder.
        text_encoder: What will encode the texts; asked for one vector, to learn its length.

    Raises:
        SchemaError: If the type of a column cannot hold its stype.
        UsageError: If the encoder does not give one vector for each text.
    """
    left_out = set(hidden)
    tables = {}
    for name, table in db.schema.tables.items():
        columns = [c for c in table.columns if c.stype is not None and (name, c.name) not in left_out]
        for column in columns:
            _check_type(name, column)
        if text_encoder is not None and any(c.stype == "text" for c in columns):
            text_dim = vector_length(text_encoder)
            text_encoder = None
        tables[name] = _fit_table(db, table, columns, fit_until, text_dim)
    return Statistics(fit_until, tables)


def parts_sql(column: Column, separator: str) -> str:
    """SQL for a multicategorical cell as a list of texts, none of them empty."""
    value = cell(column.name)
    parts = f"CAST({value} AS VARCHAR[])"
    if separator:
        parts = f"list_transform(string_split({value}, {literal(separator)}), lambda part: trim(part))"
    return f"list_filter({parts}, lambda part: part <> '')"


def _check_type(table: str, column: Column) -> None:
    dtype, stype = column.dtype, column.stype
    if stype == "numerical" and not (is_number(dtype) or dtype in ("BOOLEAN", "VARCHAR")):
        needed = "numbers, or text that holds numbers"
    elif stype == "timestamp" and not (is_time(dtype) or dtype == "VARCHAR"):
        needed = "a TIMESTAMP, DATE or ISO 8601 text"
    elif stype == "multicategorical" and not (is_list(dtype) or dtype == "VARCHAR"):
        needed = "lists, or text with separators"
    elif stype == "embedding" and not (is_list(dtype) and is_number(item_type(dtype))):
        needed = "lists of numbers"
    else:
        return
    raise SchemaError(
        f"{table}.{column.name} has the stype '{stype}', which needs {needed}, but its type is {dtype}. "
        "Give it another stype in manifest.yaml, or none."
    )


def _fit_table(
    db: Database, table: Table, columns: list[Column], fit_until: int | None, text_dim: int
) -> tuple[ColumnStatistics, ...]:
    rows = f"{visible_rows(db, table, fit_until)} AS t"
    spread: dict[str, ColumnStatistics] = {}
    measured = [c for c in columns if c.stype in ("numerical", "timestamp")]
    for start in range(0, len(measured), TOGETHER):
        spread |= _spread(db, table, rows, measured[start : start + TOGETHER])
    found: list[ColumnStatistics] = []
    for column in columns:
        name, stype = column.name, str(column.stype)
        if name in spread:
            found.append(spread[name])
        elif stype == "categorical":
            vocabulary, counts = _vocabulary(db, f"SELECT {category_sql(column)} AS value FROM {rows}")
            found.append(ColumnStatistics(name, stype, vocabulary=vocabulary, counts=counts))
        elif stype == "multicategorical":
            separator = "" if is_list(column.dtype) else _separator(db, rows, column)
            cells = f"SELECT unnest({parts_sql(column, separator)}) AS value FROM {rows}"
            vocabulary, counts = _vocabulary(db, cells)
            found.append(ColumnStatistics(name, stype, vocabulary=vocabulary, counts=counts, separator=separator))
        elif stype == "text":
            found.append(ColumnStatistics(name, stype, dim=text_dim))
        else:
            length = f"len({cell(name)})"
            common = db.rows(
                f"SELECT {length} FROM {rows} WHERE {length} > 0 GROUP BY ALL ORDER BY count(*) DESC, {length} LIMIT 1"
            )
            found += [ColumnStatistics(name, stype, dim=int(dim)) for (dim,) in common]
    return tuple(found)


def _spread(db: Database, table: Table, rows: str, columns: list[Column]) -> dict[str, ColumnStatistics]:
    """Mean, spread and quantiles of numbers, and the quantiles of timestamps."""
    items, quantiles = [], []
    for i, column in enumerate(columns):
        numerical = column.stype == "numerical"
        value = numeric_sql(column) if numerical else time_us(cell(column.name), column.dtype)
        moments = f"avg({value}) AS m{i}, stddev_pop({value}) AS s{i}, " if numerical else ""
        items.append(f"{moments}min({value}) AS a{i}, max({value}) AS b{i}")
        kind = "cont" if numerical else "disc"
        quantiles.append(f"quantile_{kind}({value}, [0.25, 0.5, 0.75]) AS q{i}")
    found = db.arrow(f"SELECT count(*) AS n, {', '.join(items)} FROM {rows}").to_pylist()[0]
    if found["n"] > 2 * LARGE:
        # Which rows are taken depends on the rows themselves, not on their order, so it is always the same ones.
        key = ", ".join(cell(c) for c in table.pkey or [c.name for c in table.columns])
        part = f"{rows} WHERE hash({key}) % {found['n'] // LARGE} = 0"
        # Without a key many rows may be the same one, and all of them in or out.
        rows = part if abs(db.rows(f"SELECT count(*) FROM {part}")[0][0] / LARGE - 1) < 0.6 else rows
    found |= db.arrow(f"SELECT {', '.join(quantiles)} FROM {rows}").to_pylist()[0]
    return {column.name: _column_spread(column, found, i) for i, column in enumerate(columns)}


def _column_spread(column: Column, found: Mapping[str, Any], i: int) -> ColumnStatistics:
    low, high = found[f"a{i}"], found[f"b{i}"]
    # A sample may have missed the few values of a column that is nearly empty.
    quantiles = () if low is None else (low, *(found[f"q{i}"] or [low, low, high]), high)
    if column.stype == "timestamp":
        return ColumnStatistics(column.name, "timestamp", quantiles=tuple(us / _DAY for us in quantiles))
    mean, std = 0.0, 1.0
    if low is not None:
        mean, std = (low, 1.0) if low == high else _rounded(found[f"m{i}"], found[f"s{i}"] or high - low)
    return ColumnStatistics(
        column.name, "numerical", mean=mean, std=std, quantiles=tuple((q - mean) / std for q in quantiles)
    )


def _rounded(mean: float, std: float) -> tuple[float, float]:
    """Both to a millionth of the spread.

    A sum over threads differs in its last bits from run to run, and a float32 feature holds no more than that.
    """
    digits = 6 - math.floor(math.log10(std))
    return round(mean, digits), round(std, digits)


def _vocabulary(db: Database, cells: str) -> tuple[tuple[str, ...], tuple[int, ...]]:
    table = db.arrow(
        f"SELECT value, count(*) AS n FROM ({cells}) WHERE value IS NOT NULL "
        f"GROUP BY value ORDER BY n DESC, value LIMIT {MAX_CATEGORIES}"
    )
    return tuple(table.column("value").to_pylist()), tuple(table.column("n").to_pylist())


def _separator(db: Database, rows: str, column: Column) -> str:
    counts = ", ".join(f"count(*) FILTER (contains({cell(column.name)}, {literal(s)}))" for s in SEPARATORS)
    found = db.rows(f"SELECT {counts} FROM {rows}")[0]
    return SEPARATORS[found.index(max(found))]
