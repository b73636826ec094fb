"""A collection from one database to another: row by row the same, and nothing mixed in."""

import hashlib
import io
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from databases import MigratedDatabases
from library import Library, excerpt, random_bits, random_landmarks, random_vectors

from fingerprintdb.archive import ArchiveError, ArchiveReader, Description
from fingerprintdb.landmarks import Landmarks
from fingerprintdb.profile import PROFILES
from fingerprintdb.store.database import Connection, DatabaseError, connect
from fingerprintdb.store.harvest import harvest
from fingerprintdb.store.model import activate_model, retire_model
from fingerprintdb.store.profile import activate_profile
from fingerprintdb.store.snapshot import snapshot
from fingerprintdb.transfer import check_archive, take_in, write_archive

LEFT_TO_THE_TARGET = {
    *("asset_id", "content", "version_of", "profile_id", "landmark_count", "status", "error"),
    *("landmark_revision", "landmark_status", "landmark_error"),
    *("embedding_revision", "embedding_status", "embedding_error"),
}
"""Columns of fpdb.asset that an archive says otherwise, or that follow from what it says."""

SHARED = ", ".join(field.name for field in fields(Description))
NAMED = "(SELECT a.title FROM fpdb.asset a WHERE a.asset_id = {}.asset_id)"
TABLES = {
    "asset": f"SELECT {SHARED}, content, landmark_count, landmark_status, embedding_status, error,"
    " (SELECT w.title FROM fpdb.asset w WHERE w.asset_id = a.version_of),"
    " (SELECT digest FROM fpdb.profile p WHERE p.profile_id = a.profile_id) FROM fpdb.asset a",
    "landmark": f"SELECT {NAMED.format('l')}, hash, frame FROM fpdb.landmark l",
    "sub_fingerprint": f"SELECT {NAMED.format('s')}, part, bits::text, digest"
    " FROM fpdb.sub_fingerprint s JOIN fpdb.profile USING (profile_id)",
    "segment": f"SELECT {NAMED.format('s')}, segment_index, start_time_sec, end_time_sec, is_silent"
    " FROM fpdb.segment s",
    "embedding": f"SELECT {NAMED.format('e')}, name, segment_index, embedding::text,"
    " processing_time_ms FROM fpdb.embedding e JOIN fpdb.segment USING (segment_id)"
    " JOIN fpdb.model USING (model_id)",
    "asset_profile": f"SELECT {NAMED.format('h')}, digest, landmark_count"
    " FROM fpdb.asset_profile h JOIN fpdb.profile USING (profile_id)",
    "asset_model": f"SELECT {NAMED.format('h')}, name, vectors"
    " FROM fpdb.asset_model h JOIN fpdb.model USING (model_id)",
    "collection": "SELECT name, description, created_at FROM fpdb.collection",
    "content_type": "SELECT name, landmark_threshold, vector_threshold, match_threshold,"
    " calibration FROM fpdb.content_type",
    "model": "SELECT name, revision, source, dims, sample_rate, state, confidence_slope, index_type"
    " FROM fpdb.model",
    "model_weight": "SELECT content_type, name, weight"
    " FROM fpdb.model_weight JOIN fpdb.model USING (model_id)",
}


def everything(library: Library, *tables: str) -> dict[str, list[str]]:
    """Return what is in the tables, under names instead of keys."""
    return {
        name: sorted(map(repr, library.rows(TABLES[name]))) for name in (tables or TABLES.keys())
    }


def exported(connection: Connection, form: str = "compact", **options: Any) -> bytes:
    file = io.BytesIO()
    with snapshot(connection, **options) as held:
        write_archive(held, file, form)
    return file.getvalue()


def imported(connection: Connection, data: bytes, **options: Any) -> list[str]:
    """Return what became of each asset; notes come first."""
    reader = ArchiveReader(io.BytesIO(data))
    list(check_archive(reader))
    return list(take_in(connection, reader, **options))


def jobs(library: Library) -> int:
    return int(library.value("SELECT count(*) FROM fpdb_queue.procrastinate_jobs"))


def register(library: Library, name: str, dims: int) -> int:
    return int(library.value("SELECT fpdb.register_model(%s, '1', %s, %s, 8000)", name, name, dims))


def fill(library: Library) -> Landmarks:
    """Put in works, versions, two models, silence, several collections; return some landmarks."""
    rng = np.random.default_rng(1)
    library.connection.execute(
        "INSERT INTO fpdb.content_type VALUES ('bird', 0.5, 0.6, 0.7, 'by hand')"
    )
    library.connection.execute(
        "INSERT INTO fpdb.collection VALUES ('radio', 'as heard', '2020-02-02'),"
        " ('empty', NULL, '2020-02-02')"
    )
    known = random_landmarks(rng)
    common = {"content_type": "bird", "metadata": '{"label": "X", "n": 0.1}'}
    other = register(library, "other", 3)
    library.connection.execute("UPDATE fpdb.model SET state = 'shadow' WHERE name = 'other'")
    library.connection.execute("INSERT INTO fpdb.model_weight VALUES ('bird', %s, 0.5)", (other,))
    work = library.add(
        known,
        random_vectors(rng, 9),
        title="work",
        bits=random_bits(rng),
        sha256=hashlib.sha256(b"1").hexdigest(),
        created_at="2019-01-01 00:00:00.123456+02",
        processed_at="2021-01-01 00:00:00+00",
        segment_hop_sec=1.25,
        max_audio_length_sec=None,
        **common,
    )
    library.embed(work, rng.standard_normal((9, 3)).astype(np.float32), other)
    library.add(random_landmarks(rng), random_vectors(rng, 3), title="alone", uri="b.wav")
    library.connection.execute("SELECT fpdb.compact()")
    # In the delta still, and with a key that comes before its work's.
    library.connection.execute(
        "SELECT setval(pg_get_serial_sequence('fpdb.asset', 'asset_id'), max(asset_id) + 900)"
        " FROM fpdb.asset"
    )
    library.add(
        random_landmarks(rng),
        random_vectors(rng, 2),
        asset_id=-3,
        title="faster",
        version_of=work,
        tempo=1.25,
        pitch=1.25,
        sha256=hashlib.sha256(b"1").hexdigest(),
        bits=random_bits(rng, duration_sec=20),
    )
    silent = library.add(random_landmarks(rng), title="silent", collection="radio", uri="c.wav")
    library.connection.execute(
        "INSERT INTO fpdb.segment"
        " (asset_id, segment_index, start_time_sec, end_time_sec, is_silent)"
        " VALUES (%s, 0, 0, 5, true)",
        (silent,),
    )
    library.connection.execute(
        "INSERT INTO fpdb.asset_model VALUES (%s, fpdb.active_model(), 1, 0)", (silent,)
    )
    library.connection.execute(
        "UPDATE fpdb.asset a SET landmark_count = h.landmark_count"
        " FROM fpdb.asset_profile h WHERE h.asset_id = a.asset_id"
    )
    library.connection.execute("DELETE FROM fpdb_queue.procrastinate_jobs")
    return known


@pytest.fixture(scope="module")
def source(migrated_databases: MigratedDatabases) -> Iterator[Library]:
    """A filled database that nobody changes."""
    url = migrated_databases.take()
    with connect(url) as connection:
        library = Library(connection)
        library.known = fill(library)  # type: ignore[attr-defined]
        yield library
    migrated_databases.give_back(url)


@pytest.fixture(scope="module")
def archive(source: Library) -> bytes:
    return exported(source.connection)


@pytest.mark.parametrize("form", ["compact", "lines"])
def test_an_empty_database_becomes_the_same(source: Library, library: Library, form: str) -> None:
    data = exported(source.connection, form)
    states = imported(library.connection, data)
    assert [state for state in states if not state.startswith("note")] == ["new"] * 4
    assert any("content type bird is known now" in state for state in states)
    assert everything(library) == everything(source)
    asked = excerpt(source.known, 400, 900)  # type: ignore[attr-defined]
    question = (
        f"SELECT {NAMED.format('m')}, confidence, offset_sec, aligned_landmarks"
        " FROM fpdb.match_landmarks(%s, %s, min_confidence => 0) m"
    )
    found = library.rows(question, asked.hashes.tolist(), asked.frames.tolist())
    assert found == source.rows(question, asked.hashes.tolist(), asked.frames.tolist())
    assert found[0][0] == "work"
    alike = (
        "SELECT a.title, b.title, s.similarity FROM fpdb.asset a,"
        " fpdb.similar_assets(a.asset_id, 5) s"
        " JOIN fpdb.asset b ON b.asset_id = s.similar_asset_id ORDER BY 1, 2"
    )
    assert library.rows(alike) == source.rows(alike)
    # Both databases write the same archive, but for keys and the hour.
    assert imported(library.connection, data) == ["skipped"] * 4
    assert everything(library) == everything(source)


def test_nothing_is_queued(library: Library, source: Library) -> None:
    source_of_one = exported(source.connection, collection="radio", with_vectors=True)
    library.add(title="there")
    library.connection.execute("DELETE FROM fpdb_queue.procrastinate_jobs")
    assert imported(library.connection, source_of_one)[-1] == "new"
    assert jobs(library) == 0


def test_a_collection_alone_and_under_another_name(source: Library, library: Library) -> None:
    data = exported(source.connection, collection="radio")
    assert imported(library.connection, data, collection="archive")[-1] == "new"
    assert library.rows("SELECT collection, title FROM fpdb.asset") == [("archive", "silent")]
    assert library.value("SELECT description FROM fpdb.collection WHERE name = 'archive'")
    assert not library.rows("SELECT FROM fpdb.collection WHERE name = 'radio'")
    with pytest.raises(DatabaseError, match="there is no collection 'nowhere'"):
        exported(source.connection, collection="nowhere")


def test_versions_find_the_work_that_is_there(library: Library, archive: bytes) -> None:
    digest = hashlib.sha256(b"1").hexdigest()
    older = library.add(title="older")
    there = library.add(title="there", sha256=digest, version_of=older)
    states = imported(library.connection, archive)
    assert [s for s in states if not s.startswith("note")] == ["skipped", "new", "new", "new"]
    assert library.rows("SELECT version_of FROM fpdb.asset WHERE title = 'faster'") == [(older,)]
    assert library.value("SELECT title FROM fpdb.asset WHERE asset_id = %s", there) == "there"


def test_a_version_without_its_work_stands_alone(library: Library, source: Library) -> None:
    work = library.add(collection="default", title="work")
    library.connection.execute("INSERT INTO fpdb.collection VALUES ('radio')")
    library.add(collection="radio", title="version", version_of=work)
    with snapshot(library.connection, collection="radio") as held:
        assert held.without_work == 1
        assert [r.version_of for r in held.records() if not isinstance(r, bytes)] == [None]


def test_what_is_there_keeps_its_thresholds(library: Library, archive: bytes) -> None:
    library.add(title="there")
    library.connection.execute("INSERT INTO fpdb.content_type VALUES ('bird', 0.1, 0.1, 0.1)")
    assert any("keeps its thresholds" in state for state in imported(library.connection, archive))
    assert library.value("SELECT match_threshold FROM fpdb.content_type WHERE name = 'bird'") == 0.1
    # Models that come with it are known, and nobody fills them.
    assert library.rows("SELECT name, state FROM fpdb.model ORDER BY name") == [
        ("builtin", "active"),
        ("other", "retired"),
    ]


def test_profiles_are_never_mixed(library: Library, archive: bytes) -> None:
    activate_profile(library.connection, "compact")
    library.add(title="there", profile="compact")
    before = everything(library)
    with pytest.raises(DatabaseError, match=r"is searched by compact .* `fpdb profile build"):
        imported(library.connection, archive)
    assert everything(library) == before
    library.connection.execute("DELETE FROM fpdb.asset")
    notes = imported(library.connection, archive)
    assert "profile accurate is active now instead of compact" in notes[-5] + notes[0] + notes[1]
    assert library.value("SELECT name FROM fpdb.profile WHERE is_active") == "accurate"


def test_an_unknown_profile_asks_for_its_program(
    library: Library, archive: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(PROFILES, "accurate")
    with pytest.raises(DatabaseError, match="which this program does not have"):
        imported(library.connection, archive)


def test_vectors_of_another_model_are_a_question(
    library: Library, archive: bytes, tmp_path
) -> None:
    activate_model(library.connection, register(library, "third", 5))
    library.add(title="there")
    before = everything(library)
    with pytest.raises(DatabaseError, match=r"searched by third.* --embed"):
        imported(library.connection, archive)
    assert everything(library) == before
    states = imported(library.connection, archive, embed=False)
    assert states[-4:] == ["unembedded"] * 4
    error = (
        "SELECT DISTINCT embedding_status, embedding_error FROM fpdb.asset WHERE title <> 'there'"
    )
    ((status, why),) = library.rows(error)
    assert status == "failed"
    assert "without vectors of third" in why
    assert not jobs(library)


def test_vectors_are_left_to_workers_where_audio_is(library: Library, tmp_path: Path) -> None:
    (tmp_path / "here.wav").write_bytes(b"x")
    for uri in (str(tmp_path / "here.wav"), "/gone.wav", "https://radio.example/a.mp3"):
        library.add(random_landmarks(np.random.default_rng(0)), uri=uri)
    data = exported(library.connection, with_vectors=False)
    library.connection.execute("DELETE FROM fpdb.asset")
    with pytest.raises(DatabaseError, match="vectors of no model"):
        imported(library.connection, data)
    assert imported(library.connection, data, embed=True) == ["queued", "unembedded", "queued"]
    assert jobs(library) == 2


def test_models_that_contradict_are_refused(library: Library, archive: bytes) -> None:
    register(library, "other", 4)
    with pytest.raises(DatabaseError, match="3 dimensions in the archive, and 4 here"):
        imported(library.connection, archive)
    library.add(title="there")
    with pytest.raises(DatabaseError, match="3 dimensions in the archive, and 4 here"):
        imported(library.connection, archive)


def test_an_empty_database_takes_the_archives_model(library: Library, archive: bytes) -> None:
    activate_model(library.connection, register(library, "third", 5))
    notes = imported(library.connection, archive)
    assert any("model builtin is active now instead of third" in note for note in notes)
    assert library.value("SELECT name FROM fpdb.model WHERE state = 'active'") == "builtin"


def test_bytes_go_along_or_are_named_by_their_digest(library: Library) -> None:
    content = np.random.default_rng(0).bytes(4_000_000)
    digest = hashlib.sha256(content).hexdigest()
    known = random_landmarks(np.random.default_rng(0))
    library.add(known, uri=None, content=content, sha256=digest, title="bytes")
    with_it = exported(library.connection, with_content=True)
    without = exported(library.connection)
    assert len(with_it) > 4_000_000 > len(without)
    before = everything(library)
    library.connection.execute("DELETE FROM fpdb.asset")
    assert imported(library.connection, with_it, embed=True) == ["queued"]
    assert everything(library, "landmark") == {"landmark": before["landmark"]}
    assert bytes(library.value("SELECT content FROM fpdb.asset")) == content
    library.connection.execute("DELETE FROM fpdb.asset")
    assert imported(library.connection, without, embed=True) == ["unembedded"]
    assert library.rows("SELECT uri, content FROM fpdb.asset") == [
        (f"hash://sha256/{digest}", None)
    ]
    assert imported(library.connection, with_it, embed=True) == ["skipped"]


def test_what_is_not_fingerprinted_is_left_out(library: Library) -> None:
    rng = np.random.default_rng(0)
    library.connection.execute(
        "INSERT INTO fpdb.asset (uri, landmark_status) VALUES ('silent.wav', 'failed')"
    )
    library.connection.execute("INSERT INTO fpdb.asset (uri) VALUES ('queued.wav')")
    library.add(random_landmarks(rng), random_vectors(rng, 2), title="ready")
    # Its vectors are of parameters that it no longer has.
    library.connection.execute("UPDATE fpdb.asset SET segment_hop_sec = 1 WHERE title = 'ready'")
    with snapshot(library.connection) as held:
        assert (held.header.assets, held.left_out) == (1, 2)
        (one,) = held.records()
    assert not isinstance(one, bytes)
    assert (one.vectors, len(one.segments)) == ((), 0)


def test_an_export_is_one_moment(source: Library, migrated_databases: MigratedDatabases) -> None:
    url = migrated_databases.take()
    with connect(url) as ours, connect(url) as theirs:
        library = Library(theirs)
        rng = np.random.default_rng(0)
        first = library.add(random_landmarks(rng), random_vectors(rng, 2))
        other = register(library, "other", 3)
        library.embed(first, np.ones((2, 3), np.float32), other)
        with snapshot(ours) as held:
            library.add(random_landmarks(rng), title="late")
            theirs.execute("SELECT fpdb.compact()")
            theirs.execute("UPDATE fpdb.asset SET title = 'changed'")
            theirs.execute("SET lock_timeout = '50ms'")
            with pytest.raises(Exception, match="lock timeout"):
                retire_model(theirs, other)
            (one,) = held.records()
            assert not isinstance(one, bytes)
            assert one.description.title is None
            assert len(one.landmarks) > 0
            with pytest.raises(Exception, match="read-only"), ours.transaction():
                ours.execute("DELETE FROM fpdb.asset")
    migrated_databases.give_back(url)


def test_nothing_of_a_bad_archive_stays(library: Library, archive: bytes) -> None:
    before = everything(library)
    for bad in (
        archive[:-1],
        archive[: len(archive) // 2],
        archive[:-200] + b"\0" + archive[-199:],
    ):
        with pytest.raises(ArchiveError):
            imported(library.connection, bad)
    assert everything(library) == before


def test_landmarks_that_do_not_fit_into_memory_wait_in_files(source: Library) -> None:
    ids = np.array([row[0] for row in source.rows("SELECT asset_id FROM fpdb.asset")])[::-1]
    counts = np.full(len(ids), 1000)
    with source.connection.transaction():
        with harvest(source.connection, ids, counts) as at_once:
            wanted = [(h.hashes.tolist(), h.frames.tolist()) for h in at_once]
        read = []
        with harvest(source.connection, ids, counts, most_held=700, told=read.append) as from_files:
            found = [(h.hashes.tolist(), h.frames.tolist()) for h in from_files]
    assert [sorted(zip(*one, strict=True)) for one in found] == [
        sorted(zip(*one, strict=True)) for one in wanted
    ]
    assert sum(read) == sum(len(one[0]) for one in wanted) > 700


def test_no_column_is_forgotten(source: Library) -> None:
    columns = source.rows(
        "SELECT attname FROM pg_attribute WHERE attrelid = 'fpdb.asset'::regclass"
        " AND attnum > 0 AND NOT attisdropped"
    )
    told = {field.name for field in fields(Description)}
    assert {name for (name,) in columns} == told | LEFT_TO_THE_TARGET
