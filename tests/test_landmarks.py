"""Landmarks pack without loss, keep to their zone and their budget, and survive a shift in time."""

from dataclasses import fields, replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from fingerprintdb.landmarks import (
    Landmarks,
    pack,
    query_landmarks,
    reference_landmarks,
    unpack,
)
from fingerprintdb.peaks import Constellation, find_peaks
from fingerprintdb.profile import ACCURATE, WIDE, Probe, Profile

Samples = npt.NDArray[np.float32]

RATE_HZ = ACCURATE.sample_rate_hz
MAX_BIN = 420.0
"""A little over the highest band."""


def int32(low: int, high: int) -> st.SearchStrategy[npt.NDArray[np.int32]]:
    return arrays.arrays(np.int32, 20, elements=st.integers(low, high))


def made_up(seed: int, size: int, *, length_frames: int = 400) -> Constellation:
    """Return peaks without rhyme or reason, in order of time."""
    rng = np.random.default_rng(seed)
    return Constellation(
        np.sort(rng.integers(0, length_frames, size)).astype(np.int32),
        rng.uniform(4, MAX_BIN, size).astype(np.float32),
        rng.exponential(2, size).astype(np.float32),
        length_frames,
    )


def melody(seed: int, duration_sec: float) -> Samples:
    """Notes of random pitch and length with three partials each, over a little noise."""
    rng = np.random.default_rng(seed)
    samples = rng.standard_normal(int(duration_sec * RATE_HZ)) * 1e-3
    for _ in range(int(duration_sec * 6)):
        start = rng.integers(0, len(samples) - 1)
        time = np.arange(int(rng.uniform(0.1, 0.6) * RATE_HZ)) / RATE_HZ
        pitch = 110 * 2 ** (rng.integers(0, 36) / 12)
        note = sum(
            np.sin(2 * np.pi * pitch * partial * time) / partial for partial in (1, 2, 3)
        ) * np.exp(-4 * time)
        part = samples[start : start + len(note)]
        part += 0.1 * note[: len(part)]
    return samples.astype(np.float32)


def reference_of(samples: Samples) -> Landmarks:
    return reference_landmarks(find_peaks([samples], ACCURATE), ACCURATE)


def query_of(samples: Samples, probe: Probe = WIDE) -> Landmarks:
    peaks = find_peaks(
        [samples],
        ACCURATE,
        peaks_per_cell=probe.peaks_per_cell,
        oversampling=probe.oversampling,
    )
    return query_landmarks(peaks, ACCURATE, probe)


@given(int32(0, 1023), int32(-128, 127), int32(0, 63))
def test_unpack_is_the_inverse_of_pack(
    frequency: npt.NDArray[np.int32],
    difference: npt.NDArray[np.int32],
    time: npt.NDArray[np.int32],
) -> None:
    hashes = pack(frequency, difference, time)
    assert hashes.dtype == np.int32
    assert hashes.min() >= 0
    assert hashes.max() < 1 << 24
    for found, given_ in zip(unpack(hashes), (frequency, difference, time), strict=True):
        np.testing.assert_array_equal(found, given_)


@given(int32(0, (1 << 24) - 1))
def test_pack_is_the_inverse_of_unpack(hashes: npt.NDArray[np.int32]) -> None:
    frequency, difference, time = unpack(hashes)
    assert 0 <= frequency.min() <= frequency.max() <= 1023
    assert -128 <= difference.min() <= difference.max() <= 127
    assert 0 <= time.min() <= time.max() <= 63
    np.testing.assert_array_equal(pack(frequency, difference, time), hashes)


def test_the_profile_s_zone_fits_the_fields_of_a_hash() -> None:
    highest_bin = ACCURATE.band_edges_hz[-1] / RATE_HZ * ACCURATE.window_samples
    assert 2 * highest_bin + 1 < 1024
    assert 2 * ACCURATE.target_bins + 2 <= 128
    assert ACCURATE.target_frames <= 63


@given(st.integers(0, 2**32 - 1), st.integers(0, 300), st.integers(1, 8))
def test_reference_landmarks_keep_to_zone_and_fan_out(seed: int, size: int, fan_out: int) -> None:
    profile = replace(ACCURATE, fan_out=fan_out, target_frames=20, target_bins=30)
    peaks = made_up(seed, size)
    landmarks = reference_landmarks(peaks, profile)
    assert landmarks.hashes.dtype == landmarks.frames.dtype == np.int32
    assert len(landmarks) == len(landmarks.hashes) == len(landmarks.frames)
    _, difference, time = unpack(landmarks.hashes)
    assert np.all((time >= 1) & (time <= 20))
    assert np.all(np.abs(difference) <= 60)
    assert np.isin(landmarks.frames, peaks.frames).all()
    # No moment has more landmarks than its peaks may have targets.
    anchors = dict(zip(*np.unique(peaks.frames, return_counts=True), strict=True))
    for frame, count in zip(*np.unique(landmarks.frames, return_counts=True), strict=True):
        assert count <= fan_out * anchors[frame]


def test_the_most_prominent_targets_in_the_zone_are_chosen() -> None:
    profile = replace(ACCURATE, fan_out=2)
    peaks = Constellation(
        np.array([0, 0, 1, 2, 3, 40], np.int32),
        np.array([100, 101, 110, 120, 300, 100], np.float32),
        np.array([1, 9, 5, 7, 99, 99], np.float32),
        50,
    )
    landmarks = reference_landmarks(peaks, profile)
    frequency, difference, time = unpack(landmarks.hashes)
    found = set(zip(landmarks.frames, frequency, difference, time, strict=True))
    # Of one frame, too far in frequency, too far in time: none of these is a target.
    assert found == {
        (0, 200, 40, 2), (0, 200, 20, 1), (0, 202, 38, 2), (0, 202, 18, 1), (1, 220, 20, 1),
    }  # fmt: skip


@given(st.integers(0, 2**32 - 1), st.integers(1, 200))
def test_a_query_asks_for_what_the_same_peaks_store(seed: int, size: int) -> None:
    peaks = made_up(seed, size)
    probe = Probe(oversampling=1, fan_out=ACCURATE.fan_out, max_hashes=10**6)
    stored = reference_landmarks(peaks, ACCURATE)
    asked = query_landmarks(peaks, ACCURATE, probe)
    pairs = set(zip(stored.hashes.tolist(), stored.frames.tolist(), strict=True))
    assert pairs <= set(zip(asked.hashes.tolist(), asked.frames.tolist(), strict=True))


@given(st.integers(0, 2**32 - 1), st.integers(0, 400), st.integers(100, 5_000), st.integers(1, 3))
def test_a_query_keeps_to_its_budget_and_zone(
    seed: int, size: int, max_hashes: int, oversampling: int
) -> None:
    peaks = made_up(seed, size)
    probe = Probe(oversampling=oversampling, max_hashes=max_hashes)
    landmarks = query_landmarks(peaks, ACCURATE, probe)
    assert len(landmarks) <= max_hashes
    frequency, difference, time = unpack(landmarks.hashes)
    assert np.all((time >= 1) & (time <= ACCURATE.target_frames))
    assert np.all(np.abs(difference) <= 2 * ACCURATE.target_bins + 1)
    assert np.all((frequency >= 0) & (frequency < 1024))
    assert np.all(landmarks.frames <= peaks.length_frames // oversampling)


@pytest.mark.parametrize("duration_sec", [30, 120])
def test_a_long_clip_keeps_to_the_budget_and_asks_all_along(duration_sec: int) -> None:
    probe = replace(WIDE, max_hashes=3_000)
    landmarks = query_of(melody(1, duration_sec), probe)
    assert probe.max_hashes / 4 < len(landmarks) <= probe.max_hashes
    seconds = np.unique((landmarks.frames * ACCURATE.frame_sec).astype(int))
    assert np.diff(seconds, prepend=0, append=duration_sec).max() <= 5


def test_a_clip_that_lies_on_the_borders_of_quantisation_keeps_to_the_budget() -> None:
    peaks = made_up(1, 400)
    quarters = np.round(peaks.bins) + np.float32(0.25) * (np.arange(len(peaks)) % 2)
    on_borders = replace(peaks, bins=quarters.astype(np.float32))
    probe = replace(WIDE, max_hashes=500)
    assert len(query_landmarks(on_borders, ACCURATE, probe)) <= probe.max_hashes


def test_a_short_clip_asks_about_all_its_anchors() -> None:
    samples = melody(1, 5)
    few = query_of(samples)
    unlimited = query_of(samples, replace(WIDE, max_hashes=10**9))
    assert 0 < len(few) < WIDE.max_hashes
    np.testing.assert_array_equal(few.hashes, unlimited.hashes)


@pytest.mark.parametrize("shift_samples", [0, 64, 128, 200])
def test_most_of_a_reference_is_asked_for_at_any_shift(shift_samples: int) -> None:
    samples = melody(2, 30)
    stored = reference_of(samples)
    start = 10 * RATE_HZ // 256 * 256
    asked = query_of(samples[start + shift_samples : start + 8 * RATE_HZ])
    first = start // ACCURATE.hop_samples
    # Away from the ends of the clip, where level and targets are not the same.
    inside = (stored.frames > first + 70) & (stored.frames < first + 240)
    wanted = list(zip(stored.hashes[inside], stored.frames[inside] - first, strict=True))
    pairs = set(zip(asked.hashes.tolist(), asked.frames.tolist(), strict=True))
    hits = [any((hash_, frame + step) in pairs for step in (-1, 0, 1)) for hash_, frame in wanted]
    assert len(wanted) > 300
    assert np.mean(hits) > 0.5


def test_another_recording_shares_few_landmarks_at_one_offset() -> None:
    stored, asked = reference_of(melody(3, 30)), query_of(melody(4, 8))
    common, where_stored, where_asked = np.intersect1d(
        stored.hashes, asked.hashes, return_indices=True
    )
    assert len(common) > 0
    offsets = stored.frames[where_stored] - asked.frames[where_asked]
    _, votes = np.unique(offsets, return_counts=True)
    assert votes.max() < 15


def test_nothing_makes_no_landmarks() -> None:
    for samples in (np.empty(0, np.float32), np.zeros(RATE_HZ, np.float32), melody(1, 0.05)):
        assert len(reference_of(samples)) == 0
        assert len(query_of(samples)) == 0
    assert len(reference_landmarks(find_peaks([], ACCURATE), ACCURATE)) == 0


def changed(value: object) -> object:
    if isinstance(value, tuple):
        return (*value[:-1], value[-1] + 1)
    if isinstance(value, str):
        return value[::-1]
    assert isinstance(value, int | float)
    return value + 1


@pytest.mark.parametrize("name", [f.name for f in fields(Profile) if f.name != "name"])
def test_a_digest_changes_with_every_parameter(name: str) -> None:
    value = getattr(ACCURATE, name)
    other = replace(ACCURATE, **{name: changed(value)})
    assert other.digest != ACCURATE.digest
    assert other.parameters() == ACCURATE.parameters() | {name: other.parameters()[name]}


def test_a_digest_does_not_change_with_the_name() -> None:
    renamed = replace(ACCURATE, name="another")
    assert renamed.digest == ACCURATE.digest
    assert renamed.parameters() == ACCURATE.parameters()
    assert len(renamed.digest) == 16
    assert int(renamed.digest, 16) >= 0
