"""Models: one is active, and what belongs to another is never compared."""

import numpy as np
import psycopg
import pytest
from library import Library, random_vectors

from fingerprintdb.store.embeddings import active_model, has_active_model


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


def test_a_model_gets_a_partition_with_a_cosine_index(library: Library) -> None:
    model_id = register(library, "second")
    partition = f"embedding_{model_id}"
    assert library.value(
        "SELECT pg_get_expr(relpartbound, oid) FROM pg_class WHERE oid = to_regclass(%s)",
        f"fpdb.{partition}",
    ) == (f"FOR VALUES IN ('{model_id}')")
    indexes = library.rows(
        "SELECT indexdef FROM pg_indexes WHERE schemaname = 'fpdb' AND tablename = %s", partition
    )
    assert [row[0] for row in indexes if "hnsw" in row[0]] == [
        f"CREATE INDEX {partition}_hnsw_idx ON fpdb.{partition} USING hnsw"
        " (embedding vector_cosine_ops)"
    ]


def test_a_model_registered_twice_is_one_row(library: Library) -> None:
    first = register(library, "second")
    assert register(library, "second") == first
    assert register(library, "second", revision="2") != first
    assert library.value("SELECT count(*) FROM fpdb.model") == 3


def test_a_model_of_another_size_is_refused(library: Library) -> None:
    with pytest.raises(psycopg.errors.CheckViolation, match="model_dims_check"):
        library.value("SELECT fpdb.register_model('m', '1', 'm', 768, 48000)")
    assert library.value("SELECT to_regclass('fpdb.embedding_2')") is None


def test_a_registered_model_is_a_shadow_until_activated(library: Library) -> None:
    second = register(library, "second")
    states = "SELECT model_id, state FROM fpdb.model ORDER BY model_id"
    assert library.rows(states) == [(1, "active"), (second, "shadow")]
    activate(library, second)
    assert library.rows(states) == [(1, "shadow"), (second, "active")]
    assert library.value("SELECT fpdb.active_model()") == second
    activate(library, 1)
    assert library.rows(states) == [(1, "active"), (second, "shadow")]


def test_activating_an_unknown_model_is_refused(library: Library) -> None:
    with pytest.raises(psycopg.errors.RaiseException, match="there is no model 99"):
        activate(library, 99)
    assert library.active_model() == 1


def test_there_is_none_active_before_one_is_activated(library: Library) -> None:
    library.connection.execute("UPDATE fpdb.model SET state = 'retired'")
    assert library.value("SELECT fpdb.active_model()") is None
    assert not has_active_model(library.connection)


def test_activating_queues_what_has_no_vector_of_the_model(library: Library) -> None:
    rng = np.random.default_rng(1)
    second = register(library, "second")
    only_first = library.add(vectors=random_vectors(rng, 2))
    both = library.add(vectors=random_vectors(rng, 2))
    library.connection.execute(
        "INSERT INTO fpdb.embedding (model_id, segment_id, asset_id, embedding, processing_time_ms)"
        " SELECT %s, segment_id, asset_id, embedding, 1 FROM fpdb.embedding WHERE asset_id = %s",
        (second, both),
    )
    failed = library.add(embedding_status="failed")
    activate(library, second)
    queued = library.rows("SELECT task_name, args FROM fpdb_queue.procrastinate_jobs ORDER BY id")
    assert queued == [
        ("embedding", {"asset_id": asset_id, "revision": 2}) for asset_id in (only_first, failed)
    ]
    assert library.rows("SELECT embedding_status FROM fpdb.asset ORDER BY asset_id") == [
        ("queued",),
        ("ready",),
        ("queued",),
    ]


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
