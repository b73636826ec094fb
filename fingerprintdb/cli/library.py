"""Shows what the database holds, finds what sounds alike, removes and reprocesses."""

import sys
from typing import Annotated, Any

import typer

from fingerprintdb.cli.completion import collections, content_types
from fingerprintdb.cli.identify import name_of
from fingerprintdb.cli.output import JsonLines, clock, print_json, print_table, say
from fingerprintdb.cli.page import examples
from fingerprintdb.cli.setup import open_ready
from fingerprintdb.settings import Settings

NOT_FOUND = 1
AssetIds = Annotated[
    list[int],
    typer.Argument(help="Keys of assets, as `fpdb list` shows them.", metavar="ASSET_ID"),
]


@examples(
    ("fpdb list --status failed", "What could not be processed; `fpdb show` says why."),
    ("fpdb list --collection radio --search jingle --limit 20", "Some of a collection."),
    ("fpdb list --json | wc -l", "For programs, a line each."),
)
def list_(
    context: typer.Context,
    collection: Annotated[
        str | None, typer.Option(autocompletion=collections, help="Only this collection.")
    ] = None,
    status: Annotated[
        str | None, typer.Option(help="Only queued, processing, ready or failed ones.")
    ] = None,
    search: Annotated[
        str | None, typer.Option(help="Only where title, artist or URI hold this text.")
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Most assets to list.", min=1)] = None,
    as_json: JsonLines = False,
) -> None:
    """List assets.

    In the order in which they came. Only reads.
    """
    from fingerprintdb.store.catalogue import Filter, listing
    from fingerprintdb.store.database import connect

    with connect(open_ready(context.obj.settings)) as connection:
        wanted = Filter(collection=collection, status=status, search=search)
        found = listing(connection, wanted, limit=limit)
    if as_json:
        for asset in found:
            print_json(asset)
        return
    print_table(
        ("asset", "title", "artist", "collection", "length", "status", "uri"),
        (
            (
                *(asset[column] for column in ("asset_id", "title", "artist", "collection")),
                None if asset["duration_sec"] is None else clock(asset["duration_sec"]),
                *(asset[column] for column in ("status", "uri")),
            )
            for asset in found
        ),
    )


@examples(
    ("fpdb show 17", "A table."),
    ("fpdb show 17 --json", "For programs."),
)
def show(
    context: typer.Context,
    asset_id: Annotated[int, typer.Argument(help="Key of the asset.")],
    as_json: JsonLines = False,
) -> None:
    """Show everything known of an asset.

    Source, state, error, length, counts and metadata. Only reads.
    """
    from fingerprintdb.store import library
    from fingerprintdb.store.database import connect

    with connect(open_ready(context.obj.settings)) as connection:
        found = library.show(connection, asset_id)
    if found is None:
        raise _unknown([asset_id])
    if as_json:
        print_json(found)
        return
    print_table(("column", "value"), ((k, v) for k, v in found.items() if v is not None))


@examples(
    ("fpdb similar 17", "Like a stored one."),
    ("fpdb similar demo.mp3 --collection library", "Like a file, in one collection."),
)
def similar(
    context: typer.Context,
    asset: Annotated[
        str,
        typer.Argument(help="Key of a stored asset, or a file or URI.", metavar="ASSET_ID|FILE"),
    ],
    k: Annotated[int, typer.Option("--k", "-k", help="Most assets to list.", min=1)] = 10,
    collection: Annotated[
        str | None, typer.Option(autocompletion=collections, help="Look in this collection only.")
    ] = None,
    content_type: Annotated[
        str | None,
        typer.Option(
            autocompletion=content_types, help="Look among assets of this content type only."
        ),
    ] = None,
    as_json: JsonLines = False,
) -> None:
    """List the assets that sound most like one: exit status 1 where there are none.

    Compares vectors of the active model, whole recording by whole recording. Nothing is stored.
    """
    settings: Settings = context.obj.settings
    url = open_ready(settings)
    from fingerprintdb.store import library
    from fingerprintdb.store.database import connect
    from fingerprintdb.store.match import Scope, similar_assets

    scope = Scope(k=k, collection=collection, content_type=content_type)
    with connect(url) as connection:
        if asset.isdecimal():
            if library.show(connection, int(asset)) is None:
                raise _unknown([int(asset)])
            found = similar_assets(connection, int(asset), scope=scope)
        else:
            from fingerprintdb import identification
            from fingerprintdb.extractor import Extractor

            extractor = Extractor(max_source_bytes=settings.max_source_bytes)
            found = identification.similar(connection, extractor, scope, asset)
    if as_json:
        for other in found:
            print_json(other)
    elif found:
        print_table(("asset", "recording", "similarity", "segments"), map(_similar_row, found))
    else:
        say("nothing here sounds like it")
    if not found:
        raise typer.Exit(NOT_FOUND)


@examples(
    ("fpdb remove 17 18", "After a question."),
    ("fpdb remove --yes 17", "Without one."),
)
def remove(
    context: typer.Context,
    asset_ids: AssetIds,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Remove assets with everything that was made of them; the files stay.

    They are not found any more from this moment on. On a terminal it asks first. The disk that
    their landmarks took comes back with the next `fpdb index compact`.
    """
    from fingerprintdb.store import library
    from fingerprintdb.store.database import connect

    with connect(open_ready(context.obj.settings)) as connection:
        if not yes and sys.stdin.isatty():
            typer.confirm(f"Remove {len(set(asset_ids))} from the database?", abort=True)
        removed = library.remove(connection, asset_ids)
    say(f"removed {len(removed)}", to_stderr=False)
    if missing := sorted(set(asset_ids) - set(removed)):
        raise _unknown(missing)


@examples(
    ("fpdb reprocess 17", "One, after its file was mended."),
    ("fpdb reprocess --failed", "All that failed."),
    ("fpdb reprocess --all", "Everything there is."),
)
def reprocess(
    context: typer.Context,
    asset_ids: Annotated[
        list[int] | None, typer.Argument(help="Keys of assets.", metavar="ASSET_ID")
    ] = None,
    failed: Annotated[bool, typer.Option("--failed", help="Those that failed, only.")] = False,
    every: Annotated[bool, typer.Option("--all", help="All there are.")] = False,
) -> None:
    """Queue assets again, for workers to process.

    What is stored of them is found until the new results replace it. Sources are read again.
    """
    if not (asset_ids or failed or every):
        raise typer.BadParameter("name assets, or use --failed or --all")
    from fingerprintdb.store import library
    from fingerprintdb.store.database import connect

    with connect(open_ready(context.obj.settings)) as connection:
        queued = library.reprocess(connection, asset_ids or None, only_failed=failed)
    say(f"queued {queued}; `fpdb worker` processes them", to_stderr=False)
    if asset_ids and not failed and queued < len(set(asset_ids)):
        say(f"error: {len(set(asset_ids)) - queued} of these assets do not exist")
        raise typer.Exit(NOT_FOUND)


def _similar_row(asset: dict[str, Any]) -> tuple[Any, ...]:
    return (
        asset["asset_id"],
        name_of(asset["title"], asset["artist"], asset["uri"]),
        f"{asset['similarity']:.3f}",
        asset["segments"],
    )


def _unknown(asset_ids: list[int]) -> typer.Exit:
    keys = ", ".join(map(str, asset_ids))
    say(f"error: there is no asset {keys} — `fpdb list` shows those there are")
    return typer.Exit(NOT_FOUND)
