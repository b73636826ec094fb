"""Draws why a clip matched, or how near it came to a match."""

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fingerprintdb.cli.identify import name_of
from fingerprintdb.cli.output import say
from fingerprintdb.cli.page import examples
from fingerprintdb.cli.setup import open_ready
from fingerprintdb.settings import Settings

if TYPE_CHECKING:
    from fingerprintdb.cascade import Answer
    from fingerprintdb.explanation import Explanation
    from fingerprintdb.store.match import Match

EVERY_CANDIDATE = 1000
"""Matches to ask for: those that are not sure, too."""


@examples(
    ("fpdb plot clip.wav", "Into clip.plot.png, in the working directory."),
    (
        "fpdb plot clip.wav --asset 17 --output why.svg",
        "Beside a recording of your choice, found or not.",
    ),
)
def plot(
    context: typer.Context,
    clip: Annotated[
        str,
        typer.Argument(help="The clip: a file or URI; - reads standard input.", metavar="CLIP"),
    ],
    asset: Annotated[
        int | None,
        typer.Option(help="Draw it against this asset, whether or not it matched.", metavar="ID"),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="File to write, its suffix says the format; default: the clip's name with"
            " .plot.png, in the working directory.",
            metavar="FILE",
        ),
    ] = None,
) -> None:
    """Draw why a clip matched: exit status 0 when it was found, 1 when not, 2 after an error.

    Shows both constellations, the landmarks that agree, the votes by offset and the bit errors
    along time. Needs the extra [plot]. Writes one file and nothing else.
    """
    settings: Settings = context.obj.settings
    from fingerprintdb import drawing
    from fingerprintdb.cascade import search
    from fingerprintdb.clip import hear
    from fingerprintdb.explanation import explain_match
    from fingerprintdb.extraction import Timings
    from fingerprintdb.extractor import Extractor
    from fingerprintdb.refinement import refined
    from fingerprintdb.store.database import connect
    from fingerprintdb.store.inspection import read_recording
    from fingerprintdb.store.match import Scope
    from fingerprintdb.store.profile import active_profile

    path = output or Path(f"{Path(_name(clip)).stem}.plot.png")
    drawing.require_drawable(path)
    content = sys.stdin.buffer.read() if clip == "-" else None
    extractor = Extractor(max_source_bytes=settings.max_source_bytes)
    with connect(open_ready(settings)) as connection:
        profile = active_profile(connection)[1]
        if asset is not None:
            read_recording(connection, asset, profile)
        heard_by = partial(extractor.embedders, connection)
        with extractor.open(None if clip == "-" else clip, content) as source:
            heard = hear(source, profile, Timings())
            scope = Scope(k=EVERY_CANDIDATE, min_confidence=0)
            answer = search(connection, heard, heard_by, scope)
        match = _chosen(answer, asset)
        asset_id = match.asset_id if match else asset
        if asset_id is None:
            say(f"{clip}: no match, and nothing stored comes near it: there is nothing to draw")
            raise typer.Exit(1)
        if match and match.is_sure and match is not answer.matches[0]:
            match = refined(connection, heard, match)
        seen = explain_match(connection, heard, asset_id, match)
        recording = read_recording(connection, asset_id, profile)
    missed = "no match; the likeliest is" if asset is None else "no match with"
    verdict = _verdict(answer, match) if match and match.is_sure else missed
    verdict += f" {name_of(recording.title, recording.artist, recording.uri)}"
    drawing.save(drawing.draw(seen, verdict, _details(clip, seen, match)), path)
    say(f"{path}: {verdict}", to_stderr=False)
    raise typer.Exit(0 if match and match.is_sure else 1)


def _chosen(answer: "Answer", asset: int | None) -> "Match | None":
    """Return the match to draw: the best sure one, else the best, or that with the asset."""
    wanted = [match for match in answer.matches if asset in {None, match.asset_id}]
    return next((match for match in wanted if match.is_sure), wanted[0] if wanted else None)


def _verdict(answer: "Answer", match: "Match") -> str:
    rivals = [other.asset_id for other in answer.matches[:2] if other.is_sure]
    is_rival = answer.verdict == "ambiguous" and len(rivals) > 1 and match.asset_id in rivals
    return "ambiguous:" if is_rival else "match:"


def _details(clip: str, seen: "Explanation", match: "Match | None") -> str:
    warp = seen.alignment.warp
    sure = "not among the candidates" if match is None else f"{100 * match.confidence:.1f} %"
    return "   ·   ".join(
        (
            # What is not UTF-8 in a file's name cannot be drawn.
            _name(clip).encode(errors="backslashreplace").decode(),
            f"confidence {sure}",
            f"offset {seen.offset_sec:.2f} s",
            f"tempo {100 * (warp.tempo - 1):+.1f} %",
            f"pitch {100 * (warp.pitch - 1):+.1f} %",
        )
    )


def _name(clip: str) -> str:
    """Return the last part of a clip's path or URI, without what may be secret in it."""
    from fingerprintdb.source import redact

    return redact(clip).rstrip("/").rpartition("/")[2] if "://" in clip else Path(clip).name
