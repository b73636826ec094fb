"""Profiles: one is searched, others are built beside it or kept, and the switch is one call."""

import numpy as np
import psycopg
import pytest
from library import Library, random_landmarks

from fingerprintdb.profile import ACCURATE, COMPACT, Profile
from fingerprintdb.store.database import DatabaseError
from fingerprintdb.store.profile import activate_profile, active_profile, register_profile

OTHER_PROFILE = Profile(name="other", fan_out=ACCURATE.fan_out + 1)


def test_the_first_profile_becomes_the_active_one(library: Library) -> None:
    assert active_profile(library.connection) == (1, ACCURATE)


def test_a_second_profile_is_known_but_not_active(library: Library) -> None:
    key = register_profile(library.connection, OTHER_PROFILE)
    assert active_profile(library.connection) == (1, ACCURATE)
    assert library.rows("SELECT name, is_active FROM fpdb.profile WHERE profile_id = %s", key) == [
        ("other", False)
    ]


def test_a_profile_registered_twice_is_one_row(library: Library) -> None:
    known = library.value("SELECT count(*) FROM fpdb.profile")
    first = register_profile(library.connection, OTHER_PROFILE)
    assert register_profile(library.connection, OTHER_PROFILE) == first
    assert library.value("SELECT count(*) FROM fpdb.profile") == known + 1


def test_two_profiles_cannot_be_active(library: Library) -> None:
    register_profile(library.connection, OTHER_PROFILE)
    with pytest.raises(psycopg.errors.UniqueViolation, match="profile_active_idx"):
        library.connection.execute("UPDATE fpdb.profile SET state = 'active'")


def test_a_stored_profile_can_be_compared_with_the_program_s(library: Library) -> None:
    stored = library.value("SELECT parameters FROM fpdb.profile WHERE is_active")
    assert stored == ACCURATE.parameters()


def test_require_profile_returns_the_active_key(library: Library) -> None:
    assert library.value("SELECT fpdb.require_profile(%s)", ACCURATE.digest) == 1


@pytest.mark.parametrize("digest", [OTHER_PROFILE.digest, "", None])
def test_another_profile_is_refused_with_the_remedy(library: Library, digest: str | None) -> None:
    with pytest.raises(psycopg.errors.DataException) as caught:
        library.value("SELECT fpdb.require_profile(%s)", digest)
    diagnosis = caught.value.diag
    assert diagnosis.message_primary is not None
    assert "the query was made with profile" in diagnosis.message_primary
    assert ACCURATE.digest in diagnosis.message_primary
    assert digest is None or digest in diagnosis.message_primary
    assert diagnosis.message_hint is not None
    assert "fpdb.activate_profile" in diagnosis.message_hint


def test_a_query_before_any_profile_is_told_what_to_run(library: Library) -> None:
    library.connection.execute("UPDATE fpdb.profile SET state = 'retired'")
    with pytest.raises(
        psycopg.errors.RaiseException, match="no landmark profile is active"
    ) as told:
        library.value("SELECT fpdb.require_profile(%s)", ACCURATE.digest)
    assert told.value.diag.message_hint == "run: fpdb init"


def test_a_match_with_another_profile_is_refused(library: Library) -> None:
    landmarks = random_landmarks(np.random.default_rng(1), duration_sec=5)
    library.add(landmarks)
    arguments = landmarks.hashes.tolist(), landmarks.frames.tolist()
    for function in ("match", "match_landmarks"):
        call = f"SELECT count(*) FROM fpdb.{function}(%s, %s, profile => %s)"
        assert library.value(call, *arguments, ACCURATE.digest) == 1
        with pytest.raises(psycopg.errors.DataException, match="made with profile"):
            library.value(call, *arguments, OTHER_PROFILE.digest)


def test_landmarks_of_an_inactive_profile_are_not_searched(library: Library) -> None:
    landmarks = random_landmarks(np.random.default_rng(1), duration_sec=5)
    library.add(landmarks)
    other = register_profile(library.connection, OTHER_PROFILE)
    library.connection.execute("UPDATE fpdb.asset SET profile_id = %s", (other,))
    assert (
        library.rows(
            "SELECT * FROM fpdb.match_landmarks(%s, %s, min_confidence => 0)",
            landmarks.hashes.tolist(),
            landmarks.frames.tolist(),
        )
        == []
    )


def test_a_profile_that_the_program_does_not_have_is_an_error(library: Library) -> None:
    register_profile(library.connection, OTHER_PROFILE)
    library.value("SELECT fpdb.activate_profile(%s)", OTHER_PROFILE.digest)
    with pytest.raises(DatabaseError, match=r"profile other .*does not have.*fpdb init"):
        active_profile(library.connection)


def test_a_profile_is_chosen_by_name(library: Library) -> None:
    assert activate_profile(library.connection, "compact") == 0
    assert active_profile(library.connection)[1] == COMPACT
    with pytest.raises(DatabaseError, match=r"no profile 'tiny' .*accurate and compact"):
        activate_profile(library.connection, "tiny")


def test_activating_a_profile_queues_what_has_landmarks_of_another(library: Library) -> None:
    asset_id = library.add(random_landmarks(np.random.default_rng(1), duration_sec=5))
    key = register_profile(library.connection, OTHER_PROFILE)
    assert library.value("SELECT fpdb.activate_profile(%s)", OTHER_PROFILE.digest) == 1
    assert library.value("SELECT fpdb.require_profile(%s)", OTHER_PROFILE.digest) == key
    assert library.rows("SELECT landmark_status, embedding_status FROM fpdb.asset") == [
        ("queued", "ready")
    ]
    assert library.rows("SELECT queue_name, args FROM fpdb_queue.procrastinate_jobs") == [
        ("landmark", {"asset_id": asset_id, "revision": 1})
    ]


def test_an_unknown_profile_cannot_be_activated(library: Library) -> None:
    with pytest.raises(psycopg.errors.RaiseException, match="no program has brought"):
        library.value("SELECT fpdb.activate_profile('0000')")
