"""Runs real workers as subprocesses: woken, killed, restarted, given bad files."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest

from fingerprintdb.album import SAMPLE_RATE_HZ, pieces
from fingerprintdb.encoding import encode
from fingerprintdb.store.database import Connection, connect

PATIENCE_SEC = 60
"""Gives up on what should happen; not a measure of speed."""

Worker = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two short recordings, and one that takes a worker seconds."""
    folder = tmp_path_factory.mktemp("music")
    paths = []
    for piece, _ in zip(pieces(), range(2), strict=False):
        path = folder / f"{piece.file_stem}.flac"
        encode(path, piece.samples[: 15 * SAMPLE_RATE_HZ], SAMPLE_RATE_HZ)
        paths.append(path)
    noise = np.random.default_rng(1).normal(0, 0.1, 30 * 60 * 8000).astype(np.float32)
    encode(folder / "long.wav", noise, 8000)
    return [*paths, folder / "long.wav"]


@pytest.fixture
def start(migrated_url: str, tmp_path: Path) -> Iterator[Worker]:
    """Starts workers and ends those that are left."""
    running = []

    def run(**settings: Any) -> "subprocess.Popen[str]":
        environment = os.environ | {
            "FPDB_DATABASE_URL": migrated_url,
            "FPDB_CONCURRENCY": "2",
            "HF_HUB_OFFLINE": "1",
        }
        environment |= {f"FPDB_{key.upper()}": str(value) for key, value in settings.items()}
        with (tmp_path / f"worker{len(running)}.log").open("w") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "fingerprintdb", "worker"],
                env=environment,
                cwd=tmp_path,
                text=True,
                stdout=log,
                stderr=log,
            )
        running.append(process)
        return process

    yield run
    for process in running:
        process.kill()
        process.wait()


def until(connection: Connection, statement: str, wanted: Any, *values: Any) -> Any:
    """Wait until the first column of a statement's row is `wanted`."""
    give_up = time.monotonic() + PATIENCE_SEC
    while True:
        row = connection.execute(statement.encode(), values).fetchone()
        if row is not None and row[0] == wanted:
            return row
        if time.monotonic() > give_up:
            pytest.fail(f"{statement} still gives {row}")
        time.sleep(0.05)


def insert(connection: Connection, *uris: object) -> list[int]:
    rows = connection.execute(
        "INSERT INTO fpdb.asset (uri) SELECT * FROM unnest(%s::text[]) RETURNING asset_id",
        ([str(uri) for uri in uris],),
    ).fetchall()
    return [row[0] for row in rows]


def listening(connection: Connection) -> None:
    """Wait until a worker has signed in and listens."""
    until(
        connection,
        "SELECT count(*) > 0 FROM pg_stat_activity WHERE query LIKE 'LISTEN%%'"
        " AND datname = current_database()",
        True,
    )


def test_insert_wakes_a_worker_that_never_polls(
    start: Worker, connection: Connection, music: list[Path]
) -> None:
    start(poll_sec=3600)
    listening(connection)
    (asset_id,) = insert(connection, music[0])
    row = until(
        connection,
        "SELECT status, landmark_count, duration_sec, audio_source_type, sha256 FROM fpdb.asset"
        " WHERE asset_id = %s",
        "ready",
        asset_id,
    )
    assert row[1] > 100
    assert row[2] == pytest.approx(15, abs=0.1)
    assert row[3] == "audio"
    assert len(row[4]) == 64
    vectors = connection.execute(
        "SELECT count(*) FROM fpdb.audio_fingerprint_extractor_v1"
        " WHERE audio_fingerprint_extractor_v1_embedding IS NOT NULL"
    ).fetchone()
    assert vectors == (5,)


def test_a_killed_workers_job_is_finished_whole_by_another(
    start: Worker, connection: Connection, music: list[Path]
) -> None:
    first = start(concurrency=1)
    (asset_id,) = insert(connection, music[2])
    until(connection, "SELECT landmark_status FROM fpdb.asset", "processing")
    first.kill()
    first.wait()
    written = connection.execute(
        "SELECT (SELECT count(*) FROM fpdb.landmark), (SELECT count(*) FROM fpdb.segment),"
        " landmark_status FROM fpdb.asset"
    ).fetchone()
    assert written == (0, 0, "processing")
    start(stalled_after_sec=1, heartbeat_sec=0.3)
    row = until(
        connection,
        "SELECT status, landmark_count FROM fpdb.asset WHERE asset_id = %s",
        "ready",
        asset_id,
    )
    stored = connection.execute("SELECT count(*) FROM fpdb.landmark").fetchone()
    assert stored == (row[1],)


def test_bad_files_fail_alone_and_say_why(
    start: Worker, connection: Connection, music: list[Path], tmp_path: Path
) -> None:
    empty = tmp_path / "empty.mp3"
    empty.touch()
    text = tmp_path / "text.mp3"
    text.write_text("this is no music\n" * 100)
    silent = tmp_path / "silent.wav"
    encode(silent, np.zeros(16000 * 3, np.float32), 16000)
    short = tmp_path / "short.wav"
    encode(short, np.full(8000, 0.1, np.float32), 16000)
    missing = tmp_path / "missing.mp3"
    start()
    insert(connection, empty, text, music[0], silent, short, missing, music[1])
    until(
        connection,
        "SELECT count(*) FROM fpdb.asset WHERE status NOT IN ('ready', 'failed')",
        0,
    )
    rows: dict[str, tuple[str, str]] = {
        uri: (status, error)
        for uri, status, error in connection.execute("SELECT uri, status, error FROM fpdb.asset")
    }
    assert rows[str(music[0])] == ("ready", None)
    assert rows[str(music[1])] == ("ready", None)
    for path, words in {
        empty: "empty",
        text: "not audio or video",
        silent: "silent",
        short: "too short",
        missing: "does not exist",
    }.items():
        status, error = rows[str(path)]
        assert status == "failed"
        assert words in error
        assert path.name in error
        assert " — " in error, "a remedy"


def test_an_unreachable_source_is_tried_again_and_then_fails(
    start: Worker, connection: Connection
) -> None:
    start(max_attempts=2, poll_sec=0.2)
    insert(connection, "http://127.0.0.1:9/a.mp3")
    row = until(
        connection,
        "SELECT count(*), min(attempts), max(attempts) FROM fpdb_queue.procrastinate_jobs"
        " WHERE queue_name IN ('landmark', 'embedding') AND status = 'failed'",
        2,
    )
    assert row[1:] == (2, 2)
    row = connection.execute("SELECT status, error FROM fpdb.asset").fetchone()
    assert row is not None
    assert row[0] == "failed"
    assert "could not be reached" in row[1]


def test_a_change_during_a_job_makes_it_void(
    start: Worker, connection: Connection, music: list[Path]
) -> None:
    start()
    (asset_id,) = insert(connection, music[2])
    until(connection, "SELECT landmark_status FROM fpdb.asset", "processing")
    connection.execute("UPDATE fpdb.asset SET uri = %s", (str(music[0]),))
    row = until(
        connection,
        "SELECT status, duration_sec FROM fpdb.asset WHERE asset_id = %s",
        "ready",
        asset_id,
    )
    # The long recording's job ends after the short one's, and must not overwrite it.
    until(
        connection,
        "SELECT count(*) FROM fpdb_queue.procrastinate_jobs WHERE status IN ('todo', 'doing')",
        0,
    )
    row = connection.execute("SELECT duration_sec, landmark_revision FROM fpdb.asset").fetchone()
    assert row is not None
    assert row[0] == pytest.approx(15, abs=0.1)
    assert row[1] == 2


def test_deleting_an_asset_during_its_job_leaves_nothing(
    start: Worker, connection: Connection, music: list[Path]
) -> None:
    worker = start()
    insert(connection, music[2])
    until(connection, "SELECT landmark_status FROM fpdb.asset", "processing")
    connection.execute("DELETE FROM fpdb.asset")
    until(
        connection,
        "SELECT count(*) FROM fpdb_queue.procrastinate_jobs WHERE status IN ('todo', 'doing')",
        0,
    )
    left = connection.execute(
        "SELECT (SELECT count(*) FROM fpdb.landmark), (SELECT count(*) FROM fpdb.segment)"
    ).fetchone()
    assert left == (0, 0)
    assert worker.poll() is None, "the worker lives on"


def test_a_clip_inserted_by_sql_is_answered_with_a_notification(
    start: Worker, connection: Connection, migrated_url: str, music: list[Path], tmp_path: Path
) -> None:
    start()
    (asset_id, _) = insert(connection, music[0], music[1])
    until(connection, "SELECT count(*) FROM fpdb.asset WHERE status = 'ready'", 2)
    piece = next(iter(pieces()))
    clip = tmp_path / "clip.wav"
    encode(clip, piece.samples[4 * SAMPLE_RATE_HZ : 10 * SAMPLE_RATE_HZ], SAMPLE_RATE_HZ)
    with connect(migrated_url) as listener:
        listener.execute("LISTEN fpdb_query")
        row = connection.execute(
            "INSERT INTO fpdb.query (content) VALUES (%s) RETURNING query_id", (clip.read_bytes(),)
        ).fetchone()
        assert row is not None
        note = next(iter(listener.notifies(timeout=PATIENCE_SEC, stop_after=1)))
        assert note.payload == str(row[0])
    answer = connection.execute(
        "SELECT m.asset_id, m.offset_sec, m.confidence, q.found FROM fpdb.query q"
        " JOIN fpdb.query_match m USING (query_id) WHERE rank = 1"
    ).fetchone()
    assert answer is not None
    assert answer[0] == asset_id
    assert answer[1] == pytest.approx(4, abs=0.1)
    assert answer[2] > 0.9
    assert answer[3] is True


def test_a_bad_clip_fails_its_query_with_a_reason(start: Worker, connection: Connection) -> None:
    start()
    connection.execute("INSERT INTO fpdb.query (content) VALUES ('not audio'::bytea)")
    row = until(connection, "SELECT status, error, found FROM fpdb.query", "failed")
    assert "not audio or video" in row[1]
    assert row[2] is None


def test_a_query_of_a_collection_that_is_not_there_fails(
    start: Worker, connection: Connection
) -> None:
    start()
    connection.execute("INSERT INTO fpdb.query (uri, collection) VALUES ('clip.wav', 'nowhere')")
    row = until(connection, "SELECT status, error FROM fpdb.query", "failed")
    assert row[1].startswith("there is no collection 'nowhere'")


def test_an_update_of_the_library_is_what_people_query_through_sqlalchemy(
    connection: Connection, migrated_url: str
) -> None:
    from sqlalchemy import insert as sql_insert
    from sqlalchemy import select

    from fingerprintdb.store.database import engine
    from fingerprintdb.store.schema import asset

    with engine(migrated_url).begin() as orm:
        orm.execute(sql_insert(asset).values(uri="a.mp3", title="A"))
        assert orm.execute(select(asset.c.title, asset.c.status)).one() == ("A", "queued")
    jobs = connection.execute("SELECT count(*) FROM fpdb_queue.procrastinate_jobs").fetchone()
    assert jobs == (2,)


def test_a_worker_refuses_a_database_that_was_not_migrated(
    start: Worker, empty_url: str, tmp_path: Path
) -> None:
    process = start(database_url=empty_url)
    assert process.wait(PATIENCE_SEC) == 2
    assert "fpdb init" in (tmp_path / "worker0.log").read_text()


def test_sigterm_lets_running_jobs_end(
    start: Worker, connection: Connection, music: list[Path]
) -> None:
    worker = start(concurrency=1)
    insert(connection, music[2])
    until(connection, "SELECT landmark_status FROM fpdb.asset", "processing")
    worker.terminate()
    assert worker.wait(PATIENCE_SEC) == 0
    row = connection.execute("SELECT landmark_status FROM fpdb.asset").fetchone()
    assert row == ("ready",)


@pytest.fixture(autouse=True)
def _no_postgres_left_behind(migrated_url: str) -> Iterator[None]:
    """End the connections of killed workers, so that the database can be used again."""
    yield
    with psycopg.connect(migrated_url, autocommit=True) as admin:
        admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


def test_a_database_that_comes_back_finds_its_worker_listening(
    server_url: str, start: Worker, connection: Connection, music: list[Path]
) -> None:
    worker = start(poll_sec=0.5)
    listening(connection)
    with psycopg.connect(server_url, autocommit=True) as admin:
        for _ in range(2):
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = %s AND pid <> %s",
                (connection.info.dbname, connection.info.backend_pid),
            )
    (asset_id,) = insert(connection, music[0])
    until(connection, "SELECT status FROM fpdb.asset WHERE asset_id = %s", "ready", asset_id)
    assert worker.poll() is None


def test_a_job_that_kills_its_workers_is_given_up(
    start: Worker, connection: Connection, music: list[Path]
) -> None:
    (asset_id,) = insert(connection, music[2])
    connection.execute("DELETE FROM fpdb_queue.procrastinate_jobs WHERE queue_name = 'embedding'")
    for attempts in range(2):
        worker = start(stalled_after_sec=1, heartbeat_sec=0.3, max_attempts=2)
        until(
            connection,
            "SELECT attempts FROM fpdb_queue.procrastinate_jobs WHERE status = 'doing'",
            attempts,
        )
        worker.kill()
        worker.wait()
    start(stalled_after_sec=1, heartbeat_sec=0.3, max_attempts=2)
    row = until(
        connection,
        "SELECT landmark_status, landmark_error FROM fpdb.asset WHERE asset_id = %s",
        "failed",
        asset_id,
    )
    assert "died 2 times" in row[1]
    until(connection, "SELECT status::text FROM fpdb_queue.procrastinate_jobs", "failed")
