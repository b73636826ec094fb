"""ingest: what becomes of good and bad sources, again and after an interruption."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import psycopg
import pytest

from fingerprintdb import album
from fingerprintdb.encoding import encode

KEYS = ["asset_id", "uri", "status", "duration_sec", "timings_ms", "error", "work_id", "warp"]
RATE_HZ = album.SAMPLE_RATE_HZ

REASONS = {
    "absent.wav": r"does not exist — check its spelling",
    "empty.wav": r"is empty — supply the file again",
    "silent.wav": r"silent\.wav: the recording is silent — supply one with sound",
    "short.wav": r"short\.wav: 0\.50 s of sound is too short to fingerprint — supply at least",
    "text.mp3": r"text\.mp3: the file is not audio or video, or too damaged to read — supply",
    "clip.wav": r"http://127\.0\.0\.1:1/clip\.wav could not be reached, .* — check the host",
}


@pytest.fixture(scope="module")
def bad(tmp_path_factory, recordings) -> list[str]:
    folder = tmp_path_factory.mktemp("bad")
    (folder / "empty.wav").touch()
    (folder / "text.mp3").write_text("These are words. " * 500)
    encode(folder / "silent.wav", np.zeros(5 * RATE_HZ, np.float32), RATE_HZ)
    tone = np.sin(np.arange(RATE_HZ // 2) / 9).astype(np.float32)
    encode(folder / "short.wav", tone, RATE_HZ)
    paths = [str(folder / name) for name in REASONS if name != "clip.wav"]
    return [*paths, "http://127.0.0.1:1/clip.wav?token=hidden"]


@pytest.fixture(scope="module")
def first(fpdb, library_url, recordings, bad, tmp_path_factory):
    whole = (recordings / "three.mp3").read_bytes()
    truncated = tmp_path_factory.mktemp("truncated") / "truncated.mp3"
    truncated.write_bytes(whole[: len(whole) // 2])
    sources = [bad[0], recordings, *bad[1:], truncated]
    return fpdb(library_url, "ingest", *sources, "--json", "--collection", "new", "--jobs", "2")


def test_json_is_one_line_a_source_in_order(first, recordings, bad, json_lines):
    assert first.stderr == ""
    assert first.returncode == 2
    lines = json_lines(first)
    assert all(list(line) == KEYS for line in lines)
    names = [line["uri"].rpartition("/")[2].partition("?")[0] for line in lines]
    bad_names = list(REASONS)
    assert names == [
        *(bad_names[0], "one.flac", "three.mp3", "two.wav"),
        *(*bad_names[1:], "truncated.mp3"),
    ]
    ready = [line for line in lines if line["status"] == "ready"]
    assert [line["uri"] for line in ready[:3]] == sorted(
        str(path) for path in recordings.rglob("*") if path.suffix in {".flac", ".mp3", ".wav"}
    )
    assert all(line["duration_sec"] == pytest.approx(16, abs=0.2) for line in ready[:3])
    assert {"decode", "landmarks", "embedding", "store"} <= ready[0]["timings_ms"].keys()
    # What is left of a truncated file is a recording of its own.
    assert ready[3]["duration_sec"] == pytest.approx(8, abs=1)


def test_a_failure_names_the_source_and_the_remedy_in_its_row_too(first, library_url, json_lines):
    failed = [line for line in json_lines(first) if line["status"] == "failed"]
    assert len(failed) == len(REASONS)
    with psycopg.connect(library_url) as connection:
        for line in failed:
            name = line["uri"].rpartition("/")[2].partition("?")[0]
            assert re.search(REASONS[name], line["error"]), line["error"]
            assert "hidden" not in line["error"]
            row = connection.execute(
                "SELECT status, error FROM fpdb.asset WHERE asset_id = %s", (line["asset_id"],)
            ).fetchone()
            assert row == ("failed", line["error"])


def test_tags_become_columns(first, library_url):
    with psycopg.connect(library_url) as connection:
        rows = connection.execute(
            "SELECT title, artist, metadata, collection FROM fpdb.asset"
            " WHERE status = 'ready' AND uri NOT LIKE '%truncated%' ORDER BY uri"
        ).fetchall()
    titles = {row[0] for row in rows}
    assert titles <= {"Harbour at Six", "Copper Wire", "Letters from Nowhere", "two"}
    assert {row[3] for row in rows} == {"new"}
    assert (rows[0][1], rows[0][2]) == (album.ARTIST, {"album": album.ALBUM})


def test_a_second_run_skips_and_tells_a_person(first, fpdb, library_url, recordings):
    run = fpdb(library_url, "ingest", recordings, "--collection", "new")
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.startswith("3 skipped (already there) in ")


def test_failures_are_listed_for_a_person(first, fpdb, library_url, bad):
    run = fpdb(library_url, "ingest", bad[0], bad[1], "--collection", "new")
    assert run.returncode == 2
    assert run.stdout.startswith("2 failed in ")
    assert run.stderr.count("error: ") == 2
    assert "absent.wav does not exist" in run.stderr
    with psycopg.connect(library_url) as connection:
        failed = connection.execute("SELECT count(*) FROM fpdb.asset WHERE uri = %s", (bad[0],))
        assert failed.fetchone() == (1,)


def test_what_cannot_be_asked_for(fpdb, library_url, recordings, tmp_path):
    run = fpdb(library_url, "ingest", recordings, "--content-type", "jazz")
    assert run.returncode == 2
    assert "no content type 'jazz' — use ambience, music, sound_mark, speech" in run.stderr
    run = fpdb(library_url, "ingest", tmp_path)
    assert run.returncode == 2
    assert "there is nothing to ingest" in run.stderr


def test_ctrl_c_leaves_whole_assets_and_a_second_run_goes_on(
    fpdb, migrated_url, environment, tmp_path: Path, json_lines
):
    rng = np.random.default_rng(3)
    total = 16
    for number in range(total):
        samples = rng.uniform(-0.5, 0.5, 12 * RATE_HZ).astype(np.float32)
        encode(tmp_path / f"{number:02}.wav", samples, RATE_HZ)
    command = [sys.executable, "-m", "fingerprintdb", "ingest", str(tmp_path)]
    process = subprocess.Popen(
        [*command, "--json", "--jobs", "1"],
        env=environment | {"FPDB_DATABASE_URL": migrated_url},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell that runs the tests in the background has them ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(  # noqa: PLW1509
            signal.SIGINT, signal.default_int_handler
        ),
    )
    assert process.stdout
    assert json.loads(process.stdout.readline())["status"] == "ready"
    os.kill(process.pid, signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert told == "stopped; run again to go on\n"

    with psycopg.connect(migrated_url) as connection:
        rows = connection.execute(
            "SELECT status, count(*), min(landmark_count) > 0,"
            " bool_and(asset_id IN (SELECT asset_id FROM fpdb.landmark)),"
            " bool_and(asset_id IN (SELECT asset_id FROM fpdb.embedding))"
            " FROM fpdb.asset GROUP BY 1"
        ).fetchall()
    ((status, done, *whole),) = rows
    assert status == "ready"
    assert 1 <= done < total
    assert whole == [True, True, True]

    again = json_lines(fpdb(migrated_url, "ingest", tmp_path, "--json"))
    assert [line["status"] for line in again].count("skipped") == done
    assert [line["status"] for line in again].count("ready") == total - done


def test_equal_bytes_at_the_same_time_are_one_asset(fpdb, migrated_url, recordings, tmp_path):
    for number in range(6):
        (tmp_path / f"{number}.wav").write_bytes((recordings / "two.wav").read_bytes())
    run = fpdb(migrated_url, "ingest", tmp_path, "--jobs", "4")
    assert run.stdout.startswith("1 ready, 5 skipped (already there) in ")
