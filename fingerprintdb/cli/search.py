"""Searches for moments that a sentence describes, or that sound like a clip or a stored segment."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fingerprintdb.cli.completion import collections, content_types
from fingerprintdb.cli.identify import name_of
from fingerprintdb.cli.output import clock, print_json, print_table, say
from fingerprintdb.cli.page import examples
from fingerprintdb.cli.setup import open_ready
from fingerprintdb.settings import Settings

if TYPE_CHECKING:
    from fingerprintdb.store.moment import Moment

NOT_FOUND = 1


@examples(
    ('fpdb search "rain on a tin roof"', "In words."),
    (
        "fpdb search --clip door.wav --k 5 --min-duration 60",
        "By example, in recordings of a minute or more.",
    ),
    (
        'fpdb search --segment 42 --metadata \'{"label": "X"}\'',
        "What sounds like a stored segment, among some recordings.",
    ),
)
def search(
    context: typer.Context,
    text: Annotated[
        str | None, typer.Argument(help="What to look for, in words.", metavar="TEXT")
    ] = None,
    clip: Annotated[
        str | None, typer.Option(help="Look for what sounds like this file or URI.")
    ] = None,
    segment: Annotated[
        int | None, typer.Option(help="Look for what sounds like this stored segment.")
    ] = None,
    separator: Annotated[
        str | None,
        typer.Option(
            help="Compare the clip's music, separated from speech by this plug-in: repet-sim, ..."
        ),
    ] = None,
    k: Annotated[int, typer.Option("--k", "-k", help="Most moments to list.", min=1)] = 10,
    collection: Annotated[
        str | None, typer.Option(autocompletion=collections, help="Look in this collection only.")
    ] = None,
    content_type: Annotated[
        str | None,
        typer.Option(
            autocompletion=content_types, help="Look among assets of this content type only."
        ),
    ] = None,
    metadata: Annotated[
        str | None, typer.Option(help="Look among assets whose metadata contains this JSON object.")
    ] = None,
    min_duration: Annotated[
        float | None, typer.Option(help="Look among assets at least so long, in seconds.", min=0)
    ] = None,
    max_duration: Annotated[
        float | None, typer.Option(help="Look among assets at most so long, in seconds.", min=0)
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON object a moment, most similar first.")
    ] = False,
) -> None:
    """List the moments that sound like a sentence, a clip or a segment: exit status 1 if none.

    Sentences need a model that knows words, which is CLAP. Similar is not the same: `fpdb identify`
    says which recording a clip is from. Nothing is stored.
    """
    if sum(way is not None for way in (text, clip, segment)) != 1:
        raise typer.BadParameter("give one of TEXT, --clip and --segment")
    if separator is not None and clip is None:
        raise typer.BadParameter("--separator is for a --clip")
    if text is not None and not text.strip():
        raise typer.BadParameter("the text is empty: say what to look for")
    wanted = _object(metadata)
    settings: Settings = context.obj.settings
    url = open_ready(settings)
    from fingerprintdb import identification
    from fingerprintdb.extractor import Extractor
    from fingerprintdb.store import library
    from fingerprintdb.store.database import connect
    from fingerprintdb.store.match import Scope
    from fingerprintdb.store.moment import moments_like_segment

    scope = Scope(k=k, collection=collection, content_type=content_type, metadata=wanted)
    lasting_sec = (min_duration, max_duration)
    extractor = Extractor(max_source_bytes=settings.max_source_bytes)
    with connect(url) as connection:
        if collection is not None:
            library.require_collection(connection, collection)
        if content_type is not None:
            library.require_content_type(connection, content_type)
        if text is not None:
            found = identification.moments_like_text(
                connection, extractor, scope, text, lasting_sec=lasting_sec
            )
        elif clip is not None:
            found = identification.moments_like_clip(
                connection, extractor, scope, clip, lasting_sec=lasting_sec, separator=separator
            )
        else:
            found = moments_like_segment(connection, segment or 0, scope, lasting_sec)
    _print(found, as_json=as_json)
    if not found:
        raise typer.Exit(NOT_FOUND)


def _object(text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise typer.BadParameter('metadata is a JSON object, such as {"album": "Landmarks"}')
    return value


def _print(found: "list[Moment]", *, as_json: bool) -> None:
    if as_json:
        for moment in found:
            print_json(asdict(moment))
    elif found:
        print_table(
            ("asset", "recording", "at", "similarity"),
            (
                (
                    moment.asset_id,
                    name_of(moment.title, moment.artist, moment.uri),
                    f"{clock(moment.start_sec)}–{clock(moment.end_sec)}",
                    f"{moment.similarity:.3f}",
                )
                for moment in found
            ),
        )
    else:
        say("nothing here sounds like it")
