"""Stores the landmarks of an asset by a profile, with the bits that verify them."""

from typing import TYPE_CHECKING

import numpy as np

from fingerprintdb.store.asset import Claim, is_current
from fingerprintdb.store.database import COPY_END, COPY_HEADER, Connection, DatabaseError
from fingerprintdb.store.profile import ProfileChangedError, hold_profile, mark_stored
from fingerprintdb.store.subfingerprints import copy_sub_fingerprints

if TYPE_CHECKING:
    from fingerprintdb.extraction import ReferenceLandmarks
    from fingerprintdb.landmarks import Landmarks

# One row of binary COPY: the number of fields, then each field's length and value.
COPY_ROW = np.dtype(
    [
        ("fields", ">i2"),
        ("asset_id_bytes", ">i4"),
        ("asset_id", ">i8"),
        ("hash_bytes", ">i4"),
        ("hash", ">i4"),
        ("frame_bytes", ">i4"),
        ("frame", ">i4"),
        ("profile_id_bytes", ">i4"),
        ("profile_id", ">i2"),
    ]
)

# What the file told, and that the landmarks serve: changes of the asset's row.
DESCRIPTION = (
    "sha256 = %(sha256)s, audio_source_type = %(audio_source_type)s,"
    " duration_sec = %(duration_sec)s, source_sample_rate = %(source_sample_rate)s,"
    " title = coalesce(title, %(title)s), artist = coalesce(artist, %(artist)s),"
    " metadata = %(metadata)s || metadata"
)
SERVICE = (
    "landmark_status = 'ready', landmark_error = NULL, landmark_count = %(count)s,"
    " profile_id = %(profile_id)s, processed_at = now()"
)


def store_landmarks(
    connection: Connection,
    job: Claim,
    found: "ReferenceLandmarks",
    *,
    profile_id: int,
    described: dict[str, object],
) -> bool:
    """Replace the asset's landmarks and bits in one transaction; False where the claim is void.

    `described` is what the file told: sha256, audio_source_type, duration_sec,
    source_sample_rate; and title, artist and metadata for where the asset has none. Where the
    profile is being built beside the active one, an asset that is ready stays as it is.
    """
    with connection.transaction():
        state = hold_profile(connection, profile_id)
        if state == "retired":
            raise ProfileChangedError
        if not is_current(connection, job):
            return False
        changes = []
        if state == "active":
            changes = [DESCRIPTION, SERVICE]
        elif not _is_served(connection, job, described["sha256"]):
            changes = [DESCRIPTION]
        connection.execute(
            "SELECT fpdb.remove_landmarks(ARRAY[%s::bigint], %s::smallint)",
            (job.asset_id, profile_id),
        )
        copy_landmarks(connection, job.asset_id, profile_id, found)
        if changes:
            connection.execute(
                f"UPDATE fpdb.asset SET {', '.join(changes)}"  # noqa: S608 — constants
                " WHERE asset_id = %(asset_id)s".encode(),
                {
                    **described,
                    "count": len(found.landmarks),
                    "profile_id": profile_id,
                    "asset_id": job.asset_id,
                },
            )
    return True


def _is_served(connection: Connection, job: Claim, sha256: object) -> bool:
    """Say whether the active profile's serve; DatabaseError where those are of other bytes."""
    row = connection.execute(
        "SELECT sha256 FROM fpdb.asset WHERE asset_id = %s AND landmark_status = 'ready'",
        (job.asset_id,),
    ).fetchone()
    if row is not None and row[0] not in {None, sha256}:
        raise DatabaseError(
            "the file is not what the landmarks that serve were made of",
            f"run `fpdb reprocess {job.asset_id}`",
        )
    return row is not None


def copy_landmarks(
    connection: Connection, asset_id: int, profile_id: int, found: "ReferenceLandmarks"
) -> None:
    """COPY the landmarks and the bits of one asset that has none of the profile."""
    copy_postings(connection, asset_id, profile_id, found.landmarks)
    copy_sub_fingerprints(connection, asset_id, profile_id, found.sub_fingerprints)
    mark_stored(connection, asset_id, profile_id, len(found.landmarks))


def copy_postings(
    connection: Connection, asset_id: int, profile_id: int, landmarks: "Landmarks"
) -> None:
    """COPY the postings of one asset to the delta, in order of hash, which is kind to its index."""
    order = np.argsort(landmarks.hashes, kind="stable")
    rows = np.empty(len(order), COPY_ROW)
    rows["fields"] = 4
    rows["asset_id_bytes"], rows["asset_id"] = 8, asset_id
    rows["hash_bytes"], rows["hash"] = 4, landmarks.hashes[order]
    rows["frame_bytes"], rows["frame"] = 4, landmarks.frames[order]
    rows["profile_id_bytes"], rows["profile_id"] = 2, profile_id
    with connection.cursor().copy(
        "COPY fpdb.delta (asset_id, hash, frame, profile_id) FROM STDIN (FORMAT binary)"
    ) as copy:
        copy.write(COPY_HEADER)
        copy.write(rows.tobytes())
        copy.write(COPY_END)
