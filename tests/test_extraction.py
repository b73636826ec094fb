"""One recording through the stages: both kinds agree however they are asked for."""

from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from fingerprintdb.album import SAMPLE_RATE_HZ, pieces
from fingerprintdb.audio import AudioError
from fingerprintdb.embedding import load
from fingerprintdb.encoding import encode
from fingerprintdb.extraction import (
    Timings,
    Windowing,
    extract,
    extract_embeddings,
    extract_landmarks,
)
from fingerprintdb.profile import ACCURATE
from fingerprintdb.source import open_source


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("music") / "piece.flac"
    piece = next(islice(pieces(), 1))
    encode(path, piece.samples[: 20 * SAMPLE_RATE_HZ], SAMPLE_RATE_HZ)
    return path


@pytest.mark.parametrize(
    "windowing",
    [
        Windowing(),
        Windowing(max_audio_length_sec=7.5),
        Windowing(max_audio_length_sec=None),
        Windowing(sample_rate_hz=8000),
        Windowing(segment_duration_sec=2, segment_hop_sec=0.5),
    ],
)
def test_decoding_once_gives_what_decoding_twice_gives(
    recording: Path, windowing: Windowing
) -> None:
    embedder = load("builtin")
    with open_source(str(recording)) as source:
        found, segments = extract(source, ACCURATE, embedder, windowing, Timings())
        alone = extract_landmarks(source, ACCURATE, Timings())
        apart = extract_embeddings(source, embedder, windowing, Timings())
    assert found.duration_sec == alone.duration_sec == pytest.approx(20, abs=0.01)
    assert np.array_equal(found.landmarks.hashes, alone.landmarks.hashes)
    assert [(s.index, s.start_sec, s.end_sec) for s in segments] == [
        (s.index, s.start_sec, s.end_sec) for s in apart
    ]
    assert segments
    for one, other in zip(segments, apart, strict=True):
        assert one.vector is not None
        assert other.vector is not None
        assert one.vector == pytest.approx(other.vector, abs=1e-6)


def test_a_cap_limits_segments_and_not_landmarks(recording: Path) -> None:
    windowing = Windowing(max_audio_length_sec=7.5)
    with open_source(str(recording)) as source:
        found, segments = extract(source, ACCURATE, load("builtin"), windowing, Timings())
    assert segments[-1].end_sec == pytest.approx(7.5)
    assert found.landmarks.frames[-1] * ACCURATE.frame_sec > 15


def test_a_silent_stretch_has_a_segment_without_a_vector(tmp_path: Path) -> None:
    piece = next(iter(pieces())).samples[: 10 * SAMPLE_RATE_HZ]
    path = tmp_path / "half.wav"
    encode(path, np.concatenate((piece, np.zeros_like(piece))), SAMPLE_RATE_HZ)
    with open_source(str(path)) as source:
        segments = extract_embeddings(source, load("builtin"), Windowing(), Timings())
    silent = [segment.start_sec for segment in segments if segment.vector is None]
    assert silent == [10.0, 12.5, 15.0]


def test_timings_name_the_stages(recording: Path) -> None:
    timings = Timings()
    with open_source(str(recording)) as source:
        extract(source, ACCURATE, load("builtin"), Windowing(), timings)
    assert set(timings.ms) == {"decode", "landmarks", "sub_fingerprints", "embedding"}
    assert all(spent_ms > 0 for spent_ms in timings.ms.values())


@pytest.mark.parametrize(
    ("samples", "reason"),
    [
        (np.zeros(16_000 * 3, np.float32), "silent"),
        (np.full(16_000 * 3, 5e-5, np.float32), "silent"),
        (np.full(8_000, 0.1, np.float32), r"0\.50 s of sound is too short"),
    ],
)
def test_too_little_sound_is_an_error(
    tmp_path: Path, samples: np.ndarray[tuple[int], np.dtype[np.float32]], reason: str
) -> None:
    path = tmp_path / "little.wav"
    encode(path, samples, 16_000)
    with open_source(str(path)) as source, pytest.raises(AudioError, match=reason):
        extract_landmarks(source, ACCURATE, Timings())
