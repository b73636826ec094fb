"""Reads whether the database can serve, and what it holds, for those who ask often."""

from dataclasses import dataclass

from psycopg.rows import class_row

from fingerprintdb.store.database import Connection
from fingerprintdb.store.revision import current, head


@dataclass(frozen=True, slots=True)
class Condition:
    """Whether searches and workers can work on a database."""

    schema_revision: str | None
    is_schema_current: bool
    workers: int
    index_advice: str | None


@dataclass(frozen=True, slots=True)
class Counts:
    """What a database holds, or one collection of it; None where only the whole is known."""

    assets: dict[str, int]
    duration_sec: float
    landmarks: int
    vectors: int
    index_bytes: int | None
    jobs_waiting: int | None
    workers: int
    model: str | None
    profile: str | None


def condition(connection: Connection) -> Condition:
    """Return how a database is; of one with another schema, only that."""
    revision = current(connection)
    if revision != head():
        return Condition(revision, is_schema_current=False, workers=0, index_advice=None)
    row = connection.execute(
        "SELECT fpdb.live_workers(), CASE WHEN fpdb.compaction_is_due()"
        " THEN 'it is due to be packed: fpdb index compact' END"
    ).fetchone()
    assert row is not None  # noqa: S101 — an aggregate gives a row
    return Condition(revision, is_schema_current=True, workers=row[0], index_advice=row[1])


def counts(connection: Connection, collection: str | None) -> Counts:
    """Return what there is in a collection, or in all."""
    with connection.cursor(row_factory=class_row(Counts)) as cursor:
        found = cursor.execute(
            "WITH chosen AS (SELECT asset_id, status, duration_sec, landmark_count FROM fpdb.asset"
            "  WHERE %(collection)s::text IS NULL OR collection = %(collection)s)"
            " SELECT (SELECT coalesce(jsonb_object_agg(status, n), '{}') FROM"
            "   (SELECT status, count(*) AS n FROM chosen GROUP BY status) s) AS assets,"
            " coalesce(sum(duration_sec), 0)::float8 AS duration_sec,"
            " coalesce(sum(landmark_count), 0)::bigint AS landmarks,"
            " (SELECT coalesce(sum(m.vectors), 0)::bigint FROM fpdb.asset_model m"
            "   JOIN chosen USING (asset_id) WHERE m.model_id = fpdb.active_model()) AS vectors,"
            " CASE WHEN %(collection)s::text IS NULL"
            "   THEN (SELECT bytes FROM fpdb.index_status) END AS index_bytes,"
            " CASE WHEN %(collection)s::text IS NULL THEN (SELECT coalesce(sum(jobs), 0)::bigint"
            "   FROM fpdb.job_status WHERE status = 'todo') END AS jobs_waiting,"
            " fpdb.live_workers() AS workers,"
            " (SELECT name FROM fpdb.model WHERE state = 'active') AS model,"
            " (SELECT name FROM fpdb.profile WHERE is_active) AS profile"
            " FROM chosen",
            {"collection": collection},
        ).fetchone()
    assert found is not None  # noqa: S101 — an aggregate gives a row
    return found
