"""Work in other processes: it ends with a result, an error, the process's death or the parent's."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from fingerprintdb.album import SAMPLE_RATE_HZ, pieces
from fingerprintdb.audio import AudioError
from fingerprintdb.embedding import load
from fingerprintdb.encoding import encode
from fingerprintdb.extraction import Timings, Windowing
from fingerprintdb.extractor import Extractor
from fingerprintdb.processes import ProcessDiedError, Processes
from fingerprintdb.profile import ACCURATE
from fingerprintdb.warp import AS_RECORDED


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def refuse() -> None:
    raise AudioError("it is no music", "play some")


def nap(seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


def test_what_a_function_raises_is_raised_with_its_remedy() -> None:
    with Processes(1) as processes, pytest.raises(AudioError, match="no music — play some"):
        processes.run(refuse)


def modules() -> list[str]:
    return list(sys.modules)


def test_all_can_be_started_before_their_first_call() -> None:
    with Processes(1) as processes:
        processes.start("fingerprintdb.clip")
        assert "fingerprintdb.clip" in processes.run(modules)


def test_a_process_that_dies_takes_only_its_own_work_along() -> None:
    with Processes(2) as processes, ThreadPoolExecutor(2) as threads:
        other = threads.submit(processes.run, nap, 1.0)
        with pytest.raises(ProcessDiedError, match="decoder crashed, or memory ran out") as told:
            processes.run(die)
        assert told.value.transient
        survivor = other.result()
        assert survivor != os.getpid()
        assert {processes.run(nap, 0.0) for _ in range(3)} == {survivor}
        # Where it stood, another works.
        pair = list(threads.map(lambda _: processes.run(nap, 0.5), range(2)))
        assert len(set(pair)) == 2


def test_processes_die_with_a_parent_that_is_killed() -> None:
    code = (
        "import os, signal\n"
        "from fingerprintdb.processes import Processes\n"
        "if __name__ == '__main__':\n"
        "    print(Processes(1).run(os.getpid), flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    parent = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True
    )
    assert parent.returncode == -signal.SIGKILL
    child = int(parent.stdout)
    for _ in range(200):
        if not _runs(child):
            return
        time.sleep(0.05)
    os.kill(child, signal.SIGKILL)
    pytest.fail("the process outlived its parent")


def _runs(pid: int) -> bool:
    """Say whether a process runs; one that waits to be buried does not."""
    told = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(pid)], check=False, capture_output=True, text=True
    ).stdout.strip()
    return bool(told) and not told.startswith("Z")


def test_the_stages_find_the_same_in_a_process_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "piece.flac"
    encode(path, next(pieces()).samples[: 15 * SAMPLE_RATE_HZ], SAMPLE_RATE_HZ)
    embedder, here, there = load("builtin"), Timings(), Timings()
    extractor = Extractor()
    with extractor.open(str(path)) as source:
        near, near_segments = extractor.both(
            source, ACCURATE, embedder, Windowing(), here, AS_RECORDED
        )
    with Processes(1) as processes:
        extractor = Extractor(processes=processes)
        with extractor.open(str(path)) as source:
            far, far_segments = extractor.both(
                source, ACCURATE, embedder, Windowing(), there, AS_RECORDED
            )
    assert (near.landmarks.hashes == far.landmarks.hashes).all()
    assert (near.sub_fingerprints.bits == far.sub_fingerprints.bits).all()
    assert len(near_segments) == len(far_segments) > 1
    for one, other in zip(near_segments, far_segments, strict=True):
        # Which BLAS a process has, and with how many threads, is seen in the last digits.
        np.testing.assert_allclose(one.vector, other.vector, atol=1e-6)
    assert list(here.ms) == list(there.ms)
    assert min(there.ms.values()) > 0
