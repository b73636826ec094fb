"""Clips are found as hard as it takes, and what is nothing is said to be nothing."""

from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from fingerprintdb.album import SAMPLE_RATE_HZ, pieces
from fingerprintdb.audio import AudioError, Samples
from fingerprintdb.cascade import Answer, searches
from fingerprintdb.degradation import degrade
from fingerprintdb.encoding import encode
from fingerprintdb.extractor import Extractor
from fingerprintdb.identification import identify
from fingerprintdb.pipeline import ingest
from fingerprintdb.store.database import Connection
from fingerprintdb.store.match import Scope

RATE_HZ = SAMPLE_RATE_HZ
CLIP_SEC = 6
PIECES = list(islice(pieces(), 4))


@pytest.fixture
def stocked(connection: Connection, tmp_path: Path) -> dict[str, int]:
    """Three recordings by name; the fourth piece is in no database."""
    held = {}
    for piece in PIECES[:3]:
        path = tmp_path / f"{piece.file_stem}.flac"
        encode(path, piece.samples[: 30 * RATE_HZ], RATE_HZ, piece.tags)
        held[piece.file_stem] = ingest(connection, Extractor(), str(path)).asset_id or 0
    return held


def ask(connection: Connection, tmp_path: Path, samples: Samples, **scope: object) -> Answer:
    path = tmp_path / "clip.wav"
    encode(path, samples, RATE_HZ)
    wanted = replace(Scope(), **scope)  # type: ignore[arg-type]
    return identify(connection, Extractor(), wanted, uri=str(path)).answer


def cut(number: int, start_sec: float = 8, duration_sec: float = CLIP_SEC) -> Samples:
    first = round(start_sec * RATE_HZ)
    return PIECES[number].samples[first : first + round(duration_sec * RATE_HZ)]


def test_an_easy_clip_costs_one_plain_search(
    connection: Connection, stocked: dict[str, int], tmp_path: Path
) -> None:
    answer = ask(connection, tmp_path, cut(0))
    assert answer.verdict == "match"
    best = answer.matches[0]
    assert best.asset_id == stocked[PIECES[0].file_stem]
    assert best.offset_sec == pytest.approx(8, abs=0.05)
    assert [stage.name for stage in answer.stages] == ["plain"]
    assert answer.stages[0].postings > 0
    evidence = best.evidence
    assert evidence.aligned_landmarks > (evidence.chance_landmarks or 0)
    assert evidence.bit_error_rate is not None
    assert evidence.bit_error_rate < 0.2 < (evidence.chance_bit_error_rate or 0)
    assert evidence.bit_rank == 1


@pytest.mark.parametrize(
    ("condition", "tempo", "pitch"),
    [
        ("speed +5 %", 1.05, 1.05),
        ("speed -2 %", 0.98, 0.98),
        ("tempo -10 %", 0.9, 1.0),
        ("pitch +1", 1.0, 1.0595),
    ],
)
def test_what_was_done_to_a_clip_is_told(
    connection: Connection,
    stocked: dict[str, int],
    tmp_path: Path,
    condition: str,
    tempo: float,
    pitch: float,
) -> None:
    spoilt = degrade(cut(1, duration_sec=CLIP_SEC * tempo + 0.2), RATE_HZ, condition, seed=1)
    answer = ask(connection, tmp_path, spoilt[: CLIP_SEC * RATE_HZ])
    best = answer.matches[0]
    assert best.asset_id == stocked[PIECES[1].file_stem]
    assert best.evidence.tempo == pytest.approx(tempo, abs=0.02)
    assert best.evidence.pitch == pytest.approx(pitch, abs=0.015)
    assert best.offset_sec == pytest.approx(8, abs=0.1)
    assert best.query_end_sec <= CLIP_SEC + 0.5
    assert best.query_end_sec - best.query_start_sec > CLIP_SEC / 2
    assert best.evidence.aligned_landmarks > (best.evidence.chance_landmarks or 0)


def test_what_is_not_there_goes_through_every_stage(
    connection: Connection, stocked: dict[str, int], tmp_path: Path
) -> None:
    answer = ask(connection, tmp_path, cut(3))
    assert (answer.verdict, answer.matches) == ("no match", [])
    assert [stage.name for stage in answer.stages] == ["plain", "wide", "warped"]


def test_a_budget_ends_the_search(
    connection: Connection, stocked: dict[str, int], tmp_path: Path
) -> None:
    whole = ask(connection, tmp_path, cut(3))
    plain = whole.stages[0].postings
    answer = ask(connection, tmp_path, cut(3), max_postings=plain + 1)
    assert answer.verdict == "no match"
    assert sum(stage.postings for stage in answer.stages) <= plain + 1


def test_two_copies_are_ambiguous_and_both_sure(
    connection: Connection, stocked: dict[str, int], tmp_path: Path
) -> None:
    copy = tmp_path / "copy.wav"
    encode(copy, PIECES[0].samples[: 30 * RATE_HZ], RATE_HZ)
    other = ingest(connection, Extractor(), str(copy)).asset_id
    connection.execute(
        "UPDATE fpdb.asset SET version_of = %s WHERE asset_id = %s",
        (stocked[PIECES[0].file_stem], other),
    )
    answer = ask(connection, tmp_path, cut(0))
    assert answer.verdict == "ambiguous"
    copies = answer.matches[:2]
    assert {match.asset_id for match in copies} == {stocked[PIECES[0].file_stem], other}
    assert {match.work_id for match in copies} == {stocked[PIECES[0].file_stem]}
    assert all(match.confidence > 0.99 for match in copies)


def test_recordings_one_after_the_other_are_not_ambiguous(
    connection: Connection, stocked: dict[str, int], tmp_path: Path
) -> None:
    answer = ask(connection, tmp_path, np.concatenate([cut(0, start_sec=16), cut(1)]))
    first, second = answer.matches
    # Their bits agree with the clip equally well.
    assert first.agreement == pytest.approx(second.agreement, abs=0.3)
    assert answer.verdict == "match"


def test_a_clip_judged_by_its_beginning_says_so(
    connection: Connection,
    stocked: dict[str, int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / "clip.wav"
    encode(path, cut(0), RATE_HZ)
    assert identify(connection, Extractor(), Scope(), uri=str(path)).is_whole
    for module in ("clip", "identification"):
        monkeypatch.setattr(f"fingerprintdb.{module}.MAX_SEC", 3.0)
    assert not identify(connection, Extractor(), Scope(), uri=str(path)).is_whole


def test_an_excluded_asset_is_not_found(
    connection: Connection, stocked: dict[str, int], tmp_path: Path
) -> None:
    answer = ask(connection, tmp_path, cut(1), exclude_asset=stocked[PIECES[1].file_stem])
    assert answer.verdict == "no match"


def clips() -> dict[str, Samples]:
    random = np.random.default_rng(1)
    time_sec = np.arange(CLIP_SEC * RATE_HZ) / RATE_HZ
    return {
        "tone": 0.5 * np.sin(2 * np.pi * 440 * time_sec),
        "two tones": 0.3 * np.sin(2 * np.pi * 440 * time_sec) + 0.3 * np.sin(6000 * time_sec),
        "white noise": random.uniform(-0.5, 0.5, len(time_sec)),
        "clipped noise": np.sign(random.standard_normal(len(time_sec))),
        "clicks": (np.arange(len(time_sec)) % (RATE_HZ // 4) == 0).astype(np.float64),
        "sweep": 0.5 * np.sin(2 * np.pi * (100 + 300 * time_sec) * time_sec),
    }


@pytest.mark.parametrize("name", clips())
def test_what_is_no_music_is_never_a_match(
    connection: Connection, stocked: dict[str, int], tmp_path: Path, name: str
) -> None:
    answer = ask(connection, tmp_path, clips()[name].astype(np.float32))
    assert (answer.verdict, answer.matches) == ("no match", [])


@pytest.mark.parametrize("gain_db", [-60, 30])
def test_a_clip_is_found_at_any_level(
    connection: Connection, stocked: dict[str, int], tmp_path: Path, gain_db: float
) -> None:
    """Sixty decibels down a 16-bit file has four bits left; thirty up it is clipped throughout."""
    answer = ask(connection, tmp_path, cut(0) * np.float32(10 ** (gain_db / 20)))
    assert answer.matches[0].asset_id == stocked[PIECES[0].file_stem]


def test_a_click_in_silence_is_an_error(
    connection: Connection, stocked: dict[str, int], tmp_path: Path
) -> None:
    click = (np.arange(CLIP_SEC * RATE_HZ) == RATE_HZ).astype(np.float32)
    with pytest.raises(AudioError, match="silent"):
        ask(connection, tmp_path, click)


@pytest.mark.parametrize("duration_sec", [0.1, 0.2])
def test_next_to_nothing_is_an_error(
    connection: Connection, stocked: dict[str, int], tmp_path: Path, duration_sec: float
) -> None:
    with pytest.raises(AudioError, match=r"too short|no audio|empty"):
        ask(connection, tmp_path, cut(0, duration_sec=duration_sec))


def test_the_searches_begin_with_the_cheapest() -> None:
    names = [step.stage for step in searches()]
    assert names[:2] == ["plain", "wide"]
    assert set(names[2:]) == {"warped"}
