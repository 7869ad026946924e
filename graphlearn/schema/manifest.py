"""Schemas as YAML: a superset of RelBench 3's dataset ``manifest.yaml``."""

from __future__ import annotations

import datetime as dt
import os
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from graphlearn.errors import SchemaError, SourceError, StorageError
from graphlearn.schema.schema import KNOWN_SINCE, Column, ForeignKey, Schema, Table
from graphlearn.schema.validate import check_schema

VERSION = 1


class _Row(dict[str, Any]):
    """A mapping that is written on one line."""


class _Dumper(yaml.SafeDumper):
    pass


def _represent_text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    # PyYAML reads an exotic line break (NEL, U+2028) back as a space, unless it is escaped in double quotes.
    style = '"' if text and text.splitlines() != [text] else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)
_Dumper.add_representer(
    _Row, lambda dumper, row: dumper.represent_mapping("tag:yaml.org,2002:map", row, flow_style=True)
)


def load_manifest(path: str | Path) -> Schema:
    """Reads a manifest file, or the ``manifest.yaml`` of a folder.

    Raises:
        SourceError: If there is no such file, or it is not YAML.
        SchemaError: If it does not describe a schema.
        UnknownNameError: If it names a table or column that it does not list itself.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        path = path / "manifest.yaml"
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SourceError(f"the manifest {path} cannot be read: {error.strerror}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SourceError(f"{path} is not readable as YAML: {' '.join(str(error).split())}.") from error
    return schema_from_dict(content, str(path), name=path.parent.resolve().name)


def schema_from_dict(content: object, where: str, *, name: str = "") -> Schema:
    """The schema that :func:`manifest_dict` wrote; ``where`` is named in errors, ``name`` used if there is none."""
    if not isinstance(content, dict) or not isinstance(content.get("tables"), dict) or not content["tables"]:
        raise SchemaError(f"{where} lists no tables: it needs a mapping 'tables:' from names to keys.")
    tables = {_text(table, f"{where}: tables"): spec for table, spec in content["tables"].items()}
    referred = {target for spec in tables.values() for target in _targets(spec)}
    schema = Schema(
        name=str(content.get("name") or name),
        tables={
            table: _read_table(table, spec, f"{where}: {table}", table in referred) for table, spec in tables.items()
        },
        val_timestamp=_timestamp(content.get("val_timestamp")),
        test_timestamp=_timestamp(content.get("test_timestamp")),
        description=content.get("description"),
    )
    check_schema(schema)
    return schema


def save_manifest(schema: Schema, path: str | Path) -> Path:
    """Writes ``schema`` as YAML that ``relbench`` reads too; aside first, then renamed."""
    path = Path(path).expanduser()
    text = yaml.dump(manifest_dict(schema), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=4096)
    try:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as aside:
            made = Path(aside) / path.name
            made.write_text(text, encoding="utf-8")
            os.replace(made, path)
    except OSError as error:
        raise StorageError(f"the manifest {path} cannot be written: {error.strerror}.") from error
    return path


def manifest_dict(schema: Schema) -> dict[str, Any]:
    """``schema`` as plain values, in the layout of the manifest."""
    content: dict[str, Any] = {"name": schema.name, "manifest_version": VERSION}
    if schema.description:
        content["description"] = schema.description
    content["val_timestamp"] = schema.val_timestamp
    content["test_timestamp"] = schema.test_timestamp
    content["tables"] = {name: _write_table(table) for name, table in schema.tables.items()}
    return content


def _write_table(table: Table) -> dict[str, Any]:
    single = [key for key in table.fkeys if len(key.columns) == 1]
    composite = [key for key in table.fkeys if len(key.columns) > 1]
    spec: dict[str, Any] = {
        "pkey": table.pkey[0] if len(table.pkey) == 1 else None,
        # A derived time is no column of the files, where relbench would look for it.
        "time_col": None if table.time_from else table.time_col,
        "fkeys": {key.columns[0]: key.table for key in single},
    }
    if len(table.pkey) > 1:
        spec["composite_pkey"] = list(table.pkey)
    if composite:
        spec["composite_fkeys"] = [_Row(_write_composite(key)) for key in composite]
    if table.time_from:
        spec["time_from"] = list(table.time_from)
    if table.time_col is not None:
        spec["null_time"] = table.null_time
    on_missing = {key.columns[0]: key.on_missing for key in single if key.on_missing != "drop"}
    if on_missing:
        spec["on_missing"] = on_missing
    confidence = _write_confidence(table)
    if confidence:
        spec["confidence"] = _Row(confidence)
    evidence = {"pkey": table.pkey_evidence} | {key.name: key.evidence for key in table.fkeys}
    if any(evidence.values()):
        spec["evidence"] = _Row({name: text for name, text in evidence.items() if text})
    if table.comment:
        spec["comment"] = table.comment
    if table.columns:
        spec["columns"] = {column.name: _Row(_write_column(column)) for column in table.columns}
    return spec


def _write_composite(key: ForeignKey) -> dict[str, Any]:
    row: dict[str, Any] = {"columns": list(key.columns), "table": key.table}
    if key.on_missing != "drop":
        row["on_missing"] = key.on_missing
    return row


def _write_confidence(table: Table) -> dict[str, float]:
    found = {"pkey": table.pkey_confidence, "time_col": table.time_confidence}
    found |= {key.name: key.confidence for key in table.fkeys}
    return {name: round(value, 3) for name, value in found.items() if value < 1}


def _write_column(column: Column) -> dict[str, Any]:
    row: dict[str, Any] = {"dtype": column.dtype, "stype": column.stype}
    if column.confidence < 1:
        row["confidence"] = round(column.confidence, 3)
    if column.comment:
        row["comment"] = column.comment
    return row


def _read_table(name: str, spec: object, where: str, referred: bool) -> Table:
    if spec is None:
        spec = {}
    if not isinstance(spec, Mapping):
        raise SchemaError(f"{where} must be a mapping with pkey, time_col and fkeys, got {spec!r}.")
    sure = _mapping(spec.get("confidence"), f"{where}.confidence")
    missing = _mapping(spec.get("on_missing"), f"{where}.on_missing")
    why = _mapping(spec.get("evidence"), f"{where}.evidence")
    fkeys = [
        ForeignKey(
            (column,),
            _text(target, f"{where}.fkeys"),
            missing.get(column, "drop"),
            _number(sure, column),
            str(why.get(column, "")),
        )
        for column, target in _mapping(spec.get("fkeys"), f"{where}.fkeys").items()
    ]
    for row in spec.get("composite_fkeys") or []:
        if not isinstance(row, Mapping) or "columns" not in row or "table" not in row:
            raise SchemaError(f"{where}.composite_fkeys needs rows {{columns: [..], table: ..}}, got {row!r}.")
        columns = _names(row["columns"], f"{where}.composite_fkeys")
        key = ForeignKey(columns, _text(row["table"], where), row.get("on_missing", "drop"))
        fkeys.append(replace(key, confidence=_number(sure, key.name), evidence=str(why.get(key.name, ""))))
    pkey = spec.get("pkey")
    time_from = _names(spec.get("time_from") or [], f"{where}.time_from")
    time_col = KNOWN_SINCE if time_from else spec.get("time_col")
    if time_from and spec.get("time_col") not in (None, KNOWN_SINCE):
        raise SchemaError(f"{where} has both time_col and time_from: keep one of the two.")
    return Table(
        name=name,
        pkey=_names(spec.get("composite_pkey") or ([] if pkey is None else pkey), f"{where}.pkey"),
        fkeys=tuple(fkeys),
        time_col=None if time_col is None else _text(time_col, f"{where}.time_col"),
        null_time=spec.get("null_time", "keep" if referred else "drop"),
        columns=tuple(
            _read_column(column, row, f"{where}.columns.{column}")
            for column, row in _mapping(spec.get("columns"), f"{where}.columns").items()
        ),
        pkey_confidence=_number(sure, "pkey"),
        time_confidence=_number(sure, "time_col"),
        time_from=time_from,
        pkey_evidence=str(why.get("pkey", "")),
        comment=str(spec.get("comment") or ""),
    )


def _read_column(name: str, row: object, where: str) -> Column:
    # `total: numerical` is short for `total: {stype: numerical}`.
    if row is None or isinstance(row, str):
        return Column(name, stype=row)
    if not isinstance(row, Mapping):
        raise SchemaError(f"{where} must be an stype or a mapping with 'stype', got {row!r}.")
    if "stype" not in row:
        raise SchemaError(f"{where} has no 'stype'; write 'stype: null' for a column that is no feature.")
    return Column(
        name, str(row.get("dtype") or ""), row["stype"], _number(row, "confidence"), str(row.get("comment") or "")
    )


def _targets(spec: object) -> list[str]:
    if not isinstance(spec, Mapping):
        return []
    single = spec.get("fkeys")
    composite = spec.get("composite_fkeys")
    found = list(single.values()) if isinstance(single, Mapping) else []
    return found + [row.get("table") for row in composite or [] if isinstance(row, Mapping)]


def _mapping(value: object, where: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise SchemaError(f"{where} must be a mapping, got {value!r}.")
    return {_text(name, where): item for name, item in value.items()}


def _names(value: object, where: str) -> tuple[str, ...]:
    values = value if isinstance(value, list) else [value]
    return tuple(_text(name, where) for name in values)


def _text(value: object, where: str) -> str:
    # YAML reads  no:  as False and  1:  as a number.
    if not isinstance(value, str):
        raise SchemaError(f"{where}: {value!r} is not text; put the name in quotes.")
    return value


def _number(row: Mapping[str, Any], name: str) -> float:
    value = row.get(name, 1.0)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise SchemaError(f"the confidence of '{name}' must be a number in [0, 1], got {value!r}.")
    return float(value)


def _timestamp(value: object) -> str | None:
    # YAML reads an unquoted 2005-01-01 as a date.
    if isinstance(value, dt.date):
        return value.isoformat()
    return None if value is None else str(value)
