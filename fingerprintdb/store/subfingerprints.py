"""Stores the sub-fingerprints of an asset, and brings those of a clip to a query."""

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fingerprintdb.store.bitstring import BitString
from fingerprintdb.store.database import COPY_END, COPY_HEADER, Connection

if TYPE_CHECKING:
    from fingerprintdb.subfingerprints import SubFingerprints

BYTES_A_ROW = 1920
"""Those of fpdb.bits_a_row()."""


def copy_sub_fingerprints(
    connection: Connection, asset_id: int, profile_id: int, sub_fingerprints: "SubFingerprints"
) -> None:
    """COPY the bits of one asset by a profile, in rows of a fixed number of bits."""
    data = sub_fingerprints.bits.tobytes()
    rows = []
    for part, start in enumerate(range(0, len(data), BYTES_A_ROW)):
        held = data[start : start + BYTES_A_ROW]
        key = struct.pack(">hiqihii", 4, 8, asset_id, 2, profile_id, 4, part)
        rows.append(key + struct.pack(">ii", len(held) + 4, len(held) * 8) + held)
    with connection.cursor().copy(
        "COPY fpdb.sub_fingerprint (asset_id, profile_id, part, bits) FROM STDIN (FORMAT binary)"
    ) as copy:
        copy.write(COPY_HEADER + b"".join(rows) + COPY_END)


def by_phase(sub_fingerprints: "SubFingerprints", step_frames: int) -> list[BitString]:
    """Return a clip's bits as fpdb.match wants them: at frames p, p + step, … for each phase p."""
    return [
        BitString(sub_fingerprints.bits[phase::step_frames].tobytes())
        for phase in range(step_frames)
    ]


@dataclass(frozen=True, slots=True)
class Agreement:
    """How a clip's bits agree with those of an asset at an offset, in frames."""

    offset_frames: int
    compared: int
    bit_error_rate: float


def compare(
    connection: Connection,
    asset_id: int,
    offset_frames: int,
    span_frames: tuple[int, int],
    bits: list[BitString],
) -> Agreement | None:
    """Return how a span of a clip agrees with an asset at an offset, give or take 3 frames."""
    row = connection.execute(
        "SELECT offset_frames, compared, bit_error_rate FROM fpdb.bit_agreements("
        "ARRAY[%s::bigint], ARRAY[%s::int], ARRAY[%s::int], ARRAY[%s::int], %b)",
        (asset_id, offset_frames, *span_frames, bits),
    ).fetchone()
    return Agreement(int(row[0]), int(row[1]), float(row[2])) if row else None


def drift(
    connection: Connection,
    asset_id: int,
    offset_frames: int,
    span_frames: tuple[int, int],
    bits: list[BitString],
) -> tuple[float, float] | None:
    """Return the offset in frames where a clip begins, and its tempo; None where it is unclear."""
    row = connection.execute(
        "SELECT start_offset_frames, tempo FROM fpdb.bit_drift("
        "%s::bigint, %s::int, %s::int, %s::int, %b)",
        (asset_id, offset_frames, *span_frames, bits),
    ).fetchone()
    return (float(row[0]), float(row[1])) if row else None
