"""Packs and merges landmarks step by step, and tells how both indexes are."""

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.rows import dict_row

from fingerprintdb.store.database import Connection

STEP_POSTINGS = 1 << 23
"""What one transaction packs or merges, in some twenty seconds."""

RECLAIM_SHARE = 1 / 16
RECLAIM = b"VACUUM fpdb.posting"

Rows = list[tuple[Any, ...]]


@dataclass(slots=True)
class _Freed:
    """What merges have freed: reclaimed at a sixteenth of the whole, a table hardly grows."""

    postings: int = 0

    def is_worth_reclaiming(self, written: int, packed: int) -> bool:
        """Count what a step wrote, which it freed elsewhere; True says that it is time."""
        self.postings += written
        if self.postings <= packed * RECLAIM_SHARE:
            return False
        self.postings = 0
        return True


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


def compact(connection: Connection) -> Iterator[dict[str, Any]]:
    """Pack and merge all there is, due or not, and yield what each step did as it is done."""
    freed = _Freed()
    with connection.cursor(row_factory=dict_row) as cursor:
        while True:
            rows = cursor.execute(
                "SELECT action, run_id, blocks, postings,"
                " (SELECT sum(r.postings)::bigint FROM fpdb.run r) AS packed"
                " FROM fpdb.compact(%s)",
                (STEP_POSTINGS,),
            ).fetchall()
            packed = max((row.pop("packed") or 0 for row in rows), default=0)
            yield from rows
            step = sum(row["postings"] or 0 for row in rows)
            if freed.is_worth_reclaiming(step, packed):
                cursor.execute(RECLAIM)
            if not step:
                return


def index_status(connection: Connection) -> dict[str, Any]:
    """Return the row of fpdb.index_status."""
    with connection.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute("SELECT * FROM fpdb.index_status").fetchone()
    return row or {}


def check_index(connection: Connection) -> list[dict[str, Any]]:
    """Return what is damaged, as rows of fpdb.check_index()."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute("SELECT * FROM fpdb.check_index()").fetchall()


def index_recall(connection: Connection, ef_search: int, *, samples: int, k: int) -> dict[str, Any]:
    """Return the row of fpdb.index_recall for the active model."""
    with connection.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(
            "SELECT * FROM fpdb.index_recall(%s, %s, %s)", (ef_search, samples, k)
        ).fetchone()
    return row or {}


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
    written, freed = 0, _Freed()
    while True:
        ((is_due,),) = yield b"SELECT fpdb.compaction_is_due()"
        if not is_due:
            return written
        rows = yield b"SELECT postings FROM fpdb.compact(%d)" % STEP_POSTINGS
        step = sum(postings or 0 for (postings,) in rows)
        if not step:
            return written  # another session is at it, or holds what is to be merged
        written += step
        ((packed,),) = yield b"SELECT coalesce(sum(postings), 0)::bigint FROM fpdb.run"
        if freed.is_worth_reclaiming(step, packed):
            yield RECLAIM
