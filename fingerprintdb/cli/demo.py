"""Shows the main job end to end: recordings go in, a noisy excerpt of one is found again."""

import random
import shlex
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fingerprintdb.cli.identify import name_of
from fingerprintdb.cli.ingest import ingest_all
from fingerprintdb.cli.output import report, say
from fingerprintdb.cli.page import examples
from fingerprintdb.cli.progress import Progress
from fingerprintdb.cli.setup import initialise
from fingerprintdb.cli.sources import expand
from fingerprintdb.errors import FingerprintError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from fingerprintdb.cli.config import Configuration
    from fingerprintdb.pipeline import Ingested

COLLECTION = "demo"
EXCERPT_SEC = 10.0
EXCERPT_RATE_HZ = 22_050
SNR_DB = 10.0
QUIET_RMS = 0.005
"""An excerpt below this level (−46 dB of full scale) would be a test of silence."""


class DemoError(FingerprintError):
    """No recording to take an excerpt of."""


@examples(
    ("fpdb demo", "With an album that it composes."),
    ("fpdb demo ~/Music --random", "With your own, another excerpt each time."),
)
def demo(
    context: typer.Context,
    music_dir: Annotated[
        Path | None,
        typer.Argument(
            help="Folder of audio; without it, a small album that is synthesised.",
            metavar="MUSIC_DIR",
        ),
    ] = None,
    at_random: Annotated[
        bool, typer.Option("--random", help="Take another excerpt in every run.")
    ] = False,
) -> None:
    """Ingest a folder, then identify a noisy excerpt: exit status 0 when it was found.

    Without a folder it composes a small album. Recordings go into collection `demo`; the excerpt is
    written into the data folder.
    """
    chosen: Configuration = context.obj
    settings = chosen.settings
    url = settings.open_database()
    say(f"1. database: {initialise(settings, url)}", to_stderr=False)

    folder = settings.data_dir.expanduser()
    sources = [str(music_dir)] if music_dir else list(_album(folder / "album"))
    began = time.perf_counter()
    done = list(ingest_all(settings, url, expand(sources), COLLECTION, "music"))
    present = [result for result in done if result.status != "failed"]
    for result in done:
        if result.status == "failed":
            report(FingerprintError(result.error or "failed"))
    minutes = sum(result.duration_sec or 0 for result in present) / 60
    say(
        f"2. ingest: {len(present)} recordings, {minutes:.1f} min,"
        f" in {time.perf_counter() - began:.1f} s",
        to_stderr=False,
    )

    rng = random.Random() if at_random else random.Random(1)  # noqa: S311 — nothing secret
    asset, start_sec, samples = _excerpt(present, rng)
    clip = folder / "excerpt.wav"
    found = _identify(chosen, url, asset, start_sec, samples, clip)
    _say_next(chosen, clip, asset)
    if not found:
        raise typer.Exit(1)


def _album(folder: Path) -> Iterator[str]:
    """Yield the files of the synthesised album, written where they are not there yet."""
    from fingerprintdb import album
    from fingerprintdb.encoding import encode

    marker = folder / "complete"
    if not marker.exists():
        say("composing a small album (once) …", to_stderr=False)
        folder.mkdir(parents=True, exist_ok=True)
        with Progress(8) as progress:
            for piece in album.pieces():
                encode(
                    folder / f"{piece.file_stem}.flac",
                    piece.samples,
                    album.SAMPLE_RATE_HZ,
                    piece.tags,
                )
                progress.count("pieces")
        marker.touch()
    yield str(folder)


def _excerpt(
    present: "list[Ingested]", rng: random.Random
) -> "tuple[Ingested, float, npt.NDArray[np.float32]]":
    """Take ten seconds with sound at a random place of a random recording."""
    import numpy as np

    for _ in range(50 if present else 0):
        asset = rng.choice(present)
        spare_sec = (asset.duration_sec or 0) - EXCERPT_SEC
        start_sec = rng.uniform(0, spare_sec) if spare_sec > 0 else 0.0
        samples = _cut(asset.uri, start_sec)
        if len(samples) and np.sqrt(np.mean(np.square(samples))) > QUIET_RMS:
            return asset, start_sec, samples
    raise DemoError("there is no recording with sound to take an excerpt of", "name another folder")


def _cut(uri: str, start_sec: float) -> "npt.NDArray[np.float32]":
    """Return the excerpt of a file, whose other parts are never all in memory."""
    import numpy as np

    from fingerprintdb.audio import decode

    first, last = (round(sec * EXCERPT_RATE_HZ) for sec in (start_sec, start_sec + EXCERPT_SEC))
    kept, position = [np.empty(0, np.float32)], 0
    for block in decode(Path(uri), EXCERPT_RATE_HZ, max_duration_sec=start_sec + EXCERPT_SEC):
        kept.append(block[max(0, first - position) : max(0, last - position)])
        position += len(block)
    return np.concatenate(kept)


def _identify(
    chosen: "Configuration",
    url: str,
    asset: "Ingested",
    start_sec: float,
    samples: "npt.NDArray[np.float32]",
    clip: Path,
) -> bool:
    """Add noise, write the clip, ask what it is, and say whether the answer is right."""
    from fingerprintdb import degradation, identification
    from fingerprintdb.encoding import encode
    from fingerprintdb.extractor import Extractor
    from fingerprintdb.store.database import connect
    from fingerprintdb.store.match import Scope

    noisy = degradation.add_pink_noise(samples, SNR_DB)
    encode(clip, noisy / max(1.0, abs(noisy).max()), EXCERPT_RATE_HZ)
    say(
        f"3. excerpt: {len(samples) / EXCERPT_RATE_HZ:.0f} s of {Path(asset.uri).name}"
        f" from {_place(start_sec)}, pink noise {SNR_DB:.0f} dB below it → {clip}",
        to_stderr=False,
    )
    extractor = Extractor(max_source_bytes=chosen.settings.max_source_bytes)
    with connect(url) as connection:
        extractor.embedder(connection)
        began = time.perf_counter()
        found = identification.identify(
            connection, extractor, Scope(k=1, collection=COLLECTION), uri=str(clip)
        )
        elapsed_ms = (time.perf_counter() - began) * 1000
    if not found.answer.matches:
        say(f"4. identify: no match ({elapsed_ms:.0f} ms)", to_stderr=False)
        return False
    best = found.answer.matches[0]
    right = best.asset_id == asset.asset_id
    say(
        f"4. identify: {name_of(best.title, best.artist, best.uri)}\n"
        f"   where:     {_place(best.offset_sec)} (truly {_place(start_sec)})\n"
        f"   how sure:  {100 * best.confidence:.1f} %\n"
        f"   took:      {elapsed_ms:.0f} ms" + ("" if right else "\n   which is wrong"),
        to_stderr=False,
    )
    return right


def _say_next(chosen: "Configuration", clip: Path, asset: "Ingested") -> None:
    command = _command()
    if chosen.sources["data_dir"] in {"option", "environment"}:
        command = f"FPDB_DATA_DIR={shlex.quote(str(chosen.settings.data_dir))} {command}"
    say("Try next:", to_stderr=False)
    for arguments in (
        f"identify {shlex.quote(str(clip))}",
        f"similar {asset.asset_id}",
        'sql -c "SELECT title, duration_sec, landmark_count FROM fpdb.asset"',
    ):
        say(f"  {command} {arguments}", to_stderr=False)


def _command() -> str:
    """Return what starts this program here: by its name where the shell finds it by that."""
    started = Path(sys.argv[0])
    if started.name == "__main__.py":
        return f"{shlex.quote(sys.executable)} -m fingerprintdb"
    found = shutil.which(started.name)
    if found and Path(found).resolve() == started.resolve():
        return started.name
    absolute = started.absolute()
    here = absolute.relative_to(Path.cwd()) if absolute.is_relative_to(Path.cwd()) else absolute
    return shlex.quote(str(here))


def _place(seconds: float) -> str:
    return f"{int(seconds // 60)}:{seconds % 60:04.1f}"
