"""Says what a clip is taken for where its own recording is not stored, and whether rightly."""

from fingerprintdb.cascade import SURE, Hearing, ask, nobody, search, searches
from fingerprintdb.clip import Clip
from fingerprintdb.profile import Profile
from fingerprintdb.store.database import Connection
from fingerprintdb.store.match import Match, Scope

LEAST_SHARED_SEC, MOST_SHARED_ERRORS = 1.6, 0.25
"""Bits of so much sound that differ by less are of one sound: chance is 16 spreads away."""


def stranger(
    connection: Connection,
    clip: Clip,
    heard_by: Hearing,
    scope: Scope,
    kin: list[int],
) -> Match | None:
    """Return the surest answer, however unsure, in a scope without the recording and its kin."""
    if not kin:
        return next(iter(search(connection, clip, heard_by, scope).matches), None)
    # A search would end with the kin, before it looked hard for anything else.
    best: Match | None = None
    left = scope.max_postings
    for step in searches():
        found, read = ask(connection, clip, step, heard_by, scope, left)
        left -= read
        others = [match for match in found if match.asset_id not in kin]
        best = max(filter(None, (best, *others)), key=_surest, default=None)
        if left <= 0 or (best is not None and best.confidence >= SURE):
            break
    return best


def is_one_sound(match: Match, profile: Profile) -> bool:
    """Whether bits agree so well, over so long, that clip and recording hold one sound."""
    evidence = match.evidence
    step_sec = profile.sub_fingerprint_frames * profile.frame_sec
    return (
        evidence.bit_error_rate is not None
        and evidence.bit_error_rate < MOST_SHARED_ERRORS
        and evidence.compared_sub_fingerprints * step_sec >= LEAST_SHARED_SEC
    )


def holds(connection: Connection, asset_id: int, passage: Clip, scope: Scope) -> bool:
    """Whether an asset holds a passage to which nothing was done."""
    plain = next(searches())
    found, _ = ask(connection, passage, plain, nobody, scope, scope.max_postings)
    return any(
        match.asset_id == asset_id and is_one_sound(match, passage.profile) for match in found
    )


def _surest(match: Match) -> tuple[float, float]:
    return match.confidence, match.score
