"""demo: the main job, and the commands that it tells people to try."""

import re
import shlex
import subprocess


def test_demo_finds_the_excerpt_and_its_hints_work(fpdb, environment, tmp_path):
    run = fpdb(None, "demo", cwd=tmp_path, FPDB_DATA_DIR="data")
    assert run.returncode == 0, run.stdout + run.stderr
    found = re.search(r"where: +(\d+):([\d.]+) \(truly (\d+):([\d.]+)\)", run.stdout)
    assert found
    said, true = (60 * int(found[n]) + float(found[n + 1]) for n in (1, 3))
    assert abs(said - true) <= 0.2
    assert re.search(r"how sure: +\d+\.\d %\n +took: +\d+ ms\n", run.stdout)

    _, _, hints = run.stdout.partition("Try next:\n")
    commands = hints.splitlines()
    assert len(commands) == 3
    for command in commands:
        assert shlex.split(command)[0] == "FPDB_DATA_DIR=data"
        tried = subprocess.run(
            ["/bin/sh", "-c", command],  # as a person would
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        assert tried.returncode == 0, tried.stderr.decode()


def test_demo_without_recordings(fpdb, tmp_path):
    (tmp_path / "music").mkdir()
    run = fpdb(None, "demo", "music", cwd=tmp_path, FPDB_DATA_DIR="data")
    assert run.returncode == 2
    assert "there is nothing to ingest" in run.stderr
