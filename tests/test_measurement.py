"""A measurement says right, wrong, missed and shared where each is true, and where time went."""

from dataclasses import replace
from itertools import islice
from pathlib import Path
from threading import Event

import pytest

from fingerprintdb import album, measurement
from fingerprintdb.encoding import encode
from fingerprintdb.extractor import Extractor
from fingerprintdb.measurement import NOT_STORED, Excerpt, Excerpts, MeasurementError
from fingerprintdb.pipeline import ingest
from fingerprintdb.store import calibration, library
from fingerprintdb.store.database import Connection, connect, pool

EXTRACTOR = Extractor()


@pytest.fixture(scope="module")
def stocked(tmp_path_factory, admin, server_url, template):
    """A database with three pieces, the third of which begins with the first."""
    from databases import fresh_database

    folder = tmp_path_factory.mktemp("stocked")
    pieces = [piece.samples[: 15 * album.SAMPLE_RATE_HZ] for piece in islice(album.pieces(), 3)]
    pieces[2][: 12 * album.SAMPLE_RATE_HZ] = pieces[0][: 12 * album.SAMPLE_RATE_HZ]
    for url in fresh_database(admin, server_url, template):
        with connect(url) as connection:
            library.ensure_collection(connection, "default")
            for number, samples in enumerate(pieces, 1):
                path = folder / f"{number}.flac"
                encode(path, samples, album.SAMPLE_RATE_HZ)
                ingest(
                    connection,
                    EXTRACTOR,
                    str(path),
                    collection="default",
                    content_type="music",
                )
            yield url, connection


def sampled(connection: Connection) -> list[calibration.Sampled]:
    found = calibration.sample(connection, collection=None, content_type=None, limit=9, seed=1)
    return sorted(found, key=lambda asset: asset.asset_id)


def cut(connection: Connection, asset: calibration.Sampled, folder: Path, seed: int = 1):
    return measurement.cut(
        connection, EXTRACTOR, asset, folder, durations_sec=[3.0], seed=seed, stopped=Event()
    )


def asked(connection: Connection, excerpt: Excerpt) -> measurement.Asked:
    return measurement.ask(connection, EXTRACTOR, excerpt, collection=None)


def test_a_passage_is_cut_under_every_condition_and_once_as_a_negative(stocked, tmp_path):
    _, connection = stocked
    found = cut(connection, sampled(connection)[1], tmp_path)
    positives = [clip for clip in found.clips if not clip.is_negative]
    assert [clip.condition for clip in positives] == list(measurement.CONDITIONS)
    assert len(found.clips) == len(positives) + 1
    assert all(clip.path.stat().st_size > 3 * 2 * 44_100 for clip in found.clips)
    again = cut(connection, sampled(connection)[1], tmp_path)
    assert again == found
    other = cut(connection, sampled(connection)[1], tmp_path, seed=2)
    assert other.clips[0].start_sec != found.clips[0].start_sec


def test_outcomes(stocked, tmp_path):
    _, connection = stocked
    first, second, third = sampled(connection)
    clips = cut(connection, second, tmp_path).clips
    clip, noisy = clips[0], next(clip for clip in clips if clip.condition == "pink 0 dB")
    right = asked(connection, clip)
    assert right.outcome == "right"
    assert 0 < right.database_ms < right.elapsed_ms
    # The same file, said to be of another asset, is an answer that names the wrong one.
    assert asked(connection, replace(clip, asset=first)).outcome == "wrong"
    # A recording without a like is right to be unknown.
    assert asked(connection, replace(clip, is_negative=True)).outcome == "right"
    # An answer is a false alarm unless the passage that the clip was made of is in what it names.
    other = replace(noisy, asset=first, is_negative=True)
    assert asked(connection, other).outcome == "shared"
    mistaken = replace(other, clean=cut(connection, first, tmp_path).clips[0].path)
    assert asked(connection, mistaken).outcome == "wrong"
    hiss = tmp_path / "hiss.wav"
    encode(hiss, measurement.degrade(_noise(), 44_100, "clean", 0), 44_100)
    assert asked(connection, replace(clip, path=hiss)).outcome == "missed"
    # Without the first, the third that begins with it holds the same sound.
    start = cut(connection, first, tmp_path).clips[0]
    alone = replace(start, is_negative=True)
    found = asked(connection, alone)
    assert start.start_sec < 9
    assert (found.outcome, found.named.asset_id) == ("shared", third.asset_id)


def _noise():
    import numpy as np

    return 0.1 * np.random.default_rng(1).standard_normal(3 * 44_100).astype(np.float32)


def test_cells_count_by_condition_and_length(stocked, tmp_path):
    _, connection = stocked
    clips = cut(connection, sampled(connection)[1], tmp_path).clips
    found = [asked(connection, clip) for clip in clips]
    found.append(replace(found[0], outcome="wrong", elapsed_ms=found[0].elapsed_ms + 100))
    cells = measurement.cells(found)
    assert [cell.condition for cell in cells] == [*measurement.CONDITIONS, NOT_STORED]
    clean = cells[0]
    assert (clean.clips, clean.right, clean.wrong, clean.missed) == (2, 1, 1, 0)
    assert clean.latency.p50_ms == pytest.approx(found[0].elapsed_ms + 50)
    assert clean.latency.p50_ms < clean.latency.p95_ms < clean.latency.p99_ms


def test_clients_ask_every_clip_once(stocked, tmp_path):
    url, connection = stocked
    clips = cut(connection, sampled(connection)[1], tmp_path).clips[:4]
    with pool(url, size=2) as connections:
        found = measurement.load(connections, EXTRACTOR, clips, collection=None, clients=2)
    assert (found.clients, found.requests) == (2, 4)
    assert found.requests_per_sec == pytest.approx(4 / found.elapsed_sec)
    assert found.latency.p50_ms / 1000 < found.elapsed_sec


def test_what_gives_no_clip_is_named(stocked, tmp_path):
    _, connection = stocked
    asset = sampled(connection)[0]
    gone = cut(connection, replace(asset, uri=str(tmp_path / "gone.flac")), tmp_path)
    assert gone.clips == []
    assert "does not exist" in gone.skipped[0].reason
    long = measurement.cut(
        connection, EXTRACTOR, asset, tmp_path, durations_sec=[40.0], seed=1, stopped=Event()
    )
    assert long.skipped[0].reason == "it is shorter than 40 s"
    with pytest.raises(MeasurementError, match=r"none of 1 .*gone.flac does not exist"):
        measurement.require_any(gone)
    with pytest.raises(MeasurementError, match="no recording is ready"):
        measurement.require_any(Excerpts())
