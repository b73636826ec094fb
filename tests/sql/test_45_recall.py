"""The vector index finds nearly all of the nearest, and is measured against an exact scan."""

import numpy as np
import psycopg
import pytest
from library import Library, Vectors

from fingerprintdb.embedding.embedder import unit


def clustered(rng: np.random.Generator, count: int) -> Vectors:
    """Vectors in families, as those of music are; without any, all are equally far apart."""
    centres = rng.normal(size=(40, 512))
    return unit((centres[rng.integers(0, 40, count)] + rng.normal(size=(count, 512))).astype("f4"))


def test_recall_has_a_floor_and_grows_with_ef_search(library: Library) -> None:
    vectors = clustered(np.random.default_rng(1), 2000)
    for first in range(0, 2000, 50):
        library.add(vectors=vectors[first : first + 50])
    found = {
        ef_search: library.names("SELECT * FROM fpdb.index_recall(%s, 60)", ef_search)[0]
        for ef_search in (10, 40, 400)
    }
    recalls = [found[ef_search]["recall"] for ef_search in (10, 40, 400)]
    assert recalls == sorted(recalls)
    # What nearest_segments looks at by default finds nine tenths, and more effort nearly all.
    assert found[40]["recall"] >= 0.9
    assert found[400]["recall"] >= 0.99
    assert found[400]["worst"] >= 0.8
    assert (found[40]["asked"], found[40]["vectors"]) == (60, 2000)
    assert found[40]["exact_ms"] > 0 < found[40]["index_ms"]


def test_the_same_seed_asks_the_same(library: Library) -> None:
    library.add(vectors=clustered(np.random.default_rng(1), 300))
    ask = "SELECT recall, worst FROM fpdb.index_recall(10, 20, seed => %s)"
    assert library.rows(ask, 0.5) == library.rows(ask, 0.5)


def test_without_neighbours_there_is_no_recall(library: Library) -> None:
    for vectors in (0, 1):
        row = library.names("SELECT * FROM fpdb.index_recall()")[0]
        assert (row["asked"], row["vectors"], row["recall"]) == (0, vectors, None)
        library.add(vectors=clustered(np.random.default_rng(1), 1))


@pytest.mark.parametrize("arguments", ["0", "1001", "40, 0", "40, 10, 0", "NULL"])
def test_senseless_numbers_are_refused(library: Library, arguments: str) -> None:
    with pytest.raises(psycopg.errors.NumericValueOutOfRange, match="must lie between"):
        library.rows(f"SELECT * FROM fpdb.index_recall({arguments})")


def test_an_unknown_model_is_refused(library: Library) -> None:
    with pytest.raises(psycopg.errors.RaiseException, match="there is no model 99"):
        library.rows("SELECT * FROM fpdb.index_recall(model => 99::smallint)")
