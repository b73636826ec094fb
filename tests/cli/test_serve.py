"""serve and key: the service as a process, who may come in, and how it ends."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest


@contextmanager
def serving(environment, url, *arguments) -> Iterator[tuple[subprocess.Popen, str]]:
    """Run `fpdb serve` on a free port, and return where."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    variables = environment | ({"FPDB_DATABASE_URL": url} if url else {})
    with subprocess.Popen(
        [sys.executable, "-m", "fingerprintdb", "serve", "--port", str(port), *arguments],
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process, f"http://127.0.0.1:{port}"
        finally:
            process.kill()


def children(pid: int) -> list[int]:
    """Return the children of a process."""
    found = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(key) for path in found for key in path.read_text().split()]


def wait_for(base: str, process: subprocess.Popen, path: str, status: int) -> httpx.Response:
    """Ask until the answer is this one."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            answer = httpx.get(base + path)
        except httpx.TransportError:
            time.sleep(0.1)
            continue
        if answer.status_code == status:
            return answer
        time.sleep(0.1)
    raise AssertionError(f"the service did not answer: {process.communicate()}")


def test_one_command_takes_a_file_and_finds_it(environment, recordings, tmp_path):
    home = environment | {"FPDB_DATA_DIR": str(tmp_path / "data"), "FPDB_CONCURRENCY": "1"}
    piece = recordings / "two.wav"
    with serving(home, None) as (process, base):
        wait_for(base, process, "/api/v1/health/live", 200)
        sent = {"file": (piece.name, piece.read_bytes())}
        song = httpx.post(f"{base}/upload", files=sent, data={"wait_sec": 60}, timeout=70).json()
        assert song["status"] == "ready"
        found = httpx.post(f"{base}/predict", files=sent, timeout=30).json()
        assert (found["found"], found["song_id"]) == (True, song["song_id"])
        assert wait_for(base, process, "/api/v1/health", 200).json()["status"] == "ready"
        # The worker has processes that compute; where it dies, another begins.
        (worker,) = [key for key in children(process.pid) if children(key)]
        os.kill(worker, signal.SIGKILL)
        other = {"file": ("three.mp3", (recordings / "three.mp3").read_bytes())}
        song = httpx.post(f"{base}/upload", files=other, data={"wait_sec": 60}, timeout=70).json()
        assert song["status"] == "ready"
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, err)
    assert "Traceback" not in err
    # Who leaves last stops the embedded server.
    assert not (tmp_path / "data" / "postgres" / "postmaster.pid").exists()
    assert f"serving {base}/ with a worker, until Ctrl-C" in out


def test_beyond_loopback_it_asks_for_a_key(fpdb, library_url):
    refused = fpdb(library_url, "serve", "--host", "0.0.0.0")
    assert refused.returncode == 2
    assert "fpdb key add NAME --write" in refused.stderr


def test_a_port_in_use_is_told(fpdb_process, library_url):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        run = fpdb_process(library_url, "serve", "--port", taken.getsockname()[1])
    assert run.returncode == 2
    assert "Address already in use — choose another: --host, --port" in run.stderr


def test_ctrl_c_ends_it_quietly(environment, library_url):
    with serving(environment, library_url, "--no-worker") as (process, base):
        wait_for(base, process, "/api/v1/health/live", 200)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")


def test_keys_are_made_listed_and_revoked(fpdb, library_url, json_lines):
    secret = fpdb(library_url, "key", "add", "radio", "--collection", "ads", "--write").stdout
    assert secret.startswith("fpdb_")
    again = fpdb(library_url, "key", "add", "radio")
    assert (again.returncode, "there is a key 'radio' already" in again.stderr) == (2, True)
    (listed,) = json_lines(fpdb(library_url, "key", "list", "--json"))
    assert (listed["name"], listed["collection"], listed["may_write"]) == ("radio", "ads", True)
    assert secret.strip() not in str(listed)
    assert "read and write" in fpdb(library_url, "key", "list").stdout
    assert fpdb(library_url, "key", "revoke", "radio").returncode == 0
    gone = fpdb(library_url, "key", "revoke", "radio")
    assert (gone.returncode, "fpdb key list" in gone.stderr) == (2, True)
    assert fpdb(library_url, "key", "add", "radio").returncode == 0


@pytest.mark.parametrize("missing", ["fastapi", "uvicorn"])
def test_without_the_extra_it_says_what_to_install(
    fpdb, library_url, missing, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delitem(sys.modules, "fingerprintdb.api.app", raising=False)
    monkeypatch.setitem(sys.modules, missing, None)
    run = fpdb(library_url, "serve")
    assert run.returncode == 2
    assert 'pip install "fingerprintdb[api]"' in run.stderr


def test_a_worker_tells_prometheus_its_stages(environment, library_url, recordings, fpdb):
    fpdb(library_url, "ingest", "--queue", recordings / "two.wav")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with subprocess.Popen(
        [sys.executable, "-m", "fingerprintdb", "worker", "--metrics-port", str(port)],
        env=environment
        | {"FPDB_DATABASE_URL": library_url, "FPDB_LOG_LEVEL": "info", "FPDB_LOG_FORMAT": "json"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            deadline = time.monotonic() + 60
            told = ""
            while 'fpdb_job_seconds_count{kind="landmark",outcome="done"} 1.0' not in told:
                assert time.monotonic() < deadline
                assert process.poll() is None
                time.sleep(0.1)
                try:
                    told = httpx.get(f"http://127.0.0.1:{port}/metrics").text
                except httpx.TransportError:
                    continue
        finally:
            process.send_signal(signal.SIGTERM)
            _, err = process.communicate(timeout=60)
    for stage in ("decode", "landmarks", "store"):
        assert f'fpdb_job_stage_seconds_count{{kind="landmark",stage="{stage}"}} 1.0' in told
    lines = [line for line in err.splitlines() if '"kind": "landmark"' in line]
    assert len(lines) == 1
    assert '"timings_ms": {' in lines[0]
    assert '"uri": "' in lines[0]
