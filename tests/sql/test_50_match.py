"""A match joins landmarks and vectors where they agree on asset and offset."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import psycopg
import pytest
from library import Library, Vectors, excerpt, random_landmarks, random_vectors
from pgvector import Vector

from fingerprintdb.landmarks import Landmarks
from fingerprintdb.profile import ACCURATE

HOP_SEC = 2.5
FRAME_SEC = ACCURATE.frame_sec

COLUMNS = [
    "confidence", "score", "offset_sec", "query_start_sec", "query_end_sec",
    "reference_start_sec", "reference_end_sec", "aligned_landmarks", "chance_landmarks",
    "bit_error_rate", "chance_bit_error_rate", "compared_sub_fingerprints", "bit_rank",
    "aligned_segments", "similarity", "work_id", "is_ambiguous",
]  # fmt: skip


@dataclass(frozen=True)
class Recording:
    """A made-up recording of 60 s."""

    asset_id: int
    landmarks: Landmarks
    vectors: Vectors

    def clip(self, window: int, windows: int = 4) -> tuple[Landmarks, Vectors, list[float]]:
        """Cut a query that begins with a stored window."""
        first = round(window * HOP_SEC / FRAME_SEC)
        last = first + round(windows * HOP_SEC / FRAME_SEC)
        return (
            excerpt(self.landmarks, first, last),
            self.vectors[window : window + windows],
            [n * HOP_SEC for n in range(windows)],
        )


def record(library: Library, seed: int, **columns: Any) -> Recording:
    rng = np.random.default_rng(seed)
    landmarks, vectors = random_landmarks(rng), random_vectors(rng, 23)
    return Recording(library.add(landmarks, vectors, **columns), landmarks, vectors)


def match(
    library: Library,
    landmarks: Landmarks | None,
    vectors: Vectors | None = None,
    starts: list[float] | None = None,
    **arguments: Any,
) -> list[dict[str, Any]]:
    named = "".join(f", {name} => %s" for name in arguments)
    return library.names(
        f"SELECT * FROM fpdb.match(%s::int[], %s::int[], %s::vector[], %s::float8[]{named})",
        [] if landmarks is None else landmarks.hashes.tolist(),
        [] if landmarks is None else landmarks.frames.tolist(),
        None if vectors is None else [Vector(vector) for vector in vectors],
        starts,
        *arguments.values(),
    )


def test_the_columns_are_the_contract(library: Library) -> None:
    recording = record(library, 1)
    (row,) = match(library, *recording.clip(4))
    assert list(row) == ["asset_id", *COLUMNS]
    (row,) = library.names(
        "SELECT * FROM fpdb.match_asset(%s, min_confidence => 0)",
        record_copy(library, recording),
    )
    assert list(row) == ["other_asset_id", *COLUMNS]


def record_copy(library: Library, recording: Recording, **columns: Any) -> int:
    return library.add(recording.landmarks, recording.vectors, **columns)


def test_evidence_that_agrees_fills_one_row(library: Library) -> None:
    library.calibrate()
    recording = record(library, 1)
    record(library, 2)
    (row,) = match(library, *recording.clip(4))
    assert row["asset_id"] == recording.asset_id
    assert row["offset_sec"] == pytest.approx(4 * HOP_SEC, abs=FRAME_SEC)
    assert row["aligned_landmarks"] > 100
    assert row["chance_landmarks"] > 0
    assert row["aligned_segments"] == 4
    assert row["similarity"] == pytest.approx(1, abs=1e-5)
    assert row["confidence"] > 0.99


def test_two_kinds_are_surer_than_either(library: Library) -> None:
    library.calibrate()
    recording = record(library, 1)
    landmarks, vectors, starts = recording.clip(4)
    few = Landmarks(landmarks.hashes[::40], landmarks.frames[::40])
    rng = np.random.default_rng(3)
    noisy = vectors + 0.03 * rng.standard_normal(vectors.shape).astype(np.float32)
    (by_landmarks,) = match(library, few, min_confidence=0)
    (by_vectors,) = match(library, None, noisy, starts, min_confidence=0)
    (by_both,) = match(library, few, noisy, starts, min_confidence=0)
    assert 0 < by_landmarks["confidence"] < 1
    assert 0 < by_vectors["confidence"] < 1
    expected = 1 - (1 - by_landmarks["confidence"]) * (1 - by_vectors["confidence"])
    assert by_both["confidence"] == pytest.approx(expected)
    assert by_both["score"] == pytest.approx(by_landmarks["score"] + by_vectors["score"])


def test_evidence_that_disagrees_is_not_added_up(library: Library) -> None:
    library.calibrate()
    recording = record(library, 1)
    landmarks, _, _ = recording.clip(2)
    _, vectors, starts = recording.clip(15)
    (row,) = match(library, landmarks, vectors, starts, min_confidence=0)
    # One row an asset: the surer witness speaks, alone.
    assert (row["aligned_landmarks"] > 0) != (row["aligned_segments"] > 0)
    assert row["offset_sec"] == pytest.approx(
        (2 if row["aligned_landmarks"] else 15) * HOP_SEC, abs=FRAME_SEC
    )


def test_disagreeing_evidence_of_an_uncalibrated_model_does_not_hide_landmarks(
    library: Library,
) -> None:
    recording = record(library, 1)
    landmarks, _, _ = recording.clip(2)
    _, vectors, starts = recording.clip(15)
    (row,) = match(library, landmarks, vectors, starts)
    assert row["aligned_segments"] == 0
    assert row["similarity"] is None
    assert row["offset_sec"] == pytest.approx(2 * HOP_SEC, abs=FRAME_SEC)


def test_landmarks_alone_identify(library: Library) -> None:
    recording = record(library, 1)
    (row,) = match(library, recording.clip(4)[0])
    assert (row["asset_id"], row["aligned_segments"]) == (recording.asset_id, 0)
    assert row["similarity"] is None


def test_landmarks_identify_without_any_model(library: Library) -> None:
    recording = record(library, 1)
    library.connection.execute("UPDATE fpdb.model SET state = 'retired'")
    assert len(match(library, recording.clip(4)[0])) == 1


def test_vectors_alone_identify_when_calibrated(library: Library) -> None:
    recording = record(library, 1)
    _, vectors, starts = recording.clip(4)
    assert match(library, None, vectors, starts) == []
    library.calibrate()
    (row,) = match(library, None, vectors, starts)
    assert (row["asset_id"], row["aligned_landmarks"]) == (recording.asset_id, 0)
    assert row["chance_landmarks"] is None


def test_null_landmarks_leave_the_vectors(library: Library) -> None:
    library.calibrate()
    recording = record(library, 1)
    _, vectors, starts = recording.clip(4)
    rows = library.rows(
        "SELECT asset_id FROM fpdb.match(NULL, NULL, %s::vector[], %s)",
        [Vector(vector) for vector in vectors],
        starts,
    )
    assert rows == [(recording.asset_id,)]


def test_a_recording_that_is_not_stored_has_no_match(library: Library) -> None:
    library.calibrate()
    for seed in range(5):
        record(library, seed)
    rng = np.random.default_rng(99)
    starts = [n * HOP_SEC for n in range(4)]
    for _ in range(10):
        query = random_landmarks(rng, duration_sec=10)
        assert match(library, query, random_vectors(rng, 4), starts) == []


def test_nothing_asked_finds_nothing(library: Library) -> None:
    record(library, 1)
    assert match(library, None, min_confidence=0) == []


def test_scope(library: Library) -> None:
    library.calibrate()
    library.connection.execute("INSERT INTO fpdb.collection (name) VALUES ('radio')")
    recording = record(library, 1)
    plain = recording.asset_id
    radio = record_copy(library, recording, collection="radio")
    tagged = record_copy(library, recording, content_type="speech", metadata='{"label": "X"}')
    for arguments, expected in (
        ({}, {plain, radio, tagged}),
        ({"collection": "radio"}, {radio}),
        ({"content_type": "speech"}, {tagged}),
        ({"metadata": '{"label": "X"}'}, {tagged}),
        ({"exclude_asset": plain}, {radio, tagged}),
        ({"collection": "radio", "exclude_asset": radio}, set()),
    ):
        rows = match(library, *recording.clip(4), **arguments)
        assert {row["asset_id"] for row in rows} == expected, arguments
    assert len(match(library, *recording.clip(4), k=2)) == 2


def test_a_threshold_of_the_content_type_decides(library: Library) -> None:
    recording = record(library, 1, content_type="speech")
    landmarks = recording.clip(4)[0]
    weak = Landmarks(landmarks.hashes[::40], landmarks.frames[::40])
    (row,) = match(library, weak, min_confidence=0)
    for threshold, found in ((row["confidence"] - 0.01, 1), (row["confidence"] + 0.01, 0)):
        library.connection.execute(
            "UPDATE fpdb.content_type SET match_threshold = %s WHERE name = 'speech'",
            (min(1, max(0, threshold)),),
        )
        assert len(match(library, weak)) == found


def test_a_duplicate_of_a_stored_asset_is_found(library: Library) -> None:
    recording = record(library, 1)
    later = Landmarks(recording.landmarks.hashes, recording.landmarks.frames + np.int32(430))
    duplicate = library.add(later)
    record(library, 2)
    (row,) = library.names("SELECT * FROM fpdb.match_asset(%s)", recording.asset_id)
    assert row["other_asset_id"] == duplicate
    assert row["offset_sec"] == pytest.approx(430 * FRAME_SEC)
    assert row["confidence"] > 0.99
    (back,) = library.names("SELECT * FROM fpdb.match_asset(%s)", duplicate)
    assert back["other_asset_id"] == recording.asset_id
    assert back["offset_sec"] == pytest.approx(-430 * FRAME_SEC)


def test_a_duplicate_is_found_by_vectors_too(library: Library) -> None:
    library.calibrate()
    recording = record(library, 1)
    duplicate = library.add(vectors=recording.vectors)
    rows = library.rows(
        "SELECT other_asset_id, aligned_segments FROM fpdb.match_asset(%s)", recording.asset_id
    )
    assert rows == [(duplicate, len(recording.vectors))]


def test_an_asset_without_evidence_or_unknown_has_no_duplicates(library: Library) -> None:
    record(library, 1)
    bare = library.add()
    for asset_id in (bare, 999_999):
        assert library.rows("SELECT * FROM fpdb.match_asset(%s)", asset_id) == []


@pytest.mark.parametrize("tempo", [0.0, -1.0, None, float("nan"), float("inf")])
def test_a_tempo_that_is_none_is_refused(library: Library, tempo: float | None) -> None:
    with pytest.raises(psycopg.errors.NumericValueOutOfRange, match="tempo must be a factor"):
        match(library, record(library, 1).landmarks, tempo=tempo)
