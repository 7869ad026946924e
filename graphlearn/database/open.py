"""From what the user names to a :class:`Source`: one opener per kind of source."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from graphlearn.database.connection import new_connection
from graphlearn.database.duckdb_file import open_duckdb
from graphlearn.database.files import is_data_file, open_file, open_folder, open_relbench
from graphlearn.database.frames import open_frames
from graphlearn.database.hub import open_hub
from graphlearn.database.reflect import Options
from graphlearn.database.server import open_server
from graphlearn.database.source import Source
from graphlearn.database.url import redact
from graphlearn.errors import SourceError, UsageError, first_three

if TYPE_CHECKING:
    import duckdb

KNOWN = (
    "a DuckDB file, a folder of Parquet or CSV files, a RelBench 3 folder or name, a dict of tables, or the URL of a "
    "database (postgresql://, mysql://, mariadb://, sqlite:///)"
)

OPENERS: dict[str, Callable[[duckdb.DuckDBPyConnection, Path], Source]] = {
    "duckdb": open_duckdb,
    "file": open_file,
    "folder": open_folder,
    "relbench": open_relbench,
}
"""Openers of what lies on disk, by the answer of :func:`kind_of_path`."""


def open_source(
    source: str | Path | Mapping[str, object],
    *,
    memory_limit: str | None = None,
    threads: int | None = None,
    options: Options | None = None,
) -> Source:
    """Opens a source read-only.

    Args:
        source: A path, the URL of a server, the name of a RelBench dataset on the Hub, or ``{name: table}``.
        memory_limit: What DuckDB may use before it spills to disk, such as ``"4GB"``.
        threads: Number of threads DuckDB may use.
        options: Which tables of a server are read, and whether they are kept.

    Raises:
        SourceError: If it is missing, unreadable, locked, or of a kind that is not supported.
        UsageError: If there are options, but it is no server.
    """
    opener = _find_opener(source, options or Options())
    con = new_connection(memory_limit, threads)
    try:
        return opener(con)
    except BaseException:
        con.close()
        raise


def kind_of_path(path: Path) -> str | None:
    """``duckdb``, ``file``, ``folder`` or ``relbench``; None if it is none of them."""
    if path.is_dir():
        return "relbench" if (path / "manifest.yaml").is_file() and (path / "db").is_dir() else "folder"
    if is_data_file(path):
        return "file"
    with path.open("rb") as file:
        return "duckdb" if file.read(12)[8:] == b"DUCK" else None


def _find_opener(source: object, options: Options) -> Callable[[duckdb.DuckDBPyConnection], Source]:
    if isinstance(source, Mapping) and options == Options(needed=options.needed):
        return lambda con: open_frames(con, source)
    if not isinstance(source, str | Path):
        raise SourceError(f"a source is {KNOWN}; got a {type(source).__name__}.")
    text = str(source)
    if isinstance(source, str) and "://" in source:
        return lambda con: open_server(con, source, options)
    if options.tables is not None or options.exclude or options.cache is not None:
        raise UsageError(f"tables, exclude and cache are for the URL of a database; '{redact(text)}' is none.")
    if not text.strip():
        raise SourceError(f"the source is empty: give {KNOWN}.")
    path = Path(text).expanduser()
    try:
        exists = path.exists()
        kind = kind_of_path(path) if exists else None
    except OSError as error:
        raise SourceError(f"'{redact(text)}' cannot be read: {error.strerror}.") from error
    if not exists:
        if isinstance(source, str) and _may_be_hub_name(source):
            return lambda con: open_hub(con, source)
        raise SourceError(_missing(path))
    if kind is None:
        raise SourceError(
            f"'{path}' is neither a DuckDB file nor Parquet or CSV, by its name and first bytes. A source is {KNOWN}."
        )
    return lambda con: OPENERS[kind](con, path)


def _may_be_hub_name(source: str) -> bool:
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)*", source) or is_data_file(Path(source)):
        return False
    first, *rest = source.split("/")
    # 'data/shop' in a place that has 'data' is a path with a slip of the pen.
    return (bool(rest) and not Path(first).exists()) or (not rest and first.startswith("rel-"))


def _missing(path: Path) -> str:
    text = f"no file or folder '{redact(str(path))}'."
    parent = path.parent
    if not parent.is_dir():
        return f"{text} Neither does the folder '{redact(str(parent))}' exist. A source is {KNOWN}."
    return f"{text} In that place there is: {first_three(sorted(p.name for p in parent.iterdir())) or 'nothing'}."
