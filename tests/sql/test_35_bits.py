"""Bits agree at the very offset where they were cut, and nowhere else."""

from typing import Any

import numpy as np
import psycopg
import pytest
from library import Library, random_bits

from fingerprintdb.profile import ACCURATE
from fingerprintdb.store.bitstring import BitString
from fingerprintdb.store.subfingerprints import BYTES_A_ROW, by_phase, compare, drift
from fingerprintdb.subfingerprints import Bits, SubFingerprints

STEP = ACCURATE.sub_fingerprint_frames


def phases(bits: Bits) -> list[BitString]:
    return by_phase(SubFingerprints(bits, 1), STEP)


def spoilt(rng: np.random.Generator, bits: Bits, share: float) -> Bits:
    flipped = rng.random((*bits.shape, 8)) < share
    return bits ^ np.packbits(flipped, axis=-1)[..., 0]


def naive(stored: Bits, clip: Bits, offset: int, first: int, last: int) -> tuple[int, int]:
    """Count compared sub-fingerprints and their bit errors as one would on paper."""
    compared = errors = 0
    for frame in range(max(first, 0), min(last, len(clip) - 1) + 1):
        place = frame + offset
        if 0 <= place < len(stored) and place % STEP == 0:
            compared += 1
            errors += int(np.bitwise_count(clip[frame] ^ stored[place]).sum())
    return compared, errors


def agreements(
    library: Library, asset_id: int, offset: int, first: int, last: int, bits: Any, reach: int = 3
) -> list[tuple[Any, ...]]:
    return library.rows(
        "SELECT * FROM fpdb.bit_agreements(ARRAY[%s::bigint], ARRAY[%s::int], ARRAY[%s::int],"
        " ARRAY[%s::int], %b, %s::int)",
        asset_id, offset, first, last, bits, reach,
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(30))
def test_the_errors_are_those_counted_on_paper(library: Library, seed: int) -> None:
    rng = np.random.default_rng(seed)
    stored = random_bits(rng, duration_sec=float(rng.uniform(1, 60)))
    clip = random_bits(rng, duration_sec=float(rng.uniform(0.2, 12)))
    asset_id = library.add(bits=stored)
    offset = int(rng.integers(-len(clip), len(stored)))
    first, last = sorted(int(n) for n in rng.integers(-50, len(clip) + 50, 2))
    compared, errors = naive(stored, clip, offset, first, last)
    rows = agreements(library, asset_id, offset, first, last, phases(clip), reach=0)
    if compared < 2:
        assert rows == []
        return
    rate = errors / compared / ACCURATE.sub_fingerprint_bits
    assert rows == [(1, offset, compared, pytest.approx(rate))]


@pytest.mark.parametrize("away", [-3, -1, 0, 2, 3])
def test_the_place_is_found_when_it_is_near(library: Library, away: int) -> None:
    rng = np.random.default_rng(7)
    stored = random_bits(rng)
    asset_id = library.add(bits=stored)
    clip = spoilt(rng, stored[600:900], 0.3)
    ((number, offset, compared, rate),) = agreements(
        library, asset_id, 600 + away, 0, 299, phases(clip)
    )
    assert (number, offset, compared) == (1, 600, 50)
    assert rate == pytest.approx(0.3, abs=0.02)


def test_candidates_keep_their_numbers(library: Library) -> None:
    rng = np.random.default_rng(8)
    stored = random_bits(rng)
    asset_id = library.add(bits=stored)
    rows = library.rows(
        "SELECT candidate, offset_frames, bit_error_rate FROM fpdb.bit_agreements("
        "ARRAY[%s::bigint, 77, %s], ARRAY[1200, 5, 600], ARRAY[0, 0, 0], ARRAY[299, 299, 299], %b)"
        " ORDER BY 1",
        asset_id, asset_id, phases(stored[600:900]),
    )  # fmt: skip
    assert [row[0] for row in rows] == [1, 3]
    assert rows[0][2] > 0.45
    assert rows[1][1:] == (600, 0.0)


def test_a_profile_without_bits_compares_nothing(library: Library) -> None:
    asset_id = library.add(bits=random_bits(np.random.default_rng(9)))
    library.connection.execute(
        "UPDATE fpdb.profile SET parameters = parameters - 'sub_fingerprint_bits' WHERE is_active"
    )
    clip = random_bits(np.random.default_rng(9))
    assert agreements(library, asset_id, 0, 0, 299, phases(clip)) == []


def test_nothing_and_null_are_answered_with_nothing(library: Library) -> None:
    asset_id = library.add(bits=random_bits(np.random.default_rng(9)))
    assert agreements(library, asset_id, 0, 0, 299, []) == []
    assert agreements(library, asset_id, 0, 0, 299, None) == []
    assert library.rows("SELECT * FROM fpdb.bit_agreements(NULL, NULL, NULL, NULL, NULL)") == []


@pytest.mark.parametrize("bits", [[BitString(b"1")], [BitString(bytes(32))] * (STEP + 1)])
def test_bits_of_another_profile_are_an_error(library: Library, bits: list[BitString]) -> None:
    asset_id = library.add(bits=random_bits(np.random.default_rng(1), duration_sec=9))
    with pytest.raises(psycopg.DataError, match="whole sub-fingerprints of 256 bits"):
        agreements(library, asset_id, 0, 0, 100, bits)


def test_rows_are_as_long_as_the_program_writes_them(library: Library) -> None:
    library.add(bits=random_bits(np.random.default_rng(9)))
    (whole,) = library.rows("SELECT DISTINCT length(bits) FROM fpdb.sub_fingerprint WHERE part < 7")
    assert whole == (library.value("SELECT fpdb.bits_a_row()"),) == (BYTES_A_ROW * 8,)


@pytest.mark.parametrize("tempo", [0.95, 1.0, 1.04])
def test_a_drift_tells_the_tempo(library: Library, tempo: float) -> None:
    """A clip that advances `tempo` frames of the recording a frame is heard as just that."""
    rng = np.random.default_rng(10)
    # Neighbouring frames share bits, as they do in music.
    coarse = random_bits(rng, duration_sec=20)
    stored = np.repeat(coarse, 6, axis=0)
    asset_id = library.add(bits=stored)
    places = np.rint(np.arange(240) * tempo).astype(int) + 600
    bits = phases(stored[places])
    near = compare(library.connection, asset_id, 600, (0, 239), bits)
    assert near is not None
    found = drift(library.connection, asset_id, near.offset_frames, (0, 239), bits)
    assert found is not None
    assert found[1] == pytest.approx(tempo, abs=0.012)


def test_a_drift_of_what_does_not_agree_is_none(library: Library) -> None:
    rng = np.random.default_rng(11)
    asset_id = library.add(bits=random_bits(rng))
    assert drift(library.connection, asset_id, 600, (0, 239), phases(random_bits(rng))) is None
