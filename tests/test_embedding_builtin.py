"""The built-in embedder finds a place again, whatever its level, and is the same every time."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fingerprintdb.embedding import ModelError, load, resolve
from fingerprintdb.embedding.builtin import BuiltinEmbedder
from fingerprintdb.embedding.embedder import Array

RATE_HZ = BuiltinEmbedder.sample_rate_hz


@pytest.fixture(scope="module")
def embedder() -> BuiltinEmbedder:
    return BuiltinEmbedder()


def melody(seed: int, duration_sec: float = 10.0) -> Array:
    """Notes of a quarter second with five partials, from a random walk on the semitones."""
    rng = np.random.default_rng(seed)
    time_sec = np.arange(RATE_HZ // 4) / RATE_HZ
    pitch = 220.0 * 2.0 ** (rng.integers(0, 12) / 12)
    notes = []
    for _ in range(round(duration_sec * 4)):
        pitch = np.clip(pitch * 2.0 ** (rng.integers(-4, 5) / 12), 150.0, 900.0)
        partials = [np.sin(2 * np.pi * pitch * n * time_sec) / n for n in range(1, 6)]
        notes.append(np.sum(partials, axis=0) * np.exp(-6 * time_sec))
    return np.concatenate(notes).astype(np.float32) * np.float32(0.2)


def window(recording: Array, start_sec: float) -> Array:
    start = round(start_sec * RATE_HZ)
    return recording[start : start + 5 * RATE_HZ]


def test_shape_type_and_length(embedder: BuiltinEmbedder) -> None:
    vectors = embedder.embed_audio([window(melody(seed), 0) for seed in range(3)])
    assert vectors.shape == (3, 512)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert embedder.embed_audio([]).shape == (0, 512)


def test_unnormalised_rows_point_the_same_way(embedder: BuiltinEmbedder) -> None:
    sound = [window(melody(1), 0)]
    raw = embedder.embed_audio(sound, normalize=False)
    assert np.linalg.norm(raw) == pytest.approx(2**0.5, rel=1e-5)
    np.testing.assert_allclose(raw / np.linalg.norm(raw), embedder.embed_audio(sound), atol=1e-6)


def test_finds_every_recording_from_between_its_windows_and_in_noise(
    embedder: BuiltinEmbedder,
) -> None:
    recordings = [melody(seed) for seed in range(20)]
    stored = embedder.embed_audio([window(r, s) for r in recordings for s in (0, 2.5, 5)])
    clips = [window(r, 1.1) for r in recordings]
    noise = np.random.default_rng(0).standard_normal((len(clips), clips[0].size))
    noisy = [
        (c + n * np.sqrt(0.1 * np.mean(c**2))).astype(np.float32)
        for c, n in zip(clips, noise, strict=True)
    ]
    for heard in (clips, noisy):
        found = (embedder.embed_audio(heard) @ stored.T).argmax(axis=1) // 3
        np.testing.assert_array_equal(found, np.arange(len(recordings)))


def test_other_sounds_are_less_similar(embedder: BuiltinEmbedder) -> None:
    one, other = melody(1), melody(2)
    vectors = embedder.embed_audio([window(one, 0), window(one, 1.25), window(other, 0)])
    near, far = vectors[0] @ vectors[1], vectors[0] @ vectors[2]
    assert near > far + 0.2


@given(gain_db=st.floats(-300, 300))
def test_level_does_not_matter(embedder: BuiltinEmbedder, gain_db: float) -> None:
    sound = window(melody(3), 0)
    quieter = (sound * 10 ** (gain_db / 20)).astype(np.float32)
    vectors = embedder.embed_audio([sound, quieter])
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-5)


def test_a_lone_click_at_the_edge_of_a_frame_is_as_good_as_silence(
    embedder: BuiltinEmbedder,
) -> None:
    click = np.eye(1, 5 * RATE_HZ, dtype=np.float32)[0]
    assert np.isfinite(embedder.embed_audio([click])).all()


@pytest.mark.parametrize("samples", [1, 500, 5000, 20_000])
def test_short_windows_still_get_a_vector(embedder: BuiltinEmbedder, samples: int) -> None:
    (vector,) = embedder.embed_audio([melody(4)[100 : 100 + samples]])
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-6)


def test_digital_silence_has_one_constant_vector(embedder: BuiltinEmbedder) -> None:
    silence = np.zeros(5 * RATE_HZ, np.float32)
    (vector,) = embedder.embed_audio([silence])
    assert vector[0] == 1
    assert np.count_nonzero(vector) == 1


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_no_numbers_are_refused(embedder: BuiltinEmbedder, value: float) -> None:
    sound = window(melody(5), 0).copy()
    sound[1000] = value
    with pytest.raises(ModelError, match="not finite"):
        embedder.embed_audio([sound])


def test_vector_does_not_depend_on_its_company(embedder: BuiltinEmbedder) -> None:
    windows = [window(melody(seed), 0) for seed in range(4)]
    together = embedder.embed_audio(windows)
    np.testing.assert_array_equal(together[2], embedder.embed_audio([windows[2]])[0])
    np.testing.assert_array_equal(together, BuiltinEmbedder().embed_audio(windows))


PINNED = [0.024007, -0.044420, -0.022662, 0.036465]


def test_vectors_and_revision_are_pinned(embedder: BuiltinEmbedder) -> None:
    """A change of the vectors must change the revision: raise `_ALGORITHM`, then these."""
    (vector,) = embedder.embed_audio([window(melody(0), 0)])
    assert embedder.revision == "160595f96eb14f1b"
    np.testing.assert_allclose(vector[[10, 40, 100, 500]], PINNED, atol=1e-4)


def test_loads_by_name_without_torch() -> None:
    assert load("builtin").name == "builtin"
    assert resolve("builtin").name == "builtin"
    program = (
        "import sys; from fingerprintdb.embedding import load; load('builtin');"
        "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
