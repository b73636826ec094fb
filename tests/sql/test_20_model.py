"""Profiles and models: one of each is active, and what belongs to another is never compared."""

import numpy as np
import psycopg
import pytest
from library import Library, random_landmarks, random_vectors

from fingerprintdb.profile import ACCURATE, COMPACT, Profile
from fingerprintdb.store.database import DatabaseError
from fingerprintdb.store.embeddings import active_model, has_active_model
from fingerprintdb.store.profile import activate_profile, active_profile, register_profile

OTHER_PROFILE = Profile(name="other", fan_out=ACCURATE.fan_out + 1)


def register(library: Library, name: str, revision: str = "1") -> int:
    return int(
        library.value("SELECT fpdb.register_model(%s, %s, %s, 512, 48000)", name, revision, name)
    )


def activate(library: Library, model_id: int) -> None:
    library.connection.execute("SELECT fpdb.activate_model(%s::smallint)", (model_id,))


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
        library.connection.execute("UPDATE fpdb.profile SET is_active = true")


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
    library.connection.execute("UPDATE fpdb.profile SET is_active = false")
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


def test_the_built_in_model_is_active(library: Library) -> None:
    model = active_model(library.connection)
    assert (model.name, model.source, model.model_id) == ("builtin", "builtin", 1)
    assert has_active_model(library.connection)


def test_a_model_gets_a_partition_with_a_cosine_index(library: Library) -> None:
    model_id = register(library, "second")
    partition = f"embedding_{model_id}"
    assert library.value(
        "SELECT pg_get_expr(relpartbound, oid) FROM pg_class WHERE oid = to_regclass(%s)",
        f"fpdb.{partition}",
    ) == (f"FOR VALUES IN ('{model_id}')")
    indexes = library.rows(
        "SELECT indexdef FROM pg_indexes WHERE schemaname = 'fpdb' AND tablename = %s", partition
    )
    assert [row[0] for row in indexes if "hnsw" in row[0]] == [
        f"CREATE INDEX {partition}_hnsw_idx ON fpdb.{partition} USING hnsw"
        " (embedding vector_cosine_ops)"
    ]


def test_a_model_registered_twice_is_one_row(library: Library) -> None:
    first = register(library, "second")
    assert register(library, "second") == first
    assert register(library, "second", revision="2") != first
    assert library.value("SELECT count(*) FROM fpdb.model") == 3


def test_a_model_of_another_size_is_refused(library: Library) -> None:
    with pytest.raises(psycopg.errors.CheckViolation, match="model_dims_check"):
        library.value("SELECT fpdb.register_model('m', '1', 'm', 768, 48000)")
    assert library.value("SELECT to_regclass('fpdb.embedding_2')") is None


def test_a_registered_model_is_a_shadow_until_activated(library: Library) -> None:
    second = register(library, "second")
    states = "SELECT model_id, state FROM fpdb.model ORDER BY model_id"
    assert library.rows(states) == [(1, "active"), (second, "shadow")]
    activate(library, second)
    assert library.rows(states) == [(1, "shadow"), (second, "active")]
    assert library.value("SELECT fpdb.active_model()") == second
    activate(library, 1)
    assert library.rows(states) == [(1, "active"), (second, "shadow")]


def test_activating_an_unknown_model_is_refused(library: Library) -> None:
    with pytest.raises(psycopg.errors.RaiseException, match="there is no model 99"):
        activate(library, 99)
    assert library.active_model() == 1


def test_there_is_none_active_before_one_is_activated(library: Library) -> None:
    library.connection.execute("UPDATE fpdb.model SET state = 'retired'")
    assert library.value("SELECT fpdb.active_model()") is None
    assert not has_active_model(library.connection)


def test_activating_queues_what_has_no_vector_of_the_model(library: Library) -> None:
    rng = np.random.default_rng(1)
    second = register(library, "second")
    only_first = library.add(vectors=random_vectors(rng, 2))
    both = library.add(vectors=random_vectors(rng, 2))
    library.connection.execute(
        "INSERT INTO fpdb.embedding (model_id, segment_id, asset_id, embedding, processing_time_ms)"
        " SELECT %s, segment_id, asset_id, embedding, 1 FROM fpdb.embedding WHERE asset_id = %s",
        (second, both),
    )
    failed = library.add(embedding_status="failed")
    activate(library, second)
    queued = library.rows("SELECT task_name, args FROM fpdb_queue.procrastinate_jobs ORDER BY id")
    assert queued == [
        ("embedding", {"asset_id": asset_id, "revision": 2}) for asset_id in (only_first, failed)
    ]
    assert library.rows("SELECT embedding_status FROM fpdb.asset ORDER BY asset_id") == [
        ("queued",),
        ("ready",),
        ("queued",),
    ]


def test_activating_the_active_model_again_queues_nothing(library: Library) -> None:
    library.add(vectors=random_vectors(np.random.default_rng(1), 2))
    # A silent recording has no vectors; the others are being worked on, or were given up.
    for status in ("ready", "processing", "failed"):
        library.add(embedding_status=status)
    activate(library, 1)
    assert library.value("SELECT count(*) FROM fpdb_queue.procrastinate_jobs") == 0


def test_vectors_of_another_model_are_never_returned(library: Library) -> None:
    second = register(library, "second")
    rng = np.random.default_rng(1)
    vectors = random_vectors(rng, 1)
    ours = library.add(vectors=random_vectors(rng, 1))
    theirs = library.add(vectors=vectors, model_id=second)
    nearest = "SELECT asset_id FROM fpdb.nearest_segments(%s, 10, %s::smallint)"
    assert library.rows(nearest, vectors[0], None) == [(ours,)]
    assert library.rows(nearest, vectors[0], 1) == [(ours,)]
    assert library.rows(nearest, vectors[0], second) == [(theirs,)]
    with pytest.raises(psycopg.errors.RaiseException, match="there is no model 77"):
        library.rows(nearest, vectors[0], 77)
    activate(library, second)
    assert library.rows(nearest, vectors[0], None) == [(theirs,)]


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
        ("landmark", {"asset_id": asset_id, "revision": 2})
    ]


def test_an_unknown_profile_cannot_be_activated(library: Library) -> None:
    with pytest.raises(psycopg.errors.RaiseException, match="no program has brought"):
        library.value("SELECT fpdb.activate_profile('0000')")
