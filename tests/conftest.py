"""Gives tests one embedded Postgres a process, and databases copied from a migrated template."""

import atexit
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from databases import MigratedDatabases, database_named, fresh_database
from hypothesis import settings
from library import Library
from psycopg import sql

from fingerprintdb.embedding import load
from fingerprintdb.store import migration
from fingerprintdb.store.database import Connection, connect
from fingerprintdb.store.embedded import open_embedded
from fingerprintdb.store.model import choose_model
from fingerprintdb.store.profile import register_profiles

# How long a busy machine takes says nothing of what is tested.
settings.register_profile("fpdb", deadline=None)
settings.load_profile("fpdb")

# A shell that starts the tests in the background has them ignore Ctrl-C, with all that they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# No test may reach for a model hub.
os.environ["HF_HUB_OFFLINE"] = "1"


TEMPLATE = "fpdb_template"

# What a crash would lose is of no worth here; autovacuum would make plans depend on its timing.
SERVER_SETTINGS = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
}


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
        register_profiles(connection)
        choose_model(connection, embedder)
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


def _stop_server(pid_file: Path) -> None:
    """Ask the server for a fast shutdown and wait for it."""
    os.kill(int(pid_file.read_text().splitlines()[0]), signal.SIGINT)
    deadline = time.monotonic() + 30
    while pid_file.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
