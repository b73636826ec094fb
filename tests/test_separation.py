"""Separators: found by name, checked, applied to every window of a recording and of a clip."""

import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import numpy as np
import pytest
from scipy.signal import resample_poly

from fingerprintdb import separation
from fingerprintdb.album import SAMPLE_RATE_HZ, pieces
from fingerprintdb.clip import hear
from fingerprintdb.embedding import load
from fingerprintdb.encoding import encode
from fingerprintdb.extraction import Timings, Windowing, embed_windows, extract_embeddings
from fingerprintdb.profile import ACCURATE, PLAIN
from fingerprintdb.separation import INSTALL_COMMAND, Samples, SeparatorError, find
from fingerprintdb.source import open_source
from fingerprintdb.voices import RATE_HZ, _voice

calls: list[tuple[int, int]] = []


def later_half(samples: Samples, sample_rate_hz: int) -> Samples:
    """A separator that notes its calls and mutes the first half of what it gets."""
    calls.append((len(samples), sample_rate_hz))
    kept = samples.copy()
    kept[: len(kept) // 2] = 0
    return kept


def nothing(samples: Samples, sample_rate_hz: int) -> Samples:
    return np.zeros_like(samples)


def too_short(samples: Samples, sample_rate_hz: int) -> Samples:
    return samples[:-1]


def two_channels(samples: Samples, sample_rate_hz: int) -> Samples:
    return np.stack([samples, samples])


def not_a_number(samples: Samples, sample_rate_hz: int) -> Samples:
    return np.where(np.arange(len(samples)) == 7, np.float32(np.nan), samples)


def failing(samples: Samples, sample_rate_hz: int) -> Samples:
    raise ZeroDivisionError("no bands\nsecond line")


PLUG_INS = {
    **{run.__name__: f"{__name__}:{run.__name__}" for run in (
        later_half, nothing, too_short, two_channels, not_a_number, failing,
    )},
    "absent": "fingerprintdb.no_such_module:run",
    "foreign": "no_such_package.module:run",
    "misnamed": f"{__name__}:no_such_function",
}  # fmt: skip


@pytest.fixture
def plug_ins(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def registered(*, group: str) -> EntryPoints:
        assert group == "fingerprintdb.separators"
        return EntryPoints(EntryPoint(name, value, group) for name, value in PLUG_INS.items())

    monkeypatch.setattr(separation, "entry_points", registered)
    calls.clear()
    yield
    calls.clear()


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("music") / "piece.flac"
    encode(path, next(iter(pieces())).samples[: 12 * SAMPLE_RATE_HZ], SAMPLE_RATE_HZ)
    return path


def test_an_unknown_name_is_told_the_known_ones(plug_ins: None) -> None:
    with pytest.raises(SeparatorError, match="'vocals'") as raised:
        find("vocals")
    assert ", ".join(sorted(PLUG_INS)) in raised.value.message
    assert "fingerprintdb.separators" in raised.value.remedy


def test_the_shipped_separator_is_registered() -> None:
    with pytest.raises(SeparatorError, match="repet-sim"):
        find("vocals")


@pytest.mark.parametrize(
    ("name", "message", "remedy"),
    [
        ("absent", "lacks a library: No module named", INSTALL_COMMAND),
        ("foreign", "lacks a library: No module named", "install what no_such_package.module"),
        ("misnamed", "cannot be loaded: .*no_such_function", "install what test_separation needs"),
    ],
)
def test_what_does_not_load_has_a_remedy(
    plug_ins: None, name: str, message: str, remedy: str
) -> None:
    with pytest.raises(SeparatorError, match=f"{name} {message}") as raised:
        find(name)
    assert raised.value.remedy.startswith(remedy)


def test_a_host_without_librosa_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "librosa.decompose", None)
    monkeypatch.delitem(sys.modules, "fingerprintdb.repet", raising=False)
    with pytest.raises(SeparatorError, match="repet-sim lacks a library") as raised:
        find("repet-sim")
    assert raised.value.remedy == "pip install 'fingerprintdb[separation]'"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("too_short", r"returned an array of shape \(8819,\), not \(8820,\)"),
        ("two_channels", r"returned an array of shape \(2, 8820\), not \(8820,\)"),
        ("not_a_number", "returned values that are not finite numbers"),
        ("failing", "failed: no bands —"),
    ],
)
def test_what_a_plug_in_does_wrong_is_said(plug_ins: None, name: str, message: str) -> None:
    sound = np.random.default_rng(0).normal(0, 0.1, 8820).astype(np.float32)
    windowing = Windowing(separator=name)
    with pytest.raises(SeparatorError, match=f"the separator {name} {message}"):
        embed_windows(iter([sound]), load("builtin"), windowing, Timings())


def test_a_plug_in_is_applied_to_every_window(plug_ins: None, recording: Path) -> None:
    embedder = load("builtin")
    found = {}
    for name in (None, "later_half"):
        timings = Timings()
        with open_source(str(recording)) as source:
            windowing = Windowing(separator=name)
            found[name] = extract_embeddings(source, embedder, windowing, timings)
        assert ("separation" in timings.ms) == (name is not None)
    # Windows at 0, 2.5, 5 and 7.5 s, the last of 4.5 s.
    assert calls == [(55_125, 11_025)] * 3 + [(calls[-1][0], 11_025)]
    assert calls[-1][0] == pytest.approx(4.5 * 11_025, abs=2)
    for plain, halved in zip(found[None], found["later_half"], strict=True):
        assert plain.vector is not None
        assert halved.vector is not None
        assert float(plain.vector @ halved.vector) < 0.99


def test_a_clip_is_separated_as_a_recording_is_and_its_landmarks_are_not(
    plug_ins: None, recording: Path
) -> None:
    embedder = load("builtin")
    with open_source(str(recording)) as source:
        clip = hear(source, ACCURATE, Timings(), "later_half")
        plain = hear(source, ACCURATE, Timings())
        windowing = Windowing(separator="later_half")
        stored = extract_embeddings(source, embedder, windowing, Timings())
    heard = clip.windows(embedder)
    for vector, segment in zip(heard.vectors, stored, strict=True):
        assert segment.vector is not None
        np.testing.assert_allclose(vector, segment.vector, atol=1e-6)
    assert np.abs(heard.vectors - plain.windows(embedder).vectors).max() > 0.01
    assert np.array_equal(clip.landmarks(PLAIN).hashes, plain.landmarks(PLAIN).hashes)


def test_silence_is_not_separated_and_what_is_silent_then_gets_no_vector(plug_ins: None) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 5 * 11_025).astype(np.float32)
    blocks = [noise, np.zeros_like(noise)]
    windowing = Windowing(segment_hop_sec=5, separator="later_half")
    segments = embed_windows(iter(blocks), load("builtin"), windowing, Timings())
    assert [segment.vector is None for segment in segments] == [False, True]
    assert len(calls) == 1
    windowing = Windowing(segment_hop_sec=5, separator="nothing")
    segments = embed_windows(iter(blocks), load("builtin"), windowing, Timings())
    assert [segment.vector is None for segment in segments] == [True, True]


def notes_in_a_loop(rate_hz: int) -> Samples:
    """Return 5 s of four notes of 0.25 s, again and again, at unit power."""
    time_sec = np.arange(rate_hz // 4) / rate_hz
    notes = [
        sum(np.sin(2 * np.pi * pitch_hz * n * time_sec) / n for n in (1, 2, 3))
        for pitch_hz in (220.0, 330.0, 277.2, 440.0)
    ]
    loop = np.tile(np.concatenate([note * np.exp(-4 * time_sec) for note in notes]), 5)
    return np.asarray(loop / loop.std(), np.float32)


@pytest.mark.parametrize("rate_hz", [11_025, 16_000, 48_000])
def test_repet_sim_lowers_a_voice_over_a_loop(rate_hz: int) -> None:
    pytest.importorskip("librosa")
    music = notes_in_a_loop(rate_hz)
    spoken = _voice(5 * RATE_HZ, np.random.default_rng(2))
    voice = resample_poly(spoken, rate_hz, RATE_HZ)[: len(music)]
    voice /= voice.std()
    mixture = np.asarray(0.1 * (music + voice), np.float32)
    kept = find("repet-sim")(mixture, rate_hz)
    assert kept.shape == mixture.shape
    assert kept.dtype == np.float32
    assert np.isfinite(kept).all()
    # What of each is left, by least squares.
    parts = np.stack([music, voice], axis=1)
    (of_music, of_voice), *_ = np.linalg.lstsq(parts, kept.astype(np.float64) / 0.1)
    assert of_music > 0.75
    assert of_voice < 0.5 * of_music


@pytest.mark.parametrize("duration_sec", [0.001, 0.5, 1.0, 1.3, 5.0])
@pytest.mark.parametrize("rate_hz", [8_000, 48_000])
def test_repet_sim_keeps_any_length(duration_sec: float, rate_hz: int) -> None:
    pytest.importorskip("librosa")
    count = round(duration_sec * rate_hz)
    noise = np.random.default_rng(0).normal(0, 0.1, count).astype(np.float32)
    assert find("repet-sim")(noise, rate_hz).shape == (count,)
    assert not find("repet-sim")(np.zeros_like(noise), rate_hz).any()
