"""Measures how well and how fast a database identifies clips of its own recordings."""

import random
import time
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Event

import numpy as np
from psycopg_pool import ConnectionPool

from fingerprintdb.audio import AudioError, Samples
from fingerprintdb.calibration import RATE_HZ, Skipped, sound_of, starts_in
from fingerprintdb.clip import hear
from fingerprintdb.degradation import degrade
from fingerprintdb.encoding import encode
from fingerprintdb.errors import FingerprintError
from fingerprintdb.extraction import Timings
from fingerprintdb.extractor import Extractor
from fingerprintdb.identification import identify
from fingerprintdb.store.calibration import Sampled
from fingerprintdb.store.database import Connection
from fingerprintdb.store.match import Match, Scope
from fingerprintdb.store.profile import active_profile
from fingerprintdb.store.stopwatch import timed
from fingerprintdb.strangers import holds, is_one_sound

CONDITIONS = ("clean", "mp3 32", "pink 10 dB", "pink 0 dB", "room 5 dB")
"""What is done to clips: nothing, a poor codec, noise, as much noise as sound, a room."""

NOT_STORED = "not stored"
"""The condition of negatives, in tables."""

PERCENTILES = (50, 95, 99)


class MeasurementError(FingerprintError):
    """A collection that nothing can be measured on."""


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A clip of an asset, as a wav file of 44,100 Hz, mono, and the same passage unspoilt."""

    asset: Sampled
    condition: str
    start_sec: float
    duration_sec: float
    path: Path
    clean: Path
    is_negative: bool = False
    """Whether it is asked about as if its asset were not stored."""


@dataclass(slots=True)
class Excerpts:
    """The clips cut out of assets, and the assets that gave none."""

    clips: list[Excerpt] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Asked:
    """What one question gave, and what it took, in milliseconds; `outcome` is right, wrong, missed.

    A negative is right without an answer and wrong with one, unless what is named holds the same
    sound: that is `shared`.
    """

    excerpt: Excerpt
    outcome: str
    elapsed_ms: float
    database_ms: float
    named: Match | None = None


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds that so many in a hundred questions stay under."""

    p50_ms: float
    p95_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class Cell:
    """What all questions of one kind gave; `missed` ones were not answered."""

    condition: str
    duration_sec: float
    clips: int
    right: int
    wrong: int
    missed: int
    shared: int
    latency: Latency
    database: Latency
    """The part of the latency that was spent waiting for the database."""


@dataclass(frozen=True, slots=True)
class Throughput:
    """What so many clients at once get."""

    clients: int
    requests: int
    elapsed_sec: float
    latency: Latency

    @property
    def requests_per_sec(self) -> float:
        """Answers a second, of all clients together."""
        return self.requests / self.elapsed_sec


def latency_of(milliseconds: Iterable[float]) -> Latency:
    """Return the percentiles of times; a percentile between two of them is interpolated."""
    return Latency(*map(float, np.percentile(list(milliseconds), PERCENTILES)))


def cells(asked: Iterable[Asked]) -> list[Cell]:
    """Return what came of positives by condition and length, then of negatives by length."""
    kinds: dict[tuple[str, float], list[Asked]] = {}
    for one in asked:
        condition = NOT_STORED if one.excerpt.is_negative else one.excerpt.condition
        kinds.setdefault((condition, one.excerpt.duration_sec), []).append(one)
    order = (*CONDITIONS, NOT_STORED)
    found = []
    for condition, duration_sec in sorted(kinds, key=lambda kind: (order.index(kind[0]), kind[1])):
        ones = kinds[condition, duration_sec]
        counts = Counter(one.outcome for one in ones)
        found.append(
            Cell(
                condition,
                duration_sec,
                len(ones),
                counts["right"],
                counts["wrong"],
                counts["missed"],
                counts["shared"],
                latency_of(one.elapsed_ms for one in ones),
                latency_of(one.database_ms for one in ones),
            )
        )
    return found


def cut(
    connection: Connection,
    extractor: Extractor,
    asset: Sampled,
    folder: Path,
    *,
    durations_sec: Sequence[float],
    seed: int,
    stopped: Event,
) -> Excerpts:
    """Cut one passage of an asset to every length, under every condition, into files in a folder.

    A clip of each length, under a condition that chance names, is a negative as well.
    """
    chooser = random.Random(f"{seed} {asset.asset_id}")  # noqa: S311 — repeatable, not secret
    found = Excerpts()
    try:
        sound = sound_of(connection, extractor, asset)
        start = next(starts_in(sound, chooser, 1, longest_sec=max(durations_sec)), None)
        if start is None:
            raise AudioError("no passage of it is loud and long enough to ask about")
    except FingerprintError as error:
        found.skipped.append(Skipped(asset.asset_id, asset.uri, str(error)))
        return found
    for duration_sec in durations_sec:
        passage = sound[start : start + round(duration_sec * RATE_HZ)]
        if stopped.is_set() or len(passage) < round(duration_sec * RATE_HZ):
            break
        clips = list(_spoilt(asset, passage, start, folder))
        found.clips += clips
        if asset.has_strangers:
            found.clips.append(replace(chooser.choice(clips), is_negative=True))
    if not found.clips:
        reason = f"it is shorter than {min(durations_sec):g} s"
        found.skipped.append(Skipped(asset.asset_id, asset.uri, reason))
    return found


def require_any(found: Excerpts) -> None:
    """Raise MeasurementError where there is no clip to ask about."""
    if found.clips:
        return
    if not found.skipped:
        raise MeasurementError(
            "no recording is ready to cut clips of",
            "bring some in with `fpdb ingest`; `fpdb status` tells how far queued ones are",
        )
    raise MeasurementError(
        f"none of {len(found.skipped)} recordings can be cut clips of; asset"
        f" {found.skipped[0].asset_id}: {found.skipped[0].reason}",
        "measure where the files are, or name another --collection or --seconds",
    )


def ask(
    connection: Connection, extractor: Extractor, excerpt: Excerpt, *, collection: str | None
) -> Asked:
    """Identify a clip as `fpdb identify` does, in a collection, and say whether that was right."""
    asset = excerpt.asset
    exclude = asset.asset_id if excerpt.is_negative else None
    scope = Scope(k=1 + len(asset.kin), collection=collection, exclude_asset=exclude)
    began = time.perf_counter()
    with timed(connection) as stopwatch:
        matches = identify(connection, extractor, scope, uri=str(excerpt.path)).answer.matches
    elapsed_ms = (time.perf_counter() - began) * 1000
    own = {asset.asset_id, *asset.kin}
    if excerpt.is_negative:
        named = next((match for match in matches if match.asset_id not in own), None)
        outcome = "right"
        if named is not None:
            shared = _is_shared(connection, extractor, excerpt, named, scope)
            outcome = "shared" if shared else "wrong"
    else:
        named = matches[0] if matches else None
        outcome = "missed" if named is None else "right" if named.asset_id in own else "wrong"
    return Asked(excerpt, outcome, elapsed_ms, stopwatch.elapsed_ms, named)


def load(
    connections: ConnectionPool[Connection],
    extractor: Extractor,
    clips: Sequence[Excerpt],
    *,
    collection: str | None,
    clients: int,
) -> Throughput:
    """Ask all clips once, so many clients at a time, each with a connection of its own.

    Clients are threads of this process, as those of `fpdb serve` are.
    """
    scope = Scope(k=1, collection=collection)
    stopped = Event()

    def one(excerpt: Excerpt) -> float:
        began = time.perf_counter()
        if not stopped.is_set():
            with connections.connection() as connection:
                identify(connection, extractor, scope, uri=str(excerpt.path))
        return (time.perf_counter() - began) * 1000

    with ThreadPoolExecutor(clients) as executor:
        began = time.perf_counter()
        try:
            spent_ms = list(executor.map(one, clips))
        except BaseException:
            stopped.set()
            raise
        elapsed_sec = time.perf_counter() - began
    return Throughput(clients, len(spent_ms), elapsed_sec, latency_of(spent_ms))


def _spoilt(asset: Sampled, passage: Samples, start: int, folder: Path) -> Iterator[Excerpt]:
    """Write a passage, under every condition, and yield the clips."""
    duration_sec, start_sec = len(passage) / RATE_HZ, start / RATE_HZ
    clean = folder / f"{asset.asset_id}-{duration_sec:g}-clean.wav"
    for condition in CONDITIONS:
        path = clean.with_name(clean.name.replace("clean", condition.replace(" ", "-")))
        seed = zlib.crc32(f"{asset.asset_id} {start} {duration_sec} {condition}".encode())
        encode(path, degrade(passage, RATE_HZ, condition, seed), RATE_HZ)
        yield Excerpt(asset, condition, start_sec, duration_sec, path, clean)


def _is_shared(
    connection: Connection, extractor: Extractor, excerpt: Excerpt, named: Match, scope: Scope
) -> bool:
    """Whether what a negative was taken for holds its passage, which what was done to it hides."""
    profile = active_profile(connection)[1]
    if is_one_sound(named, profile):
        return True
    with extractor.open(str(excerpt.clean)) as source:
        return holds(connection, named.asset_id, hear(source, profile, Timings()), scope)
