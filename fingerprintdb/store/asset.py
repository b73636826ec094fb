"""Assets as the pipeline meets them: claimed, stored, failed."""

from dataclasses import dataclass, fields
from typing import Any, Literal

from psycopg import sql
from psycopg.rows import class_row, dict_row

from fingerprintdb.store.database import Connection
from fingerprintdb.store.model import hold_model, mark_not_embedded
from fingerprintdb.store.profile import hold_profile, mark_failed
from fingerprintdb.warp import Warp

Kind = Literal["landmark", "embedding"]


@dataclass(frozen=True, slots=True)
class Parameters:
    """How an asset's segments are cut and heard: the columns of these names."""

    segment_duration_sec: float
    segment_hop_sec: float
    sample_rate: int
    normalize_embeddings: bool
    normalize_loudness: bool
    separator: str | None
    max_audio_length_sec: float | None


PARAMETERS = ", ".join(field.name for field in fields(Parameters))


@dataclass(frozen=True, slots=True)
class Claim:
    """What a job needs to know of its asset; void once `revision` is no longer the asset's.

    `made_by` is the profile that landmarks, or the model that vectors, are wanted of; None where
    none is active.
    """

    asset_id: int
    kind: Kind
    revision: int
    made_by: int | None
    uri: str | None
    content: bytes | None
    pitch: float
    tempo: float
    parameters: Parameters


CLAIMED = (
    " asset_id, %(kind)s::text AS kind, {revision} AS revision, p.made_by, uri, content, pitch,"
    f" tempo, {PARAMETERS}"
)
SERVING = (
    "UPDATE fpdb.asset a SET {status} = 'processing'"
    " FROM (SELECT max({key}) AS made_by FROM fpdb.{maker} WHERE state = 'active') p"
    " WHERE asset_id = %(asset_id)s AND {revision} = %(revision)s AND {status} <> 'ready'"
    " AND p.made_by IS NOT DISTINCT FROM coalesce(%(made_by)s, p.made_by)"
    " RETURNING"
)
BESIDE = (
    " FROM fpdb.asset a JOIN (SELECT {key} AS made_by FROM fpdb.{maker}"
    "  WHERE {key} = %(made_by)s AND state IN ('building', 'shadow')) p ON true"
    " WHERE asset_id = %(asset_id)s AND {revision} = %(revision)s AND NOT EXISTS ("
    "  SELECT FROM fpdb.{made} h WHERE h.asset_id = a.asset_id AND h.{key} = p.made_by"
    "  AND h.{count} IS NOT NULL AND h.revision = a.{revision})"
)


def claim(
    connection: Connection,
    asset_id: int,
    kind: Kind,
    revision: int,
    made_by: int | None = None,
) -> Claim | None:
    """Mark the asset as being processed; None where the job is void (changed, deleted or done).

    A job that names no profile or model is for the active one. One that is filled beside it leaves
    no mark: what serves stays ready.
    """
    values = {"asset_id": asset_id, "kind": kind, "revision": revision, "made_by": made_by}
    # As text, content would be twice as many bytes.
    with connection.cursor(binary=True, row_factory=dict_row) as cursor:
        for text in (SERVING + CLAIMED, "SELECT" + CLAIMED + BESIDE):
            found = cursor.execute(sql.SQL(text).format(**_names(kind)), values).fetchone()
            if found is not None:
                wanted = {field.name: found.pop(field.name) for field in fields(Parameters)}
                return Claim(parameters=Parameters(**wanted), **found)
            if made_by is None:
                break
    return None


def parameters(connection: Connection, collection: str, uri: str, warp: Warp) -> Parameters | None:
    """Return what the asset of a collection, URI and warp asks for; None where there is none."""
    with connection.cursor(row_factory=class_row(Parameters)) as cursor:
        return cursor.execute(
            f"SELECT {PARAMETERS} FROM fpdb.asset WHERE collection = %s AND uri = %s"  # noqa: S608 — columns
            " AND pitch = %s AND tempo = %s ORDER BY asset_id LIMIT 1".encode(),
            (collection, uri, warp.pitch, warp.tempo),
        ).fetchone()


def is_current(connection: Connection, job: Claim) -> bool:
    """Lock the asset until the transaction ends and say whether the claim still holds."""
    statement = sql.SQL(
        "SELECT 1 FROM fpdb.asset WHERE asset_id = %s AND {revision} = %s FOR UPDATE"
    ).format(**_names(job.kind))
    return connection.execute(statement, (job.asset_id, job.revision)).fetchone() is not None


def fail(connection: Connection, job: Claim, reason: str, *, again: bool) -> None:
    """Write why the job failed; with `again` the asset waits for another attempt.

    What a profile or model that is not the active one should have made fails beside the asset,
    which stays as it is.
    """
    reason = str(_storable(reason))
    with connection.transaction():
        hold, mark = (
            (hold_profile, mark_failed)
            if job.kind == "landmark"
            else (hold_model, mark_not_embedded)
        )
        if job.made_by is None or (state := hold(connection, job.made_by)) == "active":
            _fail(connection, job, reason, again=again)
        elif state != "retired" and not again:
            mark(connection, job.asset_id, job.made_by, job.revision, reason)


def _fail(connection: Connection, job: Claim, reason: str, *, again: bool) -> None:
    statement = sql.SQL(
        "UPDATE fpdb.asset SET {status} = %s, {error} = %s, processed_at = now()"
        " WHERE asset_id = %s AND {revision} = %s"
    ).format(**_names(job.kind))
    status = "queued" if again else "failed"
    connection.execute(statement, (status, reason, job.asset_id, job.revision))


def put(connection: Connection, values: dict[str, Any]) -> int:
    """Insert an asset, or give the one of its collection, URI and warp these values.

    Returns its key. `values` are columns of fpdb.asset, with collection, uri, pitch and tempo. An
    asset that was there loses its landmarks, segments and vectors, and keeps the title, artist and
    metadata that it has.
    """
    clean = {key: _storable(value) for key, value in values.items()}
    warp = Warp(clean["pitch"], clean["tempo"])
    former = find_uri(connection, clean["collection"], clean["uri"], warp)
    if former is None:
        statement = sql.SQL("INSERT INTO fpdb.asset ({}) VALUES ({}) RETURNING asset_id").format(
            sql.SQL(", ").join(map(sql.Identifier, clean)),
            sql.SQL(", ").join(map(sql.Placeholder, clean)),
        )
        row = connection.execute(statement, clean).fetchone()
        assert row is not None  # noqa: S101 — RETURNING always gives a row
        return int(row[0])
    kept = {
        "title": sql.SQL("coalesce(title, {})"),
        "artist": sql.SQL("coalesce(artist, {})"),
        "metadata": sql.SQL("{} || metadata"),
    }
    fresh = {"landmark_error": None, "embedding_error": None} | clean
    changes = [
        sql.SQL("{} = {}").format(
            sql.Identifier(key), kept.get(key, sql.SQL("{}")).format(sql.Placeholder(key))
        )
        for key in fresh
        if key not in {"collection", "uri", "pitch", "tempo"}
    ]
    statement = sql.SQL(
        "UPDATE fpdb.asset SET {}, processed_at = now() WHERE asset_id = {}"
    ).format(sql.SQL(", ").join(changes), former["asset_id"])
    connection.execute(statement, fresh)
    connection.execute("SELECT fpdb.remove_landmarks(ARRAY[%s::bigint])", (former["asset_id"],))
    for table in ("embedding", "segment", "asset_model"):
        connection.execute(
            sql.SQL("DELETE FROM fpdb.{} WHERE asset_id = %s").format(sql.Identifier(table)),
            (former["asset_id"],),
        )
    connection.execute(
        "SELECT fpdb.queue_building(ARRAY[%s::bigint], kind)"
        " FROM unnest(ARRAY['landmark', 'embedding']) AS kind",
        (former["asset_id"],),
    )
    return int(former["asset_id"])


def find_uri(
    connection: Connection, collection: str, uri: str, warp: Warp
) -> dict[str, Any] | None:
    """Lock and return the asset of a collection, URI and warp; None where there is none."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(
            "SELECT asset_id, status FROM fpdb.asset WHERE collection = %s AND uri = %s"
            " AND pitch = %s AND tempo = %s ORDER BY asset_id LIMIT 1 FOR UPDATE",
            (collection, uri, warp.pitch, warp.tempo),
        ).fetchone()


def find_same(
    connection: Connection, collection: str, sha256: str, uri: str, warp: Warp
) -> dict[str, Any] | None:
    """Return the asset of a collection that plays the same bytes the same way.

    One that waits is not itself.
    """
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(
            "SELECT asset_id, coalesce(version_of, asset_id) AS work_id, duration_sec, status"
            " FROM fpdb.asset WHERE collection = %s AND sha256 = %s"
            " AND pitch = %s AND tempo = %s AND status <> 'failed'"
            " AND (status = 'ready' OR uri IS DISTINCT FROM %s)"
            " ORDER BY asset_id LIMIT 1",
            (collection, sha256, warp.pitch, warp.tempo, uri),
        ).fetchone()


def mark_versions(connection: Connection, asset_ids: list[int], work_id: int | None) -> None:
    """Make assets versions of a work, with what were versions of theirs; of None, of nothing.

    The work stays itself, where it is among them.
    """
    if work_id is None:
        return
    connection.execute(
        "UPDATE fpdb.asset SET version_of = %(work_id)s"
        " WHERE (asset_id = ANY (%(asset_ids)s) OR version_of = ANY (%(asset_ids)s))"
        " AND asset_id <> %(work_id)s AND version_of IS DISTINCT FROM %(work_id)s",
        {"asset_ids": asset_ids, "work_id": work_id},
    )


def lock_content(connection: Connection, collection: str, sha256: str) -> None:
    """Let nobody else bring the same bytes into a collection until the transaction ends."""
    connection.execute(
        "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (f"{collection} {sha256}",)
    )


def _names(kind: Kind) -> dict[str, sql.Identifier]:
    """Return what a kind's columns are called, and the tables of what makes it."""
    names = {name: f"{kind}_{name}" for name in ("status", "revision", "error")}
    if kind == "landmark":
        names |= {"maker": "profile", "key": "profile_id", "made": "asset_profile"}
        names["count"] = "landmark_count"
    else:
        names |= {"maker": "model", "key": "model_id", "made": "asset_model", "count": "vectors"}
    return {name: sql.Identifier(identifier) for name, identifier in names.items()}


def _storable(value: Any) -> Any:
    """Drop the NUL characters that tags of damaged files hold and Postgres' text cannot."""
    return value.replace("\0", "") if isinstance(value, str) else value
