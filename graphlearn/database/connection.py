"""The in-memory DuckDB connection that every source is opened on."""

from __future__ import annotations

import os
import tempfile
import uuid
from typing import TYPE_CHECKING

from graphlearn.errors import UsageError

if TYPE_CHECKING:
    import duckdb


def new_connection(memory_limit: str | None = None, threads: int | None = None) -> duckdb.DuckDBPyConnection:
    """An empty in-memory database that spills to a temporary folder of its own and never loads code from a network.

    Args:
        memory_limit: What DuckDB may use before it spills, such as ``"4GB"``; by default 80 % of the machine.
        threads: Number of threads; by default all cores.
    """
    import duckdb

    if threads is not None and threads < 1:
        raise UsageError(f"'threads' must be at least 1, got {threads}.")
    config: dict[str, str | bool | int | float | list[str]] = {
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        # A name in SQL is a table, never a Python variable that happens to be called so.
        "python_enable_replacements": "false",
        # The default is a folder in the working directory. DuckDB makes this one when it first spills, and removes it.
        "temp_directory": os.path.join(tempfile.gettempdir(), f"graphlearn-{os.getpid()}-{uuid.uuid4().hex[:8]}"),
    }
    if threads is not None:
        config["threads"] = str(threads)
    if memory_limit is not None:
        config["memory_limit"] = str(memory_limit)
    try:
        con = duckdb.connect(":memory:", config=config)
    except duckdb.Error as error:
        raise UsageError(
            f"'memory_limit' {memory_limit!r} is not a size: {first_line(error)}. Write it as '4GB' or '500MB'."
        ) from error
    con.execute("SET TimeZone = 'UTC'").fetchall()
    return con


def first_line(error: BaseException) -> str:
    """What DuckDB says, without its name for the kind of error, its hints and its copies of the SQL and the data."""
    lines = [line.strip() for line in str(error).strip().split("\n")]
    text = lines[0]
    if "CSV Error on Line" in text:
        # The reason stands on its own line, after the line of the file.
        reasons = [line for line in lines[1:] if line and not line.startswith(("Original Line", "Possible Solution"))]
        text = f"{text}: {reasons[0]}" if reasons else text
    head, colon, rest = text.partition("Error: ")
    return (rest if colon and len(head) < 30 else text).rstrip(".")
