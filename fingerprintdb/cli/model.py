"""Shows the embedding models; fills one beside the active one, compares, switches, retires."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from fingerprintdb.cli.output import print_json, print_table, say
from fingerprintdb.cli.progress import Progress
from fingerprintdb.cli.setup import open_ready

if TYPE_CHECKING:
    from fingerprintdb.comparison import Recall
    from fingerprintdb.extractor import Extractor
    from fingerprintdb.store.database import Connection
    from fingerprintdb.store.model import Model

Name = Annotated[str, typer.Argument(help="Name, revision or key of the model.", metavar="MODEL")]

model = typer.Typer(
    name="model",
    help="List embedding models, fill one beside the active one, compare, switch, weigh, retire.",
    no_args_is_help=True,
)


@model.command()
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
    """Make a model known to the database, as one that nobody searches or fills yet."""
    from fingerprintdb.embedding import load
    from fingerprintdb.store.database import connect
    from fingerprintdb.store.model import register_model

    embedder = load(name)
    with connect(open_ready(context.obj.settings)) as connection:
        key = register_model(connection, embedder, index_type="halfvec" if halfvec else None)
    say(
        f"model {key} is {embedder.name}, revision {embedder.revision}, {embedder.dims} dimensions:"
        f" `fpdb model backfill {key}` fills it",
        to_stderr=False,
    )


@model.command("list")
def list_(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object a line.")] = False,
) -> None:
    """List models: state, assets that have its vectors, the share of all, failures, weights."""
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
def backfill(context: typer.Context, name: Name) -> None:
    """Have workers embed every asset with a model, while the active one is searched."""
    from fingerprintdb.store.database import connect
    from fingerprintdb.store.model import backfill_model, find_model

    with connect(open_ready(context.obj.settings)) as connection:
        key = find_model(connection, name).model_id
        queued = backfill_model(connection, key)
    next_step = f"`fpdb model activate {key}` switches to it"
    if queued:
        next_step = (
            f"run `fpdb worker`; when `fpdb model list` shows it done,"
            f" `fpdb model compare {key}` and {next_step}"
        )
    say(f"model {key} is being filled, {queued} assets are queued: {next_step}", to_stderr=False)


@model.command()
def compare(
    context: typer.Context,
    name: Name,
    clips: Annotated[
        list[str] | None,
        typer.Argument(help="Clips to ask with; none: those that were asked of fpdb.query."),
    ] = None,
    other: Annotated[
        str | None,
        typer.Option("--with", help="The model to compare with; default the active one."),
    ] = None,
    samples: Annotated[
        int, typer.Option(help="Stored segments, or former questions, to ask with.", min=1)
    ] = 200,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object.")] = False,
) -> None:
    """Say how far two models agree on what sounds alike, and how well each finds known clips.

    What a clip is of, landmarks and bits tell, which no model takes part in.
    """
    url = open_ready(context.obj.settings)
    from fingerprintdb.extractor import Extractor
    from fingerprintdb.store.database import connect
    from fingerprintdb.store.model import active_model, agreement, find_model

    extractor = Extractor(max_source_bytes=context.obj.settings.max_source_bytes)
    with connect(url) as connection:
        first = find_model(connection, name)
        second = find_model(connection, other) if other else active_model(connection)
        agreed = agreement(connection, first.model_id, second.model_id, samples)
        recalls = _recalls(connection, extractor, [first, second], clips or [], samples)
    if as_json:
        print_json(agreed | {"recall": [_named(recall, [first, second]) for recall in recalls]})
        return
    if agreed["asked"]:
        say(
            f"of the ten assets that sound most like a segment {100 * agreed['agreement']:.0f} %"
            f" are the same, of the first {100 * agreed['same_first']:.0f} %"
            f" ({agreed['asked']} segments that both know)",
            to_stderr=False,
        )
    else:
        say(f"no segment is known to both: `fpdb model backfill {first.model_id}` fills one")
    if recalls and recalls[0].clips:
        print_table(
            ("model", "clips", "found first", "among ten", "ms a clip"),
            (
                (
                    _named(recall, [first, second])["model"],
                    recall.clips,
                    f"{100 * recall.first:.1f} %",
                    f"{100 * recall.among_ten:.1f} %",
                    round(recall.embedding_ms),
                )
                for recall in recalls
            ),
        )
    else:
        say("no clip was found by landmarks: name some of recordings that are there")


@model.command()
def activate(context: typer.Context, name: Name) -> None:
    """Search and fill a model from now on, in one transaction; what the former one has stays."""
    from fingerprintdb.store.database import connect
    from fingerprintdb.store.model import activate_model, find_model, index_model

    with connect(open_ready(context.obj.settings)) as connection:
        found = find_model(connection, name)
        index_model(connection, found.model_id)
        queued = activate_model(connection, found.model_id)
    line = f"model {found.name} is active"
    if queued:
        line += (
            f", {queued} assets are queued to be embedded with it,"
            " and are not found by it before: run fpdb worker"
        )
    say(line, to_stderr=False)


@model.command()
def weigh(
    context: typer.Context,
    name: Name,
    content_type: Annotated[str, typer.Argument(help="Of the assets found.")],
    weight: Annotated[
        float, typer.Argument(help="Share of its confidence that is believed.", min=0, max=1)
    ],
) -> None:
    """Have clips heard by a model beside the active one, and say how far it is believed."""
    from fingerprintdb.store import library
    from fingerprintdb.store.database import connect
    from fingerprintdb.store.model import find_model, weigh_model

    with connect(open_ready(context.obj.settings)) as connection:
        found = find_model(connection, name)
        library.require_content_type(connection, content_type)
        weigh_model(connection, found.model_id, content_type, weight)
    say(f"model {found.name} has weight {weight:g} for {content_type}", to_stderr=False)


@model.command()
def retire(context: typer.Context, name: Name) -> None:
    """Remove the vectors of a model that is not active, from the disk too."""
    from fingerprintdb.store.database import connect
    from fingerprintdb.store.model import find_model, retire_model

    with connect(open_ready(context.obj.settings)) as connection:
        found = find_model(connection, name)
        assets = retire_model(connection, found.model_id)
    say(f"the vectors of model {found.name} are gone from {assets} assets", to_stderr=False)


def _recalls(
    connection: "Connection",
    extractor: "Extractor",
    compared: "list[Model]",
    uris: list[str],
    most: int,
) -> "list[Recall]":
    from fingerprintdb.audio import AudioError
    from fingerprintdb.comparison import identified, recall_of, retrieve
    from fingerprintdb.source import SourceError
    from fingerprintdb.store.query import answered_clips

    asked = identified(connection, extractor, uris) if uris else answered_clips(connection, most)
    listeners = [extractor.embedder(connection, model.model_id) for model in compared]
    retrieved = []
    with Progress(len(uris) or None) as progress:
        for clip in asked:
            try:
                retrieved += retrieve(connection, extractor, clip, listeners)
            except (AudioError, SourceError):
                # A question of some time ago may name a file that is gone.
                progress.count("unreadable")
            else:
                progress.count("compared")
    return [recall_of(model.model_id, retrieved) for model in compared]


def _named(recall: "Recall", compared: "list[Model]") -> dict[str, Any]:
    from dataclasses import asdict

    name = next(model.name for model in compared if model.model_id == recall.model_id)
    return {"model": name} | asdict(recall)


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
