"""RelBench datasets by their name on the Hugging Face Hub."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from graphlearn.database.files import open_relbench
from graphlearn.database.source import Source
from graphlearn.errors import SourceError

if TYPE_CHECKING:
    import duckdb


def open_hub(con: duckdb.DuckDBPyConnection, name: str) -> Source:
    """Downloads ``rel-f1`` or ``org/repository/rel-f1`` through ``relbench`` (or takes its copy on disk)."""
    try:
        from relbench.hf import download_dataset_dir
    except ImportError as error:
        raise SourceError(
            f"no file or folder '{name}'. To read it as a RelBench dataset from the Hub: pip install relbench."
        ) from error
    try:
        folder = Path(download_dataset_dir(name))
    except Exception as error:  # the Hub client raises classes of several libraries, among them ValueError and OSError
        reason = " ".join(str(error).split())[:200]
        raise SourceError(
            f"no file or folder '{name}', and it could not be had from the Hugging Face Hub "
            f"({type(error).__name__}: {reason}). Check the name and the network, or give the folder's path."
        ) from error
    if not (folder / "manifest.yaml").is_file():
        raise SourceError(f"no file or folder '{name}', and the Hub has no RelBench dataset of that name.")
    return open_relbench(con, folder)
