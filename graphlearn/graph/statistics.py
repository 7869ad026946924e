"""What is learned from the rows before any model: means, spreads, vocabularies, all from rows up to ``fit_until``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from graphlearn.database.sql import quote, time_us
from graphlearn.schema.connect import Database
from graphlearn.schema.schema import Column, Table

MAX_CATEGORIES = 20_000
SEPARATORS = (",", "|", ";")
_DAY = 86_400_000_000


@dataclass(frozen=True)
class ColumnStatistics:
    """One feature column, as it was up to ``fit_until``.

    Attributes:
        name: Column name.
        stype: ``numerical``, ``categorical``, ``multicategorical``, ``timestamp``, ``text`` or ``embedding``.
        mean: Mean of the finite values; for a timestamp its day number since 1970.
        std: Their standard deviation, 1 for a constant column; for a timestamp in days.
        quantiles: Minimum, quartiles and maximum after ``(x - mean) / std``.
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
        return {"fit_until": self.fit_until, "tables": {t: [asdict(c) for c in cols] for t, cols in self.tables.items()}}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Statistics:
        def column(c: Mapping[str, Any]) -> ColumnStatistics:
            return ColumnStatistics(**{k: tuple(v) if isinstance(v, list) else v for k, v in c.items()})

        return cls(values["fit_until"], {t: tuple(column(c) for c in cols) for t, cols in values["tables"].items()})


def fit_statistics(
    db: Database,
    *,
    fit_until: int | None = None,
    hidden: Iterable[tuple[str, str]] = (),
    text_dim: int = 64,
) -> Statistics:
    """Reads every feature column once and keeps what its encoding needs.

    Args:
        db: The database.
        fit_until: Rows with a later time (microseconds UTC) are not looked at. Rows of a table without a time column
            have no "later" and are all read. None reads everything.
        hidden: ``(table, column)`` pairs that a task must not see.
        text_dim: Length of the vectors of text columns.
    """
    hidden = set(hidden)
    tables = {}
    for name, table in db.schema.tables.items():
        columns = [c for c in table.columns if c.stype is not None and (name, c.name) not in hidden]
        tables[name] = _fit_table(db, table, columns, fit_until, text_dim)
    return Statistics(fit_until, tables)


def visible_rows(table: Table, fit_until: int | None) -> str:
    """SQL for the rows of ``table`` that statistics may read."""
    if table.time_col is None or fit_until is None:
        return quote(table.name)
    time = time_us(quote(table.time_col), table.column(table.time_col).dtype)
    undated = f" OR {time} IS NULL" if table.null_time == "keep" else ""
    return f"(SELECT * FROM {quote(table.name)} WHERE {time} <= {int(fit_until)}{undated})"


def numeric_sql(column: Column) -> str:
    """SQL for a numerical cell as a finite DOUBLE; NULL where it is missing, infinite or not a number."""
    value = f"TRY_CAST({quote(column.name)} AS DOUBLE)"
    return f"CASE WHEN isfinite({value}) THEN {value} END"


def days_sql(column: Column) -> str:
    """SQL for a timestamp as a DOUBLE number of days since 1970."""
    return f"({time_us(quote(column.name), column.dtype)}) / {_DAY}.0"


def parts_sql(column: Column, separator: str) -> str:
    """SQL for a multicategorical cell as a list of texts."""
    name = quote(column.name)
    if not separator:
        return f"CAST({name} AS VARCHAR[])"
    return f"list_transform(string_split({name}, '{separator}'), lambda part: trim(part))"


def _fit_table(
    db: Database, table: Table, columns: list[Column], fit_until: int | None, text_dim: int
) -> tuple[ColumnStatistics, ...]:
    rows = visible_rows(table, fit_until)
    moments = _moments(db, rows, [c for c in columns if c.stype in ("numerical", "timestamp")])
    found: list[ColumnStatistics] = []
    for column in columns:
        stype = str(column.stype)
        if stype in ("numerical", "timestamp"):
            mean, std, quantiles = moments[column.name]
            found.append(ColumnStatistics(column.name, stype, mean=mean, std=std, quantiles=quantiles))
        elif stype == "categorical":
            vocabulary, counts = _vocabulary(db, f"SELECT CAST({quote(column.name)} AS VARCHAR) AS value FROM {rows}")
            found.append(ColumnStatistics(column.name, stype, vocabulary=vocabulary, counts=counts))
        elif stype == "multicategorical":
            separator = "" if column.dtype.endswith("[]") else _separator(db, rows, column)
            cells = f"SELECT unnest({parts_sql(column, separator)}) AS value FROM {rows}"
            vocabulary, counts = _vocabulary(db, cells)
            found.append(
                ColumnStatistics(column.name, stype, vocabulary=vocabulary, counts=counts, separator=separator)
            )
        elif stype == "text":
            found.append(ColumnStatistics(column.name, stype, dim=text_dim))
        else:
            sql = f"SELECT max(len({quote(column.name)})) FROM {rows}"
            dim = db.arrow(sql).column(0)[0].as_py()
            if dim:
                found.append(ColumnStatistics(column.name, stype, dim=int(dim)))
    return tuple(found)


def _moments(db: Database, rows: str, columns: list[Column]) -> dict[str, tuple[float, float, tuple[float, ...]]]:
    if not columns:
        return {}
    parts = []
    for i, column in enumerate(columns):
        value = numeric_sql(column) if column.stype == "numerical" else days_sql(column)
        parts += [
            f"avg({value}) AS m{i}",
            f"stddev_pop({value}) AS s{i}",
            f"quantile_cont({value}, [0, 0.25, 0.5, 0.75, 1]) AS q{i}",
        ]
    row = db.arrow(f"SELECT {', '.join(parts)} FROM {rows}").to_pylist()[0]
    result = {}
    for i, column in enumerate(columns):
        # A sum over threads differs in its last bits from run to run; seven digits are all a float32 feature holds.
        mean = _seven_digits(row[f"m{i}"] or 0.0)
        std = _seven_digits(row[f"s{i}"] or 0.0)
        std = std if std > 1e-9 * max(1.0, abs(mean)) else 1.0
        quantiles = tuple(_seven_digits((q - mean) / std) for q in row[f"q{i}"] or ())
        result[column.name] = (mean, std, quantiles)
    return result


def _seven_digits(value: float) -> float:
    return float(f"{value:.6e}")


def _vocabulary(db: Database, cells: str) -> tuple[tuple[str, ...], tuple[int, ...]]:
    table = db.arrow(
        f"SELECT value, count(*) AS n FROM ({cells}) WHERE value IS NOT NULL "
        f"GROUP BY value ORDER BY n DESC, value LIMIT {MAX_CATEGORIES}"
    )
    return tuple(table.column("value").to_pylist()), tuple(table.column("n").to_pylist())


def _separator(db: Database, rows: str, column: Column) -> str:
    name = quote(column.name)
    counts = ", ".join(f"count(*) FILTER (contains({name}, '{s}'))" for s in SEPARATORS)
    found = list(db.arrow(f"SELECT {counts} FROM {rows}").to_pylist()[0].values())
    return SEPARATORS[found.index(max(found))]
