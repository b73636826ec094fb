"""A clip describes itself as it is, and as it was before its speed was changed."""

from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from fingerprintdb.album import SAMPLE_RATE_HZ, pieces
from fingerprintdb.audio import AudioError
from fingerprintdb.clip import MAX_SEC, hear, unwarped, warps
from fingerprintdb.embedding import load
from fingerprintdb.encoding import encode
from fingerprintdb.extraction import Timings
from fingerprintdb.peaks import Constellation
from fingerprintdb.profile import ACCURATE, PLAIN, WIDE
from fingerprintdb.source import open_source
from fingerprintdb.warp import AS_RECORDED, Warp


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("music") / "piece.flac"
    piece = next(islice(pieces(), 1))
    encode(path, piece.samples[: 8 * SAMPLE_RATE_HZ], SAMPLE_RATE_HZ)
    return path


def test_a_wider_probe_asks_for_more(recording: Path) -> None:
    timings = Timings()
    with open_source(str(recording)) as source:
        clip = hear(source, ACCURATE, timings)
    assert clip.duration_sec == pytest.approx(8, abs=0.05)
    assert len(clip.landmarks(WIDE)) > 5 * len(clip.landmarks(PLAIN)) > 1000
    assert set(timings.ms) == {"decode", "landmarks"}


def test_vectors_are_those_of_the_windows(recording: Path) -> None:
    with open_source(str(recording)) as source:
        windows = hear(source, ACCURATE, Timings()).windows(load("builtin"))
    assert windows.vectors.shape == (len(windows.starts_sec), 512)
    assert windows.starts_sec[:2] == [0.0, 2.5]


def test_unwarping_moves_peaks_to_where_the_recording_has_them() -> None:
    peaks = Constellation(
        np.array([0, 100, 200], np.int32),
        np.array([50.0, 100.0, 200.0], np.float32),
        np.ones(3, np.float32),
        220,
    )
    moved = unwarped(peaks, Warp(pitch=1.05, tempo=1.1))
    assert moved.frames.tolist() == [0, 110, 220]
    assert moved.bins * 1.05 == pytest.approx(peaks.bins)
    assert moved.length_frames == 242


def test_warps_are_all_different_and_none_is_the_clip_as_it_is() -> None:
    tried = list(warps())
    assert len(set(tried)) == len(tried)
    assert AS_RECORDED not in tried


def test_a_clip_is_heard_for_ten_minutes(tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    encode(path, np.tile(np.sin(np.arange(8000) * 0.3).astype(np.float32) * 0.1, 610), 8000)
    with open_source(str(path)) as source:
        assert hear(source, ACCURATE, Timings()).duration_sec == pytest.approx(MAX_SEC, abs=0.1)


@pytest.mark.parametrize(
    ("samples", "reason"),
    [
        (np.zeros(16_000 * 3, np.float32), "silent"),
        (np.full(8_000, 0.1, np.float32), r"0\.50 s of sound is too short"),
    ],
)
def test_too_little_sound_is_an_error(
    tmp_path: Path, samples: np.ndarray[tuple[int], np.dtype[np.float32]], reason: str
) -> None:
    path = tmp_path / "little.wav"
    encode(path, samples, 16_000)
    with open_source(str(path)) as source, pytest.raises(AudioError, match=reason):
        hear(source, ACCURATE, Timings())
