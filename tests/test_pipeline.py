"""What `fpdb ingest` leaves in the database when a source is new, the same, changed or bad."""

from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from fingerprintdb.album import SAMPLE_RATE_HZ, pieces
from fingerprintdb.embedding import load
from fingerprintdb.encoding import encode
from fingerprintdb.extraction import Timings, Windowing, extract_embeddings
from fingerprintdb.extractor import Extractor
from fingerprintdb.identification import identify
from fingerprintdb.pipeline import ingest, process_landmarks
from fingerprintdb.profile import Profile
from fingerprintdb.source import open_source
from fingerprintdb.store.asset import claim
from fingerprintdb.store.database import Connection, DatabaseError
from fingerprintdb.store.embeddings import store_embeddings
from fingerprintdb.store.match import Scope
from fingerprintdb.store.profile import activate_profile, register_profile


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """The bytes of two short recordings."""
    folder = tmp_path_factory.mktemp("music")
    files = []
    for piece in islice(pieces(), 2):
        path = folder / f"{piece.file_stem}.flac"
        encode(path, piece.samples[: 8 * SAMPLE_RATE_HZ], SAMPLE_RATE_HZ, piece.tags)
        files.append(path.read_bytes())
    return files


@pytest.fixture
def path(tmp_path: Path, recordings: list[bytes]) -> Path:
    path = tmp_path / "a piece.flac"
    path.write_bytes(recordings[0])
    return path


def one(connection: Connection, statement: str) -> tuple[Any, ...]:
    row = connection.execute(statement.encode()).fetchone()
    assert row is not None
    return row


def jobs(connection: Connection) -> int:
    return int(one(connection, "SELECT count(*) FROM fpdb_queue.procrastinate_jobs")[0])


def test_a_recording_comes_whole_and_queues_nothing(connection: Connection, path: Path) -> None:
    result = ingest(connection, Extractor(), str(path))
    assert result.status == "ready"
    title, artist, album, landmarks, status = one(
        connection,
        "SELECT title, artist, metadata->>'album', landmark_count, status FROM fpdb.asset",
    )
    piece = next(iter(pieces()))
    assert (title, artist, album) == tuple(piece.tags[k] for k in ("title", "artist", "album"))
    assert status == "ready"
    assert one(connection, "SELECT count(*) FROM fpdb.landmark") == (landmarks,)
    assert jobs(connection) == 0


def test_the_same_bytes_are_skipped_under_any_name(
    connection: Connection, path: Path, tmp_path: Path
) -> None:
    first = ingest(connection, Extractor(), str(path))
    copy = tmp_path / "copy.flac"
    copy.write_bytes(path.read_bytes())
    again = ingest(connection, Extractor(), str(copy))
    assert (again.status, again.asset_id) == ("skipped", first.asset_id)
    assert one(connection, "SELECT count(*) FROM fpdb.asset") == (1,)


def test_a_changed_file_replaces_what_was_there(
    connection: Connection, path: Path, recordings: list[bytes]
) -> None:
    first = ingest(connection, Extractor(), str(path))
    connection.execute("UPDATE fpdb.asset SET title = 'Mine', metadata = '{\"mine\": 1}'")
    before = one(connection, "SELECT sha256 FROM fpdb.asset")
    path.write_bytes(recordings[1])
    second = ingest(connection, Extractor(), str(path))
    assert (second.status, second.asset_id) == ("ready", first.asset_id)
    title, mine, sha256, landmarks = one(
        connection, "SELECT title, metadata->'mine', sha256, landmark_count FROM fpdb.asset"
    )
    assert (title, mine) == ("Mine", 1)
    assert sha256 != before[0]
    assert one(connection, "SELECT count(*) FROM fpdb.landmark") == (landmarks,)
    assert one(connection, "SELECT count(*), count(DISTINCT segment_index) FROM fpdb.segment") == (
        3,
        3,
    )
    assert jobs(connection) == 0


def test_a_file_that_goes_bad_leaves_what_was_stored(connection: Connection, path: Path) -> None:
    first = ingest(connection, Extractor(), str(path))
    path.write_bytes(b"no music")
    second = ingest(connection, Extractor(), str(path))
    assert (second.status, second.asset_id) == ("failed", first.asset_id)
    assert one(connection, "SELECT status, error FROM fpdb.asset") == ("ready", None)


def test_a_bad_file_that_is_mended_becomes_ready(
    connection: Connection, path: Path, recordings: list[bytes]
) -> None:
    path.write_bytes(b"no music")
    first = ingest(connection, Extractor(), str(path))
    assert first.status == "failed"
    assert "a piece.flac" in str(first.error)
    assert one(connection, "SELECT status, error FROM fpdb.asset") == ("failed", first.error)
    path.write_bytes(recordings[0])
    second = ingest(connection, Extractor(), str(path))
    assert (second.status, second.asset_id) == ("ready", first.asset_id)
    assert one(connection, "SELECT status, error FROM fpdb.asset") == ("ready", None)


def test_what_was_queued_by_sql_is_done_and_its_jobs_are_void(
    connection: Connection, path: Path
) -> None:
    connection.execute("INSERT INTO fpdb.asset (uri, title) VALUES (%s, 'Mine')", (str(path),))
    assert jobs(connection) == 2
    assert ingest(connection, Extractor(), str(path)).status == "ready"
    assert one(connection, "SELECT status, title, landmark_revision FROM fpdb.asset") == (
        "ready",
        "Mine",
        1,
    )


def test_a_database_of_another_profile_is_refused(connection: Connection, path: Path) -> None:
    other = Profile(name="other", fan_out=7)
    register_profile(connection, other)
    connection.execute("SELECT fpdb.activate_profile(%s)", (other.digest,))
    with pytest.raises(DatabaseError, match="profile other"):
        ingest(connection, Extractor(), str(path))
    assert one(connection, "SELECT count(*) FROM fpdb.asset") == (0,)


def test_the_compact_profile_stores_less_and_finds_as_well(
    connection: Connection, path: Path
) -> None:
    """Each profile's recordings are found with it, and a quarter of the bits is stored."""
    bits = []
    for name in ("accurate", "compact"):
        activate_profile(connection, name)
        connection.execute("DELETE FROM fpdb.asset")
        assert ingest(connection, Extractor(), str(path)).status == "ready"
        (held,) = one(connection, "SELECT sum(length(bits)) FROM fpdb.sub_fingerprint")
        bits.append(held)
        answer = identify(connection, Extractor(), Scope(), uri=str(path)).answer
        assert answer.verdict == "match"
        assert [stage.name for stage in answer.stages] == ["plain"]
    assert bits[1] == pytest.approx(bits[0] / 4, rel=0.1)


def test_collections_hold_their_own_copies(connection: Connection, path: Path) -> None:
    connection.execute("INSERT INTO fpdb.collection (name) VALUES ('other')")
    first = ingest(connection, Extractor(), str(path))
    second = ingest(connection, Extractor(), str(path), collection="other")
    assert second.status == "ready"
    assert second.asset_id != first.asset_id


def test_vectors_of_another_model_stay_while_the_segments_do(
    connection: Connection, path: Path
) -> None:
    result = ingest(connection, Extractor(), str(path))
    former = one(connection, "SELECT fpdb.active_model()")[0]
    second = one(connection, "SELECT fpdb.register_model('second', '1', 'second', 512, 48000)")[0]
    connection.execute("SELECT fpdb.backfill_model(%s::smallint)", (second,))
    job = claim(connection, int(result.asset_id or 0), "embedding", 1, second)
    assert job is not None
    with open_source(str(path)) as source:
        segments = extract_embeddings(source, load("builtin"), Windowing(), Timings())
    assert store_embeddings(connection, job, second, segments)
    assert connection.execute(
        "SELECT model_id, count(*) FROM fpdb.embedding GROUP BY 1 ORDER BY 1"
    ).fetchall() == [(former, 3), (second, 3)]


def test_a_worker_takes_titles_from_tags_where_the_row_has_none(
    connection: Connection, path: Path
) -> None:
    connection.execute("INSERT INTO fpdb.asset (uri, artist) VALUES (%s, 'Mine')", (str(path),))
    job = claim(connection, one(connection, "SELECT asset_id FROM fpdb.asset")[0], "landmark", 1)
    assert job is not None
    process_landmarks(connection, job, Extractor())
    title, artist, album = one(
        connection, "SELECT title, artist, metadata->>'album' FROM fpdb.asset"
    )
    tags = next(iter(pieces())).tags
    assert (title, artist, album) == (tags["title"], "Mine", tags["album"])


def test_a_changed_file_is_cut_as_its_asset_asks(connection: Connection, path: Path) -> None:
    ingest(connection, Extractor(), str(path))
    connection.execute(
        "UPDATE fpdb.asset SET segment_duration_sec = 4, segment_hop_sec = 4, separator = 'other'"
    )
    path.write_bytes(path.read_bytes() + b"\0")
    refused = ingest(connection, Extractor(), str(path))
    assert refused.status == "failed"
    assert "other" in (refused.error or "")
    connection.execute("UPDATE fpdb.asset SET separator = NULL")
    assert ingest(connection, Extractor(), str(path)).status == "ready"
    ends = connection.execute("SELECT end_time_sec FROM fpdb.segment ORDER BY 1 LIMIT 2").fetchall()
    assert ends == [(4.0,), (8.0,)]
