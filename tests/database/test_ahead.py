"""An iterator that a thread runs ahead of its reader."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from graphlearn.database.ahead import read_ahead


def test_all_items_come_in_their_order():
    with read_ahead(iter(range(1_000)), 3) as items:
        assert list(items) == list(range(1_000))
    with read_ahead(iter(()), 3) as nothing:
        assert list(nothing) == []


def test_no_more_are_made_than_there_is_room_for():
    made: list[int] = []

    def items() -> Iterator[int]:
        for i in range(100):
            made.append(i)
            yield i

    with read_ahead(items(), 2) as ahead:
        assert next(ahead) == 0
        time.sleep(0.2)
        # One was taken, two wait, and one is in the hands of the thread.
        assert len(made) <= 4
    assert len(made) <= 5
    assert not [t for t in threading.enumerate() if t.name == "graphlearn-read-ahead"]


def test_a_failure_is_raised_where_the_item_would_have_come():
    def items() -> Iterator[int]:
        yield 1
        raise ConnectionError("gone")

    with read_ahead(items(), 4) as ahead:
        time.sleep(0.1)
        assert next(ahead) == 1
        with pytest.raises(ConnectionError, match="gone"):
            next(ahead)


def test_a_reader_that_gives_up_ends_the_thread():
    begun = threading.active_count()
    with read_ahead(iter(range(100)), 1) as ahead:
        next(ahead)
        assert threading.active_count() == begun + 1
    assert threading.active_count() == begun
