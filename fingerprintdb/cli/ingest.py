"""Brings recordings in: runs the pipeline on several at once, tells how it goes."""

import math
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from fingerprintdb.cli.completion import collections, content_types
from fingerprintdb.cli.output import print_json, report, say
from fingerprintdb.cli.page import examples
from fingerprintdb.cli.progress import Progress
from fingerprintdb.cli.setup import open_ready
from fingerprintdb.cli.sources import expand
from fingerprintdb.errors import FingerprintError
from fingerprintdb.settings import Settings

if TYPE_CHECKING:
    from fingerprintdb.pipeline import Ingested
    from fingerprintdb.warp import Warp


@examples(
    ("fpdb ingest ~/Music", "Everything below a folder."),
    (
        "fpdb ingest --collection jingles --content-type sound_mark https://radio.example/a.mp3",
        "One from the web, in a collection of its own.",
    ),
    ("fpdb ingest --queue ~/Music", "Leave the work to `fpdb worker`, on this machine or others."),
    ("fpdb ingest --speeds 0.9,1.1 ~/Sets", "Also find what is played 10 % slower or faster."),
)
def ingest(
    context: typer.Context,
    sources: Annotated[
        list[str],
        typer.Argument(
            help="Files, folders (searched through for audio and video), or URIs.", metavar="PATH"
        ),
    ],
    collection: Annotated[
        str,
        typer.Option(
            autocompletion=collections,
            help="Collection to put them in; made where it does not exist.",
        ),
    ] = "default",
    content_type: Annotated[
        str,
        typer.Option(autocompletion=content_types, help="music, sound_mark, speech or ambience."),
    ] = "music",
    version_of: Annotated[
        int | None,
        typer.Option(
            help="Key of the work that all of these are versions of: bitrates, mixes, speeds.",
            metavar="ASSET_ID",
        ),
    ] = None,
    speeds: Annotated[
        str,
        typer.Option(
            help="Also index them as versions at these speeds, as 0.8,1.25: what is that far from"
            " the recording is found as well.",
            metavar="FACTORS",
        ),
    ] = "",
    pitches: Annotated[
        str,
        typer.Option(help="The same for pitches, in semitones, as -3,3.", metavar="SEMITONES"),
    ] = "",
    queue: Annotated[
        bool, typer.Option("--queue", help="Leave the work to `fpdb worker`.")
    ] = False,
    jobs: Annotated[
        int | None,
        typer.Option(help="Recordings worked on at once; default FPDB_CONCURRENCY.", min=1),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON object a recording, in order of input.")
    ] = False,
) -> None:
    """Fingerprint recordings and store them; what is already there is skipped.

    Folders are walked for audio and video, tags become title and artist. Each recording is one
    transaction: whatever ends this leaves whole recordings only, and a second run goes on. A file
    that changed is taken anew. The files themselves stay where they are, and are never changed.
    """
    settings: Settings = context.obj.settings
    warps = [*_warps("speeds", speeds), *_warps("pitches", pitches)]
    uris = expand(sources)
    url = open_ready(settings)
    if queue:
        results = _queue(url, uris, collection, content_type, version_of, warps)
    else:
        results = ingest_all(settings, url, uris, collection, content_type, jobs, version_of, warps)
    began = time.perf_counter()
    done: list[Ingested] = []
    try:
        for result in results:
            done.append(result)
            if as_json:
                print_json(asdict(result))
    except KeyboardInterrupt:
        say("stopped; run again to go on")
        raise typer.Exit(130) from None
    if not queue:
        _pack(url)
    if not as_json:
        _summarise(done, time.perf_counter() - began)
    if any(result.status == "failed" for result in done):
        raise typer.Exit(2)


def _warps(option: str, text: str) -> "Iterator[Warp]":
    """Yield what an option of factors or semitones asks for; one that is no change is left out."""
    from fingerprintdb.warp import Warp

    for part in filter(None, (part.strip() for part in text.split(","))):
        try:
            number = float(part)
        except ValueError:
            number = math.nan
        factor = number if option == "speeds" else 2 ** (number / 12)
        if not 0.5 <= factor <= 2:
            bounds = "0.5 to 2" if option == "speeds" else "-12 to 12"
            raise typer.BadParameter(f"{part!r} is not a number of {bounds}", param_hint=option)
        if factor != 1:
            yield Warp(factor, factor if option == "speeds" else 1.0)


def ingest_all(
    settings: Settings,
    url: str,
    uris: list[str],
    collection: str,
    content_type: str,
    jobs: int | None = None,
    version_of: int | None = None,
    warps: "Sequence[Warp]" = (),
) -> "Iterator[Ingested]":
    """Run the pipeline on every URI and every warp of it, and yield what became of each, in order.

    Each is one transaction, so that whatever ends this leaves whole assets only.
    """
    from fingerprintdb import pipeline
    from fingerprintdb.extractor import Extractor
    from fingerprintdb.processes import Processes
    from fingerprintdb.store import library
    from fingerprintdb.store.database import pool

    threads = min(jobs or settings.concurrency, len(uris))
    with (
        Progress(len(uris)) as progress,
        pool(url, size=threads) as connections,
        Processes(threads) as processes,
    ):
        # A single recording is not worth the second that a process takes to start.
        extractor = Extractor(settings.max_source_bytes, processes if threads > 1 else None)
        with connections.connection() as connection:
            library.require_content_type(connection, content_type)
            if version_of is not None:
                library.require_work(connection, version_of)
            library.ensure_collection(connection, collection)
            extractor.embedder(connection)

        def work(uri: str) -> list[pipeline.Ingested]:
            refused = _refused(uri)
            results = [refused] if refused else []
            if refused is None:
                with connections.connection() as connection:
                    take_in = partial(
                        pipeline.ingest,
                        connection,
                        extractor,
                        uri,
                        collection=collection,
                        content_type=content_type,
                    )
                    results.append(take_in(version_of=version_of))
                    if results[0].work_id is not None:
                        work_id = results[0].work_id
                        results += [take_in(version_of=work_id, warp=warp) for warp in warps]
            progress.count(results[0].status)
            return results

        executor = ThreadPoolExecutor(threads)
        try:
            for future in [executor.submit(work, uri) for uri in uris]:
                yield from future.result()
        finally:
            # What is in hand ends whole; what waits is not begun.
            executor.shutdown(cancel_futures=True)


def _queue(
    url: str,
    uris: list[str],
    collection: str,
    content_type: str,
    version_of: int | None,
    warps: "Sequence[Warp]",
) -> "Iterator[Ingested]":
    """Leave to workers what the collection does not hold yet."""
    from fingerprintdb.pipeline import Ingested
    from fingerprintdb.source import local_digest
    from fingerprintdb.store import library
    from fingerprintdb.store.database import connect
    from fingerprintdb.warp import AS_RECORDED

    refused = {uri: result for uri in uris if (result := _refused(uri))}
    with Progress(len(uris)) as progress:
        digests: dict[str, str | None] = {}
        for uri in uris:
            if uri not in refused:
                digests[uri] = local_digest(uri)
                progress.count("queued")
    with connect(url) as connection, connection.transaction():
        library.require_content_type(connection, content_type)
        if version_of is not None:
            library.require_work(connection, version_of)
        library.ensure_collection(connection, collection)
        keys = library.queue(
            connection,
            digests,
            collection=collection,
            content_type=content_type,
            version_of=version_of,
            warps=warps,
        )
    for uri in uris:
        if uri in refused:
            yield refused[uri]
            continue
        for warp in (AS_RECORDED, *warps):
            key = keys.get((uri, warp))
            yield Ingested(key, uri, "skipped" if key is None else "queued", warp=warp)


def _pack(url: str) -> None:
    """Pack the index where that is due; workers do it for what they bring in."""
    from fingerprintdb.store.database import connect
    from fingerprintdb.store.index import compact_when_due

    with connect(url) as connection:
        compact_when_due(connection)


def _summarise(done: "list[Ingested]", seconds: float) -> None:
    for result in done:
        if result.status == "failed":
            report(FingerprintError(result.error or "failed"))
    counts = Counter(result.status for result in done)
    parts = [f"{counts[status]} {status}" for status in ("ready", "queued") if counts[status]]
    parts += [f"{counts['skipped']} skipped (already there)"] if counts["skipped"] else []
    parts += [f"{counts['failed']} failed"] if counts["failed"] else []
    line = f"{', '.join(parts)} in {seconds:.1f} s"
    sound_sec = sum(result.duration_sec or 0 for result in done if result.status == "ready")
    if sound_sec:
        line += f"; {sound_sec / 60:.1f} min of sound, {sound_sec / seconds:.0f} × real time"
    if counts["queued"]:
        line += "; `fpdb worker` processes them, `fpdb status` tells how far it is"
    say(line, to_stderr=False)


def _refused(uri: str) -> "Ingested | None":
    """Refuse a name that Postgres' text cannot hold."""
    from fingerprintdb.pipeline import Ingested

    try:
        uri.encode()
    except UnicodeEncodeError:
        shown = uri.encode("utf-8", "backslashreplace").decode()
        return Ingested(
            None, shown, "failed", error=f"{shown} is no UTF-8 file name — rename the file"
        )
    return None
