"""ingest --queue leaves the work, and the worker does it."""


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


def test_an_unknown_queue_is_refused(fpdb, library_url):
    run = fpdb(library_url, "worker", "--queues", "landmark,nothing")
    assert run.returncode == 2
    assert "the queues are query, landmark, embedding" in run.stderr
