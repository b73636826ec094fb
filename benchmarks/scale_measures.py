"""Measures what an index costs: bytes, time, pages, memory, and what many clients get."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from fingerprintdb.store.database import Connection, connect
from fingerprintdb.store.match import Question, Scope, propose

Asked = list[Question]
ALIGNED_BYTES = 8
PAGE_BYTES = 8192


def sizes(connection: Connection) -> dict[str, float]:
    """Return bytes a recording and a posting, indexes included.

    `live` leaves out the space that merging freed for the next merge: bytes of rows, measured on a
    sample, and of index entries.
    """
    connection.execute("VACUUM (ANALYZE) fpdb.posting, fpdb.delta, fpdb.run, fpdb.tier, fpdb.block")
    row = connection.execute(
        "SELECT sum(pg_total_relation_size(c.oid)) FILTER (WHERE c.relname IN"
        "  ('posting', 'delta', 'tier', 'run', 'block')), sum(pg_total_relation_size(c.oid))"
        "  FILTER (WHERE c.relname = 'sub_fingerprint'),"
        " (SELECT count(*) FROM fpdb.asset), (SELECT sum(postings) FROM fpdb.block),"
        " (SELECT reltuples FROM pg_class WHERE oid = 'fpdb.posting'::regclass),"
        " sum(pg_total_relation_size(c.oid)) FILTER (WHERE c.relname IN ('tier', 'run', 'block')),"
        " (SELECT count(*) FROM fpdb.run),"
        " (SELECT sum(duration_sec) FROM fpdb.asset)"
        " FROM pg_class c WHERE c.relnamespace = 'fpdb'::regnamespace AND c.relkind = 'r'"
    ).fetchone()
    assert row is not None
    landmarks, bits, assets, postings, rows, blocks, runs, seconds = map(float, row)
    sampled = connection.execute(
        "SELECT avg(ceil((24 + 8 + pg_column_size(entries)) / %s::float8) * %s + 4)"
        " FROM fpdb.posting TABLESAMPLE SYSTEM (%s)",
        (ALIGNED_BYTES, ALIGNED_BYTES, min(100.0, 1e7 / max(rows, 1))),
    ).fetchone()
    assert sampled is not None
    # An index entry takes 16 bytes and a pointer of 4 in pages that are nine tenths full.
    live = rows * (float(sampled[0]) * PAGE_BYTES / (PAGE_BYTES - 24) + 20 / 0.9) + blocks
    return {
        "assets": assets,
        "seconds": seconds,
        "runs": runs,
        "postings": postings,
        "landmark_bytes": landmarks,
        "landmark_live_bytes": min(live, landmarks),
        "sub_fingerprint_bytes": bits,
        "bytes_a_posting": landmarks / postings,
        "live_bytes_a_posting": min(live, landmarks) / postings,
        "bytes_a_recording": (landmarks + bits) / assets,
        "live_bytes_a_recording": (min(live, landmarks) + bits) / assets,
    }


def warm(
    connection: Connection, questions: Asked, budget: int, stage: str, rounds: int
) -> dict[str, float]:
    """Return what a match call costs after one round that nobody counts."""
    scope = Scope()

    def ask(question: Question) -> None:
        propose(connection, question, scope, max_postings=budget, stage=stage)

    for question in questions:
        ask(question)
    before, cpu = touched(connection), _cpu_ms(connection)
    elapsed_ms = []
    for question in questions * rounds:
        began = time.perf_counter()
        ask(question)
        elapsed_ms.append((time.perf_counter() - began) * 1000)
    spent = _cpu_ms(connection)
    after = touched(connection)
    calls = len(elapsed_ms)
    found = {
        "p50_ms": float(np.median(elapsed_ms)),
        "p95_ms": float(np.percentile(elapsed_ms, 95)),
        "rows": (after["rows"] - before["rows"]) / calls,
        "buffers": (after["buffers"] - before["buffers"]) / calls,
        "hashes": float(np.median([len(question.landmarks) for question in questions])),
    }
    if cpu is not None and spent is not None:
        found["cpu_ms"] = (spent - cpu) / calls
    return found


def touched(connection: Connection) -> dict[str, int]:
    """Return rows fetched and pages touched in our tables so far, by anybody."""
    connection.execute("SELECT pg_stat_force_next_flush()")
    row = connection.execute(
        "SELECT sum(coalesce(s.seq_tup_read, 0) + coalesce(s.idx_tup_fetch, 0)),"
        " sum(heap_blks_hit + heap_blks_read + coalesce(idx_blks_hit + idx_blks_read, 0)"
        "  + coalesce(toast_blks_hit + toast_blks_read, 0)"
        "  + coalesce(tidx_blks_hit + tidx_blks_read, 0))"
        " FROM pg_stat_user_tables s JOIN pg_statio_user_tables i USING (relid)"
        " WHERE s.schemaname = 'fpdb'"
    ).fetchone()
    assert row is not None
    return {"rows": int(row[0]), "buffers": int(row[1])}


def memory_mb(url: str, questions: Asked, budget: int, stage: str) -> float | None:
    """Return the most private memory of a fresh backend while it answers, sampled each 2 ms."""
    with connect(url) as connection:
        status = Path(f"/proc/{connection.info.backend_pid}/status")
        if not status.exists():
            return None
        most, done = 0.0, threading.Event()

        def watch() -> None:
            nonlocal most
            while not done.wait(0.002):
                most = max(most, _private_mb(status))

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            for question in questions:
                propose(connection, question, Scope(), max_postings=budget, stage=stage)
        finally:
            done.set()
            watcher.join()
    return most


def calls_a_second(
    url: str, questions: Asked, budget: int, clients: int, lasting_sec: float
) -> float:
    """Return how many match calls of the plain stage so many clients get a second, in all."""
    counts = [0] * clients
    ready = threading.Barrier(clients + 1)
    end = [float("inf")]

    def client(number: int) -> None:
        with connect(url) as connection:
            for question in questions[:2]:
                propose(connection, question, Scope(), max_postings=budget, stage="plain")
            ready.wait()
            asked = number
            while time.perf_counter() < end[0]:
                one = questions[asked % len(questions)]
                propose(connection, one, Scope(), max_postings=budget, stage="plain")
                counts[number] += 1
                asked += 1

    threads = [threading.Thread(target=client, args=(n,), daemon=True) for n in range(clients)]
    for thread in threads:
        thread.start()
    began = time.perf_counter()
    end[0] = began + 600
    ready.wait(timeout=120)
    began = time.perf_counter()
    end[0] = began + lasting_sec
    for thread in threads:
        thread.join()
    return sum(counts) / (time.perf_counter() - began)


def forget(folder: Path) -> str:
    """Drop a stopped server's files from the cache of the system; return how.

    Only its own files: the rest of the machine keeps its cache.
    """
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            with path.open("rb") as file:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return "server restarted, its files dropped from the cache (posix_fadvise)"


@contextmanager
def timed(found: dict[str, float], name: str) -> Iterator[None]:
    """Book the seconds of a block."""
    began = time.perf_counter()
    yield
    found[name] = found.get(name, 0.0) + time.perf_counter() - began


def _cpu_ms(connection: Connection) -> float | None:
    """Return the processor time of a local backend: what others do to the machine tells less."""
    path = Path(f"/proc/{connection.info.backend_pid}/schedstat")
    try:
        return int(path.read_text().split()[0]) / 1e6
    except OSError:
        return None


def _private_mb(status: Path) -> float:
    try:
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
    except OSError:
        return 0.0
    return int(lines["RssAnon"].split()[0]) / 1024


def growth(points: list[dict[str, Any]], value: Callable[[dict[str, Any]], float]) -> float | None:
    """Return the slope of log value over log recordings; None of fewer than two sizes."""
    if len(points) < 2:
        return None
    logs = np.log([[point["recordings"], value(point)] for point in points])
    return float(np.polyfit(logs[:, 0], logs[:, 1], 1)[0])
