"""Gives tests one embedded Postgres a process, and databases copied from a migrated template."""

import atexit
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt
import psycopg
import pytest
from psycopg import sql

from fingerprintdb.embedding import load
from fingerprintdb.extraction import EmbeddedSegment
from fingerprintdb.landmarks import Landmarks
from fingerprintdb.profile import DEFAULT_PROFILE
from fingerprintdb.store import migration
from fingerprintdb.store.database import Connection, connect
from fingerprintdb.store.embedded import open_embedded
from fingerprintdb.store.embeddings import copy_segments, register_model
from fingerprintdb.store.landmarks import copy_postings, register_profile

# No test may reach for a model hub.
os.environ["HF_HUB_OFFLINE"] = "1"

Vectors = npt.NDArray[np.float32]

TEMPLATE = "fpdb_template"

# What a crash would lose is of no worth here; autovacuum would make plans depend on its timing.
SERVER_SETTINGS = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
}

_numbers = count(1)


@pytest.fixture(scope="session")
def server_url() -> Iterator[str]:
    """An embedded server that no other test process uses, stopped at the end."""
    folder = Path(tempfile.mkdtemp(prefix="fpdb-test-"))
    # Handlers run last in, first out: the folder goes after the server has been left.
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    url = open_embedded(folder)
    with psycopg.connect(url, autocommit=True) as admin:
        for name, value in SERVER_SETTINGS.items():
            admin.execute(sql.SQL("ALTER SYSTEM SET {} = {}").format(sql.Identifier(name), value))
        admin.execute("SELECT pg_reload_conf()")
    yield url
    # A test worker may end without running its exit handlers.
    _stop_server(folder / "postgres" / "postmaster.pid")


@pytest.fixture(scope="session")
def admin(server_url: str) -> Iterator[psycopg.Connection]:
    """A superuser's connection that makes and drops databases."""
    with psycopg.connect(server_url, autocommit=True) as connection:
        yield connection


@pytest.fixture(scope="session")
def template(server_url: str, admin: psycopg.Connection) -> str:
    """Name of a migrated database with the default profile and the built-in model active."""
    admin.execute(f"CREATE DATABASE {TEMPLATE}".encode())
    url = database_named(server_url, TEMPLATE)
    migration.upgrade(url)
    embedder = load("builtin")
    with connect(url) as connection:
        register_profile(connection, DEFAULT_PROFILE)
        register_model(
            connection,
            name=embedder.name,
            revision=embedder.revision,
            source="builtin",
            sample_rate_hz=embedder.sample_rate_hz,
            confidence=None,
        )
    return TEMPLATE


@pytest.fixture(scope="module")
def database_url(server_url: str, admin: psycopg.Connection) -> Iterator[str]:
    """An empty database, shared by the tests of a module."""
    yield from fresh_database(admin, server_url, "template1")


@pytest.fixture
def empty_url(server_url: str, admin: psycopg.Connection) -> Iterator[str]:
    """An empty database for one test."""
    yield from fresh_database(admin, server_url, "template1")


@pytest.fixture(scope="session")
def migrated_databases(
    server_url: str, admin: psycopg.Connection, template: str
) -> Iterator["MigratedDatabases"]:
    """Hands out migrated databases."""
    databases = MigratedDatabases(server_url, admin, template)
    yield databases
    databases.close()


@pytest.fixture
def migrated_url(migrated_databases: "MigratedDatabases") -> Iterator[str]:
    """A database as just migrated, for one test, with a profile and a model."""
    url = migrated_databases.take()
    yield url
    migrated_databases.give_back(url)


@pytest.fixture
def connection(migrated_url: str) -> Iterator[Connection]:
    """An autocommit connection to a migrated database of the test's own."""
    with connect(migrated_url) as connection:
        yield connection


@pytest.fixture
def library(connection: Connection) -> "Library":
    """Puts recordings into the test's database."""
    return Library(connection)


def database_named(server_url: str, name: str) -> str:
    """Return the server's URL with another database in it."""
    return urlsplit(server_url)._replace(path=f"/{name}").geturl()


CATALOG = """
WITH ours AS (SELECT oid FROM pg_namespace WHERE nspname IN ('fpdb', 'fpdb_queue')),
relation AS (SELECT * FROM pg_class WHERE relnamespace IN (SELECT oid FROM ours)),
line (text) AS (
    SELECT concat('c', oid, reloptions, relacl) FROM relation
    UNION ALL SELECT concat('a', attrelid, attname, xmin) FROM pg_attribute
    WHERE attrelid IN (SELECT oid FROM relation)
    UNION ALL SELECT concat('p', oid, xmin) FROM pg_proc
    WHERE pronamespace IN (SELECT oid FROM ours)
    UNION ALL SELECT concat('k', oid, xmin) FROM pg_constraint
    UNION ALL SELECT concat('t', oid, xmin) FROM pg_trigger
    UNION ALL SELECT concat('e', oid, xmin) FROM pg_extension
    UNION ALL SELECT concat('n', oid, xmin) FROM pg_namespace WHERE nspname !~ '^pg_'
    UNION ALL SELECT concat('d', setconfig) FROM pg_db_role_setting
    WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
)
SELECT md5(string_agg(text, ' ' ORDER BY text)) FROM line
"""

# Deleting a few rows is ten times quicker than TRUNCATE, but leaves an HNSW graph full of them.
TABLES = """
SELECT c.oid::regclass::text, pg_relation_size(c.oid) > 1000000 OR relispartition
FROM pg_class c WHERE relnamespace IN ('fpdb'::regnamespace, 'fpdb_queue'::regnamespace)
AND relkind = 'r' AND pg_relation_size(c.oid) > 0 ORDER BY 1
"""

IDENTITIES = """
SELECT attrelid::regclass::text, attname::text FROM pg_attribute JOIN pg_class c ON c.oid = attrelid
WHERE relnamespace = 'fpdb'::regnamespace AND attidentity <> ''
"""


class MigratedDatabases:
    """Hands out databases with the rows of one just migrated (sequences go on counting).

    Postgres takes a third of a second to copy one, so a database whose catalog a test left alone
    is emptied of what the test wrote and used again.
    """

    def __init__(self, server_url: str, admin: psycopg.Connection, template: str) -> None:
        self._server_url = server_url
        self._admin = admin
        self._template = template
        self._spare: list[str] = []
        self._catalogs: dict[str, str] = {}
        self._rows: dict[str, bytes] = {}

    def take(self) -> str:
        """Return the URL of a database that nobody else uses."""
        if self._spare:
            return self._spare.pop()
        name = f"fpdb_test_{next(_numbers)}"
        self._admin.execute(f"CREATE DATABASE {name} TEMPLATE {self._template}".encode())
        url = database_named(self._server_url, name)
        with psycopg.connect(url) as connection:
            self._catalogs[url] = _only(connection, CATALOG)
            if not self._rows:
                self._rows = {
                    table: _copied(connection, table)
                    for table, _ in connection.execute(TABLES.encode()).fetchall()
                }
        return url

    def give_back(self, url: str) -> None:
        """Make the database as it was, or drop it where a test changed its catalog."""
        name = urlsplit(url).path[1:]
        self._admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
            (name,),
        )
        with psycopg.connect(url) as connection:
            is_alike = _only(connection, CATALOG) == self._catalogs[url]
            if is_alike:
                self._reset(connection)
        if is_alike:
            self._spare.append(url)
        else:
            self._admin.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())

    def close(self) -> None:
        """Drop what is left."""
        for url in self._spare:
            self._admin.execute(f"DROP DATABASE {urlsplit(url).path[1:]} WITH (FORCE)".encode())

    def _reset(self, connection: psycopg.Connection) -> None:
        connection.execute("SET LOCAL session_replication_role = replica")
        for table, by_truncate in connection.execute(TABLES.encode()).fetchall():
            if by_truncate:
                connection.execute(f"TRUNCATE {table} CASCADE".encode())
            elif _copied(connection, table) != self._rows.get(table, b""):
                connection.execute(f"DELETE FROM {table}".encode())
        for table, rows in self._rows.items():
            if _copied(connection, table) != rows:
                with connection.cursor().copy(f"COPY {table} FROM STDIN".encode()) as copy:
                    copy.write(rows)
        for table, column in connection.execute(IDENTITIES.encode()).fetchall():
            connection.execute(
                f"SELECT setval(pg_get_serial_sequence(%s, %s), max({column})) FROM {table}"
                f" HAVING max({column}) IS NOT NULL".encode(),
                (table, column),
            )


def _only(connection: psycopg.Connection, statement: str) -> Any:
    row = connection.execute(statement.encode()).fetchone()
    assert row is not None
    return row[0]


def _copied(connection: psycopg.Connection, table: str) -> bytes:
    with connection.cursor().copy(f"COPY {table} TO STDOUT".encode()) as copy:
        return b"".join(bytes(part) for part in copy)


def fresh_database(admin: psycopg.Connection, server_url: str, template: str) -> Iterator[str]:
    """Copy a template, yield the copy's URL and drop it."""
    name = f"fpdb_test_{next(_numbers)}"
    admin.execute(f"CREATE DATABASE {name} TEMPLATE {template}".encode())
    try:
        yield database_named(server_url, name)
    finally:
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


class Library:
    """Puts made-up recordings into a database as `fpdb ingest` does with real ones."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.frame_sec = DEFAULT_PROFILE.frame_sec

    def add(
        self,
        landmarks: Landmarks | None = None,
        vectors: Vectors | None = None,
        *,
        starts_sec: Sequence[float] | None = None,
        model_id: int | None = None,
        **columns: Any,
    ) -> int:
        """Insert a ready asset with landmarks and one vector each 2.5 s; return its key."""
        values = {
            "uri": "made-up.wav",
            "landmark_status": "ready",
            "embedding_status": "ready",
            "duration_sec": 60.0,
            **columns,
        }
        row = self.connection.execute(
            sql.SQL(
                "INSERT INTO fpdb.asset (profile_id, {}) SELECT profile_id, {} FROM fpdb.profile"
                " WHERE is_active RETURNING asset_id"
            ).format(
                sql.SQL(", ").join(map(sql.Identifier, values)),
                sql.SQL(", ").join(map(sql.Placeholder, values)),
            ),
            values,
        ).fetchone()
        assert row is not None
        asset_id = int(row[0])
        if landmarks is not None:
            copy_postings(self.connection, asset_id, landmarks)
        if vectors is not None:
            starts = [2.5 * n for n in range(len(vectors))] if starts_sec is None else starts_sec
            copy_segments(
                self.connection,
                asset_id,
                self.active_model() if model_id is None else model_id,
                [
                    EmbeddedSegment(index, start, start + 5.0, vector, 1.0)
                    for index, (start, vector) in enumerate(zip(starts, vectors, strict=True))
                ],
            )
        return asset_id

    def active_model(self) -> int:
        """Return the key of the active model."""
        return int(self.value("SELECT fpdb.active_model()"))

    def calibrate(self, intercept: float = -20.0, slope: float = 25.0) -> None:
        """Give the active model a regression that is sure from a similarity of 0.9 up."""
        self.connection.execute(
            "UPDATE fpdb.model SET confidence_intercept = %s, confidence_slope = %s"
            " WHERE state = 'active'",
            (intercept, slope),
        )

    def value(self, statement: str, *values: Any) -> Any:
        """Return the first column of the first row."""
        row = self.connection.execute(statement.encode(), values or None).fetchone()
        assert row is not None
        return row[0]

    def rows(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Return all rows."""
        return self.connection.execute(statement.encode(), values or None).fetchall()

    def names(self, statement: str, *values: Any) -> list[dict[str, Any]]:
        """Return all rows as dictionaries."""
        cursor = self.connection.execute(statement.encode(), values or None)
        assert cursor.description is not None
        columns = [column.name for column in cursor.description]
        return [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]


def random_landmarks(
    rng: np.random.Generator, *, duration_sec: float = 60.0, per_sec: int = 40
) -> Landmarks:
    """Return landmarks without rhyme or reason, in order of time."""
    size = int(duration_sec * per_sec)
    frames = np.sort(rng.integers(0, int(duration_sec / DEFAULT_PROFILE.frame_sec), size))
    hashes = rng.integers(0, 1 << 24, size)
    return Landmarks(hashes.astype(np.int32), frames.astype(np.int32))


def random_vectors(rng: np.random.Generator, size: int) -> Vectors:
    """Return vectors of unit length in no common direction."""
    vectors = rng.standard_normal((size, 512))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def excerpt(landmarks: Landmarks, first_frame: int, last_frame: int) -> Landmarks:
    """Cut a query out of a reference; its frames begin at 0."""
    inside = (landmarks.frames >= first_frame) & (landmarks.frames < last_frame)
    return Landmarks(landmarks.hashes[inside], landmarks.frames[inside] - np.int32(first_frame))


def _stop_server(pid_file: Path) -> None:
    """Ask the server for a fast shutdown and wait for it."""
    os.kill(int(pid_file.read_text().splitlines()[0]), signal.SIGINT)
    deadline = time.monotonic() + 30
    while pid_file.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
