"""The gates of the schema: every way of upgrading ends in one catalog that is fully described."""

import hashlib
import json
import re
import shutil
import subprocess
import sys
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import alembic.command
import numpy as np
import procrastinate.schema
import psycopg
import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from library import Library, random_bits, random_landmarks, random_vectors
from psycopg import sql

from fingerprintdb.profile import ACCURATE, PROFILES
from fingerprintdb.store import migration, revision
from fingerprintdb.store.database import DatabaseError, connect
from fingerprintdb.store.landmarks import copy_postings
from fingerprintdb.store.profile import (
    activate_profile,
    build_profile,
    mark_stored,
    register_profiles,
)

CHECKOUT = Path(__file__).parents[1]
RELEASED = Path(__file__).with_name("released_revisions.json")

Snapshot = dict[str, list[tuple[Any, ...]]]

# Objects of an extension belong to it, not to us.
OWN = "NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = {}.oid AND d.deptype = 'e')"
SCHEMAS = "nspname !~ '^pg_' AND nspname <> 'information_schema'"

CATALOG = {
    "schemas": f"SELECT n.oid, nspname FROM pg_namespace n WHERE {SCHEMAS}",
    "extensions": "SELECT oid, extname, extversion, extnamespace::regnamespace FROM pg_extension",
    "relations": "SELECT c.oid, nspname, relname, relkind, relpersistence, reloptions,"
    " pg_get_partkeydef(c.oid), pg_get_expr(relpartbound, c.oid),"
    " obj_description(c.oid, 'pg_class')"
    " FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace"
    f" WHERE {SCHEMAS} AND {OWN.format('c')}",
    "columns": "SELECT c.oid, nspname, relname, attnum, attname, format_type(atttypid, atttypmod),"
    " attnotnull, attidentity, attgenerated, pg_get_expr(adbin, adrelid),"
    " col_description(c.oid, attnum)"
    " FROM pg_attribute a JOIN pg_class c ON c.oid = attrelid"
    " JOIN pg_namespace n ON n.oid = relnamespace"
    " LEFT JOIN pg_attrdef d ON adrelid = attrelid AND adnum = attnum"
    f" WHERE {SCHEMAS} AND attnum > 0 AND NOT attisdropped AND relkind IN ('r', 'p', 'v', 'c')",
    "constraints": "SELECT c.oid, conrelid::regclass::text, conname, pg_get_constraintdef(c.oid)"
    f" FROM pg_constraint c JOIN pg_namespace n ON n.oid = connamespace WHERE {SCHEMAS}",
    "indexes": "SELECT i.indexrelid, indexrelid::regclass::text, pg_get_indexdef(indexrelid)"
    " FROM pg_index i JOIN pg_class c ON c.oid = indexrelid"
    f" JOIN pg_namespace n ON n.oid = relnamespace WHERE {SCHEMAS}",
    "views": "SELECT c.oid, c.oid::regclass::text, pg_get_viewdef(c.oid) FROM pg_class c"
    f" JOIN pg_namespace n ON n.oid = relnamespace WHERE {SCHEMAS} AND relkind = 'v'",
    "functions": "SELECT p.oid, nspname, proname, pg_get_function_identity_arguments(p.oid),"
    " pg_get_functiondef(p.oid), obj_description(p.oid, 'pg_proc')"
    " FROM pg_proc p JOIN pg_namespace n ON n.oid = pronamespace"
    f" WHERE {SCHEMAS} AND {OWN.format('p')}",
    "triggers": "SELECT t.oid, pg_get_triggerdef(t.oid), tgenabled FROM pg_trigger t"
    " WHERE NOT tgisinternal",
    "types": "SELECT t.oid, nspname, typname, typtype,"
    " (SELECT array_agg(enumlabel::text ORDER BY enumsortorder) FROM pg_enum e"
    "  WHERE enumtypid = t.oid) FROM pg_type t JOIN pg_namespace n ON n.oid = typnamespace"
    f" WHERE {SCHEMAS} AND typtype IN ('c', 'e', 'd') AND {OWN.format('t')}",
    "privileges": "SELECT c.oid, c.oid::regclass::text, relacl::text FROM pg_class c"
    f" JOIN pg_namespace n ON n.oid = relnamespace WHERE {SCHEMAS} AND relacl IS NOT NULL",
}

SHIPPED_ROWS = {
    "fpdb.alembic_version": "SELECT 0, version_num FROM fpdb.alembic_version",
    "fpdb.content_type": "SELECT 0, c::text FROM fpdb.content_type c",
    "fpdb.collection": "SELECT 0, name, description FROM fpdb.collection",
    "fpdb.decision": "SELECT 0, d::text FROM fpdb.decision d",
    "fpdb_queue.queue_migration": "SELECT 0, name FROM fpdb_queue.queue_migration",
}


def snapshot(url: str, *, with_oids: bool = False) -> Snapshot:
    """Everything in the catalog that is ours, and the rows that revisions ship."""
    found = {}
    with psycopg.connect(url) as connection:
        for name, statement in (CATALOG | SHIPPED_ROWS).items():
            if name in SHIPPED_ROWS:
                known = connection.execute("SELECT to_regclass(%s)", (name,)).fetchone()
                if known == (None,):
                    continue
            rows = connection.execute(statement.encode()).fetchall()
            found[name] = sorted((row if with_oids else row[1:] for row in rows), key=repr)
    return found


def fetch(url: str, statement: str, *values: Any) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(statement.encode(), values or None).fetchall()


def config(url: str) -> Config:
    return migration._config(url)


def own_functions(url: str) -> Counter[str]:
    statement = (
        "SELECT proname::text FROM pg_proc p WHERE pronamespace = to_regnamespace('fpdb')"
        f" AND {OWN.format('p')}"
    )
    return Counter(row[0] for row in fetch(url, statement))


@pytest.fixture(scope="module")
def fresh(database_url: str) -> Snapshot:
    """The catalog after one upgrade of an empty database."""
    migration.upgrade(database_url)
    return snapshot(database_url)


@pytest.fixture
def edited_sql(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of sql/ that upgrades read instead of the real one."""
    folder = tmp_path / "sql"
    shutil.copytree(migration.sql_folder(), folder)
    monkeypatch.setattr(migration, "sql_folder", lambda: folder)
    return folder


NEXT_REVISION = '''
"""A revision after the present head."""

from alembic import op

revision = "9001"
down_revision = "{head}"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE fpdb.collection ADD COLUMN colour text")


def downgrade() -> None:
    op.execute("ALTER TABLE fpdb.collection DROP COLUMN colour")
'''


@pytest.fixture
def next_revision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """Give the program one revision more; return the present head and the new one."""
    present = revision.head()
    folder = tmp_path / "alembic"
    shutil.copytree(
        CHECKOUT / "alembic", folder, ignore=shutil.ignore_patterns("__pycache__", "*.pyc")
    )
    (folder / "versions" / "9001_next.py").write_text(NEXT_REVISION.format(head=present))
    original = revision.folder
    for module in (migration, revision):
        monkeypatch.setattr(
            module, "folder", lambda name: folder if name == "alembic" else original(name)
        )
    monkeypatch.setattr(revision, "_parents", revision._parents.__wrapped__)
    return present, "9001"


def upgrade_stepwise(url: str) -> int:
    revisions = list(ScriptDirectory.from_config(config(url)).walk_revisions())
    for script in reversed(revisions):
        migration.upgrade(url, script.revision)
    return len(revisions)


def test_fresh_upgrade_has_tables_functions_and_queue(fresh: Snapshot) -> None:
    relations = {(row[0], row[1]) for row in fresh["relations"]}
    assert {("fpdb", "asset"), ("fpdb", "job_status"), ("fpdb_queue", "procrastinate_jobs")} <= (
        relations
    )
    assert fresh["fpdb.alembic_version"] == [(revision.head(),)]


def test_stepwise_upgrade_equals_a_fresh_one(fresh: Snapshot, empty_url: str) -> None:
    upgrade_stepwise(empty_url)
    assert snapshot(empty_url) == fresh


def test_stepwise_over_two_revisions_equals_a_fresh_upgrade(
    next_revision: tuple[str, str], empty_url: str, migrated_url: str, fresh: Snapshot
) -> None:
    assert upgrade_stepwise(empty_url) >= 2
    stepwise = snapshot(empty_url)
    alembic.command.downgrade(config(empty_url), "base")
    migration.upgrade(empty_url)
    assert snapshot(empty_url) == stepwise
    assert stepwise != fresh


def test_downgrade_to_base_and_up_again_equals_a_fresh_upgrade(
    fresh: Snapshot, empty_url: str
) -> None:
    migration.upgrade(empty_url)
    alembic.command.downgrade(config(empty_url), "base")
    assert fetch(empty_url, "SELECT to_regclass('fpdb.asset')") == [(None,)]
    migration.upgrade(empty_url)
    assert snapshot(empty_url) == fresh


def test_packed_landmarks_survive_a_downgrade(migrated_url: str) -> None:
    with connect(migrated_url) as connection:
        library = Library(connection)
        rng = np.random.default_rng(1)
        for _ in range(3):
            library.add(random_landmarks(rng, duration_sec=400))
            library.value("SELECT count(*) FROM fpdb.compact(1)")
        library.add(random_landmarks(rng, duration_sec=5))
        every = "SELECT asset_id, hash, frame FROM fpdb.{} ORDER BY 1, 3, 2"
        before = library.rows(every.format("landmark"))
        alembic.command.downgrade(config(migrated_url), "0001")
        assert library.rows(every.format("posting")) == before
        migration.upgrade(migrated_url)
        assert library.rows(every.format("landmark")) == before
        assert library.value("SELECT count(*) FROM fpdb.delta") == len(before)


EVERY_BIT = "SELECT asset_id, part, bits::text FROM fpdb.sub_fingerprint ORDER BY 1, 2"


def test_vectors_survive_0007_and_back(migrated_url: str) -> None:
    """Those of 512 dimensions; the index follows, and what another model has goes."""
    rng = np.random.default_rng(1)
    indexes = (
        "SELECT indexdef FROM pg_indexes WHERE indexname LIKE 'embedding%%hnsw_idx' ORDER BY 1"
    )
    with connect(migrated_url) as connection:
        library = Library(connection)
        vectors = random_vectors(rng, 5)
        asset_id = library.add(vectors=vectors)
        longer = library.value("SELECT fpdb.register_model('longer', '1', 'longer', 768, 16000)")
        library.embed(asset_id, rng.normal(size=(5, 768)).astype(np.float32), longer)
        library.value("SELECT fpdb.backfill_model(%s::smallint)", longer)
        silent = library.add()
        every = (
            "SELECT segment_id, embedding::text FROM fpdb.embedding WHERE model_id = 1 ORDER BY 1"
        )
        stored, before = library.rows(every), library.rows(indexes)
        alembic.command.downgrade(config(migrated_url), "0006")
        assert str(library.rows(every)) == str(stored)
        assert library.rows("SELECT model_id, state FROM fpdb.model") == [(1, "active")]
        assert [row[0].endswith("(embedding vector_cosine_ops)") for row in library.rows(indexes)]
        assert library.value("SELECT to_regclass('fpdb.embedding_2')") is None
        migration.upgrade(migrated_url)
        assert str(library.rows(every)) == str(stored)
        assert library.rows(indexes) == before
        assert library.rows("SELECT asset_id, vectors FROM fpdb.asset_model ORDER BY 1") == [
            (asset_id, 5),
            (silent, 0),
        ]
        found = library.rows("SELECT segment_index FROM fpdb.nearest_segments(%s, 1)", vectors[3])
        assert found == [(3,)]


def test_the_active_profile_survives_a_downgrade_to_0003_and_the_way_back(
    migrated_url: str,
) -> None:
    """Packed landmarks, new ones and bits stay; those of another profile, and its jobs, go."""
    rng = np.random.default_rng(1)
    with connect(migrated_url) as connection:
        library = Library(connection)
        other = library.value("SELECT profile_id FROM fpdb.profile WHERE NOT is_active")
        build_profile(connection, "compact")
        parts = [random_landmarks(rng, duration_sec=400) for _ in range(3)]
        for number, part in enumerate(parts):
            asset_id = library.add(part, bits=random_bits(rng), landmark_count=len(part))
            copy_postings(connection, asset_id, other, part)
            mark_stored(connection, asset_id, other, len(part))
            connection.execute(
                "INSERT INTO fpdb.sub_fingerprint (asset_id, profile_id, part, bits)"
                " VALUES (%s, %s, 0, B'1')",
                (asset_id, other),
            )
            if number == 1:
                library.value("SELECT count(*) FROM fpdb.compact()")
        active = library.value("SELECT fpdb.require_profile(%s)", ACCURATE.digest)
        every = "SELECT asset_id, hash, frame FROM fpdb.landmark ORDER BY 1, 3, 2"
        of_active = EVERY_BIT.replace("ORDER", f"WHERE profile_id = {active} ORDER")
        landmarks, bits = library.rows(every), library.rows(of_active)
        jobs = "SELECT args FROM fpdb_queue.procrastinate_jobs"
        assert len(library.rows(jobs)) == 3
        alembic.command.downgrade(config(migrated_url), "0003")
        assert library.rows("SELECT profile_id, is_active FROM fpdb.profile ORDER BY 1") == [
            (active, True),
            (other, False),
        ]
        connection.execute("UPDATE fpdb.profile SET is_active = false")
        connection.execute("UPDATE fpdb.profile SET is_active = profile_id = %s", (active,))
        assert library.value("SELECT count(*) FROM fpdb.delta") == len(parts[2])
        assert library.value("SELECT sum(postings) FROM fpdb.block") == len(parts[0]) + len(
            parts[1]
        )
        assert library.rows(EVERY_BIT) == bits
        assert library.rows(jobs) == []
        migration.upgrade(migrated_url)
        assert library.rows(every) == landmarks
        assert library.rows(EVERY_BIT) == bits
        assert library.rows("SELECT name, state, assets FROM fpdb.profile_status ORDER BY 1") == [
            ("accurate", "active", 3),
            ("compact", "retired", 0),
        ]
        for asset_id, part in enumerate(parts, start=landmarks[0][0]):
            found = library.rows(
                "SELECT asset_id FROM fpdb.match_landmarks(%s, %s)",
                part.hashes[:400].tolist(),
                part.frames[:400].tolist(),
            )
            assert found == [(asset_id,)]
        # What the other profile had packed is dead.
        assert ("dropped",) in library.rows("SELECT action FROM fpdb.compact()")
        assert library.rows(every) == landmarks


@pytest.mark.parametrize("merge", ["not begun", "halfway", "complete"])
def test_0004_and_back_keep_every_landmark(migrated_url: str, merge: str) -> None:
    """A merge halfway is unknown to the former release: what it holds waits to be packed."""
    rng = np.random.default_rng(1)
    with connect(migrated_url) as connection:
        library = Library(connection)
        parts = [random_landmarks(rng, duration_sec=400) for _ in range(4)]
        ids = []
        for part in parts:
            ids.append(library.add(part))
            if len(ids) in (1, 3):
                library.rows("SELECT fpdb.seal(profile_id, NULL) FROM fpdb.profile WHERE is_active")
        library.connection.execute("DELETE FROM fpdb.asset WHERE asset_id = %s", (ids.pop(1),))
        parts.pop(1)
        if merge != "not begun":
            tier_id = library.value("SELECT tier_id FROM fpdb.begin_merge()")
            most = 1 if merge == "halfway" else None
            library.rows("SELECT fpdb.advance_merge(%s, %s, 500)", tier_id, most)
        every = "SELECT asset_id, hash, frame FROM fpdb.landmark ORDER BY 1, 3, 2"
        landmarks = library.rows(every)
        assert len(landmarks) == sum(map(len, parts))
        runs = library.value("SELECT count(*) FROM fpdb.run")
        assert runs == {"not begun": 2, "halfway": 3, "complete": 1}[merge]
        alembic.command.downgrade(config(migrated_url), "0004")
        packed = library.value("SELECT coalesce(sum(postings), 0) FROM fpdb.block")
        waiting = library.value("SELECT count(*) FROM fpdb.delta")
        assert packed + waiting == len(landmarks)
        assert (packed == 0) == (merge == "halfway")
        migration.upgrade(migrated_url)
        assert library.rows(every) == landmarks
        library.rows("SELECT fpdb.compact()")
        assert library.rows(every) == landmarks
        assert library.rows("SELECT * FROM fpdb.check_index()") == []
        for asset_id, part in zip(ids, parts, strict=True):
            found = library.rows(
                "SELECT asset_id FROM fpdb.match_landmarks(%s, %s)",
                part.hashes[:400].tolist(),
                part.frames[:400].tolist(),
            )
            assert found == [(asset_id,)]


def test_what_0003_stored_takes_the_profile_of_its_asset(empty_url: str) -> None:
    """A collection that was moving to another profile when it was upgraded."""
    rng = np.random.default_rng(1)
    migration.upgrade(empty_url, "0003")
    parts = [random_landmarks(rng, duration_sec=10) for _ in range(2)]
    with connect(empty_url) as connection:
        library = Library(connection)
        for name, is_active in (("compact", False), ("accurate", True)):
            profile = PROFILES[name]
            connection.execute(
                "INSERT INTO fpdb.profile (name, digest, parameters, is_active)"
                " VALUES (%s, %s, %s::jsonb, %s)",
                (name, profile.digest, profile.to_json(), is_active),
            )
        for number, (part, status) in enumerate(zip(parts, ("queued", "ready"), strict=True), 1):
            connection.execute(
                "INSERT INTO fpdb.asset (uri, profile_id, landmark_count, duration_sec,"
                " landmark_revision, landmark_status, embedding_status)"
                " VALUES ('a', %s, %s, 10, 2, %s, 'ready')",
                (number, len(part), status),
            )
            connection.execute(
                "INSERT INTO fpdb.delta (asset_id, hash, frame)"
                " SELECT %s, * FROM unnest(%s::int[], %s::int[])",
                (number, part.hashes.tolist(), part.frames.tolist()),
            )
            connection.execute("INSERT INTO fpdb.sub_fingerprint VALUES (%s, 0, B'1')", (number,))
        migration.upgrade(empty_url)
        assert library.rows(
            "SELECT asset_id, d.profile_id, s.profile_id, h.revision, h.landmark_count,"
            " a.profile_id, a.landmark_count, landmark_status"
            " FROM (SELECT DISTINCT asset_id, profile_id FROM fpdb.delta) d"
            " JOIN fpdb.sub_fingerprint s USING (asset_id)"
            " JOIN fpdb.asset_profile h USING (asset_id) JOIN fpdb.asset a USING (asset_id)"
            " ORDER BY 1"
        ) == [
            (1, 1, 1, 1, len(parts[0]), None, None, "queued"),
            (2, 2, 2, 2, len(parts[1]), 2, len(parts[1]), "ready"),
        ]
        asked = "SELECT asset_id FROM fpdb.match_landmarks(%s, %s)"
        for name, queued, expected in (("accurate", 1, [[], [(2,)]]), ("compact", 2, [[(1,)], []])):
            assert activate_profile(connection, name) == queued
            for part, answer in zip(parts, expected, strict=True):
                found = library.rows(asked, part.hashes.tolist(), part.frames.tolist())
                assert found == answer


def test_second_upgrade_changes_nothing(migrated_url: str) -> None:
    before = snapshot(migrated_url, with_oids=True)
    migration.upgrade(migrated_url)
    assert snapshot(migrated_url, with_oids=True) == before


def declared(kind: str) -> Counter[str]:
    text = "\n".join(path.read_text() for path in sorted(migration.sql_folder().glob("*.sql")))
    pattern = rf"^CREATE OR REPLACE {kind} (?:fpdb\.)?(\w+)"
    return Counter(re.findall(pattern, text, re.MULTILINE))


def test_functions_are_those_of_sql_and_have_one_signature_each(
    fresh: Snapshot, database_url: str
) -> None:
    names = own_functions(database_url)
    assert names == declared("FUNCTION")
    assert set(names.values()) == {1}


def test_views_and_triggers_are_those_of_sql(fresh: Snapshot, database_url: str) -> None:
    views = fetch(database_url, "SELECT viewname::text FROM pg_views WHERE schemaname = 'fpdb'")
    assert Counter(row[0] for row in views) == declared("VIEW")
    triggers = fetch(
        database_url,
        "SELECT tgname::text FROM pg_trigger t JOIN pg_class c ON c.oid = tgrelid"
        " WHERE NOT tgisinternal AND relnamespace = 'fpdb'::regnamespace",
    )
    assert Counter(row[0] for row in triggers) == declared("TRIGGER")


def statements(text: str) -> list[str]:
    """Split a script after blanking bodies, strings and comments."""
    for pattern in (r"\$\$.*?\$\$", r"BEGIN ATOMIC.*?END", r"--[^\n]*", r"'(?:[^']|'')*'"):
        text = re.sub(pattern, "x", text, flags=re.DOTALL)
    return [part.strip().lstrip("x \n") for part in text.split(";") if part.strip()]


@pytest.mark.parametrize("path", sorted(migration.sql_folder().glob("*.sql")), ids=lambda p: p.name)
def test_sql_holds_only_what_can_be_run_again(path: Path) -> None:
    for statement in statements(path.read_text()):
        # A block sets what the queue's library leaves open; a second upgrade finds it set.
        assert statement.startswith(("CREATE OR REPLACE ", "COMMENT ON ", "DO "))


def test_no_revision_creates_functions_views_or_triggers(
    empty_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migration, "sql_folder", lambda: tmp_path)
    migration.upgrade(empty_url)
    found = snapshot(empty_url)
    assert fetch(empty_url, "SELECT to_regclass('fpdb.asset') IS NOT NULL") == [(True,)]
    assert own_functions(empty_url) == Counter()
    assert [row for row in found["views"] if row[0].startswith("fpdb.")] == []
    assert [row for row in found["triggers"] if " ON fpdb." in row[0]] == []


def changed_revisions(folder: Path, released: dict[str, str]) -> list[str]:
    """Names of released revisions whose file is gone or no longer what it was."""

    def digest(name: str) -> str | None:
        path = folder / name
        return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else None

    return [name for name, expected in released.items() if digest(name) != expected]


def test_released_revisions_are_unchanged() -> None:
    released = json.loads(RELEASED.read_text())
    assert changed_revisions(CHECKOUT / "alembic" / "versions", released) == []


def test_a_change_of_a_released_revision_is_noticed(tmp_path: Path) -> None:
    for name in ("a.py", "b.py", "c.py"):
        (tmp_path / name).write_text(f"# {name}\n")
    released = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in tmp_path.iterdir()
    }
    assert changed_revisions(tmp_path, released) == []
    (tmp_path / "a.py").write_text("# edited\n")
    (tmp_path / "b.py").unlink()
    assert sorted(changed_revisions(tmp_path, released)) == ["a.py", "b.py"]


def next_transaction(admin: psycopg.Connection) -> int:
    """Number of the next transaction of the server that writes."""
    row = admin.execute("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint").fetchone()
    assert row is not None
    return int(row[0])


@pytest.mark.parametrize("command", ["current", "check", "history"])
def test_commands_that_look_write_nothing(
    command: str, migrated_url: str, admin: psycopg.Connection
) -> None:
    before = next_transaction(admin)
    getattr(alembic.command, command)(config(migrated_url))
    assert next_transaction(admin) == before


def test_current_on_an_empty_database_writes_nothing(
    empty_url: str, admin: psycopg.Connection
) -> None:
    before = next_transaction(admin)
    alembic.command.current(config(empty_url))
    assert next_transaction(admin) == before
    assert fetch(empty_url, "SELECT to_regnamespace('fpdb')") == [(None,)]


def test_concurrent_upgrades_leave_one_schema(fresh: Snapshot, empty_url: str) -> None:
    program = (
        "import sys; from fingerprintdb.store import migration; migration.upgrade(sys.argv[1])"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program, empty_url], stderr=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    ends = [(process.communicate()[1], process.returncode) for process in processes]
    assert [code for _, code in ends] == [0] * 4, ends
    assert snapshot(empty_url) == fresh


def test_everything_public_has_a_comment(migrated_url: str) -> None:
    # alembic's own table is not public; a partition's columns are those of its parent.
    relations = fetch(
        migrated_url,
        "SELECT c.oid::regclass::text FROM pg_class c WHERE relnamespace = 'fpdb'::regnamespace"
        " AND relkind IN ('r', 'p', 'v', 'm') AND relname <> 'alembic_version'"
        f" AND {OWN.format('c')}"
        " AND coalesce(obj_description(c.oid, 'pg_class'), '') = ''",
    )
    columns = fetch(
        migrated_url,
        "SELECT c.oid::regclass::text, attname::text FROM pg_attribute a"
        " JOIN pg_class c ON c.oid = attrelid WHERE relnamespace = 'fpdb'::regnamespace"
        " AND relkind IN ('r', 'p', 'v', 'm') AND relname <> 'alembic_version'"
        f" AND NOT relispartition AND attnum > 0 AND NOT attisdropped AND {OWN.format('c')}"
        " AND coalesce(col_description(c.oid, attnum), '') = ''",
    )
    functions = fetch(
        migrated_url,
        "SELECT p.oid::regprocedure::text FROM pg_proc p"
        f" WHERE pronamespace = 'fpdb'::regnamespace AND {OWN.format('p')}"
        " AND coalesce(obj_description(p.oid, 'pg_proc'), '') = ''",
    )
    assert (relations, columns, functions) == ([], [], [])


def test_functions_fix_their_search_path_and_run_as_the_caller(migrated_url: str) -> None:
    loose = fetch(
        migrated_url,
        "SELECT p.oid::regprocedure::text FROM pg_proc p"
        f" WHERE pronamespace = 'fpdb'::regnamespace AND {OWN.format('p')}"
        # A body parsed when it was made looks nothing up when it is called.
        " AND (prosecdef OR prosqlbody IS NULL AND NOT EXISTS ("
        "  SELECT FROM unnest(proconfig) AS c (setting) WHERE setting LIKE 'search_path=%'))",
    )
    assert loose == []


def test_alembic_check_finds_nothing(migrated_url: str) -> None:
    alembic.command.check(config(migrated_url))


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE fpdb.asset ADD COLUMN colour text",
        "ALTER TABLE fpdb.delta ALTER COLUMN hash TYPE bigint",
        "DROP INDEX fpdb.delta_hash_idx",
        "CREATE TABLE fpdb.model_extra (model_extra_id int)",
    ],
)
def test_alembic_check_finds_a_difference(change: str, migrated_url: str) -> None:
    with psycopg.connect(migrated_url) as connection:
        connection.execute("DROP VIEW IF EXISTS fpdb.landmark")
        connection.execute(change.encode())
    if "CREATE TABLE" in change:
        # A table that the metadata does not name is a partition, or a user's own.
        alembic.command.check(config(migrated_url))
    else:
        with pytest.raises(CommandError, match="New upgrade operations detected"):
            alembic.command.check(config(migrated_url))


def test_a_broken_file_rolls_back_a_fresh_upgrade(empty_url: str, edited_sql: Path) -> None:
    (edited_sql / "99_broken.sql").write_text(
        "CREATE OR REPLACE VIEW fpdb.broken AS SELECT nothing;"
    )
    with pytest.raises(psycopg.errors.UndefinedColumn):
        migration.upgrade(empty_url)
    left = snapshot(empty_url)
    assert left["relations"] == []
    assert left["functions"] == []
    (edited_sql / "99_broken.sql").unlink()
    migration.upgrade(empty_url)
    assert own_functions(empty_url) == declared("FUNCTION")


def test_a_broken_file_rolls_back_an_upgrade_of_bodies_and_revisions(
    migrated_url: str, edited_sql: Path, next_revision: tuple[str, str]
) -> None:
    before = snapshot(migrated_url, with_oids=True)
    edit(edited_sql)
    (edited_sql / "99_broken.sql").write_text(
        "CREATE OR REPLACE VIEW fpdb.broken AS SELECT nothing;"
    )
    with pytest.raises(psycopg.errors.UndefinedColumn):
        migration.upgrade(migrated_url)
    assert snapshot(migrated_url, with_oids=True) == before


def edit(folder: Path) -> None:
    path = folder / "20_model.sql"
    text = path.read_text()
    original = "SELECT model_id FROM fpdb.model WHERE state = 'active'"
    assert original in text
    path.write_text(text.replace(original, f"{original} /* edited */"))


ACTIVE_MODEL = "SELECT prosrc LIKE '%%edited%%' FROM pg_proc WHERE proname = 'active_model'"


def test_an_edited_body_goes_live_with_no_revision_pending(
    migrated_url: str, edited_sql: Path
) -> None:
    edit(edited_sql)
    assert fetch(migrated_url, ACTIVE_MODEL) == [(False,)]
    migration.upgrade(migrated_url)
    assert fetch(migrated_url, ACTIVE_MODEL) == [(True,)]


def test_an_upgrade_to_a_middle_revision_replays_nothing(
    next_revision: tuple[str, str], empty_url: str
) -> None:
    middle, head = next_revision
    migration.upgrade(empty_url, middle)
    assert fetch(empty_url, "SELECT version_num FROM fpdb.alembic_version") == [(middle,)]
    assert own_functions(empty_url) == Counter()
    assert fetch(empty_url, "SELECT to_regclass('fpdb_queue.procrastinate_jobs')") == [(None,)]
    migration.upgrade(empty_url, head)
    assert own_functions(empty_url) == declared("FUNCTION")


@pytest.mark.parametrize("target", ["head", "heads", "9001", "+1"])
def test_every_way_to_head_replays(
    target: str, next_revision: tuple[str, str], migrated_url: str, edited_sql: Path
) -> None:
    edit(edited_sql)
    migration.upgrade(migrated_url, target)
    assert fetch(migrated_url, ACTIVE_MODEL) == [(True,)]


def test_a_downgrade_from_head_replays_nothing(
    next_revision: tuple[str, str], migrated_url: str, edited_sql: Path
) -> None:
    migration.upgrade(migrated_url)
    edit(edited_sql)
    alembic.command.downgrade(config(migrated_url), "-1")
    assert fetch(migrated_url, "SELECT version_num FROM fpdb.alembic_version") == [
        (next_revision[0],)
    ]
    assert fetch(migrated_url, ACTIVE_MODEL) == [(False,)]


def test_the_queue_has_a_schema_of_its_own(fresh: Snapshot) -> None:
    ours = [row for row in fresh["relations"] if row[1].startswith("procrastinate")]
    assert {row[0] for row in ours} == {"fpdb_queue"}
    assert {row[0] for row in fresh["functions"] if row[1].startswith("procrastinate")} == {
        "fpdb_queue"
    }
    files = Path(procrastinate.schema.SchemaManager.get_migrations_path()).glob("*.sql")
    assert fresh["fpdb_queue.queue_migration"] == sorted((path.name,) for path in files)


def test_newer_migrations_of_the_queue_run_once(
    migrated_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager = procrastinate.schema.SchemaManager
    folder = tmp_path / "migrations"
    shutil.copytree(manager.get_migrations_path(), folder)
    monkeypatch.setattr(manager, "get_migrations_path", staticmethod(lambda: str(folder)))
    newer = folder / "99.00.00_01_pre_newer.sql"
    newer.write_text("CREATE TABLE newer (n int); INSERT INTO newer VALUES (1);")
    for _ in range(2):
        migration.upgrade(migrated_url)
        assert fetch(migrated_url, "SELECT n FROM fpdb_queue.newer") == [(1,)]
    assert (newer.name,) in fetch(migrated_url, "SELECT name FROM fpdb_queue.queue_migration")


def test_nothing_of_ours_is_in_public(fresh: Snapshot) -> None:
    assert {row[0] for row in fresh["schemas"]} == {"fpdb", "fpdb_queue", "public"}
    for kind in ("relations", "functions", "types"):
        assert [row for row in fresh[kind] if row[0] == "public"] == []
    assert ("vector", "fpdb") in {(row[0], row[2]) for row in fresh["extensions"]}


@pytest.mark.parametrize("schema", ["public", "extensions", 'My "odd" schema'])
def test_pgvector_is_used_where_it_is(schema: str, empty_url: str) -> None:
    with psycopg.connect(empty_url) as connection:
        name = sql.Identifier(schema)
        connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(name))
        connection.execute(sql.SQL("CREATE EXTENSION vector SCHEMA {}").format(name))
    migration.upgrade(empty_url)
    migration.upgrade(empty_url)
    with connect(empty_url) as connection:
        library = Library(connection)
        place = library.value(
            "SELECT nspname FROM pg_attribute a JOIN pg_type t ON t.oid = atttypid"
            " JOIN pg_namespace n ON n.oid = typnamespace"
            " WHERE attrelid = 'fpdb.embedding'::regclass AND attname = 'embedding'"
        )
        assert place == schema
        register_profiles(connection)
        library.value("SELECT fpdb.register_model('m', '1', 'm', 512, 48000)")
        connection.execute("SELECT fpdb.activate_model(1::smallint)")
        vectors = random_vectors(np.random.default_rng(1), 3)
        asset_id = library.add(vectors=vectors)
        found = library.rows("SELECT asset_id FROM fpdb.nearest_segments(%s, 2)", vectors[0])
        assert found == [(asset_id,), (asset_id,)]


def test_alembic_check_finds_nothing_where_pgvector_is_in_public(empty_url: str) -> None:
    with psycopg.connect(empty_url) as connection:
        connection.execute("CREATE EXTENSION vector SCHEMA public")
    migration.upgrade(empty_url)
    alembic.command.check(config(empty_url))


def test_a_server_without_pgvector_is_explained(empty_url: str, admin: psycopg.Connection) -> None:
    with psycopg.connect(empty_url, autocommit=True) as connection:
        name = sql.Identifier(connection.info.dbname)
        connection.execute(
            sql.SQL("ALTER DATABASE {} SET extension_control_path = '/nowhere'").format(name)
        )
    with pytest.raises(DatabaseError, match="does not offer pgvector") as caught:
        migration.upgrade(empty_url)
    assert "install pgvector 0.8 or newer" in caught.value.remedy
    assert fetch(empty_url, "SELECT to_regclass('fpdb.asset')") == [(None,)]


@pytest.fixture
def guest(admin: psycopg.Connection) -> Iterator[str]:
    """A role with no rights but to log in."""
    admin.execute("CREATE ROLE fpdb_guest LOGIN")
    yield "fpdb_guest"
    admin.execute("DROP OWNED BY fpdb_guest")
    admin.execute("DROP ROLE fpdb_guest")


def as_role(url: str, role: str) -> str:
    return url.replace("//postgres:@", f"//{role}@")


def test_a_user_who_may_not_create_is_explained(
    empty_url: str, guest: str, admin: psycopg.Connection
) -> None:
    with pytest.raises(DatabaseError, match="may not create") as caught:
        migration.upgrade(as_role(empty_url, guest))
    assert caught.value.remedy


def test_an_owner_who_is_no_superuser_is_explained_or_served(
    empty_url: str, guest: str, admin: psycopg.Connection
) -> None:
    with psycopg.connect(empty_url) as connection:
        name = sql.Identifier(connection.info.dbname)
    admin.execute(sql.SQL("ALTER DATABASE {} OWNER TO fpdb_guest").format(name))
    trusted = fetch(
        empty_url,
        "SELECT bool_or(trusted) FROM pg_available_extension_versions WHERE name = 'vector'",
    )
    try:
        if trusted == [(True,)]:
            migration.upgrade(as_role(empty_url, guest))
        else:
            with pytest.raises(DatabaseError, match="may not create the pgvector") as caught:
                migration.upgrade(as_role(empty_url, guest))
            assert "CREATE EXTENSION vector" in caught.value.remedy
            with psycopg.connect(empty_url) as connection:
                connection.execute("CREATE EXTENSION vector")
            migration.upgrade(as_role(empty_url, guest))
        assert own_functions(empty_url) == declared("FUNCTION")
    finally:
        admin.execute(sql.SQL("ALTER DATABASE {} OWNER TO postgres").format(name))
        with psycopg.connect(empty_url) as connection:
            connection.execute("REASSIGN OWNED BY fpdb_guest TO postgres")


def required_head(url: str) -> None:
    with psycopg.connect(url) as connection:
        revision.require_head(connection)


def test_require_head_passes_at_head(migrated_url: str) -> None:
    required_head(migrated_url)


def test_require_head_of_a_database_without_schema(empty_url: str) -> None:
    with pytest.raises(DatabaseError, match=r"has no fingerprintdb schema .* run `fpdb init`"):
        required_head(empty_url)


def test_require_head_of_an_older_database(
    migrated_url: str, next_revision: tuple[str, str]
) -> None:
    with pytest.raises(DatabaseError, match=r"is older than the program .* run `fpdb migrate`"):
        required_head(migrated_url)


def test_require_head_of_a_newer_database(migrated_url: str) -> None:
    with psycopg.connect(migrated_url) as connection:
        connection.execute("UPDATE fpdb.alembic_version SET version_num = '9999'")
    with pytest.raises(DatabaseError, match=r"\(9999\) is newer than the program .* upgrade it"):
        required_head(migrated_url)


def test_alembic_upgrades_from_the_checkout(
    empty_url: str, fresh: Snapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FPDB_DATABASE_URL", empty_url)
    command = [sys.executable, "-m", "alembic", "upgrade", "head"]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert snapshot(empty_url) == fresh


def test_the_wheel_carries_what_an_upgrade_needs(
    empty_url: str, fresh: Snapshot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path)]
    done = subprocess.run([*build, str(CHECKOUT)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    installed = tmp_path / "installed"
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        archive.extractall(installed)
    for source, pattern in (("sql", "*.sql"), ("alembic", "*.py"), ("alembic/versions", "*.py")):
        for path in (CHECKOUT / source).glob(pattern):
            assert f"fingerprintdb/{source}/{path.name}" in names
    for path in (CHECKOUT / "fingerprintdb/api/page").iterdir():
        assert f"fingerprintdb/api/page/{path.name}" in names
    program = (
        "import sys; from pathlib import Path; from fingerprintdb.store import migration;"
        "migration.upgrade(sys.argv[1]);"
        "assert Path(sys.argv[2]) in migration.sql_folder().parents"
    )
    monkeypatch.setenv("PYTHONPATH", str(installed))
    command = [sys.executable, "-c", program, empty_url, str(installed)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert snapshot(empty_url) == fresh
