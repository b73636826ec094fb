from itertools import combinations

import numpy as np
import pytest
from scipy.signal import correlate

from fingerprintdb.album import ARTIST, SAMPLE_RATE_HZ, Piece, pieces
from fingerprintdb.audio import decode, probe
from fingerprintdb.encoding import encode

WINDOW_FRAMES = 5 * SAMPLE_RATE_HZ


@pytest.fixture(scope="module")
def album():
    return list(pieces())


def best_correlation(one, other):
    """Return the largest correlation coefficient of two excerpts over all shifts."""
    energy = np.sqrt(np.sum(one**2) * np.sum(other**2))
    return np.abs(correlate(one, other, mode="same", method="fft")).max() / energy


def test_eight_pieces_of_about_three_quarters_of_a_minute(album):
    assert len(album) == 8
    assert len({piece.file_stem for piece in album}) == 8
    for piece in album:
        assert 40 <= len(piece.samples) / SAMPLE_RATE_HZ <= 60
        assert piece.samples.dtype == np.float32
        assert np.abs(piece.samples).max() == pytest.approx(0.9, abs=1e-3)


def test_every_call_plays_the_same(album):
    again = next(pieces())
    assert np.array_equal(again.samples, album[0].samples)


def test_no_piece_is_ever_silent(album):
    for piece in album:
        played = piece.samples[: -2 * SAMPLE_RATE_HZ]
        seconds = played[: len(played) // SAMPLE_RATE_HZ * SAMPLE_RATE_HZ]
        assert np.sqrt(np.mean(seconds.reshape(-1, SAMPLE_RATE_HZ) ** 2, axis=1)).min() > 0.01


def test_pieces_differ_from_each_other(album):
    excerpts = [piece.samples[: 2 * WINDOW_FRAMES] for piece in album]
    assert max(best_correlation(a, b) for a, b in combinations(excerpts, 2)) < 0.5


def test_no_five_seconds_return_within_a_piece(album):
    for piece in album:
        windows = piece.samples[: len(piece.samples) // WINDOW_FRAMES * WINDOW_FRAMES]
        parts = windows.reshape(-1, WINDOW_FRAMES)
        assert max(best_correlation(a, b) for a, b in combinations(parts, 2)) < 0.8


def test_a_piece_goes_through_a_file(album, tmp_path):
    piece: Piece = album[3]
    path = tmp_path / f"{piece.file_stem}.flac"
    assert path.name == "night_ferry.flac"
    encode(path, piece.samples, SAMPLE_RATE_HZ, piece.tags)
    assert probe(path).tags["title"] == "Night Ferry"
    assert probe(path).tags["artist"] == ARTIST
    decoded = np.concatenate(list(decode(path, SAMPLE_RATE_HZ)))
    assert np.abs(decoded - piece.samples).max() < 1e-4
