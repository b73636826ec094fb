"""Stores the landmarks of an asset."""

from typing import TYPE_CHECKING

import numpy as np

from fingerprintdb.profile import Profile
from fingerprintdb.store.asset import Claim, is_current
from fingerprintdb.store.database import Connection, answered

if TYPE_CHECKING:
    from fingerprintdb.landmarks import Landmarks

COPY_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
COPY_END = b"\xff\xff"

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


def require_profile(connection: Connection, profile: Profile) -> int:
    """Return the key of the profile that is searched; DatabaseError if it is another one."""
    with answered():
        row = connection.execute("SELECT fpdb.require_profile(%s)", (profile.digest,)).fetchone()
    assert row is not None  # noqa: S101 — a function always gives a row
    return int(row[0])


def register_profile(connection: Connection, profile: Profile) -> int:
    """Make a profile known and return its key; the first one becomes the active one."""
    row = connection.execute(
        "SELECT fpdb.register_profile(%s, %s, %s::jsonb)",
        (profile.name, profile.digest, profile.to_json()),
    ).fetchone()
    assert row is not None  # noqa: S101 — a function always gives a row
    return int(row[0])


def store_landmarks(
    connection: Connection,
    job: Claim,
    landmarks: "Landmarks",
    *,
    profile: Profile,
    described: dict[str, object],
) -> bool:
    """Replace the asset's landmarks in one transaction; False where the claim no longer holds.

    `described` is what the file told: sha256, audio_source_type, duration_sec,
    source_sample_rate; and title, artist and metadata for where the asset has none.
    """
    with connection.transaction():
        if not is_current(connection, job):
            return False
        connection.execute("DELETE FROM fpdb.posting WHERE asset_id = %s", (job.asset_id,))
        copy_postings(connection, job.asset_id, landmarks)
        connection.execute(
            "UPDATE fpdb.asset SET landmark_status = 'ready', landmark_error = NULL,"
            " landmark_count = %(count)s, processed_at = now(), sha256 = %(sha256)s,"
            " audio_source_type = %(audio_source_type)s, duration_sec = %(duration_sec)s,"
            " source_sample_rate = %(source_sample_rate)s, title = coalesce(title, %(title)s),"
            " artist = coalesce(artist, %(artist)s), metadata = %(metadata)s || metadata,"
            " profile_id = %(profile_id)s WHERE asset_id = %(asset_id)s",
            {
                **described,
                "count": len(landmarks),
                "profile_id": require_profile(connection, profile),
                "asset_id": job.asset_id,
            },
        )
    return True


def copy_postings(connection: Connection, asset_id: int, landmarks: "Landmarks") -> None:
    """COPY the postings of one asset, in order of hash, which is kind to the index."""
    order = np.argsort(landmarks.hashes, kind="stable")
    rows = np.empty(len(order), COPY_ROW)
    rows["fields"] = 3
    rows["asset_id_bytes"], rows["asset_id"] = 8, asset_id
    rows["hash_bytes"], rows["hash"] = 4, landmarks.hashes[order]
    rows["frame_bytes"], rows["frame"] = 4, landmarks.frames[order]
    with connection.cursor().copy(
        "COPY fpdb.posting (asset_id, hash, frame) FROM STDIN (FORMAT binary)"
    ) as copy:
        copy.write(COPY_HEADER)
        copy.write(rows.tobytes())
        copy.write(COPY_END)
