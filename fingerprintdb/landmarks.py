"""Pairs peaks into landmarks and packs each into an integer hash."""

from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt

from fingerprintdb.peaks import Constellation, rank_in_group
from fingerprintdb.profile import Probe, Profile

FREQUENCY_BITS, DIFFERENCE_BITS, TIME_BITS = 10, 8, 6
"""The fields of a hash, highest first: anchor's frequency, difference in frequency, in time."""

PROBES_A_PAIR = 4
"""Hashes that a pair of a query asks for, with its neighbours over the borders (measured: 3.4)."""

Integers = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Landmarks:
    """Hashes with the frame of their anchor; two int32 arrays of one length."""

    hashes: Integers
    frames: Integers

    def __len__(self) -> int:
        """Count the landmarks."""
        return len(self.hashes)


def pack(frequency: Integers, difference: Integers, time: Integers) -> Integers:
    """Pack half bins (0…1023), their difference (−128…127) and frames (0…63) into 24 bits."""
    hashes = (frequency << DIFFERENCE_BITS | difference + (1 << DIFFERENCE_BITS - 1)) << TIME_BITS
    return np.asarray(hashes | time, np.int32)


def unpack(hashes: Integers) -> tuple[Integers, Integers, Integers]:
    """Return (frequency, difference, time) of packed hashes: the inverse of `pack`."""
    time = hashes & (1 << TIME_BITS) - 1
    difference = (hashes >> TIME_BITS) & (1 << DIFFERENCE_BITS) - 1
    frequency = hashes >> TIME_BITS + DIFFERENCE_BITS
    return frequency, difference - (1 << DIFFERENCE_BITS - 1), time


def reference_landmarks(peaks: Constellation, profile: Profile) -> Landmarks:
    """Return the landmarks to store: each anchor with its most prominent targets.

    Anchor and target pairs after Wang, "An Industrial-Strength Audio Search Algorithm"
    (ISMIR 2003); targets are chosen by prominence instead of nearness, because the
    prominent ones are those that a noisy query still holds.
    """
    anchor, target = _pairs(peaks, profile, oversampling=1, fan_out=profile.fan_out)
    frequency = np.floor(2 * peaks.bins).astype(np.int32)
    difference = np.rint(2 * (peaks.bins[target] - peaks.bins[anchor])).astype(np.int32)
    time = peaks.frames[target] - peaks.frames[anchor]
    return Landmarks(pack(frequency[anchor], difference, time), peaks.frames[anchor])


def query_landmarks(peaks: Constellation, profile: Profile, probe: Probe) -> Landmarks:
    """Return the landmarks to ask for; frames are the profile's, whatever the oversampling.

    Where a frequency lies near a border of quantisation, or a time between two frames, the
    neighbouring value is asked too: noise moves a peak by a fraction of a bin.
    """
    anchor, target = _pairs(peaks, profile, oversampling=probe.oversampling, fan_out=probe.fan_out)
    # A long clip has agreements to spare: every so many anchors are asked, evenly over time.
    step = -(-len(anchor) * PROBES_A_PAIR // probe.max_hashes)
    if step > 1:
        asked_for = anchor % step == 0
        anchor, target = anchor[asked_for], target[asked_for]
    half_bins = 2 * peaks.bins[anchor]
    widths = 2 * (peaks.bins[target] - peaks.bins[anchor])
    steps = peaks.frames[target] - peaks.frames[anchor]
    frames = peaks.frames[anchor] // probe.oversampling
    hashes, asked = [], []
    for frequency, difference, time in product(
        _quantised(half_bins - 0.5, probe.border),
        _quantised(widths, probe.border),
        _between(steps, probe.oversampling),
    ):
        used = frequency[1] & difference[1] & time[1]
        used &= (frequency[0] >= 0) & (time[0] >= 1) & (time[0] <= profile.target_frames)
        hashes.append(pack(frequency[0][used], difference[0][used], time[0][used]))
        asked.append(frames[used])
    return _at_most(
        probe.max_hashes,
        Landmarks(np.concatenate(hashes), np.concatenate(asked).astype(np.int32)),
    )


def _at_most(count: int, landmarks: Landmarks) -> Landmarks:
    """Leave some out, evenly over time, where more lay near a border than is usual."""
    if len(landmarks) <= count:
        return landmarks
    in_time = np.argsort(landmarks.frames, kind="stable")
    kept = in_time[np.arange(count) * len(in_time) // count]
    return Landmarks(landmarks.hashes[kept], landmarks.frames[kept])


Choice = tuple[Integers, npt.NDArray[np.bool_]]


def _quantised(values: npt.NDArray[np.float32], border: float) -> tuple[Choice, Choice]:
    """Return the nearest integers, and the second nearest where they are near a border."""
    nearest = np.rint(values)
    other = np.where(values > nearest, nearest + 1, nearest - 1)
    near = np.abs(values - nearest) > 0.5 - border
    return (nearest.astype(np.int32), np.ones(len(values), np.bool_)), (
        other.astype(np.int32),
        near,
    )


def _between(steps: Integers, oversampling: int) -> tuple[Choice, Choice]:
    """Return whole frames below and, where the steps are not whole, above."""
    below = steps // oversampling
    return (below, np.ones(len(steps), np.bool_)), (below + 1, steps % oversampling > 0)


def _pairs(
    peaks: Constellation, profile: Profile, *, oversampling: int, fan_out: int
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return indexes of (anchor, target): at most `fan_out` most prominent targets each."""
    last = np.searchsorted(
        peaks.frames, peaks.frames + profile.target_frames * oversampling, side="right"
    )
    first = np.searchsorted(peaks.frames, peaks.frames + oversampling, side="left")
    counts = np.maximum(last - first, 0)
    anchor = np.repeat(np.arange(len(peaks)), counts)
    target = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts - first, counts)
    in_zone = np.abs(peaks.bins[target] - peaks.bins[anchor]) <= profile.target_bins
    anchor, target = anchor[in_zone], target[in_zone]
    order = np.lexsort((-peaks.prominences[target], anchor))
    chosen = order[rank_in_group(anchor[order]) < fan_out]
    return anchor[chosen], target[chosen]
