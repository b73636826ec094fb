"""Reads how far the work is."""

from contextlib import closing
from typing import Any

import psycopg
from psycopg.rows import dict_row

from fingerprintdb.store.database import CONNECT_TIMEOUT_SEC, Connection, explained


def gives_signs_of_life(url: str, within_sec: float) -> bool:
    """Say whether another connection of this user, from this address, was at work lately.

    A worker's own do something every few seconds, also while it is busy or idle: they look at the
    queue and write its heartbeat. So this tells of the worker of a container, where all that
    connects from an address is one program; through a pooler it tells nothing.
    """
    with explained(url):
        connection = psycopg.connect(url, autocommit=True, connect_timeout=CONNECT_TIMEOUT_SEC)
    with closing(connection):
        row = connection.execute(
            "SELECT EXISTS (SELECT FROM pg_catalog.pg_stat_activity"
            " WHERE usename = current_user AND datname = current_database()"
            " AND client_addr IS NOT DISTINCT FROM inet_client_addr()"
            " AND pid <> pg_backend_pid()"
            " AND state_change > clock_timestamp() - make_interval(secs => %s))",
            (within_sec,),
        ).fetchone()
    return row is not None and bool(row[0])


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
