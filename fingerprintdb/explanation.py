"""Says in numbers why a clip matched an asset: what both hold, at which offset, how well."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.fft import rfft

from fingerprintdb.cascade import searches
from fingerprintdb.clip import Clip
from fingerprintdb.landmarks import Landmarks, unpack
from fingerprintdb.profile import PLAIN, QUICK, WIDE, Probe, Profile
from fingerprintdb.store.database import Connection
from fingerprintdb.store.inspection import StoredBits, read_landmarks, read_sub_fingerprints
from fingerprintdb.store.match import Match
from fingerprintdb.votes import Histogram, cast_votes
from fingerprintdb.warp import AS_RECORDED, Warp

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Alignment:
    """How a clip lies on a recording: offset = reference time − query time, the warp undone."""

    offset_frames: int
    warp: Warp = AS_RECORDED
    probe: Probe = QUICK


@dataclass(frozen=True, slots=True)
class Points:
    """Places in a clip's spectrogram: seconds of the clip and Hz, two arrays of one length."""

    times_sec: Floats
    frequencies_hz: Floats

    def __len__(self) -> int:
        """Count the points."""
        return len(self.times_sec)

    def where(self, chosen: npt.NDArray[np.bool_]) -> "Points":
        """Return some of the points."""
        return Points(self.times_sec[chosen], self.frequencies_hz[chosen])


@dataclass(frozen=True, slots=True)
class Spectrogram:
    """Level (frames, bins) in dB of full scale; frame 0 has its middle at `first_sec`."""

    decibels: npt.NDArray[np.float32]
    first_sec: float
    frame_sec: float
    bin_hz: float


@dataclass(frozen=True, slots=True)
class BitErrors:
    """Bit error rates of a clip's sub-fingerprints, at the middle of the time that each sees."""

    times_sec: Floats
    rates: Floats
    is_judged: npt.NDArray[np.bool_]
    """Those that the match was judged by: its span, and at least ten seconds around its middle."""
    chance_rate: float | None
    """The least mean that chance would give any alignment tried; None where nothing was tried."""

    @property
    def mean(self) -> float | None:
        """The bit error rate that the match was judged by."""
        return float(self.rates[self.is_judged].mean()) if self.is_judged.any() else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What there is to see of a clip laid on a recording; all times are seconds of the clip."""

    alignment: Alignment
    offset_sec: float
    duration_sec: float
    frame_sec: float
    spectrogram: Spectrogram
    clip_peaks: Points
    reference_peaks: Points
    is_shared: npt.NDArray[np.bool_]
    """Which of the reference's peaks the clip has too."""
    anchors: Points
    """Of the reference's landmarks that the clip has at the alignment, one each."""
    targets: Points
    histogram: Histogram
    peak_frames: int
    """The offset of most votes where the clip lies; bits may place it three frames beside."""
    bit_errors: BitErrors

    @property
    def aligned_landmarks(self) -> int:
        """Votes for the alignment, as fpdb.match counts them."""
        return self.histogram.at(self.peak_frames)


def explain_match(
    connection: Connection, clip: Clip, asset_id: int, match: Match | None
) -> Explanation:
    """Return why a clip matched an asset or, without a match, what comes nearest to one in it."""
    stored = read_landmarks(connection, asset_id)
    alignment = likeliest(clip, stored) if match is None else alignment_of(match, clip.profile)
    first = alignment.offset_frames
    last = first + round(clip.duration_sec * alignment.warp.tempo / clip.profile.frame_sec)
    bits = read_sub_fingerprints(connection, asset_id, (first, last), clip.profile)
    return explain(clip, alignment, stored, bits, match)


def alignment_of(match: Match, profile: Profile) -> Alignment:
    """Return where a match lies, in frames."""
    evidence = match.evidence
    return Alignment(
        round(match.offset_sec / profile.frame_sec),
        Warp(evidence.pitch, evidence.tempo),
        {"plain": QUICK, "wide": WIDE}.get(evidence.stage, PLAIN),
    )


def likeliest(clip: Clip, stored: Landmarks) -> Alignment:
    """Return where votes exceed chance most, in any search that the cascade would make."""
    best, most = Alignment(0), -np.inf
    for step in searches():
        votes = cast_votes(clip.landmarks(step.probe, step.warp), stored).histogram()
        offset_frames = votes.best()
        excess = np.sqrt(votes.at(offset_frames)) - np.sqrt(votes.chance_votes)
        if excess > most and votes.at(offset_frames):
            best, most = Alignment(offset_frames, step.warp, step.probe), excess
    return best


def explain(
    clip: Clip, alignment: Alignment, stored: Landmarks, bits: StoredBits, match: Match | None
) -> Explanation:
    """Return what a clip and the landmarks and bits stored of an asset have in common."""
    profile, probe = clip.profile, alignment.probe
    view = _View(clip, alignment)
    votes = cast_votes(clip.landmarks(probe, alignment.warp), stored)
    histogram = votes.histogram()
    if match is not None and match.evidence.chance_landmarks is not None:
        histogram = replace(histogram, chance_votes=match.evidence.chance_landmarks)
    peak_frames = histogram.best_near(alignment.offset_frames)
    peaks = clip.constellation(probe)
    clip_peaks = view.points(peaks.frames / probe.oversampling, peaks.bins)
    reference_peaks = view.peaks(stored)
    agreed = votes.landmarks_at(peak_frames)
    anchors, targets = view.ends(Landmarks(stored.hashes[agreed], stored.frames[agreed]))
    return Explanation(
        alignment=alignment,
        offset_sec=alignment.offset_frames * profile.frame_sec,
        duration_sec=clip.duration_sec,
        frame_sec=profile.frame_sec,
        spectrogram=_spectrogram(clip),
        clip_peaks=clip_peaks,
        reference_peaks=reference_peaks,
        is_shared=_is_among(reference_peaks, clip_peaks, profile),
        anchors=anchors,
        targets=targets,
        histogram=histogram,
        peak_frames=peak_frames,
        bit_errors=_bit_errors(clip, alignment, bits, match),
    )


@dataclass(frozen=True, slots=True)
class _View:
    """Puts what the reference holds where the clip has it."""

    clip: Clip
    alignment: Alignment

    def points(self, frames: npt.ArrayLike, bins: npt.ArrayLike) -> Points:
        """Return frames (the middles of their windows) and bins of the clip in its units."""
        profile = self.clip.profile
        middle_sec = profile.window_samples / 2 / profile.sample_rate_hz
        bin_hz = profile.sample_rate_hz / profile.window_samples
        return Points(
            np.asarray(frames, np.float64) * profile.frame_sec + middle_sec,
            np.asarray(bins, np.float64) * bin_hz,
        )

    def warped(self, frames: npt.ArrayLike, half_bins: npt.ArrayLike) -> Points:
        """Return frames and half bins of the reference where the clip has them."""
        warp = self.alignment.warp
        return self.points(
            (np.asarray(frames) - self.alignment.offset_frames) / warp.tempo,
            np.asarray(half_bins) / 2 * warp.pitch,
        )

    def ends(self, landmarks: Landmarks) -> tuple[Points, Points]:
        """Return the anchors and the targets of the reference's landmarks."""
        frequency, difference, time = unpack(landmarks.hashes)
        middle = frequency + 0.5  # a hash holds the half bin below
        return (
            self.warped(landmarks.frames, middle),
            self.warped(landmarks.frames + time, middle + difference),
        )

    def peaks(self, landmarks: Landmarks) -> Points:
        """Return the peaks that the reference's landmarks name, within the clip, each once."""
        length_frames = self.clip.duration_sec * self.alignment.warp.tempo
        length_frames /= self.clip.profile.frame_sec
        frequency, difference, time = unpack(landmarks.hashes)
        frames = np.concatenate((landmarks.frames, landmarks.frames + time))
        half_bins = np.concatenate((frequency, frequency + difference)) + 0.5
        ahead = frames - self.alignment.offset_frames
        inside = (ahead >= 0) & (ahead < length_frames)
        both = np.unique(np.stack((frames[inside], half_bins[inside])), axis=1)
        # The frequency of a target is its anchor's and a difference, each rounded; two peaks of one
        # frame are three bins apart.
        begins = np.ones(both.shape[1], np.bool_)
        begins[1:] = (np.diff(both[0]) > 0) | (np.diff(both[1]) > 2)
        return self.warped(*both[:, begins])


def _is_among(points: Points, others: Points, profile: Profile) -> npt.NDArray[np.bool_]:
    """Say which points have another within two frames and a bin."""
    reach_sec, reach_hz = 2 * profile.frame_sec, profile.sample_rate_hz / profile.window_samples
    since = np.searchsorted(others.times_sec, points.times_sec - 1.01 * reach_sec)
    upto = np.searchsorted(others.times_sec, points.times_sec + 1.01 * reach_sec)
    return np.array(
        [
            bool(np.any(np.abs(others.frequencies_hz[low:high] - hz) <= reach_hz))
            for low, high, hz in zip(since, upto, points.frequencies_hz, strict=True)
        ],
        np.bool_,
    )


def _bit_errors(
    clip: Clip, alignment: Alignment, bits: StoredBits, match: Match | None
) -> BitErrors:
    profile = clip.profile
    asked = clip.sub_fingerprints(alignment.warp).bits
    numbers = bits.first + np.arange(len(bits.bits))
    frames = numbers * profile.sub_fingerprint_frames - alignment.offset_frames
    inside = (frames >= 0) & (frames < len(asked))
    frames = frames[inside]
    # What each sees begins at its frame: rows at the clip's own speed, and the last one's window.
    wrong = np.bitwise_count(bits.bits[inside] ^ asked[frames]).sum(axis=1)
    reach_samples = (profile.patch_rows - 1) * profile.row_frames * profile.hop_samples
    middle_sec = (reach_samples / alignment.warp.tempo + profile.band_window_samples) / 2
    middle_sec /= profile.sample_rate_hz
    return BitErrors(
        np.asarray(frames * profile.frame_sec / alignment.warp.tempo + middle_sec, np.float64),
        np.asarray(wrong / profile.sub_fingerprint_bits, np.float64),
        _is_judged(frames, match, profile),
        match.evidence.chance_bit_error_rate if match else None,
    )


def _is_judged(frames: Integers, match: Match | None, profile: Profile) -> npt.NDArray[np.bool_]:
    """Say which frames fpdb.evidence compared; a match that was refined is judged by all."""
    everything = np.ones(len(frames), np.bool_)
    if match is None or match.evidence.compared_sub_fingerprints == 0:
        return everything
    ends_sec = np.array([match.query_start_sec, match.query_end_sec]) * match.evidence.tempo
    first, last = np.rint(ends_sec / profile.frame_sec).astype(int) - (0, 1)
    middle, around = (first + last) // 2, round(5 / profile.frame_sec)
    inside = (frames >= min(first, middle - around)) & (frames <= max(last, middle + around))
    compared = match.evidence.compared_sub_fingerprints
    return inside if abs(int(inside.sum()) - compared) <= 1 else everything


def _spectrogram(clip: Clip) -> Spectrogram:
    profile = clip.profile
    size = profile.window_samples
    bin_hz = profile.sample_rate_hz / size
    window = np.hanning(size + 1)[:-1].astype(np.float32) * np.float32(2 / size)
    frames = np.lib.stride_tricks.sliding_window_view(clip.samples, size)[:: profile.hop_samples]
    spectrum = np.abs(rfft(frames * window, axis=1))[:, : int(profile.band_edges_hz[-1] / bin_hz)]
    return Spectrogram(
        (20 * np.log10(spectrum + 1e-5)).astype(np.float32),
        size / 2 / profile.sample_rate_hz,
        profile.frame_sec,
        bin_hz,
    )
