"""Learns the coefficients of the decision: when an alignment is to be believed."""

import random
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from fingerprintdb.audio import AudioError, Samples, decode
from fingerprintdb.cascade import Search, ask, nobody, searches
from fingerprintdb.clip import Clip, hear
from fingerprintdb.degradation import degrade
from fingerprintdb.encoding import encode
from fingerprintdb.extraction import Timings
from fingerprintdb.extractor import Extractor
from fingerprintdb.store.database import Connection
from fingerprintdb.store.match import Match, Scope
from fingerprintdb.store.profile import active_profile

CONDITIONS = (
    "clean",
    "mp3 32",
    "gsm",
    "pink 5 dB",
    "pink 0 dB",
    "pink -5 dB",
    "babble 0 dB",
    "room 5 dB",
    "speed +2 %",
    "tempo +5 %",
    "pitch +1",
)
DURATIONS_SEC = (1.0, 2.0, 5.0, 10.0)
RATE_HZ = 44_100
HEARD_SEC = 120.0
QUIET = 2e-3
"""Root mean square under which a passage is a pause."""

MOST_SHARED_ERRORS = 0.35
"""A bit error rate under which a wrong answer must be true: music of one beat stays above 0.4."""

LEAST_COMPARED = 10
"""Fewer sub-fingerprints are too few to say so."""

LEAST_EXCESS, MOST_EXCESS = -4.0, 8.0
"""Bounds of the landmarks' say, those of fpdb.bit_log_odds."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The likeliest candidate of one search, and whether it was the recording asked about."""

    agreement: float
    """Deviations beyond what chance gives."""
    excess: float
    """2 (√aligned − √chance), bounded."""
    is_right: bool
    piece: str
    found: str
    stage: str
    compared: int
    bit_error_rate: float


def outcomes(
    connection: Connection, files: dict[str, Path], indexed: dict[int, str], trials: int, seed: int
) -> Iterator[Outcome]:
    """Ask about excerpts of `files` (by name) and yield what each search thought likeliest.

    `indexed` names the assets; a piece that is not among them is a negative.
    """
    extractor = Extractor()
    profile = active_profile(connection)[1]
    with tempfile.TemporaryDirectory(prefix="fpdb-") as folder:
        path = Path(folder, "clip.wav")
        for name, file in files.items():
            chooser = random.Random(f"{seed} {name}")  # noqa: S311 — repeatable, not secret
            for excerpt in _excerpts(file, chooser, trials):
                encode(path, excerpt, RATE_HZ)
                with extractor.open(str(path)) as source:
                    try:
                        clip = hear(source, profile, Timings())
                    except AudioError:
                        continue
                    for search in _some_searches(chooser):
                        best = _likeliest(connection, clip, search)
                        if best is not None:
                            yield _outcome(best, name, indexed[best.asset_id])


def fit(found: list[Outcome]) -> dict[str, float]:
    """Return the coefficients of fpdb.decision that make the outcomes likeliest.

    Logistic regression with a slight pull to 0 (a variance of 100), so that separable evidence
    gives no infinite certainty.
    """
    features = np.array([[1.0, one.agreement, one.excess] for one in found])
    signs = np.where([one.is_right for one in found], 1.0, -1.0)

    def loss(weights: npt.NDArray[np.float64]) -> float:
        margins = signs * (features @ weights)
        return float(np.logaddexp(0, -margins).sum() + np.square(weights).sum() / 200)

    weights = minimize(loss, np.array([-3.0, 1.0, 0.3]), method="BFGS").x
    names = ("bit_intercept", "bit_agreement", "bit_landmarks")
    return dict(zip(names, map(float, weights), strict=True))


def without_shared_audio(
    found: list[Outcome],
) -> tuple[list[Outcome], list[tuple[str, str]]]:
    """Return the outcomes less those of pieces that hold each other's audio, and these pairs.

    Neither chance nor the same beat lets so few bits differ in any search; what does is the truth:
    a loop, a remix, another edition.
    """
    sharing = {
        tuple(sorted((one.piece, one.found)))
        for one in found
        if not one.is_right
        and one.bit_error_rate < MOST_SHARED_ERRORS
        and one.compared >= LEAST_COMPARED
    }
    kept = [
        one for one in found if one.is_right or tuple(sorted((one.piece, one.found))) not in sharing
    ]
    return kept, sorted((first, second) for first, second in sharing)


def _excerpts(file: Path, chooser: random.Random, trials: int) -> Iterator[Samples]:
    try:
        music = np.concatenate(list(decode(file, RATE_HZ, max_duration_sec=HEARD_SEC)))
    except AudioError:
        return
    for _ in range(trials):
        condition = chooser.choice(CONDITIONS)
        count = round(chooser.choice(DURATIONS_SEC) * RATE_HZ)
        start = chooser.randrange(max(1, len(music) - 2 * count))
        excerpt = music[start : start + round(1.06 * count)]
        if np.sqrt(np.mean(np.square(excerpt))) < QUIET:
            continue
        seed = zlib.crc32(f"{start} {condition}".encode())
        yield degrade(excerpt, RATE_HZ, condition, seed)[:count]


def _some_searches(chooser: random.Random) -> list[Search]:
    """Return the plain search, the wide one and two of those that undo a change of speed."""
    every = list(searches())
    return [*every[:2], *chooser.sample(every[2:], 2)]


def _likeliest(connection: Connection, clip: Clip, search: Search) -> Match | None:
    found, _ = ask(connection, clip, search, nobody, Scope(k=5), 10_000_000)
    compared = [match for match in found if match.excess is not None]
    return max(compared, key=lambda match: match.score, default=None)


def _outcome(match: Match, name: str, found: str) -> Outcome:
    evidence = match.evidence
    assert match.excess is not None  # noqa: S101 — what was not compared is left out
    excess = 2 * (np.sqrt(evidence.aligned_landmarks) - np.sqrt(evidence.chance_landmarks or 0))
    return Outcome(
        match.excess,
        float(np.clip(excess, LEAST_EXCESS, MOST_EXCESS)),
        found == name,
        name,
        found,
        evidence.stage,
        evidence.compared_sub_fingerprints,
        evidence.bit_error_rate or 0.0,
    )
