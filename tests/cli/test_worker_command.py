"""ingest --queue leaves the work, and the worker does it, and packs the index meanwhile."""

import psycopg
import pytest


def test_queue_then_worker(fpdb, library_url, recordings, json_lines):
    queued = json_lines(
        fpdb(library_url, "ingest", "--queue", "--json", recordings, recordings / "absent.wav")
    )
    assert [line["status"] for line in queued] == ["queued"] * 4
    again = fpdb(library_url, "ingest", "--queue", recordings)
    assert (again.returncode, again.stdout[:28]) == (0, "3 skipped (already there) in")
    (before,) = json_lines(fpdb(library_url, "status", "--json"))
    assert before["assets"] == {"queued": 4}
    assert before["lag_sec"] > 0

    run = fpdb(library_url, "worker", "--once")
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("worker: query, landmark, embedding, 2 at once")

    lines = json_lines(fpdb(library_url, "list", "--json"))
    assert [line["asset_id"] for line in lines] == [line["asset_id"] for line in queued]
    assert [line["status"] for line in lines] == ["ready"] * 3 + ["failed"]
    assert "absent.wav does not exist" in lines[3]["error"]


def test_the_log_is_json_without_tracebacks(fpdb, library_url, json_lines):
    assert fpdb(library_url, "reprocess", "--failed").returncode == 0
    run = fpdb(library_url, "--log-level", "info", "--log-format", "json", "worker", "--once")
    run.stdout = run.stderr
    lines = json_lines(run)
    assert all({"time", "level", "logger", "message"} <= line.keys() for line in lines)
    assert any("absent.wav does not exist" in line["message"] for line in lines)
    assert not any("traceback" in line for line in lines)


def test_where_nothing_can_be_written_it_does_not_begin(fpdb, library_url):
    read_only = f"{library_url}&options=-c%20default_transaction_read_only%3Don"
    run = fpdb(read_only, "worker", "--once")
    assert (run.returncode, "name the primary server" in run.stderr) == (2, True)


def test_an_unknown_queue_is_refused(fpdb, library_url):
    run = fpdb(library_url, "worker", "--queues", "landmark,nothing")
    assert run.returncode == 2
    assert "the queues are query, landmark, embedding" in run.stderr


def test_the_queue_skips_the_same_bytes_and_takes_failed_and_changed_files_again(
    fpdb, empty_url, recordings, json_lines, tmp_path
):
    assert fpdb(empty_url, "init", "--model", "builtin").returncode == 0
    one = tmp_path / "one.flac"
    one.write_bytes((recordings / "below" / "one.flac").read_bytes())
    (tmp_path / "copy.flac").write_bytes(one.read_bytes())
    (tmp_path / "bad.mp3").write_text("no music")

    def queue():
        lines = json_lines(fpdb(empty_url, "ingest", "--queue", "--json", tmp_path))
        return {line["uri"].rpartition("/")[2]: line["status"] for line in lines}

    assert queue() == {"bad.mp3": "queued", "copy.flac": "queued", "one.flac": "skipped"}
    # What waits is done by a direct ingest too, and not twice.
    done = json_lines(fpdb(empty_url, "ingest", "--json", tmp_path / "copy.flac", one))
    assert [line["status"] for line in done] == ["ready", "skipped"]
    assert fpdb(empty_url, "worker", "--once").returncode == 0
    assert queue() == {"bad.mp3": "queued", "copy.flac": "skipped", "one.flac": "skipped"}
    (tmp_path / "copy.flac").write_bytes((recordings / "three.mp3").read_bytes())
    (tmp_path / "bad.mp3").write_bytes((recordings / "two.wav").read_bytes())
    assert queue() == {"bad.mp3": "queued", "copy.flac": "queued", "one.flac": "skipped"}
    assert fpdb(empty_url, "worker", "--once").returncode == 0
    # Only now is the sound of one.flac gone from the collection.
    assert queue() == {"bad.mp3": "skipped", "copy.flac": "skipped", "one.flac": "queued"}
    assert fpdb(empty_url, "worker", "--once").returncode == 0
    lines = json_lines(fpdb(empty_url, "list", "--json"))
    assert [line["status"] for line in lines] == ["ready"] * 3
    assert all(line["title"] for line in lines)


@pytest.mark.parametrize("command", [("worker", "--once"), ("ingest",)])
def test_what_waits_is_packed_when_that_is_due(fpdb, migrated_url, recordings, command):
    file = recordings / "two.wav"
    assert fpdb(migrated_url, "ingest", file).returncode == 0
    with psycopg.connect(migrated_url, autocommit=True) as connection:
        count = "SELECT (SELECT count(*) FROM fpdb.run), (SELECT count(*) FROM fpdb.delta)"
        runs, rows = connection.execute(count).fetchone()
        assert (runs, rows > 0) == (0, True)
        connection.execute(
            "INSERT INTO fpdb.delta (asset_id, profile_id, hash, frame)"
            " SELECT asset_id, profile_id, n % 9999, n / 100"
            " FROM fpdb.asset, generate_series(1, 100000) n"
        )
        arguments = [file] if command == ("ingest",) else []
        assert fpdb(migrated_url, *command, *arguments).returncode == 0
        assert connection.execute(count).fetchone() == (1, 0)
    assert fpdb(migrated_url, "identify", file).returncode == 0
