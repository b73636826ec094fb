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
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from fingerprintdb.audio import Samples, decode, encode
from fingerprintdb.embedding import load
from fingerprintdb.embedding.builtin import CONFIDENCE
from fingerprintdb.noise import add_pink_noise
from fingerprintdb.pipeline import Extractor, identify, ingest
from fingerprintdb.store import embeddings, landmarks, migration
from fingerprintdb.store.database import Connection, connect
from fingerprintdb.store.embedded import embedded_server
from fingerprintdb.store.match import Match, Scope

RATE_HZ = 44_100
CONDITIONS: tuple[tuple[float, float | None], ...] = ((5, None), (5, 10.0), (10, None), (10, 10.0))
OFFSET_TOLERANCE_SEC = 0.1
"""An answer elsewhere in the right recording may be another repeat of a loop; counted apart."""


@dataclass(frozen=True)
class Trial:
    """One excerpt and what became of it; `half` is fitted or reported."""

    kind: str
    half: str
    piece: str
    duration_sec: float
    snr_db: float | None
    found: str | None
    confidence: float
    offset_error_sec: float | None
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
    with tempfile.TemporaryDirectory(prefix="fpdb-bench-") as folder:
        with embedded_server(Path(folder, "database")) as url:
            migration.upgrade(url)
            with connect(url) as connection:
                report = run(connection, files, Path(folder), options)
    print(json.dumps(report)) if options.json else show(report)


def run(
    connection: Connection, files: list[Path], folder: Path, options: argparse.Namespace
) -> dict[str, object]:
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
    failures, heard_sec = [], 0.0
    began = time.perf_counter()
    for path in track(indexed, "ingesting", console=console):
        result = ingest(connection, extractor, str(path))
        if result.asset_id is None or result.status != "ready":
            failures.append({"file": path.name, "error": result.error})
            continue
        names[result.asset_id] = path.stem
        heard_sec += result.duration_sec or 0.0
    ingest_sec = time.perf_counter() - began
    connection.execute("ANALYZE")
    trials: list[Trial] = []
    scope = Scope(min_confidence=None)

    def ask(path: Path) -> tuple[list[Match], float]:
        asked = time.perf_counter()
        found = identify(
            connection,
            extractor,
            scope,
            uri=str(path),
            with_vectors=not options.landmarks_only,
        )
        return found.matches, (time.perf_counter() - asked) * 1000

    for path in track(music, "asking", console=console):
        samples = np.concatenate(list(decode(path, RATE_HZ)))
        for duration_sec, snr_db in CONDITIONS:
            for repeat in range(options.trials):
                seed = zlib.crc32(f"{path.stem} {duration_sec} {snr_db} {repeat}".encode())
                start = random.Random(seed).randrange(len(samples) - round(duration_sec * RATE_HZ))  # noqa: S311
                clip = excerpt(samples, start, duration_sec, snr_db, seed)
                target = folder / "clip.wav"
                encode(target, clip, RATE_HZ)
                matches, elapsed_ms = ask(target)
                best = matches[0] if matches else None
                trials.append(
                    Trial(
                        "negative" if is_held_out(path.stem) else "positive",
                        half_of(path.stem),
                        path.stem,
                        duration_sec,
                        snr_db,
                        names[best.asset_id] if best else None,
                        best.confidence if best else 0.0,
                        abs(best.offset_sec - start / RATE_HZ) if best else None,
                        elapsed_ms,
                    )
                )
    for path in (path for path in marks if path.stem in names.values()):
        matches, elapsed_ms = ask(path)
        best = matches[0] if matches else None
        trials.append(
            Trial(
                "sound mark",
                half_of(path.stem),
                path.stem,
                0,
                None,
                names[best.asset_id] if best else None,
                best.confidence if best else 0.0,
                abs(best.offset_sec) if best else None,
                elapsed_ms,
            )
        )
    return {
        "indexed": len(names),
        "held_out": len(music) + len(marks) - len(indexed),
        "failures": failures,
        "ingest_sec": round(ingest_sec, 1),
        "ingest_x_real_time": round(heard_sec / ingest_sec, 1),
        "database_bytes_a_second_of_audio": round(
            connection.execute("SELECT pg_database_size(current_database())").fetchall()[0][0]
            / heard_sec
        ),
        "rows": rows(trials),
        "wrong": [
            asdict(trial)
            for trial in trials
            if (trial.found is not None and trial.found != trial.piece)
            or (trial.found is None and trial.kind != "negative")
        ],
    }


def excerpt(
    samples: Samples, start: int, duration_sec: float, snr_db: float | None, seed: int
) -> Samples:
    """Cut a clip, with pink noise where asked; scaled down where it would clip."""
    clip = samples[start : start + round(duration_sec * RATE_HZ)]
    if snr_db is not None:
        clip = add_pink_noise(clip, snr_db, seed)
    return np.asarray(clip / max(1.0, float(np.abs(clip).max())), np.float32)


def rows(trials: list[Trial]) -> list[dict[str, object]]:
    """Return one row of figures for each half, kind, duration and noise."""
    groups = defaultdict(list)
    for trial in trials:
        groups[trial.half, trial.kind, trial.duration_sec, trial.snr_db].append(trial)
        groups["all", trial.kind, trial.duration_sec, trial.snr_db].append(trial)
    table = []
    for (half, kind, duration_sec, snr_db), group in sorted(groups.items(), key=str):
        right = [t for t in group if t.found == t.piece]
        placed = [t for t in right if (t.offset_error_sec or 0) <= OFFSET_TOLERANCE_SEC]
        table.append(
            {
                "half": half,
                "kind": kind,
                "duration_sec": duration_sec,
                "snr_db": snr_db,
                "trials": len(group),
                "right": len(right),
                "wrong": sum(t.found not in {None, t.piece} for t in group),
                "none": sum(t.found is None for t in group),
                "offset_within_0.1_s": len(placed),
                "median_ms": round(float(np.median([t.elapsed_ms for t in group])), 1),
            }
        )
    return table


def show(report: dict[str, object]) -> None:
    """Print the figures for a person."""
    console = Console()
    table = Table(title="What is it? At the product's own threshold")
    lines = rows_of(report)
    for column in lines[0]:
        table.add_column(column.replace("_", " "), justify="right")
    for line in lines:
        table.add_row(*("" if value is None else str(value) for value in line.values()))
    console.print(table)
    for key, value in report.items():
        if key not in {"rows", "wrong"}:
            console.print(f"{key.replace('_', ' ')}: {value}")
    for trial in report["wrong"] if isinstance(report["wrong"], list) else []:
        console.print(
            f"{trial['kind']}: {trial['piece']} ({trial['duration_sec']} s, noise"
            f" {trial['snr_db']}) answered {trial['found']} at {trial['confidence']:.2f}"
        )


def rows_of(report: dict[str, object]) -> list[dict[str, object]]:
    """Return the table's rows out of a report."""
    lines = report["rows"]
    assert isinstance(lines, list)
    return lines


if __name__ == "__main__":
    main()
