"""worker --check: whether the worker of a host is alive, as a container's health check asks."""

import os
import signal
import subprocess
import sys
import time

OFTEN = {"FPDB_POLL_SEC": "0.3", "FPDB_HEARTBEAT_SEC": "0.3"}


def test_a_worker_that_works_is_alive_and_one_that_hangs_is_not(
    fpdb, environment, migrated_url, tmp_path
):
    lately = {"FPDB_STALLED_AFTER_SEC": "3"}
    nobody = fpdb(migrated_url, "worker", "--check", FPDB_STALLED_AFTER_SEC="0.5")
    assert nobody.returncode == 1
    assert nobody.stderr == "no worker here has given a sign of life for 0.5 s\n"

    worker = subprocess.Popen(
        [sys.executable, "-m", "fingerprintdb", "worker", "--concurrency", "1"],
        env=environment | OFTEN | {"FPDB_DATABASE_URL": migrated_url},
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert worker.stdout is not None
        assert worker.stdout.readline().startswith("worker: ")
        time.sleep(2)
        assert fpdb(migrated_url, "worker", "--check", **lately).returncode == 0
        worker.send_signal(signal.SIGSTOP)
        time.sleep(3)
        assert fpdb(migrated_url, "worker", "--check", **lately).returncode == 1
    finally:
        os.kill(worker.pid, signal.SIGCONT)
        worker.terminate()
        worker.wait()
        worker.stdout.close()


def test_it_says_why_it_cannot_tell(fpdb, tmp_path):
    run = fpdb(None, "--data-dir", tmp_path / "data", "worker", "--check")
    assert run.returncode == 2
    assert "name one in FPDB_DATABASE_URL" in run.stderr
    assert not (tmp_path / "data").exists()
    assert fpdb("postgresql://nobody@127.0.0.1:1/none", "worker", "--check").returncode == 2
