"""Stores the landmarks of an asset, with the bits that verify them."""

from typing import TYPE_CHECKING

import numpy as np

from fingerprintdb.store.asset import Claim, is_current
from fingerprintdb.store.database import COPY_END, COPY_HEADER, Connection
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
    ]
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
    source_sample_rate; and title, artist and metadata for where the asset has none.
    """
    with connection.transaction():
        if not is_current(connection, job):
            return False
        connection.execute("SELECT fpdb.remove_landmarks(ARRAY[%s::bigint])", (job.asset_id,))
        copy_landmarks(connection, job.asset_id, found)
        connection.execute(
            "UPDATE fpdb.asset SET landmark_status = 'ready', landmark_error = NULL,"
            " landmark_count = %(count)s, processed_at = now(), sha256 = %(sha256)s,"
            " audio_source_type = %(audio_source_type)s, duration_sec = %(duration_sec)s,"
            " source_sample_rate = %(source_sample_rate)s, title = coalesce(title, %(title)s),"
            " artist = coalesce(artist, %(artist)s), metadata = %(metadata)s || metadata,"
            " profile_id = %(profile_id)s WHERE asset_id = %(asset_id)s",
            {
                **described,
                "count": len(found.landmarks),
                "profile_id": profile_id,
                "asset_id": job.asset_id,
            },
        )
    return True


def copy_landmarks(connection: Connection, asset_id: int, found: "ReferenceLandmarks") -> None:
    """COPY the landmarks and the bits of one asset that has none."""
    copy_postings(connection, asset_id, found.landmarks)
    copy_sub_fingerprints(connection, asset_id, found.sub_fingerprints)


def copy_postings(connection: Connection, asset_id: int, landmarks: "Landmarks") -> None:
    """COPY the postings of one asset to the delta, in order of hash, which is kind to its index."""
    order = np.argsort(landmarks.hashes, kind="stable")
    rows = np.empty(len(order), COPY_ROW)
    rows["fields"] = 3
    rows["asset_id_bytes"], rows["asset_id"] = 8, asset_id
    rows["hash_bytes"], rows["hash"] = 4, landmarks.hashes[order]
    rows["frame_bytes"], rows["frame"] = 4, landmarks.frames[order]
    with connection.cursor().copy(
        "COPY fpdb.delta (asset_id, hash, frame) FROM STDIN (FORMAT binary)"
    ) as copy:
        copy.write(COPY_HEADER)
        copy.write(rows.tobytes())
        copy.write(COPY_END)
