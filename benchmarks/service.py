"""Asks a running service what clips are, with more and more clients at once.

`python -m benchmarks.service [MUSIC_DIR …]` makes a collection (benchmarks.distractors), serves it
with `fpdb serve` as a user would, and sends 10-s mp3 clips to POST /api/v1/search over loopback.
The clients run on the same processors, in a process of their own.
"""

import argparse
import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, nullcontext
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks import distractors
from benchmarks.collection import album_in, ingest_files
from benchmarks.excerpts import RATE_HZ, excerpts, music_in, spoilt
from fingerprintdb.encoding import encode
from fingerprintdb.store import migration
from fingerprintdb.store.database import connect
from fingerprintdb.store.embedded import embedded_server
from fingerprintdb.store.index import compact_when_due

CONDITIONS = ("clean", "pink 10 dB")


def main() -> None:
    """Run the benchmark and print its table, or one JSON object."""
    options = _options()
    console = Console(stderr=True)
    kept = nullcontext(options.keep) if options.keep else tempfile.TemporaryDirectory("-service")
    with kept as name:
        folder = Path(name)
        files = music_in(options.music or [album_in(folder / "album", console)])
        with embedded_server(folder / "database") as url:
            if not (folder / "complete").exists():
                _fill(url, files[: options.pieces], options.recordings, console)
                (folder / "complete").touch()
            clips = _clips(folder / "clips", files[: options.pieces])
            with _served(url, options.connections) as port:
                report = [
                    _asked(port, clips, clients, options.seconds) for clients in options.clients
                ]
    if options.json:
        print(json.dumps(report))
        return
    table = Table(*("clients", "requests", "a second", "p50 ms", "p95 ms", "p99 ms"))
    for column in ("failed", "right"):
        table.add_column(column)
    for row in report:
        table.add_row(
            f"{row['clients']}",
            f"{row['requests']}",
            f"{row['a_second']:.1f}",
            *(f"{row[name]:.0f}" for name in ("p50_ms", "p95_ms", "p99_ms")),
            f"{row['failed']}",
            f"{row['right']}",
        )
    Console().print(table)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("music", type=Path, nargs="*", help="default: the album of the demo")
    parser.add_argument("--recordings", type=int, default=1000, help="in all, of four minutes")
    parser.add_argument("--pieces", type=int, default=12, help="real pieces among them")
    parser.add_argument("--clients", default="1,8,32", help="at once, with commas")
    parser.add_argument("--connections", type=int, default=4, help="of the service, to Postgres")
    parser.add_argument("--seconds", type=float, default=20.0, help="for each number of clients")
    parser.add_argument("--keep", type=Path, help="a folder for the database, which stays")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    options.clients = [int(text) for text in options.clients.split(",")]
    return options


def _fill(url: str, files: list[Path], recordings: int, console: Console) -> None:
    migration.upgrade(url)
    with connect(url) as connection:
        ingest_files(connection, files, console)
        distractors.fill(connection, recordings - len(files), console)
        compact_when_due(connection)
        connection.execute("ANALYZE")
        connection.execute("CHECKPOINT")


def _clips(folder: Path, files: list[Path]) -> list[tuple[str, bytes]]:
    """Return clips as mp3 files, with the title of the piece that each is of."""
    folder.mkdir(exist_ok=True)
    clips = []
    for number, path in enumerate(files):
        for excerpt in excerpts(path, CONDITIONS, (10.0,), 1):
            file = folder / f"{number}-{excerpt.condition}.mp3"
            encode(file, spoilt(excerpt), RATE_HZ, bit_rate=128_000)
            clips.append((str(path), file.read_bytes()))
    return clips


@contextmanager
def _served(url: str, connections: int) -> Iterator[int]:
    """Run `fpdb serve` on a free port, and return that."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    variables = {"FPDB_DATABASE_URL": url, "FPDB_CONNECTIONS": str(connections)}
    with subprocess.Popen(
        [sys.executable, "-m", "fingerprintdb", "serve", "--port", str(port), "--no-worker"],
        env=os.environ | variables,
        stdout=subprocess.DEVNULL,
    ) as service:
        try:
            while service.poll() is None:
                try:
                    socket.create_connection(("127.0.0.1", port)).close()
                except ConnectionRefusedError:
                    time.sleep(0.1)
                else:
                    break
            yield port
        finally:
            service.terminate()


def _asked(
    port: int, clips: list[tuple[str, bytes]], clients: int, lasting_sec: float
) -> dict[str, Any]:
    """Return what so many clients get; they run where they do not slow this process."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as apart:
        apart.submit(_ask, port, clips, 1, 2.0).result()  # warm
        return apart.submit(_ask, port, clips, clients, lasting_sec).result()


def _ask(
    port: int, clips: list[tuple[str, bytes]], clients: int, lasting_sec: float
) -> dict[str, Any]:
    bodies = [(uri, *_form(content)) for uri, content in clips]
    elapsed_ms: list[float] = []
    right: list[bool] = []
    failures: list[str] = []
    began = time.perf_counter()

    def client(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        asked = number
        while time.perf_counter() - began < lasting_sec:
            uri, body, content_type = bodies[asked % len(bodies)]
            asked += 1
            since = time.perf_counter()
            try:
                connection.request(
                    "POST", "/api/v1/search?k=1", body, {"Content-Type": content_type}
                )
                response = connection.getresponse()
                answer = response.read()
            except OSError as error:
                failures.append(type(error).__name__)
                connection.close()
                continue
            elapsed_ms.append((time.perf_counter() - since) * 1000)
            if response.status != 200:
                failures.append(answer.decode()[:200])
                continue
            matches = json.loads(answer)["matches"]
            right.append(bool(matches) and matches[0]["uri"] == uri)
        connection.close()

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    spent_sec = time.perf_counter() - began
    p50_ms, p95_ms, p99_ms = np.percentile(elapsed_ms, [50, 95, 99])
    return {
        "clients": clients,
        "requests": len(elapsed_ms),
        "a_second": len(elapsed_ms) / spent_sec,
        "p50_ms": float(p50_ms),
        "p95_ms": float(p95_ms),
        "p99_ms": float(p99_ms),
        "failed": len(failures),
        "failures": sorted(set(failures)),
        "right": sum(right),
    }


def _form(content: bytes) -> tuple[bytes, str]:
    boundary = uuid.uuid4().hex
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="clip.mp3"\r\n'
        "Content-Type: audio/mpeg\r\n\r\n"
    )
    body = head.encode() + content + f"\r\n--{boundary}--\r\n".encode()
    return body, f"multipart/form-data; boundary={boundary}"


if __name__ == "__main__":
    main()
