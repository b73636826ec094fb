"""Reads how far the work is."""

from typing import Any

from psycopg.rows import dict_row

from fingerprintdb.store.database import Connection


def status(connection: Connection, *, failures: int = 20) -> dict[str, Any]:
    """Return exact counts of assets, jobs and workers, and the newest failures with reasons."""
    with connection.cursor(row_factory=dict_row) as cursor:

        def rows(statement: str, *values: Any) -> list[dict[str, Any]]:
            return cursor.execute(statement.encode(), values).fetchall()

        return {
            "assets": {
                row["status"]: row["assets"]
                for row in rows("SELECT status, assets FROM fpdb.asset_status ORDER BY status")
            },
            "jobs": rows("SELECT * FROM fpdb.job_status ORDER BY queue, status"),
            "workers": rows("SELECT * FROM fpdb.worker_status ORDER BY worker_id"),
            "lag_sec": rows(
                "SELECT coalesce(max(oldest_age_sec), 0)::float8 AS lag FROM fpdb.job_status"
                " WHERE status = 'todo'"
            )[0]["lag"],
            "failures": rows(
                "SELECT asset_id, uri, title, error FROM fpdb.asset WHERE status = 'failed'"
                " ORDER BY processed_at DESC NULLS LAST, asset_id DESC LIMIT %s",
                failures,
            ),
            "model": rows("SELECT name, revision FROM fpdb.model WHERE state = 'active'"),
            "profile": rows("SELECT name, digest FROM fpdb.profile WHERE is_active"),
        }
