"""Landmarks find a recording at the right offset, within the scope asked for, and nothing else."""

import numpy as np
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from library import Library, excerpt, random_landmarks

from fingerprintdb.landmarks import Landmarks
from fingerprintdb.profile import ACCURATE

FRAME_SEC = ACCURATE.frame_sec

MATCH = (
    "SELECT * FROM fpdb.match_landmarks(%s, %s, k => %s, min_confidence => %s, collection => %s,"
    " content_type => %s, metadata => %s, exclude_asset => %s)"
)


def search(
    library: Library,
    query: Landmarks,
    *,
    k: int = 10,
    min_confidence: float | None = None,
    collection: str | None = None,
    content_type: str | None = None,
    metadata: str | None = None,
    exclude_asset: int | None = None,
) -> list[dict[str, float]]:
    return library.names(
        MATCH,
        query.hashes.tolist(),
        query.frames.tolist(),
        k,
        min_confidence,
        collection,
        content_type,
        metadata,
        exclude_asset,
    )


def shifted(landmarks: Landmarks, frames: int) -> Landmarks:
    return Landmarks(landmarks.hashes, landmarks.frames + np.int32(frames))


def joined(*parts: Landmarks) -> Landmarks:
    return Landmarks(
        np.concatenate([part.hashes for part in parts]),
        np.concatenate([part.frames for part in parts]),
    )


def found(library: Library, query: Landmarks, **scope: object) -> set[float]:
    return {row["asset_id"] for row in search(library, query, **scope)}  # type: ignore[arg-type]


def test_the_view_shows_what_was_stored(library: Library) -> None:
    asset_id = library.add(Landmarks(np.array([7, 9], np.int32), np.array([1, 2], np.int32)))
    assert library.rows("SELECT * FROM fpdb.landmark ORDER BY frame") == [
        (asset_id, 7, 1),
        (asset_id, 9, 2),
    ]


def test_votes_are_agreements_of_hashes(library: Library) -> None:
    asset_id = library.add(Landmarks(np.array([7, 7, 9], np.int32), np.array([5, 7, 8], np.int32)))
    votes = library.rows(
        "SELECT asset_id, offset_frames, query_frame, asset_votes, postings"
        " FROM fpdb.landmark_votes('{7,8,9}', '{3,4,6}', NULL, NULL, NULL, NULL, 100, 10)"
        " ORDER BY 2, 3"
    )
    assert votes == [
        (asset_id, 2, 3, 3, 3),
        (asset_id, 2, 6, 3, 3),
        (asset_id, 4, 3, 3, 3),
    ]


def test_a_frame_is_as_long_as_the_profile_says(library: Library) -> None:
    assert library.value("SELECT fpdb.frame_sec()") == pytest.approx(FRAME_SEC, abs=1e-12)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    seed=st.integers(0, 2**32 - 1),
    at_frame=st.integers(0, 2_000),
    lead_frames=st.integers(0, 500),
)
def test_the_offset_is_reference_time_minus_query_time(
    library: Library, seed: int, at_frame: int, lead_frames: int
) -> None:
    library.connection.execute("TRUNCATE fpdb.asset CASCADE")
    rng = np.random.default_rng(seed)
    reference = random_landmarks(rng, duration_sec=60)
    asset_id = library.add(reference)
    query = shifted(excerpt(reference, at_frame, at_frame + 300), lead_frames)
    (match,) = search(library, query)
    assert match["asset_id"] == asset_id
    assert match["confidence"] > 0.9
    assert match["offset_sec"] == pytest.approx((at_frame - lead_frames) * FRAME_SEC, abs=1e-6)
    for end in ("start", "end"):
        difference = match[f"reference_{end}_sec"] - match[f"query_{end}_sec"]
        assert difference == pytest.approx(match["offset_sec"], abs=1e-6)


def test_a_query_from_the_middle_has_a_positive_offset(library: Library) -> None:
    reference = random_landmarks(np.random.default_rng(1))
    library.add(reference)
    (match,) = search(library, excerpt(reference, 1000, 1400))
    assert match["offset_sec"] == pytest.approx(1000 * FRAME_SEC)


def test_a_query_that_begins_before_the_reference_has_a_negative_offset(library: Library) -> None:
    rng = np.random.default_rng(1)
    reference = random_landmarks(rng)
    library.add(reference)
    before = random_landmarks(rng, duration_sec=300 * FRAME_SEC)
    query = joined(before, shifted(excerpt(reference, 0, 400), 300))
    (match,) = search(library, query)
    assert match["offset_sec"] == pytest.approx(-300 * FRAME_SEC)
    assert match["query_start_sec"] == pytest.approx(300 * FRAME_SEC, abs=0.3)
    assert match["reference_start_sec"] == pytest.approx(0, abs=0.3)


def test_the_spans_hold_the_agreeing_part_only(library: Library) -> None:
    rng = np.random.default_rng(1)
    reference = random_landmarks(rng)
    library.add(reference)
    noise = random_landmarks(rng, duration_sec=900 * FRAME_SEC)
    # Two stray landmarks agree by chance, long before and long after.
    stray = np.searchsorted(reference.frames, [620, 1480])
    strays = Landmarks(reference.hashes[stray], reference.frames[stray] - np.int32(600))
    query = joined(noise, strays, shifted(excerpt(reference, 1000, 1300), 400))
    (match,) = search(library, query)
    assert match["query_start_sec"] == pytest.approx(400 * FRAME_SEC, abs=0.3)
    assert match["query_end_sec"] == pytest.approx(700 * FRAME_SEC, abs=0.3)
    assert match["reference_start_sec"] == pytest.approx(1000 * FRAME_SEC, abs=0.3)
    assert match["reference_end_sec"] == pytest.approx(1300 * FRAME_SEC, abs=0.3)


def test_votes_at_neighbouring_offsets_count_together(library: Library) -> None:
    rng = np.random.default_rng(1)
    reference = random_landmarks(rng)
    library.add(reference)
    query = excerpt(reference, 1000, 1200)
    jitter = rng.choice([-1, 0, 1], len(query), p=[0.45, 0.1, 0.45]).astype(np.int32)
    (exact,) = search(library, query)
    (spread,) = search(library, Landmarks(query.hashes, query.frames + jitter))
    assert spread["aligned_landmarks"] == pytest.approx(exact["aligned_landmarks"], rel=0.1)
    assert spread["offset_sec"] == pytest.approx(exact["offset_sec"], abs=FRAME_SEC)


def test_one_moment_cannot_decide(library: Library) -> None:
    hashes = np.arange(200, dtype=np.int32)
    library.add(Landmarks(hashes, np.full(200, 100, np.int32)))
    moment = Landmarks(hashes, np.zeros(200, np.int32))
    (match,) = search(library, moment, min_confidence=0)
    assert match["aligned_landmarks"] == 3
    assert search(library, moment) == []


@pytest.mark.parametrize("lengths", [(2, 1), (0, 1), (1, 0)])
def test_arrays_of_unequal_length_are_refused(library: Library, lengths: tuple[int, int]) -> None:
    with pytest.raises(psycopg.errors.ArraySubscriptError, match="arrays of one length, not"):
        library.rows(
            "SELECT * FROM fpdb.match_landmarks(%s::int[], %s::int[])",
            *([1] * length for length in lengths),
        )


def test_one_null_array_is_refused(library: Library) -> None:
    with pytest.raises(psycopg.errors.ArraySubscriptError, match="not NULL and 1"):
        library.rows("SELECT * FROM fpdb.match_landmarks(NULL, '{1}')")


@pytest.mark.parametrize("arrays", ["'{}', '{}'", "NULL, NULL", "'{NULL}', '{NULL}'"])
def test_nothing_asked_finds_nothing(library: Library, arrays: str) -> None:
    library.add(random_landmarks(np.random.default_rng(1), duration_sec=5))
    found = library.rows(f"SELECT * FROM fpdb.match_landmarks({arrays}, min_confidence => 0)")
    assert found == []


def test_an_empty_database_has_no_matches(library: Library) -> None:
    assert search(library, random_landmarks(np.random.default_rng(1)), min_confidence=0) == []


def test_scope(library: Library) -> None:
    landmarks = random_landmarks(np.random.default_rng(1), duration_sec=10)
    library.connection.execute("INSERT INTO fpdb.collection (name) VALUES ('radio')")
    plain = library.add(landmarks)
    radio = library.add(landmarks, collection="radio")
    speech = library.add(landmarks, content_type="speech")
    tagged = library.add(landmarks, metadata='{"label": "X", "year": 1999}')
    query = excerpt(landmarks, 100, 300)
    assert found(library, query) == {plain, radio, speech, tagged}
    assert found(library, query, collection="radio") == {radio}
    assert found(library, query, collection="nowhere") == set()
    assert found(library, query, content_type="speech") == {speech}
    assert found(library, query, metadata='{"label": "X"}') == {tagged}
    assert found(library, query, metadata='{"label": "Y"}') == set()
    assert found(library, query, metadata="{}") == {plain, radio, speech, tagged}
    assert found(library, query, exclude_asset=plain) == {radio, speech, tagged}
    assert found(library, query, content_type="music", metadata='{"year": 1999}') == {tagged}
    assert len(search(library, query, k=2)) == 2
    assert search(library, query, k=0) == []


def test_scope_is_applied_before_candidates_are_chosen(library: Library) -> None:
    rng = np.random.default_rng(1)
    landmarks = random_landmarks(rng, duration_sec=10)
    library.connection.execute("INSERT INTO fpdb.collection (name) VALUES ('radio')")
    for _ in range(60):
        library.add(landmarks)
    half = Landmarks(landmarks.hashes[::2], landmarks.frames[::2])
    worse = library.add(half, collection="radio")
    assert found(library, excerpt(landmarks, 100, 300), collection="radio") == {worse}


def test_duplicates_are_both_found_with_high_confidence(library: Library) -> None:
    rng = np.random.default_rng(1)
    landmarks = random_landmarks(rng)
    copies = {library.add(landmarks) for _ in range(2)}
    for _ in range(10):
        library.add(random_landmarks(rng))
    matches = search(library, excerpt(landmarks, 500, 800))
    assert {match["asset_id"] for match in matches} == copies
    assert min(match["confidence"] for match in matches) > 0.95


def test_random_landmarks_never_match(library: Library) -> None:
    rng = np.random.default_rng(1)
    for _ in range(30):
        library.add(random_landmarks(rng))
    # Hashes from a small vocabulary, so that queries meet many postings by chance.
    crowd = [
        Landmarks(part.hashes % 4096, part.frames)
        for part in (random_landmarks(rng) for _ in range(30))
    ]
    for landmarks in crowd:
        library.add(landmarks)
    meetings = 0
    for number in range(50):
        query = random_landmarks(rng, duration_sec=10)
        if number % 2:
            query = Landmarks(query.hashes % 4096, query.frames)
            meetings += len(search(library, query, min_confidence=0, k=50))
        assert search(library, query) == []
    # The thirty of the crowd shared landmarks with every other query, and were told apart.
    assert meetings >= 25 * 28


def test_more_votes_make_surer_and_more_chance_less_sure(library: Library) -> None:
    confidence = (
        "SELECT fpdb.probability(fpdb.landmark_log_odds(c, %s, %s)) FROM fpdb.coefficients c"
    )
    by_votes = [library.value(confidence, votes, 4) for votes in (0, 4, 8, 16, 32, 1000)]
    assert by_votes == sorted(by_votes)
    assert 0 <= by_votes[0] < 0.1
    assert 0.95 < by_votes[-1] <= 1
    by_chance = [library.value(confidence, 40, chance) for chance in (1, 10, 100, 10_000)]
    assert by_chance == sorted(by_chance, reverse=True)


def test_chance_grows_with_expectation_and_trials(library: Library) -> None:
    chance = "SELECT fpdb.chance_votes(%s, %s)"
    assert library.value(chance, 0, 1) > 0
    assert library.value(chance, 2, 100) > library.value(chance, 1, 100) > 1
    assert library.value(chance, 1, 1e6) > library.value(chance, 1, 100)


def test_chance_bounds_what_random_votes_give(library: Library) -> None:
    rng = np.random.default_rng(1)
    for expected, offsets in ((0.01, 1000), (0.5, 1000), (5, 200)):
        bound = library.value("SELECT fpdb.chance_votes(%s, %s)", expected, offsets)
        most = rng.poisson(expected, (1000, offsets)).max(axis=1)
        assert np.mean(most > bound) < 0.5
        assert bound < 4 * np.median(most) + 5


def test_a_threshold_of_the_content_type_decides(library: Library) -> None:
    landmarks = random_landmarks(np.random.default_rng(1))
    library.add(landmarks, content_type="speech")
    query = excerpt(landmarks, 0, 300)
    assert len(search(library, query)) == 1
    library.connection.execute(
        "UPDATE fpdb.content_type SET landmark_threshold = 1 WHERE name = 'speech'"
    )
    (match,) = search(library, query, min_confidence=0.5)
    if match["confidence"] < 1:
        assert search(library, query) == []


def test_the_better_match_comes_first(library: Library) -> None:
    landmarks = random_landmarks(np.random.default_rng(1))
    half = library.add(Landmarks(landmarks.hashes[::2], landmarks.frames[::2]))
    whole = library.add(landmarks)
    matches = search(library, excerpt(landmarks, 0, 300))
    assert [match["asset_id"] for match in matches] == [whole, half]
    assert matches[0]["score"] > matches[1]["score"]


def test_votes_meet_their_candidates_by_hash(library: Library) -> None:
    """A nested loop over votes and their candidates took minutes; what is left joins one row."""
    plan = library.plan("landmark_alignments", 5000, "NULL, NULL, NULL, NULL, 2000000, 100")
    loops = [line for line in plan.splitlines() if "Nested Loop" in line]
    assert len(loops) == 1
    assert "Hash Join" in plan
