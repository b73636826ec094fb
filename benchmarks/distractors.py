"""Fills an index with synthetic recordings that have the statistics of the real ones in it."""

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import track

from fingerprintdb.landmarks import DIFFERENCE_BITS, TIME_BITS, Landmarks
from fingerprintdb.store.database import COPY_END, COPY_HEADER, Connection
from fingerprintdb.store.profile import active_profile, mark_stored
from fingerprintdb.store.subfingerprints import copy_sub_fingerprints
from fingerprintdb.subfingerprints import SubFingerprints

DURATION_SEC = 240.0
A_RUN = 1000
BLOCK_FRAME_BITS = 14
HASH_MULTIPLIER = 10_368_889
"""What sql/25_index.sql mixes hashes with."""
SOURCES = 3
"""Real recordings that a synthetic one takes its anchors from."""
MOST_SHIFT = 24
"""Half bins by which anchors are moved, up or down, so that no passage is anybody's."""


@dataclass(frozen=True, slots=True)
class Statistics:
    """The landmarks of real recordings by anchor, and their bits, to draw from."""

    hashes: npt.NDArray[np.int32]
    starts: npt.NDArray[np.intp]
    """Where each anchor's landmarks begin in `hashes`, and, last, their end."""
    first_anchors: npt.NDArray[np.intp]
    """Each recording's first anchor, and, last, the number of anchors."""
    anchors_a_second: float
    bits: list[npt.NDArray[np.uint8]]


def fill(
    connection: Connection,
    count: int,
    console: Console,
    *,
    duration_sec: float = DURATION_SEC,
    drawn_from: Statistics | None = None,
    start: int = 0,
) -> None:
    """Add `count` synthetic recordings beside the real ones, in packed runs of a thousand.

    A collection that grows gives the statistics of its real recordings, and where to go on.
    """
    profile_id, profile = active_profile(connection)
    drawn_from = drawn_from or statistics(connection)
    frames = round(duration_sec / profile.frame_sec)
    shape = frames, profile.frame_sec
    for first in track(range(start, start + count, A_RUN), "distractors", console=console):
        made = range(first, min(first + A_RUN, start + count))
        with connection.transaction():
            rows = connection.execute(
                "INSERT INTO fpdb.asset (uri, title, duration_sec, profile_id, landmark_status,"
                " embedding_status) SELECT 'synthetic:' || n, 'distractor ' || n, %s, %s, 'ready',"
                " 'ready' FROM generate_series(%s::int, %s::int) AS n RETURNING asset_id",
                (duration_sec, profile_id, made[0], made[-1]),
            ).fetchall()
            asset_ids = [int(row[0]) for row in rows]
            drawn = [landmarks(drawn_from, *shape, np.random.default_rng(n)) for n in made]
            copy_run(connection, asset_ids, drawn, profile_id)
            for number, asset_id in zip(made, asset_ids, strict=True):
                random = np.random.default_rng(number)
                bits = sub_fingerprints(
                    drawn_from, frames // profile.sub_fingerprint_frames, random
                )
                copy_sub_fingerprints(
                    connection,
                    asset_id,
                    profile_id,
                    SubFingerprints(bits, profile.sub_fingerprint_frames),
                )
                mark_stored(connection, asset_id, profile_id, len(drawn[number - first]))


def copy_run(
    connection: Connection, asset_ids: list[int], drawn: list[Landmarks], profile_id: int
) -> None:
    """COPY the landmarks of assets, each of one block, as the run that fpdb.compact() would make.

    It takes a tenth of the time; benchmarks.scale shows what fpdb.compact() takes.
    """
    row = connection.execute(
        "WITH tier AS ("
        "  INSERT INTO fpdb.tier (profile_id, assets, blocks)"
        "  VALUES (%(profile)s, %(blocks)s, %(blocks)s) RETURNING tier_id)"
        " INSERT INTO fpdb.run (tier_id, first_block, blocks, block_bits, residual_bits, postings)"
        " SELECT tier_id, 0, %(blocks)s, s.block_bits, s.residual_bits, %(postings)s"
        " FROM tier, fpdb.run_shape(%(blocks)s, %(postings)s) s"
        " RETURNING tier_id, run_id, block_bits, residual_bits",
        {"profile": profile_id, "blocks": len(drawn), "postings": sum(map(len, drawn))},
    ).fetchone()
    assert row is not None
    tier_id, run_id, block_bits, residual_bits = row
    with connection.cursor().copy(
        "COPY fpdb.block (tier_id, block, asset_id, first_frame, postings) FROM STDIN"
    ) as copy:
        for block, (asset_id, one) in enumerate(zip(asset_ids, drawn, strict=True)):
            copy.write_row((tier_id, block, asset_id, 0, len(one)))
    shift = block_bits + BLOCK_FRAME_BITS
    packed = np.concatenate(
        [
            (one.hashes.astype(np.int64) * HASH_MULTIPLIER & (1 << 24) - 1) << shift
            | block << BLOCK_FRAME_BITS
            | one.frames
            for block, one in enumerate(drawn)
        ]
    )
    packed.sort()
    keys = packed >> (shift + residual_bits)
    starts = np.flatnonzero(np.r_[True, keys[1:] != keys[:-1]])
    entries = (packed & (1 << shift + residual_bits) - 1).astype(">i4")
    # Each element of a binary array is preceded by its length, four bytes.
    elements = np.empty((len(entries), 2), ">i4")
    elements[:, 0], elements[:, 1] = 4, entries
    with connection.cursor().copy(
        "COPY fpdb.posting (run_id, key, entries) FROM STDIN (FORMAT binary)"
    ) as copy:
        copy.write(COPY_HEADER)
        for start, stop in zip(starts, np.r_[starts[1:], len(keys)], strict=True):
            data = elements[start:stop].tobytes()
            copy.write(
                struct.pack(
                    ">hiiiiiiiiii",
                    3, 4, run_id, 4, int(keys[start]), 20 + len(data), 1, 0, 23, stop - start, 1,
                )
                + data
            )  # fmt: skip
        copy.write(COPY_END)


def statistics(connection: Connection) -> Statistics:
    """Read the landmarks and bits of every recording there is."""
    rows = np.array(
        connection.execute(
            "SELECT asset_id, frame, hash FROM fpdb.landmark ORDER BY 1, 2, 3"
        ).fetchall(),
        np.int64,
    )
    asset, frame, hashes = rows.T
    frequency = hashes >> (DIFFERENCE_BITS + TIME_BITS)
    is_new = np.r_[True, np.any(np.diff(np.c_[asset, frame, frequency], axis=0) != 0, axis=1)]
    starts = np.flatnonzero(is_new)
    owner = asset[starts]
    total = connection.execute("SELECT sum(duration_sec) FROM fpdb.asset").fetchone()
    assert total is not None
    return Statistics(
        hashes.astype(np.int32),
        np.r_[starts, len(hashes)],
        np.r_[np.flatnonzero(np.r_[True, np.diff(owner) != 0]), len(starts)],
        len(starts) / float(total[0]),
        _stored_bits(connection),
    )


def landmarks(
    drawn_from: Statistics, frames: int, frame_sec: float, random: np.random.Generator
) -> Landmarks:
    """Return landmarks at random frames: each anchor with the targets that it really has.

    A few real recordings lend their anchors, moved in frequency, so that a synthetic one sounds
    like itself throughout, as music does.
    """
    count = round(drawn_from.anchors_a_second * frames * frame_sec)
    recordings = random.choice(len(drawn_from.first_anchors) - 1, SOURCES)
    lent = np.concatenate(
        [
            np.arange(drawn_from.first_anchors[n], drawn_from.first_anchors[n + 1])
            for n in recordings
        ]
    )
    anchors = random.choice(lent, count)
    placed = np.sort(random.integers(0, frames, count))
    sizes = drawn_from.starts[anchors + 1] - drawn_from.starts[anchors]
    index = np.repeat(drawn_from.starts[anchors] - np.r_[0, np.cumsum(sizes)[:-1]], sizes)
    hashes = drawn_from.hashes[index + np.arange(sizes.sum())]
    shift = int(random.integers(-MOST_SHIFT, MOST_SHIFT + 1))
    below = DIFFERENCE_BITS + TIME_BITS
    frequency = np.clip((hashes >> below) + shift, 0, 1023)
    moved = (frequency << below) | (hashes & (1 << below) - 1)
    return Landmarks(moved.astype(np.int32), np.repeat(placed, sizes).astype(np.int32))


def sub_fingerprints(
    drawn_from: Statistics, count: int, random: np.random.Generator
) -> npt.NDArray[np.uint8]:
    """Return bits that change in time as a real recording's do, yet agree with nobody's.

    Real stretches, backwards, with the same random bits inverted throughout: what neighbouring
    sub-fingerprints have in common stays.
    """
    parts: list[npt.NDArray[np.uint8]] = []
    held = 0
    while held < count:
        part = drawn_from.bits[int(random.integers(len(drawn_from.bits)))][::-1]
        parts.append(part)
        held += len(part)
    inverted = random.integers(0, 256, parts[0].shape[1], np.uint8)
    return np.asarray(np.concatenate(parts)[:count] ^ inverted, np.uint8)


def _stored_bits(connection: Connection) -> list[npt.NDArray[np.uint8]]:
    profile_id, profile = active_profile(connection)
    width = profile.sub_fingerprint_bits
    rows: list[tuple[Any, ...]] = connection.execute(
        "SELECT asset_id, string_agg(bits::text, '' ORDER BY part) FROM fpdb.sub_fingerprint"
        " WHERE profile_id = %s GROUP BY 1 ORDER BY 1",
        (profile_id,),
    ).fetchall()
    return [
        np.packbits(np.frombuffer(text.encode(), np.uint8) - ord("0")).reshape(-1, width // 8)
        for _, text in rows
    ]
