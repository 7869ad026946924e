"""Where a table is to be written, as the user names it: a server's table, a DuckDB file's, or a file of its own."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from graphlearn.database.sql import quote
from graphlearn.database.url import parse_url, redact, shown
from graphlearn.errors import UsageError

if TYPE_CHECKING:
    from sqlalchemy import URL

KNOWN = (
    "postgresql://user@host/database#schema.table, mysql://… and mariadb://…#table, sqlite:///file.db#table, "
    "file.duckdb#table, file.parquet or file.csv"
)
KINDS = ("postgresql", "mysql", "mariadb", "sqlite")
FILES = (".csv", ".parquet")
DUCKDB = (".duckdb", ".ddb", ".db")
MAX_NAME = {"postgresql": 63, "mysql": 64, "mariadb": 64}
"""Longest name that a server keeps whole: bytes of PostgreSQL, characters of MySQL."""


@dataclass(frozen=True)
class Target:
    """A place for one table.

    Args:
        kind: ``postgresql``, ``mysql``, ``mariadb``, ``sqlite``, ``duckdb`` or ``file``.
        table: Name of the table; of a file its ending.
        schema: Schema of the table, or None: the default one.
        url: Of a database that SQLAlchemy opens.
        path: Of a DuckDB file or a file of its own.
    """

    kind: str
    table: str
    schema: str | None = None
    url: URL | None = None
    path: Path | None = None

    def __str__(self) -> str:
        place = str(self.path) if self.url is None else shown(self.url)
        return place if self.kind == "file" else f"{place}#{'.'.join(n for n in (self.schema, self.table) if n)}"


def parse_target(text: str | Path) -> Target:
    """What ``text`` names; nothing is opened.

    A table is written after ``#``, its schema before it with a dot; a name that holds dots stands in double quotes.
    ``%`` and two digits stand for a character, as everywhere in URLs.

    Raises:
        UsageError: If it names no table, or a place of a kind that is not known.
    """
    text = str(text)
    scheme = text.split("://", 1)[0].lower() if "://" in text else None
    # The authority of a URL ends before the first '/'; a '#' of a password stands before its '@'.
    place, mark, fragment = _split(text)
    if scheme is None:
        if mark and (place.lower().endswith(DUCKDB) or Path(place).is_file()):
            schema, table = _names(fragment, text)
            return Target("duckdb", table, schema, path=Path(place).expanduser())
        path = Path(text).expanduser()
        if path.suffix in FILES:
            return Target("file", path.suffix, path=path)
        if path.suffix in DUCKDB:
            raise UsageError(f"'{text}' names no table of the database: write {text}#table.")
        raise UsageError(f"'{text}' must end in .csv or .parquet, or name a table of a database. Known: {KNOWN}.")
    url = parse_url(place)
    kind = url.get_backend_name()
    if kind not in KINDS:
        raise UsageError(f"tables cannot be written to {scheme}://. Known: {KNOWN}.")
    if not mark:
        raise UsageError(f"'{redact(text)}' names no table: add it at the end, {shown(url)}#table.")
    schema, table = _names(fragment, text)
    if kind == "sqlite" and schema is not None:
        raise UsageError(f"'{redact(text)}': SQLite has no schemas. A name with a dot goes into quotes: #\"a.b\".")
    if kind == "sqlite" and url.database in (None, "", ":memory:"):
        raise UsageError(f"'{redact(text)}' names no file: write sqlite:///file.db#table.")
    if kind in ("mysql", "mariadb") and not (schema or url.database):
        raise UsageError(f"'{redact(text)}' names no database: write {kind}://host/database#table.")
    return Target(kind, table, schema, url=url)


def check_table_names(target: Target, columns: list[str]) -> None:
    """Raises :class:`UsageError` for a name that the place cannot hold as it is: servers would cut it, or mangle it."""
    for what, name in (("schema", target.schema), ("table", target.table), *(("column", c) for c in columns)):
        if name is None:
            continue
        if "\0" in name:
            raise UsageError(f"{target}: the {what} {name!r} holds a NUL character, which no database takes.")
        limit = MAX_NAME.get(target.kind)
        length = len(name.encode()) if target.kind == "postgresql" else len(name)
        if limit is not None and length > limit:
            unit = "bytes" if target.kind == "postgresql" else "characters"
            raise UsageError(
                f"{target}: the name of the {what} '{name}' has {length} {unit}, and {target.kind} keeps {limit}. "
                + (
                    "Choose a shorter one."
                    if what != "column"
                    else "Write to DuckDB, SQLite or a Parquet file instead."
                )
            )
        if target.kind in ("mysql", "mariadb") and (max(name, default="") > "\uffff" or name.endswith(" ")):
            odd = "ends in a space" if name.endswith(" ") else "holds characters above U+FFFF, such as emoji"
            raise UsageError(f"{target}: the name of the {what} '{name}' {odd}, which {target.kind} does not take.")


def qualified(target: Target) -> str:
    """The table with its schema as quoted SQL, for databases that quote with double quotes."""
    return ".".join(quote(name) for name in (target.schema, target.table) if name)


def _split(text: str) -> tuple[str, bool, str]:
    found = re.match(r"((?:[\w+.-]+://(?:[^/]*@)?)?[^#]*)#(.*)", text, re.DOTALL)
    return (text, False, "") if found is None else (found[1], True, found[2])


def _names(fragment: str, text: str) -> tuple[str | None, str]:
    """(schema, table) of ``table``, ``schema.table``, ``"a.b"`` or ``"sche.ma"."ta""ble"``."""
    name = r'(?:"(?:[^"]|"")+"|[^".][^.]*)'
    found = re.fullmatch(rf"(?:({name})\.)?({name})", unquote(fragment), re.DOTALL)
    if found is None:
        raise UsageError(
            f"'{redact(text)}' names no table after '#': write #table or #schema.table, and a name that holds a dot in "
            'double quotes, #"a.b".'
        )
    schema, table = (_plain(part) for part in found.groups())
    assert table is not None
    return schema, table


def _plain(name: str | None) -> str | None:
    if name is None or not name.startswith('"'):
        return name
    return name[1:-1].replace('""', '"')
