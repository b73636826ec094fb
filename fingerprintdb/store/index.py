"""Packs the newest landmarks when there are enough of them to be worth it."""

import psycopg

from fingerprintdb.store.database import Connection

DUE = "SELECT fpdb.compaction_is_due()"
COMPACT = "SELECT action, postings FROM fpdb.compact()"


def compact_when_due(connection: Connection) -> int:
    """Pack and merge where that is due, and return how many postings were written."""
    row = connection.execute(DUE).fetchone()
    if row is None or not row[0]:
        return 0
    return sum(done[1] or 0 for done in connection.execute(COMPACT).fetchall())


async def compact_meanwhile(url: str) -> int:
    """Do the same beside other work; cancelled, it cancels the statement, which leaves no trace."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        row = await (await connection.execute(DUE)).fetchone()
        if row is None or not row[0]:
            return 0
        return sum(done[1] or 0 for done in await (await connection.execute(COMPACT)).fetchall())
