"""Makes, lists and revokes the keys of the REST API."""

from typing import Annotated

import typer

from fingerprintdb.cli.completion import collections
from fingerprintdb.cli.output import JsonLines, print_json, print_table, say
from fingerprintdb.cli.page import Commands, examples
from fingerprintdb.cli.setup import open_ready

Name = Annotated[str, typer.Argument(help="Who has the key.", metavar="NAME")]

key = Commands(
    name="key",
    help="Make, list and revoke keys of the REST API.",
)


@key.command()
@examples(
    ("fpdb key add website", "One that may read everything."),
    ("fpdb key add studio --collection jingles --write", "One that may also change a collection."),
)
def add(
    context: typer.Context,
    name: Name,
    collection: Annotated[
        str | None,
        typer.Option(
            autocompletion=collections, help="The one collection that it opens; default: all."
        ),
    ] = None,
    write: Annotated[
        bool, typer.Option("--write", help="It may create, change and delete assets, too.")
    ] = False,
) -> None:
    """Make a key and print its secret, once: only its digest is stored.

    A collection that does not exist is made.
    """
    from fingerprintdb.store.database import connect
    from fingerprintdb.store.key import add_key
    from fingerprintdb.store.library import ensure_collection

    with connect(open_ready(context.obj.settings)) as connection:
        if collection is not None:
            ensure_collection(connection, collection)
        secret = add_key(connection, name, collection=collection, may_write=write)
    say(secret, to_stderr=False)


@key.command("list")
@examples(("fpdb key list", "Who may do what; no secret is shown."))
def list_(
    context: typer.Context,
    as_json: JsonLines = False,
) -> None:
    """List keys, what they open, and which are revoked.

    Only reads.
    """
    from fingerprintdb.store.database import connect
    from fingerprintdb.store.key import list_keys

    with connect(open_ready(context.obj.settings)) as connection:
        found = list_keys(connection)
    if as_json:
        for row in found:
            print_json(row)
        return
    print_table(
        ("key", "collection", "may", "made", "revoked"),
        (
            (
                row["name"],
                row["collection"] or "(all)",
                "read and write" if row["may_write"] else "read",
                row["created_at"],
                row["revoked_at"],
            )
            for row in found
        ),
    )


@key.command()
@examples(("fpdb key revoke website", "When its secret is lost, or known to others."))
def revoke(context: typer.Context, name: Name) -> None:
    """Make a key open nothing, from the next request on.

    It stays in the list; another may take its name.
    """
    from fingerprintdb.store.database import connect
    from fingerprintdb.store.key import revoke_key

    with connect(open_ready(context.obj.settings)) as connection:
        revoke_key(connection, name)
    say(f"key {name} is revoked", to_stderr=False)
