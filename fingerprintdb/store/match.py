"""Asks the database for matches; the matching itself is SQL."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pgvector import Vector
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from fingerprintdb.store.database import Connection, answered

if TYPE_CHECKING:
    from fingerprintdb.extraction import Clip

EVIDENCE = ("aligned_landmarks", "chance_landmarks", "aligned_segments", "similarity")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Which assets a search looks at and how many it returns; None does not narrow."""

    k: int = 10
    min_confidence: float | None = None
    collection: str | None = None
    content_type: str | None = None
    metadata: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Match:
    """A ranked answer; offset is reference time − query time, times are in seconds."""

    asset_id: int
    uri: str | None
    title: str | None
    artist: str | None
    confidence: float
    score: float
    offset_sec: float
    query_start_sec: float
    query_end_sec: float
    reference_start_sec: float
    reference_end_sec: float
    evidence: dict[str, Any]


def match(
    connection: Connection,
    clip: "Clip",
    *,
    digest: str,
    model_id: int | None,
    scope: Scope,
) -> list[Match]:
    """Return the matches of a clip, best first; without a model, by its landmarks alone."""
    statement = (
        "SELECT m.*, a.uri, a.title, a.artist FROM fpdb.match(%(hashes)s, %(frames)s,"
        " %(vectors)s::vector[], %(starts)s::float8[], %(digest)s, %(model)s::smallint, %(k)s,"
        " %(min_confidence)s, %(collection)s, %(content_type)s, %(metadata)s) m"
        " JOIN fpdb.asset a USING (asset_id)"
        " ORDER BY m.confidence DESC, m.score DESC, m.asset_id"
    )
    values = {
        "hashes": clip.landmarks.hashes.tolist(),
        "frames": clip.landmarks.frames.tolist(),
        "vectors": [Vector(vector) for vector in clip.vectors],
        "starts": clip.starts_sec,
        "digest": digest,
        "model": model_id,
        "k": scope.k,
        "min_confidence": scope.min_confidence,
        "collection": scope.collection,
        "content_type": scope.content_type,
        "metadata": None if scope.metadata is None else Jsonb(scope.metadata),
    }
    with answered(), connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(statement, values).fetchall()
    return [_match(row) for row in rows]


def similar_assets(connection: Connection, asset_id: int, *, scope: Scope) -> list[dict[str, Any]]:
    """Return the assets that sound most like one, as columns of fpdb.similar_assets."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(
            "SELECT s.similar_asset_id AS asset_id, a.uri, a.title, a.artist, s.similarity,"
            " s.segments FROM fpdb.similar_assets(%s, %s, %s, %s) s"
            " JOIN fpdb.asset a ON a.asset_id = s.similar_asset_id"
            " ORDER BY s.similarity DESC, s.similar_asset_id",
            (asset_id, scope.k, scope.collection, scope.content_type),
        ).fetchall()


def similar_to(
    connection: Connection, clip: "Clip", *, model_id: int, scope: Scope
) -> list[dict[str, Any]]:
    """Return the assets that sound most like a clip, as fpdb.similar_assets ranks them."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(
            "WITH named AS (SELECT q.number, n.asset_id, max(n.similarity) AS similarity"
            "  FROM unnest(%(vectors)s::vector[]) WITH ORDINALITY AS q (embedding, number)"
            "  CROSS JOIN LATERAL fpdb.nearest_segments(q.embedding, 4 * %(k)s,"
            "   %(model)s::smallint, NULL, %(collection)s, %(content_type)s) n"
            "  GROUP BY q.number, n.asset_id)"
            " SELECT a.asset_id, a.uri, a.title, a.artist,"
            " greatest(0, sum(n.similarity) / %(windows)s) AS similarity, count(*) AS segments"
            " FROM named n JOIN fpdb.asset a USING (asset_id) GROUP BY a.asset_id"
            " ORDER BY similarity DESC, a.asset_id LIMIT %(k)s",
            {
                "vectors": [Vector(vector) for vector in clip.vectors],
                "windows": len(clip.vectors),
                "model": model_id,
                "k": scope.k,
                "collection": scope.collection,
                "content_type": scope.content_type,
            },
        ).fetchall()


def _match(row: dict[str, Any]) -> Match:
    evidence = {name: row.pop(name) for name in EVIDENCE}
    return Match(evidence=evidence, **row)
