"""Asks a collection about passages of its own recordings: with each among them, and without."""

import math
import random
import tempfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from threading import Event

import numpy as np

from fingerprintdb.audio import AudioError, Samples, decode
from fingerprintdb.cascade import search
from fingerprintdb.clip import Clip, hear
from fingerprintdb.degradation import degrade
from fingerprintdb.encoding import encode
from fingerprintdb.errors import FingerprintError
from fingerprintdb.extraction import Timings
from fingerprintdb.extractor import Extractor
from fingerprintdb.store.calibration import Sampled, Verdict, content_of
from fingerprintdb.store.database import Connection
from fingerprintdb.store.match import Match, Scope
from fingerprintdb.store.profile import active_profile
from fingerprintdb.strangers import holds, is_one_sound, stranger
from fingerprintdb.thresholds import LEAST_THRESHOLD, Score

CONDITIONS = (
    "clean",
    "pink 5 dB",
    "pink 0 dB",
    "babble 5 dB",
    "room 5 dB",
    "mp3 32",
    "speed +2 %",
)
DURATIONS_SEC = (1.0, 2.0, 3.0, 5.0, 10.0)
"""Every passage is asked about at each of these lengths, under a condition of its own."""

FASTEST = 1.03
"""Seconds of sound that a second of a clip takes, at most: those of a faster one, and a rest."""

RATE_HZ = 44_100
HEARD_SEC = 600.0
TRIES = 20
QUIET = 2e-3
"""Root mean square under which a passage is a pause, and nobody would ask what it is."""

MOST_PASSAGES = 10
"""Passages of one asset; more would say the same again."""

SHARED_PASSAGE_SEC = 5.0
"""A shorter passage is heard so long before it is said to be in two recordings."""


@dataclass(frozen=True, slots=True)
class SharedAudio:
    """A passage that two assets hold, neither known to be a version of the other."""

    asset_id: int
    other_asset_id: int
    start_sec: float
    other_start_sec: float
    clips: int = 1
    """Clips that showed it, which are left out of the negatives."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """An asset that nothing was asked about, and why."""

    asset_id: int
    uri: str | None
    reason: str


@dataclass(slots=True)
class Findings:
    """What asking about passages of assets gave."""

    scores: list[Score] = field(default_factory=list)
    shared: list[SharedAudio] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)

    def add(self, other: "Findings") -> None:
        """Take in what was found about another asset."""
        self.scores += other.scores
        self.shared += other.shared
        self.skipped += other.skipped

    def shared_pairs(self) -> list[SharedAudio]:
        """Return one shared passage for every two assets, those with most clips first."""
        pairs: dict[frozenset[int], SharedAudio] = {}
        for one in self.shared:
            pair = frozenset((one.asset_id, one.other_asset_id))
            known = pairs.get(pair)
            pairs[pair] = one if known is None else replace(known, clips=known.clips + one.clips)
        return sorted(pairs.values(), key=lambda pair: -pair.clips)


def passages(sampled: list[Sampled], samples: int) -> dict[int, int]:
    """Return how many passages of each asset (by key) to ask about: `samples`, if there are.

    Every asset gives one before any gives another, and one for each ten seconds at most.
    """
    most = {
        asset.asset_id: max(1, min(MOST_PASSAGES, int(asset.duration_sec // DURATIONS_SEC[-1])))
        for asset in sampled
    }
    turns = (key for turn in range(MOST_PASSAGES) for key in most if turn < most[key])
    return dict(Counter(islice(turns, samples)))


def most_negatives(
    sampled: list[Sampled], plan: dict[int, int], said: list[Score]
) -> dict[str, int]:
    """Return how many negatives each content type gets where every passage can be asked about."""
    most = Counter({asset.content_type: 0 for asset in sampled})
    for asset in sampled:
        if asset.has_strangers:
            most[asset.content_type] += plan.get(asset.asset_id, 0) * len(DURATIONS_SEC)
    for score in said:
        most[score.content_type] += not score.is_positive
    return dict(most)


def said(verdicts: Iterable[Verdict]) -> list[Score]:
    """Return people's verdicts as scores: a right answer is a positive, a wrong one a negative."""
    return [Score(v.content_type, v.confidence, v.is_right) for v in verdicts]


def examine(
    connection: Connection,
    extractor: Extractor,
    asset: Sampled,
    *,
    passages: int,
    collection: str | None,
    seed: int,
    stopped: Event,
) -> Findings:
    """Ask about passages of an asset, as it is stored and as if it were not, until stopped.

    They are looked for among the assets of its content type, whose threshold decides.
    """
    findings = Findings()
    chooser = random.Random(f"{seed} {asset.asset_id}")  # noqa: S311 — repeatable, not secret
    try:
        sound = sound_of(connection, extractor, asset)
        starts = list(starts_in(sound, chooser, passages))
        if not starts:
            raise AudioError("no passage of it is loud and long enough to ask about")
    except FingerprintError as error:
        findings.skipped.append(Skipped(asset.asset_id, asset.uri, str(error)))
        return findings
    scope = Scope(
        k=5 + len(asset.kin),
        min_confidence=0.0,
        collection=collection,
        content_type=asset.content_type,
    )
    with tempfile.TemporaryDirectory(prefix="fpdb-") as folder:
        asker = _Asker(connection, extractor, asset, scope, Path(folder, "clip.wav"), findings)
        for start in starts:
            for duration_sec in DURATIONS_SEC:
                if stopped.is_set():
                    return findings
                asker.ask(sound[start:], start, duration_sec, chooser.choice(CONDITIONS))
    return findings


@dataclass(frozen=True, slots=True)
class _Asker:
    """Cuts clips out of an asset's sound and asks what they are."""

    connection: Connection
    extractor: Extractor
    asset: Sampled
    scope: Scope
    path: Path
    findings: Findings

    def ask(self, sound: Samples, start: int, duration_sec: float, condition: str) -> None:
        """Ask about the beginning of `sound`, which is the asset's from sample `start` on."""
        count = round(duration_sec * RATE_HZ)
        whole = sound[: math.ceil(count * FASTEST)]
        if len(whole) < count * FASTEST:
            return
        seed = zlib.crc32(f"{start} {duration_sec} {condition}".encode())
        right = {self.asset.asset_id, *self.asset.kin}
        with self._heard(degrade(whole, RATE_HZ, condition, seed)[:count]) as clip:
            if clip is None:
                return
            heard_by = partial(self.extractor.embedders, self.connection)
            other = None
            if self.asset.has_strangers:
                kin = self.asset.kin
                other = stranger(self.connection, clip, heard_by, self._without_it(), kin)
            found = search(self.connection, clip, heard_by, self.scope).matches
        if other is not None and self._is_shared(other, sound, duration_sec):
            right.add(other.asset_id)
            self.findings.shared.append(
                SharedAudio(
                    self.asset.asset_id,
                    other.asset_id,
                    start / RATE_HZ,
                    max(0.0, other.offset_sec),
                )
            )
        elif self.asset.has_strangers:
            self._score(other, duration_sec, is_positive=False)
        named = found[0] if found and found[0].asset_id in right else None
        self._score(named, duration_sec, is_positive=True)

    def _score(self, match: Match | None, duration_sec: float, *, is_positive: bool) -> None:
        confidence = 0.0 if match is None else match.confidence
        score = Score(self.asset.content_type, confidence, is_positive, duration_sec)
        self.findings.scores.append(score)

    @contextmanager
    def _heard(self, samples: Samples) -> Iterator[Clip | None]:
        """Hear samples as the program hears a file; None where they say nothing."""
        encode(self.path, samples, RATE_HZ)
        with self.extractor.open(str(self.path)) as source:
            try:
                clip = hear(source, active_profile(self.connection)[1], Timings())
            except AudioError:
                clip = None
            yield clip

    def _is_shared(self, match: Match, sound: Samples, duration_sec: float) -> bool:
        """Whether the stranger holds the passage that the clip was made of.

        What was done to the clip hides that, so the passage is asked about as it is.
        """
        if is_one_sound(match, active_profile(self.connection)[1]):
            return True
        if match.confidence < LEAST_THRESHOLD:
            return False
        passage = sound[: round(max(duration_sec, SHARED_PASSAGE_SEC) * RATE_HZ)]
        with self._heard(passage) as clip:
            return clip is not None and holds(
                self.connection, match.asset_id, clip, self._without_it()
            )

    def _without_it(self) -> Scope:
        return replace(self.scope, exclude_asset=self.asset.asset_id)


def sound_of(connection: Connection, extractor: Extractor, asset: Sampled) -> Samples:
    """Decode the beginning of an asset, mono at RATE_HZ."""
    with extractor.open(asset.uri, content_of(connection, asset.asset_id)) as source:
        if asset.sha256 not in {None, source.sha256}:
            raise AudioError("the file is not what was stored", "ingest it again")
        return np.concatenate(list(decode(source.file, RATE_HZ, max_duration_sec=HEARD_SEC)))


def starts_in(
    sound: Samples,
    chooser: random.Random,
    passages: int,
    *,
    longest_sec: float = DURATIONS_SEC[-1],
) -> Iterator[int]:
    """Yield the samples where so many passages begin that somebody would ask about.

    Clips of `longest_sec` fit behind them, where the sound is long enough.
    """
    latest = max(0, len(sound) - math.ceil(longest_sec * FASTEST * RATE_HZ))
    shortest = round(DURATIONS_SEC[0] * RATE_HZ)
    for _ in range(passages):
        for _ in range(TRIES):
            start = chooser.randint(0, latest)
            heard = sound[start : start + shortest]
            if len(heard) == shortest and np.sqrt(np.mean(np.square(heard))) > QUIET:
                yield start
                break
