"""Shows the embedding models; fills one beside the active one, switches to it, retires it."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from fingerprintdb.cli.completion import models
from fingerprintdb.cli.output import JsonLines, print_json, print_table, say
from fingerprintdb.cli.page import Commands, examples
from fingerprintdb.cli.setup import open_ready

if TYPE_CHECKING:
    from fingerprintdb.store.model import Model

Name = Annotated[
    str,
    typer.Argument(
        autocompletion=models, help="Name, revision or key of the model.", metavar="MODEL"
    ),
]

model = Commands(
    name="model",
    help="List embedding models, fill one beside the active one, compare, switch, weigh, retire.",
)


@model.command()
@examples(
    ("fpdb model add clap", "From the hub's cache on this machine."),
    ("fpdb model add --halfvec ./finetuned", "From a folder, with an index of half the size."),
)
def add(
    context: typer.Context,
    name: Annotated[
        str,
        typer.Argument(
            help="builtin, clap, a checkpoint's name, or a folder with a saved model.",
            metavar="MODEL",
        ),
    ],
    halfvec: Annotated[
        bool,
        typer.Option("--halfvec", help="Index it in half precision, which takes half the space."),
    ] = False,
) -> None:
    """Make a model known to the database, as one that nobody searches or fills yet.

    Loads it to read its revision and dimensions; nothing is downloaded.
    """
    from fingerprintdb.embedding import load
    from fingerprintdb.store.database import connect
    from fingerprintdb.store.model import active_model, has_active_model, register_model

    embedder = load(name)
    with connect(open_ready(context.obj.settings)) as connection:
        key = register_model(connection, embedder, index_type="halfvec" if halfvec else None)
        is_active = has_active_model(connection) and active_model(connection).model_id == key
    next_step = "it is the active one" if is_active else f"`fpdb model backfill {key}` fills it"
    say(
        f"model {key} is {embedder.name}, revision {embedder.revision},"
        f" {embedder.dims} dimensions: {next_step}",
        to_stderr=False,
    )


@model.command("list")
@examples(
    ("fpdb model list", "Which is searched, and how far each is."),
)
def list_(
    context: typer.Context,
    as_json: JsonLines = False,
) -> None:
    """List models: state, assets that have its vectors, the share of all, failures, weights.

    Only reads.
    """
    from fingerprintdb.store.database import connect
    from fingerprintdb.store.model import models

    with connect(open_ready(context.obj.settings)) as connection:
        found = models(connection)
    if as_json:
        for row in found:
            print_json(row)
        return
    print_table(
        ("key", "model", "state", "dims", "index", "assets", "done", "failed", "weights", "reason"),
        map(_row, found),
    )


@model.command()
@examples(
    ("fpdb model backfill clap", "Then `fpdb worker`, then `fpdb model activate clap`."),
)
def backfill(context: typer.Context, name: Name) -> None:
    """Have workers embed every asset with a model, while the active one is searched.

    Queues the work, which needs the sources again. What the active model has stays.
    """
    from fingerprintdb.store.database import connect
    from fingerprintdb.store.model import backfill_model, find_model

    with connect(open_ready(context.obj.settings)) as connection:
        found = find_model(connection, name)
        key = found.model_id
        queued = backfill_model(connection, key)
    _warn_unless_here(found)
    next_step = f"`fpdb model activate {key}` switches to it"
    if queued:
        next_step = (
            f"run `fpdb worker`; when `fpdb model list` shows it done,"
            f" `fpdb model compare {key}` and {next_step}"
        )
    say(f"model {key} is being filled, {queued} assets are queued: {next_step}", to_stderr=False)


@model.command()
@examples(
    ("fpdb model activate clap", "Once `fpdb model list` shows it done."),
)
def activate(context: typer.Context, name: Name) -> None:
    """Search and fill a model from now on, in one transaction; what the former one has stays.

    Builds its index first, where there is none. Assets that it has no vectors of are queued.
    """
    from fingerprintdb.store.database import connect
    from fingerprintdb.store.model import activate_model, find_model, index_model

    with connect(open_ready(context.obj.settings)) as connection:
        found = find_model(connection, name)
        index_model(connection, found.model_id)
        queued = activate_model(connection, found.model_id)
    _warn_unless_here(found)
    line = f"model {found.name} is active"
    if queued:
        line += (
            f", {queued} assets are queued to be embedded with it,"
            " and are not found by it before: run fpdb worker"
        )
    say(line, to_stderr=False)


@model.command()
@examples(
    ("fpdb model weigh clap ambience 0.8", "Believe it nearly as much as it believes itself."),
)
def weigh(
    context: typer.Context,
    name: Name,
    content_type: Annotated[str, typer.Argument(help="Of the assets found.")],
    weight: Annotated[
        float, typer.Argument(help="Share of its confidence that is believed.", min=0, max=1)
    ],
) -> None:
    """Have clips heard by a model beside the active one, and say how far it is believed.

    A weight of 0 ends that. Vectors stay as they are.
    """
    from fingerprintdb.store import library
    from fingerprintdb.store.database import connect
    from fingerprintdb.store.model import find_model, weigh_model

    with connect(open_ready(context.obj.settings)) as connection:
        found = find_model(connection, name)
        library.require_content_type(connection, content_type)
        weigh_model(connection, found, content_type, weight)
    say(f"model {found.name} has weight {weight:g} for {content_type}", to_stderr=False)


@model.command()
@examples(
    ("fpdb model retire builtin", "After the switch to another."),
)
def retire(context: typer.Context, name: Name) -> None:
    """Remove the vectors of a model that is not active, from the disk too.

    The active one cannot be retired. Assets, segments and landmarks stay.
    """
    from fingerprintdb.store.database import connect
    from fingerprintdb.store.model import find_model, retire_model

    with connect(open_ready(context.obj.settings)) as connection:
        found = find_model(connection, name)
        assets = retire_model(connection, found.model_id)
    say(f"the vectors of model {found.name} are gone from {assets} assets", to_stderr=False)


def _warn_unless_here(found: "Model") -> None:
    """Say so where a model's weights are not on this machine; workers may be on another."""
    from fingerprintdb.embedding import ModelError, load

    try:
        load(found.source)
    except ModelError as error:
        say(f"note: this machine cannot fill or ask it: {error}")


def _row(found: dict[str, Any]) -> tuple[Any, ...]:
    share = None if found["share"] is None else f"{int(100 * found['share'])} %"
    columns = ("model_id", "name", "state", "dims")
    return (
        *(found[column] for column in columns),
        found["index_type"] if found["is_indexed"] else "none yet",
        found["assets"],
        share,
        found["failed"],
        found["weights"],
        found["an_error"],
    )
