"""A schema as plain text: what was understood, and how sure it is."""

from __future__ import annotations

from collections.abc import Mapping

from graphlearn.schema.schema import Column, Schema, Table


def show_schema(schema: Schema, rows: Mapping[str, int] | None = None) -> str:
    """One block per table: its keys and time, then one line per column.

    Args:
        schema: The schema.
        rows: Number of rows of each table, if they shall be shown.
    """
    keys = sum(len(table.fkeys) for table in schema.tables.values())
    head = f"{schema.name}: {len(schema.tables)} tables, {keys} foreign keys"
    cuts = [
        f"{what} from {time}"
        for what, time in (("val", schema.val_timestamp), ("test", schema.test_timestamp))
        if time is not None
    ]
    lines = [", ".join([head, *cuts])]
    for table in schema.tables.values():
        lines += ["", _title(table, None if rows is None else rows[table.name])]
        lines += _columns(table)
    return "\n".join(lines)


def _title(table: Table, rows: int | None) -> str:
    parts = [table.name]
    if rows is not None:
        parts.append(f"{rows:,} rows")
    parts.append(
        f"key {', '.join(table.pkey)}{_sure(table.pkey_confidence, table.pkey_evidence)}" if table.pkey else "no key"
    )
    if table.time_col is None:
        parts.append("no time: always visible")
    else:
        rule = "left out" if table.null_time == "drop" else "always visible"
        origin = f" from {', '.join(table.time_from)}" if table.time_from else ""
        parts.append(f"time {table.time_col}{origin}{_sure(table.time_confidence)}, rows without a time {rule}")
    if table.comment:
        parts.append(" ".join(table.comment.split()))
    return " | ".join(parts)


def _columns(table: Table) -> list[str]:
    cells = [(column.name, column.dtype, _role(table, column)) for column in table.columns]
    widths = [max((len(row[i]) for row in cells), default=0) for i in range(2)]
    lines = [f"  {name:<{widths[0]}}  {dtype:<{widths[1]}}  {role}" for name, dtype, role in cells]
    composite = [key for key in table.fkeys if len(key.columns) > 1]
    return lines + [
        f"  ({', '.join(key.columns)}) -> {key.table}{_sure(key.confidence, key.evidence)}" for key in composite
    ]


def _role(table: Table, column: Column) -> str:
    roles = ["key"] if column.name in table.pkey else []
    roles += [
        f"-> {key.table}{_sure(key.confidence, key.evidence)}" for key in table.fkeys if key.columns == (column.name,)
    ]
    if column.stype is not None:
        roles.append(f"{column.stype}{_sure(column.confidence)}")
    role = ", ".join(roles) or f"not used{_sure(column.confidence)}"
    return f"{role}  # {' '.join(column.comment.split())}" if column.comment else role


def _sure(confidence: float, evidence: str = "") -> str:
    sure = "" if confidence >= 1 else f"{100 * confidence:.0f} % sure"
    text = ": ".join(part for part in (sure, evidence) if part)
    return f" ({text})" if text else ""
