"""Vectors find their like within one model, in order of likeness, through the model's own index."""

from typing import Any

import numpy as np
import psycopg
import pytest
from library import Library, Vectors, random_vectors
from pgvector import Vector

HOP_SEC = 2.5


def towards(rng: np.random.Generator, vector: Vectors, similarity: float) -> Vectors:
    """Return a vector of unit length with the given cosine to another."""
    other = random_vectors(rng, 1)[0]
    other -= other @ vector * vector
    other /= np.linalg.norm(other)
    return (similarity * vector + np.sqrt(1 - similarity**2) * other).astype(np.float32)


def nearest(library: Library, query: Vectors, **arguments: Any) -> list[dict[str, Any]]:
    named = "".join(f", {name} => %s" for name in arguments)
    return library.names(
        f"SELECT * FROM fpdb.nearest_segments(%s{named})", query, *arguments.values()
    )


def match(
    library: Library, vectors: Vectors, starts: list[float], **arguments: Any
) -> list[dict[str, Any]]:
    named = "".join(f", {name} => %s" for name in arguments)
    return library.names(
        f"SELECT * FROM fpdb.match_vectors(%s::vector[], %s{named})",
        [Vector(vector) for vector in vectors],
        starts,
        *arguments.values(),
    )


def assets(rows: list[dict[str, Any]]) -> list[int]:
    return [row["asset_id"] for row in rows]


def test_segments_come_in_order_of_similarity(library: Library) -> None:
    rng = np.random.default_rng(1)
    query = random_vectors(rng, 1)[0]
    wanted = [0.5, 0.99, -0.3, 0.8]
    keys = {
        similarity: library.add(vectors=towards(rng, query, similarity)[None])
        for similarity in wanted
    }
    rows = nearest(library, query)
    assert [row["similarity"] for row in rows] == pytest.approx(
        sorted(wanted, reverse=True), abs=1e-5
    )
    assert assets(rows) == [keys[similarity] for similarity in sorted(wanted, reverse=True)]
    assert [row["similarity"] for row in nearest(library, query, min_similarity=0.7)] == (
        pytest.approx([0.99, 0.8], abs=1e-5)
    )
    assert len(nearest(library, query, k=1)) == 1
    assert nearest(library, query, min_similarity=0.999) == []


def test_a_segment_is_told_with_its_place(library: Library) -> None:
    vectors = random_vectors(np.random.default_rng(1), 3)
    asset_id = library.add(vectors=vectors)
    row = nearest(library, vectors[2], k=1)[0]
    assert (row["asset_id"], row["segment_index"]) == (asset_id, 2)
    assert (row["start_time_sec"], row["end_time_sec"]) == (5.0, 10.0)
    assert row["similarity"] == pytest.approx(1, abs=1e-6)


def many(library: Library, *, assets: int, segments: int, seed: int = 1) -> Vectors:
    """Fill the database with random vectors; one asset in ten belongs to collection rare."""
    rng = np.random.default_rng(seed)
    vectors = random_vectors(rng, assets * segments)
    library.connection.execute("INSERT INTO fpdb.collection (name) VALUES ('rare')")
    for number in range(assets):
        library.add(
            vectors=vectors[number * segments : (number + 1) * segments],
            collection="default" if number % 10 else "rare",
        )
    return vectors


@pytest.mark.parametrize("k", [1, 10, 60, 200])
def test_as_many_as_asked_for_are_returned(library: Library, k: int) -> None:
    vectors = many(library, assets=30, segments=10)
    library.connection.execute("ANALYZE fpdb.embedding, fpdb.asset, fpdb.segment")
    query = random_vectors(np.random.default_rng(2), 1)[0]
    rows = nearest(library, query, k=k)
    assert len(rows) == k
    exact = np.sort(vectors @ query)[::-1][:k]
    assert np.mean([row["similarity"] for row in rows]) == pytest.approx(exact.mean(), abs=0.01)
    assert len(nearest(library, query, k=k, collection="rare")) == min(k, 30)


def test_filters_narrow_what_is_near(library: Library) -> None:
    rng = np.random.default_rng(1)
    vector = random_vectors(rng, 1)
    library.connection.execute("INSERT INTO fpdb.collection (name) VALUES ('radio')")
    plain = library.add(vectors=vector)
    radio = library.add(vectors=vector, collection="radio")
    speech = library.add(vectors=vector, content_type="speech")
    tagged = library.add(vectors=vector, metadata='{"label": "X"}')
    everything = {plain, radio, speech, tagged}
    for arguments, expected in (
        ({}, everything),
        ({"collection": "radio"}, {radio}),
        ({"content_type": "speech"}, {speech}),
        ({"metadata": '{"label": "X"}'}, {tagged}),
        ({"metadata": '{"label": "Y"}'}, set()),
        ({"exclude_asset": plain}, everything - {plain}),
        ({"content_type": "music", "exclude_asset": tagged}, {plain, radio}),
    ):
        assert set(assets(nearest(library, vector[0], **arguments))) == expected, arguments
        found = match(library, vector, [0.0], min_confidence=0, **arguments)
        assert set(assets(found)) == expected, arguments


def test_settings_of_the_caller_are_given_back(library: Library) -> None:
    library.connection.execute("SET hnsw.ef_search = 77")
    library.connection.execute("SET hnsw.iterative_scan = 'off'")
    vectors = random_vectors(np.random.default_rng(1), 2)
    library.add(vectors=vectors)
    nearest(library, vectors[0], k=100)
    assert library.value("SELECT current_setting('hnsw.ef_search')") == "77"
    assert library.value("SELECT current_setting('hnsw.iterative_scan')") == "off"


def test_no_active_model_is_an_error_with_the_remedy(library: Library) -> None:
    vectors = random_vectors(np.random.default_rng(1), 1)
    library.add(vectors=vectors)
    library.connection.execute("UPDATE fpdb.model SET state = 'shadow'")
    with pytest.raises(psycopg.errors.RaiseException, match="no model active") as told:
        nearest(library, vectors[0])
    assert "fpdb init" in str(told.value.diag.message_hint)
    with pytest.raises(psycopg.errors.RaiseException, match="no model active"):
        match(library, vectors, [0.0])


def test_an_unknown_model_is_not_taken_for_the_active_one(library: Library) -> None:
    vectors = random_vectors(np.random.default_rng(1), 1)
    library.add(vectors=vectors)
    with pytest.raises(psycopg.errors.RaiseException, match="there is no model 77"):
        match(library, vectors, [0.0], model=77, min_confidence=0)


def test_a_vector_of_another_size_is_refused(library: Library) -> None:
    library.add(vectors=random_vectors(np.random.default_rng(1), 1))
    with pytest.raises(
        psycopg.errors.DataException,
        match=r"3 dimensions, .* have 512",
    ):
        library.rows("SELECT * FROM fpdb.nearest_segments('[1,2,3]')")


def test_similar_segments_are_those_of_other_assets(library: Library) -> None:
    rng = np.random.default_rng(1)
    base = random_vectors(rng, 1)[0]
    own = library.add(vectors=np.stack([base, towards(rng, base, 0.99)]))
    near, far = (library.add(vectors=towards(rng, base, s)[None]) for s in (0.9, 0.2))
    segment = library.value(
        "SELECT segment_id FROM fpdb.segment WHERE asset_id = %s AND segment_index = 0", own
    )
    rows = library.names("SELECT * FROM fpdb.similar_segments(%s)", segment)
    assert assets(rows) == [near, far]
    assert rows[0]["similarity"] == pytest.approx(0.9, abs=1e-5)
    assert library.rows("SELECT * FROM fpdb.similar_segments(999999)") == []
    assert len(library.rows("SELECT * FROM fpdb.similar_segments(%s, 1)", segment)) == 1


def test_similar_assets_are_ranked_by_mean_similarity(library: Library) -> None:
    rng = np.random.default_rng(1)
    base = random_vectors(rng, 4)
    own = library.add(vectors=base)
    all_near = library.add(vectors=np.stack([towards(rng, vector, 0.8) for vector in base]))
    one_same = library.add(vectors=base[:1])
    rows = library.names("SELECT * FROM fpdb.similar_assets(%s)", own)
    assert [row["similar_asset_id"] for row in rows] == [all_near, one_same]
    assert rows[0]["similarity"] == pytest.approx(0.8, abs=0.01)
    assert 0.2 < rows[1]["similarity"] < 0.4
    assert [row["segments"] for row in rows] == [4, 4]
    assert len(library.rows("SELECT * FROM fpdb.similar_assets(%s, 1)", own)) == 1
    assert library.rows("SELECT * FROM fpdb.similar_assets(999999)") == []


def test_a_clip_is_found_at_its_offset(library: Library) -> None:
    library.calibrate()
    rng = np.random.default_rng(1)
    vectors = random_vectors(rng, 20)
    asset_id = library.add(vectors=vectors)
    library.add(vectors=random_vectors(rng, 20))
    clip = np.stack([towards(rng, vector, 0.97) for vector in vectors[6:10]])
    # The clip begins a second after a stored window does.
    (row,) = match(library, clip, [HOP_SEC * n for n in range(4)])
    assert row["asset_id"] == asset_id
    assert row["offset_sec"] == pytest.approx(15.0)
    assert row["aligned_segments"] == 4
    assert row["similarity"] == pytest.approx(0.97, abs=1e-3)
    assert row["confidence"] > 0.9
    assert (row["query_start_sec"], row["query_end_sec"]) == (0.0, 12.5)
    assert (row["reference_start_sec"], row["reference_end_sec"]) == (15.0, 27.5)


def test_a_clip_that_begins_before_the_recording_has_a_negative_offset(library: Library) -> None:
    rng = np.random.default_rng(1)
    vectors = random_vectors(rng, 4)
    library.add(vectors=vectors)
    clip = np.concatenate([random_vectors(rng, 2), vectors])
    (row,) = match(library, clip, [HOP_SEC * n for n in range(6)], min_confidence=0)
    assert row["offset_sec"] == pytest.approx(-5.0)
    assert row["aligned_segments"] == 4
    assert row["query_start_sec"] == pytest.approx(5.0)
    assert row["reference_start_sec"] == 0


def test_a_clip_may_be_cut_more_densely_than_recordings_are(library: Library) -> None:
    """Sound changes steadily: what lies between two stored windows is between their vectors."""
    rng = np.random.default_rng(1)
    corners = random_vectors(rng, 12)

    def heard_at(start_sec: float) -> Vectors:
        step = start_sec / HOP_SEC
        left, right = corners[int(step)], corners[int(step) + 1]
        between = left + (step - int(step)) * (right - left)
        return np.asarray(between / np.linalg.norm(between), np.float32)

    asset_id = library.add(vectors=np.stack([heard_at(HOP_SEC * n) for n in range(11)]))
    # The clip begins 0.8 s after a stored window does.
    for hop_sec in (HOP_SEC, HOP_SEC / 2, HOP_SEC / 4):
        starts = [hop_sec * n for n in range(int(10 / hop_sec))]
        clip = np.stack([heard_at(5.8 + start) for start in starts])
        (row,) = match(library, clip, starts, min_confidence=0)
        assert row["asset_id"] == asset_id
        assert row["aligned_segments"] == len(starts)
        assert abs(row["offset_sec"] - 5.8) <= HOP_SEC / 2
        assert row["query_start_sec"] == 0
        assert row["query_end_sec"] == pytest.approx(starts[-1] + 5)
        assert row["similarity"] > 0.8


def test_the_same_sounds_in_another_order_align_less(library: Library) -> None:
    rng = np.random.default_rng(1)
    vectors = random_vectors(rng, 12)
    library.add(vectors=vectors)
    starts = [HOP_SEC * n for n in range(8)]
    (in_order,) = match(library, vectors[2:10], starts, min_confidence=0)
    (reversed_,) = match(library, vectors[9:1:-1], starts, min_confidence=0)
    assert in_order["aligned_segments"] == 8
    assert in_order["similarity"] == pytest.approx(1, abs=1e-5)
    assert reversed_["similarity"] < 0.5


def test_a_model_without_calibration_identifies_nothing(library: Library) -> None:
    vectors = random_vectors(np.random.default_rng(1), 4)
    asset_id = library.add(vectors=vectors)
    starts = [HOP_SEC * n for n in range(4)]
    assert match(library, vectors, starts) == []
    (row,) = match(library, vectors, starts, min_confidence=0)
    assert row["confidence"] == 0
    library.calibrate()
    (row,) = match(library, vectors, starts)
    assert row["asset_id"] == asset_id
    assert row["confidence"] > 0.95


def test_random_vectors_never_match_a_calibrated_model(library: Library) -> None:
    library.calibrate()
    rng = np.random.default_rng(1)
    for _ in range(10):
        library.add(vectors=random_vectors(rng, 10))
    starts = [HOP_SEC * n for n in range(4)]
    for _ in range(20):
        assert match(library, random_vectors(rng, 4), starts) == []


@pytest.mark.parametrize("starts", [[], [0.0, 1.0]])
def test_arrays_of_unequal_length_are_refused(library: Library, starts: list[float]) -> None:
    with pytest.raises(psycopg.errors.ArraySubscriptError, match="arrays of one length, not"):
        match(library, random_vectors(np.random.default_rng(1), 1), starts)


def test_one_null_array_is_refused(library: Library) -> None:
    with pytest.raises(psycopg.errors.ArraySubscriptError, match="not NULL and 1"):
        library.rows("SELECT * FROM fpdb.match_vectors(NULL, '{1}')")


@pytest.mark.parametrize("arrays", ["'{}', '{}'", "NULL, NULL"])
def test_nothing_asked_finds_nothing(library: Library, arrays: str) -> None:
    library.add(vectors=random_vectors(np.random.default_rng(1), 1))
    found = library.rows(f"SELECT * FROM fpdb.match_vectors({arrays}, min_confidence => 0)")
    assert found == []


def test_the_search_uses_the_index_of_its_model_alone(library: Library) -> None:
    many(library, assets=20, segments=20)
    second = library.value("SELECT fpdb.register_model('second', '1', 'second', 512, 48000)")
    library.add(vectors=random_vectors(np.random.default_rng(3), 2), model_id=second)
    library.connection.execute("ANALYZE fpdb.embedding, fpdb.asset, fpdb.segment")
    scans = (
        "SELECT indexrelname, idx_scan FROM pg_stat_user_indexes WHERE schemaname = 'fpdb'"
        " AND (indexrelname LIKE 'embedding%hnsw_idx' OR relname LIKE 'embedding_%') ORDER BY 1"
    )

    def counted() -> dict[str, int]:
        library.rows("SELECT pg_stat_force_next_flush()")
        library.rows("SELECT pg_stat_clear_snapshot()")
        return dict(library.rows(scans))

    before = counted()
    with library.connection.transaction():
        # So few vectors are sorted sooner than searched; what counts is that the index can serve.
        library.connection.execute("SET LOCAL enable_seqscan = off")
        library.connection.execute("SET LOCAL enable_sort = off")
        vector = Vector(random_vectors(np.random.default_rng(4), 1)[0])
        assert len(library.rows("SELECT * FROM fpdb.nearest_segments(%s)", vector)) == 10
    after = counted()
    used = {name for name in after if after[name] > before[name]}
    assert used == {f"embedding_{library.active_model()}_hnsw_idx"}


@pytest.mark.parametrize("vector", ["NULL::vector", "array_fill(0, ARRAY[512])::vector"])
def test_a_vector_without_direction_is_near_to_nothing(library: Library, vector: str) -> None:
    library.add(vectors=random_vectors(np.random.default_rng(1), 3))
    library.calibrate()
    assert library.rows(f"SELECT * FROM fpdb.nearest_segments({vector})") == []
    assert (
        library.rows(f"SELECT * FROM fpdb.match('{{}}', '{{}}', ARRAY[{vector}], ARRAY[0.0])") == []
    )


def test_a_rare_filter_gives_as_many_as_there_are(library: Library) -> None:
    """A collection of one in a hundred, far from the query: a scan of the graph gives up first."""
    rng = np.random.default_rng(1)
    query = random_vectors(rng, 1)[0]
    library.connection.execute("INSERT INTO fpdb.collection (name) VALUES ('rare'), ('common')")
    # More than are compared one by one.
    near = query + random_vectors(rng, 1010) * 0.3
    for n in range(1010):
        library.add(vectors=near[n : n + 1], collection="common")
    far = [library.add(vectors=-near[n : n + 1], collection="rare") for n in range(8)]
    library.connection.execute("SET hnsw.max_scan_tuples = 1")
    for few in ("rare", "common"):
        rows = library.names(
            "SELECT * FROM fpdb.nearest_segments(%s, 12, collection => %s)", Vector(query), few
        )
        assert len(rows) == (8 if few == "rare" else 12)
        similarities = [row["similarity"] for row in rows]
        assert similarities == sorted(similarities, reverse=True)
    assert {
        row["asset_id"]
        for row in library.names(
            "SELECT * FROM fpdb.nearest_segments(%s, 9, collection => 'rare')", Vector(query)
        )
    } == set(far)


def test_assets_are_chosen_by_their_duration(library: Library) -> None:
    rng = np.random.default_rng(1)
    vectors = random_vectors(rng, 3)
    ids = [
        library.add(vectors=vectors[n : n + 1], duration_sec=sec)
        for n, sec in enumerate([5.0, 50.0, 500.0])
    ]
    ask = (
        "SELECT asset_id FROM fpdb.nearest_segments"
        "(%s, min_duration_sec => %s, max_duration_sec => %s)"
    )
    for least, most, expected in ((None, 50, ids[:2]), (50, None, ids[1:]), (6, 60, ids[1:2])):
        found = library.rows(ask, Vector(vectors[0]), least, most)
        assert {row[0] for row in found} == set(expected)


@pytest.fixture
def second(library: Library) -> int:
    """A second calibrated model beside the active one."""
    library.calibrate()
    return int(
        library.value("SELECT fpdb.register_model('second', '1', 'second', 8, 48000, -20.0, 25.0)")
    )


def fused(library: Library, *asked: tuple[int, Vectors]) -> list[dict[str, Any]]:
    """Ask with what each model hears of the same windows."""
    vectors = [Vector(vector) for _, heard in asked for vector in heard]
    starts = [HOP_SEC * n for _, heard in asked for n in range(len(heard))]
    models = [model_id for model_id, heard in asked for _ in heard]
    return library.names(
        "SELECT * FROM fpdb.match_models(%s::vector[], %s::float8[], %s::smallint[])",
        vectors,
        starts,
        models,
    )


def small(rng: np.random.Generator, size: int) -> Vectors:
    vectors = rng.normal(size=(size, 8))
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def test_models_of_different_lengths_are_fused_as_far_as_they_are_believed(
    library: Library, second: int
) -> None:
    rng = np.random.default_rng(1)
    long, short = random_vectors(rng, 6), small(rng, 6)
    asset_id = library.add(vectors=long)
    library.embed(asset_id, short, second)
    near = np.stack([towards(rng, vector, 0.8) for vector in long[2:5]])
    ask = ((1, near), (second, short[2:5]))
    (alone,) = fused(library, ask[0])
    (sure,) = fused(library, ask[1])
    assert alone["confidence"] == pytest.approx(0.5, abs=0.01)
    assert sure["confidence"] > 0.99
    # Without weight, the second model says nothing.
    (row,) = fused(library, *ask)
    assert row == alone
    library.connection.execute("INSERT INTO fpdb.model_weight VALUES ('music', %s, 0.5)", (second,))
    (row,) = fused(library, *ask)
    expected = 1 - (1 - alone["confidence"]) * (1 - 0.5 * sure["confidence"])
    assert row["confidence"] == pytest.approx(expected)
    assert row["offset_sec"] == 2 * HOP_SEC
    assert row["similarity"] == pytest.approx((0.8 + 0.5 * 1) / 1.5, abs=1e-3)
    (match,) = library.names(
        "SELECT confidence, aligned_segments FROM fpdb.match('{}', '{}', %s::vector[],"
        " '{0,2.5,5,0,2.5,5}', min_confidence => 0, models => %s::smallint[])",
        [Vector(vector) for _, heard in ask for vector in heard],
        [1, 1, 1, second, second, second],
    )
    assert match == {"confidence": row["confidence"], "aligned_segments": 3}
    # Of another content type it has no weight.
    library.connection.execute("UPDATE fpdb.asset SET content_type = 'speech'")
    assert fused(library, *ask) == [alone]


def test_models_that_point_elsewhere_do_not_confirm_each_other(
    library: Library, second: int
) -> None:
    rng = np.random.default_rng(1)
    long, short = random_vectors(rng, 12), small(rng, 12)
    asset_id = library.add(vectors=long)
    library.embed(asset_id, short, second)
    library.connection.execute("INSERT INTO fpdb.model_weight VALUES ('music', %s, 1)", (second,))
    near = np.stack([towards(rng, vector, 0.8) for vector in long[:3]])
    (row,) = fused(library, (1, near), (second, short[8:11]))
    (alone,) = fused(library, (second, short[8:11]))
    assert (row["confidence"], row["offset_sec"]) == (alone["confidence"], 8 * HOP_SEC)


def test_arrays_of_models_are_as_long_as_the_others(library: Library) -> None:
    with pytest.raises(psycopg.errors.ArraySubscriptError, match="not 1, 1 and 2"):
        library.rows("SELECT * FROM fpdb.match_models(ARRAY['[1]'::vector], '{0}', '{1,1}')")


def test_an_index_in_half_precision_finds_with_whole_distances(library: Library) -> None:
    rng = np.random.default_rng(1)
    half = library.value(
        "SELECT fpdb.register_model('half', '1', 'half', 512, 48000, index_type => 'halfvec')"
    )
    vectors = random_vectors(rng, 300)
    for n in range(30):
        library.add(vectors=vectors[10 * n : 10 * n + 10], model_id=half)
    library.value("SELECT fpdb.index_model(%s::smallint)", half)
    query = towards(rng, vectors[17], 0.9)
    with library.connection.transaction():
        library.connection.execute("SET LOCAL enable_seqscan = off")
        rows = library.names(
            "SELECT * FROM fpdb.nearest_segments(%s, 20, %s::smallint)", Vector(query), half
        )
    assert rows[0]["segment_index"] == 7
    exact = np.sort(vectors @ query)[::-1][:20]
    assert [row["similarity"] for row in rows] == pytest.approx(exact, abs=1e-6)
    recall = library.value("SELECT recall FROM fpdb.index_recall(model => %s::smallint)", half)
    assert recall > 0.95


@pytest.mark.parametrize("k", [-1, 2_000_000_000])
def test_too_many_or_fewer_than_none_are_refused(library: Library, k: int) -> None:
    vector = Vector(random_vectors(np.random.default_rng(1), 1)[0])
    for function in ("nearest_segments", "nearest_moments"):
        with pytest.raises(psycopg.errors.NumericValueOutOfRange, match="k must lie between 0"):
            library.rows(f"SELECT * FROM fpdb.{function}(%s, %s)", vector, k)


def test_a_loud_vector_asks_an_index_in_half_precision(library: Library) -> None:
    vectors = random_vectors(np.random.default_rng(1), 3)
    library.add(vectors=vectors)
    library.value(
        "SELECT fpdb.register_model(name, revision, source, dims, sample_rate,"
        " index_type => 'halfvec') FROM fpdb.model"
    )
    rows = nearest(library, vectors[1] * 1e6, k=1)
    assert (rows[0]["segment_index"], rows[0]["similarity"]) == (1, pytest.approx(1))


def test_a_model_that_is_not_named_is_the_active_one(library: Library, second: int) -> None:
    vectors = random_vectors(np.random.default_rng(1), 2)
    library.add(vectors=vectors)
    ask = "SELECT confidence FROM fpdb.match_models(%s::vector[], '{0,2.5}', %s::smallint[])"
    asked = [Vector(vector) for vector in vectors]
    assert library.rows(ask, asked, [1, None]) == library.rows(ask, asked, [1, 1])
