"""Adds up the time that a program waits for its database."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

import psycopg

from fingerprintdb.store.database import Connection


class Stopwatch:
    """Milliseconds from sending statements to having their results, rows and network included."""

    elapsed_ms = 0.0


@contextmanager
def timed(connection: Connection) -> Iterator[Stopwatch]:
    """Measure what is executed on a connection meanwhile, by one thread."""
    stopwatch = Stopwatch()

    class TimedCursor(psycopg.Cursor[Any]):
        """A cursor that books its waiting."""

        def execute(self, *args: Any, **options: Any) -> Self:
            began = time.perf_counter()
            try:
                return super().execute(*args, **options)
            finally:
                stopwatch.elapsed_ms += (time.perf_counter() - began) * 1000

    former = connection.cursor_factory
    connection.cursor_factory = TimedCursor
    try:
        yield stopwatch
    finally:
        connection.cursor_factory = former
