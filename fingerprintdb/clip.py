"""A clip that asks what it is, described as finely as the question needs."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from fingerprintdb.audio import Samples, decode
from fingerprintdb.embedding import Embedder
from fingerprintdb.extraction import (
    Timings,
    Windowing,
    booked,
    embed_windows,
    extract_embeddings,
    require_sound,
    shared_samples,
)
from fingerprintdb.landmarks import Landmarks, query_landmarks
from fingerprintdb.peaks import Constellation, find_peaks
from fingerprintdb.profile import PLAIN, Probe, Profile
from fingerprintdb.source import Source
from fingerprintdb.subfingerprints import SubFingerprints, query_sub_fingerprints
from fingerprintdb.warp import AS_RECORDED, Warp

MAX_SEC = 600.0
"""A clip is judged by its first ten minutes, so that a long one costs no more than that."""


@dataclass(frozen=True, slots=True)
class Windows:
    """Vectors (n, dims) of the windows of a clip that are not silent, and their starts."""

    vectors: npt.NDArray[np.float32]
    starts_sec: list[float]


@dataclass(frozen=True, slots=True)
class Clip:
    """The decoded sound of a question; what a stage of the search needs is made when it asks.

    `separator` names the plug-in that separates the windows' music from speech before they are
    embedded; landmarks and bits are of the whole sound.
    """

    source: Source
    samples: Samples
    profile: Profile
    timings: Timings
    separator: str | None = None
    _constellations: dict[tuple[int, int], Constellation] = field(default_factory=dict, repr=False)
    _sub_fingerprints: dict[Warp, SubFingerprints] = field(default_factory=dict, repr=False)

    @property
    def duration_sec(self) -> float:
        """Seconds of sound."""
        return len(self.samples) / self.profile.sample_rate_hz

    def landmarks(self, probe: Probe, warp: Warp = AS_RECORDED) -> Landmarks:
        """Return the landmarks to ask for, as they were before the warp."""
        with booked(self.timings, "landmarks"):
            peaks = self.constellation(probe)
            if warp != AS_RECORDED:
                peaks = unwarped(peaks, warp)
            return query_landmarks(peaks, self.profile, probe)

    def constellation(self, probe: Probe) -> Constellation:
        """Return the clip's peaks as densely as a probe wants them."""
        density = (probe.peaks_per_cell, probe.oversampling)
        if density not in self._constellations:
            self._constellations[density] = find_peaks(
                [self.samples],
                self.profile,
                peaks_per_cell=probe.peaks_per_cell,
                oversampling=probe.oversampling,
            )
        return self._constellations[density]

    def sub_fingerprints(self, warp: Warp = AS_RECORDED) -> SubFingerprints:
        """Return the clip's bits at every frame, as they were before the warp."""
        self.listen_for([warp])
        return self._sub_fingerprints[warp]

    def listen_for(self, warps: Iterable[Warp]) -> None:
        """Make the bits of several warps at once: those of one tempo share a spectrum."""
        new = [warp for warp in dict.fromkeys(warps) if warp not in self._sub_fingerprints]
        for tempo in dict.fromkeys(warp.tempo for warp in new):
            alike = [warp for warp in new if warp.tempo == tempo]
            with booked(self.timings, "sub_fingerprints"):
                made = query_sub_fingerprints(
                    self.samples,
                    self.profile,
                    pitches=[warp.pitch for warp in alike],
                    tempo=tempo,
                )
            self._sub_fingerprints.update(zip(alike, made, strict=True))

    def windows(self, embedder: Embedder) -> Windows:
        """Return the clip's vectors; decoded again where the model listens at another rate.

        Raises SeparatorError where the separator is not there or fails.
        """
        windowing = Windowing(separator=self.separator)
        shared = shared_samples(self.profile, embedder, windowing)
        if shared:
            heard = embed_windows(iter([self.samples[:shared]]), embedder, windowing, self.timings)
        else:
            heard = extract_embeddings(self.source, embedder, windowing, self.timings)
        spoken = [(s.start_sec, s.vector) for s in heard if s.vector is not None]
        if not spoken:
            return Windows(np.empty((0, embedder.dims), np.float32), [])
        return Windows(
            np.stack([vector for _, vector in spoken]), [start_sec for start_sec, _ in spoken]
        )


def hear(source: Source, profile: Profile, timings: Timings, separator: str | None = None) -> Clip:
    """Decode a clip, whose windows a separator is to clear of speech where one is named.

    Raises AudioError where there is nothing to ask with: no audio, silence, under 0.75 s.
    """
    with booked(timings, "decode"):
        samples = decoded(source, profile.sample_rate_hz)
    return sounding(Clip(source, samples, profile, timings, separator))


def decoded(source: Source, sample_rate_hz: int) -> Samples:
    """Return what a clip is judged by, as mono float32; AudioError as `decode`."""
    blocks = list(decode(source.file, sample_rate_hz, max_duration_sec=MAX_SEC))
    return np.concatenate(blocks) if blocks else np.empty(0, np.float32)


def sounding(clip: Clip) -> Clip:
    """Return a clip that there is something to ask with; else raise AudioError, as `hear`."""
    loudest = float(np.abs(clip.samples).max(initial=0.0))
    require_sound(clip.duration_sec, loudest, clip.landmarks(PLAIN))
    return clip


def unwarped(peaks: Constellation, warp: Warp) -> Constellation:
    """Return the peaks where the recording has them."""
    return replace(
        peaks,
        bins=(peaks.bins / np.float32(warp.pitch)).astype(np.float32),
        frames=np.rint(peaks.frames * warp.tempo).astype(np.int32),
        length_frames=round(peaks.length_frames * warp.tempo),
    )


def warps() -> Iterator[Warp]:
    """Yield the changes of speed, tempo and pitch that the last stage tries, likeliest first.

    Steps of 2.2 % leave at most 1.1 % of frequency, which landmarks bear; bits bear 5 % of
    tempo at half their strength (measured: z 19 of 60 on clean clips of five seconds).
    """
    changes = [1.022**step for step in (-1, 1, -2, 2, -3, 3)]
    yield from (Warp(change, change) for change in changes)
    yield from (Warp(1.0, tempo) for tempo in (0.95, 1.05, 0.9, 1.1))
    yield from (Warp(change, 1.0) for change in changes)
