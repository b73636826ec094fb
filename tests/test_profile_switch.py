"""Real recordings, workers and queries while another profile is built, switched to and dropped."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from fingerprintdb.album import SAMPLE_RATE_HZ, pieces
from fingerprintdb.encoding import encode
from fingerprintdb.extractor import Extractor
from fingerprintdb.identification import identify
from fingerprintdb.pipeline import ingest, process_landmarks
from fingerprintdb.profile import COMPACT
from fingerprintdb.store.asset import claim, fail
from fingerprintdb.store.database import Connection, DatabaseError, connect
from fingerprintdb.store.match import Scope
from fingerprintdb.store.profile import (
    ProfileChangedError,
    activate_profile,
    build_profile,
    drop_profile,
)
from fingerprintdb.worker import WorkerOptions, run_worker

PATIENCE_SEC = 60
PENDING = "SELECT count(*) FROM fpdb_queue.procrastinate_jobs WHERE status IN ('todo', 'doing')"
STORED = (
    "SELECT asset_id, name FROM fpdb.asset_profile JOIN fpdb.profile USING (profile_id)"
    " JOIN fpdb.asset a USING (asset_id) WHERE asset_profile.landmark_count > 100"
    " AND revision = landmark_revision ORDER BY 1, 2"
)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """The bytes of three short recordings."""
    folder = tmp_path_factory.mktemp("music")
    files = []
    for piece in islice(pieces(), 3):
        path = folder / f"{piece.file_stem}.flac"
        encode(path, piece.samples[: 10 * SAMPLE_RATE_HZ], SAMPLE_RATE_HZ, piece.tags)
        files.append(path.read_bytes())
    return files


@pytest.fixture
def music(tmp_path: Path, recordings: list[bytes]) -> list[Path]:
    paths = [tmp_path / f"{number}.flac" for number in range(len(recordings))]
    for path, data in zip(paths, recordings, strict=True):
        path.write_bytes(data)
    return paths


@contextmanager
def worker(url: str) -> Iterator["subprocess.Popen[bytes]"]:
    process = subprocess.Popen(
        [sys.executable, "-m", "fingerprintdb", "worker"],
        env=os.environ | {"FPDB_DATABASE_URL": url, "FPDB_CONCURRENCY": "1", "HF_HUB_OFFLINE": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(PATIENCE_SEC)


def work(url: str) -> None:
    """Run a worker until the queues are empty."""
    run_worker(url, Extractor(), WorkerOptions(wait=False))


def insert(connection: Connection, *paths: Path) -> list[int]:
    return [
        value(connection, "INSERT INTO fpdb.asset (uri) VALUES (%s) RETURNING asset_id", str(path))
        for path in paths
    ]


def value(connection: Connection, statement: str, *values: Any) -> Any:
    row = connection.execute(statement.encode(), values or None).fetchone()
    assert row is not None
    return row[0]


def heard(connection: Connection, path: Path) -> int | None:
    """Return the asset that a recording is said to be, which must be said surely, by bits."""
    answer = identify(connection, Extractor(), Scope(), uri=str(path), with_vectors=False).answer
    if answer.verdict != "match":
        return None
    assert answer.matches[0].evidence.bit_error_rate == pytest.approx(0, abs=0.02)
    return answer.matches[0].asset_id


def stored(connection: Connection) -> list[tuple[Any, ...]]:
    return connection.execute(STORED.encode()).fetchall()


def test_a_profile_is_built_switched_to_left_and_dropped_while_queries_are_answered(
    connection: Connection, migrated_url: str, music: list[Path]
) -> None:
    first, lost = insert(connection, music[0], music[1])
    work(migrated_url)
    data = music[1].read_bytes()
    music[1].unlink()
    assert build_profile(connection, "compact") == 2
    asked = 0
    with worker(migrated_url):
        (came,) = insert(connection, music[2])
        give_up = time.monotonic() + PATIENCE_SEC
        while value(connection, PENDING):
            assert heard(connection, music[0]) == first
            asked += 1
            assert time.monotonic() < give_up
    assert asked > 1
    both = [(key, name) for key in (first, came) for name in ("accurate", "compact")]
    assert stored(connection) == sorted([*both, (lost, "accurate")])
    assert connection.execute("SELECT DISTINCT status, error FROM fpdb.asset").fetchall() == [
        ("ready", None)
    ]
    row = connection.execute(
        "SELECT assets, failed, an_error FROM fpdb.profile_status WHERE state = 'building'"
    ).fetchone()
    assert row is not None
    assert row[:2] == (2, 1)
    assert "1.flac does not exist" in row[2]
    assert " — " in row[2], "a remedy"

    music[1].write_bytes(data)
    with connect(migrated_url) as other:
        with connection.transaction():
            assert activate_profile(connection, "compact") == 1
            assert heard(connection, music[0]) == first
            # Nobody else sees it yet.
            assert heard(other, music[0]) == first
            assert heard(other, music[1]) == lost
        assert heard(other, music[0]) == first
        assert heard(other, music[2]) == came
        assert heard(other, music[1]) is None
    work(migrated_url)
    assert heard(connection, music[1]) == lost
    connection.execute("SELECT fpdb.compact()")

    assert activate_profile(connection, "accurate") == 0
    for path, asset_id in zip(music, (first, lost, came), strict=True):
        assert heard(connection, path) == asset_id
    assert value(connection, "SELECT min(landmark_count) FROM fpdb.asset") == min(
        value(connection, "SELECT count(*) FROM fpdb.landmark WHERE asset_id = %s", asset_id)
        for asset_id in (first, lost, came)
    )
    assert drop_profile(connection, "compact") == 3
    connection.execute("SELECT fpdb.compact()")
    assert value(connection, "SELECT count(DISTINCT profile_id) FROM fpdb.tier") == 1
    assert heard(connection, music[1]) == lost


def test_an_asset_that_changes_while_a_profile_is_built_has_the_new_source_in_both(
    connection: Connection, migrated_url: str, music: list[Path]
) -> None:
    (asset_id,) = insert(connection, music[0])
    build_profile(connection, "compact")
    work(migrated_url)
    assert stored(connection) == [(asset_id, "accurate"), (asset_id, "compact")]
    connection.execute("UPDATE fpdb.asset SET uri = %s", (str(music[1]),))
    assert stored(connection) == []
    work(migrated_url)
    assert stored(connection) == [(asset_id, "accurate"), (asset_id, "compact")]
    for name in ("accurate", "compact"):
        assert activate_profile(connection, name) == 0
        assert heard(connection, music[1]) == asset_id
        assert heard(connection, music[0]) is None


def test_what_serves_and_what_is_built_are_of_the_same_bytes(
    connection: Connection, migrated_url: str, music: list[Path]
) -> None:
    (asset_id,) = insert(connection, music[0])
    work(migrated_url)
    build_profile(connection, "compact")
    music[0].write_bytes(music[1].read_bytes())
    work(migrated_url)
    assert stored(connection) == [(asset_id, "accurate")]
    why = value(connection, "SELECT error FROM fpdb.asset_profile WHERE error IS NOT NULL")
    assert why.endswith(f"were made of — run `fpdb reprocess {asset_id}`")
    assert value(connection, "SELECT status FROM fpdb.asset") == "ready"
    value(connection, "SELECT fpdb.reprocess()")
    work(migrated_url)
    assert stored(connection) == [(asset_id, "accurate"), (asset_id, "compact")]
    assert value(connection, "SELECT count(error) FROM fpdb.asset_profile") == 0


@pytest.fixture
def job_beside(connection: Connection, music: list[Path]) -> dict[str, Any]:
    """The arguments of a job for the profile that is being built, of an asset that waits."""
    build_profile(connection, "compact")
    insert(connection, music[0])
    arguments: dict[str, Any] = value(
        connection,
        "SELECT args FROM fpdb_queue.procrastinate_jobs WHERE args ? 'profile_id'",
    )
    arguments["made_by"] = arguments.pop("profile_id")
    return {"kind": "landmark"} | arguments


def test_deleting_an_asset_during_a_job_beside_leaves_nothing(
    connection: Connection, job_beside: dict[str, Any]
) -> None:
    job = claim(connection, **job_beside)
    assert job is not None
    connection.execute("DELETE FROM fpdb.asset")
    process_landmarks(connection, job, Extractor())
    fail(connection, job, "late", again=False)
    for table in ("delta", "sub_fingerprint", "asset_profile"):
        assert value(connection, f"SELECT count(*) FROM fpdb.{table}") == 0


def test_what_is_built_before_the_active_one_serves_after_the_switch(
    connection: Connection, job_beside: dict[str, Any], music: list[Path]
) -> None:
    job = claim(connection, **job_beside)
    assert job is not None
    process_landmarks(connection, job, Extractor())
    row = connection.execute("SELECT landmark_status, profile_id FROM fpdb.asset").fetchone()
    assert row == ("queued", None)
    assert activate_profile(connection, "compact") == 0
    assert value(connection, "SELECT landmark_status FROM fpdb.asset") == "ready"
    assert value(connection, "SELECT duration_sec FROM fpdb.asset") == pytest.approx(10, abs=0.1)
    assert heard(connection, music[0]) == job.asset_id


def test_a_dropped_profile_is_not_stored_by_a_job_that_ends_later(
    connection: Connection, job_beside: dict[str, Any]
) -> None:
    job = claim(connection, **job_beside)
    assert job is not None
    drop_profile(connection, "compact")
    with pytest.raises(ProfileChangedError):
        process_landmarks(connection, job, Extractor())
    assert value(connection, "SELECT count(*) FROM fpdb.delta") == 0
    assert claim(connection, **job_beside) is None


def test_a_job_that_the_switch_overtakes_is_done_again_with_the_new_profile(
    connection: Connection, music: list[Path]
) -> None:
    (asset_id,) = insert(connection, music[0])
    job = claim(connection, asset_id, "landmark", 1)
    assert job is not None
    activate_profile(connection, "compact")
    with pytest.raises(ProfileChangedError) as caught:
        process_landmarks(connection, job, Extractor())
    assert caught.value.transient
    fail(connection, job, str(caught.value), again=True)
    again = claim(connection, asset_id, "landmark", 1)
    assert again is not None
    process_landmarks(connection, again, Extractor())
    assert stored(connection) == [(asset_id, "compact")]
    assert heard(connection, music[0]) == asset_id


def test_ingestion_while_a_profile_is_built_is_for_both(
    connection: Connection, migrated_url: str, music: list[Path]
) -> None:
    build_profile(connection, "compact")
    asset_id = ingest(connection, Extractor(), str(music[0])).asset_id
    assert stored(connection) == [(asset_id, "accurate")]
    work(migrated_url)
    assert stored(connection) == [(asset_id, "accurate"), (asset_id, "compact")]
    # Other bytes under the same name.
    music[0].write_bytes(music[1].read_bytes())
    assert ingest(connection, Extractor(), str(music[0])).asset_id == asset_id
    assert stored(connection) == [(asset_id, "accurate")]
    work(migrated_url)
    assert stored(connection) == [(asset_id, "accurate"), (asset_id, "compact")]


def test_ingestion_that_the_switch_overtakes_is_of_the_new_profile(
    connection: Connection, music: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Extractor.both

    def both(*arguments: Any) -> Any:
        activate_profile(connection, "compact")
        return original(*arguments)

    monkeypatch.setattr(Extractor, "both", both)
    assert ingest(connection, Extractor(), str(music[0])).status == "ready"
    assert [name for _, name in stored(connection)] == ["compact"]


def test_a_program_without_the_profile_says_so_in_its_place(
    connection: Connection, job_beside: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from fingerprintdb.store import profile

    job = claim(connection, **job_beside)
    assert job is not None
    monkeypatch.delitem(profile.PROFILES, "compact")
    with pytest.raises(DatabaseError, match=rf"profile compact \({COMPACT.digest}\).*fpdb") as told:
        process_landmarks(connection, job, Extractor())
    fail(connection, job, str(told.value), again=False)
    assert value(connection, "SELECT status FROM fpdb.asset") == "queued"
    assert value(connection, "SELECT failed FROM fpdb.profile_status WHERE name = 'compact'") == 1
