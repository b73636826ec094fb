"""Finds the moments of stored recordings whose vectors are near to a vector."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pgvector import Vector
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from fingerprintdb.store.database import Connection, DatabaseError, answered

if TYPE_CHECKING:
    from fingerprintdb.embedding.embedder import Array
    from fingerprintdb.store.match import Scope

LastingSec = tuple[float | None, float | None]
"""The least and the most that an asset lasts, in seconds; None does not narrow."""

ANY_LENGTH: LastingSec = (None, None)


@dataclass(frozen=True, slots=True)
class Moment:
    """A stretch of a stored recording, from `start_sec` to `end_sec`; similarity is a cosine."""

    asset_id: int
    uri: str | None
    title: str | None
    artist: str | None
    start_sec: float
    end_sec: float
    similarity: float


def moments_like(
    connection: Connection,
    vector: "Array",
    model_id: int,
    scope: "Scope",
    lasting_sec: LastingSec = ANY_LENGTH,
) -> list[Moment]:
    """Return the moments that are nearest to a vector of a model, most similar first."""
    least, most = lasting_sec
    with answered(), connection.cursor(row_factory=class_row(Moment)) as cursor:
        return cursor.execute(
            "SELECT m.asset_id, a.uri, a.title, a.artist, m.start_sec, m.end_sec, m.similarity"
            " FROM fpdb.nearest_moments(%s, %s, %s::smallint, NULL, %s, %s, %s, %s, %s, %s) m"
            " JOIN fpdb.asset a USING (asset_id) ORDER BY m.similarity DESC, m.asset_id",
            (
                Vector(vector),
                scope.k,
                model_id,
                scope.collection,
                scope.content_type,
                None if scope.metadata is None else Jsonb(scope.metadata),
                scope.exclude_asset,
                least,
                most,
            ),
        ).fetchall()


def moments_like_segment(
    connection: Connection,
    segment_id: int,
    scope: "Scope",
    lasting_sec: LastingSec = ANY_LENGTH,
) -> list[Moment]:
    """Return the moments of other assets that sound most like a stored segment."""
    row = connection.execute(
        "SELECT e.embedding, e.model_id, e.asset_id FROM fpdb.embedding e"
        " WHERE e.segment_id = %s AND e.model_id = fpdb.active_model()",
        (segment_id,),
    ).fetchone()
    if row is None:
        raise DatabaseError(
            f"there is no segment {segment_id} with a vector of the active model",
            "SELECT segment_id FROM fpdb.segment shows those there are",
        )
    others = replace(scope, exclude_asset=row[2])
    return moments_like(connection, row[0].to_numpy(), row[1], others, lasting_sec)
