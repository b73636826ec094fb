"""Moments are stretches of recordings that a vector is near to."""

from itertools import pairwise

import numpy as np
from library import Library, random_vectors
from pgvector import Vector


def test_neighbouring_segments_are_one_moment(library: Library) -> None:
    rng = np.random.default_rng(1)
    query = random_vectors(rng, 1)[0]
    vectors = random_vectors(rng, 20)
    for index in (3, 4, 5, 12):
        vectors[index] = query + 0.1 * index * vectors[index] / 10
    asset_id = library.add(vectors=vectors)
    other = library.add(vectors=random_vectors(rng, 20))
    rows = library.names("SELECT * FROM fpdb.nearest_moments(%s, 2)", Vector(query))
    assert tuple(rows[0].values())[:3] == (asset_id, 7.5, 17.5)
    assert rows[0]["segments"] == 3
    assert (rows[1]["asset_id"], rows[1]["start_sec"]) == (asset_id, 30.0)
    assert rows[0]["similarity"] > rows[1]["similarity"] > 0.9
    most = library.names("SELECT * FROM fpdb.nearest_moments(%s, 50)", Vector(query))
    assert {row["asset_id"] for row in most} == {asset_id, other}
    spans = sorted((row["asset_id"], row["start_sec"], row["end_sec"]) for row in most)
    for (one, _, end), (two, start, _) in pairwise(spans):
        assert one != two or start > end
