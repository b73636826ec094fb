"""INSERT, UPDATE and DELETE of assets queue and remove exactly what they should."""

from typing import Any

import numpy as np
import psycopg
import pytest
from library import Library, random_landmarks, random_vectors

from fingerprintdb.store.database import Connection, connect

Job = tuple[str, str, dict[str, Any]]


def jobs(connection: Connection) -> list[Job]:
    """Queue, task and arguments of every job, in order of queueing."""
    rows = connection.execute(
        "SELECT queue_name, task_name, args FROM fpdb_queue.procrastinate_jobs ORDER BY id"
    ).fetchall()
    return [(row[0], row[1], row[2]) for row in rows]


def insert(connection: Connection, **columns: Any) -> int:
    return Library(connection).add(
        landmark_status="queued", embedding_status="queued", duration_sec=None, **columns
    )


def job(kind: str, asset_id: int, revision: int) -> Job:
    return kind, kind, {"asset_id": asset_id, "revision": revision}


def counts(library: Library, asset_id: int) -> list[int]:
    tables = ("landmark", "segment", "embedding")
    return [
        library.value(f"SELECT count(*) FROM fpdb.{table} WHERE asset_id = %s", asset_id)
        for table in tables
    ]


def test_an_insert_queues_one_job_of_each_kind(connection: Connection) -> None:
    row = connection.execute(
        "INSERT INTO fpdb.asset (uri, title) VALUES ('/a.wav', 'A') RETURNING asset_id, status"
    ).fetchone()
    assert row is not None
    assert row[1] == "queued"
    assert jobs(connection) == [job("landmark", row[0], 1), job("embedding", row[0], 1)]


def test_jobs_carry_no_locks(connection: Connection) -> None:
    connection.execute("INSERT INTO fpdb.asset (uri) VALUES ('a'), ('a')")
    rows = connection.execute(
        "SELECT DISTINCT lock, queueing_lock, status::text FROM fpdb_queue.procrastinate_jobs"
    ).fetchall()
    assert rows == [(None, None, "todo")]


def test_an_insert_wakes_workers(connection: Connection, migrated_url: str) -> None:
    channels = connection.execute(
        "SELECT pg_get_functiondef(p.oid) FROM pg_proc p"
        " WHERE pronamespace = 'fpdb_queue'::regnamespace AND prosrc LIKE '%pg_notify%'"
    ).fetchall()
    assert channels
    with connect(migrated_url) as listener:
        listener.execute('LISTEN "procrastinate_queue_v1#landmark"')
        insert(connection)
        notes = list(listener.notifies(timeout=10, stop_after=1))
    assert [note.channel for note in notes] == ["procrastinate_queue_v1#landmark"]


def test_jobs_belong_to_the_transaction_of_the_insert(
    connection: Connection, migrated_url: str
) -> None:
    with connect(migrated_url) as other, connection.transaction(force_rollback=True):
        insert(connection)
        assert len(jobs(connection)) == 2
        assert jobs(other) == []
    assert jobs(connection) == []
    assert Library(connection).value("SELECT count(*) FROM fpdb.asset") == 0


def test_ten_thousand_rows_in_one_statement(connection: Connection) -> None:
    connection.execute(
        "INSERT INTO fpdb.asset (uri) SELECT 'file-' || n FROM generate_series(1, 10000) n"
    )
    missing = connection.execute(
        "SELECT count(*) FILTER (WHERE kinds = '{embedding,landmark}'), count(*) FROM ("
        " SELECT a.asset_id, array_agg(j.task_name::text ORDER BY j.task_name) AS kinds"
        " FROM fpdb.asset a LEFT JOIN fpdb_queue.procrastinate_jobs j"
        "  ON (j.args->>'asset_id')::bigint = a.asset_id AND j.args->>'revision' = '1'"
        " GROUP BY a.asset_id) a"
    ).fetchone()
    assert missing == (10_000, 10_000)


def test_a_row_that_comes_ready_queues_nothing(library: Library) -> None:
    library.add()
    assert jobs(library.connection) == []


def test_a_row_with_only_landmarks_ready_queues_its_embeddings(library: Library) -> None:
    asset_id = library.add(embedding_status="queued")
    assert jobs(library.connection) == [job("embedding", asset_id, 1)]


def test_an_insert_of_no_rows_queues_nothing(connection: Connection) -> None:
    connection.execute("INSERT INTO fpdb.asset (uri) SELECT 'a' WHERE false")
    connection.execute("UPDATE fpdb.asset SET uri = 'b'")
    assert jobs(connection) == []


@pytest.mark.parametrize("change", ["uri = 'elsewhere.wav'", "content = 'RIFF'"])
def test_a_change_of_source_queues_both_kinds_again(library: Library, change: str) -> None:
    asset_id, other = library.add(), library.add()
    library.connection.execute(
        f"UPDATE fpdb.asset SET {change} WHERE asset_id = %s".encode(), (asset_id,)
    )
    assert jobs(library.connection) == [job("landmark", asset_id, 2), job("embedding", asset_id, 2)]
    states = library.rows(
        "SELECT status, landmark_revision, embedding_revision FROM fpdb.asset ORDER BY asset_id"
    )
    assert states == [("queued", 2, 2), ("ready", 1, 1)]
    assert other != asset_id


@pytest.mark.parametrize(
    "change",
    [
        "segment_duration_sec = 10",
        "segment_hop_sec = 5",
        "sample_rate = 16000",
        "normalize_embeddings = false",
        "max_audio_length_sec = NULL",
    ],
)
def test_a_change_of_parameters_queues_embeddings_only(library: Library, change: str) -> None:
    asset_id = library.add()
    library.connection.execute(f"UPDATE fpdb.asset SET {change}".encode())
    assert jobs(library.connection) == [job("embedding", asset_id, 2)]
    assert library.rows("SELECT landmark_status, embedding_status, status FROM fpdb.asset") == [
        ("ready", "queued", "processing")
    ]


@pytest.mark.parametrize(
    "change",
    [
        "title = 'x', artist = 'y'",
        "metadata = '{\"a\": 1}'",
        "collection = 'other'",
        "content_type = 'speech'",
        "uri = uri, segment_hop_sec = segment_hop_sec",
    ],
)
def test_a_change_of_anything_else_queues_nothing(library: Library, change: str) -> None:
    library.connection.execute("INSERT INTO fpdb.collection (name) VALUES ('other')")
    library.add()
    library.connection.execute(f"UPDATE fpdb.asset SET {change}".encode())
    assert jobs(library.connection) == []
    assert library.rows("SELECT status, landmark_revision FROM fpdb.asset") == [("ready", 1)]


def test_a_new_revision_clears_the_old_error(library: Library) -> None:
    library.add(
        landmark_status="failed", landmark_error="gone", embedding_status="failed",
        embedding_error="gone",
    )  # fmt: skip
    assert library.rows("SELECT status, error FROM fpdb.asset") == [("failed", "gone")]
    library.connection.execute("UPDATE fpdb.asset SET uri = 'found.wav'")
    assert library.rows("SELECT status, error FROM fpdb.asset") == [("queued", None)]


def test_a_worker_writing_its_results_queues_nothing(library: Library) -> None:
    asset_id = insert(library.connection)
    before = jobs(library.connection)
    library.connection.execute(
        "UPDATE fpdb.asset SET landmark_status = 'ready', landmark_error = NULL, sha256 = 'x'"
        " WHERE asset_id = %s",
        (asset_id,),
    )
    assert jobs(library.connection) == before


@pytest.fixture
def two_assets(library: Library) -> tuple[int, int]:
    rng = np.random.default_rng(1)
    first, second = (
        library.add(random_landmarks(rng, duration_sec=5), random_vectors(rng, 3)) for _ in range(2)
    )
    assert counts(library, first) == counts(library, second) == [200, 3, 3]
    return first, second


def test_a_delete_removes_everything_of_the_asset(
    library: Library, two_assets: tuple[int, int]
) -> None:
    library.connection.execute("DELETE FROM fpdb.asset WHERE asset_id = %s", (two_assets[0],))
    assert counts(library, two_assets[0]) == [0, 0, 0]
    assert counts(library, two_assets[1]) == [200, 3, 3]


def test_a_delete_rolled_back_removes_nothing(
    library: Library, two_assets: tuple[int, int]
) -> None:
    with library.connection.transaction(force_rollback=True):
        library.connection.execute("DELETE FROM fpdb.asset")
        assert counts(library, two_assets[0]) == [0, 0, 0]
    assert counts(library, two_assets[0]) == [200, 3, 3]


def test_a_truncate_removes_everything(library: Library, two_assets: tuple[int, int]) -> None:
    library.connection.execute("TRUNCATE fpdb.asset CASCADE")
    assert [counts(library, asset_id) for asset_id in two_assets] == [[0, 0, 0]] * 2


def test_a_version_names_its_work(library: Library) -> None:
    work = library.add()
    version = library.add(version_of=work)
    lone = library.add()
    for asset in (work, lone):
        with pytest.raises(psycopg.errors.CheckViolation, match="is itself a version of asset"):
            library.connection.execute(
                "UPDATE fpdb.asset SET version_of = %s WHERE asset_id = %s", (version, asset)
            )
    with pytest.raises(psycopg.errors.CheckViolation):
        library.add(version_of=version)
    library.connection.execute(
        "UPDATE fpdb.asset SET version_of = %s WHERE asset_id = %s", (lone, work)
    )
    assert dict(library.rows("SELECT asset_id, version_of FROM fpdb.asset")) == {
        lone: None,
        work: lone,
        version: lone,
    }


def test_a_deleted_reference_leaves_its_versions(library: Library) -> None:
    original = library.add()
    version = library.add(version_of=original)
    library.connection.execute("DELETE FROM fpdb.asset WHERE asset_id = %s", (original,))
    assert library.rows("SELECT asset_id, version_of FROM fpdb.asset") == [(version, None)]


@pytest.mark.parametrize(
    ("column", "lowest", "highest", "step"),
    [
        ("segment_duration_sec", 1, 30, 0.01),
        ("segment_hop_sec", 0.5, 15, 0.01),
        ("sample_rate", 8_000, 192_000, 1),
        ("max_audio_length_sec", 1, 600, 0.01),
    ],
)
def test_parameters_out_of_range_are_refused(
    connection: Connection, column: str, lowest: float, highest: float, step: float
) -> None:
    statement = f"INSERT INTO fpdb.asset (uri, {column}) VALUES ('a', %s)".encode()
    for value in (lowest, highest):
        connection.execute(statement, (value,))
    for value in (lowest - step, highest + step, -1):
        with pytest.raises(psycopg.errors.CheckViolation, match=f"{column}_between"):
            connection.execute(statement, (value,))
    assert Library(connection).value("SELECT count(*) FROM fpdb.asset") == 2
    assert len(jobs(connection)) == 4


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity"])
@pytest.mark.parametrize(
    "column", ["segment_duration_sec", "segment_hop_sec", "max_audio_length_sec"]
)
def test_parameters_that_are_no_numbers_are_refused(
    connection: Connection, column: str, value: str
) -> None:
    with pytest.raises(psycopg.errors.CheckViolation, match=f"{column}_between"):
        connection.execute(
            f"INSERT INTO fpdb.asset (uri, {column}) VALUES ('a', %s)".encode(), (value,)
        )


def test_no_audio_length_means_the_whole_recording(library: Library) -> None:
    insert(library.connection, max_audio_length_sec=None)
    assert library.value("SELECT max_audio_length_sec FROM fpdb.asset") is None


def test_the_defaults_are_those_of_the_contract(library: Library) -> None:
    insert(library.connection)
    assert library.rows(
        "SELECT segment_duration_sec, segment_hop_sec, sample_rate, normalize_embeddings,"
        " max_audio_length_sec, collection, content_type FROM fpdb.asset"
    ) == [(5.0, 2.5, 48_000, True, 120.0, "default", "music")]


@pytest.mark.parametrize(
    ("columns", "error", "word"),
    [
        ({"uri": None}, psycopg.errors.CheckViolation, "asset_names_audio"),
        ({"uri": ""}, psycopg.errors.CheckViolation, "asset_uri_check"),
        ({"collection": "nowhere"}, psycopg.errors.ForeignKeyViolation, "nowhere"),
        ({"content_type": "noise"}, psycopg.errors.ForeignKeyViolation, "noise"),
        ({"asset_id": 1, "version_of": 1}, psycopg.errors.CheckViolation, "not_its_own_version"),
        ({"status": "ready"}, psycopg.errors.GeneratedAlways, "status"),
    ],
)
def test_rows_that_make_no_sense_are_refused(
    library: Library, columns: dict[str, Any], error: type[psycopg.Error], word: str
) -> None:
    with pytest.raises(error, match=word):
        insert(library.connection, **columns)
    assert jobs(library.connection) == []


@pytest.mark.parametrize(
    ("landmark", "embedding", "status"),
    [
        ("queued", "queued", "queued"),
        ("processing", "queued", "processing"),
        ("ready", "queued", "processing"),
        ("ready", "processing", "processing"),
        ("ready", "ready", "ready"),
        ("ready", "failed", "failed"),
        ("failed", "queued", "failed"),
    ],
)
def test_the_status_of_an_asset_follows_from_its_two_kinds(
    library: Library, landmark: str, embedding: str, status: str
) -> None:
    library.add(landmark_status=landmark, embedding_status=embedding)
    assert library.value("SELECT status FROM fpdb.asset") == status


@pytest.fixture
def three_assets(library: Library) -> tuple[int, int, int]:
    """One ready, one whose landmarks failed, one whose embeddings failed, in another collection."""
    library.connection.execute("INSERT INTO fpdb.collection (name) VALUES ('other')")
    return (
        library.add(),
        library.add(landmark_status="failed"),
        library.add(embedding_status="failed", collection="other"),
    )


def test_reprocess_queues_everything(library: Library, three_assets: tuple[int, int, int]) -> None:
    assert library.value("SELECT fpdb.reprocess()") == 3
    expected = [job(kind, n, 2) for kind in ("landmark", "embedding") for n in three_assets]
    assert jobs(library.connection) == expected
    assert set(library.rows("SELECT status FROM fpdb.asset")) == {("queued",)}


def test_reprocess_of_listed_assets(library: Library, three_assets: tuple[int, int, int]) -> None:
    first = three_assets[0]
    assert library.value("SELECT fpdb.reprocess(ARRAY[%s, 999]::bigint[])", first) == 1
    assert jobs(library.connection) == [job("landmark", first, 2), job("embedding", first, 2)]


def test_reprocess_of_no_assets(library: Library, three_assets: tuple[int, int, int]) -> None:
    assert library.value("SELECT fpdb.reprocess('{}')") == 0
    assert jobs(library.connection) == []


def test_reprocess_of_a_collection(library: Library, three_assets: tuple[int, int, int]) -> None:
    assert library.value("SELECT fpdb.reprocess(collection => 'other')") == 1
    assert {args["asset_id"] for _, _, args in jobs(library.connection)} == {three_assets[2]}


def test_reprocess_of_what_failed(library: Library, three_assets: tuple[int, int, int]) -> None:
    assert library.value("SELECT fpdb.reprocess(only_failed => true)") == 2
    assert jobs(library.connection) == [
        job("landmark", three_assets[1], 2),
        job("embedding", three_assets[2], 2),
    ]


@pytest.mark.parametrize("kind", ["landmark", "embedding"])
def test_reprocess_of_one_kind(
    library: Library, three_assets: tuple[int, int, int], kind: str
) -> None:
    other = "embedding" if kind == "landmark" else "landmark"
    assert library.value(f"SELECT fpdb.reprocess({other}s => false)") == 3
    assert jobs(library.connection) == [job(kind, asset_id, 2) for asset_id in three_assets]


def test_reprocess_counts_only_what_it_queues(
    library: Library, three_assets: tuple[int, int, int]
) -> None:
    counted = library.value("SELECT fpdb.reprocess(only_failed => true, landmarks => false)")
    assert counted == len(jobs(library.connection)) == 1


def test_the_same_bytes_are_found_by_index(library: Library) -> None:
    library.connection.execute(
        "INSERT INTO fpdb.asset (uri, sha256, landmark_status, embedding_status)"
        " SELECT 'u' || n, md5(n::text), 'ready', 'ready' FROM generate_series(1, 3000) n"
    )
    library.connection.execute("ANALYZE fpdb.asset")
    # The statement of fingerprintdb.store.asset.find_same.
    plan = library.rows(
        "EXPLAIN SELECT asset_id, duration_sec, status FROM fpdb.asset"
        " WHERE collection = 'default' AND sha256 = md5('7') AND status = 'ready'"
        " ORDER BY asset_id LIMIT 1"
    )
    assert "asset_collection_sha256_idx" in "\n".join(row[0] for row in plan)


def test_a_new_source_takes_the_former_one_out_of_search_at_once(library: Library) -> None:
    rng = np.random.default_rng(1)
    landmarks = random_landmarks(rng)
    library.add(landmarks, random_vectors(rng, 3))
    asked = (landmarks.hashes.tolist(), landmarks.frames.tolist())
    found = "SELECT count(*) FROM fpdb.match(%s, %s)"
    assert library.value(found, *asked) == 1
    library.connection.execute("UPDATE fpdb.asset SET uri = 'another.wav'")
    assert library.value(found, *asked) == 0
    assert library.rows("SELECT duration_sec, sha256, landmark_count FROM fpdb.asset") == [
        (None, None, None)
    ]
    for table in ("landmark", "segment", "embedding"):
        assert library.value(f"SELECT count(*) FROM fpdb.{table}") == 0


def test_deleting_assets_takes_their_waiting_jobs(library: Library) -> None:
    library.connection.execute("INSERT INTO fpdb.asset (uri) VALUES ('a'), ('b')")
    library.connection.execute("DELETE FROM fpdb.asset WHERE uri = 'a'")
    assert library.rows(
        "SELECT a.uri, j.queue_name FROM fpdb_queue.procrastinate_jobs j"
        " LEFT JOIN fpdb.asset a ON a.asset_id = (j.args->>'asset_id')::bigint ORDER BY 2"
    ) == [("b", "embedding"), ("b", "landmark")]


def test_a_second_change_replaces_the_waiting_job(library: Library) -> None:
    library.connection.execute("INSERT INTO fpdb.asset (uri) VALUES ('a')")
    library.connection.execute("UPDATE fpdb.asset SET uri = 'b'")
    assert library.rows(
        "SELECT queue_name, (args->>'revision')::int FROM fpdb_queue.procrastinate_jobs ORDER BY 1"
    ) == [("embedding", 2), ("landmark", 2)]
