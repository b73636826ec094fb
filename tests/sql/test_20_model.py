"""Models: one is active, and what belongs to another is never compared."""

import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import psycopg
import pytest
from library import Library, random_vectors
from pgvector import Vector

from fingerprintdb.extraction import EmbeddedSegment
from fingerprintdb.store.database import connect
from fingerprintdb.store.embeddings import copy_segments
from fingerprintdb.store.model import active_model, has_active_model


def register(library: Library, name: str, revision: str = "1") -> int:
    return int(
        library.value("SELECT fpdb.register_model(%s, %s, %s, 512, 48000)", name, revision, name)
    )


def activate(library: Library, model_id: int) -> None:
    library.connection.execute("SELECT fpdb.activate_model(%s::smallint)", (model_id,))


def test_the_built_in_model_is_active(library: Library) -> None:
    model = active_model(library.connection)
    assert (model.name, model.source, model.model_id) == ("builtin", "builtin", 1)
    assert has_active_model(library.connection)


def index_of(library: Library, model_id: int) -> list[str]:
    indexes = library.rows(
        "SELECT indexdef FROM pg_indexes WHERE schemaname = 'fpdb' AND tablename = %s"
        " AND indexdef LIKE '%%hnsw%%'",
        f"embedding_{model_id}",
    )
    return [row[0] for row in indexes]


def jobs(library: Library) -> list[tuple[str, dict[str, int]]]:
    return library.rows("SELECT task_name, args FROM fpdb_queue.procrastinate_jobs ORDER BY id")


@pytest.mark.parametrize("kind", ["vector", "halfvec"])
def test_a_model_gets_a_partition_and_when_it_is_wanted_an_index(
    library: Library, kind: str
) -> None:
    model_id = library.value(
        "SELECT fpdb.register_model('second', '1', 'second', 768, 16000, index_type => %s)", kind
    )
    partition = f"embedding_{model_id}"
    assert library.value(
        "SELECT pg_get_expr(relpartbound, oid) FROM pg_class WHERE oid = to_regclass(%s)",
        f"fpdb.{partition}",
    ) == (f"FOR VALUES IN ('{model_id}')")
    assert index_of(library, model_id) == []
    assert library.value("SELECT fpdb.index_model(%s::smallint)", model_id)
    assert index_of(library, model_id) == [
        f"CREATE INDEX {partition}_hnsw_idx ON fpdb.{partition} USING hnsw"
        f" (((embedding)::{kind}(768)) {kind}_cosine_ops)"
    ]
    assert not library.value("SELECT fpdb.index_model(%s::smallint)", model_id)
    assert library.value("SHOW maintenance_work_mem") == "256MB"


def test_vectors_of_another_length_than_the_models_are_refused(library: Library) -> None:
    second = library.value("SELECT fpdb.register_model('second', '1', 'second', 768, 16000)")
    with pytest.raises(psycopg.errors.CheckViolation, match="embedding_has_dims"):
        library.add(vectors=random_vectors(np.random.default_rng(1), 1), model_id=second)


def test_a_model_registered_twice_is_one_row(library: Library) -> None:
    first = register(library, "second")
    assert register(library, "second") == first
    assert register(library, "second", revision="2") != first
    assert library.value("SELECT count(*) FROM fpdb.model") == 3


@pytest.mark.parametrize("dims", [0, 2001])
def test_a_model_that_no_index_could_hold_is_refused(library: Library, dims: int) -> None:
    with pytest.raises(psycopg.errors.CheckViolation, match="model_dims_check"):
        library.value("SELECT fpdb.register_model('m', '1', 'm', %s, 48000)", dims)
    assert library.value("SELECT to_regclass('fpdb.embedding_2')") is None


def test_one_model_is_active_and_the_former_is_kept(library: Library) -> None:
    second = register(library, "second")
    states = "SELECT model_id, state FROM fpdb.model ORDER BY model_id"
    assert library.rows(states) == [(1, "active"), (second, "retired")]
    activate(library, second)
    assert library.rows(states) == [(1, "retired"), (second, "active")]
    assert library.value("SELECT fpdb.active_model()") == second
    assert len(index_of(library, second)) == 1
    activate(library, 1)
    assert library.rows(states) == [(1, "active"), (second, "retired")]


def test_activating_an_unknown_model_is_refused(library: Library) -> None:
    with pytest.raises(psycopg.errors.RaiseException, match="there is no model 99"):
        activate(library, 99)
    assert library.active_model() == 1


def test_there_is_none_active_before_one_is_activated(library: Library) -> None:
    library.connection.execute("UPDATE fpdb.model SET state = 'retired'")
    assert library.value("SELECT fpdb.active_model()") is None
    assert not has_active_model(library.connection)


def test_activating_queues_what_lacks_the_model(library: Library) -> None:
    rng = np.random.default_rng(1)
    second = register(library, "second")
    only_first = library.add(vectors=random_vectors(rng, 2))
    both = library.add(vectors=random_vectors(rng, 2))
    silent = library.add()
    library.connection.execute(
        "INSERT INTO fpdb.asset_model (asset_id, model_id, revision, vectors)"
        " VALUES (%(both)s, %(second)s, 1, 2), (%(silent)s, %(second)s, 1, 0)",
        {"both": both, "silent": silent, "second": second},
    )
    failed = library.add(embedding_status="failed")
    assert library.value("SELECT fpdb.activate_model(%s::smallint)", second) == 2
    assert jobs(library) == [
        ("embedding", {"asset_id": asset_id, "revision": 1}) for asset_id in (only_first, failed)
    ]
    statuses = dict(library.rows("SELECT asset_id, embedding_status FROM fpdb.asset"))
    assert statuses == {only_first: "queued", both: "ready", silent: "ready", failed: "queued"}
    # Going back finds all that was there, and what failed is tried again.
    assert library.value("SELECT fpdb.activate_model(1::smallint)") == 2
    statuses = dict(library.rows("SELECT asset_id, embedding_status FROM fpdb.asset"))
    assert statuses == {only_first: "ready", both: "ready", silent: "queued", failed: "queued"}


def test_a_backfill_queues_for_a_model_beside_the_active_one(library: Library) -> None:
    rng = np.random.default_rng(1)
    second = register(library, "second")
    old = library.add(vectors=random_vectors(rng, 2))
    assert library.value("SELECT fpdb.backfill_model(%s::smallint)", second) == 1
    wanted = [("embedding", {"asset_id": old, "revision": 1, "model_id": second})]
    assert jobs(library) == wanted
    # Again: the same jobs, not twice.
    assert library.value("SELECT fpdb.backfill_model(%s::smallint)", second) == 1
    assert jobs(library) == wanted
    new = library.value("INSERT INTO fpdb.asset (uri) VALUES ('new') RETURNING asset_id")
    made = [args for kind, args in jobs(library) if kind == "embedding"]
    assert made[1:] == [
        {"asset_id": new, "revision": 1},
        {"asset_id": new, "revision": 1, "model_id": second},
    ]
    library.connection.execute(
        "SELECT fpdb.reprocess(ARRAY[%s::bigint], landmarks => false)", (old,)
    )
    again = [args for _, args in jobs(library) if args["asset_id"] == old]
    assert again == [
        {"asset_id": old, "revision": 2},
        {"asset_id": old, "revision": 2, "model_id": second},
    ]
    assert library.value("SELECT embedding_status FROM fpdb.asset WHERE asset_id = %s", old) == (
        "queued"
    )
    with pytest.raises(psycopg.errors.ObjectInUse, match="model 1 is the active one"):
        library.value("SELECT fpdb.backfill_model(1::smallint)")


def test_a_backfill_keeps_the_index_and_a_search_needs_none(library: Library) -> None:
    rng = np.random.default_rng(1)
    second = register(library, "second")
    activate(library, second)
    for _ in range(3):
        library.add(vectors=random_vectors(rng, 1), model_id=second)
    activate(library, 1)
    library.connection.execute("DELETE FROM fpdb_queue.procrastinate_jobs")
    library.add()
    library.value("SELECT fpdb.backfill_model(%s::smallint)", second)
    assert len(index_of(library, second)) == 1
    library.connection.execute(f"DROP INDEX fpdb.embedding_{second}_hnsw_idx".encode())
    # Without it, vectors are compared one by one.
    found = library.rows(
        "SELECT * FROM fpdb.nearest_segments(%s, 10, %s::smallint)",
        Vector(random_vectors(rng, 1)[0]),
        second,
    )
    assert len(found) == 3


def test_a_retired_model_gives_its_vectors_back(library: Library) -> None:
    rng = np.random.default_rng(1)
    second = register(library, "second")
    library.add(vectors=random_vectors(rng, 2))
    library.add(vectors=random_vectors(rng, 3), model_id=second)
    library.value("SELECT fpdb.backfill_model(%s::smallint)", second)
    library.connection.execute("INSERT INTO fpdb.model_weight VALUES ('music', %s, 0.5)", (second,))
    assert jobs(library)
    assert library.value("SELECT fpdb.retire_model(%s::smallint)", second) == 1
    assert jobs(library) == []
    assert library.value("SELECT count(*) FROM fpdb.embedding") == 2
    assert library.value("SELECT count(*) FROM fpdb.model_weight") == 0
    assert library.rows("SELECT * FROM fpdb.asset_model WHERE model_id = %s", second) == []
    query = Vector(random_vectors(rng, 1)[0])
    assert library.rows("SELECT * FROM fpdb.nearest_segments(%s, 9, %s)", query, second) == []
    with pytest.raises(psycopg.errors.ObjectInUse, match="model 1 is the active one"):
        library.value("SELECT fpdb.retire_model(1::smallint)")
    with pytest.raises(psycopg.errors.RaiseException, match="there is no model 99"):
        library.value("SELECT fpdb.retire_model(99::smallint)")


def test_a_model_that_hears_more_leaves_what_another_has(library: Library) -> None:
    """Sound above one model's range is silence to it, and a recording may end a window later."""
    rng = np.random.default_rng(1)
    second = register(library, "second")
    asset_id = library.add()
    ours, theirs = random_vectors(rng, 2), random_vectors(rng, 4)
    silent = [*ours, None]
    segments = [EmbeddedSegment(n, 2.5 * n, 2.5 * n + 5, v, 1.0) for n, v in enumerate(silent)]
    copy_segments(library.connection, asset_id, 1, segments)
    assert library.rows("SELECT is_silent FROM fpdb.segment ORDER BY segment_index")[2] == (True,)
    library.embed(asset_id, theirs, second)
    counts = "SELECT model_id, count(*) FROM fpdb.embedding GROUP BY 1 ORDER BY 1"
    assert library.rows(counts) == [(1, 2), (second, 4)]
    assert library.value("SELECT count(*) FROM fpdb.segment WHERE is_silent") == 0
    # Again, with fewer: nothing of the other's is lost.
    copy_segments(library.connection, asset_id, 1, segments)
    assert library.rows(counts) == [(1, 2), (second, 4)]
    assert library.rows("SELECT model_id, vectors FROM fpdb.asset_model ORDER BY 1") == [
        (1, 2),
        (second, 4),
    ]
    # Cut anew, all is of the new cut.
    library.embed(asset_id, ours, 1, starts_sec=[0.0, 4.0])
    assert library.rows(counts) == [(1, 2)]
    assert library.value("SELECT count(*) FROM fpdb.asset_model") == 1


def beside(url: str, statement: str) -> Future[Any]:
    """Run a statement in a session of its own, and wait until it waits."""

    def run() -> Any:
        with connect(url) as connection:
            return connection.execute(statement.encode()).fetchone()

    future = ThreadPoolExecutor(1).submit(run)
    with connect(url) as connection:
        while not future.done():
            row = connection.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                " AND datname = current_database()"
            ).fetchone()
            if row and row[0]:
                break
            time.sleep(0.01)
    return future


def test_retiring_waits_for_a_worker_that_stores(library: Library, migrated_url: str) -> None:
    rng = np.random.default_rng(1)
    second = register(library, "second")
    asset_id = library.add(vectors=random_vectors(rng, 2))
    library.embed(asset_id, random_vectors(rng, 2), second)
    with library.connection.transaction():
        library.connection.execute("DELETE FROM fpdb.embedding WHERE asset_id = %s", (asset_id,))
        retiring = beside(migrated_url, f"SELECT fpdb.retire_model({second}::smallint)")
        library.connection.execute("DELETE FROM fpdb.asset_model WHERE asset_id = %s", (asset_id,))
    assert retiring.result() == (0,)


def test_activating_waits_for_who_changes_an_asset(library: Library, migrated_url: str) -> None:
    second = register(library, "second")
    asset_id = library.add(vectors=random_vectors(np.random.default_rng(1), 2))
    library.value("SELECT fpdb.backfill_model(%s::smallint)", second)
    with library.connection.transaction():
        library.connection.execute(
            "UPDATE fpdb.asset SET title = 'x' WHERE asset_id = %s", (asset_id,)
        )
        activating = beside(migrated_url, f"SELECT fpdb.activate_model({second}::smallint)")
        library.value("SELECT fpdb.reprocess(ARRAY[%s::bigint], landmarks => false)", asset_id)
    assert activating.result() == (1,)
    assert library.value("SELECT embedding_status FROM fpdb.asset") == "queued"
    assert ("embedding", {"asset_id": asset_id, "revision": 2}) in jobs(library)


def test_failed_jobs_of_the_former_model_go_with_the_switch(library: Library) -> None:
    second = register(library, "second")
    library.value("INSERT INTO fpdb.asset (uri) VALUES ('x') RETURNING asset_id")
    library.connection.execute(
        "UPDATE fpdb_queue.procrastinate_jobs SET status = 'failed' WHERE queue_name = 'embedding'"
    )
    library.connection.execute("UPDATE fpdb.asset SET embedding_status = 'failed'")
    library.value("SELECT fpdb.activate_model(%s::smallint)", second)
    assert library.rows(
        "SELECT status::text FROM fpdb_queue.procrastinate_jobs WHERE queue_name = 'embedding'"
    ) == [("todo",)]


def test_another_precision_builds_the_index_anew(library: Library) -> None:
    model = "'builtin', revision, 'builtin', 512, 11025, index_type => 'halfvec'"
    again = f"SELECT fpdb.register_model({model}) FROM fpdb.model"
    assert library.value(again) == 1
    (index,) = index_of(library, 1)
    assert "halfvec_cosine_ops" in index
    assert library.value(again) == 1
    assert index_of(library, 1) == [index]


def test_the_status_says_how_far_each_model_is(library: Library) -> None:
    rng = np.random.default_rng(1)
    second = register(library, "second")
    library.add(vectors=random_vectors(rng, 2))
    library.add(vectors=random_vectors(rng, 3), model_id=second)
    library.add(embedding_status="failed", embedding_error="too loud")
    library.value("SELECT fpdb.backfill_model(%s::smallint)", second)
    columns = "name, state, is_indexed, assets, vectors, failed, an_error"
    assert library.rows(f"SELECT {columns} FROM fpdb.model_status ORDER BY model_id") == [
        ("builtin", "active", True, 1, 2, 1, "too loud"),
        ("second", "shadow", False, 1, 3, 0, None),
    ]
    shares = library.rows("SELECT share FROM fpdb.model_status")
    assert [row[0] for row in shares] == [pytest.approx(1 / 3)] * 2


def test_models_that_agree_name_the_same_assets(library: Library) -> None:
    rng = np.random.default_rng(1)
    same, other = register(library, "same"), register(library, "other")
    for _ in range(12):
        vectors = random_vectors(rng, 2)
        asset_id = library.add(vectors=vectors)
        library.embed(asset_id, vectors, same)
        library.embed(asset_id, random_vectors(rng, 2), other)
    compare = "SELECT agreement, same_first, asked FROM fpdb.compare_models(%s::smallint, k => 3)"
    assert library.rows(compare, same) == [(1.0, 1.0, 24)]
    agreement, same_first, asked = library.rows(compare, other)[0]
    assert asked == 24
    assert agreement < 0.6
    assert same_first < 0.6


def test_where_nothing_has_a_like_nothing_is_compared(library: Library) -> None:
    second = register(library, "second")
    vectors = random_vectors(np.random.default_rng(1), 2)
    library.embed(library.add(vectors=vectors), vectors, second)
    compare = "SELECT asked FROM fpdb.compare_models(%s::smallint)"
    assert library.value(compare, second) == 0
    with pytest.raises(psycopg.errors.NumericValueOutOfRange, match="between 1 and 1000"):
        library.value("SELECT asked FROM fpdb.compare_models(%s::smallint, k => 0)", second)


def test_activating_the_active_model_again_queues_nothing(library: Library) -> None:
    library.add(vectors=random_vectors(np.random.default_rng(1), 2))
    # A silent recording has no vectors; the others are being worked on, or were given up.
    for status in ("ready", "processing", "failed"):
        library.add(embedding_status=status)
    activate(library, 1)
    assert library.value("SELECT count(*) FROM fpdb_queue.procrastinate_jobs") == 0


def test_vectors_of_another_model_are_never_returned(library: Library) -> None:
    second = register(library, "second")
    rng = np.random.default_rng(1)
    vectors = random_vectors(rng, 1)
    ours = library.add(vectors=random_vectors(rng, 1))
    theirs = library.add(vectors=vectors, model_id=second)
    nearest = "SELECT asset_id FROM fpdb.nearest_segments(%s, 10, %s::smallint)"
    assert library.rows(nearest, vectors[0], None) == [(ours,)]
    assert library.rows(nearest, vectors[0], 1) == [(ours,)]
    assert library.rows(nearest, vectors[0], second) == [(theirs,)]
    with pytest.raises(psycopg.errors.RaiseException, match="there is no model 77"):
        library.rows(nearest, vectors[0], 77)
    activate(library, second)
    assert library.rows(nearest, vectors[0], None) == [(theirs,)]
