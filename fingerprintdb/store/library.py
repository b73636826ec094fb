"""What people ask of the library: what is there, and make it go or come again."""

from collections.abc import Sequence
from typing import Any

from psycopg.rows import dict_row

from fingerprintdb.store.asset import mark_versions
from fingerprintdb.store.database import Connection, DatabaseError
from fingerprintdb.warp import AS_RECORDED, Warp


def queue(
    connection: Connection,
    digests: dict[str, str | None],
    *,
    collection: str,
    content_type: str,
    version_of: int | None = None,
    warps: Sequence[Warp] = (),
) -> dict[tuple[str, Warp], int]:
    """Leave URIs to workers; return the keys of those that were not there, by URI and warp.

    `digests` gives each URI's SHA-256 where it is known. Bytes that the collection holds are
    skipped; an asset of the same URI that failed, or had other bytes, is queued again. All become
    versions of the work `version_of`, those that were there too, and each is queued once more for
    every warp, as a version of its work.
    """
    rows = connection.execute(
        "SELECT asset_id, uri, sha256, status FROM fpdb.asset WHERE collection = %s"
        " AND pitch = 1 AND tempo = 1 AND (uri = ANY (%s) OR sha256 = ANY (%s))"
        " ORDER BY asset_id DESC",
        (collection, list(digests), [digest for digest in digests.values() if digest]),
    ).fetchall()
    by_uri = {row[1]: row for row in rows}
    held = {row[2] for row in rows if row[3] != "failed"} - {None}
    new, again = {}, {}
    for uri, digest in digests.items():
        former = by_uri.get(uri)
        if former is not None:
            changed = None not in {digest, former[2]} and digest != former[2]
            if former[3] == "failed" or changed:
                again[uri] = int(former[0])
        elif digest not in held:
            new[uri] = digest
            held |= {digest} - {None}
    inserted = connection.execute(
        "INSERT INTO fpdb.asset (uri, sha256, collection, content_type)"
        " SELECT uri, sha256, %s, %s FROM unnest(%s::text[], %s::text[]) AS u (uri, sha256)"
        " RETURNING uri, asset_id",
        (collection, content_type, list(new), list(new.values())),
    ).fetchall()
    if again:
        reprocess(connection, list(again.values()))
    mark_versions(connection, [row[0] for row in rows] + [row[1] for row in inserted], version_of)
    held_now = [row[0] for row in rows] + [row[1] for row in inserted]
    versions = connection.execute(
        "INSERT INTO fpdb.asset"
        " (uri, sha256, collection, content_type, pitch, tempo, version_of)"
        " SELECT a.uri, a.sha256, a.collection, a.content_type, w.pitch, w.tempo,"
        "  coalesce(a.version_of, a.asset_id)"
        " FROM fpdb.asset a, unnest(%s::float8[], %s::float8[]) AS w (pitch, tempo)"
        " WHERE a.asset_id = ANY (%s) AND a.uri IS NOT NULL AND NOT EXISTS ("
        "  SELECT FROM fpdb.asset v WHERE v.collection = a.collection AND v.uri = a.uri"
        "  AND v.pitch = w.pitch AND v.tempo = w.tempo)"
        " RETURNING uri, pitch, tempo, asset_id",
        ([warp.pitch for warp in warps], [warp.tempo for warp in warps], held_now),
    ).fetchall()
    keys = {(uri, AS_RECORDED): int(key) for uri, key in (dict(inserted) | again).items()}
    return keys | {(uri, Warp(pitch, tempo)): int(key) for uri, pitch, tempo, key in versions}


def ensure_collection(connection: Connection, name: str) -> None:
    """Make a collection where there is none of this name; DatabaseError where that is empty."""
    if not name.strip():
        raise DatabaseError("a collection needs a name", "name one: --collection NAME")
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


def require_work(connection: Connection, asset_id: int) -> None:
    """Raise DatabaseError unless an asset exists that is not itself a version of another."""
    row = connection.execute(
        "SELECT version_of FROM fpdb.asset WHERE asset_id = %s", (asset_id,)
    ).fetchone()
    if row is None:
        raise DatabaseError(f"there is no asset {asset_id}", "`fpdb list` shows those there are")
    if row[0] is not None:
        raise DatabaseError(
            f"asset {asset_id} is itself a version of asset {row[0]}",
            f"name the work: --version-of {row[0]}",
        )


def reprocess(
    connection: Connection, asset_ids: list[int] | None, *, only_failed: bool = False
) -> int:
    """Queue assets again, all of them where none are named, and return how many."""
    row = connection.execute(
        "SELECT fpdb.reprocess(%s, only_failed => %s)", (asset_ids, only_failed)
    ).fetchone()
    return int(row[0]) if row else 0


def show(connection: Connection, asset_id: int) -> dict[str, Any] | None:
    """Return everything known of an asset but its bytes; None where there is none."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(
            "SELECT asset_id, uri, octet_length(content) AS content_bytes, collection,"
            " content_type, title, artist, metadata, version_of,"
            " (SELECT title FROM fpdb.asset w WHERE w.asset_id = a.version_of) AS work_title,"
            " (SELECT array_agg(v.asset_id ORDER BY v.asset_id) FROM fpdb.asset v"
            "  WHERE v.version_of = a.asset_id) AS versions,"
            " status, error, landmark_status,"
            " landmark_error, embedding_status, embedding_error, created_at, processed_at, sha256,"
            " audio_source_type, duration_sec, source_sample_rate, landmark_count, pitch, tempo,"
            " segment_duration_sec, segment_hop_sec, sample_rate, normalize_embeddings,"
            " max_audio_length_sec,"
            " (SELECT name FROM fpdb.profile p WHERE p.profile_id = a.profile_id) AS profile,"
            " (SELECT array_agg(p.name ORDER BY p.profile_id) FROM fpdb.asset_profile"
            "  JOIN fpdb.profile p USING (profile_id)"
            "  WHERE asset_id = a.asset_id AND landmark_count IS NOT NULL) AS profiles,"
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
