"""Learns the projection or the decision from folders of music: python -m fingerprintdb.learning."""

import argparse
import json
import os
import tempfile
import zlib
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.progress import track

from fingerprintdb.embedding import load
from fingerprintdb.extractor import Extractor
from fingerprintdb.learning.decision import fit, outcomes, without_shared_audio
from fingerprintdb.learning.projection import learn_projection, save_projection
from fingerprintdb.pipeline import ingest
from fingerprintdb.store import migration
from fingerprintdb.store.database import connect
from fingerprintdb.store.embedded import embedded_server
from fingerprintdb.store.model import choose_model
from fingerprintdb.store.profile import register_profiles

SUFFIXES = {".ogg", ".mp3", ".flac", ".wav", ".m4a", ".opus"}


def main() -> None:
    """Run one of the two."""
    parser = argparse.ArgumentParser(prog="python -m fingerprintdb.learning", description=__doc__)
    parser.add_argument("what", choices=("projection", "decision"))
    parser.add_argument("music", type=Path, nargs="+", help="folders or files")
    parser.add_argument("--output", type=Path, default=Path("projection.npy"))
    parser.add_argument("--trials", type=int, default=8, help="excerpts a piece (decision)")
    parser.add_argument("--log", type=Path, help="a file for what every search found (decision)")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    files = music_in(options.music)
    if not files:
        parser.error("there is no music there")
    console = Console(stderr=True)
    if options.what == "projection":
        matrix = learn_projection(files, processes=options.processes)
        digest = save_projection(matrix, options.output)
        console.print(f"{options.output}: {matrix.shape}, digest {digest}")
        return
    print(json.dumps(learn_decision(files, options.trials, console, options.log)))  # noqa: T201


def music_in(places: list[Path]) -> list[Path]:
    """Return the music files among files and folders."""
    found = {path for place in places for path in (place.rglob("*") if place.is_dir() else [place])}
    return sorted(path for path in found if path.suffix.lower() in SUFFIXES and path.is_file())


def learn_decision(
    files: list[Path], trials: int, console: Console, log: Path | None = None
) -> dict[str, float]:
    """Index two thirds of the files, ask about all of them, and return the coefficients."""
    named = {path.stem: path for path in files}
    with (
        tempfile.TemporaryDirectory(prefix="fpdb-") as folder,
        embedded_server(Path(folder, "database")) as url,
    ):
        migration.upgrade(url)
        with connect(url) as connection:
            register_profiles(connection)
            embedder = load("builtin")
            choose_model(connection, embedder)
            indexed: dict[int, str] = {}
            for name, path in track(named.items(), "ingesting", console=console):
                if zlib.crc32(name.encode()) % 3:
                    result = ingest(connection, Extractor(), str(path))
                    if result.asset_id is not None:
                        indexed[result.asset_id] = name
            asked = outcomes(connection, named, indexed, trials, seed=0)
            found = list(track(asked, "asking", total=None, console=console))
    kept, sharing = without_shared_audio(found)
    for piece, other in sharing:
        console.print(f"left out, as they hold the same audio: {piece} and {other}")
    if log is not None:
        log.write_text(json.dumps([asdict(one) for one in found]))
    return fit(kept)


if __name__ == "__main__":
    main()
