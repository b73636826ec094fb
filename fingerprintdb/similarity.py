"""Learns, on a collection's own recordings, how far a model's similarity tells that it is one."""

import random
import tempfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event

import numpy as np
import numpy.typing as npt

from fingerprintdb.audio import AudioError
from fingerprintdb.calibration import CONDITIONS, RATE_HZ, sound_of, starts_in
from fingerprintdb.clip import hear
from fingerprintdb.degradation import degrade
from fingerprintdb.embedding import Embedder
from fingerprintdb.encoding import encode
from fingerprintdb.errors import FingerprintError
from fingerprintdb.extraction import Timings
from fingerprintdb.extractor import Extractor
from fingerprintdb.store.calibration import Sampled
from fingerprintdb.store.database import Connection
from fingerprintdb.store.match import Scope, aligned_similarities
from fingerprintdb.store.model import Model
from fingerprintdb.store.profile import active_profile
from fingerprintdb.strangers import holds

DURATIONS_SEC = (5.0, 10.0)
LEAST_OUTCOMES = 30
"""Of each kind: a regression on fewer would be of one recording or two."""

STRANGERS = 20.0
"""Clips of nothing that is there, for each that is of something: an answer that rests on similarity
alone must be right among those. With as many of both, 5 % of strangers had a confidence of 0.75."""


class TooFewError(FingerprintError):
    """There is too little to learn from."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How similar a clip was to its own recording, or to the most similar other one."""

    similarity: float
    is_right: bool


@dataclass(frozen=True, slots=True)
class Regression:
    """The logistic function from aligned similarity to the probability of identity."""

    intercept: float
    slope: float
    right: int
    wrong: int

    @property
    def even_odds(self) -> float:
        """The similarity at which either is as likely."""
        return -self.intercept / self.slope

    def confidence(self, similarity: float) -> float:
        """Return the probability that recordings so similar are one."""
        return float(1 / (1 + np.exp(-(self.intercept + self.slope * similarity))))


def outcomes(
    connection: Connection,
    extractor: Extractor,
    listener: tuple[Model, Embedder],
    asset: Sampled,
    *,
    passages: int,
    seed: int,
    stopped: Event,
) -> list[Outcome]:
    """Ask a model about spoilt passages of an asset, until stopped.

    What cannot be heard again, or holds no sound, gives none.
    """
    model, embedder = listener
    chooser = random.Random(f"{seed} {asset.asset_id}")  # noqa: S311 — repeatable, not secret
    profile = active_profile(connection)[1]
    found: list[Outcome] = []
    try:
        sound = sound_of(connection, extractor, asset)
    except FingerprintError:
        return found
    with tempfile.TemporaryDirectory(prefix="fpdb-") as folder:
        path = Path(folder, "clip.wav")
        for start in starts_in(sound, chooser, passages):
            if stopped.is_set():
                break
            condition = chooser.choice(CONDITIONS)
            count = round(chooser.choice(DURATIONS_SEC) * RATE_HZ)
            spoilt = zlib.crc32(f"{start} {condition}".encode())
            excerpt = degrade(sound[start : start + 2 * count], RATE_HZ, condition, spoilt)
            encode(path, excerpt[:count], RATE_HZ)
            with extractor.open(str(path)) as source:
                try:
                    clip = hear(source, profile, Timings())
                except AudioError:
                    continue
                windows = clip.windows(embedder)
            kin = {asset.asset_id, *asset.kin}
            similar = aligned_similarities(
                connection, windows, model_id=model.model_id, scope=Scope(k=len(kin) + 5)
            )
            own = max((s for key, s in similar.items() if key in kin), default=None)
            if own is not None:
                found.append(Outcome(own, is_right=True))
            others = {key: s for key, s in similar.items() if key not in kin}
            if others:
                nearest = max(others, key=lambda key: others[key])
                if (
                    own is None
                    or others[nearest] < own
                    or not holds(connection, nearest, clip, Scope())
                ):
                    found.append(Outcome(others[nearest], is_right=False))
    return found


def regression(found: Sequence[Outcome]) -> Regression:
    """Fit the logistic regression, with a slight pull to 0 of the slope (a variance of 10,000).

    Separable outcomes would give infinite certainty otherwise. Raises TooFewError where there are
    fewer than 30 right or wrong ones, or where the right ones are not the more similar.
    """
    right = sum(one.is_right for one in found)
    wrong = len(found) - right
    if min(right, wrong) < LEAST_OUTCOMES:
        raise TooFewError(
            f"{right} clips found their recording and {wrong} another: {LEAST_OUTCOMES} of each are"
            " needed",
            "add recordings, give the model vectors (fpdb model backfill), or ask for more samples",
        )
    # Importing it takes a while, and only this needs it.
    from scipy.optimize import minimize  # noqa: PLC0415

    similarity = np.array([one.similarity for one in found])
    signs = np.where([one.is_right for one in found], 1.0, -1.0)
    counts = np.where(signs > 0, 1.0, STRANGERS * right / wrong)

    def loss(weights: npt.NDArray[np.float64]) -> float:
        margins = signs * (weights[0] + weights[1] * similarity)
        return float(counts @ np.logaddexp(0, -margins) + weights[1] ** 2 / 20_000)

    intercept, slope = map(float, minimize(loss, np.array([-10.0, 15.0]), method="BFGS").x)
    if slope <= 0:
        raise TooFewError(
            "clips are no more similar to their own recordings than to others",
            "use another model: this one's similarity tells nothing here",
        )
    return Regression(intercept, slope, right, wrong)
