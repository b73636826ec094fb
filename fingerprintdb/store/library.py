"""What people ask of the library: what is there, and make it go or come again."""

from typing import Any

from psycopg.rows import dict_row

from fingerprintdb.store.database import Connection, DatabaseError


def insert_queued(
    connection: Connection, uris: list[str], collection: str, content_type: str
) -> list[int]:
    """Insert assets for workers to process, all in one statement, and return their keys."""
    rows = connection.execute(
        "INSERT INTO fpdb.asset (uri, collection, content_type)"
        " SELECT uri, %s, %s FROM unnest(%s::text[]) AS u (uri) RETURNING asset_id",
        (collection, content_type, uris),
    ).fetchall()
    return [int(row[0]) for row in rows]


def ensure_collection(connection: Connection, name: str) -> None:
    """Make a collection where there is none of this name."""
    connection.execute(
        "INSERT INTO fpdb.collection (name) VALUES (%s) ON CONFLICT DO NOTHING", (name,)
    )


def require_content_type(connection: Connection, name: str) -> None:
    """Raise DatabaseError, with the names there are, unless a content type exists."""
    known = [row[0] for row in connection.execute("SELECT name FROM fpdb.content_type ORDER BY 1")]
    if name not in known:
        raise DatabaseError(
            f"there is no content type {name!r}",
            f"use {', '.join(known)}, or add a row to fpdb.content_type",
        )


def require_collection(connection: Connection, name: str) -> None:
    """Raise DatabaseError, with the names there are, unless a collection exists."""
    known = [row[0] for row in connection.execute("SELECT name FROM fpdb.collection ORDER BY 1")]
    if name not in known:
        raise DatabaseError(f"there is no collection {name!r}", f"there are {', '.join(known)}")


def reprocess(
    connection: Connection, asset_ids: list[int] | None, *, only_failed: bool = False
) -> int:
    """Queue assets again, all of them where none are named, and return how many."""
    row = connection.execute(
        "SELECT fpdb.reprocess(%s, only_failed => %s)", (asset_ids, only_failed)
    ).fetchone()
    return int(row[0]) if row else 0


def known_uris(connection: Connection, collection: str, uris: list[str]) -> set[str]:
    """Return which of the URIs a collection already holds, in whatever state but failed."""
    rows = connection.execute(
        "SELECT uri FROM fpdb.asset"
        " WHERE collection = %s AND uri = ANY (%s) AND status <> 'failed'",
        (collection, uris),
    ).fetchall()
    return {row[0] for row in rows}


LIST_COLUMNS = "asset_id, title, artist, collection, content_type, duration_sec, status, uri, error"


def listing(
    connection: Connection,
    *,
    collection: str | None = None,
    status: str | None = None,
    search: str | None = None,
    limit: int | None = None,
) -> list[dict[str, Any]]:
    """Return assets in order of key; `search` is part of a title, an artist or a URI."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(
            f"SELECT {LIST_COLUMNS} FROM fpdb.asset"  # noqa: S608 — a constant
            " WHERE (%(collection)s::text IS NULL OR collection = %(collection)s)"
            " AND (%(status)s::text IS NULL OR status = %(status)s)"
            " AND (%(search)s::text IS NULL OR strpos(lower(concat_ws(' ', title, artist, uri)),"
            "      lower(%(search)s)) > 0)"
            " ORDER BY asset_id LIMIT %(limit)s".encode(),
            {"collection": collection, "status": status, "search": search, "limit": limit},
        ).fetchall()


def show(connection: Connection, asset_id: int) -> dict[str, Any] | None:
    """Return everything known of an asset but its bytes; None where there is none."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(
            "SELECT asset_id, uri, octet_length(content) AS content_bytes, collection,"
            " content_type, title, artist, metadata, version_of, status, error, landmark_status,"
            " landmark_error, embedding_status, embedding_error, created_at, processed_at, sha256,"
            " audio_source_type, duration_sec, source_sample_rate, landmark_count,"
            " segment_duration_sec, segment_hop_sec, sample_rate, normalize_embeddings,"
            " max_audio_length_sec,"
            " (SELECT name FROM fpdb.profile p WHERE p.profile_id = a.profile_id) AS profile,"
            " (SELECT count(*) FROM fpdb.segment s WHERE s.asset_id = a.asset_id) AS segments,"
            " (SELECT array_agg(DISTINCT m.name) FROM fpdb.embedding e"
            "  JOIN fpdb.model m USING (model_id) WHERE e.asset_id = a.asset_id) AS models"
            " FROM fpdb.asset a WHERE asset_id = %s",
            (asset_id,),
        ).fetchone()


def remove(connection: Connection, asset_ids: list[int]) -> list[int]:
    """Delete assets with everything that belongs to them; return those that existed."""
    rows = connection.execute(
        "DELETE FROM fpdb.asset WHERE asset_id = ANY (%s) RETURNING asset_id", (asset_ids,)
    ).fetchall()
    return sorted(int(row[0]) for row in rows)
