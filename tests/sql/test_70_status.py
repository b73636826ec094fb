"""Status views count exactly, and the extractor's view keeps the names of its contract."""

import numpy as np
import pytest
from library import Library, random_vectors

from fingerprintdb.store.status import status

CONTRACT = [
    ("audio_fingerprint_extractor_v1_embedding", "vector"),
    ("segment_index", "integer"),
    ("start_time_sec", "double precision"),
    ("end_time_sec", "double precision"),
    ("duration_sec", "double precision"),
    ("total_duration_sec", "double precision"),
    ("sample_rate", "integer"),
    ("audio_source_type", "text"),
    ("embedding_model", "text"),
    ("processing_time_ms", "real"),
]

VIEW = "SELECT * FROM fpdb.audio_fingerprint_extractor_v1 ORDER BY segment_index"


def test_the_view_has_exactly_the_ten_columns_of_the_contract(library: Library) -> None:
    columns = library.rows(
        "SELECT attname::text, format_type(atttypid, atttypmod) FROM pg_attribute"
        " WHERE attrelid = 'fpdb.audio_fingerprint_extractor_v1'::regclass AND attnum > 0"
        " ORDER BY attnum"
    )
    assert columns == CONTRACT


def test_the_view_has_a_row_a_segment(library: Library) -> None:
    vectors = random_vectors(np.random.default_rng(1), 2)
    asset_id = library.add(vectors=vectors, audio_source_type="video", duration_sec=9.0)
    library.connection.execute(
        "INSERT INTO fpdb.segment"
        " (asset_id, segment_index, start_time_sec, end_time_sec, is_silent)"
        " VALUES (%s, 2, 5, 9, true)",
        (asset_id,),
    )
    rows = library.rows(VIEW)
    assert [row[1:] for row in rows] == [
        (0, 0.0, 5.0, 5.0, 9.0, 48_000, "video", "builtin", 1.0),
        (1, 2.5, 7.5, 5.0, 9.0, 48_000, "video", "builtin", 1.0),
        (2, 5.0, 9.0, 4.0, 9.0, 48_000, "video", None, None),
    ]
    stored = library.rows(
        f"SELECT audio_fingerprint_extractor_v1_embedding::real[] FROM ({VIEW}) v"
    )
    assert stored[0][0] == pytest.approx(vectors[0].tolist(), abs=1e-6)
    assert stored[2][0] is None


def test_the_view_shows_the_active_model_only(library: Library) -> None:
    library.add(vectors=random_vectors(np.random.default_rng(1), 2))
    second = library.value("SELECT fpdb.register_model('second', '1', 'second', 512, 48000)")
    library.connection.execute(
        "INSERT INTO fpdb.embedding (model_id, segment_id, asset_id, embedding, processing_time_ms)"
        " SELECT %s, segment_id, asset_id, embedding, 7 FROM fpdb.embedding",
        (second,),
    )
    models = f"SELECT embedding_model, processing_time_ms FROM ({VIEW}) v"
    assert library.rows(models) == [("builtin", 1.0)] * 2
    library.connection.execute("SELECT fpdb.activate_model(%s::smallint)", (second,))
    assert library.rows(models) == [("second", 7.0)] * 2


def add_some(library: Library) -> None:
    """Three queued, two ready, one being processed, two failed."""
    library.connection.execute("INSERT INTO fpdb.asset (uri) VALUES ('a'), ('b'), ('c')")
    for state in ("ready", "ready", "processing"):
        library.add(embedding_status=state)
    library.add(landmark_status="failed", landmark_error="a: gone", uri="a")
    library.add(embedding_status="failed", embedding_error="b: gone", uri="b")


def test_assets_are_counted_by_status(library: Library) -> None:
    add_some(library)
    rows = library.rows("SELECT status, assets, an_error FROM fpdb.asset_status ORDER BY status")
    assert rows == [
        ("failed", 2, "b: gone"),
        ("processing", 1, None),
        ("queued", 3, None),
        ("ready", 2, None),
    ]
    oldest = library.value("SELECT oldest FROM fpdb.asset_status WHERE status = 'queued'")
    assert oldest == library.value("SELECT min(created_at) FROM fpdb.asset WHERE status = 'queued'")


def test_an_empty_database_has_no_status_rows(library: Library) -> None:
    for view in ("asset_status", "job_status", "worker_status"):
        assert library.rows(f"SELECT * FROM fpdb.{view}") == []


def test_jobs_are_counted_by_queue_and_state(library: Library) -> None:
    add_some(library)
    library.connection.execute("INSERT INTO fpdb.query (uri) VALUES ('clip')")
    library.connection.execute(
        "UPDATE fpdb_queue.procrastinate_jobs SET status = 'doing'"
        " WHERE id = (SELECT min(id) FROM fpdb_queue.procrastinate_jobs)"
    )
    rows = library.rows("SELECT queue, status, jobs FROM fpdb.job_status ORDER BY queue, status")
    assert rows == [
        ("embedding", "todo", 3),
        ("landmark", "doing", 1),
        ("landmark", "todo", 2),
        ("query", "todo", 1),
    ]


def test_the_age_of_a_job_is_since_it_was_queued(library: Library) -> None:
    library.connection.execute("INSERT INTO fpdb.asset (uri) VALUES ('a'), ('b')")
    library.connection.execute(
        "UPDATE fpdb_queue.procrastinate_events SET at = now() - interval '1 hour'"
        " WHERE job_id = (SELECT max(id) FROM fpdb_queue.procrastinate_jobs)"
    )
    ages = dict(library.rows("SELECT queue, oldest_age_sec FROM fpdb.job_status"))
    assert 3600 <= ages["embedding"] < 3700
    assert 0 <= ages["landmark"] < 100
    assert status(library.connection)["lag_sec"] >= 3600


def test_a_worker_is_shown_with_what_it_does(library: Library) -> None:
    library.connection.execute("INSERT INTO fpdb.asset (uri) VALUES ('a')")
    worker = library.value(
        "INSERT INTO fpdb_queue.procrastinate_workers DEFAULT VALUES RETURNING id"
    )
    library.connection.execute(
        "UPDATE fpdb_queue.procrastinate_jobs SET status = 'doing', worker_id = %s"
        " WHERE queue_name = 'landmark'",
        (worker,),
    )
    library.connection.execute(
        "UPDATE fpdb_queue.procrastinate_workers SET last_heartbeat = now() - interval '1 minute'"
    )
    ((worker_id, age, jobs),) = library.rows("SELECT * FROM fpdb.worker_status")
    assert (worker_id, jobs) == (worker, 1)
    assert 60 <= age < 100


def test_the_program_reads_it_all_at_once(library: Library) -> None:
    add_some(library)
    found = status(library.connection, failures=1)
    assert found["assets"] == {"failed": 2, "processing": 1, "queued": 3, "ready": 2}
    assert [(row["queue"], row["jobs"]) for row in found["jobs"]] == [
        ("embedding", 3),
        ("landmark", 3),
    ]
    assert [(row["uri"], row["error"]) for row in found["failures"]] == [("b", "b: gone")]
    assert found["model"][0]["name"] == "builtin"
    assert found["profile"][0]["name"] == "accurate"
    assert found["workers"] == []
