"""Shows the landmark profiles; builds one beside the active one, switches to it, drops it."""

from typing import Annotated, Any

import typer

from fingerprintdb.cli.completion import profiles
from fingerprintdb.cli.output import JsonLines, print_json, print_table, say
from fingerprintdb.cli.page import Commands, examples
from fingerprintdb.cli.setup import choose_profile, open_ready

Name = Annotated[
    str, typer.Argument(autocompletion=profiles, help="Name of the profile.", metavar="NAME")
]

profile = Commands(
    name="profile",
    help="List landmark profiles, build one beside the active one, switch to it, drop it.",
)


@profile.command("list")
@examples(
    ("fpdb profile list", "Which is searched, and how far each is."),
)
def list_(
    context: typer.Context,
    as_json: JsonLines = False,
) -> None:
    """List profiles: state, assets that have it, the share of all, failures.

    Only reads.
    """
    from fingerprintdb.store.database import connect
    from fingerprintdb.store.profile import profiles

    with connect(open_ready(context.obj.settings)) as connection:
        found = profiles(connection)
    if as_json:
        for row in found:
            print_json(row)
        return
    print_table(
        ("profile", "digest", "state", "assets", "done", "failed", "reason"), map(_row, found)
    )


@profile.command()
@examples(
    ("fpdb profile build compact", "Then `fpdb worker`, then `fpdb profile activate compact`."),
)
def build(context: typer.Context, name: Name) -> None:
    """Have workers fingerprint every asset with a profile, while the active one is searched.

    Queues the work, which needs the sources again. What the active profile has stays.
    """
    from fingerprintdb.store.database import connect
    from fingerprintdb.store.profile import build_profile

    with connect(open_ready(context.obj.settings)) as connection:
        queued = build_profile(connection, name)
    next_step = f"`fpdb profile activate {name}` switches to it"
    if queued:
        next_step = f"run `fpdb worker`; when `fpdb profile list` shows it done, {next_step}"
    say(f"profile {name} is being built, {queued} assets are queued: {next_step}", to_stderr=False)


@profile.command()
@examples(
    ("fpdb profile activate compact", "Once `fpdb profile list` shows it done."),
)
def activate(context: typer.Context, name: Name) -> None:
    """Search a profile from now on, in one transaction; what the former one has stays.

    Assets that the profile does not have yet are queued, and are not found before.
    """
    say(choose_profile(open_ready(context.obj.settings), name), to_stderr=False)


@profile.command()
@examples(
    ("fpdb profile drop accurate", "After the switch to another."),
)
def drop(
    context: typer.Context,
    name: Annotated[
        str,
        typer.Argument(
            autocompletion=profiles, help="Name or digest of the profile.", metavar="NAME"
        ),
    ],
) -> None:
    """Remove the landmarks and bits of a profile that is not active.

    The active one cannot be dropped. Assets and vectors stay.
    """
    from fingerprintdb.store.database import connect
    from fingerprintdb.store.profile import drop_profile

    with connect(open_ready(context.obj.settings)) as connection:
        dropped = drop_profile(connection, name)
    say(
        f"profile {name} is gone from {dropped} assets; `fpdb index compact` gives the disk back",
        to_stderr=False,
    )


def _row(found: dict[str, Any]) -> tuple[Any, ...]:
    share = None if found["share"] is None else f"{int(100 * found['share'])} %"
    columns = ("name", "digest", "state", "assets")
    return (*(found[column] for column in columns), share, found["failed"], found["an_error"])
