"""Puts an asset that another database exported into this one, whole, with all that was made."""

from dataclasses import asdict, dataclass, fields

from fingerprintdb.archive import AssetRecord, Description
from fingerprintdb.extraction import EmbeddedSegment
from fingerprintdb.store.adoption import Adopted
from fingerprintdb.store.asset import lock_content
from fingerprintdb.store.database import Connection
from fingerprintdb.store.embeddings import copy_segments
from fingerprintdb.store.landmarks import copy_postings
from fingerprintdb.store.model import ModelChangedError, hold_model
from fingerprintdb.store.profile import ProfileChangedError, hold_profile, mark_stored
from fingerprintdb.store.subfingerprints import copy_sub_fingerprints
from fingerprintdb.subfingerprints import SubFingerprints

COLUMNS = tuple(field.name for field in fields(Description))
CASTS = {
    "metadata": "%(metadata)s::jsonb",
    "created_at": "%(created_at)s::timestamptz",
    "processed_at": "%(processed_at)s::timestamptz",
}
INSERT = (
    f"INSERT INTO fpdb.asset ({', '.join(COLUMNS)}, content, profile_id, landmark_count,"  # noqa: S608
    " version_of, landmark_status, embedding_status, embedding_error)"
    f" VALUES ({', '.join(CASTS.get(name, f'%({name})s') for name in COLUMNS)},"
    " %(content)s, %(profile_id)s, %(landmark_count)s, %(version_of)s, 'ready',"
    " %(embedding_status)s, %(embedding_error)s) RETURNING asset_id"
)
SAME = (
    "SELECT asset_id, coalesce(version_of, asset_id) FROM fpdb.asset"
    " WHERE collection = %(collection)s AND pitch = %(pitch)s AND tempo = %(tempo)s"
    " AND CASE WHEN %(sha256)s::text IS NULL THEN uri = %(uri)s::text ELSE sha256 = %(sha256)s END"
    " AND landmark_status <> 'failed' ORDER BY asset_id LIMIT 1"
)


@dataclass(frozen=True, slots=True)
class Arrived:
    """What became of an asset: its key here and that of its work, and whether it is new."""

    asset_id: int
    work_id: int
    is_new: bool


def put_arrival(
    connection: Connection,
    record: AssetRecord,
    content: bytes | None,
    adopted: Adopted,
    *,
    collection: str,
    work_id: int | None,
    embedding_error: str | None,
) -> Arrived:
    """Store an asset in one transaction, unless the collection plays the same bytes the same way.

    What comes without the active model's vectors is queued for them where `embedding_error` is
    None, and else failed for that reason. Raises ProfileChangedError or ModelChangedError where
    another profile or model became the active one.
    """
    values = asdict(record.description) | {"collection": collection}
    made = {adopted.model_ids[one.model] for one in record.vectors}
    with connection.transaction():
        if hold_profile(connection, adopted.profile_id) != "active":
            raise ProfileChangedError
        for model_id in sorted({*made, adopted.active_model_id}):
            state = hold_model(connection, model_id)
            if (state == "active") is not (model_id == adopted.active_model_id):
                raise ModelChangedError
        lock_content(connection, collection, str(values["sha256"] or values["uri"]))
        same = connection.execute(SAME.encode(), values).fetchone()
        if same is not None:
            return Arrived(int(same[0]), int(same[1]), is_new=False)
        is_embedded = adopted.active_model_id in made
        status = "ready" if is_embedded else "failed" if embedding_error else "queued"
        row = connection.execute(
            INSERT.encode(),
            values
            | {
                "content": content,
                "profile_id": adopted.profile_id,
                "version_of": work_id,
                "landmark_count": len(record.landmarks),
                "embedding_status": status,
                "embedding_error": None if is_embedded else embedding_error,
            },
        ).fetchone()
        assert row is not None  # noqa: S101 — RETURNING always gives a row
        asset_id = int(row[0])
        copy_postings(connection, asset_id, adopted.profile_id, record.landmarks)
        bits = SubFingerprints(record.sub_fingerprints, 0)
        copy_sub_fingerprints(connection, asset_id, adopted.profile_id, bits)
        mark_stored(connection, asset_id, adopted.profile_id, len(record.landmarks))
        _copy_vectors(connection, asset_id, record, adopted)
    return Arrived(asset_id, work_id or asset_id, is_new=True)


def _copy_vectors(
    connection: Connection, asset_id: int, record: AssetRecord, adopted: Adopted
) -> None:
    """Store the segments, which all models share, and the vectors of each model."""
    cut = record.segments
    for made in record.vectors:
        at = {int(place): n for n, place in enumerate(made.places)}
        segments = [
            EmbeddedSegment(
                int(cut.indexes[place]),
                float(cut.starts_sec[place]),
                float(cut.ends_sec[place]),
                made.vectors[at[place]] if place in at else None,
                float(made.times_ms[at[place]]) if place in at else 0.0,
            )
            for place in range(len(cut))
        ]
        copy_segments(connection, asset_id, adopted.model_ids[made.model], segments)
    # A model that is not in the archive may have heard something in what is silent to the others.
    connection.execute(
        "UPDATE fpdb.segment s SET is_silent = false FROM unnest(%s::int[]) AS u (segment_index)"
        " WHERE s.asset_id = %s AND s.segment_index = u.segment_index AND s.is_silent",
        (cut.indexes[~cut.silent].tolist(), asset_id),
    )
