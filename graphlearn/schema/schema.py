"""What the tables mean: keys, times and the kind of every column."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from graphlearn.errors import unknown_name

STYPES = ("numerical", "categorical", "multicategorical", "timestamp", "text", "embedding")
NULL_TIMES = ("drop", "keep")
ON_MISSING = ("drop", "error")
DECLARED = "declared"
"""The evidence for a key that the database itself declares."""
KNOWN_SINCE = "known_since"
"""The time column that a table with ``time_from`` gets."""


@dataclass(frozen=True)
class Column:
    """One column.

    Args:
        name: Its name.
        dtype: Its DuckDB type; empty where no source has been looked at.
        stype: What kind of feature it is, one of :data:`STYPES`, or None: a key, or not usable as a feature.
        confidence: How sure the inference of ``stype`` is, in [0, 1]; 1 is declared.
        comment: What the database says about it.
    """

    name: str
    dtype: str = ""
    stype: str | None = None
    confidence: float = 1.0
    comment: str = ""


@dataclass(frozen=True)
class ForeignKey:
    """Columns that name a row of ``table`` by its primary key.

    Args:
        columns: The columns that hold the key, in the order of the target's primary key.
        table: The table they refer to.
        on_missing: ``"drop"``: values without a row give no edge; ``"error"``: they are refused.
        confidence: How sure the inference is, in [0, 1]; 1 is declared.
        evidence: What speaks for it.
    """

    columns: tuple[str, ...]
    table: str
    on_missing: str = "drop"
    confidence: float = 1.0
    evidence: str = ""

    @property
    def name(self) -> str:
        """The name of the relation in the graph."""
        return ",".join(self.columns)


@dataclass(frozen=True)
class Table:
    """One table.

    Args:
        name: Its name.
        pkey: Columns of the primary key; empty if it has none.
        fkeys: Its foreign keys.
        time_col: The column that says since when a row is known, or None: always.
        null_time: Rows without a time are left out (``"drop"``) or are visible always (``"keep"``).
        columns: Its columns.
        pkey_confidence: How sure the inference of the primary key is; 1 is declared.
        time_confidence: The same of the time column.
        time_from: Names of foreign keys. Where given, the table has no time of its own: ``time_col`` is
            :data:`KNOWN_SINCE`, the latest time among the rows that these keys name, added when the source is opened.
        pkey_evidence: What speaks for the primary key.
        comment: What the database says about it.
    """

    name: str
    pkey: tuple[str, ...] = ()
    fkeys: tuple[ForeignKey, ...] = ()
    time_col: str | None = None
    null_time: str = "drop"
    columns: tuple[Column, ...] = ()
    pkey_confidence: float = 1.0
    time_confidence: float = 1.0
    time_from: tuple[str, ...] = ()
    pkey_evidence: str = ""
    comment: str = ""

    def column(self, name: str) -> Column:
        """The column of that name."""
        for column in self.columns:
            if column.name == name:
                return column
        raise unknown_name(f"column of table '{self.name}'", name, [c.name for c in self.columns])

    @property
    def stypes(self) -> dict[str, str]:
        """The columns that are features, with their stype."""
        return {c.name: c.stype for c in self.columns if c.stype is not None}


@dataclass(frozen=True)
class Schema:
    """All tables of a database; saved as a superset of RelBench 3's ``manifest.yaml``.

    Args:
        name: Name of the database.
        tables: By name, in the order of the source.
        val_timestamp: Start of the validation period (ISO), if the database declares one.
        test_timestamp: Start of the test period (ISO), if the database declares one.
        description: One line about the database.
    """

    name: str
    tables: dict[str, Table] = field(default_factory=dict)
    val_timestamp: str | None = None
    test_timestamp: str | None = None
    description: str | None = None

    def __getitem__(self, table: str) -> Table:
        if table not in self.tables:
            raise unknown_name("table", table, self.tables)
        return self.tables[table]

    @classmethod
    def load(cls, path: str | Path) -> Schema:
        """Reads a manifest: ours, or a RelBench 3 one; ``path`` is the file or the folder that holds it."""
        from graphlearn.schema.manifest import load_manifest

        return load_manifest(path)

    def save(self, path: str | Path) -> Path:
        """Writes the manifest; the file is whole or absent."""
        from graphlearn.schema.manifest import save_manifest

        return save_manifest(self, path)

    def __str__(self) -> str:
        from graphlearn.schema.show import show_schema

        return show_schema(self)
