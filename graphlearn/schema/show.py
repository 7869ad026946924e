"""A schema as plain text."""

from __future__ import annotations

from graphlearn.schema.schema import Schema


def show_schema(schema: Schema) -> str:
    """One line per table with its keys and time, then one line per column."""
    lines = [f"{schema.name}: {len(schema.tables)} tables"]
    for table in schema.tables.values():
        lines.append(f"{table.name}  key {', '.join(table.pkey) or 'none'}  time {table.time_col or 'none'}")
        lines += [f"  {key.name} -> {key.table}" for key in table.fkeys]
        lines += [f"  {column.name}  {column.dtype}  {column.stype or '-'}" for column in table.columns]
    return "\n".join(lines)
