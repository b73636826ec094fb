"""Makes a collection to measure on: real pieces, and synthetic recordings beside them."""

from pathlib import Path

from rich.console import Console
from rich.progress import track

from fingerprintdb.album import SAMPLE_RATE_HZ, pieces
from fingerprintdb.embedding import load
from fingerprintdb.embedding.builtin import CONFIDENCE
from fingerprintdb.encoding import encode
from fingerprintdb.extractor import Extractor
from fingerprintdb.pipeline import ingest
from fingerprintdb.store.database import Connection
from fingerprintdb.store.model import choose_model
from fingerprintdb.store.profile import register_profiles


def album_in(folder: Path, console: Console) -> Path:
    """Write the demo's synthesised album into a folder, and return that."""
    console.print("no music named: the statistics are those of the demo's synthesised album")
    folder.mkdir(parents=True, exist_ok=True)
    for piece in pieces():
        encode(folder / f"{piece.file_stem}.flac", piece.samples, SAMPLE_RATE_HZ)
    return folder


def ingest_files(connection: Connection, files: list[Path], console: Console) -> None:
    """Bring files into a database that was just migrated, through the product."""
    embedder = load("builtin")
    register_profiles(connection)
    choose_model(connection, embedder, confidence=CONFIDENCE)
    extractor = Extractor()
    for path in track(files, "ingesting", console=console):
        ingest(connection, extractor, str(path))
