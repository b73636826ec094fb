"""The packed index holds what a row a posting would, whatever was stored, removed and packed."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from library import Library, excerpt, random_landmarks

from fingerprintdb.landmarks import Landmarks
from fingerprintdb.profile import ACCURATE
from fingerprintdb.store import index
from fingerprintdb.store.database import Connection, connect

BLOCK_FRAMES = 1 << 14
Stored = dict[int, Landmarks]
Alignment = dict[str, float]


def alignments(
    library: Library,
    query: Landmarks,
    *,
    collection: str | None = None,
    exclude_asset: int | None = None,
    max_postings: int = 2_000_000,
    k: int = 100,
) -> list[Alignment]:
    return library.names(
        "SELECT * FROM fpdb.landmark_alignments(%s, %s, %s, NULL, NULL, %s, %s, %s)",
        query.hashes.tolist(),
        query.frames.tolist(),
        collection,
        exclude_asset,
        max_postings,
        k,
    )


def compact(library: Library, max_postings: int | None = None) -> list[tuple[str, int]]:
    """Run fpdb.compact and return the actions with their postings."""
    rows = library.names("SELECT * FROM fpdb.compact(%s)", max_postings)
    return [(row["action"], row["postings"]) for row in rows]


def seal(library: Library) -> None:
    library.rows("SELECT fpdb.seal(profile_id, NULL) FROM fpdb.profile WHERE is_active")


def merge_on(library: Library, part_postings: int = 100) -> bool:
    """Merge one part of a tier, of one that is due if none is begun; say whether there was any."""
    begun = library.rows("SELECT tier_id FROM fpdb.run WHERE merged_to IS NOT NULL")
    tier_id = begun[0][0] if begun else library.value("SELECT tier_id FROM fpdb.begin_merge('{}')")
    if tier_id is not None:
        library.rows("SELECT fpdb.advance_merge(%s, 1, %s)", tier_id, part_postings)
    return tier_id is not None


def landmarks(hashes: list[int], frames: list[int]) -> Landmarks:
    return Landmarks(np.array(hashes, np.int32), np.array(frames, np.int32))


def joined(*parts: Landmarks) -> Landmarks:
    return Landmarks(
        np.concatenate([part.hashes for part in parts]),
        np.concatenate([part.frames for part in parts]),
    )


def shifted(part: Landmarks, frames: int) -> Landmarks:
    return Landmarks(part.hashes, part.frames + np.int32(frames))


def is_empty(library: Library) -> bool:
    """Say whether no table of the index holds a row."""
    tables = ("delta", "tier", "run", "block", "posting")
    return not any(library.value(f"SELECT count(*) FROM fpdb.{name}") for name in tables)


# ---------------------------------------------------------------- the oracle


def every_vote(stored: Stored, query: Landmarks) -> dict[int, list[tuple[int, int]]]:
    """Return asset → (offset, query frame) of every agreement, as a row a posting gives them."""
    asked = defaultdict(list)
    for hash_, frame in zip(query.hashes.tolist(), query.frames.tolist(), strict=True):
        asked[hash_].append(frame)
    return {
        asset_id: [
            (frame - asked_at, asked_at)
            for hash_, frame in zip(one.hashes.tolist(), one.frames.tolist(), strict=True)
            for asked_at in asked.get(hash_, ())
        ]
        for asset_id, one in stored.items()
    }


def best_windows(votes: list[tuple[int, int]]) -> list[tuple[int, int, int, float]]:
    """Return (votes, aligned, anchors, mean offset) of the fullest three neighbouring offsets."""
    found = []
    for first in {offset - step for offset, _ in votes for step in (0, 1, 2)}:
        inside = [vote for vote in votes if first <= vote[0] <= first + 2]
        anchors = Counter(frame for _, frame in inside)
        aligned = sum(min(3, count) for count in anchors.values())
        mean = sum(offset for offset, _ in inside) / len(inside)
        found.append((len(inside), aligned, len(anchors), mean))
    most = max((window[0] for window in found), default=0)
    return [window for window in found if window[0] == most] if most > 1 else []


def assert_equals_oracle(library: Library, stored: Stored, query: Landmarks) -> None:
    shown = library.rows("SELECT asset_id, hash, frame FROM fpdb.landmark")
    assert Counter(shown) == Counter(
        (asset_id, hash_, frame)
        for asset_id, one in stored.items()
        for hash_, frame in zip(one.hashes.tolist(), one.frames.tolist(), strict=True)
    )
    found = defaultdict(list)
    answers = alignments(library, query, k=1000)
    for row in answers:
        found[row["asset_id"]].append(row)
    votes = every_vote(stored, query)
    expected = {asset_id: best_windows(votes[asset_id]) for asset_id in stored}
    assert set(found) == {asset_id for asset_id, windows in expected.items() if windows}
    for asset_id, rows in found.items():
        fullest = max(rows, key=lambda row: row["votes"])
        assert any(
            (fullest["votes"], fullest["aligned"], fullest["anchors"]) == window[:3]
            and fullest["offset_frames"] == pytest.approx(window[3])
            for window in expected[asset_id]
        )
        assert len(rows) <= 4
        offsets = sorted(row["offset_frames"] for row in rows)
        assert min(np.diff(offsets), default=3) >= 3 - 1e-9
    if answers:
        # What is deleted is read until it is merged away.
        assert answers[0]["postings"] >= sum(map(len, votes.values()))


FRAMES = st.one_of(
    st.integers(0, 60), st.integers(BLOCK_FRAMES - 30, BLOCK_FRAMES + 30), st.just(40_000)
)
PAIRS = st.lists(
    st.tuples(st.sampled_from([0, 1, 2, 3, 77, 1 << 20, (1 << 24) - 1]), FRAMES), max_size=25
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), PAIRS),
        st.tuples(st.just("replace"), PAIRS),
        st.tuples(st.just("delete"), st.integers(0, 9)),
        st.tuples(st.just("compact"), st.sampled_from([None, 1, 20])),
        st.tuples(st.just("merge"), st.sampled_from([1, 3, 20])),
    ),
    max_size=20,
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=STEPS, asked=PAIRS)
@example(steps=[("add", [(0, 0), (0, 40_000)])], asked=[(0, 40_000), (0, 0)])
@example(steps=[("add", [(0, 40_000)]), ("compact", None), ("replace", [])], asked=[(0, 40_000)])
def test_packed_search_equals_a_row_a_posting(
    library: Library,
    steps: list[tuple[str, object]],
    asked: list[tuple[int, int]],
) -> None:
    library.connection.execute("TRUNCATE fpdb.asset CASCADE")
    stored: Stored = {}
    query = landmarks([hash_ for hash_, _ in asked], [frame for _, frame in asked])
    for name, value in steps:
        if name in ("add", "replace"):
            pairs: list[tuple[int, int]] = value  # type: ignore[assignment]
            part = landmarks([hash_ for hash_, _ in pairs], [frame for _, frame in pairs])
            if name == "add" or not stored:
                stored[library.add(part)] = part
            else:
                asset_id = next(iter(stored))
                library.replace(asset_id, part)
                stored[asset_id] = part
        elif name == "compact":
            compact(library, value)  # type: ignore[arg-type]
        elif name == "merge":
            seal(library)
            merge_on(library, value)  # type: ignore[arg-type]
        elif stored:
            asset_id = list(stored)[value % len(stored)]  # type: ignore[operator]
            library.connection.execute("DELETE FROM fpdb.asset WHERE asset_id = %s", (asset_id,))
            del stored[asset_id]
    assert_equals_oracle(library, stored, query)
    compact(library)
    assert library.value("SELECT count(*) FROM fpdb.delta") == 0
    assert_equals_oracle(library, stored, query)


# ---------------------------------------------------------------- blocks


@pytest.fixture(params=["delta", "packed"])
def packed(request: pytest.FixtureRequest) -> bool:
    """Search what is new, and what is packed."""
    return bool(request.param == "packed")


def test_an_alignment_may_straddle_blocks(library: Library, packed: bool) -> None:
    rng = np.random.default_rng(1)
    reference = random_landmarks(rng, duration_sec=1200)
    others = [library.add(random_landmarks(rng, duration_sec=30)) for _ in range(3)]
    asset_id = library.add(reference, duration_sec=1200.0)
    others += [library.add(random_landmarks(rng, duration_sec=30)) for _ in range(3)]
    if packed:
        compact(library)
        blocks = library.rows(
            "SELECT block, first_frame FROM fpdb.block WHERE asset_id = %s ORDER BY block", asset_id
        )
        assert [frame for _, frame in blocks] == [n * BLOCK_FRAMES for n in range(len(blocks))]
        assert [n - blocks[0][0] for n, _ in blocks] == list(range(len(blocks)))
        assert len(blocks) > 3
    for edge in (BLOCK_FRAMES, 2 * BLOCK_FRAMES):
        query = excerpt(reference, edge - 200, edge + 200)
        best = alignments(library, query)[0]
        assert (best["asset_id"], best["offset_frames"]) == (asset_id, edge - 200)
        assert best["votes"] == len(query)
    whole = alignments(library, reference)[0]
    assert (whole["asset_id"], whole["offset_frames"]) == (asset_id, 0)
    assert whole["votes"] == len(reference)
    assert others


def test_a_clip_that_hangs_over_both_ends(library: Library, packed: bool) -> None:
    rng = np.random.default_rng(1)
    reference = random_landmarks(rng, duration_sec=10)
    first, second = library.add(reference), library.add(reference)
    if packed:
        compact(library)
    lead = random_landmarks(rng, duration_sec=400)
    query = joined(lead, shifted(reference, int(lead.frames[-1]) + 1))
    rows = [row for row in alignments(library, query) if row["votes"] > 50]
    assert {row["asset_id"] for row in rows} == {first, second}
    for row in rows:
        assert row["offset_frames"] == -(int(lead.frames[-1]) + 1)
        assert row["votes"] == len(reference)


def test_neighbours_that_share_lines_are_told_apart(library: Library) -> None:
    """A clip over the end of one asset and the start of the next: two alignments, two assets."""
    rng = np.random.default_rng(1)
    one, other = (random_landmarks(rng, duration_sec=380) for _ in range(2))
    first, second = library.add(one), library.add(other)
    compact(library)
    query = joined(
        excerpt(one, BLOCK_FRAMES - 100, BLOCK_FRAMES), shifted(excerpt(other, 0, 100), 100)
    )
    # In the lines of the index both lie at BLOCK_FRAMES - 100 of the first.
    found = {row["asset_id"]: row for row in alignments(library, query) if row["votes"] > 20}
    assert found[first]["offset_frames"] == BLOCK_FRAMES - 100
    assert found[second]["offset_frames"] == -100
    assert found[first]["votes"] + found[second]["votes"] == len(query)


def test_silence_as_long_as_a_block_keeps_offsets_apart(library: Library, packed: bool) -> None:
    part = random_landmarks(np.random.default_rng(1), duration_sec=10)
    asset_id = library.add(joined(part, shifted(part, 5 * BLOCK_FRAMES)))
    if packed:
        compact(library)
        assert library.value("SELECT count(*) FROM fpdb.block") == 6
    rows = [row for row in alignments(library, part) if row["votes"] > 50]
    assert {(row["asset_id"], row["offset_frames"]) for row in rows} == {
        (asset_id, 0),
        (asset_id, 5 * BLOCK_FRAMES),
    }


def test_up_to_four_offsets_an_asset(library: Library) -> None:
    part = random_landmarks(np.random.default_rng(1), duration_sec=5)
    library.add(joined(*(shifted(part, 1000 * n) for n in range(6))))
    offsets = [row["offset_frames"] for row in alignments(library, part) if row["votes"] > 20]
    assert len(offsets) == 4
    assert set(offsets) < {1000 * n for n in range(6)}


# ---------------------------------------------------------------- budget and scope


def test_the_rarest_hashes_are_read_first(library: Library, packed: bool) -> None:
    common = landmarks([1] * 300, list(range(5, 3000, 10)))
    rare = landmarks(list(range(100, 120)), list(range(50, 70)))
    asset_id = library.add(joined(common, rare))
    if packed:
        compact(library)
    query = joined(landmarks([1], [0]), shifted(rare, -50))
    best = alignments(library, query)[0]
    assert (best["postings"], best["votes"]) == (320, 20)
    for budget in (319, 20):
        best = alignments(library, query, max_postings=budget)[0]
        assert best["asset_id"] == asset_id
        assert (best["postings"], best["votes"]) == (20, 20)
    assert alignments(library, query, max_postings=7)[0]["postings"] == 7
    assert alignments(library, query, max_postings=0) == []


def test_a_long_list_of_postings_is_read_whole(library: Library) -> None:
    common = landmarks([5] * 1000, list(range(0, 3000, 3)))
    library.add(common)
    compact(library)
    (row, *_) = alignments(library, landmarks([5, 5], [0, 300]))
    assert (row["postings"], row["votes"]) == (2000, 2)


def test_a_row_too_large_for_a_page_is_stored_apart_and_read(library: Library) -> None:
    common = landmarks([5] * 30_000, list(range(30_000)))
    asset_id = library.add(common)
    compact(library)
    assert library.value("SELECT max(cardinality(entries)) FROM fpdb.posting") == 30_000
    best = alignments(library, landmarks([5] * 40, list(range(0, 400, 10))))[0]
    assert (best["asset_id"], best["votes"]) == (asset_id, 120)


def test_a_small_collection_is_not_crowded_out(library: Library, packed: bool) -> None:
    rng = np.random.default_rng(1)
    whole = random_landmarks(rng, duration_sec=10)
    library.connection.execute("INSERT INTO fpdb.collection (name) VALUES ('radio')")
    worse = library.add(Landmarks(whole.hashes[::8], whole.frames[::8]), collection="radio")
    crowd = [library.add(whole) for _ in range(150)]
    if packed:
        compact(library)
    query = excerpt(whole, 100, 300)
    assert {row["asset_id"] for row in alignments(library, query)} <= set(crowd)
    (row,) = alignments(library, query, collection="radio")
    assert (row["asset_id"], row["offset_frames"]) == (worse, 100)
    rows = alignments(library, query, exclude_asset=crowd[0], k=200)
    assert {row["asset_id"] for row in rows} == {worse, *crowd[1:]}


def test_another_profile_is_packed_apart_and_not_searched(library: Library) -> None:
    part = random_landmarks(np.random.default_rng(1), duration_sec=10)
    active = library.add(part)
    library.connection.execute("SELECT fpdb.register_profile('other', 'other', '{}')")
    other = library.add(part, profile="other")
    for _ in range(2):
        assert {row["asset_id"] for row in alignments(library, part)} == {active}
        compact(library)
    assert library.rows("SELECT DISTINCT profile_id, blocks FROM fpdb.tier ORDER BY 1") == [
        (library.value("SELECT profile_id FROM fpdb.asset WHERE asset_id = %s", n), 1)
        for n in (active, other)
    ]


# ---------------------------------------------------------------- compaction


def test_compaction_says_what_it_did_and_ends(library: Library) -> None:
    rng = np.random.default_rng(1)
    for _ in range(5):
        library.add(random_landmarks(rng, duration_sec=10))
    assert compact(library, 400) == [("sealed", 400)]
    assert compact(library, 800) == [("sealed", 800)]
    assert compact(library, 800) == [("sealed", 800)]
    assert compact(library, 400) == [("merged", 2000)]
    assert compact(library, 400) == []
    assert compact(library) == []
    status = library.names("SELECT * FROM fpdb.index_status")[0]
    assert (status["runs"], status["postings"], status["delta_rows"]) == (1, 2000, 0)
    assert (status["dead_share"], status["advice"]) == (0, "nothing to do")


def test_every_run_is_larger_than_all_smaller_ones(library: Library) -> None:
    rng = np.random.default_rng(1)
    for n in range(40):
        library.add(random_landmarks(rng, duration_sec=2 + n % 5))
        compact(library)
        sizes = sorted(row[0] for row in library.rows("SELECT postings FROM fpdb.run"))
        assert all(size > sum(sizes[:place]) for place, size in enumerate(sizes) if place)


def test_what_is_deleted_vanishes_at_once_and_leaves_the_disk_at_the_next_merge(
    library: Library,
) -> None:
    rng = np.random.default_rng(1)
    parts = [random_landmarks(rng, duration_sec=10) for _ in range(4)]
    ids = [library.add(part) for part in parts]
    compact(library)
    library.connection.execute("DELETE FROM fpdb.asset WHERE asset_id <> %s", (ids[0],))
    for asset_id, part in zip(ids, parts, strict=True):
        found = {row["asset_id"] for row in alignments(library, part) if row["votes"] > 20}
        assert found == ({asset_id} if asset_id == ids[0] else set())
    assert library.value("SELECT dead_share FROM fpdb.index_status") == pytest.approx(0.75)
    assert compact(library) == [("merged", 400)]
    assert library.value("SELECT sum(cardinality(entries)) FROM fpdb.posting") == 400
    library.connection.execute("DELETE FROM fpdb.asset")
    assert compact(library) == [("dropped", 0)]
    assert is_empty(library)


def test_a_packed_asset_that_is_stored_again(library: Library) -> None:
    rng = np.random.default_rng(1)
    former, latter = (random_landmarks(rng, duration_sec=10) for _ in range(2))
    asset_id = library.add(former)
    compact(library)
    library.replace(asset_id, latter)
    assert alignments(library, latter)[0]["votes"] == len(latter)
    assert [row for row in alignments(library, former) if row["votes"] > 20] == []


def test_a_new_source_of_a_packed_asset(library: Library) -> None:
    part = random_landmarks(np.random.default_rng(1), duration_sec=10)
    library.add(part)
    compact(library)
    library.connection.execute("UPDATE fpdb.asset SET uri = 'another.wav'")
    assert alignments(library, part) == []
    assert compact(library) == [("dropped", 0)]
    assert is_empty(library)


def test_an_asset_in_work_stays_in_the_delta(library: Library) -> None:
    part = random_landmarks(np.random.default_rng(1), duration_sec=10)
    asset_id = library.add(part)
    library.connection.execute("SELECT fpdb.reprocess()")
    assert compact(library) == []
    library.connection.execute("UPDATE fpdb.asset SET landmark_status = 'failed'")
    assert compact(library) == [("sealed", len(part))]
    assert alignments(library, part)[0]["asset_id"] == asset_id


def test_a_truncate_empties_the_index(library: Library) -> None:
    rng = np.random.default_rng(1)
    for _ in range(2):
        library.add(random_landmarks(rng, duration_sec=10))
        compact(library)
    library.add(random_landmarks(rng, duration_sec=10))
    library.connection.execute("TRUNCATE fpdb.asset CASCADE")
    assert is_empty(library)


def test_entries_are_stored_plain(library: Library) -> None:
    library.add(random_landmarks(np.random.default_rng(1)))
    compact(library)
    rows = library.rows(
        "SELECT pg_column_compression(entries), pg_column_size(entries) - 4 * cardinality(entries)"
        " FROM fpdb.posting"
    )
    assert {row[0] for row in rows} == {None}
    assert max(row[1] for row in rows) <= 24


@pytest.mark.parametrize("max_entries", [1_000_000, 500])
def test_landmarks_of_an_asset(library: Library, max_entries: int) -> None:
    rng = np.random.default_rng(1)
    parts = [random_landmarks(rng, duration_sec=n) for n in (60, 600, 60)]
    ids = [library.add(part) for part in parts]
    ask = "SELECT * FROM fpdb.asset_landmarks(%s, %s)"
    for rounds in range(2):
        for asset_id, part in zip(ids, parts, strict=True):
            stored = set(zip(part.hashes.tolist(), part.frames.tolist(), strict=True))
            found = set(library.rows(ask, asset_id, max_entries))
            assert found <= stored
            if rounds == 0 or max_entries > 1000:
                assert found == stored
            else:
                assert 0.3 < len(found) / len(part) * 28_800 / 500 < 3
        compact(library)


# ---------------------------------------------------------------- merges


def two_tiers(library: Library, sizes: tuple[int, int] = (4, 4)) -> Stored:
    """Store assets of 20 s as two tiers that are due to be merged."""
    rng = np.random.default_rng(1)
    stored = {}
    for size in sizes:
        for part in [random_landmarks(rng, duration_sec=20) for _ in range(size)]:
            stored[library.add(part)] = part
        seal(library)
    return stored


def test_halfway_through_a_merge_everything_is_found(library: Library) -> None:
    stored = two_tiers(library)
    query = next(iter(stored.values()))
    rounds = 0
    while merge_on(library):
        rounds += 1
        assert_equals_oracle(library, stored, query)
        assert library.rows("SELECT * FROM fpdb.check_index()") == []
        for asset_id, part in stored.items():
            found = library.rows("SELECT * FROM fpdb.asset_landmarks(%s)", asset_id)
            pairs = zip(part.hashes.tolist(), part.frames.tolist(), strict=True)
            assert Counter(found) == Counter(pairs)
        status = library.names("SELECT * FROM fpdb.index_status")[0]
        assert status["dead_share"] == 0
        is_over = library.value("SELECT count(*) FROM fpdb.run") == 1
        assert status["advice"] == ("nothing to do" if is_over else "SELECT fpdb.compact()")
    assert rounds > 10
    assert library.value("SELECT count(*) FROM fpdb.tier") == 1


def test_what_is_deleted_halfway_through_a_merge_vanishes_at_once(library: Library) -> None:
    stored = two_tiers(library)
    while merge_on(library) and library.value("SELECT count(*) FROM fpdb.run") > 1:
        if stored:
            gone, part = stored.popitem()
            library.connection.execute("DELETE FROM fpdb.asset WHERE asset_id = %s", (gone,))
            assert_equals_oracle(library, stored, part)
    assert not stored
    compact(library)
    assert is_empty(library)


def test_numbers_of_what_died_first_are_given_back(library: Library) -> None:
    """A collection that forgets its oldest recordings does not run out of block numbers."""
    rng = np.random.default_rng(1)
    stored: Stored = {}
    for number in range(60):
        part = random_landmarks(rng, duration_sec=5)
        stored[library.add(part)] = part
        if len(stored) > 6:
            oldest = min(stored)
            library.connection.execute("DELETE FROM fpdb.asset WHERE asset_id = %s", (oldest,))
            del stored[oldest]
        compact(library)
        if number % 10 == 0:
            assert_equals_oracle(library, stored, part)
    assert library.value("SELECT max(block) FROM fpdb.block") < 30
    assert library.value("SELECT sum(blocks) FROM fpdb.tier") < 40


def test_a_clock_that_jumps_does_no_harm(library: Library) -> None:
    stored = two_tiers(library)
    for at in ("2100-01-01", "1970-01-01"):
        library.connection.execute(
            "UPDATE fpdb.tier SET created_at = %s WHERE tier_id IN"
            " (SELECT tier_id FROM fpdb.tier ORDER BY random() LIMIT 1)",
            (at,),
        )
        part = random_landmarks(np.random.default_rng(len(stored)), duration_sec=10)
        stored[library.add(part)] = part
        compact(library)
        assert_equals_oracle(library, stored, part)
    assert library.rows("SELECT * FROM fpdb.check_index()") == []


def test_a_merge_that_is_killed_goes_on_where_it_was(library: Library, migrated_url: str) -> None:
    stored = two_tiers(library)
    for _ in range(5):
        merge_on(library)
    reached = library.value("SELECT max(merged_to) FROM fpdb.run")
    with session(migrated_url) as killed:
        merge_on(killed)
        library.value("SELECT pg_terminate_backend(%s, 10000)", killed.connection.info.backend_pid)
        killed.connection.close()
    assert library.value("SELECT max(merged_to) FROM fpdb.run") == reached > 0
    assert_equals_oracle(library, stored, next(iter(stored.values())))
    assert [action for action, _ in compact(library)] == ["merged"]
    assert_equals_oracle(library, stored, next(iter(stored.values())))


def test_what_is_due_is_done_step_by_step(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = two_tiers(library)
    monkeypatch.setattr(index, "STEP_POSTINGS", 100)
    merge_on(library)
    assert library.value("SELECT fpdb.compaction_is_due()")
    written = index.compact_when_due(library.connection)
    assert 0 < written < sum(map(len, stored.values()))
    assert not library.value("SELECT fpdb.compaction_is_due()")
    assert index.compact_when_due(library.connection) == 0
    assert_equals_oracle(library, stored, next(iter(stored.values())))


# ---------------------------------------------------------------- several sessions


@contextmanager
def session(url: str) -> Iterator[Library]:
    """Another session, in a transaction that ends with it unless the test commits."""
    with closing(connect(url)) as connection:
        connection.execute("BEGIN")
        yield Library(connection)


def waiting(connection: Connection) -> bool:
    return bool(
        Library(connection).value(
            "SELECT count(*) > 0 FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
    )


def until_waiting(connection: Connection, work: "Future[object]") -> None:
    """Return once `work` waits for a lock."""
    while not waiting(connection):
        assert not work.done()


def test_a_late_commit_is_not_lost(library: Library, migrated_url: str) -> None:
    rng = np.random.default_rng(1)
    early, late = (random_landmarks(rng, duration_sec=10) for _ in range(2))
    with session(migrated_url) as slow:
        late_id = slow.add(late)
        early_id = library.add(early)
        assert late_id < early_id
        assert compact(library) == [("sealed", len(early))]
        slow.connection.execute("COMMIT")
    assert alignments(library, late)[0]["asset_id"] == late_id
    assert compact(library) == [("sealed", len(late)), ("merged", len(early) + len(late))]
    for asset_id, part in ((early_id, early), (late_id, late)):
        assert alignments(library, part)[0]["asset_id"] == asset_id


def test_of_two_compactions_the_second_returns_at_once(library: Library, migrated_url: str) -> None:
    part = random_landmarks(np.random.default_rng(1), duration_sec=10)
    asset_id = library.add(part)
    with session(migrated_url) as first:
        assert compact(first) == [("sealed", len(part))]
        assert compact(library) == [("another compaction is running", None)]
        assert alignments(library, part)[0]["asset_id"] == asset_id
        first.connection.execute("COMMIT")
    assert compact(library) == []
    assert alignments(library, part)[0]["asset_id"] == asset_id


def test_a_compaction_that_is_killed_has_done_nothing(library: Library, migrated_url: str) -> None:
    part = random_landmarks(np.random.default_rng(1), duration_sec=10)
    asset_id = library.add(part)
    with session(migrated_url) as killed:
        assert compact(killed) == [("sealed", len(part))]
        library.value("SELECT pg_terminate_backend(%s, 10000)", killed.connection.info.backend_pid)
        killed.connection.close()
    assert library.value("SELECT count(*) FROM fpdb.delta") == len(part)
    assert library.value("SELECT count(*) FROM fpdb.run") == 0
    assert compact(library) == [("sealed", len(part))]
    assert alignments(library, part)[0]["asset_id"] == asset_id


@pytest.mark.parametrize("change", ["DELETE FROM fpdb.asset", "UPDATE fpdb.asset SET uri = 'new'"])
@pytest.mark.parametrize("stage", ["sealing", "merging"])
def test_an_asset_that_changes_while_a_compaction_runs(
    library: Library, migrated_url: str, change: str, stage: str
) -> None:
    rng = np.random.default_rng(1)
    parts = [random_landmarks(rng, duration_sec=10) for _ in range(2)]
    for part in parts:
        library.add(part)
        if stage == "merging":
            compact(library, 1)
    with session(migrated_url) as first, connect(migrated_url) as other:
        expected = "sealed" if stage == "sealing" else "merged"
        assert [action for action, _ in compact(first)] == [expected]
        with ThreadPoolExecutor(1) as thread:
            work = thread.submit(other.execute, change.encode())
            until_waiting(library.connection, work)
            first.connection.execute("COMMIT")
            work.result(timeout=10)
    assert alignments(library, parts[0]) == []
    compact(library)
    assert is_empty(library)


@pytest.mark.parametrize("end", ["COMMIT", "ROLLBACK"])
@pytest.mark.parametrize("stage", ["sealing", "merging"])
def test_a_compaction_waits_for_nobody(
    library: Library, migrated_url: str, stage: str, end: str
) -> None:
    rng = np.random.default_rng(1)
    parts = [random_landmarks(rng, duration_sec=10) for _ in range(2)]
    ids = []
    for part in parts:
        ids.append(library.add(part))
        if stage == "merging":
            compact(library, 1)
    with session(migrated_url) as user:
        user.connection.execute("DELETE FROM fpdb.asset WHERE asset_id = %s", (ids[0],))
        library.connection.execute("SET lock_timeout = '2s'")
        compact(library)
        for asset_id, part in zip(ids, parts, strict=True):
            assert alignments(library, part)[0]["asset_id"] == asset_id
        user.connection.execute(end.encode())
    compact(library)
    left = set(library.rows("SELECT DISTINCT asset_id FROM fpdb.landmark"))
    assert left == {(asset_id,) for asset_id in (ids if end == "ROLLBACK" else ids[1:])}
    assert library.value("SELECT count(*) FROM fpdb.run") == 1
    assert library.value("SELECT sum(postings) FROM fpdb.run") == len(left) * len(parts[0])


def test_ingestion_goes_on_while_a_compaction_runs(library: Library, migrated_url: str) -> None:
    rng = np.random.default_rng(1)
    first, second = (random_landmarks(rng, duration_sec=10) for _ in range(2))
    library.add(first)
    with session(migrated_url) as other:
        assert compact(other) == [("sealed", len(first))]
        library.connection.execute("SET lock_timeout = '2s'")
        asset_id = library.add(second)
        assert alignments(library, second)[0]["asset_id"] == asset_id
        library.connection.execute("UPDATE fpdb.asset SET embedding_status = 'ready', title = 'x'")
        other.connection.execute("COMMIT")
    assert alignments(library, second)[0]["asset_id"] == asset_id
    assert library.value("SELECT count(*) FROM fpdb.delta") == len(second)


# ---------------------------------------------------------------- plans


def test_the_index_is_read_by_its_keys(library: Library) -> None:
    rng = np.random.default_rng(1)
    for n in range(6):
        library.add(random_landmarks(rng, duration_sec=120, per_sec=100))
        if n == 3:
            compact(library)
    for analyzed in (False, True):
        if analyzed:
            library.connection.execute(
                "ANALYZE fpdb.delta, fpdb.posting, fpdb.block, fpdb.run, fpdb.tier"
            )
        plan = library.plan("landmark_votes", 5000, "NULL, NULL, NULL, NULL, 2000000, 400")
        assert "posting_pkey" in plan
        assert "delta_hash_idx" in plan
        assert set(re.findall(r"Seq Scan on (\w+)", plan)) <= {"run"}


def test_frames_are_those_of_the_profile() -> None:
    assert BLOCK_FRAMES * ACCURATE.frame_sec == pytest.approx(380, abs=1)


def test_compaction_is_due_when_much_waits_or_much_is_dead(library: Library) -> None:
    def is_due() -> bool:
        return bool(library.value("SELECT fpdb.compaction_is_due()"))

    kept, deleted = library.add(), library.add()
    fill = (
        "INSERT INTO fpdb.delta (asset_id, profile_id, hash, frame)"
        " SELECT %s, 1, n %% 9999, n / 10 FROM generate_series(1, %s) n"
    )
    assert not is_due()
    library.connection.execute(fill, (kept, 100_000))
    assert not is_due()
    library.connection.execute(fill, (deleted, 150_000))
    assert is_due()
    compact(library)
    assert not is_due()
    library.connection.execute("DELETE FROM fpdb.asset WHERE asset_id = %s", (deleted,))
    assert is_due()
    assert compact(library) == [("merged", 100_000)]
    assert not is_due()


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        ("DELETE FROM fpdb.posting WHERE key = %(key)s", "postings of assets are missing"),
        (
            "UPDATE fpdb.posting SET entries = entries || 1 WHERE key = %(key)s",
            "a row of postings is out of order",
        ),
        (
            "UPDATE fpdb.posting SET entries = array_append(entries, NULL) WHERE key = %(key)s",
            "a row of postings is out of order",
        ),
        ("UPDATE fpdb.posting SET run_id = 4711", "postings of a run that does not exist"),
    ],
)
def test_damage_is_found_and_what_it_concerns_can_be_made_anew(
    library: Library, damage: str, problem: str
) -> None:
    rng = np.random.default_rng(3)
    parts = [random_landmarks(rng, duration_sec=20) for _ in range(3)]
    asset_ids = [library.add(part) for part in parts]
    compact(library)
    assert library.rows("SELECT * FROM fpdb.check_index()") == []
    key = library.value("SELECT key FROM fpdb.posting ORDER BY cardinality(entries) DESC LIMIT 1")
    library.connection.execute(damage.encode(), {"key": key})
    found = library.rows("SELECT problem, asset_ids FROM fpdb.check_index()")
    assert problem in [row[0] for row in found]
    concerned = {asset_id for _, ids in found for asset_id in ids or ()}
    assert concerned <= set(asset_ids)
    # Fingerprinted again, they are found as before, whatever is left of the damage.
    for asset_id, part in zip(asset_ids, parts, strict=True):
        library.replace(asset_id, part)
    compact(library)
    assert library.rows("SELECT * FROM fpdb.check_index() WHERE asset_ids IS NOT NULL") == []
    for asset_id, part in zip(asset_ids, parts, strict=True):
        assert alignments(library, part)[0]["asset_id"] == asset_id
