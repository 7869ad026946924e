"""The door of the data trunk: a source and what its tables mean."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from graphlearn.database.open import open_source
from graphlearn.database.source import Source
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
) -> Database:
    """Opens ``source`` read-only and understands it.

    Args:
        source: A DuckDB file, a folder of Parquet or CSV files or one such file, a RelBench 3 folder or its name on
            the Hub (``rel-f1``), or ``{name: table}`` of pandas, Arrow or Polars tables.
        schema: What the tables mean, or the path of a saved manifest; what it leaves open is inferred. By default the
            source's own manifest, else its declared keys, else inferred from all rows.
        memory_limit: What DuckDB may use before it spills to disk, such as ``"4GB"``.
        threads: Number of threads DuckDB may use.

    Raises:
        SourceError: If the source cannot be opened.
        SchemaError: If the schema contradicts itself or the source.
        UnknownNameError: If the schema names a table or column that the source does not have.
    """
    if isinstance(schema, str | Path):
        schema = Schema.load(schema)
    opened = open_source(source, memory_limit=memory_limit, threads=threads)
    try:
        if schema is None and opened.manifest is not None:
            schema = Schema.load(opened.manifest)
        understood = infer_schema(opened) if schema is None else complete_schema(opened, schema)
        add_derived_times(opened, understood)
        return Database(opened, understood)
    except BaseException:
        opened.close()
        raise
