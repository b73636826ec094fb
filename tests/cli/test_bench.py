"""bench: how well and how fast the user's own recordings are found, and why that cannot be said."""

import shutil

import psycopg
import pytest

from fingerprintdb import album
from fingerprintdb.encoding import encode
from fingerprintdb.measurement import CONDITIONS, NOT_STORED

QUICK = ("--samples", "3", "--seconds", "3", "--clients", "1,2")


@pytest.fixture(scope="module")
def stocked_url(fpdb, library_url, recordings, tmp_path_factory) -> str:
    """Three pieces, and one more, in a collection of its own, whose file has gone since."""
    folder = tmp_path_factory.mktemp("stocked") / "music"
    shutil.copytree(recordings, folder)
    gone = folder / "gone.flac"
    encode(gone, next(album.pieces()).samples[-6 * album.SAMPLE_RATE_HZ :], album.SAMPLE_RATE_HZ)
    assert fpdb(library_url, "ingest", folder).returncode == 0
    gone.unlink()
    with psycopg.connect(library_url) as connection:
        connection.execute("INSERT INTO fpdb.collection (name) VALUES ('lost')")
        connection.execute("UPDATE fpdb.asset SET collection = 'lost' WHERE uri LIKE '%gone.flac'")
    return library_url


def test_tables_of_conditions_and_of_clients(fpdb, stocked_url):
    run = fpdb(stocked_url, "bench", *QUICK, "--collection", "default")
    assert (run.returncode, run.stderr) == (0, "")
    rows = [line.split("\t") for line in run.stdout.splitlines()]
    assert rows[0][:4] == ["condition", "clip", "clips", "right"]
    assert [row[0] for row in rows[1:7]] == [*CONDITIONS, NOT_STORED]
    assert rows[1][1:5] == ["3 s", "3", "100.0 %", "0"]
    assert rows[7] == ["clients", "requests", "a second", "p50 ms", "p95 ms", "p99 ms"]
    assert [row[:2] for row in rows[8:]] == [["1", "15"], ["2", "15"]]


def test_json_says_what_was_left_out(fpdb, stocked_url, json_lines):
    run = fpdb(stocked_url, "bench", "--json", "--seconds", "3", "--clients", "2")
    assert (run.returncode, run.stderr) == (0, "")
    (report,) = json_lines(run)
    assert report.keys() == {"cells", "load", "false_alarms", "skipped", "assets", "seed"}
    assert report["assets"] == 3
    assert "gone.flac does not exist" in report["skipped"][0]["reason"]
    clean = report["cells"][0]
    assert (clean["condition"], clean["clips"], clean["right"]) == ("clean", 3, 3)
    assert clean["database"]["p50_ms"] < clean["latency"]["p50_ms"]
    assert [load["clients"] for load in report["load"]] == [2]
    assert report["load"][0]["requests_per_sec"] > 0


def test_what_cannot_be_measured(fpdb, stocked_url, migrated_url):
    run = fpdb(stocked_url, "bench", "--collection", "lost")
    assert (run.returncode, run.stdout) == (2, "")
    assert "none of 1 recordings can be cut clips of" in run.stderr
    assert "gone.flac does not exist" in run.stderr
    assert "measure where the files are" in run.stderr
    run = fpdb(migrated_url, "bench")
    assert "no recording is ready to cut clips of — bring some in" in run.stderr


@pytest.mark.parametrize(
    ("option", "value"), [("--seconds", "0.5"), ("--clients", "x"), ("--seconds", ",")]
)
def test_numbers_out_of_range_are_refused(option, value):
    from typer.testing import CliRunner

    from fingerprintdb.cli.app import app

    run = CliRunner().invoke(app, ["bench", option, value])
    assert run.exit_code == 2
    assert option in run.output
