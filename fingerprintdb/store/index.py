"""Packs the newest landmarks when there are enough of them to be worth it."""

from collections.abc import Generator
from typing import Any

import psycopg

from fingerprintdb.store.database import Connection

STEP_POSTINGS = 1 << 23
"""What one transaction packs or merges, in some twenty seconds."""

RECLAIM_SHARE = 1 / 16
"""A merge frees as much as it writes: reclaimed each time that it is so much of the whole, the
table grows by little more."""

Rows = list[tuple[Any, ...]]


def compact_when_due(connection: Connection) -> int:
    """Pack and merge while that is due, and return how many postings were written.

    Each step commits: the connection must be in no transaction.
    """
    steps = _steps()
    try:
        statement = next(steps)
        while True:
            cursor = connection.execute(statement)
            statement = steps.send(cursor.fetchall() if cursor.description else [])
    except StopIteration as end:
        return int(end.value)


async def compact_meanwhile(url: str) -> int:
    """Do the same beside other work; cancelled, it cancels the step, which leaves no trace."""
    steps = _steps()
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        try:
            statement = next(steps)
            while True:
                cursor = await connection.execute(statement)
                statement = steps.send(await cursor.fetchall() if cursor.description else [])
        except StopIteration as end:
            return int(end.value)


def _steps() -> Generator[bytes, Rows, int]:
    """Yield statements to execute, take their rows, and return how many postings were written."""
    written = unclaimed = 0
    while True:
        ((is_due,),) = yield b"SELECT fpdb.compaction_is_due()"
        if not is_due:
            return written
        rows = yield b"SELECT postings FROM fpdb.compact(%d)" % STEP_POSTINGS
        step = sum(postings or 0 for (postings,) in rows)
        if not step:
            return written  # another session is at it, or holds what is to be merged
        written += step
        unclaimed += step
        ((packed,),) = yield b"SELECT coalesce(sum(postings), 0)::bigint FROM fpdb.run"
        if unclaimed > packed * RECLAIM_SHARE:
            yield b"VACUUM fpdb.posting"
            unclaimed = 0
