"""What a model's similarity is worth is learnt from what it says of known recordings."""

from itertools import islice
from pathlib import Path
from threading import Event

import numpy as np
import pytest

from fingerprintdb.album import SAMPLE_RATE_HZ, pieces
from fingerprintdb.encoding import encode
from fingerprintdb.extractor import Extractor
from fingerprintdb.pipeline import ingest
from fingerprintdb.similarity import Outcome, TooFewError, outcomes, regression
from fingerprintdb.store.calibration import sample
from fingerprintdb.store.database import Connection


def drawn(rng: np.random.Generator, right: float, wrong: float, count: int) -> list[Outcome]:
    return [
        Outcome(float(rng.normal(mean, 0.05)), is_right)
        for mean, is_right in ((right, True), (wrong, False))
        for _ in range(count)
    ]


def test_the_regression_is_sure_only_where_strangers_are_not() -> None:
    found = drawn(np.random.default_rng(1), 0.9, 0.6, 200)
    fitted = regression(found)
    most_similar_stranger = max(one.similarity for one in found if not one.is_right)
    assert fitted.confidence(most_similar_stranger) < 0.5
    assert fitted.confidence(0.95) > 0.95
    assert 0.6 < fitted.even_odds < 0.9
    assert fitted.confidence(fitted.even_odds) == pytest.approx(0.5)
    assert (fitted.right, fitted.wrong) == (200, 200)


def test_the_more_they_overlap_the_less_it_is_believed() -> None:
    rng = np.random.default_rng(1)
    apart, near = (regression(drawn(rng, 0.8, wrong, 300)) for wrong in (0.5, 0.75))
    assert near.confidence(0.85) < 0.5 < apart.confidence(0.85)


def test_how_many_of_each_were_asked_does_not_matter() -> None:
    found = drawn(np.random.default_rng(1), 0.9, 0.6, 200)
    once, thrice = (
        regression(found + [one for one in found if not one.is_right] * more) for more in (0, 2)
    )
    assert thrice.even_odds == pytest.approx(once.even_odds, abs=0.01)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ([], "0 clips found their recording and 0 another"),
        ([Outcome(0.9, is_right=True)] * 99, "99 clips found their recording and 0 another"),
        (drawn(np.random.default_rng(1), 0.5, 0.9, 50), "no more similar to their own"),
    ],
)
def test_too_little_to_learn_from_is_an_error(found: list[Outcome], said: str) -> None:
    with pytest.raises(TooFewError, match=said):
        regression(found)


def test_spoilt_passages_are_more_similar_to_their_own_recording(
    connection: Connection, tmp_path: Path
) -> None:
    for piece in islice(pieces(), 2):
        path = tmp_path / f"{piece.file_stem}.flac"
        encode(path, piece.samples[: 40 * SAMPLE_RATE_HZ], SAMPLE_RATE_HZ)
        assert ingest(connection, Extractor(), str(path)).status == "ready"
    extractor = Extractor()
    found = [
        one
        for asset in sample(connection, collection=None, content_type=None, limit=9, seed=1)
        for one in outcomes(
            connection,
            extractor,
            extractor.embedder(connection),
            asset,
            passages=3,
            seed=1,
            stopped=Event(),
        )
    ]
    right = [one.similarity for one in found if one.is_right]
    wrong = [one.similarity for one in found if not one.is_right]
    assert len(right) == len(wrong) == 6
    assert np.median(right) > max(wrong)
    # A file that is gone gives none.
    asset = sample(connection, collection=None, content_type=None, limit=1, seed=1)[0]
    Path(asset.uri or "").unlink()
    listener = extractor.embedder(connection)
    assert (
        outcomes(connection, extractor, listener, asset, passages=1, seed=1, stopped=Event()) == []
    )
