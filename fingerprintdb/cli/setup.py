"""Makes a database ready: its schema, the profile and the model."""

from typing import Annotated

import typer

from fingerprintdb.cli.completion import profiles
from fingerprintdb.cli.output import say
from fingerprintdb.cli.page import examples
from fingerprintdb.settings import Settings
from fingerprintdb.store.database import Connection


@examples(
    ("fpdb init", "In the embedded server, with the best model that is on this machine."),
    ("fpdb init --model builtin", "With the model that needs no download."),
    (
        "fpdb init --profile compact",
        "A quarter of the bytes; what is stored is queued to be fingerprinted again.",
    ),
)
def init(
    context: typer.Context,
    model: Annotated[
        str | None,
        typer.Option(
            help="Model to make active: auto, clap, builtin, a checkpoint's name or a folder;"
            " without it the database keeps the one it has.",
            metavar="NAME",
        ),
    ] = None,
    profile: Annotated[
        str | None,
        typer.Option(
            autocompletion=profiles,
            help="Landmark profile to make active: accurate, or compact for a quarter of the bytes;"
            " assets of another are queued again.",
            metavar="NAME",
        ),
    ] = None,
) -> None:
    """Bring the database to this program's schema; choose its model and its profile.

    Makes the schemas fpdb and fpdb_queue and, where it is absent, the extension vector; run again,
    it upgrades them. Recordings that are stored stay; a model or profile that is changed queues
    them to be worked on again. Nothing is downloaded: where CLAP's weights are not on this machine,
    the built-in model becomes active, and a line says how to fetch them.
    """
    settings: Settings = context.obj.settings
    url = settings.open_database()
    line = initialise(settings, url, model)
    if profile is not None:
        line += f"; {choose_profile(url, profile)}"
    say(line, to_stderr=False)


@examples(
    ("fpdb migrate", "After an upgrade of the program, before workers start again."),
)
def migrate(context: typer.Context) -> None:
    """Bring the database's schema to this program's, and nothing else.

    Runs in one transaction, under a lock, so several may start at once. It chooses no model and
    queues nothing. A schema that is newer than the program is left alone, with an error.
    """
    settings: Settings = context.obj.settings
    url = settings.open_database()
    say(f"the schema is at revision {_migrate(url)}", to_stderr=False)


def initialise(settings: Settings, url: str, model: str | None = None) -> str:
    """Do what `fpdb init` does and return the line that says which model is active, and why."""
    from fingerprintdb.store.database import connect
    from fingerprintdb.store.model import active_model, has_active_model

    _migrate(url)
    with connect(url) as connection:
        if model is None and has_active_model(connection):
            name = active_model(connection).name
            return f"ready: model {name} stays active, as the database says"
        return _activate(connection, model or settings.model)


def open_ready(settings: Settings) -> str:
    """Return the URL of a database with this program's schema.

    An embedded database that is new is initialised, with a line on stderr; a server of the
    user's own is theirs, and never changed unasked.
    """
    from fingerprintdb.store import revision

    url = settings.open_database()
    found = revision.current_of(url)
    if found is None and settings.database_url is None:
        say(f"new database in {settings.data_dir}; {initialise(settings, url)}")
    else:
        revision.require(found)
    return url


def choose_profile(url: str, name: str) -> str:
    """Make a profile the active one and return the line that says so, and what is still to do."""
    from fingerprintdb.store.database import connect
    from fingerprintdb.store.profile import activate_profile

    with connect(url) as connection:
        queued = activate_profile(connection, name)
    line = f"profile {name} is active"
    if queued:
        line += (
            f", {queued} assets are queued to be fingerprinted with it,"
            " and are not found before: run fpdb worker"
        )
    return line


def _migrate(url: str) -> str:
    """Upgrade, register this program's profiles, and return the revision."""
    from fingerprintdb.store import migration
    from fingerprintdb.store.database import connect
    from fingerprintdb.store.profile import register_profiles
    from fingerprintdb.store.revision import current_of, head, is_known, require

    found = current_of(url)
    if found is not None and not is_known(found):
        require(found)
    migration.upgrade(url)
    with connect(url) as connection:
        register_profiles(connection)
    return head()


def _activate(connection: Connection, wanted: str) -> str:
    from fingerprintdb.embedding import load, resolve
    from fingerprintdb.embedding.builtin import CONFIDENCE
    from fingerprintdb.store.model import choose_model

    choice = resolve(wanted)
    embedder = load(choice.name)
    confidence = CONFIDENCE if embedder.name == "builtin" else None
    queued = choose_model(connection, embedder, confidence=confidence)
    line = f"ready: model {embedder.name} is active ({choice.reason})"
    if queued:
        line += f", {queued} assets are queued to be embedded with it: run fpdb worker"
    if choice.remedy:
        line += f"; for CLAP: {choice.remedy} && fpdb init --model clap"
    return line
