"""Says which recording a clip is from, and where in it."""

import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fingerprintdb.cli.completion import collections, content_types
from fingerprintdb.cli.output import clock, print_json, print_table, report, say
from fingerprintdb.cli.page import examples
from fingerprintdb.cli.setup import open_ready
from fingerprintdb.errors import FingerprintError
from fingerprintdb.settings import Settings

if TYPE_CHECKING:
    from fingerprintdb.cascade import Stage
    from fingerprintdb.store.match import Match


@dataclass(slots=True)
class Answer:
    """What `identify --json` prints of a clip; the names are a contract."""

    clip: str
    found: bool = False
    verdict: str | None = None
    matches: "list[Match]" = field(default_factory=list)
    stages: "list[Stage]" = field(default_factory=list)
    processing_time_ms: float = 0.0
    timings_ms: dict[str, float] = field(default_factory=dict)
    error: str | None = None


@examples(
    ("fpdb identify clip.wav", "One clip."),
    (
        "fpdb identify --collection jingles --json *.mp3",
        "Several, in one collection, a JSON object each.",
    ),
    ("ffmpeg -i show.mp4 -t 10 -f wav - | fpdb identify -", "From another program."),
)
def identify(
    context: typer.Context,
    clips: Annotated[
        list[str],
        typer.Argument(
            help="Clips: files or URIs; - reads one from standard input.", metavar="CLIP"
        ),
    ],
    collection: Annotated[
        str | None, typer.Option(autocompletion=collections, help="Look in this collection only.")
    ] = None,
    content_type: Annotated[
        str | None,
        typer.Option(
            autocompletion=content_types, help="Look among assets of this content type only."
        ),
    ] = None,
    k: Annotated[int, typer.Option("--k", "-k", help="Most matches a clip.", min=1)] = 10,
    min_confidence: Annotated[
        float | None,
        typer.Option(
            help="Least confidence of a match, 0 to 1; default: its content type's threshold.",
            min=0,
            max=1,
        ),
    ] = None,
    landmarks_only: Annotated[
        bool, typer.Option("--landmarks-only", help="Ask no embedding model, which is quicker.")
    ] = False,
    separator: Annotated[
        str | None,
        typer.Option(
            help="Embed the clips' music, separated from speech by this plug-in: repet-sim, ..."
        ),
    ] = None,
    max_postings: Annotated[
        int,
        typer.Option(
            help="What a clip may read of the index, in postings, before it is given up.", min=1
        ),
    ] = 10_000_000,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON object a clip, in order.")
    ] = False,
) -> None:
    """Identify clips: exit status 0 when all were found, 1 when not, 2 after an error.

    Says which recording a clip is from, where in it, and how sure that is; "no match" is an answer.
    A clip is judged by its first ten minutes. Nothing is stored.
    """
    if separator is not None and landmarks_only:
        raise typer.BadParameter("--separator is for vectors, which --landmarks-only leaves out")
    settings: Settings = context.obj.settings
    url = open_ready(settings)
    from fingerprintdb import identification, separation
    from fingerprintdb.extractor import Extractor
    from fingerprintdb.store import library
    from fingerprintdb.store.database import connect
    from fingerprintdb.store.match import Scope

    scope = Scope(
        k=k,
        min_confidence=min_confidence,
        collection=collection,
        content_type=content_type,
        max_postings=max_postings,
    )
    extractor = Extractor(max_source_bytes=settings.max_source_bytes)
    if separator is not None:
        separation.find(separator)
    worst = 0
    with connect(url) as connection:
        if collection is not None:
            library.require_collection(connection, collection)
        if content_type is not None:
            library.require_content_type(connection, content_type)
        for clip in clips:
            answer = Answer(clip)
            began = time.perf_counter()
            try:
                content = sys.stdin.buffer.read() if clip == "-" else None
                identified = identification.identify(
                    connection,
                    extractor,
                    scope,
                    uri=None if clip == "-" else clip,
                    content=content,
                    with_vectors=not landmarks_only,
                    separator=separator,
                )
            except FingerprintError as error:
                answer.error = str(error)
            else:
                found = identified.answer
                answer.verdict, answer.matches, answer.stages = (
                    found.verdict,
                    found.matches,
                    found.stages,
                )
                answer.timings_ms = identified.timings_ms
                answer.found = bool(found.matches)
                if not identified.is_whole:
                    say(f"{clip}: long, so only its first ten minutes were listened to")
            answer.processing_time_ms = (time.perf_counter() - began) * 1000
            _print(answer, as_json=as_json)
            worst = max(worst, 2 if answer.error else 0 if answer.found else 1)
    raise typer.Exit(worst)


def _print(answer: Answer, *, as_json: bool) -> None:
    if as_json:
        print_json(asdict(answer))
        return
    if answer.error:
        report(FingerprintError(answer.error))
        return
    heading = f"{answer.clip} ({answer.processing_time_ms:.0f} ms)"
    if not answer.found:
        say(f"{heading}: no match", to_stderr=False)
        return
    if answer.verdict == "ambiguous":
        heading += ": ambiguous, several recordings hold this very passage"
    say(heading, to_stderr=False)
    print_table(
        ("asset", "recording", "confidence", "clip", "recording at", "evidence"),
        (_row(match) for match in answer.matches),
    )


def _row(match: "Match") -> tuple[Any, ...]:
    return (
        match.asset_id,
        _name(match),
        f"{100 * match.confidence:.1f} %",
        f"{clock(match.query_start_sec)}–{clock(match.query_end_sec)}",
        f"{clock(match.reference_start_sec)}–{clock(match.reference_end_sec)}",
        "; ".join(_told(match)),
    )


def _name(match: "Match") -> str:
    name = name_of(match.title, match.artist, match.uri)
    if match.work_id == match.asset_id:
        return name
    return f"{name} (version of {match.work_title or match.work_id})"


def _told(match: "Match") -> Iterator[str]:
    """Yield what speaks for a match, in words, and how the clip differs from the recording."""
    evidence, version = match.evidence, match.version
    if evidence.aligned_landmarks:
        chance = evidence.chance_landmarks or 0
        yield f"{evidence.aligned_landmarks} landmarks (chance {chance:.0f})"
    if evidence.bit_error_rate is not None:
        yield f"{100 * evidence.bit_error_rate:.0f} % bit errors"
    if evidence.similarity is not None:
        yield f"similarity {evidence.similarity:.2f}"
    for name, factor in (
        ("tempo", evidence.tempo * version.tempo),
        ("pitch", evidence.pitch * version.pitch),
    ):
        if factor != 1:
            yield f"{name} {100 * (factor - 1):+.0f} %"


def name_of(title: str | None, artist: str | None, uri: str | None) -> str:
    """Return what people call a recording."""
    return " — ".join(filter(None, (title, artist))) or uri or "untitled"
