"""An explanation shows the numbers that the match was judged by, where they are in the clip."""

import sys
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from fingerprintdb.album import SAMPLE_RATE_HZ, pieces
from fingerprintdb.cascade import nobody, search
from fingerprintdb.clip import Clip, hear
from fingerprintdb.degradation import degrade
from fingerprintdb.drawing import DrawingError, draw, require_drawable, save
from fingerprintdb.encoding import encode
from fingerprintdb.explanation import Explanation, explain_match
from fingerprintdb.extraction import Timings, extract_landmarks
from fingerprintdb.extractor import Extractor
from fingerprintdb.landmarks import Landmarks
from fingerprintdb.pipeline import ingest
from fingerprintdb.profile import ACCURATE
from fingerprintdb.source import open_source
from fingerprintdb.store.database import Connection, DatabaseError
from fingerprintdb.store.inspection import read_landmarks, read_recording, read_sub_fingerprints
from fingerprintdb.store.match import Match, Scope
from fingerprintdb.votes import cast_votes
from fingerprintdb.warp import Warp

LENGTH_SEC = 30
START_SEC = 8.0


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Half a minute of two pieces."""
    folder = tmp_path_factory.mktemp("music")
    files = []
    for piece in islice(pieces(), 2):
        files.append(folder / f"{piece.file_stem}.flac")
        encode(files[-1], piece.samples[: LENGTH_SEC * SAMPLE_RATE_HZ], SAMPLE_RATE_HZ, piece.tags)
    return files


@pytest.fixture
def asset_ids(connection: Connection, recordings: list[Path]) -> list[int]:
    stored = [ingest(connection, Extractor(), str(path)) for path in recordings]
    return [one.asset_id for one in stored if one.asset_id is not None]


def heard(folder: Path, condition: str, duration_sec: float = 8.0) -> Clip:
    """Return a clip of the first piece, spoiled."""
    piece = next(iter(pieces()))
    cut = piece.samples[int(START_SEC * SAMPLE_RATE_HZ) :][: int(duration_sec * SAMPLE_RATE_HZ)]
    path = folder / "clip.wav"
    encode(path, degrade(cut, SAMPLE_RATE_HZ, condition, 1), SAMPLE_RATE_HZ)
    with open_source(str(path)) as source:
        return hear(source, ACCURATE, Timings())


def matched(connection: Connection, clip: Clip) -> tuple[Match, Explanation]:
    match = search(connection, clip, nobody, Scope()).matches[0]
    return match, explain_match(connection, clip, match.asset_id, match)


@pytest.mark.parametrize("condition", ["clean", "pink 5 dB"])
def test_it_counts_what_the_match_counts(
    connection: Connection, asset_ids: list[int], tmp_path: Path, condition: str
) -> None:
    clip = heard(tmp_path, condition)
    match, seen = matched(connection, clip)
    assert match.asset_id == asset_ids[0]
    assert seen.aligned_landmarks == match.evidence.aligned_landmarks
    assert seen.histogram.at(seen.histogram.best()) == seen.aligned_landmarks
    assert seen.peak_frames * ACCURATE.frame_sec == pytest.approx(START_SEC, abs=0.05)
    assert seen.offset_sec == pytest.approx(match.offset_sec, abs=ACCURATE.frame_sec / 2)
    assert seen.histogram.chance_votes == match.evidence.chance_landmarks
    assert seen.bit_errors.is_judged.sum() == match.evidence.compared_sub_fingerprints
    assert seen.bit_errors.mean == pytest.approx(match.evidence.bit_error_rate)
    assert seen.bit_errors.chance_rate == match.evidence.chance_bit_error_rate


def test_only_the_span_that_was_judged_counts(
    connection: Connection, asset_ids: list[int], tmp_path: Path
) -> None:
    clip = heard(tmp_path, "clean", duration_sec=20)
    clip.samples[: 6 * ACCURATE.sample_rate_hz] = np.random.default_rng(1).normal(
        0, 0.1, 6 * ACCURATE.sample_rate_hz
    )
    match, seen = matched(connection, clip)
    errors = seen.bit_errors
    assert not errors.is_judged.all()
    assert errors.mean == pytest.approx(match.evidence.bit_error_rate)
    assert errors.rates[errors.times_sec < 5].mean() == pytest.approx(0.5, abs=0.05)
    assert errors.rates[errors.times_sec > 8].mean() < 0.1


def test_what_both_hold_lies_on_the_peaks_of_the_clip(
    connection: Connection, asset_ids: list[int], tmp_path: Path
) -> None:
    _, seen = matched(connection, heard(tmp_path, "clean"))
    assert seen.is_shared.mean() > 0.6
    assert len(seen.clip_peaks) == pytest.approx(len(seen.reference_peaks), rel=0.1)
    peaks = _places(seen.clip_peaks)
    for ends in (seen.anchors, seen.targets):
        assert len(ends) > 30
        distances = np.abs(_places(ends)[:, None] - peaks[None]) / [ACCURATE.frame_sec, 10.8]
        assert np.all(distances.max(axis=2).min(axis=1) < 2)
    assert np.all(seen.anchors.times_sec < seen.targets.times_sec)
    frames, bins = seen.spectrogram.decibels.shape
    assert frames * seen.spectrogram.frame_sec == pytest.approx(8, abs=0.2)
    assert bins * seen.spectrogram.bin_hz == pytest.approx(4522, abs=11)


def test_a_change_of_speed_is_undone(
    connection: Connection, asset_ids: list[int], tmp_path: Path
) -> None:
    _, seen = matched(connection, heard(tmp_path, "speed +5 %"))
    assert seen.alignment.warp.tempo == pytest.approx(1.05, abs=0.01)
    assert seen.is_shared.mean() > 0.5
    assert seen.targets.times_sec.max() < seen.duration_sec == pytest.approx(8 / 1.05, abs=0.01)
    assert seen.aligned_landmarks > 3 * seen.histogram.chance_votes


def test_an_asset_that_is_something_else_shows_nothing_but_chance(
    connection: Connection, asset_ids: list[int], tmp_path: Path
) -> None:
    seen = explain_match(connection, heard(tmp_path, "clean"), asset_ids[1], None)
    assert seen.aligned_landmarks < 3 * seen.histogram.chance_votes
    assert seen.is_shared.mean() < 0.5
    assert seen.bit_errors.chance_rate is None
    assert seen.bit_errors.mean == pytest.approx(0.5, abs=0.06)


def test_without_a_match_the_likeliest_place_is_found(
    connection: Connection, asset_ids: list[int], tmp_path: Path
) -> None:
    seen = explain_match(connection, heard(tmp_path, "speed +2 %"), asset_ids[0], None)
    assert seen.alignment.warp == Warp(1.022, 1.022)
    assert seen.offset_sec == pytest.approx(START_SEC, abs=0.1)


def test_the_database_gives_back_what_was_stored(
    connection: Connection, asset_ids: list[int], recordings: list[Path]
) -> None:
    with open_source(str(recordings[1])) as source:
        truth = extract_landmarks(source, ACCURATE, Timings())
    stored = read_landmarks(connection, asset_ids[1])
    assert _sorted(stored) == _sorted(truth.landmarks)
    connection.execute("SELECT fpdb.compact()")
    assert _sorted(read_landmarks(connection, asset_ids[1])) == _sorted(truth.landmarks)
    later = read_sub_fingerprints(connection, asset_ids[1], (430, 600), ACCURATE)
    assert later.first == 60
    part = truth.sub_fingerprints.bits[60 : 60 + len(later.bits)]
    assert np.array_equal(later.bits, part)


def test_what_cannot_be_compared_is_refused(connection: Connection, asset_ids: list[int]) -> None:
    assert read_recording(connection, asset_ids[0], ACCURATE).title == "Harbour at Six"
    with pytest.raises(DatabaseError, match="there is no asset 99"):
        read_recording(connection, 99, ACCURATE)
    connection.execute("SELECT fpdb.reprocess()")
    with pytest.raises(DatabaseError, match=r"are queued — run `fpdb reprocess"):
        read_recording(connection, asset_ids[0], ACCURATE)


def test_votes_of_one_anchor_count_thrice_at_most() -> None:
    asked = Landmarks(np.array([7, 8, 9, 10, 11], np.int32), np.array([0, 0, 0, 0, 5], np.int32))
    stored = Landmarks(asked.hashes, asked.frames + np.int32(100))
    votes = cast_votes(asked, stored)
    histogram = votes.histogram()
    assert (histogram.at(100), histogram.at(98)) == (4, 0)
    assert votes.landmarks_at(100).tolist() == [0, 1, 2, 3, 4]
    assert histogram.best_near(102) == 101
    none = cast_votes(asked, Landmarks(*np.empty((2, 0), np.int32))).histogram()
    assert none.votes.sum() == 0


def test_any_title_can_be_drawn(
    connection: Connection, asset_ids: list[int], tmp_path: Path
) -> None:
    _, seen = matched(connection, heard(tmp_path, "clean"))
    figure = draw(seen, "A$AP $^ \u7121\u984c", "90 % $")
    assert len(figure.axes) == 5
    path = tmp_path / "why.svg"
    save(figure, path)
    assert path.read_text("utf-8").startswith("<?xml")


def test_what_keeps_one_from_drawing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DrawingError, match=r"why\.gif has no suffix of a picture — use one of"):
        require_drawable(Path("why.gif"))
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(DrawingError, match=r'pip install "fingerprintdb\[plot\]"'):
        require_drawable(Path("why.png"))


def _places(points: object) -> np.ndarray:
    return np.stack((points.times_sec, points.frequencies_hz), axis=1)  # type: ignore[attr-defined]


def _sorted(landmarks: Landmarks) -> list[tuple[int, int]]:
    return sorted(zip(landmarks.hashes.tolist(), landmarks.frames.tolist(), strict=True))
