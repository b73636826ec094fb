"""Keeps landmarks as a row a hash, as most people do in SQL, to compare with the packed index."""

import time
from typing import Any

import numpy as np

from fingerprintdb.store.database import Connection
from fingerprintdb.store.match import Question

VOTES = (
    "SELECT n.asset_id, n.frame - q.frame AS offset_frames, count(*) AS votes"
    " FROM unnest(%s::int[], %s::int[]) AS q (hash, frame) JOIN narrow.landmark n USING (hash)"
    " GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2 LIMIT 100"
)
PACKED_VOTES = (
    "SELECT asset_id, offset_frames, votes FROM fpdb.landmark_alignments("
    "%s::int[], %s::int[], NULL, NULL, NULL, NULL, 2000000000, 100)"
)
INDEXES = {
    "narrow, btree (hash)": "CREATE INDEX ON narrow.landmark (hash)",
    "narrow, btree (hash) INCLUDE (asset_id, frame)": (
        "CREATE INDEX ON narrow.landmark (hash) INCLUDE (asset_id, frame)"
    ),
}


def compared(connection: Connection, questions: list[Question], rounds: int) -> dict[str, Any]:
    """Copy every landmark to narrow rows, ask both layouts for all votes, and drop the rows.

    Both read every posting of every hash and count alignments; no bits are compared.
    """
    connection.execute("DROP SCHEMA IF EXISTS narrow CASCADE; CREATE SCHEMA narrow")
    try:
        began = time.perf_counter()
        # In order of hash, which is the best that can happen to this layout.
        connection.execute(
            "CREATE TABLE narrow.landmark AS"
            " SELECT hash, asset_id::int AS asset_id, frame FROM fpdb.landmark ORDER BY hash"
        )
        row = connection.execute(
            "SELECT count(*), pg_table_size('narrow.landmark') FROM narrow.landmark"
        ).fetchone()
        assert row is not None
        rows, table_bytes = int(row[0]), int(row[1])
        found: dict[str, Any] = {
            "postings": rows,
            "copy_sec": time.perf_counter() - began,
            "packed": {"p50_ms": _p50_ms(connection, PACKED_VOTES, questions, rounds)},
            "layouts": [],
        }
        for name, statement in INDEXES.items():
            began = time.perf_counter()
            connection.execute(statement.encode())
            connection.execute("VACUUM ANALYZE narrow.landmark")
            index_bytes, index = _index(connection)
            found["layouts"].append(
                {
                    "layout": name,
                    "bytes_a_posting": (table_bytes + index_bytes) / rows,
                    "index_sec": time.perf_counter() - began,
                    "p50_ms": _p50_ms(connection, VOTES, questions, rounds),
                }
            )
            connection.execute(f"DROP INDEX narrow.{index}".encode())
        return found
    finally:
        connection.execute("DROP SCHEMA IF EXISTS narrow CASCADE")


def _index(connection: Connection) -> tuple[int, str]:
    row = connection.execute(
        "SELECT pg_relation_size(i.indexrelid), c.relname FROM pg_index i"
        " JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indrelid = 'narrow.landmark'::regclass"
    ).fetchone()
    assert row is not None
    return int(row[0]), str(row[1])


def _p50_ms(
    connection: Connection, statement: str, questions: list[Question], rounds: int
) -> float:
    elapsed_ms = []
    for _ in range(rounds + 1):
        for question in questions:
            asked = question.landmarks.hashes.tolist(), question.landmarks.frames.tolist()
            began = time.perf_counter()
            connection.execute(statement.encode(), asked).fetchall()
            elapsed_ms.append((time.perf_counter() - began) * 1000)
    return float(np.median(elapsed_ms[len(questions) :]))
