"""Reads back what is stored of one asset, to show why a clip matched it."""

from dataclasses import dataclass

import numpy as np

from fingerprintdb.landmarks import Landmarks
from fingerprintdb.profile import Profile
from fingerprintdb.store.database import Connection, DatabaseError
from fingerprintdb.store.subfingerprints import BYTES_A_ROW
from fingerprintdb.subfingerprints import Bits

EVERY_ENTRY = 2**62
"""More entries than an index has: all of an asset's landmarks, not a sample of them."""


@dataclass(frozen=True, slots=True)
class Recording:
    """What people call an asset."""

    asset_id: int
    title: str | None
    artist: str | None
    uri: str | None


@dataclass(frozen=True, slots=True)
class StoredBits:
    """Consecutive sub-fingerprints of an asset: uint8 (n, bits / 8), from number `first` on."""

    first: int
    bits: Bits


def read_recording(connection: Connection, asset_id: int, profile: Profile) -> Recording:
    """Return an asset that can be compared; DatabaseError where there is none, or nothing of it."""
    row = connection.execute(
        "SELECT a.title, a.artist, a.uri, a.landmark_status, p.digest"
        " FROM fpdb.asset a LEFT JOIN fpdb.profile p USING (profile_id) WHERE a.asset_id = %s",
        (asset_id,),
    ).fetchone()
    if row is None:
        raise DatabaseError(f"there is no asset {asset_id}", "`fpdb list` shows those there are")
    title, artist, uri, status, digest = row
    if status != "ready" or digest != profile.digest:
        state = f"are {status}" if status != "ready" else "are of another profile"
        raise DatabaseError(
            f"the landmarks of asset {asset_id} {state}",
            f"run `fpdb reprocess {asset_id}` and `fpdb worker --once`",
        )
    return Recording(asset_id, title, artist, uri)


def read_landmarks(connection: Connection, asset_id: int) -> Landmarks:
    """Return every landmark of an asset.

    The index is by hash, so this looks at each entry of the asset's run: half a second for six
    million.
    """
    rows = connection.execute(
        "SELECT hash, frame FROM fpdb.asset_landmarks(%s, %s)", (asset_id, EVERY_ENTRY), binary=True
    ).fetchall()
    both = np.array(rows, np.int32).reshape(-1, 2)
    return Landmarks(both[:, 0], both[:, 1])


def read_sub_fingerprints(
    connection: Connection, asset_id: int, span_frames: tuple[int, int], profile: Profile
) -> StoredBits:
    """Return the bits of an asset from a frame to another, and a few seconds more on both sides."""
    width = profile.sub_fingerprint_bits // 8
    held = BYTES_A_ROW // width
    first_part, last_part = (
        max(0, frame) // profile.sub_fingerprint_frames // held for frame in span_frames
    )
    # Postgres sends a bit string as its length in four bytes, then its bytes.
    rows = connection.execute(
        "SELECT bits FROM fpdb.sub_fingerprint JOIN fpdb.profile USING (profile_id)"
        " WHERE asset_id = %s AND digest = %s AND part BETWEEN %s AND %s ORDER BY part",
        (asset_id, profile.digest, first_part, last_part),
        binary=True,
    ).fetchall()
    data = b"".join(bytes(row[0])[4:] for row in rows)
    return StoredBits(first_part * held, np.frombuffer(data, np.uint8).reshape(-1, width))
