"""A server that is killed, or whose disk is full, while it compacts loses nothing."""

import os
import resource
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psycopg
import pytest
from library import Library, random_landmarks

from fingerprintdb.landmarks import Landmarks
from fingerprintdb.store import migration
from fingerprintdb.store.database import Connection, connect
from fingerprintdb.store.embedded import embedded_server
from fingerprintdb.store.profile import register_profiles

PATIENCE_SEC = 60
EVERY = "SELECT asset_id, hash, frame FROM fpdb.landmark ORDER BY 1, 3, 2"
TIER = "SELECT tier_id FROM fpdb.run WHERE merged_to IS NOT NULL"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a server that a test may kill."""
    return tmp_path / "server"


def stocked(url: str) -> dict[int, Landmarks]:
    """Store two tiers that are due to be merged, and some assets that are not packed yet."""
    migration.upgrade(url)
    rng = np.random.default_rng(1)
    stored = {}
    with connect(url) as connection:
        register_profiles(connection)
        library = Library(connection)
        for number in range(24):
            part = random_landmarks(rng, duration_sec=300)
            stored[library.add(part)] = part
            if number in (11, 19):
                library.rows("SELECT fpdb.seal(profile_id, NULL) FROM fpdb.profile WHERE is_active")
    return stored


def reconnected(url: str) -> Connection:
    """Return a connection as soon as the server has recovered."""
    deadline = time.monotonic() + PATIENCE_SEC
    while True:
        try:
            return connect(url)
        except Exception:
            assert time.monotonic() < deadline
            time.sleep(0.1)


def killed_while(url: str, statement: str, postmaster: int | None = None) -> None:
    """Execute a statement and kill its backend, or the whole server, in the middle of it."""
    with psycopg.connect(url, autocommit=True) as connection, connect(url) as watcher:
        backend = connection.info.backend_pid
        with ThreadPoolExecutor(1) as thread:
            work = thread.submit(connection.execute, statement.encode())
            is_active = "SELECT count(*) FROM pg_stat_activity WHERE pid = %s AND state = 'active'"
            while not Library(watcher).value(is_active, backend):
                assert not work.done()
            time.sleep(0.2)
            assert not work.done()
            if postmaster is None:
                os.kill(backend, signal.SIGKILL)
            else:
                # It kills what it started and writes nothing more: the next start recovers.
                os.kill(postmaster, signal.SIGQUIT)
            with pytest.raises(psycopg.OperationalError):
                work.result(PATIENCE_SEC)


def until_gone(folder: Path) -> None:
    deadline = time.monotonic() + PATIENCE_SEC
    while (folder / "postgres" / "postmaster.pid").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def assert_whole(library: Library, stored: dict[int, Landmarks], every: list[object]) -> None:
    assert library.rows(EVERY) == every
    assert library.rows("SELECT * FROM fpdb.check_index()") == []
    for asset_id, part in list(stored.items())[::5]:
        found = library.rows(
            "SELECT asset_id FROM fpdb.match_landmarks(%s, %s)",
            part.hashes[:400].tolist(),
            part.frames[:400].tolist(),
        )
        assert found == [(asset_id,)]


def test_a_backend_that_is_killed_while_it_seals_or_merges(folder: Path) -> None:
    with embedded_server(folder) as url:
        stored = stocked(url)
        with connect(url) as connection:
            library = Library(connection)
            every = library.rows(EVERY)
            tier_id = library.value("SELECT tier_id FROM fpdb.begin_merge()")
            library.rows("SELECT fpdb.advance_merge(%s, 1, 500)", tier_id)
        # Small parts, so that it takes long enough to be met halfway.
        killed_while(url, f"SELECT fpdb.advance_merge({tier_id}, NULL, 500)")
        with reconnected(url) as connection:
            library = Library(connection)
            assert library.rows(TIER) == [(tier_id,)]
            assert_whole(library, stored, every)
            library.rows("SELECT fpdb.compact()")
            assert library.rows(TIER) == []
            assert library.value("SELECT count(*) FROM fpdb.delta") == 0
            assert_whole(library, stored, every)


def test_a_server_that_is_killed_while_it_merges(folder: Path) -> None:
    with embedded_server(folder) as url:
        stored = stocked(url)
        with connect(url) as connection:
            library = Library(connection)
            every = library.rows(EVERY)
            tier_id = library.value("SELECT tier_id FROM fpdb.begin_merge()")
        postmaster = int((folder / "postgres" / "postmaster.pid").read_text().split()[0])
        killed_while(url, f"SELECT fpdb.advance_merge({tier_id}, NULL, 500)", postmaster)
        until_gone(folder)
    with embedded_server(folder) as url, reconnected(url) as connection:
        library = Library(connection)
        assert_whole(library, stored, every)
        assert [row[0] for row in library.rows("SELECT action FROM fpdb.compact()")] == [
            "sealed",
            "merged",
        ]
        assert_whole(library, stored, every)


def test_a_merge_that_a_full_disk_stops(folder: Path) -> None:
    """A limit on the size of files stops it as a full disk does: a page cannot be added."""
    with embedded_server(folder) as url:
        stored = stocked(url)
        with connect(url) as connection:
            library = Library(connection)
            every = library.rows(EVERY)
            library.rows("SELECT fpdb.seal(profile_id, NULL) FROM fpdb.profile WHERE is_active")
            # Rows of nobody make the table larger than a file of the log, which must not fail.
            library.connection.execute(
                "INSERT INTO fpdb.posting (run_id, key, entries)"
                " SELECT 0, n, array_fill(7, ARRAY[1900]) FROM generate_series(1, 4000) AS n"
            )
            size = library.value("SELECT pg_relation_size('fpdb.posting')")
            assert size > 1 << 24
    former = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 50_000, former[1]))
    try:
        with embedded_server(folder) as url, connect(url) as connection:
            with pytest.raises(psycopg.Error, match="could not extend"):
                connection.execute("SELECT fpdb.compact()")
            library = Library(connection)
            assert library.rows(EVERY) == every
            assert library.value("SELECT advice FROM fpdb.index_status") == "SELECT fpdb.compact()"
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, former)
    with embedded_server(folder) as url, connect(url) as connection:
        library = Library(connection)
        library.connection.execute("DELETE FROM fpdb.posting WHERE run_id = 0")
        assert_whole(library, stored, every)
        library.rows("SELECT fpdb.compact()")
        assert library.value("SELECT count(*) FROM fpdb.run") == 1
        assert_whole(library, stored, every)
