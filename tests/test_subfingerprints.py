"""Sub-fingerprints are the same however they are heard, and survive what music goes through."""

from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from importlib import resources
from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fingerprintdb.album import SAMPLE_RATE_HZ, pieces
from fingerprintdb.degradation import degrade
from fingerprintdb.peaks import Samples
from fingerprintdb.profile import ACCURATE, COMPACT, PROFILES, Profile
from fingerprintdb.subfingerprints import (
    PROJECTION_FILE,
    Bits,
    SubFingerprints,
    projection,
    query_sub_fingerprints,
    reference_energies,
    reference_sub_fingerprints,
)

RATE_HZ = ACCURATE.sample_rate_hz


def resampled(samples: Samples, seconds: float) -> Samples:
    count = round(seconds * RATE_HZ)
    places = np.arange(count) * SAMPLE_RATE_HZ / RATE_HZ
    return np.interp(places, np.arange(len(samples)), samples).astype(np.float32)


PIECES = [resampled(piece.samples, 20) for piece in islice(pieces(), 2)]


def stored(samples: Samples, profile: Profile = ACCURATE) -> SubFingerprints:
    energies = reference_energies(profile)
    energies.add(samples)
    return reference_sub_fingerprints(energies, profile)


def error_rate(one: Bits, other: Bits) -> float:
    return float(np.bitwise_count(one ^ other).mean() / 8)


def cut(samples: Samples, places: list[int]) -> Iterator[Samples]:
    yield from np.split(samples, sorted(places))


@settings(max_examples=20)
@given(st.lists(st.integers(0, 20 * RATE_HZ), max_size=8))
def test_the_bits_do_not_depend_on_how_the_samples_were_cut(places: list[int]) -> None:
    energies = reference_energies(ACCURATE)
    for block in cut(PIECES[0], places):
        energies.add(block)
    assert np.array_equal(
        reference_sub_fingerprints(energies, ACCURATE).bits, stored(PIECES[0]).bits
    )


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
def test_there_are_as_many_as_the_profile_says(profile: Profile) -> None:
    found = stored(PIECES[0], profile)
    step_sec = profile.sub_fingerprint_frames * profile.frame_sec
    assert found.bits.shape[1] == profile.sub_fingerprint_bits // 8
    assert len(found) == pytest.approx((20 - 0.7) / step_sec, abs=1.5)


def test_a_stretch_of_any_phase_finds_its_place() -> None:
    """Query frame i and reference frame i + offset hold the same bits, wherever the clip begins."""
    reference = stored(PIECES[0])
    for offset in (0, 1, 4, 217):
        clip = PIECES[0][offset * ACCURATE.hop_samples :][: 6 * RATE_HZ]
        (asked,) = query_sub_fingerprints(clip, ACCURATE)
        phase = -offset % ACCURATE.sub_fingerprint_frames
        seen = asked.bits[phase :: ACCURATE.sub_fingerprint_frames]
        first = (phase + offset) // ACCURATE.sub_fingerprint_frames
        assert error_rate(seen, reference.bits[first : first + len(seen)]) < 0.12


@pytest.mark.parametrize("condition", ["pink 5 dB", "babble 5 dB", "level -20 dB"])
def test_spoilt_bits_are_nearer_to_their_own_than_to_others(condition: str) -> None:
    clip = degrade(PIECES[0], RATE_HZ, condition, seed=1)
    heard = query_sub_fingerprints(clip, ACCURATE)[0].bits[:: ACCURATE.sub_fingerprint_frames]
    own, other = (stored(piece).bits[: len(heard)] for piece in PIECES)
    assert error_rate(heard, own) < 0.35
    assert error_rate(heard, other) > 0.42


def test_a_changed_speed_is_undone() -> None:
    clip = degrade(PIECES[0], RATE_HZ, "speed +5 %", seed=1)
    own = stored(PIECES[0]).bits
    undone = query_sub_fingerprints(clip, ACCURATE, pitches=[1.05], tempo=1.05)[0].bits[::6]
    left = query_sub_fingerprints(clip, ACCURATE)[0].bits[::6]
    assert error_rate(undone[:100], own[:100]) < 0.15
    assert error_rate(left[:100], own[:100]) > 0.3


@pytest.mark.parametrize("count", [0, 1, 2047, 2048, 5000, 7424, 7425])
def test_what_is_too_short_has_none(count: int) -> None:
    samples = np.ones(count, np.float32)
    # Eight rows 768 samples apart, each of 2,048: 7,424 samples.
    assert len(stored(samples)) == (count >= 7424)
    assert len(query_sub_fingerprints(samples, ACCURATE)[0]) == (count >= 7424)


def test_the_compact_profile_takes_the_most_telling_bits() -> None:
    every = stored(PIECES[0]).bits
    few = stored(PIECES[0], COMPACT).bits
    assert np.array_equal(few, every[::2, :16][: len(few)])


def test_the_projection_is_the_one_that_the_profile_names() -> None:
    data = resources.files("fingerprintdb").joinpath(PROJECTION_FILE).read_bytes()
    assert sha256(data).hexdigest()[:16] == ACCURATE.projection
    assert projection().shape == (ACCURATE.patch_rows * ACCURATE.bands, 256)
    assert replace(ACCURATE, projection="another").digest != ACCURATE.digest


@pytest.mark.parametrize("level", [0.0, 1e-6])
def test_a_pause_agrees_with_no_other_pause(level: float) -> None:
    noise = np.random.default_rng(1).normal(0, level, 8 * RATE_HZ).astype(np.float32)
    ending = np.concatenate([PIECES[0][: 4 * RATE_HZ], noise])
    other = np.concatenate([PIECES[1][: 4 * RATE_HZ], noise])
    in_pause = slice(5 * RATE_HZ // 1536, None)
    reference = stored(ending).bits[in_pause]
    asked = query_sub_fingerprints(other, ACCURATE)[0].bits[:: ACCURATE.sub_fingerprint_frames]
    assert len(reference) > 40
    assert error_rate(reference, asked[in_pause]) == pytest.approx(0.5, abs=0.02)
    assert error_rate(stored(ending).bits, stored(ending).bits) == 0


def test_pitches_that_share_a_spectrum_are_as_each_alone() -> None:
    clip = np.random.default_rng(4).normal(0, 0.1, 3 * ACCURATE.sample_rate_hz).astype(np.float32)
    pitches = (1.0, 1.05, 0.97)
    together = query_sub_fingerprints(clip, ACCURATE, pitches=pitches, tempo=1.02)
    for pitch, found in zip(pitches, together, strict=True):
        (alone,) = query_sub_fingerprints(clip, ACCURATE, pitches=[pitch], tempo=1.02)
        assert np.array_equal(found.bits, alone.bits)
    assert not np.array_equal(together[0].bits, together[1].bits)
