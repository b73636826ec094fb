"""The threshold keeps what was asked, and strangers, kin and shared sound are told apart."""

from pathlib import Path
from threading import Event

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fingerprintdb.album import SAMPLE_RATE_HZ, pieces
from fingerprintdb.calibration import DURATIONS_SEC, examine, most_negatives, passages, said
from fingerprintdb.encoding import encode
from fingerprintdb.extractor import Extractor
from fingerprintdb.pipeline import ingest
from fingerprintdb.store.calibration import (
    Sampled,
    feedback,
    put_thresholds,
    sample,
    thresholds,
)
from fingerprintdb.store.database import Connection
from fingerprintdb.thresholds import (
    CalibrationError,
    Score,
    false_alarm_bound,
    fit,
    fit_all,
    least_threshold,
    needed,
    require_any,
)

CONFIDENCES = st.lists(st.floats(0, 0.999), min_size=1, max_size=60)
RATES = st.floats(0.001, 0.5)


@given(CONFIDENCES, RATES)
def test_the_threshold_is_the_least_that_meets_the_rate(
    negatives: list[float], rate: float
) -> None:
    threshold = least_threshold(negatives, rate)
    allowed = rate * len(negatives) + 1e-6
    assert 0.5 <= threshold <= 1
    assert sum(confidence >= threshold for confidence in negatives) <= allowed
    lower = np.nextafter(threshold, 0)
    assert lower < 0.5 or sum(confidence >= lower for confidence in negatives) > allowed - 2e-6


@given(CONFIDENCES, RATES, RATES)
def test_a_rarer_false_alarm_asks_for_no_less(
    negatives: list[float], rate: float, other: float
) -> None:
    rare, often = sorted((rate, other))
    assert least_threshold(negatives, rare) >= least_threshold(negatives, often)


@given(CONFIDENCES, RATES, st.floats(0, 0.999))
def test_a_surer_wrong_answer_asks_for_no_less(
    negatives: list[float], rate: float, surer: float
) -> None:
    worse = [max(confidence, surer) for confidence in negatives]
    assert least_threshold(worse, rate) >= least_threshold(negatives, rate)


@given(st.integers(1, 500), st.data())
def test_the_bound_is_above_what_was_seen(negatives: int, data: st.DataObject) -> None:
    false_alarms = data.draw(st.integers(0, negatives))
    bound = false_alarm_bound(false_alarms, negatives)
    assert false_alarms / negatives <= bound <= 1
    if false_alarms < negatives:
        assert bound <= false_alarm_bound(false_alarms + 1, negatives)


def test_the_bound_is_that_of_the_tables() -> None:
    assert false_alarm_bound(0, 300) == pytest.approx(3 / 300, rel=0.01)
    assert false_alarm_bound(2, 100) == pytest.approx(0.0616, abs=1e-4)


def test_certain_wrong_answers_leave_no_threshold() -> None:
    with pytest.raises(CalibrationError, match=r"answered with certainty.*--version-of"):
        least_threshold([1.0] * 10 + [0.0] * 90, 0.05)


def negatives(count: int, confidence: float = 0.1, name: str = "music") -> list[Score]:
    return [Score(name, confidence, False, 5.0) for _ in range(count)]


def test_too_few_negatives_say_how_many_and_what_to_do() -> None:
    assert (needed(0.01), needed(0.03), needed(0.5)) == (300, 100, 6)
    fit("music", negatives(300), 0.75, 0.01)
    with pytest.raises(CalibrationError) as caught:
        fit("music", negatives(299), 0.75, 0.01)
    assert str(caught.value) == (
        "music: 299 negatives are too few for a false-alarm rate of 0.01, which needs 300"
        " — ingest more recordings of other works, or raise --samples,"
        " or accept --false-alarms 0.011"
    )
    for few in (0, 5):
        with pytest.raises(CalibrationError, match=rf"music: {few} negatives .* --samples$"):
            require_any({"music": few}, 0.01)
    with pytest.raises(CalibrationError, match="no recording is ready"):
        require_any({}, 0.01)


def test_content_types_with_too_few_are_left_alone() -> None:
    former = {"music": 0.75, "speech": 0.75}
    scores = negatives(300) + negatives(20, name="speech")
    found, refused = fit_all(scores, former, 0.01)
    assert [one.content_type for one in found] == ["music"]
    assert refused["speech"].startswith("speech: 20 negatives are too few")
    with pytest.raises(CalibrationError, match="music: 300 negatives"):
        fit_all(scores, former, 0.001)
    with pytest.raises(CalibrationError, match="no recording could be asked about"):
        fit_all([], former, 0.01)


def test_recall_is_told_by_length_and_what_people_said_apart() -> None:
    positives = [Score("music", c, True, sec) for c in (0.4, 0.9) for sec in (1.0, 10.0)]
    one = fit("music", [*negatives(10, 0.8), *positives, Score("music", 0.95, True)], 0.7, 0.3)
    assert (one.former_false_alarms, one.false_alarms) == (10, 0)
    assert 0.8 < one.threshold < 0.80001
    assert [(r.duration_sec, r.asked, r.found) for r in one.recalls] == [
        (1.0, 2, 1),
        (10.0, 2, 1),
        (None, 1, 1),
    ]
    assert (one.positives, one.former_found, one.found) == (5, 3, 3)


def sampled(asset_id: int, duration_sec: float, *, has_strangers: bool = True) -> Sampled:
    return Sampled(asset_id, "a.wav", "music", "00", duration_sec, [], has_strangers)


def test_every_asset_gives_a_passage_before_any_gives_two() -> None:
    assets = [sampled(1, 75), sampled(2, 8), sampled(3, 4000)]
    assert passages(assets, 2) == {1: 1, 2: 1}
    assert passages(assets, 6) == {1: 3, 2: 1, 3: 2}
    assert passages(assets, 100) == {1: 7, 2: 1, 3: 10}
    lonely = [sampled(1, 75), sampled(2, 8, has_strangers=False)]
    heard = [Score("music", 0.9, False), Score("speech", 0.9, True)]
    assert most_negatives(lonely, {1: 2, 2: 1}, heard) == {"music": 11, "speech": 0}


def test_feedback_counts_by_the_content_type_of_the_asset_named(
    connection: Connection, library
) -> None:
    music, speech = library.add(), library.add(content_type="speech")
    connection.cursor().executemany(
        "INSERT INTO fpdb.feedback (asset_id, confidence, is_right) VALUES (%s, %s, %s)",
        [(music, 0.9, False), (speech, 0.8, True), (None, 0.7, False)],
    )
    assert said(feedback(connection, collection=None, content_type=None)) == [
        Score("music", 0.9, False),
        Score("speech", 0.8, True),
    ]
    assert len(feedback(connection, collection="default", content_type="speech")) == 1
    assert feedback(connection, collection="other", content_type=None) == []


def test_thresholds_are_written_with_their_origin(connection: Connection) -> None:
    former = thresholds(connection)
    put_thresholds(connection, {"speech": (0.8125, "because")})
    assert thresholds(connection) == former | {"speech": 0.8125}
    row = connection.execute(
        "SELECT calibration FROM fpdb.content_type WHERE name = 'speech'"
    ).fetchone()
    assert row == ("because",)


def test_a_sample_is_of_what_is_searched_and_knows_its_kin(connection, library) -> None:
    work = library.add(sha256="a")
    mix = library.add(sha256="b", version_of=work)
    copy = library.add(sha256="b")
    other = library.add(sha256="c", content_type="speech")
    library.add(landmark_status="failed")
    found = sample(connection, collection=None, content_type=None, limit=10, seed=1)
    by_key = {one.asset_id: one for one in found}
    assert by_key.keys() == {work, mix, copy, other}
    assert by_key[work].kin == [mix]
    assert by_key[mix].kin == [work, copy]
    assert by_key[work].has_strangers
    assert not by_key[mix].has_strangers
    assert not by_key[other].has_strangers
    again = sample(connection, collection=None, content_type=None, limit=2, seed=1)
    assert again == found[:2]
    assert sample(connection, collection="x", content_type=None, limit=2, seed=1) == []


@pytest.fixture
def stored(connection: Connection, tmp_path: Path) -> dict[str, int]:
    """Three pieces of 12 s: one, its copy in another format, and an unrelated one."""
    first, second = ((p.samples[: 12 * SAMPLE_RATE_HZ]) for p in list(pieces())[:2])
    keys = {}
    for name, samples in (("one.flac", first), ("again.mp3", first), ("two.flac", second)):
        encode(tmp_path / name, samples, SAMPLE_RATE_HZ)
        keys[name] = int(ingest(connection, Extractor(), str(tmp_path / name)).asset_id or 0)
    return keys


def findings(connection: Connection, asset_id: int):
    assets = sample(connection, collection=None, content_type=None, limit=10, seed=1)
    (asset,) = (one for one in assets if one.asset_id == asset_id)
    return examine(
        connection, Extractor(), asset, passages=1, collection=None, seed=1, stopped=Event()
    )


def test_shared_sound_is_no_false_alarm_and_named_versions_are_kin(
    connection: Connection, stored: dict[str, int]
) -> None:
    first = findings(connection, stored["one.flac"])
    (pair,) = first.shared_pairs()
    assert (pair.asset_id, pair.other_asset_id) == (stored["one.flac"], stored["again.mp3"])
    assert pair.other_start_sec == pytest.approx(pair.start_sec, abs=0.2)
    # A spoilt clip of a second may prove nothing.
    assert pair.clips >= len(DURATIONS_SEC) - 1
    assert all(score.is_positive for score in first.scores)
    assert all(score.confidence > 0.9 for score in first.scores[1:])

    connection.execute(
        "UPDATE fpdb.asset SET version_of = %s WHERE asset_id = %s",
        (stored["one.flac"], stored["again.mp3"]),
    )
    second = findings(connection, stored["one.flac"])
    assert second.shared == []
    negatives = [score for score in second.scores if not score.is_positive]
    assert [score.duration_sec for score in negatives] == list(DURATIONS_SEC)
    assert all(score.confidence < 0.95 for score in negatives), negatives
    assert sum(score.is_positive for score in second.scores) == len(DURATIONS_SEC)


def test_what_cannot_be_asked_about_is_skipped_with_the_reason(
    connection: Connection, stored: dict[str, int], tmp_path: Path
) -> None:
    (tmp_path / "one.flac").unlink()
    (lost,) = findings(connection, stored["one.flac"]).skipped
    assert "one.flac does not exist" in lost.reason
    (tmp_path / "two.flac").write_bytes((tmp_path / "again.mp3").read_bytes())
    (changed,) = findings(connection, stored["two.flac"]).skipped
    assert changed.reason.endswith("the file is not what was stored — ingest it again")
