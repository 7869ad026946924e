"""A bar on stderr while a server is read: the table, its rows, and the bytes of all tables so far."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn


class IngestBar:
    """A context in which :meth:`show` moves the bar; nothing is shown where stderr is no terminal.

    Args:
        rows: How many rows to expect in all; 0 if nobody knows.
    """

    def __init__(self, rows: int) -> None:
        console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("read {task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.completed:,.0f} rows, {task.fields[mib]:,.0f} MiB"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("", total=rows or None, mib=0.0)
        self._bytes = 0

    def __enter__(self) -> IngestBar:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def show(self, table: str, rows: int, size: int) -> None:
        """Adds rows of ``table``, and their bytes."""
        self._bytes += size
        self._progress.update(self._task, advance=rows, description=table, mib=self._bytes / 2**20)
