"""ingest --version-of: bitrates, mixes and speeds of one work, and how they are told."""

from pathlib import Path

import numpy as np
import psycopg
import pytest

from fingerprintdb import audio


@pytest.fixture(scope="module")
def work(fpdb, library_url, recordings, json_lines) -> int:
    run = fpdb(library_url, "ingest", recordings / "below" / "one.flac", "--json")
    return json_lines(run)[0]["asset_id"]


@pytest.fixture(scope="module")
def mixes(tmp_path_factory, recordings) -> Path:
    """The piece at two levels, each a file of its own."""
    folder = tmp_path_factory.mktemp("mixes")
    samples = np.concatenate(list(audio.decode(recordings / "below" / "one.flac", 22_050)))
    for number in (1, 2):
        audio.encode(folder / f"{number}.wav", samples / (2 * number), 22_050)
    return folder


def works(url: str) -> dict[int, int | None]:
    with psycopg.connect(url) as connection:
        rows = connection.execute("SELECT asset_id, version_of FROM fpdb.asset").fetchall()
    return dict(rows)


def test_versions_name_their_work_and_show_tells_both_ways(
    fpdb, library_url, work, mixes, json_lines
):
    # The second is there already, as a work with a version: it becomes a version with its own.
    (other,) = json_lines(fpdb(library_url, "ingest", mixes / "2.wav", "--json"))
    with psycopg.connect(library_url) as connection:
        (own,) = connection.execute(
            "INSERT INTO fpdb.asset (uri, version_of) VALUES ('remix.wav', %s) RETURNING asset_id",
            (other["asset_id"],),
        ).fetchone()
    first, second = json_lines(fpdb(library_url, "ingest", mixes, "--version-of", work, "--json"))
    assert [first["status"], second["status"]] == ["ready", "skipped"]
    versions = [other["asset_id"], own, first["asset_id"]]
    assert works(library_url) == {work: None} | dict.fromkeys(versions, work)

    (shown,) = json_lines(fpdb(library_url, "show", work, "--json"))
    assert (shown["version_of"], shown["versions"]) == (None, versions)
    (shown,) = json_lines(fpdb(library_url, "show", first["asset_id"], "--json"))
    assert (shown["version_of"], shown["work_title"], shown["versions"]) == (
        work,
        "Harbour at Six",
        None,
    )

    run = fpdb(library_url, "identify", mixes / "1.wav", "--json")
    matches = json_lines(run)[0]["matches"]
    assert {match["asset_id"] for match in matches} >= {work, first["asset_id"]}
    assert {match["work_id"] for match in matches} == {work}


def test_a_work_is_no_version_of_itself(fpdb, library_url, work, recordings):
    run = fpdb(library_url, "ingest", recordings / "below" / "one.flac", "--version-of", work)
    assert run.returncode == 0
    assert works(library_url)[work] is None


def test_queued_and_failed_versions_keep_their_work(
    fpdb, migrated_url, mixes, recordings, json_lines
):
    (found,) = json_lines(fpdb(migrated_url, "ingest", recordings / "two.wav", "--json"))
    work = found["asset_id"]
    run = fpdb(migrated_url, "ingest", mixes, "--queue", "--version-of", work)
    assert run.returncode == 0
    assert fpdb(migrated_url, "ingest", "absent.wav", "--version-of", work).returncode == 2
    assert sorted(works(migrated_url).values(), key=str) == [work] * 3 + [None]


@pytest.mark.parametrize("queue", [(), ("--queue",)])
def test_a_work_that_is_none_is_an_error(fpdb, migrated_url, mixes, queue):
    run = fpdb(migrated_url, "ingest", mixes, "--version-of", "4711", *queue)
    assert run.returncode == 2
    assert "there is no asset 4711 — `fpdb list` shows those there are" in run.stderr
    with psycopg.connect(migrated_url) as connection:
        connection.execute(
            "INSERT INTO fpdb.asset (asset_id, uri, version_of)"
            " VALUES (1001, 'a.wav', NULL), (1002, 'b.wav', 1001)"
        )
    run = fpdb(migrated_url, "ingest", mixes, "--version-of", "1002", *queue)
    assert run.returncode == 2
    assert (
        "asset 1002 is itself a version of asset 1001 — name the work: --version-of 1001"
        in run.stderr
    )
    assert len(works(migrated_url)) == 2
