"""One recording through the stages: both kinds agree however they are asked for."""

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from scipy.io import wavfile

from fingerprintdb.album import SAMPLE_RATE_HZ, pieces
from fingerprintdb.audio import AudioError, Samples
from fingerprintdb.clip import hear
from fingerprintdb.embedding import Embedder, load
from fingerprintdb.encoding import encode
from fingerprintdb.extraction import (
    LOUDNESS_DBFS,
    EmbeddedSegment,
    Timings,
    Windowing,
    embed_windows,
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


class Listener:
    """An embedder that keeps what it is given."""

    name = revision = "listener"
    dims = 512
    sample_rate_hz = 11_025
    is_light = True

    def __init__(self) -> None:
        self.heard: list[Samples] = []

    def embed_audio(self, windows: Sequence[Samples], *, normalize: bool = True) -> Samples:
        self.heard += windows
        return np.ones((len(windows), 512), np.float32)


def dbfs(samples: Samples) -> float:
    return float(10 * np.log10(np.mean(np.square(samples, dtype=np.float64))))


def test_each_window_is_brought_to_one_level() -> None:
    piece = next(iter(pieces())).samples[: 20 * SAMPLE_RATE_HZ]
    swelling = piece * np.linspace(0.05, 1, piece.size, dtype=np.float32)
    levelled, plain = Listener(), Listener()
    for listener, normalize in ((levelled, True), (plain, False)):
        windowing = Windowing(sample_rate_hz=8000, normalize_loudness=normalize)
        embed_windows(iter([swelling]), listener, windowing, Timings())
    assert len(levelled.heard) == len(plain.heard) > 5
    assert dbfs(plain.heard[-1]) - dbfs(plain.heard[0]) > 6
    for window in levelled.heard:
        assert window.dtype == np.float32
        assert dbfs(window) == pytest.approx(LOUDNESS_DBFS, abs=0.01)


def test_what_is_silent_is_not_made_loud() -> None:
    noise = np.random.default_rng(3).normal(0, 1, 11_025 * 5).astype(np.float32)
    listener = Listener()
    windowing = Windowing(segment_hop_sec=5)
    blocks = [noise * np.float32(10 ** (level / 20)) for level in (-59, -61)]
    segments = embed_windows(iter(blocks), listener, windowing, Timings())
    assert [segment.vector is None for segment in segments] == [False, True]
    assert len(listener.heard) == 1


@pytest.fixture(scope="module")
def clap(tmp_path_factory: pytest.TempPathFactory) -> Embedder:
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from tiny_clap import save_model

    return load(str(save_model(tmp_path_factory.mktemp("clap"))))


@pytest.fixture(scope="module")
def loud_and_quiet(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A piece, and it 20 dB lower, as float32: rounding to 16 bits would be another change."""
    folder = tmp_path_factory.mktemp("levels")
    piece = next(iter(pieces())).samples[: 10 * SAMPLE_RATE_HZ]
    wavfile.write(folder / "loud.wav", SAMPLE_RATE_HZ, piece)
    wavfile.write(folder / "quiet.wav", SAMPLE_RATE_HZ, piece * np.float32(0.1))
    return folder / "loud.wav", folder / "quiet.wav"


def vectors(segments: Sequence[EmbeddedSegment]) -> Samples:
    return np.stack([segment.vector for segment in segments if segment.vector is not None])


@pytest.mark.parametrize("normalize", [True, False])
def test_level_moves_vectors_of_clap_only_without_normalisation(
    clap: Embedder, loud_and_quiet: tuple[Path, Path], normalize: bool
) -> None:
    windowing = Windowing(normalize_loudness=normalize)
    found = []
    for path in loud_and_quiet:
        with open_source(str(path)) as source:
            found.append(vectors(extract_embeddings(source, clap, windowing, Timings())))
    loud, quiet = found
    cosines = (loud * quiet).sum(axis=1)
    assert len(cosines) == 3
    if normalize:
        assert (cosines >= 1 - 1e-6).all()
    else:
        assert (cosines < 1 - 1e-4).all()


def test_level_does_not_move_vectors_of_a_clip(
    clap: Embedder, loud_and_quiet: tuple[Path, Path]
) -> None:
    found = []
    for path in loud_and_quiet:
        with open_source(str(path)) as source:
            found.append(hear(source, ACCURATE, Timings()).windows(clap).vectors)
            stored = vectors(extract_embeddings(source, clap, Windowing(), Timings()))
        np.testing.assert_allclose((found[-1] * stored).sum(axis=1), 1, atol=1e-6)
    loud, quiet = found
    assert ((loud * quiet).sum(axis=1) >= 1 - 1e-6).all()
