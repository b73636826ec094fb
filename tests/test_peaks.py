"""Peaks lie where the sound is, whatever its level and however its samples were cut."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fingerprintdb import peaks as peaks_module
from fingerprintdb.peaks import STRETCH_CELLS, Constellation, find_peaks, rank_in_group
from fingerprintdb.profile import ACCURATE

Samples = npt.NDArray[np.float32]

RATE_HZ = ACCURATE.sample_rate_hz
HOP = ACCURATE.hop_samples
CHUNK_SEC = STRETCH_CELLS * ACCURATE.cell_frames * ACCURATE.frame_sec


def noise(seed: int, duration_sec: float) -> Samples:
    rng = np.random.default_rng(seed)
    return (0.1 * rng.standard_normal(int(duration_sec * RATE_HZ))).astype(np.float32)


def tone(frequency_hz: float, duration_sec: float = 2.0) -> Samples:
    """A tone with soft ends between silences, so that it is clear of its surroundings."""
    time = np.arange(int(duration_sec * RATE_HZ)) / RATE_HZ
    envelope = np.sin(np.pi * np.arange(len(time)) / len(time)) ** 2
    sound = 0.5 * envelope * np.sin(2 * np.pi * frequency_hz * time)
    silence = np.zeros(RATE_HZ)
    return np.concatenate([silence, sound, silence]).astype(np.float32)


def cut(samples: Samples, places: list[int]) -> list[Samples]:
    """Cut samples at the places, which may repeat."""
    edges = [0, *sorted(place % (len(samples) + 1) for place in places), len(samples)]
    return [samples[first:last] for first, last in pairwise(edges)]


def assert_equal(found: Constellation, expected: Constellation) -> None:
    assert found.length_frames == expected.length_frames
    np.testing.assert_array_equal(found.frames, expected.frames)
    np.testing.assert_array_equal(found.bins, expected.bins)
    np.testing.assert_array_equal(found.prominences, expected.prominences)


def described(found: Constellation) -> list[tuple[tuple[int, int], float]]:
    """Return ((frame, nearest bin), prominence) of each peak."""
    places = zip(found.frames.tolist(), np.rint(found.bins).astype(int).tolist(), strict=True)
    return list(zip(places, found.prominences.tolist(), strict=True))


NOISE = noise(1, 6)
WHOLE = find_peaks([NOISE], ACCURATE)


@settings(max_examples=30)
@given(st.lists(st.integers(0, len(NOISE)), max_size=30))
def test_cuts_do_not_matter(places: list[int]) -> None:
    assert_equal(find_peaks(cut(NOISE, places), ACCURATE), WHOLE)


def test_tiny_blocks_do_not_matter() -> None:
    samples = NOISE[: 2 * RATE_HZ]
    blocks = cut(samples, list(range(0, len(samples), 37)))
    assert_equal(find_peaks(blocks, ACCURATE), find_peaks([samples], ACCURATE))


@pytest.mark.parametrize("oversampling", [1, 2])
def test_cuts_do_not_matter_over_the_borders_of_stretches(oversampling: int) -> None:
    samples = noise(2, 2.3 * CHUNK_SEC)
    whole = find_peaks([samples], ACCURATE, oversampling=oversampling)
    for size in (999, 4_096, 100_003):
        blocks = cut(samples, list(range(0, len(samples), size)))
        assert_equal(find_peaks(blocks, ACCURATE, oversampling=oversampling), whole)


@pytest.mark.parametrize("oversampling", [1, 2])
def test_chunks_do_not_matter(oversampling: int, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = noise(3, 2.3 * CHUNK_SEC)
    in_stretches = find_peaks([samples], ACCURATE, oversampling=oversampling)
    monkeypatch.setattr(peaks_module, "STRETCH_CELLS", 10**6)
    at_once = find_peaks([samples], ACCURATE, oversampling=oversampling)
    assert in_stretches.length_frames == at_once.length_frames
    np.testing.assert_array_equal(in_stretches.frames, at_once.frames)
    np.testing.assert_array_equal(in_stretches.bins, at_once.bins)
    # The running mean adds up in another order.
    np.testing.assert_allclose(in_stretches.prominences, at_once.prominences, atol=1e-3)


def test_memory_does_not_grow_with_length(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    original = peaks_module._local_maxima

    def measured(log_power: Samples, *rest: object) -> object:
        seen.append(len(log_power))
        return original(log_power, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(peaks_module, "_local_maxima", measured)
    find_peaks((noise(n, 10) for n in range(int(3 * CHUNK_SEC / 10) + 1)), ACCURATE)
    assert len(seen) >= 3
    assert max(seen) <= STRETCH_CELLS * ACCURATE.cell_frames + 2 * (
        ACCURATE.level_frames + ACCURATE.neighbourhood_frames
    )


@pytest.mark.parametrize("gain", [0.1, 0.3, 2.0])
def test_level_does_not_matter(gain: float) -> None:
    found = find_peaks([NOISE * np.float32(gain)], ACCURATE)
    here, there = dict(described(found)), dict(described(WHOLE))
    shared = sorted(here.keys() & there.keys())
    # The floor under the logarithm moves a near tie now and then.
    assert len(shared) >= 0.98 * len(here.keys() | there.keys())
    for peak in shared:
        assert here[peak] == pytest.approx(there[peak], abs=0.05)


@given(st.floats(60, 4_400))
@settings(max_examples=40)
def test_a_tone_peaks_at_its_frequency(frequency_hz: float) -> None:
    found = find_peaks([tone(frequency_hz)], ACCURATE)
    clearest = found.prominences.argmax()
    bin_hz = RATE_HZ / ACCURATE.window_samples
    assert found.bins[clearest] * bin_hz == pytest.approx(frequency_hz, abs=0.25 * bin_hz)
    assert 1 < found.frames[clearest] * ACCURATE.frame_sec < 3


@pytest.mark.parametrize("frequency_hz", [20, 5_200])
def test_a_tone_outside_the_bands_is_not_heard(frequency_hz: float) -> None:
    bin_hz = RATE_HZ / ACCURATE.window_samples
    found = find_peaks([tone(frequency_hz)], ACCURATE)
    low, high = ACCURATE.band_edges_hz[0], ACCURATE.band_edges_hz[-1]
    assert np.all((found.bins * bin_hz >= low) & (found.bins * bin_hz <= high))
    assert not np.any(np.abs(found.bins * bin_hz - frequency_hz) < bin_hz)


@pytest.mark.parametrize("level", [0.0, 1e-7])
def test_silence_has_no_peaks(level: float) -> None:
    silence = np.full(5 * RATE_HZ, level, np.float32)
    found = find_peaks([silence], ACCURATE)
    assert len(found) == 0
    assert found.length_frames == (len(silence) - ACCURATE.window_samples) // HOP + 1


@pytest.mark.parametrize("blocks", [[], [0], [0, 0], [1], [ACCURATE.window_samples - 1]])
def test_too_little_sound_has_no_frames(blocks: list[int]) -> None:
    found = find_peaks([np.ones(size, np.float32) for size in blocks], ACCURATE)
    assert (len(found), found.length_frames) == (0, 0)
    assert found.frames.dtype == np.int32
    assert found.bins.dtype == np.float32


def test_each_cell_of_time_and_band_keeps_its_few() -> None:
    for keep in (1, 3):
        found = find_peaks([NOISE], ACCURATE, peaks_per_cell=keep)
        edges = np.asarray(ACCURATE.band_edges_hz)
        hertz = found.bins * RATE_HZ / ACCURATE.window_samples
        cells = found.frames // ACCURATE.cell_frames
        _, counts = np.unique(
            np.stack([cells, np.searchsorted(edges, hertz, side="right")]),
            axis=1,
            return_counts=True,
        )
        assert counts.max() == keep
    few = set(zip(found.frames, found.bins, strict=True))
    assert few < set(zip(WHOLE.frames, WHOLE.bins, strict=True))


def test_peaks_are_in_order_of_time_and_over_their_surroundings() -> None:
    assert np.all(np.diff(WHOLE.frames) >= 0)
    assert np.all(WHOLE.prominences > 0)
    assert WHOLE.frames.max() < WHOLE.length_frames


def test_a_finer_grid_of_time_finds_the_same_moments() -> None:
    fine = find_peaks([NOISE], ACCURATE, oversampling=2)
    assert fine.length_frames == pytest.approx(2 * WHOLE.length_frames, abs=2)
    near = [np.abs(fine.frames / 2 - frame).min() for frame in WHOLE.frames]
    assert np.mean(np.asarray(near) <= 0.5) > 0.9


def test_another_profile_hears_other_peaks() -> None:
    finer = find_peaks([NOISE], replace(ACCURATE, hop_samples=128))
    assert finer.length_frames > 1.9 * WHOLE.length_frames


@given(st.lists(st.integers(0, 4), max_size=30))
def test_rank_counts_within_runs(values: list[int]) -> None:
    group = np.sort(np.asarray(values, np.int64))
    expected = [int(np.sum(group[:index] == value)) for index, value in enumerate(group)]
    np.testing.assert_array_equal(rank_in_group(group), expected)
