"""Says how a clip's pitch and tempo differ from those of the recording that it was found in."""

import math
from collections.abc import Iterator
from dataclasses import replace

from fingerprintdb.clip import Clip
from fingerprintdb.store.database import Connection
from fingerprintdb.store.match import Match
from fingerprintdb.store.subfingerprints import by_phase, compare, drift
from fingerprintdb.warp import Warp

PRISTINE = 0.12
"""A bit error rate under which a clip is what was recorded, and there is nothing to refine."""

SHORTEST_SEC = 3.0
"""A shorter clip has thirds that say nothing."""

LEAST_DRIFT_FRAMES = 3.0
"""A smaller drift over a whole clip is the grain of the comparison."""

SEMITONE = 2 ** (1 / 12)


def refined(connection: Connection, clip: Clip, match: Match) -> Match:
    """Return a match with the pitch, the tempo and the offset at which its bits agree best.

    Bits bear changes that a listener hears, so a match may be sure and yet a few tenths of a
    second beside its place, where the clip is slower or faster than it was taken for.
    """
    evidence = match.evidence
    if (
        evidence.bit_error_rate is None
        or evidence.bit_error_rate < PRISTINE
        or clip.duration_sec < SHORTEST_SEC
    ):
        return match
    profile = clip.profile
    frame_sec = profile.frame_sec
    started = Warp(evidence.pitch, evidence.tempo)
    span_frames = (0, round(clip.duration_sec * started.tempo / frame_sec))
    bits = by_phase(clip.sub_fingerprints(started), profile.sub_fingerprint_frames)
    offset_frames = round(match.offset_sec / frame_sec)
    former = compare(connection, match.asset_id, offset_frames, span_frames, bits)
    if former is None:
        return match
    best, best_warp = former, started
    tempo, start_frames = started.tempo, float(former.offset_frames)
    line = drift(connection, match.asset_id, former.offset_frames, span_frames, bits)
    if line is not None and abs(line[1] - 1) * span_frames[1] >= LEAST_DRIFT_FRAMES:
        start_frames, tempo = line[0], started.tempo * line[1]
    likely = list(_likely(started, tempo))
    clip.listen_for(likely)
    for warp in likely:
        bits = by_phase(clip.sub_fingerprints(warp), profile.sub_fingerprint_frames)
        span_frames = (0, round(clip.duration_sec * warp.tempo / frame_sec))
        found = compare(connection, match.asset_id, round(start_frames), span_frames, bits)
        if found is not None and found.bit_error_rate < best.bit_error_rate:
            best, best_warp = found, warp
    if former.bit_error_rate - best.bit_error_rate < 0.01:
        return match
    moved_sec = best.offset_frames * frame_sec - match.offset_sec
    return replace(
        match,
        offset_sec=match.offset_sec + moved_sec,
        reference_start_sec=max(
            0.0, match.query_start_sec * best_warp.tempo + best.offset_frames * frame_sec
        ),
        reference_end_sec=match.query_end_sec * best_warp.tempo + best.offset_frames * frame_sec,
        agreement=(1 - 2 * best.bit_error_rate) * math.sqrt(best.compared),
        evidence=replace(
            evidence,
            bit_error_rate=best.bit_error_rate,
            compared_sub_fingerprints=best.compared,
            pitch=best_warp.pitch,
            tempo=best_warp.tempo,
        ),
    )


def _likely(started: Warp, tempo: float) -> Iterator[Warp]:
    """Yield what may have been done to a clip whose tempo is known."""
    for pitch in (started.pitch, tempo, SEMITONE, 1 / SEMITONE, SEMITONE**0.5, SEMITONE**-0.5):
        if (pitch, tempo) != (started.pitch, started.tempo) and 0.9 < pitch < 1.1:
            yield Warp(pitch, tempo)
