"""The grants of docs/production.md are enough for each role, and no more than it needs."""

import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from library import Library, excerpt, random_bits, random_landmarks, random_vectors

from fingerprintdb.store import library as store
from fingerprintdb.store.database import connect
from fingerprintdb.store.index import compact

PAGE = Path(__file__).parents[1] / "docs" / "production.md"
NAMES = ("fpdb_reader", "fpdb_app", "fpdb_worker")
MATCH = "SELECT asset_id FROM fpdb.match_landmarks(%s, %s, min_confidence => 0) LIMIT 1"


@pytest.fixture
def roles(admin, migrated_url) -> Iterator[dict[str, str]]:
    """URLs by role, with the page's grants; roles are of the whole cluster, so renamed."""
    blocks = re.findall(r"```sql\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert len(blocks) == 2
    suffix = secrets.token_hex(4)
    with psycopg.connect(migrated_url, autocommit=True) as connection:
        for block in blocks:
            connection.execute(re.sub(r"\b(fpdb_(?:reader|app|worker))\b", rf"\1_{suffix}", block))
        for name in NAMES:
            connection.execute(f"CREATE ROLE login_{name}_{suffix} LOGIN IN ROLE {name}_{suffix}")
    parts = urlsplit(migrated_url)
    yield {
        name.removeprefix("fpdb_"): parts._replace(netloc=f"login_{name}_{suffix}:@").geturl()
        for name in NAMES
    }
    with psycopg.connect(migrated_url, autocommit=True) as connection:
        for name in NAMES:
            connection.execute(f"DROP OWNED BY {name}_{suffix}")
            connection.execute(f"DROP ROLE login_{name}_{suffix}")
            connection.execute(f"DROP ROLE {name}_{suffix}")


@pytest.fixture
def stored(migrated_url):
    """Two recordings, as the owner stored them, and a clip of the first."""
    import numpy as np

    rng = np.random.default_rng(5)
    with connect(migrated_url) as connection:
        library = Library(connection)
        landmarks = random_landmarks(rng)
        keys = [
            library.add(one, random_vectors(rng, 4), bits=random_bits(rng))
            for one in (landmarks, random_landmarks(rng))
        ]
    clip = excerpt(landmarks, 300, 800)
    return keys, (clip.hashes.tolist(), clip.frames.tolist())


def refused(connection: psycopg.Connection, statement: str) -> bool:
    try:
        connection.execute(statement.encode())
    except psycopg.errors.InsufficientPrivilege:
        return True
    return False


def test_readers_search_and_change_nothing(roles, stored):
    keys, clip = stored
    with connect(roles["reader"]) as connection:
        connection.execute("SET default_transaction_read_only = on")
        assert connection.execute(MATCH, clip).fetchone() == (keys[0],)
        for view in ("asset_status", "job_status", "worker_status", "index_status"):
            connection.execute(f"SELECT * FROM fpdb.{view}")
        connection.execute("SET default_transaction_read_only = off")
        assert refused(connection, "SELECT * FROM fpdb.api_key")
        assert refused(connection, "INSERT INTO fpdb.asset (uri) VALUES ('a.wav')")
        assert refused(connection, "DELETE FROM fpdb.asset")
        assert refused(connection, "SELECT * FROM fpdb_queue.procrastinate_jobs")


def test_the_application_brings_in_changes_and_removes(roles, stored):
    keys, _ = stored
    with connect(roles["app"]) as connection:
        connection.execute("INSERT INTO fpdb.collection (name) VALUES ('radio')")
        connection.execute("INSERT INTO fpdb.asset (uri, collection) VALUES ('a.wav', 'radio')")
        connection.execute("INSERT INTO fpdb.query (uri) VALUES ('clip.wav')")
        connection.execute("UPDATE fpdb.asset SET title = 'A' WHERE uri = 'a.wav'")
        connection.execute("UPDATE fpdb.asset SET uri = 'b.wav' WHERE asset_id = %s", keys[:1])
        assert store.reprocess(connection, keys[1:]) == 1
        assert store.remove(connection, keys) == keys
        assert connection.execute("SELECT count(*) FROM fpdb.api_key").fetchone() == (0,)
        assert refused(connection, "UPDATE fpdb.content_type SET match_threshold = 0")
        assert refused(connection, "DELETE FROM fpdb.posting")
        assert refused(connection, "INSERT INTO fpdb.api_key (name, digest) VALUES ('x', 'y')")
        assert refused(connection, "DROP TABLE fpdb.asset")


def test_workers_store_and_pack_and_make_no_keys(roles, stored, recordings_of_noise):
    from fingerprintdb.extractor import Extractor
    from fingerprintdb.worker import WorkerOptions, run_worker

    with connect(roles["app"]) as connection:
        connection.execute("INSERT INTO fpdb.asset (uri) VALUES (%s)", (recordings_of_noise,))
    run_worker(roles["worker"], Extractor(), WorkerOptions(wait=False))
    with connect(roles["worker"]) as connection:
        done = connection.execute("SELECT status FROM fpdb.asset WHERE uri LIKE '%%noise.wav'")
        assert done.fetchall() == [("ready",)]
        list(compact(connection))
        assert refused(connection, "SELECT * FROM fpdb.api_key")
        assert refused(connection, "DELETE FROM fpdb.api_key")
        assert refused(connection, "UPDATE fpdb.alembic_version SET version_num = '0'")
        assert refused(connection, "TRUNCATE fpdb.asset")


@pytest.fixture
def recordings_of_noise(tmp_path) -> str:
    import numpy as np

    from fingerprintdb.encoding import encode

    noise = 0.1 * np.random.default_rng(1).standard_normal(3 * 22_050)
    encode(tmp_path / "noise.wav", noise.astype(np.float32), 22_050)
    return str(tmp_path / "noise.wav")
