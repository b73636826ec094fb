"""Runs a recording through the stages: decoding, landmarks, sub-fingerprints, embeddings."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice

import numpy as np
import numpy.typing as npt

from fingerprintdb import separation
from fingerprintdb.audio import AudioError, AudioInfo, Samples, decode, probe
from fingerprintdb.embedding import Embedder
from fingerprintdb.landmarks import Landmarks, reference_landmarks
from fingerprintdb.peaks import find_peaks
from fingerprintdb.profile import Profile
from fingerprintdb.segments import Segment, cut
from fingerprintdb.source import Source
from fingerprintdb.subfingerprints import (
    BandEnergies,
    SubFingerprints,
    reference_energies,
    reference_sub_fingerprints,
)
from fingerprintdb.warp import AS_RECORDED, Warp

MIN_DURATION_SEC = 0.75
"""Less sound than this holds too few landmarks to tell one recording from another."""

SILENT_PEAK = 1e-4
"""Peak level (−80 dB of full scale) under which a recording counts as silent."""

BATCH_SEGMENTS = 32
"""Windows embedded at a time: several batches of a CPU, half a GPU's, 31 MB of 48 kHz sound."""

LOUDNESS_DBFS = -20.0
"""RMS level (a full-scale square wave is 0 dB) to which a window is brought before it is embedded.

CLAP's log-mel spectrogram is absolute, so a recording's level would move its vectors; the built-in
embedder cancels level itself. Of 1,573 windows of 99 pieces the median lies at −20.6 dB (1 % to
99 %: −39 to −11), so the model hears music at its usual level; 97 % stay within full scale.
"""


@dataclass(slots=True)
class Timings:
    """Milliseconds by stage, in the order in which they were first spent."""

    ms: dict[str, float] = field(default_factory=dict)

    def add(self, stage: str, since: float) -> float:
        """Book the time since `since` (perf_counter) to a stage and return the time now."""
        now = time.perf_counter()
        self.ms[stage] = self.ms.get(stage, 0.0) + (now - since) * 1000
        return now

    def include(self, others: "Timings") -> None:
        """Book what was spent elsewhere."""
        for stage, ms in others.ms.items():
            self.ms[stage] = self.ms.get(stage, 0.0) + ms


@dataclass(frozen=True, slots=True)
class Windowing:
    """How a recording is cut for embedding: the columns of fpdb.asset of the same names.

    `separator` names the plug-in that separates each window's music from speech (see `separation`).
    """

    segment_duration_sec: float = 5.0
    segment_hop_sec: float = 2.5
    sample_rate_hz: int = 48_000
    normalize_embeddings: bool = True
    max_audio_length_sec: float | None = 120.0
    normalize_loudness: bool = True
    separator: str | None = None


@dataclass(frozen=True, slots=True)
class ReferenceLandmarks:
    """What the landmark job of a recording yields."""

    info: AudioInfo
    duration_sec: float
    landmarks: Landmarks
    sub_fingerprints: SubFingerprints


@dataclass(frozen=True, slots=True)
class EmbeddedSegment:
    """A window with its vector (dims,), which is None where the window is silent."""

    index: int
    start_sec: float
    end_sec: float
    vector: npt.NDArray[np.float32] | None
    processing_time_ms: float


class _Meter:
    """Measures blocks on their way and keeps the first `keep_samples`, to be heard again."""

    def __init__(self, blocks: Iterator[Samples], timings: Timings, keep_samples: int = 0) -> None:
        self._blocks = blocks
        self._timings = timings
        self._keep_samples = keep_samples
        self.kept: list[Samples] = []
        self.samples = 0
        self.peak = 0.0

    def __iter__(self) -> Iterator[Samples]:
        while True:
            began = time.perf_counter()
            block = next(self._blocks, None)
            self._timings.add("decode", began)
            if block is None:
                return
            if self.samples < self._keep_samples:
                self.kept.append(block)
            self.samples += len(block)
            self.peak = max(self.peak, float(np.abs(block).max(initial=0.0)))
            yield block


def extract_landmarks(
    source: Source, profile: Profile, timings: Timings, warp: Warp = AS_RECORDED
) -> ReferenceLandmarks:
    """Return the landmarks of a whole recording, as a warp plays it.

    Raises AudioError where there is nothing to fingerprint: no audio, silence, under 0.75 s.
    """
    blocks = decode(source.file, profile.sample_rate_hz, warp=warp)
    return _landmarks(source, profile, _Meter(blocks, timings), timings)


def extract_embeddings(
    source: Source,
    embedder: Embedder,
    windowing: Windowing,
    timings: Timings,
    warp: Warp = AS_RECORDED,
) -> list[EmbeddedSegment]:
    """Return the windows of a recording with their vectors, a batch in memory at a time."""
    blocks = decode(source.file, _rate_hz(embedder, windowing), warp=warp)
    return embed_windows(iter(_Meter(blocks, timings)), embedder, windowing, timings)


def extract(
    source: Source,
    profile: Profile,
    embedder: Embedder,
    windowing: Windowing,
    timings: Timings,
    warp: Warp = AS_RECORDED,
) -> tuple[ReferenceLandmarks, list[EmbeddedSegment]]:
    """Return both kinds of a recording, decoded once where both listen at one rate."""
    blocks = decode(source.file, profile.sample_rate_hz, warp=warp)
    meter = _Meter(blocks, timings, shared_samples(profile, embedder, windowing))
    found = _landmarks(source, profile, meter, timings)
    if meter.kept:
        return found, embed_windows(iter(meter.kept), embedder, windowing, timings)
    return found, extract_embeddings(source, embedder, windowing, timings, warp)


def _landmarks(
    source: Source, profile: Profile, meter: _Meter, timings: Timings
) -> ReferenceLandmarks:
    info = probe(source.file)
    energies = reference_energies(profile)
    with booked(timings, "landmarks"):
        peaks = find_peaks(_overheard(iter(meter), energies, timings), profile)
        landmarks = reference_landmarks(peaks, profile)
    duration_sec = meter.samples / profile.sample_rate_hz
    require_sound(duration_sec, meter.peak, landmarks)
    with booked(timings, "sub_fingerprints"):
        bits = reference_sub_fingerprints(energies, profile)
    return ReferenceLandmarks(info, duration_sec, landmarks, bits)


def _overheard(
    blocks: Iterator[Samples], energies: BandEnergies, timings: Timings
) -> Iterator[Samples]:
    """Let the bands hear the blocks that pass."""
    for block in blocks:
        began = time.perf_counter()
        energies.add(block)
        timings.add("sub_fingerprints", began)
        yield block


def embed_windows(
    blocks: Iterator[Samples], embedder: Embedder, windowing: Windowing, timings: Timings
) -> list[EmbeddedSegment]:
    """Return the windows of mono samples, at the rate that the embedder is given, embedded.

    A window that is silent, also once its music is separated, gets no vector. Raises
    SeparatorError where the separator is not there or fails.
    """
    separate = None if windowing.separator is None else separation.find(windowing.separator)
    rate_hz = _rate_hz(embedder, windowing)
    segments = cut(
        blocks,
        rate_hz,
        duration_sec=windowing.segment_duration_sec,
        hop_sec=windowing.segment_hop_sec,
        max_audio_length_sec=windowing.max_audio_length_sec,
    )
    embedded: list[EmbeddedSegment] = []
    while batch := list(islice(segments, BATCH_SEGMENTS)):
        if separate is not None:
            with booked(timings, "separation"):
                batch = [_separated(segment, separate, rate_hz) for segment in batch]
        embedded += _embed(batch, embedder, rate_hz, windowing, timings)
    return embedded


def _separated(segment: Segment, separate: separation.Separator, rate_hz: int) -> Segment:
    if segment.is_silent:
        return segment
    return replace(segment, samples=separate(segment.samples, rate_hz))


def _rate_hz(embedder: Embedder, windowing: Windowing) -> int:
    """Return the rate to decode at for an embedder.

    A model that listens lower than the asset asks for is given what it listens to; one that
    listens higher gets the sound band-limited as asked, at its own rate.
    """
    return min(windowing.sample_rate_hz, embedder.sample_rate_hz)


def shared_samples(profile: Profile, embedder: Embedder, windowing: Windowing) -> int:
    """Return how much of the landmarks' sound the embedder wants to hear: none at another rate."""
    cap_sec = windowing.max_audio_length_sec
    if cap_sec is None or _rate_hz(embedder, windowing) != profile.sample_rate_hz:
        return 0
    return round(cap_sec * profile.sample_rate_hz)


def _embed(
    batch: list[Segment],
    embedder: Embedder,
    rate_hz: int,
    windowing: Windowing,
    timings: Timings,
) -> list[EmbeddedSegment]:
    began = time.perf_counter()
    heard = [segment for segment in batch if not segment.is_silent]
    windows = [_resample(segment.samples, rate_hz, embedder.sample_rate_hz) for segment in heard]
    if windowing.normalize_loudness:
        windows = [_at_one_level(window) for window in windows]
    vectors = embedder.embed_audio(windows, normalize=windowing.normalize_embeddings)
    now = timings.add("embedding", began)
    each_ms = (now - began) * 1000 / max(1, len(heard))
    by_index = dict(zip((segment.index for segment in heard), vectors, strict=True))
    return [
        EmbeddedSegment(
            segment.index,
            segment.start_sec,
            segment.end_sec,
            by_index.get(segment.index),
            each_ms if segment.index in by_index else 0.0,
        )
        for segment in batch
    ]


def _resample(samples: Samples, from_hz: int, to_hz: int) -> Samples:
    if from_hz == to_hz:
        return samples
    # Few need it, and importing it takes a second.
    from scipy.signal import resample_poly  # noqa: PLC0415

    return np.asarray(resample_poly(samples, to_hz, from_hz), np.float32)


def _at_one_level(samples: Samples) -> Samples:
    """Return a window that is not silent at LOUDNESS_DBFS."""
    level = math.sqrt(float(np.mean(np.square(samples, dtype=np.float64))))
    return samples * np.float32(10 ** (LOUDNESS_DBFS / 20) / level)


@contextmanager
def booked(timings: Timings, stage: str) -> Iterator[None]:
    """Book the time of a block to a stage, less what was booked to others meanwhile."""
    began, others_ms = time.perf_counter(), sum(timings.ms.values())
    yield
    spent_ms = (time.perf_counter() - began) * 1000
    others_ms = sum(timings.ms.values()) - others_ms
    timings.ms[stage] = timings.ms.get(stage, 0.0) + spent_ms - others_ms


def require_sound(duration_sec: float, peak: float, landmarks: Landmarks) -> None:
    """Raise AudioError where there is too little to go by: too short, silent, without a peak."""
    if duration_sec < MIN_DURATION_SEC:
        raise AudioError(
            f"{duration_sec:.2f} s of sound is too short to fingerprint",
            f"supply at least {MIN_DURATION_SEC} s",
        )
    if peak < SILENT_PEAK or not len(landmarks):
        raise AudioError("the recording is silent", "supply one with sound")
