"""Takes a collection out into one file, and brings it in again: here or in another database."""

import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Literal

import typer

from fingerprintdb.cli.completion import collections
from fingerprintdb.cli.destination import STANDARD, destination
from fingerprintdb.cli.output import print_json, say
from fingerprintdb.cli.page import examples
from fingerprintdb.cli.progress import Progress
from fingerprintdb.cli.setup import open_ready

if TYPE_CHECKING:
    from fingerprintdb.store.snapshot import Snapshot

LINES_SUFFIXES = {".jsonl", ".ndjson", ".json"}
LANDMARKS_A_STEP = 1_000_000


@examples(
    ("fpdb export music.fpdb", "Everything, in the compact form."),
    ("fpdb export --collection radio radio.jsonl", "One collection, as JSON lines, to be read."),
    (
        "fpdb export - | ssh studio fpdb import -",
        "Straight into the database of another machine.",
    ),
)
def export(
    context: typer.Context,
    file: Annotated[
        str,
        typer.Argument(help="File to write; - writes to standard output.", metavar="FILE"),
    ],
    collection: Annotated[
        str | None,
        typer.Option(autocompletion=collections, help="This collection only.", metavar="NAME"),
    ] = None,
    form: Annotated[
        Literal["compact", "lines"] | None,
        typer.Option(
            help="compact, or lines of JSON; default: lines where the file ends in .jsonl,"
            " .ndjson or .json, else compact.",
        ),
    ] = None,
    with_content: Annotated[
        bool,
        typer.Option("--with-content", help="Take along the bytes of fpdb.asset.content."),
    ] = False,
    without_vectors: Annotated[
        bool,
        typer.Option("--without-vectors", help="Leave segments and vectors out."),
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace a file that is there already.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the summary as a JSON object.")
    ] = False,
) -> None:
    """Write a collection, or all of them, to one file: fingerprints, not audio.

    It holds each asset's row, the landmarks and bits of the active profile, and the segments and
    vectors of the active model and of those that are filled beside it, as they are at one moment;
    `fpdb import` puts them into another database, where they are found as before. Assets that are
    not fingerprinted yet are left out. The file appears when it is whole. Changes nothing in the
    database; `fpdb model retire` waits until it ends.
    """
    from fingerprintdb.store.database import connect
    from fingerprintdb.store.snapshot import snapshot
    from fingerprintdb.transfer import write_archive

    if form is None:
        form = "lines" if Path(file).suffix.lower() in LINES_SUFFIXES else "compact"
    began = time.perf_counter()
    with (
        connect(open_ready(context.obj.settings)) as connection,
        snapshot(
            connection,
            collection=collection,
            with_content=with_content,
            with_vectors=not without_vectors,
        ) as held,
        destination(file, is_text=form == "lines", force=force) as opened,
        Progress(int(held.counts.sum()) // LANDMARKS_A_STEP + held.header.assets) as progress,
    ):
        written = write_archive(
            held, opened, form, told=_by_million(progress.count), counted=progress.count
        )
    seconds = time.perf_counter() - began
    is_piped = file == STANDARD
    summary = asdict(written) | {
        "file": file,
        "form": form,
        "collections": [one.name for one in held.header.collections],
        "left_out": held.left_out,
        "seconds": round(seconds, 3),
    }
    for note in _notes(held):
        say(f"note: {note}")
    if as_json:
        print_json(summary, to_stderr=is_piped)
        return
    each = f", {written.size_bytes / written.assets / 1000:,.0f} KB an asset" * bool(written.assets)
    say(
        f"exported {written.assets} assets in {seconds:.1f} s:"
        f" {written.size_bytes / 1e6:,.1f} MB{each}",
        to_stderr=is_piped,
    )


@examples(
    ("fpdb import music.fpdb", "Into the collections that they were in."),
    ("fpdb import radio.jsonl --collection archive", "All of them into one of another name."),
    ("zcat music.jsonl.gz | fpdb import -", "From standard input."),
)
def import_(
    context: typer.Context,
    file: Annotated[
        str,
        typer.Argument(
            help="File that `fpdb export` wrote; - reads standard input.", metavar="FILE"
        ),
    ],
    collection: Annotated[
        str | None,
        typer.Option(
            help="Collection to put them in; default: those they were in.", metavar="NAME"
        ),
    ] = None,
    embed: Annotated[
        bool | None,
        typer.Option(
            "--embed/--no-embed",
            help="What comes without vectors of the model that is searched here: leave it to"
            " workers where its audio is within reach, or to landmarks alone.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the summary as a JSON object.")
    ] = False,
) -> None:
    """Bring in what `fpdb export` wrote, without the audio: it is found as it was.

    The file is read through first: one that is damaged, cut off, or from elsewhere changes
    nothing. Then each asset is stored whole or not at all; one whose bytes its collection already
    holds is skipped, so that importing again goes on, and twice is as once. A database without
    assets takes over the archive's profile, models and thresholds; any other keeps its own, and
    refuses what was made with a profile that it does not search.
    """
    from fingerprintdb.archive import ArchiveReader
    from fingerprintdb.store.database import connect
    from fingerprintdb.transfer import check_archive, require_adoptable, take_in

    began = time.perf_counter()
    counts: Counter[str] = Counter()
    notes = []
    with _source(file) as opened, connect(open_ready(context.obj.settings)) as connection:
        reader = ArchiveReader(opened)
        require_adoptable(connection, reader.header, embed=embed)
        with Progress(reader.header.assets) as progress:
            for _ in check_archive(reader):
                progress.count("checked")
        try:
            with Progress(reader.header.assets) as progress:
                for state in take_in(connection, reader, collection=collection, embed=embed):
                    if state.startswith("note: "):
                        notes.append(state)
                        continue
                    counts[state] += 1
                    progress.count(state)
        except KeyboardInterrupt:
            say("stopped; what came in is whole, run again to go on")
            raise typer.Exit(130) from None
    _report(reader.header.assets, counts, notes, time.perf_counter() - began, as_json=as_json)


def _report(
    assets: int, counts: Counter[str], notes: list[str], seconds: float, *, as_json: bool
) -> None:
    new = counts["new"] + counts["queued"] + counts["unembedded"]
    for note in notes:
        say(note)
    if as_json:
        print_json(
            {
                "assets": assets,
                "imported": new,
                "skipped": counts["skipped"],
                "queued": counts["queued"],
                "without_vectors": counts["unembedded"],
                "notes": [note.removeprefix("note: ") for note in notes],
                "seconds": round(seconds, 3),
            }
        )
        return
    parts = [f"imported {new} of {assets} assets"]
    parts += [f"{counts['skipped']} skipped (already there)"] * bool(counts["skipped"])
    line = f"{', '.join(parts)} in {seconds:.1f} s"
    if counts["queued"]:
        line += f"; {counts['queued']} are queued for vectors: run `fpdb worker`"
    if counts["unembedded"]:
        line += (
            f"; {counts['unembedded']} have no vectors, landmarks alone find them:"
            " `fpdb status` says why"
        )
    say(line, to_stderr=False)


@contextmanager
def _source(name: str) -> Iterator[BinaryIO]:
    """Open a file that can be read twice; what comes through a pipe waits in a temporary one."""
    with open(name, "rb") if name != STANDARD else _standard_input() as file:  # noqa: PTH123
        if file.seekable():
            yield file
            return
        with tempfile.TemporaryFile() as kept:
            shutil.copyfileobj(file, kept)
            kept.seek(0)
            yield kept


@contextmanager
def _standard_input() -> Iterator[BinaryIO]:
    yield sys.stdin.buffer


def _notes(held: "Snapshot") -> Iterator[str]:
    if held.left_out:
        yield f"{held.left_out} assets are not fingerprinted, and left out: see `fpdb status`"
    if held.without_work:
        yield f"{held.without_work} are versions of what is not exported, and stand by themselves"
    if held.by_digest:
        yield (
            f"{held.by_digest} have content and no URI: they are named by their digest, and"
            " cannot be made again where they go; --with-content takes the bytes along"
        )


def _by_million(count: Callable[[str], Any]) -> Callable[[int], None]:
    """Count a step for each million landmarks."""
    read = 0

    def told(landmarks: int) -> None:
        nonlocal read
        for _ in range((read + landmarks) // LANDMARKS_A_STEP - read // LANDMARKS_A_STEP):
            count("million landmarks read")
        read += landmarks

    return told
