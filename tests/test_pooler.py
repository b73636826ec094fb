"""Connections through a pooler: nothing is left behind on a server connection that others use."""

import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest
from library import Library, excerpt, random_bits, random_landmarks

from fingerprintdb.store.database import connect, pool

SOURCE = "SELECT source FROM pg_settings WHERE name = 'search_path'"


@pytest.fixture
def role_url(admin, migrated_url) -> Iterator[str]:
    """The database for a role that is given its search path."""
    role = f"app_{secrets.token_hex(4)}"
    admin.execute(f"CREATE ROLE {role} LOGIN SUPERUSER")
    admin.execute(f"ALTER ROLE {role} SET search_path = fpdb, public")
    parts = urlsplit(migrated_url)
    yield parts._replace(netloc=f"{role}:@").geturl()
    admin.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", (role,)
    )
    admin.execute(f"DROP ROLE {role}")


def only(connection: psycopg.Connection, statement: str) -> object:
    row = connection.execute(statement.encode()).fetchone()
    assert row is not None
    return row[0]


def test_a_search_path_that_is_given_is_not_set_again(migrated_url, role_url):
    with connect(migrated_url) as connection:
        assert only(connection, SOURCE) == "session"
        assert only(connection, "SELECT '[1,2]'::vector::text") == "[1,2]"
    with connect(role_url) as connection:
        assert only(connection, SOURCE) == "user"
        assert only(connection, "SELECT '[1,2]'::vector::text") == "[1,2]"


def test_statements_are_prepared_where_nobody_stands_between(connection):
    assert connection.prepare_threshold is not None
    for _ in range(8):
        connection.execute("SELECT 1")
    assert only(connection, "SELECT count(*) > 0 FROM pg_prepared_statements")


@pytest.fixture
def pooled_url(role_url, tmp_path) -> Iterator[str]:
    """The role's database through PgBouncer, two server connections lent by the transaction."""
    program = shutil.which("pgbouncer")
    if program is None:
        pytest.skip("PgBouncer is not on this machine")
    parts = urlsplit(role_url)
    role, name = parts.username, parts.path[1:]
    folder = Path("/tmp") / f"fpdb-pool-{secrets.token_hex(4)}"
    folder.mkdir()
    socket = Path(parse_qs(parts.query)["host"][0])
    # It refuses to be root, and only the server's owner enters the folder of the server's socket.
    user = f"user = {socket.owner()}\n" if os.getuid() == 0 else ""
    (folder / "users").write_text(f'"{role}" ""\n')
    (folder / "pool.ini").write_text(
        f"[databases]\n{name} = host={socket}\n"
        f"[pgbouncer]\nunix_socket_dir = {folder}\nlisten_port = 6432\nlisten_addr =\n"
        f"auth_type = trust\nauth_file = {folder}/users\npool_mode = transaction\n"
        f"default_pool_size = 2\n{user}"
    )
    for path in (folder, *folder.iterdir()):
        path.chmod(0o777)
    process = subprocess.Popen([program, "-q", folder / "pool.ini"])
    deadline = time.monotonic() + 10
    while not (folder / ".s.PGSQL.6432").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    yield f"postgresql://{role}@/{name}?host={folder}&port=6432"
    process.terminate()
    process.wait()
    shutil.rmtree(folder)


def test_searches_go_through_a_pooler_that_lends_by_the_transaction(pooled_url, rng_clip):
    clip, asset_id = rng_clip
    asked = (
        "SELECT asset_id FROM fpdb.match_landmarks(%s, %s, min_confidence => 0)"
        " ORDER BY confidence DESC LIMIT 1"
    )
    values = (clip.hashes.tolist(), clip.frames.tolist())
    with pool(pooled_url, size=6) as connections:
        held = [connections.getconn() for _ in range(6)]
        for turn in range(20):
            connection = held[turn % 6]
            assert connection.prepare_threshold is None
            assert connection.execute(asked, values).fetchone() == (asset_id,)
        assert only(held[0], "SELECT count(*) FROM pg_prepared_statements") == 0
        assert only(held[1], SOURCE) == "user"
        for connection in held:
            connections.putconn(connection)


@pytest.fixture
def rng_clip(migrated_url):
    import numpy as np

    rng = np.random.default_rng(3)
    with connect(migrated_url) as connection:
        library = Library(connection)
        landmarks = random_landmarks(rng)
        asset_id = library.add(landmarks, bits=random_bits(rng))
        library.add(random_landmarks(rng), bits=random_bits(rng))
    return excerpt(landmarks, 300, 800), asset_id
