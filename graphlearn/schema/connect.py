"""The door of the data trunk: a source and what its tables mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from graphlearn.database.open import open_source
from graphlearn.database.reflect import Options
from graphlearn.database.source import Source
from graphlearn.database.sql import is_time
from graphlearn.schema.derive import add_derived_times
from graphlearn.schema.infer import complete_schema, infer_schema
from graphlearn.schema.schema import Schema


class Database(Source):
    """A source together with its :class:`Schema`."""

    def __init__(self, source: Source, schema: Schema) -> None:
        super().__init__(
            source.con,
            name=source.name,
            source=source.source,
            tables=source.tables,
            folder=source.folder,
            manifest=source.manifest,
            declared_pkeys=source.declared_pkeys,
            declared_fkeys=source.declared_fkeys,
            added=source.added,
            comments=source.comments,
            notes=source.notes,
            local=source.local,
        )
        self.schema = schema

    def with_schema(self, schema: Schema) -> Database:
        """The same source, on the same connection, read with another schema.

        Raises:
            SchemaError: If the schema contradicts the source, or derives a time from other keys than this one does.
            UnknownNameError: If it names a table or column that the source does not have.
        """
        understood = complete_schema(self, schema)
        add_derived_times(self, understood)
        return Database(self, understood)


def connect(
    source: str | Path | Mapping[str, object],
    *,
    schema: Schema | str | Path | None = None,
    memory_limit: str | None = None,
    threads: int | None = None,
    tables: str | Sequence[str] | None = None,
    exclude: str | Sequence[str] = (),
    cache: str | Path | None = None,
) -> Database:
    """Opens ``source`` read-only and understands it.

    Args:
        source: A DuckDB file, a folder of Parquet or CSV files or one such file, a RelBench 3 folder or its name on
            the Hub (``rel-f1``), ``{name: table}`` of pandas, Arrow or Polars tables, or the URL of a database:
            ``postgresql://``, ``mysql://``, ``mariadb://``, ``sqlite:///``, or any other that SQLAlchemy knows. Its
            tables are copied into DuckDB as they are at one moment.
        schema: What the tables mean, or the path of a saved manifest; what it leaves open is inferred. By default the
            source's own manifest, else its declared keys, else inferred from all rows.
        memory_limit: What DuckDB may use before it spills to disk, such as ``"4GB"``.
        threads: Number of threads DuckDB may use.
        tables: Of a database, globs of the tables to read (``"shop.*"``); by default all, or those of ``schema``.
        exclude: Of a database, globs of tables, or of columns as ``table.column``, not to read.
        cache: Of a database, a file to keep the copy in. The next time only rows that the time columns say are new are
            read; a table without one, or whose number of rows does not agree then, is read whole.

    Raises:
        SourceError: If the source cannot be opened.
        SchemaError: If the schema contradicts itself or the source.
        UnknownNameError: If the schema names a table or column that the source does not have.
    """
    if isinstance(schema, str | Path):
        schema = Schema.load(schema)
    options = Options(
        tables=_globs(tables),
        exclude=_globs(exclude) or (),
        cache=None if cache is None else str(cache),
        needed=() if schema is None else tuple(schema.tables),
    )
    opened = open_source(source, memory_limit=memory_limit, threads=threads, options=options)
    try:
        if schema is None and opened.manifest is not None:
            schema = Schema.load(opened.manifest)
        understood = infer_schema(opened) if schema is None else complete_schema(opened, schema)
        add_derived_times(opened, understood)
        if opened.local is not None:
            opened.local.note_times(_own_times(opened, understood))
        return Database(opened, understood)
    except BaseException:
        opened.close()
        raise


def _globs(names: str | Sequence[str] | None) -> tuple[str, ...] | None:
    return (names,) if isinstance(names, str) else None if names is None else tuple(names)


def _own_times(source: Source, schema: Schema) -> dict[str, str]:
    """The time columns that the source itself has, as points in time."""
    return {
        table.name: table.time_col
        for table in schema.tables.values()
        if table.time_col is not None and is_time(source.own_columns(table.name).get(table.time_col, ""))
    }
