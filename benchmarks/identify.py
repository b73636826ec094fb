"""Identifies excerpts of a folder of music, clean and noisy, and pieces that are not indexed.

`python -m benchmarks.identify MUSIC_DIR [--json]` holds every fifth piece out of the index (chosen
by the hash of its name), ingests the rest into a fresh embedded database through the pipeline that
`fpdb ingest` uses, and identifies seeded excerpts through the one that `fpdb identify` uses. The
files of a folder named sound_marks are ingested too and asked whole. Pieces are reported in two
halves, because the decision's coefficients were fitted on the first.
"""

import argparse
import json
import random
import sys
import tempfile
import time
import zlib
from collections import defaultdict
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.shared_audio import holds
from fingerprintdb.audio import Samples, decode, encode
from fingerprintdb.embedding import load
from fingerprintdb.embedding.builtin import CONFIDENCE
from fingerprintdb.degradation import add_pink_noise
from fingerprintdb.pipeline import Extractor, identify, ingest
from fingerprintdb.store import embeddings, landmarks, migration
from fingerprintdb.store.database import Connection, connect
from fingerprintdb.store.embedded import embedded_server
from fingerprintdb.store.match import Scope

RATE_HZ = 44_100
COMPARED_HZ = 11_025
Condition = tuple[float, float | None]
CONDITIONS: tuple[Condition, ...] = ((5, None), (5, 10), (10, None), (10, 10))
"""Seconds, and decibels over pink noise."""
PLACED_SEC = 0.1
"""An answer elsewhere in the right recording may be another repeat of a loop."""


@dataclass(frozen=True)
class Trial:
    """One excerpt and what became of it; `half` is fitted or reported."""

    kind: str
    half: str
    piece: str
    duration_sec: float
    snr_db: float | None
    start_sec: float
    found: str | None
    confidence: float
    offset_error_sec: float
    elapsed_ms: float


def half_of(piece: str) -> str:
    """Return the half that a piece belongs to."""
    return "reported" if (zlib.crc32(piece.encode()) >> 3) % 2 else "fitted"


def is_held_out(piece: str) -> bool:
    """Say whether a piece stays out of the index."""
    return zlib.crc32(piece.encode()) % 5 == 0


def main() -> None:
    """Run the benchmark and print its table, or one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("music", type=Path)
    parser.add_argument("--trials", type=int, default=2, help="excerpts a piece and condition")
    parser.add_argument("--landmarks-only", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    files = sorted(
        path
        for path in options.music.rglob("*")
        if path.suffix in {".ogg", ".mp3", ".flac", ".wav", ".m4a"}
    )
    if not files:
        sys.exit(f"no music in {options.music}")
    with (
        tempfile.TemporaryDirectory(prefix="fpdb-bench-") as folder,
        embedded_server(Path(folder, "database")) as url,
    ):
        migration.upgrade(url)
        with connect(url) as connection:
            report = run(connection, files, Path(folder), options)
    print(json.dumps(report)) if options.json else show(report)


def run(
    connection: Connection, files: list[Path], folder: Path, options: argparse.Namespace
) -> dict[str, Any]:
    """Ingest, ask, and return the figures with every trial."""
    embedder = load("builtin")
    landmarks.register_profile(connection, Extractor().profile)
    embeddings.register_model(
        connection,
        name=embedder.name,
        revision=embedder.revision,
        source="builtin",
        sample_rate_hz=embedder.sample_rate_hz,
        confidence=CONFIDENCE,
    )
    extractor = Extractor()
    console = Console(stderr=True)
    marks = [path for path in files if path.parent.name == "sound_marks"]
    music = [path for path in files if path not in marks]
    indexed = [path for path in music if not is_held_out(path.stem)] + marks
    names: dict[int, str] = {}
    refused, heard_sec = [], 0.0
    began = time.perf_counter()
    for path in track(indexed, "ingesting", console=console):
        result = ingest(connection, extractor, str(path))
        if result.asset_id is None or result.status != "ready":
            refused.append({"file": path.name, "error": result.error})
            continue
        names[result.asset_id] = path.stem
        heard_sec += result.duration_sec or 0.0
    ingest_sec = time.perf_counter() - began
    connection.execute("ANALYZE")
    trials: list[Trial] = []

    def ask(kind: str, path: Path, clip: Path, condition: Condition, start_sec: float) -> None:
        asked = time.perf_counter()
        found = identify(
            connection, extractor, Scope(), uri=str(clip), with_vectors=not options.landmarks_only
        ).matches
        elapsed_ms = (time.perf_counter() - asked) * 1000
        best = found[0] if found else None
        trials.append(
            Trial(
                kind,
                half_of(path.stem),
                path.stem,
                *condition,
                start_sec,
                names[best.asset_id] if best else None,
                best.confidence if best else 0.0,
                abs(best.offset_sec - start_sec) if best else 0.0,
                elapsed_ms,
            )
        )

    for path in track(music, "asking", console=console):
        samples = np.concatenate(list(decode(path, RATE_HZ)))
        kind = "negative" if is_held_out(path.stem) else "positive"
        for condition in CONDITIONS:
            # There are four times as many pieces in the index as out of it.
            for repeat in range(options.trials * (4 if kind == "negative" else 1)):
                seed = zlib.crc32(f"{path.stem} {condition} {repeat}".encode())
                length = round(condition[0] * RATE_HZ)
                start = random.Random(seed).randrange(len(samples) - length)  # noqa: S311
                clip = excerpt(samples[start : start + length], condition[1], seed)
                encode(folder / "clip.wav", clip, RATE_HZ)
                ask(kind, path, folder / "clip.wav", condition, start / RATE_HZ)
    for path in (path for path in marks if path.stem in names.values()):
        ask("sound mark", path, path, (0.0, None), 0.0)
    by_name = {path.stem: path for path in indexed}
    others = [trial for trial in trials if trial.found not in {None, trial.piece}]
    shared = [trial for trial in others if shares(trial, files, by_name)]
    missed = [trial for trial in trials if trial.found is None and trial.kind != "negative"]
    return {
        "indexed": len(names),
        "held_out": len(music) + len(marks) - len(indexed),
        "refused": refused,
        "ingest_sec": round(ingest_sec, 1),
        "ingest_x_real_time": round(heard_sec / ingest_sec, 1),
        "database_bytes_a_second_of_audio": round(
            connection.execute("SELECT pg_database_size(current_database())").fetchall()[0][0]
            / heard_sec
        ),
        "rows": rows(trials, shared),
        "wrong": [asdict(trial) for trial in others if trial not in shared],
        "same_audio": sorted({(trial.piece, str(trial.found)) for trial in shared}),
        "missed": [asdict(trial) for trial in missed],
    }


def shares(trial: Trial, files: list[Path], indexed: dict[str, Path]) -> bool:
    """Say whether the recording that was named holds the clip's own samples."""
    asked = next(path for path in files if path.stem == trial.piece)
    start = round(trial.start_sec * COMPARED_HZ)
    clip = _samples(asked)[start : start + round((trial.duration_sec or 600) * COMPARED_HZ)]
    return holds(_samples(indexed[str(trial.found)]), clip)


@cache
def _samples(path: Path) -> Samples:
    return np.concatenate(list(decode(path, COMPARED_HZ)))


def excerpt(clip: Samples, snr_db: float | None, seed: int) -> Samples:
    """Add pink noise to a clip where asked; scaled down where it would clip."""
    if snr_db is not None:
        clip = add_pink_noise(clip, snr_db, seed)
    return np.asarray(clip / max(1.0, float(np.abs(clip).max())), np.float32)


def rows(trials: list[Trial], shared: list[Trial]) -> list[dict[str, Any]]:
    """Return one row of figures for each kind, half, duration and noise.

    An answer that is another recording with the clip's own samples in it (`shared`) is a true
    match: it is counted apart, neither right nor wrong.
    """
    groups = defaultdict(list)
    for trial in trials:
        groups[trial.kind, trial.half, trial.duration_sec, trial.snr_db].append(trial)
    table = []
    for (kind, half, duration_sec, snr_db), group in sorted(groups.items(), key=str):
        right = [trial for trial in group if trial.found == trial.piece]
        table.append(
            {
                "kind": kind,
                "half": half,
                "sec": duration_sec or "all",
                "noise": "clean" if snr_db is None else f"{snr_db:.0f} dB",
                "trials": len(group),
                "right": len(right),
                "same audio": sum(trial in shared for trial in group),
                "wrong": sum(
                    trial.found not in {None, trial.piece} and trial not in shared
                    for trial in group
                ),
                "none": sum(trial.found is None for trial in group),
                "placed": sum(trial.offset_error_sec <= PLACED_SEC for trial in right),
                "ms": round(float(np.median([trial.elapsed_ms for trial in group]))),
            }
        )
    return table


def show(report: dict[str, Any]) -> None:
    """Print the figures for a person."""
    console = Console(width=110)
    table = Table(title="What is it? At the product's own threshold")
    for column in report["rows"][0]:
        table.add_column(column, justify="right")
    for row in report["rows"]:
        table.add_row(*map(str, row.values()))
    console.print(table)
    console.print(f"placed: right and within {PLACED_SEC} s; ms: the median, decoding to answer")
    for key in ("indexed", "held_out", "refused", "ingest_sec", "ingest_x_real_time"):
        console.print(f"{key.replace('_', ' ')}: {report[key]}")
    console.print(f"database bytes a second: {report['database_bytes_a_second_of_audio']}")
    for piece, other in report["same_audio"]:
        console.print(f"same audio: clips of {piece} lie in {other} too")
    for trial in report["wrong"]:
        console.print(
            f"wrong: {trial['piece']} ({trial['kind']}, {trial['duration_sec']} s) answered"
            f" {trial['found']} at {trial['confidence']:.2f}"
        )
    for trial in report["missed"]:
        console.print(f"missed: {trial['piece']} ({trial['duration_sec']} s, {trial['snr_db']} dB)")


if __name__ == "__main__":
    main()
