"""ingest --version-of: bitrates, mixes and speeds of one work, and how they are told."""

from pathlib import Path

import numpy as np
import psycopg
import pytest

from fingerprintdb import audio
from fingerprintdb.degradation import change_speed
from fingerprintdb.encoding import encode


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
        encode(folder / f"{number}.wav", samples / (2 * number), 22_050)
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


def test_speeds_and_pitches_are_versions_that_find_what_is_far_from_the_recording(
    fpdb, migrated_url, recordings, json_lines, tmp_path
):
    file = recordings / "two.wav"
    arguments = ("ingest", file, "--speeds", "1.3, 1", "--pitches=-4", "--json")
    original, fast, low = json_lines(fpdb(migrated_url, *arguments))
    work = original["asset_id"]
    assert fast["warp"] == {"pitch": 1.3, "tempo": 1.3}
    assert low["warp"] == {"pitch": pytest.approx(0.794, abs=0.001), "tempo": 1.0}
    assert fast["duration_sec"] == pytest.approx(original["duration_sec"] / 1.3, abs=0.05)
    assert low["duration_sec"] == pytest.approx(original["duration_sec"], abs=0.05)
    assert works(migrated_url) == {work: None, fast["asset_id"]: work, low["asset_id"]: work}
    again = json_lines(fpdb(migrated_url, *arguments))
    assert [line["status"] for line in again] == ["skipped"] * 3
    assert [line["asset_id"] for line in again] == [work, fast["asset_id"], low["asset_id"]]

    samples = np.concatenate(list(audio.decode(file, 22_050)))[2 * 22_050 :]
    clip = tmp_path / "fast.wav"
    encode(clip, change_speed(samples, 22_050, 1.31, keep_pitch=False)[: 5 * 22_050], 22_050)
    (answer,) = json_lines(fpdb(migrated_url, "identify", clip, "--json"))
    best = answer["matches"][0]
    assert (best["asset_id"], best["work_id"]) == (fast["asset_id"], work)
    assert best["version"] == {"pitch": 1.3, "tempo": 1.3}
    assert best["offset_sec"] == pytest.approx(2 / 1.3, abs=0.15)
    assert "tempo +3" in fpdb(migrated_url, "identify", clip).stdout


def test_a_worker_plays_a_version_as_it_is_asked_to(fpdb, migrated_url, recordings, json_lines):
    file = recordings / "two.wav"
    arguments = ("ingest", file, "--queue", "--speeds=1.3", "--json")
    original, fast = json_lines(fpdb(migrated_url, *arguments))
    assert (original["status"], fast["status"]) == ("queued", "queued")
    assert fpdb(migrated_url, "worker", "--once").returncode == 0
    again = json_lines(fpdb(migrated_url, *arguments))
    assert [line["status"] for line in again] == ["skipped", "skipped"]
    shown = json_lines(fpdb(migrated_url, "show", "--json", fast["asset_id"]))[0]
    assert (shown["status"], shown["pitch"], shown["tempo"]) == ("ready", 1.3, 1.3)
    assert shown["version_of"] == original["asset_id"]
    whole = json_lines(fpdb(migrated_url, "show", "--json", original["asset_id"]))[0]
    assert shown["duration_sec"] == pytest.approx(whole["duration_sec"] / 1.3, abs=0.05)

    # Another tempo is another recording to find: what was stored of the former one is gone.
    with psycopg.connect(migrated_url) as connection:
        connection.execute(
            "UPDATE fpdb.asset SET tempo = 1 WHERE asset_id = %s", (fast["asset_id"],)
        )
    shown = json_lines(fpdb(migrated_url, "show", "--json", fast["asset_id"]))[0]
    assert (shown["status"], shown["duration_sec"], shown["segments"]) == ("queued", None, 0)


@pytest.mark.parametrize(
    ("option", "text"), [("--speeds", "3"), ("--speeds", "fast"), ("--pitches", "nan")]
)
def test_what_nobody_would_play_is_an_error(fpdb, migrated_url, mixes, option, text):
    run = fpdb(migrated_url, "ingest", mixes, f"{option}={text}")
    assert run.returncode == 2
    assert text in run.stderr
    assert works(migrated_url) == {}
