"""Grows a collection from a hundred recordings on, and measures what it costs to store and to ask.

`python -m benchmarks.scale [MUSIC_DIR …]` ingests a few real pieces through the product, then adds
synthetic recordings with their statistics (benchmarks.distractors). Some come as a user's would, by
COPY into fpdb.delta and fpdb.compact(); the rest as packed runs, which fpdb.compact() merges.
"""

import argparse
import json
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from benchmarks import distractors, narrow_layout
from benchmarks.collection import album_in, ingest_files
from benchmarks.excerpts import RATE_HZ, excerpts, music_in, spoilt
from benchmarks.scale_measures import (
    calls_a_second,
    forget,
    growth,
    memory_mb,
    sizes,
    timed,
    warm,
)
from benchmarks.scale_report import draw, show
from fingerprintdb.cascade import Search, nobody, question, searches
from fingerprintdb.clip import hear
from fingerprintdb.encoding import encode
from fingerprintdb.extraction import Timings
from fingerprintdb.extractor import Extractor
from fingerprintdb.identification import identify
from fingerprintdb.source import open_source
from fingerprintdb.store import migration
from fingerprintdb.store.database import Connection, connect
from fingerprintdb.store.embedded import embedded_server
from fingerprintdb.store.index import compact_when_due
from fingerprintdb.store.landmarks import copy_postings
from fingerprintdb.store.match import Question, Scope, propose
from fingerprintdb.store.profile import active_profile, mark_stored
from fingerprintdb.store.subfingerprints import copy_sub_fingerprints
from fingerprintdb.subfingerprints import SubFingerprints

CLIENTS = 8
Questions = dict[str, list[Question]]


def main() -> None:
    """Run the benchmark and print its tables, or one JSON object."""
    options = _options()
    console = Console(stderr=True)
    kept = nullcontext(options.keep) if options.keep else tempfile.TemporaryDirectory("-scale")
    with kept as folder:
        files = music_in(options.music or [album_in(Path(folder) / "album", console)])
        if not files:
            sys.exit(f"no music in {', '.join(map(str, options.music))}")
        report = _grown(Path(folder), files[: options.pieces], options, console)
    print(json.dumps(report)) if options.json else show(report)
    if options.plot:
        draw(report, options.plot)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("music", type=Path, nargs="*", help="default: the album of the demo")
    parser.add_argument(
        "--recordings",
        default="100,1000",
        help="sizes, with commas; by estimate, on two cores 10000 takes 15 minutes and 5 GB of"
        " disk, 100000 4 hours and 60 GB; default: %(default)s",
    )
    parser.add_argument("--pieces", type=int, default=12, help="real pieces, one clip of each")
    parser.add_argument("--rounds", type=int, default=5, help="times that each clip is asked")
    parser.add_argument("--cold", type=int, default=5, help="restarts, one clip after each")
    parser.add_argument("--narrow", type=int, default=1000, help="most recordings in narrow rows")
    parser.add_argument("--delta", type=int, default=100, help="recordings that are sealed")
    parser.add_argument("--seconds", type=float, default=5.0, help="that many clients ask at once")
    parser.add_argument("--plot", type=Path, help="a folder for the plot")
    parser.add_argument("--keep", type=Path, help="a folder for the database, which stays")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    options.sizes = sorted({int(text) for text in options.recordings.split(",") if text})
    return options


def _grown(
    folder: Path, files: list[Path], options: argparse.Namespace, console: Console
) -> dict[str, Any]:
    """Return what each size costs, measured on one database that grows."""
    first, widest = list(searches())[:2]
    points: list[dict[str, Any]] = []
    sealed: dict[str, float] = {}
    with embedded_server(folder / "database") as url:
        migration.upgrade(url)
        with connect(url) as connection:
            ingest_files(connection, files, console)
            drawn_from = distractors.statistics(connection)
            sealed = _seal(connection, drawn_from, min(options.delta, options.sizes[0]))
            asked = _questions(connection, files, folder, first, widest)
    have = int(sealed["recordings"])
    for size in options.sizes:
        point: dict[str, Any] = {"recordings": size}
        with embedded_server(folder / "database") as url, connect(url) as connection:
            built: dict[str, float] = {}
            with timed(built, "write_sec"):
                distractors.fill(
                    connection, size - have, console, drawn_from=drawn_from, start=have
                )
            point["build"] = built | _merged(connection)
            have = size
            point["sizes"] = sizes(connection)
            point |= _asked(connection, url, asked, options, folder, first, widest)
            if size <= options.narrow:
                point["narrow"] = narrow_layout.compared(connection, asked["plain 10 s"], 1)
        point["cold"] = _cold(folder / "database", asked["plain 10 s"], first, options.cold)
        points.append(point)
        console.print(f"{size} recordings: plain p50 {point['plain 10 s']['p50_ms']:.1f} ms")
    return {
        "clips": len(asked["plain 10 s"]),
        "sealed": sealed,
        "points": points,
        "growth": growth(points, lambda point: float(point["plain 10 s"]["p50_ms"])),
        "cpu_growth": growth(points, lambda point: float(point["plain 10 s"]["cpu_ms"]))
        if all("cpu_ms" in point["plain 10 s"] for point in points)
        else None,
        "budgets": {step.stage: step.max_postings for step in (first, widest)},
    }


def _seal(
    connection: Connection, drawn_from: distractors.Statistics, count: int
) -> dict[str, float]:
    """COPY recordings as a worker does, and let fpdb.compact() seal them; return what it took."""
    profile_id, profile = active_profile(connection)
    frames = round(distractors.DURATION_SEC / profile.frame_sec)
    found: dict[str, float] = {"recordings": count}
    for number in range(count):
        random = np.random.default_rng(number)
        drawn = distractors.landmarks(drawn_from, frames, profile.frame_sec, random)
        bits = distractors.sub_fingerprints(
            drawn_from, frames // profile.sub_fingerprint_frames, random
        )
        row = connection.execute(
            "INSERT INTO fpdb.asset (uri, title, duration_sec, profile_id, landmark_status,"
            " embedding_status) VALUES ('synthetic:' || %s, 'distractor', %s, %s, 'ready', 'ready')"
            " RETURNING asset_id",
            (number, distractors.DURATION_SEC, profile_id),
        ).fetchone()
        assert row is not None
        with timed(found, "copy_sec"), connection.transaction():
            copy_postings(connection, row[0], profile_id, drawn)
            stored = SubFingerprints(bits, profile.sub_fingerprint_frames)
            copy_sub_fingerprints(connection, row[0], profile_id, stored)
            mark_stored(connection, row[0], profile_id, len(drawn))
    with timed(found, "seal_sec"):
        rows = connection.execute("SELECT action, postings FROM fpdb.compact(NULL)").fetchall()
    # The delta's emptied pages are kept for the next recordings: they are nobody's bytes.
    connection.execute("VACUUM (FULL) fpdb.delta")
    return found | {"postings": float(sum(row[1] for row in rows if row[0] == "sealed"))}


def _merged(connection: Connection) -> dict[str, float]:
    began = time.perf_counter()
    merged = float(compact_when_due(connection))
    connection.execute("ANALYZE")
    connection.execute("CHECKPOINT")
    return {"merged_postings": merged, "merge_sec": time.perf_counter() - began}


def _questions(
    connection: Connection, files: list[Path], folder: Path, first: Search, widest: Search
) -> Questions:
    """Cut a clean clip of each piece, keep it as a file, and describe it as the cascade does."""
    profile = active_profile(connection)[1]
    asked: Questions = {"plain 10 s": [], "plain 5 s": [], "wide 10 s": []}
    for path in files:
        for excerpt in excerpts(path, ("clean",), (10.0, 5.0), 1):
            file = folder / f"clip-{excerpt.duration_sec:g}-{len(asked['plain 5 s'])}.wav"
            encode(file, spoilt(excerpt), RATE_HZ)
            with open_source(str(file), None) as source:
                clip = hear(source, profile, Timings())
            asked[f"plain {excerpt.duration_sec:g} s"].append(question(clip, first, nobody))
            if excerpt.duration_sec == 10.0:
                asked["wide 10 s"].append(question(clip, widest, nobody))
    return asked


def _asked(
    connection: Connection,
    url: str,
    asked: Questions,
    options: argparse.Namespace,
    folder: Path,
    first: Search,
    widest: Search,
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, questions in asked.items():
        step = widest if name.startswith("wide") else first
        rounds = 1 if step is widest else options.rounds
        found[name] = warm(connection, questions, step.max_postings, step.stage, rounds)
        found[name]["backend_mb"] = memory_mb(url, questions, step.max_postings, step.stage)
    plain = asked["plain 10 s"]
    found["calls_a_second"] = calls_a_second(
        url, plain, first.max_postings, CLIENTS, options.seconds
    )
    extractor, elapsed_ms, right = Extractor(), [], 0
    clips = sorted(folder.glob("clip-10-*.wav"))
    for path in [clips[0], *clips * options.rounds]:
        began = time.perf_counter()
        answer = identify(connection, extractor, Scope(), uri=str(path)).answer
        elapsed_ms.append((time.perf_counter() - began) * 1000)
        right += answer.verdict != "no match"
    found["identify 10 s"] = {
        "p50_ms": float(np.median(elapsed_ms[1:])),
        "p95_ms": float(np.percentile(elapsed_ms[1:], 95)),
        "answered": right / len(elapsed_ms),
    }
    return found


def _cold(database: Path, questions: list[Question], step: Search, times: int) -> dict[str, Any]:
    """Ask one clip after each restart: the first question of a session plans as well as reads."""
    elapsed_ms, how = [], ""
    for one in questions[:times]:
        how = forget(database)
        with embedded_server(database) as url, connect(url) as connection:
            began = time.perf_counter()
            propose(connection, one, Scope(), max_postings=step.max_postings, stage=step.stage)
            elapsed_ms.append((time.perf_counter() - began) * 1000)
    if not elapsed_ms:
        return {}
    p50_ms, p95_ms = (float(value) for value in np.percentile(elapsed_ms, [50, 95]))
    return {"p50_ms": p50_ms, "p95_ms": p95_ms, "how": how}


if __name__ == "__main__":
    main()
