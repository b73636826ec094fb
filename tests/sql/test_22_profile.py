"""Profiles: one is searched, others are built beside it or kept, and the switch is one call."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import psycopg
import pytest
from library import Library, random_bits, random_landmarks

from fingerprintdb.landmarks import Landmarks
from fingerprintdb.profile import ACCURATE, COMPACT, PROFILES, Profile
from fingerprintdb.store.asset import claim, fail, put
from fingerprintdb.store.database import DatabaseError, connect
from fingerprintdb.store.inspection import read_landmarks, read_sub_fingerprints
from fingerprintdb.store.landmarks import copy_postings
from fingerprintdb.store.profile import (
    activate_profile,
    active_profile,
    build_profile,
    drop_profile,
    hold_profile,
    mark_failed,
    mark_stored,
    register_profile,
)
from fingerprintdb.store.subfingerprints import by_phase, compare, copy_sub_fingerprints
from fingerprintdb.subfingerprints import Bits, SubFingerprints

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
    library.connection.execute("UPDATE fpdb.delta SET profile_id = %s", (other,))
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


# ---------------------------------------------------------------- side by side

STATES = "SELECT name, state FROM fpdb.profile WHERE name <> 'other' ORDER BY profile_id"


def compact_id(library: Library) -> int:
    return int(
        library.value("SELECT profile_id FROM fpdb.profile WHERE digest = %s", COMPACT.digest)
    )


def jobs(library: Library) -> list[tuple[int, int | None, int]]:
    """Asset, profile and priority of every landmark job, as they will be fetched."""
    return [
        (asset_id, profile_id, priority)
        for asset_id, profile_id, priority in library.rows(
            "SELECT (args->>'asset_id')::int, (args->>'profile_id')::int, priority"
            " FROM fpdb_queue.procrastinate_jobs WHERE queue_name = 'landmark'"
            " ORDER BY priority DESC, id"
        )
    ]


def store(library: Library, asset_id: int, part: Landmarks, bits: Bits | None = None) -> None:
    """Store what the compact profile makes of an asset, as a worker does."""
    key = compact_id(library)
    copy_postings(library.connection, asset_id, key, part)
    if bits is not None:
        copy_sub_fingerprints(
            library.connection, asset_id, key, SubFingerprints(bits[::12, :16], 12)
        )
    mark_stored(library.connection, asset_id, key, len(part))


def found(library: Library, part: Landmarks) -> set[int]:
    """Return the assets that hold most of a part."""
    rows = library.rows(
        "SELECT asset_id FROM fpdb.match_landmarks(%s, %s)",
        part.hashes.tolist(),
        part.frames.tolist(),
    )
    return {row[0] for row in rows}


def shown(library: Library, asset_id: int) -> list[tuple[int, int]]:
    return library.rows(
        "SELECT hash, frame FROM fpdb.landmark WHERE asset_id = %s ORDER BY 2, 1", asset_id
    )


def pairs(part: Landmarks) -> list[tuple[int, int]]:
    both = zip(part.hashes.tolist(), part.frames.tolist(), strict=True)
    return sorted(both, key=lambda pair: (pair[1], pair[0]))


@pytest.fixture(params=["delta", "packed"])
def packed(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "packed")


@pytest.fixture
def parts() -> tuple[Landmarks, Landmarks]:
    """What each of two profiles makes of a recording."""
    rng = np.random.default_rng(1)
    return random_landmarks(rng, duration_sec=10), random_landmarks(rng, duration_sec=10)


def test_building_queues_what_lacks_the_profile_and_disturbs_nothing(
    library: Library, parts: tuple[Landmarks, Landmarks]
) -> None:
    first, second, failed = library.add(parts[0]), library.add(), library.add()
    library.connection.execute(
        "UPDATE fpdb.asset SET landmark_status = 'failed' WHERE asset_id = %s", (failed,)
    )
    before = library.rows("SELECT * FROM fpdb.asset ORDER BY asset_id")
    assert build_profile(library.connection, "compact") == 3
    key = compact_id(library)
    assert jobs(library) == [(n, key, -1) for n in (first, second, failed)]
    assert library.rows(STATES) == [("accurate", "active"), ("compact", "building")]
    assert library.rows("SELECT * FROM fpdb.asset ORDER BY asset_id") == before
    assert found(library, parts[0]) == {first}
    store(library, first, parts[1])
    mark_failed(library.connection, second, key, 1, "gone")
    # Once more: neither what is there nor a second job of what waits, and failures are forgotten.
    assert build_profile(library.connection, "compact") == 2
    assert jobs(library) == [(second, key, -1), (failed, key, -1)]
    assert library.value("SELECT count(error) FROM fpdb.asset_profile") == 0


def test_what_comes_or_changes_while_a_profile_is_built_is_queued_for_both(
    library: Library, parts: tuple[Landmarks, Landmarks]
) -> None:
    key = compact_id(library)
    changed = library.add(parts[0])
    store(library, changed, parts[1])
    build_profile(library.connection, "compact")
    assert jobs(library) == []
    came = library.value("INSERT INTO fpdb.asset (uri) VALUES ('a') RETURNING asset_id")
    ready = library.add()
    assert jobs(library) == [(came, None, 0), (came, key, -1), (ready, key, -1)]
    library.connection.execute("UPDATE fpdb.asset SET uri = 'b' WHERE asset_id = %s", (changed,))
    assert jobs(library)[1] == (changed, None, 0)
    assert jobs(library)[-1] == (changed, key, -1)
    # What was made of the former source is gone, of either profile.
    assert library.value(
        "SELECT count(*) FROM fpdb.asset_profile WHERE asset_id = %s", changed
    ) == 0  # fmt: skip
    assert library.value("SELECT count(*) FROM fpdb.delta") == 0
    library.connection.execute("UPDATE fpdb.asset SET uri = 'c' WHERE asset_id = %s", (changed,))
    assert len(jobs(library)) == 5, "the jobs of a revision replace those of the one before"
    library.connection.execute("DELETE FROM fpdb.asset")
    assert jobs(library) == []


def test_a_source_that_changes_takes_what_only_another_profile_had(
    library: Library, parts: tuple[Landmarks, Landmarks]
) -> None:
    asset_id = library.add(landmark_status="queued", duration_sec=None)
    library.connection.execute("UPDATE fpdb.asset SET profile_id = NULL")
    store(library, asset_id, parts[1])
    library.connection.execute("UPDATE fpdb.asset SET uri = 'b'")
    assert library.value("SELECT count(*) FROM fpdb.delta") == 0
    assert library.value("SELECT count(*) FROM fpdb.asset_profile") == 0


def test_reprocessing_asks_for_both_and_keeps_what_there_is(
    library: Library, parts: tuple[Landmarks, Landmarks]
) -> None:
    asset_id = library.add(parts[0])
    store(library, asset_id, parts[1])
    build_profile(library.connection, "compact")
    library.value("SELECT fpdb.reprocess()")
    assert jobs(library) == [(asset_id, None, 0), (asset_id, compact_id(library), -1)]
    assert library.value("SELECT count(*) FROM fpdb.delta") == len(parts[0]) + len(parts[1])
    assert library.rows("SELECT state, assets FROM fpdb.profile_status ORDER BY profile_id") == [
        ("active", 0),
        ("building", 0),
    ]


def test_other_bytes_under_a_uri_are_queued_for_what_is_being_built(library: Library) -> None:
    build_profile(library.connection, "compact")
    values = {
        "uri": "a", "collection": "default", "pitch": 1.0, "tempo": 1.0, "sha256": "x",
        "title": None, "artist": None, "metadata": "{}", "landmark_status": "ready",
        "embedding_status": "ready",
    }  # fmt: skip
    asset_id = put(library.connection, values)
    library.connection.execute("DELETE FROM fpdb_queue.procrastinate_jobs")
    assert put(library.connection, values | {"sha256": "y"}) == asset_id
    assert jobs(library) == [(asset_id, compact_id(library), -1)]


def test_only_the_active_profile_is_read(
    library: Library, parts: tuple[Landmarks, Landmarks], packed: bool
) -> None:
    rng = np.random.default_rng(2)
    bits = random_bits(rng, duration_sec=12), random_bits(rng, duration_sec=12)
    asset_id = library.add(parts[0], bits=bits[0])
    copy = library.add(parts[0], bits=bits[0])
    for one in (asset_id, copy):
        store(library, one, parts[1], bits[1])
    if packed:
        rows = library.rows("SELECT action, postings FROM fpdb.compact()")
        assert rows == [("sealed", 2 * len(part)) for part in parts]
        assert library.value("SELECT count(*) FROM fpdb.delta") == 0
    for name, part, other, whole in (
        ("accurate", *parts, bits[0]),
        ("compact", *parts[::-1], bits[1]),
        ("accurate", *parts, bits[0]),
    ):
        profile = PROFILES[name]
        assert activate_profile(library.connection, name) == 0
        assert found(library, part) == {asset_id, copy}
        assert found(library, other) == set()
        assert shown(library, asset_id) == pairs(part)
        inspected = read_landmarks(library.connection, asset_id)
        assert pairs(inspected) == pairs(part)
        stored = read_sub_fingerprints(library.connection, asset_id, (0, 500), profile)
        width = profile.sub_fingerprint_bits // 8
        np.testing.assert_array_equal(stored.bits, whole[:: profile.sub_fingerprint_frames, :width])
        asked = SubFingerprints(whole[:400, :width], 1)
        phases = by_phase(asked, profile.sub_fingerprint_frames)
        near = compare(library.connection, asset_id, 0, (0, 399), phases)
        assert near is not None
        assert near.bit_error_rate == 0
        (match,) = library.names("SELECT * FROM fpdb.match_asset(%s)", asset_id)
        assert match["other_asset_id"] == copy
        assert match["bit_error_rate"] == 0
        assert match["aligned_landmarks"] > len(part) / 2


def test_the_budget_is_not_spent_on_another_profile(
    library: Library, parts: tuple[Landmarks, Landmarks], packed: bool
) -> None:
    asset_id = library.add(parts[0])
    for _ in range(3):
        store(library, library.add(), parts[0])
    if packed:
        library.rows("SELECT fpdb.compact()")
    rows = library.names(
        "SELECT * FROM fpdb.landmark_alignments(%s, %s, NULL, NULL, NULL, NULL, %s)",
        parts[0].hashes.tolist(),
        parts[0].frames.tolist(),
        2 * len(parts[0]),
    )
    assert {row["asset_id"] for row in rows} == {asset_id}
    assert rows[0]["votes"] == len(parts[0])


# ---------------------------------------------------------------- the switch


def test_activating_a_profile_that_is_there_queues_nothing_and_so_does_going_back(
    library: Library, parts: tuple[Landmarks, Landmarks]
) -> None:
    asset_id = library.add(parts[0], landmark_count=len(parts[0]))
    fewer = Landmarks(parts[1].hashes[::2], parts[1].frames[::2])
    build_profile(library.connection, "compact")
    store(library, asset_id, fewer)
    row = "SELECT name, landmark_count, status FROM fpdb.asset JOIN fpdb.profile USING (profile_id)"
    for name, part in (("compact", fewer), ("accurate", parts[0]), ("compact", fewer)):
        assert activate_profile(library.connection, name) == 0
        assert library.rows(row) == [(name, len(part), "ready")]
        assert found(library, part) == {asset_id}
        assert jobs(library) == []
    assert library.rows(STATES) == [("accurate", "retired"), ("compact", "active")]


def test_activating_queues_what_lacks_the_profile_for_whichever_is_active_then(
    library: Library, parts: tuple[Landmarks, Landmarks]
) -> None:
    has, lacks = library.add(parts[0]), library.add(parts[1])
    failed = library.add(landmark_status="failed", landmark_error="gone")
    waits = library.value("INSERT INTO fpdb.asset (uri) VALUES ('a') RETURNING asset_id")
    build_profile(library.connection, "compact")
    store(library, has, parts[0])
    assert activate_profile(library.connection, "compact") == 3
    # The one that waits has its job already.
    assert sorted(jobs(library)) == [(lacks, None, 0), (failed, None, 0), (waits, None, 0)]
    assert library.rows(
        "SELECT asset_id, landmark_status, landmark_error, profile_id FROM fpdb.asset ORDER BY 1"
    ) == [
        (has, "ready", None, compact_id(library)),
        *((asset_id, "queued", None, None) for asset_id in (lacks, failed, waits)),
    ]
    assert found(library, parts[0]) == {has}
    assert found(library, parts[1]) == set()
    # Back again: what was there is found at once, though its job had not run.
    assert activate_profile(library.connection, "accurate") == 2
    assert found(library, parts[1]) == {lacks}
    assert library.value("SELECT count(*) FROM fpdb.asset WHERE landmark_status = 'ready'") == 2


def test_what_a_profile_has_of_an_earlier_revision_is_found_and_made_again(
    library: Library, parts: tuple[Landmarks, Landmarks]
) -> None:
    asset_id = library.add(parts[0])
    store(library, asset_id, parts[1])
    library.value("SELECT fpdb.reprocess(embeddings => false)")
    library.connection.execute("UPDATE fpdb.asset SET landmark_status = 'ready'")
    mark_stored(library.connection, asset_id, 1, len(parts[0]))
    library.connection.execute("DELETE FROM fpdb_queue.procrastinate_jobs")
    assert activate_profile(library.connection, "compact") == 1
    assert jobs(library) == [(asset_id, None, 0)]
    assert found(library, parts[1]) == {asset_id}


def test_a_job_of_a_profile_that_became_active_is_not_left_behind(library: Library) -> None:
    asset_id = library.add()
    build_profile(library.connection, "compact")
    assert jobs(library) == [(asset_id, compact_id(library), -1)]
    activate_profile(library.connection, "compact")
    assert jobs(library) == [(asset_id, None, 0)]


@pytest.mark.parametrize("change", ["build", "activate", "drop"])
def test_a_profile_that_nobody_brought_is_refused(library: Library, change: str) -> None:
    with pytest.raises(psycopg.errors.RaiseException, match="no program has brought") as told:
        library.value(f"SELECT fpdb.{change}_profile('0000')")
    assert told.value.diag.message_hint is not None
    assert "fpdb migrate" in told.value.diag.message_hint


@pytest.mark.parametrize("change", ["build", "drop"])
def test_the_active_profile_is_neither_built_nor_dropped(library: Library, change: str) -> None:
    library.add(random_landmarks(np.random.default_rng(1)))
    with pytest.raises(psycopg.errors.ObjectInUse, match="is the active one") as told:
        library.value(f"SELECT fpdb.{change}_profile(%s)", ACCURATE.digest)
    assert told.value.diag.message_hint
    assert library.rows(STATES) == [("accurate", "active"), ("compact", "retired")]
    assert library.value("SELECT count(*) FROM fpdb.landmark") > 0
    assert jobs(library) == []


# ---------------------------------------------------------------- dropping and deleting


def test_a_dropped_profile_vanishes_at_once_and_leaves_the_disk_when_packed(
    library: Library, parts: tuple[Landmarks, Landmarks], packed: bool
) -> None:
    bits = random_bits(np.random.default_rng(2), duration_sec=12)
    asset_id = library.add(parts[0], bits=bits)
    build_profile(library.connection, "compact")
    store(library, asset_id, parts[1], bits)
    library.add()
    if packed:
        library.rows("SELECT fpdb.compact()")
    key = compact_id(library)
    assert drop_profile(library.connection, "compact") == 1
    for table in ("delta", "sub_fingerprint", "asset_profile"):
        held = f"SELECT count(*) FROM fpdb.{table} WHERE profile_id = %s"
        assert library.value(held, key) == 0
    assert library.value(
        "SELECT count(*) FROM fpdb.block JOIN fpdb.tier USING (tier_id) WHERE profile_id = %s", key
    ) == 0  # fmt: skip
    assert jobs(library) == []
    actions = library.rows("SELECT action FROM fpdb.compact()")
    assert actions == ([("dropped",)] if packed else [("sealed",)])
    assert library.rows("SELECT DISTINCT profile_id FROM fpdb.tier") == [(1,)]
    assert shown(library, asset_id) == pairs(parts[0])
    assert found(library, parts[0]) == {asset_id}
    assert library.value("SELECT count(*) FROM fpdb.sub_fingerprint") > 0
    assert library.rows(STATES) == [("accurate", "active"), ("compact", "retired")]
    # It can be built again, from nothing.
    assert build_profile(library.connection, "compact") == 2


def test_a_profile_is_dropped_by_name_or_digest(library: Library) -> None:
    register_profile(library.connection, OTHER_PROFILE)
    assert drop_profile(library.connection, "other") == 0
    assert drop_profile(library.connection, OTHER_PROFILE.digest) == 0
    with pytest.raises(DatabaseError, match=rf"no profile is 'tiny' .*{OTHER_PROFILE.digest}"):
        drop_profile(library.connection, "tiny")
    register_profile(library.connection, Profile(name="other", fan_out=1))
    with pytest.raises(DatabaseError, match="2 profiles are called 'other'"):
        drop_profile(library.connection, "other")


def test_a_deleted_asset_leaves_nothing_of_any_profile(
    library: Library, parts: tuple[Landmarks, Landmarks], packed: bool
) -> None:
    bits = random_bits(np.random.default_rng(2), duration_sec=12)
    asset_id = library.add(parts[0], bits=bits)
    store(library, asset_id, parts[1], bits)
    if packed:
        library.rows("SELECT fpdb.compact()")
    library.connection.execute("DELETE FROM fpdb.asset WHERE asset_id = %s", (asset_id,))
    for table in ("delta", "sub_fingerprint", "asset_profile", "block"):
        assert library.value(f"SELECT count(*) FROM fpdb.{table}") == 0
    library.rows("SELECT fpdb.compact()")
    assert library.value("SELECT count(*) FROM fpdb.run") == 0


def test_one_profile_s_landmarks_are_replaced_without_the_other_s(
    library: Library, parts: tuple[Landmarks, Landmarks], packed: bool
) -> None:
    asset_id = library.add(parts[0])
    store(library, asset_id, parts[1])
    if packed:
        library.rows("SELECT fpdb.compact()")
    library.connection.execute(
        "SELECT fpdb.remove_landmarks(ARRAY[%s::bigint], %s::smallint)",
        (asset_id, compact_id(library)),
    )
    assert shown(library, asset_id) == pairs(parts[0])
    assert activate_profile(library.connection, "compact") == 1
    assert shown(library, asset_id) == []


# ---------------------------------------------------------------- claims


def test_a_job_beside_leaves_no_mark_and_is_void_when_it_is_done_or_unwanted(
    library: Library, parts: tuple[Landmarks, Landmarks]
) -> None:
    asset_id, key = library.add(parts[0]), compact_id(library)
    connection = library.connection
    assert claim(connection, asset_id, "landmark", 1, key) is None, "nobody builds it"
    build_profile(connection, "compact")
    job = claim(connection, asset_id, "landmark", 1, key)
    assert job is not None
    assert job.made_by == key
    assert library.value("SELECT status FROM fpdb.asset") == "ready"
    assert claim(connection, asset_id, "landmark", 2, key) is None, "another revision"
    fail(connection, job, "gone", again=True)
    assert library.value("SELECT count(error) FROM fpdb.asset_profile") == 0
    fail(connection, job, "gone", again=False)
    assert library.rows("SELECT status, error FROM fpdb.asset") == [("ready", None)]
    status = "SELECT assets, share, failed, an_error FROM fpdb.profile_status WHERE profile_id = %s"
    assert library.rows(status, key) == [(0, 0.0, 1, "gone")]
    assert library.rows(status, 1) == [(1, 1.0, 0, None)]
    store(library, asset_id, parts[1])
    assert library.rows(status, key) == [(1, 1.0, 0, None)]
    assert claim(connection, asset_id, "landmark", 1, key) is None, "it is there"
    activate_profile(connection, "compact")
    fail(connection, job, "late", again=False)
    drop_profile(connection, "accurate")
    assert claim(connection, asset_id, "landmark", 1, 1) is None, "it was dropped"


def test_a_job_without_a_profile_is_for_the_active_one(library: Library) -> None:
    asset_id = library.value("INSERT INTO fpdb.asset (uri) VALUES ('a') RETURNING asset_id")
    build_profile(library.connection, "compact")
    job = claim(library.connection, asset_id, "landmark", 1)
    assert job is not None
    assert job.made_by == 1
    activate_profile(library.connection, "compact")
    job = claim(library.connection, asset_id, "landmark", 1)
    assert job is not None
    assert job.made_by == compact_id(library)
    # One that names the profile that became active meanwhile is as good.
    assert claim(library.connection, asset_id, "landmark", 1, compact_id(library)) is not None


# ---------------------------------------------------------------- two sessions


def test_an_asset_that_commits_late_is_not_missed_by_a_build(
    library: Library, migrated_url: str
) -> None:
    with connect(migrated_url) as other, ThreadPoolExecutor(1) as pool:
        with library.connection.transaction():
            library.connection.execute("INSERT INTO fpdb.asset (uri) VALUES ('a')")
            building = pool.submit(build_profile, other, "compact")
            with pytest.raises(TimeoutError):
                building.result(0.5)
        assert building.result(30) == 1
    assert [job[1] for job in jobs(library)] == [None, compact_id(library)]


@pytest.mark.parametrize("change", ["activate", "drop"])
def test_the_switch_waits_for_a_worker_that_is_storing(
    library: Library, migrated_url: str, change: str, parts: tuple[Landmarks, Landmarks]
) -> None:
    asset_id = library.add(parts[0])
    build_profile(library.connection, "compact")
    with connect(migrated_url) as other, ThreadPoolExecutor(1) as pool:
        with library.connection.transaction():
            assert hold_profile(library.connection, compact_id(library)) == "building"
            call = f"SELECT fpdb.{change}_profile(%s)".encode()
            switching = pool.submit(lambda: other.execute(call, (COMPACT.digest,)).fetchone())
            with pytest.raises(TimeoutError):
                switching.result(0.5)
            library.connection.execute(
                "SELECT FROM fpdb.asset WHERE asset_id = %s FOR UPDATE", (asset_id,)
            )
            store(library, asset_id, parts[1])
        assert switching.result(30) == ((0,) if change == "activate" else (1,))
    assert found(library, parts[1]) == ({asset_id} if change == "activate" else set())
    assert found(library, parts[0]) == (set() if change == "activate" else {asset_id})
