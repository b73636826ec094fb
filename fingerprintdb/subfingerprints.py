"""Turns samples into sub-fingerprints: the dense bits that verify what landmarks propose."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.fft import rfft
from scipy.ndimage import uniform_filter1d
from scipy.sparse import csr_array, vstack
from threadpoolctl import ThreadpoolController

from fingerprintdb.profile import Profile

Samples = npt.NDArray[np.float32]
Energies = npt.NDArray[np.float32]
Bits = npt.NDArray[np.uint8]

# Added to a band's energy over its mean before the logarithm: a pause 10 dB down is a pause.
_FLOOR: Final = 0.1
_SILENCE: Final = 1e-10
_ROWS_AT_ONCE: Final = 1024

# What a pause is written with, in turn: other bits in a reference than in a clip, so that two
# pauses agree by chance alone. Signs of nothing would be alike in all recordings that end.
_PAUSES: Final = 4096
_REFERENCE_PAUSE: Final = 1
_QUERY_PAUSE: Final = 2

PROJECTION_FILE: Final = "projection.npy"


@dataclass(frozen=True, slots=True)
class SubFingerprints:
    """Bits of a recording: uint8 (n, bits / 8), a row every `step_frames` from frame 0 on."""

    bits: Bits
    step_frames: int

    def __len__(self) -> int:
        """Count the sub-fingerprints."""
        return len(self.bits)


class BandEnergies:
    """Gathers the band energies of a stream of samples, 160 bytes a row.

    A row looks at `band_window_samples` from its place on. Energies are those of logarithmic,
    triangular bands of the power spectrum.
    """

    def __init__(
        self, profile: Profile, hop_samples: float, pitches: Sequence[float] = (1.0,)
    ) -> None:
        """Take a row every `hop_samples`; a pitch multiplies the frequencies of the bands.

        Several pitches share the spectrum, which takes four fifths of the time of one.
        """
        self._profile = profile
        self._hop_samples = hop_samples
        self._matrix = vstack([_band_matrix(profile, pitch) for pitch in pitches], format="csr")
        self._rest = np.empty(0, np.float32)
        self._first_sample = 0
        self._count = 0
        self._rows: list[Energies] = []

    def add(self, block: Samples) -> None:
        """Hear more mono samples at the profile's rate."""
        size = self._profile.band_window_samples
        samples = np.concatenate((self._rest, block))
        reachable = self._first_sample + len(samples) - size
        if reachable < round(self._count * self._hop_samples):
            self._rest = samples
            return
        last = int(reachable / self._hop_samples)
        while round((last + 1) * self._hop_samples) <= reachable:
            last += 1
        while round(last * self._hop_samples) > reachable:
            last -= 1
        places = np.rint(np.arange(self._count, last + 1) * self._hop_samples).astype(np.intp)
        frames = np.lib.stride_tricks.sliding_window_view(samples, size)
        window = _window(size)
        for start in range(0, len(places), _ROWS_AT_ONCE):
            chosen = places[start : start + _ROWS_AT_ONCE] - self._first_sample
            spectrum = rfft(frames[chosen] * window, axis=1)
            power = spectrum.real**2 + spectrum.imag**2
            self._rows.append((self._matrix @ power.T).T)
        self._count = last + 1
        keep = round(self._count * self._hop_samples) - self._first_sample
        self._rest = samples[max(0, keep) :]
        self._first_sample += len(samples) - len(self._rest)

    def rows(self, number: int = 0) -> Energies:
        """Return every row so far, float32 (n, bands), of the pitch of a number."""
        bands = self._profile.bands
        if not self._rows:
            return np.empty((0, bands), np.float32)
        return np.concatenate(
            [rows[:, number * bands : (number + 1) * bands] for rows in self._rows]
        )


def reference_energies(profile: Profile) -> BandEnergies:
    """Return what hears a reference."""
    return BandEnergies(profile, profile.hop_samples * profile.row_frames)


def reference_sub_fingerprints(energies: BandEnergies, profile: Profile) -> SubFingerprints:
    """Return the bits to store, one row every `sub_fingerprint_frames`."""
    step_rows = profile.sub_fingerprint_frames // profile.row_frames
    logs = _over_their_mean(energies.rows(), profile.band_mean_rows)
    bits = _project(logs, profile, spacing_rows=1, step_rows=step_rows, pause=_REFERENCE_PAUSE)
    return SubFingerprints(bits, profile.sub_fingerprint_frames)


def query_sub_fingerprints(
    samples: Samples, profile: Profile, *, pitches: Sequence[float] = (1.0,), tempo: float = 1.0
) -> list[SubFingerprints]:
    """Return the bits of a clip at every frame, as if its tempo were the recording's, by pitch.

    Each of `pitches` and `tempo` say how many times the recording's the clip's are. Any offset in
    frames then finds the clip's bits at the very places where the recording's lie.
    """
    energies = BandEnergies(profile, profile.hop_samples / tempo, pitches)
    energies.add(samples)
    mean_rows = profile.band_mean_rows * profile.row_frames | 1
    found = []
    for number in range(len(pitches)):
        logs = _over_their_mean(energies.rows(number), mean_rows)
        bits = _project(
            logs, profile, spacing_rows=profile.row_frames, step_rows=1, pause=_QUERY_PAUSE
        )
        found.append(SubFingerprints(bits, step_frames=1))
    return found


def patches(logs: Energies, profile: Profile, *, spacing_rows: int, step_rows: int) -> Energies:
    """Return what the projection sees: (n, patch_rows × bands), each band less its mean.

    Rows of a patch are `spacing_rows` apart, and patches begin every `step_rows`.
    """
    reach = (profile.patch_rows - 1) * spacing_rows
    starts = np.arange(0, max(0, len(logs) - reach), step_rows)
    chosen = logs[starts[:, None] + spacing_rows * np.arange(profile.patch_rows)]
    chosen = chosen - chosen.mean(axis=1, keepdims=True)
    size = profile.patch_rows * profile.bands
    return np.asarray(chosen.reshape(len(starts), size), np.float32)


def query_patches(samples: Samples, profile: Profile) -> Energies:
    """Return the patches of a clip at every frame, for learning the projection."""
    energies = BandEnergies(profile, profile.hop_samples)
    energies.add(samples)
    logs = _over_their_mean(energies.rows(), profile.band_mean_rows * profile.row_frames | 1)
    return patches(logs, profile, spacing_rows=profile.row_frames, step_rows=1)


@lru_cache(maxsize=1)
def projection() -> npt.NDArray[np.float32]:
    """Return the learned matrix (patch_rows × bands, bits), the most telling bits first."""
    with resources.files("fingerprintdb").joinpath(PROJECTION_FILE).open("rb") as file:
        return np.asarray(np.load(file, allow_pickle=False), np.float32)


def _project(
    logs: Energies, profile: Profile, *, spacing_rows: int, step_rows: int, pause: int
) -> Bits:
    matrix = projection()[:, : profile.sub_fingerprint_bits]
    found: list[Bits] = []
    written = 0
    for start in range(0, len(logs), _ROWS_AT_ONCE * step_rows):
        reach = (profile.patch_rows - 1) * spacing_rows
        part = logs[start : start + _ROWS_AT_ONCE * step_rows + reach]
        seen = patches(part, profile, spacing_rows=spacing_rows, step_rows=step_rows)
        seen = seen[:_ROWS_AT_ONCE]
        with _one_thread().limit(limits=1):
            bits = np.packbits(seen @ matrix > 0, axis=1)
        flat = np.flatnonzero(np.square(seen).mean(axis=1) < profile.least_patch_rms**2)
        bits[flat] = _pauses(pause, bits.shape[1])[(written + flat) % _PAUSES]
        written += len(bits)
        found.append(bits)
    width = profile.sub_fingerprint_bits // 8
    return np.concatenate(found) if found else np.empty((0, width), np.uint8)


@lru_cache(maxsize=8)
def _pauses(seed: int, width: int) -> Bits:
    return np.random.default_rng(seed).integers(0, 256, (_PAUSES, width), np.uint8)


def _over_their_mean(energies: Energies, mean_rows: int) -> Energies:
    """Return the logarithm of each band's energy over its mean of the seconds around."""
    if not len(energies):
        return energies
    mean = uniform_filter1d(energies, mean_rows, axis=0, mode="reflect")
    return np.asarray(np.log(energies / (mean + _SILENCE) + _FLOOR), np.float32)


@lru_cache(maxsize=1)
def _one_thread() -> ThreadpoolController:
    """Return what keeps a small product on one core: on two busy ones, threads that wait for each
    other made it 40 times as slow.
    """
    return ThreadpoolController()


@lru_cache(maxsize=4)
def _window(size: int) -> npt.NDArray[np.float32]:
    return np.hanning(size + 1)[:-1].astype(np.float32) * np.float32(2 / size)


@lru_cache(maxsize=32)
def _band_matrix(profile: Profile, pitch: float) -> "csr_array[np.float32]":
    """Return the weights (bands, FFT bins); a band narrower than a bin is read between two.

    Sparse, as hardly two weights a bin are not 0: a tenth of the time of a full product.
    """
    bin_hz = profile.sample_rate_hz / profile.band_window_samples
    bins_hz = np.arange(profile.band_window_samples // 2 + 1) * bin_hz
    low_hz, high_hz = profile.bands_hz
    steps = np.arange(profile.bands + 2) / (profile.bands + 1)
    edges_hz = np.minimum(low_hz * (high_hz / low_hz) ** steps * pitch, bins_hz[-2])
    matrix = np.zeros((profile.bands, len(bins_hz)), np.float32)
    for band in range(profile.bands):
        left, centre, right = edges_hz[band : band + 3]
        rising = (bins_hz - left) / max(centre - left, 1e-9)
        falling = (right - bins_hz) / max(right - centre, 1e-9)
        weights = np.clip(np.minimum(rising, falling), 0, None)
        if weights.sum() < 0.5:
            below = int(centre / bin_hz)
            weights[:] = 0
            weights[below + 1] = centre / bin_hz - below
            weights[below] = 1 - weights[below + 1]
        matrix[band] = weights
    return csr_array(matrix)
