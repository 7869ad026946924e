"""One read-only DuckDB connection that sees every table of a source."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphlearn.database.sql import quote
from graphlearn.errors import UsageError, unknown_name

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

    from graphlearn.database.local import LocalCopy

_FIXED = re.compile(r"U?(TINY|SMALL|BIG|HUGE)?INT|INTEGER|UINTEGER|FLOAT|DOUBLE|DECIMAL|BOOLEAN|DATE|TIME|INTERVAL")


@dataclass(frozen=True)
class DeclaredKey:
    """A foreign key as the source itself declares it."""

    columns: tuple[str, ...]
    table: str
    references: tuple[str, ...]


class Source:
    """The tables of a database, files or frames, as views of schema ``main`` on one in-memory DuckDB connection.

    Args:
        con: The connection; its session time zone is UTC.
        name: Short name of the source, such as ``rel-f1``.
        source: Where it came from, without passwords.
        tables: Names of the views, in the order of the source.
        folder: The RelBench folder, if it is one.
        manifest: The manifest that came with the source, if there is one.
        declared_pkeys: Primary keys that the source declares, by table.
        declared_fkeys: Foreign keys that the source declares, by table.
        added: The expressions of the columns that :meth:`add_column` added, by (table, column).
        comments: What the source says about (table, column), or about (table, "") as a whole.
        notes: What the user is to be told about how it was read.
        local: What a server's tables were copied into.
    """

    def __init__(
        self,
        con: duckdb.DuckDBPyConnection,
        *,
        name: str,
        source: str,
        tables: Iterable[str],
        folder: Path | None = None,
        manifest: Path | None = None,
        declared_pkeys: Mapping[str, tuple[str, ...]] | None = None,
        declared_fkeys: Mapping[str, tuple[DeclaredKey, ...]] | None = None,
        added: Mapping[tuple[str, str], str] | None = None,
        comments: Mapping[tuple[str, str], str] | None = None,
        notes: Iterable[str] = (),
        local: LocalCopy | None = None,
    ) -> None:
        self.con = con
        self.name = name
        self.source = source
        self.tables = tuple(tables)
        self.folder = folder
        self.manifest = manifest
        self.declared_pkeys = dict(declared_pkeys or {})
        self.declared_fkeys = dict(declared_fkeys or {})
        self.added = dict(added or {})
        self.comments = dict(comments or {})
        self.notes = tuple(notes)
        self.local = local
        self._columns = {table: self._describe(table) for table in self.tables}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.source!r}, {len(self.tables)} tables)"

    def columns(self, table: str) -> dict[str, str]:
        """The DuckDB type of each column of ``table``, in the order of the table."""
        return dict(self._columns[self.check_table(table)])

    def own_columns(self, table: str) -> dict[str, str]:
        """The same without the columns that were added."""
        return {name: dtype for name, dtype in self.columns(table).items() if (table, name) not in self.added}

    def check_table(self, table: str) -> str:
        """``table`` itself, or :class:`UnknownNameError` if the source has no such table."""
        if table not in self._columns:
            raise unknown_name("table", table, self.tables)
        return table

    def arrow(self, sql: str, params: Sequence[object] = ()) -> pa.Table:
        """The result of one SELECT.

        Raises:
            UsageError: If ``sql`` is not exactly one SELECT: sources are read-only.
        """
        return self._select(sql, params).to_arrow_table()

    def rows(self, sql: str, params: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """The result of one small SELECT as Python values."""
        return list(self._select(sql, params).fetchall())

    def num_rows(self, table: str) -> int:
        """Number of rows of ``table``."""
        return int(self.rows(f"SELECT count(*) FROM {quote(self.check_table(table))}")[0][0])

    def num_bytes(self, table: str) -> int:
        """About how many bytes the values of ``table`` take: 8 for a number or a time, a text as many as it has.

        Cost: one scan of the texts.
        """
        columns = self.columns(table)
        plain = [name for name, dtype in columns.items() if _FIXED.match(dtype) and not dtype.endswith("]")]
        lengths = [f"coalesce(sum(strlen(CAST({quote(c)} AS VARCHAR))), 0)" for c in columns if c not in plain]
        sizes = " + ".join([f"{8 * len(plain)} * count(*)", *lengths])
        return int(self.rows(f"SELECT {sizes} FROM {quote(table)}")[0][0])

    def fingerprint(self) -> str:
        """A hash of all tables, columns, types and values; the order of rows and tables does not matter.

        Cost: one scan of every table.
        """
        digest = hashlib.sha256()
        for table in sorted(self.tables):
            # A sum, not an exclusive or: equal rows must not cancel.
            count, total = self.rows(f"SELECT count(*), sum(hash(t)::HUGEINT)::VARCHAR FROM {quote(table)} AS t")[0]
            digest.update(repr((table, self._columns[table], count, total)).encode("utf-8", "surrogatepass"))
        return digest.hexdigest()[:32]

    def add_column(self, table: str, column: str, expression: str) -> None:
        """Gives the view of ``table`` a column that is computed when it is read; the source is not touched.

        Args:
            table: The table.
            column: Name of the new column; the table must not have it.
            expression: SQL over the columns of the row, ``t."name"``.
        """
        plain = f"{self.check_table(table)} (plain)"
        while self.con.execute("SELECT 1 FROM duckdb_views() WHERE view_name = ?", [plain]).fetchall():
            plain += "_"
        self.con.execute(f"ALTER VIEW {quote(table)} RENAME TO {quote(plain)}").fetchall()
        self.con.execute(
            f"CREATE VIEW main.{quote(table)} AS SELECT t.*, {expression} AS {quote(column)} FROM {quote(plain)} AS t"
        ).fetchall()
        self._columns[table] = self._describe(table)
        self.added[table, column] = expression

    def close(self) -> None:
        """Lets go of the source; nothing can be read afterwards."""
        self.con.close()
        if self.local is not None:
            self.local.close()

    def _describe(self, table: str) -> dict[str, str]:
        described = self.con.execute(f"DESCRIBE SELECT * FROM {quote(table)}").fetchall()
        return {str(row[0]): str(row[1]) for row in described}

    def _select(self, sql: str, params: Sequence[object]) -> duckdb.DuckDBPyRelation:
        kinds = [statement.type.name for statement in self.con.extract_statements(sql)]
        if kinds != ["SELECT"]:
            found = " and ".join(kinds) or "nothing"
            raise UsageError(f"only one SELECT can be run on a source, which is read-only; found {found}.")
        return self.con.sql(sql, params=list(params)) if params else self.con.sql(sql)
