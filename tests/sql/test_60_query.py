"""A clip inserted by plain SQL is queued, and its answer is announced."""

from dataclasses import asdict
from typing import Any

import psycopg
import pytest
from library import Library

from fingerprintdb.store.database import Connection, connect
from fingerprintdb.store.match import Evidence, Match
from fingerprintdb.store.query import answer_query, claim_query, fail_query
from fingerprintdb.warp import AS_RECORDED


def jobs(connection: Connection) -> list[tuple[Any, ...]]:
    return connection.execute(
        "SELECT queue_name, task_name, args FROM fpdb_queue.procrastinate_jobs ORDER BY id"
    ).fetchall()


def insert(library: Library, **columns: Any) -> int:
    columns = {"uri": "clip.wav"} | columns
    names, places = ", ".join(columns), ", ".join(["%s"] * len(columns))
    statement = f"INSERT INTO fpdb.query ({names}) VALUES ({places}) RETURNING query_id"
    return int(library.value(statement, *columns.values()))


def match(asset_id: int, confidence: float = 0.9) -> Match:
    evidence = Evidence(
        aligned_landmarks=12,
        chance_landmarks=5.0,
        bit_error_rate=0.2,
        chance_bit_error_rate=0.46,
        compared_sub_fingerprints=31,
        bit_rank=1,
        aligned_segments=0,
        similarity=None,
        pitch=1.0,
        tempo=1.05,
    )
    return Match(
        asset_id=asset_id,
        uri=None,
        title=None,
        artist=None,
        work_id=asset_id,
        work_title=None,
        version=AS_RECORDED,
        confidence=confidence,
        threshold=0.75,
        score=12.0,
        offset_sec=-1.5,
        query_start_sec=1.5,
        query_end_sec=4.0,
        reference_start_sec=0.0,
        reference_end_sec=2.5,
        agreement=3.3,
        excess=20.0,
        spread=0.104,
        evidence=evidence,
    )


def test_an_insert_queues_one_job_a_clip(library: Library) -> None:
    library.connection.execute("INSERT INTO fpdb.query (uri) VALUES ('a'), ('b')")
    keys = library.rows("SELECT query_id FROM fpdb.query ORDER BY query_id")
    assert jobs(library.connection) == [("query", "query", {"query_id": key}) for (key,) in keys]
    assert library.rows("SELECT DISTINCT status, found, k FROM fpdb.query") == [
        ("queued", None, 10)
    ]


def test_a_rolled_back_insert_queues_nothing(library: Library) -> None:
    with library.connection.transaction(force_rollback=True):
        insert(library)
        assert len(jobs(library.connection)) == 1
    assert jobs(library.connection) == []


def test_an_insert_of_no_clips_queues_nothing(library: Library) -> None:
    library.connection.execute("INSERT INTO fpdb.query (uri) SELECT 'a' WHERE false")
    assert jobs(library.connection) == []


@pytest.mark.parametrize(
    "columns", [{"uri": None}, {"uri": ""}, {"k": 0}, {"k": 1001}, {"status": "lost"}]
)
def test_clips_that_make_no_sense_are_refused(library: Library, columns: dict[str, Any]) -> None:
    with pytest.raises(psycopg.errors.CheckViolation):
        insert(library, **columns)
    assert jobs(library.connection) == []


def notes(listener: Connection) -> list[tuple[str, str]]:
    """Return what was announced, up to and with a mark that we send last."""
    listener.execute("SELECT pg_notify('fpdb_query', 'end')")
    found = []
    for note in listener.notifies(timeout=10):
        if note.payload == "end":
            break
        found.append((note.channel, note.payload))
    return found


@pytest.fixture
def listener(connection: Connection, migrated_url: str) -> Connection:
    listener = connect(migrated_url)
    listener.execute("LISTEN fpdb_query")
    return listener


def test_an_answer_is_announced_when_it_commits(library: Library, listener: Connection) -> None:
    asset_id = library.add()
    first, second = insert(library), insert(library)
    with listener:
        assert notes(listener) == []
        assert claim_query(library.connection, first) is not None
        assert notes(listener) == []
        with library.connection.transaction():
            answer_query(library.connection, first, "match", [match(asset_id)], 5.0)
            assert notes(listener) == []
        assert notes(listener) == [("fpdb_query", str(first))]
        fail_query(library.connection, second, "no such file", again=True)
        assert notes(listener) == []
        fail_query(library.connection, second, "no such file", again=False)
        assert notes(listener) == [("fpdb_query", str(second))]
        library.connection.execute("UPDATE fpdb.query SET status = status")
        assert notes(listener) == []


def test_an_answer_is_stored_in_order(library: Library) -> None:
    assets = [library.add(), library.add()]
    query_id = insert(library, k=2)
    answer_query(
        library.connection, query_id, "match", [match(asset_id) for asset_id in assets], 5.0
    )
    rows = library.rows(
        "SELECT rank, asset_id, offset_sec, reference_end_sec, evidence FROM fpdb.query_match"
        " WHERE query_id = %s ORDER BY rank",
        query_id,
    )
    evidence = asdict(match(assets[0]).evidence)
    assert rows == [(1, assets[0], -1.5, 2.5, evidence), (2, assets[1], -1.5, 2.5, evidence)]
    assert library.rows("SELECT status, found, processing_time_ms, error FROM fpdb.query") == [
        ("ready", True, 5.0, None)
    ]


def test_an_answer_given_twice_replaces_the_first(library: Library) -> None:
    query_id = insert(library)
    answer_query(library.connection, query_id, "match", [match(library.add())], 5.0)
    answer_query(library.connection, query_id, "no match", [], 5.0)
    assert library.value("SELECT count(*) FROM fpdb.query_match") == 0
    assert library.value("SELECT found FROM fpdb.query") is False


def test_an_answered_or_deleted_query_is_not_claimed(library: Library) -> None:
    query_id = insert(library, metadata='{"a": 1}', collection="radio")
    claimed = claim_query(library.connection, query_id)
    assert claimed is not None
    assert (claimed.uri, claimed.metadata, claimed.collection) == ("clip.wav", {"a": 1}, "radio")
    # A worker that died left it as being processed.
    assert claim_query(library.connection, query_id) is not None
    answer_query(library.connection, query_id, "no match", [], 5.0)
    assert claim_query(library.connection, query_id) is None
    library.connection.execute("DELETE FROM fpdb.query")
    assert claim_query(library.connection, query_id) is None


def test_matches_leave_with_their_query_and_their_asset(library: Library) -> None:
    first, second = library.add(), library.add()
    queries = [insert(library), insert(library)]
    for query_id in queries:
        answer_query(library.connection, query_id, "match", [match(first), match(second)], 5.0)
    library.connection.execute("DELETE FROM fpdb.query WHERE query_id = %s", (queries[0],))
    library.connection.execute("DELETE FROM fpdb.asset WHERE asset_id = %s", (first,))
    assert library.rows("SELECT query_id, asset_id FROM fpdb.query_match") == [(queries[1], second)]


def test_a_failed_query_keeps_its_reason(library: Library) -> None:
    query_id = insert(library)
    fail_query(library.connection, query_id, "no such \0file", again=True)
    assert library.rows("SELECT status, error, finished_at FROM fpdb.query") == [
        ("queued", "no such file", None)
    ]
    fail_query(library.connection, query_id, "gone", again=False)
    assert library.rows("SELECT status, error, finished_at IS NULL FROM fpdb.query") == [
        ("failed", "gone", False)
    ]


def test_what_was_deleted_since_the_search_is_no_answer(library: Library) -> None:
    gone, kept = library.add(), library.add()
    query_id = insert(library)
    found = [match(gone), match(kept, 0.8)]
    library.connection.execute("DELETE FROM fpdb.asset WHERE asset_id = %s", (gone,))
    answer_query(library.connection, query_id, "match", found, 5.0)
    assert library.rows("SELECT asset_id, rank FROM fpdb.query_match") == [(kept, 1)]
    answer_query(library.connection, query_id, "match", found[:1], 5.0)
    assert library.rows("SELECT verdict, found FROM fpdb.query") == [("no match", False)]
