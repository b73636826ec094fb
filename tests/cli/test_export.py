"""export and import."""

import gzip
from pathlib import Path

import psycopg
import pytest


@pytest.fixture(scope="module")
def stocked_url(fpdb, library_url, recordings) -> str:
    assert fpdb(library_url, "ingest", recordings, "--collection", "album").returncode == 0
    return library_url


@pytest.fixture(scope="module")
def archive(fpdb, stocked_url, json_lines, tmp_path_factory) -> Path:
    """An archive in the compact form."""
    path = tmp_path_factory.mktemp("archive") / "album.fpdb"
    (summary,) = json_lines(fpdb(stocked_url, "export", path, "--json"))
    assert (summary["assets"], summary["form"], summary["left_out"]) == (3, "compact", 0)
    assert summary["size_bytes"] == path.stat().st_size
    return path


def test_a_clip_is_identified_where_the_audio_never_was(
    fpdb, stocked_url, archive, migrated_url, recordings, json_lines
):
    lines = fpdb(stocked_url, "export", "-", "--form", "lines", "--collection", "album")
    assert lines.returncode == 0
    assert lines.stdout.count("\n") == 5
    assert archive.stat().st_size < 0.4 * len(lines.stdout.encode())
    assert "exported 3 assets" in lines.stderr
    run = fpdb(migrated_url, "import", "-", "--json", stdin=lines.stdout.encode())
    (summary,) = json_lines(run)
    assert (summary["imported"], summary["skipped"], summary["queued"]) == (3, 0, 0)
    again = fpdb(migrated_url, "import", archive)
    assert (again.returncode, again.stderr) == (0, "")
    assert "imported 0 of 3 assets, 3 skipped (already there)" in again.stdout
    answers = []
    for url in (stocked_url, migrated_url):
        (match,) = json_lines(fpdb(url, "identify", recordings / "two.wav", "--json"))
        answers.append(_without_keys(match))
    assert answers[0] == answers[1]
    assert answers[0]["found"]


def _without_keys(value):
    """Leave out what differs between two databases: keys and times."""
    if isinstance(value, dict):
        return {
            name: _without_keys(one)
            for name, one in value.items()
            if not name.endswith("_id") and not name.endswith("_ms")
        }
    return [_without_keys(one) for one in value] if isinstance(value, list) else value


def test_a_file_appears_whole_and_replaces_nothing_unasked(fpdb, stocked_url, tmp_path):
    path = tmp_path / "album.jsonl"
    path.write_text("mine")
    run = fpdb(stocked_url, "export", path)
    assert run.returncode == 2
    assert run.stderr == f"error: {path} is there already — say --force to replace it\n"
    assert path.read_text() == "mine"
    assert fpdb(stocked_url, "export", path, "--collection", "none", "--force").returncode == 2
    assert path.read_text() == "mine"
    assert fpdb(stocked_url, "export", path, "--force").returncode == 0
    assert path.read_text().startswith('{"fingerprintdb_archive":1,')
    assert [one.name for one in tmp_path.iterdir()] == ["album.jsonl"]


def test_what_cannot_be_taken_in_is_one_line(fpdb, archive, migrated_url, tmp_path):
    whole = archive.read_bytes()
    cut = tmp_path / "cut.fpdb"
    cut.write_bytes(whole[:-20])
    for given, stdin, why in (
        (cut, b"", "error: the archive ends in the middle"),
        ("-", b"", "error: the file is empty"),
        ("-", gzip.compress(whole), "error: the file is not an archive of fingerprintdb"),
        (tmp_path, b"", "error: Is a directory"),
    ):
        run = fpdb(migrated_url, "import", given, stdin=stdin)
        assert (run.returncode, run.stdout, run.stderr.count("\n")) == (2, "", 1)
        assert run.stderr.startswith(why)
    with psycopg.connect(migrated_url) as connection:
        assert connection.execute("SELECT count(*) FROM fpdb.asset").fetchone() == (0,)
        assert connection.execute("SELECT count(*) FROM fpdb.collection").fetchone() == (1,)
