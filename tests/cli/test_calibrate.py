"""calibrate: thresholds from the user's own recordings, and why there are none."""

import shutil

import psycopg
import pytest

KEYS = {
    *("content_types", "too_few", "shared", "skipped", "assets", "false_alarms", "seed"),
    "dry_run",
}
FEW = ("--false-alarms", "0.2")


@pytest.fixture(scope="module")
def stocked_url(fpdb, library_url, recordings, tmp_path_factory) -> str:
    """Three pieces, and one more whose file has gone since."""
    gone = tmp_path_factory.mktemp("gone") / "gone.flac"
    shutil.copy(recordings / "below" / "one.flac", gone)
    assert fpdb(library_url, "ingest", recordings).returncode == 0
    assert fpdb(library_url, "ingest", gone, "--collection", "lost").returncode == 0
    gone.unlink()
    return library_url


def thresholds(url: str) -> list[tuple[str, float, str | None]]:
    with psycopg.connect(url) as connection:
        return connection.execute(
            "SELECT name, match_threshold, calibration FROM fpdb.content_type ORDER BY 1"
        ).fetchall()


def test_a_dry_run_tells_and_writes_nothing(fpdb, stocked_url, json_lines):
    before = thresholds(stocked_url)
    run = fpdb(stocked_url, "calibrate", *FEW, "--dry-run", "--json", "--seed", "3")
    assert (run.returncode, run.stderr) == (0, "")
    (report,) = json_lines(run)
    assert report.keys() == KEYS
    assert (report["dry_run"], report["seed"], report["assets"]) == (True, 3, 3)
    (lost,) = report["skipped"]
    assert "gone.flac does not exist" in lost["reason"]
    (music,) = report["content_types"]
    assert music["content_type"] == "music"
    assert music["negatives"] == music["positives"] == 15
    assert music["false_alarms"] <= 3
    assert 0.5 <= music["threshold"] <= 1
    assert [recall["duration_sec"] for recall in music["recalls"]] == [1, 2, 3, 5, 10]
    assert report["too_few"] == {}
    assert thresholds(stocked_url) == before


def test_it_writes_the_threshold_and_where_it_came_from(fpdb, stocked_url):
    before = thresholds(stocked_url)
    run = fpdb(stocked_url, "calibrate", *FEW, "--seed", "3")
    assert run.returncode == 0
    assert "is left out: " in run.stderr
    heading, row, *_ = run.stdout.splitlines()
    assert heading == "content type\tnegatives\tfalse alarms\trate under\tfound\tthreshold"
    assert row.startswith("music\t15\t")
    after = thresholds(stocked_url)
    changed = [new for old, new in zip(before, after, strict=True) if old != new]
    ((name, threshold, origin),) = changed
    assert name == "music"
    assert 0.5 <= threshold <= 1
    assert "of 15 negatives" in origin
    assert "asked for 20 %" in origin
    assert origin.endswith("seed 3")


def test_too_few_negatives_are_an_error_that_says_how_many(fpdb, stocked_url):
    before = thresholds(stocked_url)
    run = fpdb(stocked_url, "calibrate", "--json")
    assert (run.returncode, run.stdout) == (2, "")
    assert "are too few for a false-alarm rate of 0.01, which needs 300 — ingest more" in run.stderr
    run = fpdb(stocked_url, "calibrate", "--content-type", "speech", *FEW)
    assert run.returncode == 2
    assert "speech: 0 negatives are too few" in run.stderr
    run = fpdb(stocked_url, "calibrate", "--content-type", "jazz")
    assert "no content type 'jazz'" in run.stderr
    run = fpdb(stocked_url, "calibrate", "--collection", "nowhere")
    assert "there is no collection 'nowhere'" in run.stderr
    assert thresholds(stocked_url) == before
