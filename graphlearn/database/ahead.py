"""An iterator that a thread of its own runs ahead of whoever reads it."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

T = TypeVar("T")


@contextmanager
def read_ahead(items: Iterator[T], room: int) -> Iterator[Iterator[T]]:
    """Gives ``items`` in their order, with up to ``room`` of them made before they are asked for.

    What making one raises is raised where it would have been given. At the end of the block the thread has ended,
    at the latest when the item is made that it was making.
    """
    made: queue.Queue[tuple[T] | BaseException | None] = queue.Queue(room)
    stopped = threading.Event()

    def hand_over(what: tuple[T] | BaseException | None) -> None:
        while not stopped.is_set():
            with suppress(queue.Full):
                made.put(what, timeout=0.05)
                return

    def run() -> None:
        try:
            for item in items:
                hand_over((item,))
                if stopped.is_set():
                    return
        except BaseException as error:
            hand_over(error)
        else:
            hand_over(None)

    def given() -> Iterator[T]:
        while (what := made.get()) is not None:
            if isinstance(what, BaseException):
                raise what
            yield what[0]

    thread = threading.Thread(target=run, name="graphlearn-read-ahead", daemon=True)
    thread.start()
    try:
        yield given()
    finally:
        stopped.set()
        thread.join()
