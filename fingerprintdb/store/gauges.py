"""Reads the numbers that an operator watches: assets, jobs, workers, index."""

from collections.abc import Sequence
from dataclasses import dataclass

from fingerprintdb.store.database import Connection


@dataclass(frozen=True, slots=True)
class Gauge:
    """A number of now, or one for each value of its labels."""

    name: str
    meaning: str
    labels: Sequence[str]
    values: list[tuple[list[str], float]]


# Name, meaning, labels, and the statement that gives the labels' values and, last, the number.
GAUGES = (
    (
        "fpdb_assets",
        "Assets by status.",
        ("status",),
        "SELECT status, assets FROM fpdb.asset_status",
    ),
    (
        "fpdb_jobs",
        "Jobs by queue and status.",
        ("queue", "status"),
        "SELECT queue, status, jobs FROM fpdb.job_status",
    ),
    (
        "fpdb_queue_age_seconds",
        "How long the oldest job of a queue has waited.",
        ("queue",),
        "SELECT q.queue, coalesce(j.oldest_age_sec, 0) FROM unnest(ARRAY['query', 'landmark',"
        " 'embedding']) AS q (queue)"
        " LEFT JOIN fpdb.job_status j ON j.queue = q.queue AND j.status = 'todo'",
    ),
    (
        "fpdb_workers",
        "Workers with a recent sign of life.",
        (),
        "SELECT fpdb.live_workers()",
    ),
    (
        "fpdb_index_postings",
        "Landmarks by where they are: packed, or waiting in the delta.",
        ("place",),
        "SELECT v.place, v.postings FROM fpdb.index_status i,"
        " LATERAL (VALUES ('packed', i.postings), ('delta', i.delta_rows)) AS v (place, postings)",
    ),
    (
        "fpdb_index_runs",
        "Packed indexes; a query looks into each.",
        (),
        "SELECT runs FROM fpdb.index_status",
    ),
    (
        "fpdb_index_bytes",
        "The landmark index on disk.",
        (),
        "SELECT bytes FROM fpdb.index_status",
    ),
    (
        "fpdb_index_dead_share",
        "Share of packed landmarks whose asset is gone.",
        (),
        "SELECT coalesce(dead_share, 0) FROM fpdb.index_status",
    ),
)


def read_gauges(connection: Connection) -> list[Gauge]:
    """Return every number as it is now."""
    return [
        Gauge(
            name,
            meaning,
            labels,
            [
                ([str(value) for value in row[:-1]], float(row[-1]))
                for row in connection.execute(statement.encode()).fetchall()
            ],
        )
        for name, meaning, labels, statement in GAUGES
    ]
