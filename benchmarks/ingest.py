"""Says how fast recordings come in, stage by stage, beside the decoder alone.

`python -m benchmarks.ingest MUSIC_DIR …` makes mp3 files of the music, runs the landmark job of
each on a fresh embedded database as a worker does (decode, landmarks, sub-fingerprints, COPY,
commit), goes on with the same files in other collections to see whether a growing index slows it,
and lets `fpdb worker` take in a queue with one job at a time and with one a core.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.excerpts import RATE_HZ, music_in, samples_of
from fingerprintdb.audio import decode
from fingerprintdb.embedding import load
from fingerprintdb.embedding.builtin import CONFIDENCE
from fingerprintdb.encoding import encode
from fingerprintdb.extractor import Extractor
from fingerprintdb.pipeline import process_landmarks
from fingerprintdb.profile import ACCURATE
from fingerprintdb.store import asset as assets
from fingerprintdb.store import migration
from fingerprintdb.store.database import Connection, connect
from fingerprintdb.store.embedded import embedded_server
from fingerprintdb.store.model import choose_model
from fingerprintdb.store.profile import register_profiles

BIT_RATE = 128_000
STAGES = ("decode", "landmarks", "sub_fingerprints", "store")


def main() -> None:
    """Run the benchmark and print its tables, or one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("music", type=Path, nargs="+")
    parser.add_argument("--recordings", type=int, default=1000, help="how many come in, in all")
    parser.add_argument("--pieces", type=int, default=40, help="different ones among them")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    console = Console(stderr=True)
    with tempfile.TemporaryDirectory(prefix="fpdb-bench-") as folder:
        files = []
        for path in track(music_in(options.music)[: options.pieces], "mp3 files", console=console):
            files.append(Path(folder, f"{path.stem}.mp3"))
            encode(files[-1], samples_of(path), RATE_HZ, bit_rate=BIT_RATE)
        with embedded_server(Path(folder, "database")) as url:
            migration.upgrade(url)
            with connect(url) as connection:
                _prepare(connection)
                report = {"decoder": _decoder(files)} | _jobs(
                    connection, files, options.recordings, console
                )
            report["worker"] = [_worker(url, files, jobs) for jobs in _concurrencies()]
    if options.json:
        print(json.dumps(report))
    else:
        _show(report)


def _prepare(connection: Connection) -> None:
    embedder = load("builtin")
    register_profiles(connection)
    choose_model(connection, embedder, confidence=CONFIDENCE)


def _decoder(files: list[Path]) -> dict[str, float]:
    """Return what decoding alone costs, to what the landmarks listen to: mono, 11,025 Hz."""
    samples, began, began_cpu = 0, time.perf_counter(), time.process_time()
    for file in files:
        samples += sum(map(len, decode(file, ACCURATE.sample_rate_hz)))
    sound_sec = samples / ACCURATE.sample_rate_hz
    return {
        "sound_sec": sound_sec,
        "x_real_time": sound_sec / (time.perf_counter() - began),
        "x_real_time_cpu": sound_sec / (time.process_time() - began_cpu),
    }


def _jobs(
    connection: Connection, files: list[Path], recordings: int, console: Console
) -> dict[str, Any]:
    """Run the landmark jobs of many assets one after the other, and return what they cost."""
    extractor, spent, seconds, sound_sec = Extractor(), [], [], []
    began_cpu = time.process_time()
    for number in track(range(recordings), "landmark jobs", console=console):
        asset_id = _insert(connection, files[number % len(files)], number // len(files))
        claim = assets.claim(connection, asset_id, "landmark", 1)
        assert claim is not None
        began = time.perf_counter()
        spent.append(process_landmarks(connection, claim, extractor))
        seconds.append(time.perf_counter() - began)
        row = connection.execute(
            "SELECT duration_sec FROM fpdb.asset WHERE asset_id = %s", (asset_id,)
        ).fetchone()
        assert row is not None
        sound_sec.append(float(row[0]))
    cpu_sec = time.process_time() - began_cpu
    tenth = max(1, recordings // 10)
    speeds = np.array(sound_sec) / np.array(seconds)
    return {
        "recordings": recordings,
        "hours": sum(sound_sec) / 3600,
        "x_real_time": sum(sound_sec) / sum(seconds),
        "x_real_time_cpu": sum(sound_sec) / cpu_sec,
        "share": {
            stage: sum(ms.get(stage, 0.0) for ms in spent) / 1000 / sum(seconds) for stage in STAGES
        },
        "x_real_time_by_tenth": [
            float(np.median(speeds[first : first + tenth]))
            for first in range(0, recordings - tenth + 1, tenth)
        ],
    }


def _insert(connection: Connection, file: Path, collection: int) -> int:
    connection.execute(
        "INSERT INTO fpdb.collection (name) VALUES (%s) ON CONFLICT DO NOTHING",
        (f"copy {collection}",),
    )
    row = connection.execute(
        "INSERT INTO fpdb.asset (uri, collection, embedding_status) VALUES (%s, %s, 'ready')"
        " RETURNING asset_id",
        (str(file), f"copy {collection}"),
    ).fetchone()
    assert row is not None
    return int(row[0])


def _concurrencies() -> list[int]:
    return sorted({1, os.cpu_count() or 1})


def _worker(url: str, files: list[Path], concurrency: int) -> dict[str, float]:
    """Let `fpdb worker --once` take in a queue of landmark jobs."""
    with connect(url) as connection:
        connection.execute("DELETE FROM fpdb_queue.procrastinate_jobs")
        for number in range(4):
            for file in files:
                _insert(connection, file, 1000 * concurrency + number)
    command = [sys.executable, "-m", "fingerprintdb", "--database-url", url, "worker", "--once"]
    began = time.perf_counter()
    subprocess.run(
        [*command, "--queues", "landmark", "--concurrency", str(concurrency)],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    seconds = time.perf_counter() - began
    with connect(url) as connection:
        # Between the first that is ready and the last, so that neither the start counts nor the
        # packing of the index at the end.
        row = connection.execute(
            "SELECT sum(duration_sec) FILTER (WHERE processed_at > first), min(first),"
            " max(processed_at) FROM (SELECT *, min(processed_at) OVER () AS first FROM fpdb.asset"
            "  WHERE collection LIKE %s AND landmark_status = 'ready')",
            (f"copy {concurrency}00_",),
        ).fetchone()
    assert row is not None
    working_sec = (row[2] - row[1]).total_seconds()
    return {
        "jobs": concurrency,
        "x_real_time": float(row[0]) / working_sec,
        "start_and_pack_sec": seconds - working_sec,
    }


def _show(report: dict[str, Any]) -> None:
    console = Console()
    decoder = report["decoder"]
    table = Table("", "× real time", "× real time a core (CPU)", title="mp3 to the store")
    for name, row in (("decoder alone", decoder), ("landmark job, one after the other", report)):
        table.add_row(name, f"{row['x_real_time']:.0f}", f"{row['x_real_time_cpu']:.0f}")
    for row in report["worker"]:
        table.add_row(f"fpdb worker, {row['jobs']} at once", f"{row['x_real_time']:.0f}", "")
    console.print(table)
    console.print(
        "a worker's start and its packing of the index at the end took besides: "
        + ", ".join(f"{row['start_and_pack_sec']:.1f} s" for row in report["worker"])
    )
    shares = ", ".join(f"{stage} {100 * share:.0f} %" for stage, share in report["share"].items())
    console.print(f"where a job's time goes: {shares}")
    tenths = ", ".join(f"{speed:.0f}" for speed in report["x_real_time_by_tenth"])
    console.print(
        f"× real time by tenth of {report['recordings']} recordings"
        f" ({report['hours']:.1f} h): {tenths}"
    )


if __name__ == "__main__":
    main()
