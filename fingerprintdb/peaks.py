"""Finds the spectral peaks of a stream of samples: its constellation."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.fft import rfft
from scipy.ndimage import uniform_filter1d

from fingerprintdb.profile import Profile

Samples = npt.NDArray[np.float32]
Spectrogram = npt.NDArray[np.float32]

STRETCH_CELLS = 64
"""Cells worked on at once (about half a minute), so that memory does not grow with length."""

STRIP_ROWS = 64
"""Rows of a spectrogram whose maxima are sought at once: some 100 kB."""

FLOOR = 1e-10
"""Power added before the logarithm, 100 dB under full scale: digital silence has no peaks."""


@dataclass(frozen=True, slots=True)
class Constellation:
    """The peaks of a recording in order of time; three arrays of one length."""

    frames: npt.NDArray[np.int32]
    """Time of each peak, in frames (of a query: in frames divided by the oversampling)."""
    bins: npt.NDArray[np.float32]
    """Frequency of each peak, in STFT bins, interpolated."""
    prominences: npt.NDArray[np.float32]
    """Natural logarithm of power over the local level; greater is clearer."""
    length_frames: int
    """Frames in the whole recording, in the same unit as `frames`."""

    def __len__(self) -> int:
        """Count the peaks."""
        return len(self.frames)


def find_peaks(
    blocks: Iterable[Samples],
    profile: Profile,
    *,
    peaks_per_cell: int | None = None,
    oversampling: int = 1,
) -> Constellation:
    """Return the constellation of mono float32 `blocks` at the profile's sample rate.

    A peak is a local maximum of the log power spectrogram, counted by how far it rises over
    the mean of its surroundings in time and frequency; each band keeps the
    `peaks_per_cell` most prominent of each cell of time. So neither level nor the colour of
    the sound matters. The result does not depend on how the samples were cut into blocks.
    """
    keep = profile.peaks_per_cell if peaks_per_cell is None else peaks_per_cell
    context = (profile.level_frames // 2 + profile.neighbourhood_frames) * oversampling
    cell = profile.cell_frames * oversampling
    rows = _log_power(blocks, profile, profile.hop_samples // oversampling)
    found = []
    length = 0
    for first, log_power, inner in _stretches(rows, stretch=STRETCH_CELLS * cell, context=context):
        peaks = _local_maxima(log_power, profile, oversampling, inner)
        chosen = _most_prominent(*peaks, profile, cell=cell, keep=keep, origin=first)
        found.append(chosen)
        length = first + inner.stop
    frames, bins, prominences = (
        np.concatenate(parts) if parts else np.empty(0, np.float32)
        for parts in (zip(*found, strict=True) if found else ((), (), ()))
    )
    return Constellation(frames.astype(np.int32), bins, prominences, length)


def _log_power(
    blocks: Iterable[Samples], profile: Profile, hop_samples: int
) -> Iterator[Spectrogram]:
    """Yield rows of log power, one a frame, up to a little over the highest band."""
    size = profile.window_samples
    window = np.hanning(size + 1)[:-1].astype(np.float32) * np.float32(2 / size)
    bin_hz = profile.sample_rate_hz / size
    highest = int(profile.band_edges_hz[-1] / bin_hz) + profile.level_bins // 2 + 1
    rest = np.empty(0, np.float32)
    for block in blocks:
        samples = np.concatenate((rest, block))
        count = (len(samples) - size) // hop_samples + 1
        if count <= 0:
            rest = samples
            continue
        frames = np.lib.stride_tricks.sliding_window_view(samples, size)[::hop_samples]
        spectrum = rfft(frames * window, axis=1)[:, :highest]
        power = spectrum.real**2 + spectrum.imag**2
        yield np.log(power + np.float32(FLOOR))
        rest = samples[count * hop_samples :]


def _stretches(
    rows: Iterable[Spectrogram], *, stretch: int, context: int
) -> Iterator[tuple[int, Spectrogram, slice]]:
    """Yield (first frame, rows with context, the inner part) at fixed places in time.

    `first` is the frame of row 0; `inner` the rows that this stretch answers for. The places
    do not depend on how the rows arrived, so neither do the peaks.
    """
    buffer: list[Spectrogram] = []
    held = first = start = 0
    for part in rows:
        buffer.append(part)
        held += len(part)
        while held >= (start - first) + stretch + context:
            joined = np.concatenate(buffer)
            stop = start - first + stretch
            yield first, joined[: stop + context], slice(start - first, stop)
            start += stretch
            drop = max(0, start - context - first)
            buffer, held, first = [joined[drop:]], held - drop, first + drop
    if held > start - first:
        yield first, np.concatenate(buffer), slice(start - first, held)


def _local_maxima(
    log_power: Spectrogram, profile: Profile, oversampling: int, inner: slice
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return (row, interpolated bin, prominence) of every peak within the inner rows."""
    level = uniform_filter1d(log_power, profile.level_bins, axis=1, mode="nearest")
    level = uniform_filter1d(level, profile.level_frames * oversampling, axis=0, mode="nearest")
    highest = _greatest_around(
        log_power, profile.neighbourhood_frames * oversampling, profile.neighbourhood_bins
    )
    is_peak = (log_power == highest) & (log_power > level)
    is_peak[: inner.start] = False
    is_peak[inner.stop :] = False
    is_peak[:, 0] = is_peak[:, -1] = False
    row, column = np.nonzero(is_peak)
    left, top, right = (log_power[row, column + step] for step in (-1, 0, 1))
    curvature = left - 2 * top + right
    shift = np.where(curvature < 0, 0.5 * (left - right) / np.minimum(curvature, -1e-9), 0.0)
    bins = (column + np.clip(shift, -0.5, 0.5)).astype(np.float32)
    return row, bins, top - level[row, column]


def _greatest_around(values: Spectrogram, rows: int, columns: int) -> Spectrogram:
    """Return the greatest of each value and its neighbours, so many rows and columns either way.

    Strips stay in the cache of the processor: a quarter of the time of scipy's maximum_filter1d.
    """
    padded = np.pad(values, ((rows, rows), (columns, columns)), constant_values=-np.inf)
    found = np.empty_like(values)
    for first in range(0, len(values), STRIP_ROWS):
        strip = _greatest(padded[first : first + STRIP_ROWS + 2 * rows].T, 2 * columns).T
        found[first : first + STRIP_ROWS] = _greatest(strip, 2 * rows)
    return found


def _greatest(values: Spectrogram, more: int) -> Spectrogram:
    """Return the greatest of each row and `more` rows after it; windows double in width."""
    width = 1
    while more:
        step = min(width, more)
        values = np.maximum(values[:-step], values[step:])
        more, width = more - step, width + step
    return values


def _most_prominent(
    row: npt.NDArray[np.intp],
    bins: npt.NDArray[np.float32],
    prominence: npt.NDArray[np.float32],
    profile: Profile,
    *,
    cell: int,
    keep: int,
    origin: int,
) -> tuple[npt.NDArray[Any], npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Keep the `keep` most prominent peaks of each cell of time and band, in order of time."""
    frame = row + origin
    edges = np.asarray(profile.band_edges_hz) * profile.window_samples / profile.sample_rate_hz
    band = np.searchsorted(edges, bins, side="right")
    inside = (band > 0) & (band < len(edges))
    frame, band = frame[inside], band[inside]
    bins, prominence = bins[inside], prominence[inside]
    group = (frame // cell) * len(edges) + band
    order = np.lexsort((-prominence, group))
    chosen = np.sort(order[rank_in_group(group[order]) < keep])
    return frame[chosen], bins[chosen], prominence[chosen]


def rank_in_group(group: npt.NDArray[Any]) -> npt.NDArray[np.intp]:
    """Return the place (0, 1, …) of each element in its run of equal values."""
    index = np.arange(len(group))
    starts = np.flatnonzero(np.r_[True, group[1:] != group[:-1]]) if len(group) else index
    return index - np.repeat(starts, np.diff(np.r_[starts, len(group)]))
