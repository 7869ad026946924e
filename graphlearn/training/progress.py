"""A bar on stderr with the time that is left; nothing where stderr is no terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn


class ProgressBar:
    """A context in which :meth:`show` moves a bar from 0 to ``total``."""

    def __init__(self, total: int, *, shown: bool = True) -> None:
        console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not (shown and console.is_terminal),
        )
        self._task = self._progress.add_task("", total=total)

    def __enter__(self) -> ProgressBar:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def show(self, done: int, what: str) -> None:
        """Moves the bar to ``done`` and names what is being done."""
        self._progress.update(self._task, completed=done, description=what)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Takes the bar away while something else is written."""
        self._progress.stop()
        try:
            yield
        finally:
            self._progress.start()
