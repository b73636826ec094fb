"""Asks the product what degraded excerpts of real music are, and counts what it answers.

`python -m benchmarks.accuracy MUSIC_DIR …` holds every fifth piece out of the index (chosen by the
hash of its name), ingests the rest into a fresh embedded database through the pipeline that
`fpdb ingest` uses, and identifies seeded excerpts through the one that `fpdb identify` uses, at the
product's own threshold. `--half reported` asks only about pieces that taught the product nothing.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track

from benchmarks import distractors
from benchmarks.accuracy_report import PLACED_SEC, Trial, show, summary
from benchmarks.excerpts import (
    RATE_HZ,
    Excerpt,
    clean_part,
    excerpts,
    half_of,
    is_held_out,
    music_in,
    samples_of,
    spoilt,
)
from benchmarks.shared_audio import holds
from fingerprintdb.degradation import CONDITIONS
from fingerprintdb.embedding import load
from fingerprintdb.embedding.builtin import CONFIDENCE
from fingerprintdb.encoding import encode
from fingerprintdb.extractor import Extractor
from fingerprintdb.identification import identify
from fingerprintdb.pipeline import ingest
from fingerprintdb.store import migration
from fingerprintdb.store.database import Connection, connect
from fingerprintdb.store.embedded import embedded_server
from fingerprintdb.store.index import compact
from fingerprintdb.store.match import Scope
from fingerprintdb.store.model import choose_model
from fingerprintdb.store.profile import activate_profile, register_profiles

DURATIONS_SEC = (1.0, 2.0, 3.0, 5.0, 10.0)
NEGATIVE_CONDITIONS = ("clean", "pink 5 dB", "babble 5 dB", "room 5 dB", "mp3 32")


def main() -> None:
    """Run the benchmark and print its tables, or one JSON object."""
    options = _options()
    files = music_in(options.music)
    if not files:
        sys.exit(f"no music in {', '.join(map(str, options.music))}")
    with (
        tempfile.TemporaryDirectory(prefix="fpdb-bench-") as folder,
        embedded_server(Path(folder, "database")) as url,
    ):
        migration.upgrade(url)
        with connect(url) as connection:
            report = build(connection, files, options)
        asked = [
            excerpt
            for path in files
            if options.half in {"all", half_of(path.stem)}
            for excerpt in _excerpts(path, options)
        ]
        report |= _ask(asked, url, report["names"], options)
        report["trials"] = [asdict(trial) for trial in report["trials"]]
    if options.json:
        print(json.dumps(report))
    else:
        show(report)
    if options.plot:
        from benchmarks.accuracy_plot import draw  # noqa: PLC0415 — needs matplotlib

        draw(report, options.plot)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("music", type=Path, nargs="+")
    parser.add_argument("--half", choices=("all", "fitted", "reported"), default="all")
    parser.add_argument("--profile", default="accurate")
    parser.add_argument("--trials", type=int, default=1, help="places a piece")
    parser.add_argument("--negatives", type=int, default=6, help="places a held-out piece")
    parser.add_argument("--durations", default="", help="seconds, with commas; default 1,2,3,5,10")
    parser.add_argument("--conditions", default="", help="with commas; default: all")
    parser.add_argument("--distractors", type=int, default=0, help="synthetic recordings beside")
    parser.add_argument("--quick", action="store_true", help="a few cells, in two minutes")
    parser.add_argument("--without-vectors", action="store_true")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--plot", type=Path, help="a folder for plots")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    durations = [float(text) for text in options.durations.split(",") if text]
    options.durations_sec = tuple(durations) or DURATIONS_SEC
    options.chosen = tuple(t.strip() for t in options.conditions.split(",") if t) or CONDITIONS
    if options.quick:
        options.durations_sec = (5.0,)
        options.chosen = ("clean", "pink 0 dB", "babble 0 dB", "room 5 dB", "speed +5 %")
        options.negatives = 2
    return options


def _excerpts(path: Path, options: argparse.Namespace) -> list[Excerpt]:
    if not is_held_out(path.stem):
        return excerpts(path, options.chosen, options.durations_sec, options.trials)
    conditions = tuple(name for name in NEGATIVE_CONDITIONS if name in options.chosen)
    return excerpts(path, conditions or options.chosen, options.durations_sec, options.negatives)


def build(connection: Connection, files: list[Path], options: argparse.Namespace) -> dict[str, Any]:
    """Ingest what is not held out, and the distractors; return what it cost."""
    embedder = load("builtin")
    register_profiles(connection)
    activate_profile(connection, options.profile)
    choose_model(connection, embedder, confidence=CONFIDENCE)
    extractor = Extractor()
    console = Console(stderr=True)
    names: dict[int, str] = {}
    refused, heard_sec = [], 0.0
    began = time.perf_counter()
    indexed = [path for path in files if not is_held_out(path.stem)]
    for path in track(indexed, "ingesting", console=console):
        result = ingest(connection, extractor, str(path))
        if result.asset_id is None or result.status != "ready":
            refused.append({"file": path.name, "error": result.error})
            continue
        names[result.asset_id] = str(path)
        heard_sec += result.duration_sec or 0.0
    ingest_sec = time.perf_counter() - began
    if options.distractors:
        distractors.fill(connection, options.distractors, console)
    for _ in compact(connection):
        pass
    # The delta's emptied pages are kept for the next recordings: they are nobody's bytes.
    connection.execute("VACUUM (FULL) fpdb.delta")
    connection.execute("ANALYZE")
    sizes = connection.execute(
        "SELECT sum(pg_total_relation_size(c.oid)) FILTER (WHERE c.relname IN"
        "  ('posting', 'delta', 'run', 'block')), sum(pg_total_relation_size(c.oid))"
        "  FILTER (WHERE c.relname = 'sub_fingerprint'), (SELECT sum(duration_sec) FROM fpdb.asset)"
        " FROM pg_class c WHERE c.relnamespace = 'fpdb'::regnamespace AND c.relkind = 'r'"
    ).fetchone()
    assert sizes is not None
    return {
        "profile": options.profile,
        "indexed": len(names),
        "held_out": len(files) - len(indexed),
        "distractors": options.distractors,
        "refused": refused,
        "hours": heard_sec / 3600,
        "ingest_x_real_time": heard_sec / ingest_sec,
        "landmark_bytes_a_second": float(sizes[0]) / float(sizes[2]),
        "sub_fingerprint_bytes_a_second": float(sizes[1]) / float(sizes[2]),
        "names": names,
    }


class _Asker:
    """What each process holds: a connection, an extractor, a place for the clip."""

    connection: Connection
    extractor: Extractor
    names: dict[int, str]
    with_vectors: bool
    clip: Path


def _prepare(url: str, names: dict[int, str], with_vectors: bool) -> None:
    _Asker.connection = connect(url)
    _Asker.extractor = Extractor()
    _Asker.names = names
    _Asker.with_vectors = with_vectors
    _Asker.clip = Path(tempfile.mkdtemp(prefix="fpdb-clip-"), "clip.wav")


def _try(excerpt: Excerpt) -> Trial:
    encode(_Asker.clip, spoilt(excerpt), RATE_HZ)
    began = time.perf_counter()
    found = identify(
        _Asker.connection,
        _Asker.extractor,
        Scope(k=3, min_confidence=0.0),
        uri=str(_Asker.clip),
        with_vectors=_Asker.with_vectors,
    )
    elapsed_ms = (time.perf_counter() - began) * 1000
    best = found.answer.matches[0] if found.answer.matches else None
    named = Path(_Asker.names.get(best.asset_id, "a distractor")) if best else None
    error_sec, is_same, is_repeat = 0.0, False, False
    if best is not None and named is not None:
        error_sec = best.offset_sec - excerpt.start_sec
        is_own = named.stem == excerpt.piece
        if named.exists() and best.is_sure and (not is_own or abs(error_sec) > PLACED_SEC):
            first = max(0, round((best.offset_sec - 0.2) * RATE_HZ))
            clean = clean_part(excerpt, excerpt.duration_sec)
            passage = samples_of(named)[first : first + len(clean) + round(0.4 * RATE_HZ)]
            shared = len(passage) > len(clean) and holds(passage[::4], clean[::4])
            is_same, is_repeat = shared and not is_own, shared and is_own
    return Trial(
        excerpt.piece,
        half_of(excerpt.piece),
        excerpt.is_indexed,
        excerpt.condition,
        excerpt.duration_sec,
        excerpt.start_sec,
        named.stem if named else None,
        best.confidence if best else 0.0,
        best.is_sure if best else False,
        found.answer.verdict,
        error_sec,
        is_same,
        is_repeat,
        asdict(best.evidence) | {"score": best.score} if best else None,
        [asdict(stage) for stage in found.answer.stages],
        found.timings_ms,
        elapsed_ms,
    )


def _ask(
    asked: list[Excerpt], url: str, names: dict[int, str], options: argparse.Namespace
) -> dict[str, Any]:
    began = time.perf_counter()
    with ProcessPoolExecutor(
        options.processes,
        initializer=_prepare,
        initargs=(url, names, not options.without_vectors),
    ) as pool:
        trials = list(
            track(
                pool.map(_try, asked, chunksize=4),
                f"asking {len(asked)}",
                total=len(asked),
                console=Console(stderr=True),
            )
        )
    return {
        "trials": trials,
        "asking_sec": time.perf_counter() - began,
        "processes": options.processes,
    } | summary(trials)


if __name__ == "__main__":
    main()
